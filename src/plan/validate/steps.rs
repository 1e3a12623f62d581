//! Names, images, commands and mounts of the strategy's steps and volumes: what would keep the pod from being made.
//!
//! Invariant: names and paths are judged as they are in the run, with its values in their places.

use std::collections::BTreeSet;

use super::generation::Context;
use super::proof::own_command;
use crate::api::{Step, reasons};
use crate::plan::effective::clean;
use crate::plan::go_quote::go_quote;
use crate::plan::kubernetes_names::dns_label;
use crate::plan::layout::{is_own_volume, step_part, supporting_step_names};
use crate::plan::loaded::Presence;
use crate::plan::refusal::Refusal;
use crate::plan::requests::above_limit;
use crate::plan::substitution::Resolved;

/// Mounts below these belong to the pod's own machinery.
const OWN_MOUNTS: [&str; 2] = ["/shp/", "/tekton/"];
/// The one mount below `/tekton/` that a step may replace.
const TEKTON_HOME: &str = "/tekton/home";
/// So many containers of ours take as much as an API server stores of one pod, and the kubelet keeps too little of each
/// one's results.
const MAX_STEPS: usize = 100;

impl Context<'_> {
    /// Judges steps and volumes; without `resolved`, what holds references is left out.
    pub fn steps(&self, resolved: Option<&Resolved>) -> Vec<Refusal> {
        let (steps, volumes) = self.steps_and_volumes(resolved);
        let is_final = |text: &str| resolved.is_some() || !text.contains("$(");
        let mut found = Vec::new();
        if steps.is_empty() || steps.len() > MAX_STEPS {
            let count = steps.len();
            let message =
                format!("build strategy: there are {count} steps; a strategy has 1 to {MAX_STEPS}");
            found.push(self.strategy("steps", message));
        }
        let mut names: BTreeSet<&str> = supporting_step_names(self.effective).collect();
        for (index, step) in steps.iter().enumerate() {
            let field = |field: &str| format!("steps[{index}].{field}");
            let name = go_quote(&step.name);
            if is_final(&step.name) {
                let broken = dns_label(&step.name);
                if !broken.is_empty() {
                    let message = format!(
                        "build strategy: step name {name} is not valid: {}",
                        broken.join(", ")
                    );
                    found.push(self.strategy(&field("name"), message));
                }
                if !names.insert(step_part(&step.name)) {
                    let message = format!(
                        "build strategy: there is more than one step {name}; rename this one"
                    );
                    found.push(self.strategy(&field("name"), message));
                }
            }
            if step.image.as_deref().unwrap_or_default().is_empty() {
                let message = format!("build strategy: step {name} has no image");
                found.push(self.strategy(&field("image"), message));
            }
            let policy = step.image_pull_policy.as_deref().unwrap_or_default();
            if is_final(policy) && !["", "Always", "IfNotPresent", "Never"].contains(&policy) {
                let policy = go_quote(policy);
                let message =
                    format!("build strategy: {policy} is none of Always, IfNotPresent and Never");
                found.push(self.strategy(&field("imagePullPolicy"), message));
            }
            if resolved.is_some() && step.command.is_empty() {
                found.extend(self.command(index, step));
            }
            found.extend(self.mounts(index, step, &is_final));
        }
        let mut names = BTreeSet::new();
        for (index, volume) in
            volumes.iter().enumerate().filter(|(_, volume)| is_final(&volume.name))
        {
            found.extend(self.volume_name(index, &volume.name));
            if resolved.is_some() && !names.insert(volume.name.as_str()) {
                let name = go_quote(&volume.name);
                let message =
                    format!("build strategy: BuildStrategy Volume {name} is listed more than once");
                found.push(self.strategy(&format!("volumes[{index}].name"), message));
            }
        }
        found.extend(self.resources());
        found
    }

    /// The gate starts the command in the image's stead, so it must be known, or be taken to be there by whoever starts nothing.
    fn command(&self, index: usize, step: &Step) -> Option<Refusal> {
        let image = step.image.as_deref().unwrap_or_default();
        let is_assumed = self.loaded.image_commands.get(image) == Some(&Presence::Assumed);
        let problem = self.loaded.image_problems.get(image);
        let why = match own_command(self.loaded, image) {
            None if is_assumed => return None,
            None => &problem.map_or("cannot be found out here".into(), |problem| {
                format!("cannot be found out: {problem}")
            }),
            Some((command, args))
                if command.is_empty() && args.is_empty() && step.args.is_empty() =>
            {
                "is nothing"
            }
            Some(_) => return None,
        };
        let (name, image) = (go_quote(&step.name), go_quote(image));
        let message = format!(
            "build strategy: step {name} has no command, and what the image {image} runs of itself {why}; write the step's command"
        );
        (!image.is_empty()).then(|| self.strategy(&format!("steps[{index}].command"), message))
    }

    fn mounts(&self, index: usize, step: &Step, is_final: &impl Fn(&str) -> bool) -> Vec<Refusal> {
        let mut found = Vec::new();
        let mut paths = BTreeSet::new();
        for (at, mount) in
            step.volume_mounts.iter().enumerate().filter(|(_, mount)| is_final(&mount.mount_path))
        {
            let path = mount.mount_path.trim_end_matches('/');
            let below = format!("{path}/");
            let quoted = go_quote(&mount.mount_path);
            let mut refuse = |what: &str| {
                let message = format!("build strategy: {what}");
                found.push(
                    self.strategy(&format!("steps[{index}].volumeMounts[{at}].mountPath"), message),
                );
            };
            if !path.is_empty() && clean(path) != path {
                refuse(&format!(
                    "{quoted} is no path to mount at; write it from / on, without . and .. and doubled slashes"
                ));
            } else if path.is_empty() {
                refuse(&format!("nothing can be mounted at {quoted}; name a directory below /"));
            } else if path != TEKTON_HOME && OWN_MOUNTS.iter().any(|own| below.starts_with(own)) {
                refuse(&format!("nothing may be mounted at {quoted}, which belongs to the pod"));
            } else if !paths.insert(path) {
                refuse(&format!("there is more than one mount at {quoted}"));
            }
        }
        found
    }

    fn volume_name(&self, index: usize, name: &str) -> Option<Refusal> {
        let broken = dns_label(name);
        let quoted = go_quote(name);
        let message = if is_own_volume(name) {
            format!("build strategy: volume name {quoted} belongs to the pod; choose another")
        } else if !broken.is_empty() {
            format!("build strategy: volume name {quoted} is not valid: {}", broken.join(", "))
        } else {
            return None;
        };
        Some(self.strategy(&format!("volumes[{index}].name"), message))
    }

    fn resources(&self) -> Vec<Refusal> {
        let mut found = Vec::new();
        for (index, step) in self.effective.steps.iter().enumerate() {
            for (resource, request, limit) in step.resources.iter().flat_map(above_limit) {
                let (site, place) = self.resources_place(index, step);
                let (request, limit) = (&request.0, &limit.0);
                let message = format!(
                    "[User error] invalid request resource value: {request} must be less or equal to limit {limit}"
                );
                let field = format!("{place}.resources.requests.{resource}");
                found.push(site.refuse(&field, reasons::TASK_RUN_GENERATION_FAILED, message));
            }
        }
        found
    }
}
