//! What a private registry holds: images whose own program a step runs, and the credentials that steps find at home.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::documents::push_secret;
use super::super::harness::{Namespace, run, variable, variable_file};
use super::super::steps::{BUSYBOX, shell, with};
use super::Controller;
use super::runs::{BUILT, expect_ended, live, pod_of, run_called};

/// Pushes busybox with this entrypoint and command to the registry with TLS and password; its name for pods.
fn push(namespace: &Namespace, entrypoint: &[&str], command: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(namespace.name());
    std::fs::create_dir_all(&folder).unwrap();
    let archive = folder.join("image.tar");
    let layout = folder.join("layout");
    let mut export = Command::new("ctr");
    export.args(["images", "export"]).arg(&archive).arg(BUSYBOX);
    run(export, "");
    let from = format!("oci-archive:{}", archive.display());
    let to = format!("dir:{}", layout.display());
    run(skopeo(&["copy", &from, &to]), "");

    let blob = |digest: &str| layout.join(digest.strip_prefix("sha256:").unwrap());
    let read =
        |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let mut manifest = read(&layout.join("manifest.json"));
    let mut config = read(&blob(manifest["config"]["digest"].as_str().unwrap()));
    config["config"]["Entrypoint"] = json!(entrypoint);
    config["config"]["Cmd"] = json!(command);
    let config = config.to_string();
    let mut digest = String::new();
    for byte in Sha256::digest(&config) {
        write!(digest, "{byte:02x}").unwrap();
    }
    std::fs::write(layout.join(&digest), &config).unwrap();
    manifest["config"]["digest"] = format!("sha256:{digest}").into();
    manifest["config"]["size"] = config.len().into();
    std::fs::write(layout.join("manifest.json"), manifest.to_string()).unwrap();

    let image = format!("{}:1", namespace.name());
    let there = format!("docker://{}/{image}", variable("SLIPWAY_REGISTRY_TLS_ADDRESS"));
    let login = format!("--authfile={}", variable("SLIPWAY_REGISTRY_AUTH"));
    run(skopeo(&["copy", &login, &to, &there]), "");
    std::fs::remove_dir_all(&folder).unwrap();
    format!("{}/{image}", variable("SLIPWAY_REGISTRY_TLS"))
}

fn skopeo(arguments: &[&str]) -> Command {
    let mut skopeo = Command::new("skopeo");
    skopeo.env("SSL_CERT_FILE", variable("SLIPWAY_CA")).args(arguments);
    skopeo
}

fn account(name: &str, field: &str) -> String {
    let metadata = json!({ "name": name });
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, field: [{ "name": "push" }] })
        .to_string()
}

#[test]
fn a_step_without_a_command_runs_what_its_image_runs() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("own-command");
    let image = push(&namespace, &["sh", "-euc"], &["echo of the image"]);
    namespace.apply(&push_secret("SLIPWAY_REGISTRY_AUTH"));
    namespace.apply(&account("puller", "imagePullSecrets"));
    let own = |name: &str, step: Value, account: &str| {
        let mut sample = run_called(name, &[step]);
        sample.run["spec"]["serviceAccount"] = account.into();
        sample
    };
    let step = json!({ "name": "own", "image": image });
    let samples = [
        own("plain", step.clone(), "puller"),
        own("told", with(step.clone(), "args", json!(["echo of the step"])), "puller"),
        own("unread", step, "default"),
    ];
    let lives = live(&namespace, &samples, |_| {});
    for (name, said) in [("plain", "of the image\n"), ("told", "of the step\n")] {
        let run = lives[name].last().unwrap();
        expect_ended(run, BUILT, &Value::Null);
        assert_eq!(namespace.log(pod_of(run), "step-own"), said);
    }
    let run = lives["unread"].last().unwrap();
    let registry = variable("SLIPWAY_REGISTRY_TLS");
    let message = format!(
        "build strategy: step \"own\" has no command, and what the image {image:?} runs of itself cannot be found out: registry {registry} refuses it (it wants a user and password, and none are given); the run's service account needs an imagePullSecret for it; write the step's command"
    );
    expect_ended(run, ("False", "TaskRunGenerationFailed", &message), &Value::Null);
    assert_eq!(
        namespace.kubectl(&[
            "get",
            "pods",
            "--selector=buildrun.shipwright.io/name=unread",
            "--output=name"
        ]),
        ""
    );
}

#[test]
fn credentials_of_the_account_are_in_each_steps_home() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("home");
    namespace.apply(&push_secret("SLIPWAY_REGISTRY_AUTH"));
    namespace.apply(&account("pusher", "secrets"));
    let look = "stat -c '%u:%g %a' $HOME/.docker/config.json; cat $HOME/.docker/config.json";
    let home = |path: &str| json!([{ "name": "HOME", "value": path }]);
    let other = json!({ "runAsUser": 1234, "runAsGroup": 5678 });
    let other =
        with(with(shell("other", look), "env", home("/workspace/other")), "securityContext", other);
    let mut sample =
        run_called("looking", &[with(shell("own", look), "env", home("/tekton/home")), other]);
    sample.run["spec"]["serviceAccount"] = "pusher".into();
    let lives = live(&namespace, &[sample], |_| {});
    let run = lives["looking"].last().unwrap();
    expect_ended(run, BUILT, &Value::Null);
    let given: Value = serde_json::from_str(&variable_file("SLIPWAY_REGISTRY_AUTH")).unwrap();
    for (container, owner) in [("step-own", "1001:1000"), ("step-other", "1234:5678")] {
        let log = namespace.log(pod_of(run), container);
        let (rights, content) = log.split_once('\n').unwrap();
        assert_eq!(rights, format!("{owner} 600"));
        let content: Value = serde_json::from_str(content).unwrap();
        assert_eq!(content["auths"], given["auths"]);
    }
}
