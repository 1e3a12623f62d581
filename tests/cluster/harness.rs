//! What the tests of the kubelet tier stand on: a namespace of their own, rendered pods, and waiting for what becomes of them.
//!
//! Invariant: waiting means watching; nothing here sleeps.
//! Invariant: a namespace goes with its test, and a test that fails first prints what the cluster knows about its pods.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// How long anything may take on a busy machine before the test gives up.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// A variable of `hack/cluster env`.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "no {name} in the environment: run hack/test, or hack/cluster up and eval \"$(hack/cluster env)\""
        )
    })
}

/// The content of the file that a variable of `hack/cluster env` names.
pub fn variable_file(name: &str) -> String {
    let path = variable(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {path} ({name}): {error}"))
}

/// A Secret, as a document.
pub fn secret(name: &str, kind: &str, entries: &[(&str, &str)]) -> String {
    let data: BTreeMap<_, _> = entries.iter().copied().collect();
    let metadata = json!({ "name": name });
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": data }).to_string()
}

/// Several documents in one text.
pub fn documents<const N: usize>(texts: [&str; N]) -> String {
    texts.join("\n---\n")
}

/// Of the names of all namespaces that tests make.
const PREFIX: &str = "test-";

static TURNS: RwLock<()> = RwLock::new(());

/// Tests share the node, but for those that measure.
pub enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// A namespace of the test's own.
pub struct Namespace {
    name: String,
    _turn: Turn,
}

/// Says that nothing is judged when it is applied: most tests are about what becomes of it afterwards.
const NOT_JUDGED: (&str, &str) = ("slipway.dev/admission", "disabled");

impl Namespace {
    /// One in which anything can be applied.
    pub fn new(test: &str) -> Self {
        Self::labelled(test, shared_turn(), &[NOT_JUDGED])
    }

    /// One as users make them: what cannot run is refused when it is applied.
    pub fn judged(test: &str) -> Self {
        Self::labelled(test, shared_turn(), &[])
    }

    /// One in which anything can be applied, and that enforces the Pod Security Standard `restricted`.
    pub fn restricted(test: &str) -> Self {
        let enforced = ("pod-security.kubernetes.io/enforce", "restricted");
        Self::labelled(test, shared_turn(), &[enforced, NOT_JUDGED])
    }

    /// No other test of this tier runs while this one is there, and nothing is left of those before: for measurements.
    pub fn alone(test: &str) -> Self {
        let guard = TURNS.write().unwrap_or_else(PoisonError::into_inner);
        wait_until_swept();
        Self::labelled(test, Turn::Alone { _guard: guard }, &[NOT_JUDGED])
    }

    fn labelled(test: &str, turn: Turn, labels: &[(&str, &str)]) -> Self {
        variable("SLIPWAY_NODE");
        let namespace =
            Self { name: format!("{PREFIX}{test}-{}", std::process::id()), _turn: turn };
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let metadata = json!({ "name": namespace.name, "labels": labels });
        let document = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        run(kubectl(&["create", "-f", "-"]), &document.to_string());
        // Pods are refused before the one is there, and wait a minute for the other.
        let awaited = ["serviceaccount/default", "configmap/kube-root-ca.crt"];
        namespace.kubectl(&[&["wait", "--for=create", "--timeout=180s"], &awaited[..]].concat());
        namespace
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Standard output of kubectl in this namespace; the test fails where kubectl does.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        run(self.command(arguments), "")
    }

    /// Whatever kubectl in this namespace comes to.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("kubectl starts")
    }

    /// Standard output of a program in a running container; the test fails where the program does.
    pub fn exec(&self, pod: &str, container: &str, program: &[&str]) -> String {
        run(self.exec_command(pod, container, program), "")
    }

    /// Tells a step that waits for `/workspace/go`. What the step does then may end the program that has told it.
    pub fn let_go(&self, pod: &str, container: &str) {
        const KILLED: i32 = 137;
        let told = self.try_exec(pod, container, &["touch", "/workspace/go"]);
        let error = String::from_utf8_lossy(&told.stderr);
        assert!([Some(0), Some(KILLED)].contains(&told.status.code()), "{}: {error}", told.status);
    }

    pub fn try_exec(&self, pod: &str, container: &str, program: &[&str]) -> Output {
        self.exec_command(pod, container, program).output().expect("kubectl starts")
    }

    /// Objects that are no build: Secrets, ConfigMaps, service accounts, pods.
    pub fn apply(&self, documents: &str) {
        run(self.command(&["apply", "-f", "-"]), documents);
    }

    /// The pod that `slipway render` makes of the documents; a service account that comes with it is applied, and so are the
    /// documents' Secrets, ConfigMaps and service accounts.
    pub fn render(&self, documents: &str) -> Pod {
        let others = of_kubernetes(documents);
        if !others.is_empty() {
            self.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": others }).to_string());
        }
        let rendered: Value = serde_json::from_str(&run(slipway_render(), documents)).unwrap();
        if rendered["kind"] != "List" {
            return serde_json::from_value(rendered).unwrap();
        }
        let (pods, others): (Vec<Value>, Vec<Value>) = rendered["items"]
            .as_array()
            .unwrap()
            .iter()
            .cloned()
            .partition(|item| item["kind"] == "Pod");
        self.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": others }).to_string());
        serde_json::from_value(pods.into_iter().next().unwrap()).unwrap()
    }

    /// Creates the pod and returns its name.
    pub fn start(&self, pod: &Pod) -> String {
        run(self.command(&["create", "-f", "-"]), &json!(pod).to_string());
        pod.metadata.name.clone().unwrap()
    }

    /// What the API server says against the pod; the test fails where it takes it.
    pub fn refusal(&self, pod: &Pod) -> String {
        let mut create = self.command(&["create", "-f", "-"]);
        let output = output_of(&mut create, &json!(pod).to_string());
        assert!(!output.status.success(), "the pod was created");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The pod as soon as it is `what`, which `is` tells.
    pub fn wait_for(&self, pod: &str, what: &str, is: impl Fn(&Pod) -> bool) -> Pod {
        self.watch(pod, PATIENCE, is)
            .unwrap_or_else(|| panic!("pod {pod} is not {what} after {PATIENCE:?}"))
    }

    /// The pod as soon as `is` says so; nothing when that takes longer.
    pub fn watch(&self, pod: &str, longest: Duration, is: impl Fn(&Pod) -> bool) -> Option<Pod> {
        // As a list of one: kubectl's watch of a single object loses what changes between its look and its watch.
        self.watch_all(&["pods", &format!("--field-selector=metadata.name={pod}")], longest, is)
    }

    /// The first of the objects, which are named as for `kubectl get`, of which `is` says so; nothing when that takes longer.
    pub fn watch_all<K: DeserializeOwned + Send + 'static>(
        &self,
        objects: &[&str],
        longest: Duration,
        is: impl Fn(&K) -> bool,
    ) -> Option<K> {
        let deadline = Instant::now() + longest;
        loop {
            let mut watch = self.command(&[&["get", "--watch", "--output=json"], objects].concat());
            let mut watch = Running(watch.stdout(Stdio::piped()).spawn().expect("kubectl starts"));
            let stdout = watch.0.stdout.take().unwrap();
            let (sender, seen) = mpsc::channel();
            std::thread::spawn(move || {
                for object in serde_json::Deserializer::from_reader(stdout).into_iter::<K>() {
                    if sender.send(object).is_err() {
                        return;
                    }
                }
            });
            loop {
                match seen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(object) => {
                        let object = object.expect("kubectl prints objects of that kind");
                        if is(&object) {
                            return Some(object);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => return None,
                    // The API server ends the watches of custom resources whose definition changes,
                    // which it does when the controller puts its certificate there.
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            let status = watch.0.wait().expect("kubectl ends");
            assert!(status.success(), "the watch of {objects:?} ended: {status}");
        }
    }

    /// The pod as soon as the container runs.
    pub fn wait_until_running(&self, pod: &str, container: &str) -> Pod {
        self.wait_for(pod, &format!("running {container}"), |pod| {
            let state = status(pod, container).and_then(|status| status.state.as_ref());
            state.is_some_and(|state| state.running.is_some())
        })
    }

    /// The pod as soon as all its containers ended.
    pub fn wait_until_ended(&self, pod: &str) -> Ended<'_> {
        let pod = self.wait_for(pod, "ended", |pod| matches!(phase(pod), "Succeeded" | "Failed"));
        Ended { pod, namespace: self }
    }

    /// Creates the pod and waits for its end.
    pub fn run_pod(&self, pod: &Pod) -> Ended<'_> {
        let name = self.start(pod);
        self.wait_until_ended(&name)
    }

    /// Renders the documents, and runs what comes of it to its end.
    pub fn run(&self, documents: &str) -> Ended<'_> {
        self.run_pod(&self.render(documents))
    }

    /// What the container printed until now.
    pub fn log(&self, pod: &str, container: &str) -> String {
        self.kubectl(&["logs", pod, "--container", container])
    }

    /// The container's log as soon as it holds the text.
    pub fn wait_for_log(&self, pod: &str, container: &str, text: &str) {
        // A log that is not there yet cannot be followed.
        self.wait_for(pod, &format!("starting {container}"), |pod| {
            let state = status(pod, container).and_then(|status| status.state.as_ref());
            state.is_some_and(|state| state.waiting.is_none())
        });
        let mut follow = self.command(&["logs", pod, "--container", container, "--follow"]);
        let mut follow = Running(follow.stdout(Stdio::piped()).spawn().expect("kubectl starts"));
        let stdout = follow.0.stdout.take().unwrap();
        let (sender, seen) = mpsc::channel();
        std::thread::spawn(move || {
            for line in
                std::io::BufRead::lines(std::io::BufReader::new(stdout)).map_while(Result::ok)
            {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            match seen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return,
                Ok(_) => {}
                Err(error) => {
                    panic!("the log of {container} of pod {pod} never held {text:?}: {error}")
                }
            }
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    fn exec_command(&self, pod: &str, container: &str, program: &[&str]) -> Command {
        self.command(&[&["exec", pod, "--container", container, "--"], program].concat())
    }

    /// What helps to understand a failure.
    fn describe(&self) -> String {
        let mut text = String::new();
        let show = |arguments: &[&str]| {
            String::from_utf8_lossy(&self.try_kubectl(arguments).stdout).into_owned()
        };
        let status = "jsonpath={range .items[*]}{.metadata.name} {.status.phase} {.status.reason} {.status.message}{'\\n'}\
            {range .status.initContainerStatuses[*]}  {.name} {.state}{'\\n'}{end}\
            {range .status.containerStatuses[*]}  {.name} {.state}{'\\n'}{end}{end}";
        writeln!(text, "== pods of {}\n{}", self.name, show(&["get", "pods", "-o", status]))
            .unwrap();
        writeln!(text, "== events\n{}", show(&["get", "events"])).unwrap();
        for pod in show(&["get", "pods", "-o", "name"]).lines() {
            let logs = show(&["logs", pod, "--all-containers", "--prefix", "--ignore-errors"]);
            writeln!(text, "== logs of {pod}\n{logs}").unwrap();
        }
        text
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.describe());
        }
        let mut delete =
            kubectl(&["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"]);
        match delete.output() {
            Ok(output) if output.status.success() => {}
            outcome => eprintln!("namespace {} is left: {outcome:?}", self.name),
        }
    }
}

/// A pod whose containers have all ended.
pub struct Ended<'a> {
    pub pod: Pod,
    namespace: &'a Namespace,
}

