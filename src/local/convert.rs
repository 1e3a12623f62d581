//! Objects of files in one version of the API.
//!
//! Invariant: what is of another group comes out as it went in, so that a file stays whole.

use serde_json::{Value, json};

use super::files::{Located, Note, items, object_of, problem};
use super::read::Document;
use crate::api::{Conversion, GROUP, PRESERVED_ANNOTATION, Version};
use crate::plan::{schema, unknown_field};

/// What came of the documents.
#[derive(Debug)]
pub struct Converted {
    /// The one object, or a `List` of several.
    pub object: Value,
    /// Why the API server would refuse objects; then nothing is worth printing.
    pub problems: Vec<Located>,
    /// What was left out, passed over or kept elsewhere.
    pub notes: Vec<Note>,
}

/// Converts all objects of the documents; nothing where there are none.
pub fn convert(documents: Vec<Document>, to: Version) -> Option<Converted> {
    let mut is_list = documents.len() > 1;
    let (mut objects, mut problems, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for document in documents {
        is_list |= is_list_of_objects(&document.value);
        for document in items(document) {
            objects.push(convert_one(&document, to, &mut problems, &mut notes));
        }
    }
    let object = match objects.pop() {
        None if !is_list => return None,
        Some(object) if !is_list => object,
        last => {
            objects.extend(last);
            json!({ "apiVersion": "v1", "kind": "List", "items": objects })
        }
    };
    Some(Converted { object, problems, notes })
}

fn is_list_of_objects(value: &Value) -> bool {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    kind.ends_with("List") && value.get("items").is_some_and(Value::is_array)
}

fn convert_one(
    document: &Document,
    to: Version,
    problems: &mut Vec<Located>,
    notes: &mut Vec<Note>,
) -> Value {
    let value = &document.value;
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, object) = (text("apiVersion"), object_of(document));
    let mut note = |text: String| notes.push(Note(format!("{}: {object}: {text}", document.file)));
    for field in ["apiVersion", "kind"] {
        if text(field).is_empty() {
            problems.push(problem(document, field, "Required value".into()));
            return value.clone();
        }
    }
    if api_version.split('/').next() != Some(GROUP) {
        note(format!("{api_version} has only one version here; it is printed as it is"));
        return value.clone();
    }
    let findings = schema::check(value).unwrap_or_default();
    for found in findings.problems {
        problems.push(problem(document, &found.path, found.message));
    }
    match crate::api::convert_telling(value.clone(), to) {
        Ok(Conversion { object: converted, losses }) => {
            if Version::of(api_version) != Some(to) {
                for field in &findings.unknown {
                    let unknown = unknown_field(field);
                    note(format!("{}: {}; it is left out", unknown.field, unknown.message));
                }
                let annotations = converted.pointer("/metadata/annotations");
                if annotations.is_some_and(|all| all.get(PRESERVED_ANNOTATION).is_some()) {
                    note(format!(
                        "{} has no place for all of it; the rest is kept in the annotation {PRESERVED_ANNOTATION}",
                        to.name()
                    ));
                }
                for loss in losses {
                    note(loss.to_string());
                }
            }
            converted
        }
        Err(error) => {
            let field = if Version::of(api_version).is_none() { "apiVersion" } else { "kind" };
            problems.push(problem(document, field, error.to_string()));
            value.clone()
        }
    }
}
