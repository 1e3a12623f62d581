//! `slipway-step gate`: waits for its step's turn, runs the step's command as PID 1 should, reports its results.
//!
//! Invariant: `ok` is left only after the command ended with 0 and its report is where kubelet finds it.
//! Invariant: no threads, no async runtime, no shell, no temporary files outside `$HOME` and `/tekton/creds`: a gate works in
//! an empty image, on a read-only root, as any user.
//!
//! A gate steers by flags alone; strategy steps see no environment variable of ours.

mod credentials;
mod memory;
mod process;
mod report;
mod results;
mod turn;
mod workdir;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use report::{Changed, Composed, Content, compose};
use results::{Results, hand_over};
use turn::OwnTurn;

pub use process::ProcessError;
pub use turn::TurnError;
pub use workdir::WorkdirError;

use crate::protocol::results::{ERROR_MESSAGE, ERROR_REASON, OUT_OF_MEMORY};
use crate::protocol::{GateCommand, RESULTS_DIR, TERMINATION_LOG};

/// Why a step did not run, or could not be told to have run.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// It was not, or cannot be told to be, this step's turn.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The working directory cannot be entered.
    #[error(transparent)]
    Workdir(#[from] WorkdirError),
    /// The command cannot be started or followed.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

impl GateError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Process(error) => error.exit_code(),
            Self::Turn(_) | Self::Workdir(_) => 1,
        }
    }
}

/// Takes the step's turn; the exit code is the command's own, 128 and the number of the signal that ended it, 126 or 127 where it
/// cannot be started, 1 where the gate itself must say no.
pub fn run(command: &GateCommand) -> ExitCode {
    let code = take_turn(command).unwrap_or_else(|error| {
        log(&crate::describe(&error));
        error.exit_code()
    });
    ExitCode::from(code)
}

fn take_turn(command: &GateCommand) -> Result<u8, GateError> {
    // First of all: until then PID 1 cannot be ended by a signal.
    let supervisor = process::Supervisor::install()?;
    let turn = OwnTurn::take(&command.run_dir)?;
    if let Some(before) = &command.after {
        turn::await_end(before)?;
    }
    for other in &command.await_started {
        turn::await_start(other)?;
    }
    credentials::provide(&command.credentials);
    if let Some(dir) = &command.workdir
        && let Err(error) = workdir::enter(dir)
    {
        leave(&missing_workdir(&error, command.budget));
        return Err(error.into());
    }
    let results = Results::remember(Path::new(RESULTS_DIR), &command.results);
    let kills = memory::kills();
    let code = supervisor.run(&command.command)?;
    let mut changed = results.changed();
    if memory::kills() > kills {
        changed.push(entry(OUT_OF_MEMORY, ""));
    }
    let reported = leave(&compose(changed, code == 0, command.budget));
    if code == 0 && reported {
        turn.end_well()?;
        return Ok(0);
    }
    if let Err(error) = turn.end_badly() {
        log(&crate::describe(&error));
    }
    Ok(if code == 0 { 1 } else { code })
}

/// Leaves the report, and says in the log what is not in it; whether all results are on their way.
fn leave(composed: &Composed) -> bool {
    for line in &composed.lines {
        log(line);
    }
    let left = hand_over(&composed.report, Path::new(TERMINATION_LOG));
    if let Err(error) = &left {
        log(&format!(
            "write results to {TERMINATION_LOG}: {error}; is it a file that this user may write?"
        ));
    }
    left.is_ok() && !composed.failed
}

/// The report of a step that has nowhere to work: a user sees the reason in the BuildRun, not only in a log.
fn missing_workdir(error: &WorkdirError, budget: usize) -> Composed {
    let message = crate::describe(error);
    let entries = vec![entry(ERROR_REASON, error.reason()), entry(ERROR_MESSAGE, &message)];
    compose(entries, false, budget)
}

fn entry(name: &str, text: &str) -> Changed {
    let content = Content::Bytes { head: text.into(), size: text.len() as u64 };
    Changed { name: name.to_owned(), content }
}

/// A line in the step's log that is not the command's; in one piece, whatever ends this program or writes beside it.
fn log(line: &str) {
    // A log that nobody takes any more must not end the step.
    let _ = io::stderr().write_all(format!("slipway: {line}\n").as_bytes());
}
