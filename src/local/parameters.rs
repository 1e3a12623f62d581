//! Parameters from the command line, put where a BuildRun would have them.

use std::collections::BTreeMap;

use super::files::Files;
use super::load::roots;
use crate::api::{BuildRun, ParamValue, Parameter, SingleValue};
use crate::plan::go_quote;

/// Why a parameter cannot be set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// Not `NAME=VALUE`.
    #[error("--param {argument}: write NAME=VALUE")]
    Argument {
        /// What was given.
        argument: String,
    },
    /// The strategy has no such parameter.
    #[error("--param {name}: the strategy has no parameter {}; {}", go_quote(name), listed(known))]
    Unknown {
        /// The parameter.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A text that is given several times.
    #[error("--param {name}: is given {count} times, but its type is string; give it once")]
    Repeated {
        /// The parameter.
        name: String,
        /// How often it is given.
        count: usize,
    },
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "it has none".into() } else { format!("it has {}", known.join(", ")) }
}

/// Name and value of a `NAME=VALUE`.
pub fn parameter_argument(argument: &str) -> Result<(String, String), ParameterError> {
    match argument.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(ParameterError::Argument { argument: argument.to_owned() }),
    }
}

/// Sets parameters of a run; they win over those of the run and of its Build. All values of a name, in their order, are the
/// items of an array.
pub fn set_parameters(
    files: &Files,
    run: &mut BuildRun,
    assignments: &[(String, String)],
) -> Result<(), ParameterError> {
    let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in assignments {
        given.entry(name).or_default().push(value);
    }
    let strategy = roots(files, run.clone()).strategy;
    // A run without a strategy is refused for that, not for its parameters.
    let declared = strategy.as_ref().and_then(|strategy| strategy.found());
    let declared = declared.map(|strategy| strategy.spec().parameters.as_slice());
    let mut values = Vec::new();
    for (name, items) in given {
        values.push(value(name, &items, declared)?);
    }
    // A run with its own spec takes no values beside it.
    let known = match &mut run.spec.build.spec {
        Some(spec) => &mut spec.param_values,
        None => &mut run.spec.param_values,
    };
    known.retain(|known| values.iter().all(|value| value.name != known.name));
    known.extend(values);
    Ok(())
}

