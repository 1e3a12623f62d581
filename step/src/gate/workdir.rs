//! The directory in which a step's command runs.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::umask;

use crate::protocol::results::{WORKING_DIRECTORY_NOT_FOUND, WORKING_DIRECTORY_UNUSABLE};
use crate::protocol::{SOURCE_DIR, WORKSPACE_DIR};

/// Why a step cannot work where its strategy says.
#[derive(Debug, thiserror::Error)]
pub enum WorkdirError {
    /// It is not there, and not ours to make.
    #[error(
        "working directory {dir} does not exist; check `workingDir` and the source's `contextDir`"
    )]
    Missing {
        /// The directory.
        dir: String,
    },
    /// It cannot be made or entered.
    #[error("working directory {dir} cannot be used by this step's user")]
    Unusable {
        /// The directory.
        dir: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl WorkdirError {
    /// The word for the BuildRun's status.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } => WORKING_DIRECTORY_NOT_FOUND,
            Self::Unusable { .. } => WORKING_DIRECTORY_UNUSABLE,
        }
    }
}

/// Changes to the directory for this program and its child; one in the shared workspace, the source excepted, is made first.
pub(super) fn enter(dir: &str) -> Result<(), WorkdirError> {
    let unusable = |source| WorkdirError::Unusable { dir: dir.to_owned(), source };
    if is_made_on_demand(Path::new(dir)) {
        make_for_everybody(Path::new(dir)).map_err(unusable)?;
    }
    match env::set_current_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(WorkdirError::Missing { dir: dir.to_owned() })
        }
        entered => entered.map_err(unusable),
    }
}

/// As the volumes around it: a later step may run as another user.
fn make_for_everybody(dir: &Path) -> io::Result<()> {
    let usual = umask(Mode::empty());
    let made = fs::DirBuilder::new().recursive(true).mode(0o777).create(dir);
    umask(usual);
    made
}

/// Below `/workspace`, where upstream makes directories beforehand; what is missing in the source is a mistake to be told.
fn is_made_on_demand(dir: &Path) -> bool {
    let dir = lexical(dir);
    dir.starts_with(WORKSPACE_DIR)
        && dir != Path::new(WORKSPACE_DIR)
        && !dir.starts_with(SOURCE_DIR)
}

/// The path without `.` and `..`.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_directory_on_demand_is_for_all_users() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        make_for_everybody(&dir).unwrap();
        make_for_everybody(&dir).unwrap();
        for dir in [dir.as_path(), dir.parent().unwrap()] {
            assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o777);
        }
    }

    #[rstest]
    #[case("/workspace/output-image", true)]
    #[case("/workspace/a/b", true)]
    #[case("/workspace/sourcery", true)]
    #[case("/workspace/source/../cache", true)]
    #[case("/workspace", false)]
    #[case("/workspace/source", false)]
    #[case("/workspace/source/sub", false)]
    #[case("/workspace/./source/sub", false)]
    #[case("/workspace/cache/../source/sub", false)]
    #[case("/workspace/../etc/new", false)]
    #[case("/srv", false)]
    #[case("relative", false)]
    fn only_the_shared_workspace_is_filled_on_demand(#[case] dir: &str, #[case] made: bool) {
        assert_eq!(is_made_on_demand(Path::new(dir)), made);
    }
}
