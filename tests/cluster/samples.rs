//! The samples on the kubelet, with the test servers in them; every image that they push is pulled by skopeo.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use rstest::rstest;
use serde_json::{Value, json};

use super::documents::{
    Sample, clone_key, git_source, https_url, output, push_secret, sample, ssh_url, tls_output,
};
use super::harness::{Ended, Namespace, documents, variable};

pub const STRATEGY_MANAGED: &str = "buildah-strategy-managed-push";
pub const SHIPWRIGHT_MANAGED: &str = "buildah-shipwright-managed-push";

fn app() -> Value {
    git_source(&https_url("app"), None, false)
}

/// Where an image is, as the machine of the tests reaches it.
pub struct Pushed {
    reference: String,
    options: Vec<String>,
}

impl Pushed {
    /// In the registry without a password.
    pub fn of(namespace: &Namespace) -> Self {
        let address = variable("SLIPWAY_REGISTRY_ADDRESS");
        Self {
            reference: format!("docker://{address}/{}:1", namespace.name()),
            options: vec!["--tls-verify=false".into()],
        }
    }

    /// In the registry with TLS and password.
    pub fn of_tls(namespace: &Namespace) -> Self {
        let address = variable("SLIPWAY_REGISTRY_TLS_ADDRESS");
        Self {
            reference: format!("docker://{address}/{}:1", namespace.name()),
            options: vec![format!("--authfile={}", variable("SLIPWAY_REGISTRY_AUTH"))],
        }
    }

    fn skopeo(&self, verb: &str, before: &[&str], after: &[&str]) -> Output {
        let mut skopeo = Command::new("skopeo");
        skopeo.env("SSL_CERT_FILE", variable("SLIPWAY_CA"));
        skopeo.arg(verb).args(before).args(&self.options).arg(&self.reference).args(after);
        skopeo.output().expect("skopeo starts; hack/test installs it")
    }

