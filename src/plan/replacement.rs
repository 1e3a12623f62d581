//! Whether a pod that was lost is made again.
//!
//! Invariant: only what the cluster took away is replaced; a pod that somebody deleted, or that its own node ended, is the run's end.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::labels::ATTEMPT_ANNOTATION;
use super::timeout::timeout;
use crate::api::{BuildRun, BuildSpec};

/// How many pods of this run were lost and replaced.
pub fn attempt(run: &BuildRun) -> u32 {
    let annotations = run.metadata.annotations.as_ref();
    let written = annotations.and_then(|annotations| annotations.get(ATTEMPT_ANNOTATION));
    written.and_then(|attempt| attempt.parse().ok()).unwrap_or(0)
}

/// The attempt that follows the loss of this run's pod; nothing where the run has none left, or no time.
pub fn next_attempt(
    run: &BuildRun,
    build: Option<&BuildSpec>,
    most: u32,
    now: Timestamp,
) -> Option<u32> {
    let next = attempt(run).saturating_add(1);
    let started = run.status.as_ref().and_then(|status| status.start_time.as_ref());
    let longest = timeout(run, build);
    let is_over = longest.0 != 0
        && started.is_some_and(|started| {
            now.duration_since(started.0) >= SignedDuration::from_nanos(longest.0)
        });
    let may = !run.spec.is_canceled() && !is_over && !needs_its_source(run, build);
    (may && next <= most).then_some(next)
}

/// Drained, preempted, or its node is gone, before it had succeeded.
pub fn is_lost(pod: &Pod) -> bool {
    let failed = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Failed");
    is_disrupted(pod) && (failed || pod.metadata.deletion_timestamp.is_some())
}

/// The cluster is about to take it away: if it is gone, it is lost.
pub fn is_disrupted(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let disrupted = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True");
    // A kubelet that runs out of something ends the pods that use more than they asked for; one that is shut down ends all.
    let is_evicted = status.reason.as_deref() == Some("Evicted");
    disrupted && !is_evicted && status.phase.as_deref() != Some("Succeeded")
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
    #[case::shut_down("TerminationByKubelet", json!({}), json!({}), 0, Some(1))]
    #[case::late("EvictionByEvictionAPI", json!({ "timeout": "59s" }), json!({}), 0, None)]
    #[case::late_by_its_build("EvictionByEvictionAPI", json!({}), json!({ "timeout": "1m" }), 0, None)]
    #[case::in_time("EvictionByEvictionAPI", json!({ "timeout": "61s" }), json!({ "timeout": "1m" }), 0, Some(1))]
    #[case::without_end("EvictionByEvictionAPI", json!({ "timeout": "0" }), json!({}), 0, Some(1))]
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
        let status = json!({ "startTime": "2026-01-01T00:00:00Z" });
        let run = json!({
            "metadata": { "name": "r", "annotations": annotations }, "spec": spec, "status": status,
        });
        let now = "2026-01-01T00:01:00Z".parse().expect("a time");
        let run: BuildRun = serde_json::from_value(run).expect("decodes");
        let build: BuildSpec = serde_json::from_value(build_spec).expect("decodes");
        let condition = json!({ "type": "DisruptionTarget", "status": "True", "reason": reason });
        let mut pod = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "status": { "phase": "Running", "conditions": [condition] } });
        let next = |pod: &Value| {
            let pod: Pod = serde_json::from_value(pod.clone()).expect("decodes");
            is_lost(&pod).then(|| next_attempt(&run, Some(&build), 2, now)).flatten()
        };
        assert_eq!(next(&pod), expected);
        pod["status"]["phase"] = "Succeeded".into();
        assert_eq!(next(&pod), None, "it has done its work");
        pod["metadata"] = json!({});
        pod["status"]["phase"] = "Running".into();
        assert_eq!(next(&pod), None, "it goes on");
        pod["status"]["phase"] = "Failed".into();
        assert_eq!(next(&pod), expected, "its node is gone");
        pod["status"]["reason"] = "Evicted".into();
        assert_eq!(next(&pod), None, "its own fault");
    }
}
