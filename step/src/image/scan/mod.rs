//! Searches the image for known vulnerabilities before anything is pushed, as `output.vulnerabilityScan` asks for it.
//!
//! Invariant: the result is written before the step fails for what is in it.
//! Invariant: a scan that could not be made, or whose report cannot be read, fails the step; it never counts as one without findings.

mod findings;
mod trivy;

use std::path::PathBuf;

use serde::Deserialize;

use super::ImageError;
use crate::given;
use crate::oci::Credentials;
use crate::protocol::ImageCommand;
use findings::Findings;

pub use findings::ReportError;
pub use trivy::TrivyError;

/// How many findings are told where nobody says how many.
const DEFAULT_LIMIT: usize = 50;

/// What to search for, and what to do about it.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Settings {
    enabled: bool,
    /// Whether any finding ends the step.
    pub(super) fail_on_finding: bool,
    ignore: Ignore,
}

/// Findings to pass over.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Ignore {
    id: Vec<String>,
    severity: Option<Severity>,
    unfixed: bool,
}

/// Passed over with everything below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Low,
    Medium,
    High,
}

/// Where the image is.
pub(super) enum Place<'a> {
    /// A folder with an OCI layout, or a docker archive.
    Here(PathBuf),
    /// Pushed already.
    InRegistry {
        /// Its reference, as the user named it.
        image: &'a str,
        /// The registry's host and port, by which credentials are found.
        registry: &'a str,
        /// Who may read it.
        credentials: &'a Credentials,
        /// Whether TLS need not be verified or not be there.
        insecure: bool,
    },
}

/// What the command asks for; nothing where there is nothing to search for.
pub(super) fn parse(command: &ImageCommand) -> Result<Option<Settings>, ImageError> {
    let Some(json) = given(command.vuln_settings.as_deref()) else { return Ok(None) };
    let settings: Settings =
        serde_json::from_str(json).map_err(|source| ImageError::ScanSettings { source })?;
    Ok(settings.enabled.then_some(settings))
}

/// Searches, and says in the log what was found.
pub(super) fn search(
    settings: &Settings,
    limit: Option<u32>,
    place: &Place<'_>,
) -> Result<Findings, ImageError> {
    let report = trivy::run(settings, place)?;
    let mut findings = findings::read(report)?;
    findings.pass_over(&settings.ignore.id);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    findings.keep_worst(limit.unwrap_or(DEFAULT_LIMIT));
    for line in findings.lines() {
        eprintln!("{line}");
    }
    Ok(findings)
}
