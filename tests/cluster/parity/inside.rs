//! Builds whose steps tell who they are, what they may do and what they are given, as they see it from inside.

use serde_json::{Value, json};

use super::super::documents::{sample, script_strategy};
use super::super::harness::secret;
use super::super::steps::{BUSYBOX, run_with, shell, step, with};
use super::Side;
use super::cases::{Case, PROFILE, ROOT_DIRECTORY, app, output, steps, without_strategy_user};
use super::report::Differs;

/// Tells everything that a process can see of its own identity and place.
pub const PROBE: &str = r#"
seen() { printf 'seen %s\n' "$*"; }
seen uid $(id -u)
seen gid $(id -g)
seen groups $(id -G | tr ' ' '\n' | sort -nu)
while read -r key value; do
    case $key in Uid:|Gid:|Groups:|Cap*|NoNewPrivs:|Seccomp:) seen "status.${key%:}" $value ;; esac
done </proc/self/status
for file in /etc/passwd /etc/group; do
    while read -r line || [ -n "$line" ]; do seen "$file" "$line"; done <$file
    seen "mode.$file" $(stat -c '%u:%g %a' $file)
done
seen directory "$(pwd)"
seen umask $(umask)
seen hostname "$(hostname)"
seen first $(tr '\0' ' ' </proc/1/cmdline)
env | while IFS='=' read -r name value; do seen "environment.$name" "$value"; done
while read -r _ _ _ _ point options _; do
    flags=
    for option in ro rw nosuid nodev noexec; do
        case ,$options, in *,$option,*) flags="$flags $option" ;; esac
    done
    seen "mount.$point" $flags
done </proc/self/mountinfo
for path in / /workspace /workspace/source /workspace/output-image /tekton /tekton/home /tekton/results /shp /shp/bin /shp/bin/slipway-step /tmp /dev/termination-log /root; do
    if [ -e $path ]; then
        write=no; if [ -w $path ]; then write=yes; fi
        seen "path.$path" $(stat -c '%u:%g %a %F' $path) writable: $write
    fi
done
if touch /written 2>/dev/null; then seen root-filesystem written; else seen root-filesystem refused; fi
if chown 7:8 /workspace 2>/dev/null; then seen chown done; chown 0:0 /workspace; else seen chown refused; fi
if mount -t tmpfs tmpfs /mnt 2>/dev/null || mount -t tmpfs tmpfs /tmp 2>/dev/null; then seen mount done; else seen mount refused; fi
if unshare -U true 2>/dev/null; then seen unshare done; else seen unshare refused; fi
"#;

fn who(name: &str, context: &Value) -> Value {
    with(shell(name, PROBE), "securityContext", context.clone())
}

/// Ordinary users.
pub fn identities(_: Side, namespace: &str) -> Case {
    let of_image = with(shell("of-image", PROBE), "image", json!(USER_IMAGE));
    let named = with(who("named", &json!({ "runAsUser": 1234 })), "image", json!(USER_IMAGE));
    steps(
        namespace,
        &[
            shell("strategy", PROBE),
            who("user", &json!({ "runAsUser": 2002 })),
            who("group", &json!({ "runAsGroup": 0 })),
            who("both", &json!({ "runAsUser": 65534, "runAsGroup": 65534 })),
            who("none", &json!({ "capabilities": { "drop": ["ALL"] } })),
            who("added", &json!({ "capabilities": { "add": ["SYS_ADMIN", "CHOWN"] } })),
            who("fewer", &json!({ "capabilities": { "drop": ["MKNOD", "NET_RAW"] } })),
            who("locked", &json!({ "allowPrivilegeEscalation": false, "runAsNonRoot": true })),
            who("read-only", &json!({ "readOnlyRootFilesystem": true })),
            who("confined", &json!({ "seccompProfile": { "type": "RuntimeDefault" } })),
            who("unconfined", &json!({ "seccompProfile": { "type": "Unconfined" } })),
            of_image,
            named,
        ],
    )
    .but(&[
        Differs { field: "/containers/step-confined/seen/unshare", why: PROFILE },
        Differs {
            field: "/containers/step-added/seen/status.CapBnd",
            why: "podman would give it to the user at once, and a cluster does not: the run says so",
        },
    ])
}

