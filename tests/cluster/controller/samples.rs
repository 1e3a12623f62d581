//! The samples from `kubectl apply` to the image, each pod read back from the API server.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};
use slipway::api::{BuildRun, TRUE};

use super::super::documents::{
    build, clone_key, git_source, output, push_secret, sample, script_strategy, ssh_url, tls_output,
};
use super::super::harness::{Ended, Namespace, PATIENCE, documents, variable};
use super::super::samples::{Pushed, SHIPWRIGHT_MANAGED, STRATEGY_MANAGED};
use super::Controller;

/// What Kubernetes adds to a pod, anywhere in it, and what that is.
const ADDED: [(&str, &str); 20] = [
    (".metadata.generation", "1"),
    (".spec.containers[].imagePullPolicy", r#""IfNotPresent""#),
    (".spec.containers[].resources", "{}"),
    (".spec.containers[].terminationMessagePath", r#""/dev/termination-log""#),
    (".spec.containers[].terminationMessagePolicy", r#""File""#),
    (".spec.dnsPolicy", r#""ClusterFirst""#),
    (".spec.enableServiceLinks", "true"),
    (".spec.initContainers[].imagePullPolicy", r#""IfNotPresent""#),
    (".spec.initContainers[].resources", "{}"),
    (".spec.initContainers[].terminationMessagePath", r#""/dev/termination-log""#),
    (".spec.initContainers[].terminationMessagePolicy", r#""File""#),
    (".spec.preemptionPolicy", r#""PreemptLowerPriority""#),
    (".spec.priority", "0"),
    (".spec.schedulerName", r#""default-scheduler""#),
    (".spec.securityContext", "{}"),
    (".spec.serviceAccount", r#""default""#),
    (".spec.terminationGracePeriodSeconds", "30"),
    (".spec.volumes[].downwardAPI.items[].fieldRef.apiVersion", r#""v1""#),
    (".spec.volumes[].projected.sources[].downwardAPI.items[].fieldRef.apiVersion", r#""v1""#),
    (".spec.volumes[].secret.defaultMode", "420"),
];

/// Whether that is what Kubernetes adds to a pod there.
fn is_added(path: &str, value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    match path {
        // Each of these is another one each time.
        ".metadata.creationTimestamp" => text.parse::<Timestamp>().is_ok(),
        ".metadata.resourceVersion" => text.parse::<u64>().is_ok(),
        ".metadata.uid" => is_uid(text),
        // Times are in it, and who tells of the pod: the kubelet, and the scheduler if it had to wait.
        ".metadata.managedFields" => is_of_controller_but_for_its_status(value),
        ".spec.nodeName" => text == variable("SLIPWAY_NODE"),
        // The API server of the tests is told to wait no longer.
        ".spec.tolerations" => {
            let unreachable = ["not-ready", "unreachable"].map(|what| {
                json!({ "key": format!("node.kubernetes.io/{what}"), "operator": "Exists",
                    "effect": "NoExecute", "tolerationSeconds": 5 })
            });
            *value == json!(unreachable)
        }
        _ => {
            let added = ADDED.iter().find(|(added, _)| *added == path);
            added.is_some_and(|(_, expected)| {
                *value == serde_json::from_str::<Value>(expected).unwrap()
            })
        }
    }
}

fn is_uid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').map(str::len).collect();
    let is_hex = |letter: char| letter == '-' || letter.is_ascii_hexdigit();
    parts == [8, 4, 4, 4, 12] && text.chars().all(is_hex)
}

fn is_of_controller_but_for_its_status(managed: &Value) -> bool {
    let (status, others): (Vec<_>, Vec<_>) =
        managed.as_array().unwrap().iter().partition(|part| part["subresource"] == "status");
    let managers: Vec<_> = others.iter().map(|part| &part["manager"]).collect();
    managers == ["slipway-controller"] && !status.is_empty()
}

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
        (_, Value::Null) if is_added(path, live) => {}
        _ => differences.push(format!("{path} is {live}, not {rendered}")),
    }
}
