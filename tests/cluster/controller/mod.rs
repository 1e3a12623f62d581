//! The controller as install.yaml brings it: its Deployment, under its own account.
//!
//! Invariant: a test asks for the controller first, and then for its namespace.
//! Invariant: the program that runs is that of the image imported last; it starts anew once in a run of the tests, and stays afterwards.

mod admission;
mod api_server;
mod audit;
mod burst;
mod conversion;
mod disturbed;
mod ended;
mod ended_early;
mod heals;
mod idle;
mod images;
pub mod injected;
mod install;
mod killed;
mod leader;
pub mod lost;
mod metrics;
pub mod person;
pub mod policy;
mod preempted;
mod prepared;
mod refused;
mod retention;
mod role_use;
mod roles;
mod round_trip;
pub mod runs;
mod samples;
mod scanned;
mod shp;
mod sources;
mod told;
mod unreadable;
mod upstream;
mod waiting;
mod writes;

use std::sync::OnceLock;
use std::time::Instant;

use serde_json::json;
use slipway::cluster::install::{NAME, NAMESPACE};

use super::harness::{PATIENCE, kubectl, output_of, run, shared_turn};
use audit::Request;

const DEPLOYMENT: &str = "deployment/slipway-controller";

/// Where the API server's audit log ended before the controller started.
static AUDIT_BEGIN: OnceLock<Option<u64>> = OnceLock::new();

/// The controller, which runs.
pub struct Controller {
    audit_begin: u64,
}

impl Controller {
    #[must_use]
    pub fn installed() -> Self {
        let audit_begin = AUDIT_BEGIN.get_or_init(|| {
            // Who measures wants no other program to start meanwhile. A test that already has a namespace would wait for itself.
            let _turn = shared_turn();
            let begin = audit::end();
            std::panic::catch_unwind(install).ok().map(|()| begin)
        });
        Self {
            audit_begin: audit_begin
                .expect("the controller was installed; the first test that wanted it says why not"),
        }
    }

    /// What the controller's account asked of the API server since it started.
    pub fn requests(&self) -> Vec<Request> {
        audit::by_controller_since(self.audit_begin)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("== log of the controller\n{}", log());
        }
    }
}

fn install() {
    let root = env!("CARGO_MANIFEST_DIR");
    run(kubectl(&["apply", "--filename", &format!("{root}/install.yaml")]), "");
    let definitions = format!("{root}/crds");
    run(
        kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=180s",
            "--filename",
            &definitions,
        ]),
        "",
    );
    wait_until_owners_are_known();
    // The same tag may name another image than before.
    of_controller(&["rollout", "restart", DEPLOYMENT]);
    await_rollout();
}

/// Comes back once the Deployment is as it is meant to be: a pod ends in its own time, and another one starts.
fn await_rollout() {
    let status = ["rollout", "status", "--timeout=600s", DEPLOYMENT];
    let status = kubectl(&[&["--namespace", NAMESPACE], &status[..]].concat()).output().unwrap();
    let error = String::from_utf8_lossy(&status.stderr);
    assert!(
        status.status.success(),
        "the controller does not start: {error}\n{}\n{}",
        of_controller(&["describe", "pods"]),
        log()
    );
}

/// What kubectl says of what belongs to the controller.
fn of_controller(arguments: &[&str]) -> String {
    run(kubectl(&[&["--namespace", NAMESPACE], arguments].concat()), "")
}

/// For some seconds the API server takes no owner of a new kind from anybody but administrators. The controller tries again until then, which
/// tests would count.
fn wait_until_owners_are_known() {
    let owner = |kind: &str| {
        json!({
            "apiVersion": "shipwright.io/v1beta1",
            "kind": kind,
            "name": "owner",
            "uid": "00000000-0000-0000-0000-000000000000",
            "blockOwnerDeletion": true,
        })
    };
    let owners = [owner("Build"), owner("BuildRun")];
    let metadata = json!({ "name": "owned", "namespace": "default", "ownerReferences": owners });
    let document = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata });
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:{NAME}");
    let mut create = kubectl(&["create", "--dry-run=server", "--filename=-", &account]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = output_of(&mut create, &document.to_string());
        if output.status.success() {
            return;
        }
        let error = String::from_utf8_lossy(&output.stderr);
        // Nor does it know at once what the account may do.
        let is_new = ["cannot find RESTMapping", "cannot create resource"];
        assert!(is_new.iter().any(|text| error.contains(text)), "{error}");
        assert!(Instant::now() < deadline, "after {PATIENCE:?}: {error}");
    }
}

fn log() -> String {
    let log = kubectl(&["--namespace", NAMESPACE, "logs", DEPLOYMENT]).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&log.stdout), String::from_utf8_lossy(&log.stderr))
}