    pub fn inspect(&self, flags: &[&str]) -> Value {
        let output = self.skopeo("inspect", flags, &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn digest(&self) -> String {
        self.inspect(&[])["Digest"].as_str().unwrap().to_owned()
    }

    /// One image of the index that it is.
    pub fn with_digest(&self, digest: &str) -> Self {
        let repository = self.reference.strip_suffix(":1").expect("it has its tag");
        Self { reference: format!("{repository}@{digest}"), options: self.options.clone() }
    }

    /// Of the bytes that the registry has, also where they are an index.
    pub fn raw_digest(&self) -> String {
        let output = self.skopeo("inspect", &["--raw"], &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        slipway_step::oci::digest_of(&output.stdout)
    }

    /// Config and layers, as the manifest states them.
    pub fn size(&self) -> i64 {
        let manifest = self.inspect(&["--raw"]);
        let layers = manifest["layers"].as_array().unwrap();
        let descriptors = std::iter::once(&manifest["config"]).chain(layers);
        descriptors.map(|descriptor| descriptor["size"].as_i64().unwrap()).sum()
    }

    /// Pulls all of it, and reads a file of it.
    pub fn pull(&self, file: &str) -> String {
        let folder = format!("{}/{}", env!("CARGO_TARGET_TMPDIR"), self.digest().replace(':', "-"));
        let output = self.skopeo("copy", &[], &[&format!("dir:{folder}")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let manifest = self.inspect(&["--raw"]);
        let layers = manifest["layers"].as_array().unwrap().iter().rev();
        let blobs = layers.map(|layer| layer["digest"].as_str().unwrap().replace("sha256:", ""));
        let content =
            blobs.map(|blob| extract(&format!("{folder}/{blob}"), file)).find_map(Result::ok);
        std::fs::remove_dir_all(&folder).unwrap();
        content.unwrap_or_else(|| panic!("no layer of {} has {file}", self.reference))
    }

    pub fn assert_missing(&self) {
        let output = self.skopeo("inspect", &[], &[]);
        let error = String::from_utf8_lossy(&output.stderr);
        let unknown = error.contains("manifest unknown") || error.contains("name unknown");
        assert!(!output.status.success() && unknown, "{error}");
    }
}

/// A file of a layer, or why it cannot be had.
fn extract(layer: &str, file: &str) -> Result<String, String> {
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--to-stdout", "--file", layer, file]);
    let output = tar.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Digest and size are those of the image that was pushed.
fn assert_results(run: &Ended, container: &str, pushed: &Pushed) {
    let results = run.results(container);
    assert_eq!(results["shp-image-digest"], pushed.digest());
    assert_eq!(results["shp-image-size"], pushed.size().to_string());
}

#[test]
fn the_strategy_pushes() {
    let namespace = Namespace::new("strategy-push");
    let sample = sample(STRATEGY_MANAGED).with(Some(&app()), &output(&namespace));
    let run = namespace.run(&sample.text()).expect_success();
    let pushed = Pushed::of(&namespace);
    // The builder tells no size.
    let results = run.results("step-build-and-push");
    assert_eq!(results, BTreeMap::from([("shp-image-digest".to_owned(), pushed.digest())]));
    assert_eq!(pushed.pull("greeting.txt"), "hello again\n");
    assert_eq!(pushed.inspect(&[])["Labels"]["version"], "none");
}

#[test]
fn the_strategy_pushes_with_tls_and_password() {
    let namespace = Namespace::new("strategy-push-tls");
    let sample = sample(STRATEGY_MANAGED).with(Some(&app()), &tls_output(&namespace));
    let push = push_secret("SLIPWAY_REGISTRY_AUTH");
    let run = namespace.run(&documents([&push, &sample.text()])).expect_success();
    let pushed = Pushed::of_tls(&namespace);
    // The builder tells no size.
    let results = run.results("step-build-and-push");
    assert_eq!(results, BTreeMap::from([("shp-image-digest".to_owned(), pushed.digest())]));
    assert_eq!(pushed.pull("greeting.txt"), "hello again\n");
}

#[test]
fn shipwright_pushes() {
    let namespace = Namespace::new("shipwright-push");
    let sample = sample(SHIPWRIGHT_MANAGED).with(Some(&app()), &output(&namespace));
    let run = namespace.run(&sample.text()).expect_success();
    let pushed = Pushed::of(&namespace);
    assert_results(&run, "step-image-processing", &pushed);
    assert_eq!(pushed.pull("greeting.txt"), "hello again\n");
}

#[test]
fn shipwright_pushes_with_tls_and_password() {
    let namespace = Namespace::new("shipwright-push-tls");
    let sample = sample(SHIPWRIGHT_MANAGED).with(Some(&app()), &tls_output(&namespace));
    let push = push_secret("SLIPWAY_REGISTRY_AUTH");
    let run = namespace.run(&documents([&push, &sample.text()])).expect_success();
    let pushed = Pushed::of_tls(&namespace);
    assert_results(&run, "step-image-processing", &pushed);
    assert_eq!(pushed.pull("greeting.txt"), "hello again\n");
}

#[test]
fn hello_needs_no_privilege() {
    let namespace = Namespace::restricted("hello");
    let sample = sample("hello").with(None, &output(&namespace));
    let run = namespace.run(&sample.text()).expect_success();
    let pushed = Pushed::of(&namespace);
    assert_results(&run, "step-image-processing", &pushed);
    assert_eq!(pushed.pull("greeting.txt"), "Hello from Shipwright\n");
    assert_eq!(run.user("step-pack"), (1001, 1000));
}

/// The namespace of the test above does refuse what is not `restricted`.
#[test]
fn a_restricted_namespace_refuses_root() {
    let namespace = Namespace::restricted("refuses");
    let sample = sample(SHIPWRIGHT_MANAGED).with(Some(&app()), &output(&namespace));
    let pod = namespace.render(&sample.text());
    let error = namespace.refusal(&pod);
    assert!(error.contains("violates PodSecurity \"restricted:latest\""), "{error}");
}

#[rstest]
#[case::of_the_strategy(
    STRATEGY_MANAGED,
    "step-build-and-push",
    125,
    "unauthorized: authentication required"
)]
#[case::of_shipwright(
    SHIPWRIGHT_MANAGED,
    "step-image-processing",
    1,
    "(401 Unauthorized: authentication required); check the push secret: its user, its password and what it may write"
)]
fn a_wrong_password(
    #[case] name: &str,
    #[case] container: &str,
    #[case] exit_code: i32,
    #[case] said: &str,
) {
    let namespace = Namespace::new(&format!("password-{container}"));
    let sample = sample(name).with(Some(&app()), &tls_output(&namespace));
    let push = push_secret("SLIPWAY_REGISTRY_WRONG_AUTH");
    let run = namespace.run(&documents([&push, &sample.text()]));
    assert_eq!(run.exit_code("step-source-default"), 0);
    assert_eq!(run.exit_code(container), exit_code);
    assert!(run.log(container).contains(said), "{}", run.log(container));
    assert_eq!(run.results(container), BTreeMap::new());
    Pushed::of_tls(&namespace).assert_missing();
}

/// The main job: a user that no image knows fetches over ssh, a builder that needs to be root builds, and the user pushes.
#[test]
fn a_run_in_a_file_becomes_an_image() {
    let namespace = Namespace::new("main-job");
    let source = git_source(&ssh_url("app"), None, true);
    let mut sample = sample(SHIPWRIGHT_MANAGED).with(Some(&source), &tls_output(&namespace));
    let Sample { strategy, .. } = &mut sample;
    strategy["spec"]["securityContext"] = json!({ "runAsUser": 1010, "runAsGroup": 1020 });
    let step = &mut strategy["spec"]["steps"][0]["securityContext"];
    step["runAsUser"] = 0.into();
    step["runAsGroup"] = 0.into();
    let push = push_secret("SLIPWAY_REGISTRY_AUTH");
    let run = namespace.run(&documents([&clone_key(), &push, &sample.text()])).expect_success();

    for container in ["prepare", "step-source-default", "step-image-processing"] {
        assert_eq!(run.user(container), (1010, 1020), "{container}");
    }
    assert_eq!(run.user("step-build"), (0, 0));
    let pushed = Pushed::of_tls(&namespace);
    assert_results(&run, "step-image-processing", &pushed);
    assert_eq!(pushed.pull("greeting.txt"), "hello again\n");
}

/// Commands of a Dockerfile run as root of a namespace of buildah's own, on a base image from a registry that is named insecure.
#[test]
fn a_dockerfile_with_commands() {
    let namespace = Namespace::new("commands");
    let base = format!("{}/{}-base:1", variable("SLIPWAY_REGISTRY"), namespace.name());
    push_busybox(
        &base.replace(&variable("SLIPWAY_REGISTRY"), &variable("SLIPWAY_REGISTRY_ADDRESS")),
    );
    let mut sample = sample(SHIPWRIGHT_MANAGED).with(Some(&app()), &output(&namespace));
    sample.build["spec"]["paramValues"] = json!([
        { "name": "dockerfile", "value": "Dockerfile.commands" },
        { "name": "registries-insecure", "values": [{ "value": variable("SLIPWAY_REGISTRY") }] },
        { "name": "build-args", "values": [{ "value": "WHO=a b" }, { "value": "UNUSED=$(id)" }] },
    ]);
    let dockerfile = format!(
        "FROM {base}\nARG WHO UNUSED\nRUN id -u >/told && echo \"$WHO $UNUSED\" >>/told && chown 7:8 /told\n"
    );
    let write = json!({
        "name": "write",
        "image": "docker.io/library/busybox:1.37",
        "command": ["sh", "-c", "printf %s \"$1\" >/workspace/source/Dockerfile.commands", "sh", dockerfile],
    });
    sample.strategy["spec"]["steps"].as_array_mut().unwrap().insert(0, write);
    namespace.run(&sample.text()).expect_success();
    assert_eq!(Pushed::of(&namespace).pull("told"), "0\na b $(id)\n");
}

/// Copies busybox from the node to a registry without a password.
fn push_busybox(to: &str) {
    let archive = format!("{}/busybox-{}.tar", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let mut export = Command::new("ctr");
    export.args(["images", "export", &archive, "docker.io/library/busybox:1.37"]);
    let mut copy = Command::new("skopeo");
    copy.args([
        "copy",
        "--dest-tls-verify=false",
        &format!("oci-archive:{archive}"),
        &format!("docker://{to}"),
    ]);
    for mut command in [export, copy] {
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    std::fs::remove_file(&archive).unwrap();
}
