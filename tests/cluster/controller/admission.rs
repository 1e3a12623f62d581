//! What the API server says to whoever applies something that cannot run, and to whoever mends it.
//!
//! Invariant: a test that expects a refusal asks until it comes: an API server that hears nothing in time takes everything.

use std::process::Output;
use std::time::Instant;

use serde_json::{Value, json};
use slipway::api::BuildRun;
use slipway::cluster::install::NAMESPACE;

use super::super::harness::{Namespace, PATIENCE, kubectl, output_of, run};
use super::super::steps::{run_of, shell};
use super::disturbed::Replicas;
use super::{Controller, DEPLOYMENT, await_rollout, of_controller};

const VERSION: &str = "shipwright.io/v1beta1";
const WEBHOOK: &str = r#"admission webhook "admission.slipway.dev" denied the request: "#;
/// The Secret of the webhook's certificates, and the configuration that leads there.
const SECRET: &str = "secret/slipway-webhook";
const CONFIGURATION: &str = "validatingwebhookconfiguration/slipway-admission";

#[expect(clippy::needless_pass_by_value, reason = "callers write values in place")]
fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// A Build with two mistakes, whose strategy is missing.
fn bad_build(name: &str) -> Value {
    let spec = json!({
        "strategy": { "name": "missing" },
        "output": { "image": "registry.slipway.test:5000/app" },
        "env": [{ "name": "", "value": "x" }],
        "nodeSelector": { "a b": "c" },
    });
    object("Build", name, spec)
}

/// A run that says both which Build it is of and what to build.
fn bad_run(name: &str) -> Value {
    let spec = json!({ "strategy": { "name": "missing" }, "output": { "image": "a" } });
    object("BuildRun", name, json!({ "build": { "name": "app", "spec": spec } }))
}

fn apply(namespace: &Namespace, object: &Value, arguments: &[&str]) -> Output {
    let all = [&["--namespace", namespace.name(), "apply", "--filename=-"], arguments].concat();
    output_of(&mut kubectl(&all), &object.to_string())
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The message with which the object is refused, sooner or later; without it nothing is stored.
fn refusal(namespace: &Namespace, object: &Value) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let applied = apply(namespace, object, &["--dry-run=server"]);
        let error = error_of(&applied);
        if !applied.status.success() {
            let message = error.split_once(WEBHOOK).unwrap_or_else(|| panic!("{error}")).1;
            return message.trim_end().to_owned();
        }
        assert!(Instant::now() < deadline, "after {PATIENCE:?} it is taken: {error}");
    }
}

/// Stores the object without a word, as soon as the replicas that judge have gone.
fn taken(namespace: &Namespace, object: &Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let applied = apply(namespace, object, &["--dry-run=server"]);
        let error = error_of(&applied);
        if applied.status.success() && error.is_empty() {
            namespace.apply(&object.to_string());
            return;
        }
        assert!(Instant::now() < deadline, "after {PATIENCE:?} it is refused: {error}");
    }
}

/// What is said when the object is stored, as soon as this is part of it.
fn warning(namespace: &Namespace, object: &Value, warning: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let applied = apply(namespace, object, &["--dry-run=server"]);
        let error = error_of(&applied);
        assert!(applied.status.success(), "{error}");
        if error.contains(&format!("Warning: {warning}")) {
            return;
        }
        assert!(Instant::now() < deadline, "after {PATIENCE:?} there is no warning: {error}");
    }
}

/// Takes the label from the namespace, or gives it.
fn set_judged(namespace: &Namespace, judged: bool) {
    let label = if judged { "slipway.dev/admission-" } else { "slipway.dev/admission=disabled" };
    run(kubectl(&["label", "namespace", namespace.name(), label]), "");
}

