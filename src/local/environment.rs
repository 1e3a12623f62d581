//! A container's environment, and its command line with the variables in their places: the kubelet's rules.
//!
//! Invariant: what a variable becomes is never read for references again.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource, Pod};

use super::config_error::ConfigError;
use super::contents::Contents;
use super::pod_fields::{self, Machine, namespace};

/// The variables of a container in the order in which they first appear; the pod must say its node, account and addresses.
pub fn environment(
    container: &Container,
    pod: &Pod,
    contents: &Contents,
    machine: &Machine,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut variables = Variables::default();
    for source in container.env_from.iter().flatten() {
        for (name, value) in whole_object(source, namespace(pod), contents)? {
            variables.set(&name, text(&name, value)?);
        }
    }
    for variable in container.env.iter().flatten() {
        let given = variable.value.as_deref().unwrap_or_default();
        let value = match &variable.value_from {
            Some(source) if given.is_empty() => {
                taken(variable, source, container, pod, contents, machine)?
            }
            _ => Some(expand(given, |name| variables.values.get(name))),
        };
        if let Some(value) = value {
            variables.set(&variable.name, text(&variable.name, value.into_bytes())?);
        }
    }
    Ok(variables.in_order())
}

/// Words of a command line with `$(NAME)` replaced by the variable, where there is one, and `$$` by `$`.
pub fn expanded(words: &[String], environment: &[(String, String)]) -> Vec<String> {
    words.iter().map(|word| expand(word, |name| value_of(name, environment))).collect()
}

fn value_of<'v>(name: &str, environment: &'v [(String, String)]) -> Option<&'v String> {
    environment.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// The path of a `subPathExpr`. Other than in a command line, every variable must have a value there.
pub fn expanded_path(
    expression: &str,
    environment: &[(String, String)],
) -> Result<String, ConfigError> {
    let mut missing = BTreeSet::new();
    let path = expand(expression, |name| {
        let found = value_of(name, environment);
        if found.is_none_or(String::is_empty) {
            missing.insert(name.to_owned());
        }
        found
    });
    if missing.is_empty() {
        Ok(path)
    } else {
        let variables: Vec<_> = missing.into_iter().collect();
        Err(ConfigError::NoValue { variables: variables.join(", ") })
    }
}

#[derive(Default)]
struct Variables {
    names: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Variables {
    fn set(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.names.push(name.to_owned());
        }
    }

    fn in_order(mut self) -> Vec<(String, String)> {
        let value = |name: String| self.values.remove(&name).map(|value| (name, value));
        self.names.into_iter().filter_map(value).collect()
    }
}

/// All keys of an object, of a ConfigMap those that are texts.
fn whole_object(
    source: &EnvFromSource,
    namespace: &str,
    contents: &Contents,
) -> Result<Vec<(String, Vec<u8>)>, ConfigError> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    if let Some(reference) = &source.config_map_ref {
        let object = contents.config_map(namespace, &reference.name);
        if let Some(object) = unless_optional(object, reference.optional)? {
            let entries = object.data.iter();
            found.extend(
                entries.map(|(key, text)| (format!("{prefix}{key}"), text.clone().into_bytes())),
            );
        }
    } else if let Some(reference) = &source.secret_ref {
        let object = contents.secret(namespace, &reference.name);
        if let Some(object) = unless_optional(object, reference.optional)? {
            let entries = object.0.iter();
            found.extend(entries.map(|(key, bytes)| (format!("{prefix}{key}"), bytes.clone())));
        }
    }
    Ok(found)
}

