//! The thinking: from what was loaded to a complete Pod, and from what became of the Pod to a status.
//!
//! Invariant: pure and synchronous; no clock, no randomness, no I/O.

mod formats;
mod kubernetes_names;
pub mod schema;