/// Root, with more and less of it.
pub fn root_identities(_: Side, namespace: &str) -> Case {
    let root = |name: &str, mut context: Value| {
        context["runAsUser"] = 0.into();
        context["runAsGroup"] = 0.into();
        who(name, &context)
    };
    steps(
        namespace,
        &[
            root("root", json!({})),
            root("none", json!({ "capabilities": { "drop": ["ALL"] } })),
            root("one", json!({ "capabilities": { "drop": ["ALL"], "add": ["SETFCAP"] } })),
            root("more", json!({ "capabilities": { "add": ["SYS_ADMIN"] } })),
            root("all", json!({ "capabilities": { "add": ["ALL"] } })),
            root("all-but", json!({ "capabilities": { "add": ["ALL"], "drop": ["SYS_ADMIN"] } })),
            root("locked", json!({ "allowPrivilegeEscalation": false })),
            root("read-only", json!({ "readOnlyRootFilesystem": true })),
            root("confined", json!({ "seccompProfile": { "type": "RuntimeDefault" } })),
            root("privileged", json!({ "privileged": true })),
            with(root("of-image", json!({})), "image", json!(USER_IMAGE)),
        ],
    )
    .but(&[
        Differs { field: "/containers/step-confined/seen/unshare", why: PROFILE },
        Differs { field: "/containers/step-none/seen/root-filesystem", why: ROOT_DIRECTORY },
        Differs { field: "/containers/step-one/seen/root-filesystem", why: ROOT_DIRECTORY },
    ])
}

pub fn identity_files(side: Side, namespace: &str) -> Case {
    let strategy = script_strategy(
        "who",
        (1010, 1020),
        &format!("test -d $(params.shp-output-directory); {PROBE}"),
    );
    let mut strategy: Value = serde_json::from_str(&strategy).unwrap();
    strategy["metadata"]["annotations"] =
        json!({ "buildstrategy.shipwright.io/identity-files": "true" });
    let mut sample = sample("hello").with(Some(&app(side)), &output(side, namespace));
    sample.build["spec"]["strategy"]["name"] = "who".into();
    sample.strategy = strategy;
    Case::of(namespace, &sample.text(), &[])
}

/// Every image has its own user.
pub fn no_strategy_user(_: Side, namespace: &str) -> Case {
    let of_image = |name: &str, image: &str| with(shell(name, PROBE), "image", json!(image));
    let group = with(of_image("group", USER_IMAGE), "securityContext", json!({ "runAsGroup": 77 }));
    let case = steps(
        namespace,
        &[
            shell("plain", PROBE),
            of_image("numeric", USER_IMAGE),
            of_image("named", NAMED_IMAGE),
            group,
            with(shell("group-only", PROBE), "securityContext", json!({ "runAsGroup": 77 })),
        ],
    );
    without_strategy_user(case)
}

/// Knows the user 1234 with the groups 10 and 2000 beside its own; runs as 1234:5678.
const USER_IMAGE: &str = "slipway.test/user:1234";
/// The same, and runs as `app:staff`.
const NAMED_IMAGE: &str = "slipway.test/user:app";

fn settings() -> Vec<String> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" },
        "data": { "colour": "blue\n", "size": "4" }, "binaryData": { "raw": "/wA=" },
    });
    let login = secret("login", "Opaque", &[("user", "ada"), ("password", "pa$(PATH)ss word")]);
    vec![map.to_string(), login]
}