#[test]
fn whoever_applies_what_cannot_run_is_told_everything_at_once() {
    let _controller = Controller::installed();
    let namespace = Namespace::judged("refused-at-apply");
    assert_eq!(
        refusal(&namespace, &bad_build("app")),
        "2 problems:\n\
         spec.env[0].name: SpecEnvNameCanNotBeBlank: name for environment variable must not be blank\n\
         spec.nodeSelector[a b]: NodeSelectorNotValid: Node selector key not valid: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    );
    assert_eq!(
        refusal(&namespace, &bad_run("app")),
        "spec.build: BuildRunAmbiguousBuild: fields 'buildRef' and 'buildSpec' are mutually exclusive"
    );
    for kind in ["BuildStrategy", "ClusterBuildStrategy"] {
        let steps = json!([shell("build", "echo $(params.nothing) $(params.neither)")]);
        let message = refusal(&namespace, &object(kind, "bad", json!({ "steps": steps })));
        assert!(message.contains("TaskRunGenerationFailed: "), "{message}");
        assert!(message.contains("nothing") && message.contains("neither"), "{message}");
    }
    let there = namespace.kubectl(&["get", "builds,buildruns,buildstrategies", "--output=name"]);
    assert_eq!(there, "");
}

#[test]
fn what_is_not_there_yet_is_a_warning() {
    let _controller = Controller::installed();
    let namespace = Namespace::judged("warned");
    let spec = json!({ "strategy": { "name": "missing" }, "output": { "image": "registry.slipway.test:5000/app" } });
    let build = object("Build", "app", spec.clone());
    let missing = format!(
        "spec.strategy.name: BuildStrategyNotFound: buildStrategy missing does not exist in namespace {}",
        namespace.name()
    );
    warning(&namespace, &build, &missing);
    let embedded = object("BuildRun", "embedded", json!({ "build": { "spec": spec } }));
    warning(&namespace, &embedded, "spec.build.spec.strategy.name: BuildRegistrationFailed: ");
    let unknown = object("BuildRun", "unknown", json!({ "build": { "name": "unknown" } }));
    let not_found = "spec.build.name: BuildNotFound: build.shipwright.io \"unknown\" not found";
    warning(&namespace, &unknown, not_found);

    // `kubectl apply` of a directory sends files by name, so the strategy comes last.
    let all = run_of(&[shell("build", "true")]);
    let mut all: Vec<&str> = all.split("\n---\n").collect();
    let kind = |document: &str| serde_saphyr::from_str::<Value>(document).unwrap()["kind"].clone();
    all.sort_by_key(|document| kind(document) == "BuildStrategy");
    namespace.apply(&all.join("\n---\n"));

    // Once nobody can mean to apply more of it, a run of a Build that is not registered is refused.
    namespace.apply(&build.to_string());
    let registered = "--for=jsonpath={.status.registered}=False";
    namespace.kubectl(&["wait", registered, "--timeout=180s", "build/app"]);
    let of_build = object("BuildRun", "of-build", json!({ "build": { "name": "app" } }));
    assert_eq!(
        refusal(&namespace, &of_build),
        format!(
            "2 problems:\nBuild {}/app {missing}\nspec.build.name: BuildRegistrationFailed: the Build is not registered correctly, build: app, registered status: False, reason: BuildStrategyNotFound",
            namespace.name()
        )
    );
}

/// Patches as `shp` and people send them, of objects that came before anybody judged them.
#[test]
fn what_is_bad_already_can_be_labelled_canceled_mended_and_deleted() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("bad-already");
    let bad = bad_build("app");
    namespace.apply(&bad.to_string());
    let script = "trap 'exit 143' TERM; sleep 3600 & wait";
    namespace.apply(&run_of(&[shell("build", script)]));
    let running = "--for=jsonpath={.status.conditions[0].reason}=Running";
    let runs = namespace.kubectl(&["get", "buildruns", "--output=name"]);
    let slow = runs.trim();
    namespace.kubectl(&["wait", running, "--timeout=180s", slow]);
    set_judged(&namespace, true);
    // From here on the same would be refused.
    refusal(&namespace, &bad_build("another"));

    namespace.kubectl(&["label", "build/app", "a=b"]);
    let finalizer = json!({ "metadata": { "finalizers": ["example.com/a"] } }).to_string();
    namespace.kubectl(&["patch", "build/app", "--type=merge", "--patch", &finalizer]);
    let image = json!({ "spec": { "output": { "image": "registry.slipway.test:5000/b" } } });
    namespace.kubectl(&["patch", "build/app", "--type=merge", "--patch", &image.to_string()]);
    let worse = json!({ "spec": { "tolerations": [{ "key": "-", "operator": "Exists" }] } });
    let worse = worse.to_string();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let patch = ["patch", "build/app", "--type=merge", "--dry-run=server", "--patch", &worse];
        let error = error_of(&namespace.try_kubectl(&patch));
        if let Some((_, message)) = error.split_once(WEBHOOK) {
            assert!(
                message.starts_with("spec.tolerations[0].key: TolerationNotValid: "),
                "{error}"
            );
            break;
        }
        assert!(Instant::now() < deadline, "after {PATIENCE:?} it is taken: {error}");
    }

    let cancel = r#"[{"op":"replace","path":"/spec/state","value":"BuildRunCanceled"}]"#;
    namespace.kubectl(&["patch", slow, "--type=json", "--patch", cancel]);
    let canceled = namespace.watch_all(&["buildruns"], PATIENCE, BuildRun::is_done);
    assert_eq!(canceled.unwrap().succeeded().unwrap().reason, "BuildRunCanceled");

    namespace.kubectl(&["delete", "build/app", "--wait=false"]);
    let none = json!({ "metadata": { "finalizers": null } }).to_string();
    namespace.kubectl(&["patch", "build/app", "--type=merge", "--patch", &none]);
    namespace.kubectl(&["wait", "--for=delete", "--timeout=180s", "build/app"]);
}

