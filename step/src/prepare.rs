//! `slipway-step prepare`: puts this program where the steps of the pod find it.
//!
//! Invariant: the copy appears under its name only when it is whole, so a started step never meets half a program.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use crate::protocol::{PROGRAM, PrepareCommand};

/// Why the program could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The running program cannot be found.
    #[error("find the running program")]
    Locate(#[source] io::Error),
    /// It cannot be written to the folder.
    #[error("copy the program to {to:?}; is the volume mounted and writable for this user?")]
    Copy {
        /// The folder.
        to: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Copies the program; 0 or 1.
pub fn run(command: &PrepareCommand) -> ExitCode {
    crate::exit_code(prepare(command))
}

fn prepare(command: &PrepareCommand) -> Result<(), PrepareError> {
    let own = std::env::current_exe().map_err(PrepareError::Locate)?;
    copy(&own, Path::new(&command.to))
        .map_err(|source| PrepareError::Copy { to: command.to.clone(), source })
}

fn copy(own: &Path, to: &Path) -> io::Result<()> {
    let partial = to.join(format!(".{PROGRAM}"));
    fs::copy(own, &partial)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o555))?;
    fs::rename(&partial, to.join(PROGRAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_whole_and_executable_for_all() {
        let folder = tempfile::tempdir().unwrap();
        prepare(&PrepareCommand { to: folder.path().display().to_string() }).unwrap();
        let copy = folder.path().join(PROGRAM);
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o555);
        assert_eq!(fs::read(&copy).unwrap(), fs::read(std::env::current_exe().unwrap()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = prepare(&PrepareCommand { to: "/nowhere/at/all".into() }).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
