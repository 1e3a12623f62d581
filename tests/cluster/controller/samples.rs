//! The samples from `kubectl apply` to the image, each pod read back from the API server.

use k8s_openapi::api::core::v1::Pod;
use rstest::rstest;
use serde_json::{Value, json};
use slipway::api::{BuildRun, TRUE};

use super::super::documents::{
    build, clone_key, git_source, output, push_secret, sample, script_strategy, ssh_url, tls_output,
};
use super::super::harness::{Ended, Namespace, PATIENCE, documents};
use super::super::samples::{Pushed, SHIPWRIGHT_MANAGED, STRATEGY_MANAGED};
use super::Controller;

/// What the API server, and the scheduler add to a pod, anywhere in it.
const ADDED: [&str; 26] = [
    ".metadata.creationTimestamp",
    ".metadata.generation",
    ".metadata.managedFields",
    ".metadata.resourceVersion",
    ".metadata.uid",
    ".spec.containers[].imagePullPolicy",
    ".spec.containers[].resources",
    ".spec.containers[].terminationMessagePath",
    ".spec.containers[].terminationMessagePolicy",
    ".spec.dnsPolicy",
    ".spec.enableServiceLinks",
    ".spec.initContainers[].imagePullPolicy",
    ".spec.initContainers[].resources",
    ".spec.initContainers[].terminationMessagePath",
    ".spec.initContainers[].terminationMessagePolicy",
    ".spec.nodeName",
    ".spec.preemptionPolicy",
    ".spec.priority",
    ".spec.schedulerName",
    ".spec.securityContext",
    ".spec.serviceAccount",
    ".spec.terminationGracePeriodSeconds",
    ".spec.tolerations",
    ".spec.volumes[].downwardAPI.items[].fieldRef.apiVersion",
    ".spec.volumes[].projected.sources[].downwardAPI.items[].fieldRef.apiVersion",
    ".spec.volumes[].secret.defaultMode",
];

#[rstest]
#[case::the_strategy_pushes(STRATEGY_MANAGED, false)]
#[case::shipwright_pushes(SHIPWRIGHT_MANAGED, true)]
fn a_sample_comes_over_ssh_and_goes_to_a_registry_with_a_password(
    #[case] name: &str,
    #[case] tells_size: bool,
) {
    let _controller = Controller::installed();
    let namespace = Namespace::new(&format!("controlled-{name}"));
    let source = git_source(&ssh_url("app"), None, true);
    let sample = sample(name).with(Some(&source), &tls_output(&namespace));
    let push = push_secret("SLIPWAY_REGISTRY_AUTH");
    namespace.apply(&documents([&clone_key(), &push, &sample.text()]));
    let (run, ended) = finished(&namespace);
    let ended = ended.expect_success();

    let status = run.status.unwrap();
    let condition = status.succeeded().unwrap();
    assert_eq!((&*condition.status, &*condition.reason), (TRUE, "Succeeded"));
    let git = json!({
        "branchName": "main",
        "commitAuthor": "Ada Example",
        "commitSha": "bb36d34cff729bf576d1b359dd2f3cf4de97fa87",
    });
    let told = json!(status.source);
    assert_eq!(told["git"], git);
    assert!(told["timestamp"].is_string(), "{told}");
    let pushed = Pushed::of_tls(&namespace);
    let output = status.output.unwrap();
    assert_eq!(output.digest, Some(pushed.digest()));
    assert_eq!(output.size, tells_size.then(|| pushed.size()));
    assert_eq!(pushed.pull("greeting.txt"), "hello again\n");

    for container in &ended.pod.spec.as_ref().unwrap().containers {
        assert!(!ended.log(&container.name).is_empty(), "{} left no log", container.name);
    }
    let strategy = ["clusterbuildstrategy", name];
    let found = namespace.kubectl(&[&["get", "--output=json"], &strategy[..]].concat());
    assert_is_as_rendered(&namespace, &ended.pod, &found);
    namespace.kubectl(&[&["delete"], &strategy[..]].concat());
}

#[test]
fn a_step_that_sets_nothing_but_its_user_builds_where_nothing_is_allowed() {
    let _controller = Controller::installed();
    let namespace = Namespace::restricted("nothing-but-user");
    let script = "id -u; id -g; grep CapEff /proc/self/status";
    let mut strategy: Value =
        serde_json::from_str(&script_strategy("plain", (1001, 1000), script)).unwrap();
    let user = json!({ "runAsUser": 1001, "runAsGroup": 1000 });
    strategy["spec"]["steps"][0]["securityContext"] = user;
    let build = build("plain", &Value::Null, &output(&namespace));
    let run = json!({ "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": { "name": "app" },
        "spec": { "build": { "name": "app" } } });
    namespace.apply(&documents([&strategy.to_string(), &build, &run.to_string()]));
    let (_, ended) = finished(&namespace);
    let ended = ended.expect_success();
    assert_eq!(ended.log("step-script"), "1001\n1000\nCapEff:\t0000000000000000\n");
    assert_eq!(ended.user("step-script"), (1001, 1000));
    let own = namespace.kubectl(&["get", "namespace", namespace.name(), "--output=json"]);
    assert_is_as_rendered(&namespace, &ended.pod, &own);
}

/// The only run of the namespace once it is done, and its pod.
fn finished(namespace: &Namespace) -> (BuildRun, Ended<'_>) {
    let run =
        namespace.watch_all(&["buildruns"], PATIENCE, BuildRun::is_done).expect("the run ends");
    let pod = run.metadata.annotations.as_ref().unwrap()["slipway.dev/pod"].clone();
    let ended = namespace.wait_until_ended(&pod);
    (run, ended)
}

/// The pod is the one that `slipway render` makes of the same objects, but for what Kubernetes adds to any pod.
fn assert_is_as_rendered(namespace: &Namespace, live: &Pod, more: &str) {
    let objects = "buildstrategies,builds,buildruns,secrets,serviceaccounts";
    let objects = namespace.kubectl(&["get", objects, "--output=json"]);
    let mut live = json!(live);
    live.as_object_mut().unwrap().remove("status");
    let mut differences = Vec::new();
    compare("", &live, &json!(namespace.render(&documents([&objects, more]))), &mut differences);
    assert!(differences.is_empty(), "{differences:#?}");
}

fn compare(path: &str, live: &Value, rendered: &Value, differences: &mut Vec<String>) {
    match (live, rendered) {
        (Value::Object(live), Value::Object(rendered)) => {
            for (key, live) in live {
                let path = format!("{path}.{key}");
                let rendered = rendered.get(key).unwrap_or(&Value::Null);
                compare(&path, live, rendered, differences);
            }
            let lost = rendered.keys().filter(|key| !live.contains_key(*key));
            differences.extend(lost.map(|key| format!("{path}.{key} is not there")));
        }
        (Value::Array(live), Value::Array(rendered)) if live.len() == rendered.len() => {
            for (live, rendered) in live.iter().zip(rendered) {
                compare(&format!("{path}[]"), live, rendered, differences);
            }
        }
        _ if live == rendered => {}
        (_, Value::Null) if ADDED.contains(&path) => {}
        _ => differences.push(format!("{path} is {live}, not {rendered}")),
    }
}
