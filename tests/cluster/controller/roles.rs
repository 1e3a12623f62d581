//! Who may do what: editors of a namespace, those who are bound to our roles alone, and the controller.
//!
//! Invariant: what a person or the controller does is asked of the API server as that one; an administrator only prepares and waits.

use std::collections::BTreeSet;
use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};
use slipway::api::BuildRun;
use slipway::cluster::install::{NAME, NAMESPACE};

use super::super::documents::{
    Sample, build, clone_key, git_source, output, push_secret, sample, script_strategy, ssh_url,
    tls_output,
};
use super::super::harness::{Namespace, PATIENCE, kubectl, run};
use super::super::steps::{run_of, shell};
use super::Controller;
use super::person::Person;

fn all(verbs: &[&str], kinds: &[&str]) -> BTreeSet<String> {
    let rights = kinds.iter().flat_map(|kind| verbs.iter().map(move |verb| (kind, verb)));
    rights.map(|(kind, verb)| format!("{verb} {kind}.shipwright.io")).collect()
}

const VERSION: &str = "shipwright.io/v1beta1";
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 4] = ["create", "update", "patch", "delete"];
const NAMESPACED: [&str; 3] = ["builds", "buildruns", "buildstrategies"];

/// The lines of the README's section on clusters, the part for those who build.
fn readme_lines() -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let section = readme.split("\n## On a cluster\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let block = section.split("```sh\n").nth(2).unwrap().split("```").next().unwrap();
    block.lines().map(String::from).collect()
}

#[test]
fn who_may_edit_a_namespace_does_what_the_readme_shows() {
    let _controller = Controller::installed();
    let namespace = Namespace::restricted("editor");
    let dev = Person::bound(&namespace, "dev", "edit");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(namespace.name());
    let files = directory.join("samples/hello");
    std::fs::create_dir_all(&files).unwrap();
    let Sample { strategy, build, run } = sample("hello").with(None, &output(&namespace));
    for (file, document) in [("strategy", strategy), ("build", build), ("buildrun", run)] {
        std::fs::write(files.join(format!("{file}.yaml")), document.to_string()).unwrap();
    }

    let lines = readme_lines();
    let [apply, wait, get, logs, cancel, delete] = &lines[..] else { panic!("{lines:#?}") };
    dev.type_in(&directory, apply);
    dev.type_in(&directory, wait);
    let table = dev.type_in(&directory, get);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..3], ["hello", "True", "Succeeded"], "{table}");
    let printed = dev.type_in(&directory, logs);
    assert!(printed.contains("/step-pack] packed: Hello from Shipwright"), "{printed}");
    assert!(printed.contains("/step-image-processing] "), "{printed}");

    slow_run(&dev);
    let pod = namespace.kubectl(&["get", "pods", "--selector", SLOW, "--output=name"]);
    namespace.wait_for_log(pod.trim().trim_start_matches("pod/"), "step-script", "begun");
    dev.type_in(&directory, &cancel.replace("buildrun hello", "buildrun slow"));
    let run = namespace.watch_all(&["buildruns"], PATIENCE, |run: &BuildRun| {
        run.metadata.name.as_deref() == Some("slow") && run.is_done()
    });
    let run = run.expect("the run ends");
    let condition = run.succeeded().unwrap();
    assert_eq!((&*condition.status, &*condition.reason), ("False", "BuildRunCanceled"));
    let log = dev.kubectl(&["logs", "--selector", SLOW, "--container=step-script"], "");
    assert_eq!(log, "begun\n");

    dev.type_in(&directory, delete);
    let left = dev.kubectl(&["get", "builds,buildruns,buildstrategies", "--output=name"], "");
    assert_eq!(
        left,
        "build.shipwright.io/app\nbuildrun.shipwright.io/slow\nbuildstrategy.shipwright.io/slow\n"
    );
    std::fs::remove_dir_all(directory).unwrap();
}

const SLOW: &str = "buildrun.shipwright.io/name=slow";

