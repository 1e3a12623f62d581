//! What the tests stand on that disturb the controller: many small runs, what they must come to, and parts of the cluster that go and come back.
//!
//! Invariant: a disturbed run is judged like any other one: one pod, one end, and nothing written after it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::documents::{build, script_strategy};
use super::super::harness::{Namespace, run};
use super::audit::{self, Creation, Request};
use super::{DEPLOYMENT, await_rollout, of_controller};

/// How long a disturbed run may take to its end: whatever was stopped starts first, on a machine that may have much else to do.
const LONGEST: Duration = Duration::from_mins(10);

/// How much the audit log tells of what was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Audited {
    Everything,
    /// An API server was killed, perhaps between what it did and the line about it.
    AlmostEverything,
}

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
    pub fn assert_each_built_once(mut self, audited: Audited) {
        let ended = self.ends();
        // What a controller still had to write about those is written before one that comes later has ended.
        self.create(1);
        let all = self.ends();

        // Nobody wrote to a run after its end.
        let version = |run: &BuildRun| run.metadata.resource_version.clone();
        for (name, run) in &ended {
            let now = &all[name];
            assert_eq!(version(now), version(run), "{name} was written to after its end: {now:?}");
        }

        let build: Value =
            serde_json::from_str(&self.namespace.kubectl(&["get", "build/app", "--output=json"]))
                .unwrap();
        let mut pods: Vec<_> = all.values().map(|run| assert_built(run, &build["spec"])).collect();
        pods.sort();
        let there = self.namespace.kubectl(&["get", "pods", "--output=name"]);
        let mut there: Vec<_> =
            there.lines().map(|line| line.strip_prefix("pod/").unwrap()).collect();
        there.sort_unstable();
        assert_eq!(there, pods, "each run has its one pod");
        let requests = audit::since(self.audit, self.namespace.name());
        let made = self.pods_with(&requests, |creation| creation == Creation::Done);
        let mut left = pods.iter();
        let are_known = made.iter().all(|pod| left.any(|known| known == pod));
        assert!(are_known && !made.is_empty(), "{made:?} were made, {pods:?} are there");
        if audited == Audited::Everything {
            let mut asked_for = self.pods_with(&requests, |creation| creation != Creation::None);
            asked_for.dedup();
            assert_eq!(asked_for, pods, "pods that may have been made, and those of the runs");
        }
    }

    /// Each as it was when its end was seen first.
    fn ends(&self) -> BTreeMap<String, BuildRun> {
        let ended = RefCell::new(BTreeMap::new());
        let last = self.namespace.watch_all(&["buildruns"], LONGEST, |run: &Value| {
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
        assert!(last.is_some(), "{missing} of {} runs have no end after {LONGEST:?}", self.count);
        ended
    }

    /// Names of the pods with such a creation here, whosever it was, in the order of the alphabet.
    fn pods_with(&self, requests: &[Request], is: impl Fn(Creation) -> bool) -> Vec<String> {
        let namespace = self.namespace.name();
        let such = requests.iter().filter(|request| is(request.creation("pods", namespace)));
        let mut pods: Vec<_> = such.map(|request| request.name().to_owned()).collect();
        pods.sort();
        pods
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

/// How many replicas the Deployment has, until this goes.
pub struct Replicas {
    usual: u32,
}

impl Replicas {
    pub fn scaled_to(replicas: u32) -> Self {
        let usual = of_controller(&["get", DEPLOYMENT, "--output=jsonpath={.spec.replicas}"]);
        let scaled = Self { usual: usual.parse().unwrap() };
        scale(replicas);
        scaled
    }
}

fn scale(replicas: u32) {
    of_controller(&["scale", &format!("--replicas={replicas}"), DEPLOYMENT]);
    await_rollout();
}

impl Drop for Replicas {
    fn drop(&mut self) {
        put_back(|| scale(self.usual));
    }
}

/// A component of the cluster that is stopped or started, until this goes.
pub struct Component {
    name: &'static str,
    back: &'static str,
}

impl Component {
    pub fn stopped(name: &'static str) -> Self {
        let component = Self { name, back: "start" };
        cluster("stop", name);
        component
    }

    pub fn started(name: &'static str) -> Self {
        let component = Self { name, back: "stop" };
        cluster("start", name);
        component
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        put_back(|| {
            cluster(self.back, self.name);
            // It may have ended where it was without etcd for long. This waits until it answers, too.
            cluster("start", "kube-apiserver");
        });
    }
}

fn cluster(verb: &str, component: &str) {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/hack/cluster"));
    command.args([verb, component]);
    run(command, "");
}

/// What failed first is to be read, also when this fails as well.
pub fn put_back(by: impl FnOnce()) {
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(by)).is_err();
    assert!(!failed || std::thread::panicking(), "something is not as it was before, see above");
}
