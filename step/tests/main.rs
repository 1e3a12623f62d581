//! Process-level tests: the real program against real files, locks, repositories and servers.

#[cfg(test)]
mod git;
