//! `slipway-step hold`: the first process of a pod on a machine without a kubelet. It keeps the network and the volumes in memory
//! alive, and watches those that may not grow beyond a limit, as a kubelet does.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::protocol::HoldCommand;
use crate::protocol::hold::{SizeLimit, print_ids, print_over};

/// How often a kubelet measures.
const PAUSE: Duration = Duration::from_secs(10);
/// Bytes of a block, as the kernel counts them.
const BLOCK: u64 = 512;

/// Why it does not hold.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The kernel does not say.
    #[error("read {path}")]
    Maps {
        /// The file.
        path: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nobody can be told.
    #[error("print a line")]
    Print(#[source] io::Error),
    /// Signals cannot be received.
    #[error("wait for a signal")]
    Signals(#[source] io::Error),
}

/// Prints the ids and waits; 0 after SIGTERM.
pub fn run(command: &HoldCommand) -> ExitCode {
    crate::exit_code(hold(command))
}

fn hold(command: &HoldCommand) -> Result<(), HoldError> {
    // Before the line is out, because who reads it may send the signal.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(HoldError::Signals)?;
    let read = |path| fs::read_to_string(path).map_err(|source| HoldError::Maps { path, source });
    print(&print_ids(&read("/proc/self/uid_map")?, &read("/proc/self/gid_map")?))?;
    if !command.limits.is_empty() {
        let limits = command.limits.clone();
        thread::spawn(move || watch(&limits));
    }
    signals.forever().next();
    Ok(())
}

/// Tells of the first directory that has grown too large; one is enough to end the pod.
fn watch(limits: &[SizeLimit]) {
    loop {
        let over = limits.iter().find(|limit| used(Path::new(&limit.directory)) > limit.bytes);
        if let Some(limit) = over {
            if let Err(error) = print(&print_over(&limit.directory)) {
                eprintln!("{}", crate::describe(&error));
            }
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// Bytes that everything in a directory takes on disk. Files come and go meanwhile.
fn used(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let of_entry = |entry: fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        let below = if metadata.is_dir() { used(&entry.path()) } else { 0 };
        Some(metadata.blocks() * BLOCK + below)
    };
    entries.filter_map(|entry| of_entry(entry.ok()?)).sum()
}

fn print(line: &str) -> Result<(), HoldError> {
    writeln!(io::stdout(), "{line}").map_err(HoldError::Print)
}
