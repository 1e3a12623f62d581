//! What became of a run: from the Pod as it is seen to the BuildRun's status.
//!
//! Invariant: a finished run is never judged again.
//! Invariant: what a gate cannot see from inside (a step that never started, a step that ended while a later one goes on) is
//! ended from outside: the verdict says so.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use slipway_step::protocol::results::{self, Report};

use super::go_quote::go_quote;
use super::layout::{IMAGE_STEP, container_name, step_name};
use super::loaded::DEFAULT_NAMESPACE;
use super::pod::SUPPORTING_STEPS_ANNOTATION;
use super::pod_status::{
    failed, failed_at, has_started, have_others_to_end, have_steps_ended, phase, preparations,
    statuses, steps, terminated, waiting,
};
use super::replacement::is_lost;
use super::reports;
use crate::api::{
    BuildRun, BuildRunStatus, Condition, FALSE, FailedAt, FailureDetails, Nanoseconds, SUCCEEDED,
    TRUE, UNKNOWN, reasons,
};

/// A run and its pod.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The run, with the status that was written last.
    pub buildrun: &'a BuildRun,
    /// How long it may take, for the message of a timeout.
    pub timeout: Nanoseconds,
    /// Name of its pod.
    pub pod_name: &'a str,
    /// The pod; nothing once it is gone.
    pub pod: Option<&'a Pod>,
}

/// What to write and what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The whole status.
    pub status: BuildRunStatus,
    /// What to tell those who watch events; nothing where the condition stays as it was.
    pub event: Option<Event>,
    /// What comes next.
    pub next: Next,
}

/// A change of the condition, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Something went wrong.
    pub warning: bool,
    /// The condition's reason.
    pub reason: &'static str,
    /// The condition's message.
    pub message: String,
}

/// What to do after a look at the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the run is over and the pod ends by itself.
    Finished,
    /// Wait for the pod to change.
    Wait,
    /// Look again after this time, even if the pod does not change.
    Again(SignedDuration),
    /// End the pod: it cannot, or shall not, go on. Where the run is not over yet, look again after [`NODE_TIME`].
    EndPod,
    /// Delete the pod: no step of it has started, so there is nothing to read, and nothing else ends it soon.
    DeletePod,
}

/// What a run says that was canceled after it had begun.
pub const CANCELED: &str = "The BuildRun and underlying TaskRun were canceled successfully.";
/// How long later steps may go on after one has failed; their gates need no more than milliseconds.
const SKIP_TIME: SignedDuration = SignedDuration::from_secs(5);
/// How long the kubelet may take to end a pod whose time is over, before a container of it runs.
const KUBELET_TIME: SignedDuration = SignedDuration::from_secs(5);
/// How long it may take once containers run, which may have half a minute to end; a node that takes longer is not there any more.
pub const NODE_TIME: SignedDuration = SignedDuration::from_secs(60);
/// Exit code of image-processing when it found vulnerabilities.
const VULNERABILITIES_FOUND: i32 = 22;
/// Waiting reasons of an image that cannot be had.
const PULL_PROBLEMS: [&str; 6] = [
    "ImagePullBackOff",
    "ImageInspectError",
    "ErrImagePull",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "InvalidImageName",
];
/// Those of them that do not go away.
const PULL_FAILURES: [&str; 3] = ["ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"];

/// How a run stands.
struct Standing {
    status: &'static str,
    reason: &'static str,
    message: String,
    details: Option<FailureDetails>,
    next: Next,
}

impl Standing {
    fn going(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: UNKNOWN, reason, message: message.into(), details: None, next: Next::Wait }
    }

    fn failed(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: FALSE, reason, message: message.into(), details: None, next: Next::Finished }
    }

    fn with(self, details: Option<FailureDetails>) -> Self {
        Self { details, ..self }
    }

    fn then(self, next: Next) -> Self {
        Self { next, ..self }
    }
}

