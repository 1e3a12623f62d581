//! A Build: judged with all that it names, again whenever some of that changes.

use std::sync::Arc;
use std::time::Duration;

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
    let refusal = match retention::obstacle(&context, build) {
        Some(message) => Some((reasons::SET_OWNER_REFERENCE_FAILED, message)),
        None => Box::pin(refusal(&context, build)).await?,
    };
    let (registered, reason, message) = match refusal {
        Some((reason, message)) => (FALSE, reason, message),
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

/// The first reason why the Build cannot be run, as its status says it.
async fn refusal(
    context: &Context,
    build: &Build,
) -> Result<Option<(&'static str, String)>, ClusterError> {
    if let Some(url) = repository_to_ask(build)
        && let Err(why) = repository::ask(url).await
    {
        return Ok(Some((reasons::REMOTE_REPOSITORY_UNREACHABLE, why)));
    }
    match context.loader.run(&run_of(build), Lookup::Nothing).await {
        Ok(loaded) => {
            let refusals = validate_build(build, &loaded, &context.settings);
            Ok(refusals.into_iter().next().map(|refusal| (refusal.reason, refusal.message)))
        }
        Err(error) => error.unreadable().ok_or(error).map(Some),
    }
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
