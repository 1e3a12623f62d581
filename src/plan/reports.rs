//! What steps reported, as the BuildRun's status shows it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use slipway_step::protocol::results::{self, Report};

use crate::api::{
    BuildRunStatus, GitSourceStatus, OciArtifactStatus, OutputStatus, SourceStatus, Vulnerability,
};

/// All reports as one: what a later step says of the same result counts.
pub fn merged(reports: &[Report]) -> Report {
    reports.iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Writes results into a status. A result that is not a number where one is due is passed over, as upstream does.
pub fn apply(report: &Report, status: &mut BuildRunStatus) {
    if report.is_empty() {
        return;
    }
    let text = |name: &str| report.get(name).cloned();
    let set = |name: &str| text(name).filter(|value| !value.trim().is_empty());
    let output = status.output.get_or_insert_with(OutputStatus::default);
    output.digest = text(results::IMAGE_DIGEST).or(output.digest.take());
    output.size = text(results::IMAGE_SIZE).and_then(|size| size.parse().ok()).or(output.size);
    if let Some(list) = report.get(results::IMAGE_VULNERABILITIES) {
        output.vulnerabilities = vulnerabilities(list);
    }
    let git = GitSourceStatus {
        branch_name: set(results::SOURCE_BRANCH_NAME),
        commit_author: set(results::SOURCE_COMMIT_AUTHOR),
        commit_sha: set(results::SOURCE_COMMIT_SHA),
    };
    let artifact = set(results::SOURCE_IMAGE_DIGEST);
    let has_git = git != GitSourceStatus::default();
    if has_git || artifact.is_some() {
        status.source = Some(SourceStatus {
            git: has_git.then_some(git),
            oci_artifact: artifact.map(|digest| OciArtifactStatus { digest: Some(digest) }),
            timestamp: text(results::SOURCE_TIMESTAMP)
                .and_then(|seconds| Timestamp::from_second(seconds.parse().ok()?).ok())
                .map(Time),
        });
    }
}

/// `ID:S,ID:S`, S the first letter of the severity.
fn vulnerabilities(list: &str) -> Vec<Vulnerability> {
    let severity = |letter: &str| match letter.to_ascii_uppercase().as_str() {
        "L" => "low",
        "M" => "medium",
        "H" => "high",
        "C" => "critical",
        _ => "unknown",
    };
    let entry = |entry: &str| {
        // Some identifiers have a colon themselves.
        let (id, letter) = entry.rsplit_once(':').unwrap_or((entry, ""));
        Vulnerability { id: id.to_owned(), severity: severity(letter).to_owned() }
    };
    list.split(',').filter(|entry| !entry.is_empty()).map(entry).collect()
}
