//! A cluster that has upstream's controller moves to this one, and back, by the commands of docs/migrating.md.
//!
//! Upstream is played by the program in tests/shp, which holds its lease and writes runs as it does, and by definitions that lead to its
//! webhook.
//!
//! Invariant: the commands are the page's own; where they mean every namespace, the test's own stands for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use slipway::api::crd;
use slipway::cluster::install::{NAME, NAMESPACE};

use super::super::documents::{build, output};
use super::super::harness::{Namespace, PATIENCE, kubectl, phase, run};
use super::super::steps::shell;
use super::audit;
use super::disturbed::put_back;
use super::leader::LEASE;
use super::runs::{end_of, until};
use super::shp::client::start;
use super::{Controller, await_rollout, of_controller};

/// What upstream's Pods are called.
const UPSTREAM: &str = "shipwright-build-controller";
/// Of the definitions, where cert-manager keeps what they trust.
const INJECTED: &str = "cert-manager.io/inject-ca-from";
/// Runs that upstream has begun, the last one as older releases do.
const KEPT: [&str; 4] = ["finished", "awaited", "left", "of-old"];

#[test]
fn a_cluster_moves_and_back_as_the_page_says() {
    let _controller = Controller::installed();
    let namespace = Namespace::alone("upstream");
    let upstream = Upstream::installed(&namespace);
    let begin = audit::end();
    namespace.apply(&build("say", &Value::Null, &output(&namespace)));
    namespace.apply(&super::shp::strategy("say", &[shell("say", "true")]));
    create(&namespace, "finished");
    let_go(&namespace, "finished");
    end_of(&namespace, "finished");

    // Beside it nothing changes.
    upstream.step("1.");
    let mut log =
        start(kubectl(&["--namespace", NAMESPACE, "logs", "--follow", super::DEPLOYMENT]));
    log.wait_for("somebody else holds the lease");
    log.wait_for(&format!("\"holder\":\"{}\"", lease_of(&namespace, UPSTREAM)));
    drop(log);
    assert_conversion(&upstream, false);
    create(&namespace, "awaited");
    let_go(&namespace, "awaited");
    upstream.step("2.");
    create(&namespace, "left");
    let left = pod_of_upstream(&namespace, "left");
    create(&namespace, "of-old");
    let old = r#"[{"op":"remove","path":"/status/executor"}]"#;
    namespace.kubectl(&[
        "patch",
        "buildrun/of-old",
        "--subresource=status",
        "--type=json",
        "--patch",
        old,
    ]);
    let requests = audit::by_controller_since(begin);
    let changes = requests.iter().filter(|request| request.is_change());
    let own: Vec<_> = changes.filter(|request| request.is_in(namespace.name())).collect();
    assert!(own.is_empty(), "of the one that waits: {own:#?}");

    // What upstream has begun stays its own.
    let before = KEPT.map(|name| version(&namespace, name));
    upstream.step("3.");
    lease_of(&namespace, NAME);
    let table = upstream.step("3.");
    assert!(table.contains(NAME), "{table}");
    create(&namespace, "ours");
    let ours = end_of(&namespace, "ours");
    assert_eq!(ours.succeeded().unwrap().reason, "Succeeded");
    assert!(ours.status.as_ref().unwrap().executor.is_none());
    assert_eq!(KEPT.map(|name| version(&namespace, name)), before);
    let pod = pod_of_upstream(&namespace, "left");
    assert_eq!((phase(&pod), &pod.metadata.uid), ("Running", &left.metadata.uid));
    assert_eq!((&pod.spec, &pod.metadata.deletion_timestamp), (&left.spec, &None));

    // And is followed again by upstream.
    upstream.step("4.");
    lease_of(&namespace, UPSTREAM);
    assert_conversion(&upstream, true);
    let built = version(&namespace, "ours");
    for run in ["left", "of-old"] {
        let_go(&namespace, run);
        assert_eq!(end_of(&namespace, run).succeeded().unwrap().reason, "Succeeded");
    }
    assert_eq!(version(&namespace, "ours"), built);

    for step in ["1.", "2.", "3.", "5."] {
        upstream.step(step);
    }
    lease_of(&namespace, NAME);
    assert_conversion(&upstream, false);
    create(&namespace, "after");
    assert_eq!(end_of(&namespace, "after").succeeded().unwrap().reason, "Succeeded");
    let runs = namespace.kubectl(&["get", "builds,buildruns", "--output=name"]);
    assert_eq!(runs.lines().count(), 7, "{runs}");
    let named = kubectl(&[
        "get",
        "all,serviceaccounts,roles,rolebindings",
        "--namespace",
        NAMESPACE,
        "--output=name",
    ]);
    let all = run(named, "")
        + &run(kubectl(&["get", "clusterroles,clusterrolebindings", "--output=name"]), "");
    let left: Vec<_> = all
        .lines()
        .filter(|name| name.contains("shipwright-build") || name.contains("shp-"))
        .collect();
    let roles = ["view", "edit"].map(|role| {
        format!("clusterrole.rbac.authorization.k8s.io/shipwright-build-aggregate-{role}")
    });
    assert_eq!(left, [&*roles[1], &*roles[0]]);
}

