//! Writes what was found out.
//!
//! Invariant: a status is applied to the version of the object that it was computed from; who was overtaken reads again.
//! Invariant: an equal status is not written, and what is gone needs none.

use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use serde_json::{Value, json};

use super::context::Context;
use super::error::{Asked as _, ClusterError};
use crate::api::{API_VERSION, Build, BuildRun, BuildRunStatus, BuildStatus};

/// The field manager of everything that the controller writes.
pub const MANAGER: &str = "slipway-controller";

/// Writes the status of a run, where it says something new; the run as it is then, unless it is gone.
pub async fn of_run(
    context: &Context,
    run: &BuildRun,
    status: &BuildRunStatus,
) -> Result<Option<BuildRun>, ClusterError> {
    if run.status.as_ref() == Some(status) {
        return Ok(None);
    }
    let api = context.api::<DeserializeGuard<BuildRun>>(&run.namespace().unwrap_or_default());
    let patch = document(BuildRun::KIND, &run.metadata, &json!(status));
    let (name, apply, patch) = (run.name_any(), apply(), Patch::Apply(patch));
    let written = context.leadership.act(api.patch_status(&name, &apply, &patch)).await?;
    match written.asked(|| format!("write the status of BuildRun {name}")) {
        Ok(written) => {
            let written = written.0.ok();
            if let Some(written) = &written {
                context.arrivals.told(written);
            }
            Ok(written)
        }
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the status of a Build, where it says something new, and whether it does.
pub async fn of_build(
    context: &Context,
    build: &Build,
    status: &BuildStatus,
) -> Result<bool, ClusterError> {
    if build.status.as_ref() == Some(status) {
        return Ok(false);
    }
    let api = context.api::<DeserializeGuard<Build>>(&build.namespace().unwrap_or_default());
    let patch = document(Build::KIND, &build.metadata, &json!(status));
    let (name, apply, patch) = (build.name_any(), apply(), Patch::Apply(patch));
    let written = context.leadership.act(api.patch_status(&name, &apply, &patch)).await?;
    match written.asked(|| format!("write the status of Build {name}")) {
        Err(error) if error.is_gone() => Ok(true),
        written => written.map(|_| true),
    }
}

/// Changes the metadata of a run, in the version that it names.
pub async fn metadata_of_run(
    context: &Context,
    run: &BuildRun,
    metadata: &Value,
) -> Result<kube::Result<BuildRun>, ClusterError> {
    let api = context.api::<BuildRun>(&run.namespace().unwrap_or_default());
    let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let (name, patch) = (run.name_any(), Patch::Merge(json!({ "metadata": metadata })));
    context.leadership.act(api.patch(&name, &parameters, &patch)).await
}

fn apply() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

fn document(kind: &str, metadata: &kube::api::ObjectMeta, status: &Value) -> Value {
    let metadata = json!({
        "name": metadata.name,
        "namespace": metadata.namespace,
        "resourceVersion": metadata.resource_version,
        "uid": metadata.uid,
    });
    json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "status": status })
}
