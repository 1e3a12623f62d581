//! A controller against an API server that does what a test wants: its log, its probes, its limits, its stop.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api_server::ApiServer;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// A controller that runs, and is ended with its test.
pub struct Controller {
    child: Child,
    lines: Receiver<Value>,
}

impl Controller {
    pub fn start(test: &str, server: &ApiServer, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        command
            .args(["controller", "--kubeconfig", &server.kubeconfig(test)])
            .env_clear()
            .env("METRICS_ADDRESS", "127.0.0.1:0")
            .env("BUILD_CONTROLLER_LEADER_ELECTION_NAMESPACE", "team")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines() {
                let line = line.unwrap();
                eprintln!("{line}");
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line of the log with this message.
    pub fn line(&self, message: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect(message);
            if line["message"] == message {
                return line;
            }
        }
    }

    /// The address of its probes.
    pub fn address(&self) -> String {
        self.line("serving metrics and probes")["address"].as_str().unwrap().to_owned()
    }

    /// Sends SIGTERM; its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.terminate();
        self.wait()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// The most memory that it has had at a time, in bytes.
    pub fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Its exit code, once it has ended.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status, headers and body.
fn get(address: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, head.to_ascii_lowercase(), body.to_owned())
}

pub fn probe(address: &str, path: &str) -> (u16, String) {
    let (code, _, body) = get(address, path);
    (code, body)
}

pub fn metadata(name: &str) -> Value {
    json!({ "name": name, "namespace": "team", "uid": format!("uid-of-{name}"), "resourceVersion": "1" })
}

#[test]
fn each_line_of_a_reconcile_tells_whose_it_is_and_none_takes_longer_than_it_may() {
    let version = "shipwright.io/v1beta1";
    let spec = json!({ "strategy": { "name": "slow" }, "output": { "image": "registry.example.com/app" } });
    let build = json!({ "apiVersion": version, "kind": "Build", "metadata": metadata("app"), "spec": spec });
    let run = json!({ "apiVersion": version, "kind": "BuildRun", "metadata": metadata("broken"), "spec": { "build": 5 } });
    let server = ApiServer::new(&[("builds", json!([build])), ("buildruns", json!([run]))]);
    let controller =
        Controller::start("whose_it_is", &server, &[("CTX_TIMEOUT", "1"), ("LOG_LEVEL", "debug")]);
    let address = controller.address();

    let mut unread = None;
    let mut given_up = None;
    while unread.is_none() || given_up.is_none() {
        let line = controller.lines.recv_timeout(PATIENCE).expect("both are told");
        if line.get("reconcile").is_some() {
            let name = if line["reconcile"] == "build" { "app" } else { "broken" };
            let of = [&line["name"], &line["namespace"], &line["uid"]];
            assert_eq!(of, [name, "team", &format!("uid-of-{name}")], "{line}");
        }
        match line["message"].as_str() {
            Some("this BuildRun cannot be read and is left alone") => unread = Some(line),
            Some("cannot go on; trying again") => given_up = Some(line),
            _ => {}
        }
    }
    let (unread, given_up) = (unread.unwrap(), given_up.unwrap());
    assert_eq!((&unread["reconcile"], &unread["level"]), (&json!("buildrun"), &json!("ERROR")));
    assert_eq!((&given_up["reconcile"], &given_up["level"]), (&json!("build"), &json!("WARN")));
    assert_eq!(given_up["error"], "no answer within 1s");
    // It was given up, and is tried again.
    controller.line("cannot go on; trying again");

    let (code, head, metrics) = get(&address, "/metrics");
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let runs = r#"controller_runtime_reconcile_total{controller="buildrun-controller",result="success"} 1"#;
    assert!(metrics.contains(runs), "{metrics}");
    let errors = r#"controller_runtime_reconcile_errors_total{controller="build-controller"} "#;
    let errors = metrics.lines().find_map(|line| line.strip_prefix(errors));
    assert!(errors.unwrap().parse::<u64>().unwrap() >= 2, "{metrics}");

    // Whoever comes next need not wait for the end of the lease.
    assert_ne!(server.lease_holder(), "");
    assert_eq!(controller.stop(), Some(0));
    assert_eq!(server.lease_holder(), "");
}

#[test]
fn a_replica_is_ready_while_it_hears_about_the_lease_and_alive_all_the_time() {
    let server = ApiServer::new(&[]);
    server.lease_to_another();
    server.set_answers(false);
    let durations = [
        ("BUILD_CONTROLLER_LEASE_DURATION", "4s"),
        ("BUILD_CONTROLLER_RENEW_DEADLINE", "3s"),
        ("BUILD_CONTROLLER_RETRY_PERIOD", "1s"),
    ];
    let controller = Controller::start("ready", &server, &durations);
    let address = controller.address();
    let unready = (503, "the API server does not answer about the lease".to_owned());
    let fine = (200, "ok".to_owned());
    controller.line("cannot take the lease");
    assert_eq!(probe(&address, "/readyz"), unready);

    // It waits for another's lease.
    server.set_answers(true);
    let is_ready = || {
        server.wait_for("GET leases");
        probe(&address, "/readyz") == fine
    };
    while !is_ready() {}

    server.set_answers(false);
    while probe(&address, "/readyz") == fine {
        controller.line("cannot take the lease");
    }
    assert_eq!(probe(&address, "/readyz"), unready);
    assert_eq!(probe(&address, "/healthz"), fine);
    assert_eq!(controller.stop(), Some(0));
}

#[test]
fn requests_are_as_many_as_they_may_be() {
    let server = ApiServer::new(&[]);
    let began = Instant::now();
    let limits = [("KUBE_API_QPS", "5"), ("KUBE_API_BURST", "1")];
    let _controller = Controller::start("requests", &server, &limits);
    // Six kinds are listed, and then watched.
    let mut watches = 0;
    let mut others = 0;
    while watches < 6 {
        let request = server.next_request();
        watches += u32::from(request.starts_with("WATCH "));
        others += u32::from(request.starts_with("GET ") && request != "GET leases");
    }
    assert_eq!(others, 6);
    // The first of twelve goes at once.
    assert!(began.elapsed() >= Duration::from_millis(200) * 11, "{:?}", began.elapsed());
}
