//! Golden verdicts: what is told of a run, by what the cluster tells of its pod.
//!
//! A document of `verdicts/*.yaml` is one case: `why`, the changes to a sound run and its pod's `status` (or the API server's `answer`
//! to the pod), and what the run's status says then.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};
use slipway::api::{BuildRun, Nanoseconds};
use slipway::plan::{PodRefusal, Seen, observe};

const POD: &str = "run-x2x4x-pod";
const NOW: &str = "2026-01-02T03:04:30Z";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    why: String,
    /// The run is marked canceled.
    #[serde(default)]
    canceled: bool,
    /// What the kubelet and the scheduler say of the pod; nothing where it is gone.
    pod: Option<Value>,
    /// What the API server answers to the pod.
    answer: Option<Answer>,
    /// Status, reason and message of the condition.
    condition: (String, String, String),
    /// The run's `status.failureDetails`.
    failure_details: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    code: u16,
    message: String,
}

impl Case {
    fn outcome(&self) -> ((String, String, String), Option<Value>) {
        let Some(answer) = &self.answer else { return self.verdict() };
        let told = match PodRefusal::of_answer(POD, answer.code, &answer.message).unwrap() {
            PodRefusal::Quota { reason, message } => ("Unknown".into(), reason.into(), message),
            PodRefusal::Never { reason, message } => ("False".into(), reason.into(), message),
        };
        (told, None)
    }

    fn verdict(&self) -> ((String, String, String), Option<Value>) {
        let state = self.canceled.then_some("BuildRunCanceled");
        let run = json!({ "metadata": { "name": "run", "namespace": "ns" }, "spec": { "build": { "name": "b" }, "state": state } });
        let run: BuildRun = serde_json::from_value(run).unwrap();
        let pod = self.pod.as_ref().map(|status| {
            let containers = ["step-source-default", "step-build", "step-image-processing"];
            let supporting = "step-source-default,step-image-processing";
            let pod = json!({
                "metadata": {
                    "name": POD, "creationTimestamp": "2026-01-02T03:04:00Z",
                    "annotations": { "slipway.dev/supporting-steps": supporting },
                },
                "spec": { "containers": containers.map(|name| json!({ "name": name })) },
                "status": whole(status),
            });
            serde_json::from_value::<Pod>(pod).unwrap()
        });
        let timeout = Nanoseconds(90_000_000_000);
        let seen = Seen { buildrun: &run, timeout, pod_name: POD, pod: pod.as_ref() };
        let status = observe(&seen, NOW.parse().unwrap()).status;
        let told = status.succeeded().unwrap();
        let told = (told.status.clone(), told.reason.clone(), told.message.clone());
        (told, status.failure_details.map(|details| json!(details)))
    }
}

/// What every status of a container has besides.
fn whole(status: &Value) -> Value {
    let mut status = status.clone();
    for list in ["containerStatuses", "initContainerStatuses"] {
        for container in status[list].as_array_mut().into_iter().flatten() {
            let rest = json!({ "image": "", "imageID": "", "ready": false, "restartCount": 0 });
            container.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        }
    }
    status
}

fn cases() -> Vec<(String, Case)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/verdicts");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let (documents, errors) = slipway::local::read(std::slice::from_ref(&path));
        assert!(errors.is_empty(), "{errors:?}");
        cases.extend(documents.into_iter().map(|document| {
            let case = serde_json::from_value(document.value);
            (
                path.display().to_string(),
                case.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            )
        }));
    }
    cases
}

#[test]
fn verdicts_are_as_expected() {
    let cases = cases();
    assert!(cases.len() >= 30, "{} cases", cases.len());
    for (path, case) in cases {
        let expected = (case.condition.clone(), case.failure_details.clone());
        assert_eq!(case.outcome(), expected, "{}: {path}", case.why);
    }
}

/// The reasons that the cases show, in conditions and details.
pub fn reasons() -> impl Iterator<Item = String> {
    cases()
        .into_iter()
        .flat_map(|(_, case)| {
            let details = case.failure_details.unwrap_or_default();
            [Some(case.condition.1), details["reason"].as_str().map(String::from)]
        })
        .flatten()
}
