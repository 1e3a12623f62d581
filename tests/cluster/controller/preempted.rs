//! A pod that has to make room for one of higher priority: it is lost, and replaced once there is room again.

use std::cell::Cell;

use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::harness::{Namespace, kubectl, phase, run, variable};
use super::super::steps::{BUSYBOX, shell, with};
use super::Controller;
use super::disturbed::put_back;
use super::runs::{
    BUILT, RUNNING, course, expect_ended, live, only_pod, pod_of, run_called, words,
};

/// Something that the node has one of.
struct Slot {
    resource: String,
    namespace: String,
}

impl Slot {
    fn new(namespace: &Namespace) -> Self {
        let slot = Self {
            resource: format!("slipway.test/{}", namespace.name()),
            namespace: namespace.name().to_owned(),
        };
        slot.patch(&json!("1"));
        let class = [
            "create",
            "priorityclass",
            namespace.name(),
            "--value=1000",
            "--description=Goes before.",
        ];
        run(kubectl(&class), "");
        slot
    }

    fn patch(&self, count: &Value) {
        let patch = json!({ "status": { "capacity": { &self.resource: count }, "allocatable": { &self.resource: count } } });
        let node = variable("SLIPWAY_NODE");
        run(
            kubectl(&[
                "patch",
                "node",
                &node,
                "--subresource=status",
                "--type=merge",
                "--patch",
                &patch.to_string(),
            ]),
            "",
        );
    }

    fn wanted(&self) -> Value {
        json!({ "requests": { &self.resource: "1" }, "limits": { &self.resource: "1" } })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        put_back(|| {
            run(kubectl(&["delete", "priorityclass", &self.namespace]), "");
            self.patch(&Value::Null);
        });
    }
}

#[test]
fn a_pod_that_makes_room_is_replaced() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("preempted");
    let slot = Slot::new(&namespace);
    let wait = "until test -e /workspace/go; do sleep 0.01; done";
    let sample = run_called(
        "meek",
        &[with(shell("long", wait), "resources", slot.wanted()), shell("last", "true")],
    );
    let urgent = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "urgent" },
        "spec": {
            "priorityClassName": namespace.name(), "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "urgent", "image": BUSYBOX, "command": ["sleep", "1000"], "resources": slot.wanted() }],
        },
    });
    let steps = Cell::new(0);
    let exceeded = ("Unknown", "ExceededNodeResources", "TaskRun Pod exceeded available resources");
    let lives = live(&namespace, &[sample], |run: &BuildRun| {
        match (steps.get(), words(run)) {
            (0, Some(RUNNING)) => {
                namespace.wait_until_running(pod_of(run), "step-long");
                namespace.apply(&urgent.to_string());
            }
            // Nobody else may have the place as long as the other one needs it.
            (1, Some(words)) if words == exceeded => {
                let urgent = namespace.wait_until_running("urgent", "urgent");
                assert_eq!(phase(&urgent), "Running");
                namespace.kubectl(&["delete", "pod", "urgent"]);
            }
            (2, Some(RUNNING)) => {
                namespace.wait_until_running(pod_of(run), "step-long");
                namespace.let_go(pod_of(run), "step-long");
            }
            _ => return,
        }
        steps.set(steps.get() + 1);
    });
    let life = &lives["meek"];
    let run = life.last().unwrap();
    let named = |run: &BuildRun| run.metadata.annotations.as_ref()?.get("slipway.dev/pod").cloned();
    let mut pods: Vec<_> = life.iter().filter_map(named).collect();
    pods.dedup();
    expect_ended(run, BUILT, &Value::Null);
    assert_eq!((pods.len(), pod_of(run)), (2, &*pods[1]));
    assert_eq!(run.metadata.annotations.as_ref().unwrap()["slipway.dev/attempt"], "1");
    let lost = format!(
        "pod {} was lost with its node or its place there; it is replaced (1 of at most 2)",
        pods[0]
    );
    // What a pod says of itself while it starts depends on the moment.
    let mut seen = course(life);
    seen.retain(|(_, reason, message)| *reason != "Pending" || message.contains(" was lost "));
    seen.dedup();
    assert_eq!(seen, [RUNNING, ("Unknown", "Pending", &lost), exceeded, RUNNING, BUILT]);
    only_pod(&namespace, run);
}
