//! Whoever knows only one version changes what he sees, and nothing else is lost on the way through the API server.

use serde_json::{Value, json};
use slipway::api::Version::{self, V1alpha1, V1beta1};
use slipway::api::{PRESERVED_ANNOTATION, convert};

use super::super::harness::{Namespace, kubectl, run};
use super::Controller;
use super::conversion::{read, write};
use super::disturbed::put_back;
use super::runs::end_of;

const PLURALS: [(&str, &str); 4] = [
    ("buildstrategies", "BuildStrategy"),
    ("clusterbuildstrategies", "ClusterBuildStrategy"),
    ("builds", "Build"),
    ("buildruns", "BuildRun"),
];

/// The strategy of the cluster that a test leaves behind unless it is deleted.
struct OfCluster(String);

impl Drop for OfCluster {
    fn drop(&mut self) {
        let delete = ["delete", "clusterbuildstrategy", &self.0, "--ignore-not-found"];
        put_back(|| drop(run(kubectl(&delete), "")));
    }
}

/// How the other version is written.
#[derive(Clone, Copy, Debug)]
enum How {
    Patched,
    Applied,
    AppliedByServer,
    Replaced,
}

const ALL: [How; 4] = [How::Patched, How::Applied, How::AppliedByServer, How::Replaced];

