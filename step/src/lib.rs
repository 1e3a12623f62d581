//! What runs inside a build pod, and the protocol by which a plan steers it.
//!
//! Invariant: nothing here knows Kubernetes or Shipwright's kinds; `slipway` may use [`protocol`], [`oci`] and [`unpack`], never the other way round.

use std::error::Error;
use std::process::ExitCode;

pub mod bundle;
pub mod gate;
pub mod git;
pub mod hold;
pub mod image;
mod listing;
pub mod oci;
pub mod prepare;
pub mod protocol;
mod result_file;
pub mod tar;
pub mod unpack;
pub mod waiter;

/// The exit code of a command whose every failure is 1; the failure and its causes go to the log.
fn exit_code<E: Error>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", describe(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line.
fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A flag's value that is there and not blank: templates pass empty ones for what is not set.
fn given(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.trim().is_empty())
}
