//! Settings of the controller as text: what they say, and everything that is wrong with them.
//!
//! Invariant: no setting ends the reading of the others.

use std::fmt::Display;
use std::time::Duration;

use crate::api::GoDuration;

/// What is wrong with settings, a line each, with the names of flag and variable.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// What a setting says; nothing where it is not given, or empty, or wrong.
    pub fn read<T>(
        &mut self,
        variable: &str,
        text: Option<&String>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = text.map(|text| text.trim()).filter(|text| !text.is_empty())?;
        self.read_given(variable, text, read)
    }

    /// The same where an empty text is wrong, too.
    pub fn read_given<T>(
        &mut self,
        variable: &str,
        text: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = read(text);
        value.map_err(|problem| self.tell(&[variable], problem)).ok()
    }

    /// Something is wrong with the settings of these variables.
    pub fn tell(&mut self, variables: &[&str], problem: impl Display) {
        let names: Vec<_> = variables
            .iter()
            .map(|variable| format!("--{} ({variable})", flag_of(variable)))
            .collect();
        self.0.push(format!("{}: {problem}", names.join(", ")));
    }

    /// Something is wrong with a flag that has no variable.
    pub fn tell_of_flag(&mut self, flag: &str, problem: impl Display) {
        self.0.push(format!("--{flag}: {problem}"));
    }

    pub fn into_lines(self) -> Vec<String> {
        self.0
    }
}

/// The flag of the same setting.
pub fn flag_of(variable: &str) -> String {
    let variable = variable.strip_prefix("BUILD_CONTROLLER_").unwrap_or(variable);
    variable.to_ascii_lowercase().replace('_', "-")
}

/// A whole number that is not less than this.
pub fn whole<T: TryFrom<i64>>(least: i64) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let number: i64 = text.parse().map_err(|_| format!("{text:?} is no whole number"))?;
        if number < least {
            return Err(format!("{number} is less than {least}"));
        }
        T::try_from(number).map_err(|_| format!("{number} is too large"))
    }
}

/// A duration as Go writes it, such as `1m30s`, of at least a tenth of a second.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = GoDuration(text.to_owned()).parse();
    let parsed = parsed.map_err(|error| format!("{text:?}: {error}"))?;
    let parsed = u64::try_from(parsed.0).map(Duration::from_nanos).unwrap_or_default();
    if parsed < Duration::from_millis(100) {
        Err(format!("{text:?} is less than 100ms"))
    } else {
        Ok(parsed)
    }
}

/// Upper bounds of a histogram's buckets.
pub fn buckets(text: &str) -> Result<Vec<f64>, String> {
    let bounds = text.split(',').map(|bound| match bound.trim().parse::<f64>() {
        Ok(bound) if !bound.is_nan() => Ok(bound),
        _ => Err(format!("{bound:?} is no number of seconds")),
    });
    let bounds: Vec<f64> = bounds.collect::<Result<_, _>>()?;
    if bounds.is_sorted_by(|lower, upper| lower < upper) {
        Ok(bounds)
    } else {
        Err(format!("{text:?} does not rise from bucket to bucket"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_in_their_range() {
        let count = whole::<u16>(0);
        assert_eq!((count("0"), count("65535")), (Ok(0), Ok(65535)));
        for (text, problem) in [
            ("-1", "-1 is less than 0"),
            ("65536", "65536 is too large"),
            ("1.5", "\"1.5\" is no whole number"),
            ("many", "\"many\" is no whole number"),
        ] {
            assert_eq!(count(text), Err(problem.to_owned()));
        }
        assert_eq!(whole::<i64>(i64::MIN)("-7"), Ok(-7));
    }

    #[test]
    fn durations_leave_time_for_something() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("99ms"), Err("\"99ms\" is less than 100ms".to_owned()));
        assert_eq!(duration("-5s"), Err("\"-5s\" is less than 100ms".to_owned()));
        assert!(duration("15").is_err_and(|problem| problem.starts_with("\"15\": ")));
    }

    #[test]
    fn buckets_rise() {
        assert_eq!(buckets("0, 0.5,1,+Inf"), Ok(vec![0.0, 0.5, 1.0, f64::INFINITY]));
        for (text, problem) in [
            ("", "\"\" is no number of seconds"),
            ("1,,2", "\"\" is no number of seconds"),
            ("1,x", "\"x\" is no number of seconds"),
            ("1,NaN", "\"NaN\" is no number of seconds"),
            ("1,1", "\"1,1\" does not rise from bucket to bucket"),
            ("2,1", "\"2,1\" does not rise from bucket to bucket"),
        ] {
            assert_eq!(buckets(text), Err(problem.to_owned()));
        }
    }
}
