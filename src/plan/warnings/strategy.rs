//! Warnings about strategies.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::SecurityContext;
use slipway_step::protocol::results;

use super::script::script;
use super::{Warning, reasons, variables};
use crate::api::{Step, Strategy, StrategySpec};
use crate::plan::go_quote::go_quote;
use crate::plan::layout::{IMAGE_STEP, SOURCE_STEP, UPLOAD_STEP, step_part};
use crate::plan::params::{OUTPUT_DIRECTORY_PARAM, used};
use crate::plan::pod_security::BASELINE_CAPABILITIES;
use crate::plan::reference_text::{self, Target};
use crate::plan::substitution::NAMED;
use crate::plan::texts::{visit_step, visit_volume};

/// System parameters whose values nobody chooses.
const FIXED_PARAMS: [&str; 3] = ["shp-source-root", "shp-output-insecure", OUTPUT_DIRECTORY_PARAM];
/// The parameters by which an image leaves the strategy.
const OUTPUT_PARAMS: [&str; 2] = ["shp-output-image", OUTPUT_DIRECTORY_PARAM];
/// Results that some run has a path for.
const RESULTS: [&str; 10] = [
    results::IMAGE_DIGEST,
    results::IMAGE_SIZE,
    results::IMAGE_VULNERABILITIES,
    results::ERROR_MESSAGE,
    results::ERROR_REASON,
    results::SOURCE_COMMIT_SHA,
    results::SOURCE_COMMIT_AUTHOR,
    results::SOURCE_BRANCH_NAME,
    results::SOURCE_IMAGE_DIGEST,
    results::SOURCE_TIMESTAMP,
];
/// What begins so is the executor's of which upstream makes its runs.
const TEKTON_PREFIXES: [&str; 3] = ["credentials.", "steps.", "workspaces."];
/// References of the first API versions, which nothing replaces any more.
const OLD_PREFIX: &str = "$(build.";

/// What to think about in a strategy.
pub fn strategy_warnings(strategy: &Strategy) -> Vec<Warning> {
    let spec = strategy.spec();
    let texts = texts(spec);
    let mut found = Vec::new();
    found.extend(identity(spec));
    found.extend(unused_parameters(spec, &texts));
    found.extend(unused_volumes(spec));
    found.extend(host_paths(spec));
    for (index, step) in spec.steps.iter().enumerate() {
        let base = format!("spec.steps[{index}]");
        found.extend(image(step, &base));
        found.extend(spliced(step, &base));
        found.extend(variables(&step.env, &format!("{base}.env")));
        found.extend(reserved_name(step, &base, &texts));
        found.extend(step.security_context.iter().flat_map(|context| rights(context, &base)));
    }
    found.extend(unknown_references(&texts));
    found.extend(no_output(&texts));
    found
}

/// A text of a step or volume that may hold references.
struct Place {
    field: String,
    text: String,
}

fn texts(spec: &StrategySpec) -> Vec<Place> {
    let mut found = Vec::new();
    for (index, step) in spec.steps.iter().enumerate() {
        visit_step(&mut step.clone(), &mut |path, text| {
            let is_list = matches!(text, crate::plan::texts::Text::List(_));
            for (item, text) in text.strings().enumerate() {
                let item = if is_list { format!("[{item}]") } else { String::new() };
                let field = format!("spec.steps[{index}].{path}{item}");
                found.push(Place { field, text: text.clone() });
            }
        });
    }
    for (index, volume) in spec.volumes.iter().enumerate() {
        visit_volume(&mut volume.volume.clone(), &mut |path, text| {
            for text in text.strings() {
                let field = format!("spec.volumes[{index}].{path}");
                found.push(Place { field, text: text.clone() });
            }
        });
    }
    found
}

