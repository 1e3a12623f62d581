//! Objects from one version of the API to the other, as upstream shows them, and back without loss.
//!
//! Invariant: converting never fails for what an object holds; only its version and its kind can be unknown.
//! Invariant: an object that nobody changes comes back as it was; where somebody changed a field, the change wins.
//!
//! The mapping of each kind is upstream's and loses fields. What it loses is found by mapping the result back and comparing, and kept
//! in an annotation of the result: nobody lists fields twice.

mod build;
mod build_run;
mod fields;
mod fit;
mod names;
mod patch;
mod preserved;
mod strategy;

use std::fmt;

use serde_json::Value;

use super::kind::normalize;
use super::{API_VERSION, Build, BuildRun, BuildStrategy, ClusterBuildStrategy, VERSION};
use fields::{Fields, object_of, set, text_of};
use preserved::Preserved;

pub use names::{AlphaNames, alpha_field};
pub use preserved::{ANNOTATION as PRESERVED_ANNOTATION, Loss, MAX_ANNOTATIONS};

/// A version of the group `shipwright.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The older one.
    V1alpha1,
    /// The one that is stored.
    V1beta1,
}

impl Version {
    /// Group and version as `apiVersion` has them.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1alpha1 => "shipwright.io/v1alpha1",
            Self::V1beta1 => API_VERSION,
        }
    }

    /// The version alone.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1alpha1 => "v1alpha1",
            Self::V1beta1 => VERSION,
        }
    }

    /// The version that an `apiVersion` names.
    pub fn of(api_version: &str) -> Option<Self> {
        [Self::V1alpha1, Self::V1beta1]
            .into_iter()
            .find(|version| version.api_version() == api_version)
    }

    /// The version that a request of the API server asks for.
    pub fn desired(api_version: &str) -> Result<Self, ConversionError> {
        Self::of(api_version)
            .ok_or_else(|| ConversionError::To { api_version: api_version.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.api_version())
    }
}

/// Why an object has no form in the other version. The texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// Nobody knows the version that is asked for.
    #[error("unexpected conversion version to {api_version:?}")]
    To {
        /// As the request has it.
        api_version: String,
    },
    /// Nobody knows the version that the object has.
    #[error("unexpected conversion version from {api_version:?}")]
    From {
        /// As the object has it.
        api_version: String,
    },
    /// The group has no such kind.
    #[error("unsupported Kind")]
    Kind,
}

/// A kind, as far as conversion tells them apart.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Build,
    BuildRun,
    Strategy,
}

impl Kind {
    fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            Build::KIND => Self::Build,
            BuildRun::KIND => Self::BuildRun,
            BuildStrategy::KIND | ClusterBuildStrategy::KIND => Self::Strategy,
            _ => return None,
        })
    }
}

/// An object in another version.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// The object.
    pub object: Value,
    /// What of it could not be kept, for people; mostly nothing.
    pub losses: Vec<Loss>,
}

/// A whole object, with `apiVersion`, `kind` and `metadata`, in the other version. In its own version it stays as it is.
pub fn convert(object: Value, to: Version) -> Result<Value, ConversionError> {
    convert_telling(object, to).map(|conversion| conversion.object)
}

/// As [`convert`], and what gets lost.
pub fn convert_telling(mut object: Value, to: Version) -> Result<Conversion, ConversionError> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let api_version = text("apiVersion");
    let from = Version::of(api_version)
        .ok_or_else(|| ConversionError::From { api_version: api_version.to_owned() })?;
    let kind = Kind::of(text("kind")).ok_or(ConversionError::Kind)?;
    let mut losses = Vec::new();
    if from == to {
        return Ok(Conversion { object, losses });
    }
    normalize(&mut object);
    let mut object = object_of(object);
    fit::fit(&mut object, from);
    let before = Preserved::take(&mut object);
    let mut converted = map(kind, object.clone(), to);
    match before {
        Ok(Some(before)) => restore(&before, kind, &object, &mut converted, to),
        Ok(None) => {}
        Err(loss) => losses.push(loss),
    }
    let back = map(kind, converted.clone(), from);
    let lost = Preserved::of(&back, &canonical(kind, object, from), from);
    losses.extend(lost.keep(&mut converted, to));
    Ok(Conversion { object: Value::Object(converted), losses })
}

/// Puts back into `converted`, which is `object` in the other version, what that one had.
fn restore(before: &Preserved, kind: Kind, object: &Fields, converted: &mut Fields, to: Version) {
    let plain = converted.clone();
    before.restore(converted, to);
    fit::fit(converted, to);
    fit::fit_restored(converted, &plain, to);
    if to != Version::V1beta1 {
        return;
    }
    // Whoever may write an annotation may not write a status with it: what is stored shows what came in, or what it showed without.
    let shown = |object: &Fields| map(kind, object.clone(), Version::V1alpha1).remove("status");
    let status = shown(converted);
    if status.as_ref() != object.get("status") && status != shown(&plain) {
        converted.remove("status");
        let status = plain.get("status").cloned();
        converted.extend(status.map(|status| ("status".to_owned(), status)));
    }
}

/// The object as upstream shows it in the other version.
fn map(kind: Kind, mut object: Fields, to: Version) -> Fields {
    set(&mut object, "apiVersion", Some(to.api_version()));
    match (kind, to) {
        (Kind::Build, Version::V1beta1) => build::to_beta(object),
        (Kind::Build, Version::V1alpha1) => build::to_alpha(object),
        (Kind::BuildRun, Version::V1beta1) => build_run::to_beta(object),
        (Kind::BuildRun, Version::V1alpha1) => build_run::to_alpha(object),
        (Kind::Strategy, Version::V1beta1) => strategy::to_beta(object),
        (Kind::Strategy, Version::V1alpha1) => strategy::to_alpha(object),
    }
}

/// The object with what its version always shows, so that nothing is preserved on account of it.
fn canonical(kind: Kind, object: Fields, version: Version) -> Fields {
    match (kind, version) {
        (Kind::BuildRun, Version::V1alpha1) => build_run::canonical_alpha(object),
        _ => object,
    }
}

/// The name of an object, empty if it has none.
fn name_of(object: &Fields) -> String {
    let metadata = object.get("metadata").and_then(Value::as_object);
    metadata.and_then(|metadata| text_of(metadata, "name")).unwrap_or_default().to_owned()
}