/// Judges what is seen; the same sight gives the same verdict.
pub fn observe(seen: &Seen<'_>, now: Timestamp) -> Verdict {
    let before = seen.buildrun.status.clone().unwrap_or_default();
    if seen.buildrun.is_done() {
        return Verdict { status: before, event: None, next: Next::Finished };
    }
    let standing = standing(seen, now);
    let known = before.conditions.iter().find(|condition| condition.type_ == SUCCEEDED);
    let same = known.filter(|known| {
        known.status == standing.status
            && known.reason == standing.reason
            && known.message == standing.message
    });
    let condition = same.cloned().unwrap_or_else(|| Condition {
        last_transition_time: Time(now),
        message: standing.message.clone(),
        reason: standing.reason.into(),
        status: standing.status.into(),
        type_: SUCCEEDED.into(),
    });
    let event = same.is_none().then(|| Event {
        warning: standing.status == FALSE,
        reason: standing.reason,
        message: standing.message.clone(),
    });
    let mut status =
        BuildRunStatus { conditions: vec![condition], failure_details: standing.details, ..before };
    if let Some(pod) = seen.pod {
        status.start_time = status.start_time.or_else(|| pod.metadata.creation_timestamp.clone());
    }
    if standing.status != UNKNOWN {
        status.completion_time = Some(completion(seen.pod, now));
        reports::apply(&reports::merged(&reports_of(seen.pod)), &mut status);
    }
    Verdict { status, event, next: standing.next }
}

fn standing(seen: &Seen<'_>, now: Timestamp) -> Standing {
    let Some(pod) = seen.pod else { return gone(seen, now) };
    let canceled = seen.buildrun.spec.is_canceled();
    if has_succeeded(pod) {
        return succeeded(canceled).then(if have_others_to_end(pod) {
            Next::EndPod
        } else {
            Next::Finished
        });
    }
    match phase(pod) {
        // Nobody may be left on its node who would end it.
        _ if is_lost(pod) => gone(seen, now),
        "Failed" => failure(seen, pod, now),
        phase => {
            let going = stuck(seen, pod)
                .or_else(|| left_behind(seen, pod, now))
                .or_else(|| overdue(seen, pod, now))
                .unwrap_or_else(|| going(pod, phase));
            if canceled && going.status == UNKNOWN { canceling(seen, now) } else { going }
        }
    }
}

/// Steps decide, and not what others put into the pod: that may fail, or go on for ever. The kubelet has the last word on all others.
fn has_succeeded(pod: &Pod) -> bool {
    let have_succeeded =
        || have_steps_ended(pod) && steps(pod).iter().all(|(_, status)| failed(*status).is_none());
    match phase(pod) {
        "Succeeded" => true,
        "Failed" => have_succeeded(),
        _ => have_others_to_end(pod) && have_succeeded(),
    }
}

fn succeeded(canceled: bool) -> Standing {
    let message = if canceled {
        "The TaskRun completed before the request to cancel the TaskRun could be processed."
    } else {
        "All Steps have completed executing"
    };
    let (reason, next) = (reasons::SUCCEEDED, Next::Finished);
    Standing { status: TRUE, reason, message: message.into(), details: None, next }
}

fn gone(seen: &Seen<'_>, now: Timestamp) -> Standing {
    // A pod that nobody reads is deleted to end it, and whoever did so may not have come to write it down.
    if seen.buildrun.spec.is_canceled() {
        return canceled();
    }
    let started = seen.buildrun.status.as_ref().and_then(|status| status.start_time.as_ref());
    if started.is_some_and(|started| time_left(seen, started.0, now).is_some_and(is_over)) {
        return timed_out(seen);
    }
    let namespace = seen.buildrun.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let location = FailedAt { container: None, pod: Some(seen.pod_name.to_owned()) };
    let details = FailureDetails { location: Some(location), ..FailureDetails::default() };
    Standing::failed(
        reasons::FAILED,
        format!("buildrun failed, pod {namespace}/{} not found", seen.pod_name),
    )
    .with(Some(details))
}

fn canceled() -> Standing {
    Standing::failed(reasons::BUILD_RUN_CANCELED, CANCELED)
}

