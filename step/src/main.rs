//! The program of the pod's own steps; run as `waiter` it is `slipway-step waiter`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use slipway_step::protocol::{StepCommand, StepCommandLine};

fn main() -> ExitCode {
    let command_line = StepCommandLine::parse_from(with_subcommand(std::env::args_os().collect()));
    match command_line.command {
        StepCommand::ImageProcessing(command) => slipway_step::image::run(&command),
        StepCommand::Prepare(command) => slipway_step::prepare::run(&command),
        other => {
            eprintln!("slipway-step: {other:?} is not built yet");
            ExitCode::FAILURE
        }
    }
}

/// `shp build upload` runs plain `waiter done`: the image links that name to this program.
fn with_subcommand(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().and_then(|path| Path::new(path).file_name()).map(OsString::from);
    if name.as_deref() == Some("waiter".as_ref()) {
        arguments.insert(1, "waiter".into());
    }
    arguments
}
