//! The program as a pod runs it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this is tests")]

mod gate;
mod pod;
mod waiter;
