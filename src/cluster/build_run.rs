//! A BuildRun: from the object to its pod, from the pod to its status.
//!
//! Invariant: each reconcile starts from what the API server says, so a controller that dies anywhere is taken over anywhere.
//! Invariant: the run names its pod before there is one, and the name follows from the run: there is never a second one.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use serde_json::json;

use super::context::{Context, Made};
use super::error::{Asked as _, ClusterError};
use super::load::Lookup;
use super::outcome::{fail, has_started, tell, with_condition};
use super::pod::{self, Creation};
use super::retention;
use super::status;
use crate::Chain;
use crate::api::{BuildRun, BuildRunStatus, BuildSpec, UNKNOWN, reasons};
use crate::plan::labels::{
    ATTEMPT_ANNOTATION, BUILD_GENERATION_LABEL, BUILD_LABEL, POD_ANNOTATION,
};
use crate::plan::replacement::{attempt, is_lost, next_attempt};
use crate::plan::retain::{is_build, owns_its_runs};
use crate::plan::{
    CANCELED, Expansion, Loaded, NODE_TIME, Next, PodRefusal, Presence, Refusal, Roots, Seen,
    expand, observe, timeout, validate,
};

/// How long a pod may wait before its run says so: most pods run by then, and a write is saved. A kubelet that is busy tells seconds later.
pub const PENDING_GRACE: SignedDuration = SignedDuration::from_secs(10);
/// How long a new run waits for what it names and what is not there: who applies a folder of files may send the run first.
const APPLIED_TOGETHER: SignedDuration = SignedDuration::from_secs(3);
/// How soon it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How soon a pod is looked at of which nothing is heard: what goes while a watch is broken is not told afterwards.
const LOOK_AFTER: Duration = Duration::from_mins(5);
/// How soon a pod is asked for again that a quota did not allow, and how late once the run has waited for long.
const QUOTA_RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(1));

/// Brings one run forward.
pub async fn reconcile(
    run: Arc<DeserializeGuard<BuildRun>>,
    context: Arc<Context>,
) -> Result<Action, ClusterError> {
    let run = match &run.0 {
        Ok(run) => run,
        Err(invalid) => {
            tracing::error!(error = %invalid.error, "this BuildRun cannot be read and is left alone");
            return Ok(Action::await_change());
        }
    };
    if run.metadata.deletion_timestamp.is_some() || context.arrivals.is_behind(run) {
        return Ok(Action::await_change());
    }
    if run.is_done() {
        end_left_over(&context, run).await?;
        pod::remove_account(&context, run).await?;
        return retention::finished(&context, run).await;
    }
    if is_of_others(run) {
        return Ok(Action::await_change());
    }
    let pod_name = run.annotations().get(POD_ANNOTATION).cloned();
    let pod = match &pod_name {
        Some(name) => pod::get(&context, run, name).await?,
        None => None,
    };
    // Nobody deletes what was not made; whoever made it knows before the status says so.
    let was_made = has_started(run) || context.recall(&run.uid().unwrap_or_default()).is_some();
    match (pod_name, pod) {
        (Some(name), None) if was_made => Box::pin(follow(&context, run, &name, None)).await,
        (Some(name), Some(pod)) => Box::pin(follow(&context, run, &name, Some(&pod))).await,
        _ => Box::pin(start(&context, run)).await,
    }
}

/// Whether an installed upstream has begun it. Older releases write no executor.
fn is_of_others(run: &BuildRun) -> bool {
    let status = run.status.as_ref();
    status.is_some_and(|status| status.executor.is_some() || status.task_run_name.is_some())
}

