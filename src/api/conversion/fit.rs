//! Values as the schema of a version has them.
//!
//! Invariant: what does not fit is left out: whoever can write an annotation stores nothing by it that the API server would not store.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use super::Version;
use super::fields::{Fields, text_of};
use crate::api::crd;
use crate::api::kind::integer;

/// Leaves out of spec and status what the object's version has no field for, and what is of another type there.
pub fn fit(object: &mut Fields, version: Version) {
    let schema = text_of(object, "kind").and_then(|kind| crd::schema(version, kind));
    let properties = schema.and_then(|schema| schema.properties.as_ref());
    for name in ["spec", "status"] {
        if let Some(schema) = properties.and_then(|properties| properties.get(name))
            && let Some(value) = object.remove(name)
        {
            object.extend(fitted(schema, value).map(|value| (name.to_owned(), value)));
        }
    }
}

fn fitted(schema: &JSONSchemaProps, value: Value) -> Option<Value> {
    let expected = schema.type_.as_deref();
    let is_int_or_string = schema.x_kubernetes_int_or_string == Some(true);
    match value {
        Value::Object(members) if expected == Some("object") => {
            let fitted = members.into_iter().filter_map(|(name, value)| {
                Some((name.clone(), fitted(member(schema, &name)?, value)?))
            });
            Some(Value::Object(fitted.collect()))
        }
        Value::Array(items) if expected == Some("array") => {
            let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else { return None };
            Some(items.into_iter().filter_map(|item| fitted(schema, item)).collect())
        }
        Value::String(_) if expected == Some("string") || is_int_or_string => Some(value),
        Value::Bool(_) if expected == Some("boolean") => Some(value),
        Value::Number(ref number) => {
            let is_integer = expected == Some("integer") || is_int_or_string;
            (expected == Some("number") || is_integer && integer(number).is_some()).then_some(value)
        }
        _ => None,
    }
}

fn member<'a>(schema: &'a JSONSchemaProps, name: &str) -> Option<&'a JSONSchemaProps> {
    let known = schema.properties.as_ref().and_then(|properties| properties.get(name));
    known.or(match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(&**values),
        _ => None,
    })
}
