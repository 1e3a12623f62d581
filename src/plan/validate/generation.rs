//! What would keep a complete pod from being made: the strategy's own text with the values of this run.
//!
//! Invariant: upstream's own messages where it has them; where Tekton refuses without a condition (or after endless retries),
//! the run is refused here with the reason for a pod that cannot be generated.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{SecurityContext, Volume};

use super::problems::Site;
use crate::api::{Parameter, Step, Strategy, reasons};
use crate::plan::effective::{Author, Effective, SourceOf};
use crate::plan::identity::VALID_IDS;
use crate::plan::kubernetes_names::dns_label;
use crate::plan::layout::{is_own_volume, step_part, supporting_step_names};
use crate::plan::params::{Params, SYSTEM_PARAMS, Value, is_array};
use crate::plan::reference_text::{self, Part, Target};
use crate::plan::refusal::Refusal;
use crate::plan::requests::above_limit;
use crate::plan::settings::Settings;
use crate::plan::texts::{Text, visit_step, visit_variable, visit_volume};

/// Mounts below these belong to the pod's own machinery.
const OWN_MOUNTS: [&str; 2] = ["/shp/", "/tekton/"];
/// The one mount below `/tekton/` that a step may replace.
const TEKTON_HOME: &str = "/tekton/home";
/// Prefix of volume names that belong to the pod's own machinery.
pub const OWN_VOLUMES: &str = "slipway-";

/// Everything a check of the strategy's text needs.
pub struct Context<'a> {
    /// The strategy as its author wrote it, judged for the run.
    pub strategy_site: Site,
    /// The Build's spec, judged for the run.
    pub build_site: Site,
    /// The run's spec.
    pub run_site: Site,
    /// The strategy.
    pub strategy: &'a Strategy,
    /// What Build and run say together.
    pub effective: Effective<'a>,
    /// The values of this run.
    pub params: &'a Params,
    /// What the platform team configured.
    pub settings: &'a Settings,
}