/// What a variable takes from elsewhere; nothing where that is optional and missing.
fn taken(
    variable: &EnvVar,
    source: &EnvVarSource,
    container: &Container,
    pod: &Pod,
    contents: &Contents,
    machine: &Machine,
) -> Result<Option<String>, ConfigError> {
    if let Some(field) = &source.field_ref {
        return pod_fields::variable_field(pod, &field.field_path).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        let container = match selector.container_name.as_deref() {
            None | Some("") => container,
            Some(name) => pod_fields::container(pod, name)?,
        };
        return pod_fields::resource(selector, container, machine).map(Some);
    }
    let namespace = namespace(pod);
    let absent = |kind, name: &str, key: &str| ConfigError::NoKey {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        key: key.to_owned(),
    };
    if let Some(selector) = &source.config_map_key_ref {
        let value = contents.config_map(namespace, &selector.name).and_then(|object| {
            let text = object.data.get(&selector.key).cloned();
            text.ok_or_else(|| absent("ConfigMap", &selector.name, &selector.key))
        });
        return unless_optional(value, selector.optional);
    }
    if let Some(selector) = &source.secret_key_ref {
        let value = contents.secret(namespace, &selector.name).and_then(|object| {
            let bytes = object.0.get(&selector.key).cloned();
            bytes.ok_or_else(|| absent("Secret", &selector.name, &selector.key))
        });
        let value = unless_optional(value, selector.optional)?;
        return value.map(|bytes| text(&variable.name, bytes)).transpose();
    }
    if source.file_key_ref.is_some() {
        return Err(ConfigError::FileKey { variable: variable.name.clone() });
    }
    Ok(Some(String::new()))
}

fn unless_optional<T>(
    found: Result<T, ConfigError>,
    optional: Option<bool>,
) -> Result<Option<T>, ConfigError> {
    match found {
        Err(_) if optional == Some(true) => Ok(None),
        found => found.map(Some),
    }
}

/// What a process can be given as a variable.
fn text(variable: &str, bytes: Vec<u8>) -> Result<String, ConfigError> {
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| ConfigError::Bytes { variable: variable.to_owned() })
}

