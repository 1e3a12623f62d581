//! What would keep a complete pod from being made: the strategy's own text with the values of this run.
//!
//! Invariant: upstream's own messages where it has them, and first; where Tekton refuses without a condition (or after endless
//! retries), the run is refused here with the reason for a pod that cannot be generated.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use k8s_openapi::api::core::v1::{SecurityContext, Volume};

use super::build;
use super::problems::Site;
use crate::api::{Step, StepResources, Strategy, reasons};
use crate::plan::effective::{Author, Effective, SourceOf};
use crate::plan::go_quote::go_quote;
use crate::plan::identity::VALID_IDS;
use crate::plan::image_reference::is_image_reference;
use crate::plan::kubernetes_names::label_value;
use crate::plan::loaded::Loaded;
use crate::plan::params::{SYSTEM_PARAMS, UnresolvedDefault};
use crate::plan::refusal::Refusal;
use crate::plan::settings::Settings;
use crate::plan::substitution::{MAX_TEXT, Resolved, Substitution};

/// Seconds since 1970 of which an image can tell: the years 0 to 9999, whatever the time zone of its reader.
const YEARS: RangeInclusive<i64> = -62_167_219_200..=253_402_207_200;

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
    pub effective: &'a Effective<'a>,
    /// The values of this run.
    pub substitution: &'a Substitution,
    /// Steps and volumes with these values; nothing where they are too large.
    pub resolved: Option<&'a Resolved>,
    /// What was fetched.
    pub loaded: &'a Loaded,
    /// What the platform team configured.
    pub settings: &'a Settings,
}

