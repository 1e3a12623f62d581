//! Runs that somebody or their timeout ends: before a node has their pod, while it pulls an image, while it runs, and afterwards.
//!
//! Invariant: whatever a step has said can be read afterwards.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::harness::{Namespace, PATIENCE, phase, status, statuses};
use super::super::steps::{run_of, shell, step};
use super::Controller;
use super::policy::Policy;
use super::told::{condition, ended_run, event, writes};

const CANCELED: (&str, &str, &str, &str) = (
    "Succeeded",
    "False",
    "BuildRunCanceled",
    "The BuildRun and underlying TaskRun were canceled successfully.",
);

fn timed_out(message: &str) -> (&str, &str, &str, &str) {
    ("Succeeded", "False", "BuildRunTimeout", message)
}

/// Applies a strategy of these steps and its Build.
fn provide(namespace: &Namespace, steps: &[Value]) {
    let documents = run_of(steps);
    let (provided, _) = documents.rsplit_once("\n---\n").unwrap();
    namespace.apply(provided);
}

/// Starts a run of that Build, which says this beside.
fn start(namespace: &Namespace, name: &str, also: &Value) {
    let mut spec = json!({ "build": { "name": "steps" } });
    spec.as_object_mut().unwrap().extend(also.as_object().unwrap().clone());
    let run = json!({ "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": { "name": name }, "spec": spec });
    namespace.apply(&run.to_string());
}

/// The pod of a run as soon as `is` says so.
pub fn pod_of(namespace: &Namespace, run: &str, is: impl Fn(&Pod) -> bool) -> Pod {
    let label = format!("--selector=buildrun.shipwright.io/name={run}");
    let pod = namespace.watch_all(&["pods", &label], PATIENCE, is);
    pod.unwrap_or_else(|| panic!("no such pod of {run} after {PATIENCE:?}"))
}

fn name_of(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap()
}

pub fn cancel(namespace: &Namespace, run: &str) {
    let patch = r#"{"spec":{"state":"BuildRunCanceled"}}"#;
    namespace.kubectl(&["patch", "buildrun", run, "--type=merge", "--patch", patch]);
}

/// Nothing but its condition and its times says how it ended.
fn expect_ended(namespace: &Namespace, run: &BuildRun, expected: (&str, &str, &str, &str)) {
    assert_eq!(condition(run), expected);
    let status = run.status.as_ref().unwrap();
    assert_eq!(status.failure_details, None);
    assert!(status.start_time.as_ref().unwrap().0 <= status.completion_time.as_ref().unwrap().0);
    assert!(status.build_spec.is_some());
    let told = event(namespace, run.metadata.name.as_deref().unwrap());
    assert_eq!(told, ("Warning".to_owned(), expected.2.to_owned(), expected.3.to_owned()));
}

/// No node is like that.
fn nowhere() -> Value {
    json!({ "slipway.test/nowhere": "yes" })
}

#[test]
fn a_run_that_no_node_takes() {
    let controller = Controller::installed();
    let namespace = Namespace::new("early-queued");
    provide(&namespace, &[shell("first", "true")]);
    let wish = json!({ "nodeSelector": nowhere(), "serviceAccount": ".generate" });
    start(&namespace, "canceled", &wish);
    let mut late = wish;
    late["timeout"] = "5s".into();
    start(&namespace, "late", &late);

    pod_of(&namespace, "canceled", |_| true);
    cancel(&namespace, "canceled");
    expect_ended(&namespace, &ended_run(&namespace, "canceled"), CANCELED);
    let run = ended_run(&namespace, "late");
    let message = "BuildRun late failed to finish within 5s";
    expect_ended(&namespace, &run, timed_out(message));
    for object in ["pods", "serviceaccount/canceled", "serviceaccount/late"] {
        let all: &[&str] = if object == "pods" { &["--all"] } else { &[] };
        namespace.kubectl(&[&["wait", "--for=delete", "--timeout=180s", object], all].concat());
    }

    let each = [
        "create pods",
        "create serviceaccounts",
        "patch buildruns",
        "delete pods",
        "delete serviceaccounts",
        "patch buildruns/status",
        "create events",
    ];
    assert_writes(&controller, &namespace, &[each, each].concat(), &busy(2));
}

