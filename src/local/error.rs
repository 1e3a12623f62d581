//! Why a run cannot go on although nothing is wrong with its objects: this machine or its engine.

use bollard::errors::Error as EngineError;

use crate::working_copy::SourceError;

/// What keeps this machine from running a pod.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// No engine was found.
    #[error("no container engine answers; looked at: {}", tried.join(", "))]
    NoEngine {
        /// Where was looked, and what was there.
        tried: Vec<String>,
    },
    /// The engine that the user named does not answer.
    #[error("the engine at {url} does not answer")]
    Unreachable {
        /// Its address.
        url: String,
        /// What went wrong.
        #[source]
        source: EngineError,
    },
    /// The address of an engine cannot be used.
    #[error(
        "{url} is no address of an engine; use unix://PATH, tcp://HOST:PORT or https://HOST:PORT"
    )]
    Address {
        /// The address as given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: EngineError,
    },
    /// Docker's configuration names a context that says nothing of an engine.
    #[error(
        "there is no docker context {name:?}; choose another one with docker context use, or say --engine URL"
    )]
    Context {
        /// Its name.
        name: String,
    },
    /// An engine for containers that are not Linux's.
    #[error("the engine at {url} runs {os} containers; switch it to Linux containers")]
    NotLinux {
        /// Its address.
        url: String,
        /// Its operating system.
        os: String,
    },
    /// The engine refused something or broke off.
    #[error("the engine cannot {what}")]
    Engine {
        /// What it was asked to do.
        what: String,
        /// What it said.
        #[source]
        source: EngineError,
    },
    /// A user or group that the engine cannot give to a container.
    #[error(
        "{container} runs as {kind} {id}, and this engine runs as an ordinary user who may only use ids 0 to {last}; {mend}"
    )]
    IdOutOfRange {
        /// The container.
        container: String,
        /// `user` or `group`.
        kind: &'static str,
        /// The id.
        id: i64,
        /// The last usable id.
        last: i64,
        /// What to do.
        mend: String,
    },
    /// A volume that only a cluster has.
    #[error(
        "volume {volume} is of kind {kind}, which this machine does not have; use emptyDir, configMap, secret, projected, downwardAPI, hostPath or persistentVolumeClaim"
    )]
    Volume {
        /// Its name.
        volume: String,
        /// Its kind, as the pod's spec has it.
        kind: String,
    },
    /// A volume wants a file made on the engine's machine.
    #[error(
        "volume {volume} is a hostPath of type FileOrCreate, and no engine makes files; make {path} on the engine's machine first"
    )]
    HostFile {
        /// Its name.
        volume: String,
        /// The file.
        path: String,
    },
    /// The files that tell live runs from stale ones.
    #[error("cannot use {path}, where the runs of this user are kept apart")]
    Lease {
        /// The file or directory.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The source directory cannot be taken.
    #[error("cannot send the source to the engine")]
    Source(#[source] SourceError),
    /// What the engine sent back is not what was put there.
    #[error("cannot read {what} from the engine")]
    Archive {
        /// What was read.
        what: String,
        /// What is wrong.
        #[source]
        source: std::io::Error,
    },
}

/// Names what the engine was asked for.
pub(super) trait Asked<T> {
    fn asked(self, what: impl FnOnce() -> String) -> Result<T, LocalError>;
}

impl<T> Asked<T> for Result<T, EngineError> {
    fn asked(self, what: impl FnOnce() -> String) -> Result<T, LocalError> {
        self.map_err(|source| LocalError::Engine { what: what(), source })
    }
}

/// The status code of an engine's refusal.
pub(super) fn status_code(error: &EngineError) -> Option<u16> {
    match error {
        EngineError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// The engine's own words.
pub(super) fn words(error: &EngineError) -> String {
    match error {
        EngineError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        EngineError::DockerStreamError { error } => error.trim().to_owned(),
        other => other.to_string(),
    }
}

/// Whether the engine does not have what it was asked about.
pub(super) fn is_absent(error: &EngineError) -> bool {
    status_code(error) == Some(404)
}
