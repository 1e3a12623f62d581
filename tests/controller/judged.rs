//! What the webhook answers when somebody applies something.

use serde_json::{Value, json};

use super::process::metadata;
use super::webhook::{Webhook, build, installed, review, spec};

const VERSION: &str = "shipwright.io/v1beta1";

fn run(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": metadata(name), "spec": spec })
}

fn strategy(name: &str) -> Value {
    let steps = json!([{ "name": "build", "image": "example.com/image", "command": ["true"] }]);
    json!({ "apiVersion": VERSION, "kind": "BuildStrategy", "metadata": metadata(name), "spec": { "steps": steps } })
}

#[test]
fn a_build_is_refused_for_all_that_is_wrong_and_warned_of_what_is_missing() {
    let server = installed();
    server.add("buildstrategies", strategy("known"));
    let webhook = Webhook::ready("a_build", &server, &[]);
    let mut bad = spec("missing", "registry.example.com/app");
    bad["env"] = json!([{ "name": "", "value": "x" }]);
    bad["nodeSelector"] = json!({ "a b": "c" });
    bad["output"]["pushSecret"] = json!("missing");
    let message = webhook.refusal(&build("app", &bad), &Value::Null);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[0], "2 problems:");
    assert!(lines[1].starts_with("spec.env[0].name: SpecEnvNameCanNotBeBlank: "), "{message}");
    assert!(lines[2].starts_with("spec.nodeSelector"), "{message}");
    let response = webhook.review(&build("app", &bad), &Value::Null);
    assert_eq!(response["warnings"].as_array().unwrap().len(), 2, "{response}");

    let missing = spec("missing", "registry.example.com/app");
    assert_eq!(
        webhook.warnings(&build("app", &missing), &Value::Null),
        [
            "spec.strategy.name: BuildStrategyNotFound: buildStrategy missing does not exist in namespace team"
        ]
    );
    let fine = spec("known", "registry.example.com/app");
    assert!(webhook.warnings(&build("app", &fine), &Value::Null).is_empty());

    // What was wrong before is no reason to refuse a change of something else, wherever it stands now.
    let mut changed = bad.clone();
    changed["output"]["image"] = json!("registry.example.com/other");
    changed["env"] = json!([{ "name": "A", "value": "x" }, { "name": "", "value": "x" }]);
    assert!(webhook.warnings(&build("app", &changed), &build("app", &bad)).is_empty());
    changed["env"] = json!([{ "name": "", "value": "x" }, { "name": "", "value": "x" }]);
    let message = webhook.refusal(&build("app", &changed), &build("app", &bad));
    assert!(message.starts_with("spec.env[1].name: SpecEnvNameCanNotBeBlank: "), "{message}");

    let mut labelled = build("app", &bad);
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    assert!(webhook.warnings(&labelled, &build("app", &bad)).is_empty());
    let mut leaving = build("app", &changed);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-21T12:00:00Z");
    assert!(webhook.warnings(&leaving, &build("app", &bad)).is_empty());

    let mut unreadable = strategy("odd");
    unreadable["spec"]["volumes"] =
        json!([{ "name": "a", "secret": { "secretName": "b", "defaultMode": 4_294_967_296_i64 } }]);
    let message = webhook.refusal(&unreadable, &Value::Null);
    assert!(message.starts_with("BuildStrategy odd cannot be read: "), "{message}");
    let mut edited = unreadable.clone();
    edited["spec"]["steps"] = json!([]);
    assert!(webhook.warnings(&edited, &unreadable).is_empty());
}

