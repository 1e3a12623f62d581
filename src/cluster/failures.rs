//! Reconciles that fail and are tried again: less and less often, and told to who waits for a build.
//!
//! Invariant: whatever keeps a run from its pod for longer than a moment stands in the run's status, once and not at each try; it goes
//! with the next status, which is the pod's.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use super::build_run::PENDING_GRACE;
use super::context::Context;
use super::error::ClusterError;
use super::outcome::{fail, has_started, with_condition};
use super::status;
use crate::Chain;
use crate::api::{BuildRun, BuildSpec, Condition, Nanoseconds, UNKNOWN, reasons};
use crate::plan::timeout;

/// How soon a failed reconcile is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How soon a reconcile is tried again that somebody else's write overtook: that change is on its way.
const OVERTAKEN: Duration = Duration::from_millis(100);
/// What fails for long is tried again no later than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What failed last so long ago is forgotten: its object is gone.
const OVER: Duration = Duration::from_mins(10);
/// So many failures are worth a look at those that are over.
const MANY: usize = 256;
/// Bytes of a cause that a status shows.
const MAX_CAUSE: usize = 1024;

/// Reconciles that failed last time, by the uids of their objects.
#[derive(Default)]
pub struct Failures(Mutex<BTreeMap<String, Failing>>);

struct Failing {
    first: Instant,
    last: Instant,
    /// When its status was told of it.
    told: Option<Instant>,
}

impl Failures {
    /// Notes how a reconcile ended.
    pub fn note(&self, uid: &str, failed: bool) {
        let mut all = self.all();
        if !failed {
            all.remove(uid);
            return;
        }
        let now = Instant::now();
        if all.len() >= MANY {
            all.retain(|_, failing| now.duration_since(failing.last) < OVER);
        }
        let failing =
            all.entry(uid.to_owned()).or_insert(Failing { first: now, last: now, told: None });
        failing.last = now;
    }

    /// For how long each reconcile of it has failed.
    pub fn length(&self, uid: &str) -> Duration {
        self.all().get(uid).map_or(Duration::ZERO, |failing| failing.first.elapsed())
    }

    /// Whether there may be news of it: each wakes its run at once, so that there is a pause between them.
    fn may_tell(&self, uid: &str) -> bool {
        let mut all = self.all();
        let Some(failing) = all.get_mut(uid) else { return true };
        let may = failing.told.is_none_or(|told| told.elapsed() >= LONGEST_PAUSE);
        if may {
            failing.told = Some(Instant::now());
        }
        may
    }

    /// When it is tried again.
    pub fn again(&self, uid: &str, error: &ClusterError) -> Action {
        let pause = pause(self.length(uid), error.is_conflict());
        tracing::debug!(uid, ?pause, "a failed reconcile is tried again");
        Action::requeue(pause)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(failing: Duration, overtaken: bool) -> Duration {
    let shortest = if overtaken { OVERTAKEN } else { RETRY };
    (failing / 2).clamp(shortest, LONGEST_PAUSE)
}

/// Says in the status of a run why it has no pod yet, and ends it with its time; the error stays one, so that it is tried again.
pub async fn tell(
    context: &Context,
    run: &BuildRun,
    error: ClusterError,
) -> Result<Action, ClusterError> {
    let uid = run.uid().unwrap_or_default();
    let failing = context.failures.length(&uid);
    let has_pod = has_started(run) || run.is_done() || context.recall(&uid).is_some();
    let is_told_elsewhere =
        has_pod || error.is_conflict() || matches!(error, ClusterError::NotLeading);
    if is_told_elsewhere || failing < PENDING_GRACE.unsigned_abs() {
        return Err(error);
    }
    if run.spec.is_canceled() {
        let message = "the BuildRun is marked canceled.".into();
        return fail(context, run, None, reasons::BUILD_RUN_CANCELED, message).await;
    }
    let timeout = timeout(run, build_spec(context, run).as_ref());
    let mut cause = Chain(&error).to_string();
    cause.truncate(cause.floor_char_boundary(MAX_CAUSE));
    if is_over(run, timeout, Timestamp::now()) {
        let message =
            format!("BuildRun {} failed to finish within {timeout}: {cause}", run.name_any());
        return fail(context, run, None, reasons::BUILD_RUN_TIMEOUT, message).await;
    }
    let message = match timeout {
        Nanoseconds(0) => format!("{cause}; it is tried again"),
        timeout => format!("{cause}; it is tried again, for {timeout} in all"),
    };
    if is_news(run, &message) && context.failures.may_tell(&uid) {
        let mut status = with_condition(
            run.status.clone().unwrap_or_default(),
            UNKNOWN,
            reasons::PENDING,
            message,
        );
        if let (Some(since), [condition]) = (waiting_since(run), &mut status.conditions[..]) {
            condition.last_transition_time.0 = since;
        }
        if let Err(unwritten) = status::of_run(context, run, &status).await {
            tracing::debug!(error = %Chain(&unwritten), "the run's status does not say why it waits");
        }
    }
    Err(error)
}

/// The Build that may set the run's time, as it was seen last.
fn build_spec(context: &Context, run: &BuildRun) -> Option<BuildSpec> {
    let named = || {
        let name = run.spec.build.name.as_deref()?;
        let build = ObjectRef::new(name).within(&run.namespace().unwrap_or_default());
        Some(context.builds.get(&build)?.0.as_ref().ok()?.spec.clone())
    };
    run.spec.build.spec.clone().or_else(named)
}

/// Since when the run is known to wait for its pod.
fn waiting_since(run: &BuildRun) -> Option<Timestamp> {
    let waits = |condition: &&_| is_pending(condition);
    run.succeeded().filter(waits).map(|condition| condition.last_transition_time.0)
}

fn is_pending(condition: &Condition) -> bool {
    condition.status == UNKNOWN && condition.reason == reasons::PENDING
}

fn is_over(run: &BuildRun, timeout: Nanoseconds, now: Timestamp) -> bool {
    let longest = SignedDuration::from_nanos(timeout.0);
    let waits = waiting_since(run).map(|since| now.duration_since(since));
    timeout.0 > 0 && waits.is_some_and(|waits| waits >= longest)
}

/// Whether the run's status says something else. What only counts on, such as the number of a port, is no news.
fn is_news(run: &BuildRun, message: &str) -> bool {
    let words = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "");
    let known = run.succeeded().filter(|condition| is_pending(condition));
    known.is_none_or(|condition| words(&condition.message) != words(message))
}
