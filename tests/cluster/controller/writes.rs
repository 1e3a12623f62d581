//! What one BuildRun writes, request by request, as docs/cluster.md lists it.
//!
//! Invariant: nothing else happens meanwhile, so these are all writes of the controller's account in the namespace, in their order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::harness::{Namespace, PATIENCE};
use super::super::steps::shell;
use super::Controller;
use super::audit::{self, Creation, Following, Request};
use super::ended_early::cancel;
use super::lost::{WAIT, evict};
use super::runs::{RUNNING, name_of, pod_of, run_called, words};

/// Labels and the Pod's name; or the number of the attempt.
const METADATA: &str = "patch buildruns";
const POD_ANNOTATION: &str = "slipway.dev/pod";
const POD: &str = "create pods";
const STATUS: &str = "patch buildruns/status";
const EVENT: &str = "create events";
/// Shortens or ends the Pod.
const DEADLINE: &str = "patch pods";
/// Seconds after which a run says that its Pod waits.
const PENDING_GRACE: i64 = 10;
/// Seconds without a node that are taken off a Pod's deadline.
const QUEUE_GRACE: i64 = 2;

#[test]
fn a_run_writes_what_the_page_lists_and_nothing_else() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("writes");
    let go = |run: &BuildRun| go(&namespace, run);
    // Meanwhile the Build is judged.
    writes_of(&namespace, "first", &json!({}), go);

    let quiet = writes_of(&namespace, "quiet", &json!({}), go);
    assert_eq!(quiet, [METADATA, POD, STATUS, STATUS, EVENT]);

    let generated =
        writes_of(&namespace, "generated", &json!({ "serviceAccount": ".generate" }), go);
    let [create, delete] = ["create serviceaccounts", "delete serviceaccounts"];
    assert_eq!(generated, [METADATA, create, POD, STATUS, STATUS, EVENT, delete]);

    let canceled =
        writes_of(&namespace, "canceled", &json!({}), |run| cancel(&namespace, name_of(run)));
    assert_eq!(canceled, [METADATA, POD, STATUS, DEADLINE, STATUS, STATUS, EVENT]);

    let lost = Cell::new(false);
    let replaced = writes_of(&namespace, "replaced", &json!({}), |run| {
        if lost.replace(true) {
            go(run);
        } else {
            evict(&namespace, pod_of(run));
        }
    });
    let lost = [STATUS, METADATA, METADATA, POD, STATUS];
    assert_eq!(replaced, [&[METADATA, POD, STATUS], &lost[..], &[STATUS, EVENT]].concat());

    // What came late of one of the others would be among these.
    assert_eq!(writes_of(&namespace, "last", &json!({}), go), quiet);
}

/// Lets the run's step end.
fn go(namespace: &Namespace, run: &BuildRun) {
    namespace.exec(pod_of(run), "step-long", &["touch", "/workspace/go"]);
}

/// Whatever the controller wrote from the creation of a run to its event, but for what is due because a busy node let a Pod wait. `act` is
/// told of each Pod that runs once the run says so.
fn writes_of(
    namespace: &Namespace,
    name: &str,
    also: &Value,
    act: impl Fn(&BuildRun),
) -> Vec<String> {
    let mut sample = run_called("quiet", &[shell("long", WAIT)]);
    sample.run["metadata"]["name"] = name.into();
    sample.run["spec"].as_object_mut().unwrap().extend(also.as_object().unwrap().clone());
    let following = Following::from_now();
    let begin = audit::end();
    namespace.apply(&sample.text());

    let pods = RefCell::new(Vec::<Waited>::new());
    let field = format!("--field-selector=metadata.name={name}");
    let ended = namespace.watch_all(&["buildruns", &field], PATIENCE, |run: &BuildRun| {
        // In between a run that lost its Pod names none.
        let names_pod =
            run.metadata.annotations.iter().flatten().any(|(key, _)| key == POD_ANNOTATION);
        let Some((_, reason, message)) = words(run).filter(|_| names_pod) else { return false };
        let mut pods = pods.borrow_mut();
        if pods.last().is_none_or(|waited| waited.pod != pod_of(run)) {
            pods.push(Waited { pod: pod_of(run).into(), ..Waited::default() });
        }
        let waited = pods.last_mut().unwrap();
        if reason == "Pending" && !message.contains(" was lost ") {
            waited.note(run, message);
        }
        if words(run) == Some(RUNNING) && waited.queued.is_none() {
            let pod = namespace.wait_until_running(pod_of(run), "step-long");
            waited.queued = Some(queued(&pod));
            act(run);
        }
        run.is_done()
    });
    ended.unwrap_or_else(|| panic!("{name} does not end"));
    following.wait_for("event of the run", |request| {
        request.is_of_controller() && request.creation("events", namespace.name()) == Creation::Done
    });
    if also["serviceAccount"] == ".generate" {
        following.wait_for("end of its account", |request| {
            request.is_in(namespace.name()) && request.what() == "delete serviceaccounts"
        });
    }

    let mut requests = audit::by_controller_since(begin);
    requests.retain(|request| request.is_in(namespace.name()) && request.is_change());
    requests.sort_by_key(|request| request.began);
    let mut writes: Vec<_> = requests.iter().map(Request::what).collect();
    for (number, waited) in pods.into_inner().iter().enumerate() {
        waited.forget(&mut writes, number);
    }
    writes
}

/// How a busy node let a Pod wait.
#[derive(Debug, Default)]
struct Waited {
    pod: String,
    /// What the run said of it.
    said: BTreeSet<String>,
    /// Seconds without a node, once it runs.
    queued: Option<i64>,
}

impl Waited {
    fn note(&mut self, run: &BuildRun, message: &str) {
        let status = run.status.as_ref().unwrap();
        let since = status.start_time.as_ref().unwrap().0;
        let told = status.succeeded().unwrap().last_transition_time.0;
        let seconds = told.duration_since(since).as_secs();
        assert!(seconds >= PENDING_GRACE, "said after {seconds} s: {message}");
        self.said.insert(message.to_owned());
    }

    /// Takes out what was written because of it, after that Pod of the run.
    fn forget(&self, writes: &mut Vec<String>, number: usize) {
        let created = writes.iter().enumerate().filter(|(_, write)| *write == POD);
        let place = created.map(|(place, _)| place).nth(number);
        let place = place.unwrap_or_else(|| panic!("no {self:?} in {writes:?}"));
        let mut due = vec![STATUS; self.said.len()];
        due.extend(self.queued.filter(|queued| *queued >= QUEUE_GRACE).map(|_| DEADLINE));
        for due in due {
            let later = writes[place..].iter().position(|write| write == due);
            let later = later.unwrap_or_else(|| panic!("no {due} for {self:?} in {writes:?}"));
            writes.remove(place + later);
        }
    }
}

/// Seconds until a node had the Pod.
fn queued(pod: &Pod) -> i64 {
    let accepted = pod.status.as_ref().unwrap().start_time.as_ref().unwrap().0;
    accepted.duration_since(pod.metadata.creation_timestamp.as_ref().unwrap().0).as_secs()
}
