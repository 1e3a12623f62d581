//! What keeps a run from its pod for a while: told in its status once, and gone with the pod.

use std::time::Instant;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::process::{Controller, PATIENCE, metadata};

const VERSION: &str = "shipwright.io/v1beta1";

/// Runs that have the names of these steps, and all that they need; the strategy of each has this step alone.
fn runs_of(steps: &[Value]) -> [(&'static str, Value); 3] {
    let strategies = steps.iter().map(|step| {
        let metadata = metadata(step["name"].as_str().unwrap());
        json!({ "apiVersion": VERSION, "kind": "BuildStrategy", "metadata": metadata, "spec": { "steps": [step] } })
    });
    let runs = steps.iter().map(|step| run(step["name"].as_str().unwrap()));
    let account =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("default") });
    [
        ("buildstrategies", strategies.collect()),
        ("buildruns", runs.collect()),
        ("serviceaccounts", json!([account])),
    ]
}

fn step(name: &str) -> Value {
    json!({ "name": name, "image": "example.com/builder", "command": ["build"] })
}

fn run(name: &str) -> Value {
    let spec =
        json!({ "strategy": { "name": name }, "output": { "image": "registry.example.com/app" } });
    let mut metadata = metadata(name);
    metadata["creationTimestamp"] = json!("2026-11-01T00:00:00Z");
    json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": metadata, "spec": { "build": { "spec": spec } } })
}

/// The condition once its reason is this one; no run of these tests ends with another.
fn condition(server: &ApiServer, run: &str, reason: &str) -> Value {
    let began = Instant::now();
    loop {
        let condition = server.object("buildruns", run)["status"]["conditions"][0].clone();
        if condition["reason"] == reason {
            return condition;
        }
        assert_ne!(condition["status"], "False", "{condition}");
        assert!(began.elapsed() < PATIENCE, "not {reason}: {condition}");
        server.next_request();
    }
}

#[test]
fn a_pod_that_may_not_be_made_yet_is_told_once_until_it_is_there() {
    let server = ApiServer::writing(&runs_of(&[step("one")]));
    let refused = |number: u32| {
        format!(
            r#"pods "one-pod" is forbidden: User "controller" cannot create resource "pods" in API group "" in the namespace "team", try {number}"#
        )
    };
    server.refuse("POST pods", Some((StatusCode::FORBIDDEN, &refused(1))));
    let controller = Controller::start("told", &server, &[]);

    let told = condition(&server, "one", "Pending");
    let run = server.object("buildruns", "one");
    let pod = run["metadata"]["annotations"]["slipway.dev/pod"].as_str().unwrap().to_owned();
    let message = format!(
        "the API server does not create Pod {pod}: {} (403); it is tried again, for 1h0m0s in all",
        refused(1)
    );
    assert_eq!((&told["status"], &told["message"]), (&json!("Unknown"), &json!(message)));
    assert_eq!(
        (&run["status"]["startTime"], &run["status"]["completionTime"]),
        (&Value::Null, &Value::Null)
    );

    // Another try is no news, and neither is a number in its text.
    server.refuse("POST pods", Some((StatusCode::FORBIDDEN, &refused(2))));
    server.forget_requests();
    for count in 0..3 {
        let labels = json!({ "count": count.to_string() });
        server.change("buildruns", "one", &json!({ "metadata": { "labels": labels } }));
        server.wait_for("POST pods");
    }
    assert_eq!(condition(&server, "one", "Pending"), told);
    // Another cause is, and it waits no shorter for that.
    let cause = r#"failed calling webhook "a.example.com": connection refused"#;
    server.refuse("POST pods", Some((StatusCode::INTERNAL_SERVER_ERROR, cause)));
    let began = Instant::now();
    let mut next = told.clone();
    while next["message"] == told["message"] && began.elapsed() < PATIENCE {
        server.next_request();
        next = condition(&server, "one", "Pending");
    }
    let message = format!(
        "the API server does not create Pod {pod}: {cause} (500); it is tried again, for 1h0m0s in all"
    );
    assert_eq!(next["message"], message);
    assert_eq!(next["lastTransitionTime"], told["lastTransitionTime"]);

    server.refuse("POST pods", None);
    server.change("buildruns", "one", &json!({ "metadata": { "labels": { "count": null } } }));
    server.wait_for("POST pods");
    while server.object("pods", &pod).is_null() {
        server.next_request();
    }
    server.change("pods", &pod, &json!({ "status": { "phase": "Running" } }));
    let running = condition(&server, "one", "Running");
    assert_eq!(running["message"], "Not all Steps in the Task have finished executing");
    assert_eq!(controller.stop(), Some(0));
}

#[test]
fn a_run_that_cannot_get_its_pod_ends_with_its_time_and_when_it_is_canceled() {
    let mut objects = runs_of(&[step("short"), step("long")]);
    objects[1].1[0]["spec"]["build"]["spec"]["timeout"] = json!("1s");
    let server = ApiServer::writing(&objects);
    server.refuse("POST pods", Some((StatusCode::SERVICE_UNAVAILABLE, "busy")));
    let _controller = Controller::start("in_time", &server, &[]);

    condition(&server, "long", "Pending");
    server.change("buildruns", "long", &json!({ "spec": { "state": "BuildRunCanceled" } }));
    let canceled = condition(&server, "long", "BuildRunCanceled");
    assert_eq!(canceled["message"], "the BuildRun is marked canceled.");

    let over = condition(&server, "short", "BuildRunTimeout");
    let pod =
        server.object("buildruns", "short")["metadata"]["annotations"]["slipway.dev/pod"].clone();
    let message = format!(
        "BuildRun short failed to finish within 1s: the API server does not create Pod {}: busy (503)",
        pod.as_str().unwrap()
    );
    assert_eq!((&over["status"], &over["message"]), (&json!("False"), &json!(message)));
}
