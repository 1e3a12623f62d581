//! What is sent to a registry, and what it has already.

use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::fake::{Server, answer, answer_with, header};
use super::layout::{Layout, simple};
use super::registry::{Options, PASSWORD, Registry, USER};
use super::tools::{Ran, process, skopeo_raw};

const BASE: &str = "org.opencontainers.image.base.name";

fn push(layout: &Path, image: &str, more: &[&str]) -> Ran {
    let push = ["--insecure", "--push", layout.to_str().unwrap(), "--image", image];
    process(&[&push[..], more].concat())
}

/// A layout on top of the one of `simple`, with one more layer, that names its base.
fn built_on(base: &str, dir: &Path) -> PathBuf {
    let layout = Layout::new(dir);
    let noise = super::layout::noise(300_000);
    let files: [(&str, &[u8]); 3] = [("hello", b"hello\n"), ("data", &noise), ("more", b"more")];
    let mut image = layout.image("amd64", &files);
    layout.edit(&mut image, |manifest| manifest["annotations"] = json!({BASE: base}));
    layout.finish(&[image])
}

#[test]
fn what_is_there_is_not_sent_again() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (layout, _) = simple(dir.path());
    push(&layout, &registry.image("a:1"), &[]).succeeded();
    push(&layout, &registry.image("a:2"), &[]).succeeded();
    registry.answered(3, "POST", "/v2/a/blobs/uploads/", 202);
    registry.answered(3, "HEAD", "/v2/a/blobs/sha256:", 404);
    registry.answered(3, "HEAD", "/v2/a/blobs/sha256:", 200);
    registry.answered(2, "PUT", "/v2/a/manifests/", 201);
}

#[test]
fn of_a_changed_image_in_the_registry_only_the_change_is_sent() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (layout, digest) = simple(dir.path());
    let image = registry.image("a:1");
    push(&layout, &image, &[]).succeeded();
    // By its digest as well as by its tag.
    for image in [registry.image(&format!("a@{digest}")), image] {
        let log = process(&["--insecure", "--image", &image]).succeeded().log;
        assert!(!log.contains("pushed sha256:") || log.matches("pushed ").count() == 1, "{log}");
    }
    let log = process(&["--insecure", "--image", &registry.image("a:1"), "--label", "a=b"]);
    let log = log.succeeded().log;
    assert_eq!(log.matches("pushed ").count(), 2, "a config and a manifest: {log}");
    registry.answered(4, "POST", "/v2/a/blobs/uploads/", 202);
    registry.answered(3, "GET", "/v2/a/blobs/sha256:", 200);
}

#[rstest]
#[case::anonymous(false)]
#[case::password(true)]
fn layers_of_the_base_are_taken_from_its_repository(#[case] password: bool) {
    let registry = Registry::start(&Options { password, ..Options::default() });
    let dir = tempdir().unwrap();
    let secret = dir.path().join("config.json");
    let host = format!("127.0.0.1:{}", registry.port);
    let config = json!({"auths": {host: {"username": USER, "password": PASSWORD}}});
    std::fs::write(&secret, config.to_string()).unwrap();
    let more = ["--secret-path", secret.to_str().unwrap()];
    let more = if password { &more[..] } else { &[] };
    let (base, _) = simple(&dir.path().join("base"));
    let image = registry.image("team/base:1");
    push(&base, &image, more).succeeded();

    let layout = built_on(&image, &dir.path().join("app"));
    let log = push(&layout, &registry.image("team/app:1"), more).succeeded().log;

    assert_eq!(log.matches("mounted sha256:").count(), 2, "{log}");
    assert_eq!(log.matches("pushed sha256:").count(), 3, "{log}");
    if !password {
        assert!(!skopeo_raw(&registry.image("team/app:1")).is_empty());
    }
    registry.answered(2, "POST", "/v2/team/app/blobs/uploads/?", 201);
    registry.answered(2, "POST", "/v2/team/app/blobs/uploads/?", 202);
    registry.answered(2, "PUT", "/v2/team/app/blobs/uploads/", 201);
}