/// Judges the run and makes its pod.
async fn start(context: &Context, run: &BuildRun) -> Result<Action, ClusterError> {
    let came = context.arrivals.take(&run.uid().unwrap_or_default());
    let loaded = match context.loader.since(came).run(run, Lookup::Images).await {
        Ok(loaded) => loaded,
        Err(error) => {
            let (reason, message) = error.unreadable().ok_or(error)?;
            return fail(context, run, None, reason, message).await;
        }
    };
    let checked = match validate(&loaded, &context.settings) {
        Ok(checked) => checked,
        Err(refusals) if may_still_come(run, &loaded, &refusals) => {
            tracing::debug!(
                refusals = refusals.len(),
                "something that the run names may still come"
            );
            return Ok(Action::requeue(LOOK_AGAIN));
        }
        Err(refusals) => return refuse(context, run, &loaded.roots, &refusals).await,
    };
    let Expansion { pod, service_account } = expand(&checked);
    let mut run = claim(context, run, &loaded.roots, Some(&pod.name_any())).await?;
    if let Some(account) = service_account {
        pod::create_account(context, &account).await?;
    }
    let spec = build_spec(&loaded.roots);
    let (reason, message) = match pod::create(context, &run, &pod).await? {
        // Its first change comes by itself.
        Creation::Done { pod, is_new } => {
            let at = pod.metadata.creation_timestamp;
            tracing::debug!(pod = pod.metadata.name, is_new, "the pod is there");
            let made = Made { of: spec.clone(), at: at.clone() };
            context.remember(&run.uid().unwrap_or_default(), made);
            if is_new && attempt(&run) == 0 {
                context.metrics.pod_made(&with_build_spec(run, spec), at.as_ref());
            }
            return Ok(Action::requeue(PENDING_GRACE.unsigned_abs()));
        }
        // Each write wakes the run: it is told once, whatever else is used meanwhile.
        Creation::Refused(PodRefusal::Quota { message, .. }) if waits_for_quota(&run) => {
            tracing::debug!(told = message, "the quota has no room yet");
            return Ok(Action::requeue(quota_pause(&run)));
        }
        Creation::Refused(PodRefusal::Quota { reason, message }) => {
            let status =
                BuildRunStatus { build_spec: spec, ..run.status.clone().unwrap_or_default() };
            let status = with_condition(status, UNKNOWN, reason, message);
            status::of_run(context, &run, &status).await?;
            return Ok(Action::requeue(QUOTA_RETRY.0));
        }
        Creation::Refused(PodRefusal::Never { reason, message }) => (reason, message),
    };
    // As upstream counts, it has begun.
    run.status.get_or_insert_default().start_time = Some(Time(Timestamp::now()));
    fail(context, &run, spec, reason, message).await
}

fn waits_for_quota(run: &BuildRun) -> bool {
    run.succeeded().is_some_and(|condition| condition.reason == reasons::EXCEEDED_RESOURCE_QUOTA)
}

fn quota_pause(run: &BuildRun) -> Duration {
    let since = run.succeeded().map(|condition| condition.last_transition_time.0);
    let waited = since.map(|since| Timestamp::now().duration_since(since).unsigned_abs());
    (waited.unwrap_or_default() / 4).clamp(QUOTA_RETRY.0, QUOTA_RETRY.1)
}

/// The run as it is once its status has been written, as far as figures go.
fn with_build_spec(mut run: BuildRun, spec: Option<BuildSpec>) -> BuildRun {
    run.status.get_or_insert_default().build_spec = spec;
    run
}

/// The Build as the status keeps it.
fn build_spec(roots: &Roots) -> Option<BuildSpec> {
    let own = roots.buildrun.spec.build.spec.clone();
    let named = || roots.build.as_ref().and_then(Presence::found).map(|build| build.spec.clone());
    own.or_else(named)
}

