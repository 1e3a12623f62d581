//! What was asked of the API server, as its audit log tells.
//!
//! Invariant: a torn line counts as none: the last one may still be on its way, and a server that is killed may leave half a line.
//!
//! What a server did last before it was killed may have no line at all, so whoever kills one counts on less than everything.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use slipway::cluster::install::{NAME, NAMESPACE};

use super::super::harness::{PATIENCE, variable};

/// How each line begins.
const BEGIN: &str = r#"{"kind":"Event","#;

/// A line of the audit log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    user: User,
    verb: String,
    #[serde(rename = "requestReceivedTimestamp")]
    pub began: Timestamp,
    #[serde(rename = "stageTimestamp")]
    pub ended: Timestamp,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    response_status: Response,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
    #[serde(default)]
    extra: Extra,
}

#[derive(Debug, Default, Deserialize)]
struct Extra {
    #[serde(default, rename = "authentication.kubernetes.io/pod-name")]
    pods: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Object {
    namespace: String,
    api_group: String,
    resource: String,
    subresource: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
struct Annotations {
    #[serde(default, rename = "authorization.k8s.io/decision")]
    decision: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response {
    code: u16,
}

/// Whether an object was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    Done,
    Perhaps,
    None,
}

impl Request {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        // The next server goes on in the line that a killed one has torn.
        let whole = &line[line.rfind(BEGIN)?..];
        match serde_json::from_str(whole) {
            Ok(request) => Some(request),
            Err(error) => {
                assert!(!error.is_data(), "a line of another form: {error}: {whole}");
                None
            }
        }
    }

    pub fn is_of_controller(&self) -> bool {
        self.user.username == controller()
    }

    /// The pod that asked; nothing where its account was used outside of one.
    pub fn pod(&self) -> Option<&str> {
        self.user.extra.pods.first().map(String::as_str)
    }

    pub fn is_in(&self, namespace: &str) -> bool {
        self.object_ref.namespace == namespace
    }

    /// The object that it is about.
    pub fn name(&self) -> &str {
        &self.object_ref.name
    }

    /// Whether no role allowed it. A quota or PodSecurity refuses what a role allows.
    pub fn is_forbidden(&self) -> bool {
        self.annotations.decision == "forbid"
    }

    /// Whether it wants anything changed, whatever became of that.
    pub fn is_change(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }

    /// Such as `patch buildruns/status`, where it changes an object of that namespace. What was overtaken changes nothing.
    pub fn write_in(&self, namespace: &str) -> Option<String> {
        const CONFLICT: u16 = 409;
        let writes = self.is_in(namespace) && self.is_change();
        let writes = writes && self.response_status.code != CONFLICT;
        writes.then(|| format!("{} {}", self.verb, self.resource()))
    }

    /// Such as `patch buildruns/status`, with the code where it was refused.
    pub fn what(&self) -> String {
        const REFUSED: u16 = 400;
        let what = format!("{} {}", self.verb, self.resource());
        let code = self.response_status.code;
        if code < REFUSED { what } else { format!("{what} ({code})") }
    }

    /// Whether it made an object of that kind there, as far as the log knows.
    pub fn creation(&self, resource: &str, namespace: &str) -> Creation {
        const CREATED: u16 = 201;
        if !self.is_in(namespace) || self.verb != "create" || self.resource() != resource {
            return Creation::None;
        }
        match self.response_status.code {
            CREATED => Creation::Done,
            // Who hangs up has timed out as far as the log goes, whatever becomes of what they have asked for.
            0 | 500.. => Creation::Perhaps,
            _ => Creation::None,
        }
    }

    /// What a role has to allow for it, such as `patch buildruns/status.shipwright.io`.
    pub fn right(&self) -> String {
        format!("{} {}.{}", self.verb, self.resource(), self.object_ref.api_group)
    }

    fn resource(&self) -> String {
        let Object { resource, subresource, .. } = &self.object_ref;
        let slash = if subresource.is_empty() { "" } else { "/" };
        format!("{resource}{slash}{subresource}")
    }
}

/// What the controller's account is called.
fn controller() -> String {
    format!("system:serviceaccount:{NAMESPACE}:{NAME}")
}

/// Where the log ends now, in bytes.
pub fn end() -> u64 {
    std::fs::metadata(variable("SLIPWAY_AUDIT_LOG")).unwrap().len()
}

/// What the controller's account asked since the log was so long.
pub fn by_controller_since(begin: u64) -> Vec<Request> {
    let mut requests = since(begin, &controller());
    requests.retain(Request::is_of_controller);
    requests
}

/// What anybody asked since then, in lines that hold the text.
pub fn since(begin: u64, text: &str) -> Vec<Request> {
    let mut log = File::open(variable("SLIPWAY_AUDIT_LOG")).unwrap();
    let length = log.metadata().unwrap().len();
    assert!(begin <= length, "the audit log is another one than at the beginning");
    log.seek(SeekFrom::Start(begin)).unwrap();
    let holds = |line: &Vec<u8>| String::from_utf8_lossy(line).contains(text);
    lines(log).filter(holds).filter_map(|line| Request::parse(&line)).collect()
}

fn lines(log: impl Read) -> impl Iterator<Item = Vec<u8>> {
    BufReader::new(log).split(b'\n').map(|line| line.expect("the audit log can be read"))
}

/// What is asked from now on.
pub struct Following {
    tail: Child,
    requests: Receiver<Request>,
}

impl Following {
    pub fn from_now() -> Self {
        let from = format!("--bytes=+{}", end() + 1);
        let mut tail = Command::new("tail")
            .args([&from, "--follow=name", &variable("SLIPWAY_AUDIT_LOG")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tail starts");
        let stdout = tail.stdout.take().unwrap();
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for request in lines(stdout).filter_map(|line| Request::parse(&line)) {
                if sender.send(request).is_err() {
                    return;
                }
            }
        });
        Self { tail, requests }
    }

    /// The first request that is as wanted.
    pub fn wait_for(&self, what: &str, mut is: impl FnMut(&Request) -> bool) -> Request {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.requests.recv_timeout(left) {
                Ok(request) if is(&request) => return request,
                Ok(_) => {}
                Err(error) => panic!("no {what} after {PATIENCE:?}: {error}"),
            }
        }
    }

    /// What was asked until now.
    pub fn so_far(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It ends with its reader at the latest.
        let _ = self.tail.kill();
        let _ = self.tail.wait();
    }
}

#[test]
fn a_torn_line_hides_no_other_one() {
    let line = |verb: &str| {
        format!(
            r#"{BEGIN}"verb":"{verb}","user":{{"username":"ä"}},"requestReceivedTimestamp":"2026-11-21T17:05:43.904670Z","stageTimestamp":"2026-11-21T17:05:43.909213Z"}}"#
        )
    };
    let (torn, whole) = (&line("patch").into_bytes()[..52], line("create"));
    assert_eq!(String::from_utf8_lossy(torn).matches("\u{fffd}").count(), 1);
    assert!(Request::parse(torn).is_none() && Request::parse(b"").is_none());
    let after = [torn, whole.as_bytes()].concat();
    assert_eq!(Request::parse(&after).unwrap().verb, "create");
    assert_eq!(Request::parse(whole.as_bytes()).unwrap().verb, "create");
}
