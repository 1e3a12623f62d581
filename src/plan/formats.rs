//! The formats that the schemas know: quantities, durations, points in time.
//!
//! Invariant: each function takes what the API server takes.

use k8s_openapi::jiff::Timestamp;

use crate::api::GoDuration;

/// Whether a text matches the CRDs' pattern for quantities.
pub(super) fn is_quantity(text: &str) -> bool {
    let unsigned = |text| str::strip_prefix(text, ['+', '-']).unwrap_or(text);
    let Some(suffix) = after_decimal(unsigned(text)) else { return false };
    match suffix.as_bytes() {
        []
        | [b'n' | b'u' | b'm' | b'k' | b'M' | b'G' | b'T' | b'P' | b'E']
        | [b'K' | b'M' | b'G' | b'T' | b'P' | b'E', b'i'] => true,
        [b'e' | b'E', ..] => after_decimal(unsigned(&suffix[1..])) == Some(""),
        _ => false,
    }
}

/// What is behind a decimal number; `None` if there is no digit.
fn after_decimal(text: &str) -> Option<&str> {
    let digits =
        |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let whole = digits(text);
    let rest = &text[whole..];
    let Some(behind) = rest.strip_prefix('.') else { return (whole > 0).then_some(rest) };
    let fraction = digits(behind);
    (whole + fraction > 0).then(|| &behind[fraction..])
}

/// Whether the API server takes a text for a duration: what Go reads, and else any text with a whole number before the
/// name of a unit somewhere in it.
pub(super) fn is_duration(text: &str) -> bool {
    if GoDuration(text.to_owned()).parse().is_ok() {
        return true;
    }
    let mut found = false;
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[start..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let unit_start = behind.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
        let is_unit = |c: char| c.is_ascii_alphabetic() || c == '\u{b5}';
        let unit_end = unit_start.find(|c: char| !is_unit(c)).unwrap_or(unit_start.len());
        let (unit, behind_unit) = unit_start.split_at(unit_end);
        rest = if unit.is_empty() { behind } else { behind_unit };
        if unit.is_empty() {
            continue;
        }
        if number.parse::<i64>().is_err() {
            return false;
        }
        found |= is_unit_of_time(&unit.to_lowercase());
    }
    found
}

fn is_unit_of_time(unit: &str) -> bool {
    const SHORT: [&str; 12] =
        ["ns", "us", "\u{b5}s", "ms", "s", "m", "h", "hr", "d", "w", "wk", "week"];
    const BEGINNINGS: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    SHORT.contains(&unit) || BEGINNINGS.iter().any(|beginning| unit.starts_with(beginning))
}

/// Whether a text is a point in time as the API server prints it.
pub(super) fn is_date_time(text: &str) -> bool {
    text.as_bytes().get(10) == Some(&b'T') && text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for valid in
            ["0", "250m", "1.", ".5", "+.5Ei", "-2", "1e3", "1E-3", "1e.5", "1E", "12Ki", "3n"]
        {
            assert!(is_quantity(valid), "{valid}");
        }
        for invalid in ["", "abc", ".", "1 Gi", "1ki", "1e", "1e+", "--1", "1Kib", "m", "1i"] {
            assert!(!is_quantity(invalid), "{invalid}");
        }
    }

    #[test]
    fn durations() {
        for valid in [
            "10m",
            "-5m",
            "0",
            "1d",
            "2 weeks",
            "22 ns",
            "x1h",
            "3 Hours",
            "1 foo 2 sec",
            "7\u{b5}s",
            "1W",
        ] {
            assert!(is_duration(valid), "{valid}");
        }
        for invalid in ["", "5", "1x", "1.5.h", "1hh", "99999999999999999999d", "+", "h", "1 2 3"] {
            assert!(!is_duration(invalid), "{invalid}");
        }
    }

    #[test]
    fn points_in_time() {
        for valid in ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5+02:00"] {
            assert!(is_date_time(valid), "{valid}");
        }
        for invalid in ["", "x", "2026-01-02", "2026-01-02 03:04:05Z", "2026-02-30T03:04:05Z"] {
            assert!(!is_date_time(invalid), "{invalid}");
        }
    }
}
