//! `slipway-step waiter`: holds a step until a client has uploaded the source.
//!
//! Invariant: the lock file is gone when `start` ends, however it ends.
//! Invariant: every failure is exit code 1, a wrong flag included, as clients know it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::protocol::{DEFAULT_LOCK_FILE, WAITER_LOCK_FILE, WaiterAction, WaiterCommand};

/// How often the lock file is looked for: part of the contract with clients.
const POLL: Duration = Duration::from_millis(100);
/// What `start` waits at most unless told otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// A shorter time is taken for a mistake.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the waiter failed.
#[derive(Debug, thiserror::Error)]
pub enum WaiterError {
    /// `--timeout` is no duration.
    #[error("--timeout {text:?} is not a duration such as 90s or 1m30s")]
    Duration {
        /// What was given.
        text: String,
    },
    /// The lock file cannot be used.
    #[error("{doing} lock file {path}")]
    LockFile {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else wrote the lock file.
    #[error("lock file {path} does not hold a process id; is it a waiter's?")]
    NotAProcessId {
        /// The file.
        path: String,
    },
    /// Nobody uploaded in time.
    #[error(
        "no source was uploaded within {seconds} s; raise `source.local.timeout` if uploads take longer"
    )]
    Timeout {
        /// How long it waited, in seconds.
        seconds: f64,
    },
    /// Handlers cannot be set.
    #[error("prepare for signals")]
    Signals(#[source] io::Error),
}

/// Starts or ends the waiting: 0, 1, or 128 and the number of the signal that ended it.
pub fn run(command: &WaiterCommand) -> ExitCode {
    let outcome = match command.action {
        WaiterAction::Start => start(&command.lock_file, &command.timeout),
        WaiterAction::Done => done(&command.lock_file).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| crate::exit_code(Err(error)))
}

fn start(lock_file: &str, timeout: &str) -> Result<ExitCode, WaiterError> {
    let timeout = parse_timeout(timeout)?;
    let signalled = Arc::new(AtomicUsize::new(0));
    for (signal, code) in [(SIGTERM, 128 + 15), (SIGINT, 128 + 2), (SIGHUP, 128 + 1)] {
        signal_hook::flag::register_usize(signal, Arc::clone(&signalled), code)
            .map_err(WaiterError::Signals)?;
    }
    let failed = |doing, source| WaiterError::LockFile { doing, path: lock_file.into(), source };
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(lock_file)
        .and_then(|mut file| file.write_all(process::id().to_string().as_bytes()))
        .map_err(|source| failed("write", source))?;
    let begin = Instant::now();
    loop {
        if !fs::exists(lock_file).map_err(|source| failed("look for", source))? {
            return Ok(ExitCode::SUCCESS);
        }
        let code = signalled.load(Ordering::SeqCst);
        let late = begin.elapsed() >= timeout;
        if late || code != 0 {
            remove(lock_file).or_else(|error| match error {
                // Uploaded in this very moment.
                WaiterError::LockFile { source, .. }
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    Ok(())
                }
                other => Err(other),
            })?;
        }
        if code != 0 {
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
        if late {
            return Err(WaiterError::Timeout { seconds: timeout.as_secs_f64() });
        }
        sleep(POLL);
    }
}

fn done(lock_file: &str) -> Result<(), WaiterError> {
    // Older clients do not say where the lock file of the source step is.
    let lock_file = if lock_file == DEFAULT_LOCK_FILE && !Path::new(lock_file).exists() {
        WAITER_LOCK_FILE
    } else {
        lock_file
    };
    let text = fs::read_to_string(lock_file).map_err(|source| WaiterError::LockFile {
        doing: "no waiter is running: read",
        path: lock_file.to_owned(),
        source,
    })?;
    if text.trim().parse::<u32>().is_err() {
        return Err(WaiterError::NotAProcessId { path: lock_file.to_owned() });
    }
    remove(lock_file)
}

fn remove(lock_file: &str) -> Result<(), WaiterError> {
    fs::remove_file(lock_file).map_err(|source| WaiterError::LockFile {
        doing: "remove",
        path: lock_file.to_owned(),
        source,
    })
}

/// The time to wait; one second and less is replaced as upstream does.
fn parse_timeout(text: &str) -> Result<Duration, WaiterError> {
    let seconds =
        parse_seconds(text).ok_or_else(|| WaiterError::Duration { text: text.to_owned() })?;
    if seconds <= SHORTEST_TIMEOUT.as_secs_f64() {
        eprintln!(
            "warning: --timeout {text} is too short, waiting for {} s",
            DEFAULT_TIMEOUT.as_secs()
        );
        return Ok(DEFAULT_TIMEOUT);
    }
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| WaiterError::Duration { text: text.to_owned() })
}

/// A Go duration in seconds: a sum of numbers with units, such as `1h2m3.5s`, or 0.
fn parse_seconds(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    if unsigned == "0" {
        return Some(0.0);
    }
    if unsigned.is_empty() {
        return None;
    }
    let mut rest = unsigned;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit_on) = rest.split_at(number_end);
        let unit_end =
            unit_on.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit_on.len());
        let (unit, next) = unit_on.split_at(unit_end);
        sum += number.parse::<f64>().ok()? * unit_seconds(unit)?;
        rest = next;
    }
    Some(sign * sum)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        // Both signs that look like a Greek letter.
        "us" | "µs" | "μs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", Some(0.0))]
    #[case("90s", Some(90.0))]
    #[case("1h2m3.5s", Some(3723.5))]
    #[case("1.5h", Some(5400.0))]
    #[case(".5m", Some(30.0))]
    #[case("1500ms", Some(1.5))]
    #[case("2000000us", Some(2.0))]
    #[case("3000000000ns", Some(3.0))]
    #[case("-5m", Some(-300.0))]
    #[case("+5m", Some(300.0))]
    #[case("", None)]
    #[case("-", None)]
    #[case("60", None)]
    #[case("s", None)]
    #[case(".s", None)]
    #[case("1.2.3s", None)]
    #[case("1d", None)]
    #[case("5 m", None)]
    fn durations_are_read_as_go_reads_them(#[case] text: &str, #[case] seconds: Option<f64>) {
        assert_eq!(parse_seconds(text), seconds);
    }

    #[rstest]
    #[case("1s", DEFAULT_TIMEOUT)]
    #[case("-3m", DEFAULT_TIMEOUT)]
    #[case("1001ms", Duration::from_millis(1001))]
    #[case("2h", Duration::from_hours(2))]
    fn a_second_and_less_is_replaced(#[case] text: &str, #[case] timeout: Duration) {
        assert_eq!(parse_timeout(text).unwrap(), timeout);
    }

    #[test]
    fn a_time_beyond_all_clocks_is_refused() {
        assert!(parse_timeout(&format!("1{}h", "0".repeat(300))).is_err());
    }
}