pub fn volumes(_: Side, namespace: &str) -> Case {
    let volumes = [
        json!({ "name": "scratch", "emptyDir": {} }),
        json!({ "name": "memory", "emptyDir": { "medium": "Memory", "sizeLimit": "2Mi" } }),
        json!({ "name": "limited", "emptyDir": { "sizeLimit": "8Mi" } }),
        json!({ "name": "map", "configMap": { "name": "settings", "defaultMode": 0o640, "items": [
            { "key": "colour", "path": "deep/er/colour" }, { "key": "raw", "path": "raw", "mode": 0o400 },
        ] } }),
        json!({ "name": "whole-map", "configMap": { "name": "settings" } }),
        json!({ "name": "secret", "secret": { "secretName": "login", "defaultMode": 0o400 } }),
        json!({ "name": "open-secret", "secret": { "secretName": "login" } }),
        json!({ "name": "optional", "secret": { "secretName": "no-such", "optional": true } }),
        json!({ "name": "downward", "downwardAPI": { "items": [
            { "path": "name", "fieldRef": { "fieldPath": "metadata.name" } },
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" }, "mode": 0o444 },
            { "path": "memory", "resourceFieldRef": { "containerName": "step-look", "resource": "limits.memory" } },
        ] } }),
        json!({ "name": "mixed", "projected": { "sources": [
            { "secret": { "name": "login", "items": [{ "key": "user", "path": "who/user" }] } },
            { "configMap": { "name": "settings", "items": [{ "key": "size", "path": "size", "mode": 0o600 }] } },
            { "downwardAPI": { "items": [{ "path": "space", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
        ] } }),
    ];
    let names: Vec<_> = volumes.iter().map(|volume| volume["name"].as_str().unwrap()).collect();
    let mut mounts: Vec<_> = names
        .iter()
        .map(|name| {
            let scratch = ["scratch", "memory", "limited"].contains(name);
            json!({ "name": name, "mountPath": format!("/v/{name}"), "readOnly": !scratch })
        })
        .collect();
    mounts.push(json!({ "name": "scratch", "mountPath": "/v/part", "subPath": "a/b" }));
    mounts.push(json!({ "name": "map", "mountPath": "/v/one-file", "subPath": "deep/er/colour", "readOnly": true }));
    mounts.push(json!({ "name": "scratch", "mountPath": "/v/kept", "readOnly": true }));
    // The kubelet's names for its own way of changing files at once, `..data` and times, are nobody's business.
    let look = r#"
        seen() { printf 'seen %s\n' "$*"; }
        cd /v
        find -L . -name '..*' ! -name . -prune -o -print | sort | while read -r path; do
            seen "file.$path" $(stat -L -c '%u:%g %a %F' "$path")
            if [ -f "$path" ]; then
                if content=$(od -An -c "$path" 2>/dev/null); then seen "content.$path" $content; else seen "content.$path" refused; fi
            fi
            if touch "$path" 2>/dev/null; then seen "touch.$path" done; else seen "touch.$path" refused; fi
        done
        for directory in *; do
            [ -d $directory ] || continue
            if echo new >$directory/new 2>/dev/null; then seen "new.$directory" $(stat -c '%u:%g %a' $directory/new); else seen "new.$directory" refused; fi
        done
        seen too-large $(head -c 3000000 /dev/zero 2>/dev/null >memory/large && echo written || echo refused)
        while read -r _ _ _ _ point options _; do
            case $point in /v/*) ;; *) continue ;; esac
            case ,$options, in *,ro,*) seen "mount.$point" ro ;; *) seen "mount.$point" rw ;; esac
        done </proc/self/mountinfo
    "#;
    let looking = |name: &str, context: Value| {
        let step = with(shell(name, look), "volumeMounts", json!(mounts));
        let step = with(step, "resources", json!({ "limits": { "memory": "64Mi" } }));
        with(step, "securityContext", context)
    };
    let looks = [looking("look", json!({})), looking("root", json!({ "runAsUser": 0 }))];
    let mut text = settings();
    text.push(run_with(&looks, &volumes));
    Case::of(namespace, &text.join("\n---\n"), &[])
}

pub fn environment(_: Side, namespace: &str) -> Case {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let resource = |name: &str, resource: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": resource } } });
    let key = |name: &str, kind: &str, object: &str, key: &str| json!({ "name": name, "valueFrom": { kind: { "name": object, "key": key, "optional": true } } });
    let env = json!([
        { "name": "PLAIN", "value": "a b  c" },
        { "name": "REFERS", "value": "$(PLAIN) $(NOT_THERE) $$(PLAIN)" },
        { "name": "EMPTY", "value": "" },
        { "name": "HOME", "value": "/tekton/home" },
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("RUN", "metadata.labels['buildrun.shipwright.io/name']"),
        field("ACCOUNT", "spec.serviceAccountName"),
        resource("MOST_MEMORY", "limits.memory"),
        resource("MOST_CPU", "limits.cpu"),
        resource("ASKED_MEMORY", "requests.memory"),
        resource("ASKED_CPU", "requests.cpu"),
        key("COLOUR", "configMapKeyRef", "settings", "colour"),
        key("PASSWORD", "secretKeyRef", "login", "password"),
        key("NOWHERE", "secretKeyRef", "login", "no-such"),
    ]);
    let full = with(shell("full", PROBE), "env", env);
    let limits = json!({ "limits": { "memory": "64Mi", "cpu": "1500m" }, "requests": { "memory": "32Mi", "cpu": "10m" } });
    let full = with(full, "resources", limits);
    let args = step("words", BUSYBOX, &["printf", "<%s>\\n"]);
    let args = with(args, "args", json!(["$(WORD)", "$(NO)", "$$(WORD)", "", "a b"]));
    let args = with(args, "env", json!([{ "name": "WORD", "value": "two words" }]));
    let limited = with(
        shell("unlimited", PROBE),
        "env",
        json!([{ "name": "PATH", "value": "/bin:/elsewhere" }]),
    );
    let mut text = settings();
    text.push(run_with(&[full, args, limited], &[]));
    Case::of(namespace, &text.join("\n---\n"), &[])
}
