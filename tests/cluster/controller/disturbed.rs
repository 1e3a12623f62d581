//! What the tests stand on that disturb the controller: many small runs, what they must come to, and the audit log as it grows.
//!
//! Invariant: a disturbed run is judged like any other one: one pod, one end, and nothing written after it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use serde_json::{Value, json};
use slipway::api::BuildRun;
use slipway::cluster::install::{NAME, NAMESPACE};

use super::super::documents::{build, script_strategy};
use super::super::harness::{Namespace, PATIENCE, kubectl, run, variable};

/// Runs of a build that does nothing, all at once.
pub struct Runs<'a> {
    namespace: &'a Namespace,
    count: usize,
    audit: u64,
}

impl<'a> Runs<'a> {
    /// What they name, but not yet the runs.
    pub fn prepare(namespace: &'a Namespace) -> Self {
        let audit = audit_end();
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
        let log = std::fs::read(variable("SLIPWAY_AUDIT_LOG")).unwrap();
        let begin = usize::try_from(self.audit).unwrap();
        let requests = log[begin..].lines().map_while(Result::ok).filter_map(|line| parsed(&line));
        let made = requests.filter(|request| {
            request.is("create", "pods")
                && request.0["objectRef"]["namespace"] == self.namespace.name()
                && request.0["responseStatus"]["code"] == 201
        });
        made.map(|request| request.0["objectRef"]["name"].as_str().unwrap().to_owned()).collect()
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

/// A line of the audit log that is about the controller's account.
pub struct Request(Value);

impl Request {
    pub fn is(&self, verb: &str, resource: &str) -> bool {
        let object = &self.0["objectRef"];
        self.0["verb"] == verb && object["resource"] == resource && object["subresource"].is_null()
    }

    fn is_of_controller(&self) -> bool {
        let account = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
        self.0["user"]["username"] == *account
    }

    /// Such as `patch buildruns/status run-1`, where the controller writes anything but its lease.
    pub fn write(&self) -> Option<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (verb, object) = (text(&self.0["verb"]), &self.0["objectRef"]);
        let resource = text(&object["resource"]);
        if !self.is_of_controller()
            || ["get", "list", "watch"].contains(&&*verb)
            || resource == "leases"
        {
            return None;
        }
        let subresource = object["subresource"].as_str();
        let slash = subresource.map(|name| format!("/{name}")).unwrap_or_default();
        Some(format!("{verb} {resource}{slash} {}", text(&object["name"])))
    }

    /// The pod that asked; nothing where the account's token was used outside of one.
    pub fn pod(&self) -> Option<&str> {
        self.0["user"]["extra"]["authentication.kubernetes.io/pod-name"][0].as_str()
    }

    pub fn is_in(&self, namespace: &Namespace) -> bool {
        self.0["objectRef"]["namespace"] == namespace.name()
    }
}

fn parsed(line: &str) -> Option<Request> {
    // The last line may still be on its way.
    serde_json::from_str(line).ok().map(Request)
}

fn audit_end() -> u64 {
    std::fs::metadata(variable("SLIPWAY_AUDIT_LOG")).unwrap().len()
}

/// What is asked of the API server from now on.
pub struct Audit {
    tail: Child,
    lines: Receiver<String>,
}

impl Audit {
    pub fn from_now() -> Self {
        let from = format!("--bytes=+{}", audit_end() + 1);
        let mut tail = Command::new("tail")
            .args([&from, "--follow=name", &variable("SLIPWAY_AUDIT_LOG")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tail starts");
        let stdout = tail.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { tail, lines }
    }

    /// The first request that is as wanted.
    pub fn wait_for(&self, what: &str, mut is: impl FnMut(&Request) -> bool) -> Request {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|error| panic!("no {what} after {PATIENCE:?}: {error}"));
            if let Some(request) = parsed(&line).filter(&mut is) {
                return request;
            }
        }
    }

    /// What was asked until now.
    pub fn so_far(&self) -> Vec<Request> {
        self.lines.try_iter().filter_map(|line| parsed(&line)).collect()
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // It ends with its reader at the latest.
        let _ = self.tail.kill();
        let _ = self.tail.wait();
    }
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
