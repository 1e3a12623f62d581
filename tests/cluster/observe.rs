//! Verdicts on pods that a real kubelet could not start, or ended: what `observe` makes of the status as kubelet writes it.
//!
//! What ends by itself is judged in `gate`.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::json;
use slipway::plan::{Next, Verdict};

use super::gate::kill_first_process;
use super::harness::{Namespace, container, documents, phase, status};
use super::steps::{
    BUSYBOX, Wish, condition, details, end, expect_failed_at, expect_located, judge, run_of,
    run_with, shell, step, with,
};

/// The pod and the verdict as soon as the verdict asks for the pod's end, with time for kubelet's next word where it asks for that.
fn judged_to_end(namespace: &Namespace, pod: &str) -> (Pod, Verdict) {
    let asks = |pod: &Pod| match judge(pod, Wish::Build, Timestamp::now()).next {
        // Else it is its time that is looked after.
        Next::Again(left) => phase(pod) == "Running" && left <= SignedDuration::from_secs(5),
        next => next != Next::Wait,
    };
    let seen = namespace.wait_for(pod, "judged", asks);
    let now = Timestamp::now();
    let verdict = judge(&seen, Wish::Build, now);
    let Next::Again(left) = verdict.next else { return (seen, verdict) };
    assert_eq!(
        condition(&verdict),
        ("Unknown", "Running", "Not all Steps in the Task have finished executing")
    );
    assert!(left.is_positive() && left <= SignedDuration::from_secs(5), "{left:#}");
    let verdict = judge(&seen, Wish::Build, now + left);
    assert_eq!(verdict.next, Next::EndPod);
    (seen, verdict)
}

/// The pod is still there to be ended, and ending it works.
fn end_and_expect(namespace: &Namespace, pod: &str, goes_on: &str) {
    let now: Pod =
        serde_json::from_str(&namespace.kubectl(&["get", "pod", pod, "-o", "json"])).unwrap();
    let state = status(&now, goes_on).and_then(|status| status.state.as_ref());
    assert!(state.is_some_and(|state| state.running.is_some()), "{goes_on}: {state:?}");
    end(namespace, pod);
}

#[test]
fn a_gate_that_is_killed_before_its_lock_is_ended_from_outside() {
    let namespace = Namespace::new("no-lock");
    let mut pod = namespace.render(&run_of(&[shell("first", "true"), shell("second", "true")]));
    // A gate that has not come to its first line looks like this to its successor.
    let first = container(&mut pod, "step-first");
    (first.command, first.args) = (Some(vec!["sleep".into(), "1000".into()]), None);
    let name = namespace.start(&pod);
    namespace.wait_until_running(&name, "step-second");
    kill_first_process(&namespace.wait_until_running(&name, "step-first"), "step-first");
    let (seen, verdict) = judged_to_end(&namespace, &name);
    assert_eq!(phase(&seen), "Running");
    expect_ended_at(&verdict, &namespace, &name, "step-first");
    end_and_expect(&namespace, &name, "step-second");
}

fn expect_ended_at(verdict: &Verdict, namespace: &Namespace, pod: &str, container: &str) {
    let namespace = namespace.name();
    let message = format!(
        "buildrun step {container} failed, for detailed information: kubectl --namespace {namespace} logs {pod} --container={container}"
    );
    assert_eq!(condition(verdict), ("False", "Failed", &*message));
    expect_located(verdict, pod, container);
    assert!(verdict.status.completion_time.is_some());
    assert_eq!(verdict.next, Next::EndPod);
}

#[rstest]
#[case::garbage("/garbage/program", "Error", 255)]
#[case::missing("/garbage/missing", "StartError", 128)]
fn a_container_that_cannot_be_executed_is_ended_from_outside(
    #[case] program: &str,
    #[case] reason: &str,
    #[case] exit_code: i32,
) {
    let namespace = Namespace::new(&format!("program-{exit_code}"));
    namespace.kubectl(&["create", "configmap", "garbage", "--from-literal=program=garbage"]);
    let files = json!({ "name": "garbage", "defaultMode": 0o755 });
    let volume = json!({ "name": "garbage", "configMap": files });
    let mounts = json!([{ "name": "garbage", "mountPath": "/garbage", "readOnly": true }]);
    let first = with(shell("first", "true"), "volumeMounts", mounts);
    let mut pod = namespace.render(&run_with(&[first, shell("second", "true")], &[volume]));
    container(&mut pod, "step-first").command = Some(vec![program.into()]);
    let name = namespace.start(&pod);
    let (seen, verdict) = judged_to_end(&namespace, &name);
    let state = status(&seen, "step-first").unwrap().state.as_ref().unwrap();
    let ended = state.terminated.as_ref().unwrap();
    assert_eq!((ended.reason.as_deref(), ended.exit_code), (Some(reason), exit_code), "{ended:?}");
    expect_ended_at(&verdict, &namespace, &name, "step-first");
    namespace.wait_until_running(&name, "step-second");
    end_and_expect(&namespace, &name, "step-second");
}

