//! What the cluster tells of Builds and BuildRuns: statuses and events, of many objects side by side.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use k8s_openapi::api::core::v1::Event;
use serde::de::DeserializeOwned;
use serde_json::Value;
use slipway::api::{BuildRun, Condition};

use super::super::harness::{Namespace, PATIENCE};
use super::Controller;

/// The objects, by the key that `counts` gives those that count, as soon as there is one for each name.
pub fn collect<K: DeserializeOwned + Clone + Send + 'static>(
    namespace: &Namespace,
    objects: &[&str],
    names: &BTreeSet<String>,
    counts: impl Fn(&K) -> Option<String>,
) -> BTreeMap<String, K> {
    let seen = RefCell::new(BTreeMap::new());
    let all = namespace.watch_all(objects, PATIENCE, |object: &K| {
        if let Some(name) = counts(object).filter(|name| names.contains(name)) {
            seen.borrow_mut().insert(name, object.clone());
        }
        seen.borrow().len() == names.len()
    });
    let seen = seen.into_inner();
    let missing: Vec<_> = names.iter().filter(|name| !seen.contains_key(*name)).collect();
    assert!(all.is_some(), "nothing is told of {missing:?} after {PATIENCE:?}");
    seen
}

/// The runs, each as it is when it ends.
pub fn ended(namespace: &Namespace, names: &BTreeSet<String>) -> BTreeMap<String, BuildRun> {
    collect(namespace, &["buildruns"], names, |run: &BuildRun| {
        run.metadata.name.clone().filter(|_| run.is_done())
    })
}

/// One run as it is when it ends.
pub fn ended_run(namespace: &Namespace, name: &str) -> BuildRun {
    ended(namespace, &BTreeSet::from([name.to_owned()])).remove(name).unwrap()
}

/// Type, reason and message of the event of each run.
pub fn events(
    namespace: &Namespace,
    names: &BTreeSet<String>,
) -> BTreeMap<String, (String, String, String)> {
    let event_of = |event: &Event| {
        let object = &event.involved_object;
        object.name.clone().filter(|_| object.kind.as_deref() == Some(BuildRun::KIND))
    };
    let events = collect(namespace, &["events"], names, event_of);
    let word = |word: Option<String>| word.unwrap_or_default();
    let told = |event: Event| (word(event.type_), word(event.reason), word(event.message));
    events.into_iter().map(|(name, event)| (name, told(event))).collect()
}

/// Type, reason and message of the event of one run.
pub fn event(namespace: &Namespace, run: &str) -> (String, String, String) {
    events(namespace, &BTreeSet::from([run.to_owned()])).remove(run).unwrap()
}

/// What the controller has written there, but for what it says of Builds.
pub fn writes(controller: &Controller, namespace: &Namespace) -> Vec<String> {
    let requests = controller.requests();
    let writes = requests.iter().filter_map(|request| request.write_in(namespace.name()));
    writes.filter(|write| write != "patch builds/status").collect()
}

/// Fails with the rows that differ, and no other.
pub fn assert_same<V: Debug + PartialEq>(
    told: &BTreeMap<String, V>,
    expected: &BTreeMap<String, V>,
) {
    let differing = expected.iter().filter(|(name, expected)| told.get(*name) != Some(*expected));
    let differing: Vec<_> =
        differing.map(|(name, expected)| (name, told.get(name), expected)).collect();
    assert!(differing.is_empty(), "name, told, expected: {differing:#?}");
    assert_eq!(told.len(), expected.len());
}

/// The run's one condition: type, status, reason, message.
pub fn condition(run: &BuildRun) -> (&str, &str, &str, &str) {
    let [Condition { type_, status, reason, message, .. }] =
        &run.status.as_ref().expect("the run has a status").conditions[..]
    else {
        panic!("not one condition: {:?}", run.status)
    };
    (type_, status, reason, message)
}

/// The object as the API server has it.
pub fn object(namespace: &Namespace, name: &str) -> Value {
    serde_json::from_str(&namespace.kubectl(&["get", name, "--output=json"])).unwrap()
}

/// One document of many objects.
pub fn list(items: &[Value]) -> String {
    serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}
