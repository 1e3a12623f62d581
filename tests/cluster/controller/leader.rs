//! Two replicas: only one acts, also when it was stopped and goes on after the other one has taken over.
//!
//! The one that is stopped runs on this machine under the account of install.yaml: a kubelet would end it.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use slipway::cluster::install::{NAME, NAMESPACE};

use super::super::harness::{Namespace, PATIENCE, variable};
use super::super::start::show;
use super::audit::{self, Following, Request};
use super::disturbed::{Audited, Replicas, Runs};
use super::{Controller, of_controller};

pub const LEASE: &str = "shipwright-build-controller-lock";
/// How long a lease lasts.
const DURATION: SignedDuration = SignedDuration::from_secs(15);

#[test]
fn a_leader_that_stood_still_writes_nothing_after_the_takeover() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("leader");
    let mut runs = Runs::prepare(&namespace);

    // The one that ends in order gives the lease away, and nobody has to wait for it.
    let none = Replicas::scaled_to(0);
    let given = lease_when(&namespace, "given away", |holder| !holder.starts_with(NAME));
    assert_eq!(holder(&given), "");
    let begin = audit::end();
    let mut stopped = OnThisMachine::start();
    lease_when(&namespace, "taken by the one on this machine", |holder| {
        holder.ends_with(&format!("_{}", stopped.child.id()))
    });
    drop(none);

    // Both are there, and the second one waits.
    let audit = Following::from_now();
    runs.create(6);
    let mut seen = 0;
    audit.wait_for("write 9", |request| {
        let changes = is_change(request, &namespace);
        assert!(!changes || request.pod().is_none(), "{request:?} of the one that waits");
        seen += usize::from(changes);
        seen == 9
    });

    stopped.signal(Signal::STOP);
    let stood_still = Timestamp::now();
    let first = audit.wait_for("write of the one that waited", |request| {
        is_change(request, &namespace) && request.pod().is_some()
    });
    assert!(first.pod().unwrap().starts_with(NAME));
    assert_waited(&stopped_renewals(begin), stood_still, &first);
    runs.create(6);

    // From here on the one that was stopped knows no better than that it leads.
    let audit = Following::from_now();
    stopped.signal(Signal::CONT);
    let (success, log) = stopped.end();
    assert!(!success && log.contains("does not lead any more"), "{log}");
    runs.assert_each_built_once(Audited::Everything);
    for request in audit.so_far() {
        let changes = is_change(&request, &namespace);
        assert!(!changes || request.pod().is_some(), "{request:?} after the takeover");
    }
}

fn is_change(request: &Request, namespace: &Namespace) -> bool {
    request.is_of_controller() && request.is_change() && request.is_in(namespace.name())
}

/// When the one outside of the cluster has renewed its lease, by the API server's clock.
fn stopped_renewals(begin: u64) -> Vec<Timestamp> {
    let requests = audit::by_controller_since(begin);
    let own = requests.iter().filter(|request| request.pod().is_none());
    let renewals =
        own.filter(|request| request.write_in(NAMESPACE).as_deref() == Some("update leases"));
    renewals.map(|request| request.began).collect()
}

/// The next one wrote no sooner than it may. How soon it does is for `hack/bench takeover` to say, on a machine that does nothing else.
fn assert_waited(renewals: &[Timestamp], stood_still: Timestamp, first: &Request) {
    let renewed = renewals.iter().max().expect("the lease was renewed");
    let free = first.began.duration_since(*renewed);
    assert!(free >= DURATION, "it wrote {free:?} after the lease was renewed");
    let took = first.ended.duration_since(stood_still);
    show(&format!(
        "\n| from a leader that stands still | |\n| --- | ---: |\n| to the first write of the next one | {:.1} s |\n",
        took.as_secs_f64()
    ));
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

fn lease_when(namespace: &Namespace, what: &str, is: impl Fn(&str) -> bool) -> Lease {
    let name = format!("--field-selector=metadata.name={LEASE}");
    let leases = ["leases", "--namespace", NAMESPACE, &name];
    let lease = namespace.watch_all(&leases, PATIENCE, |lease: &Lease| is(holder(lease)));
    lease.unwrap_or_else(|| panic!("the lease is not {what} after {PATIENCE:?}"))
}

/// A controller outside of the cluster, with the account's token.
struct OnThisMachine {
    child: Child,
    log: Receiver<String>,
}

impl OnThisMachine {
    fn start() -> Self {
        let configuration = Configuration::new();
        let mut child = Command::new(env!("CARGO_BIN_EXE_slipway"))
            .args(["controller", "--metrics-address=127.0.0.1:0"])
            .args(["--leader-election-namespace", NAMESPACE])
            .env("KUBECONFIG", &configuration.path)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the controller starts");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let started = Self { child, log };
        // It has read its configuration by then.
        started.wait_for("waiting for the lease");
        started
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(process, signal).expect("it runs");
    }

    /// Comes back once it has said that.
    fn wait_for(&self, text: &str) {
        let said = self.read(|line| line.contains(text));
        assert!(said.contains(text), "the controller ended without {text:?}: {said}");
    }

    /// Whether it succeeded, and what it said.
    fn end(&mut self) -> (bool, String) {
        let said = self.read(|_| false);
        (self.child.wait().unwrap().success(), said)
    }

    /// What it says until such a line, or until it ends.
    fn read(&self, is_last: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut said = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => {
                    said.push_str(&line);
                    said.push('\n');
                    if is_last(&line) {
                        return said;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return said,
                Err(RecvTimeoutError::Timeout) => panic!("it only said in {PATIENCE:?}: {said}"),
            }
        }
    }
}

impl Drop for OnThisMachine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The way to the API server with the account's token, in a file that goes with this.
struct Configuration {
    path: PathBuf,
}

impl Configuration {
    fn new() -> Self {
        let token = of_controller(&["create", "token", NAME, "--duration=1h"]);
        let cluster = json!({ "server": variable("SLIPWAY_API"), "certificate-authority": variable("SLIPWAY_API_CA") });
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "it", "cluster": cluster }],
            "users": [{ "name": "it", "user": { "token": token.trim() } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
            "current-context": "it",
        });
        let path = std::env::temp_dir().join(format!("slipway-leader-{}", std::process::id()));
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let configuration = Self { path };
        options.unwrap().write_all(text.to_string().as_bytes()).unwrap();
        configuration
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
