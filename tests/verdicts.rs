//! What becomes of a run: a Pod's status in, the BuildRun's condition out.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use slipway::api::{BuildRun, Condition, Nanoseconds};
use slipway::plan::{Next, Seen, Verdict, observe};

const NOW: &str = "2026-01-02T03:04:30Z";
const POD: &str = "run-x2x4x-pod";

fn run() -> BuildRun {
    serde_json::from_value(json!({ "metadata": { "name": "run", "namespace": "ns" } })).unwrap()
}

fn canceled() -> BuildRun {
    let mut run = run();
    run.spec.state = Some(slipway::api::BuildRunSpec::CANCELED.to_owned());
    run
}

/// A pod with the steps source-default, build and image-processing, and this status.
#[expect(clippy::needless_pass_by_value, reason = "callers write the status in place")]
fn pod(status: Value) -> Pod {
    let containers = ["step-source-default", "step-build", "step-image-processing"];
    serde_json::from_value(json!({
        "metadata": {
            "name": POD,
            "creationTimestamp": "2026-01-02T03:04:00Z",
            "annotations": { "slipway.dev/supporting-steps": "step-source-default,step-image-processing" },
        },
        "spec": { "containers": containers.map(|name| json!({ "name": name })) },
        "status": status,
    }))
    .unwrap()
}

fn container(name: &str, state: &Value) -> Value {
    json!({ "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state })
}

fn ended(name: &str, code: i32, at: &str, more: &Value) -> Value {
    let mut terminated =
        json!({ "exitCode": code, "finishedAt": format!("2026-01-02T03:04:{at}Z") });
    terminated.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    container(name, &json!({ "terminated": terminated }))
}

fn waiting(name: &str, reason: &str, message: &str) -> Value {
    container(name, &json!({ "waiting": { "reason": reason, "message": message } }))
}

fn running(name: &str) -> Value {
    container(name, &json!({ "running": {} }))
}

fn judge(run: &BuildRun, pod: Option<&Pod>) -> Verdict {
    let timeout = Nanoseconds(90_000_000_000);
    observe(&Seen { buildrun: run, timeout, pod_name: POD, pod }, NOW.parse::<Timestamp>().unwrap())
}

fn condition(verdict: &Verdict) -> (&str, &str, &str) {
    let [Condition { status, reason, message, .. }] = &verdict.status.conditions[..] else {
        panic!("one condition: {:?}", verdict.status.conditions)
    };
    (status, reason, message)
}

fn location(verdict: &Verdict) -> (Option<&str>, Option<&str>) {
    let location =
        verdict.status.failure_details.as_ref().and_then(|details| details.location.as_ref());
    (location.and_then(|at| at.pod.as_deref()), location.and_then(|at| at.container.as_deref()))
}

#[test]
fn a_pod_that_waits() {
    let unschedulable = |message: &str| {
        json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }] })
    };
    let containers = |status: Value| json!({ "phase": "Pending", "containerStatuses": [status] });
    for (status, reason, message) in [
        (json!({}), "Pending", "Pending"),
        (json!({ "phase": "Pending", "message": "why" }), "Pending", "why"),
        (
            unschedulable("no node"),
            "Pending",
            r#"pod status "PodScheduled":"False"; message: "no node""#,
        ),
        (
            unschedulable("0/1 nodes: Insufficient cpu"),
            "ExceededNodeResources",
            "TaskRun Pod exceeded available resources",
        ),
        (
            containers(waiting("step-build", "ErrImagePull", "no such image")),
            "PullImageFailed",
            r#"build step "step-build" is pending with reason "no such image""#,
        ),
        (
            containers(waiting(
                "step-build",
                "CreateContainerConfigError",
                "failed to create subPath directory for volumeMount",
            )),
            "Pending",
            "Waiting for subPath directory creation to complete",
        ),
    ] {
        let verdict = judge(&run(), Some(&pod(status)));
        assert_eq!(condition(&verdict), ("Unknown", reason, message));
        // No node has the pod, so nobody else ends it: of its 90 seconds, 60 are left.
        assert!(
            matches!(verdict.next, Next::Again(left) if left.as_secs() == 60),
            "{:?}",
            verdict.next
        );
        assert_eq!(verdict.status.completion_time, None);
    }
}

