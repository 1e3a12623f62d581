//! What the client lists, deletes and gathers: S10 to S12 of its acceptance checks.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::super::super::documents::{build, git_source, https_url, output};
use super::super::super::harness::{Namespace, run, variable};
use super::super::super::steps::shell;
use super::super::Controller;
use super::super::person::Person;
use super::super::runs::{end_of, pod_of, until};
use super::client::{shp, try_shp};
use super::{VERSION, strategy, wait_until_registered};

fn run_called(name: &str, spec: &Value) -> String {
    json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": { "name": name }, "spec": spec })
        .to_string()
}

#[test]
fn a_build_goes_with_all_its_runs_and_their_pods() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("shp-delete");
    let dev = Person::bound(&namespace, "dev", "edit");
    let script = "case $0 in wait) trap 'exit 143' TERM; sleep 3600 & wait;; esac";
    let mut step = shell("work", script);
    step["args"] = json!(["$(params.what)"]);
    let mut strategy: Value = serde_json::from_str(&strategy("work", &[step])).unwrap();
    strategy["spec"]["parameters"] =
        json!([{ "name": "what", "description": "", "default": "end" }]);
    dev.kubectl(&["create", "--filename=-"], &strategy.to_string());
    dev.kubectl(&["create", "--filename=-"], &build("work", &Value::Null, &output(&namespace)));
    wait_until_registered(&dev, "app");
    let embedded: Value =
        serde_json::from_str(&build("work", &Value::Null, &output(&namespace))).unwrap();
    let embedded = run_called("other", &json!({ "build": { "spec": embedded["spec"] } }));
    dev.kubectl(&["create", "--filename=-"], &embedded);
    shp(&dev, &["buildrun", "create", "finished", "--buildref-name=app"]);
    shp(&dev, &["buildrun", "create", "running", "--buildref-name=app", "--param-value=what=wait"]);
    shp(&dev, &["buildrun", "create", "refused", "--buildref-name=app", "--param-value=other=x"]);
    let ended = ["finished", "other"].map(|name| end_of(&namespace, name));
    let running = until(&namespace, "running", "Running");
    end_of(&namespace, "refused");

    shp(&dev, &["build", "delete", "app", "-r"]);
    for run in ["finished", "running", "refused"] {
        dev.kubectl(&["wait", "--for=delete", "--timeout=180s", &format!("buildrun/{run}")], "");
    }
    for run in [&ended[0], &running] {
        let pod = format!("pod/{}", pod_of(run));
        dev.kubectl(&["wait", "--for=delete", "--timeout=180s", &pod], "");
    }
    let left = dev.kubectl(&["get", "builds,buildruns,pods", "--output=name"], "");
    assert_eq!(left, format!("buildrun.shipwright.io/other\npod/{}\n", pod_of(&ended[1])));
}

#[test]
fn runs_of_every_kind_of_source_are_listed_and_gathered() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("shp-list");
    let dev = Person::bound(&namespace, "dev", "edit");
    dev.kubectl(&["create", "--filename=-"], &strategy("say", &[shell("say", "echo said")]));
    let artifact = format!("{}/none:1", variable("SLIPWAY_REGISTRY_TLS"));
    let oci = json!({ "type": "OCI", "ociArtifact": { "image": artifact } });
    for (name, source) in
        [("git", git_source(&https_url("app"), None, false)), ("oci", oci), ("none", Value::Null)]
    {
        let text = build("say", &source, &output(&namespace));
        let mut document: Value = serde_json::from_str(&text).unwrap();
        document["metadata"]["name"] = name.into();
        dev.kubectl(&["create", "--filename=-"], &document.to_string());
        wait_until_registered(&dev, name);
    }
    let named = |build: &str| json!({ "build": { "name": build } });
    let mut local = named("none");
    local["source"] =
        json!({ "type": "Local", "local": { "name": "local-copy", "timeout": "2s" } });
    let embedded: Value = serde_json::from_str(&build(
        "say",
        &git_source(&https_url("app"), None, false),
        &output(&namespace),
    ))
    .unwrap();
    let embedded = json!({ "build": { "spec": embedded["spec"] } });
    let runs = [
        ("git", named("git")),
        ("oci", named("oci")),
        ("none", named("none")),
        ("local", local),
        ("embedded", embedded),
        ("refused", named("missing")),
    ];
    for (name, spec) in &runs {
        dev.kubectl(&["create", "--filename=-"], &run_called(name, spec));
    }
    for (name, _) in &runs {
        end_of(&namespace, name);
    }

    let list = shp(&dev, &["buildrun", "list", "--wide"]);
    let image = format!("{}/{}:1", variable("SLIPWAY_REGISTRY"), namespace.name());
    let url = https_url("app");
    for (name, reason, output, build, source) in [
        ("git", "Succeeded", &*image, "git", &*url),
        ("oci", "Failed", &image, "oci", &artifact),
        ("none", "Succeeded", &image, "none", "-"),
        ("local", "Failed", &image, "none", "-"),
        ("embedded", "Succeeded", &image, "-", &url),
        ("refused", "BuildNotFound", "-", "missing", "-"),
    ] {
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(name));
        let columns: Vec<_> =
            line.unwrap_or_else(|| panic!("no {name}: {list}")).split_whitespace().collect();
        let [_, status, age, of, from, took, fetched] = columns[..] else { panic!("{columns:?}") };
        assert_eq!((status, of, from, fetched), (reason, output, build, source), "{list}");
        assert!(age.ends_with('s') && (took.ends_with('s') || name == "refused"), "{list}");
    }
    let short = shp(&dev, &["buildrun", "list"]);
    assert_eq!(short.lines().count(), runs.len() + 1, "{short}");

    gather(&dev, "git");
}

/// There is no executor to look for, so the archive holds what the run itself says.
fn gather(person: &Person, run_name: &str) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(person.namespace.name());
    std::fs::create_dir_all(&directory).unwrap();
    let directory = directory.to_str().unwrap();
    let said = try_shp(person, &["buildrun", "gather", run_name, "-z", "-o", directory]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let archive = format!("{directory}/{run_name}-gather.tar.gz");
    let mut list = Command::new("tar");
    list.args(["--extract", "--to-stdout", "--gzip", "--file", &archive]);
    list.arg(format!("{run_name}-gather/buildrun.yaml"));
    let text = run(list, "");
    let gathered: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(gathered["metadata"]["name"], run_name);
    assert_eq!(gathered["status"]["conditions"][0]["reason"], "Succeeded");
    std::fs::remove_dir_all(directory).unwrap();
}
