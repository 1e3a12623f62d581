//! The golden cases, looked at by `check`: what a run is refused for is found, and what runs is not refused.

use std::path::Path;

use k8s_openapi::jiff::Timestamp;
use slipway::local;
use slipway::plan::{Finding, Settings, Severity};

use crate::golden;

/// As the cases write a refusal.
fn line(finding: &Finding) -> String {
    let Finding { at, field, reason, message, .. } = finding;
    format!("{at}: {field}: {reason}: {message}").replace(" default/", " ")
}

#[test]
fn golden_cases_are_judged_alike() {
    let mut refused_cases = 0;
    let mut wrong = Vec::new();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases");
    for case in std::fs::read_dir(cases).unwrap() {
        let case = case.unwrap().path();
        let (expectations, documents) = golden::read(&case);
        // Only a cluster knows that.
        if !expectations.absent.is_empty() || expectations.registered {
            continue;
        }
        let settings = expectations.settings.apply(Settings::default());
        let has_run = documents.iter().any(|document| document.value["kind"] == "BuildRun");
        let chosen = expectations.buildrun.as_deref();
        let checkup = local::check(documents, &[], &settings, Timestamp::UNIX_EPOCH, None);
        for Finding { field, .. } in &checkup.findings {
            assert!(
                !field.ends_with('.') && !field.starts_with('.'),
                "{}: {field}",
                case.display()
            );
        }
        let found = checkup.findings.iter().filter(|finding| {
            let object = &finding.object;
            let full =
                format!("{}/{}", object.namespace.as_deref().unwrap_or_default(), object.name);
            let is_other = object.kind == "BuildRun"
                && chosen.is_some_and(|name| name != object.name && name != full);
            finding.severity == Severity::Refusal && !is_other
        });
        let found: Vec<String> =
            found.map(line).map(|line| line.replace(&case.display().to_string(), "CASE")).collect();
        refused_cases += usize::from(!expectations.refused.is_empty());
        let expected = expectations.refused.iter().filter(|line| {
            // The run of a Build alone is implied by others, and by nobody here.
            // Only who makes a pod needs the command of an image.
            !line.contains("cannot be found out here")
                && (has_run
                    || !line.contains("TaskRunGenerationFailed") && !line.starts_with("BuildRun "))
        });
        let missing: Vec<String> = expected
            .map(|line| line.replace(" default/", " "))
            .filter(|line| !found.contains(line))
            .collect();
        let is_wrong =
            if expectations.refused.is_empty() { !found.is_empty() } else { !missing.is_empty() };
        if is_wrong {
            wrong
                .push(format!("{}:\n  missing: {missing:#?}\n  found: {found:#?}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused_cases >= 80, "{refused_cases}");
}
