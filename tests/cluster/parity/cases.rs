//! The builds that both sides run.

use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::documents::{git_source, sample};
use super::super::harness::secret;
use super::super::steps::{BUSYBOX, in_an_empty_image, run_with, shell, step, with};
use super::Side;
use super::inside::PROBE;
use super::report::Differs;

pub struct Case {
    pub documents: Vec<Value>,
    pub differs: &'static [Differs],
}

/// What may differ in every case.
pub const ALWAYS: &[Differs] = &[
    Differs {
        field: "/containers/*/seen/environment.KUBERNETES_*",
        why: "a cluster tells its pods where its services are",
    },
    Differs { field: "/containers/*/seen/environment.container", why: "podman says its own name" },
    Differs {
        field: "/containers/*/seen/environment.TERM",
        why: "podman sets it, and its Docker API cannot be told otherwise",
    },
    Differs { field: "/containers/*/seen/mount./proc/interrupts", why: MASKED },
    Differs { field: "/containers/*/seen/mount./proc/keys", why: MASKED },
    Differs { field: "/containers/*/seen/mount./proc/timer_list", why: MASKED },
    Differs { field: "/containers/*/seen/mount./sys/dev/block", why: MASKED },
    Differs { field: "/containers/*/seen/mount./dev", why: DEVICES },
    Differs { field: "/containers/*/seen/mount./dev/shm", why: DEVICES },
    Differs { field: "/containers/*/seen/mount./run/.containerenv", why: "podman's own file" },
    Differs { field: "/containers/*/seen/mount./run", why: READ_ONLY_PLACES },
    Differs { field: "/containers/*/seen/mount./tmp", why: READ_ONLY_PLACES },
    Differs { field: "/containers/*/seen/mount./var/tmp", why: READ_ONLY_PLACES },
    Differs { field: "/containers/*/seen/mount./etc/hostname", why: WRITTEN },
    Differs { field: "/containers/*/seen/mount./etc/hosts", why: WRITTEN },
    Differs { field: "/containers/*/seen/mount./etc/resolv.conf", why: WRITTEN },
    Differs {
        field: "/containers/*/seen/mount./etc/passwd",
        why: "the image's own file is bound over itself, so that podman adds nobody",
    },
    Differs {
        field: "/containers/*/seen/mount./etc/group",
        why: "the image's own file is bound over itself, so that podman adds nobody",
    },
    Differs { field: "/containers/*/seen/path./", why: ROOT_DIRECTORY },
];
const MASKED: &str = "each engine masks what it finds dangerous";
const DEVICES: &str = "each engine has flags and sizes of its own for devices";
const WRITTEN: &str = "each engine writes it in a way of its own";
const READ_ONLY_PLACES: &str =
    "podman would make it writable on a read-only root; here it is mounted read-only";
pub const ROOT_DIRECTORY: &str =
    "no layer of these images holds the root directory, and podman makes it 0555";
pub const PROFILE: &str = "podman's default profile allows namespaces, containerd's does not";

impl Case {
    pub fn of(namespace: &str, text: &str, differs: &'static [Differs]) -> Self {
        let mut documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        documents.retain(|document| !document.is_null());
        for document in &mut documents {
            if document["kind"] != "ClusterBuildStrategy" {
                document["metadata"]["namespace"] = namespace.into();
            }
        }
        Self { documents, differs }
    }

    pub fn but(mut self, differs: &'static [Differs]) -> Self {
        self.differs = differs;
        self
    }

    pub fn text(&self) -> String {
        let texts: Vec<_> = self.documents.iter().map(Value::to_string).collect();
        texts.join("\n---\n")
    }

    pub fn buildrun(&self) -> BuildRun {
        let run = self.documents.iter().find(|document| document["kind"] == "BuildRun");
        serde_json::from_value(run.unwrap().clone()).unwrap()
    }
}

/// A list of steps and nothing else.
pub fn steps(namespace: &str, steps: &[Value]) -> Case {
    Case::of(namespace, &run_with(steps, &[]), &[])
}

// --- samples --------------------------------------------------------------------------------------------------------------------------

const STRATEGY_MANAGED: &str = "buildah-strategy-managed-push";
const SHIPWRIGHT_MANAGED: &str = "buildah-shipwright-managed-push";

const BUILT_TWICE: &[Differs] = &[
    Differs {
        field: "/containers/*/results/shp-image-digest",
        why: "buildah writes the time into its images",
    },
    Differs { field: "/status/output/digest", why: "buildah writes the time into its images" },
    Differs {
        field: "/containers/*/results/shp-image-size",
        why: "a time compresses well or badly",
    },
    Differs { field: "/status/output/size", why: "a time compresses well or badly" },
    Differs {
        field: "/containers/step-*/log/*",
        why: "buildah names its blobs and images by their content, the time included",
    },
];

