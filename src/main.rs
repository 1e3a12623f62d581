//! Slipway runs Shipwright builds on Kubernetes or on one machine, without Tekton.

use std::process::ExitCode;

fn main() -> ExitCode {
    slipway::cli::main()
}
