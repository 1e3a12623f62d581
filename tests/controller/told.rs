//! What keeps a run from its pod for a while: told in its status once, and gone with the pod.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::api_server::ApiServer;
use super::process::{Controller, PATIENCE, metadata};
use super::web::{Answer, Web};

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
fn a_pod_that_may_not_be_made_yet_is_told_once_until_it_is_there_or_the_run_over() {
    let mut objects = runs_of(&[step("one"), step("short"), step("long")]);
    objects[1].1[1]["spec"]["build"]["spec"]["timeout"] = json!("1s");
    let server = ApiServer::writing(&objects);
    let refused = |number: u32| {
        format!(
            r#"pods "one-pod" is forbidden: User "controller" cannot create resource "pods" in API group "" in the namespace "team", try {number}"#
        )
    };
    server.refuse("POST pods", Some((StatusCode::FORBIDDEN, &refused(1))));
    let controller = Controller::start("told", &server, &[("POD_NAME", "replica-1")]);

    condition(&server, "long", "Pending");
    server.change("buildruns", "long", &json!({ "spec": { "state": "BuildRunCanceled" } }));
    let canceled = condition(&server, "long", "BuildRunCanceled");
    assert_eq!(canceled["message"], "the BuildRun is marked canceled.");
    let over = condition(&server, "short", "BuildRunTimeout");
    let message = "BuildRun short failed to finish within 1s: the API server does not create Pod ";
    assert!(over["message"].as_str().unwrap().starts_with(message), "{over}");

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

    let holder = server.lease_holder();
    assert!(holder.as_str().unwrap().starts_with("replica-1_"), "{holder}");
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

/// Media type and content of what a registry has of an image that runs `build`; no other image is there.
fn image(path: &str) -> Option<(&'static str, String)> {
    let config = json!({ "config": { "Entrypoint": ["build"] } }).to_string();
    let mut digest = String::from("sha256:");
    for byte in Sha256::digest(&config) {
        write!(digest, "{byte:02x}").unwrap();
    }
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let config_type = "application/vnd.oci.image.config.v1+json";
    let descriptor = json!({ "mediaType": config_type, "digest": digest, "size": config.len() });
    let manifest = json!({ "schemaVersion": 2, "mediaType": manifest_type, "config": descriptor, "layers": [] });
    match path {
        "/v2/" => Some(("application/json", "{}".into())),
        "/v2/later/manifests/1" => Some((manifest_type, manifest.to_string())),
        path if path == format!("/v2/later/blobs/{digest}") => Some((config_type, config)),
        _ => None,
    }
}

#[test]
fn a_registry_that_is_down_is_told_and_asked_again_and_one_that_says_no_ends_the_run() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let registry = Web::new(move |path, _| match image(path) {
        _ if path.starts_with("/v2/later/") && !up.load(Ordering::SeqCst) => {
            Answer { code: 503, kind: "text/plain", body: "out for lunch".into() }
        }
        _ if path.starts_with("/v2/private/") => {
            Answer { code: 403, kind: "text/plain", body: String::new() }
        }
        Some((kind, body)) => Answer { code: 200, kind, body },
        None => Answer { code: 404, kind: "text/plain", body: "no such thing".into() },
    });
    let address = registry.address();
    let images = ["later", "missing", "private"];
    let steps = images.map(|name| json!({ "name": name, "image": format!("{address}/{name}:1") }));
    let server = ApiServer::writing(&runs_of(&steps));
    let _controller = Controller::start("registry", &server, &[("INSECURE_REGISTRIES", address)]);

    let causes = [
        (
            "missing",
            format!(
                "registry {address} failed to send manifest 1 for {address}/missing:1 (404 Not Found: no such thing)"
            ),
        ),
        (
            "private",
            format!(
                "registry {address} refuses it (403 Forbidden); the run's service account needs an imagePullSecret for it"
            ),
        ),
    ];
    for (name, cause) in causes {
        let refused = condition(&server, name, "TaskRunGenerationFailed");
        let message = format!(
            r#"build strategy: step "{name}" has no command, and what the image "{address}/{name}:1" runs of itself cannot be found out: {cause}; write the step's command"#
        );
        assert_eq!((&refused["status"], &refused["message"]), (&json!("False"), &json!(message)));
    }
    let told = condition(&server, "later", "Pending");
    let message = format!(
        "a step has no command, and what its image {address}/later:1 runs cannot be found out: registry {address} failed to send manifest 1 for {address}/later:1 (503 Service Unavailable: out for lunch); it is tried again, for 1h0m0s in all"
    );
    assert_eq!((&told["status"], &told["message"]), (&json!("Unknown"), &json!(message)));
    is_up.store(true, Ordering::SeqCst);
    server.wait_for("POST pods");
}