/// What may be written beside for so many runs: a pod that waits on a busy machine says so, perhaps for several reasons, and has less
/// time then; one that is quick never says that it runs; and a status that was overtaken is written again.
pub fn busy(runs: usize) -> Vec<&'static str> {
    let one = ["patch buildruns/status"; 4].into_iter().chain(["patch pods"]);
    std::iter::repeat_n(one, runs).flatten().collect()
}

/// All that the controller has written there: these, and perhaps some more.
pub fn assert_writes(controller: &Controller, namespace: &Namespace, due: &[&str], more: &[&str]) {
    let mut others = writes(controller, namespace);
    for due in due {
        let place = others.iter().position(|write| write == due);
        let place = place.unwrap_or_else(|| panic!("no {due} (any more) in {others:?}"));
        others.remove(place);
    }
    for more in more {
        if let Some(place) = others.iter().position(|write| write == more) {
            others.remove(place);
        }
    }
    assert!(others.is_empty(), "{others:?}");
}

/// Says when it is told to end, and obeys. In the background, because a shell also tells how
/// what it runs in the foreground was ended.
const OBEDIENT: &str = "trap 'echo told; exit 0' TERM; echo runs; sleep 1000 & wait";

#[test]
fn a_run_that_is_canceled_while_it_runs() {
    let controller = Controller::installed();
    let namespace = Namespace::new("early-running");
    provide(
        &namespace,
        &[shell("first", "echo done"), shell("second", OBEDIENT), shell("third", "true")],
    );
    start(&namespace, "run", &json!({}));
    let pod = pod_of(&namespace, "run", |pod| phase(pod) == "Running");
    let pod = name_of(&pod);
    namespace.wait_for_log(pod, "step-second", "runs");
    namespace
        .watch_all(&["buildruns"], PATIENCE, |run: &BuildRun| {
            run.succeeded().is_some_and(|condition| condition.reason == "Running")
        })
        .expect("the run says that it runs");

    let seen = RefCell::new(Vec::new());
    let run = namespace.watch_all(&["buildruns"], PATIENCE, |run: &BuildRun| {
        let (_, status, reason, message) = condition(run);
        let told = [status, reason, message].map(String::from);
        if seen.borrow().is_empty() {
            cancel(&namespace, "run");
        }
        if seen.borrow().last() != Some(&told) {
            seen.borrow_mut().push(told);
        }
        run.is_done()
    });
    let conditions = [
        ["Unknown", "Running", "Not all Steps in the Task have finished executing"],
        [
            "Unknown",
            "BuildRunCanceled",
            "The user requested the BuildRun to be canceled.  This BuildRun controller has requested the TaskRun be canceled.  That request has not been process by Tekton's TaskRun controller yet.",
        ],
        ["False", CANCELED.2, CANCELED.3],
    ];
    // A pod that has just begun to run may not have been told of yet.
    let seen: Vec<_> = seen.into_inner().into_iter().filter(|told| told[1] != "Pending").collect();
    assert_eq!(seen, conditions);
    expect_ended(&namespace, &run.expect("the run ends"), CANCELED);

    let ended = namespace.wait_until_ended(pod);
    assert_eq!(phase(&ended.pod), "Failed");
    expect_readable(&namespace, &ended.pod);
    let second = ended.log("step-second");
    assert_eq!(ended.log("step-first"), "done\n");
    assert!(second.starts_with("runs\n") && second.ends_with("told\n"), "{second}");
    assert_eq!([ended.exit_code("step-first"), ended.exit_code("step-second")], [0, 143]);
    let third = ended.log("step-third");
    assert!(third.is_empty() || third.starts_with("slipway: skipped: "), "{third}");

    let status = "patch buildruns/status";
    let due =
        ["patch buildruns", "create pods", status, "patch pods", status, status, "create events"];
    assert_writes(&controller, &namespace, &due, &busy(1));
}

