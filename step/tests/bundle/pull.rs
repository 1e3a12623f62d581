//! Which image is fetched, and as whom.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::artifact::{Fetched, archive, file, image, push, push_layout};
use crate::image::layout::Layout;
use crate::image::registry::{Options, PASSWORD, Registry, USER};
use crate::image::tools::{finish, role, run};

fn content(text: &str) -> Vec<Vec<u8>> {
    vec![archive(&[file("which", text)])]
}

/// The folder of a Secret.
fn secret(registry: &str) -> TempDir {
    let dir = tempdir().unwrap();
    let config = json!({ "auths": { registry: { "username": USER, "password": PASSWORD } } });
    fs::write(dir.path().join(".dockerconfigjson"), config.to_string()).unwrap();
    dir
}

#[test]
fn a_private_artifact_is_pulled_with_the_secret() {
    let registry = Registry::start(&Options { password: true, ..Options::default() });
    let secret = secret(&registry.image("").replace('/', ""));
    let secret_path = ["--secret-path", secret.path().to_str().unwrap()];
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let descriptor = image(&layout, "amd64", &content("private"));
    push_layout(&registry, "private:1", &layout.finish(&[descriptor]), &secret_path);
    let image = registry.image("private:1");

    let fetched = Fetched::new();
    let ran = fetched.fetch(&image, &secret_path).succeeded();
    assert_eq!(fetched.text("which"), "private");
    assert!(!ran.log.contains(PASSWORD), "{}", ran.log);

    let log = Fetched::new().fetch(&image, &[]).failed(1);
    assert!(log.contains("check the pull secret"), "{log}");
}

#[test]
fn a_secret_for_another_registry_is_named() {
    let secret = secret("elsewhere.example.com");
    let arguments = ["--secret-path", secret.path().to_str().unwrap()];
    let log = Fetched::new().fetch("registry.example.com/a:1", &arguments).failed(1);
    let text = "failed to find registry credentials for registry.example.com, available configurations: elsewhere.example.com";
    assert!(log.contains(text), "{log}");
}

#[rstest]
#[case::not_verified(Options { self_signed: true, ..Options::default() })]
#[case::without(Options::default())]
fn tls_is_not_demanded(#[case] options: Options) {
    let registry = Registry::start(&options);
    push(&registry, "source:1", &content("there"));
    let fetched = Fetched::new();
    fetched.fetch(&registry.image("source:1"), &[]).succeeded();
    assert_eq!(fetched.text("which"), "there");
}

fn platform(mut entry: Value, os: &str, architecture: &str) -> Value {
    entry["platform"] = json!({ "os": os, "architecture": architecture });
    entry
}

#[test]
fn of_an_index_the_image_for_this_machine() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let of = |architecture: &str| image(&layout, architecture, &content(architecture));
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let wanted = of(own);
    let inner = layout
        .index(&[platform(of("s390x"), "linux", "s390x"), platform(wanted.clone(), "linux", own)]);
    // An index within an index, beside an attestation.
    let entries = [platform(of("unknown"), "unknown", "unknown"), inner];
    let outer = layout.index(&entries);
    push_layout(&registry, "index:1", &layout.finish(&[outer]), &[]);
    let fetched = Fetched::new();
    fetched.fetch(&registry.image("index:1"), &[]).succeeded();
    assert_eq!(fetched.text("which"), own);
    assert_eq!(fetched.result("digest").unwrap(), wanted["digest"]);
}

#[test]
fn an_index_without_an_image_that_fits() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let of = |architecture: &str| {
        platform(image(&layout, architecture, &content(architecture)), "linux", architecture)
    };
    let index = layout.index(&[of("s390x"), of("ppc64le")]);
    push_layout(&registry, "index:1", &layout.finish(&[index]), &[]);
    let log = Fetched::new().fetch(&registry.image("index:1"), &[]).failed(1);
    assert!(
        log.contains("it has linux/s390x, linux/ppc64le: name one of them by its digest"),
        "{log}"
    );
}

#[test]
fn an_artifact_without_a_config_of_an_image() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let mut artifact = image(&layout, "amd64", &content("artifact"));
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    layout.edit(&mut artifact, |manifest| {
        manifest["config"] = config;
        manifest["artifactType"] = "application/vnd.example.source".into();
        manifest["layers"][0]["mediaType"] = "application/vnd.example.files".into();
    });
    push_layout(&registry, "artifact:1", &layout.finish(&[artifact]), &[]);
    let fetched = Fetched::new();
    fetched.fetch(&registry.image("artifact:1"), &[]).succeeded();
    assert_eq!(fetched.text("which"), "artifact");
}

#[test]
fn an_image_by_its_digest() {
    let registry = Registry::plain();
    let digest = push(&registry, "source:1", &content("first"));
    push(&registry, "source:1", &content("second"));
    let fetched = Fetched::new();
    fetched.fetch(&registry.image(&format!("source@{digest}")), &[]).succeeded();
    assert_eq!(fetched.text("which"), "first");
}

#[test]
fn an_image_that_comes_later_is_waited_for() {
    let registry = Registry::plain();
    let fetched = Fetched::new();
    let mut child = role("bundle")
        .args(fetched.arguments(&registry.image("later:1")))
        .args(["--wait", "600"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = log.by_ref().map(Result::unwrap).find(|line| line.contains("waiting up to 600 s"));
    assert!(waits.is_some());
    push(&registry, "later:1", &content("late"));
    let rest: Vec<String> = log.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert_eq!(fetched.text("which"), "late");
}

#[test]
fn an_image_that_never_comes_is_given_up() {
    let registry = Registry::plain();
    let image = registry.image("never:1");
    let log = Fetched::new().fetch_in(&image, 1, &[]).failed(1);
    let text = format!(
        "there is no image {image} (404 Not Found: manifest unknown), and none came within 1 s"
    );
    assert!(log.contains(&text), "{log}");
}

#[rstest]
#[case("", "--image must name the image that holds the source")]
#[case("UPPER:CASE:", "is not an image reference")]
fn a_reference_that_is_none(#[case] image: &str, #[case] problem: &str) {
    let log = Fetched::new().fetch(image, &[]).failed(1);
    assert!(log.contains(problem), "{log}");
}

#[test]
fn a_changed_layer_is_refused() {
    let registry = Registry::plain();
    push(&registry, "source:1", &content("as pushed"));
    let blobs = registry.dir.path().join("data/docker/registry/v2/blobs");
    // The only file that begins as gzip does.
    let find = "find \"$1\" -type f -size +0 -exec sh -c 'head -c 2 \"$1\" | od -An -tx1 | grep -q \"1f 8b\"' - {} \\; -print";
    let layer = String::from_utf8(run("sh", &["-c", find, "-", blobs.to_str().unwrap()])).unwrap();
    let layer = layer.trim();
    let mut bytes = fs::read(layer).unwrap();
    // Its time stamp, which unpacking does not look at.
    bytes[4] ^= 1;
    fs::write(layer, bytes).unwrap();
    let fetched = Fetched::new();
    let log = fetched.fetch(&registry.image("source:1"), &[]).failed(1);
    assert!(log.contains("has digest sha256:"), "{log}");
    assert_eq!(fetched.result("digest"), None);
}

#[test]
fn a_wrong_flag_is_two() {
    finish(role("bundle").args(["--image", "a", "--nonsense"])).failed(2);
}