impl Ended<'_> {
    /// Fails the test, with the log of the step that failed, unless every container ended with 0.
    pub fn expect_success(self) -> Self {
        for status in statuses(&self.pod) {
            let name = &status.name;
            let exit_code = self.terminated(name).exit_code;
            assert!(exit_code == 0, "{name} ended with {exit_code}: {}", self.log(name));
        }
        assert_eq!(phase(&self.pod), "Succeeded");
        self
    }

    pub fn log(&self, container: &str) -> String {
        self.namespace.log(self.pod.metadata.name.as_deref().unwrap(), container)
    }

    pub fn terminated(&self, container: &str) -> &ContainerStateTerminated {
        let status =
            status(&self.pod, container).unwrap_or_else(|| panic!("no container {container}"));
        let state = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        state.unwrap_or_else(|| panic!("{container} never ended: {status:?}"))
    }

    pub fn exit_code(&self, container: &str) -> i32 {
        self.terminated(container).exit_code
    }

    /// The results in the container's termination message.
    pub fn results(&self, container: &str) -> BTreeMap<String, String> {
        let message = self.terminated(container).message.clone().unwrap_or_default();
        if message.is_empty() {
            return BTreeMap::new();
        }
        slipway_step::protocol::results::decode(&message)
            .unwrap_or_else(|| panic!("the message of {container} is no report: {message}"))
    }

    /// User and group as kubelet reports them.
    pub fn user(&self, container: &str) -> (i64, i64) {
        let status =
            status(&self.pod, container).unwrap_or_else(|| panic!("no container {container}"));
        let user = status.user.as_ref().and_then(|user| user.linux.as_ref());
        let user = user.unwrap_or_else(|| panic!("kubelet reports no user of {container}"));
        (user.uid, user.gid)
    }
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Init containers and containers, in order.
pub fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        status
            .init_container_statuses
            .iter()
            .flatten()
            .chain(status.container_statuses.iter().flatten())
    })
}

