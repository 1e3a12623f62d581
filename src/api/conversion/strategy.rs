//! BuildStrategy and ClusterBuildStrategy in either version.

use serde_json::{Value, json};

use super::build::{BUILDER_IMAGE, DOCKERFILE};
use super::fields::{Fields, change_items, change_object, only, rename, set, take_list, text_of};

/// What a step of v1beta1 has of a container.
const STEP: [&str; 10] = [
    "args",
    "command",
    "env",
    "image",
    "imagePullPolicy",
    "name",
    "resources",
    "securityContext",
    "volumeMounts",
    "workingDir",
];

/// How v1alpha1 refers to the Dockerfile, first as it is written back.
const ALPHA_DOCKERFILE: [&str; 2] = ["$(params.DOCKERFILE)", "$(build.dockerfile)"];
const ALPHA_BUILDER: [&str; 1] = ["$(build.builder.image)"];
const BETA_DOCKERFILE: &str = "$(params.dockerfile)";
const BETA_BUILDER: &str = "$(params.builder-image)";

/// The Dockerfile of a Build that names none.
const DEFAULT_DOCKERFILE: &str = "Dockerfile";

pub fn to_beta(mut strategy: Fields) -> Fields {
    change_object(&mut strategy, "spec", spec_to_beta);
    strategy
}

pub fn to_alpha(mut strategy: Fields) -> Fields {
    change_object(&mut strategy, "spec", spec_to_alpha);
    strategy
}

fn spec_to_beta(mut spec: Fields) -> Fields {
    rename(&mut spec, "buildSteps", "steps");
    let (mut reads_dockerfile, mut reads_builder) = (false, false);
    change_items(&mut spec, "steps", |mut step| {
        reads_dockerfile |= replace(&mut step, &ALPHA_DOCKERFILE, BETA_DOCKERFILE);
        reads_builder |= replace(&mut step, &ALPHA_BUILDER, BETA_BUILDER);
        only(step, &STEP)
    });
    let mut parameters = take_list(&mut spec, "parameters");
    if reads_dockerfile {
        parameters.get_or_insert_default().push(json!({
            "name": DOCKERFILE, "description": "The Dockerfile to be built.", "type": "string",
            "default": DEFAULT_DOCKERFILE,
        }));
    }
    if reads_builder {
        parameters.get_or_insert_default().push(json!({
            "name": BUILDER_IMAGE, "description": "The builder image.", "type": "string",
        }));
    }
    set(&mut spec, "parameters", parameters);
    spec
}

fn spec_to_alpha(mut spec: Fields) -> Fields {
    rename(&mut spec, "steps", "buildSteps");
    let mut dropped = Vec::new();
    if let Some(mut parameters) = take_list(&mut spec, "parameters") {
        let count = parameters.len();
        parameters.retain(|parameter| {
            let is_own = parameter.as_object().and_then(own_field);
            dropped.extend(is_own);
            is_own.is_none()
        });
        if parameters.len() == count || !parameters.is_empty() {
            set(&mut spec, "parameters", Some(parameters));
        }
    }
    change_items(&mut spec, "buildSteps", |mut step| {
        for (beta, alpha) in &dropped {
            replace(&mut step, &[beta], alpha);
        }
        step
    });
    spec
}

/// A parameter that v1alpha1 has no need to declare: how steps refer to it here and there.
fn own_field(parameter: &Fields) -> Option<(&'static str, &'static str)> {
    let is_string = text_of(parameter, "type") == Some("string");
    match (text_of(parameter, "name")?, text_of(parameter, "default")) {
        (DOCKERFILE, Some(DEFAULT_DOCKERFILE)) if is_string => {
            Some((BETA_DOCKERFILE, ALPHA_DOCKERFILE[0]))
        }
        (BUILDER_IMAGE, None) if is_string => Some((BETA_BUILDER, ALPHA_BUILDER[0])),
        _ => None,
    }
}

/// Replaces references in command, arguments and values of environment variables; tells whether there were any.
fn replace(step: &mut Fields, from: &[&str], to: &str) -> bool {
    let mut found = false;
    let mut replace = |text: &mut Value| {
        if let Value::String(text) = text {
            for token in from {
                if text.contains(token) {
                    *text = text.replace(token, to);
                    found = true;
                }
            }
        }
    };
    for list in ["command", "args"] {
        step.get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .for_each(&mut replace);
    }
    let variables = step.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten();
    variables.filter_map(|variable| variable.get_mut("value")).for_each(replace);
    found
}