fn object(version: Version, kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": version.api_version(), "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// Objects of every kind, in the order in which they are made, are changed in every way in the version that they were not made in.
fn changed_in_the_other_version(
    test: &str,
    made: Version,
    spec: impl Fn(&str) -> Value,
    status: &Value,
) {
    let other = if made == V1beta1 { V1alpha1 } else { V1beta1 };
    let _controller = Controller::installed();
    let namespace = Namespace::new(test);
    let name = namespace.name();
    let _of_cluster = OfCluster(name.to_owned());
    for (plural, kind) in PLURALS {
        write(&namespace, &["create", "--filename=-"], &object(made, kind, name, &spec(kind)));
        if kind == "BuildRun" {
            // It has ended when it is refused, and nobody writes its status any more.
            end_of(&namespace, name);
            let patch = json!({ "status": status }).to_string();
            let target = format!("{plural}.{}.shipwright.io/{name}", made.name());
            let arguments = ["patch", &target, "--subresource=status", "--type=merge", "--patch"];
            write(&namespace, &[&arguments[..], &[&patch]].concat(), &Value::Null);
        }
        let before = read(&namespace, plural, name, made.name());
        let mut expected = parts(&before);
        if kind == "BuildRun" {
            for (field, value) in status.as_object().unwrap() {
                assert_eq!(&expected["status"][field], value, "{before:#}");
            }
        }
        for (minutes, how) in (2..).zip(ALL) {
            let shown = read(&namespace, plural, name, other.name());
            assert!(is_kept(&shown), "{shown:#}");
            let converted = convert(read(&namespace, plural, name, made.name()), other).unwrap();
            assert_eq!(parts(&shown)["spec"], parts(&converted)["spec"]);
            change(&namespace, (plural, other), how, shown, minutes);

            merge(&mut expected["spec"], &small(kind, minutes));
            let now = read(&namespace, plural, name, made.name());
            assert_eq!(parts(&now), expected, "{how:?} in {other}: {now:#}");
            assert!(!is_kept_for(&now, made), "{now:#}");
        }
    }
}

/// What a test compares: of Builds the status is the controller's own.
fn parts(object: &Value) -> Value {
    match object["kind"].as_str() {
        Some("BuildRun") => json!({ "spec": object["spec"], "status": object["status"] }),
        _ => json!({ "spec": object["spec"] }),
    }
}

fn is_kept(object: &Value) -> bool {
    object["metadata"]["annotations"].get(PRESERVED_ANNOTATION).is_some()
}

fn is_kept_for(object: &Value, version: Version) -> bool {
    let kept = object["metadata"]["annotations"][PRESERVED_ANNOTATION].as_str();
    let kept: Option<Value> = kept.map(|kept| serde_json::from_str(kept).unwrap());
    kept.is_some_and(|kept| kept["for"] == version.api_version())
}

/// Something that both versions call the same.
fn small(kind: &str, number: u32) -> Value {
    match kind {
        "Build" | "BuildRun" => json!({ "timeout": format!("{number}m0s") }),
        _ => json!({ "securityContext": { "runAsUser": number, "runAsGroup": number } }),
    }
}

fn change(
    namespace: &Namespace,
    (plural, version): (&str, Version),
    how: How,
    mut shown: Value,
    number: u32,
) {
    let (kind, name) = (shown["kind"].as_str().unwrap().to_owned(), namespace.name());
    let small = small(&kind, number);
    let manifest = object(version, &kind, name, &small);
    match how {
        How::Patched => {
            let patch = json!({ "spec": small }).to_string();
            let target = format!("{plural}.{}.shipwright.io/{name}", version.name());
            let patch = ["patch", &target, "--type=merge", "--patch", &patch];
            write(namespace, &patch, &Value::Null);
        }
        How::Applied => write(namespace, &["apply", "--filename=-"], &manifest),
        How::AppliedByServer => {
            let apply = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
            write(namespace, &apply, &manifest);
        }
        How::Replaced => {
            merge(&mut shown["spec"], &small);
            // kubectl takes the newest: the controller may have written the status meanwhile.
            shown["metadata"].as_object_mut().unwrap().remove("resourceVersion");
            write(namespace, &["replace", "--filename=-"], &shown);
        }
    }
}

fn merge(object: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().unwrap() {
        object[name] = value.clone();
    }
}

/// A Build with everything that v1alpha1 has no field for.
fn beta_build() -> Value {
    json!({
        "source": { "type": "Git", "contextDir": "d", "git": { "url": "https://git.example.com/app", "revision": "main", "depth": 3, "cloneSecret": "c" } },
        "strategy": { "name": "nobody", "kind": "BuildStrategy", "stepResources": [{ "name": "a", "resources": { "limits": { "cpu": "1" } } }] },
        "paramValues": [
            { "name": "dockerfile", "secretValue": { "name": "s", "key": "k" } }, { "name": "a", "value": "1" },
            { "name": "builder-image", "value": "b" }, { "name": "c", "values": [{ "value": "2" }] },
        ],
        "output": { "image": "registry.slipway.test:5000/app", "pushSecret": "p", "insecure": true, "timestamp": "Zero",
            "platforms": [{ "os": "linux", "arch": "arm64" }], "vulnerabilityScan": { "enabled": true, "ignore": { "severity": "low", "id": ["CVE-1"] } } },
        "retention": { "failedLimit": 2, "atBuildDeletion": true },
        "nodeSelector": { "disk": "ssd" }, "tolerations": [{ "key": "k", "operator": "Exists" }],
        "schedulerName": "mine", "runtimeClassName": "mine",
        "env": [{ "name": "A", "value": "b" }], "volumes": [{ "name": "v", "emptyDir": {} }],
    })
}

fn beta_spec(kind: &str) -> Value {
    match kind {
        "Build" => {
            let mut spec = beta_build();
            spec["trigger"] = json!({ "triggerSecret": "t", "when": [{ "name": "p", "type": "Pipeline", "objectRef": { "name": "o" } }] });
            spec
        }
        "BuildRun" => json!({
            "build": { "spec": beta_build() },
            "output": { "image": "registry.slipway.test:5000/other", "insecure": true, "timestamp": "Zero", "vulnerabilityScan": { "enabled": true } },
            "stepResources": [{ "name": "a", "resources": { "requests": { "memory": "1Gi" } } }],
            "nodeSelector": { "disk": "hdd" }, "tolerations": [{ "key": "l", "operator": "Exists" }],
            "schedulerName": "other", "runtimeClassName": "other", "serviceAccount": "builder",
        }),
        _ => json!({
            "steps": [{ "name": "build", "image": "docker.io/library/busybox:1.37", "command": ["echo", "$(params.dockerfile)"], "args": ["$(params.own[*])"] }],
            "parameters": [
                { "name": "dockerfile", "description": "my own words", "type": "string", "default": "Dockerfile" },
                { "name": "own", "description": "d", "type": "array", "defaults": [] },
            ],
        }),
    }
}

#[test]
fn what_v1alpha1_has_no_field_for_survives_changes_in_it() {
    let status = json!({
        "executor": { "name": "ran", "kind": "PipelineRun" },
        "output": { "digest": "sha256:0", "size": 3, "vulnerabilities": [{ "id": "CVE-1", "severity": "high" }] },
        "source": { "git": { "commitSha": "a", "commitAuthor": "b", "branchName": "c" }, "timestamp": "2026-01-02T03:04:05Z" },
        "failureDetails": { "reason": "r", "message": "m", "location": { "pod": "p", "container": "c" } },
        "buildSpec": beta_build(),
    });
    changed_in_the_other_version("beta-survives", V1beta1, beta_spec, &status);
}

fn alpha_spec(kind: &str) -> Value {
    match kind {
        "Build" => json!({
            "source": { "url": "https://git.example.com/app", "credentials": { "name": "c" } },
            "sources": [{ "name": "h", "type": "HTTP", "url": "https://example.com/logo.png" }],
            "strategy": { "name": "nobody", "kind": "BuildStrategy", "apiVersion": "shipwright.io/v1alpha1" },
            "dockerfile": "D", "builder": { "image": "b", "credentials": { "name": "c" }, "labels": { "a": "b" } },
            "output": { "image": "registry.slipway.test:5000/app", "credentials": { "name": "p" } },
            "volumes": [{ "name": "v", "description": "what for", "emptyDir": {} }],
        }),
        "BuildRun" => json!({
            "buildRef": { "name": "nobody", "apiVersion": "shipwright.io/v1alpha1" },
            "serviceAccount": { "name": "mine", "generate": true },
            "sources": [{ "name": "h", "type": "HTTP", "url": "https://example.com/logo.png" }, { "name": "l", "type": "LocalCopy", "timeout": "1m0s" }],
            "output": { "image": "registry.slipway.test:5000/other", "insecure": true, "timestamp": "Zero" },
        }),
        _ => json!({
            "buildSteps": [
                { "name": "build", "image": "docker.io/library/busybox:1.37", "command": ["echo", "$(params.DOCKERFILE) $(build.dockerfile)"],
                    "envFrom": [{ "configMapRef": { "name": "c" } }], "stdin": true, "ports": [{ "containerPort": 80, "protocol": "TCP" }] },
                { "name": "last", "image": "docker.io/library/busybox:1.37", "command": ["true"], "terminationMessagePath": "/t" },
            ],
        }),
    }
}

#[test]
fn what_v1beta1_has_no_field_for_survives_changes_in_it() {
    let status = json!({
        "latestTaskRunRef": "ran",
        "output": { "digest": "sha256:0", "size": 3 },
        "sources": [{ "name": "first", "git": { "commitSha": "a" } }, { "name": "last", "bundle": { "digest": "sha256:1" } }],
        "failedAt": { "pod": "p" },
    });
    changed_in_the_other_version("alpha-survives", V1alpha1, alpha_spec, &status);
}