fn timed_out(seen: &Seen<'_>) -> Standing {
    if seen.buildrun.spec.is_canceled() {
        return canceled();
    }
    let name = seen.buildrun.metadata.name.as_deref().unwrap_or_default();
    let message = format!("BuildRun {name} failed to finish within {}", seen.timeout);
    Standing::failed(reasons::BUILD_RUN_TIMEOUT, message)
}

/// What is left of the run's time; nothing where it has no end.
fn time_left(seen: &Seen<'_>, started: Timestamp, now: Timestamp) -> Option<SignedDuration> {
    let timeout = Some(seen.timeout.0).filter(|timeout| *timeout != 0)?;
    Some(SignedDuration::from_nanos(timeout) - now.duration_since(started))
}

fn is_over(left: SignedDuration) -> bool {
    !left.is_positive()
}

/// The kubelet watches the deadline of the pods that it has, but not while it pulls an image, and not when its node is gone; until a
/// node takes the pod, nobody does.
fn overdue(seen: &Seen<'_>, pod: &Pod, now: Timestamp) -> Option<Standing> {
    let is_accepted = pod.spec.as_ref()?.node_name.is_some();
    let left = time_left(seen, pod.metadata.creation_timestamp.as_ref()?.0, now)?;
    let left = match phase(pod) {
        "Pending" if is_accepted => left + KUBELET_TIME,
        "Pending" => left,
        _ => left + NODE_TIME,
    };
    if !is_over(left) {
        return Some(going(pod, phase(pod)).then(Next::Again(left)));
    }
    Some(timed_out(seen).then(if has_started(pod) { Next::EndPod } else { Next::DeletePod }))
}

/// The user wants an end: a pod of which steps run is asked for it.
fn canceling(seen: &Seen<'_>, now: Timestamp) -> Standing {
    if seen.pod.is_some_and(|pod| !has_started(pod)) {
        return canceled().then(Next::DeletePod);
    }
    let known = seen.buildrun.succeeded();
    let told = known.filter(|known| known.reason == reasons::BUILD_RUN_CANCELED);
    if told.is_some_and(|told| now.duration_since(told.last_transition_time.0) >= NODE_TIME) {
        return canceled().then(Next::EndPod);
    }
    let canceled = Standing::going(
        reasons::BUILD_RUN_CANCELED,
        "The user requested the BuildRun to be canceled.  This BuildRun controller has requested the TaskRun be canceled.  That request has not been process by Tekton's TaskRun controller yet.",
    );
    canceled.then(Next::EndPod)
}

/// A container that can never start.
fn stuck(seen: &Seen<'_>, pod: &Pod) -> Option<Standing> {
    let executor = seen.pod_name.strip_suffix("-pod").unwrap_or(seen.pod_name);
    for status in statuses(pod) {
        let Some(waiting) = waiting(status) else { continue };
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let text = waiting.message.as_deref().unwrap_or_default();
        let step = step_name(&status.name);
        let standing = match reason {
            _ if PULL_FAILURES.contains(&reason) => Standing::failed(
                reasons::TASK_RUN_IMAGE_PULL_FAILED,
                format!(
                    "the step {} in TaskRun {} failed to pull the image {}. The pod errored with the message: \"{text}.\"",
                    go_quote(step),
                    go_quote(executor),
                    go_quote(&status.image_id)
                ),
            ),
            "CreateContainerConfigError" if !waits_for_sub_path(waiting) => Standing::failed(
                reasons::CREATE_CONTAINER_CONFIG_ERROR,
                "Failed to create pod due to config error",
            ),
            "CreateContainerError" => Standing::failed(
                reasons::POD_CREATION_FAILED,
                format!(
                    "the step {} in TaskRun {} failed to start. The pod errored with the message: \"{text}.\"",
                    go_quote(step),
                    go_quote(executor)
                ),
            ),
            _ => continue,
        };
        return Some(standing.then(Next::EndPod));
    }
    None
}

