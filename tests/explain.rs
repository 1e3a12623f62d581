//! What `slipway explain` tells: the values of the pod, each from whom it comes.
//!
//! `INSTA_UPDATE=always` rewrites the snapshots.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use slipway::plan::explain::{ExplainedContainer, Explanation};
use slipway::plan::{Decider, Origin};
use slipway::view;

use crate::golden;

#[test]
fn explanations_are_as_expected() {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "explain" }, {
        insta::glob!("golden/cases/{identity,sample}-*.yaml", |path| {
            let (expectations, outcome) = golden::run(path);
            let text = match &outcome.explanation {
                Some(explanation) => view::explain(explanation),
                None => outcome.expansion.unwrap_err().join("\n"),
            };
            insta::assert_snapshot!("text", text, &expectations.why);
        });
    });
}

#[test]
fn every_golden_pod_has_the_values_that_are_told() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases");
    let mut agreed = 0;
    for entry in std::fs::read_dir(cases).unwrap() {
        let path = entry.unwrap().path();
        let outcome = golden::run(&path).1;
        if let (Ok(expansion), Some(explanation)) = (&outcome.expansion, &outcome.explanation) {
            assert_agrees(explanation, &expansion.pod, &path.display().to_string());
            agreed += 1;
        }
    }
    assert!(agreed >= 80, "only {agreed} cases have a pod");
}

/// Every container with what its manifest says, and with what Kubernetes has for what it does not say.
#[track_caller]
pub fn assert_agrees(explanation: &Explanation, pod: &Pod, context: &str) {
    let spec = pod.spec.as_ref().unwrap();
    let containers: Vec<_> =
        spec.init_containers.iter().flatten().chain(&spec.containers).collect();
    assert_eq!(explanation.containers.len(), containers.len(), "{context}");
    let supporting = &pod.metadata.annotations.as_ref().unwrap()["slipway.dev/supporting-steps"];
    for (explained, container) in explanation.containers.iter().zip(containers) {
        let says = container.security_context.clone().unwrap_or_default();
        let capabilities = says.capabilities.unwrap_or_default();
        let seccomp = says.seccomp_profile.map_or("Unconfined".to_owned(), |profile| {
            let path = profile.localhost_profile.map(|path| format!("/{path}"));
            profile.type_ + &path.unwrap_or_default()
        });
        let is_supporting =
            container.name == "prepare" || supporting.split(',').any(|name| name == container.name);
        let expected = json!({
            "name": container.name,
            "origin": if is_supporting { "supporting" } else { "strategy" },
            "uid": says.run_as_user,
            "gid": says.run_as_group,
            "groups": [],
            "capabilities": { "add": capabilities.add.unwrap_or_default(), "drop": capabilities.drop.unwrap_or_default() },
            "privileged": says.privileged.unwrap_or(false),
            "allowPrivilegeEscalation": says.allow_privilege_escalation.unwrap_or(true),
            "readOnlyRootFilesystem": says.read_only_root_filesystem.unwrap_or(false),
            "runAsNonRoot": says.run_as_non_root.unwrap_or(false),
            "seccompProfile": seccomp,
        });
        let mut told = json!(explained);
        told.as_object_mut().unwrap().remove("origins");
        told["uid"] = told["uid"]["value"].clone();
        told["gid"] = told["gid"]["value"].clone();
        assert_eq!(told, expected, "{context}");
    }
    assert!(spec.security_context.is_none(), "{context}");
}

/// Of a strategy's steps: what the step wrote is from the step, else from the strategy, else from whoever is left.
#[track_caller]
pub fn assert_origins(explanation: &Explanation, objects: &[Value], context: &str) {
    let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
    let strategy = &of_kind("BuildStrategy").unwrap()["spec"];
    let is_restricted = of_kind("Namespace").is_some();
    let steps = strategy["steps"].as_array().unwrap();
    let is_strategy = |container: &&ExplainedContainer| container.origin == Origin::Strategy;
    let containers: Vec<_> = explanation.containers.iter().filter(is_strategy).collect();
    assert_eq!(containers.len(), steps.len(), "{context}");
    for (container, step) in containers.into_iter().zip(steps) {
        let written = &step["securityContext"];
        for (told, field) in [(&container.uid, "runAsUser"), (&container.gid, "runAsGroup")] {
            let (value, from) = match (&written[field], &strategy["securityContext"][field]) {
                (Value::Null, Value::Null) => (None, Decider::Image),
                (Value::Null, id) => (id.as_i64(), Decider::Strategy),
                (id, _) => (id.as_i64(), Decider::Step),
            };
            assert_eq!((told.value, told.from), (value, from), "{context}");
        }
        let origins = &container.origins;
        let from = |value: &Value| {
            if !value.is_null() {
                Decider::Step
            } else if is_restricted {
                Decider::Namespace
            } else {
                Decider::Kubelet
            }
        };
        assert_eq!(origins.capabilities.drop, from(&written["capabilities"]["drop"]), "{context}");
        assert_eq!(origins.seccomp_profile, from(&written["seccompProfile"]), "{context}");
        let privileged =
            if written["privileged"].is_null() { Decider::Kubelet } else { Decider::Step };
        assert_eq!(origins.privileged, privileged, "{context}");
    }
}
