//! What a Build names may come later, or go; what a run is given of its own goes with it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::documents::{output, push_secret, sample, tls_output};
use super::super::harness::{Namespace, kubectl, run};
use super::super::steps::{run_of, shell};
use super::Controller;
use super::disturbed::put_back;
use super::ended_early::{assert_writes, busy, pod_of};
use super::policy::Policy;
use super::told::{collect, condition, ended_run, event, object};

const VERSION: &str = "shipwright.io/v1beta1";

/// The Build's status as soon as it gives this reason.
fn status(namespace: &Namespace, build: &str, reason: &str) -> Value {
    let names = BTreeSet::from([build.to_owned()]);
    let said = collect(namespace, &["builds"], &names, |build: &Value| {
        let told = build["status"]["reason"] == reason;
        told.then(|| build["metadata"]["name"].as_str().unwrap().to_owned())
    });
    said[build]["status"].clone()
}

fn refused(reason: &str, message: &str) -> Value {
    json!({ "registered": "False", "reason": reason, "message": message })
}

/// A cluster's strategy, which goes with the test.
struct ClusterStrategy(String);

impl ClusterStrategy {
    fn new(name: &str) -> Self {
        let spec = json!({ "steps": [shell("build", "true")] });
        let kind = "ClusterBuildStrategy";
        let strategy = json!({ "apiVersion": VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec });
        run(kubectl(&["create", "--filename=-"]), &strategy.to_string());
        Self(name.to_owned())
    }
}

impl Drop for ClusterStrategy {
    fn drop(&mut self) {
        put_back(|| drop(run(kubectl(&["delete", "clusterbuildstrategy", &self.0]), "")));
    }
}

#[test]
fn a_build_is_judged_again_when_what_it_names_comes_or_goes() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("heals");
    let own = namespace.name();
    let of = |name: &str, strategy: Value, source: Value| {
        let output = json!({ "image": "registry.slipway.test:5000/heals", "pushSecret": "push" });
        let spec = json!({ "strategy": strategy, "output": output, "source": source });
        let build = json!({ "apiVersion": VERSION, "kind": "Build", "metadata": { "name": name }, "spec": spec });
        namespace.apply(&build.to_string());
    };
    let git = json!({ "type": "Git", "git": { "url": "https://git.example.com/app", "cloneSecret": "clone" } });
    of("own", json!({ "name": "steps" }), git);
    let local = json!({ "type": "Local", "local": {} });
    of("cluster", json!({ "name": own, "kind": "ClusterBuildStrategy" }), local);
    let succeeded = json!({ "registered": "True", "reason": "Succeeded", "message": "all validations succeeded" });
    let missing = |name: &str| format!("referenced secret {name} not found");
    let create = |secret: &str| {
        namespace.kubectl(&["create", "secret", "generic", secret, "--from-literal=a=b"]);
    };

    let both = "MultipleSecretRefNotFound";
    assert_eq!(status(&namespace, "own", both), refused(both, "missing secrets are clone,push"));
    create("push");
    let clone = "SpecSourceSecretRefNotFound";
    assert_eq!(status(&namespace, "own", clone), refused(clone, &missing("clone")));
    create("clone");
    let strategy = "BuildStrategyNotFound";
    let message = format!("buildStrategy steps does not exist in namespace {own}");
    assert_eq!(status(&namespace, "own", strategy), refused(strategy, &message));
    let of_cluster = "ClusterBuildStrategyNotFound";
    let message_of_cluster = format!("clusterBuildStrategy {own} does not exist");
    let expected = refused(of_cluster, &message_of_cluster);
    assert_eq!(status(&namespace, "cluster", of_cluster), expected);
    namespace.apply(run_of(&[shell("build", "true")]).split("\n---\n").next().unwrap());
    assert_eq!(status(&namespace, "own", "Succeeded"), succeeded);
    let _cluster_strategy = ClusterStrategy::new(own);
    assert_eq!(status(&namespace, "cluster", "Succeeded"), succeeded);

    namespace.kubectl(&["delete", "secret", "push"]);
    let push = "SpecOutputSecretRefNotFound";
    for build in ["own", "cluster"] {
        assert_eq!(status(&namespace, build, push), refused(push, &missing("push")));
    }
    create("push");
    for build in ["own", "cluster"] {
        assert_eq!(status(&namespace, build, "Succeeded"), succeeded);
    }
    // Nobody has touched it.
    assert_eq!(object(&namespace, "build/own")["metadata"]["generation"], 1);
}