/// The Build's status once its reason is this one.
fn build_status(server: &ApiServer, build: &str, reason: &str) -> Value {
    let began = Instant::now();
    loop {
        let status = server.object("builds", build)["status"].clone();
        if status["reason"] == reason {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "not {reason}: {status}");
        server.next_request();
    }
}

#[test]
fn a_repository_is_asked_where_its_build_wants_that_and_no_other() {
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let paths = Arc::clone(&asked);
    let host = Web::new(move |path, headers| {
        let (name, query) = path.trim_start_matches('/').split_once("/info/refs").unwrap();
        assert_eq!(query, "?service=git-upload-pack");
        let login = headers.get("authorization").map_or("", |login| login.to_str().unwrap());
        paths.lock().unwrap().insert(format!("{name} {login}"));
        let id = "1234567890".repeat(4);
        let (code, body) = match name {
            "good" | "with/login" => {
                (200, format!("001e# service=git-upload-pack\n00000155{id} HEAD\0ofs-delta\n"))
            }
            "page" => (200, "<html>".to_owned()),
            "private" => (401, String::new()),
            "broken" => (502, String::new()),
            _ => (404, String::new()),
        };
        Answer { code, kind: "application/x-git-upload-pack-advertisement", body }
    });
    let address = host.address();
    // Whoever had this port is gone.
    let closed = Web::new(|_, _| unreachable!()).address().to_owned();
    let url = |name: &str| format!("http://{address}/{name}");
    let unreachable = "RemoteRepositoryUnreachable";
    let table = [
        ("good", url("good"), Some("true"), "Succeeded", "all validations succeeded"),
        (
            "login",
            format!("http://me:secret@{address}/with/login/"),
            Some("true"),
            "Succeeded",
            "all validations succeeded",
        ),
        (
            "missing",
            format!("http://me:secret@{address}/missing"),
            Some("true"),
            unreachable,
            "repository not found",
        ),
        ("private", url("private"), Some("true"), unreachable, "remote repository unreachable"),
        ("broken", url("broken"), Some("true"), unreachable, "the server answers 502 Bad Gateway"),
        (
            "page",
            url("page"),
            Some("true"),
            unreachable,
            "the server does not list branches and tags; the URL must be that of a Git repository",
        ),
        ("closed", format!("http://{closed}/app"), Some("true"), unreachable, "Connection refused"),
        ("silent", url("not-asked-1"), None, "Succeeded", "all validations succeeded"),
        ("no", url("not-asked-2"), Some("false"), "Succeeded", "all validations succeeded"),
        (
            "ssh",
            "ssh://git@git.example.com/app".to_owned(),
            Some("true"),
            unreachable,
            "the source url requires authentication",
        ),
    ];
    let build = |(name, url, verify, ..): &(&str, String, Option<&str>, &str, &str)| {
        let mut metadata = metadata(name);
        if let Some(verify) = verify {
            metadata["annotations"] = json!({ "build.shipwright.io/verify.repository": verify });
        }
        let source = json!({ "type": "Git", "git": { "url": url } });
        let spec = json!({ "source": source, "strategy": { "name": "s" }, "output": { "image": "registry.example.com/app" } });
        json!({ "apiVersion": VERSION, "kind": "Build", "metadata": metadata, "spec": spec })
    };
    let [strategies, (_, runs), accounts] = runs_of(&[step("s")]);
    let mut run = runs[0].clone();
    run["spec"] = json!({ "build": { "name": "missing" } });
    let builds = table.iter().map(build).collect();
    let server = ApiServer::writing(&[strategies, accounts, ("builds", builds)]);
    let _controller = Controller::start("repositories", &server, &[]);

    for (name, _, _, reason, message) in &table {
        let status = build_status(&server, name, reason);
        let told = status["message"].as_str().unwrap();
        assert!(
            told == *message || (*name == "closed" && told.contains(message)),
            "{name}: {told}"
        );
        assert!(!told.contains("secret"), "{told}");
    }
    let login = "Basic bWU6c2VjcmV0";
    let expected = [
        "broken ".to_owned(),
        "good ".to_owned(),
        format!("missing {login}"),
        "page ".to_owned(),
        "private ".to_owned(),
        format!("with/login {login}"),
    ];
    assert_eq!(asked.lock().unwrap().iter().cloned().collect::<Vec<_>>(), expected);

    server.add("buildruns", run);
    let refused = condition(&server, "s", "BuildRegistrationFailed");
    let message = "the Build is not registered correctly, build: missing, registered status: False, reason: RemoteRepositoryUnreachable";
    assert_eq!(refused["message"], message);
}
