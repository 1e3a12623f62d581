//! Durations as Go writes them: `1h30m`, `1.5s`, `0s`.
//!
//! Invariant: decoding keeps the text and never fails on it. The CRDs' format admits texts that no Go program can read
//! (`1d`, `2 weeks`); one such object must not stop the watch of all others.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The text of a duration, as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoDuration(pub String);

/// A length of time in nanoseconds; prints as Go prints a `time.Duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanoseconds(pub i64);

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no duration, write it like 1h30m or 45s (units h, m, s, ms, us, ns)")]
pub struct InvalidDuration {
    /// The text as it was written.
    pub text: String,
}

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

impl GoDuration {
    /// The length by Go's rules: an optional sign, then numbers with optional fraction, each with its unit; or `0`.
    pub fn parse(&self) -> Result<Nanoseconds, InvalidDuration> {
        parse_signed(&self.0).ok_or_else(|| InvalidDuration { text: self.0.clone() })
    }
}

impl From<Nanoseconds> for GoDuration {
    fn from(length: Nanoseconds) -> Self {
        Self(length.to_string())
    }
}

impl JsonSchema for GoDuration {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "duration"})
    }
}

fn parse_signed(text: &str) -> Option<Nanoseconds> {
    let (negative, unsigned) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if unsigned == "0" {
        return Some(Nanoseconds(0));
    }
    if unsigned.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (part, after) = parse_part(rest)?;
        total = total.checked_add(part)?;
        rest = after;
    }
    let nanoseconds =
        if negative { 0_i64.checked_sub_unsigned(total)? } else { i64::try_from(total).ok()? };
    Some(Nanoseconds(nanoseconds))
}

/// One number with its unit, and the text behind it.
fn parse_part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let unit = match unit {
        "ns" => 1,
        // Both signs that look like a micro: U+00B5 and U+03BC.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    };
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let length = whole.checked_mul(unit)?.checked_add(fraction_of(fraction, unit))?;
    Some((length, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// That part of the unit which the digits behind the point say, rounded down.
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let mut numerator: u128 = 0;
    let mut denominator: u128 = 1;
    // The largest unit has 13 digits: what is behind the 18th digit is less than a nanosecond.
    for digit in digits.bytes().take(18) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        denominator *= 10;
    }
    u64::try_from(numerator * u128::from(unit) / denominator).unwrap_or(0)
}

impl fmt::Display for Nanoseconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.unsigned_abs();
        if self.0 < 0 {
            formatter.write_str("-")?;
        }
        match length {
            0 => formatter.write_str("0s"),
            1..MICROSECOND => write!(formatter, "{length}ns"),
            MICROSECOND..MILLISECOND => write_scaled(formatter, length, MICROSECOND, "\u{b5}s"),
            MILLISECOND..SECOND => write_scaled(formatter, length, MILLISECOND, "ms"),
            SECOND.. => {
                let (hours, minutes) = (length / HOUR, length / MINUTE % 60);
                if hours > 0 {
                    write!(formatter, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(formatter, "{minutes}m")?;
                }
                write_scaled(formatter, length % MINUTE, SECOND, "s")
            }
        }
    }
}

/// A number of units with as many decimals as it needs.
fn write_scaled(
    formatter: &mut fmt::Formatter<'_>,
    length: u64,
    unit: u64,
    name: &str,
) -> fmt::Result {
    write!(formatter, "{}", length / unit)?;
    let fraction = length % unit;
    if fraction > 0 {
        let width = unit.ilog10() as usize;
        let decimals = format!("{fraction:0width$}");
        write!(formatter, ".{}", decimals.trim_end_matches('0'))?;
    }
    formatter.write_str(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", "0s")]
    #[case("-0", "0s")]
    #[case("0s", "0s")]
    #[case("10m", "10m0s")]
    #[case("1h", "1h0m0s")]
    #[case("90m", "1h30m0s")]
    #[case("1.5s", "1.5s")]
    #[case("1.5h", "1h30m0s")]
    #[case(".5m", "30s")]
    #[case("1.m", "1m0s")]
    #[case("+1m30s", "1m30s")]
    #[case("-1h1ms", "-1h0m0.001s")]
    #[case("30s1h", "1h0m30s")]
    #[case("1500us", "1.5ms")]
    #[case("1500\u{b5}s", "1.5ms")]
    #[case("7\u{3bc}s", "7\u{b5}s")]
    #[case("999ns", "999ns")]
    #[case("0.000000001s", "1ns")]
    #[case("0.3333333333333333333333h", "19m59.999999999s")]
    #[case("2562047h47m16.854775807s", "2562047h47m16.854775807s")]
    #[case("-9223372036854775808ns", "-2562047h47m16.854775808s")]
    fn parses_and_prints_as_go_does(#[case] text: &str, #[case] canonical: &str) {
        let length = GoDuration(text.to_owned()).parse().expect("a duration");
        assert_eq!(length.to_string(), canonical);
    }

    #[rstest]
    #[case("")]
    #[case("-")]
    #[case(".")]
    #[case(".s")]
    #[case("1")]
    #[case("1d")]
    #[case("2 weeks")]
    #[case("22 ns")]
    #[case("1h ")]
    #[case("--1h")]
    #[case("9223372036854775808ns")]
    #[case("3000000h")]
    fn refuses_what_go_refuses_but_decodes_it(#[case] text: &str) {
        let decoded: GoDuration = serde_json::from_value(text.into()).expect("any text decodes");
        assert_eq!(decoded.parse(), Err(InvalidDuration { text: text.to_owned() }));
        assert_eq!(serde_json::to_value(&decoded).expect("encodes"), text);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanoseconds: i64) {
            let length = Nanoseconds(nanoseconds);
            prop_assert_eq!(GoDuration::from(length).parse(), Ok(length));
        }

        #[test]
        fn no_text_breaks_the_parser(text in "[-+0-9.hmsnuµμ ]{0,12}") {
            let _ = GoDuration(text).parse();
        }
    }
}
