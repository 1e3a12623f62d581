//! `slipway-step waiter`: the source step of an upload.

use super::args::Args;

/// The lock file of a `waiter` without `--lock-file`.
pub const DEFAULT_LOCK_FILE: &str = "/tmp/waiter.lock";

/// Start to wait, or end the waiting.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct WaiterCommand {
    /// Start or done
    #[command(subcommand)]
    pub action: WaiterAction,
    /// File that stands for the waiting
    #[arg(long, global = true, default_value = DEFAULT_LOCK_FILE, value_name = "FILE")]
    pub lock_file: String,
    /// How long to wait, as a Go duration
    #[arg(
        long,
        global = true,
        default_value = "60s",
        value_name = "DURATION",
        allow_hyphen_values = true
    )]
    pub timeout: String,
}

/// The two halves of the waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
pub enum WaiterAction {
    /// Wait until the lock file is gone
    Start,
    /// Remove the lock file
    #[command(alias = "stop")]
    Done,
}

impl WaiterCommand {
    /// The arguments behind the program's name, as upstream's template has them.
    pub fn to_args(&self) -> Vec<String> {
        let action = match self.action {
            WaiterAction::Start => "start",
            WaiterAction::Done => "done",
        };
        Args::new("waiter")
            .plain(action)
            .joined("lock-file", &self.lock_file)
            .joined("timeout", &self.timeout)
            .done()
    }
}
