//! Pods that wait, that can never start, and that the API server refuses.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::documents::Sample;
use super::super::harness::{Namespace, phase};
use super::super::steps::{BUSYBOX, shell, step, with};
use super::Controller;
use super::runs::{
    BUILT, course, end_of, executor_of, expect_ended, expect_going, live, name_of, only_pod, pod,
    pod_of, run_called, until,
};

const INVALID_IMAGE: &str = "registry.slipway.test:5000/No/Such:1";
const NO_SUCH_IMAGE: &str = "registry.slipway.test:5000/no/such:1";

#[test]
fn a_pod_waits_for_a_node() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("no-node");
    let large = json!({ "requests": { "cpu": "1000" } });
    let large = run_called("large", &[with(shell("one", "true"), "resources", large)]);
    let mut picky = run_called("picky", &[shell("one", "true")]);
    picky.build["spec"]["nodeSelector"] = json!({ "slipway.dev/such": "nowhere" });
    namespace.apply(&[large, picky].map(|sample| sample.text()).join("\n"));

    let large = until(&namespace, "large", "ExceededNodeResources");
    let message = "TaskRun Pod exceeded available resources";
    expect_going(&large, ("Unknown", "ExceededNodeResources", message));
    let picky = until(&namespace, "picky", "Pending");
    let waiting = pod(&namespace, pod_of(&picky));
    let condition = &waiting.status.as_ref().unwrap().conditions.as_ref().unwrap()[0];
    let why = condition.message.as_deref().unwrap();
    assert!(why.contains("didn't match Pod's node affinity/selector"), "{why}");
    let message = format!("pod status \"PodScheduled\":\"False\"; message: {why:?}");
    expect_going(&picky, ("Unknown", "Pending", &message));
    for run in [large, picky] {
        assert!(run.status.unwrap().start_time.is_some());
    }
}

fn needing(name: &str, environment: Value) -> Sample {
    run_called(name, &[with(shell("needy", "true"), "env", environment), shell("later", "true")])
}

#[test]
fn a_pod_that_can_never_start_ends_the_run() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("never-starts");
    let missing = |name: &str, image: &str, policy: &str| {
        let missing = with(step("missing", image, &["true"]), "imagePullPolicy", json!(policy));
        run_called(name, &[missing, shell("later", "true")])
    };
    let key = json!({ "name": "no-such", "key": "word" });
    let of = |source: &str| json!([{ "name": "WORD", "valueFrom": { source: key } }]);
    let mut parameter =
        run_called("parameter", &[step("needy", BUSYBOX, &["echo", "$(params.word)"])]);
    parameter.strategy["spec"]["parameters"] =
        json!([{ "name": "word", "description": "A word." }]);
    parameter.build["spec"]["paramValues"] = json!([{ "name": "word", "secretValue": key }]);
    let samples = [
        missing("pulled", NO_SUCH_IMAGE, "IfNotPresent"),
        missing("never", NO_SUCH_IMAGE, "Never"),
        missing("invalid", INVALID_IMAGE, "IfNotPresent"),
        needing("secret", of("secretKeyRef")),
        needing("config-map", of("configMapKeyRef")),
        parameter,
    ];
    let lives = live(&namespace, &samples, |_| {});
    let pulled = format!(
        "rpc error: code = NotFound desc = failed to pull and unpack image \"{NO_SUCH_IMAGE}\": failed to resolve image: {NO_SUCH_IMAGE}: not found"
    );
    let never =
        format!("Container image \"{NO_SUCH_IMAGE}\" is not present with pull policy of Never");
    for (name, text) in [
        ("pulled", &*format!("Back-off pulling image \"{NO_SUCH_IMAGE}\": ErrImagePull: {pulled}")),
        ("never", &*never),
    ] {
        let run = lives[name].last().unwrap();
        let message = format!(
            "the step \"missing\" in TaskRun \"{}\" failed to pull the image \"\". The pod errored with the message: \"{text}.\"",
            executor_of(run)
        );
        expect_ended(run, ("False", "TaskRunImagePullFailed", &message), &Value::Null);
    }
    // The kubelet may go on to the next word before it says this one.
    for (name, text) in [("pulled", &pulled), ("never", &never)] {
        let mut words = course(&lives[name]).into_iter();
        if let Some((status, _, message)) =
            words.find(|(_, reason, _)| *reason == "PullImageFailed")
        {
            let expected = format!("build step \"step-missing\" is pending with reason {text:?}");
            assert_eq!((status, message), ("Unknown", &*expected));
        }
    }
    let invalid = lives["invalid"].last().unwrap();
    let message =
        format!("couldn't parse image name \"{INVALID_IMAGE}\": invalid reference format");
    expect_ended(invalid, ("False", "TaskRunImagePullFailed", &message), &Value::Null);
    assert!(invalid.status.as_ref().unwrap().start_time.is_none());
    for name in ["secret", "config-map", "parameter"] {
        let run = lives[name].last().unwrap();
        let message = "Failed to create pod due to config error";
        expect_ended(run, ("False", "CreateContainerConfigError", message), &Value::Null);
    }
    for run in lives.values().filter_map(|life| life.last()).filter(|run| name_of(run) != "invalid")
    {
        expect_ended_pod(&namespace, run);
    }
}