fn identity(spec: &StrategySpec) -> Option<Warning> {
    let user = |step: &Step| step.security_context.as_ref().and_then(|context| context.run_as_user);
    let step = spec.steps.iter().find(|step| user(step).is_none())?;
    let name = go_quote(&step.name);
    let message = format!(
        "neither the strategy nor its step {name} names a user, so that the step runs as whoever its image names, and the steps around it as others; set runAsUser and runAsGroup"
    );
    spec.security_context
        .is_none()
        .then(|| Warning::new("spec.securityContext", reasons::NO_IDENTITY, message))
}

fn unused_parameters(spec: &StrategySpec, texts: &[Place]) -> Vec<Warning> {
    let in_texts = texts.iter().map(|place| place.text.as_str());
    let in_defaults = spec.parameters.iter().filter_map(|parameter| parameter.default.as_deref());
    let known: BTreeSet<&str> = in_texts.chain(in_defaults).flat_map(used).collect();
    let unused = spec.parameters.iter().enumerate();
    let unused = unused.filter(|(_, parameter)| !known.contains(parameter.name.as_str()));
    let warning = |(index, parameter): (usize, &crate::api::Parameter)| {
        let name = go_quote(&parameter.name);
        let message =
            format!("no step and no volume refers to the parameter {name}; use or remove it");
        Warning::new(format!("spec.parameters[{index}].name"), reasons::UNUSED_PARAMETER, message)
    };
    unused.map(warning).collect()
}

fn unused_volumes(spec: &StrategySpec) -> Vec<Warning> {
    let mounts = spec.steps.iter().flat_map(|step| &step.volume_mounts);
    let mounted: BTreeSet<&str> = mounts.map(|mount| mount.name.as_str()).collect();
    let volumes = spec.volumes.iter().enumerate();
    let unused = volumes.filter(|(_, volume)| !mounted.contains(volume.volume.name.as_str()));
    let warning = |(index, volume): (usize, &crate::api::StrategyVolume)| {
        let name = go_quote(&volume.volume.name);
        let message = format!("no step mounts the volume {name}; mount or remove it");
        Warning::new(format!("spec.volumes[{index}].name"), reasons::UNUSED_VOLUME, message)
    };
    unused.map(warning).collect()
}

fn host_paths(spec: &StrategySpec) -> Vec<Warning> {
    let volumes = spec.volumes.iter().enumerate();
    let warning = |index: usize| {
        let message = "the volume is a directory of the node, which every build with this strategy can reach; use another kind of volume";
        Warning::new(format!("spec.volumes[{index}].hostPath"), reasons::HOST_PATH_VOLUME, message)
    };
    volumes
        .filter(|(_, volume)| volume.volume.host_path.is_some())
        .map(|(index, _)| warning(index))
        .collect()
}

/// What a tag means changes; without one it is `latest`.
fn image(step: &Step, base: &str) -> Option<Warning> {
    let image = step.image.as_deref().filter(|image| !image.is_empty() && !image.contains("$("))?;
    let tag = match image.rsplit('/').next().unwrap_or_default().split_once(':') {
        _ if image.contains('@') => return None,
        Some((_, "latest")) => "has the tag latest",
        Some(_) => return None,
        None => "has no tag",
    };
    let message = format!(
        "the image {} {tag}, so that another program may run tomorrow; name a version or a digest",
        go_quote(image)
    );
    Some(Warning::new(format!("{base}.image"), reasons::FLOATING_IMAGE, message))
}

/// A value in the middle of a script can end a quotation and become a command.
fn spliced(step: &Step, base: &str) -> Option<Warning> {
    let at = script(step.command.iter().chain(&step.args))?;
    let (field, text) = match at.checked_sub(step.command.len()) {
        Some(at) => (format!("{base}.args[{at}]"), &step.args[at]),
        None => (format!("{base}.command[{at}]"), &step.command[at]),
    };
    let mut known = BTreeSet::new();
    let mut quoted: Vec<String> = Vec::new();
    for reference in reference_text::references(text) {
        let is_chosen =
            matches!(reference.target, Target::Param { name, .. } if !FIXED_PARAMS.contains(&name));
        if is_chosen && known.insert(reference.text) {
            quoted.push(go_quote(reference.text));
        }
    }
    let message = format!(
        "the script holds {}, so that a value can run commands; pass it behind the script and read it there as an argument, or pass it in env",
        quoted.join(", ")
    );
    (!quoted.is_empty()).then(|| Warning::new(field, reasons::PARAMETER_IN_SCRIPT, message))
}

