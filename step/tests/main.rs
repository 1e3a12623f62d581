//! The program as a pod runs it: against real files, locks, repositories and servers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this is tests")]

#[cfg(test)]
mod gate;
#[cfg(test)]
mod git;
#[cfg(test)]
mod pod;
#[cfg(test)]
mod waiter;
