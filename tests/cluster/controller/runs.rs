//! Runs of a few steps under the controller, and what their statuses say from the beginning to the end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use slipway::api::{BuildRun, SUCCEEDED};

use super::super::documents::Sample;
use super::super::harness::{Namespace, PATIENCE};

const VERSION: &str = "shipwright.io/v1beta1";
/// Says why a run is refused that names no Build.
const BEACON: &str = "beacon";

/// Status, reason and message.
pub type Words<'a> = (&'a str, &'a str, &'a str);

pub const RUNNING: Words<'_> =
    ("Unknown", "Running", "Not all Steps in the Task have finished executing");
pub const BUILT: Words<'_> = ("True", "Succeeded", "All Steps have completed executing");

/// Strategy, Build and run of that name, with these steps as 1001:1000.
pub fn run_called(name: &str, steps: &[Value]) -> Sample {
    let object = |kind: &str, spec: Value| json!({ "apiVersion": VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec });
    let user = json!({ "runAsUser": 1001, "runAsGroup": 1000 });
    let output = json!({ "image": format!("registry.slipway.test:5000/{name}") });
    let strategy = json!({ "name": name, "kind": "BuildStrategy" });
    Sample {
        strategy: object("BuildStrategy", json!({ "securityContext": user, "steps": steps })),
        build: object("Build", json!({ "strategy": strategy, "output": output })),
        run: object("BuildRun", json!({ "build": { "name": name } })),
    }
}

/// Everything that was seen of each run, until all of them ended. `act` is told of each change.
pub fn live(
    namespace: &Namespace,
    samples: &[Sample],
    act: impl Fn(&BuildRun),
) -> BTreeMap<String, Vec<BuildRun>> {
    let texts: Vec<_> = samples.iter().map(Sample::text).collect();
    // A run that is there already shows that the watch has begun.
    let beacon = json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": { "name": BEACON }, "spec": { "build": {} } });
    namespace.apply(&beacon.to_string());
    let begun = Cell::new(false);
    let lives = RefCell::new(BTreeMap::<String, Vec<BuildRun>>::new());
    let ended = namespace.watch_all(&["buildruns"], PATIENCE, |run: &BuildRun| {
        if !begun.replace(true) {
            namespace.apply(&texts.join("\n---\n"));
        }
        let name = name_of(run);
        if name != BEACON {
            act(run);
            lives.borrow_mut().entry(name.into()).or_default().push(run.clone());
        }
        let lives = lives.borrow();
        lives.len() == samples.len()
            && lives.values().all(|life| life.last().is_some_and(BuildRun::is_done))
    });
    let lives = lives.into_inner();
    if ended.is_none() {
        let last: Vec<_> = lives.values().filter_map(|life| life.last()).collect();
        panic!("not all of {} runs end: {last:#?}", samples.len());
    }
    lives
}

/// The run as soon as its condition has that reason.
pub fn until(namespace: &Namespace, name: &str, reason: &str) -> BuildRun {
    let has = |run: &BuildRun| {
        name_of(run) == name && run.succeeded().is_some_and(|condition| condition.reason == reason)
    };
    let seen = namespace.watch_all(&["buildruns"], PATIENCE, has);
    seen.unwrap_or_else(|| panic!("{name} does not come to {reason}"))
}

/// The run as soon as it ended.
pub fn end_of(namespace: &Namespace, name: &str) -> BuildRun {
    let is = |run: &BuildRun| name_of(run) == name && run.is_done();
    let seen = namespace.watch_all(&["buildruns"], PATIENCE, is);
    seen.unwrap_or_else(|| panic!("{name} does not end"))
}

pub fn name_of(run: &BuildRun) -> &str {
    run.metadata.name.as_deref().unwrap()
}

/// The name of its pod.
pub fn pod_of(run: &BuildRun) -> &str {
    &run.metadata.annotations.as_ref().unwrap()["slipway.dev/pod"]
}

/// What messages call its pod.
pub fn executor_of(run: &BuildRun) -> &str {
    pod_of(run).strip_suffix("-pod").unwrap()
}

pub fn pod(namespace: &Namespace, name: &str) -> Pod {
    serde_json::from_str(&namespace.kubectl(&["get", "pod", name, "--output=json"])).unwrap()
}

/// The one condition that a run has, where it has one.
pub fn words(run: &BuildRun) -> Option<Words<'_>> {
    let conditions = &run.status.as_ref()?.conditions;
    let condition = conditions.first()?;
    assert_eq!((conditions.len(), &*condition.type_), (1, SUCCEEDED));
    Some((&condition.status, &condition.reason, &condition.message))
}

/// The conditions of a run in their order, each once.
pub fn course(life: &[BuildRun]) -> Vec<Words<'_>> {
    let mut course: Vec<_> = life.iter().filter_map(words).collect();
    course.dedup();
    course
}

/// The run goes on, as these words say.
pub fn expect_going(run: &BuildRun, expected: Words<'_>) {
    assert_eq!(words(run), Some(expected));
    let status = run.status.as_ref().unwrap();
    assert!(status.completion_time.is_none() && status.failure_details.is_none(), "{status:?}");
    expect_times(run);
}

/// The run ended, as these words say, with these failure details.
pub fn expect_ended(run: &BuildRun, expected: Words<'_>, details: &Value) {
    assert_eq!(words(run), Some(expected));
    let status = run.status.as_ref().unwrap();
    assert_eq!(json!(status.failure_details), *details);
    assert!(status.completion_time.is_some(), "{status:?}");
    expect_times(run);
}

/// The start of a run is the creation of its pod; nothing happens before what it follows from.
fn expect_times(run: &BuildRun) {
    let status = run.status.as_ref().unwrap();
    let start = status.start_time.as_ref().map(|time| time.0);
    let end = status.completion_time.as_ref().map(|time| time.0);
    let changed = status.succeeded().unwrap().last_transition_time.0;
    let created = run.metadata.creation_timestamp.as_ref().unwrap().0;
    let order = [Some(created), start, end];
    assert!(order.iter().flatten().is_sorted() && created <= changed, "{status:?}");
}

/// Failure details that say where, and nothing else.
pub fn located(run: &BuildRun, container: Option<&str>) -> Value {
    match container {
        Some(container) => json!({ "location": { "container": container, "pod": pod_of(run) } }),
        None => json!({ "location": { "pod": pod_of(run) } }),
    }
}

/// How to read the log of a container of the run's pod.
pub fn logs(run: &BuildRun, container: &str) -> String {
    let namespace = run.metadata.namespace.as_deref().unwrap();
    format!("kubectl --namespace {namespace} logs {} --container={container}", pod_of(run))
}

/// The API server has one pod of the run, the one that the run names.
pub fn only_pod(namespace: &Namespace, run: &BuildRun) -> Pod {
    let label = format!("buildrun.shipwright.io/name={}", name_of(run));
    let names = namespace.kubectl(&["get", "pods", "--selector", &label, "--output=name"]);
    assert_eq!(names.trim_end(), format!("pod/{}", pod_of(run)));
    pod(namespace, pod_of(run))
}