/// Starts a run that does not end by itself, and comes back when it runs.
fn slow_run(person: &Person) {
    let script = "echo begun; trap 'exit 143' TERM; sleep 3600 & wait";
    let strategy = script_strategy("slow", (1001, 1000), script);
    let build = build("slow", &Value::Null, &output(person.namespace));
    let spec = json!({ "build": { "name": "app" } });
    let buildrun = json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": { "name": "slow" }, "spec": spec });
    let all = format!("{strategy}\n---\n{build}\n---\n{buildrun}");
    person.kubectl(&["apply", "--filename=-"], &all);
    let running = "--for=jsonpath={.status.conditions[0].reason}=Running";
    person.kubectl(&["wait", running, "buildrun/slow", "--timeout=180s"], "");
}

#[test]
fn our_edit_role_alone_is_enough_to_build_and_gives_nothing_else() {
    let _controller = Controller::installed();
    let namespace = Namespace::restricted("builder");
    let builder = Person::bound(&namespace, "builder", "shipwright-build-aggregate-edit");
    let verbs = [&READ[..], &WRITE].concat();
    let mut expected = all(&verbs, &NAMESPACED);
    expected.extend(all(&READ, &["clusterbuildstrategies"]));
    assert_eq!(builder.own_rights(), expected);

    slow_run(&builder);
    let cancel = json!({ "spec": { "state": "BuildRunCanceled" } }).to_string();
    builder.kubectl(&["patch", "buildrun/slow", "--type=merge", "--patch", &cancel], "");
    let done = ["wait", "--for=condition=Succeeded=False", "buildrun/slow", "--timeout=180s"];
    builder.kubectl(&done, "");
    let reason = "--output=jsonpath={.status.conditions[0].reason}";
    assert_eq!(builder.kubectl(&["get", "buildrun/slow", reason], ""), "BuildRunCanceled");

    namespace.kubectl(&["create", "secret", "generic", "password", "--from-literal=a=b"]);
    let pod = namespace.kubectl(&["get", "pods", "--selector", SLOW, "--output=name"]);
    let in_namespace = format!("/api/v1/namespaces/{}", namespace.name());
    let of_pod =
        |what: &str| format!("{in_namespace}/{}/{what}", pod.trim().replace("pod/", "pods/"));
    let exec = of_pod("exec?command=id&container=step-script&stdout=1");
    let attach = of_pod("attach?container=step-script&stdout=1");
    let post = |path| ["create", "--filename=-", "--raw", path];
    for refused in [
        &["get", "secrets"][..],
        &["get", "secret/password"],
        &["create", "secret", "generic", "other", "--from-literal=a=b"],
        &["get", "configmaps"],
        &["get", "serviceaccounts"],
        &["create", "token", "default"],
        &["get", "pods"],
        &["get", pod.trim()],
        &["get", "--raw", &of_pod("log?container=step-script")],
        &post(&exec),
        &post(&attach),
        &post(&of_pod("portforward?ports=80")),
        &["run", "pod", "--image=docker.io/library/busybox:1.37"],
        &["patch", "buildrun/slow", "--subresource=status", "--type=merge", "--patch={}"],
        &["patch", "build/app", "--subresource=status", "--type=merge", "--patch={}"],
        &["get", "builds", "--namespace=default"],
        &["get", "builds", "--all-namespaces"],
        &["get", "nodes"],
        // A binding in a namespace does not reach what lies in none.
        &["get", "clusterbuildstrategies"],
    ] {
        assert_forbidden(&builder, refused, "{}");
    }
    let strategy = script_strategy("everybodys", (1001, 1000), "true");
    let strategy = strategy.replace("\"BuildStrategy\"", "\"ClusterBuildStrategy\"");
    assert_forbidden(&builder, &["create", "--validate=false", "--filename=-"], &strategy);

    builder.kubectl(&["delete", "buildrun/slow", "build/app", "buildstrategy/slow"], "");
}