pub fn app(side: Side) -> Value {
    git_source(&format!("{}/app.git", value(side, "GIT_HTTPS")), None, false)
}

fn value(side: Side, name: &str) -> String {
    super::super::harness::variable(&side.variable(name))
}

fn file(side: Side, name: &str) -> String {
    super::super::harness::variable_file(&side.variable(name))
}

pub fn output(side: Side, namespace: &str) -> Value {
    json!({ "image": format!("{}/{namespace}:1", value(side, "REGISTRY")), "insecure": true })
}

fn tls_output(side: Side, namespace: &str) -> Value {
    let image = format!("{}/{namespace}:1", value(side, "REGISTRY_TLS"));
    json!({ "image": image, "pushSecret": "push" })
}

fn push_secret(side: Side, name: &str) -> String {
    let config = file(side, name);
    secret("push", "kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", &config)])
}

fn clone_key(side: Side) -> String {
    let (key, hosts) = (file(side, "GIT_SSH_KEY"), file(side, "GIT_KNOWN_HOSTS"));
    secret("clone", "kubernetes.io/ssh-auth", &[("ssh-privatekey", &key), ("known_hosts", &hosts)])
}

pub fn hello(side: Side, namespace: &str) -> Case {
    let sample = sample("hello").with(None, &output(side, namespace));
    Case::of(namespace, &sample.text(), &[])
}

pub fn strategy_push(side: Side, namespace: &str) -> Case {
    let sample = sample(STRATEGY_MANAGED).with(Some(&app(side)), &output(side, namespace));
    Case::of(namespace, &sample.text(), BUILT_TWICE)
}

pub fn shipwright_push(side: Side, namespace: &str) -> Case {
    let sample = sample(SHIPWRIGHT_MANAGED).with(Some(&app(side)), &output(side, namespace));
    Case::of(namespace, &sample.text(), BUILT_TWICE)
}

fn with_password(side: Side, namespace: &str, name: &str, auth: &str) -> Case {
    let sample = sample(name).with(Some(&app(side)), &tls_output(side, namespace));
    let text = [push_secret(side, auth), sample.text()].join("\n---\n");
    Case::of(namespace, &text, BUILT_TWICE)
}

pub fn strategy_push_tls(side: Side, namespace: &str) -> Case {
    with_password(side, namespace, STRATEGY_MANAGED, "REGISTRY_AUTH")
}

pub fn shipwright_push_tls(side: Side, namespace: &str) -> Case {
    with_password(side, namespace, SHIPWRIGHT_MANAGED, "REGISTRY_AUTH")
}

pub fn strategy_push_wrong_password(side: Side, namespace: &str) -> Case {
    with_password(side, namespace, STRATEGY_MANAGED, "REGISTRY_WRONG_AUTH")
}

pub fn shipwright_push_wrong_password(side: Side, namespace: &str) -> Case {
    with_password(side, namespace, SHIPWRIGHT_MANAGED, "REGISTRY_WRONG_AUTH")
}

/// A user that no image knows fetches over ssh, root builds, the user pushes.
pub fn main_job(side: Side, namespace: &str) -> Case {
    let source = git_source(&format!("{}/app.git", value(side, "GIT_SSH")), None, true);
    let mut sample = sample(SHIPWRIGHT_MANAGED).with(Some(&source), &tls_output(side, namespace));
    sample.strategy["spec"]["securityContext"] = json!({ "runAsUser": 1010, "runAsGroup": 1020 });
    let step = &mut sample.strategy["spec"]["steps"][0]["securityContext"];
    step["runAsUser"] = 0.into();
    step["runAsGroup"] = 0.into();
    let text = [clone_key(side), push_secret(side, "REGISTRY_AUTH"), sample.text()];
    Case::of(namespace, &text.join("\n---\n"), BUILT_TWICE)
}

/// The sample's own reason and message.
pub fn missing_context(side: Side, namespace: &str) -> Case {
    let mut sample = sample(SHIPWRIGHT_MANAGED).with(Some(&app(side)), &output(side, namespace));
    sample.build["spec"]["source"]["contextDir"] = "no/such".into();
    Case::of(namespace, &sample.text(), &[])
}

/// The source step's own reason and message.
pub fn clone_refused(side: Side, namespace: &str) -> Case {
    let source = git_source(&format!("{}/no-such.git", value(side, "GIT_HTTPS")), None, false);
    let sample = sample(SHIPWRIGHT_MANAGED).with(Some(&source), &output(side, namespace));
    Case::of(namespace, &sample.text(), &[])
}

// --- the gate -------------------------------------------------------------------------------------------------------------------------

