//! What Secrets and ConfigMaps hold: apart from the objects, so that nothing that judges or prints them can meet it.
//!
//! Invariant: no error and no `Debug` shows a value; names of objects and keys only.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use serde_json::{Map, Value};

use super::config_error::ConfigError;
use super::files::Key;

/// Most bytes that one object holds, as the API server has it.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// Longest key.
const MOST_KEY: usize = 253;
const KEY_RULE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// What is in a Secret, by key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretContent(pub BTreeMap<String, Vec<u8>>);

/// What is in a ConfigMap.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigMapContent {
    /// `data`, by key
    pub data: BTreeMap<String, String>,
    /// `binaryData`, by key: in volumes only, never in variables
    pub binary_data: BTreeMap<String, Vec<u8>>,
}

/// What all Secrets and ConfigMaps hold that a run may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    pub(super) secrets: BTreeMap<Key, SecretContent>,
    pub(super) config_maps: BTreeMap<Key, ConfigMapContent>,
}

impl Contents {
    /// The content of a Secret, or the kubelet's words for its absence.
    pub fn secret(&self, namespace: &str, name: &str) -> Result<&SecretContent, ConfigError> {
        let key = (namespace.to_owned(), name.to_owned());
        self.secrets.get(&key).ok_or_else(|| ConfigError::NoSecret { name: name.to_owned() })
    }

    /// The content of a ConfigMap, or the kubelet's words for its absence.
    pub fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<&ConfigMapContent, ConfigError> {
        let key = (namespace.to_owned(), name.to_owned());
        self.config_maps.get(&key).ok_or_else(|| ConfigError::NoConfigMap { name: name.to_owned() })
    }
}

impl fmt::Debug for SecretContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for ConfigMapContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.data.keys()).entries(self.binary_data.keys()).finish()
    }
}

/// A field of an object, and what is wrong with it.
pub(super) type Fault = (String, String);

/// What a Secret's document holds: `data`, over which `stringData` wins.
pub(super) fn of_secret(document: &Value) -> (SecretContent, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut content = binary(document, "data", &mut faults);
    let texts = texts(document, "stringData", &mut faults);
    content.extend(texts.into_iter().map(|(key, text)| (key, text.into_bytes())));
    let size = content.values().map(Vec::len).sum();
    faults.extend(too_large(size).map(|message| ("data".into(), message)));
    (SecretContent(content), faults)
}

/// What a ConfigMap's document holds.
pub(super) fn of_config_map(document: &Value) -> (ConfigMapContent, Vec<Fault>) {
    let mut faults = Vec::new();
    let data = texts(document, "data", &mut faults);
    let binary_data = binary(document, "binaryData", &mut faults);
    for key in data.keys().filter(|key| binary_data.contains_key(*key)) {
        faults.push((format!("data[{key}]"), "duplicate of key present in binaryData".into()));
    }
    let size = data.values().map(String::len).chain(binary_data.values().map(Vec::len)).sum();
    faults.extend(too_large(size).map(|message| (String::new(), message)));
    (ConfigMapContent { data, binary_data }, faults)
}

/// What is wrong with the name of a key.
pub(super) fn key_faults(key: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if key.len() > MOST_KEY {
        broken.push(format!("must be no more than {MOST_KEY} bytes"));
    }
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(is_known) {
        broken.push(KEY_RULE.into());
    }
    match key {
        "." | ".." => broken.push(format!("must not be '{key}'")),
        _ if key.starts_with("..") => broken.push("must not start with '..'".into()),
        _ => {}
    }
    broken
}

/// What is wrong with the size of an object.
pub(super) fn too_large(bytes: usize) -> Option<String> {
    (bytes > MOST_BYTES).then(|| format!("Too long: may not be more than {MOST_BYTES} bytes"))
}

fn binary(document: &Value, field: &str, faults: &mut Vec<Fault>) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (key, value) in entries(document, field, faults).into_iter().flatten() {
        if value.is_null() {
            found.insert(key.clone(), Vec::new());
            continue;
        }
        // The decoder's own words could show what stands there.
        match serde_json::from_value::<ByteString>(value.clone()) {
            Ok(ByteString(bytes)) => {
                found.insert(key.clone(), bytes);
            }
            Err(_) => faults.push((format!("{field}[{key}]"), "is not valid base64".into())),
        }
    }
    found
}

