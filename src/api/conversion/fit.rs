//! Values as the schema of a version has them.
//!
//! Invariant: what does not fit is left out.
//! Invariant: whoever can write an annotation stores nothing by it that the API server would refuse. Only how a text must read (a duration,
//! a time, a quantity) is left to its readers, who say what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use super::Version;
use super::fields::{Fields, text_of};
use crate::api::crd;
use crate::api::kind::integer;

/// The parts of an object that its schema tells the form of.
const PARTS: [&str; 2] = ["spec", "status"];

/// Leaves out of spec and status what the object's version has no field for, and what is of another type there.
pub fn fit(object: &mut Fields, version: Version) {
    for (name, schema) in parts(object, version) {
        if let Some(value) = object.remove(name) {
            object.extend(fitted(schema, value).map(|value| (name.to_owned(), value)));
        }
    }
}

/// Takes from spec and status what only an annotation brought there, beyond `plain`, and the API server would refuse.
pub fn fit_restored(object: &mut Fields, plain: &Fields, version: Version) {
    for (name, schema) in parts(object, version) {
        if let Some(value) = object.remove(name) {
            let value = accepted(schema, value, plain.get(name));
            object.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
}

fn parts(object: &Fields, version: Version) -> Vec<(&'static str, &'static JSONSchemaProps)> {
    let schema = text_of(object, "kind").and_then(|kind| crd::schema(version, kind));
    let Some(properties) = schema.and_then(|schema| schema.properties.as_ref()) else {
        return Vec::new();
    };
    PARTS.into_iter().filter_map(|name| Some((name, properties.get(name)?))).collect()
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

/// What there was without it, where the API server would refuse the value.
fn accepted(schema: &JSONSchemaProps, value: Value, plain: Option<&Value>) -> Option<Value> {
    if plain == Some(&value) {
        return Some(value);
    }
    let value = match value {
        Value::Object(members) => {
            let accept = |(name, value): (String, Value)| {
                let plain = plain.and_then(|plain| plain.get(&name));
                let value = accepted(member(schema, &name)?, value, plain)?;
                Some((name, value))
            };
            Value::Object(members.into_iter().filter_map(accept).collect())
        }
        Value::Array(items) => {
            let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else { return None };
            let plain = plain.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let named: BTreeMap<&str, &Value> =
                plain.iter().filter_map(|item| Some((name_of(item)?, item))).collect();
            let accept = |(place, item): (usize, Value)| {
                let plain = match name_of(&item) {
                    Some(name) => named.get(name).copied(),
                    None => plain.get(place),
                };
                accepted(schema, item, plain)
            };
            Value::Array(items.into_iter().enumerate().filter_map(accept).collect())
        }
        value => value,
    };
    if is_accepted(schema, &value) { Some(value) } else { plain.cloned() }
}

fn name_of(item: &Value) -> Option<&str> {
    item.get("name").and_then(Value::as_str)
}

/// Whether the API server takes a value of the right type, its members apart.
fn is_accepted(schema: &JSONSchemaProps, value: &Value) -> bool {
    match value {
        Value::String(_) => {
            schema.enum_.as_ref().is_none_or(|words| words.iter().any(|word| word.0 == *value))
        }
        Value::Number(number) => number.as_f64().is_none_or(|number| {
            schema.minimum.is_none_or(|least| number >= least)
                && schema.maximum.is_none_or(|most| number <= most)
        }),
        Value::Array(items) => {
            let least = schema.min_items.and_then(|least| usize::try_from(least).ok());
            items.len() >= least.unwrap_or(0) && !has_duplicates(schema, items)
        }
        Value::Object(members) => {
            schema.required.iter().flatten().all(|name| members.contains_key(name))
        }
        _ => true,
    }
}

/// Whether two items have the same values for the list's keys.
fn has_duplicates(schema: &JSONSchemaProps, items: &[Value]) -> bool {
    let Some(keys) = &schema.x_kubernetes_list_map_keys else { return false };
    let key = |item: &Value| -> Vec<_> {
        keys.iter().map(|key| item.get(key).map(Value::to_string)).collect()
    };
    let mut known = BTreeSet::new();
    !items.iter().all(|item| known.insert(key(item)))
}
