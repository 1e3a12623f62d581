//! Finished runs go when their time is over, or when their Build has enough of them; runs belong to their Build where it says so.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use super::context::Context;
use super::error::{Asked as _, ClusterError};
use super::status;
use crate::api::{API_VERSION, Build, BuildRun};
use crate::plan::labels::BUILD_LABEL;
use crate::plan::retain::{due, is_build, other_controller, owns_its_runs, surplus};

/// What becomes of a finished run.
pub async fn finished(context: &Context, run: &BuildRun) -> Result<Action, ClusterError> {
    if let Some(build) = run.spec.build.name.as_ref() {
        let namespace = run.namespace().unwrap_or_default();
        let build = context.builds.get(&ObjectRef::new(build).within(&namespace));
        if let Some(DeserializeGuard(Ok(build))) = build.as_deref() {
            limit(context, build).await?;
        }
    }
    let Some(due) = due(run) else { return Ok(Action::await_change()) };
    let left = due.duration_since(Timestamp::now());
    if left.is_positive() {
        return Ok(Action::requeue(left.unsigned_abs().max(Duration::from_secs(1))));
    }
    delete(context, run).await?;
    Ok(Action::await_change())
}

/// Deletes what is more than a Build wants to keep.
pub async fn limit(context: &Context, build: &Build) -> Result<(), ClusterError> {
    let retention = build.spec.retention.as_ref();
    // A look at all runs is not for nothing.
    if retention.is_none_or(|it| it.succeeded_limit.is_none() && it.failed_limit.is_none()) {
        return Ok(());
    }
    let runs = runs_of(context, build);
    for run in surplus(build, readable(&runs)) {
        delete(context, run).await?;
    }
    Ok(())
}

/// What keeps a Build from owning its runs, as its status says it.
pub fn obstacle(context: &Context, build: &Build) -> Option<String> {
    if !owns_its_runs(build) {
        return None;
    }
    let runs = runs_of(context, build);
    readable(&runs).find_map(|run| other_controller(build, run)).map(|(_, message)| message)
}

/// Lets a Build own its runs, or not, as it says.
pub async fn own(context: &Context, build: &Build) -> Result<(), ClusterError> {
    let owns = owns_its_runs(build);
    let runs = runs_of(context, build);
    for run in readable(&runs) {
        let known = run.owner_references();
        let is_owned = known.iter().any(|owner| is_build(owner, build));
        if is_owned == owns || other_controller(build, run).is_some() {
            continue;
        }
        let others = known.iter().filter(|owner| !is_build(owner, build)).cloned();
        let owners: Vec<_> = others.chain(owns.then(|| owner(build))).collect();
        let metadata =
            json!({ "resourceVersion": run.resource_version(), "ownerReferences": owners });
        match status::metadata_of_run(context, run, &metadata).await? {
            Err(kube::Error::Api(response)) if response.code == 404 => {}
            outcome => {
                drop(outcome.asked(|| format!("set the owner of BuildRun {}", run.name_any()))?);
            }
        }
    }
    Ok(())
}

/// The Build as the owner of a run.
pub fn owner(build: &Build) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.into(),
        block_owner_deletion: Some(true),
        controller: Some(true),
        kind: Build::KIND.into(),
        name: build.name_any(),
        uid: build.uid().unwrap_or_default(),
    }
}

/// The runs of a Build as they were seen last, which may be many: they are shared, not copied.
fn runs_of(context: &Context, build: &Build) -> Vec<Arc<DeserializeGuard<BuildRun>>> {
    let mut runs = context.runs.state();
    runs.retain(|run| {
        let metadata = run.meta();
        let labels = metadata.labels.as_ref();
        metadata.namespace == build.metadata.namespace
            && labels.and_then(|labels| labels.get(BUILD_LABEL)) == build.metadata.name.as_ref()
    });
    runs
}

fn readable(runs: &[Arc<DeserializeGuard<BuildRun>>]) -> impl Iterator<Item = &BuildRun> {
    runs.iter().filter_map(|run| run.0.as_ref().ok())
}

async fn delete(context: &Context, run: &BuildRun) -> Result<(), ClusterError> {
    let api = context.api::<DeserializeGuard<BuildRun>>(&run.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: run.uid(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let name = run.name_any();
    tracing::info!(run = name, "deleting a finished BuildRun");
    match context.leadership.act(api.delete(&name, &parameters)).await? {
        Err(kube::Error::Api(response)) if matches!(response.code, 404 | 409) => Ok(()),
        outcome => outcome.asked(|| format!("delete BuildRun {}", run.name_any())).map(drop),
    }
}
