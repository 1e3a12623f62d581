//! The pod of a run and its account: made, ended, removed.
//!
//! Invariant: what is there already and belongs to the run was made by the run.

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use super::context::Context;
use super::error::{Asked as _, ClusterError};
use super::status::MANAGER;
use crate::api::{BuildRun, BuildRunSpec, Nanoseconds};
use crate::plan::PodRefusal;

/// Seconds of a deadline that are not worth a write.
const QUEUE_GRACE: i64 = 2;

/// What became of a pod that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Creation {
    /// It is there, and maybe was there before.
    Done { pod: Box<Pod>, is_new: bool },
    /// The API server does not want it.
    Refused(PodRefusal),
}

/// Makes the pod of a run.
pub async fn create(
    context: &Context,
    run: &BuildRun,
    pod: &Pod,
) -> Result<Creation, ClusterError> {
    let api = context.api::<Pod>(&pod.namespace().unwrap_or_default());
    let parameters = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    let name = pod.name_any();
    match context.leadership.act(api.create(&parameters, pod)).await? {
        Err(kube::Error::Api(response)) if response.is_already_exists() => {
            match api.get_opt(&name).await.asked(|| format!("get Pod {name}"))? {
                Some(pod) if is_of(&pod, run) => Ok(done(pod, false)),
                Some(_) => Ok(Creation::Refused(PodRefusal::of_name(&name, &response.message))),
                // It went meanwhile, and is asked for again.
                None => Err(ClusterError::Refused { what: format!("create Pod {name}"), response }),
            }
        }
        Err(kube::Error::Api(response)) => {
            match PodRefusal::of_answer(&name, response.code, &response.message) {
                Some(refusal) => Ok(Creation::Refused(refusal)),
                None => Err(ClusterError::Refused { what: format!("create Pod {name}"), response }),
            }
        }
        outcome => outcome.asked(|| format!("create Pod {name}")).map(|pod| done(pod, true)),
    }
}

fn done(pod: Pod, is_new: bool) -> Creation {
    Creation::Done { pod: Box::new(pod), is_new }
}

/// The pod of that name, where it is the run's.
pub async fn get(
    context: &Context,
    run: &BuildRun,
    name: &str,
) -> Result<Option<Pod>, ClusterError> {
    let api = context.api::<Pod>(&run.namespace().unwrap_or_default());
    let there = api.get_opt(name).await.asked(|| format!("get Pod {name}"))?;
    Ok(there.filter(|pod| is_of(pod, run)))
}

fn is_of(object: &impl kube::ResourceExt, run: &BuildRun) -> bool {
    object.owner_references().iter().any(|owner| Some(&owner.uid) == run.metadata.uid.as_ref())
}

/// Ends a pod. One that a node has keeps its logs and statuses.
pub async fn end(context: &Context, pod: &Pod) -> Result<(), ClusterError> {
    let spec = pod.spec.clone().unwrap_or_default();
    if spec.node_name.is_none() {
        return delete(context, pod).await;
    }
    if pod.metadata.deletion_timestamp.is_some() || spec.active_deadline_seconds == Some(1) {
        return Ok(());
    }
    set_deadline(context, pod, 1).await
}

/// Deletes a pod, unless it has changed since it was seen: a step of it may have started.
pub async fn delete(context: &Context, pod: &Pod) -> Result<(), ClusterError> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let name = pod.name_any();
    let api = context.api::<Pod>(&pod.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: pod.uid(), resource_version: pod.resource_version() };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match context.leadership.act(api.delete(&name, &parameters)).await? {
        Err(kube::Error::Api(response)) if response.code == 404 => Ok(()),
        outcome => outcome.asked(|| format!("delete Pod {name}")).map(drop),
    }
}

/// Takes the time that a pod spent in the queue off its deadline, which begins when a node accepts it.
pub async fn shorten(
    context: &Context,
    pod: &Pod,
    timeout: Nanoseconds,
) -> Result<(), ClusterError> {
    let Some(seconds) = seconds_left(pod, timeout) else { return Ok(()) };
    set_deadline(context, pod, seconds).await
}

/// How many seconds the pod's deadline should be, where it is too long by more than clocks may differ.
fn seconds_left(pod: &Pod, timeout: Nanoseconds) -> Option<i64> {
    let accepted = pod.status.as_ref()?.start_time.as_ref()?.0;
    let created = pod.metadata.creation_timestamp.as_ref()?.0;
    let queued = accepted.duration_since(created).as_secs();
    let deadline = pod.spec.as_ref()?.active_deadline_seconds?;
    let wanted = (timeout.0 / 1_000_000_000 - queued).max(1);
    (timeout.0 > 0 && deadline - wanted >= QUEUE_GRACE).then_some(wanted)
}

async fn set_deadline(context: &Context, pod: &Pod, seconds: i64) -> Result<(), ClusterError> {
    let name = pod.name_any();
    let api = context.api::<Pod>(&pod.namespace().unwrap_or_default());
    let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let spec = json!({ "activeDeadlineSeconds": seconds });
    let patch = Patch::Merge(json!({ "metadata": { "uid": pod.uid() }, "spec": spec }));
    match context.leadership.act(api.patch(&name, &parameters, &patch)).await? {
        Err(kube::Error::Api(response)) if response.code == 404 => Ok(()),
        outcome => outcome.asked(|| format!("set the deadline of Pod {name}")).map(drop),
    }
}

/// Makes the account of one run; one of that name is used as it is.
pub async fn create_account(
    context: &Context,
    account: &ServiceAccount,
) -> Result<(), ClusterError> {
    let api = context.api::<ServiceAccount>(&account.namespace().unwrap_or_default());
    let parameters = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    match context.leadership.act(api.create(&parameters, account)).await? {
        Err(kube::Error::Api(response)) if response.code == 409 => Ok(()),
        outcome => {
            outcome.asked(|| format!("create ServiceAccount {}", account.name_any())).map(drop)
        }
    }
}

/// Removes the account that was made for a run. One that it found there is somebody else's.
pub async fn remove_account(context: &Context, run: &BuildRun) -> Result<(), ClusterError> {
    if run.spec.service_account.as_deref() != Some(BuildRunSpec::GENERATE_SERVICE_ACCOUNT) {
        return Ok(());
    }
    let api = context.api::<ServiceAccount>(&run.namespace().unwrap_or_default());
    let name = run.name_any();
    let account = api.get_opt(&name).await.asked(|| format!("get ServiceAccount {name}"))?;
    let Some(account) = account.filter(|account| is_of(account, run)) else { return Ok(()) };
    let preconditions = Preconditions { uid: account.uid(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match context.leadership.act(api.delete(&name, &parameters)).await? {
        Err(kube::Error::Api(response)) if matches!(response.code, 404 | 409) => Ok(()),
        outcome => outcome.asked(|| format!("delete ServiceAccount {name}")).map(drop),
    }
}
