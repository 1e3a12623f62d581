//! The controller is killed again and again, right after its first write, its second one and so on, while runs are under way.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;
use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use slipway::cluster::install::{NAME, NAMESPACE};

use super::super::harness::{Namespace, PATIENCE, run, status};
use super::audit::{Following, Request};
use super::disturbed::{Audited, Runs};
use super::leader::LEASE;
use super::{Controller, of_controller};

#[test]
fn ten_kills_leave_thirty_runs_with_one_pod_each() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("killed");
    let mut runs = Runs::prepare(&namespace);
    let mut killed = Vec::new();
    for writes in 1..=10 {
        let audit = Following::from_now();
        let (pod, mut process) = running(&namespace, &killed);
        // More than enough for ten writes, beside what the ones before left undone.
        runs.create(3);
        let mut seen = 0;
        let last = audit.wait_for(&format!("write {writes} of {pod}"), |request| {
            seen += usize::from(is_write_of(request, &pod, &namespace));
            seen == writes
        });
        while pidfd_send_signal(&process, Signal::KILL) == Err(Errno::SRCH) {
            // It has ended by itself, as it does where it cannot renew its lease, and its kubelet starts it again.
            process = running(&namespace, &killed).1;
        }
        println!("killed after write {writes}: {}", last.write_in(namespace.name()).unwrap());
        // Or its kubelet would wait longer each time before it starts the container again.
        of_controller(&["delete", "pod", &pod, "--grace-period=0", "--force"]);
        // Nor has the next one to wait for the end of the lease: `leader` shows what comes of that.
        let nobody = r#"{"spec":{"holderIdentity":""}}"#;
        of_controller(&["patch", "lease", LEASE, "--type=merge", "--patch", nobody]);
        killed.push(pod);
    }
    runs.assert_each_built_once(Audited::Everything);
}

fn is_write_of(request: &Request, pod: &str, namespace: &Namespace) -> bool {
    request.is_of_controller()
        && request.pod() == Some(pod)
        && request.write_in(namespace.name()).is_some()
}

/// The controller's pod that is none of these, and its process.
fn running(namespace: &Namespace, killed: &[String]) -> (String, OwnedFd) {
    let of_deployment = format!("--selector=app.kubernetes.io/name={NAME}");
    let pods = ["pods", "--namespace", NAMESPACE, &of_deployment];
    let process = OnceCell::new();
    let pod = namespace.watch_all(&pods, PATIENCE, |pod: &Pod| {
        if pod.metadata.deletion_timestamp.is_none()
            && !killed.contains(pod.metadata.name.as_ref().unwrap())
            && let Some(status) = status(pod, "controller")
            && status.state.as_ref().is_some_and(|state| state.running.is_some())
            && let Some(running) = process_of(status.container_id.as_deref().unwrap())
        {
            return process.set(running).is_ok();
        }
        false
    });
    let pod = pod.expect("the controller comes back");
    (pod.metadata.name.unwrap(), process.into_inner().unwrap())
}

/// A hold on the container's process, which is never another one's; nothing where it has ended.
fn process_of(container: &str) -> Option<OwnedFd> {
    let id = container.strip_prefix("containerd://").unwrap();
    let mut tasks = Command::new("ctr");
    tasks.args(["tasks", "list"]);
    let tasks = run(tasks, "");
    let task = tasks.lines().find(|line| line.starts_with(id))?;
    let number: i32 = task.split_whitespace().nth(1).unwrap().parse().unwrap();
    let process = pidfd_open(Pid::from_raw(number)?, PidfdFlags::empty()).ok()?;
    // Its number may have become somebody else's before.
    let cgroup = std::fs::read_to_string(format!("/proc/{number}/cgroup")).ok()?;
    cgroup.contains(id).then_some(process)
}
