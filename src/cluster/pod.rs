//! The pod of a run and its account: made, ended, removed.
//!
//! Invariant: what is there already and belongs to the run was made by the run.

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use serde_json::json;

use super::context::Context;
use super::error::{Asked as _, ClusterError};
use super::status::MANAGER;
use crate::api::{BuildRun, BuildRunSpec, Nanoseconds, reasons};
use crate::plan::go_quote;

/// Seconds of a deadline that are not worth a write.
const QUEUE_GRACE: i64 = 2;

/// What the API server said to a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Creation {
    /// It is there, and maybe was there before.
    Done { pod: Box<Pod>, is_new: bool },
    /// The namespace has no room for it now.
    Quota { message: String },
    /// It never will be.
    Refused { reason: &'static str, message: String },
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
                Some(_) => Ok(refusal(&name, &response)),
                // It went meanwhile, and is asked for again.
                None => Err(ClusterError::Refused { what: format!("create Pod {name}"), response }),
            }
        }
        Err(kube::Error::Api(response)) if is_final(&response) => Ok(refusal(&name, &response)),
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

/// Whoever asks too often or too soon, or asks a server that has trouble, asks again; two pods that reach for the same quota conflict,
/// and a server that has just started, or got new definitions, knows neither roles nor its own rules nor owners' kinds yet, nor what a
/// new quota counts.
fn is_final(response: &Status) -> bool {
    let starts = [
        "not yet ready to handle request",
        "cannot create resource \"pods\"",
        "cannot find RESTMapping",
        "error looking up service account",
        "status unknown for quota",
    ];
    response.code < 500
        && ![401, 404, 408, 409, 429].contains(&response.code)
        && !(response.code == 403 && starts.iter().any(|text| response.message.contains(text)))
}

fn refusal(pod: &str, response: &Status) -> Creation {
    let text = &response.message;
    let executor = pod.strip_suffix("-pod").unwrap_or(pod);
    if response.code == 403 && text.contains("exceeded quota") {
        return Creation::Quota {
            message: format!("TaskRun Pod exceeded available resources: {text}"),
        };
    }
    if response.code == 403
        && (text.contains("violates PodSecurity") || text.contains("security context constraint"))
    {
        return Creation::Refused { reason: reasons::POD_ADMISSION_FAILED, message: text.clone() };
    }
    let message = format!(
        "failed to create task run pod {}: {text}. Maybe invalid TaskSpec",
        go_quote(executor)
    );
    Creation::Refused { reason: reasons::POD_CREATION_FAILED, message }
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

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::{Creation, is_final, reasons, refusal};

    fn forbidden(text: &str) -> Status {
        Status {
            code: 403,
            message: format!("pods \"app-12345-pod\" is forbidden: {text}"),
            ..Status::default()
        }
    }

    #[test]
    fn what_quotas_say_is_final_only_where_the_pod_is_at_fault() {
        let new = forbidden("status unknown for quota: team, resources: limits.cpu");
        assert!(!is_final(&new));
        let full =
            forbidden("exceeded quota: team, requested: pods=1, used: pods=9, limited: pods=9");
        let waits = refusal("app-12345-pod", &full);
        let message = format!("TaskRun Pod exceeded available resources: {}", full.message);
        assert!(is_final(&full));
        assert_eq!(waits, Creation::Quota { message });
        let blank = forbidden("failed quota: team: must specify limits.cpu for: step-build");
        let message = format!(
            "failed to create task run pod \"app-12345\": {}. Maybe invalid TaskSpec",
            blank.message
        );
        let reason = reasons::POD_CREATION_FAILED;
        assert!(is_final(&blank));
        assert_eq!(refusal("app-12345-pod", &blank), Creation::Refused { reason, message });
    }

    #[test]
    fn an_unknown_kind_of_owner_is_no_reason_to_refuse_a_pod_for_good() {
        let forbidden = |why: &str| forbidden(&format!("cannot set blockOwnerDeletion {why}"));
        let unknown = "in this case because cannot find RESTMapping for APIVersion shipwright.io/v1beta1 Kind BuildRun: no matches";
        assert!(!is_final(&forbidden(unknown)));
        let missing =
            "if an ownerReference refers to a resource you can't set finalizers on: , <nil>";
        assert!(is_final(&forbidden(missing)));
    }
}
