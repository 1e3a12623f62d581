//! The controller as install.yaml brings it: its Deployment, under its own account.
//!
//! Invariant: the program that runs is that of the image imported last; it starts anew once in a run of the tests, and stays afterwards.

mod api_server;
mod burst;
mod disturbed;
mod ended;
mod ended_early;
mod heals;
mod idle;
mod images;
mod install;
mod killed;
mod leader;
mod lost;
mod metrics;
mod refused;
mod retention;
mod role_use;
mod roles;
mod runs;
mod samples;
mod told;
mod unreadable;
mod waiting;

use std::io::{BufRead as _, Seek as _, SeekFrom};
use std::sync::OnceLock;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use slipway::cluster::install::{NAME, NAMESPACE};

use super::harness::{kubectl, run, variable};

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
            let begin = audit_end();
            std::panic::catch_unwind(install).ok().map(|()| begin)
        });
        Self {
            audit_begin: audit_begin
                .expect("the controller was installed; the first test that wanted it says why not"),
        }
    }

    /// What the controller's account asked of the API server since it started.
    pub fn requests(&self) -> Vec<Request> {
        requests_since(self.audit_begin)
    }
}

/// Where the audit log ends now.
fn audit_end() -> u64 {
    std::fs::metadata(variable("SLIPWAY_AUDIT_LOG")).unwrap().len()
}

/// What the controller's account asked of the API server since the audit log was so long.
fn requests_since(begin: u64) -> Vec<Request> {
    let account = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
    let mut requests = requests_with(begin, &account);
    requests.retain(Request::is_of_controller);
    requests
}

/// What anybody asked of the API server since then, in lines that hold the text.
fn requests_with(begin: u64, text: &str) -> Vec<Request> {
    let mut log = std::fs::File::open(variable("SLIPWAY_AUDIT_LOG")).unwrap();
    let length = log.metadata().unwrap().len();
    assert!(begin <= length, "the audit log is another one than at the beginning");
    log.seek(SeekFrom::Start(begin)).unwrap();
    let lines = std::io::BufReader::new(log).lines().map(Result::unwrap);
    // The last line may still be on its way.
    let lines = lines.filter(|line| line.contains(text) && line.ends_with('}'));
    lines.map(|line| serde_json::from_str(&line).unwrap()).collect()
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
    #[serde(rename = "requestReceivedTimestamp")]
    began: Timestamp,
    #[serde(rename = "stageTimestamp")]
    ended: Timestamp,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    response_status: Response,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response {
    code: u16,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Object {
    namespace: String,
    api_group: String,
    resource: String,
    subresource: String,
}

#[derive(Debug, Default, Deserialize)]
struct Annotations {
    #[serde(default, rename = "authorization.k8s.io/decision")]
    decision: String,
}

impl Request {
    fn is_of_controller(&self) -> bool {
        self.user.username == format!("system:serviceaccount:{NAMESPACE}:{NAME}")
    }

    /// Whether no role allowed it. A quota or PodSecurity refuses what a role allows.
    pub fn is_forbidden(&self) -> bool {
        self.annotations.decision == "forbid"
    }

    /// Such as `patch buildruns/status`, where it changes an object of that namespace. What was overtaken changes nothing.
    pub fn write_in(&self, namespace: &str) -> Option<String> {
        const CONFLICT: u16 = 409;
        if self.object_ref.namespace != namespace
            || self.response_status.code == CONFLICT
            || ["get", "list", "watch"].contains(&self.verb.as_str())
        {
            return None;
        }
        Some(format!("{} {}", self.verb, self.resource()))
    }

    /// What a role has to allow for it, such as `patch buildruns/status.shipwright.io`.
    fn right(&self) -> String {
        format!("{} {}.{}", self.verb, self.resource(), self.object_ref.api_group)
    }

    fn resource(&self) -> String {
        let Object { resource, subresource, .. } = &self.object_ref;
        let slash = if subresource.is_empty() { "" } else { "/" };
        format!("{resource}{slash}{subresource}")
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