/// A step that failed while something else goes on: a later step, or what others put into the pod.
fn left_behind(seen: &Seen<'_>, pod: &Pod, now: Timestamp) -> Option<Standing> {
    let ordered = steps(pod);
    let failed = ordered.iter().position(|(_, status)| failed(*status).is_some())?;
    let goes_on = ordered[failed + 1..].iter().any(|(_, status)| terminated(*status).is_none())
        || have_steps_ended(pod) && have_others_to_end(pod);
    let ended = failed_at(ordered[failed].1).filter(|_| goes_on)?;
    let left = SKIP_TIME - now.duration_since(ended.0);
    if left.is_positive() {
        return Some(going(pod, phase(pod)).then(Next::Again(left)));
    }
    let standing = match (seen.buildrun.spec.is_canceled(), deadline(pod)) {
        (true, _) => canceled(),
        (_, Some(deadline)) if deadline <= ended.0 => timed_out(seen),
        _ => failure(seen, pod, now),
    };
    Some(standing.then(Next::EndPod))
}

/// When the kubelet tells the pod to end.
fn deadline(pod: &Pod) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let accepted = pod.status.as_ref()?.start_time.as_ref()?.0;
    accepted.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// Why a pod failed, or is about to.
fn failure(seen: &Seen<'_>, pod: &Pod, now: Timestamp) -> Standing {
    let status = pod.status.as_ref();
    let pod_reason = status.and_then(|status| status.reason.as_deref()).unwrap_or_default();
    let pod_message = status.and_then(|status| status.message.clone()).unwrap_or_default();
    let pod_name = seen.pod_name;
    let namespace = seen.buildrun.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let first =
        steps(pod).into_iter().find_map(|(name, status)| failed(status).map(|ended| (name, ended)));
    let location = FailedAt {
        container: first.as_ref().map(|(name, _)| (*name).to_owned()),
        pod: Some(pod_name.to_owned()),
    };
    let located = FailureDetails { location: Some(location), ..FailureDetails::default() };

    match pod_reason {
        "Evicted" => {
            return Standing::failed(reasons::POD_EVICTED, pod_message).with(Some(located));
        }
        "DeadlineExceeded" => return timed_out(seen),
        _ => {}
    }
    // Its steps were told to end.
    if pod.metadata.deletion_timestamp.is_some() {
        return gone(seen, now);
    }
    if let Some(standing) = init_failure(pod) {
        return standing;
    }
    let told = FailureDetails {
        reason: told(pod, results::ERROR_REASON),
        message: told(pod, results::ERROR_MESSAGE),
        ..located.clone()
    };
    let Some((container, ended)) = first else {
        let message = format!(
            "buildrun failed due to an unexpected error in pod {pod_name}: for detailed information: kubectl --namespace {namespace} logs {pod_name} --all-containers"
        );
        return Standing::failed(reasons::FAILED, message).with(Some(told));
    };
    let logs = format!("kubectl --namespace {namespace} logs {pod_name} --container={container}");
    if ended.reason.as_deref() == Some("OOMKilled") {
        let message = format!(
            "buildrun step {container} failed due to out-of-memory, for detailed information: {logs}"
        );
        return Standing::failed(reasons::STEP_OUT_OF_MEMORY, message).with(Some(located));
    }
    if ended.exit_code == VULNERABILITIES_FOUND
        && container == container_name(IMAGE_STEP)
        && is_supporting(pod, container)
    {
        let message = format!(
            "Vulnerabilities have been found in the image which can be seen in the buildrun status. For detailed information,see {logs}"
        );
        return Standing::failed(reasons::VULNERABILITIES_FOUND, message).with(Some(told));
    }
    Standing::failed(
        reasons::FAILED,
        format!("buildrun step {container} failed, for detailed information: {logs}"),
    )
    .with(Some(told))
}

/// The init container hands out the program; without it no step can start.
fn init_failure(pod: &Pod) -> Option<Standing> {
    let (status, ended) =
        preparations(pod).find_map(|status| failed(Some(status)).map(|ended| (status, ended)))?;
    let why = ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or_default();
    let message = format!(
        "init container failed, {} exited with code {}: {why}",
        go_quote(&status.name),
        ended.exit_code
    );
    let out_of_memory = ended.reason.as_deref() == Some("OOMKilled");
    let reason =
        if out_of_memory { reasons::INIT_CONTAINER_OOM } else { reasons::INIT_CONTAINER_FAILED };
    Some(Standing::failed(reason, message))
}