#[test]
fn a_run_is_refused_for_a_build_that_is_not_registered() {
    let server = installed();
    server.add("buildstrategies", strategy("known"));
    let webhook = Webhook::ready("a_run", &server, &[]);
    let named = |name: &str| run("app", &json!({ "build": { "name": name } }));
    let old = |name: &str, spec: &Value| {
        let mut build = build(name, spec);
        build["metadata"]["creationTimestamp"] = json!("2026-11-21T12:00:00Z");
        build["status"] = json!({ "registered": "False", "reason": "BuildStrategyNotFound", "message": "it says so" });
        build
    };
    let missing = spec("missing", "registry.example.com/app");
    server.add("builds", old("old", &missing));
    let refusal = "2 problems:\n\
        Build team/old spec.strategy.name: BuildStrategyNotFound: buildStrategy missing does not exist in namespace team\n\
        spec.build.name: BuildRegistrationFailed: the Build is not registered correctly, build: old, registered status: False, reason: BuildStrategyNotFound";
    assert_eq!(webhook.refusal(&named("old"), &Value::Null), refusal);
    // What it misses has come since, and nobody has judged it again.
    server.add("builds", old("mended", &spec("known", "registry.example.com/app")));
    server
        .add("serviceaccounts", json!({ "metadata": { "name": "default", "namespace": "team" } }));
    assert!(webhook.warnings(&named("mended"), &Value::Null).is_empty());

    // The files of one directory come one after another.
    let mut new = build("new", &missing);
    new["metadata"]["creationTimestamp"] = json!(k8s_openapi::jiff::Timestamp::now().to_string());
    server.add("builds", new.clone());
    assert_eq!(webhook.warnings(&named("new"), &Value::Null).len(), 2);
    // By then the controller has judged it.
    let mut judged = new;
    judged["metadata"]["name"] = json!("judged");
    judged["status"] = json!({ "registered": "False" });
    server.add("builds", judged);
    assert!(
        webhook
            .refusal(&named("judged"), &Value::Null)
            .starts_with("2 problems:\nBuild team/judged ")
    );
    assert_eq!(
        webhook.warnings(&named("unknown"), &Value::Null),
        ["spec.build.name: BuildNotFound: build.shipwright.io \"unknown\" not found"]
    );
    let embedded = run("app", &json!({ "build": { "spec": missing } }));
    assert_eq!(webhook.warnings(&embedded, &Value::Null).len(), 1);

    // Who uploads waits for a pod, for ever.
    let mut upload = named("new");
    upload["spec"]["source"] = json!({ "type": "Local", "local": { "name": "local-copy" } });
    let message = webhook.refusal(&upload, &Value::Null);
    assert!(message.contains("BuildStrategyNotFound"), "{message}");

    let mut account = named("mended");
    account["spec"]["serviceAccount"] = json!("missing");
    assert_eq!(
        webhook.warnings(&account, &Value::Null),
        ["spec.serviceAccount: ServiceAccountNotFound: service account missing not found"]
    );

    // It can be canceled, from the first moment on, and labelled by the controller.
    let mut canceled = named("old");
    canceled["spec"]["state"] = json!("BuildRunCanceled");
    assert!(webhook.warnings(&canceled, &named("old")).is_empty());
    canceled["spec"]["build"]["name"] = json!("mended");
    assert!(webhook.warnings(&canceled, &Value::Null).is_empty());
    let both = json!({ "build": { "name": "mended", "spec": spec("known", "a") } });
    let message = webhook.refusal(&run("app", &both), &Value::Null);
    assert!(message.starts_with("spec.build: BuildRunAmbiguousBuild: "), "{message}");
    let mut started = named("mended");
    started["status"] = json!({ "startTime": "2026-11-21T12:00:00Z" });
    assert!(webhook.warnings(&run("app", &both), &started).is_empty());
}

#[test]
fn who_cannot_look_says_so_and_judges_the_object_alone() {
    let server = installed();
    let webhook = Webhook::ready("cannot_look", &server, &[]);
    let forbidden = Some((axum::http::StatusCode::FORBIDDEN, "as the test wants"));
    server.refuse("GET buildstrategies", forbidden);
    let missing = spec("missing", "registry.example.com/app");
    let expected = "could not check what the Build refers to: the API server does not get BuildStrategy missing: as the test wants (403)";
    assert_eq!(webhook.warnings(&build("app", &missing), &Value::Null), [expected]);
    let mut bad = missing;
    bad["env"] = json!([{ "name": "", "value": "x" }]);
    let response = webhook.review(&build("app", &bad), &Value::Null);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("spec.env[0].name: SpecEnvNameCanNotBeBlank: "), "{response}");
    assert_eq!(response["warnings"], json!([expected]));
    // It was as bad before.
    let mut changed = bad.clone();
    changed["output"]["image"] = json!("registry.example.com/other");
    assert_eq!(webhook.warnings(&build("app", &changed), &build("app", &bad)), [expected]);
}

