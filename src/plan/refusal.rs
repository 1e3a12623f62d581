//! Why a run cannot start, and where the text at fault stands.

use std::fmt;

/// Reason of what the API server would not store: an object, or its pod.
pub const INVALID: &str = "Invalid";

/// An object by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct ObjectName {
    /// Kind, such as `BuildRun`.
    pub kind: &'static str,
    /// Namespace; nothing for cluster-scoped objects and where the files leave it out.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            _ if self.name.is_empty() => f.write_str(self.kind),
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
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
