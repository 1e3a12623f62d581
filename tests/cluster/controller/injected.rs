//! What others put into a run's pod: containers beside the steps, as a mesh's admission webhook does.
//!
//! Invariant: steps decide what becomes of the run; whatever goes on beside them is ended.

use std::cell::Cell;

use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::harness::{Namespace, phase, status};
use super::super::steps::{BUSYBOX, shell};
use super::Controller;
use super::policy::Policy;
use super::runs::{
    BUILT, course, expect_ended, live, located, logs, name_of, only_pod, pod_of, run_called,
};

/// Goes on for ever, and does not listen.
const DEAF: &str = "trap '' TERM; echo hears; while :; do sleep 0.1; done";
/// Says nothing of its own when it is told to end.
pub const PROXY: &str = "trap 'exit 9' TERM; while :; do sleep 0.1; done";

pub fn container(script: &str) -> Value {
    json!({ "name": "proxy", "image": BUSYBOX, "command": ["sh", "-euc", script] })
}

pub fn beside(container: &Value) -> Value {
    json!({ "op": "add", "path": "/spec/containers/-", "value": container })
}

fn before(mut container: Value) -> Value {
    container["restartPolicy"] = "Always".into();
    json!({ "op": "add", "path": "/spec/initContainers/-", "value": container })
}

#[test]
fn containers_that_others_put_into_a_pod() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("injected");
    let crashes = "exit 7";
    let missing =
        json!({ "name": "proxy", "image": "slipway.test/no/such:1", "imagePullPolicy": "Never" });
    let good = || [shell("first", "true"), shell("last", "echo done")];
    let bad = || [shell("first", "true"), shell("wrong", "exit 3")];
    let rows = [
        ("goes-on", good(), beside(&container(PROXY))),
        ("crashes", good(), beside(&container(crashes))),
        ("never-comes", good(), beside(&missing)),
        ("restarted", good(), before(container(PROXY))),
        ("wrong", bad(), beside(&container(PROXY))),
        ("wrong-restarted", bad(), before(container(PROXY))),
    ];
    let _policies: Vec<_> = rows
        .iter()
        .map(|(name, _, change)| {
            Policy::changing_the_pod_of(&namespace, name, std::slice::from_ref(change))
        })
        .collect();
    let samples = rows.map(|(name, steps, _)| run_called(name, &steps));
    let lives = live(&namespace, &samples, |_| {});
    for (name, life) in &lives {
        let run = life.last().unwrap();
        if name.starts_with("wrong") {
            let message = format!(
                "buildrun step step-wrong failed, for detailed information: {}",
                logs(run, "step-wrong")
            );
            expect_ended(run, ("False", "Failed", &message), &located(run, Some("step-wrong")));
        } else {
            expect_ended(run, BUILT, &Value::Null);
        }
        let ended = namespace.wait_until_ended(pod_of(run));
        let others = status(&ended.pod, "proxy").unwrap_or_else(|| panic!("{name} has no proxy"));
        // Of what never came there is no state to speak of.
        assert!(
            name == "never-comes" || others.state.as_ref().unwrap().terminated.is_some(),
            "{name}"
        );
        assert_eq!(ended.log("step-first"), "", "{name}");
        only_pod(&namespace, run);
    }
    let done = namespace.log(pod_of(lives["goes-on"].last().unwrap()), "step-last");
    assert_eq!(done, "done\n");
}

/// The container beside the steps goes on for the whole grace period: until then only it does.
#[test]
fn a_run_that_is_ended_beside_a_container_that_is_deaf() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("injected-deaf");
    let policies = ["canceled", "late"]
        .map(|name| Policy::changing_the_pod_of(&namespace, name, &[beside(&container(DEAF))]));
    let steps = || [shell("first", "echo runs; exec sleep 1000"), shell("last", "true")];
    let canceled = run_called("canceled", &steps());
    let mut late = run_called("late", &steps());
    late.run["spec"]["timeout"] = "45s".into();
    let is_told = Cell::new(false);
    let lives = live(&namespace, &[canceled, late], |run: &BuildRun| {
        let runs = run.succeeded().is_some_and(|condition| condition.reason == "Running");
        if name_of(run) == "canceled" && runs && !is_told.replace(true) {
            namespace.wait_for_log(pod_of(run), "step-first", "runs");
            let cancel = r#"{"spec":{"state":"BuildRunCanceled"}}"#;
            namespace.kubectl(&[
                "patch",
                "buildrun",
                "canceled",
                "--type=merge",
                "--patch",
                cancel,
            ]);
        }
    });
    drop(policies);
    for (name, reason, message) in [
        (
            "canceled",
            "BuildRunCanceled",
            "The BuildRun and underlying TaskRun were canceled successfully.",
        ),
        ("late", "BuildRunTimeout", "BuildRun late failed to finish within 45s"),
    ] {
        let run = lives[name].last().unwrap();
        expect_ended(run, ("False", reason, message), &Value::Null);
        assert!(
            course(&lives[name])
                .iter()
                .all(|(status, reason, _)| *status == "Unknown" || *reason != "Failed")
        );
        let ended = namespace.wait_until_ended(pod_of(run));
        assert_eq!((phase(&ended.pod), &*ended.log("step-first")), ("Failed", "runs\n"));
    }
}
