//! Command lines and the run-directory protocol of the pod's own steps, printed and parsed in one place.
//!
//! Invariant: every command that `slipway` writes into a pod is printed by a `to_args` here and parsed by the type beside it;
//! a property test holds the two together.
//! Invariant: pure, no I/O.
//!
//! The flags of `git`, `bundle`, `image-processing` and `waiter` are Shipwright's contract with its helper images (GNU style,
//! `--flag value` and `--flag=value`), so either side may be swapped for upstream's.

mod args;
mod bundle;
mod gate;
mod git;
pub mod hold;
mod image;
pub mod results;
#[cfg(test)]
mod round_trip;
mod tar;
mod waiter;

pub use bundle::{BundleCommand, DEFAULT_WAIT};
pub use gate::{Credential, GateCommand};
pub use git::GitCommand;
pub use hold::HoldCommand;
pub use image::ImageCommand;
pub use tar::TarCommand;
pub use waiter::{DEFAULT_LOCK_FILE, WaiterAction, WaiterCommand};

/// The name by which the gate knows its own program: the command of a supporting step starts with it.
pub const PROGRAM: &str = "slipway-step";
/// Where `prepare` puts the program; mounted read-only in every step.
pub const BIN_DIR: &str = "/shp/bin";
/// The program as a step container starts it.
pub const BIN_PATH: &str = "/shp/bin/slipway-step";
/// Marker in a run directory: the gate of that step holds its lock.
pub const STARTED: &str = "started";
/// Marker in a run directory: the command of that step ended with 0 and its results were reported.
pub const OK: &str = "ok";
/// Where steps leave result files, one a result, named after it.
pub const RESULTS_DIR: &str = "/tekton/results";
/// Where the secrets with credentials for strategy steps are mounted, one folder a secret.
pub const CREDENTIALS_SECRETS_DIR: &str = "/tekton/creds-secrets";
/// Where the gate of a strategy step leaves the merged credentials before it copies them to `$HOME`.
pub const CREDENTIALS_DIR: &str = "/tekton/creds";
/// Where kubelet picks up the report of a step.
pub const TERMINATION_LOG: &str = "/dev/termination-log";
/// Shared scratch space; missing working directories below it are made, except in the source.
pub const WORKSPACE_DIR: &str = "/workspace";
/// Where the source is.
pub const SOURCE_DIR: &str = "/workspace/source";
/// The file that `waiter start` watches.
pub const WAITER_LOCK_FILE: &str = "/shp-tmp/waiter.lock";

/// The run directory of the `index`th step, counted from 0 in the order of the pod's containers.
pub fn run_dir(index: usize) -> String {
    format!("/shp/run/{index}")
}

/// The file of one result.
pub fn result_path(name: &str) -> String {
    format!("{RESULTS_DIR}/{name}")
}

/// Everything that `slipway-step` can be told to do.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum StepCommand {
    /// Wait for the step before, run the command behind `--`, report its results
    Gate(GateCommand),
    /// Copy this program to where the steps of the pod find it
    Prepare(PrepareCommand),
    /// Fetch a Git repository
    Git(GitCommand),
    /// Fetch source that is packed in an image
    Bundle(BundleCommand),
    /// Wait for source that a client uploads
    Waiter(WaiterCommand),
    /// Unpack what a client uploads
    Tar(TarCommand),
    /// Change and push what a strategy built
    ImageProcessing(ImageCommand),
    /// Stand for a pod on a machine without a kubelet, until SIGTERM
    Hold(HoldCommand),
}

impl StepCommand {
    /// The arguments behind the program's name.
    pub fn to_args(&self) -> Vec<String> {
        match self {
            Self::Gate(command) => command.to_args(),
            Self::Prepare(command) => command.to_args(),
            Self::Git(command) => command.to_args(),
            Self::Bundle(command) => command.to_args(),
            Self::Waiter(command) => command.to_args(),
            Self::Tar(command) => command.to_args(),
            Self::ImageProcessing(command) => command.to_args(),
            Self::Hold(command) => command.to_args(),
        }
    }
}

/// `slipway-step prepare`: the only init container of a build pod.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct PrepareCommand {
    /// Folder that receives the program
    #[arg(long, default_value = BIN_DIR)]
    pub to: String,
}

impl PrepareCommand {
    /// The arguments behind the program's name.
    pub fn to_args(&self) -> Vec<String> {
        vec!["prepare".into(), "--to".into(), self.to.clone()]
    }
}

/// The whole command line, for the main and for tests that parse what a plan printed.
#[derive(Debug, Clone, PartialEq, Eq, clap::Parser)]
#[command(name = PROGRAM, version, about)]
pub struct StepCommandLine {
    /// What to do
    #[command(subcommand)]
    pub command: StepCommand,
}
