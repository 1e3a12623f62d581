//! What a field of v1beta1 is called in v1alpha1, for messages about objects that were written there.

use serde_json::Value;

use super::build::{BUILDER_IMAGE, DELETION_ANNOTATION, DOCKERFILE};
use super::{Version, convert};
use crate::api::{Build, BuildRun, BuildStrategy, ClusterBuildStrategy};

/// Fields of the spec of a Build, the longer ones first.
const BUILD: [(&str, &str); 8] = [
    ("source.git.cloneSecret", "source.credentials.name"),
    ("source.git", "source"),
    ("source.ociArtifact.pullSecret", "source.credentials.name"),
    ("source.ociArtifact", "source.bundleContainer"),
    ("source.local", "sources"),
    ("source.type", "source"),
    ("output.pushSecret", "output.credentials.name"),
    ("trigger.triggerSecret", "trigger.secretRef.name"),
];

/// Fields of the spec of a BuildRun.
const BUILD_RUN: [(&str, &str); 6] = [
    ("build.name", "buildRef.name"),
    ("build.spec", "buildSpec"),
    ("build", "buildRef"),
    ("source", "sources"),
    ("serviceAccount", "serviceAccount.name"),
    ("output.pushSecret", "output.credentials.name"),
];

const STRATEGY: [(&str, &str); 1] = [("steps", "buildSteps")];

/// The path of a field in v1alpha1, by its path in v1beta1, such as `spec.steps[0].args[1]`. What has no other name there keeps its
/// own.
pub fn alpha_field(kind: &str, beta: &str) -> String {
    let Some(field) = beta.strip_prefix("spec.") else { return beta.to_owned() };
    let alpha = match kind {
        Build::KIND if field == "retention.atBuildDeletion" => {
            return format!("metadata.annotations[{DELETION_ANNOTATION}]");
        }
        Build::KIND => renamed(&BUILD, field),
        BuildRun::KIND => match field.strip_prefix("build.spec.") {
            Some(field) => format!("buildSpec.{}", renamed(&BUILD, field)),
            None => renamed(&BUILD_RUN, field),
        },
        BuildStrategy::KIND | ClusterBuildStrategy::KIND => renamed(&STRATEGY, field),
        _ => field.to_owned(),
    };
    format!("spec.{alpha}")
}

/// As [`alpha_field`], for this object of v1alpha1, which tells more: an item of a list may stand at another place there, or be a field of
/// its own.
pub fn alpha_field_in(object: &Value, beta: &str) -> String {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    alpha_item(object, kind, beta).unwrap_or_else(|| alpha_field(kind, beta))
}

/// What an item of one of the lists that conversion changes is in the object as it is written.
fn alpha_item(object: &Value, kind: &str, beta: &str) -> Option<String> {
    let (beta_spec, alpha_spec) = match kind {
        BuildRun::KIND => ("spec.build.spec", "spec.buildSpec"),
        _ => ("spec", "spec"),
    };
    let field = beta.strip_prefix(beta_spec)?.strip_prefix('.')?;
    let (list, rest) = field.split_once('[')?;
    let (place, rest) = rest.split_once(']')?;
    let place: usize = place.parse().ok()?;
    let converted = convert(object.clone(), Version::V1beta1).ok()?;
    let items = at(&converted, beta_spec)?.get(list)?.as_array()?;
    let name = items.get(place)?.get("name")?.as_str()?;
    let is_named = |item: &Value| item.get("name").is_some_and(|other| other == name);
    let own = match (list, name) {
        ("paramValues", DOCKERFILE) => "dockerfile",
        ("paramValues", BUILDER_IMAGE) => "builder.image",
        // Conversion declares it for what steps refer to.
        ("parameters", DOCKERFILE | BUILDER_IMAGE) => "buildSteps",
        ("paramValues" | "parameters", _) => "",
        _ => return None,
    };
    let earlier = items[..place].iter().filter(|item| is_named(item)).count();
    let written = at(object, alpha_spec)?.get(list).and_then(Value::as_array);
    let mut places = written.into_iter().flatten().enumerate().filter(|(_, item)| is_named(item));
    match places.nth(earlier) {
        Some((place, _)) => Some(format!("{alpha_spec}.{list}[{place}]{rest}")),
        None => (!own.is_empty()).then(|| format!("{alpha_spec}.{own}")),
    }
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |value, name| value.get(name))
}

fn renamed(names: &[(&str, &str)], field: &str) -> String {
    let found = names.iter().find_map(|(beta, alpha)| {
        let rest = field.strip_prefix(beta)?;
        let is_whole = rest.is_empty() || rest.starts_with(['.', '[']);
        // A list there, one object here: its members are told with it.
        let rest = if *alpha == "sources" { "" } else { rest };
        is_whole.then(|| format!("{alpha}{rest}"))
    });
    found.unwrap_or_else(|| field.to_owned())
}
