//! Pods that run and end, by themselves or because somebody ends them.

use std::cell::Cell;

use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::documents::{git_source, https_url, sample};
use super::super::harness::Namespace;
use super::super::steps::{BUSYBOX, shell, step, with};
use super::Controller;
use super::runs::{
    BUILT, RUNNING, course, expect_ended, expect_going, live, located, logs, name_of, only_pod,
    pod_of, run_called, words,
};

/// Waits until the test says go.
const WAIT: &str = "until test -e /workspace/go; do sleep 0.01; done";

#[test]
fn a_run_runs_and_succeeds_or_fails_with_a_step() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("ends");
    let script = "printf Mine > $0; printf '%s' 'my \"words\", größer' > $1; exit 9";
    let paths = json!(["$(results.shp-error-reason.path)", "$(results.shp-error-message.path)"]);
    let telling = with(step("telling", BUSYBOX, &["sh", "-euc", script]), "args", paths);
    let mut fetching = run_called("fetching", &[shell("later", "true")]);
    fetching.build["spec"]["source"] = git_source(&https_url("nowhere"), None, false);
    let hungry = json!({ "limits": { "memory": "32Mi" } });
    let hungry = with(shell("hungry", "tail /dev/zero"), "resources", hungry);
    let mut pushing = sample("hello")
        .with(None, &json!({ "image": "registry.slipway.test:1/none", "insecure": true }));
    for document in [&mut pushing.strategy, &mut pushing.build, &mut pushing.run] {
        document["metadata"]["name"] = "pushing".into();
    }
    pushing.build["spec"]["strategy"]["name"] = "pushing".into();
    pushing.run["spec"]["build"]["name"] = "pushing".into();
    let samples = [
        pushing,
        run_called("good", &[shell("first", WAIT), shell("second", "true")]),
        run_called(
            "failing",
            &[shell("first", "true"), shell("wrong", "exit 3"), shell("later", "true")],
        ),
        run_called("telling", &[telling, shell("later", "true")]),
        fetching,
        run_called("hungry", &[hungry, shell("later", "true")]),
    ];
    let is_told = Cell::new(false);
    let lives = live(&namespace, &samples, |run| {
        if name_of(run) == "good" && words(run) == Some(RUNNING) && !is_told.replace(true) {
            expect_going(run, RUNNING);
            namespace.wait_until_running(pod_of(run), "step-first");
            namespace.let_go(pod_of(run), "step-first");
        }
    });
    let end = |name: &str| lives[name].last().unwrap();

    expect_ended(end("good"), BUILT, &Value::Null);
    assert!(course(&lives["good"]).ends_with(&[RUNNING, BUILT]));

    let failed = |name: &str, container: &str| {
        let logs = logs(end(name), container);
        format!("buildrun step {container} failed, for detailed information: {logs}")
    };
    let wrong = located(end("failing"), Some("step-wrong"));
    expect_ended(end("failing"), ("False", "Failed", &failed("failing", "step-wrong")), &wrong);

    let mut told = located(end("telling"), Some("step-telling"));
    (told["reason"], told["message"]) = ("Mine".into(), "my \"words\", größer".into());
    expect_ended(end("telling"), ("False", "Failed", &failed("telling", "step-telling")), &told);

    let source = "step-source-default";
    let mut git = located(end("fetching"), Some(source));
    git["reason"] = "GitRemoteRepositoryNotFound".into();
    git["message"] =
        "The source repository does not exist, or you have insufficient permission to access it."
            .into();
    expect_ended(end("fetching"), ("False", "Failed", &failed("fetching", source)), &git);

    let image = "step-image-processing";
    let pushing = located(end("pushing"), Some(image));
    expect_ended(end("pushing"), ("False", "Failed", &failed("pushing", image)), &pushing);

    let message = format!(
        "buildrun step step-hungry failed due to out-of-memory, for detailed information: {}",
        logs(end("hungry"), "step-hungry")
    );
    let hungry = located(end("hungry"), Some("step-hungry"));
    expect_ended(end("hungry"), ("False", "StepOutOfMemory", &message), &hungry);

    for life in lives.values() {
        let run = life.last().unwrap();
        only_pod(&namespace, run);
        assert!(run.status.as_ref().unwrap().start_time.is_some());
    }
}

#[test]
fn a_pod_is_evicted_or_deleted() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("taken");
    let volume = json!({ "name": "small", "emptyDir": { "sizeLimit": "1Mi" } });
    let mounts = json!([{ "name": "small", "mountPath": "/small" }]);
    let fill = format!("{WAIT}\nhead -c 4000000 /dev/zero > /small/file; exec sleep 1000");
    let mut evicted =
        run_called("evicted", &[with(shell("filling", &fill), "volumeMounts", mounts)]);
    evicted.strategy["spec"]["volumes"] = json!([volume]);
    let limit = json!({ "limits": { "ephemeral-storage": "1Mi" } });
    let fill = format!("{WAIT}\nhead -c 4000000 /dev/zero > /workspace/file; exec sleep 1000");
    let greedy = run_called("greedy", &[with(shell("filling", &fill), "resources", limit)]);
    let deleted =
        run_called("deleted", &[shell("long", "exec sleep 1000"), shell("later", "true")]);
    let are_told = [Cell::new(false), Cell::new(false), Cell::new(false)];
    let act = |run: &BuildRun| {
        if words(run) != Some(RUNNING) {
            return;
        }
        let pod = pod_of(run);
        match name_of(run) {
            name @ ("evicted" | "greedy")
                if !are_told[if name == "greedy" { 2 } else { 0 }].replace(true) =>
            {
                // An eviction before the pod's status knows of the step would leave nothing to locate.
                namespace.wait_until_running(pod, "step-filling");
                namespace.let_go(pod, "step-filling");
            }
            "deleted" if !are_told[1].replace(true) => {
                namespace.wait_until_running(pod, "step-long");
                namespace.kubectl(&["delete", "pod", pod, "--wait=false"]);
            }
            _ => {}
        }
    };
    let lives = live(&namespace, &[evicted, greedy, deleted], act);

    for (name, message) in [
        ("evicted", "Usage of EmptyDir volume \"small\" exceeds the limit \"1Mi\". "),
        ("greedy", "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "),
    ] {
        let run = lives[name].last().unwrap();
        // The kubelet removes the containers of a pod that it evicts, and may do so before it has noted how they ended.
        let details = json!(run.status.as_ref().unwrap().failure_details);
        let container = details["location"]["container"]
            .as_str()
            .inspect(|name| assert_eq!(*name, "step-filling"));
        expect_ended(run, ("False", "PodEvicted", message), &located(run, container));
        only_pod(&namespace, run);
    }

    let run = lives["deleted"].last().unwrap();
    let message = format!("buildrun failed, pod {}/{} not found", namespace.name(), pod_of(run));
    expect_ended(run, ("False", "Failed", &message), &located(run, None));
    assert!(course(&lives["deleted"]).ends_with(&[RUNNING, ("False", "Failed", &message)]));
    // Whatever would have been made is there before the namespace says that nothing is left.
    namespace.kubectl(&["wait", "--for=delete", "pod", pod_of(run), "--timeout=180s"]);
    let label = "--selector=buildrun.shipwright.io/name=deleted";
    assert_eq!(namespace.kubectl(&["get", "pods", label, "--output=name"]), "");
}