fn create(namespace: &Namespace, name: &str) {
    let spec = json!({ "build": { "name": "app" } });
    let document = json!({ "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": { "name": name }, "spec": spec });
    namespace.apply(&document.to_string());
    if name != "ours" && name != "after" {
        let begun = until(namespace, name, "Running");
        assert_eq!(begun.status.unwrap().executor.unwrap().kind, "TaskRun");
    }
}

/// The pod of a run that upstream has begun, as soon as it runs.
fn pod_of_upstream(namespace: &Namespace, run: &str) -> Pod {
    let label = format!("--selector=buildrun.shipwright.io/name={run}");
    let pod = namespace.watch_all(&["pods", &label], PATIENCE, |pod: &Pod| phase(pod) == "Running");
    pod.unwrap_or_else(|| panic!("no pod of {run} runs"))
}

fn let_go(namespace: &Namespace, run: &str) {
    let pod = pod_of_upstream(namespace, run).metadata.name.unwrap();
    namespace.exec(
        &pod,
        "step-script",
        &["sh", "-c", "echo well >/tmp/next; mv /tmp/next /tmp/go"],
    );
}

/// Which changes when anybody writes to the run.
fn version(namespace: &Namespace, run: &str) -> String {
    namespace.kubectl(&["get", "buildrun", run, "--output=jsonpath={.metadata.resourceVersion}"])
}

/// Who holds the lease, as soon as it is a Pod with such a name.
fn lease_of(namespace: &Namespace, pod: &str) -> String {
    let name = format!("--field-selector=metadata.name={LEASE}");
    let holder = |lease: &Lease| {
        lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
    };
    let is = |lease: &Lease| holder(lease).starts_with(pod);
    let leases = ["leases", "--namespace", NAMESPACE, &name];
    let lease = namespace.watch_all(&leases, PATIENCE, is);
    holder(&lease.unwrap_or_else(|| panic!("{pod} does not take the lease")))
}

/// Whom the API server asks to convert objects.
fn assert_conversion(upstream: &Upstream, is_upstreams: bool) {
    for definition in &upstream.definitions {
        let shown = run(kubectl(&["get", "crd", definition, "--output=json"]), "");
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let asked = &shown["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["name"];
        assert_eq!(*asked == "shp-build-webhook", is_upstreams, "{definition}: {asked}");
        let injected = &shown["metadata"]["annotations"][INJECTED];
        assert_eq!(injected.is_string(), is_upstreams, "{definition}: {injected}");
    }
}

/// An installed upstream, in whose place is what install.yaml brings once this goes.
struct Upstream<'a> {
    namespace: &'a Namespace,
    /// Where the commands find both files.
    directory: PathBuf,
    definitions: Vec<String>,
}

impl<'a> Upstream<'a> {
    fn installed(namespace: &'a Namespace) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(namespace.name());
        std::fs::create_dir_all(&directory).unwrap();
        let install = concat!(env!("CARGO_MANIFEST_DIR"), "/install.yaml");
        std::fs::copy(install, directory.join("install.yaml")).unwrap();
        let mut release = include_str!("release.yaml").replace("NAMESPACE", namespace.name());
        let mut names = Vec::new();
        for definition in crd::crds() {
            names.push(definition.metadata.name.clone().unwrap());
            let mut definition = json!(definition);
            let service =
                json!({ "namespace": NAMESPACE, "name": "shp-build-webhook", "path": "/convert" });
            let webhook = json!({ "clientConfig": { "service": service }, "conversionReviewVersions": ["v1"] });
            definition["spec"]["conversion"] = json!({ "strategy": "Webhook", "webhook": webhook });
            definition["metadata"]["annotations"][INJECTED] =
                "shipwright-build/shipwright-build-webhook-cert".into();
            release = format!("{release}\n---\n{definition}");
        }
        std::fs::write(directory.join("release.yaml"), release).unwrap();
        let upstream = Self { namespace, directory, definitions: names };
        of_controller(&["scale", "--replicas=0", super::DEPLOYMENT]);
        upstream.type_in("kubectl apply --server-side --force-conflicts --filename release.yaml");
        lease_of(namespace, UPSTREAM);
        upstream
    }

    /// The commands below such a number of the page, and what they print.
    fn step(&self, number: &str) -> String {
        let page = include_str!("../../../../docs/migrating.md");
        let section = page.split("\n## Moving a cluster\n").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let step = section.split(&format!("\n**{number} ")).nth(1).unwrap();
        let step = step.split("\n**").next().unwrap();
        let blocks = step.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
        let commands: String = blocks.collect();
        assert!(!commands.is_empty(), "{number} has no commands");
        self.type_in(&commands)
    }

    fn type_in(&self, commands: &str) -> String {
        let here = format!("--namespace {}", self.namespace.name());
        let mut shell = Command::new("sh");
        shell.args(["-euc", &commands.replace("--all-namespaces", &here)]);
        run_in(shell, &self.directory)
    }
}

fn run_in(mut command: Command, directory: &Path) -> String {
    command.current_dir(directory);
    run(command, "")
}

impl Drop for Upstream<'_> {
    fn drop(&mut self) {
        put_back(|| {
            let release = include_str!("release.yaml");
            run(kubectl(&["delete", "--ignore-not-found", "--filename=-"]), release);
            run(
                kubectl(&[
                    "apply",
                    "--filename",
                    &self.directory.join("install.yaml").to_string_lossy(),
                ]),
                "",
            );
            await_rollout();
            std::fs::remove_dir_all(&self.directory).unwrap();
        });
    }
}
