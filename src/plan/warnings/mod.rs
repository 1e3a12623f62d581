//! What can run and may not do what its author meant.
//!
//! Invariant: a warning says what to do, and is silent once that is done; none changes what becomes of an object.
//! Invariant: reasons are words of our own, none that a status may carry; `docs/check.md` explains each.

mod build;
mod script;
mod strategy;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EnvVar;

use super::finding::Warning;
use super::go_quote::go_quote;

pub use build::{build_warnings, buildrun_warnings};
pub use strategy::strategy_warnings;

/// Why there are warnings.
mod reasons {
    pub const PARAMETER_IN_SCRIPT: &str = "ParameterInScript";
    pub const UNKNOWN_REFERENCE: &str = "UnknownReference";
    pub const NO_OUTPUT: &str = "NoOutput";
    pub const NO_IDENTITY: &str = "NoIdentity";
    pub const PRIVILEGED_STEP: &str = "PrivilegedStep";
    pub const ADDED_CAPABILITY: &str = "AddedCapability";
    pub const HOST_PATH_VOLUME: &str = "HostPathVolume";
    pub const FLOATING_IMAGE: &str = "FloatingImage";
    pub const RESERVED_STEP_NAME: &str = "ReservedStepName";
    pub const DUPLICATE_VARIABLE: &str = "DuplicateVariable";
    pub const UNUSED_PARAMETER: &str = "UnusedParameter";
    pub const UNUSED_VOLUME: &str = "UnusedVolume";
    pub const UNKNOWN_FIELD: &str = "UnknownField";
    pub const CREDENTIALS_IN_URL: &str = "CredentialsInUrl";
    pub const CLONE_SECRET_UNENCRYPTED: &str = "CloneSecretUnencrypted";
    pub const CLONE_SECRET_MISSING: &str = "CloneSecretMissing";
    pub const NO_EFFECT: &str = "NoEffect";
}

/// All reasons of warnings.
pub const WARNINGS: [&str; 17] = [
    reasons::PARAMETER_IN_SCRIPT,
    reasons::UNKNOWN_REFERENCE,
    reasons::NO_OUTPUT,
    reasons::NO_IDENTITY,
    reasons::PRIVILEGED_STEP,
    reasons::ADDED_CAPABILITY,
    reasons::HOST_PATH_VOLUME,
    reasons::FLOATING_IMAGE,
    reasons::RESERVED_STEP_NAME,
    reasons::DUPLICATE_VARIABLE,
    reasons::UNUSED_PARAMETER,
    reasons::UNUSED_VOLUME,
    reasons::UNKNOWN_FIELD,
    reasons::CREDENTIALS_IN_URL,
    reasons::CLONE_SECRET_UNENCRYPTED,
    reasons::CLONE_SECRET_MISSING,
    reasons::NO_EFFECT,
];

/// A field that its kind does not have.
pub fn unknown_field(field: &str) -> Warning {
    Warning::new(field, reasons::UNKNOWN_FIELD, "unknown field, which has no effect")
}

/// Of several variables with one name the last counts.
fn variables(list: &[EnvVar], field: &str) -> Vec<Warning> {
    let counting: BTreeMap<&str, usize> =
        list.iter().enumerate().map(|(index, variable)| (variable.name.as_str(), index)).collect();
    let shadowed = list.iter().enumerate().filter_map(|(index, variable)| {
        let counts = counting.get(variable.name.as_str()).copied();
        let counts = counts.filter(|counts| *counts != index)?;
        let name = go_quote(&variable.name);
        Some(Warning::new(
            format!("{field}[{index}].name"),
            reasons::DUPLICATE_VARIABLE,
            format!(
                "{name} is set again in {field}[{counts}], which counts; remove one of the two"
            ),
        ))
    });
    shadowed.collect()
}
