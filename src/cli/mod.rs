//! The command line: flags and environment in, one verb run, one exit code out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api::crd;

/// The environment does not let us do what was asked.
const ENVIRONMENT: u8 = 3;
/// The command line is not understood.
const USAGE: u8 = 64;

/// Runs Shipwright builds on Kubernetes or on one machine, without Tekton.
#[derive(Debug, Parser)]
#[command(name = "slipway", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the CustomResourceDefinitions, or write them to files
    Crds {
        /// Directory to write one file a kind to; it is created if needed
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

/// Why a verb could not do its work.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot print {name} as YAML")]
    Print { name: String, source: serde_saphyr::SerializeError },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to tell if even this cannot be written.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match arguments.verb {
        Verb::Crds { dir } => crds(dir.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipway: {:#}", anyhow::Error::new(error));
            ExitCode::from(ENVIRONMENT)
        }
    }
}

fn crds(directory: Option<&Path>) -> Result<(), Error> {
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory)
            .map_err(|source| Error::Write { path: directory.into(), source })?;
    }
    for crd in crd::crds() {
        let yaml = crd::to_yaml(&crd).map_err(|source| Error::Print {
            name: crd.metadata.name.clone().unwrap_or_default(),
            source,
        })?;
        match directory {
            Some(directory) => {
                let path = directory.join(crd::file_name(&crd));
                std::fs::write(&path, yaml).map_err(|source| Error::Write { path, source })?;
            }
            None => print_text(&yaml)?,
        }
    }
    Ok(())
}

fn print_text(text: &str) -> Result<(), Error> {
    use std::io::Write as _;
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|source| Error::Write { path: "standard output".into(), source })
}
