//! Objects of either version through the API server, which asks the controller for the other one.
//!
//! Invariant: the controller answers sooner or later; until then reading v1alpha1 fails, and is tried again.

use std::time::Instant;

use serde_json::{Value, json};
use slipway::api::{Version, convert};

use super::super::harness::{Namespace, PATIENCE, kubectl, output_of, run};
use super::Controller;

/// The object as the API server has it in this version, such as `v1alpha1`.
fn read(namespace: &Namespace, plural: &str, name: &str, version: &str) -> Value {
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

/// Stores the object, as soon as it can be converted.
fn store(namespace: &Namespace, object: &Value) {
    let deadline = Instant::now() + PATIENCE;
    let mut apply = kubectl(&["--namespace", namespace.name(), "apply", "--filename=-"]);
    loop {
        let output = output_of(&mut apply, &object.to_string());
        if output.status.success() {
            return;
        }
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("conversion webhook"), "{error}");
        assert!(Instant::now() < deadline, "after {PATIENCE:?}: {error}");
    }
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