/// Steps of ours that only some runs have.
fn reserved_name(step: &Step, base: &str, texts: &[Place]) -> Option<Warning> {
    // With the output directory in use, every run has the last one, and the name is refused.
    let is_refused =
        || texts.iter().any(|place| used(&place.text).any(|name| name == OUTPUT_DIRECTORY_PARAM));
    let which = match step_part(&step.name) {
        SOURCE_STEP => "that fetch a source",
        UPLOAD_STEP => "whose source is uploaded",
        IMAGE_STEP if !is_refused() => "that change the image behind the strategy",
        _ => return None,
    };
    let name = go_quote(&step.name);
    let message =
        format!("runs {which} have a step {name} already and are refused; rename this one");
    Some(Warning::new(format!("{base}.name"), reasons::RESERVED_STEP_NAME, message))
}

fn rights(context: &SecurityContext, base: &str) -> Vec<Warning> {
    let base = format!("{base}.securityContext");
    let mut found = Vec::new();
    if context.privileged == Some(true) {
        let message = "a privileged step can take over its node, and so can whoever chooses what it builds; give it the capabilities that it needs instead";
        found.push(Warning::new(format!("{base}.privileged"), reasons::PRIVILEGED_STEP, message));
    }
    let added =
        context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
    for (index, name) in added.enumerate() {
        if !BASELINE_CAPABILITIES.contains(&name.as_str()) {
            let message = format!(
                "namespaces that enforce the Pod Security Standard \"baseline\" refuse the capability {}; do without it",
                go_quote(name)
            );
            let field = format!("{base}.capabilities.add[{index}]");
            found.push(Warning::new(field, reasons::ADDED_CAPABILITY, message));
        }
    }
    found
}

/// What looks like a reference and is left as it is: for a shell, a command to run.
fn unknown_references(texts: &[Place]) -> Vec<Warning> {
    let mut found = Vec::new();
    for Place { field, text } in texts {
        let mut warn = |reference: &str, what: &str| {
            let message = format!("nothing replaces {}: {what}", go_quote(reference));
            found.push(Warning::new(field, reasons::UNKNOWN_REFERENCE, message));
        };
        for reference in reference_text::references(text) {
            match reference.target {
                Target::ResultPath { name } if !RESULTS.contains(&name) => {
                    warn(reference.text, "there is no such result; remove it");
                }
                Target::Named(name) if !NAMED.contains(&name) => {
                    let is_of_tekton = TEKTON_PREFIXES.iter().any(|of| name.starts_with(of));
                    let what = if is_of_tekton {
                        "it may mean something with Tekton, and nothing here; remove it"
                    } else {
                        "there is no such value; remove it"
                    };
                    warn(reference.text, what);
                }
                _ => {}
            }
        }
        for (start, _) in text.match_indices(OLD_PREFIX) {
            let end = text[start..].find(')').map_or(text.len(), |end| start + end + 1);
            warn(&text[start..end], "write it as $(params.…)");
        }
    }
    found
}

fn no_output(texts: &[Place]) -> Option<Warning> {
    let is_used =
        texts.iter().any(|place| used(&place.text).any(|name| OUTPUT_PARAMS.contains(&name)));
    let message = "no step refers to $(params.shp-output-image) or $(params.shp-output-directory), so that no image leaves the strategy; push to the one or write to the other";
    (!is_used).then(|| Warning::new("spec.steps", reasons::NO_OUTPUT, message))
}