#[test]
fn a_pod_that_no_node_takes_in_time() {
    let mut late = pod(json!({ "phase": "Pending" }));
    let created = "2026-01-02T03:03:00Z".parse::<Timestamp>().unwrap();
    late.metadata.creation_timestamp = Some(Time(created));
    let verdict = judge(&run(), Some(&late));
    let message = "BuildRun run failed to finish within 1m30s";
    assert_eq!(condition(&verdict), ("False", "BuildRunTimeout", message));
    assert_eq!(verdict.next, Next::DeletePod);

    // The kubelet knows how long it may take, and has its time to end it.
    late.spec.as_mut().unwrap().node_name = Some("node".into());
    let verdict = judge(&run(), Some(&late));
    assert_eq!(condition(&verdict).1, "Pending");
    assert!(matches!(verdict.next, Next::Again(left) if left.as_secs() == 5), "{:?}", verdict.next);
}

#[test]
fn a_pod_whose_node_does_not_end_it_in_time() {
    let running = json!({ "phase": "Running", "containerStatuses": [running("step-build")] });
    let since = |created: &str| {
        let mut pod = pod(running.clone());
        pod.metadata.creation_timestamp = Some(Time(created.parse().unwrap()));
        pod.spec.as_mut().unwrap().node_name = Some("node".into());
        judge(&run(), Some(&pod))
    };
    // 90 seconds, and a minute for the node.
    let verdict = since("2026-01-02T03:02:01Z");
    assert_eq!(condition(&verdict).1, "Running");
    assert!(matches!(verdict.next, Next::Again(left) if left.as_secs() == 1), "{:?}", verdict.next);
    let verdict = since("2026-01-02T03:02:00Z");
    let message = "BuildRun run failed to finish within 1m30s";
    assert_eq!(condition(&verdict), ("False", "BuildRunTimeout", message));
    assert_eq!(verdict.next, Next::EndPod);
}

#[test]
fn a_pod_that_never_comes_to_its_steps() {
    let created = "2026-01-02T03:02:55Z".parse::<Timestamp>().unwrap();
    let pulls = waiting("step-build", "ContainerCreating", "");
    let status = |first: Value| json!({ "phase": "Pending", "containerStatuses": [first, pulls] });
    for (first, next) in [
        (waiting("step-source-default", "ContainerCreating", ""), Next::DeletePod),
        (running("step-source-default"), Next::EndPod),
        (ended("step-source-default", 0, "10", &json!({})), Next::EndPod),
    ] {
        let mut late = pod(status(first));
        late.spec.as_mut().unwrap().node_name = Some("node".into());
        late.metadata.creation_timestamp = Some(Time(created));
        let verdict = judge(&run(), Some(&late));
        let message = "BuildRun run failed to finish within 1m30s";
        assert_eq!(condition(&verdict), ("False", "BuildRunTimeout", message));
        assert_eq!((verdict.status.failure_details, verdict.next), (None, next));
    }
}

#[test]
fn a_pod_that_was_deleted_when_its_time_was_over() {
    for (started, reason) in [("03:02:59", "BuildRunTimeout"), ("03:03:01", "Failed")] {
        let mut run = run();
        let started = format!("2026-01-02T{started}Z").parse::<Timestamp>().unwrap();
        run.status.get_or_insert_default().start_time = Some(Time(started));
        assert_eq!(condition(&judge(&run, None)).1, reason);
    }
}

