//! Remembers which pods the cluster takes away: one may be gone before anybody asks for it, and then nothing else tells it from a pod
//! that somebody deleted.
//!
//! Invariant: a pod is forgotten when its run has another one, or has ended.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::plan::replacement::is_disrupted;

/// Namespaces and names of pods; clones share them.
#[derive(Clone, Default)]
pub struct Disruptions(Arc<Mutex<BTreeSet<(String, String)>>>);

impl Disruptions {
    /// The pod as it was seen last: it may have been spared after all.
    pub fn note(&self, pod: &Pod) {
        let key = (pod.namespace().unwrap_or_default(), pod.name_any());
        if is_disrupted(pod) {
            self.pods().insert(key);
        } else {
            self.pods().remove(&key);
        }
    }

    /// Whether this pod, which is gone, was taken away.
    pub fn took(&self, namespace: &str, pod: &str) -> bool {
        self.pods().contains(&(namespace.to_owned(), pod.to_owned()))
    }

    pub fn forget(&self, namespace: &str, pod: &str) {
        self.pods().remove(&(namespace.to_owned(), pod.to_owned()));
    }

    fn pods(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