/// A pod that waits or runs.
fn going(pod: &Pod, phase: &str) -> Standing {
    if phase == "Running" {
        return Standing::going(
            reasons::RUNNING,
            "Not all Steps in the Task have finished executing",
        );
    }
    let waiting: Vec<(&str, &ContainerStateWaiting)> = statuses(pod)
        .filter_map(|status| waiting(status).map(|waiting| (status.name.as_str(), waiting)))
        .collect();
    if waiting.iter().any(|(_, waiting)| waits_for_sub_path(waiting)) {
        return Standing::going(
            reasons::PENDING,
            "Waiting for subPath directory creation to complete",
        );
    }
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let unmet: Vec<_> = conditions.filter(|condition| condition.status != "True").collect();
    let lacks =
        |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains("Insufficient"));
    if unmet.iter().any(|condition| {
        condition.reason.as_deref() == Some("Unschedulable") && lacks(&condition.message)
    }) {
        return Standing::going(
            reasons::EXCEEDED_NODE_RESOURCES,
            "TaskRun Pod exceeded available resources",
        );
    }
    let of_container = waiting.iter().find_map(|(name, waiting)| {
        let text = waiting.message.as_deref().filter(|text| !text.is_empty())?;
        Some(format!("build step {} is pending with reason {}", go_quote(name), go_quote(text)))
    });
    let of_condition = unmet.first().map(|condition| {
        let text = condition.message.as_deref().unwrap_or_default();
        format!(
            "pod status {}:{}; message: {}",
            go_quote(&condition.type_),
            go_quote(&condition.status),
            go_quote(text)
        )
    });
    let of_pod = pod
        .status
        .as_ref()
        .and_then(|status| status.message.clone())
        .filter(|text| !text.is_empty());
    let message = of_container.or(of_condition).or(of_pod).unwrap_or_else(|| "Pending".into());
    let pulls = waiting.iter().any(|(_, waiting)| {
        waiting.reason.as_deref().is_some_and(|reason| PULL_PROBLEMS.contains(&reason))
    });
    Standing::going(if pulls { reasons::PULL_IMAGE_FAILED } else { reasons::PENDING }, message)
}

/// The kubelet makes directories for subPath mounts by and by; that passes.
fn waits_for_sub_path(waiting: &ContainerStateWaiting) -> bool {
    waiting
        .message
        .as_deref()
        .is_some_and(|text| text.contains("failed to create subPath directory"))
}

fn is_supporting(pod: &Pod, container: &str) -> bool {
    let names = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(SUPPORTING_STEPS_ANNOTATION));
    names.is_some_and(|names| names.split(',').any(|name| name == container))
}

/// The reports of all steps that ended, in their order.
fn reports_of(pod: Option<&Pod>) -> Vec<Report> {
    let steps = pod.map(steps).unwrap_or_default();
    steps
        .into_iter()
        .filter_map(|(_, status)| results::decode(terminated(status)?.message.as_deref()?))
        .collect()
}

/// What the failed steps said last under this name; an empty word counts.
fn told(pod: &Pod, name: &str) -> Option<String> {
    let steps = steps(pod).into_iter();
    steps
        .filter_map(|(_, status)| {
            results::decode(failed(status)?.message.as_deref()?)?.remove(name)
        })
        .next_back()
}

/// When the last step ended, else now.
fn completion(pod: Option<&Pod>, now: Timestamp) -> Time {
    let Some(pod) = pod.filter(|pod| have_steps_ended(pod)) else { return Time(now) };
    let ended =
        steps(pod).into_iter().filter_map(|(_, status)| terminated(status)?.finished_at.as_ref());
    ended.max_by_key(|time| time.0).cloned().unwrap_or(Time(now))
}
