//! The program of the pod's own steps; run as `waiter` or `tar` it is `slipway-step waiter` or `slipway-step tar`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use slipway_step::protocol::{StepCommand, StepCommandLine};

fn main() -> ExitCode {
    let arguments = with_subcommand(std::env::args_os().collect());
    let command_line = match StepCommandLine::try_parse_from(&arguments) {
        Ok(command_line) => command_line,
        Err(error) => return refuse(&error, &arguments),
    };
    match command_line.command {
        StepCommand::Bundle(command) => slipway_step::bundle::run(&command),
        StepCommand::Gate(command) => slipway_step::gate::run(&command),
        StepCommand::Git(command) => slipway_step::git::run(&command),
        StepCommand::Hold(command) => slipway_step::hold::run(&command),
        StepCommand::ImageProcessing(command) => slipway_step::image::run(&command),
        StepCommand::Prepare(command) => slipway_step::prepare::run(&command),
        StepCommand::Tar(command) => slipway_step::tar::run(&command.arguments),
        StepCommand::Waiter(command) => slipway_step::waiter::run(&command),
    }
}

/// A wrong command line, or a call for help: clients of the waiter expect 1 where the others exit with 2.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    // The exit code tells even where nobody reads the text.
    let _ = error.print();
    let waiter = arguments.get(1).is_some_and(|name| name == "waiter");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if waiter => ExitCode::FAILURE,
        code => ExitCode::from(u8::try_from(code).unwrap_or(2)),
    }
}

/// `shp build upload` runs plain `tar` and `waiter done`: the image links those names to this program.
fn with_subcommand(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().and_then(|path| Path::new(path).file_name()).map(OsString::from);
    if let Some(name) = name.filter(|name| name == "waiter" || name == "tar") {
        arguments.insert(1, name);
    }
    arguments
}