fn value(
    name: &str,
    items: &[&str],
    declared: Option<&[Parameter]>,
) -> Result<ParamValue, ParameterError> {
    let is_array = match declared {
        None => items.len() > 1,
        Some(declared) => {
            let found = declared.iter().find(|parameter| parameter.name == name);
            let unknown = || ParameterError::Unknown {
                name: name.to_owned(),
                known: declared.iter().map(|parameter| parameter.name.clone()).collect(),
            };
            found.ok_or_else(unknown)?.type_.as_deref() == Some("array")
        }
    };
    let named = ParamValue { name: name.to_owned(), ..ParamValue::default() };
    match items {
        _ if is_array => {
            let item = |text: &&str| SingleValue {
                value: Some((*text).to_owned()),
                ..SingleValue::default()
            };
            Ok(ParamValue { values: Some(items.iter().map(item).collect()), ..named })
        }
        [text] => Ok(ParamValue { value: Some((*text).to_owned()), ..named }),
        _ => Err(ParameterError::Repeated { name: name.to_owned(), count: items.len() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::local::read::Document;

    fn files(parameters: &Value) -> Files {
        let document = |kind: &str, spec: Value| Document {
            file: "all.yaml".into(),
            value: json!({
                "apiVersion": "shipwright.io/v1beta1", "kind": kind, "metadata": { "name": "x" }, "spec": spec,
            }),
        };
        let strategy = json!({ "steps": [{ "name": "s", "image": "i", "command": ["c"] }], "parameters": parameters });
        let build = json!({ "strategy": { "name": "x", "kind": "BuildStrategy" }, "output": { "image": "i" } });
        let (files, refusals, _) =
            Files::of(vec![document("BuildStrategy", strategy), document("Build", build)]);
        assert_eq!(refusals, []);
        files
    }

    fn declared() -> Files {
        files(&json!([
            { "name": "text", "type": "string", "description": "" }, { "name": "plain", "description": "" }, { "name": "list", "type": "array", "description": "" },
        ]))
    }

    fn run(spec: &Value) -> BuildRun {
        let run = json!({ "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": { "name": "r" }, "spec": spec });
        serde_json::from_value(run).unwrap()
    }

    fn assigned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn values_win_over_those_of_the_run_and_arrays_keep_their_order() {
        let mut run = run(&json!({ "build": { "name": "x" }, "paramValues": [
            { "name": "text", "value": "old" }, { "name": "plain", "value": "kept" },
        ] }));
        let pairs = [("list", "2"), ("text", "a=b"), ("list", "1")];
        set_parameters(&declared(), &mut run, &assigned(&pairs)).unwrap();
        let expected = json!([
            { "name": "plain", "value": "kept" },
            { "name": "list", "values": [{ "value": "2" }, { "value": "1" }] },
            { "name": "text", "value": "a=b" },
        ]);
        assert_eq!(json!(run.spec.param_values), expected);
    }

    #[test]
    fn an_array_that_is_given_once_has_one_item() {
        let mut run = run(&json!({ "build": { "name": "x" } }));
        set_parameters(&declared(), &mut run, &assigned(&[("list", "")])).unwrap();
        assert_eq!(
            json!(run.spec.param_values),
            json!([{ "name": "list", "values": [{ "value": "" }] }])
        );
    }

    #[test]
    fn a_run_with_its_own_spec_gets_them_there() {
        let spec = json!({ "strategy": { "name": "x", "kind": "BuildStrategy" }, "output": { "image": "i" } });
        let mut run = run(&json!({ "build": { "spec": spec } }));
        set_parameters(&declared(), &mut run, &assigned(&[("text", "v")])).unwrap();
        assert_eq!(run.spec.param_values, []);
        let spec = run.spec.build.spec.unwrap();
        assert_eq!(json!(spec.param_values), json!([{ "name": "text", "value": "v" }]));
    }

    #[test]
    fn what_cannot_be_set_says_what_can() {
        for (files, pairs, expected) in [
            (
                declared(),
                &[("txt", "v")][..],
                r#"--param txt: the strategy has no parameter "txt"; it has text, plain, list"#,
            ),
            (
                files(&json!([])),
                &[("a", "v")],
                r#"--param a: the strategy has no parameter "a"; it has none"#,
            ),
            (
                declared(),
                &[("plain", "1"), ("plain", "2")],
                "--param plain: is given 2 times, but its type is string; give it once",
            ),
        ] {
            let mut run = run(&json!({ "build": { "name": "x" } }));
            let error = set_parameters(&files, &mut run, &assigned(pairs)).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert_eq!(run.spec.param_values, []);
        }
    }

    #[test]
    fn without_a_strategy_only_its_absence_is_refused_later() {
        let mut run = run(&json!({ "build": { "name": "none" } }));
        let pairs = [("a", "1"), ("b", "1"), ("b", "2")];
        set_parameters(&Files::default(), &mut run, &assigned(&pairs)).unwrap();
        let expected = json!([
            { "name": "a", "value": "1" }, { "name": "b", "values": [{ "value": "1" }, { "value": "2" }] },
        ]);
        assert_eq!(json!(run.spec.param_values), expected);
    }

    #[test]
    fn arguments_are_a_name_and_any_value() {
        assert_eq!(parameter_argument("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parameter_argument("a="), Ok(("a".into(), String::new())));
        for wrong in ["a", "=b", ""] {
            let error = parameter_argument(wrong).unwrap_err().to_string();
            assert_eq!(error, format!("--param {wrong}: write NAME=VALUE"));
        }
    }
}
