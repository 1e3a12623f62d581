//! What to do about a run that failed on a cluster.

use crate::api::{BuildRunStatus, FALSE, reasons};

/// One line for each thing to do; nothing for a run that goes on, or that somebody ended.
pub fn next_on_cluster(status: &BuildRunStatus, run: &str, namespace: &str) -> Vec<String> {
    let Some(condition) = status.succeeded().filter(|condition| condition.status == FALSE) else {
        return Vec::new();
    };
    let location = status.failure_details.as_ref().and_then(|details| details.location.as_ref());
    let step = location.and_then(|location| location.container.as_deref());
    let step = step.map_or("the step", super::step_name);
    let arguments = format!("--namespace {namespace} {run}");
    match condition.reason.as_str() {
        reasons::BUILD_RUN_CANCELED => return Vec::new(),
        reasons::BUILD_RUN_TIMEOUT => {
            return vec!["raise spec.timeout of the BuildRun or Build".into()];
        }
        reasons::STEP_OUT_OF_MEMORY => {
            return vec![format!(
                "raise the memory limit of {step}: spec.stepResources of the BuildRun or Build"
            )];
        }
        reasons::VULNERABILITIES_FOUND => {
            return vec![
                "update what is vulnerable, or change spec.output.vulnerabilityScan".into(),
            ];
        }
        _ => {}
    }
    // A run that never started has nothing but its objects to look at.
    if status.start_time.is_none() {
        return vec![format!(
            "slipway check --namespace {namespace} --from-cluster buildrun/{run} tells all that is wrong at once"
        )];
    }
    vec![
        format!(
            "slipway explain --namespace {namespace} --from-cluster buildrun/{run} tells as whom and with what rights each step runs"
        ),
        format!(
            "slipway gather {arguments} puts objects, logs and events into one file, for whoever helps"
        ),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn next(reason: &str, more: &Value) -> Vec<String> {
        let mut status = json!({ "conditions": [{
            "type": "Succeeded", "status": "False", "reason": reason, "message": "why",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }] });
        if let (Value::Object(status), Value::Object(more)) = (&mut status, more) {
            status.extend(more.clone());
        }
        next_on_cluster(&serde_json::from_value(status).unwrap(), "app-1", "team")
    }

    #[test]
    fn each_failure_says_what_to_do_next() {
        let started = json!({ "startTime": "2026-01-02T03:04:05Z",
            "failureDetails": { "location": { "container": "step-build" } } });
        assert_eq!(next("BuildRunCanceled", &started), Vec::<String>::new());
        for (reason, more, expected) in [
            ("BuildRunTimeout", &started, "spec.timeout"),
            ("StepOutOfMemory", &started, "memory limit of build:"),
            ("VulnerabilitiesFound", &started, "spec.output.vulnerabilityScan"),
            ("Failed", &started, "slipway gather --namespace team app-1 "),
            ("BuildNotFound", &json!({}), "check --namespace team --from-cluster buildrun/app-1 "),
        ] {
            let lines = next(reason, more);
            assert!(lines.iter().any(|line| line.contains(expected)), "{reason}: {lines:?}");
        }
        assert_eq!(
            next_on_cluster(&BuildRunStatus::default(), "app-1", "team"),
            Vec::<String>::new()
        );
    }
}