#[rstest]
#[case::pulled("IfNotPresent", "ImagePullBackOff")]
#[case::never_pulled("Never", "ErrImageNeverPull")]
fn an_image_that_is_missing_is_ended_from_outside(#[case] policy: &str, #[case] reason: &str) {
    let namespace = Namespace::new(&format!("image-{}", policy.to_lowercase()));
    let image = "registry.slipway.test:5000/no/such:1";
    let missing = with(step("missing", image, &["true"]), "imagePullPolicy", json!(policy));
    let name = namespace.start(&namespace.render(&run_of(&[missing, shell("later", "true")])));
    let (seen, verdict) = judged_to_end(&namespace, &name);
    let state = status(&seen, "step-missing").unwrap().state.as_ref().unwrap();
    let waiting = state.waiting.as_ref().unwrap();
    assert_eq!(waiting.reason.as_deref(), Some(reason));
    let text = waiting.message.as_deref().unwrap();
    assert!(text.contains(image), "{text}");
    let executor = name.strip_suffix("-pod").unwrap();
    let message = format!(
        "the step \"missing\" in TaskRun \"{executor}\" failed to pull the image \"\". The pod errored with the message: \"{text}.\""
    );
    assert_eq!(condition(&verdict), ("False", "TaskRunImagePullFailed", &*message));
    assert_eq!(verdict.next, Next::EndPod);
    namespace.wait_until_running(&name, "step-later");
    end_and_expect(&namespace, &name, "step-later");
}

#[test]
fn a_secret_that_is_missing_is_ended_from_outside() {
    let namespace = Namespace::new("config-error");
    let reference = json!({ "secretKeyRef": { "name": "no-such", "key": "word" } });
    let env = json!([{ "name": "WORD", "valueFrom": reference }]);
    let needy = with(shell("needy", "true"), "env", env);
    let name = namespace.start(&namespace.render(&run_of(&[needy, shell("later", "true")])));
    let (_, verdict) = judged_to_end(&namespace, &name);
    assert_eq!(
        condition(&verdict),
        ("False", "CreateContainerConfigError", "Failed to create pod due to config error")
    );
    assert_eq!(verdict.next, Next::EndPod);
    namespace.wait_until_running(&name, "step-later");
    end_and_expect(&namespace, &name, "step-later");
}

#[test]
fn a_pod_whose_preparation_fails_ends_by_itself() {
    let namespace = Namespace::new("prepare");
    let mut pod = namespace.render(&run_of(&[shell("first", "true")]));
    let prepare = &mut pod.spec.as_mut().unwrap().init_containers.as_mut().unwrap()[0];
    prepare.image = Some(BUSYBOX.into());
    let ended = namespace.run_pod(&pod);
    let verdict = judge(&ended.pod, Wish::Build, Timestamp::now());
    let (status, reason, message) = condition(&verdict);
    assert_eq!((status, reason), ("False", "InitContainerFailed"));
    let words = "init container failed, \"prepare\" exited with code 128: ";
    assert!(message.starts_with(words) && message.contains("slipway-step"), "{message}");
    assert_eq!(verdict.next, Next::Finished);
}

#[test]
fn a_run_that_takes_too_long_is_ended_by_kubelet() {
    let namespace = Namespace::new("timeout");
    let run = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": { "name": "run" },
        "spec": { "build": { "name": "steps" }, "timeout": "3s" },
    });
    let steps = run_of(&[shell("long", "echo long; exec sleep 1000"), shell("later", "true")]);
    let (others, _) = steps.rsplit_once("\n---\n").unwrap();
    let ended = namespace.run(&documents([others, &run.to_string()]));
    assert_eq!(ended.pod.status.as_ref().unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    let verdict = judge(&ended.pod, Wish::Build, Timestamp::now());
    assert_eq!(
        condition(&verdict),
        ("False", "BuildRunTimeout", "BuildRun run failed to finish within 3s")
    );
    assert_eq!((verdict.status.failure_details, verdict.next), (None, Next::Finished));
    assert_eq!(ended.exit_code("step-long"), 143);
    // Told itself, or woken by the one before, whichever comes first.
    assert!([143, 1].contains(&ended.exit_code("step-later")));
    assert_eq!(ended.log("step-long"), "long\n");
}

