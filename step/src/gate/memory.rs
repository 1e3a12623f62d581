//! What the kernel does where a container has no memory left: whom it ends, and how often it has.
//!
//! Engines are told by their own watchers, and podman's misses it with version 1 of cgroups. So the gate tells, and must
//! outlive its command: a kernel that still finds too little after the first process goes on with the next largest.

use std::fs;
use std::path::Path;

/// Where a container sees what is counted for it, in version 2 and version 1 of cgroups.
const COUNTERS: [&str; 2] =
    ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// Where a container sees its limit, in version 2 and version 1 of cgroups.
const LIMITS: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// What a process is charged with beside its memory when the kernel looks for the largest, in thousandths of the limit.
const ADJUSTMENT: &str = "/proc/self/oom_score_adj";
const MOST_ADJUSTMENT: u64 = 1000;
/// More than this program ever has in memory.
const OWN_BYTES: u64 = 8 << 20;

/// Starts a command that the kernel takes before this program, also if it is the smaller one.
pub(super) fn exposed<T>(start: impl FnOnce() -> T) -> T {
    let own = fs::read_to_string(ADJUSTMENT).ok();
    let raised = own.as_deref().and_then(|own| raised(own, limit()?));
    // Who may not write there has the command started as it is: the kernel's choice is then by size alone.
    let set = raised.is_some_and(|raised| fs::write(ADJUSTMENT, raised.to_string()).is_ok());
    let started = start();
    if set && let Some(own) = own {
        let _ = fs::write(ADJUSTMENT, own.trim());
    }
    started
}

/// In bytes; none where memory is only what the node has.
fn limit() -> Option<u64> {
    LIMITS
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .and_then(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
}

fn raised(own: &str, limit: u64) -> Option<i64> {
    let own: i64 = own.trim().parse().ok()?;
    let more = (OWN_BYTES * MOST_ADJUSTMENT).checked_div(limit)?;
    (more > 0).then(|| own.saturating_add_unsigned(more + 1).min(MOST_ADJUSTMENT.cast_signed()))
}

/// So often until now; 0 where nobody counts.
pub(super) fn kills() -> u64 {
    COUNTERS.iter().find_map(|path| parsed(&fs::read_to_string(path).ok()?)).unwrap_or(0)
}

fn parsed(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::version_2("low 0\nhigh 0\nmax 17\noom 3\noom_kill 2\noom_group_kill 0\n", Some(2))]
    #[case::version_1("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", Some(1))]
    #[case::old_kernel("oom_kill_disable 0\nunder_oom 0\n", None)]
    fn kills_are_counted(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(parsed(text), expected);
    }
    #[rstest]
    #[case::small("0\n", 32 << 20, Some(251))]
    #[case::large("0\n", 4 << 30, Some(2))]
    #[case::unlimited("0\n", 0x7FFF_FFFF_FFFF_F000, None)]
    #[case::taken_first_anyway("1000\n", 32 << 20, Some(1000))]
    #[case::spared("-998\n", 32 << 20, Some(-747))]
    #[case::no_memory_at_all("0\n", 0, None)]
    fn a_command_is_larger_than_the_gate_by_its_adjustment(
        #[case] own: &str,
        #[case] limit: u64,
        #[case] expected: Option<i64>,
    ) {
        assert_eq!(raised(own, limit), expected);
    }
}
