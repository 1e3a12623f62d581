//! What is watched, and whose reconcile a change wakes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, join};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use tracing::Instrument as _;

use super::context::Context;
use super::error::ClusterError;
use super::lease::{Chain, within};
use super::{build, build_run};
use crate::api::{Build, BuildRun, BuildStrategy, ClusterBuildStrategy};

/// How soon a failed reconcile is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How soon a reconcile is tried again that somebody else's write overtook: that change is on its way.
const OVERTAKEN: Duration = Duration::from_millis(100);
/// How long a reconcile may take: without a limit one connection whose other end is gone would hold its object for a quarter of an hour.
const LONGEST: Duration = Duration::from_mins(1);
/// Label of everything that belongs to a run.
const RUN_LABEL: &str = "buildrun.shipwright.io/name";

/// The two controllers, before they run.
pub struct Watches {
    builds: Controller<DeserializeGuard<Build>>,
    runs: Controller<DeserializeGuard<BuildRun>>,
}

impl Watches {
    pub fn of(client: &Client) -> Self {
        let everything = watcher::Config::default;
        let pods = everything().labels(RUN_LABEL);
        let runs = Controller::new(Api::all(client.clone()), everything())
            .owns(Api::<Pod>::all(client.clone()), pods);
        let builds = Controller::new(Api::all(client.clone()), everything());
        let store = builds.store();
        let (of_secret, of_strategy, of_cluster_strategy) = (store.clone(), store.clone(), store);
        // Of these objects only the names count here.
        let secrets = Api::<PartialObjectMeta<Secret>>::all(client.clone());
        let builds = builds.watches(secrets, everything(), move |secret| {
            let (name, namespace) = (secret.name_any(), secret.namespace());
            affected(&of_secret, |build| {
                build.namespace() == namespace && names_secret(build, &name)
            })
        });
        let strategies = Api::<PartialObjectMeta<BuildStrategy>>::all(client.clone());
        let builds = builds.watches(strategies, everything(), move |strategy| {
            let (name, namespace) = (strategy.name_any(), strategy.namespace());
            affected(&of_strategy, |build| {
                let own = &build.spec.strategy;
                let kind = own.kind.as_deref().unwrap_or(BuildStrategy::KIND);
                build.namespace() == namespace && own.name == name && kind == BuildStrategy::KIND
            })
        });
        let strategies = Api::<PartialObjectMeta<ClusterBuildStrategy>>::all(client.clone());
        let builds = builds.watches(strategies, everything(), move |strategy| {
            let name = strategy.name_any();
            affected(&of_cluster_strategy, |build| {
                let own = &build.spec.strategy;
                own.name == name && own.kind.as_deref() == Some(ClusterBuildStrategy::KIND)
            })
        });
        Self { builds, runs }
    }

    /// What was seen last of Builds and runs.
    pub fn stores(&self) -> (Store<DeserializeGuard<Build>>, Store<DeserializeGuard<BuildRun>>) {
        (self.builds.store(), self.runs.store())
    }

    /// Reconciles for as long as it is awaited.
    pub async fn run(self, context: Arc<Context>, builds_at_once: u16, runs_at_once: u16) {
        let Self { builds, runs } = self;
        let runs = runs.with_config(Config::default().concurrency(runs_at_once)).run(
            |run, context| {
                let (name, namespace, uid) = (run.name_any(), run.namespace(), run.uid());
                let span = tracing::info_span!("buildrun", name, namespace, uid);
                within(LONGEST, build_run::reconcile(run, context)).instrument(span)
            },
            |run, error, _| failed(BuildRun::KIND, &*run, error),
            Arc::clone(&context),
        );
        let builds = builds.with_config(Config::default().concurrency(builds_at_once)).run(
            |build, context| {
                let (name, namespace, uid) = (build.name_any(), build.namespace(), build.uid());
                let span = tracing::info_span!("build", name, namespace, uid);
                within(LONGEST, build::reconcile(build, context)).instrument(span)
            },
            |build, error, _| failed(Build::KIND, &*build, error),
            context,
        );
        join!(
            runs.for_each(|_| std::future::ready(())),
            builds.for_each(|_| std::future::ready(()))
        );
    }
}

/// The Builds that have to be judged again.
fn affected(
    store: &Store<DeserializeGuard<Build>>,
    is: impl Fn(&Build) -> bool,
) -> Vec<ObjectRef<DeserializeGuard<Build>>> {
    let builds = store.state();
    let affected = builds.iter().filter(|build| build.0.as_ref().is_ok_and(&is));
    affected.map(|build| ObjectRef::from_obj(&**build)).collect()
}

fn names_secret(build: &Build, name: &str) -> bool {
    let source = build.spec.source.as_ref();
    let git = source.and_then(|source| source.git.as_ref()?.clone_secret.as_deref());
    let oci = source.and_then(|source| source.oci_artifact.as_ref()?.pull_secret.as_deref());
    [git, oci, build.spec.output.push_secret.as_deref()].contains(&Some(name))
}

fn failed(kind: &str, object: &impl kube::ResourceExt, error: &ClusterError) -> Action {
    if error.is_conflict() {
        return Action::requeue(OVERTAKEN);
    }
    let (name, namespace) = (object.name_any(), object.namespace());
    tracing::warn!(kind, name, namespace, error = %Chain(error), "cannot go on; trying again");
    Action::requeue(RETRY)
}
