//! The controller's log: one JSON object a line, with the fields of the reconcile it belongs to beside its own; or lines for people.
//!
//! The library's own JSON calls the span `name`, as is the object that is reconciled, and keeps the spans of other libraries.

use std::fmt;
use std::io::IsTerminal as _;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::controller_values::Problems;

/// What is logged, and how.
#[derive(Debug, clap::Args)]
pub struct LogArguments {
    /// What is logged, such as `debug` or `slipway=debug,kube=info`; by default info
    #[arg(long, env = "LOG_LEVEL", value_name = "FILTER")]
    log_level: Option<String>,
    /// Upstream's flag for --log-level, goes before it: debug, info, error, panic (nothing is logged), or 1 (debug) and more (trace)
    #[arg(long, value_name = "LEVEL")]
    zap_log_level: Option<String>,
    /// Old name of --zap-log-level, which goes before it
    #[arg(long, value_name = "LEVEL")]
    zap_level: Option<String>,
    /// Form of the log: json, the default, or console
    #[arg(long, value_name = "FORM")]
    zap_encoder: Option<String>,
    /// Form of the time: rfc3339nano, the default, rfc3339, iso8601, epoch, millis or nano
    #[arg(long, value_name = "FORM")]
    zap_time_encoding: Option<String>,
    /// `console` and `debug` where flags of zap do not say anything else
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    zap_devel: Option<String>,
    /// Accepted without effect: info, error or panic; there are no stack traces
    #[arg(long, value_name = "LEVEL")]
    zap_stacktrace_level: Option<String>,
}

/// A log that has not begun.
#[derive(Debug)]
pub struct Log {
    filter: EnvFilter,
    form: Form,
    time: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Console,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Rfc3339Nano,
    Rfc3339,
    Iso8601,
    Epoch,
    Millis,
    Nano,
}

impl LogArguments {
    /// The log as it is wanted; what is wrong is as by default.
    pub fn log(&self, problems: &mut Problems) -> Log {
        let mut zap = Zap(problems);
        let devel = zap.read("zap-devel", self.zap_devel.as_ref(), |word| match word {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        });
        let devel = devel.unwrap_or_default();
        let level = zap.read("zap-log-level", self.zap_log_level.as_ref(), filter_of);
        let old_level = zap.read("zap-level", self.zap_level.as_ref(), filter_of);
        zap.read("zap-stacktrace-level", self.zap_stacktrace_level.as_ref(), filter_of);
        let form = zap.read("zap-encoder", self.zap_encoder.as_ref(), |word| match word {
            "json" => Some(Form::Json),
            "console" => Some(Form::Console),
            _ => None,
        });
        let time = zap.read("zap-time-encoding", self.zap_time_encoding.as_ref(), time);
        let own = problems.read("LOG_LEVEL", self.log_level.as_ref(), |filter| {
            EnvFilter::try_new(filter).map_err(|_| {
                format!("{filter:?} is no filter of logs; use error, warn, info, debug or trace")
            })
        });
        let filter = match (level.or(old_level), own) {
            (Some(level), _) => EnvFilter::new(level),
            (None, Some(own)) => own,
            (None, None) => EnvFilter::new(if devel { "debug" } else { "info" }),
        };
        Log {
            filter,
            form: form.unwrap_or(if devel { Form::Console } else { Form::Json }),
            time: time.unwrap_or(Time::Rfc3339Nano),
        }
    }
}

/// Flags of upstream's log, which have no variables.
struct Zap<'a>(&'a mut Problems);

impl Zap<'_> {
    fn read<T>(
        &mut self,
        flag: &str,
        text: Option<&String>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = text?;
        let value = read(text);
        if value.is_none() {
            self.0.tell_of_flag(flag, format!("{text:?} is none of the values in --help"));
        }
        value
    }
}

/// The filter for a level of zap.
fn filter_of(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "debug" | "1" => Some("debug"),
        "info" => Some("info"),
        "error" => Some("error"),
        "panic" => Some("off"),
        number => number.parse::<u8>().ok().filter(|number| *number > 0).map(|_| "trace"),
    }
}

fn time(word: &str) -> Option<Time> {
    match word.to_ascii_lowercase().as_str() {
        "rfc3339nano" => Some(Time::Rfc3339Nano),
        "rfc3339" => Some(Time::Rfc3339),
        "iso8601" => Some(Time::Iso8601),
        "epoch" => Some(Time::Epoch),
        "millis" => Some(Time::Millis),
        "nano" => Some(Time::Nano),
        _ => None,
    }
}

