//! Many BuildRuns at once while the node takes no pods, beside the same pods created by one client that does nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use slipway::cluster::install::{NAME, NAMESPACE};

use super::super::harness::{Namespace, PATIENCE, kubectl, run, variable};
use super::super::start::{rounds, show};
use super::super::steps::{BUSYBOX, run_of, step};
use super::Controller;
use super::audit::{self, Request};

/// Of the one client that both kinds of objects are created with.
const CONNECTIONS: &str = "16";
/// KiB that the controller may ever have had.
const MOST_MEMORY: u64 = 40 * 1024;
const RUNS: &str = "/apis/shipwright.io/v1beta1/namespaces/{}/buildruns";
const PODS: &str = "/api/v1/namespaces/{}/pods";

#[test]
#[ignore = "measures: hack/bench runs it"]
fn a_burst_of_runs_costs_two_writes_each_and_little_memory() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("burst");
    let _cordon = Cordon::new();
    let count = rounds(20);
    namespace.apply(&documents_without_run());
    namespace.kubectl(&[
        "wait",
        "--for=jsonpath={.status.registered}=True",
        "--timeout=180s",
        "build/steps",
    ]);
    let pod = pod_of_a_run(&namespace);

    let before = raw_creates(&namespace, &pod, count);
    let (runs, requests) = runs(&namespace, count);
    let (memory, peak) = memory();
    let after = raw_creates(&namespace, &pod, count);

    let of_controller = || requests.iter().filter(|request| request.is_of_controller());
    let writes: Vec<_> =
        of_controller().filter_map(|request| request.write_in(namespace.name())).collect();
    let reads = of_controller().filter(|request| request.is_in(namespace.name()));
    let reads = reads.count() - writes.len();
    let each = |all: usize| ratio(all, count);
    let mut kinds = BTreeMap::<_, usize>::new();
    for write in &writes {
        *kinds.entry(write.as_str()).or_default() += 1;
    }
    let mut rows = String::new();
    for (kind, all) in &kinds {
        writeln!(rows, "| … of these `{kind}` | | {:.2} | |", each(*all)).unwrap();
    }
    let raw = f64::midpoint(before, after);
    let could_be = raw / each(writes.len());
    show(&format!(
        "
| {count} at once | raw pods by one client | BuildRuns | |
| --- | ---: | ---: | ---: |
| a second, until all pods exist | {raw:.0} ({before:.0} before, {after:.0} after) | {runs:.1} | |
| writes for each until then | 1 | {:.2} | |
{rows}| reads for each until then | 0 | {:.2} | |
| a second, if only its writes took time | {could_be:.0} | {runs:.1} | × {:.2} |
| resident memory of the controller, then and at most | | {:.1} MiB, {:.1} MiB | |
",
        each(writes.len()),
        each(reads),
        runs / could_be,
        mebibytes(memory),
        mebibytes(peak),
    ));
    assert_eq!(kinds.remove("create pods"), Some(count), "{writes:?}");
    // Whoever was overtaken by another change of the run is refused, and tries again.
    assert!(kinds.remove("patch buildruns").unwrap() <= count + count / 5, "{writes:?}");
    // Pods that wait longer than ten seconds.
    assert!(kinds.remove("patch buildruns/status").unwrap_or_default() <= count, "{writes:?}");
    assert!(kinds.is_empty(), "{kinds:?}");
    assert!(peak <= MOST_MEMORY, "the controller has had {peak} KiB");
}

/// The strategy and the Build.
fn documents_without_run() -> String {
    let documents = run_of(&[step("only", BUSYBOX, &["true"])]);
    documents.rsplit_once("\n---\n").unwrap().0.to_owned()
}

fn run_named(name: &str) -> Value {
    let spec = json!({ "build": { "name": "steps" } });
    json!({ "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": { "name": name }, "spec": spec })
}

/// The pod of a BuildRun as the API server has it, to be created by others: without its owner, and without the label by which the
/// controller would see it.
fn pod_of_a_run(namespace: &Namespace) -> Value {
    namespace.apply(&run_named("first").to_string());
    let pod = namespace.watch_all(&["pods"], PATIENCE, |_: &Pod| true).expect("the run has a pod");
    namespace.kubectl(&["delete", "buildruns", "--all"]);
    let pod = json!(pod);
    let mut labels = pod["metadata"]["labels"].clone();
    labels.as_object_mut().unwrap().remove("buildrun.shipwright.io/name");
    let metadata = json!({ "labels": labels, "annotations": pod["metadata"]["annotations"] });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"] })
}

/// How many of these pods one client creates a second.
fn raw_creates(namespace: &Namespace, pod: &Value, count: usize) -> f64 {
    until_gone(namespace);
    let pods: Vec<_> = (0..count)
        .map(|number| {
            let mut pod = pod.clone();
            pod["metadata"]["name"] = format!("raw-{number}").into();
            pod
        })
        .collect();
    let begin = audit::end();
    create(namespace, PODS, &pods);
    let requests = audit::since(begin, namespace.name());
    let created = requests.iter().filter(|request| is(request, namespace, "create pods"));
    let rate = rate(count, created.clone(), created);
    namespace.kubectl(&["delete", "pods", "--all", "--wait=false"]);
    rate
}

