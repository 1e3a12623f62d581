//! Slipway runs Shipwright builds on Kubernetes or on one machine, without Tekton.

pub mod api;
pub mod cli;
pub mod cluster;
pub mod local;
pub mod plan;
pub mod view;
pub mod working_copy;

/// An error with what led to it, in one line. A cause that the error before it repeats is left out.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told = self.0.to_string();
        write!(f, "{told}")?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let next = error.to_string();
            if !told.ends_with(&next) {
                write!(f, ": {next}")?;
                told = next;
            }
            cause = error.source();
        }
        Ok(())
    }
}
