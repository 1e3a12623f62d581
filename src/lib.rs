//! Slipway runs Shipwright builds on Kubernetes or on one machine, without Tekton.

pub mod api;
pub mod cli;
pub mod cluster;
pub mod local;
pub mod plan;
pub mod view;