#[test]
fn a_pod_that_can_never_start_is_ended_at_once() {
    for (waiting, reason, message) in [
        (
            waiting("step-build", "ImagePullBackOff", "Back-off"),
            "TaskRunImagePullFailed",
            r#"the step "build" in TaskRun "run-x2x4x" failed to pull the image "". The pod errored with the message: "Back-off.""#,
        ),
        (
            waiting("step-build", "InvalidImageName", "bad"),
            "TaskRunImagePullFailed",
            r#"the step "build" in TaskRun "run-x2x4x" failed to pull the image "". The pod errored with the message: "bad.""#,
        ),
        (
            waiting("step-build", "CreateContainerConfigError", "secret not found"),
            "CreateContainerConfigError",
            "Failed to create pod due to config error",
        ),
        (
            waiting("step-build", "CreateContainerError", "no"),
            "PodCreationFailed",
            r#"the step "build" in TaskRun "run-x2x4x" failed to start. The pod errored with the message: "no.""#,
        ),
    ] {
        let verdict = judge(
            &run(),
            Some(&pod(json!({ "phase": "Pending", "containerStatuses": [waiting] }))),
        );
        assert_eq!(condition(&verdict), ("False", reason, message));
        assert_eq!(verdict.next, Next::EndPod);
        assert!(verdict.status.completion_time.is_some());
        assert_eq!(verdict.status.failure_details, None);
    }
    let init = json!({ "phase": "Pending", "initContainerStatuses": [waiting("prepare", "ErrImageNeverPull", "not here")] });
    assert_eq!(judge(&run(), Some(&pod(init))).next, Next::EndPod);
}

