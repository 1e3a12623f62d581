//! Why a run cannot start, and where the text at fault stands.

use std::borrow::Cow;
use std::fmt;

use super::loaded::{Loaded, Presence};
use crate::api::{BuildRun, Strategy, reasons};

/// Reason of what the API server would not store: an object, or its pod.
pub const INVALID: &str = "Invalid";

/// An object by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct ObjectName {
    /// Kind, such as `BuildRun`, as it is written; empty where none is.
    pub kind: Cow<'static, str>,
    /// Namespace; nothing for cluster-scoped objects and where the files leave it out.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectName {
    /// The name of a strategy.
    pub fn of_strategy(strategy: &Strategy) -> Self {
        Self {
            kind: strategy.kind().into(),
            namespace: strategy.metadata().namespace.clone(),
            name: strategy.name().to_owned(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind.is_empty() { "document" } else { &self.kind };
        match &self.namespace {
            _ if self.name.is_empty() => f.write_str(kind),
            Some(namespace) => write!(f, "{kind} {namespace}/{}", self.name),
            None => write!(f, "{kind} {}", self.name),
        }
    }
}

/// One reason why a run cannot start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The object whose status carries the reason: the Build or the BuildRun.
    pub object: ObjectName,
    /// The object in which the text at fault stands.
    pub at: ObjectName,
    /// Where it stands there, such as `spec.steps[0].args[2]`.
    pub field: String,
    /// The reason, as a status condition has it.
    pub reason: &'static str,
    /// The message, as a status condition has it.
    pub message: String,
}

/// Reasons that go away when an object comes.
const ABSENT: [&str; 8] = [
    reasons::BUILD_NOT_FOUND,
    reasons::BUILD_STRATEGY_NOT_FOUND,
    reasons::CLUSTER_BUILD_STRATEGY_NOT_FOUND,
    reasons::SPEC_SOURCE_SECRET_REF_NOT_FOUND,
    reasons::SPEC_OUTPUT_SECRET_REF_NOT_FOUND,
    reasons::MULTIPLE_SECRET_REF_NOT_FOUND,
    reasons::SERVICE_ACCOUNT_NOT_FOUND,
    reasons::VOLUME_DOES_NOT_EXIST,
];

/// Reasons for which a run fails before anything of its Build counts.
const EARLY: [&str; 9] = [
    reasons::BUILD_RUN_NAME_INVALID,
    reasons::BUILD_RUN_NO_REF_OR_SPEC,
    reasons::BUILD_RUN_AMBIGUOUS_BUILD,
    reasons::BUILD_RUN_BUILD_FIELD_OVERRIDE_FORBIDDEN,
    reasons::SPEC_ENV_NAME_FORBIDDEN,
    reasons::BUILD_NOT_FOUND,
    reasons::BUILD_REGISTRATION_FAILED,
    reasons::BUILD_RUN_CANCELED,
    reasons::SET_OWNER_REFERENCE_FAILED,
];

impl Refusal {
    /// The one that the run's status shows.
    pub fn shown(refusals: &[Self]) -> Option<&Self> {
        let own = refusals.iter().find(|refusal| refusal.object.kind == BuildRun::KIND);
        own.or(refusals.first())
    }

    /// Whether it may go away when an object comes.
    pub fn may_pass(&self, loaded: &Loaded) -> bool {
        // Of a Build that is not in order the reason says only that.
        let lacks_something = || {
            loaded.roots.strategy.as_ref().is_some_and(Presence::is_absent)
                || loaded.secrets.values().any(Presence::is_absent)
        };
        ABSENT.contains(&self.reason)
            || self.reason == reasons::BUILD_REGISTRATION_FAILED && lacks_something()
    }

    /// Whether the run gets neither labels nor a copy of its Build.
    pub fn is_early(&self) -> bool {
        EARLY.contains(&self.reason)
    }
}
