//! Pods that the cluster takes away: drained, or gone with their node.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::documents::Sample;
use super::super::harness::{Namespace, PATIENCE, kubectl, run, variable};
use super::super::steps::shell;
use super::Controller;
use super::disturbed::Component;
use super::runs::{
    BUILT, RUNNING, Words, course, end_of, expect_ended, live, located, name_of, only_pod, pod_of,
    run_called, until, words,
};

/// Waits until the test says go.
pub const WAIT: &str = "until test -e /workspace/go; do sleep 0.01; done";
const ATTEMPT: &str = "slipway.dev/attempt";

/// What a drain asks for each pod.
pub fn evict(namespace: &Namespace, pod: &str) {
    let metadata = json!({ "name": pod, "namespace": namespace.name() });
    let eviction =
        json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata }).to_string();
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", namespace.name());
    run(kubectl(&["create", "--raw", &path, "--filename", "-"]), &eviction);
}

fn replaced(pod: &str, attempt: u32) -> String {
    format!(
        "pod {pod} was lost with its node or its place there; it is replaced ({attempt} of at most 2)"
    )
}

fn annotation<'a>(run: &'a BuildRun, key: &str) -> Option<&'a str> {
    run.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The course of a run, without what it says of pods that have not begun.
fn course_of_loss(life: &[BuildRun]) -> Vec<Words<'_>> {
    let mut course = course(life);
    course.retain(|(_, reason, message)| *reason != "Pending" || message.contains(" was lost "));
    course.dedup();
    course
}

/// The names of its pods, in their order.
fn pods_of(life: &[BuildRun]) -> Vec<&str> {
    let mut pods: Vec<_> =
        life.iter().filter_map(|run| annotation(run, "slipway.dev/pod")).collect();
    pods.dedup();
    pods
}

/// Runs the samples to their end; each pod is evicted once it runs, but for the second one of the run `once`, which does its work.
fn drained(namespace: &Namespace, samples: &[Sample]) -> BTreeMap<String, Vec<BuildRun>> {
    let seen = RefCell::new(BTreeSet::new());
    live(namespace, samples, |run| {
        if words(run) != Some(RUNNING) || !seen.borrow_mut().insert(pod_of(run).to_owned()) {
            return;
        }
        if name_of(run) == "once" && annotation(run, ATTEMPT).is_some() {
            namespace.wait_until_running(pod_of(run), "step-long");
            namespace.let_go(pod_of(run), "step-long");
        } else {
            evict(namespace, pod_of(run));
        }
    })
}

#[test]
fn a_drained_pod_is_replaced() {
    let controller = Controller::installed();
    let namespace = Namespace::new("drained");
    let once = run_called("once", &[shell("long", WAIT), shell("later", "true")]);
    let lives = drained(&namespace, &[once]);
    let life = &lives["once"];
    let run = life.last().unwrap();
    let pods = pods_of(life);
    assert_eq!(pods.len(), 2, "{pods:?}");
    let lost = replaced(pods[0], 1);
    assert_eq!(course_of_loss(life), [RUNNING, ("Unknown", "Pending", &lost), RUNNING, BUILT]);
    expect_ended(run, BUILT, &Value::Null);
    assert_eq!((annotation(run, ATTEMPT), pod_of(run)), (Some("1"), pods[1]));
    namespace.kubectl(&["wait", "--for=delete", "pod", pods[0], "--timeout=180s"]);
    assert_started_with_its_pod(&namespace, run);
    assert_counted_writes(&controller, &namespace, life);
}

/// The run names the one pod that is left, and started with it.
fn assert_started_with_its_pod(namespace: &Namespace, run: &BuildRun) {
    let pod = only_pod(namespace, run);
    let start = run.status.as_ref().unwrap().start_time.as_ref();
    assert_eq!(start, pod.metadata.creation_timestamp.as_ref());
}

/// Those of a run with one pod, and those that docs/cluster.md names for a lost one; each word of its condition is one.
fn assert_counted_writes(controller: &Controller, namespace: &Namespace, life: &[BuildRun]) {
    // The last that the controller writes.
    let is = |event: &Event| event.involved_object.name.as_deref() == Some("once");
    namespace
        .watch_all(&["events"], PATIENCE, |event| {
            is(event) && event.reason.as_deref() == Some("Succeeded")
        })
        .expect("an event of the run");
    let requests = controller.requests();
    let mut writes = BTreeMap::new();
    for write in requests.iter().filter_map(|request| request.write_in(namespace.name())) {
        *writes.entry(write).or_insert(0) += 1;
    }
    // A pod that waited for a node on a busy machine has its deadline shortened.
    writes.remove("patch pods");
    writes.remove("patch builds/status");
    // Another run than this one was refused when the test began: a status and an event.
    let expected = [
        ("create events", 1 + 1),
        ("create pods", 2),
        ("patch buildruns", 3),
        ("patch buildruns/status", course(life).len() + 1),
    ];
    assert_eq!(writes, BTreeMap::from(expected.map(|(write, count)| (write.to_owned(), count))));
}

