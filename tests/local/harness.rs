//! What the tests of the engine tier stand on: a user's own directories, documents with little in them, and `slipway run`.
//!
//! Invariant: whatever a run leaves behind carries the label of its test's directory: tests see and remove nothing of each other's.
//! Invariant: waiting means reading what the run prints; nothing here sleeps.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where the locks of runs are, below the user's directory, and what tells them from other users'.
const RUNS: &str = "home/.local/state/slipway/runs";
const OWNER: &str = ".owner";

/// How long anything may take on a busy machine before the test gives up.
pub const PATIENCE: Duration = Duration::from_mins(3);
pub const BUSYBOX: &str = "docker.io/library/busybox:1.37";
const VERSION: &str = "shipwright.io/v1beta1";

/// A variable of `hack/engine env`.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "no {name} in the environment: run hack/test local, or hack/engine up and eval \"$(hack/engine env)\""
        )
    })
}

/// Somebody with directories of their own, and the engine that they use.
pub struct User {
    directory: TempDir,
    engine: String,
    /// The ordinary user, where it is not the one who runs the tests.
    name: Option<String>,
}

impl User {
    /// Root with root's engine.
    pub fn root() -> Self {
        Self::new(variable("SLIPWAY_ENGINE"), None)
    }

    /// An ordinary user with their own engine.
    pub fn ordinary() -> Self {
        Self::new(variable("SLIPWAY_ROOTLESS_ENGINE"), Some(variable("SLIPWAY_ROOTLESS_USER")))
    }

    /// Root with an engine on another machine, as far as files go.
    pub fn remote() -> Self {
        Self::new(variable("SLIPWAY_REMOTE_ENGINE"), None)
    }

    /// A run of this user on another engine than theirs.
    pub fn start_on(&self, engine: &str, documents: &str) -> Running {
        let file = self.write("elsewhere.yaml", documents);
        let mut command = self.slipway();
        command.args(["run", "--engine", engine, "-f"]).arg(file);
        Running::new(command)
    }

    /// The engine's address.
    pub fn engine(&self) -> &str {
        &self.engine
    }

    fn new(engine: String, name: Option<String>) -> Self {
        let directory = tempfile::Builder::new().prefix("slipway-local-").tempdir().unwrap();
        let user = Self { directory, engine, name };
        for path in ["home", "run"] {
            std::fs::create_dir(user.path(path)).unwrap();
        }
        if user.name.is_some() {
            // Where the sources are built nobody else may be able to look.
            std::fs::copy(env!("CARGO_BIN_EXE_slipway"), user.path("slipway")).unwrap();
        }
        user.give(user.directory.path());
        for path in ["home", "run"] {
            user.give(&user.path(path));
        }
        user
    }

