//! One BuildRun while nothing else happens, beside the pod that `slipway render` makes of the same documents.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::documents::{build, git_source, https_url, output, script_strategy};
use super::super::harness::{Namespace, PATIENCE, documents, kubectl, phase, run};
use super::super::start::{median, rounds, show};
use super::Controller;

/// How much longer than its pod a run may take: ten times the aim, because a busy machine is no fault of the controller.
/// `hack/bench idle` is for the figure.
const MOST: Duration = Duration::from_secs(3);

#[test]
#[ignore = "measures: hack/bench runs it"]
fn a_run_takes_hardly_longer_than_its_pod() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("idle");
    let source = git_source(&https_url("app"), None, false);
    let strategy = script_strategy("look", (1001, 1000), "cat /workspace/source/greeting.txt");
    let build = build("look", &source, &output(&namespace));
    let run = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": { "name": "run" },
        "spec": { "build": { "name": "app" } },
    });
    let pod = namespace.render(&documents([&strategy, &build, &run.to_string()]));
    let pod = json!(pod);
    namespace.apply(&documents([&strategy, &build]));
    let registered = "--for=jsonpath={.status.registered}=True";
    namespace.kubectl(&["wait", registered, "--timeout=180s", "build/app"]);

    // In turns, so that both meet the same load; the first turn warms up what both use.
    let mut turns: Vec<_> = (0..=rounds(2))
        .map(|turn| [time_of_pod(&namespace, &pod, turn), time_of_run(&namespace, &run, turn)])
        .collect();
    turns.remove(0);
    let [pod, run] = [0, 1].map(|which| median(turns.iter().map(|turn| turn[which])));
    let more = run.saturating_sub(pod);
    let count = turns.len();
    let mut figures = String::new();
    writeln!(figures, "\n| a Git source and a step, median of {count} | its pod | BuildRun | |")
        .unwrap();
    writeln!(figures, "| --- | ---: | ---: | ---: |").unwrap();
    let [pod, run, difference] =
        [pod, run, more].map(|time| format!("{:.2} s", time.as_secs_f64()));
    writeln!(figures, "| from the request to its success | {pod} | {run} | +{difference} |")
        .unwrap();
    show(&figures);
    assert!(more <= MOST, "{more:?}");
}

fn time_of_pod(namespace: &Namespace, pod: &Value, turn: usize) -> Duration {
    let (began, name) = create(namespace, "/api/v1/namespaces/{}/pods", pod, turn);
    namespace.wait_for(&name, "ended", |pod| match phase(pod) {
        "Failed" => panic!("pod {name} failed"),
        phase => phase == "Succeeded",
    });
    began.elapsed()
}

fn time_of_run(namespace: &Namespace, run: &Value, turn: usize) -> Duration {
    let path = "/apis/shipwright.io/v1beta1/namespaces/{}/buildruns";
    let (began, name) = create(namespace, path, run, turn);
    let selector = format!("--field-selector=metadata.name={name}");
    let run = namespace.watch_all(&["buildruns", &selector], PATIENCE, BuildRun::is_done);
    let elapsed = began.elapsed();
    let run = run.expect("the run ends");
    let status = run.status.unwrap();
    assert_eq!(status.succeeded().unwrap().status, "True", "{status:?}");
    elapsed
}

/// Creates it under a name of its own, both kinds with the same client that asks for nothing else; when that began, and the name.
fn create(namespace: &Namespace, path: &str, object: &Value, turn: usize) -> (Instant, String) {
    let mut object = object.clone();
    let name = format!("turn-{turn}");
    object["metadata"]["name"] = name.as_str().into();
    let path = path.replace("{}", namespace.name());
    let create = kubectl(&["create", "--raw", &path, "--filename", "-"]);
    let began = Instant::now();
    run(create, &object.to_string());
    (began, name)
}