pub fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    statuses(pod).find(|status| status.name == container)
}

/// A container of the pod's specification, to change it before the pod starts.
pub fn container<'a>(pod: &'a mut Pod, name: &str) -> &'a mut Container {
    let containers = &mut pod.spec.as_mut().unwrap().containers;
    containers.iter_mut().find(|container| container.name == name).unwrap()
}

/// A child that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is left of tests that have ended goes slowly, and keeps the node and the controllers busy until then.
fn wait_until_swept() {
    let leaving = "--output=jsonpath={range .items[?(@.metadata.deletionTimestamp)]}{.metadata.name}{'\\n'}{end}";
    let leaving = run(kubectl(&["get", "namespaces", leaving]), "");
    for namespace in leaving.lines().filter(|name| name.starts_with(PREFIX)) {
        let namespace = format!("namespace/{namespace}");
        // One by one: many take longer than one of them may.
        run(kubectl(&["wait", "--for=delete", "--timeout=180s", &namespace]), "");
    }
}

pub fn shared_turn() -> Turn {
    Turn::Shared { _guard: TURNS.read().unwrap_or_else(PoisonError::into_inner) }
}

/// kubectl as an administrator.
pub fn kubectl(arguments: &[&str]) -> Command {
    variable("KUBECONFIG");
    let mut command = Command::new("kubectl");
    command.args(arguments);
    command
}

fn slipway_render() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.args(["render", "-f", "-", "-o", "json"]);
    command
}

/// The documents that the API server knows, and that belong into a namespace.
fn of_kubernetes(documents: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(documents).unwrap();
    let kinds = ["Secret", "ConfigMap", "ServiceAccount"].map(Value::from);
    documents
        .into_iter()
        .filter(|document| document["apiVersion"] == "v1" && kinds.contains(&document["kind"]))
        .collect()
}

/// Standard output; the test fails where the program does.
pub fn run(mut command: Command, input: &str) -> String {
    let output = output_of(&mut command, input);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

pub fn output_of(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A program that does not read all of it says why in its exit code.
        scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
        child.wait_with_output().unwrap()
    })
}
