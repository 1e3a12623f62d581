//! Why a run cannot start, and where the text at fault stands.

use std::borrow::Cow;
use std::fmt;

use crate::api::Strategy;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
