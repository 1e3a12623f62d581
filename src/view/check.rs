//! Findings as lines.

use std::fmt::Write as _;

use super::one_line;
use crate::plan::{Finding, Severity};

/// One line for each finding and one that counts them. What comes from files is shown in one line, whatever it holds.
pub fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", one_line(&line(finding)));
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (refusals, warnings) = (count(Severity::Refusal), count(Severity::Warning));
    let _ = match (refusals, warnings) {
        (0, 0) => writeln!(text, "nothing found"),
        _ => writeln!(text, "{}, {}", counted(refusals, "refusal"), counted(warnings, "warning")),
    };
    text
}

fn line(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Refusal => "refusal",
        Severity::Warning => "warning",
    };
    let mut parts = Vec::new();
    parts.extend(finding.file.clone());
    if !finding.object.kind.is_empty() || !finding.object.name.is_empty() {
        parts.push(finding.object.to_string());
    }
    if finding.at != finding.object {
        parts.push(format!("{} of {}", finding.field, finding.at));
    } else if !finding.field.is_empty() {
        parts.push(finding.field.clone());
    }
    parts.push(finding.reason.to_owned());
    parts.push(finding.message.clone());
    format!("{severity} {}", parts.join(": "))
}

fn counted(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