#[test]
fn our_view_role_reads_only() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("viewer");
    let viewer = Person::bound(&namespace, "viewer", "shipwright-build-aggregate-view");
    let kinds = [&NAMESPACED[..], &["clusterbuildstrategies"]].concat();
    assert_eq!(viewer.own_rights(), all(&READ, &kinds));

    namespace.apply(&script_strategy("one", (1001, 1000), "true"));
    namespace.apply(&build("one", &Value::Null, &output(&namespace)));
    // A watch, too.
    let registered = "--for=jsonpath={.status.registered}=True";
    viewer.kubectl(&["wait", registered, "build/app", "--timeout=180s"], "");
    for kind in NAMESPACED {
        viewer.kubectl(&["get", kind], "");
    }
    let script = script_strategy("two", (1001, 1000), "true");
    assert_forbidden(&viewer, &["create", "--validate=false", "--filename=-"], &script);
    for refused in [
        &[
            "patch",
            "build/app",
            "--type=merge",
            "--patch={\"metadata\":{\"labels\":{\"a\":\"b\"}}}",
        ][..],
        &["delete", "build/app"],
        &["delete", "buildstrategy/one"],
        &["get", "pods"],
        &["get", "secrets"],
        &["get", "--raw", &format!("/api/v1/namespaces/{}/pods/any/log", namespace.name())],
    ] {
        assert_forbidden(&viewer, refused, "");
    }
}

/// The secrets that a Build names are the editor's own to make: one to fetch with, one to push with.
#[test]
fn who_may_edit_a_namespace_builds_with_secrets_of_its_own() {
    let _controller = Controller::installed();
    let namespace = Namespace::restricted("editor-secrets");
    let dev = Person::bound(&namespace, "dev", "edit");
    for document in [clone_key(), push_secret("SLIPWAY_REGISTRY_AUTH")] {
        dev.kubectl(&["create", "--filename=-"], &document);
    }
    dev.kubectl(&["create", "secret", "generic", "word", "--from-literal=word=given"], "");
    let mut sample = sample("hello")
        .with(Some(&git_source(&ssh_url("app"), None, true)), &tls_output(&namespace));
    sample.build["spec"]["paramValues"] =
        json!([{ "name": "greeting", "secretValue": { "name": "word", "key": "word" } }]);
    dev.kubectl(&["apply", "--filename=-"], &sample.text());
    dev.kubectl(&["wait", "--for=condition=Succeeded", "buildrun/hello", "--timeout=180s"], "");
    let of_run = "--selector=buildrun.shipwright.io/name=hello";
    let log = dev.kubectl(&["logs", of_run, "--container=step-pack"], "");
    assert!(log.contains("given"), "{log}");
    dev.kubectl(&["delete", "secret", "clone", "push", "word"], "");
}

/// Kubernetes' own role takes ours in, and keeps its own limits: it shows logs, and no secrets.
#[test]
fn who_may_view_a_namespace_sees_its_builds() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("reader");
    let viewer = Person::bound(&namespace, "viewer", "view");
    namespace.apply(&run_of(&[shell("say", "echo seen")]));
    viewer.kubectl(&["wait", "--for=condition=Succeeded", "buildrun/run", "--timeout=180s"], "");
    let of_run = "--selector=buildrun.shipwright.io/name=run";
    let log = viewer.kubectl(&["logs", of_run, "--container=step-say"], "");
    assert_eq!(log, "seen\n");
    let pod = viewer.kubectl(&["get", "pods", of_run, "--output=name"], "");
    let exec = format!(
        "/api/v1/namespaces/{}/{}/exec?command=id",
        namespace.name(),
        pod.trim().replace("pod/", "pods/")
    );
    assert_forbidden(&viewer, &["create", "--filename=-", "--raw", &exec], "{}");
    assert_forbidden(&viewer, &["delete", "buildrun/run"], "");
    for kind in NAMESPACED {
        assert!(viewer.can(&["watch", &format!("{kind}.shipwright.io")]));
        assert!(!viewer.can(&["create", &format!("{kind}.shipwright.io")]));
    }
    assert_forbidden(&viewer, &["get", "secrets"], "");
}

