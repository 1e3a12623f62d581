//! What `check` finds: refusals and warnings in one shape.

use serde::Serialize;

use super::refusal::{ObjectName, Refusal};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What was written cannot run.
    Refusal,
    /// It can run, and does something that its author may not have meant.
    Warning,
}

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// The object whose status would carry the reason; of a warning, the object that holds the text.
    pub object: ObjectName,
    /// The object that holds the text at fault.
    #[serde(skip)]
    pub at: ObjectName,
    /// The file that holds the text at fault.
    pub file: Option<String>,
    /// Where it stands in its object, such as `spec.steps[0].args[2]`; empty where the whole object is meant.
    pub field: String,
    /// The reason, in one word.
    pub reason: &'static str,
    /// What is wrong, and for warnings what to do.
    pub message: String,
}

impl Finding {
    /// A refusal whose text stands in `file`.
    pub fn refusal(refusal: Refusal, file: Option<String>) -> Self {
        let Refusal { object, at, field, reason, message } = refusal;
        Self { severity: Severity::Refusal, object, at, file, field, reason, message }
    }

    /// A warning about a field of an object that stands in `file`.
    pub fn warning(at: ObjectName, file: Option<String>, warning: Warning) -> Self {
        let Warning { field, reason, message } = warning;
        Self { severity: Severity::Warning, object: at.clone(), at, file, field, reason, message }
    }
}

/// Something about one object that can run and may not do what its author meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The field, such as `spec.steps[0].image`.
    pub field: String,
    /// The reason, in one word.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl Warning {
    /// A warning about a field.
    pub fn new(field: impl Into<String>, reason: &'static str, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason, message: message.into() }
    }
}