pub fn exit_code(_: Side, namespace: &str) -> Case {
    let fourth = shell("fourth", "echo fourth");
    steps(
        namespace,
        &[
            shell("first", "echo first"),
            shell("second", "echo second; exit 3"),
            shell("third", "echo third"),
            fourth,
        ],
    )
}

pub fn killed(_: Side, namespace: &str) -> Case {
    steps(namespace, &[shell("first", "echo first; kill -9 $$$$"), shell("second", "echo second")])
}

pub fn terminated(_: Side, namespace: &str) -> Case {
    steps(namespace, &[shell("first", "echo first; kill -15 $$$$"), shell("second", "echo second")])
}

pub fn no_program(_: Side, namespace: &str) -> Case {
    let make = "echo garbage > /workspace/garbage; chmod 755 /workspace/garbage";
    let garbage = step("garbage", BUSYBOX, &["/workspace/garbage"]);
    steps(namespace, &[shell("make", make), garbage, shell("later", "echo later")])
}

pub fn missing_program(_: Side, namespace: &str) -> Case {
    steps(namespace, &[step("missing", BUSYBOX, &["no-such"]), shell("later", "echo later")])
}

pub fn not_executable(_: Side, namespace: &str) -> Case {
    steps(namespace, &[step("passwd", BUSYBOX, &["/etc/passwd"]), shell("later", "echo later")])
}

pub fn working_directories(_: Side, namespace: &str) -> Case {
    let at = |name: &str, directory: &str| {
        with(shell(name, "pwd; stat -c %u:%g:%a ."), "workingDir", json!(directory))
    };
    steps(
        namespace,
        &[
            at("made", "/workspace/made/here"),
            at("of-image", "/bin"),
            at("root", "/"),
            at("missing", "/workspace/source/missing"),
        ],
    )
    .but(&[Differs { field: "/containers/step-root/log/*", why: ROOT_DIRECTORY }])
}

pub fn large_result(_: Side, namespace: &str) -> Case {
    let large =
        step("large", BUSYBOX, &["sh", "-euc", "head -c 100000 /dev/zero | tr '\\0' x > $0"]);
    let large = with(large, "args", json!(["$(results.shp-image-digest.path)"]));
    steps(namespace, &[large, shell("later", "echo later")])
}

pub fn own_words(_: Side, namespace: &str) -> Case {
    let script = "printf Mine > $0; printf '%s' 'my \"words\", größer' > $1; exit 9";
    let failing = step("failing", BUSYBOX, &["sh", "-euc", script]);
    let paths = json!(["$(results.shp-error-reason.path)", "$(results.shp-error-message.path)"]);
    steps(namespace, &[with(failing, "args", paths)])
}

/// Later steps' results take the place of earlier ones'.
pub fn results(_: Side, namespace: &str) -> Case {
    let telling = |name: &str, script: &str| {
        let paths = json!([
            "$(results.shp-image-digest.path)",
            "$(results.shp-image-size.path)",
            "$(results.shp-image-vulnerabilities.path)",
        ]);
        with(step(name, BUSYBOX, &["sh", "-euc", script]), "args", paths)
    };
    steps(
        namespace,
        &[
            telling("first", "printf sha256:aaaa > $0; printf 17 > $1"),
            telling("second", "printf sha256:bbbb > $0; printf 'CVE-1:high,CVE-2:low' > $2"),
            telling("third", "cat $0 $1 $2; echo"),
        ],
    )
}

