//! What a Build must be, apart from what its strategy decides.
//!
//! Invariant: each function is one of upstream's validators. Where several problems of one validator are found, upstream shows
//! the last, so that one stands first here.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::EnvVar;

use super::problems::Site;
use crate::api::{Build, BuildSpec, Image, Platform, Source, Trigger, TriggerWhen, reasons};
use crate::plan::Settings;
use crate::plan::go_quote::go_quote;
use crate::plan::kubernetes_names::label_value;
use crate::plan::loaded::{Presence, SecretFacts};
use crate::plan::refusal::Refusal;

/// Annotation that asks for a look at the source repository.
const VERIFY_REPOSITORY: &str = "build.shipwright.io/verify.repository";

/// What the annotation on the Build says, as far as the URL alone tells.
pub fn source_url(
    site: &Site,
    annotations: Option<&BTreeMap<String, String>>,
    spec: &BuildSpec,
) -> Option<Refusal> {
    let git = spec.source.as_ref().filter(|source| source.type_ == "Git")?.git.as_ref()?;
    if git.clone_secret.is_some() {
        return None;
    }
    let refuse = |message: &str| {
        Some(site.refuse("source.git.url", reasons::REMOTE_REPOSITORY_UNREACHABLE, message))
    };
    match annotations?.get(VERIFY_REPOSITORY)?.as_str() {
        "" | "false" => None,
        "true" => match git.url.split_once("://") {
            Some(("ssh", _)) => refuse("the source url requires authentication"),
            Some(("file", _)) => refuse("invalid source url"),
            Some(_) => None,
            // `git@host:path`, which git speaks ssh to, also without a user.
            None if git
                .url
                .split_once(':')
                .is_some_and(|(host, _)| !host.is_empty() && !host.contains(['/', ' '])) =>
            {
                refuse("the source url requires authentication")
            }
            None => refuse("invalid source url"),
        },
        _ => refuse(
            "the annotation build.shipwright.io/verify.repository was not properly defined, supported values are true or false",
        ),
    }
}

/// The repository that has to answer before the Build counts as registered, where the Build asks for that and needs no secret for it.
pub fn repository_to_ask(build: &Build) -> Option<&str> {
    let source = build.spec.source.as_ref().filter(|source| source.type_ == "Git")?;
    let git = source.git.as_ref().filter(|git| git.clone_secret.is_none())?;
    let asks = build.metadata.annotations.as_ref()?.get(VERIFY_REPOSITORY)? == "true";
    let (scheme, _) = git.url.split_once("://")?;
    (asks && ["http", "https"].contains(&scheme)).then_some(&git.url)
}

/// What its own status says of that repository: who runs it does not ask again.
pub fn unreachable(site: &Site, build: &Build) -> Option<Refusal> {
    let reason = reasons::REMOTE_REPOSITORY_UNREACHABLE;
    let status = build.status.as_ref()?;
    let is_so = status.registered.as_deref() == Some("False")
        && status.reason.as_deref() == Some(reason)
        && repository_to_ask(build).is_some();
    let message = status.message.as_deref().unwrap_or_default();
    is_so.then(|| site.refuse("source.git.url", reason, message))
}

/// The Secrets of source and output must be there.
pub fn secrets(
    site: &Site,
    spec: &BuildSpec,
    secrets: &BTreeMap<String, Presence<SecretFacts>>,
) -> Vec<Refusal> {
    let absent = |name: &&str| secrets.get(*name).is_some_and(Presence::is_absent);
    let source = source_secret(spec).filter(|(_, name)| absent(name));
    let output =
        spec.output.push_secret.as_deref().filter(absent).map(|name| ("output.pushSecret", name));
    match (source, output) {
        (Some((field, source)), Some((_, output))) if source != output => {
            let mut names = [source, output];
            names.sort_unstable();
            let message = format!("missing secrets are {}", names.join(","));
            vec![site.refuse(field, reasons::MULTIPLE_SECRET_REF_NOT_FOUND, message)]
        }
        (Some((field, name)), _) => {
            let message = format!("referenced secret {name} not found");
            vec![site.refuse(field, reasons::SPEC_SOURCE_SECRET_REF_NOT_FOUND, message)]
        }
        (None, Some((field, name))) => {
            let message = format!("referenced secret {name} not found");
            vec![site.refuse(field, reasons::SPEC_OUTPUT_SECRET_REF_NOT_FOUND, message)]
        }
        (None, None) => Vec::new(),
    }
}

