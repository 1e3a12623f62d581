//! What a mapping loses, kept in an annotation of the object that it makes.
//!
//! Invariant: only the spec, the status and the one annotation that conversion itself writes are ever put back, so that nobody can
//! make a conversion fail by what he writes into this annotation.
//! Invariant: the annotation goes with the conversion that it was written for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Version;
use super::build::DELETION_ANNOTATION;
use super::fields::Fields;
use super::patch::Patch;

/// Holds what the version of the object has no field for.
pub const ANNOTATION: &str = "slipway.dev/preserved";

/// The most that all annotations of an object may have together, in bytes.
pub const MAX_ANNOTATIONS: usize = 262_144;

/// Of the annotation as this program writes it. Whoever changes what its members mean counts on, and objects of both are read then.
const FORMAT: u8 = 1;

/// What a conversion could not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// Somebody else wrote the annotation, or a later version of this program.
    #[error(
        "the annotation {ANNOTATION} is not as this version of slipway writes it, so nothing comes back from it; remove it, or convert with the version that wrote it"
    )]
    Unreadable,
    /// Annotations are limited.
    #[error(
        "the fields of {part} that {to} does not have are lost, because all annotations of an object together may have {MAX_ANNOTATIONS} bytes at most; to see those fields, read the object in its other version"
    )]
    NoRoom {
        /// The version that the object was converted to, without its group.
        to: &'static str,
        /// Of what.
        part: &'static str,
    },
}

/// What to put back into an object.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preserved {
    format: u8,
    /// The version that it is for.
    #[serde(rename = "for")]
    version: String,
    /// Of the annotation that says what becomes of the BuildRuns of a deleted Build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deletion: Option<Patch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<Patch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<Patch>,
}

impl Preserved {
    /// What `object` has that comes not back: `back` is it after a conversion there and back.
    pub fn of(back: &Fields, object: &Fields, version: Version) -> Self {
        let part = |name: &str| Patch::between(name, back.get(name), object.get(name));
        Self {
            format: FORMAT,
            version: version.api_version().to_owned(),
            deletion: Patch::between("", deletion(back), deletion(object)),
            spec: part("spec"),
            status: part("status"),
        }
    }

    /// Takes the annotation off an object.
    pub fn take(object: &mut Fields) -> Result<Option<Self>, Loss> {
        let Some(text) = take_annotation(object) else { return Ok(None) };
        let preserved = text.as_str().and_then(|text| serde_json::from_str::<Self>(text).ok());
        match preserved.filter(|preserved| preserved.format == FORMAT) {
            Some(preserved) => Ok(Some(preserved)),
            None => Err(Loss::Unreadable),
        }
    }

    /// Puts everything back that was made for this version and that nobody has changed since.
    pub fn restore(&self, object: &mut Fields, version: Version) {
        if self.version != version.api_version() {
            return;
        }
        for (name, patch) in [("spec", &self.spec), ("status", &self.status)] {
            if let Some(patch) = patch {
                let value = patch.put_into(object.remove(name));
                object.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        if let Some(patch) = &self.deletion {
            let value = patch.put_into(deletion(object).cloned());
            annotate(object, DELETION_ANNOTATION, value.filter(Value::is_string));
        }
    }

    /// Writes the annotation, if there is anything to keep and room for it. What became of an object can be found out again, what is
    /// wanted of it cannot: that of the status is the first to go.
    pub fn keep(mut self, object: &mut Fields, to: Version) -> Option<Loss> {
        let room = room(object);
        let mut loss = None;
        while !self.is_empty() {
            if let Ok(text) = serde_json::to_string(&self)
                && text.len() <= room
            {
                annotate(object, ANNOTATION, Some(text.into()));
                break;
            }
            let part = if self.status.take().is_some() {
                "its status"
            } else {
                (self.spec, self.deletion) = (None, None);
                "its spec and status"
            };
            loss = Some(Loss::NoRoom { to: to.name(), part });
        }
        loss
    }

    fn is_empty(&self) -> bool {
        self.deletion.is_none() && self.spec.is_none() && self.status.is_none()
    }
}

fn take_annotation(object: &mut Fields) -> Option<Value> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(ANNOTATION);
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    text
}

fn deletion(object: &Fields) -> Option<&Value> {
    object.get("metadata")?.get("annotations")?.get(DELETION_ANNOTATION)
}

/// How many bytes the annotation may have.
fn room(object: &Fields) -> usize {
    let annotations =
        object.get("metadata").and_then(|metadata| metadata.get("annotations")?.as_object());
    let others = annotations.into_iter().flatten();
    let taken: usize =
        others.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    MAX_ANNOTATIONS.saturating_sub(taken + ANNOTATION.len())
}

/// Writes or removes an annotation.
fn annotate(object: &mut Fields, key: &str, value: Option<Value>) {
    let metadata = object.entry("metadata").or_insert_with(|| Fields::new().into());
    let Some(metadata) = metadata.as_object_mut() else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| Fields::new().into());
    let Some(annotations) = annotations.as_object_mut() else { return };
    match value {
        Some(value) => _ = annotations.insert(key.to_owned(), value),
        None => _ = annotations.remove(key),
    }
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}
