//! The command line: flags and environment in, one verb run, one exit code out.

mod check;
mod cluster_arguments;
pub mod console;
mod controller;
mod controller_settings;
mod controller_values;
mod convert;
mod crds;
mod exit;
mod explain;
mod gather;
mod install;
mod log;
mod logs;
mod objects;
mod plan;
mod render;
mod run;
mod signals;
mod teller;
mod upload;
mod webhook_settings;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::Chain;
use crate::cluster::ClusterError;
use crate::local::LocalError;

pub use exit::Exit;

/// Runs Shipwright builds on Kubernetes or on one machine, without Tekton.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, after_help = exit::HELP)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a BuildRun on this machine, without a cluster
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunHereArguments),
    /// Print the Pod that a BuildRun becomes
    #[command(after_help = render::EXAMPLES)]
    Render(render::RenderArguments),
    /// Tell as whom each container of a BuildRun acts, what it may do, and who decided that
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArguments),
    /// Say what is wrong with objects, and what may be
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArguments),
    /// Print objects in the other version of the API
    #[command(after_help = convert::EXAMPLES)]
    Convert(convert::ConvertArguments),
    /// Show what the steps of a BuildRun on a cluster print, and what became of it
    #[command(after_help = logs::EXAMPLES)]
    Logs(logs::LogsArguments),
    /// Run a Build on a cluster with a directory of this machine as its source
    #[command(after_help = upload::EXAMPLES)]
    Upload(upload::UploadArguments),
    /// Put everything about a BuildRun on a cluster into one file
    #[command(after_help = gather::EXAMPLES)]
    Gather(gather::GatherArguments),
    /// Run BuildRuns on a cluster
    #[command(version, after_help = controller::NOTES)]
    Controller(Box<controller::ControllerArguments>),
    /// Print everything that a cluster needs: the CustomResourceDefinitions, and the controller with its account and roles
    #[command(after_help = install::EXAMPLES)]
    Install(install::InstallArguments),
    /// Print the CustomResourceDefinitions, or write them to files
    Crds {
        /// Directory to write one file a kind to; it is created if needed
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

/// Files with Kubernetes objects.
#[derive(Debug, clap::Args)]
struct FileArguments {
    /// File with YAML or JSON documents, a directory of such files, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", required = true, num_args = 1.., value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// How objects are printed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ReportFormat {
    /// For people
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    run(std::env::args_os()).into()
}

fn run(words: impl IntoIterator<Item = OsString>) -> Exit {
    let words: Vec<OsString> = words.into_iter().collect();
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => {
            controller::leave_usage(&words, &error);
            return exit::usage(&error);
        }
    };
    let outcome = match arguments.verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Render(arguments) => render::render(&arguments),
        Verb::Explain(arguments) => explain::explain(&arguments),
        Verb::Check(arguments) => check::check(&arguments),
        Verb::Convert(arguments) => convert::convert(&arguments),
        Verb::Logs(arguments) => logs::logs(&arguments),
        Verb::Upload(arguments) => upload::upload(&arguments),
        Verb::Gather(arguments) => gather::gather(&arguments),
        Verb::Controller(arguments) => controller::controller(&arguments),
        Verb::Install(arguments) => install::install(&arguments),
        Verb::Crds { dir } => crds::crds(dir.as_deref()),
    };
    outcome.unwrap_or_else(|error| {
        if let Error::Refused(refused) = &error {
            refused.tell();
            return Exit::Refused;
        }
        complain(&format!("error: {}", Chain(&error)));
        match error {
            Error::Name { .. } | Error::Cluster(ClusterError::NoStep { .. }) => Exit::Usage,
            Error::Interrupted => Exit::Failed,
            _ => Exit::Environment,
        }
    })
}

/// What this machine keeps a verb from doing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot print {name} as YAML")]
    Print { name: String, source: serde_saphyr::SerializeError },
    #[error("cannot print {name} as JSON")]
    PrintJson { name: String, source: serde_json::Error },
    #[error("the objects are refused")]
    Refused(plan::Refused),
    #[error("{name} names no object; write NAME, buildrun/NAME or build/NAME")]
    Name { name: String },
    #[error("interrupted before anything was made")]
    Interrupted,
    #[error("cannot start")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// A line on standard error. That nobody reads it ends nothing.
fn complain(line: &str) {
    use std::io::Write as _;
    drop(std::io::stderr().write_all(format!("{line}\n").as_bytes()));
}

fn print_text(text: &str) -> Result<(), Error> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => {
            outcome.map_err(|source| Error::Write { path: "standard output".into(), source })
        }
    }
}

/// Prints an object, which `name` stands for where it cannot be printed.
fn print_object(name: &str, object: &impl Serialize, format: Format) -> Result<(), Error> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(object)
            .map(|text| text + "\n")
            .map_err(|source| Error::PrintJson { name: name.into(), source })?,
        Format::Yaml => serde_saphyr::to_string(object)
            .map_err(|source| Error::Print { name: name.into(), source })?,
    };
    print_text(&text)
}