/// The Build as it is now, for a pod that another replica made. A pod that is there goes on without it.
async fn current_spec(
    context: &Context,
    run: &BuildRun,
) -> Result<Option<BuildSpec>, ClusterError> {
    let named = match (&run.spec.build.spec, &run.spec.build.name) {
        (Some(own), _) => return Ok(Some(own.clone())),
        (None, Some(name)) => name,
        (None, None) => return Ok(None),
    };
    match context.loader.build(&run.namespace().unwrap_or_default(), named).await {
        Ok(build) => Ok(build.found().map(|build| build.spec.clone())),
        Err(error) if error.unreadable().is_some() => {
            tracing::warn!(error = %Chain(&error), "the status keeps no copy of the Build");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Labels the run with its Build, lets the Build own it where it wants that, and names its pod.
async fn claim(
    context: &Context,
    run: &BuildRun,
    roots: &Roots,
    pod: Option<&str>,
) -> Result<BuildRun, ClusterError> {
    let mut claimed = run.clone();
    if let Some(build) = roots.build.as_ref().and_then(Presence::found) {
        let generation = build.metadata.generation.unwrap_or_default().to_string();
        let labels = claimed.labels_mut();
        labels.insert(BUILD_LABEL.into(), build.name_any());
        labels.insert(BUILD_GENERATION_LABEL.into(), generation);
        let is_owned = run.owner_references().iter().any(|owner| is_build(owner, build));
        if owns_its_runs(build) && !is_owned {
            claimed.owner_references_mut().push(retention::owner(build));
        }
    }
    if let Some(name) = pod {
        claimed.annotations_mut().insert(POD_ANNOTATION.into(), name.to_owned());
    }
    // Whoever comes back for the pod of a run that was claimed before asks again, so that it is not made for a run that went on since.
    if pod.is_none() && claimed.metadata == run.metadata {
        return Ok(claimed);
    }
    let metadata = json!({
        "resourceVersion": run.resource_version(),
        "labels": claimed.metadata.labels,
        "annotations": claimed.metadata.annotations,
        "ownerReferences": claimed.metadata.owner_references,
    });
    let patched = status::metadata_of_run(context, run, &metadata).await?;
    let labelled = patched.asked(|| format!("label BuildRun {}", run.name_any()))?;
    context.arrivals.labelled(&labelled);
    Ok(labelled)
}

fn may_still_come(run: &BuildRun, loaded: &Loaded, refusals: &[Refusal]) -> bool {
    let Some(created) = &run.metadata.creation_timestamp else { return false };
    // Clocks differ a little.
    let is_new = Timestamp::now().duration_since(created.0).abs() < APPLIED_TOGETHER;
    is_new && Refusal::shown(refusals).is_some_and(|refusal| refusal.may_pass(loaded))
}

/// The run cannot start: the first refusal is the one that its status shows.
async fn refuse(
    context: &Context,
    run: &BuildRun,
    roots: &Roots,
    refusals: &[Refusal],
) -> Result<Action, ClusterError> {
    let Some(first) = Refusal::shown(refusals) else { return Ok(Action::await_change()) };
    let (reason, message) = match first.reason {
        // Its pod was asked for already.
        reason @ reasons::BUILD_RUN_CANCELED if waits_for_quota(run) => (reason, CANCELED.into()),
        reason => (reason, first.message.clone()),
    };
    if first.is_early() {
        return fail(context, run, None, reason, message).await;
    }
    let run = claim(context, run, roots, None).await?;
    fail(context, &run, build_spec(roots), reason, message).await
}

/// Judges what became of the pod.
async fn follow(
    context: &Context,
    run: &BuildRun,
    pod_name: &str,
    pod: Option<&Pod>,
) -> Result<Action, ClusterError> {
    let now = Timestamp::now();
    let uid = run.uid().unwrap_or_default();
    let mut known = run.clone();
    // What the pod was made of counts: an earlier try may have told of an earlier Build.
    if let Some(made) = context.recall(&uid) {
        let status = known.status.get_or_insert_default();
        status.build_spec = made.of;
        status.start_time = status.start_time.take().or(made.at);
    } else if known.status.as_ref().is_none_or(|status| status.build_spec.is_none()) {
        known.status.get_or_insert_default().build_spec = current_spec(context, run).await?;
    }
    let spec = known.status.as_ref().and_then(|status| status.build_spec.as_ref());
    let timeout = timeout(run, spec);
    let namespace = run.namespace().unwrap_or_default();
    if pod.map_or_else(|| context.disruptions.took(&namespace, pod_name), is_lost)
        && let Some(attempt) = next_attempt(run, spec, context.settings.pod_retries, now)
    {
        return replace(context, &known, pod_name, attempt).await;
    }
    if let Some(pod) = pod.filter(|pod| goes_on(pod)) {
        match pod::shorten(context, pod, timeout).await {
            Err(error @ ClusterError::Refused { .. }) => {
                tracing::warn!(error = %Chain(&error), "the pod keeps its deadline");
            }
            outcome => outcome?,
        }
    }
    let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
    let verdict = observe(&Seen { buildrun: &known, timeout, pod_name, pod }, now);
    let reason = verdict.status.succeeded().map(|condition| &condition.reason);
    tracing::debug!(pod = pod_name, phase, reason, next = ?verdict.next, "judged the pod");
    let is_final = verdict.status.is_done();
    let stopping = pod.filter(|_| matches!(verdict.next, Next::EndPod | Next::DeletePod));
    if let Some(pod) = stopping.filter(|_| !verdict.status.has_failed()) {
        stop(context, pod, verdict.next).await?;
    }
    let waits =
        verdict.status.succeeded().is_some_and(|condition| condition.reason == reasons::PENDING);
    if !has_started(run)
        && waits
        && let Some(left) = grace_left(pod, now)
    {
        let sooner = if let Next::Again(again) = verdict.next { again.min(left) } else { left };
        return Ok(Action::requeue(sooner.unsigned_abs()));
    }
    let is_new = run.status.as_ref() != Some(&verdict.status);
    let is_there = status::of_run(context, run, &verdict.status).await?.is_some();
    context.forget(&uid);
    if is_new && !is_there {
        context.disruptions.forget(&namespace, pod_name);
        return Ok(Action::await_change());
    }
    let written = BuildRun { status: Some(verdict.status.clone()), ..run.clone() };
    // A run starts once, however many pods it takes.
    if !has_started(run) && attempt(run) == 0 {
        context.metrics.started(&written);
    }
    if is_final {
        context.metrics.ended(&written, pod);
        if let Some(event) = &verdict.event {
            tell(context, run, event).await;
        }
        // Not before its status says why: an ended pod tells nobody what it waited for.
        if let Some(pod) = stopping.filter(|_| verdict.status.has_failed()) {
            stop(context, pod, verdict.next).await?;
        }
        context.disruptions.forget(&namespace, pod_name);
        return Ok(Action::await_change());
    }
    Ok(match verdict.next {
        Next::Again(left) => Action::requeue(left.unsigned_abs().min(LOOK_AFTER)),
        // Its node may not be there any more.
        Next::EndPod => Action::requeue(NODE_TIME.unsigned_abs()),
        Next::Wait => Action::requeue(LOOK_AFTER),
        Next::Finished | Next::DeletePod => Action::await_change(),
    })
}

async fn stop(context: &Context, pod: &Pod, next: Next) -> Result<(), ClusterError> {
    if next == Next::DeletePod {
        return pod::delete(context, pod).await;
    }
    pod::end(context, pod).await
}

/// Ends the pod of a run that failed, where the controller died between the one and the other.
async fn end_left_over(context: &Context, run: &BuildRun) -> Result<(), ClusterError> {
    let has_failed = run.status.as_ref().is_some_and(BuildRunStatus::has_failed);
    let Some(name) = run.annotations().get(POD_ANNOTATION).filter(|_| has_failed) else {
        return Ok(());
    };
    match pod::get(context, run, name).await? {
        Some(pod) if goes_on(&pod) => pod::end(context, &pod).await,
        _ => Ok(()),
    }
}

fn goes_on(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

/// The cluster took the pod away: the run gets another one. Its status says so first, so that whoever takes over knows that the pod of
/// this attempt need not be there yet.
async fn replace(
    context: &Context,
    run: &BuildRun,
    lost: &str,
    attempt: u32,
) -> Result<Action, ClusterError> {
    let most = context.settings.pod_retries;
    let message = format!(
        "pod {lost} was lost with its node or its place there; it is replaced ({attempt} of at most {most})"
    );
    tracing::info!(lost, attempt, "replacing a lost pod");
    let status = BuildRunStatus { start_time: None, ..run.status.clone().unwrap_or_default() };
    let status = with_condition(status, UNKNOWN, reasons::PENDING, message);
    let written = status::of_run(context, run, &status).await?.unwrap_or_else(|| run.clone());
    let metadata = json!({
        "resourceVersion": written.resource_version(),
        "annotations": { ATTEMPT_ANNOTATION: attempt.to_string(), POD_ANNOTATION: null },
    });
    let patched = status::metadata_of_run(context, run, &metadata).await?;
    let run = patched.asked(|| format!("count the lost pod of BuildRun {}", run.name_any()))?;
    context.forget(&run.uid().unwrap_or_default());
    context.disruptions.forget(&run.namespace().unwrap_or_default(), lost);
    Box::pin(start(context, &run)).await
}

/// How long a pod may still wait before its run says so.
pub fn grace_left(pod: Option<&Pod>, now: Timestamp) -> Option<SignedDuration> {
    let created = pod?.metadata.creation_timestamp.as_ref()?.0;
    let left = PENDING_GRACE - now.duration_since(created);
    // The API server's clock may be ahead.
    Some(left.min(PENDING_GRACE)).filter(|left| *left > SignedDuration::ZERO)
}