fn expand<'v>(text: &str, mut value: impl FnMut(&str) -> Option<&'v String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) =
            after.strip_prefix('(').and_then(|after| after.split_once(')'))
        {
            match value(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::local::contents::{ConfigMapContent, SecretContent};

    fn contents() -> Contents {
        let key = |name: &str| ("ci".to_owned(), name.to_owned());
        let secret = SecretContent(
            [("user", "me"), ("pass-word", "hunter2")]
                .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
                .into_iter()
                .chain([("raw".to_owned(), vec![0xff])])
                .collect(),
        );
        let text = SecretContent(BTreeMap::from([("A".into(), b"secret".to_vec())]));
        let map = ConfigMapContent {
            data: BTreeMap::from([("A".into(), "map".into()), ("b.c".into(), "x".into())]),
            binary_data: BTreeMap::from([("B".into(), b"bytes".to_vec())]),
        };
        Contents {
            secrets: BTreeMap::from([(key("login"), secret), (key("text"), text)]),
            config_maps: BTreeMap::from([(key("settings"), map)]),
        }
    }

    fn of(container: Value) -> Result<Vec<(String, String)>, String> {
        let container: Container = serde_json::from_value(container).unwrap();
        let pod = serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "ci" },
            "spec": { "containers": [{ "name": "other", "resources": { "limits": { "cpu": "3" } } }] },
        }))
        .unwrap();
        environment(&container, &pod, &contents(), &Machine { cpus: 2, memory: 1, storage: 1 })
            .map_err(|error| error.to_string())
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn later_variables_see_earlier_ones_and_the_last_of_a_name_wins() {
        let found = of(json!({ "name": "c", "env": [
            { "name": "A", "value": "1" },
            { "name": "EARLY", "value": "$(LATE)" },
            { "name": "B", "value": "$(A)$(A)-$$(A)-$(NONE)-$A-${A}-$" },
            { "name": "LATE", "value": "$(B)" },
            { "name": "A", "value": "$(A)2" },
            { "name": "EMPTY" },
        ] }));
        let expected = [
            ("A", "12"),
            ("EARLY", "$(LATE)"),
            ("B", "11-$(A)-$(NONE)-$A-${A}-$"),
            ("LATE", "11-$(A)-$(NONE)-$A-${A}-$"),
            ("EMPTY", ""),
        ];
        assert_eq!(found, Ok(pairs(&expected)));
    }

    #[test]
    fn whole_objects_come_first_and_give_way() {
        let found = of(json!({ "name": "c",
            "envFrom": [
                { "configMapRef": { "name": "settings" } },
                { "secretRef": { "name": "text" } },
                { "prefix": "P_", "secretRef": { "name": "text" } },
                { "secretRef": { "name": "none", "optional": true } },
            ],
            "env": [{ "name": "b.c", "value": "[$(A)]" }],
        }));
        assert_eq!(found, Ok(pairs(&[("A", "secret"), ("b.c", "[secret]"), ("P_A", "secret")])));
    }

    #[test]
    fn variables_come_from_keys_fields_and_resources() {
        let found = of(json!({ "name": "c", "env": [
            { "name": "U", "valueFrom": { "secretKeyRef": { "name": "login", "key": "user" } } },
            { "name": "M", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "A" } } },
            { "name": "N", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } },
            { "name": "C", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } },
            { "name": "O", "valueFrom": { "resourceFieldRef": { "containerName": "other", "resource": "limits.cpu" } } },
            { "name": "X", "valueFrom": { "secretKeyRef": { "name": "login", "key": "none", "optional": true } } },
            { "name": "Y", "valueFrom": { "configMapKeyRef": { "name": "none", "key": "k", "optional": true } } },
        ] }));
        assert_eq!(
            found,
            Ok(pairs(&[("U", "me"), ("M", "map"), ("N", "ci"), ("C", "2"), ("O", "3")]))
        );
    }

    #[test]
    fn what_is_missing_is_told_in_the_kubelets_words() {
        let secret =
            |name: &str, key: &str| json!({ "secretKeyRef": { "name": name, "key": key } });
        let map =
            |name: &str, key: &str| json!({ "configMapKeyRef": { "name": name, "key": key } });
        for (source, expected) in [
            (secret("none", "k"), r#"secret "none" not found"#),
            (secret("login", "none"), "couldn't find key none in Secret ci/login"),
            (map("none", "k"), r#"configmap "none" not found"#),
            (map("settings", "B"), "couldn't find key B in ConfigMap ci/settings"),
            (
                secret("login", "raw"),
                "variable V has a value that is not UTF-8 or contains a NUL byte; mount it as a file",
            ),
            (
                json!({ "resourceFieldRef": { "containerName": "x", "resource": "limits.cpu" } }),
                "container x not found",
            ),
            (
                json!({ "fileKeyRef": { "volumeName": "v", "path": "p", "key": "k" } }),
                "variable V comes from a file (fileKeyRef), which local runs cannot read; use a key of a Secret or ConfigMap",
            ),
        ] {
            let env = json!([{ "name": "V", "valueFrom": source }]);
            assert_eq!(of(json!({ "name": "c", "env": env })), Err(expected.into()));
        }
        let whole = json!({ "name": "c", "envFrom": [{ "secretRef": { "name": "none" } }] });
        assert_eq!(of(whole), Err(r#"secret "none" not found"#.into()));
    }

    #[test]
    fn command_lines_are_expanded_once() {
        let environment = pairs(&[("A", "$(B)"), ("B", "two")]);
        for (word, expected) in [
            ("$(A)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(B)", "$two"),
            ("$$$$", "$$"),
            ("$(", "$("),
            ("$(B", "$(B"),
            ("$($(B)", "$($(B)"),
            ("$()", "$()"),
            ("$ä$(B)", "$ätwo"),
            ("", ""),
        ] {
            assert_eq!(expanded(&[word.into()], &environment), [expected], "{word}");
        }
    }

    #[test]
    fn a_path_needs_a_value_for_each_of_its_variables() {
        let environment = pairs(&[("A", "one"), ("EMPTY", "")]);
        for (expression, expected) in [
            ("x/$(A)/$$(NO)", Ok("x/one/$(NO)")),
            ("x/$(NOPE)", Err("missing value for NOPE")),
            ("$(EMPTY)", Err("missing value for EMPTY")),
            ("$(Z)$(A)$(B)$(Z)", Err("missing value for B, Z")),
        ] {
            let found = expanded_path(expression, &environment).map_err(|error| error.to_string());
            assert_eq!(found, expected.map(String::from).map_err(String::from), "{expression}");
        }
    }

    proptest! {
        #[test]
        fn doubled_operators_protect_any_text(text in any::<String>(), name in "[A-Z]{1,3}", value in any::<String>()) {
            let environment = [(name, value)];
            let protected = text.replace('$', "$$");
            prop_assert_eq!(expanded(&[protected], &environment), [text]);
        }

        #[test]
        fn text_without_variables_loses_only_doubled_operators(text in "[$()a-c]{0,20}") {
            let expected_length = text.len() - expanded(std::slice::from_ref(&text), &[])[0].len();
            prop_assert!(expected_length <= text.matches("$$").count());
        }
    }
}
