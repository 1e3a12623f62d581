//! Tells what became of a run: conditions, the end of a run that has none of its pod, events.
//!
//! Invariant: a run that ends is counted and told of once, by whoever wrote its end.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Resource as _;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event as ClusterEvent, EventType};

use super::context::Context;
use super::error::ClusterError;
use super::status;
use crate::Chain;
use crate::api::{BuildRun, BuildRunStatus, BuildSpec, Condition, FALSE, SUCCEEDED};
use crate::plan::Event;
use crate::plan::replacement::attempt;

/// Bytes that the API server takes as the note of an event.
const MAX_NOTE: usize = 1024;

/// Whether its pod was there once.
pub fn has_started(run: &BuildRun) -> bool {
    start_time(run).is_some()
}

fn start_time(run: &BuildRun) -> Option<&Time> {
    run.status.as_ref()?.start_time.as_ref()
}

/// Ends a run that its pod does not end.
pub async fn fail(
    context: &Context,
    run: &BuildRun,
    build_spec: Option<BuildSpec>,
    reason: &'static str,
    message: String,
) -> Result<Action, ClusterError> {
    let known = run.status.clone().unwrap_or_default();
    let completion_time = Some(Time(Timestamp::now()));
    let status = BuildRunStatus {
        build_spec: known.build_spec.clone().or(build_spec),
        completion_time,
        ..known
    };
    let status = with_condition(status, FALSE, reason, message.clone());
    if status::of_run(context, run, &status).await?.is_some() {
        if has_started(run) {
            let failed = BuildRun { status: Some(status), ..run.clone() };
            if attempt(run) == 0 {
                context.metrics.pod_made(&failed, start_time(&failed));
                context.metrics.started(&failed);
            }
            context.metrics.ended(&failed, None);
        }
        tell(context, run, &Event { warning: true, reason, message }).await;
    }
    Ok(Action::await_change())
}

/// That status with this condition, as of now.
pub fn with_condition(
    status: BuildRunStatus,
    word: &str,
    reason: &str,
    message: String,
) -> BuildRunStatus {
    let condition = Condition {
        last_transition_time: Time(Timestamp::now()),
        message,
        reason: reason.into(),
        status: word.into(),
        type_: SUCCEEDED.into(),
    };
    BuildRunStatus { conditions: vec![condition], ..status }
}

/// An event for those who watch; a run does not depend on it, and it is lost where the controller dies before it.
pub async fn tell(context: &Context, run: &BuildRun, event: &Event) {
    let event = ClusterEvent {
        type_: if event.warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.into(),
        note: Some(event.message[..event.message.floor_char_boundary(MAX_NOTE)].to_owned()),
        action: "BuildRun".into(),
        secondary: None,
    };
    let run = run.object_ref(&());
    match context.leadership.act(context.recorder.publish(&event, &run)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %Chain(&error), "cannot publish an event"),
        Err(error) => tracing::warn!(%error, "cannot publish an event"),
    }
}
