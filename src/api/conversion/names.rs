//! What a field of v1beta1 is called in v1alpha1, for messages about objects that were written there.

use super::build::DELETION_ANNOTATION;
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