fn texts(document: &Value, field: &str, faults: &mut Vec<Fault>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (key, value) in entries(document, field, faults).into_iter().flatten() {
        match value {
            Value::String(text) => {
                found.insert(key.clone(), text.clone());
            }
            Value::Null => {
                found.insert(key.clone(), String::new());
            }
            _ => faults
                .push((format!("{field}[{key}]"), "must be a string; put it in quotes".into())),
        }
    }
    found
}

fn entries<'a>(
    document: &'a Value,
    field: &str,
    faults: &mut Vec<Fault>,
) -> Option<&'a Map<String, Value>> {
    match document.get(field)? {
        Value::Object(map) => {
            for key in map.keys() {
                let broken = key_faults(key).into_iter();
                faults.extend(broken.map(|rule| (format!("{field}[{key}]"), rule)));
            }
            Some(map)
        }
        Value::Null => None,
        _ => {
            faults.push((field.to_owned(), "must be a map of keys".into()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_holds_its_data_and_string_data_wins() {
        let document = json!({
            "data": { "a": "b25l", "b": "dHdv", "c": null },
            "stringData": { "b": "three" },
        });
        let (content, faults) = of_secret(&document);
        assert_eq!(faults, []);
        assert_eq!(
            content.0.into_iter().collect::<Vec<_>>(),
            [("a".into(), b"one".to_vec()), ("b".into(), b"three".to_vec()), ("c".into(), vec![])]
        );
    }

    #[test]
    fn a_config_map_keeps_texts_and_bytes_apart() {
        let document = json!({ "data": { "a": "one" }, "binaryData": { "b": "/w==" } });
        let (content, faults) = of_config_map(&document);
        assert_eq!(faults, []);
        assert_eq!(content.data["a"], "one");
        assert_eq!(content.binary_data["b"], [255]);
        let (_, faults) = of_config_map(&json!({ "data": { "a": "" }, "binaryData": { "a": "" } }));
        assert_eq!(
            faults,
            [("data[a]".into(), "duplicate of key present in binaryData".to_owned())]
        );
    }

    #[test]
    fn what_is_wrong_is_named_without_the_value() {
        for (document, field) in [
            (json!({ "data": { "k": "hunter2!" } }), "data[k]"),
            (json!({ "data": { "k": ["hunter2"] } }), "data[k]"),
            (json!({ "data": { "k": 42_713 } }), "data[k]"),
            (json!({ "data": "hunter2" }), "data"),
            (json!({ "stringData": { "k": 42_713 } }), "stringData[k]"),
            (json!({ "stringData": { "k": "x".repeat(MOST_BYTES + 1) } }), "data"),
        ] {
            let (_, faults) = of_secret(&document);
            assert_eq!(faults.len(), 1, "{field}");
            assert_eq!(faults[0].0, field);
            assert!(!faults[0].1.contains("hunter2") && !faults[0].1.contains("42713"));
        }
    }

    #[test]
    fn keys_follow_the_rules_of_kubernetes() {
        for valid in ["a", ".dockerconfigjson", "a-b_c.D", "a..b", &"x".repeat(253)] {
            assert_eq!(key_faults(valid), [""; 0], "{valid}");
        }
        for invalid in ["", "a/b", "..", ".", "..data", "a b", "ä", &"x".repeat(254)] {
            assert_eq!(key_faults(invalid).len(), 1, "{invalid}");
        }
    }

    #[test]
    fn nothing_printed_for_debugging_shows_a_value() {
        let (secret, _) = of_secret(&json!({ "stringData": { "token": "hunter2" } }));
        let (map, _) = of_config_map(&json!({ "data": { "key": "hunter2" } }));
        let key = ("default".to_owned(), "s".to_owned());
        let contents = Contents {
            secrets: BTreeMap::from([(key.clone(), secret)]),
            config_maps: BTreeMap::from([(key, map)]),
        };
        let shown = format!("{contents:?}");
        assert!(shown.contains("token") && !shown.contains("hunter2"), "{shown}");
    }
}
