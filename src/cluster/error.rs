//! What keeps the controller, or somebody's verb, from going on.
//!
//! Invariant: what a user can mend says how; what the controller meets by itself is tried again and says what happened.

use kube::core::Status;

use super::webhook::UnusableCertificate;
use crate::api::{BuildStrategy, ClusterBuildStrategy, reasons};
use crate::working_copy::SourceError;

/// What went wrong between this program and the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No way to an API server.
    #[error(
        "cannot find an API server; in a pod it is its service account that leads there, elsewhere a kubeconfig"
    )]
    Config(#[source] kube::config::InferConfigError),
    /// No way to an API server in the file that was named.
    #[error("cannot find an API server in {path}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// The way to it cannot be used.
    #[error("cannot make a client of the API server")]
    Connect(#[source] kube::Error),
    /// Nobody answers for a user's cluster.
    #[error(
        "the cluster at {server} does not answer; see that it runs and that the kubeconfig means it (--kubeconfig, --context)"
    )]
    Unreachable {
        /// Its address.
        server: String,
        /// What happened on the way.
        #[source]
        source: kube::Error,
    },
    /// The API server does not do what it was asked for.
    #[error("the API server does not {what}: {} ({})", .response.message, .response.code)]
    Refused {
        /// What it was asked for.
        what: String,
        /// What it said.
        response: Box<Status>,
    },
    /// The API server gave no answer, or none that can be read.
    #[error("cannot {what}")]
    Request {
        /// What it was asked for.
        what: String,
        /// What happened on the way.
        #[source]
        source: kube::Error,
    },
    /// An object that somebody named and that is not there.
    #[error(
        "there is no {kind} {name} in namespace {namespace}; -n names another namespace, --context another cluster"
    )]
    NotFound {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// A step that somebody named and that the run does not have.
    #[error("BuildRun {run} has no step {step}; it has {}", known.join(", "))]
    NoStep {
        /// The name.
        step: String,
        /// The run.
        run: String,
        /// The steps that it has.
        known: Vec<String>,
    },
    /// An archive that cannot be written.
    #[error("cannot write {path}")]
    Archive {
        /// Where it was to be.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A working copy that cannot be packed.
    #[error("cannot upload the source")]
    Source(#[source] SourceError),
    /// The other end did not take it.
    #[error("the source step does not unpack the upload{}; mend what it says and upload again: {words}", code.map(|code| format!(" (exit {code})")).unwrap_or_default())]
    Unpack {
        /// Of the program that unpacks it, where it started.
        code: Option<i32>,
        /// What it said.
        words: String,
    },
    /// A connection to a program broke.
    #[error(
        "cannot {what}, for the connection broke; try again, and see that nothing on the way to the cluster ends long connections"
    )]
    Broken {
        /// What was done.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
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
    /// A registry does not say what an image runs, and may do so later.
    #[error("a step has no command, and what its image {image} runs cannot be found out: {why}")]
    Registry {
        /// The image.
        image: String,
        /// What came back, without credentials.
        why: String,
    },
    /// Nobody answered in time: the other end of a connection is gone, or has too much to do.
    #[error("no answer within {longest:?}")]
    Silent {
        /// How long it may take.
        longest: std::time::Duration,
    },
    /// Figures that cannot be counted.
    #[error("cannot count")]
    Metrics(#[source] prometheus::Error),
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
    /// The webhook's certificate.
    #[error("cannot make a certificate for the webhook")]
    Certificate(#[source] rcgen::Error),
    /// The webhook's certificate, as it was made.
    #[error("cannot serve the webhook's certificate")]
    UnusableCertificate(#[source] UnusableCertificate),
    /// The webhook's certificate, on its way into its Secret.
    #[error("cannot write the webhook's certificate down")]
    Encode(#[source] serde_json::Error),
    /// The webhook's settings.
    #[error("cannot speak TLS as the settings want it")]
    Tls(#[source] rustls::Error),
    /// The webhook's server.
    #[error("the webhook cannot be served any more")]
    Webhook(#[source] std::io::Error),
    /// The webhook's server, for no reason that it knows.
    #[error("the webhook is not served any more")]
    WebhookEnded,
}

impl ClusterError {
    /// What the API server, or nobody, said when it was asked for something.
    pub(super) fn of(what: String, source: kube::Error) -> Self {
        match source {
            kube::Error::Api(response) => Self::Refused { what, response },
            source => Self::Request { what, source },
        }
    }

    /// What the API server said, where it answered.
    pub fn response(&self) -> Option<&Status> {
        match self {
            Self::Refused { response, .. } => Some(response),
            _ => None,
        }
    }

    /// Reason and message for whoever names an object that cannot be read.
    pub fn unreadable(&self) -> Option<(&'static str, String)> {
        let Self::Unreadable { kind, .. } = self else { return None };
        let reason = match *kind {
            BuildStrategy::KIND => reasons::BUILD_STRATEGY_NOT_FOUND,
            ClusterBuildStrategy::KIND => reasons::CLUSTER_BUILD_STRATEGY_NOT_FOUND,
            _ => reasons::BUILD_NOT_FOUND,
        };
        Some((reason, self.to_string()))
    }

    /// The object changed since it was read: whoever reads it again sees more.
    pub fn is_conflict(&self) -> bool {
        self.response().is_some_and(|response| response.code == 409)
    }

    /// The object went since it was read.
    pub fn is_gone(&self) -> bool {
        self.response().is_some_and(|response| response.code == 404)
    }
}

/// Names what the API server was asked for.
pub(super) trait Asked<T> {
    fn asked(self, what: impl FnOnce() -> String) -> Result<T, ClusterError>;
}

impl<T> Asked<T> for Result<T, kube::Error> {
    fn asked(self, what: impl FnOnce() -> String) -> Result<T, ClusterError> {
        self.map_err(|source| ClusterError::of(what(), source))
    }
}