#[test]
fn who_only_knows_the_digest_of_a_layer_does_not_get_it() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (base, _) = simple(&dir.path().join("base"));
    let private = registry.image("private/base:1");
    push(&base, &private, &[]).succeeded();
    let layout = built_on(&private, &dir.path().join("app"));
    let blobs = std::fs::read_dir(base.join("blobs/sha256")).unwrap();
    let layer =
        blobs.map(|entry| entry.unwrap()).max_by_key(|entry| entry.metadata().unwrap().len());
    let layer = layer.unwrap();
    let size = usize::try_from(layer.metadata().unwrap().len()).unwrap();
    let copy = layout.join("blobs/sha256").join(layer.file_name());
    std::fs::write(copy, vec![0; size]).unwrap();
    let log = push(&layout, &registry.image("app:1"), &[]).failed(1);
    let digest = format!("sha256:{}", layer.file_name().display());
    assert!(log.contains(&format!("instead of {digest}")), "{log}");
    let gone = process(&["--insecure", "--image", &registry.image(&format!("app@{digest}"))]);
    gone.failed(1);
    let mount = format!("mount={}", digest.replace(':', "%3A"));
    assert!(!registry.log().contains(&mount));
}

#[rstest]
#[case::elsewhere("registry.example.com/team/base:1")]
#[case::nonsense("::")]
fn a_base_in_another_registry_is_not_asked_for(#[case] base: &str) {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = built_on(base, dir.path());
    push(&layout, &registry.image("app:1"), &[]).succeeded();
    registry.answered(0, "POST", "/v2/app/blobs/uploads/?", 202);
    registry.answered(4, "POST", "/v2/app/blobs/uploads/", 202);
}

#[rstest]
#[case::it_asks_who_we_are_at_once(true)]
#[case::it_asks_at_the_first_blob(false)]
fn a_base_that_is_not_ours_to_read_is_left_alone(#[case] at_once: bool) {
    let registry = Server::start(move |port, request| {
        let challenge = format!("Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"s\"");
        if request.starts_with("GET /token") {
            // Some issuers refuse the whole of what is asked for in part.
            return if request.contains("secret%2Fbase") {
                answer("403 Forbidden", &[])
            } else {
                answer_with("200 OK", &[], r#"{"token": "t"}"#)
            };
        }
        let line = request.lines().next().unwrap_or_default();
        if line.starts_with("GET /v2/ ") && !at_once {
            return answer("200 OK", &[]);
        }
        if header(request, "authorization").is_none() || line.contains("from=secret") {
            return answer("401 Unauthorized", &[("WWW-Authenticate", &challenge)]);
        }
        match line.split(' ').next() {
            Some("HEAD") => answer("404 Not Found", &[]),
            Some("POST") => answer("202 Accepted", &[("Location", "/upload")]),
            Some("PUT") => answer("201 Created", &[]),
            _ => answer("200 OK", &[]),
        }
    });
    let host = format!("127.0.0.1:{}", registry.port);
    let dir = tempdir().unwrap();
    let layout = built_on(&format!("{host}/secret/base:1"), dir.path());
    let log = push(&layout, &format!("{host}/app:1"), &[]).succeeded().log;
    assert_eq!(log.matches("pushed sha256:").count(), 5, "{log}");
    let asked = registry.requests("GET /token");
    let base = "scope=repository%3Aapp%3Apull%2Cpush&scope=repository%3Asecret%2Fbase%3Apull";
    assert!(asked.iter().any(|asked| asked.contains(base)), "{asked:?}");
    assert_eq!(registry.requests("PUT /upload?digest=").len(), 4);
}

#[test]
fn two_hundred_layers_are_pushed() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let contents: Vec<_> = (0..200).map(|number| format!("layer {number}")).collect();
    let files: Vec<(&str, &[u8])> = contents.iter().map(|text| ("file", text.as_bytes())).collect();
    let image = layout.image("amd64", &files);
    let digest = image["digest"].as_str().unwrap().to_owned();
    let layout = layout.finish(&[image]);
    let name = registry.image("many:1");
    let log = push(&layout, &name, &[]).succeeded().log;
    assert_eq!(log.matches("pushed sha256:").count(), 202, "{log}");
    assert!(log.contains(&format!("image digest {digest}")), "{log}");
    let more = ["--image-timestamp", "1700000000"];
    let log = push(&layout, &registry.image("many:2"), &more).succeeded().log;
    assert_eq!(log.matches("pushed sha256:").count(), 202, "{log}");
    let raw: Value = serde_json::from_slice(&skopeo_raw(&registry.image("many:2"))).unwrap();
    assert_eq!(raw["layers"].as_array().unwrap().len(), 200);
}