impl Context<'_> {
    /// The strategy's steps and volumes for the run: with the values of parameters, where those are known.
    pub fn steps_and_volumes<'a>(
        &'a self,
        resolved: Option<&'a Resolved>,
    ) -> (&'a [Step], &'a [Volume]) {
        match resolved {
            Some(resolved) => (&resolved.steps, &resolved.volumes),
            None => (&self.effective.steps, &self.effective.volumes),
        }
    }

    /// All refusals, in the order in which upstream generates the pod; then what only Tekton looks at.
    pub fn refusals(&self, unresolved: &[UnresolvedDefault], texts: Vec<Refusal>) -> Vec<Refusal> {
        let mut found = self.merging();
        found.extend(self.volumes());
        found.extend(self.output_image());
        found.extend(self.timestamp());
        found.extend(self.timeout());
        found.extend(self.labels());
        found.extend(self.parameters());
        found.extend(self.defaults(unresolved));
        found.extend(self.identity());
        let resolved = self.resolved.filter(|_| texts.is_empty());
        found.extend(texts);
        found.extend(self.steps(resolved));
        found.extend(self.pod_rules(resolved));
        found
    }

    /// Values that cannot be put into their places.
    pub fn too_large(&self) -> Option<Refusal> {
        let message = format!(
            "build strategy: steps and volumes take more than {MAX_TEXT} bytes once their references are replaced; make the values shorter"
        );
        self.resolved.is_none().then(|| self.strategy("steps", message))
    }

    /// A refusal about the strategy's text.
    pub fn strategy(&self, field: &str, message: impl Into<String>) -> Refusal {
        self.strategy_site.refuse(field, reasons::TASK_RUN_GENERATION_FAILED, message)
    }

    /// The place of what an author says.
    pub fn of(&self, author: Author) -> &Site {
        match author {
            Author::Build => &self.build_site,
            Author::BuildRun => &self.run_site,
        }
    }

    /// Environment and mounts of each step.
    fn merging(&self) -> Vec<Refusal> {
        let volumes: BTreeSet<&str> =
            self.effective.volumes.iter().map(|volume| volume.name.as_str()).collect();
        let mut found = Vec::new();
        for (index, step) in self.effective.steps.iter().enumerate() {
            for (at, variable) in step.env.iter().enumerate() {
                let field = format!("steps[{index}].env[{at}].name");
                let name = go_quote(&variable.name);
                if self.settings.forbids_env(&variable.name) {
                    let step = go_quote(&step.name);
                    let message = format!(
                        "build strategy: BuildStrategy step {step} defines forbidden environment variable {name}"
                    );
                    found.push(self.strategy(&field, message));
                }
            }
            found.extend(self.clashes(index, step));
            for (at, mount) in step.volume_mounts.iter().enumerate() {
                if !volumes.contains(mount.name.as_str()) {
                    let field = format!("steps[{index}].volumeMounts[{at}].name");
                    let name = go_quote(&mount.name);
                    let message =
                        format!("build strategy: volume for the Volume Mount {name} is not found");
                    found.push(self.strategy(&field, message));
                }
            }
        }
        found
    }

    /// Variables of Build and run that a step has too: one refusal for each step, with all of them in the order of Build and
    /// run, as upstream has it.
    fn clashes(&self, index: usize, step: &Step) -> Option<Refusal> {
        let mut names = BTreeSet::new();
        // The first of a name counts.
        let own =
            step.env.iter().enumerate().rev().map(|(at, variable)| (variable.name.as_str(), at));
        let own: BTreeMap<_, _> = own.collect();
        let variables = self.effective.env.iter().map(|(_, _, variable)| variable.name.as_str());
        let clashes = variables.filter(|name| names.insert(*name));
        let clashes: Vec<(usize, String)> = clashes
            .filter_map(|name| Some((*own.get(name)?, name)))
            .map(|(at, name)| {
                (at, format!("environment variable {} already exists", go_quote(name)))
            })
            .collect();
        let at = clashes.first()?.0;
        let messages: Vec<&str> = clashes.iter().map(|(_, message)| message.as_str()).collect();
        let messages = match messages[..] {
            [only] => only.to_owned(),
            _ => format!("[{}]", messages.join(", ")),
        };
        let strategy = go_quote(self.strategy.name());
        let message = format!(
            "build strategy: error(s) occurred merging environment variables into BuildStrategy {strategy} steps: {messages}"
        );
        Some(self.strategy(&format!("steps[{index}].env[{at}].name"), message))
    }

    /// Of several mounts of one volume, the last says whether it is read-only.
    fn volumes(&self) -> Vec<Refusal> {
        let mut found = Vec::new();
        let mut known = BTreeSet::new();
        for (index, volume) in self.effective.volumes.iter().enumerate() {
            if !known.insert(volume.name.as_str()) {
                let name = go_quote(&volume.name);
                let message =
                    format!("build strategy: BuildStrategy Volume {name} is listed more than once");
                found.push(self.strategy(&format!("volumes[{index}].name"), message));
            }
        }
        let mut mounts = BTreeMap::new();
        for (step, of) in self.effective.steps.iter().enumerate() {
            for (at, mount) in of.volume_mounts.iter().enumerate() {
                let field = format!("steps[{step}].volumeMounts[{at}].readOnly");
                mounts.insert(mount.name.as_str(), (mount.read_only == Some(true), field));
            }
        }
        for volume in &self.effective.volumes {
            let must_be_read_only = volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.downward_api.is_some()
                || volume.projected.is_some();
            if let Some((false, field)) =
                mounts.get(volume.name.as_str()).filter(|_| must_be_read_only)
            {
                let name = go_quote(&volume.name);
                let message = format!("build strategy: volume mount {name} must be read only");
                found.push(self.strategy(field, message));
            }
        }
        found
    }

    /// Whoever pushes the image must be able to read where to.
    fn output_image(&self) -> Option<Refusal> {
        let image = self.effective.image();
        let is_of_run = self.effective.buildrun.spec.output.is_some();
        let author = if is_of_run { Author::BuildRun } else { Author::Build };
        let quoted = go_quote(image);
        let message = format!(
            "output image: {quoted} names no image; write [host/]repository[:tag], the repository in small letters"
        );
        (!is_image_reference(image)).then(|| {
            self.of(author).refuse("output.image", reasons::TASK_RUN_GENERATION_FAILED, message)
        })
    }

    fn timestamp(&self) -> Option<Refusal> {
        let (timestamp, author) = self.effective.timestamp()?;
        let is_told = author == Author::Build
            && self.effective.build.is_some()
            && build::timestamp(&self.build_site, self.effective.spec).is_some();
        if is_told {
            // The Build's own rule has words for it already.
            return None;
        }
        let message = match timestamp {
            "Zero" | "BuildTimestamp" => return None,
            "SourceTimestamp" => match self.effective.source() {
                SourceOf::Git(_) | SourceOf::Oci(_) => return None,
                SourceOf::Local(_) | SourceOf::Nothing => {
                    "output image: cannot use SourceTimestamp setting, because there is no source timestamp available for this source"
                        .to_owned()
                }
            },
            number if number.parse().is_ok_and(|seconds: i64| YEARS.contains(&seconds)) => {
                return None;
            }
            number if number.parse::<i64>().is_ok() => format!(
                "output image: timestamp {number} is not in the years 0 to 9999; write seconds since 1970"
            ),
            other => format!(
                "output image: cannot parse output timestamp {other} as a number, must be Zero, SourceTimestamp, BuildTimestamp, or a an integer"
            ),
        };
        Some(self.of(author).refuse(
            "output.timestamp",
            reasons::TASK_RUN_GENERATION_FAILED,
            message,
        ))
    }

    /// How long the run may take, and how long it waits for an upload.
    fn timeout(&self) -> Vec<Refusal> {
        let mut found = Vec::new();
        if let Some((timeout, author)) = self.effective.timeout() {
            let text = go_quote(&timeout.0);
            let message = match timeout.parse() {
                Ok(length) if length.0 >= 0 => None,
                Ok(_) => Some(format!(
                    "metadata configuration: timeout {text} is negative; 0 means none"
                )),
                Err(_) => Some(format!(
                    "metadata configuration: timeout {text} is not a duration such as 90s, 1h30m or 0"
                )),
            };
            found.extend(message.map(|message| {
                self.of(author).refuse("timeout", reasons::TASK_RUN_GENERATION_FAILED, message)
            }));
        }
        if let SourceOf::Local(local) = self.effective.source()
            && let Some(timeout) = local.timeout.as_ref().filter(|timeout| timeout.parse().is_err())
        {
            let text = go_quote(&timeout.0);
            let message =
                format!("source acquisition: timeout {text} is not a duration such as 90s or 5m");
            let author = self.effective.local_source_author();
            found.push(self.of(author).refuse(
                "source.local.timeout",
                reasons::TASK_RUN_GENERATION_FAILED,
                message,
            ));
        }
        found
    }

    /// The strategy's name goes into a label.
    fn labels(&self) -> Option<Refusal> {
        let broken = label_value(self.strategy.name());
        let name = go_quote(self.strategy.name());
        let message = format!(
            "metadata configuration: strategy name {name} is no label value: {}",
            broken.join(", ")
        );
        let site = Site { base: String::new(), ..self.strategy_site.clone() };
        (!broken.is_empty())
            .then(|| site.refuse("metadata.name", reasons::TASK_RUN_GENERATION_FAILED, message))
    }

    fn parameters(&self) -> Vec<Refusal> {
        let mut found = Vec::new();
        let mut known = BTreeSet::new();
        for (index, parameter) in self.strategy.spec().parameters.iter().enumerate() {
            let name = go_quote(&parameter.name);
            let mut refuse = |what: &str| {
                let message = format!("metadata configuration: parameter {name} {what}");
                found.push(self.strategy(&format!("parameters[{index}].name"), message));
            };
            if !is_parameter_name(&parameter.name) {
                refuse(
                    "must begin with a letter or '_' and hold only letters, digits, '_', '-' and '.'",
                );
            }
            if SYSTEM_PARAMS.contains(&parameter.name.as_str()) {
                refuse("is one of Shipwright's own; choose another name");
            }
            if !known.insert(parameter.name.as_str()) {
                refuse("is declared more than once");
            }
        }
        for (site, values) in [
            (&self.build_site, &self.effective.spec.param_values),
            (&self.run_site, &self.effective.buildrun.spec.param_values),
        ] {
            let mut known = BTreeSet::new();
            for (index, value) in values.iter().enumerate() {
                if !known.insert(value.name.as_str()) {
                    let name = go_quote(&value.name);
                    let message =
                        format!("metadata configuration: parameter {name} is given more than once");
                    let field = format!("paramValues[{index}].name");
                    found.push(site.refuse(&field, reasons::TASK_RUN_GENERATION_FAILED, message));
                }
            }
        }
        found
    }

    fn defaults(&self, unresolved: &[UnresolvedDefault]) -> Vec<Refusal> {
        let refuse = |default: &UnresolvedDefault| {
            let name = go_quote(&default.parameter);
            let message = format!("metadata configuration: parameter {name}: {}", default.why);
            self.strategy(&format!("parameters[{}].default", default.index), message)
        };
        unresolved.iter().map(refuse).collect()
    }

    fn identity(&self) -> Vec<Refusal> {
        let spec = self.strategy.spec();
        let mut found = Vec::new();
        let mut check = |field: String, id: Option<i64>| {
            if let Some(id) = id.filter(|id| !VALID_IDS.contains(id)) {
                let highest = VALID_IDS.end();
                let message =
                    format!("Invalid value: {id}: must be between 0 and {highest}, inclusive");
                found.push(self.strategy(&field, message));
            }
        };
        if let Some(context) = &spec.security_context {
            check("securityContext.runAsUser".into(), Some(context.run_as_user));
            check("securityContext.runAsGroup".into(), Some(context.run_as_group));
        }
        for (index, step) in spec.steps.iter().enumerate() {
            let id = |id: fn(&SecurityContext) -> Option<i64>| {
                step.security_context.as_ref().and_then(id)
            };
            let field = |field: &str| format!("steps[{index}].securityContext.{field}");
            check(field("runAsUser"), id(|context| context.run_as_user));
            check(field("runAsGroup"), id(|context| context.run_as_group));
        }
        found
    }

    /// Where the source of a volume is written.
    pub fn volume_place(&self, index: usize, name: &str) -> (&Site, String) {
        let is_overridable = self.strategy.spec().volumes[index].overridable == Some(true);
        let last =
            |list: &[Volume]| list.iter().rposition(|volume| is_overridable && volume.name == name);
        let place = |at| format!("volumes[{at}]");
        match (last(&self.effective.buildrun.spec.volumes), last(&self.effective.spec.volumes)) {
            (Some(at), _) => (&self.run_site, place(at)),
            (None, Some(at)) => (&self.build_site, place(at)),
            (None, None) => (&self.strategy_site, place(index)),
        }
    }

    /// Where the resources of a step are written.
    pub fn resources_place(&self, index: usize, step: &Step) -> (&Site, String) {
        let last = |list: &[StepResources]| list.iter().rposition(|given| given.name == step.name);
        if let Some(at) = last(&self.effective.buildrun.spec.step_resources) {
            return (&self.run_site, format!("stepResources[{at}]"));
        }
        match last(&self.effective.spec.strategy.step_resources) {
            Some(at) => (&self.build_site, format!("strategy.stepResources[{at}]")),
            None => (&self.strategy_site, format!("steps[{index}]")),
        }
    }
}

fn is_parameter_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