#[test]
fn a_build_that_is_written_in_the_run() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("embedded");
    let mut strategy = sample("hello").strategy;
    let spec = &mut strategy["spec"];
    let list = json!({ "name": "list", "description": "", "type": "array", "defaults": [] });
    spec["parameters"].as_array_mut().unwrap().push(list);
    spec["volumes"][0]["overridable"] = true.into();
    let mut look = shell("look", "test \"$WORD\" = said; test \"$1\" = given");
    look["args"] = json!(["look", "$(params.greeting)"]);
    spec["steps"].as_array_mut().unwrap().insert(0, look);
    namespace.apply(&strategy.to_string());
    // Something of everything that needs nothing else.
    let resources =
        json!({ "limits": { "cpu": "1500m", "memory": "64Mi" }, "requests": { "cpu": "10m" } });
    let build = json!({
        "strategy": {
            "name": "hello", "kind": "BuildStrategy",
            "stepResources": [{ "name": "pack", "resources": resources }],
        },
        "output": {
            "image": output(&namespace)["image"], "insecure": true, "timestamp": "Zero",
            "annotations": { "a.example.com/b": "c" }, "labels": { "maintainer": "team" },
            "vulnerabilityScan": { "enabled": false, "failOnFinding": true, "ignore": { "severity": "low", "id": ["CVE-1"], "unfixed": true } },
        },
        "paramValues": [{ "name": "greeting", "value": "given" }, { "name": "list", "values": [{ "value": "" }, { "value": "b" }] }],
        "env": [{ "name": "WORD", "value": "said" }, { "name": "EMPTY" }],
        "timeout": "10m0s",
        "retention": { "ttlAfterFailed": "48h", "succeededLimit": 3, "atBuildDeletion": false },
        "volumes": [{ "name": "files", "emptyDir": { "sizeLimit": "10Mi" } }],
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "tolerations": [{ "key": "builds", "operator": "Exists", "effect": "NoSchedule" }],
        "schedulerName": "default-scheduler",
    });
    let spec = json!({ "build": { "spec": build } });
    let document = json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": { "name": "run" }, "spec": spec });
    namespace.apply(&document.to_string());
    let run = ended_run(&namespace, "run");
    let succeeded = ("Succeeded", "True", "Succeeded", "All Steps have completed executing");
    assert_eq!(condition(&run), succeeded);
    let (type_, reason, message) = event(&namespace, "run");
    assert_eq!((&*type_, &*reason, &*message), ("Normal", succeeded.2, succeeded.3));
    let stored = object(&namespace, "buildrun/run");
    assert_eq!(stored["spec"]["build"]["spec"], build);
    assert_eq!(stored["status"]["buildSpec"], build);
    assert_eq!(run.metadata.labels, None);
}

/// Its own time, and how long it stays.
#[test]
fn the_times_of_a_build_that_is_written_in_the_run() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("embedded-times");
    namespace.apply(run_of(&[shell("build", "true")]).split("\n---\n").next().unwrap());
    let build = json!({
        "strategy": { "name": "steps" }, "output": { "image": "registry.slipway.test:5000/embedded" },
        "timeout": "5s", "retention": { "ttlAfterFailed": "5s" },
        "nodeSelector": { "slipway.test/nowhere": "yes" },
    });
    let spec = json!({ "build": { "spec": build } });
    let document = json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": { "name": "run" }, "spec": spec });
    namespace.apply(&document.to_string());
    let run = ended_run(&namespace, "run");
    let message = "BuildRun run failed to finish within 5s";
    assert_eq!(condition(&run), ("Succeeded", "False", "BuildRunTimeout", message));
    assert_eq!(json!(run.status.unwrap().build_spec), build);
    namespace.kubectl(&["wait", "--for=delete", "--timeout=180s", "buildrun/run"]);
}

