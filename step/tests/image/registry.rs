//! A real registry on a free port of this machine.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::tools::run;

pub(crate) const USER: &str = "somebody";
pub(crate) const PASSWORD: &str = "p4ss:word with spaces";

/// `ROOT` is its own folder.
const BASE: &str = "version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage:
  filesystem: {rootdirectory: ROOT/data}
http:
  addr: 127.0.0.1:0
  secret: of-this-test
";

/// What kind of registry it is.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Options {
    /// Wants [`USER`] and [`PASSWORD`].
    pub(crate) password: bool,
    /// Has a certificate of its own CA for 127.0.0.1 and localhost.
    pub(crate) tls: bool,
    /// Has a certificate that nobody but itself has signed.
    pub(crate) self_signed: bool,
    /// Deletes what it is asked to.
    pub(crate) deletes: bool,
    /// More lines below `http:`.
    pub(crate) http: &'static str,
    /// More lines at the end.
    pub(crate) more: &'static str,
}

/// Ends with its handle.
pub(crate) struct Registry {
    pub(crate) port: u16,
    pub(crate) dir: TempDir,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Registry {
    pub(crate) fn start(options: &Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.yml");
        fs::write(&config, configuration(&dir, options)).unwrap();
        let mut child = Command::new(env::var("SLIPWAY_REGISTRY_PROGRAM").unwrap_or_else(|_| "docker-registry".into()))
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .env("REGISTRY_STORAGE_DELETE_ENABLED", options.deletes.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry does not start ({error}); run hack/test, or install it: apt-get install docker-registry"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let port = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("docker-registry ended: {}", log.lock().unwrap()))
                .unwrap();
            log.lock().unwrap().push_str(&line);
            if let Some((_, after)) = line.split_once("listening on 127.0.0.1:") {
                let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
                break digits.parse().unwrap();
            }
        };
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in lines.map_while(Result::ok) {
                    log.lock().unwrap().push_str(&(line + "\n"));
                }
            }
        });
        Self { port, dir, child, log, reader: Some(reader) }
    }

    /// A registry for everybody, without TLS.
    pub(crate) fn plain() -> Self {
        Self::start(&Options::default())
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// The certificate to trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// Checks how often it answered so to a method below a path; it writes that down a little after the answer.
    pub(crate) fn answered(&self, expected: usize, method: &str, path: &str, status: u16) {
        let fields = [
            "msg=\"response completed".to_owned(),
            format!("http.request.method={method} "),
            format!("http.response.status={status} "),
        ];
        let uris = [format!("http.request.uri={path}"), format!("http.request.uri=\"{path}")];
        let matches = |line: &&str| {
            fields.iter().all(|field| line.contains(field))
                && uris.iter().any(|uri| line.contains(uri))
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let log = self.log.lock().unwrap().clone();
            let found = log.lines().filter(matches).count();
            if found >= expected || Instant::now() > deadline {
                assert_eq!(found, expected, "{method} {path} {status}: {log}");
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything that it logged, after it has ended.
    pub(crate) fn log(mut self) -> String {
        self.end();
        self.log.lock().unwrap().clone()
    }

    fn end(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            reader.join().unwrap();
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
    }
}

fn configuration(dir: &TempDir, options: &Options) -> String {
    let mut parts = vec![BASE, options.http];
    if options.tls || options.self_signed {
        if options.self_signed {
            make_self_signed_certificate(dir);
        } else {
            make_certificates(dir);
        }
        parts.push("  tls: {certificate: ROOT/server.crt, key: ROOT/server.key}\n");
    }
    if options.password {
        let crypt = "print crypt($ARGV[0], q($2a$04$abcdefghijklmnopqrstuu))";
        let hash = String::from_utf8(run("perl", &["-e", crypt, PASSWORD])).unwrap();
        fs::write(dir.path().join("htpasswd"), format!("{USER}:{hash}\n")).unwrap();
        parts.push("auth:\n  htpasswd: {realm: test, path: ROOT/htpasswd}\n");
    }
    parts.push(options.more);
    parts.concat().replace("ROOT", dir.path().to_str().unwrap())
}

const KEY: [&str; 7] =
    ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
const NAMES: &str = "subjectAltName=IP:127.0.0.1,DNS:localhost";

fn make_self_signed_certificate(dir: &TempDir) {
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut server = vec!["req", "-x509", "-subj", "/CN=registry", "-addext", NAMES];
    let (key, certificate) = (file("server.key"), file("server.crt"));
    server.extend(KEY);
    server.extend(["-keyout", &key, "-out", &certificate]);
    run("openssl", &server);
}

fn make_certificates(dir: &TempDir) {
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut ca = vec!["req", "-x509", "-subj", "/CN=test CA"];
    let (ca_key, ca_certificate) = (file("ca.key"), file("ca.crt"));
    ca.extend(KEY);
    ca.extend(["-keyout", &ca_key, "-out", &ca_certificate]);
    run("openssl", &ca);
    let (server_key, server_certificate) = (file("server.key"), file("server.crt"));
    let mut server =
        vec!["req", "-x509", "-subj", "/CN=registry", "-CA", &ca_certificate, "-CAkey", &ca_key];
    server.extend(KEY);
    server.extend(["-addext", NAMES]);
    server.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
    server.extend(["-keyout", &server_key, "-out", &server_certificate]);
    run("openssl", &server);
}