/// The field and name of the Secret that the source names.
fn source_secret(spec: &BuildSpec) -> Option<(&'static str, &str)> {
    let source = spec.source.as_ref()?;
    if source.type_ == "OCI" {
        let name = source.oci_artifact.as_ref()?.pull_secret.as_deref()?;
        return Some(("source.ociArtifact.pullSecret", name));
    }
    Some(("source.git.cloneSecret", source.git.as_ref()?.clone_secret.as_deref()?))
}

/// Type and payload of the source must fit. Upstream looks at this for embedded specs only.
pub fn source_shape(site: &Site, source: Option<&Source>) -> Option<Refusal> {
    let source = source?;
    let (field, message) = match source.type_.as_str() {
        "" if has_payload(source) => ("source.type", "type definition is missing"),
        "Git" if source.git.is_none() => ("source.git", "type does not match the source"),
        "OCI" if source.oci_artifact.is_none() => {
            ("source.ociArtifact", "type does not match the source")
        }
        "Local" if source.local.is_none() => ("source.local", "type does not match the source"),
        _ => return None,
    };
    Some(site.refuse(field, reasons::BUILD_REGISTRATION_FAILED, message))
}

/// Whether a source says more than its type.
fn has_payload(source: &Source) -> bool {
    source.git.is_some() || source.oci_artifact.is_some() || source.local.is_some()
}

/// Timestamp and platforms of the output; a problem of the platforms shows before one of the timestamp.
pub fn output(site: &Site, spec: &BuildSpec) -> Vec<Refusal> {
    let mut found = platforms(site, &spec.output);
    found.extend(platform_conflicts(site, &spec.output, &spec.node_selector));
    found.extend(timestamp(site, spec));
    found
}

/// A timestamp is a word or a number, and a source's needs a source.
pub fn timestamp(site: &Site, spec: &BuildSpec) -> Option<Refusal> {
    let timestamp = spec.output.timestamp.as_deref()?;
    let (reason, message) = match timestamp {
        "" | "Zero" | "BuildTimestamp" => return None,
        "SourceTimestamp" if spec.source.as_ref().is_some_and(has_payload) => return None,
        "SourceTimestamp" => (
            reasons::OUTPUT_TIMESTAMP_NOT_SUPPORTED,
            "cannot use SourceTimestamp output image setting with an empty build source",
        ),
        number if number.parse::<i64>().is_ok() => return None,
        _ => (
            reasons::OUTPUT_TIMESTAMP_NOT_VALID,
            "output timestamp value is invalid, must be Zero, SourceTimestamp, BuildTimestamp, or number",
        ),
    };
    Some(site.refuse("output.timestamp", reason, message))
}

/// Labels of a node that say what it runs.
const OS: &str = "kubernetes.io/os";
const ARCH: &str = "kubernetes.io/arch";

/// Rules for the platforms of an output.
pub fn platforms(site: &Site, output: &Image) -> Vec<Refusal> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for (index, Platform { os, arch }) in output.platforms.iter().enumerate() {
        let mut refuse = |field: &str, message: String| {
            found.push(site.refuse(
                &format!("output.platforms[{index}]{field}"),
                reasons::INVALID_PLATFORM,
                message,
            ));
        };
        let place = format!("spec.output.platforms[{index}]");
        if os.is_empty() || arch.is_empty() {
            refuse("", format!("{place} must specify both os and arch"));
            continue;
        }
        for (field, value, label) in [("os", os, OS), ("arch", arch, ARCH)] {
            if !is_platform_word(value) {
                let message = format!(
                    "{place}.{field} {}: invalid; use the value your Nodes have for label {label:?}",
                    go_quote(value)
                );
                refuse(&format!(".{field}"), message);
            }
        }
        if !known.insert((os, arch)) {
            refuse("", format!("{place} is a duplicate of {os}/{arch}"));
        }
    }
    found
}

/// Where there are platforms, they and no nodeSelector say what the nodes run.
pub fn platform_conflicts(
    site: &Site,
    output: &Image,
    node_selector: &BTreeMap<String, String>,
) -> Vec<Refusal> {
    let keys = [OS, ARCH]
        .into_iter()
        .filter(|key| !output.platforms.is_empty() && node_selector.contains_key(*key));
    let refuse = |key| {
        let message = format!(
            "nodeSelector must not contain {key:?} when spec.output.platforms is set; the build controller manages os/arch scheduling"
        );
        site.refuse(
            &format!("nodeSelector[{key}]"),
            reasons::NODE_SELECTOR_PLATFORM_CONFLICT,
            message,
        )
    };
    keys.map(refuse).collect()
}

