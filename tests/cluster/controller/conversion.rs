//! Objects of either version through the API server, which asks the controller for the other one.
//!
//! Invariant: the controller answers sooner or later; until then reading v1alpha1 fails, and is tried again.

use std::time::Instant;

use serde_json::{Value, json};
use slipway::api::{Version, convert};

use super::super::documents::{clone_key, ssh_url};
use super::super::harness::{Namespace, PATIENCE, kubectl, output_of, run, variable};
use super::Controller;
use super::disturbed::put_back;
use super::runs::{BUILT, end_of, pod_of, words};

/// The object as the API server has it in this version, such as `v1alpha1`.
pub fn read(namespace: &Namespace, plural: &str, name: &str, version: &str) -> Value {
    let kind = format!("{plural}.{version}.shipwright.io");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = namespace.try_kubectl(&["get", &kind, name, "--output=json"]);
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).unwrap();
        }
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("conversion webhook"), "{error}");
        assert!(Instant::now() < deadline, "after {PATIENCE:?}: {error}");
    }
}

/// What kubectl does with an object of either version, as soon as it can be converted.
pub fn write(namespace: &Namespace, arguments: &[&str], object: &Value) {
    let deadline = Instant::now() + PATIENCE;
    let mut command = kubectl(&[&["--namespace", namespace.name()], arguments].concat());
    let document = object.to_string();
    loop {
        let output = output_of(&mut command, &document);
        if output.status.success() {
            return;
        }
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("conversion webhook"), "{error}");
        assert!(Instant::now() < deadline, "after {PATIENCE:?}: {error}");
    }
}

fn store(namespace: &Namespace, object: &Value) {
    write(namespace, &["apply", "--filename=-"], object);
}

fn alpha(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "shipwright.io/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

#[test]
fn what_is_stored_in_either_version_is_read_in_both() {
    let _controller = Controller::installed();
    let namespace = Namespace::judged("versions");
    let command = ["echo", "$(params.DOCKERFILE)"];
    let step =
        json!({ "name": "build", "image": "docker.io/library/busybox:1.37", "command": command });
    let objects = [
        ("buildstrategies", alpha("BuildStrategy", "s", &json!({ "buildSteps": [step] }))),
        (
            "builds",
            alpha(
                "Build",
                "app",
                &json!({
                    "source": { "url": "https://git.example.com/app", "contextDir": "src" },
                    "strategy": { "name": "s", "kind": "BuildStrategy" },
                    "dockerfile": "Containerfile",
                    "output": { "image": "registry.slipway.test:5000/app" },
                }),
            ),
        ),
        (
            "buildruns",
            alpha(
                "BuildRun",
                "run",
                &json!({ "buildRef": { "name": "app", "apiVersion": "v1" }, "state": "BuildRunCanceled" }),
            ),
        ),
    ];
    for (plural, object) in &objects {
        store(&namespace, object);
        let name = object["metadata"]["name"].as_str().unwrap();
        let read_alpha = read(&namespace, plural, name, "v1alpha1");
        let mut spec = object["spec"].clone();
        if *plural == "buildruns" {
            // It is always shown.
            spec["serviceAccount"] = json!({});
        }
        assert_eq!(read_alpha["spec"], spec, "{read_alpha}");
        let read_beta = read(&namespace, plural, name, "v1beta1");
        assert_eq!(read_beta["apiVersion"], "shipwright.io/v1beta1");
        assert_eq!(read_beta["spec"], convert(object.clone(), Version::V1beta1).unwrap()["spec"]);
    }
    // Lists are converted at once, and the columns are those of the version.
    let table = namespace.kubectl(&["get", "builds.v1alpha1.shipwright.io"]);
    assert!(table.lines().nth(1).unwrap().starts_with("app "), "{table}");

    // A change in one version is seen in the other.
    let image = json!({ "spec": { "output": { "image": "registry.slipway.test:5000/other" } } });
    let patch = [
        "patch",
        "builds.v1alpha1.shipwright.io/app",
        "--type=merge",
        "--patch",
        &image.to_string(),
    ];
    namespace.kubectl(&patch);
    let beta = read(&namespace, "builds", "app", "v1beta1");
    assert_eq!(beta["spec"]["output"]["image"], "registry.slipway.test:5000/other");
}

/// Whoever replaces a definition takes the certificate away with it.
#[test]
fn a_definition_that_forgot_whom_to_trust_is_told_again() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("forgotten");
    let step =
        json!({ "name": "build", "image": "docker.io/library/busybox:1.37", "command": ["true"] });
    store(&namespace, &alpha("BuildStrategy", "s", &json!({ "buildSteps": [step] })));
    let definition = "customresourcedefinition/buildstrategies.shipwright.io";
    let bundle = "--output=jsonpath={.spec.conversion.webhook.clientConfig.caBundle}";
    let trusted = || run(kubectl(&["get", definition, bundle]), "");
    let before = trusted();
    assert!(!before.is_empty());
    let none = json!({ "spec": { "conversion": { "webhook": { "clientConfig": { "caBundle": null } } } } });
    run(kubectl(&["patch", definition, "--type=merge", "--patch", &none.to_string()]), "");
    let told =
        format!("--for=jsonpath={{.spec.conversion.webhook.clientConfig.caBundle}}={before}");
    run(kubectl(&["wait", &told, definition, "--timeout=180s"]), "");
    read(&namespace, "buildstrategies", "s", "v1alpha1");
}

