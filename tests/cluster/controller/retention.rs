//! Finished runs go when their time is over, when their Build has enough of them, and with their Build.

use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::documents::{build, output, script_strategy};
use super::super::harness::{Namespace, PATIENCE};
use super::Controller;

const VERSION: &str = "shipwright.io/v1beta1";

fn build_with(namespace: &Namespace, name: &str, retention: &Value) -> Value {
    let mut build: Value =
        serde_json::from_str(&build("fine", &Value::Null, &output(namespace))).unwrap();
    build["metadata"]["name"] = name.into();
    if !retention.is_null() {
        build["spec"]["retention"] = retention.clone();
    }
    build
}

fn run_of(build: &str, name: &str, more: Value) -> Value {
    let mut spec = json!({ "build": { "name": build } });
    let Value::Object(more) = more else { panic!("{more} is no object") };
    spec.as_object_mut().unwrap().extend(more);
    json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": { "name": name }, "spec": spec })
}

fn apply(namespace: &Namespace, items: &[Value]) {
    namespace.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string());
}

fn await_gone(namespace: &Namespace, run: &str) {
    let run = format!("buildrun/{run}");
    namespace.kubectl(&["wait", "--for=delete", "--timeout=180s", &run]);
}

fn await_run(namespace: &Namespace, name: &str, what: &str, is: impl Fn(&BuildRun) -> bool) {
    let field = format!("--field-selector=metadata.name={name}");
    let found = namespace.watch_all(&["buildruns", &field], PATIENCE, is);
    assert!(found.is_some(), "{name} is not {what}");
}

fn names(namespace: &Namespace) -> Vec<String> {
    let names = namespace.kubectl(&["get", "buildruns", "--output=name"]);
    names.lines().map(|name| name.rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn finished_runs_go_as_their_builds_say() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("retention");
    let limits = json!({ "failedLimit": 1, "succeededLimit": 1, "atBuildDeletion": true });
    let times = json!({ "ttlAfterFailed": "1s", "ttlAfterSucceeded": "1h" });
    let fails = || json!({ "serviceAccount": "nobody" });
    let strategy: Value =
        serde_json::from_str(&script_strategy("fine", (1001, 1000), "true")).unwrap();
    apply(
        &namespace,
        &[
            strategy,
            build_with(&namespace, "limits", &limits),
            build_with(&namespace, "times", &times),
            build_with(&namespace, "later", &Value::Null),
            run_of("limits", "failed-1", fails()),
            run_of("limits", "failed-2", fails()),
            run_of("limits", "fine-1", json!({})),
            run_of("limits", "fine-2", json!({})),
            run_of("later", "later-1", fails()),
            run_of("later", "later-2", fails()),
            run_of("times", "fails", fails()),
            run_of("times", "hurries", json!({ "retention": { "ttlAfterSucceeded": "1s" } })),
            run_of("times", "stays", json!({})),
        ],
    );
    // The older one of two of the same second is the one whose name comes first.
    for run in ["failed-1", "fine-1", "fails", "hurries"] {
        await_gone(&namespace, run);
    }
    let left = ["failed-2", "fine-2", "later-1", "later-2", "stays"];
    for run in left {
        await_run(&namespace, run, "done", BuildRun::is_done);
    }
    assert_eq!(names(&namespace), left);

    // What a Build says later counts for the runs that are there.
    let patch = |build: &str, retention: Value| {
        let patch = json!({ "spec": { "retention": retention } }).to_string();
        namespace.kubectl(&["patch", "build", build, "--type=merge", "--patch", &patch]);
    };
    patch("later", json!({ "failedLimit": 1 }));
    await_gone(&namespace, "later-1");
    let is_owned = |run: &BuildRun| {
        let owners = run.metadata.owner_references.iter().flatten();
        owners.filter(|owner| owner.kind == "Build" && owner.controller == Some(true)).count() == 1
    };
    patch("times", json!({ "atBuildDeletion": true }));
    await_run(&namespace, "stays", "owned", is_owned);
    patch("times", json!({ "atBuildDeletion": false }));
    await_run(&namespace, "stays", "free", |run| !is_owned(run));

    namespace.kubectl(&["delete", "builds", "--all"]);
    for run in ["failed-2", "fine-2"] {
        await_gone(&namespace, run);
    }
    assert_eq!(names(&namespace), ["later-2", "stays"]);
}