#[test]
fn a_run_that_is_canceled_when_it_is_over() {
    let controller = Controller::installed();
    let namespace = Namespace::new("early-over");
    provide(&namespace, &[shell("first", "true")]);
    start(&namespace, "over", &json!({}));
    ended_run(&namespace, "over");
    event(&namespace, "over");
    cancel(&namespace, "over");
    let get = ["get", "buildrun/over", "--output=json"];
    let canceled = namespace.kubectl(&get);
    assert!(canceled.contains("\"BuildRunCanceled\""), "{canceled}");

    // Whatever the controller does about it, it does before this one is over.
    start(&namespace, "next", &json!({}));
    ended_run(&namespace, "next");
    event(&namespace, "next");
    assert_eq!(namespace.kubectl(&get), canceled);
    let status = "patch buildruns/status";
    let each = ["patch buildruns", "create pods", status, "create events"];
    assert_writes(&controller, &namespace, &[each, each].concat(), &busy(2));
}

/// Its pod had built what it should before anybody could end it.
#[test]
fn a_run_that_is_canceled_too_late() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("early-built");
    provide(&namespace, &[shell("first", "until test -e /workspace/go; do sleep 0.01; done")]);
    start(&namespace, "late", &json!({}));
    let pod = pod_of(&namespace, "late", |pod| phase(pod) == "Running");
    let end = json!({ "completionTime": "2026-01-01T00:00:00Z" });
    let unless = "!has(object.status.completionTime)";
    let policy = Policy::refusing_statuses(&namespace, "buildruns", unless, ("late", &end));
    namespace.wait_until_running(name_of(&pod), "step-first");
    namespace.let_go(name_of(&pod), "step-first");
    namespace.wait_until_ended(name_of(&pod)).expect_success();
    cancel(&namespace, "late");
    drop(policy);
    let run = ended_run(&namespace, "late");
    let message =
        "The TaskRun completed before the request to cancel the TaskRun could be processed.";
    assert_eq!(condition(&run), ("Succeeded", "True", "Succeeded", message));
    let status = run.status.as_ref().unwrap();
    assert!(status.failure_details.is_none() && status.completion_time.is_some(), "{status:?}");
    let told = ("Normal".to_owned(), "Succeeded".to_owned(), message.to_owned());
    assert_eq!(event(&namespace, "late"), told);
}

#[test]
fn a_run_that_takes_too_long() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("early-late");
    let deaf = "trap '' TERM; echo runs; while :; do sleep 0.1; done";
    let steps = [shell("first", "echo done"), shell("deaf", deaf), shell("third", "true")];
    provide(&namespace, &steps);
    // The second step has to run by then.
    start(&namespace, "run", &json!({ "timeout": "60s" }));
    let run = ended_run(&namespace, "run");
    let message = "BuildRun run failed to finish within 1m0s";
    expect_ended(&namespace, &run, timed_out(message));
    let pod = pod_of(&namespace, "run", |_| true);
    let ended = namespace.wait_until_ended(name_of(&pod));
    expect_readable(&namespace, &ended.pod);
    let reason = ended.pod.status.as_ref().unwrap().reason.as_deref();
    assert_eq!((phase(&ended.pod), reason), ("Failed", Some("DeadlineExceeded")));
    assert_eq!([ended.exit_code("step-first"), ended.exit_code("step-deaf")], [0, 137]);
    assert_eq!((&*ended.log("step-first"), &*ended.log("step-deaf")), ("done\n", "runs\n"));
    let third = ended.log("step-third");
    assert!(third.is_empty() || third.starts_with("slipway: skipped: "), "{third}");
}

