//! Defaults of string parameters that refer to other parameters.
//!
//! Invariant: a default means the same in every run: it sees other parameters' defaults and system parameters, never the
//! values that Build and run give.
//! Invariant: bounded in depth and size, so that no strategy can make a controller run out of stack or memory.

use std::collections::BTreeMap;

use super::go_quote::go_quote;
use super::params::{Value, is_array};
use super::reference_text::{self, Part, Target};
use super::substitution::MAX_TEXT;
use crate::api::Parameter;

/// How many defaults may lead to each other.
const MAX_DEPTH: usize = 32;

/// The defaults of one strategy.
pub struct Defaults<'a> {
    declared: BTreeMap<&'a str, &'a Parameter>,
    system: BTreeMap<String, Value>,
    resolved: BTreeMap<&'a str, String>,
    /// Bytes of all resolved texts.
    length: usize,
}

impl<'a> Defaults<'a> {
    /// The defaults of these parameters, which may refer to system parameters too.
    pub fn new(declared: &'a [Parameter], system: BTreeMap<String, Value>) -> Self {
        let declared =
            declared.iter().map(|parameter| (parameter.name.as_str(), parameter)).collect();
        Self { declared, system, resolved: BTreeMap::new(), length: 0 }
    }

    /// A string parameter's default with its references replaced; nothing where it has none; or why that is impossible.
    pub fn resolve(&mut self, parameter: &'a Parameter) -> Result<Option<String>, String> {
        self.text(parameter, &mut Vec::new())
    }

    fn text(
        &mut self,
        parameter: &'a Parameter,
        path: &mut Vec<&'a str>,
    ) -> Result<Option<String>, String> {
        let Some(default) = &parameter.default else { return Ok(None) };
        if let Some(text) = self.resolved.get(parameter.name.as_str()) {
            return Ok(Some(text.clone()));
        }
        if let Some(start) = path.iter().position(|name| *name == parameter.name) {
            let circle = [&path[start..], &[&parameter.name]].concat();
            return Err(format!(
                "defaults refer to each other in a circle: {}",
                circle.join(" -> ")
            ));
        }
        if path.len() == MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} defaults refer to each other in a row"));
        }
        path.push(&parameter.name);
        let mut values = BTreeMap::new();
        for reference in reference_text::references(default) {
            if values.contains_key(reference.text) {
                continue;
            }
            let value = match reference.target {
                Target::Param { name, part: Part::Whole } => self.value(name, path)?,
                Target::Param { .. } | Target::Nested => None,
                Target::ResultPath { .. } | Target::Named(_) => continue,
            };
            let Some(value) = value else {
                let reference = go_quote(reference.text);
                return Err(format!(
                    "default refers to {reference}, which is no string parameter with a default"
                ));
            };
            values.insert(reference.text, value);
        }
        path.pop();
        let value = |text: &str| values.get(text);
        self.length += reference_text::replaced_length(default, |reference| {
            value(reference.text).map(String::len)
        });
        if self.length > MAX_TEXT {
            return Err(format!(
                "defaults take more than {MAX_TEXT} bytes once their references are replaced"
            ));
        }
        let text = reference_text::replace(default, |reference| value(reference.text).cloned());
        self.resolved.insert(&parameter.name, text.clone());
        Ok(Some(text))
    }

    fn value(&mut self, name: &str, path: &mut Vec<&'a str>) -> Result<Option<String>, String> {
        match (self.declared.get(name).copied(), self.system.get(name)) {
            (Some(other), _) if is_array(other) => Ok(None),
            (Some(other), _) => self.text(other, path),
            (None, Some(Value::Text(text))) => Ok(Some(text.clone())),
            (None, _) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, default: &str) -> Parameter {
        Parameter { name: name.into(), default: Some(default.into()), ..Parameter::default() }
    }

    fn resolve(declared: &[Parameter]) -> Result<Option<String>, String> {
        let system = BTreeMap::from([("shp-source-root".to_owned(), Value::Text("/root".into()))]);
        Defaults::new(declared, system).resolve(&declared[0])
    }

    #[test]
    fn a_default_sees_other_defaults_and_system_parameters() {
        let declared = [
            parameter("a", "$(params.b)/$(params['c'])/$(params.b)/$(context.x)/$(HOME)"),
            parameter("b", "$(params.shp-source-root)/b"),
            parameter("c", "c"),
        ];
        assert_eq!(resolve(&declared).unwrap().unwrap(), "/root/b/c//root/b/$(context.x)/$(HOME)");
        assert_eq!(resolve(&[Parameter::default()]), Ok(None));
    }

    #[test]
    fn what_has_no_text_is_named() {
        let array =
            Parameter { name: "b".into(), type_: Some("array".into()), ..Parameter::default() };
        let required = Parameter { name: "c".into(), ..Parameter::default() };
        for reference in
            ["$(params.b)", "$(params.b[0])", "$(params.c)", "$(params.d)", "$(params.x$("]
        {
            let declared =
                [parameter("a", &format!("{reference}params.a)")), array.clone(), required.clone()];
            assert_eq!(
                resolve(&declared).unwrap_err(),
                format!(
                    "default refers to {reference:?}, which is no string parameter with a default"
                )
                .replace("$(params.x$(", "$(params.x")
            );
        }
    }

    #[test]
    fn circles_are_shown() {
        let declared = [
            parameter("a", "$(params.b)"),
            parameter("b", "$(params.c)"),
            parameter("c", "$(params.b)"),
        ];
        assert_eq!(
            resolve(&declared).unwrap_err(),
            "defaults refer to each other in a circle: b -> c -> b"
        );
    }

    #[test]
    fn neither_doubling_nor_a_long_chain_gets_far() {
        let chain = |count: usize, factor: usize| -> Vec<Parameter> {
            let reference = |index| format!("$(params.p{index})").repeat(factor);
            (0..count)
                .map(|index| parameter(&format!("p{index}"), &reference(index + 1)))
                .chain([parameter(&format!("p{count}"), "x")])
                .collect()
        };
        assert_eq!(resolve(&chain(10, 2)).unwrap().unwrap().len(), 1024);
        assert_eq!(
            resolve(&chain(30, 2)).unwrap_err(),
            "defaults take more than 1048576 bytes once their references are replaced"
        );
        assert_eq!(
            resolve(&chain(10_000, 1)).unwrap_err(),
            "more than 32 defaults refer to each other in a row"
        );
    }
}
