//! When runs came that have no pod yet, and what this controller itself has changed of them.
//!
//! Invariant: what is remembered here only saves requests: a run that is not known is read for afresh, and a change whose author is not
//! known wakes its run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Resource as _, ResourceExt as _};

use crate::api::BuildRun;
use crate::plan::labels::POD_ANNOTATION;

/// Runs by their uids; clones share them.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<BTreeMap<String, Arrival>>>);

enum Arrival {
    /// It came, or was changed, at that time.
    Came(Instant),
    /// It was labelled, which made this version of it.
    Labelled(Option<String>),
    /// Its status was written, which made this version of it.
    Told(Option<u64>),
}

impl Arrivals {
    /// Notes what happens to runs, and says whether it is what this controller did a moment ago.
    pub fn is_own(&self, event: &Event<DeserializeGuard<BuildRun>>) -> bool {
        let (run, is_there) = match event {
            Event::Apply(run) | Event::InitApply(run) => (run, true),
            Event::Delete(run) => (run, false),
            // All runs come once more; those that went meanwhile do not.
            Event::Init => {
                self.all().clear();
                return false;
            }
            Event::InitDone => return false,
        };
        let uid = run.uid().unwrap_or_default();
        let mut all = self.all();
        let known = all.remove(&uid);
        if is_there && is_new(run) {
            all.insert(uid, Arrival::Came(Instant::now()));
        }
        matches!(known, Some(Arrival::Labelled(version)) if version == run.meta().resource_version)
    }

    /// When the run came, where nobody has asked yet.
    pub fn take(&self, uid: &str) -> Option<Instant> {
        let mut all = self.all();
        let Some(Arrival::Came(at)) = all.get(uid) else { return None };
        let at = *at;
        all.remove(uid);
        Some(at)
    }

    /// The run as this controller has labelled it: whoever did so goes on with it, and need not be woken.
    pub fn labelled(&self, run: &BuildRun) {
        let version = run.resource_version();
        self.all().insert(run.uid().unwrap_or_default(), Arrival::Labelled(version));
    }

    /// The run as this controller has written its status.
    pub fn told(&self, run: &BuildRun) {
        let version = version(run.meta());
        self.all().insert(run.uid().unwrap_or_default(), Arrival::Told(version));
    }

    /// Whether the run is older than the status that this controller gave it: what its pod says came sooner than that, and it comes still.
    pub fn is_behind(&self, run: &BuildRun) -> bool {
        let all = self.all();
        let Some(Arrival::Told(told)) = all.get(&run.uid().unwrap_or_default()) else {
            return false;
        };
        version(run.meta()).zip(*told).is_some_and(|(seen, told)| seen < told)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arrival>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Versions of one object are numbers that grow.
fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_ref()?.parse().ok()
}

fn is_new(run: &DeserializeGuard<BuildRun>) -> bool {
    let readable = run.0.as_ref();
    readable.is_ok_and(|run| !run.is_done() && !run.annotations().contains_key(POD_ANNOTATION))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(version: &str, pod: Option<&str>) -> BuildRun {
        let annotations = pod.map(|pod| json!({ POD_ANNOTATION: pod }));
        let metadata = json!({
            "name": "app", "uid": "1", "resourceVersion": version, "annotations": annotations,
        });
        let run = json!({ "metadata": metadata, "spec": { "build": { "name": "app" } } });
        serde_json::from_value(run).unwrap()
    }

    fn applied(version: &str, pod: Option<&str>) -> Event<DeserializeGuard<BuildRun>> {
        Event::Apply(DeserializeGuard(Ok(run(version, pod))))
    }

    #[test]
    fn a_run_wakes_the_controller_but_for_the_controllers_own_labels() {
        let arrivals = Arrivals::default();
        let before = Instant::now();
        assert!(!arrivals.is_own(&applied("1", None)));
        assert!(arrivals.take("1").is_some_and(|came| came > before));
        assert_eq!(arrivals.take("1"), None, "what is read later is read for what was asked later");

        arrivals.labelled(&run("2", Some("pod")));
        assert!(arrivals.is_own(&applied("2", Some("pod"))));
        assert!(!arrivals.is_own(&applied("2", Some("pod"))), "it is seen again after a new list");

        arrivals.labelled(&run("3", Some("pod")));
        assert!(!arrivals.is_own(&applied("4", Some("pod"))), "somebody else was quicker");
        assert!(arrivals.all().is_empty());
    }

    #[test]
    fn a_run_that_is_older_than_its_status_waits_for_it() {
        let arrivals = Arrivals::default();
        arrivals.told(&run("10", Some("pod")));
        assert!(arrivals.is_behind(&run("9", Some("pod"))));
        assert!(!arrivals.is_behind(&run("10", Some("pod"))));
        assert!(!arrivals.is_behind(&run("11", Some("pod"))));
        assert!(!arrivals.is_own(&applied("10", Some("pod"))), "the status wakes its run");
        assert!(!arrivals.is_behind(&run("9", Some("pod"))), "it has come");
        assert!(arrivals.all().is_empty());
    }

    #[test]
    fn a_run_that_is_deleted_is_forgotten() {
        let arrivals = Arrivals::default();
        arrivals.is_own(&applied("1", None));
        arrivals.is_own(&Event::Delete(DeserializeGuard(Ok(run("2", None)))));
        assert!(arrivals.all().is_empty());
    }
}
