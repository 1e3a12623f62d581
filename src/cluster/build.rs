//! A Build: judged with all that it names, again whenever some of that changes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;

use super::context::Context;
use super::error::ClusterError;
use super::load::Lookup;
use super::{repository, retention, status};
use crate::api::{
    Build, BuildRun, BuildRunSpec, BuildStatus, FALSE, ReferencedBuild, TRUE, reasons,
};
use crate::plan::{GENERATED_ACCOUNT, repository_to_ask, validate_build};

/// How soon a repository is asked again that did not answer well.
const ASK_AGAIN: Duration = Duration::from_mins(5);

/// `kubectl apply` of a directory sends files by name. Until then a run of a Build that misses something is not refused either. The
/// time of creation is told in whole seconds, so it is one to two of them.
const APPLIED_TOGETHER: SignedDuration = SignedDuration::from_secs(2);

/// Says whether a Build can be run.
pub async fn reconcile(
    build: Arc<DeserializeGuard<Build>>,
    context: Arc<Context>,
) -> Result<Action, ClusterError> {
    let build = match &build.0 {
        Ok(build) => build,
        Err(invalid) => {
            tracing::error!(error = %invalid.error, "this Build cannot be read and is left alone");
            return Ok(Action::await_change());
        }
    };
    if build.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    // A Build may be seen before its runs are.
    context.runs.wait_until_ready().await.map_err(|_| ClusterError::NotLeading)?;
    let obstacle = match retention::obstacle(&context, build) {
        Some(message) => Some(Obstacle::new((reasons::SET_OWNER_REFERENCE_FAILED, message))),
        None => Box::pin(obstacle(&context, build)).await?,
    };
    let (registered, reason, message) = match obstacle {
        Some(Obstacle { may_pass: true, .. }) if is_new(build) => {
            return Ok(Action::requeue(APPLIED_TOGETHER.unsigned_abs()));
        }
        Some(Obstacle { reason, message, .. }) => (FALSE, reason, message),
        None => (TRUE, reasons::SUCCEEDED, "all validations succeeded".to_owned()),
    };
    tracing::debug!(registered, reason, told = message, "judged the Build");
    let status = BuildStatus {
        registered: Some(registered.into()),
        reason: Some(reason.into()),
        message: Some(message),
    };
    if status::of_build(&context, build, &status).await? {
        // This very change wakes the Build again: once is counted, and its runs are looked after then.
        return Ok(Action::await_change());
    }
    if registered == TRUE {
        context.metrics.build_registered(build);
    }
    retention::own(&context, build).await?;
    retention::limit(&context, build).await?;
    let is_silent = reason == reasons::REMOTE_REPOSITORY_UNREACHABLE;
    if is_silent && repository_to_ask(build).is_some() {
        return Ok(Action::requeue(ASK_AGAIN));
    }
    Ok(Action::await_change())
}

/// Why a Build cannot be run.
struct Obstacle {
    reason: &'static str,
    message: String,
    /// Whether it goes away when an object comes.
    may_pass: bool,
}

impl Obstacle {
    /// One that does not go away by itself.
    fn new((reason, message): (&'static str, String)) -> Self {
        Self { reason, message, may_pass: false }
    }
}

/// The first reason why the Build cannot be run, as its status says it.
async fn obstacle(context: &Context, build: &Build) -> Result<Option<Obstacle>, ClusterError> {
    if let Some(url) = repository_to_ask(build)
        && let Err(why) = repository::ask(url).await
    {
        return Ok(Some(Obstacle::new((reasons::REMOTE_REPOSITORY_UNREACHABLE, why))));
    }
    match context.loader.run(&run_of(build), Lookup::Nothing).await {
        Ok(loaded) => {
            let first = validate_build(build, &loaded, &context.settings).into_iter().next();
            Ok(first.map(|refusal| Obstacle {
                may_pass: refusal.may_pass(&loaded),
                reason: refusal.reason,
                message: refusal.message,
            }))
        }
        Err(error) => error.unreadable().ok_or(error).map(Obstacle::new).map(Some),
    }
}

/// Whether what it names may still come: it has just been applied, and nobody has judged it yet.
fn is_new(build: &Build) -> bool {
    let is_judged = build.status.as_ref().is_some_and(|status| status.registered.is_some());
    let created = build.metadata.creation_timestamp.as_ref();
    // Clocks differ a little.
    let is_young =
        created.is_some_and(|at| Timestamp::now().duration_since(at.0).abs() < APPLIED_TOGETHER);
    is_young && !is_judged
}

/// A Build is judged as a run of it would be that says nothing of its own.
pub fn run_of(build: &Build) -> BuildRun {
    let mut run = BuildRun {
        spec: BuildRunSpec {
            build: ReferencedBuild { name: build.metadata.name.clone(), spec: None },
            // Which account it runs as is the run's business.
            service_account: Some(GENERATED_ACCOUNT.into()),
            ..BuildRunSpec::default()
        },
        ..BuildRun::default()
    };
    run.metadata.name.clone_from(&build.metadata.name);
    run.metadata.namespace.clone_from(&build.metadata.namespace);
    run
}