/// The example of SHIP-0036, with an image and a command where it has `...`.
const EXAMPLE: &str = r#"
apiVersion: shipwright.io/v1alpha1
kind: ClusterBuildStrategy
metadata:
  name: buildpacks-v3
spec:
  securityContext:
    runAsUser: 1001
    runAsGroup: 1000
  buildSteps:
  - name: build
    securityContext:
      runAsGroup: 0
    image: docker.io/library/busybox:1.37
    command: [sh, -euc, "id -u; id -g; stat -c %u:%g /workspace/source/Dockerfile"]
"#;

/// A strategy of the cluster, which goes with the test.
struct Example;

impl Drop for Example {
    fn drop(&mut self) {
        let delete = ["delete", "clusterbuildstrategy", "buildpacks-v3", "--ignore-not-found"];
        put_back(|| drop(run(kubectl(&delete), "")));
    }
}

#[test]
fn the_example_of_the_first_proposal_is_applied_and_runs_as_it_says() {
    let _controller = Controller::installed();
    let namespace = Namespace::judged("example");
    let example = serde_saphyr::from_str::<Value>(EXAMPLE).unwrap();
    let _example = Example;
    // As text, as it is in the proposal.
    let deadline = Instant::now() + PATIENCE;
    while !output_of(&mut kubectl(&["apply", "--filename=-"]), EXAMPLE).status.success() {
        assert!(Instant::now() < deadline, "the example is refused");
    }
    let stored = read(&namespace, "clusterbuildstrategies", "buildpacks-v3", "v1alpha1");
    assert_eq!(stored["spec"], example["spec"]);

    namespace.apply(&clone_key());
    let build = json!({
        "source": { "url": ssh_url("app"), "credentials": { "name": "clone" } },
        "strategy": { "name": "buildpacks-v3", "kind": "ClusterBuildStrategy" },
        "output": { "image": format!("{}/{}:1", variable("SLIPWAY_REGISTRY"), namespace.name()), "insecure": true },
    });
    store(&namespace, &alpha("Build", "app", &build));
    store(&namespace, &alpha("BuildRun", "app", &json!({ "buildRef": { "name": "app" } })));
    let ended = end_of(&namespace, "app");
    assert_eq!(words(&ended), Some(BUILT));
    let pod = namespace.wait_until_ended(pod_of(&ended)).expect_success();
    let of_strategy = (1001, 1000);
    assert_eq!(pod.user("prepare"), of_strategy);
    assert_eq!(pod.user("step-source-default"), of_strategy);
    assert_eq!(pod.user("step-build"), (1001, 0));
    assert_eq!(pod.log("step-build"), "1001\n0\n1001:1000\n");
    let shown = read(&namespace, "buildruns", "app", "v1alpha1");
    assert_eq!(shown["status"]["conditions"][0]["status"], "True", "{shown:#}");
    assert_eq!(shown["status"]["sources"][0]["git"]["commitAuthor"], "Ada Example", "{shown:#}");
}

/// It is judged as what it becomes: the API server converts it before it asks.
#[test]
fn a_bad_object_of_v1alpha1_is_refused() {
    let _controller = Controller::installed();
    let namespace = Namespace::judged("alpha-refused");
    let mut spec = json!({
        "source": { "url": "https://git.example.com/app" }, "strategy": { "name": "s" },
        "output": { "image": "registry.slipway.test:5000/app" }, "env": [{ "name": "", "value": "x" }],
    });
    let refusal = |spec: &Value, words: &str| {
        let deadline = Instant::now() + PATIENCE;
        let apply = ["--namespace", namespace.name(), "apply", "--dry-run=server", "--filename=-"];
        loop {
            let document = alpha("Build", "app", spec).to_string();
            let output = output_of(&mut kubectl(&apply), &document);
            let error = String::from_utf8_lossy(&output.stderr);
            if error.contains(words) {
                assert!(!output.status.success(), "{error}");
                return;
            }
            // Who cannot be asked refuses nothing.
            assert!(Instant::now() < deadline, "after {PATIENCE:?}: {error}");
        }
    };
    refusal(
        &spec,
        "spec.env[0].name: SpecEnvNameCanNotBeBlank: name for environment variable must not be blank",
    );
    // The schema is that of the version.
    spec["dockerfile"] = json!(5);
    refusal(&spec, "spec.dockerfile");
}
