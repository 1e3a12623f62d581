//! Scans under the controller, with its settings for them: the image with the scanner in a template, and how many findings a status has.

use serde_json::json;

use super::super::documents::output;
use super::super::harness::Namespace;
use super::super::samples::Pushed;
use super::super::scan::{SCANNER, pushed_by_shipwright, vulnerabilities};
use super::disturbed::put_back;
use super::runs::{BUILT, end_of, expect_ended, pod, pod_of, words};
use super::{Controller, DEPLOYMENT, await_rollout, of_controller};

const IMAGE_STEP: &str = "step-image-processing";

/// Settings that the Deployment does not have otherwise, until this goes.
struct Settings(Vec<String>);

impl Settings {
    fn set(settings: &[(&str, &str)]) -> Self {
        let set = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let unset = Self(settings.iter().map(|(name, _)| format!("{name}-")).collect());
        apply(set);
        unset
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        put_back(|| apply(std::mem::take(&mut self.0)));
    }
}

fn apply(changes: Vec<String>) {
    let words = ["set", "env", DEPLOYMENT].map(String::from).into_iter().chain(changes);
    let words: Vec<_> = words.collect();
    of_controller(&words.iter().map(String::as_str).collect::<Vec<_>>());
    await_rollout();
}

#[test]
fn a_status_tells_the_worst_of_what_was_found() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("scanned");
    let template =
        json!({ "image": SCANNER, "env": [{ "name": "TRIVY_SKIP_DB_UPDATE", "value": "true" }] });
    let _settings = Settings::set(&[
        ("IMAGE_PROCESSING_CONTAINER_TEMPLATE", &template.to_string()),
        ("VULNERABILITY_COUNT_LIMIT", "2"),
    ]);
    let mut output = output(&namespace);
    output["vulnerabilityScan"] = json!({ "enabled": true, "failOnFinding": true });
    let mut sample = pushed_by_shipwright(&vulnerabilities(), &output);
    sample.run["metadata"]["name"] = "refused".into();
    namespace.apply(&sample.text());
    let refused = end_of(&namespace, "refused");
    let name = pod_of(&refused);
    let message = format!(
        "Vulnerabilities have been found in the image which can be seen in the buildrun status. For detailed information,see kubectl --namespace {} logs {name} --container={IMAGE_STEP}",
        namespace.name()
    );
    let details = json!({ "location": { "container": IMAGE_STEP, "pod": name } });
    expect_ended(&refused, ("False", "VulnerabilitiesFound", &message), &details);
    let worst = json!([
        { "id": "CVE-2024-2", "severity": "critical" }, { "id": "CVE-2024-4", "severity": "high" },
    ]);
    assert_eq!(json!(refused.status.unwrap().output), json!({ "vulnerabilities": worst }));
    Pushed::of(&namespace).assert_missing();

    // The run's word counts as a whole.
    output["vulnerabilityScan"] = json!({ "enabled": true });
    sample.run["metadata"]["name"] = "told".into();
    sample.run["spec"]["output"] = output;
    namespace.apply(&sample.run.to_string());
    let told = end_of(&namespace, "told");
    assert_eq!(words(&told), Some(BUILT));
    let pushed = Pushed::of(&namespace);
    let pod = pod(&namespace, pod_of(&told));
    assert_eq!(
        json!(told.status.unwrap().output),
        json!({ "digest": pushed.digest(), "size": pushed.size(), "vulnerabilities": worst })
    );
    let containers = &pod.spec.as_ref().unwrap().containers;
    let step = containers.iter().find(|container| container.name == IMAGE_STEP).unwrap();
    assert_eq!(step.image.as_deref(), Some(SCANNER));
    let env = json!(step.env);
    assert!(env.as_array().unwrap().contains(&template["env"][0]), "{env}");
}
