//! The signals by which people and systems ask a verb to end.
//!
//! Invariant: what was ignored from the start, as `nohup` wants it, stays ignored.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::Error;

/// Interrupt, terminate and hangup, one like the other.
pub struct Signals(UnboundedReceiver<()>);

impl Signals {
    /// From now on they end nothing by themselves.
    pub fn caught() -> Result<Self, Error> {
        let ignored = ignored();
        let (seen, signals) = unbounded_channel();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            if ignored & (1 << (kind.as_raw_value() - 1)) != 0 {
                continue;
            }
            let mut signal = signal(kind).map_err(Error::Runtime)?;
            let seen = seen.clone();
            tokio::spawn(
                async move { while signal.recv().await.is_some() && seen.send(()).is_ok() {} },
            );
        }
        Ok(Self(signals))
    }

    /// Comes back with the next one; never where all are ignored.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// The mask of the signals that this process was started to ignore, where the system tells.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
