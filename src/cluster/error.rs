//! What keeps the controller from going on.

use kube::core::Status;

/// What went wrong between the controller and the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No way to an API server.
    #[error(
        "cannot find an API server; in a pod it is its service account that leads there, elsewhere a kubeconfig"
    )]
    Config(#[source] kube::config::InferConfigError),
    /// The way to it cannot be used.
    #[error("cannot make a client of the API server")]
    Connect(#[source] kube::Error),
    /// The API server refused something or did not answer.
    #[error("the API server cannot {what}")]
    Api {
        /// What it was asked to do.
        what: String,
        /// What it said.
        #[source]
        source: kube::Error,
    },
    /// An object that our types cannot read.
    #[error("{kind} {name} cannot be read: {message}")]
    Unreadable {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// Another replica leads.
    #[error("this replica does not lead any more")]
    NotLeading,
    /// The server of probes and metrics.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl ClusterError {
    /// What the API server said, where it answered.
    pub fn response(&self) -> Option<&Status> {
        match self {
            Self::Api { source: kube::Error::Api(response), .. } => Some(response),
            _ => None,
        }
    }

    /// The object changed since it was read: whoever reads it again sees more.
    pub fn is_conflict(&self) -> bool {
        self.response().is_some_and(|response| response.code == 409)
    }
}

/// Names what the API server was asked for.
pub(super) trait Asked<T> {
    fn asked(self, what: impl FnOnce() -> String) -> Result<T, ClusterError>;
}

impl<T> Asked<T> for Result<T, kube::Error> {
    fn asked(self, what: impl FnOnce() -> String) -> Result<T, ClusterError> {
        self.map_err(|source| ClusterError::Api { what: what(), source })
    }
}