/// What could go on in the pod has been ended, and its logs stay.
fn expect_ended_pod(namespace: &Namespace, run: &BuildRun) {
    let is = |pod: &Pod| phase(pod) == "Failed";
    let ended = namespace.wait_for(pod_of(run), "ended from outside", is);
    assert_eq!(ended.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    only_pod(namespace, run);
}

#[test]
fn a_run_goes_on_once_the_quota_has_room() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("quota");
    namespace.kubectl(&["create", "quota", "few", "--hard=pods=0"]);
    namespace.kubectl(&["wait", "--for=jsonpath={.status.hard.pods}=0", "quota/few"]);
    namespace.apply(&run_called("patient", &[shell("one", "true")]).text());
    let run = until(&namespace, "patient", "ExceededResourceQuota");
    let message = format!(
        "TaskRun Pod exceeded available resources: pods \"{}\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0",
        pod_of(&run)
    );
    expect_going(&run, ("Unknown", "ExceededResourceQuota", &message));
    assert!(run.status.unwrap().start_time.is_none());
    namespace.kubectl(&["patch", "quota", "few", "--patch", r#"{"spec":{"hard":{"pods":"1"}}}"#]);
    let run = end_of(&namespace, "patient");
    expect_ended(&run, BUILT, &Value::Null);
    only_pod(&namespace, &run);
}

#[test]
fn the_api_server_refuses_a_pod() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("limits");
    let most = json!({
        "type": "Container", "max": { "cpu": "1" }, "min": { "cpu": "1m" },
        "default": { "cpu": "1" }, "defaultRequest": { "cpu": "10m" },
    });
    let range = json!({ "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "most" }, "spec": { "limits": [most] } });
    namespace.apply(&range.to_string());
    let large = json!({ "requests": { "cpu": "1" }, "limits": { "cpu": "2" } });
    let large = run_called("large", &[with(shell("one", "true"), "resources", large)]);
    let small = run_called("small", &[shell("one", "true"), shell("two", "true")]);
    let lives = live(&namespace, &[large, small], |_| {});
    let run = lives["large"].last().unwrap();
    let message = format!(
        "failed to create task run pod \"{}\": pods \"{}\" is forbidden: maximum cpu usage per Container is 1, but limit is 2. Maybe invalid TaskSpec",
        executor_of(run),
        pod_of(run)
    );
    expect_ended(run, ("False", "PodCreationFailed", &message), &Value::Null);
    expect_ended(lives["small"].last().unwrap(), BUILT, &Value::Null);
}

#[test]
fn a_restricted_namespace_refuses_a_pod() {
    let _controller = Controller::installed();
    let namespace = Namespace::restricted("refusing");
    let root = json!({ "runAsUser": 0 });
    let root = run_called("root", &[with(shell("one", "true"), "securityContext", root)]);
    let lives = live(&namespace, &[root], |_| {});
    let run = lives["root"].last().unwrap();
    let message = format!(
        "pods \"{}\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true (pod or container \"step-one\" must set securityContext.runAsNonRoot=true), runAsUser=0 (container \"step-one\" must not set runAsUser=0)",
        pod_of(run)
    );
    expect_ended(run, ("False", "PodAdmissionFailed", &message), &Value::Null);
    assert!(run.status.as_ref().unwrap().start_time.is_none());
}
