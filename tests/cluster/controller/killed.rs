//! The controller is killed again and again, right after its first write, its second one and so on, while runs are under way.

use k8s_openapi::api::core::v1::Pod;
use rustix::process::{Pid, Signal, kill_process};
use slipway::cluster::install::{NAME, NAMESPACE};

use super::super::harness::{Namespace, PATIENCE, run, status};
use super::Controller;
use super::audit::{Following, Request};
use super::disturbed::{Changed, DEPLOYMENT, Runs, of_controller};

/// Nobody has to wait long for the lease of the one that was killed.
const SHORT_LEASE: [&str; 6] = [
    "set",
    "env",
    DEPLOYMENT,
    "BUILD_CONTROLLER_LEASE_DURATION=5s",
    "BUILD_CONTROLLER_RENEW_DEADLINE=4s",
    "BUILD_CONTROLLER_RETRY_PERIOD=500ms",
];
const USUAL_LEASE: [&str; 6] = [
    "set",
    "env",
    DEPLOYMENT,
    "BUILD_CONTROLLER_LEASE_DURATION-",
    "BUILD_CONTROLLER_RENEW_DEADLINE-",
    "BUILD_CONTROLLER_RETRY_PERIOD-",
];

#[test]
#[ignore = "stops what other tests need, and does not hold on slow machines yet"]
fn ten_kills_leave_thirty_runs_with_one_pod_each() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("killed");
    let _lease = Changed::by(&SHORT_LEASE, &USUAL_LEASE);
    let mut runs = Runs::prepare(&namespace);
    let mut killed = Vec::new();
    for writes in 1..=10 {
        let audit = Following::from_now();
        let (pod, process) = running(&namespace, &killed);
        // More than enough for ten writes, beside what the ones before left undone.
        runs.create(3);
        let mut seen = 0;
        let last = audit.wait_for(&format!("write {writes} of {pod}"), |request| {
            seen += usize::from(is_write_of(request, &pod, &namespace));
            seen == writes
        });
        kill_process(process, Signal::KILL).expect("it runs");
        println!("killed after write {writes}: {}", last.write_in(namespace.name()).unwrap());
        // Or its kubelet would wait longer each time before it starts the container again.
        of_controller(&["delete", "pod", &pod, "--grace-period=0", "--force"]);
        killed.push(pod);
    }
    runs.assert_each_built_once();
}

fn is_write_of(request: &Request, pod: &str, namespace: &Namespace) -> bool {
    request.pod() == Some(pod)
        && request.is_of_controller()
        && request.write_in(namespace.name()).is_some()
}

/// The controller's pod that is none of these, and its process.
fn running(namespace: &Namespace, killed: &[String]) -> (String, Pid) {
    let of_deployment = format!("--selector=app.kubernetes.io/name={NAME}");
    let pods = ["pods", "--namespace", NAMESPACE, &of_deployment];
    let pod = namespace.watch_all(&pods, PATIENCE, |pod: &Pod| {
        let state = status(pod, "controller").and_then(|status| status.state.as_ref());
        pod.metadata.deletion_timestamp.is_none()
            && !killed.contains(pod.metadata.name.as_ref().unwrap())
            && state.is_some_and(|state| state.running.is_some())
    });
    let pod = pod.expect("the controller comes back");
    let id = status(&pod, "controller").unwrap().container_id.clone().unwrap();
    let id = id.strip_prefix("containerd://").unwrap();
    let mut tasks = std::process::Command::new("ctr");
    tasks.args(["tasks", "list"]);
    let tasks = run(tasks, "");
    let task = tasks.lines().find(|line| line.starts_with(id)).expect("it has a process");
    let process = task.split_whitespace().nth(1).unwrap().parse().unwrap();
    (pod.metadata.name.unwrap(), Pid::from_raw(process).unwrap())
}
