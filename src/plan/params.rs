//! The value of every parameter, and what a step's texts become with them.
//!
//! Invariant: substitution reads the author's text once; values are put in as they are and never read for parameters again.
//! Invariant: a Secret's or ConfigMap's value never enters the plan: the text holds `$(SHP_…)`, the step an environment variable
//! that refers to the key, and the kubelet puts the two together.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMapKeySelector, EnvVar, EnvVarSource, SecretKeySelector};
use sha2::{Digest, Sha256};

use super::defaults::Defaults;
use super::reference_text::{self, Part, Target};
use crate::api::{ObjectKeyRef, ParamValue, Parameter, SingleValue};

/// `/workspace/source`
pub const SOURCE_ROOT: &str = "/workspace/source";
/// `/workspace/output-image`
pub const OUTPUT_DIRECTORY: &str = "/workspace/output-image";
/// The parameter whose use says that Shipwright pushes.
pub const OUTPUT_DIRECTORY_PARAM: &str = "shp-output-directory";
/// Parameters that every strategy may use without declaring them.
pub const SYSTEM_PARAMS: [&str; 5] = [
    "shp-output-image",
    "shp-output-insecure",
    "shp-source-context",
    "shp-source-root",
    OUTPUT_DIRECTORY_PARAM,
];

/// What a parameter stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Type `string`
    Text(String),
    /// Type `array`
    List(Vec<String>),
}

/// All parameters of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params {
    values: BTreeMap<String, Value>,
    /// The environment variables that a parameter's value needs, by parameter.
    env: BTreeMap<String, Vec<EnvVar>>,
}

/// A default that cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnresolvedDefault {
    /// Its place among the declared parameters.
    pub index: usize,
    /// The parameter whose default is needed.
    pub parameter: String,
    /// Why it cannot be resolved.
    pub why: String,
}

impl Params {
    /// The system parameters of a run.
    pub fn system(output_image: &str, output_insecure: bool, source_context: &str) -> Self {
        let values = [
            ("shp-output-image", output_image.to_owned()),
            ("shp-output-insecure", output_insecure.to_string()),
            ("shp-source-context", source_context.to_owned()),
            ("shp-source-root", SOURCE_ROOT.to_owned()),
            (OUTPUT_DIRECTORY_PARAM, OUTPUT_DIRECTORY.to_owned()),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), Value::Text(value)));
        Self { values: values.into(), env: BTreeMap::new() }
    }

    /// Adds the declared parameters: the given value, else the default.
    pub fn declare(
        &mut self,
        declared: &[Parameter],
        given: &BTreeMap<&str, &ParamValue>,
    ) -> Vec<UnresolvedDefault> {
        let mut unresolved = Vec::new();
        let mut defaults = Defaults::new(declared, self.values.clone());
        let mut variables = Variables::default();
        for (index, parameter) in declared.iter().enumerate() {
            let mut env = Vec::new();
            let given = given.get(parameter.name.as_str()).filter(|value| is_set(value)).copied();
            let value = match given.map(|given| (given, &given.values)) {
                Some((_, Some(items))) => Some(Value::List(
                    items.iter().map(|item| variables.text(item, &mut env)).collect(),
                )),
                Some((given, None)) => Some(Value::Text(variables.text(&single(given), &mut env))),
                None if is_array(parameter) => parameter.defaults.clone().map(Value::List),
                None => match defaults.resolve(parameter) {
                    Ok(text) => text.map(Value::Text),
                    Err(why) => {
                        let parameter = parameter.name.clone();
                        unresolved.push(UnresolvedDefault { index, parameter, why });
                        None
                    }
                },
            };
            self.values.extend(value.map(|value| (parameter.name.clone(), value)));
            self.env.insert(parameter.name.clone(), env);
        }
        unresolved
    }

    /// The value, if the parameter is declared and has one.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// What a reference to a parameter becomes in the middle of a text.
    pub fn lookup(&self, name: &str, part: Part) -> Option<String> {
        match (self.values.get(name)?, part) {
            (Value::Text(text), Part::Whole) => Some(text.clone()),
            (Value::List(items), Part::Item(index)) => items.get(index).cloned(),
            _ => None,
        }
    }

    /// How many environment variables a parameter's value needs.
    pub fn env_count(&self, name: &str) -> usize {
        self.env.get(name).map_or(0, Vec::len)
    }

    /// The environment variables that a step needs for the parameters its texts refer to, in order of their names.
    pub fn env_for<'a>(&'a self, used: &BTreeSet<String>) -> Vec<EnvVar> {
        let mut found: BTreeMap<&'a str, &'a EnvVar> = BTreeMap::new();
        for variable in used.iter().filter_map(|name| self.env.get(name)).flatten() {
            found.insert(&variable.name, variable);
        }
        found.into_values().cloned().collect()
    }
}

