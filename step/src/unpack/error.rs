//! Why an archive cannot be unpacked, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Every failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive's bytes cannot be read or unpacked.
    #[error("the archive cannot be read")]
    Read(#[from] io::Error),
    /// It is no tar archive, or a broken one.
    #[error("the archive is corrupt at byte {at}: {problem}")]
    Corrupt {
        /// Where, in the unpacked archive.
        at: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// An entry that is not unpacked.
    #[error("entry {name:?} of the archive is refused: {problem}")]
    Refused {
        /// Its name, or the beginning of a long one.
        name: String,
        /// What is wrong with it, and what helps.
        problem: String,
    },
    /// The folder cannot be used.
    #[error("unpack into {path:?}; this user must be able to write there")]
    Target {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An entry cannot be written.
    #[error("{action} for entry {name:?} of the archive")]
    Write {
        /// What was tried.
        action: &'static str,
        /// The entry's name, or the beginning of a long one.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