    /// The path of something in the user's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of the user's.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let parent = path.parent().unwrap();
        std::fs::create_dir_all(parent).unwrap();
        std::fs::write(&path, text).unwrap();
        self.give(parent);
        self.give(&path);
        path
    }

    fn give(&self, path: &Path) {
        if self.name.is_some() {
            let uid = self.uid();
            chown(path, Some(uid), Some(uid)).unwrap();
        }
    }

    /// Their numeric id.
    pub fn uid(&self) -> u32 {
        let name = self.name.as_deref().unwrap_or("root");
        let text = succeed(Command::new("id").args(["--user", name]));
        text.trim().parse().unwrap()
    }

    /// `slipway` as this user, with nothing else in its environment.
    pub fn slipway(&self) -> Command {
        let mut command = match &self.name {
            Some(name) => {
                let mut command = Command::new("setpriv");
                let as_user = ["--reuid", name, "--regid", name, "--init-groups", "--"];
                command.args(as_user).arg(self.path("slipway"));
                command
            }
            None => Command::new(env!("CARGO_BIN_EXE_slipway")),
        };
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .current_dir(self.directory.path());
        command
    }

    /// `slipway run` of these documents on this user's engine.
    pub fn command(&self, documents: &str, flags: &[&str]) -> Command {
        let name = format!("documents-{}.yaml", self.next());
        let file = self.write(&name, documents);
        let mut command = self.slipway();
        command.args(["run", "--engine", &self.engine, "-f"]).arg(file).args(flags);
        command
    }

    fn next(&self) -> usize {
        std::fs::read_dir(self.directory.path()).unwrap().count()
    }

    /// Runs the documents to their end.
    pub fn run(&self, documents: &str, flags: &[&str]) -> Ran {
        self.start(documents, flags).wait()
    }

    pub fn start(&self, documents: &str, flags: &[&str]) -> Running {
        Running::new(self.command(documents, flags))
    }

    /// Podman as a client of this user's engine.
    pub fn podman(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.args(["--remote", "--url", &self.engine]).args(arguments);
        command
    }

    /// The same as words of a shell.
    pub fn client(&self) -> String {
        format!("podman --remote --url {} ", self.engine)
    }

    /// Containers that this user's runs have made, by the format of `podman ps`.
    pub fn containers(&self, format: &str) -> BTreeSet<String> {
        let filter = self.filter();
        let words = ["ps", "--all", "--no-trunc", "--filter", &filter, "--format", format];
        lines(&succeed(&mut self.podman(&words)))
    }

    /// The ids of runs that containers are left of.
    pub fn runs(&self) -> BTreeSet<String> {
        self.containers("{{index .Labels \"slipway.dev/run\"}}")
    }

    fn volumes(&self) -> BTreeSet<String> {
        lines(&succeed(&mut self.podman(&["volume", "ls", "--quiet", "--filter", &self.filter()])))
    }

    /// Files that tell live runs from stale ones.
    pub fn locks(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.path(RUNS)).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != OWNER).collect()
    }

    /// Who owns what these runs make; nothing before the first run that asked an engine.
    fn owner(&self) -> Option<String> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let token = std::fs::read_to_string(self.path(RUNS).join(OWNER)).ok()?;
        Some(format!("{}:{}", host.trim(), token.trim_start_matches(".tmp")))
    }

    fn filter(&self) -> String {
        format!("label=slipway.dev/owner={}", self.owner().unwrap_or_else(|| "nobody".into()))
    }

    /// Everything that is there of this user's runs.
    pub fn left(&self) -> BTreeSet<String> {
        let mut left = self.containers("container {{.Names}}");
        left.extend(self.volumes().iter().map(|name| format!("volume {name}")));
        left.extend(self.locks().iter().map(|name| format!("lock {name}")));
        left
    }

    /// A run that is refused asks no engine for anything.
    pub fn expect_nothing_made(&self) {
        assert_eq!(self.owner(), None);
        assert_eq!(self.locks(), BTreeSet::new());
    }

    pub fn expect_nothing_left(&self) {
        assert!(self.owner().is_some(), "no run has asked an engine, so nothing could be left");
        assert_eq!(self.left(), BTreeSet::new());
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for name in self.containers("{{.ID}}") {
            show_failure(&mut self.podman(&["rm", "--force", "--time", "0", "--depend", &name]));
        }
        for name in self.volumes() {
            show_failure(&mut self.podman(&["volume", "rm", "--force", &name]));
        }
    }
}

/// A `slipway run` on its way.
pub struct Running {
    child: Child,
    stderr: Receiver<String>,
    seen: String,
    stdout: Option<std::thread::JoinHandle<String>>,
}