impl Time {
    fn of(self, moment: Timestamp) -> Value {
        match self {
            Self::Rfc3339Nano => json!(moment.to_string()),
            Self::Rfc3339 => json!(moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            Self::Iso8601 => json!(moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()),
            Self::Epoch => json!(moment.as_duration().as_secs_f64()),
            Self::Millis => json!(moment.as_duration().as_millis_f64()),
            Self::Nano => json!(i64::try_from(moment.as_nanosecond()).unwrap_or(i64::MAX)),
        }
    }
}

impl FormatTime for Time {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        match self.of(Timestamp::now()) {
            Value::String(text) => writer.write_str(&text),
            number => write!(writer, "{number}"),
        }
    }
}

impl Log {
    /// Logs to standard error from now on.
    pub fn begin(self) {
        let log =
            tracing_subscriber::fmt().with_env_filter(self.filter).with_writer(std::io::stderr);
        match self.form {
            Form::Json => {
                log.fmt_fields(JsonFields::new()).event_format(Lines { time: self.time }).init();
            }
            Form::Console => {
                log.with_timer(self.time).with_ansi(std::io::stderr().is_terminal()).init();
            }
        }
    }
}

struct Lines {
    time: Time,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Fields(Map::new());
        line.0.insert("time".into(), self.time.of(Timestamp::now()));
        line.0.insert("level".into(), json!(event.metadata().level().as_str()));
        for span in context.event_scope().into_iter().flatten() {
            // Libraries have spans within ours and around them.
            if !span.metadata().target().starts_with(env!("CARGO_PKG_NAME")) {
                continue;
            }
            line.0.insert("reconcile".into(), json!(span.name()));
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>();
            let fields = fields.and_then(|fields| serde_json::from_str(&fields.fields).ok());
            line.0.extend(fields.unwrap_or_else(Map::new));
        }
        event.record(&mut line);
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), json!(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), json!(format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        log: LogArguments,
    }

    fn read(flags: &[&str]) -> Result<(String, Form, Time), Vec<String>> {
        let Alone { log } = Alone::try_parse_from([&["log"], flags].concat()).unwrap();
        let mut problems = Problems::default();
        let Log { filter, form, time } = log.log(&mut problems);
        let problems = problems.into_lines();
        if problems.is_empty() { Ok((filter.to_string(), form, time)) } else { Err(problems) }
    }

    #[test]
    fn upstreams_flags_mean_what_they_mean_there() {
        let (json, console, nano) = (Form::Json, Form::Console, Time::Rfc3339Nano);
        for (flags, filter, form, time) in [
            (&[][..], "info", json, nano),
            (&["--log-level=kube=warn"], "kube=warn", json, nano),
            (&["--zap-devel"], "debug", console, nano),
            (&["--zap-devel", "--log-level=warn"], "warn", console, nano),
            (
                &["--zap-devel=true", "--zap-encoder=json", "--zap-log-level=info"],
                "info",
                json,
                nano,
            ),
            (&["--zap-devel=false"], "info", json, nano),
            (&["--zap-level=debug", "--log-level=warn"], "debug", json, nano),
            (&["--zap-log-level=error", "--zap-level=debug"], "error", json, nano),
            (&["--zap-log-level=panic"], "off", json, nano),
            (&["--zap-log-level=1"], "debug", json, nano),
            (&["--zap-log-level=9"], "trace", json, nano),
            (&["--zap-stacktrace-level=panic"], "info", json, nano),
            (&["--zap-time-encoding=epoch"], "info", json, Time::Epoch),
        ] {
            assert_eq!(read(flags), Ok((filter.to_owned(), form, time)), "{flags:?}");
        }
    }

    #[test]
    fn values_that_upstream_does_not_know_are_told() {
        let wrong = [
            "--zap-devel=perhaps",
            "--zap-log-level=0",
            "--zap-level=loud",
            "--zap-stacktrace-level=x",
            "--zap-encoder=xml",
            "--zap-time-encoding=moon",
            "--log-level=slipway=loud",
        ];
        let problems = read(&wrong).unwrap_err();
        let flags = problems.iter().filter_map(|problem| problem.split([':', ' ']).next());
        assert_eq!(flags.collect::<Vec<_>>(), wrong.map(|wrong| wrong.split('=').next().unwrap()));
    }

    #[test]
    fn times_have_the_forms_of_zap() {
        let moment: Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap();
        for (time, expected) in [
            (Time::Rfc3339Nano, json!("2026-01-02T03:04:05.678901Z")),
            (Time::Rfc3339, json!("2026-01-02T03:04:05Z")),
            (Time::Iso8601, json!("2026-01-02T03:04:05.678Z")),
            (Time::Epoch, json!(1_767_323_045.678_901)),
            (Time::Millis, json!(1_767_323_045_678.901)),
            (Time::Nano, json!(1_767_323_045_678_901_000_i64)),
        ] {
            assert_eq!(time.of(moment), expected);
        }
    }
}
