//! How often the kernel has ended a process of this container because there was no memory left.
//!
//! Engines are told by their own watchers, and podman's misses it with version 1 of cgroups.

use std::fs;

/// Where a container sees what is counted for it, in version 2 and version 1 of cgroups.
const COUNTERS: [&str; 2] =
    ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

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
}
