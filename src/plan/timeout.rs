//! How long a run may take, before and after it has a pod.

use crate::api::{BuildRun, BuildSpec, Nanoseconds};

/// By default, as upstream's executor has it: an hour.
const DEFAULT: Nanoseconds = Nanoseconds(3600 * NANOSECONDS);
const NANOSECONDS: i64 = 1_000_000_000;

/// What the run says, what its Build says, else an hour; 0 is for ever.
pub fn timeout(run: &BuildRun, build: Option<&BuildSpec>) -> Nanoseconds {
    let of_build = || build?.timeout.as_ref();
    let written = run.spec.timeout.as_ref().or_else(of_build);
    written.and_then(|timeout| timeout.parse().ok()).unwrap_or(DEFAULT)
}

/// Whole seconds, rounded up, as far as Kubernetes counts them; nothing where it is for ever.
pub fn deadline(timeout: Nanoseconds) -> Option<i64> {
    let seconds = timeout.0 / NANOSECONDS + i64::from(timeout.0 % NANOSECONDS > 0);
    Some(seconds.min(i64::from(i32::MAX))).filter(|_| timeout.0 != 0)
}
