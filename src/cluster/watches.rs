//! What is watched, and whose reconcile a change wakes.

use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{Stream, StreamExt as _, join};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{self, Action, Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use super::arrivals::Arrivals;
use super::context::Context;
use super::disruptions::Disruptions;
use super::error::ClusterError;
use super::failures;
use super::lease::within;
use super::metrics::{BUILD_CONTROLLER, BUILD_RUN_CONTROLLER};
use super::{Controlling, build, build_run};
use crate::Chain;
use crate::api::{Build, BuildRun, BuildStrategy, ClusterBuildStrategy};
use crate::plan::labels::{POD_ANNOTATION, RUN_LABEL};

/// The two controllers, before they run.
pub struct Watches {
    builds: Controller<DeserializeGuard<Build>>,
    runs: Controller<DeserializeGuard<BuildRun>>,
    /// The pods that the cluster takes away, as they are seen.
    pub disruptions: Disruptions,
    /// The runs as they come.
    pub arrivals: Arrivals,
}

impl Watches {
    pub fn of(client: &Client) -> Self {
        let everything = watcher::Config::default;
        let pods = everything().labels(RUN_LABEL);
        let arrivals = Arrivals::default();
        let came = arrivals.clone();
        let (store, writer) = reflector::store();
        let seen = reflector(writer, watcher(Api::all(client.clone()), everything()))
            .filter(move |event| ready(!event.as_ref().is_ok_and(|event| came.is_own(event))));
        let runs = Controller::for_stream(seen.applied_objects(), store);
        let disruptions = Disruptions::default();
        let (noted, of_pod) = (disruptions.clone(), runs.store());
        let runs = runs.watches(Api::<Pod>::all(client.clone()), pods, move |pod| {
            let run = run_of(&pod)?;
            let Some(known) = of_pod.get(&run) else {
                noted.forget(&pod.namespace().unwrap_or_default(), &pod.name_any());
                return None;
            };
            if known.0.as_ref().is_ok_and(|known| waits_for(known, &pod)) {
                noted.note(&pod);
            }
            (!only_waits(&pod, Timestamp::now())).then_some(run)
        });
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
        // A Build stays registered whose strategy goes: its runs say what they miss.
        let strategies = applied::<BuildStrategy>(client);
        let builds = builds.watches_stream(strategies, move |strategy| {
            let (name, namespace) = (strategy.name_any(), strategy.namespace());
            affected(&of_strategy, |build| {
                let own = &build.spec.strategy;
                let kind = own.kind.as_deref().unwrap_or(BuildStrategy::KIND);
                build.namespace() == namespace && own.name == name && kind == BuildStrategy::KIND
            })
        });
        let strategies = applied::<ClusterBuildStrategy>(client);
        let builds = builds.watches_stream(strategies, move |strategy| {
            let name = strategy.name_any();
            affected(&of_cluster_strategy, |build| {
                let own = &build.spec.strategy;
                own.name == name && own.kind.as_deref() == Some(ClusterBuildStrategy::KIND)
            })
        });
        Self { builds, runs, disruptions, arrivals }
    }

    /// What was seen last of Builds and runs.
    pub fn stores(&self) -> (Store<DeserializeGuard<Build>>, Store<DeserializeGuard<BuildRun>>) {
        (self.builds.store(), self.runs.store())
    }

    /// Reconciles for as long as it is awaited.
    pub async fn run(self, context: Arc<Context>, controlling: &Controlling) {
        let Self { builds, runs, .. } = self;
        let Controlling { builds: builds_at_once, build_runs: runs_at_once, .. } = *controlling;
        let longest = controlling.longest_reconcile;
        context.metrics.may_reconcile(BUILD_CONTROLLER, builds_at_once);
        context.metrics.may_reconcile(BUILD_RUN_CONTROLLER, runs_at_once);
        // Spans of the highest level: whatever is logged, it says whose reconcile it belongs to.
        let runs = runs.with_config(Config::default().concurrency(runs_at_once)).run(
            move |run, context| {
                let (name, namespace, uid) = (run.name_any(), run.namespace(), run.uid());
                let span = tracing::error_span!("buildrun", name, namespace, uid);
                let reconcile = build_run::reconcile(Arc::clone(&run), Arc::clone(&context));
                let told = Arc::clone(&context);
                let reconcile = async move {
                    match (within(longest, Box::pin(reconcile)).await, &run.0) {
                        (Err(error), Ok(run)) => {
                            let told = Box::pin(failures::tell(&told, run, error));
                            within(longest, told).await
                        }
                        (outcome, _) => outcome,
                    }
                };
                watched(BUILD_RUN_CONTROLLER, context, uid, reconcile).instrument(span)
            },
            |run, error, context| context.failures.again(&run.uid().unwrap_or_default(), error),
            Arc::clone(&context),
        );
        let builds = builds.with_config(Config::default().concurrency(builds_at_once)).run(
            move |build, context| {
                let (name, namespace, uid) = (build.name_any(), build.namespace(), build.uid());
                let span = tracing::error_span!("build", name, namespace, uid);
                let reconcile = build::reconcile(build, Arc::clone(&context));
                let reconcile = within(longest, reconcile);
                watched(BUILD_CONTROLLER, context, uid, reconcile).instrument(span)
            },
            |build, error, context| context.failures.again(&build.uid().unwrap_or_default(), error),
            context,
        );
        join!(
            runs.for_each(async |outcome| tell(outcome.err())),
            builds.for_each(async |outcome| tell(outcome.err()))
        );
    }
}

/// Objects as they come and change, of which only names and the like are sent.
fn applied<K>(
    client: &Client,
) -> impl Stream<Item = watcher::Result<PartialObjectMeta<K>>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api = Api::<PartialObjectMeta<K>>::all(client.clone());
    watcher(api, watcher::Config::default()).applied_objects()
}