/// A Build stays registered whose strategy goes: its runs say what they miss.
#[test]
fn a_strategy_that_is_gone_is_told_by_the_run() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("gone");
    let own = namespace.name();
    let cluster_strategy = ClusterStrategy::new(own);
    namespace.apply(run_of(&[shell("build", "true")]).split("\n---\n").next().unwrap());
    let succeeded = json!({ "registered": "True", "reason": "Succeeded", "message": "all validations succeeded" });
    for (name, strategy, kind) in [
        ("own", "steps", "BuildStrategy"),
        ("cluster", own, "ClusterBuildStrategy"),
        ("odd", "steps", "BuildStrategy"),
    ] {
        let spec =
            json!({ "strategy": { "name": strategy, "kind": kind }, "output": { "image": "i" } });
        let build = json!({ "apiVersion": VERSION, "kind": "Build", "metadata": { "name": name }, "spec": spec });
        namespace.apply(&build.to_string());
        assert_eq!(status(&namespace, name, "Succeeded"), succeeded);
    }
    // Before the Build can say so itself.
    let unless = "object.status.registered == 'True'";
    let refused = json!({ "registered": "False" });
    let _policy = Policy::refusing_statuses(&namespace, "builds", unless, ("odd", &refused));
    let odd = r#"{"spec":{"strategy":{"kind":"Strategy"}}}"#;
    namespace.kubectl(&["patch", "build", "odd", "--type=merge", "--patch", odd]);
    namespace.kubectl(&["delete", "buildstrategy", "steps"]);
    drop(cluster_strategy);
    let cluster = format!("ClusterBuildStrategy.shipwright.io \"{own}\" not found");
    for (name, reason, message) in [
        ("own", "BuildStrategyNotFound", r#"BuildStrategy.shipwright.io "steps" not found"#),
        ("cluster", "ClusterBuildStrategyNotFound", &cluster),
        ("odd", "UnknownStrategyKind", "unknown strategy Strategy"),
    ] {
        let spec = json!({ "build": { "name": name } });
        let run = json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": { "name": name }, "spec": spec });
        namespace.apply(&run.to_string());
        let run = ended_run(&namespace, name);
        assert_eq!(condition(&run), ("Succeeded", "False", reason, message));
        assert!(run.status.unwrap().build_spec.is_some());
        assert_eq!(object(&namespace, &format!("build/{name}"))["status"], succeeded);
    }
}

/// An account of that name counts before the default one.
#[test]
fn the_account_of_pipelines() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("pipeline");
    namespace.kubectl(&["create", "serviceaccount", "pipeline"]);
    namespace.apply(&run_of(&[shell("build", "true")]));
    assert_eq!(condition(&ended_run(&namespace, "run")).2, "Succeeded");
    let pod = pod_of(&namespace, "run", |_| true);
    assert_eq!(pod.spec.unwrap().service_account_name.as_deref(), Some("pipeline"));
}

#[test]
fn an_account_for_one_run() {
    let controller = Controller::installed();
    let namespace = Namespace::new("generated");
    namespace.apply(&push_secret("SLIPWAY_REGISTRY_AUTH"));
    let mut sample = sample("hello").with(None, &tls_output(&namespace));
    let waiting = "until test -e /workspace/go; do sleep 0.1; done";
    let wait = shell("wait", waiting);
    sample.strategy["spec"]["steps"].as_array_mut().unwrap().insert(0, wait);
    sample.run["spec"]["serviceAccount"] = ".generate".into();
    namespace.apply(&sample.text());

    let pod = pod_of(&namespace, "hello", |_| true);
    assert_eq!(pod.spec.as_ref().unwrap().service_account_name.as_deref(), Some("hello"));
    let account: ServiceAccount =
        serde_json::from_value(object(&namespace, "serviceaccount/hello")).unwrap();
    let run = object(&namespace, "buildrun/hello");
    assert_eq!(json!(account.metadata.labels), json!({ "buildrun.shipwright.io/name": "hello" }));
    let owner = json!([{ "apiVersion": VERSION, "kind": "BuildRun", "name": "hello", "uid": run["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true }]);
    assert_eq!(json!(account.metadata.owner_references), owner);
    assert_eq!(account.automount_service_account_token, Some(false));
    assert_eq!(json!(account.secrets), json!([{ "name": "push" }]));

    let pod = pod.metadata.name.as_deref().unwrap();
    namespace.wait_until_running(pod, "step-wait");
    namespace.let_go(pod, "step-wait");
    let run = ended_run(&namespace, "hello");
    assert_eq!(condition(&run).2, "Succeeded");
    event(&namespace, "hello");
    namespace.kubectl(&["wait", "--for=delete", "--timeout=180s", "serviceaccount/hello"]);
    let status = "patch buildruns/status";
    let five = ["patch buildruns", "create pods", status, status, "create events"];
    let two = ["create serviceaccounts", "delete serviceaccounts"];
    assert_writes(&controller, &namespace, &[&five[..], &two].concat(), &busy(1));
}

#[test]
fn an_account_that_has_the_name_of_the_run_stays() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("same-account");
    namespace.kubectl(&["create", "serviceaccount", "run"]);
    let documents = run_of(&[shell("build", "true")]);
    let (others, run) = documents.rsplit_once("\n---\n").unwrap();
    let mut run: Value = serde_json::from_str(run).unwrap();
    run["spec"]["serviceAccount"] = ".generate".into();
    let before = object(&namespace, "serviceaccount/run");
    namespace.apply(others);
    namespace.apply(&run.to_string());
    let run: BuildRun = ended_run(&namespace, "run");
    assert_eq!(condition(&run).2, "Succeeded");
    event(&namespace, "run");
    assert_eq!(object(&namespace, "serviceaccount/run"), before);
}
