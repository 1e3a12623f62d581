//! Run directories: whose turn it is among the steps of a pod.
//!
//! Invariant: an exclusive lock on a step's own run directory is held from before its `started` marker until its gate is gone.
//! Invariant: a lock that ended without an `ok` marker means that the step failed, was killed or was skipped.
//! Invariant: only a regular file is a marker; whatever else a command leaves under that name neither counts nor holds up a gate.
//!
//! The lock is on the directory itself, a mount point that no step can replace, and the kernel drops it whatever kills the
//! holder. Directories are opened close-on-exec: otherwise the step's command would keep the lock.

use std::io;
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, flock, open, openat, statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

use crate::protocol::{OK, STARTED};

/// How often a marker is looked for that nothing announces.
const MARKER_POLL: Duration = Duration::from_millis(50);

/// Why a turn could not be taken, awaited or passed on.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// A run directory cannot be opened.
    #[error("open run directory {dir}; is its volume mounted and readable for this user?")]
    Open {
        /// The directory.
        dir: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else holds the lock on this step's own run directory.
    #[error("lock run directory {dir}; does another step use it too?")]
    Lock {
        /// The directory.
        dir: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A marker cannot be written.
    #[error("leave marker {marker} in run directory {dir}; is it writable for this user?")]
    Mark {
        /// The directory.
        dir: String,
        /// The marker.
        marker: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The state of another step cannot be read.
    #[error("look for marker {marker} in run directory {dir}")]
    Look {
        /// The directory.
        dir: String,
        /// The marker.
        marker: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The step before did not end well.
    #[error("skipped: the step before ({dir}) failed, was killed or was skipped; see its log")]
    Skipped {
        /// Its run directory.
        dir: String,
    },
}

/// This step's own run directory, locked as long as this lives.
#[derive(Debug)]
pub(super) struct OwnTurn {
    dir: String,
    handle: OwnedFd,
}

impl OwnTurn {
    /// Locks the run directory and says that this step has started.
    pub(super) fn take(dir: &str) -> Result<Self, TurnError> {
        let handle = open_dir(dir)?;
        retry_on_intr(|| flock(&handle, FlockOperation::NonBlockingLockExclusive))
            .map_err(|source| TurnError::Lock { dir: dir.to_owned(), source: source.into() })?;
        let turn = Self { dir: dir.to_owned(), handle };
        turn.mark(STARTED)?;
        Ok(turn)
    }

    /// Says that this step ended well.
    pub(super) fn end_well(&self) -> Result<(), TurnError> {
        self.mark(OK)
    }

    /// Takes back an `ok` that the command forged: the directory is writable for its user.
    pub(super) fn end_badly(&self) -> Result<(), TurnError> {
        match unlinkat(&self.handle, OK, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(self.mark_error(OK, source)),
        }
    }

    fn mark(&self, marker: &'static str) -> Result<(), TurnError> {
        // The command may have left a pipe, which nobody reads, or a link under this name.
        let unforged = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | unforged;
        match openat(&self.handle, marker, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) => Ok(()),
            Err(source) => Err(self.mark_error(marker, source)),
        }
    }

    fn mark_error(&self, marker: &'static str, source: Errno) -> TurnError {
        TurnError::Mark { dir: self.dir.clone(), marker, source: source.into() }
    }
}

/// Waits until the step that owns the directory has ended; refused if it did not end well.
pub(super) fn await_end(dir: &str) -> Result<(), TurnError> {
    let handle = open_dir(dir)?;
    await_marker(&handle, dir, STARTED)?;
    retry_on_intr(|| flock(&handle, FlockOperation::LockShared))
        .map_err(|source| TurnError::Lock { dir: dir.to_owned(), source: source.into() })?;
    if has_marker(&handle, dir, OK)? {
        Ok(())
    } else {
        Err(TurnError::Skipped { dir: dir.to_owned() })
    }
}

/// Waits until the step that owns the directory has started.
pub(super) fn await_start(dir: &str) -> Result<(), TurnError> {
    await_marker(&open_dir(dir)?, dir, STARTED)
}

fn open_dir(dir: &str) -> Result<OwnedFd, TurnError> {
    open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| TurnError::Open { dir: dir.to_owned(), source: source.into() })
}

fn await_marker(handle: &OwnedFd, dir: &str, marker: &'static str) -> Result<(), TurnError> {
    while !has_marker(handle, dir, marker)? {
        sleep(MARKER_POLL);
    }
    Ok(())
}

fn has_marker(handle: &OwnedFd, dir: &str, marker: &'static str) -> Result<bool, TurnError> {
    match statat(handle, marker, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(FileType::from_raw_mode(found.st_mode).is_file()),
        Err(Errno::NOENT) => Ok(false),
        Err(source) => Err(TurnError::Look { dir: dir.to_owned(), marker, source: source.into() }),
    }
}
