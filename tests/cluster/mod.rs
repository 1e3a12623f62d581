//! The kubelet tier: rendered pods on a real kubelet, with a real git server and real registries.
//!
//! Invariant: nothing is skipped; without a cluster every test here fails and says how to get one.

mod base_image;
mod client;
mod controller;
mod documents;
mod door;
mod gate;
mod git;
mod harness;
mod identity;
mod index;
mod names;
mod observe;
mod parity;
mod samples;
mod scan;
mod start;
mod steps;
