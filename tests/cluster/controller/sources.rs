//! Sources that are no repository: artifacts in a registry, and what a client uploads into the running pod.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slipway::api::BuildRun;
use slipway_step::oci::{self, OciError, Reference, Registry};

use crate::artifact::{archive, image, index};

use super::super::documents::{build, git_source, output, script_strategy};
use super::super::harness::{
    Namespace, PATIENCE, kubectl, output_of, phase, secret, variable, variable_file,
};
use super::Controller;
use super::runs::{BUILT, end_of, pod_of, until, words};

const VERSION: &str = "shipwright.io/v1beta1";
const SHOW: &str =
    "cd /workspace/source; cat which; find . -mindepth 1 -exec stat -c '%u:%g %a %n' {} + | sort";

fn run_of_app(more: &Value) -> String {
    let mut spec = json!({ "build": { "name": "app" } });
    if !more.is_null() {
        spec["source"] = more.clone();
    }
    json!({ "apiVersion": VERSION, "kind": "BuildRun", "metadata": { "name": "app" }, "spec": spec })
        .to_string()
}

/// Talks to the registry with TLS and password, from this machine.
fn at_registry<T>(name: &str, act: impl AsyncFnOnce(Registry) -> T) -> T {
    let auth = variable("SLIPWAY_REGISTRY_AUTH");
    let host = variable("SLIPWAY_REGISTRY_TLS");
    let credentials = oci::find_credentials(Path::new(&auth), &host).unwrap();
    let address = variable("SLIPWAY_REGISTRY_TLS_ADDRESS");
    let image: Reference = format!("{address}/{name}").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let registry = Registry::connect(image, credentials, true, |line| eprintln!("{line}"));
        act(registry.await.unwrap()).await
    })
}

#[test]
fn a_private_artifact_is_fetched_and_then_pruned() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("artifact");
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("the test does not know what images call {other}"),
    };
    let (chosen, other) = (image("which", "for this machine\n"), image("which", "for another\n"));
    let digest = chosen.digest();
    let index = index(vec![("s390x", other), (own, chosen)]);
    let name = format!("{}-source:1", namespace.name());
    at_registry(&name, async |registry| registry.push(&index).await).unwrap();

    let config = variable_file("SLIPWAY_REGISTRY_AUTH");
    let pull = secret("pull", "kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", &config)]);
    let artifact = format!("{}/{name}", variable("SLIPWAY_REGISTRY_TLS"));
    let source = json!({ "type": "OCI", "ociArtifact": { "image": artifact, "pullSecret": "pull", "prune": "AfterPull" } });
    let build = build("show", &source, &output(&namespace));
    let strategy = script_strategy("show", (1010, 1020), SHOW);
    namespace.apply(&[&*pull, &strategy, &build, &run_of_app(&Value::Null)].join("\n---\n"));

    let run = end_of(&namespace, "app");
    assert_eq!(words(&run), Some(BUILT), "{}", namespace.log(pod_of(&run), "step-source-default"));
    let log = namespace.log(pod_of(&run), "step-script");
    assert_eq!(log, "for this machine\n1010:1020 750 ./which\n");
    let status = json!(run.status.unwrap().source);
    let time = "2023-11-14T22:13:20Z";
    assert_eq!(status, json!({ "ociArtifact": { "digest": digest }, "timestamp": time }));

    let left = at_registry(&name, async |registry| registry.pull(Duration::ZERO).await.map(drop));
    assert!(matches!(left, Err(OciError::NoImage { .. })), "{left:?}");
}

#[test]
fn an_artifact_that_is_not_safe_fails_its_run() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("artifact-unsafe");
    let name = format!("{}-source:1", namespace.name());
    let unsafe_image = image("../escaped", "x");
    at_registry(&name, async |registry| registry.push(&unsafe_image).await).unwrap();

    let config = variable_file("SLIPWAY_REGISTRY_AUTH");
    let pull = secret("pull", "kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", &config)]);
    let artifact = format!("{}/{name}", variable("SLIPWAY_REGISTRY_TLS"));
    let source =
        json!({ "type": "OCI", "ociArtifact": { "image": artifact, "pullSecret": "pull" } });
    let build = build("show", &source, &output(&namespace));
    let strategy = script_strategy("show", (1010, 1020), SHOW);
    namespace.apply(&[&*pull, &strategy, &build, &run_of_app(&Value::Null)].join("\n---\n"));
    let run = end_of(&namespace, "app");
    let (status, reason, _) = words(&run).unwrap();
    assert_eq!((status, reason), ("False", "Failed"));
    let log = namespace.log(pod_of(&run), "step-source-default");
    assert!(
        log.contains("entry \"../escaped\" of the archive is refused: \"..\" in its name"),
        "{log}"
    );
    assert!(json!(run.status.unwrap().source)["ociArtifact"].is_null());
}

/// Runs a program in the step that waits for the source; its exit code and what it printed.
fn exec(namespace: &Namespace, pod: &str, program: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let container = "step-source-local";
    let start =
        ["--namespace", namespace.name(), "exec", "-i", pod, "--container", container, "--"];
    let mut command = kubectl(&[&start[..], program].concat());
    // Archives of these tests are ASCII and zeros.
    let output = output_of(&mut command, std::str::from_utf8(input).unwrap());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// What a client does once the pod runs; the run as it ended.
fn uploaded(namespace: &Namespace, tar: &[&str], done: &[&str]) -> BuildRun {
    let pod = pod_of(&until(namespace, "app", "Running")).to_owned();
    namespace.wait_for(&pod, "running", |pod| phase(pod) == "Running");
    let (code, log) = exec(namespace, &pod, tar, &archive("../escaped", "x"));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("entry \"../escaped\" of the archive is refused"), "{log}");
    let (code, log) = exec(namespace, &pod, tar, &archive("which", "uploaded\n"));
    assert_eq!(code, Some(0), "{log}");
    // Clients wait some seconds here; the waiter itself has no clock to look at before all containers run.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, log) = exec(namespace, &pod, done, b"");
        if code == Some(0) {
            break;
        }
        assert!(log.contains("no waiter is running") && Instant::now() < deadline, "{log}");
    }
    end_of(namespace, "app")
}

const NEW_TAR: &[&str] =
    &["tar", "--no-same-permissions", "--no-same-owner", "-xvf", "-", "-C", "/workspace/source"];
const OLD_TAR: &[&str] = &["tar", "xfv", "-", "-C", "/workspace/source"];

#[rstest::rstest]
#[case::newer("newer", NEW_TAR, &["waiter", "done", "--lock-file=/shp-tmp/waiter.lock"])]
#[case::older("older", OLD_TAR, &["waiter", "done"])]
fn a_working_copy_is_uploaded(#[case] name: &str, #[case] tar: &[&str], #[case] done: &[&str]) {
    let _controller = Controller::installed();
    let namespace = Namespace::new(&format!("upload-{name}"));
    // What the Build names is not looked at: the run brings its own.
    let source = git_source("https://git.example.com/nowhere.git", None, false);
    let build = build("show", &source, &output(&namespace));
    let strategy = script_strategy("show", (1010, 1020), SHOW);
    let local = json!({ "type": "Local", "local": { "name": "local-copy", "timeout": "3m" } });
    namespace.apply(&[&*strategy, &build, &run_of_app(&local)].join("\n---\n"));
    let run = uploaded(&namespace, tar, done);
    assert_eq!(words(&run), Some(BUILT), "{}", namespace.log(pod_of(&run), "step-source-local"));
    let log = namespace.log(pod_of(&run), "step-script");
    assert_eq!(log, "uploaded\n1010:1020 750 ./which\n");
}