#[test]
fn a_run_that_goes_on_and_one_that_succeeds() {
    let verdict = judge(&run(), Some(&pod(json!({ "phase": "Running" }))));
    assert_eq!(
        condition(&verdict),
        ("Unknown", "Running", "Not all Steps in the Task have finished executing")
    );
    assert_eq!(verdict.status.start_time.unwrap().0.to_string(), "2026-01-02T03:04:00Z");

    let report = |text: &str| json!({ "message": text });
    let done = json!({ "phase": "Succeeded", "containerStatuses": [
        ended("step-source-default", 0, "10", &report(
            r#"{"shp-source-default-commit-sha":"abc","shp-source-default-commit-author":"Ada","shp-source-default-source-timestamp":"1700000000"}"#)),
        ended("step-build", 0, "20", &report(r#"{"shp-image-digest":"sha256:old"}"#)),
        ended("step-image-processing", 0, "25", &report(
            r#"{"shp-image-digest":"sha256:new","shp-image-size":"42","shp-image-vulnerabilities":"SUSE-SU-2024:1-1:c,CVE-1:H,CVE-2:?"}"#)),
    ] });
    let verdict = judge(&run(), Some(&pod(done)));
    assert_eq!(condition(&verdict), ("True", "Succeeded", "All Steps have completed executing"));
    assert_eq!(verdict.next, Next::Finished);
    let status = json!(verdict.status);
    assert_eq!(status["completionTime"], "2026-01-02T03:04:25Z");
    assert_eq!(
        status["output"],
        json!({ "digest": "sha256:new", "size": 42, "vulnerabilities": [
            { "id": "SUSE-SU-2024:1-1", "severity": "critical" },
            { "id": "CVE-1", "severity": "high" }, { "id": "CVE-2", "severity": "unknown" }] })
    );
    assert_eq!(
        status["source"],
        json!({ "git": { "commitSha": "abc", "commitAuthor": "Ada" }, "timestamp": "2023-11-14T22:13:20Z" })
    );
}

#[test]
fn a_step_that_failed() {
    let failed = |build: Value, image: Value| {
        let source = ended("step-source-default", 0, "10", &json!({}));
        json!({ "phase": "Failed", "containerStatuses": [source, build, image] })
    };
    let skipped = ended("step-image-processing", 1, "21", &json!({}));
    let told =
        json!({ "message": r#"{"shp-error-reason":"Broken","shp-error-message":"it broke"}"# });
    let verdict =
        judge(&run(), Some(&pod(failed(ended("step-build", 3, "20", &told), skipped.clone()))));
    assert_eq!(
        condition(&verdict),
        (
            "False",
            "Failed",
            "buildrun step step-build failed, for detailed information: kubectl --namespace ns logs run-x2x4x-pod --container=step-build"
        )
    );
    assert_eq!(location(&verdict), (Some(POD), Some("step-build")));
    let details = verdict.status.failure_details.unwrap();
    assert_eq!(
        (details.reason.as_deref(), details.message.as_deref()),
        (Some("Broken"), Some("it broke"))
    );

    let oom = |code| ended("step-build", code, "20", &json!({ "reason": "OOMKilled" }));
    let verdict = judge(&run(), Some(&pod(failed(oom(137), skipped.clone()))));
    assert_eq!(condition(&verdict).1, "StepOutOfMemory");
    assert_eq!(location(&verdict), (Some(POD), Some("step-build")));
    let survived = json!({ "phase": "Succeeded", "containerStatuses": [oom(0)] });
    assert_eq!(condition(&judge(&run(), Some(&pod(survived)))).1, "Succeeded");

    let good = ended("step-build", 0, "20", &json!({}));
    let found = ended("step-image-processing", 22, "21", &json!({}));
    let verdict = judge(&run(), Some(&pod(failed(good.clone(), found))));
    assert_eq!(condition(&verdict).1, "VulnerabilitiesFound");
    assert!(
        condition(&verdict).2.contains("For detailed information,see kubectl --namespace ns logs")
    );
    let by_strategy = ended("step-build", 22, "20", &json!({}));
    assert_eq!(condition(&judge(&run(), Some(&pod(failed(by_strategy, skipped))))).1, "Failed");
}

#[test]
fn a_pod_that_is_taken_away() {
    let lost = condition_of_gone();
    let going = json!({ "phase": "Running", "containerStatuses": [running("step-build")] });
    let failed = json!({ "phase": "Failed", "containerStatuses": [ended("step-build", 143, "10", &json!({}))] });
    let deleted = |status: &Value| {
        let mut pod = pod(status.clone());
        pod.metadata.deletion_timestamp = Some(Time(NOW.parse().unwrap()));
        pod
    };
    // Until it ends it may still succeed.
    let verdict = judge(&run(), Some(&deleted(&going)));
    assert_eq!(condition(&verdict).1, "Running");
    let verdict = judge(&run(), Some(&deleted(&failed)));
    assert_eq!(condition(&verdict), lost);
    assert_eq!(location(&verdict), (Some(POD), None));
    let verdict = judge(&canceled(), Some(&deleted(&failed)));
    assert_eq!(condition(&verdict).1, "BuildRunCanceled");

    // Its node may be gone, and would never say more.
    let mut drained = going;
    drained["conditions"] = json!([{ "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager" }]);
    let verdict = judge(&run(), Some(&deleted(&drained)));
    assert_eq!(condition(&verdict), lost);
    assert!(verdict.status.completion_time.is_some());
    let verdict = judge(&run(), Some(&pod(drained)));
    assert_eq!(condition(&verdict).1, "Running");
}

fn condition_of_gone() -> (&'static str, &'static str, &'static str) {
    ("False", "Failed", "buildrun failed, pod ns/run-x2x4x-pod not found")
}

#[test]
fn a_pod_that_failed_as_a_whole() {
    let pod_failed = |reason: &str| {
        pod(json!({ "phase": "Failed", "reason": reason, "message": "the node said so" }))
    };
    let verdict = judge(&run(), Some(&pod_failed("Evicted")));
    assert_eq!(condition(&verdict), ("False", "PodEvicted", "the node said so"));
    assert_eq!(location(&verdict), (Some(POD), None));

    let verdict = judge(&run(), Some(&pod_failed("DeadlineExceeded")));
    assert_eq!(
        condition(&verdict),
        ("False", "BuildRunTimeout", "BuildRun run failed to finish within 1m30s")
    );
    assert_eq!(verdict.status.failure_details, None);

    let verdict = judge(&run(), Some(&pod_failed("")));
    assert_eq!(
        condition(&verdict),
        (
            "False",
            "Failed",
            "buildrun failed due to an unexpected error in pod run-x2x4x-pod: for detailed information: kubectl --namespace ns logs run-x2x4x-pod --all-containers"
        )
    );
    let verdict = judge(&run(), None);
    assert_eq!(condition(&verdict), condition_of_gone());

    let init = json!({ "phase": "Failed", "initContainerStatuses": [ended("prepare", 1, "10", &json!({ "reason": "Error" }))] });
    let verdict = judge(&run(), Some(&pod(init)));
    assert_eq!(
        condition(&verdict),
        (
            "False",
            "InitContainerFailed",
            r#"init container failed, "prepare" exited with code 1: Error"#
        )
    );
}

#[test]
fn a_run_that_the_user_cancels() {
    let verdict = judge(&canceled(), Some(&pod(json!({ "phase": "Running" }))));
    assert_eq!(condition(&verdict).0, "Unknown");
    assert_eq!(condition(&verdict).1, "BuildRunCanceled");
    assert!(
        condition(&verdict).2.starts_with(
            "The user requested the BuildRun to be canceled.  This BuildRun controller"
        )
    );
    assert_eq!(verdict.next, Next::EndPod);

    // Of two steps, one waits for its image.
    let steps = [running("step-source-default"), waiting("step-build", "ContainerCreating", "")];
    let pending = json!({ "phase": "Pending", "containerStatuses": steps });
    let verdict = judge(&canceled(), Some(&pod(pending)));
    assert_eq!(
        (condition(&verdict).0, condition(&verdict).1, verdict.next),
        ("Unknown", "BuildRunCanceled", Next::EndPod)
    );

    let verdict = judge(&canceled(), Some(&pod(json!({ "phase": "Pending" }))));
    assert_eq!(
        condition(&verdict),
        (
            "False",
            "BuildRunCanceled",
            "The BuildRun and underlying TaskRun were canceled successfully."
        )
    );
    assert_eq!(verdict.next, Next::DeletePod);

    let verdict =
        judge(&canceled(), Some(&pod(json!({ "phase": "Failed", "reason": "DeadlineExceeded" }))));
    assert_eq!(
        condition(&verdict),
        (
            "False",
            "BuildRunCanceled",
            "The BuildRun and underlying TaskRun were canceled successfully."
        )
    );
    let verdict = judge(&canceled(), None);
    assert_eq!(condition(&verdict).1, "BuildRunCanceled");
    let verdict = judge(&canceled(), Some(&pod(json!({ "phase": "Succeeded" }))));
    assert_eq!(
        condition(&verdict),
        (
            "True",
            "Succeeded",
            "The TaskRun completed before the request to cancel the TaskRun could be processed."
        )
    );
}

#[test]
fn a_run_that_is_canceled_on_a_node_that_is_gone_ends_all_the_same() {
    let told = |since: &str| {
        let mut run = canceled();
        let condition = json!({ "type": "Succeeded", "status": "Unknown", "reason": "BuildRunCanceled",
            "message": "asked", "lastTransitionTime": since });
        run.status.get_or_insert_default().conditions =
            vec![serde_json::from_value(condition).unwrap()];
        judge(&run, Some(&pod(json!({ "phase": "Running" }))))
    };
    let verdict = told("2026-01-02T03:03:31Z");
    assert_eq!((condition(&verdict).0, verdict.next), ("Unknown", Next::EndPod));
    let verdict = told("2026-01-02T03:03:30Z");
    let message = "The BuildRun and underlying TaskRun were canceled successfully.";
    assert_eq!(condition(&verdict), ("False", "BuildRunCanceled", message));

    // Its time is over before that.
    let mut late = pod(json!({ "phase": "Running" }));
    late.metadata.creation_timestamp = Some(Time("2026-01-02T03:02:00Z".parse().unwrap()));
    late.spec.as_mut().unwrap().node_name = Some("node".into());
    assert_eq!(condition(&judge(&canceled(), Some(&late))), ("False", "BuildRunCanceled", message));
}

#[test]
fn a_later_step_that_goes_on_after_a_failure_is_ended_after_five_seconds() {
    let stuck = |at: &str| {
        pod(json!({ "phase": "Running", "containerStatuses": [
            ended("step-source-default", 1, at, &json!({})), running("step-build"), running("step-image-processing")] }))
    };
    let verdict = judge(&run(), Some(&stuck("28")));
    assert_eq!(condition(&verdict).1, "Running");
    assert!(matches!(verdict.next, Next::Again(left) if left.as_secs() == 3), "{:?}", verdict.next);
    let verdict = judge(&run(), Some(&stuck("24")));
    assert_eq!(
        (condition(&verdict).0, condition(&verdict).1, verdict.next),
        ("False", "Failed", Next::EndPod)
    );
    assert_eq!(location(&verdict), (Some(POD), Some("step-source-default")));
}

#[test]
fn what_was_said_before_is_not_said_again() {
    let mut run = run();
    let pod = pod(json!({ "phase": "Running" }));
    let first = judge(&run, Some(&pod));
    assert!(first.event.is_some());
    run.status = Some(first.status.clone());
    let again = judge(&run, Some(&pod));
    assert_eq!(again.event, None);
    assert_eq!(again.status, first.status);

    let done = judge(&run, None);
    run.status = Some(done.status.clone());
    let after = judge(&run, Some(&pod));
    assert_eq!((after.status, after.event, after.next), (done.status, None, Next::Finished));
}

/// A pod with a proxy that somebody else put beside the steps, and with one that is an init container which goes on.
fn meshed(status: Value) -> Pod {
    let mut pod = pod(status);
    let spec = pod.spec.as_mut().unwrap();
    let container = |more: Value| serde_json::from_value(more).unwrap();
    spec.containers.push(container(json!({ "name": "proxy" })));
    let init = [json!({ "name": "prepare" }), json!({ "name": "mesh", "restartPolicy": "Always" })];
    spec.init_containers = Some(init.map(container).into());
    spec.active_deadline_seconds = Some(20);
    pod
}

/// Their status, where the step `build` ended so.
fn beside(phase: &str, build: (i32, &str), proxy: Value) -> Pod {
    let fine = |name| ended(name, 0, "05", &json!({}));
    let (code, at) = build;
    let build = ended("step-build", code, at, &json!({}));
    let steps = [fine("step-source-default"), build, fine("step-image-processing"), proxy];
    let init = [fine("prepare"), ended("mesh", 143, "29", &json!({}))];
    meshed(json!({ "phase": phase, "startTime": "2026-01-02T03:04:01Z",
        "initContainerStatuses": init, "containerStatuses": steps }))
}

#[test]
fn what_others_put_beside_the_steps_decides_nothing() {
    let built = ("True", "Succeeded", "All Steps have completed executing");
    let broken = waiting("proxy", "ImagePullBackOff", "no such image");
    let crashed = ended("proxy", 1, "29", &json!({ "message": r#"{"shp-image-digest":"no"}"# }));
    for (phase, proxy, next) in [
        ("Running", running("proxy"), Next::EndPod),
        ("Pending", broken.clone(), Next::EndPod),
        ("Failed", crashed.clone(), Next::Finished),
    ] {
        let verdict = judge(&run(), Some(&beside(phase, (0, "10"), proxy)));
        assert_eq!((condition(&verdict), verdict.next), (built, next), "{phase}");
        let status = json!(verdict.status);
        assert_eq!(status["completionTime"], "2026-01-02T03:04:10Z", "{phase}");
        assert_eq!(status["output"], Value::Null, "{phase}");
    }
    let verdict = judge(&canceled(), Some(&beside("Running", (0, "10"), running("proxy"))));
    assert_eq!((condition(&verdict).0, verdict.next), ("True", Next::EndPod));

    for (phase, proxy) in [("Failed", crashed), ("Running", running("proxy"))] {
        let verdict = judge(&run(), Some(&beside(phase, (3, "10"), proxy)));
        assert_eq!((condition(&verdict).0, condition(&verdict).1), ("False", "Failed"), "{phase}");
        assert_eq!(location(&verdict), (Some(POD), Some("step-build")), "{phase}");
    }

    let going = json!({ "phase": "Pending", "containerStatuses": [running("step-build"), broken] });
    assert_eq!(condition(&judge(&run(), Some(&meshed(going)))).1, "Pending");
}

#[test]
fn a_pod_whose_steps_have_ended_is_ended_for_what_others_put_into_it() {
    let at = |code, at| judge(&run(), Some(&beside("Running", (code, at), running("proxy"))));
    // The kubelet, which ends all of them, may still say why.
    let verdict = at(3, "28");
    assert_eq!(condition(&verdict).1, "Running");
    assert!(matches!(verdict.next, Next::Again(left) if left.as_secs() == 3), "{:?}", verdict.next);
    let verdict = at(3, "20");
    assert_eq!((condition(&verdict).1, verdict.next), ("Failed", Next::EndPod));
    let verdict = at(143, "21");
    assert_eq!((condition(&verdict).1, verdict.next), ("BuildRunTimeout", Next::EndPod));
    let verdict = judge(&canceled(), Some(&beside("Running", (143, "20"), running("proxy"))));
    assert_eq!((condition(&verdict).1, verdict.next), ("BuildRunCanceled", Next::EndPod));
}
