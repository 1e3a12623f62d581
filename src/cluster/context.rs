//! What every reconciler stands on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::DeserializeGuard;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use kube::{Api, Resource};

use super::arrivals::Arrivals;
use super::disruptions::Disruptions;
use super::failures::Failures;
use super::lease::Leadership;
use super::load::Loader;
use super::metrics::Metrics;
use super::watches::Watches;
use crate::api::{Build, BuildRun, BuildSpec};
use crate::plan::Settings;

/// So many remembered pods are worth a look at who still needs them.
const MANY: usize = 256;

/// One controller's settings, ways and memory.
pub struct Context {
    pub loader: Loader,
    pub settings: Settings,
    pub leadership: Leadership,
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    /// All Builds as they were seen last.
    pub builds: Store<DeserializeGuard<Build>>,
    /// All runs as they were seen last.
    pub runs: Store<DeserializeGuard<BuildRun>>,
    /// Pods that the cluster takes away.
    pub disruptions: Disruptions,
    /// What failed last time.
    pub failures: Failures,
    /// Runs that have come.
    pub arrivals: Arrivals,
    /// What the pods were made of, and when, of runs that have no status yet, by the runs' uids.
    made: Mutex<BTreeMap<String, Made>>,
}

/// What this process knows of a pod that it has made, until the run's status says the same.
#[derive(Debug, Clone)]
pub struct Made {
    /// The Build as it was then.
    pub of: Option<BuildSpec>,
    /// The pod's creation.
    pub at: Option<Time>,
}

impl Context {
    pub fn new(
        loader: Loader,
        settings: Settings,
        leadership: Leadership,
        recorder: Recorder,
        metrics: Arc<Metrics>,
        watches: &Watches,
    ) -> Self {
        let (builds, runs) = watches.stores();
        Self {
            loader,
            settings,
            leadership,
            recorder,
            metrics,
            builds,
            runs,
            disruptions: watches.disruptions.clone(),
            failures: Failures::default(),
            arrivals: watches.arrivals.clone(),
            made: Mutex::default(),
        }
    }

    /// Objects of one namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.loader.client.clone(), namespace)
    }

    /// Remembers the pod of a run until its status tells of it.
    pub fn remember(&self, uid: &str, pod: Made) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= MANY {
            // Runs may be deleted before they have a status.
            let runs = self.runs.state();
            let known: BTreeSet<_> =
                runs.iter().filter_map(|run| run.meta().uid.as_ref()).collect();
            made.retain(|uid, _| known.contains(uid));
        }
        made.insert(uid.to_owned(), pod);
    }

    /// What was remembered, if this process made the pod.
    pub fn recall(&self, uid: &str) -> Option<Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// The run's status has it, or nobody will ask any more.
    pub fn forget(&self, uid: &str) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
