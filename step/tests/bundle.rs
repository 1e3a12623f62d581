//! `slipway-step bundle` against a real registry.

pub(crate) mod artifact;
mod content;
mod memory;
mod prune;
mod pull;
