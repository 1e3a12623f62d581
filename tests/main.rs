//! The one integration binary: a module a tier.
//!
//! `cluster` needs the cluster of `hack/cluster up` and says so where there is none; `hack/test` brings it up. So does `local` with the
//! engines of `hack/engine up`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this is tests")]

mod artifact;
mod check;
mod client;
mod cluster;
mod controller;
mod conversion;
mod crds;
mod explain;
mod generated;
mod golden;
mod install;
mod local;
mod properties;
mod readme;
mod refusals;
mod sessions;
mod tidy;
mod verdicts;
