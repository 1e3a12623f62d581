//! The image is deleted once its source is there.

use rstest::rstest;
use serde_json::json;
use tempfile::tempdir;

use super::artifact::{Fetched, archive, file, image, push};
use crate::image::layout::Layout;
use crate::image::registry::{Options, Registry};
use crate::image::tools::digest_after;

fn deleting() -> Registry {
    Registry::start(&Options { deletes: true, ..Options::default() })
}

#[test]
fn an_image_is_deleted() {
    let registry = deleting();
    let digest = push(&registry, "source:1", &[archive(&[file("a", "x")])]);
    let image = registry.image("source:1");
    let fetched = Fetched::new();
    fetched.fetch(&image, &["--prune"]).succeeded();
    assert_eq!(fetched.text("a"), "x");
    assert_eq!(fetched.result("digest").unwrap(), digest);
    registry.answered(1, "DELETE", &format!("/v2/source/manifests/{digest}"), 202);
    let log = Fetched::new().fetch(&image, &[]).failed(1);
    assert!(log.contains("there is no image"), "{log}");
}

#[test]
fn an_index_is_deleted_and_then_its_image() {
    let registry = deleting();
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let chosen = image(&layout, "s390x", &[archive(&[file("a", "x")])]);
    let mut attestation = image(&layout, "unknown", &[archive(&[file("b", "x")])]);
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    let layout = layout.finish(&[chosen.clone(), attestation]);
    let name = registry.image("index:1");
    let push = ["--push", layout.to_str().unwrap(), "--image", &name, "--insecure"];
    let index = digest_after(&push);
    let log = Fetched::new().fetch(&name, &["--prune"]).succeeded().log;
    let deleted: Vec<&str> =
        log.lines().filter_map(|line| line.strip_prefix("deleted index@")).collect();
    assert_eq!(deleted, [index.as_str(), chosen["digest"].as_str().unwrap()], "{log}");
    for digest in deleted {
        registry.answered(1, "DELETE", &format!("/v2/index/manifests/{digest}"), 202);
    }
}

#[test]
fn a_registry_that_does_not_delete() {
    let registry = Registry::plain();
    push(&registry, "source:1", &[archive(&[file("a", "x")])]);
    let fetched = Fetched::new();
    let log = fetched.fetch(&registry.image("source:1"), &["--prune"]).failed(1);
    assert!(log.contains("does not delete images (405 Method Not Allowed"), "{log}");
    assert!(log.contains("leave `prune` out of the source"), "{log}");
}

#[rstest]
#[case("ada/source:1", "index.docker.io")]
#[case("docker.io/ada/source:1", "index.docker.io")]
#[case("de.icr.io/ada/source:1", "de.icr.io")]
fn a_registry_that_deletes_in_another_way(#[case] image: &str, #[case] registry: &str) {
    let log = Fetched::new().fetch(image, &["--prune"]).failed(1);
    let expected = format!("registry {registry} does not delete images by the protocol");
    assert!(log.contains(&expected), "{log}");
    assert!(log.contains("leave `prune` out of the source"), "{log}");
}

#[test]
fn nothing_is_deleted_when_unpacking_fails() {
    let registry = deleting();
    push(&registry, "source:1", &[archive(&[file("../a", "x")])]);
    let image = registry.image("source:1");
    Fetched::new().fetch(&image, &["--prune"]).failed(1);
    let log = Fetched::new().fetch(&image, &[]).failed(1);
    assert!(log.contains("\"..\" in its name"), "{log}");
}
