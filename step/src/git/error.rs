//! Why `slipway-step git` failed: exit code, reason and message.

use std::io;

use super::classify::{self, Reason};
use super::credentials::Mismatch;

/// Why the source could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A program is not there.
    #[error(
        "{tool} is not installed in the image of the source step; use an image that has ssh, git and git-lfs"
    )]
    ToolMissing {
        /// The program.
        tool: &'static str,
    },
    /// A program does not even print its version.
    #[error("{tool} does not run in the image of the source step: {detail}")]
    ToolBroken {
        /// The program.
        tool: &'static str,
        /// What it said.
        detail: String,
    },
    /// No `--url`.
    #[error("no repository to fetch; give its URL with --url")]
    UrlMissing,
    /// No `--target`.
    #[error("no folder for the working copy; give it with --target")]
    TargetMissing,
    /// URL and secret do not fit.
    #[error(transparent)]
    Credentials(#[from] Mismatch),
    /// A file of the secret cannot be read.
    #[error("read {path} of the clone secret")]
    Secret {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no place for the files that only git may read.
    #[error("write the credentials for git; is TMPDIR a folder that this user can write to?")]
    Temporary(#[source] io::Error),
    /// The target cannot be made or read.
    #[error(
        "use {target:?} for the working copy; is the volume mounted and writable for this user?"
    )]
    TargetUnusable {
        /// The folder.
        target: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The target holds something.
    #[error("destination path {target:?} already exists and is not an empty directory")]
    TargetNotEmpty {
        /// The folder.
        target: String,
    },
    /// git cannot be started or listened to.
    #[error("run git")]
    Run(#[source] io::Error),
    /// git failed.
    #[error("{command}: {}: {message}", .reason.as_str())]
    Command {
        /// The command line, without secrets.
        command: String,
        /// git's exit code.
        exit_code: u8,
        /// What its output means.
        reason: Reason,
        /// That in words, without secrets.
        message: String,
    },
    /// A result cannot be written.
    #[error("write the result file {path}")]
    Result {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl GitError {
    /// What the step ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::UrlMissing => 100,
            Self::TargetMissing => 101,
            Self::Credentials(_) => 110,
            Self::ToolMissing { .. } => 120,
            // What `git clone` ends with in that case.
            Self::TargetNotEmpty { .. } => 128,
            Self::Command { exit_code, .. } => *exit_code,
            Self::ToolBroken { .. }
            | Self::Secret { .. }
            | Self::Temporary(_)
            | Self::TargetUnusable { .. }
            | Self::Run(_)
            | Self::Result { .. } => 1,
        }
    }

    /// The result `shp-error-reason`.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Credentials(mismatch) => mismatch.reason(),
            Self::Command { reason, .. } => *reason,
            _ => Reason::Unknown,
        }
    }

    /// The result `shp-error-message`.
    pub fn message(&self) -> String {
        match (self.reason().message(), self) {
            (Some(sentence), _) => sentence.to_owned(),
            (None, Self::Command { message, .. }) => message.clone(),
            (None, other) => classify::shorten(&crate::describe(other)),
        }
    }

    /// The same failure where nothing but a missing revision can have caused it.
    pub(super) fn into_revision_not_found(self) -> Self {
        match self {
            Self::Command { command, exit_code, message, .. } => {
                Self::Command { command, exit_code, reason: Reason::RevisionNotFound, message }
            }
            other => other,
        }
    }
}