/// One that is over.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; nothing where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Running {
    pub fn new(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, stderr) = channel();
        let pipe = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let pipe = child.stdout.take().unwrap();
        let stdout =
            Some(std::thread::spawn(move || std::io::read_to_string(pipe).unwrap_or_default()));
        Self { child, stderr, seen: String::new(), stdout }
    }

    /// The first line that holds the text, as soon as the run prints it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let found = self.next(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("the run never printed {text:?}:\n{}", self.seen))
    }

    /// Reads on to the line in question; nothing where it never comes.
    fn next(&mut self, is: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.stderr.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    writeln!(self.seen, "{line}").unwrap();
                    if is(&line) {
                        return Some(line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the run takes more than {PATIENCE:?}:\n{}", self.seen)
                }
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    pub fn wait(mut self) -> Ran {
        self.next(|_| false);
        let code = self.child.wait().unwrap().code();
        let stdout = self.stdout.take().unwrap().join().unwrap();
        Ran { code, stdout, stderr: std::mem::take(&mut self.seen) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// Fails the test with what the run printed where the exit code is another one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self
    }

    /// Fails the test where standard error does not hold the text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in:\n{}", self.stderr);
        self
    }

    /// What a step printed.
    pub fn log(&self, step: &str) -> Vec<&str> {
        let head = format!("[{step}] ");
        self.stderr.lines().filter_map(|line| line.strip_prefix(&head)).map(str::trim).collect()
    }

    /// Fails the test where the step `script` printed other lines.
    #[track_caller]
    pub fn prints(self, lines: &[&str]) -> Self {
        assert_eq!(self.log("script"), lines, "{}", self.stderr);
        self
    }
}

/// A strategy, a Build and a BuildRun, all of them named `test`, with one step named `script`.
pub struct Documents {
    pub strategy: Value,
    pub build: Value,
    pub run: Value,
    pub others: Vec<Value>,
}

impl Documents {
    /// The step runs a shell script as 1001:1000 and makes no image.
    pub fn script(script: &str) -> Self {
        Self::step(&json!({ "image": BUSYBOX, "command": ["sh", "-euc", script] }))
    }

    pub fn step(step: &Value) -> Self {
        let mut step = step.clone();
        step["name"] = "script".into();
        let object = |kind: &str, spec: Value| {
            let metadata = json!({ "name": "test" });
            json!({ "apiVersion": VERSION, "kind": kind, "metadata": metadata, "spec": spec })
        };
        let user = json!({ "runAsUser": 1001, "runAsGroup": 1000 });
        let image = format!("{}/test:1", variable("SLIPWAY_LOCAL_REGISTRY_ADDRESS"));
        Self {
            strategy: object("BuildStrategy", json!({ "securityContext": user, "steps": [step] })),
            build: object(
                "Build",
                json!({
                    "strategy": { "name": "test", "kind": "BuildStrategy" },
                    "output": { "image": image, "insecure": true },
                }),
            ),
            run: object("BuildRun", json!({ "build": { "name": "test" } })),
            others: Vec::new(),
        }
    }

    /// The step.
    pub fn with_step(mut self, field: &str, value: Value) -> Self {
        self.strategy["spec"]["steps"][0][field] = value;
        self
    }

    /// The strategy's specification.
    pub fn with_strategy(mut self, field: &str, value: Value) -> Self {
        self.strategy["spec"][field] = value;
        self
    }

    /// A volume of the strategy, mounted by the step below `/mnt`; read-only where Shipwright wants that.
    pub fn with_volume(mut self, name: &str, mut source: Value) -> Self {
        source["name"] = name.into();
        let read_only = source.get("emptyDir").or(source.get("persistentVolumeClaim")).is_none();
        push(&mut self.strategy["spec"]["volumes"], source);
        let path = format!("/mnt/{name}");
        self.with_mount(json!({ "name": name, "mountPath": path, "readOnly": read_only }))
    }

    /// One more mount of the step.
    pub fn with_mount(mut self, mount: Value) -> Self {
        push(&mut self.strategy["spec"]["steps"][0]["volumeMounts"], mount);
        self
    }

    pub fn with(mut self, object: Value) -> Self {
        self.others.push(object);
        self
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for document in [&self.strategy, &self.build, &self.run].into_iter().chain(&self.others) {
            write!(text, "{document}\n---\n").unwrap();
        }
        text
    }
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// The documents of a sample, which put their image there.
pub fn sample(name: &str, output: &Value) -> Documents {
    let read = |file: &str| -> Value {
        let path = format!("{}/samples/{name}/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let mut documents = Documents {
        strategy: read("strategy"),
        build: read("build"),
        run: read("buildrun"),
        others: Vec::new(),
    };
    documents.build["spec"]["output"] = output.clone();
    documents
}

/// An image of this test's own in the registry without a password.
pub fn output(test: &str) -> Value {
    let registry = variable("SLIPWAY_LOCAL_REGISTRY_ADDRESS");
    json!({ "image": format!("{registry}/local/{test}:1"), "insecure": true })
}

/// Standard output; the test fails where the program does.
pub fn succeed(command: &mut Command) -> String {
    let output = started(command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn started(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn show_failure(command: &mut Command) {
    let output = started(command);
    if !output.status.success() {
        eprintln!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| !line.is_empty()).map(String::from).collect()
}

/// Lets everybody run the file.
pub fn make_executable(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