/// Takes more memory than there is.
const TAKE: &str = "tail /dev/zero";

#[test]
fn a_step_that_runs_out_of_memory_is_told_so() {
    let namespace = Namespace::new("memory");
    let limits = json!({ "limits": { "memory": "32Mi" } });
    let ended = namespace
        .run(&run_of(&[with(shell("hungry", TAKE), "resources", limits), shell("later", "true")]));
    let hungry = ended.terminated("step-hungry");
    assert_eq!((hungry.reason.as_deref(), hungry.exit_code), (Some("OOMKilled"), 137));
    assert_eq!(ended.exit_code("step-later"), 1);
    let verdict = judge(&ended.pod, Wish::Build, Timestamp::now());
    let name = ended.pod.metadata.name.as_deref().unwrap();
    let message = format!(
        "buildrun step step-hungry failed due to out-of-memory, for detailed information: kubectl --namespace {} logs {name} --container=step-hungry",
        namespace.name()
    );
    assert_eq!(condition(&verdict), ("False", "StepOutOfMemory", &*message));
    expect_located(&verdict, name, "step-hungry");
    assert_eq!(verdict.next, Next::Finished);
}

#[test]
fn a_step_that_survives_a_child_out_of_memory_did_not_fail() {
    let namespace = Namespace::new("survivor");
    let limits = json!({ "limits": { "memory": "32Mi" } });
    // By one way, because what comes by two is logged in any order.
    let script = format!("exec 2>&1; {TAKE} || echo survived $?");
    let ended = namespace
        .run(&run_of(&[
            with(shell("survivor", &script), "resources", limits),
            shell("later", "echo later"),
        ]))
        .expect_success();
    assert_eq!(ended.log("step-survivor"), "Killed\nsurvived 137\n");
    // The container runtime hears of the kill and of the end apart: either may come first.
    let reason = ended.terminated("step-survivor").reason.as_deref();
    assert!([Some("OOMKilled"), Some("Completed")].contains(&reason), "{reason:?}");
    let verdict = judge(&ended.pod, Wish::Build, Timestamp::now());
    assert_eq!(condition(&verdict), ("True", "Succeeded", "All Steps have completed executing"));
}

#[test]
fn a_pod_that_is_evicted_is_told_so() {
    let namespace = Namespace::new("evicted");
    let volume = json!({ "name": "small", "emptyDir": { "sizeLimit": "1Mi" } });
    let fill = "until test -e /workspace/go; do sleep 0.01; done
        head -c 4000000 /dev/zero > /small/file; exec sleep 1000";
    let mounts = json!([{ "name": "small", "mountPath": "/small" }]);
    let filling = with(shell("filling", fill), "volumeMounts", mounts);
    let pod = namespace.start(&namespace.render(&run_with(&[filling], &[volume])));
    // An eviction before the pod's status knows of the step would leave nothing to locate.
    namespace.wait_until_running(&pod, "step-filling");
    namespace.let_go(&pod, "step-filling");
    let ended = namespace.wait_until_ended(&pod);
    let verdict = judge(&ended.pod, Wish::Build, Timestamp::now());
    let message = "Usage of EmptyDir volume \"small\" exceeds the limit \"1Mi\". ";
    assert_eq!(condition(&verdict), ("False", "PodEvicted", message));
    assert_eq!(details(&verdict).reason, None);
    expect_located(&verdict, &pod, "step-filling");
    assert_eq!(verdict.next, Next::Finished);
}

#[test]
fn a_last_step_that_cannot_be_executed_needs_nobody_from_outside() {
    let namespace = Namespace::new("last-error");
    let mut pod = namespace.render(&run_of(&[shell("first", "true"), shell("last", "true")]));
    container(&mut pod, "step-last").command = Some(vec!["/no/such".into()]);
    let ended = namespace.run_pod(&pod);
    assert_eq!((ended.exit_code("step-first"), ended.exit_code("step-last")), (0, 128));
    expect_failed_at(&ended.pod, "step-last");
}