fn assert_forbidden(person: &Person, arguments: &[&str], input: &str) {
    let refused = person.try_kubectl(arguments, input);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{arguments:?} is allowed");
    let text = format!("User \"{}\" cannot ", person.name);
    assert!(error.contains("orbidden") && error.contains(&text), "{arguments:?}: {error}");
}

/// The API server of the tests asks, as OpenShift's does, whoever makes an object that holds up the deletion of its owner. An editor lacks
/// the rule for it; the controller has it, makes no other request with it, and could make no pod without.
#[rstest]
#[case::pods_of_runs("BuildRun")]
#[case::runs_of_builds("Build")]
fn the_controller_may_hold_up_the_deletion_of_owners(#[case] kind: &str) {
    let _controller = Controller::installed();
    let namespace = Namespace::new(&format!("owner-{}", kind.to_lowercase()));
    let dev = Person::bound(&namespace, "dev", "edit");
    let document = |kind: &str, spec: &Value| json!({ "apiVersion": VERSION, "kind": kind, "metadata": { "name": "owner" }, "spec": spec });
    let output = output(&namespace);
    let build = json!({ "strategy": { "name": "missing" }, "output": output });
    namespace.apply(&document("Build", &build).to_string());
    namespace.apply(&document("BuildRun", &json!({ "build": { "name": "missing" } })).to_string());
    let uid = ["get", kind, "owner", "--output=jsonpath={.metadata.uid}"];
    let reference = json!([{
        "apiVersion": VERSION,
        "kind": kind,
        "name": "owner",
        "uid": namespace.kubectl(&uid),
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    let mut owned = if kind == "Build" {
        json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": { "name": "owner" } })
    } else {
        let container = json!({ "name": "a", "image": "docker.io/library/busybox:1.37" });
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "owned" }, "spec": { "containers": [container] } })
    };
    owned["metadata"]["ownerReferences"] = reference;
    let owned = owned.to_string();
    // Asks for nothing but the patch.
    let request =
        ["apply", "--server-side", "--validate=false", "--dry-run=server", "--filename=-"];

    let refused = dev.try_kubectl(&request, &owned);
    let error = String::from_utf8_lossy(&refused.stderr);
    let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
    assert!(!refused.status.success() && error.contains(why), "{error}");
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:{NAME}");
    let mut controller = kubectl(&["--namespace", namespace.name(), &account]);
    controller.args(request);
    run(controller, &owned);
}

/// As in a new cluster.
#[test]
fn the_controller_makes_its_lease() {
    let _controller = Controller::installed();
    let _namespace = Namespace::new("lease");
    let lease = ["lease/shipwright-build-controller-lock", "--namespace", NAMESPACE];
    let holder = "--for=jsonpath={.spec.holderIdentity}";
    run(kubectl(&[&["wait", holder, "--timeout=180s"], &lease[..]].concat()), "");
    run(kubectl(&[&["delete"], &lease[..]].concat()), "");
    run(kubectl(&[&["wait", "--for=create", "--timeout=180s"], &lease[..]].concat()), "");
    run(kubectl(&[&["wait", holder, "--timeout=180s"], &lease[..]].concat()), "");
}

/// Whoever applies the file again changes nothing, and the namespace takes no pod with rights.
#[test]
fn the_install_file_can_be_applied_again() {
    let _controller = Controller::installed();
    let _namespace = Namespace::new("again");
    let file = format!("{}/install.yaml", env!("CARGO_MANIFEST_DIR"));
    let again = run(kubectl(&["apply", "--dry-run=server", "--filename", &file]), "");
    assert!(again.lines().all(|line| line.ends_with(" unchanged (server dry run)")), "{again}");
    let removed = run(kubectl(&["delete", "--dry-run=server", "--filename", &file]), "");
    assert_eq!(removed.lines().count(), again.lines().count());
    let root = ["run", "root", "--image=a", "--dry-run=server", "--namespace", NAMESPACE];
    let refused = kubectl(&root).output().unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("violates PodSecurity \"restricted:latest\""), "{error}");
}