#[test]
fn a_run_that_never_gets_its_image() {
    let _controller = Controller::installed();
    // The node pulls one image at a time.
    let namespace = Namespace::alone("early-pulling");
    let registry = DeafRegistry::new();
    let slow =
        |registry: &DeafRegistry| step("slow", &format!("{}/slow:1", registry.address), &["true"]);
    let late = |name: &str, time: &str| format!("BuildRun {name} failed to finish within {time}");

    // There is nothing to read of a pod of which no step has started: it is deleted as soon as the kubelet listens.
    provide(&namespace, &[slow(&registry)]);
    start(&namespace, "late", &json!({ "timeout": "30s" }));
    registry.asked.recv_timeout(PATIENCE).expect("the node asks for the image");
    start(&namespace, "canceled", &json!({}));
    pod_of(&namespace, "canceled", |pod| waits(pod, "step-slow"));
    cancel(&namespace, "canceled");
    expect_ended(&namespace, &ended_run(&namespace, "canceled"), CANCELED);
    let message = late("late", "30s");
    expect_ended(&namespace, &ended_run(&namespace, "late"), timed_out(&message));
    drop(registry);
    for run in ["canceled", "late"] {
        let pod = format!("pod/{}", pod_name(&namespace, run));
        namespace.kubectl(&["wait", "--for=delete", "--timeout=180s", &pod]);
    }

    // The first step says something, and keeps it.
    let registry = DeafRegistry::new();
    provide(&namespace, &[shell("first", "echo runs; exec sleep 1000"), slow(&registry)]);
    start(&namespace, "heard", &json!({ "timeout": "75s" }));
    let message = late("heard", "1m15s");
    expect_ended(&namespace, &ended_run(&namespace, "heard"), timed_out(&message));
    drop(registry);
    let pod = namespace.wait_until_ended(&pod_name(&namespace, "heard"));
    expect_readable(&namespace, &pod.pod);
    assert_eq!((phase(&pod.pod), &*pod.log("step-first")), ("Failed", "runs\n"));
}

fn waits(pod: &Pod, container: &str) -> bool {
    let state = status(pod, container).and_then(|status| status.state.as_ref());
    state.is_some_and(|state| state.waiting.is_some())
}

/// Whatever a container has said that has begun, one of the supporting steps as well.
fn expect_readable(namespace: &Namespace, pod: &Pod) {
    for status in statuses(pod) {
        let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        if ended.is_some_and(|ended| ended.started_at.is_some()) {
            namespace.log(name_of(pod), &status.name);
        }
    }
}

/// What the run says its pod is called.
fn pod_name(namespace: &Namespace, run: &str) -> String {
    let annotation = r"jsonpath={.metadata.annotations.slipway\.dev/pod}";
    namespace.kubectl(&["get", "buildrun", run, "--output", annotation])
}

/// A registry that takes every request and answers none.
struct DeafRegistry {
    address: SocketAddr,
    /// A word for each request.
    asked: Receiver<()>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl DeafRegistry {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::channel();
        let stop = Arc::<AtomicBool>::default();
        let stops = Arc::clone(&stop);
        let accepting = std::thread::spawn(move || {
            let mut held = Vec::new();
            for connection in listener.incoming().map_while(Result::ok) {
                if stops.load(Ordering::SeqCst) {
                    return;
                }
                held.extend(hear(connection));
                // Nobody may listen any more.
                let _ = sender.send(());
            }
        });
        Self { address, asked, stop, accepting: Some(accepting) }
    }
}

/// The connection, unless it wants TLS: it is told to try without.
fn hear(mut connection: TcpStream) -> Option<TcpStream> {
    const HANDSHAKE: u8 = 22;
    let mut first = [0];
    if connection.read(&mut first).ok()? == 0 || first[0] != HANDSHAKE {
        return Some(connection);
    }
    connection.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").ok()?;
    None
}

impl Drop for DeafRegistry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread, which then hangs up on everybody.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}
