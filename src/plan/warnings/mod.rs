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

/// A field that its kind does not have.
pub const UNKNOWN_FIELD: &str = "UnknownField";

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
            "DuplicateVariable",
            format!(
                "{name} is set again in {field}[{counts}], which counts; remove one of the two"
            ),
        ))
    });
    shadowed.collect()
}
