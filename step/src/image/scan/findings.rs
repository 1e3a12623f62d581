//! What a scan found: trivy's report, in the few words of a status.
//!
//! Invariant: a vulnerability is told once, with the worst severity that it has anywhere in the image.
//! Invariant: the worst come first, and what the report says first before what it says later; so what is left out is never worse than
//! what is told.
//! Invariant: memory grows with what was found, not with the report.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};

use serde::Deserialize;

/// Why a report is none.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It cannot be read.
    #[error("read the report of trivy")]
    Read(#[source] io::Error),
    /// It is not JSON of that kind.
    #[error(
        "the report of trivy is not the JSON that `trivy image --format json` writes; is the program in this step's image another one?"
    )]
    Json(#[source] serde_json::Error),
    /// It is no JSON object.
    #[error(
        "the report of trivy is no JSON object; is the program in this step's image another one, or older than version 0.20?"
    )]
    NotAnObject,
    /// An identifier that no result can hold.
    #[error("the report of trivy names a vulnerability {id:?}, which is no identifier")]
    Identifier {
        /// The identifier.
        id: String,
    },
}

/// Go reads keys in any case, and so may who writes them.
#[derive(Deserialize)]
struct Report {
    #[serde(alias = "Results")]
    results: Option<Vec<Part>>,
}

/// A package list of the image.
#[derive(Deserialize)]
struct Part {
    #[serde(alias = "Vulnerabilities")]
    vulnerabilities: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "VulnerabilityID", alias = "vulnerabilityId")]
    #[serde(rename = "vulnerabilityID")]
    id: String,
    #[serde(alias = "Severity", default)]
    severity: Option<String>,
    #[serde(rename = "PkgName", alias = "pkgName", default)]
    package: Option<String>,
    #[serde(rename = "InstalledVersion", alias = "installedVersion", default)]
    installed: Option<String>,
    #[serde(rename = "FixedVersion", alias = "fixedVersion", default)]
    fixed: Option<String>,
}

/// The worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Critical,
    High,
    Medium,
    Low,
    Unknown,
}

impl Severity {
    fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "high" => Self::High,
            "medium" => Self::Medium,
            "low" => Self::Low,
            _ => Self::Unknown,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Unknown => "unknown",
        }
    }
}

/// A vulnerability, with the package where it was found first.
#[derive(Debug)]
struct Finding {
    id: String,
    severity: Severity,
    place: String,
}

/// What was found and is told, and how much is not.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    told: Vec<Finding>,
    passed_over: usize,
    left_out: usize,
}

/// Reads a report from where the file stands.
pub(super) fn read(report: File) -> Result<Findings, ReportError> {
    let mut report = BufReader::new(report);
    // Where an object is expected serde takes a list for one as well, and would find nothing in it.
    let first = report.fill_buf().map_err(ReportError::Read)?.trim_ascii_start().first();
    if first != Some(&b'{') {
        return Err(ReportError::NotAnObject);
    }
    let report: Report = serde_json::from_reader(report).map_err(ReportError::Json)?;
    let entries = report.results.into_iter().flatten();
    gather(entries.filter_map(|part| part.vulnerabilities).flatten())
}

fn gather(entries: impl Iterator<Item = Entry>) -> Result<Findings, ReportError> {
    let (mut told, mut places) = (Vec::<Finding>::new(), BTreeMap::new());
    for entry in entries {
        let severity = Severity::of(entry.severity.as_deref().unwrap_or_default());
        if let Some(&place) = places.get(&entry.id) {
            let known: &mut Finding = &mut told[place];
            known.severity = known.severity.min(severity);
            continue;
        }
        if entry.id.is_empty() || entry.id.contains(|c: char| c == ',' || c.is_control()) {
            return Err(ReportError::Identifier { id: entry.id });
        }
        places.insert(entry.id.clone(), told.len());
        let place = place_of(&entry);
        told.push(Finding { id: entry.id, severity, place });
    }
    told.sort_by_key(|finding| finding.severity);
    Ok(Findings { told, passed_over: 0, left_out: 0 })
}

/// Package and versions; whoever made the image chose their letters.
fn place_of(entry: &Entry) -> String {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut text = String::new();
    if let Some(package) = given(&entry.package) {
        text = format!(" in {package}");
        if let Some(installed) = given(&entry.installed) {
            text = format!("{text} {installed}");
        }
        if let Some(fixed) = given(&entry.fixed) {
            text = format!("{text}, fixed in {fixed}");
        }
    }
    text.replace(char::is_control, "?")
}

impl Findings {
    /// Forgets those that somebody has decided about.
    pub(super) fn pass_over(&mut self, ids: &[String]) {
        let before = self.told.len();
        self.told.retain(|finding| !ids.contains(&finding.id));
        self.passed_over = before - self.told.len();
    }

    /// Keeps so many.
    pub(super) fn keep_worst(&mut self, limit: usize) {
        self.left_out = self.told.len().saturating_sub(limit);
        self.told.truncate(limit);
    }

    /// How many there are, those that are not told with them.
    pub(crate) fn count(&self) -> usize {
        self.told.len() + self.left_out
    }

    /// The text of the result.
    pub(crate) fn to_result(&self) -> String {
        let entries = self.told.iter().map(|finding| {
            let letter = &finding.severity.word()[..1];
            format!("{}:{letter}", finding.id)
        });
        entries.collect::<Vec<_>>().join(",")
    }

    /// For the log.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![match self.count() {
            0 => "trivy found no vulnerability".to_owned(),
            1 => "trivy found 1 vulnerability".to_owned(),
            count => format!("trivy found {count} vulnerabilities"),
        }];
        lines.extend(self.told.iter().map(|Finding { id, severity, place }| {
            format!("vulnerability {id}, {}{place}", severity.word())
        }));
        if self.left_out > 0 {
            lines.push(format!("{} more that are no worse are not told", self.left_out));
        }
        if self.passed_over > 0 {
            lines.push(format!(
                "{} are passed over by output.vulnerabilityScan.ignore.id",
                self.passed_over
            ));
        }
        lines
    }
}