#[test]
fn a_strategy_that_cannot_be_read_is_told_where_it_is_named() {
    let server = installed();
    let mut odd = strategy("odd");
    odd["spec"]["volumes"] =
        json!([{ "name": "a", "secret": { "secretName": "b", "defaultMode": 4_294_967_296_i64 } }]);
    server.add("buildstrategies", odd);
    let webhook = Webhook::ready("odd_strategy", &server, &[]);
    let unreadable = "BuildStrategyNotFound: BuildStrategy odd cannot be read: ";
    let mut named = spec("odd", "registry.example.com/app");
    let warnings = webhook.warnings(&build("app", &named), &Value::Null);
    assert!(warnings[0].starts_with(&format!("spec.strategy.name: {unreadable}")), "{warnings:?}");
    let embedded = run("app", &json!({ "build": { "spec": named } }));
    let warnings = webhook.warnings(&embedded, &Value::Null);
    let expected = format!("spec.build.spec.strategy.name: {unreadable}");
    assert!(warnings[0].starts_with(&expected), "{warnings:?}");

    server.add("builds", build("app", &named));
    let of_build = run(&"a".repeat(64), &json!({ "build": { "name": "app" } }));
    let message = webhook.refusal(&of_build, &Value::Null);
    assert!(message.starts_with("2 problems:\nmetadata.name: BuildRunNameInvalid: "), "{message}");
    assert!(message.contains(&format!("\nspec.build.name: {unreadable}")), "{message}");

    // It hides nothing else.
    named["env"] = json!([{ "name": "", "value": "x" }]);
    let message = webhook.refusal(&build("app", &named), &Value::Null);
    assert!(message.starts_with("spec.env[0].name: SpecEnvNameCanNotBeBlank: "), "{message}");
}

#[test]
fn fields_are_called_as_in_the_version_that_was_written() {
    let server = installed();
    let webhook = Webhook::ready("written", &server, &[]);
    let mut missing = spec("missing", "registry.example.com/app");
    missing["output"]["pushSecret"] = json!("missing");
    let mut review = review(&build("app", &missing), &Value::Null);
    let fields = |review: &Value| {
        let answer = webhook.post("/validate", review);
        let warnings = answer["response"]["warnings"].as_array().unwrap().clone();
        let field =
            |warning: &Value| warning.as_str().unwrap().split(':').next().unwrap().to_owned();
        warnings.iter().map(field).collect::<Vec<_>>()
    };
    review["request"]["requestKind"] = review["request"]["kind"].clone();
    assert_eq!(fields(&review), ["spec.output.pushSecret", "spec.strategy.name"]);
    review["request"]["requestKind"]["version"] = json!("v1alpha1");
    assert_eq!(fields(&review), ["spec.output.credentials.name", "spec.strategy.name"]);
}

#[test]
fn a_setting_takes_everything() {
    let server = installed();
    let webhook = Webhook::ready("takes_everything", &server, &[("ADMISSION_ENABLED", "false")]);
    let mut bad = spec("missing", "registry.example.com/app");
    bad["env"] = json!([{ "name": "", "value": "x" }]);
    assert!(webhook.warnings(&build("app", &bad), &Value::Null).is_empty());
}

/// What is small as text, and many times as much once it is read.
#[test]
fn many_small_items_take_neither_long_nor_much_memory() {
    let server = installed();
    let webhook = Webhook::ready("many_small", &server, &[]);
    let mut many = spec("missing", "registry.example.com/app");
    many["env"] = json!(vec![json!({ "name": "" }); 50_000]);
    many["paramValues"] = json!(vec![json!({ "name": "a" }); 50_000]);
    let mut asked = review(&build("app", &many), &Value::Null);
    asked["request"]["requestKind"] = asked["request"]["kind"].clone();
    asked["request"]["requestKind"]["version"] = json!("v1alpha1");
    let answer = webhook.post("/validate", &asked);
    let refusal = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(refusal.contains("problems:") && refusal.len() < 10_000, "{refusal}");

    let request = json!({ "uid": "1", "desiredAPIVersion": "shipwright.io/v1alpha1", "objects": [build("app", &many)] });
    let asked = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request });
    let answer = webhook.post("/convert", &asked);
    assert_eq!(
        answer["response"]["result"]["status"], "Success",
        "{}",
        answer["response"]["result"]
    );
    assert!(webhook.peak() < 1 << 30, "{} bytes", webhook.peak());
}
