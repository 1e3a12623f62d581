//! What the command line changes in a run: the source, and where the image goes.

use super::files::Files;
use crate::api::{BuildRun, BuildRunSource, BuildSpec, LocalSource};
use crate::plan::DEFAULT_NAMESPACE;

const LOCAL: &str = "Local";

/// The run takes its source from a working copy; nobody needs the credentials of the one that the Build names.
pub fn take_working_copy(files: &mut Files, run: &mut BuildRun) {
    run.spec.source =
        Some(BuildRunSource { type_: LOCAL.into(), local: Some(LocalSource::default()) });
    for_build(files, run, |spec| {
        let Some(source) = &mut spec.source else { return };
        if let Some(git) = &mut source.git {
            git.clone_secret = None;
        }
        if let Some(artifact) = &mut source.oci_artifact {
            artifact.pull_secret = None;
        }
    });
}

/// The image goes into the engine; nobody needs the credentials of its registry.
pub fn keep_image_here(files: &mut Files, run: &mut BuildRun) {
    if let Some(output) = &mut run.spec.output {
        output.push_secret = None;
    }
    for_build(files, run, |spec| spec.output.push_secret = None);
}

/// Changes the spec that counts for a run: its own, or that of the Build that it names.
fn for_build(files: &mut Files, run: &mut BuildRun, change: impl FnOnce(&mut BuildSpec)) {
    if let Some(spec) = &mut run.spec.build.spec {
        return change(spec);
    }
    let namespace = run.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let name = run.spec.build.name.clone().unwrap_or_default();
    if let Some(build) = files.builds.get_mut(&(namespace.to_owned(), name)) {
        change(&mut build.spec);
    }
}
