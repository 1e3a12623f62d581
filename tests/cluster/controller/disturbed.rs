//! What the tests stand on that disturb the controller: many small runs, what they must come to, and the Deployment as it is changed.
//!
//! Invariant: a disturbed run is judged like any other one: one pod, one end, and nothing written after it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Value, json};
use slipway::api::BuildRun;
use slipway::cluster::install::NAMESPACE;

use super::super::documents::{build, script_strategy};
use super::super::harness::{Namespace, PATIENCE, kubectl, run};
use super::audit;

/// Runs of a build that does nothing, all at once.
pub struct Runs<'a> {
    namespace: &'a Namespace,
    count: usize,
    audit: u64,
}

impl<'a> Runs<'a> {
    /// What they name, but not yet the runs.
    pub fn prepare(namespace: &'a Namespace) -> Self {
        let audit = audit::end();
        namespace.apply(&script_strategy("nothing", (1001, 1001), "true"));
        let mut build: Value =
            serde_json::from_str(&build("nothing", &Value::Null, &json!({ "image": "unused" })))
                .unwrap();
        build["spec"].as_object_mut().unwrap().remove("source");
        namespace.apply(&build.to_string());
        Self { namespace, count: 0, audit }
    }

    pub fn create(&mut self, count: usize) {
        let items: Vec<Value> = (self.count..self.count + count)
            .map(|number| {
                let metadata = json!({ "name": format!("run-{number}") });
                let spec = json!({ "build": { "name": "app" } });
                json!({ "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": metadata, "spec": spec })
            })
            .collect();
        self.namespace
            .apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string());
        self.count += count;
    }

    /// Waits for all of them, and compares what became of each.
    pub fn assert_each_built_once(&self) {
        let ended = RefCell::new(BTreeMap::new());
        let last = self.namespace.watch_all(&["buildruns"], PATIENCE, |run: &Value| {
            let name = run["metadata"]["name"].as_str().unwrap();
            // There may be others that only a look at their text tells something of.
            if name.starts_with("run-") && !run["status"]["completionTime"].is_null() {
                let run: BuildRun = serde_json::from_value(run.clone()).unwrap();
                ended.borrow_mut().entry(name.to_owned()).or_insert(run);
            }
            ended.borrow().len() == self.count
        });
        let ended = ended.into_inner();
        let missing = self.count - ended.len();
        assert!(last.is_some(), "{missing} of {} runs have no end after {PATIENCE:?}", self.count);

        let build: Value =
            serde_json::from_str(&self.namespace.kubectl(&["get", "build/app", "--output=json"]))
                .unwrap();
        let mut pods = Vec::new();
        for run in ended.values() {
            pods.push(assert_built(run, &build["spec"]));
        }
        pods.sort();
        let mut made = self.pods_made();
        made.sort();
        assert_eq!(made, pods, "each run has its one pod");
        let there = self.namespace.kubectl(&["get", "pods", "--output=name"]);
        assert_eq!(there.lines().count(), self.count, "{there}");

        // Nobody wrote to a run after its end.
        let version = |run: &BuildRun| run.metadata.resource_version.clone();
        for (name, run) in &ended {
            let now = self.namespace.kubectl(&["get", "buildrun", name, "--output=json"]);
            let now: BuildRun = serde_json::from_str(&now).unwrap();
            assert_eq!(version(&now), version(run), "{name} was written to after its end: {now:?}");
        }
    }

    /// Names of all pods that were ever made here, whoever made them.
    fn pods_made(&self) -> Vec<String> {
        let namespace = self.namespace.name();
        let requests = audit::since(self.audit, namespace);
        let made = requests.iter().filter(|request| request.has_created("pods", namespace));
        made.map(|request| request.name().to_owned()).collect()
    }
}

/// Compares all that its status says; the name of its pod.
fn assert_built(run: &BuildRun, build_spec: &Value) -> String {
    let name = run.metadata.name.as_deref().unwrap();
    let status = run.status.as_ref().unwrap();
    let conditions: Vec<_> = status
        .conditions
        .iter()
        .map(|condition| {
            (&*condition.type_, &*condition.status, &*condition.reason, &*condition.message)
        })
        .collect();
    let succeeded = ("Succeeded", "True", "Succeeded", "All Steps have completed executing");
    assert_eq!(conditions, [succeeded], "{name}");
    assert!(status.failure_details.is_none() && status.executor.is_none(), "{name}");
    let (start, completion) = (status.start_time.as_ref(), status.completion_time.as_ref());
    assert!(start.unwrap().0 <= completion.unwrap().0, "{name}");
    assert_eq!(&json!(status.build_spec), build_spec, "{name}");
    let labels = BTreeMap::from([
        ("build.shipwright.io/generation".to_owned(), "1".to_owned()),
        ("build.shipwright.io/name".to_owned(), "app".to_owned()),
    ]);
    assert_eq!(run.metadata.labels.as_ref(), Some(&labels), "{name}");
    run.metadata.annotations.as_ref().unwrap()["slipway.dev/pod"].clone()
}

/// kubectl for what belongs to the controller.
pub fn of_controller(arguments: &[&str]) -> String {
    run(kubectl(&[&["--namespace", NAMESPACE], arguments].concat()), "")
}

pub const DEPLOYMENT: &str = "deployment/slipway-controller";

/// The Deployment, changed until this goes.
pub struct Changed(&'static [&'static str]);

impl Changed {
    /// Changes it, waits until that has happened, and knows how to put it back.
    pub fn by(arguments: &[&str], back: &'static [&'static str]) -> Self {
        let changed = Self(back);
        change(arguments);
        changed
    }
}

fn change(arguments: &[&str]) {
    of_controller(arguments);
    of_controller(&["rollout", "status", "--timeout=180s", DEPLOYMENT]);
}

impl Drop for Changed {
    fn drop(&mut self) {
        put_back(|| change(self.0));
    }
}

/// What failed first is to be read, also when this fails as well.
pub fn put_back(by: impl FnOnce()) {
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(by)).is_err();
    assert!(!failed || std::thread::panicking(), "something is not as it was before, see above");
}
