//! Objects in both versions of the API.

mod build;
mod build_run;
mod changes;
mod files;
mod generated;
mod schema_values;
mod strategy;

use serde_json::{Value, json};
use slipway::api::{AlphaNames, ConversionError, PRESERVED_ANNOTATION, Version, convert};

/// An object of a kind in a version, with members beside its name.
fn object(version: Version, kind: &str, members: &Value) -> Value {
    let mut object = json!({
        "apiVersion": version.api_version(), "kind": kind,
        "metadata": { "name": "x", "namespace": "team", "uid": "1-2" },
    });
    for (name, member) in members.as_object().unwrap() {
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
    Version::of(object["apiVersion"].as_str().unwrap()).unwrap()
}

/// The object in the other version.
fn there(object: &Value) -> Value {
    convert(object.clone(), other(version_of(object))).unwrap()
}

/// What the fields of an object of v1alpha1 are called.
fn names(alpha: &Value) -> AlphaNames {
    AlphaNames::of(alpha, &there(alpha))
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

/// The first becomes the second, and what is lost on the way comes back.
#[track_caller]
fn assert_maps(from: &Value, to: &Value) {
    let converted = there(from);
    assert_eq!(shown(converted.clone()), *to);
    assert_eq!(there(&converted), *from, "by way of {converted:#}");
}

/// Each becomes the other, and nothing needs to be kept.
#[track_caller]
fn assert_same(one: &Value, two: &Value) {
    for (from, to) in [(one, two), (two, one)] {
        assert_eq!(there(from), *to);
    }
}

#[test]
fn what_is_neither_version_nor_kind_is_refused_with_upstreams_words() {
    let text = |object: &Value, to| convert(object.clone(), to).unwrap_err().to_string();
    let build = json!({ "apiVersion": "shipwright.io/v2", "kind": "Build" });
    assert_eq!(
        text(&build, Version::V1beta1),
        r#"unexpected conversion version from "shipwright.io/v2""#
    );
    let other = json!({ "apiVersion": "shipwright.io/v1beta1", "kind": "Image" });
    assert_eq!(text(&other, Version::V1alpha1), "unsupported Kind");
    assert_eq!(text(&other, Version::V1beta1), "unsupported Kind");
    assert_eq!(text(&json!("x"), Version::V1beta1), r#"unexpected conversion version from """#);
    let desired = Version::desired("shipwright.io/v2").unwrap_err();
    assert_eq!(desired, ConversionError::To { api_version: "shipwright.io/v2".into() });
    assert_eq!(desired.to_string(), r#"unexpected conversion version to "shipwright.io/v2""#);
    assert_eq!(Version::desired("shipwright.io/v1alpha1"), Ok(Version::V1alpha1));
}

#[test]
fn in_its_own_version_an_object_stays_as_it_is() {
    let odd = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "Build", "spec": { "future": null, "timeout": 5 },
        "metadata": { "annotations": { PRESERVED_ANNOTATION: "{" } },
    });
    assert_eq!(convert(odd.clone(), Version::V1beta1), Ok(odd));
}
