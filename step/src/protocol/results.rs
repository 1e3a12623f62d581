//! Names of the system results, and the report that carries results out of a container.
//!
//! Invariant: a report is one compact JSON object from result name to content, never cut; it travels as the container's
//! termination message.

use std::collections::BTreeMap;

/// Digest of the image.
pub const IMAGE_DIGEST: &str = "shp-image-digest";
/// Size of the image in bytes.
pub const IMAGE_SIZE: &str = "shp-image-size";
/// Vulnerabilities as `ID:S,ID:S`, S the first letter of the severity.
pub const IMAGE_VULNERABILITIES: &str = "shp-image-vulnerabilities";
/// What went wrong, for people.
pub const ERROR_MESSAGE: &str = "shp-error-message";
/// What went wrong, in one word.
pub const ERROR_REASON: &str = "shp-error-reason";
/// Commit id of a Git source.
pub const SOURCE_COMMIT_SHA: &str = "shp-source-default-commit-sha";
/// Commit author of a Git source.
pub const SOURCE_COMMIT_AUTHOR: &str = "shp-source-default-commit-author";
/// Branch of a Git source without a revision.
pub const SOURCE_BRANCH_NAME: &str = "shp-source-default-branch-name";
/// Digest of an OCI artifact source.
pub const SOURCE_IMAGE_DIGEST: &str = "shp-source-default-image-digest";
/// Time of the source in seconds since 1970.
pub const SOURCE_TIMESTAMP: &str = "shp-source-default-source-timestamp";

/// No result: there, where the kernel ended a process of the container for want of memory.
pub const OUT_OF_MEMORY: &str = "slipway-out-of-memory";

/// Reason of a step whose results do not fit its report.
pub const RESULT_TOO_LARGE: &str = "ResultTooLarge";
/// Reason of a step that left a result that cannot be read, or is not text.
pub const RESULT_UNREADABLE: &str = "ResultUnreadable";
/// Reason of a step whose working directory is not there.
pub const WORKING_DIRECTORY_NOT_FOUND: &str = "WorkingDirectoryNotFound";
/// Reason of a step whose working directory cannot be made or entered by its user.
pub const WORKING_DIRECTORY_UNUSABLE: &str = "WorkingDirectoryUnusable";

/// What kubelet keeps of all termination messages of a pod together, in bytes.
const POD_LIMIT: usize = 12288;
/// What kubelet keeps of one termination message, in bytes.
pub const MAX_REPORT: usize = 4096;
/// Containers that may join a pod later (attached tools, injected sidecars): kubelet divides by them too.
const SPARE_CONTAINERS: usize = 3;

/// How many bytes one container's report may take in a pod of so many containers, init containers included.
pub fn budget(containers: usize) -> usize {
    (POD_LIMIT / (containers + SPARE_CONTAINERS)).min(MAX_REPORT)
}

/// The results that one step left, by name.
pub type Report = BTreeMap<String, String>;

/// The termination message of a report; empty for an empty report.
pub fn encode(report: &Report) -> String {
    if report.is_empty() {
        return String::new();
    }
    serde_json::json!(report).to_string()
}

/// The report in a termination message; `None` where the message is something else, such as the runtime's own words.
pub fn decode(message: &str) -> Option<Report> {
    serde_json::from_str(message).ok()
}
