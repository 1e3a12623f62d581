//! Pods that wait, that can never start, and that the API server refuses.

use std::cell::Cell;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::documents::Sample;
use super::super::harness::{Namespace, phase, variable};
use super::super::steps::{BUSYBOX, shell, step, with};
use super::Controller;
use super::policy::Policy;
use super::runs::{
    BUILT, course, end_of, executor_of, expect_ended, expect_going, live, located, name_of,
    only_pod, pod, pod_of, run_called, until, words,
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

/// The kubelet makes no directory behind a link, and tries until it is gone.
#[test]
fn a_pod_waits_for_a_directory() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("sub-path");
    let mount = |path: &str| json!({ "name": "files", "mountPath": "/files", "subPath": path });
    let link = json!({
        "name": "link", "image": BUSYBOX, "command": ["ln", "-s", "gone", "/files/link"],
        "volumeMounts": [{ "name": "files", "mountPath": "/files" }],
    });
    let link = json!({ "op": "add", "path": "/spec/initContainers/-", "value": link });
    let _policy = Policy::changing_the_pod_of(&namespace, "waiting", &[link]);
    let unlink = "until test -e /workspace/go; do sleep 0.01; done; rm /files/link";
    let mut waiting = run_called(
        "waiting",
        &[
            with(
                shell("first", unlink),
                "volumeMounts",
                json!([{ "name": "files", "mountPath": "/files" }]),
            ),
            with(shell("last", "true"), "volumeMounts", json!([mount("link/directory")])),
        ],
    );
    waiting.strategy["spec"]["volumes"] = json!([{ "name": "files", "emptyDir": {} }]);
    let expected = ("Unknown", "Pending", "Waiting for subPath directory creation to complete");
    let is_told = Cell::new(false);
    let lives = live(&namespace, &[waiting], |run| {
        if words(run) == Some(expected) && !is_told.replace(true) {
            expect_going(run, expected);
            namespace.wait_until_running(pod_of(run), "step-first");
            namespace.let_go(pod_of(run), "step-first");
        }
    });
    expect_ended(lives["waiting"].last().unwrap(), BUILT, &Value::Null);
    assert!(is_told.get(), "{:?}", course(&lives["waiting"]));
}

/// The kubelet refuses what the scheduler has given it, and no container has begun.
#[test]
fn a_node_refuses_a_pod() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("not-enforced");
    let profile = json!({ "appArmorProfile": { "type": "RuntimeDefault" } });
    let refused = run_called("refused", &[with(shell("one", "true"), "securityContext", profile)]);
    let lives = live(&namespace, &[refused], |_| {});
    let run = lives["refused"].last().unwrap();
    let pod = only_pod(&namespace, run);
    let status = pod.status.unwrap();
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("AppArmor"))
    );
    let message = format!(
        "buildrun failed due to an unexpected error in pod {0}: for detailed information: kubectl --namespace {1} logs {0} --all-containers",
        pod_of(run),
        namespace.name()
    );
    expect_ended(run, ("False", "Failed", &message), &located(run, None));
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
    let profile =
        json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": "no/such.json" } });
    let unconfined = with(shell("unconfined", "true"), "securityContext", profile);
    let samples = [
        run_called("profile", &[unconfined, shell("later", "true")]),
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
    let profile = lives["profile"].last().unwrap();
    let file = format!("{}/no/such.json", variable("SLIPWAY_SECCOMP_PROFILES"));
    let message = format!(
        "the step \"unconfined\" in TaskRun \"{}\" failed to start. The pod errored with the message: \"failed to create containerd container: cannot load seccomp profile \"{file}\": open {file}: no such file or directory.\"",
        executor_of(profile)
    );
    expect_ended(profile, ("False", "PodCreationFailed", &message), &Value::Null);
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

/// It has no pod yet that could be ended.
#[test]
fn a_run_is_canceled_that_waits_for_the_quota() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("quota-canceled");
    namespace.kubectl(&["create", "quota", "few", "--hard=pods=0"]);
    namespace.kubectl(&["wait", "--for=jsonpath={.status.hard.pods}=0", "quota/few"]);
    namespace.apply(&run_called("patient", &[shell("one", "true")]).text());
    until(&namespace, "patient", "ExceededResourceQuota");
    let cancel = r#"{"spec":{"state":"BuildRunCanceled"}}"#;
    namespace.kubectl(&["patch", "buildrun", "patient", "--type=merge", "--patch", cancel]);
    let run = end_of(&namespace, "patient");
    let message = "The BuildRun and underlying TaskRun were canceled successfully.";
    let canceled = ("False", "BuildRunCanceled", message);
    expect_ended(&run, canceled, &Value::Null);
    let status = run.status.unwrap();
    assert!(status.start_time.is_none() && status.build_spec.is_some(), "{status:?}");
    assert_eq!(namespace.kubectl(&["get", "pods", "--output=name"]), "");
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
    assert!(run.status.as_ref().unwrap().start_time.is_some());
}