/// Whether a parameter holds a list.
pub fn is_array(parameter: &Parameter) -> bool {
    parameter.type_.as_deref() == Some("array")
}

/// Whether a value says anything; one that says nothing resets the parameter to its default.
fn is_set(value: &ParamValue) -> bool {
    value.values.is_some()
        || value.value.is_some()
        || value.config_map_value.is_some()
        || value.secret_value.is_some()
}

/// The part of a value that is not a list.
pub fn single(value: &ParamValue) -> SingleValue {
    SingleValue {
        value: value.value.clone(),
        config_map_value: value.config_map_value.clone(),
        secret_value: value.secret_value.clone(),
    }
}

/// The parameters that a text refers to.
pub fn used(text: &str) -> impl Iterator<Item = &str> {
    reference_text::references(text).into_iter().filter_map(|reference| match reference.target {
        Target::Param { name, .. } => Some(name),
        _ => None,
    })
}

/// Names environment variables for Secret and ConfigMap keys, the same key always by the same name.
#[derive(Debug, Default)]
struct Variables {
    names: BTreeMap<String, String>,
}

impl Variables {
    /// The text of a single value; what it needs from the environment is added to `env`.
    fn text(&mut self, value: &SingleValue, env: &mut Vec<EnvVar>) -> String {
        if let Some(key) = &value.config_map_value {
            let name = self.name("SHP_CONFIGMAP_PARAM_", key);
            let source = ConfigMapKeySelector {
                name: key.name.clone(),
                key: key.key.clone(),
                optional: None,
            };
            env.push(from_source(
                &name,
                EnvVarSource { config_map_key_ref: Some(source), ..EnvVarSource::default() },
            ));
            return formatted(key, "${CONFIGMAP_VALUE}", &name);
        }
        if let Some(key) = &value.secret_value {
            let name = self.name("SHP_SECRET_PARAM_", key);
            let source =
                SecretKeySelector { name: key.name.clone(), key: key.key.clone(), optional: None };
            env.push(from_source(
                &name,
                EnvVarSource { secret_key_ref: Some(source), ..EnvVarSource::default() },
            ));
            return formatted(key, "${SECRET_VALUE}", &name);
        }
        value.value.clone().unwrap_or_default()
    }

    /// `PREFIX` and five characters that depend on the key alone, so that equal input makes an equal pod.
    fn name(&mut self, prefix: &str, key: &ObjectKeyRef) -> String {
        const ALPHABET: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let wanted = format!("{prefix}\0{}\0{}", key.name, key.key);
        let mut salt = 0_u32;
        loop {
            let digest = Sha256::digest(format!("{wanted}\0{salt}"));
            let suffix: String = digest
                .iter()
                .take(5)
                .map(|byte| char::from(ALPHABET[usize::from(*byte) % 36]))
                .collect();
            let name = format!("{prefix}{suffix}");
            let owner = self.names.entry(name.clone()).or_insert_with(|| wanted.clone());
            if *owner == wanted {
                return name;
            }
            salt += 1;
        }
    }
}

fn from_source(name: &str, source: EnvVarSource) -> EnvVar {
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

fn formatted(key: &ObjectKeyRef, token: &str, variable: &str) -> String {
    let reference = format!("$({variable})");
    match &key.format {
        Some(format) => format.replace(token, &reference),
        None => reference,
    }
}