/// What is in order before a test and has to be so after it.
struct Setting;

impl Setting {
    /// The controller judges nothing.
    fn off() -> Self {
        of_controller(&["set", "env", DEPLOYMENT, "ADMISSION_ENABLED=false"]);
        await_rollout();
        Self
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        of_controller(&["set", "env", DEPLOYMENT, "ADMISSION_ENABLED-"]);
        await_rollout();
    }
}

#[test]
fn whoever_cannot_ask_takes_everything_and_so_does_whoever_need_not() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("not-asked");
    set_judged(&namespace, true);
    refusal(&namespace, &bad_build("app"));

    let none = Replicas::scaled_to(0);
    taken(&namespace, &bad_build("nobody"));
    drop(none);
    await_rollout();
    refusal(&namespace, &bad_build("app"));

    let off = Setting::off();
    taken(&namespace, &bad_build("off"));
    drop(off);
    refusal(&namespace, &bad_build("app"));
}

/// As after a restore from a copy without secrets, or with those of another cluster.
#[test]
fn a_certificate_that_is_lost_or_spoilt_is_made_anew() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("certificate");
    set_judged(&namespace, true);
    refusal(&namespace, &bad_build("app"));
    let bundle = "--output=jsonpath={.webhooks[0].clientConfig.caBundle}";
    let trusted = || run(kubectl(&["get", CONFIGURATION, bundle]), "");
    let mut last = trusted();
    assert!(!last.is_empty());
    let renewed = |last: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = trusted();
            if now != last && !now.is_empty() {
                return now;
            }
            assert!(Instant::now() < deadline, "after {PATIENCE:?} nothing new is trusted");
        }
    };

    of_controller(&["delete", SECRET]);
    last = renewed(&last);
    refusal(&namespace, &bad_build("app"));

    let spoilt = json!({ "stringData": { "generations.json": "{}" } }).to_string();
    of_controller(&["patch", SECRET, "--patch", &spoilt]);
    last = renewed(&last);
    refusal(&namespace, &bad_build("app"));

    // Somebody applies the file with a tool that leaves nothing of others.
    let file = format!("{}/install.yaml", env!("CARGO_MANIFEST_DIR"));
    let installed = std::fs::read_to_string(file).unwrap();
    let configuration = installed
        .split("---\n")
        .find(|document| document.contains("kind: ValidatingWebhookConfiguration"))
        .unwrap();
    run(kubectl(&["replace", "--save-config", "--filename=-"]), configuration);
    refusal(&namespace, &bad_build("app"));
    assert_eq!(trusted(), last);
    let type_ = ["get", SECRET, "--output=jsonpath={.type}", "--namespace", NAMESPACE];
    assert_eq!(run(kubectl(&type_), ""), "Opaque");
}
