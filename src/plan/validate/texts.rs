//! Every reference in the text of strategy, Build and run.

use std::collections::BTreeMap;

use super::generation::Context;
use super::problems::Site;
use crate::api::{Parameter, reasons};
use crate::plan::go_quote::go_quote;
use crate::plan::params::{SYSTEM_PARAMS, Value, is_array};
use crate::plan::reference_text::{self, Part, Reference, Target};
use crate::plan::refusal::Refusal;
use crate::plan::texts::{Text, visit_step, visit_variable, visit_volume};

/// A place that holds text.
struct Place<'a> {
    site: &'a Site,
    /// Field path within the site.
    field: String,
    /// An item of `command` or `args`, the only places for a whole array.
    is_item: bool,
    /// `command`, `args` or an environment value: the kubelet replaces variables there, and nowhere else.
    is_expanded: bool,
}

impl Place<'_> {
    fn path(&self) -> String {
        format!("{}.{}", self.site.base, self.field)
    }
}

impl Context<'_> {
    /// References that mean nothing, or nothing that can stand where they are.
    pub fn texts(&self) -> Vec<Refusal> {
        let declared: BTreeMap<&str, &Parameter> = self
            .strategy
            .spec()
            .parameters
            .iter()
            .map(|parameter| (parameter.name.as_str(), parameter))
            .collect();
        let mut found = Vec::new();
        let mut look = |site: &Site, base: &str, path: &str, text: &Text<'_>| {
            let is_item = matches!(text, Text::List(_));
            let is_expanded = is_item
                || path.starts_with("env[")
                    && path.rsplit_once('.').is_some_and(|(_, field)| field == "value");
            for (index, text) in text.strings().enumerate() {
                let item = if is_item { format!("[{index}]") } else { String::new() };
                let place =
                    Place { site, field: format!("{base}{path}{item}"), is_item, is_expanded };
                for reference in reference_text::references(text) {
                    if let Some(message) = self.wrong(&declared, &place, text, &reference) {
                        found.push(site.refuse(
                            &place.field,
                            reasons::TASK_RUN_GENERATION_FAILED,
                            message,
                        ));
                    }
                }
            }
        };
        for (index, step) in self.strategy.spec().steps.iter().enumerate() {
            let base = format!("steps[{index}].");
            visit_step(&mut step.clone(), &mut |path, text| {
                look(&self.strategy_site, &base, path, &text);
            });
        }
        for (index, volume) in self.effective.volumes.iter().enumerate() {
            let (site, base) = self.volume_place(index, &volume.name);
            visit_volume(&mut volume.clone(), &mut |path, text| {
                look(site, &format!("{base}."), path, &text);
            });
        }
        for (author, index, variable) in &self.effective.env {
            let base = format!("env[{index}]");
            visit_variable(&mut (*variable).clone(), &base, &mut |path, text| {
                look(self.of(*author), "", path, &text);
            });
        }
        found.extend(self.values(&declared));
        found
    }

    /// What is wrong with one reference.
    fn wrong(
        &self,
        declared: &BTreeMap<&str, &Parameter>,
        place: &Place<'_>,
        text: &str,
        reference: &Reference<'_>,
    ) -> Option<String> {
        let quoted = go_quote(reference.text);
        let path = place.path();
        let (name, part) = match reference.target {
            Target::Param { name, part } => (name, part),
            Target::Nested => {
                return Some(format!(
                    "a reference inside the reference that begins {quoted} cannot be resolved: {path}"
                ));
            }
            Target::ResultPath { .. } | Target::Named(_) => return None,
        };
        let Some(parameter) = declared.get(name) else {
            let is_system = part == Part::Whole && SYSTEM_PARAMS.contains(&name);
            return (!is_system).then(|| format!("non-existent variable in {quoted}: {path}"));
        };
        if !place.is_expanded && self.substitution.params().env_count(name) > 0 {
            let name = go_quote(name);
            return Some(format!(
                "parameter {name} has a value from a Secret or ConfigMap, which only command, args and env values can hold: {path}"
            ));
        }
        match (is_array(parameter), part) {
            (true, Part::Whole | Part::All) if place.is_item && text == reference.text => None,
            (true, Part::Whole | Part::All) => Some(format!(
                "variable type invalid in {quoted}: an array must be an item of its own in command or args: {path}"
            )),
            (true, Part::Item(index)) => match self.substitution.params().get(name) {
                Some(Value::List(items)) if index >= items.len() => {
                    Some(format!("[User error] non-existent param references:[{}]", reference.text))
                }
                _ => None,
            },
            (false, Part::Whole) => None,
            (false, Part::All | Part::Item(_)) => {
                let name = go_quote(name);
                Some(format!("variable type invalid in {quoted}: {name} is not an array: {path}"))
            }
        }
    }

    /// References in values to parameters that do not exist. A value is put in as it is, so one to a parameter stays as text.
    fn values(&self, declared: &BTreeMap<&str, &Parameter>) -> Vec<Refusal> {
        let mut found = Vec::new();
        for (value, author, index) in self.effective.param_values().into_values() {
            let site = self.of(author);
            let items = value.values.iter().flatten().enumerate();
            let items = items.map(|(item, value)| (format!(".values[{item}].value"), &value.value));
            for (path, text) in std::iter::once((".value".to_owned(), &value.value)).chain(items) {
                for reference in reference_text::references(text.as_deref().unwrap_or_default()) {
                    let Target::Param { name, .. } = reference.target else { continue };
                    if !SYSTEM_PARAMS.contains(&name) && !declared.contains_key(name) {
                        let field = format!("paramValues[{index}]{path}");
                        let quoted = go_quote(reference.text);
                        let message =
                            format!("non-existent variable in {quoted}: {}.{field}", site.base);
                        found.push(site.refuse(
                            &field,
                            reasons::TASK_RUN_GENERATION_FAILED,
                            message,
                        ));
                    }
                }
            }
        }
        found
    }
}
