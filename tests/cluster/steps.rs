//! Runs that are nothing but a list of steps, and the judgement of their pods.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use slipway::api::{BuildRun, BuildRunSpec, FailureDetails, Nanoseconds};
use slipway::plan::{Next, Seen, Verdict, observe};

use super::harness::{Namespace, documents, phase};

/// Has a shell.
pub const BUSYBOX: &str = "docker.io/library/busybox:1.37";
/// Has a clock that shows nanoseconds.
pub const STEP: &str = "slipway.dev/step:0.1.0";
/// Has nothing at all.
const EMPTY: &str = "slipway.test/empty:1";

/// A step that runs a shell script.
pub fn shell(name: &str, script: &str) -> Value {
    step(name, BUSYBOX, &["sh", "-euc", script])
}

pub fn step(name: &str, image: &str, command: &[&str]) -> Value {
    json!({ "name": name, "image": image, "command": command })
}

/// A step with one more field.
pub fn with(mut step: Value, field: &str, value: Value) -> Value {
    step[field] = value;
    step
}

/// Documents of a run of these steps as 1001:1000.
pub fn run_of(steps: &[Value]) -> String {
    run_with(steps, &[])
}

/// The same with volumes of the strategy.
pub fn run_with(steps: &[Value], volumes: &[Value]) -> String {
    let strategy = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "BuildStrategy", "metadata": { "name": "steps" },
        "spec": {
            "securityContext": { "runAsUser": 1001, "runAsGroup": 1000 },
            "steps": steps,
            "volumes": volumes,
        },
    });
    let build = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "Build", "metadata": { "name": "steps" },
        "spec": {
            "strategy": { "name": "steps", "kind": "BuildStrategy" },
            "output": { "image": "registry.slipway.test:5000/steps" },
        },
    });
    let run = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": { "name": "run" },
        "spec": { "build": { "name": "steps" } },
    });
    documents([&strategy.to_string(), &build.to_string(), &run.to_string()])
}

/// A step in an image without a file, which copies `slipway-step` to `/workspace/copied`, and one that looks at it with this script; both as
/// an id that nobody has, on a read-only root.
pub fn in_an_empty_image(look: &str) -> [Value; 2] {
    let hardened = json!({
        "runAsUser": 2_147_483_646, "runAsGroup": 2_147_483_646, "runAsNonRoot": true,
        "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
    });
    let copy = step("copy", EMPTY, &["slipway-step", "prepare", "--to", "/workspace/copied"]);
    let copy = with(copy, "workingDir", json!("/workspace/copied"));
    [copy, shell("look", look)].map(|step| with(step, "securityContext", hardened.clone()))
}

/// What the user wants of the run when its pod is judged.
#[derive(Clone, Copy)]
pub enum Wish {
    Build,
    Cancel,
}

/// What `observe` makes of the pod as the cluster shows it.
pub fn judge(pod: &Pod, wish: Wish, now: Timestamp) -> Verdict {
    let namespace = pod.metadata.namespace.as_deref().unwrap();
    let mut run: BuildRun = serde_json::from_value(json!({
        "metadata": { "name": "run", "namespace": namespace },
        "spec": { "build": { "name": "steps" } },
    }))
    .unwrap();
    if let Wish::Cancel = wish {
        run.spec.state = Some(BuildRunSpec::CANCELED.into());
    }
    let timeout = pod.spec.as_ref().unwrap().active_deadline_seconds.unwrap_or_default();
    observe(
        &Seen {
            buildrun: &run,
            timeout: Nanoseconds(timeout * 1_000_000_000),
            pod_name: pod.metadata.name.as_deref().unwrap(),
            pod: Some(pod),
        },
        now,
    )
}

/// The one condition: status, reason, message.
pub fn condition(verdict: &Verdict) -> (&str, &str, &str) {
    let [condition] = &verdict.status.conditions[..] else {
        panic!("not one condition: {:?}", verdict.status.conditions)
    };
    (&condition.status, &condition.reason, &condition.message)
}

pub fn details(verdict: &Verdict) -> &FailureDetails {
    verdict.status.failure_details.as_ref().expect("the verdict has failure details")
}

/// A pod that ended by itself, or was ended, because this step failed.
pub fn expect_failed_at(pod: &Pod, container: &str) -> Verdict {
    let verdict = judge(pod, Wish::Build, Timestamp::now());
    let name = pod.metadata.name.as_deref().unwrap();
    let namespace = pod.metadata.namespace.as_deref().unwrap();
    let message = format!(
        "buildrun step {container} failed, for detailed information: kubectl --namespace {namespace} logs {name} --container={container}"
    );
    assert_eq!(condition(&verdict), ("False", "Failed", &*message));
    expect_located(&verdict, name, container);
    assert_eq!(verdict.next, Next::Finished);
    verdict
}

pub fn expect_located(verdict: &Verdict, pod: &str, container: &str) {
    let location = details(verdict).location.as_ref().expect("the verdict has a location");
    assert_eq!(
        (location.pod.as_deref(), location.container.as_deref()),
        (Some(pod), Some(container))
    );
}

/// Asks the pod to end, as cancelling a run does.
pub fn ask_to_end(namespace: &Namespace, pod: &str) {
    let patch = r#"{"spec":{"activeDeadlineSeconds":1}}"#;
    namespace.kubectl(&["patch", "pod", pod, "--patch", patch]);
}

/// Ends the pod, as a run's controller does when its verdict says so.
pub fn end(namespace: &Namespace, pod: &str) {
    ask_to_end(namespace, pod);
    namespace.wait_for(pod, "ended from outside", |pod| phase(pod) == "Failed");
}
