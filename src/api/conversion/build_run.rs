//! BuildRun in either version.

use serde_json::Value;

use super::build::{
    local_to_alpha, local_to_beta, param_values, spec_to_alpha, spec_to_beta, volumes_to_beta,
};
use super::fields::{
    Fields, change_object, flatten_reference, nest_reference, only, reference, rename, set,
    take_list, take_object, take_text, text_of,
};
use super::name_of;
use crate::api::BuildRunSpec;

/// The kind of what ran every build that v1alpha1 knows.
const TASK_RUN: &str = "TaskRun";
/// The name that v1alpha1 gives to the source that was built.
const SOURCE: &str = "default";

/// What both versions have in common.
const SHARED: [&str; 7] =
    ["env", "output", "paramValues", "retention", "state", "timeout", "volumes"];
const SHARED_STATUS: [&str; 4] = ["completionTime", "conditions", "failureDetails", "startTime"];

pub fn to_beta(mut run: Fields) -> Fields {
    change_object(&mut run, "spec", run_spec_to_beta);
    change_object(&mut run, "status", status_to_beta);
    run
}

pub fn to_alpha(mut run: Fields) -> Fields {
    let name = name_of(&run);
    change_object(&mut run, "spec", |spec| run_spec_to_alpha(spec, &name));
    change_object(&mut run, "status", status_to_alpha);
    run
}

/// `serviceAccount` is always there.
pub fn canonical_alpha(mut run: Fields) -> Fields {
    change_object(&mut run, "spec", |mut spec| {
        spec.entry("serviceAccount").or_insert_with(|| Fields::new().into());
        spec
    });
    run
}

fn run_spec_to_beta(mut spec: Fields) -> Fields {
    let mut build = Fields::new();
    if let Some(mut named) = take_object(&mut spec, "buildRef") {
        set(&mut build, "name", take_text(&mut named, "name"));
    }
    set(&mut build, "spec", take_object(&mut spec, "buildSpec").map(spec_to_beta));
    let source = take_list(&mut spec, "sources").and_then(local_to_beta).map(|local| {
        Fields::from_iter([("type".into(), "Local".into()), ("local".into(), local.into())])
    });
    let account = take_object(&mut spec, "serviceAccount").and_then(|mut account| {
        if account.get("generate") == Some(&Value::Bool(true)) {
            Some(BuildRunSpec::GENERATE_SERVICE_ACCOUNT.to_owned())
        } else {
            take_text(&mut account, "name")
        }
    });
    change_object(&mut spec, "output", |mut output| {
        flatten_reference(&mut output, "credentials", "pushSecret");
        only(output, &["annotations", "image", "labels", "pushSecret"])
    });
    param_values(&mut spec);
    volumes_to_beta(&mut spec);
    let mut spec = only(spec, &SHARED);
    set(&mut spec, "build", Some(build));
    set(&mut spec, "source", source);
    set(&mut spec, "serviceAccount", account);
    spec
}

fn run_spec_to_alpha(mut spec: Fields, run: &str) -> Fields {
    let mut build = take_object(&mut spec, "build").unwrap_or_default();
    let embedded = take_object(&mut build, "spec").map(spec_to_alpha);
    let named = take_text(&mut build, "name").filter(|_| embedded.is_none()).map(reference);
    let local = take_object(&mut spec, "source")
        .filter(|source| text_of(source, "type") == Some("Local"))
        .and_then(|mut source| take_object(&mut source, "local"));
    let account = match take_text(&mut spec, "serviceAccount") {
        Some(account) if account == BuildRunSpec::GENERATE_SERVICE_ACCOUNT => {
            let mut generated = reference(run.to_owned());
            set(&mut generated, "generate", Some(true));
            generated
        }
        Some(account) => reference(account),
        None => Fields::new(),
    };
    change_object(&mut spec, "output", |mut output| {
        nest_reference(&mut output, "pushSecret", "credentials");
        only(output, &["annotations", "credentials", "image", "labels"])
    });
    param_values(&mut spec);
    let mut spec = only(spec, &SHARED);
    set(&mut spec, "buildSpec", embedded);
    set(&mut spec, "buildRef", named);
    set(&mut spec, "sources", local.map(local_to_alpha));
    set(&mut spec, "serviceAccount", Some(account));
    spec
}

fn status_to_beta(mut status: Fields) -> Fields {
    let source = take_list(&mut status, "sources").and_then(|sources| sources.into_iter().last());
    let source = source.and_then(|source| source.as_object().cloned()).map(|mut source| {
        rename(&mut source, "bundle", "ociArtifact");
        only(source, &["git", "ociArtifact", "timestamp"])
    });
    let ran = take_text(&mut status, "latestTaskRunRef");
    let build = take_object(&mut status, "buildSpec").map(spec_to_beta);
    let output = take_object(&mut status, "output").map(|output| only(output, &["digest", "size"]));
    let mut status = only(status, &SHARED_STATUS);
    set(&mut status, "buildSpec", build);
    set(&mut status, "output", output);
    set(&mut status, "source", source);
    if let Some(name) = ran {
        let mut executor = reference(name.clone());
        set(&mut executor, "kind", Some(TASK_RUN));
        set(&mut status, "executor", Some(executor));
        set(&mut status, "taskRunName", Some(name));
    }
    status
}

fn status_to_alpha(mut status: Fields) -> Fields {
    let sources = take_object(&mut status, "source").map(sources_to_alpha);
    let executor = take_object(&mut status, "executor");
    let ran = executor.and_then(|mut executor| take_text(&mut executor, "name"));
    let ran = ran.or_else(|| take_text(&mut status, "taskRunName"));
    let build = take_object(&mut status, "buildSpec").map(spec_to_alpha);
    let output = take_object(&mut status, "output").map(|output| only(output, &["digest", "size"]));
    let failed_at = status
        .get("failureDetails")
        .and_then(|details| details.get("location"))
        .filter(|location| location.is_object())
        .cloned();
    let mut status = only(status, &SHARED_STATUS);
    set(&mut status, "buildSpec", build);
    set(&mut status, "failedAt", failed_at);
    set(&mut status, "latestTaskRunRef", ran);
    set(&mut status, "output", output);
    set(&mut status, "sources", sources.filter(|sources| !sources.is_empty()));
    status
}

/// One entry each for what was fetched.
fn sources_to_alpha(mut source: Fields) -> Vec<Value> {
    let timestamp = source.remove("timestamp");
    let mut sources = Vec::new();
    for (beta, alpha) in [("git", "git"), ("ociArtifact", "bundle")] {
        if let Some(found) = source.remove(beta) {
            let mut entry = reference(SOURCE.into());
            set(&mut entry, alpha, Some(found));
            set(&mut entry, "timestamp", timestamp.clone());
            sources.push(entry.into());
        }
    }
    sources
}
