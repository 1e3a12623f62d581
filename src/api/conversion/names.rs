//! What a field of v1beta1 is called in v1alpha1, for messages about objects that were written there.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::build::{BUILDER_IMAGE, DELETION_ANNOTATION, DOCKERFILE};
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

/// What the fields of one object are called in v1alpha1. It tells more than [`alpha_field`]: an item of a list may stand at another place
/// there, or be a field of its own.
#[derive(Clone, Debug, Default)]
pub struct AlphaNames {
    kind: String,
    /// By the list and the place there, as v1beta1 has them.
    items: BTreeMap<(&'static str, usize), String>,
}

impl AlphaNames {
    /// Those of an object, by what it is in both versions.
    pub fn of(alpha: &Value, beta: &Value) -> Self {
        let kind = alpha.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (beta_spec, alpha_spec) = specs(&kind);
        let (alpha, beta) = (at(alpha, alpha_spec), at(beta, beta_spec));
        let lists = ["paramValues", "parameters"].into_iter();
        let items = lists.flat_map(|list| {
            let members = |spec: Option<&Value>| {
                spec.and_then(|spec| spec.get(list)?.as_array().cloned()).unwrap_or_default()
            };
            places(list, &members(beta), &members(alpha), alpha_spec)
        });
        Self { items: items.collect(), kind }
    }

    /// The path of a field, by its path in v1beta1.
    pub fn field(&self, beta: &str) -> String {
        self.item(beta).unwrap_or_else(|| alpha_field(&self.kind, beta))
    }

    fn item(&self, beta: &str) -> Option<String> {
        let field = beta.strip_prefix(specs(&self.kind).0)?.strip_prefix('.')?;
        let (list, rest) = field.split_once('[')?;
        let (place, rest) = rest.split_once(']')?;
        let place: usize = place.parse().ok()?;
        let list = ["paramValues", "parameters"].into_iter().find(|known| *known == list)?;
        let own = self.items.get(&(list, place))?;
        // A field of its own has no members of that name.
        Some(if own.ends_with(']') { format!("{own}{rest}") } else { own.clone() })
    }
}

/// Where a Build's fields are in both versions.
fn specs(kind: &str) -> (&'static str, &'static str) {
    match kind {
        BuildRun::KIND => ("spec.build.spec", "spec.buildSpec"),
        _ => ("spec", "spec"),
    }
}

/// What the items of a list that conversion changes are in the object as it is written.
fn places(
    list: &'static str,
    beta: &[Value],
    alpha: &[Value],
    spec: &str,
) -> Vec<((&'static str, usize), String)> {
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    let mut written: BTreeMap<String, VecDeque<usize>> = BTreeMap::new();
    for (place, item) in alpha.iter().enumerate() {
        if let Some(name) = name(item) {
            written.entry(name).or_default().push_back(place);
        }
    }
    let found = beta.iter().enumerate().filter_map(|(place, item)| {
        let name = name(item)?;
        if let Some(there) = written.get_mut(&name).and_then(VecDeque::pop_front) {
            return Some(((list, place), format!("{spec}.{list}[{there}]")));
        }
        let own = match (list, &*name) {
            ("paramValues", DOCKERFILE) => "dockerfile",
            ("paramValues", BUILDER_IMAGE) => "builder.image",
            // Conversion declares it for what steps refer to.
            ("parameters", DOCKERFILE | BUILDER_IMAGE) => "buildSteps",
            _ => return None,
        };
        Some(((list, place), format!("{spec}.{own}")))
    });
    found.collect()
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