#[test]
fn a_drained_pod_is_not_replaced_for_ever() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("drained-often");
    let mut uploaded = run_called("uploaded", &[shell("later", "true")]);
    uploaded.run["spec"]["source"] = json!({ "type": "Local", "local": { "name": "copy" } });
    let lives = drained(&namespace, &[run_called("often", &[shell("long", WAIT)]), uploaded]);

    let life = &lives["often"];
    let run = life.last().unwrap();
    let pods = pods_of(life);
    assert_eq!(pods.len(), 3, "{pods:?}");
    let lost = [replaced(pods[0], 1), replaced(pods[1], 2)];
    let pending = |lost| ("Unknown", "Pending", lost);
    let message = not_found(&namespace, run);
    let failed = ("False", "Failed", &*message);
    let course = [RUNNING, pending(&*lost[0]), RUNNING, pending(&*lost[1]), RUNNING, failed];
    assert_eq!(course_of_loss(life), course);
    expect_ended(run, failed, &located(run, None));
    assert_eq!((annotation(run, ATTEMPT), pod_of(run)), (Some("2"), pods[2]));

    // What was uploaded cannot be had once more.
    let life = &lives["uploaded"];
    let run = life.last().unwrap();
    assert_eq!(pods_of(life), [pod_of(run)]);
    let message = not_found(&namespace, run);
    let failed = ("False", "Failed", &*message);
    assert_eq!(course_of_loss(life), [RUNNING, failed]);
    expect_ended(run, failed, &located(run, None));
    assert_eq!(annotation(run, ATTEMPT), None);
    for name in ["often", "uploaded"] {
        assert_no_pod_is_left(&namespace, lives[name].last().unwrap());
    }
}

fn not_found(namespace: &Namespace, run: &BuildRun) -> String {
    format!("buildrun failed, pod {}/{} not found", namespace.name(), pod_of(run))
}

fn assert_no_pod_is_left(namespace: &Namespace, run: &BuildRun) {
    namespace.kubectl(&["wait", "--for=delete", "pod", pod_of(run), "--timeout=180s"]);
    let label = format!("--selector=buildrun.shipwright.io/name={}", name_of(run));
    assert_eq!(namespace.kubectl(&["get", "pods", &label, "--output=name"]), "");
}

/// Nobody has to end such a pod: it is gone before anybody can look at it.
#[test]
fn a_pod_that_no_node_has_is_replaced() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("evicted-early");
    let mut picky = run_called("picky", &[shell("one", "true")]);
    picky.build["spec"]["nodeSelector"] = json!({ "slipway.dev/such": "nowhere" });
    namespace.apply(&picky.text());
    let first = until(&namespace, "picky", "Pending");
    evict(&namespace, pod_of(&first));
    let second = |run: &BuildRun| {
        let is = annotation(run, "slipway.dev/pod").is_some_and(|pod| pod != pod_of(&first));
        is && words(run).is_some_and(|(_, _, message)| message.starts_with("pod status "))
    };
    let second = namespace.watch_all(&["buildruns"], PATIENCE, second);
    let second = second.expect("the pod is replaced");
    assert_eq!(annotation(&second, ATTEMPT), Some("1"));
    assert!(second.status.as_ref().unwrap().completion_time.is_none());
    only_pod(&namespace, &second);
}

#[test]
fn a_pod_is_replaced_whose_node_is_gone() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("node-gone");
    let mut pinned = run_called("pinned", &[shell("long", WAIT)]);
    pinned.build["spec"]["nodeSelector"] =
        json!({ "kubernetes.io/hostname": variable("SLIPWAY_NODE") });
    namespace.apply(&pinned.text());
    let first = until(&namespace, "pinned", "Running");
    // The loss of the only node evicts nothing.
    let _second_node = Component::started("second-node");
    let kubelet = Component::stopped("kubelet");
    let replaced = |run: &BuildRun| {
        annotation(run, ATTEMPT) == Some("1") && annotation(run, "slipway.dev/pod").is_some()
    };
    let second = namespace.watch_all(&["buildruns"], PATIENCE, replaced);
    let second = second.expect("the pod is replaced");
    assert_ne!(pod_of(&second), pod_of(&first));
    drop(kubelet);
    namespace.wait_until_running(pod_of(&second), "step-long");
    namespace.let_go(pod_of(&second), "step-long");
    let run = end_of(&namespace, "pinned");
    expect_ended(&run, BUILT, &Value::Null);
    assert_eq!(pod_of(&run), pod_of(&second));
    namespace.kubectl(&["wait", "--for=delete", "pod", pod_of(&first), "--timeout=180s"]);
    assert_started_with_its_pod(&namespace, &run);
}