/// How many BuildRuns a second get a pod, and what was asked of the API server from the first run to the last pod.
fn runs(namespace: &Namespace, count: usize) -> (f64, Vec<Request>) {
    until_gone(namespace);
    let runs: Vec<_> = (0..count).map(|number| run_named(&format!("run-{number}"))).collect();
    let begin = audit::end();
    create(namespace, RUNS, &runs);
    await_pods(namespace, count);
    let mut requests = audit::since(begin, namespace.name());
    let made = |what| move |request: &&Request| is(request, namespace, what);
    let pods = requests.iter().filter(made("create pods"));
    let rate = rate(count, requests.iter().filter(made("create buildruns")), pods.clone());
    let end = pods.map(|request| request.ended).max().unwrap();
    requests.retain(|request| request.ended <= end);
    namespace.kubectl(&["delete", "buildruns", "--all", "--wait=false"]);
    (rate, requests)
}

fn is(request: &Request, namespace: &Namespace, what: &str) -> bool {
    request.write_in(namespace.name()).as_deref() == Some(what)
}

/// By the API server's clock, from when it got the first request to when the last one was done.
fn rate<'a>(
    count: usize,
    first: impl Iterator<Item = &'a Request>,
    last: impl Iterator<Item = &'a Request>,
) -> f64 {
    let begin = first.map(|request| request.began).min().unwrap();
    let end: Timestamp = last.map(|request| request.ended).max().unwrap();
    let count = u32::try_from(count).unwrap();
    f64::from(count) / end.duration_since(begin).as_secs_f64()
}

fn ratio(all: usize, count: usize) -> f64 {
    f64::from(u32::try_from(all).unwrap()) / f64::from(u32::try_from(count).unwrap())
}

/// As fast as one client can, with a connection for each of several requests at once.
fn create(namespace: &Namespace, path: &str, documents: &[Value]) {
    let token = "jsonpath={.users[0].user.token}";
    let token = run(kubectl(&["config", "view", "--raw", "--minify", "--output", token]), "");
    let url = format!("{}{}", variable("SLIPWAY_API"), path.replace("{}", namespace.name()));
    let authority = variable("SLIPWAY_API_CA");
    let requests: Vec<_> = documents
        .iter()
        .map(|document| {
            let document = document.to_string().replace('\\', "\\\\").replace('"', "\\\"");
            format!(
                "url = \"{url}\"\nhttp1.1\ncacert = \"{authority}\"\nheader = \"Authorization: Bearer {token}\"\n\
                 header = \"Content-Type: application/json\"\ndata-binary = \"{document}\"\noutput = \"/dev/null\"\n\
                 write-out = \"%{{http_code}}\\n\"\n"
            )
        })
        .collect();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--parallel", "--parallel-immediate"]);
    // On standard input, because everybody can read a command line.
    curl.args(["--parallel-max", CONNECTIONS, "--config", "-"]);
    let codes = run(curl, &requests.join("next\n"));
    assert_eq!(codes, "201\n".repeat(documents.len()));
}

/// Comes back once there are so many pods. What kubectl prints of each is made by the API server, which keeps both from other work less
/// than whole objects would.
fn await_pods(namespace: &Namespace, count: usize) {
    let mut watch = kubectl(&["--namespace", namespace.name(), "get", "pods", "--watch"]);
    watch.args(["--no-headers", "--request-timeout=180s"]).stdout(Stdio::piped());
    let mut watch = watch.spawn().expect("kubectl starts");
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut pods = BTreeSet::new();
    for line in lines.map(Result::unwrap) {
        pods.insert(line.split_whitespace().next().unwrap().to_owned());
        if pods.len() == count {
            break;
        }
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!(pods.len(), count, "pods after {PATIENCE:?}");
}

fn until_gone(namespace: &Namespace) {
    namespace.kubectl(&["wait", "--for=delete", "pods", "--all", "--timeout=180s"]);
}

/// KiB that the controller has now, and had at most.
fn memory() -> (u64, u64) {
    let label = format!("--selector=app.kubernetes.io/name={NAME}");
    let id = "--output=jsonpath={.items[?(@.status.phase==\"Running\")].status.containerStatuses[0].containerID}";
    let id = run(kubectl(&["--namespace", NAMESPACE, "get", "pods", &label, id]), "");
    let id = id.strip_prefix("containerd://").unwrap_or_else(|| panic!("one controller: {id}"));
    let mut tasks = Command::new("ctr");
    tasks.args(["tasks", "list"]);
    let tasks = run(tasks, "");
    let task = tasks.lines().find(|line| line.starts_with(id)).unwrap();
    let pid = task.split_whitespace().nth(1).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    (field("VmRSS:"), field("VmHWM:"))
}

fn mebibytes(kibibytes: u64) -> f64 {
    f64::from(u32::try_from(kibibytes).unwrap()) / 1024.0
}

/// The node takes no new pods.
struct Cordon;

impl Cordon {
    fn new() -> Self {
        run(kubectl(&["cordon", &variable("SLIPWAY_NODE")]), "");
        Self
    }
}

impl Drop for Cordon {
    fn drop(&mut self) {
        match kubectl(&["uncordon", &variable("SLIPWAY_NODE")]).output() {
            Ok(output) if output.status.success() => {}
            outcome => eprintln!("the node is left without pods: {outcome:?}"),
        }
    }
}