/// A reconcile that is counted, and says itself why it cannot go on.
async fn watched(
    controller: &str,
    context: Arc<Context>,
    uid: Option<String>,
    reconcile: impl Future<Output = Result<Action, ClusterError>>,
) -> Result<Action, ClusterError> {
    let _under_way = context.metrics.reconciling(controller);
    let began = Instant::now();
    let outcome = reconcile.await;
    context.metrics.reconciled(controller, &outcome, began.elapsed());
    context.failures.note(&uid.unwrap_or_default(), outcome.is_err());
    if let Err(error) = outcome.as_ref()
        && !error.is_conflict()
    {
        tracing::warn!(error = %Chain(error), "cannot go on; trying again");
    }
    outcome
}

/// What is wrong with the watches; a reconcile has said so itself.
fn tell(error: Option<controller::Error<ClusterError, watcher::Error>>) {
    if let Some(controller::Error::QueueError(error)) = error {
        tracing::warn!(error = %Chain(&error), "cannot watch; trying again");
    }
}

fn run_of(pod: &Pod) -> Option<ObjectRef<DeserializeGuard<BuildRun>>> {
    let namespace = pod.namespace();
    let mut owners = pod.owner_references().iter();
    owners.find_map(|owner| ObjectRef::from_owner_ref(namespace.as_deref(), owner, ()))
}

fn waits_for(run: &BuildRun, pod: &Pod) -> bool {
    !run.is_done() && run.annotations().get(POD_ANNOTATION) == pod.metadata.name.as_ref()
}

/// Whether a pod waits for a node and nothing else: its run looks again by itself once that is worth a word, and what the scheduler says
/// until then would be a look for nothing.
fn only_waits(pod: &Pod, now: Timestamp) -> bool {
    let is_accepted = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let is_ending = pod.metadata.deletion_timestamp.is_some();
    let waits = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending");
    waits && !is_accepted && !is_ending && build_run::grace_left(Some(pod), now).is_some()
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

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;

    fn wakes(age: i64, spec: &Value, phase: &str, deleted: bool) -> bool {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let owner = json!({
            "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "name": "app", "uid": "1", "controller": true,
        });
        let mut metadata = json!({
            "name": "app-12345-pod", "namespace": "team", "ownerReferences": [owner],
            "creationTimestamp": (now - SignedDuration::from_secs(age)).to_string(),
        });
        if deleted {
            metadata["deletionTimestamp"] = now.to_string().into();
        }
        let pod = json!({ "metadata": metadata, "spec": spec, "status": { "phase": phase } });
        let pod = serde_json::from_value(pod).unwrap();
        assert_eq!(run_of(&pod), Some(ObjectRef::new("app").within("team")));
        !only_waits(&pod, now)
    }

    #[test]
    fn a_pod_wakes_its_run_unless_it_only_waits_for_a_node() {
        let waiting = json!({ "containers": [] });
        let accepted = json!({ "containers": [], "nodeName": "one" });
        assert!(!wakes(1, &waiting, "Pending", false));
        assert!(wakes(11, &waiting, "Pending", false));
        assert!(wakes(1, &waiting, "Pending", true));
        assert!(wakes(1, &waiting, "Failed", false));
        assert!(wakes(1, &accepted, "Pending", false));
    }
}