fn is_platform_word(word: &str) -> bool {
    (1..=64).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The name goes into labels.
pub fn name(site: &Site, name: &str) -> Option<Refusal> {
    let broken = label_value(name);
    (!broken.is_empty())
        .then(|| site.refuse("metadata.name", reasons::BUILD_NAME_INVALID, broken.join(", ")))
}

/// Names and values of environment variables.
pub fn env(site: &Site, env: &[EnvVar], settings: &Settings) -> Vec<Refusal> {
    let mut found = Vec::new();
    for (index, variable) in env.iter().enumerate() {
        let mut refuse = |field: &str, reason, message: String| {
            found.push(site.refuse(&format!("env[{index}]{field}"), reason, message));
        };
        if variable.name.is_empty() {
            refuse(
                ".name",
                reasons::SPEC_ENV_NAME_CANNOT_BE_BLANK,
                "name for environment variable must not be blank".into(),
            );
        }
        if settings.forbids_env(&variable.name) {
            let message = format!(
                "environment variable {} is forbidden for security reasons",
                go_quote(&variable.name)
            );
            refuse(".name", reasons::SPEC_ENV_NAME_FORBIDDEN, message);
        }
        if variable.value.as_deref().is_some_and(|value| !value.is_empty())
            && variable.value_from.is_some()
        {
            refuse(
                "",
                reasons::SPEC_ENV_ONLY_ONE_OF_VALUE_OR_VALUE_FROM_MUST_BE_SPECIFIED,
                "only one of value or valueFrom must be specified".into(),
            );
        }
    }
    found.reverse();
    found
}

/// Conditions of triggers, which a separate project acts upon.
pub fn triggers(site: &Site, trigger: Option<&Trigger>) -> Vec<Refusal> {
    let mut found = Vec::new();
    for (index, when) in trigger.iter().flat_map(|trigger| &trigger.when).enumerate() {
        let refuse = |field: &str, reason, message: String| {
            site.refuse(&format!("trigger.when[{index}].{field}"), reason, message)
        };
        if when.name.is_empty() {
            let message = "name is not set on when trigger condition".into();
            found.push(refuse("name", reasons::TRIGGER_NAME_CANNOT_BE_BLANK, message));
        }
        let name = go_quote(&when.name);
        let (reason, wrong) = trigger_condition(when);
        found.extend(
            wrong.into_iter().map(|(field, text)| refuse(field, reason, format!("{name} {text}"))),
        );
    }
    found.reverse();
    found
}

/// The reason, and each field that is wrong with what is wrong with it.
fn trigger_condition(when: &TriggerWhen) -> (&'static str, Vec<(&'static str, String)>) {
    let missing = |field| vec![(field, format!("is missing required attribute `.{field}`"))];
    match when.type_.as_str() {
        "GitHub" => (
            reasons::TRIGGER_INVALID_GITHUB_WEBHOOK,
            match &when.github {
                None => missing("github"),
                Some(github) if github.events.is_empty() => missing("github.events"),
                Some(_) => Vec::new(),
            },
        ),
        "Image" => (
            reasons::TRIGGER_INVALID_IMAGE,
            match &when.image {
                None => missing("image"),
                Some(image) if image.names.is_empty() => missing("image.names"),
                Some(_) => Vec::new(),
            },
        ),
        "Pipeline" => (
            reasons::TRIGGER_INVALID_PIPELINE,
            match &when.object_ref {
                None => missing("objectRef"),
                Some(object) => {
                    let mut wrong = if object.status.is_empty() {
                        missing("objectRef.status")
                    } else {
                        Vec::new()
                    };
                    let is_named = object.name.as_ref().is_some_and(|name| !name.is_empty());
                    let text = match (is_named, object.selector.is_empty()) {
                        (false, true) => {
                            "is missing required attributes `.objectRef.name` or `.objectRef.selector`"
                        }
                        (true, false) => {
                            "contains `.objectRef.name` and `.objectRef.selector`, must be only one"
                        }
                        _ => return (reasons::TRIGGER_INVALID_PIPELINE, wrong),
                    };
                    wrong.push(("objectRef", text.to_owned()));
                    wrong
                }
            },
        ),
        other => {
            let text = format!("contains an invalid type {}", go_quote(other));
            (reasons::TRIGGER_INVALID_TYPE, vec![("type", text)])
        }
    }
}
