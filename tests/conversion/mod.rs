//! Objects in both versions of the API.

mod build;

use serde_json::{Value, json};
use slipway::api::{PRESERVED_ANNOTATION, Version, convert};

/// An object of a kind in a version, with members beside its name.
fn object(version: Version, kind: &str, members: &Value) -> Value {
    let mut object = json!({
        "apiVersion": version.api_version(), "kind": kind,
        "metadata": { "name": "x", "namespace": "team", "uid": "1-2" },
    });
    for (name, member) in members.as_object().expect("members") {
        object[name] = member.clone();
    }
    object
}

fn other(version: Version) -> Version {
    match version {
        Version::V1alpha1 => Version::V1beta1,
        Version::V1beta1 => Version::V1alpha1,
    }
}

fn version_of(object: &Value) -> Version {
    Version::of(object["apiVersion"].as_str().expect("a text")).expect("a version")
}

/// The object in the other version, and back.
fn there(object: &Value) -> Value {
    convert(object.clone(), other(version_of(object))).expect("converts")
}

/// The object as upstream shows it: without what only we keep.
fn shown(mut object: Value) -> Value {
    preserved(&mut object);
    object
}

/// Takes what is kept off the object.
fn preserved(object: &mut Value) -> Option<Value> {
    let annotations = object["metadata"].get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(PRESERVED_ANNOTATION)?;
    if annotations.is_empty() {
        object["metadata"].as_object_mut()?.remove("annotations");
    }
    Some(serde_json::from_str(text.as_str()?).expect("JSON"))
}

/// Each becomes the other, and what is lost on the way comes back.
#[track_caller]
fn assert_maps(from: &Value, to: &Value) {
    let converted = there(from);
    assert_eq!(shown(converted.clone()), *to);
    assert_eq!(there(&converted), *from, "by way of {converted:#}");
}
