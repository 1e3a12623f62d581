//! What a run leaves in the metrics, read through the Service of install.yaml.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use slipway::api::BuildRun;
use slipway::cluster::install::{NAME, NAMESPACE};

use super::super::documents::{output, sample};
use super::super::harness::{Namespace, PATIENCE, kubectl, run, statuses};
use super::Controller;

/// What the controller's Service answers at that path.
fn read(path: &str) -> String {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/services/{NAME}:metrics/proxy{path}");
    run(kubectl(&["get", "--raw", &path]), "")
}

/// Values by name and labels, as the text has them.
fn figures() -> BTreeMap<String, f64> {
    let text = read("/metrics");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
    samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// By how much a figure has grown; one that is not there is 0.
fn growth(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, name: &str) -> f64 {
    let of = |figures: &BTreeMap<String, f64>| figures.get(name).copied().unwrap_or_default();
    of(after) - of(before)
}

fn seconds(from: Option<&Time>, to: Option<&Time>) -> f64 {
    to.unwrap().0.duration_since(from.unwrap().0).as_secs_f64()
}

#[test]
fn a_run_counts_once_with_its_times_and_a_refused_one_does_not() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("metrics");
    let before = figures();
    assert_eq!(read("/readyz"), "ok");
    assert_eq!(read("/healthz"), "ok");

    let refused = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun",
        "metadata": { "name": "refused" }, "spec": { "build": { "name": "missing" } },
    });
    namespace.apply(&refused.to_string());
    let event_of = |name: &str| {
        let of_run = |event: &Event| {
            let object = &event.involved_object;
            object.kind.as_deref() == Some("BuildRun") && object.name.as_deref() == Some(name)
        };
        namespace.watch_all(&["events"], PATIENCE, of_run).expect("an event of the run")
    };
    assert_eq!(event_of("refused").reason.as_deref(), Some("BuildNotFound"));
    namespace.apply(&sample("hello").with(None, &output(&namespace)).text());
    let is_built =
        |run: &BuildRun| run.is_done() && run.metadata.name.as_deref() != Some("refused");
    let built = namespace.watch_all(&["buildruns"], PATIENCE, is_built).expect("the run ends");
    // It is counted before its event is written.
    event_of(built.metadata.name.as_deref().unwrap());
    let after = figures();

    let pods = namespace.kubectl(&["get", "pods", "--output=json"]);
    let mut pods: Value = serde_json::from_str(&pods).unwrap();
    assert_eq!(pods["items"].as_array().unwrap().len(), 1);
    let pod: Pod = serde_json::from_value(pods["items"][0].take()).unwrap();
    let prepare = statuses(&pod).next().unwrap().state.as_ref().unwrap();
    let prepared = prepare.terminated.as_ref().unwrap().finished_at.as_ref();
    let status = built.status.as_ref().unwrap();
    let created = built.metadata.creation_timestamp.as_ref();
    let pod_created = pod.metadata.creation_timestamp.as_ref();
    for (name, took) in [
        ("establish", seconds(created, status.start_time.as_ref())),
        ("completion", seconds(created, status.completion_time.as_ref())),
        ("rampup", seconds(created, pod_created)),
        ("taskrun_rampup", 0.0),
        ("taskrun_pod_rampup", seconds(pod_created, prepared)),
    ] {
        let name = format!("build_buildrun_{name}_duration_seconds");
        let count = growth(&before, &after, &format!("{name}_count"));
        let sum = growth(&before, &after, &format!("{name}_sum"));
        let all = growth(&before, &after, &format!("{name}_bucket{{le=\"+Inf\"}}"));
        assert!((count - 1.0).abs() < 0.01 && (all - 1.0).abs() < 0.01, "{name}: {count} {all}");
        assert!((sum - took).abs() < 0.01, "{name}: {sum} instead of {took}");
    }
    let completed = growth(&before, &after, "build_buildruns_completed_total");
    assert!((completed - 1.0).abs() < 0.01, "{completed}");
    // A Build is judged again whenever something changes that it names.
    assert!(growth(&before, &after, "build_builds_registered_total") > 0.5);

    let reconciles = |controller: &str, result: &str| {
        let labels = format!("{{controller=\"{controller}\",result=\"{result}\"}}");
        growth(&before, &after, &format!("controller_runtime_reconcile_total{labels}"))
    };
    for controller in ["build-controller", "buildrun-controller"] {
        assert!(reconciles(controller, "success") > 0.5, "{controller}");
        assert!(reconciles(controller, "error").abs() < 0.01, "{controller}");
    }
    assert!(after["process_resident_memory_bytes"] > 0.0);
}
