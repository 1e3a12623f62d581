//! Whether a pod that was lost is made again.
//!
//! Invariant: only what the cluster took away is replaced; a pod that somebody deleted, or that its own node ended, is the run's end.

use k8s_openapi::api::core::v1::Pod;

use super::labels::ATTEMPT_ANNOTATION;
use crate::api::{BuildRun, BuildSpec};

/// How many pods of this run were lost and replaced.
pub fn attempt(run: &BuildRun) -> u32 {
    let annotations = run.metadata.annotations.as_ref();
    let written = annotations.and_then(|annotations| annotations.get(ATTEMPT_ANNOTATION));
    written.and_then(|attempt| attempt.parse().ok()).unwrap_or(0)
}

/// The attempt that follows the loss of this run's pod; nothing where the run has none left.
pub fn next_attempt(run: &BuildRun, build: Option<&BuildSpec>, most: u32) -> Option<u32> {
    let next = attempt(run) + 1;
    (!run.spec.is_canceled() && next <= most && !needs_its_source(run, build)).then_some(next)
}

/// Drained, preempted, or its node is gone, before it had succeeded.
pub fn is_lost(pod: &Pod) -> bool {
    let failed = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Failed");
    is_disrupted(pod) && (failed || pod.metadata.deletion_timestamp.is_some())
}

/// The cluster is about to take it away: if it is gone, it is lost.
pub fn is_disrupted(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let disrupted = status.conditions.iter().flatten().any(|condition| {
        condition.type_ == "DisruptionTarget"
            && condition.status == "True"
            // So says the kubelet that ends a pod for what the pod did.
            && condition.reason.as_deref() != Some("TerminationByKubelet")
    });
    disrupted && status.phase.as_deref() != Some("Succeeded")
}

/// What was uploaded, or removed after it was pulled, cannot be had once more.
fn needs_its_source(run: &BuildRun, build: Option<&BuildSpec>) -> bool {
    let of_run = run.spec.source.as_ref().is_some_and(|source| source.type_ == "Local");
    let of_build = build.and_then(|build| build.source.as_ref());
    let uploaded = of_build.is_some_and(|source| source.type_ == "Local");
    let artifact = of_build.and_then(|source| source.oci_artifact.as_ref());
    let pruned = artifact.is_some_and(|artifact| artifact.prune.as_deref() == Some("AfterPull"));
    of_run || uploaded || pruned
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::drained("EvictionByEvictionAPI", json!({}), json!({}), 0, Some(1))]
    #[case::again("DeletionByTaintManager", json!({}), json!({}), 1, Some(2))]
    #[case::too_often("PreemptionByScheduler", json!({}), json!({}), 2, None)]
    #[case::its_own_fault("TerminationByKubelet", json!({}), json!({}), 0, None)]
    #[case::canceled("EvictionByEvictionAPI", json!({ "state": "BuildRunCanceled" }), json!({}), 0, None)]
    #[case::uploaded("EvictionByEvictionAPI", json!({ "source": { "type": "Local", "local": {} } }), json!({}), 0, None)]
    #[case::pruned("EvictionByEvictionAPI", json!({}),
        json!({ "source": { "type": "OCI", "ociArtifact": { "image": "i", "prune": "AfterPull" } } }), 0, None)]
    fn lost_pods_are_replaced(
        #[case] reason: &str,
        #[case] run: Value,
        #[case] build: Value,
        #[case] attempt: u32,
        #[case] expected: Option<u32>,
    ) {
        let mut spec = json!({ "build": { "name": "b" } });
        let mut build_spec = json!({ "strategy": { "name": "s" }, "output": { "image": "i" } });
        for (into, more) in [(&mut spec, run), (&mut build_spec, build)] {
            let (Value::Object(into), Value::Object(more)) = (into, more) else { continue };
            into.extend(more);
        }
        let annotations = json!({ ATTEMPT_ANNOTATION: attempt.to_string() });
        let run = json!({ "metadata": { "name": "r", "annotations": annotations }, "spec": spec });
        let run: BuildRun = serde_json::from_value(run).expect("decodes");
        let build: BuildSpec = serde_json::from_value(build_spec).expect("decodes");
        let condition = json!({ "type": "DisruptionTarget", "status": "True", "reason": reason });
        let mut pod = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "status": { "phase": "Running", "conditions": [condition] } });
        let next = |pod: &Value| {
            let pod: Pod = serde_json::from_value(pod.clone()).expect("decodes");
            is_lost(&pod).then(|| next_attempt(&run, Some(&build), 2)).flatten()
        };
        assert_eq!(next(&pod), expected);
        pod["status"]["phase"] = "Succeeded".into();
        assert_eq!(next(&pod), None, "it has done its work");
        pod["metadata"] = json!({});
        pod["status"]["phase"] = "Running".into();
        assert_eq!(next(&pod), None, "it goes on");
        pod["status"]["phase"] = "Failed".into();
        assert_eq!(next(&pod), expected, "its node is gone");
    }
}
