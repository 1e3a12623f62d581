//! Which finished runs go, and when.
//!
//! Invariant: a run that is not finished stays.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::loaded::DEFAULT_NAMESPACE;
use crate::api::{Build, BuildRun, FALSE, GoDuration, TRUE};

/// Whether the runs of a Build go with it.
pub fn owns_its_runs(build: &Build) -> bool {
    build.spec.retention.as_ref().and_then(|retention| retention.at_build_deletion) == Some(true)
}

/// Whether an owner of a run is this Build.
pub fn is_build(owner: &OwnerReference, build: &Build) -> bool {
    owner.kind == Build::KIND && Some(&owner.name) == build.metadata.name.as_ref()
}

/// Which owner of a run keeps its Build from owning it, and what a status says of that: an object has one controller at most.
pub fn other_controller(build: &Build, run: &BuildRun) -> Option<(usize, String)> {
    let owners = run.metadata.owner_references.as_ref().filter(|_| owns_its_runs(build))?;
    let (index, other) =
        owners.iter().enumerate().find(|(_, owner)| owner.controller == Some(true))?;
    let message = format!(
        "unexpected error when trying to set the ownerreference: Object {}/{} is already owned by another {} controller {}",
        run.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE),
        run.metadata.name.as_deref().unwrap_or_default(),
        other.kind,
        other.name
    );
    (!is_build(other, build)).then_some((index, message))
}

/// When a finished run goes by what it and its Build say of time; nothing where it stays.
pub fn due(run: &BuildRun) -> Option<Timestamp> {
    let status = run.status.as_ref()?;
    let completed = status.completion_time.as_ref()?.0;
    let own = run.spec.retention.as_ref();
    let of_build = status.build_spec.as_ref().and_then(|spec| spec.retention.as_ref());
    let ttl: &GoDuration = match &*run.succeeded()?.status {
        TRUE => own
            .and_then(|own| own.ttl_after_succeeded.as_ref())
            .or_else(|| of_build?.ttl_after_succeeded.as_ref())?,
        FALSE => own
            .and_then(|own| own.ttl_after_failed.as_ref())
            .or_else(|| of_build?.ttl_after_failed.as_ref())?,
        _ => return None,
    };
    completed.checked_add(SignedDuration::from_nanos(ttl.parse().ok()?.0)).ok()
}

/// The finished runs of a Build that are more than it wants to keep: the oldest ones, those that failed and those that succeeded
/// counted apart.
pub fn surplus<'a>(
    build: &Build,
    runs: impl IntoIterator<Item = &'a BuildRun>,
) -> Vec<&'a BuildRun> {
    let Some(retention) = &build.spec.retention else { return Vec::new() };
    let mut finished: BTreeMap<&str, Vec<&BuildRun>> = BTreeMap::new();
    for run in runs {
        if let Some(condition) = run.succeeded() {
            finished.entry(&condition.status).or_default().push(run);
        }
    }
    let mut found = Vec::new();
    for (status, limit) in [(TRUE, retention.succeeded_limit), (FALSE, retention.failed_limit)] {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let runs = finished.entry(status).or_default();
        runs.sort_by_key(|run| {
            (run.metadata.creation_timestamp.as_ref().map(|time| time.0), run.metadata.name.clone())
        });
        found.extend(&runs[..runs.len().saturating_sub(limit)]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn run(name: &str, created: u32, status: &str) -> BuildRun {
        let condition = json!({ "type": "Succeeded", "status": status, "reason": "", "message": "",
            "lastTransitionTime": "2026-01-02T03:04:05Z" });
        let run = json!({
            "metadata": { "name": name, "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z") },
            "status": { "conditions": [condition], "completionTime": "2026-01-02T03:04:05Z" },
        });
        serde_json::from_value(run).expect("decodes")
    }

    #[rstest]
    #[case::succeeded("True", json!({ "ttlAfterSucceeded": "10s" }), json!({}), Some("2026-01-02T03:04:15Z"))]
    #[case::of_the_build("False", json!({}), json!({ "ttlAfterFailed": "1h" }), Some("2026-01-02T04:04:05Z"))]
    #[case::the_runs_counts("False", json!({ "ttlAfterFailed": "1s" }), json!({ "ttlAfterFailed": "1h" }), Some("2026-01-02T03:04:06Z"))]
    #[case::other_end("True", json!({ "ttlAfterFailed": "1s" }), json!({ "ttlAfterFailed": "1h" }), None)]
    #[case::unfinished("Unknown", json!({ "ttlAfterFailed": "1s" }), json!({}), None)]
    #[case::no_duration("True", json!({ "ttlAfterSucceeded": "soon" }), json!({}), None)]
    fn runs_are_due(
        #[case] status: &str,
        #[case] own: Value,
        #[case] build: Value,
        #[case] expected: Option<&str>,
    ) {
        let mut run = run("r", 0, status);
        run.spec.retention = serde_json::from_value(own).expect("decodes");
        let spec =
            json!({ "strategy": { "name": "s" }, "output": { "image": "i" }, "retention": build });
        if let Some(known) = &mut run.status {
            known.build_spec = serde_json::from_value(spec).expect("decodes");
        }
        assert_eq!(due(&run).map(|time| time.to_string()).as_deref(), expected);
    }

    #[test]
    fn the_oldest_of_each_kind_are_surplus() {
        let mut build = Build::default();
        let runs = [
            run("b", 2, "True"),
            run("a", 1, "True"),
            run("c", 3, "True"),
            run("d", 1, "False"),
            run("e", 0, "Unknown"),
        ];
        let names = |build: &Build| -> Vec<String> {
            surplus(build, &runs).iter().filter_map(|run| run.metadata.name.clone()).collect()
        };
        assert_eq!(names(&build), Vec::<String>::new());
        build.spec.retention =
            serde_json::from_value(json!({ "succeededLimit": 1, "failedLimit": 1 }))
                .expect("decodes");
        assert_eq!(names(&build), ["a", "b"]);
    }
}