pub fn orphans(_: Side, namespace: &str) -> Case {
    let script = "i=0; while [ $i -lt 100 ]; do (true &); i=$((i + 1)); done; echo made $i
        zombies() { cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.Z' || true; }
        tries=0; until [ $(zombies) = 0 ] || [ $tries = 100 ]; do sleep 0.01; tries=$((tries + 1)); done
        echo zombies $(zombies)";
    steps(namespace, &[shell("orphans", script)])
}

pub fn empty_image(_: Side, namespace: &str) -> Case {
    let look = format!("stat -c '%u:%g %a' /workspace/copied/slipway-step; {PROBE}");
    steps(namespace, &in_an_empty_image(&look))
        .but(&[Differs { field: "/containers/step-look/seen/unshare", why: PROFILE }])
}

/// Takes more memory than there is.
const TAKE: &str = "tail /dev/zero";

fn limited(name: &str, script: &str) -> Value {
    with(shell(name, script), "resources", json!({ "limits": { "memory": "32Mi" } }))
}

pub fn out_of_memory(_: Side, namespace: &str) -> Case {
    steps(namespace, &[limited("hungry", TAKE), shell("later", "echo later")])
}

pub fn survivor(_: Side, namespace: &str) -> Case {
    let survivor = limited("survivor", &format!("{TAKE} || echo survived $?"));
    steps(namespace, &[survivor, shell("later", "echo later")])
}

pub fn timeout(_: Side, namespace: &str) -> Case {
    const EITHER: &[Differs] = &[Differs {
        field: "/containers/step-later/**",
        why: "told itself, or woken by the one before, whichever comes first",
    }];
    let long = shell("long", "echo long; exec sleep 1000");
    let mut case = Case::of(namespace, &run_with(&[long, shell("later", "true")], &[]), EITHER);
    let run = case.documents.iter_mut().find(|document| document["kind"] == "BuildRun");
    run.unwrap()["spec"]["timeout"] = "5s".into();
    case
}

/// The kubelet removes the containers of a pod that it evicts, and may do so before it has noted how they ended.
const REMOVED: &[Differs] = &[
    Differs { field: "/containers/step-filling/**", why: "removed before its end was noted" },
    Differs {
        field: "/status/failureDetails/location/container",
        why: "no container is known to have failed",
    },
];

pub fn evicted(_: Side, namespace: &str) -> Case {
    let volume = json!({ "name": "small", "emptyDir": { "sizeLimit": "1Mi" } });
    let fill = "head -c 4000000 /dev/zero > /small/file; exec sleep 1000";
    let mounts = json!([{ "name": "small", "mountPath": "/small" }]);
    let filling = with(shell("filling", fill), "volumeMounts", mounts);
    Case::of(namespace, &run_with(&[filling], &[volume]), REMOVED)
}

/// The strategy leaves users to steps and images.
pub fn without_strategy_user(mut case: Case) -> Case {
    let strategy = case.documents.iter_mut().find(|document| document["kind"] == "BuildStrategy");
    strategy.unwrap()["spec"].as_object_mut().unwrap().remove("securityContext");
    case
}

// --- what cannot start ------------------------------------------------------------------------------------------------------------------

const NOTHING_STARTS: &[Differs] = &[Differs {
    field: "/containers/**",
    why: "a kubelet starts what it can; here nothing starts where something cannot",
}];

const IMAGE_MISSING: &[Differs] = &[
    Differs { field: "/status/conditions/0/message", why: "an engine has words of its own" },
    Differs {
        field: "/pod/*",
        why: "a kubelet's pod is ended by the controller; here it never began",
    },
    NOTHING_STARTS[0],
];

fn missing(namespace: &str, policy: &str) -> Case {
    let missing = step("missing", "registry.slipway.test:5000/no/such:1", &["true"]);
    let missing = with(missing, "imagePullPolicy", json!(policy));
    let text = run_with(&[missing, shell("later", "true")], &[]);
    Case::of(namespace, &text, IMAGE_MISSING)
}

pub fn missing_image(_: Side, namespace: &str) -> Case {
    missing(namespace, "IfNotPresent")
}

pub fn never_pulled(_: Side, namespace: &str) -> Case {
    missing(namespace, "Never")
}

const NOTHING_BEGINS: &[Differs] = &[
    Differs {
        field: "/pod/*",
        why: "a kubelet's pod is ended by the controller; here it never began",
    },
    NOTHING_STARTS[0],
];

pub fn missing_secret(_: Side, namespace: &str) -> Case {
    let reference = json!({ "secretKeyRef": { "name": "no-such", "key": "word" } });
    let env = json!([{ "name": "WORD", "valueFrom": reference }]);
    let needy = with(shell("needy", "true"), "env", env);
    let text = run_with(&[needy, shell("later", "true")], &[]);
    Case::of(namespace, &text, NOTHING_BEGINS)
}

pub fn missing_value(_: Side, namespace: &str) -> Case {
    let volume = json!({ "name": "scratch", "emptyDir": {} });
    let mount = |path: &str, expression: &str| json!({ "name": "scratch", "mountPath": path, "subPathExpr": expression });
    let mounts = json!([mount("/one", "x/$(NOPE)/$(EMPTY)"), mount("/two", "$(ALSO_NOT)")]);
    let env = json!([{ "name": "EMPTY", "value": "" }]);
    let needy = with(with(shell("needy", "true"), "env", env), "volumeMounts", mounts);
    let text = run_with(&[needy, shell("later", "true")], &[volume]);
    Case::of(namespace, &text, NOTHING_BEGINS)
}

pub fn root_refused(_: Side, namespace: &str) -> Case {
    // Only the image says that it is root.
    let root = with(shell("root", "true"), "securityContext", json!({ "runAsNonRoot": true }));
    let text = run_with(&[root, shell("later", "true")], &[]);
    without_strategy_user(Case::of(namespace, &text, NOTHING_BEGINS))
}