impl Context<'_> {
    fn strategy(&self, field: &str, message: impl Into<String>) -> Refusal {
        self.strategy_site.refuse(field, reasons::TASK_RUN_GENERATION_FAILED, message)
    }

    fn of(&self, author: Author) -> &Site {
        match author {
            Author::Build => &self.build_site,
            Author::BuildRun => &self.run_site,
        }
    }

    /// All refusals, in the order in which upstream generates the pod.
    pub fn refusals(&self) -> Vec<Refusal> {
        let mut found = self.parameters();
        found.extend(self.identity());
        found.extend(self.steps());
        found.extend(self.environment());
        found.extend(self.volumes());
        found.extend(self.output());
        found.extend(self.texts());
        found.extend(self.timeout());
        found
    }

    fn parameters(&self) -> Vec<Refusal> {
        let mut found = Vec::new();
        let declared = &self.strategy.spec().parameters;
        for (index, parameter) in declared.iter().enumerate() {
            let name = &parameter.name;
            let field = format!("parameters[{index}].name");
            if !is_parameter_name(name) {
                let rule = "must begin with a letter or '_' and hold only letters, digits, '_', '-' and '.'";
                found.push(self.strategy(
                    &field,
                    format!("metadata configuration: parameter name {name:?} {rule}"),
                ));
            }
            if SYSTEM_PARAMS.contains(&name.as_str()) {
                let message = format!(
                    "metadata configuration: parameter {name:?} is one of Shipwright's own"
                );
                found.push(self.strategy(&field, message));
            }
            if declared[..index].iter().any(|other| other.name == *name) {
                found.push(self.strategy(
                    &field,
                    format!(
                        "metadata configuration: parameter {name:?} is declared more than once"
                    ),
                ));
            }
        }
        for (site, values) in [
            (&self.build_site, &self.effective.spec.param_values),
            (&self.run_site, &self.effective.buildrun.spec.param_values),
        ] {
            for (index, value) in values.iter().enumerate() {
                if values[..index].iter().any(|other| other.name == value.name) {
                    let message = format!(
                        "metadata configuration: parameter {:?} is given more than once",
                        value.name
                    );
                    found.push(site.refuse(
                        &format!("paramValues[{index}].name"),
                        reasons::TASK_RUN_GENERATION_FAILED,
                        message,
                    ));
                }
            }
        }
        found
    }

    fn identity(&self) -> Vec<Refusal> {
        let spec = self.strategy.spec();
        let mut found = Vec::new();
        let mut check = |field: String, id: Option<i64>| {
            if let Some(id) = id.filter(|id| !VALID_IDS.contains(id)) {
                let message = format!(
                    "Invalid value: {id}: must be between 0 and {}, inclusive",
                    VALID_IDS.end()
                );
                found.push(self.strategy(&field, message));
            }
        };
        if let Some(context) = &spec.security_context {
            check("securityContext.runAsUser".into(), Some(context.run_as_user));
            check("securityContext.runAsGroup".into(), Some(context.run_as_group));
        }
        for (index, step) in spec.steps.iter().enumerate() {
            let context: Option<&SecurityContext> = step.security_context.as_ref();
            check(
                format!("steps[{index}].securityContext.runAsUser"),
                context.and_then(|context| context.run_as_user),
            );
            check(
                format!("steps[{index}].securityContext.runAsGroup"),
                context.and_then(|context| context.run_as_group),
            );
        }
        found
    }

    fn steps(&self) -> Vec<Refusal> {
        let spec = self.strategy.spec();
        let mut found = Vec::new();
        if spec.steps.is_empty() {
            found
                .push(self.strategy("steps", "build strategy: there is no step; add at least one"));
        }
        let mut names: BTreeSet<&str> = supporting_step_names(&self.effective).collect();
        for (index, step) in spec.steps.iter().enumerate() {
            let field = |field: &str| format!("steps[{index}].{field}");
            let name = &step.name;
            if !name.contains("$(") {
                let broken = dns_label(name);
                if !broken.is_empty() {
                    let message = format!(
                        "build strategy: step name {name:?} is not valid: {}",
                        broken.join(", ")
                    );
                    found.push(self.strategy(&field("name"), message));
                }
            }
            if !names.insert(step_part(name)) {
                let message = format!(
                    "build strategy: there is more than one step {name:?}; rename this one"
                );
                found.push(self.strategy(&field("name"), message));
            }
            if step.image.as_deref().unwrap_or_default().is_empty() {
                found.push(self.strategy(
                    &field("image"),
                    format!("build strategy: step {name:?} has no image"),
                ));
            }
            found.extend(self.mounts(step, index));
        }
        for (index, step) in self.effective.steps().iter().enumerate() {
            for (resource, request, limit) in step.resources.iter().flat_map(above_limit) {
                let (request, limit) = (&request.0, &limit.0);
                let message = format!(
                    "[User error] invalid request resource value: {request} must be less or equal to limit {limit}"
                );
                found.push(
                    self.strategy(
                        &format!("steps[{index}].resources.requests.{resource}"),
                        message,
                    ),
                );
            }
        }
        found
    }

    fn mounts(&self, step: &Step, index: usize) -> Vec<Refusal> {
        let volumes = self.effective.volumes();
        let mut found = Vec::new();
        for (at, mount) in step.volume_mounts.iter().enumerate() {
            let field = |field: &str| format!("steps[{index}].volumeMounts[{at}].{field}");
            let name = &mount.name;
            let path = format!("{}/", mount.mount_path.trim_end_matches('/'));
            if OWN_MOUNTS.iter().any(|own| path.starts_with(own))
                && path.trim_end_matches('/') != TEKTON_HOME
            {
                let message = format!(
                    "build strategy: nothing may be mounted at {:?}, which belongs to the pod",
                    mount.mount_path
                );
                found.push(self.strategy(&field("mountPath"), message));
            }
            match volumes.iter().find(|volume| volume.name == *name) {
                None => {
                    let message = format!(
                        "build strategy: volume for the Volume Mount {name:?} is not found"
                    );
                    found.push(self.strategy(&field("name"), message));
                }
                Some(volume) if must_be_read_only(volume) && mount.read_only != Some(true) => {
                    let message =
                        format!("build strategy: volume mount {name:?} must be read only");
                    found.push(self.strategy(&field("readOnly"), message));
                }
                Some(_) => {}
            }
        }
        found
    }

    fn environment(&self) -> Vec<Refusal> {
        let merged = self.effective.env();
        let mut found = Vec::new();
        for (index, step) in self.strategy.spec().steps.iter().enumerate() {
            for (at, variable) in step.env.iter().enumerate() {
                let field = format!("steps[{index}].env[{at}].name");
                let name = &variable.name;
                if self.settings.forbids_env(name) {
                    let message = format!(
                        "build strategy: BuildStrategy step {:?} defines forbidden environment variable {name:?}",
                        step.name
                    );
                    found.push(self.strategy(&field, message));
                }
                let again = step.env[..at].iter().any(|other| other.name == *name);
                if again || merged.iter().any(|(_, _, other)| other.name == *name) {
                    let message = format!(
                        "build strategy: error(s) occurred merging environment variables into BuildStrategy {:?} steps: environment variable {name:?} already exists",
                        self.strategy.name()
                    );
                    found.push(self.strategy(&field, message));
                }
            }
        }
        found
    }

    fn volumes(&self) -> Vec<Refusal> {
        let declared = &self.strategy.spec().volumes;
        let mut found = Vec::new();
        for (index, volume) in declared.iter().enumerate() {
            let field = format!("volumes[{index}].name");
            let name = &volume.volume.name;
            if declared[..index].iter().any(|other| other.volume.name == *name) {
                let message = format!(
                    "build strategy: BuildStrategy Volume {name:?} is listed more than once"
                );
                found.push(self.strategy(&field, message));
            }
            if name.starts_with(OWN_VOLUMES) || is_own_volume(&self.effective, name) {
                let message = format!(
                    "build strategy: volume name {name:?} belongs to the pod; choose another"
                );
                found.push(self.strategy(&field, message));
            }
            let broken = if name.contains("$(") { Vec::new() } else { dns_label(name) };
            if !broken.is_empty() {
                let message = format!(
                    "build strategy: volume name {name:?} is not valid: {}",
                    broken.join(", ")
                );
                found.push(self.strategy(&field, message));
            }
        }
        found
    }

    fn output(&self) -> Vec<Refusal> {
        let Some((timestamp, author)) = self.effective.timestamp() else { return Vec::new() };
        let message = match timestamp {
            "Zero" | "BuildTimestamp" => return Vec::new(),
            "SourceTimestamp" => match self.effective.source() {
                SourceOf::Git(_) | SourceOf::Oci(_) => return Vec::new(),
                SourceOf::Local(_) | SourceOf::Nothing => {
                    "output image: cannot use SourceTimestamp setting, because there is no source timestamp available for this source"
                        .to_owned()
                }
            },
            number if number.parse::<i64>().is_ok() => return Vec::new(),
            other => format!(
                "output image: cannot parse output timestamp {other} as a number, must be Zero, SourceTimestamp, BuildTimestamp, or a an integer"
            ),
        };
        vec![self.of(author).refuse(
            "output.timestamp",
            reasons::TASK_RUN_GENERATION_FAILED,
            message,
        )]
    }

    fn timeout(&self) -> Vec<Refusal> {
        let Some((timeout, author)) = self.effective.timeout() else { return Vec::new() };
        let message = match timeout.parse() {
            Ok(length) if length.0 >= 0 => return Vec::new(),
            Ok(_) => {
                format!("metadata configuration: timeout {:?} is negative; 0 means none", timeout.0)
            }
            Err(_) => format!(
                "metadata configuration: timeout {:?} is not a duration such as 90s, 1h30m or 0",
                timeout.0
            ),
        };
        vec![self.of(author).refuse("timeout", reasons::TASK_RUN_GENERATION_FAILED, message)]
    }

    /// Every reference in the text of strategy, Build and run.
    fn texts(&self) -> Vec<Refusal> {
        let mut found = Vec::new();
        let declared = &self.strategy.spec().parameters;
        for (index, step) in self.strategy.spec().steps.iter().enumerate() {
            let base = format!("steps[{index}]");
            visit_step(&mut step.clone(), &mut |path, text| {
                self.text(&self.strategy_site, &format!("{base}.{path}"), text, &mut found);
            });
        }
        for (index, volume) in self.strategy.spec().volumes.iter().enumerate() {
            let base = format!("volumes[{index}]");
            visit_volume(&mut volume.volume.clone(), &mut |path, text| {
                self.text(&self.strategy_site, &format!("{base}.{path}"), text, &mut found);
            });
        }
        for (author, index, variable) in self.effective.env() {
            visit_variable(&mut variable.clone(), &format!("env[{index}]"), &mut |path, text| {
                self.text(self.of(author), path, text, &mut found);
            });
        }
        for (_, (value, author, index)) in self.effective.param_values() {
            let literal = |text: &str| self.undeclared(text, declared);
            let values = value.values.iter().flatten().enumerate();
            let items = values
                .map(|(item, value)| (format!(".values[{item}].value"), value.value.as_deref()));
            for (path, text) in
                std::iter::once((".value".to_owned(), value.value.as_deref())).chain(items)
            {
                for reference in text.iter().flat_map(|text| literal(text)) {
                    let field = format!("paramValues[{index}]{path}");
                    let message = format!(
                        "non-existent variable in {reference:?}: {}.{field}",
                        self.of(author).base
                    );
                    found.push(self.of(author).refuse(
                        &field,
                        reasons::TASK_RUN_GENERATION_FAILED,
                        message,
                    ));
                }
            }
        }
        found
    }

    fn text(&self, site: &Site, field: &str, text: Text<'_>, found: &mut Vec<Refusal>) {
        let mut refuse = |field: &str, message: String| {
            found.push(site.refuse(field, reasons::TASK_RUN_GENERATION_FAILED, message));
        };
        match text {
            Text::Single(text) => {
                self.string(&format!("{}.{field}", site.base), text, false, &mut |m| {
                    refuse(field, m);
                });
            }
            Text::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let field = format!("{field}[{index}]");
                    self.string(&format!("{}.{field}", site.base), item, true, &mut |message| {
                        refuse(&field, message);
                    });
                }
            }
        }
    }

    fn string(&self, place: &str, text: &str, is_item: bool, refuse: &mut impl FnMut(String)) {
        let declared = &self.strategy.spec().parameters;
        for reference in reference_text::references(text) {
            let missing = || format!("non-existent variable in {:?}: {place}", reference.text);
            let (name, part) = match reference.target {
                Target::Param { name, part } => (name, part),
                Target::Nested => {
                    refuse(format!(
                        "a reference inside the reference that begins {:?} cannot be resolved: {place}",
                        reference.text
                    ));
                    continue;
                }
                Target::ResultPath { .. } | Target::Named(_) => continue,
            };
            let parameter = declared.iter().find(|parameter| parameter.name == name);
            match (parameter, part) {
                (None, Part::Whole) if SYSTEM_PARAMS.contains(&name) => {}
                (None, _) => refuse(missing()),
                (Some(parameter), Part::Whole | Part::All) if is_array(parameter) => {
                    if !is_item || text != reference.text {
                        refuse(format!(
                            "variable type invalid in {:?}: an array must be an item of its own in command or args: {place}",
                            reference.text
                        ));
                    }
                }
                (Some(parameter), Part::Item(index)) if is_array(parameter) => {
                    if let Some(Value::List(items)) = self.params.get(name)
                        && index >= items.len()
                    {
                        refuse(format!(
                            "[User error] non-existent param references:[{}]",
                            reference.text
                        ));
                    }
                }
                (Some(_), Part::Whole) => {
                    if let Some(Value::Text(value)) = self.params.get(name)
                        && place.ends_with(".image")
                        && text == reference.text
                        && value.is_empty()
                    {
                        refuse(format!(
                            "the image is empty once {:?} is replaced: {place}",
                            reference.text
                        ));
                    }
                }
                (Some(_), Part::All | Part::Item(_)) => {
                    refuse(format!(
                        "variable type invalid in {:?}: {name:?} is not an array: {place}",
                        reference.text
                    ));
                }
            }
        }
    }

    /// References in a value to parameters that do not exist. A value is put in as it is, so one to a parameter stays as text.
    fn undeclared(&self, text: &str, declared: &[Parameter]) -> Vec<String> {
        let exists = |name: &str| {
            SYSTEM_PARAMS.contains(&name) || declared.iter().any(|parameter| parameter.name == name)
        };
        let found =
            reference_text::references(text).into_iter().filter(|reference| {
                match reference.target {
                    Target::Param { name, .. } => !exists(name),
                    _ => false,
                }
            });
        found.map(|reference| reference.text.to_owned()).collect()
    }
}

fn is_parameter_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn must_be_read_only(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}
