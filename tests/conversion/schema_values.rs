//! Objects of which the schema says what they may hold.
//!
//! Invariant: every field of the schema is reached by its place in [`paths`].

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value, json};

/// What decides of everything that the wanted path leaves open.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `0..bound`; splitmix64.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    pub fn one_of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len())]
    }
}

/// Paths of all fields without members: names, `[]` for the items of a list, `{}` for the values of a map.
pub fn paths(schema: &JSONSchemaProps) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), &mut found);
    found
}

fn collect(schema: &JSONSchemaProps, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let members = members(schema);
    if members.is_empty() {
        found.push(path.clone());
    }
    for (name, member) in members {
        path.push(name);
        collect(member, path, found);
        path.pop();
    }
}

fn members(schema: &JSONSchemaProps) -> Vec<(String, &JSONSchemaProps)> {
    let properties = schema.properties.iter().flatten();
    let mut members: Vec<_> = properties.map(|(name, member)| (name.clone(), member)).collect();
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        members.push(("[]".into(), items));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        members.push(("{}".into(), values));
    }
    members
}

/// All fields without members that a value has, as [`paths`] has them; of empty objects and lists none.
pub fn reached(value: &Value, schema: &JSONSchemaProps, path: &str, found: &mut BTreeSet<String>) {
    let members = members(schema);
    if members.is_empty() {
        found.insert(path.to_owned());
    }
    for (name, schema) in members {
        let path = format!("{path}.{name}");
        match (name.as_str(), value) {
            ("[]", Value::Array(items)) => {
                for item in items {
                    reached(item, schema, &path, found);
                }
            }
            ("{}", Value::Object(values)) => {
                values.values().for_each(|value| reached(value, schema, &path, found));
            }
            (name, value) => {
                if let Some(value) = value.get(name) {
                    reached(value, schema, &path, found);
                }
            }
        }
    }
}

/// A value of a schema that has the wanted field.
pub fn value(
    schema: &JSONSchemaProps,
    name: &str,
    wanted: Option<&[String]>,
    chance: &mut Chance,
    depth: usize,
) -> Value {
    let (first, rest) = match wanted.and_then(<[String]>::split_first) {
        Some((first, rest)) => (Some(first.as_str()), Some(rest)),
        None => (None, None),
    };
    match schema.type_.as_deref() {
        Some("object") => {
            let mut object = Map::new();
            let members = schema.properties.as_ref().map_or(0, std::collections::BTreeMap::len);
            // A spec has a few of its fields at a time, a volume one or two of its many sources.
            let odds = if depth <= 1 { 3 } else { 2 + depth + members / 2 };
            for (member, schema_of) in schema.properties.iter().flatten() {
                let is_wanted = first == Some(member);
                let is_required = schema.required.iter().flatten().any(|name| name == member);
                if is_wanted || is_required || chance.below(odds) == 0 {
                    let wanted = rest.filter(|_| is_wanted);
                    object.insert(
                        member.clone(),
                        value(schema_of, member, wanted, chance, depth + 1),
                    );
                }
            }
            if let Some(JSONSchemaPropsOrBool::Schema(schema)) = &schema.additional_properties {
                for key in ["a", "b"] {
                    if first == Some("{}") || chance.below(2) == 0 {
                        object.insert(key.into(), value(schema, "", rest, chance, depth + 1));
                    }
                }
            }
            Value::Object(object)
        }
        Some("array") => {
            let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items else { unreachable!() };
            let least = usize::from(first.is_some() || schema.min_items.is_some());
            let count = least + chance.below(3 - least.min(2) + usize::from(depth < 4));
            let mut items = Vec::new();
            for place in 0..count {
                let wanted = rest.filter(|_| place == 0 && first.is_some());
                let item = value(item, name, wanted, chance, depth + 1);
                let keys = schema.x_kubernetes_list_map_keys.as_deref();
                let key = |item: &Value| {
                    keys.map(|keys| {
                        keys.iter().map(|key| item.get(key).cloned()).collect::<Vec<_>>()
                    })
                };
                let is_known =
                    |other: &Value| *other == item || keys.is_some() && key(other) == key(&item);
                let refuses_duplicates = schema.x_kubernetes_list_type.is_some();
                if !(refuses_duplicates && items.iter().any(is_known)) {
                    items.push(item);
                }
            }
            Value::Array(items)
        }
        Some("boolean") => json!(chance.below(2) == 0),
        Some("integer" | "number") => json!(1 + chance.below(9)),
        Some("string") => text(schema, name, chance),
        _ => match chance.below(2) {
            0 => json!(chance.below(9)),
            _ => json!(chance.one_of(&["1Gi", "250m"])),
        },
    }
}

fn text(schema: &JSONSchemaProps, name: &str, chance: &mut Chance) -> Value {
    const NAMES: [&str; 8] =
        ["a", "b", "c", "dockerfile", "builder-image", "dockerfile", "default", "x"];
    const TYPES: [&str; 8] = ["Git", "OCI", "Local", "LocalCopy", "HTTP", "string", "array", ""];
    const TEXTS: [&str; 10] = [
        "",
        "t",
        "two words",
        "$(params.dockerfile)",
        "$(params.DOCKERFILE) $(build.dockerfile)",
        "-f $(build.builder.image) $(params.builder-image)",
        ".generate",
        "Dockerfile",
        "TaskRun",
        "é\"\n",
    ];
    if let Some(words) = &schema.enum_ {
        return chance.one_of(words).0.clone();
    }
    match (schema.format.as_deref(), name) {
        (Some("duration"), _) => json!(chance.one_of(&["5m", "1h", "0s"])),
        (Some("date-time"), _) => {
            json!(chance.one_of(&["2026-01-02T03:04:05Z", "2027-01-02T03:04:05Z"]))
        }
        (_, "name") => json!(chance.one_of(&NAMES)),
        (_, "type") => json!(chance.one_of(&TYPES)),
        (_, "default") => json!(chance.one_of(&["Dockerfile", "x"])),
        _ => json!(chance.one_of(&TEXTS)),
    }
}
