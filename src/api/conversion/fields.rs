//! The members of a JSON object, taken and set one at a time.
//!
//! Invariant: a member of another type than expected counts as absent.

use serde_json::{Map, Value};

/// The members of an object by name.
pub type Fields = Map<String, Value>;

/// The members; of what is no object, none.
pub fn object_of(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// Sets a member, if there is a value for it.
pub fn set(fields: &mut Fields, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Takes a member that is an object.
pub fn take_object(fields: &mut Fields, name: &str) -> Option<Fields> {
    match fields.remove(name)? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// Takes a member that is a list.
pub fn take_list(fields: &mut Fields, name: &str) -> Option<Vec<Value>> {
    match fields.remove(name)? {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// Takes a member that is a text.
pub fn take_text(fields: &mut Fields, name: &str) -> Option<String> {
    match fields.remove(name)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A member that is a text.
pub fn text_of<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

/// Only these members, as they are.
pub fn only(mut fields: Fields, names: &[&str]) -> Fields {
    fields.retain(|name, _| names.contains(&name.as_str()));
    fields
}

/// Changes a member that is an object.
pub fn change_object(fields: &mut Fields, name: &str, change: impl FnOnce(Fields) -> Fields) {
    if let Some(Value::Object(members)) = fields.get_mut(name) {
        *members = change(std::mem::take(members));
    }
}

/// Changes each item that is an object, of a member that is a list.
pub fn change_items(fields: &mut Fields, name: &str, mut change: impl FnMut(Fields) -> Fields) {
    if let Some(Value::Array(items)) = fields.get_mut(name) {
        for item in items {
            if let Value::Object(members) = item {
                *members = change(std::mem::take(members));
            }
        }
    }
}

/// Gives a member another name.
pub fn rename(fields: &mut Fields, from: &str, to: &str) {
    if let Some(value) = fields.remove(from) {
        fields.insert(to.to_owned(), value);
    }
}

/// `{from: {name: "x"}}` becomes `{to: "x"}`: v1alpha1 refers to Secrets by an object.
pub fn flatten_reference(fields: &mut Fields, from: &str, to: &str) {
    if let Some(mut reference) = take_object(fields, from) {
        let name = take_text(&mut reference, "name").unwrap_or_default();
        set(fields, to, Some(name));
    }
}

/// `{from: "x"}` becomes `{to: {name: "x"}}`.
pub fn nest_reference(fields: &mut Fields, from: &str, to: &str) {
    if let Some(name) = take_text(fields, from) {
        set(fields, to, Some(reference(name)));
    }
}

/// `{name: "x"}`
pub fn reference(name: String) -> Fields {
    Fields::from_iter([("name".to_owned(), Value::String(name))])
}
