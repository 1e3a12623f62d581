//! Two replicas: only one acts, also when it was stopped and goes on after the other one has taken over.
//!
//! The one that is stopped runs on this machine under the account of install.yaml: a kubelet would end it.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use slipway::cluster::install::{NAME, NAMESPACE};

use super::super::harness::{Namespace, PATIENCE, variable};
use super::Controller;
use super::audit::{Following, Request};
use super::disturbed::{Changed, DEPLOYMENT, Runs, of_controller};

const LEASE: &str = "shipwright-build-controller-lock";
/// Ten times what it should take on a machine that is not busy.
const LONGEST_TAKEOVER: Duration = Duration::from_secs(200);

#[test]
#[ignore = "stops what other tests need, and does not hold on slow machines yet"]
fn a_leader_that_stood_still_writes_nothing_after_the_takeover() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("leader");
    let mut runs = Runs::prepare(&namespace);

    // The one that ends in order gives the lease away, and nobody has to wait for it.
    let one =
        Changed::by(&["scale", "--replicas=0", DEPLOYMENT], &["scale", "--replicas=1", DEPLOYMENT]);
    let given = lease_when(&namespace, "given away", |holder| !holder.starts_with(NAME));
    assert_eq!(holder(&given), "");
    let mut stopped = OnThisMachine::start();
    lease_when(&namespace, "taken by the one on this machine", |holder| {
        holder.ends_with(&format!("_{}", stopped.child.id()))
    });
    drop(one);

    // Both are there, and the second one waits.
    let audit = Following::from_now();
    runs.create(6);
    let mut seen = 0;
    audit.wait_for("write 9", |request| {
        let write = write_in(request, &namespace);
        assert!(write.is_none() || request.pod().is_none(), "{write:?} by {:?}", request.pod());
        seen += usize::from(write.is_some());
        seen == 9
    });

    stopped.signal(Signal::STOP);
    let began = Instant::now();
    let first = audit.wait_for("write of the one that waited", |request| {
        write_in(request, &namespace).is_some() && request.pod().is_some()
    });
    let took = began.elapsed();
    assert!(took <= LONGEST_TAKEOVER, "the takeover took {took:?}");
    println!("| from a leader that stands still | |\n| --- | ---: |");
    println!("| to the first write of the next one | {:.1} s |", took.as_secs_f64());
    runs.create(6);
    assert!(first.pod().unwrap().starts_with(NAME));

    // From here on the one that was stopped knows no better than that it leads.
    let audit = Following::from_now();
    stopped.signal(Signal::CONT);
    let (success, log) = stopped.end();
    assert!(!success && log.contains("does not lead any more"), "{log}");
    runs.assert_each_built_once();
    for request in audit.so_far() {
        let write = write_in(&request, &namespace);
        assert!(write.is_none() || request.pod().is_some(), "{write:?} after the takeover");
    }
}

fn write_in(request: &Request, namespace: &Namespace) -> Option<String> {
    request.write_in(namespace.name()).filter(|_| request.is_of_controller())
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
}

impl OnThisMachine {
    fn start() -> Self {
        let token = of_controller(&["create", "token", NAME, "--duration=1h"]);
        let path = std::env::temp_dir().join(format!("slipway-leader-{}", std::process::id()));
        let cluster = json!({ "server": variable("SLIPWAY_API"), "certificate-authority": variable("SLIPWAY_API_CA") });
        let configuration = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "it", "cluster": cluster }],
            "users": [{ "name": "it", "user": { "token": token.trim() } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
            "current-context": "it",
        });
        let mut file = std::fs::File::create(&path).unwrap();
        file.set_permissions(Permissions::from_mode(0o600)).unwrap();
        file.write_all(configuration.to_string().as_bytes()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_slipway"))
            .args(["controller", "--metrics-address=127.0.0.1:0"])
            .args(["--leader-election-namespace", NAMESPACE])
            .env("KUBECONFIG", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the controller starts");
        // It has read its configuration once it says something.
        let mut first = String::new();
        let stream = child.stderr.as_mut().unwrap();
        BufReader::with_capacity(1, stream).read_line(&mut first).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(first.contains("waiting for the lease"), "{first}");
        Self { child }
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(process, signal).expect("it runs");
    }

    /// Whether it succeeded, and what it said.
    fn end(&mut self) -> (bool, String) {
        let mut log = String::new();
        let stream = self.child.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut BufReader::new(stream), &mut log).unwrap();
        (self.child.wait().unwrap().success(), log)
    }
}

impl Drop for OnThisMachine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
