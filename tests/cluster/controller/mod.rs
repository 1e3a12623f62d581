//! The controller as install.yaml brings it: its Deployment, under its own account.
//!
//! Invariant: the program that runs is that of the image imported last; it starts anew once in a run of the tests, and stays afterwards.

mod install;
mod retention;
mod samples;

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::OnceLock;

use serde::Deserialize;
use slipway::cluster::install::{NAME, NAMESPACE};

use super::harness::{kubectl, run, variable};

/// Where the API server's audit log ended before the controller started.
static AUDIT_BEGIN: OnceLock<u64> = OnceLock::new();

/// The controller, which runs.
pub struct Controller {
    audit_begin: u64,
}

impl Controller {
    pub fn installed() -> Self {
        let audit_begin = *AUDIT_BEGIN.get_or_init(|| {
            let begin = std::fs::metadata(variable("SLIPWAY_AUDIT_LOG")).unwrap().len();
            install();
            begin
        });
        Self { audit_begin }
    }

    /// What the controller's account asked of the API server since it started.
    pub fn requests(&self) -> Vec<Request> {
        let mut log = std::fs::File::open(variable("SLIPWAY_AUDIT_LOG")).unwrap();
        log.seek(SeekFrom::Start(self.audit_begin)).unwrap();
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        // The last line may still be on its way.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let requests = lines.map(|line| serde_json::from_str::<Request>(line).unwrap());
        let account = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
        requests.filter(|request| request.user.username == account).collect()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("== log of the controller\n{}", log());
        }
    }
}

/// A line of the audit log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    user: User,
    verb: String,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    namespace: String,
    resource: String,
    subresource: String,
}

#[derive(Debug, Default, Deserialize)]
struct Annotations {
    #[serde(default, rename = "authorization.k8s.io/decision")]
    decision: String,
}

impl Request {
    /// Whether no role allowed it. A quota or PodSecurity refuses what a role allows.
    pub fn is_forbidden(&self) -> bool {
        self.annotations.decision == "forbid"
    }

    /// Such as `patch buildruns/status`, where it changes an object of that namespace.
    pub fn write_in(&self, namespace: &str) -> Option<String> {
        let Object { namespace: own, resource, subresource } = &self.object_ref;
        if own != namespace || ["get", "list", "watch"].contains(&self.verb.as_str()) {
            return None;
        }
        let slash = if subresource.is_empty() { "" } else { "/" };
        Some(format!("{} {resource}{slash}{subresource}", self.verb))
    }
}

fn install() {
    let root = env!("CARGO_MANIFEST_DIR");
    run(kubectl(&["apply", "--filename", &format!("{root}/install.yaml")]), "");
    let definitions = format!("{root}/crds");
    run(kubectl(&["wait", "--for=condition=Established", "--filename", &definitions]), "");
    let deployment = format!("deployment/{NAME}");
    let of_deployment = |words: &[&str]| {
        kubectl(&[&["--namespace", NAMESPACE, "rollout"], words, &[&deployment]].concat())
    };
    // The same tag may name another image than before.
    run(of_deployment(&["restart"]), "");
    let status = of_deployment(&["status", "--timeout=180s"]).output().unwrap();
    let error = String::from_utf8_lossy(&status.stderr);
    assert!(status.status.success(), "the controller does not start: {error}\n{}", log());
}

fn log() -> String {
    let deployment = format!("deployment/{NAME}");
    let log = kubectl(&["--namespace", NAMESPACE, "logs", &deployment]).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&log.stdout), String::from_utf8_lossy(&log.stderr))
}
