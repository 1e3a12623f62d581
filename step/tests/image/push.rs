//! What is pushed, and what is written down about it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;

use super::layout::{INDEX, Layout, archive, noise, simple, tar};
use super::registry::Registry;
use super::tools::{process, run, skopeo_config, skopeo_raw};

fn blob_bytes(layout: &Path, digest: &str) -> Vec<u8> {
    fs::read(layout.join("blobs").join(digest.replace(':', "/"))).unwrap()
}

/// Pushes without TLS and returns the log.
fn push(folder: &Path, image: &str, more: &[&str]) -> String {
    let mut arguments =
        vec!["--push", folder.to_str().unwrap(), "--image", image, "--insecure=true"];
    arguments.extend(more);
    process(&arguments).succeeded().log
}

#[test]
fn a_layout_is_pushed_byte_for_byte() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (layout, digest) = simple(&dir.path().join("output"));
    let image = registry.image("a/b:1");
    let (digest_file, size_file) = (dir.path().join("digest"), dir.path().join("size"));
    // What another user left is replaced, whatever its mode.
    fs::write(&digest_file, "old").unwrap();
    fs::set_permissions(&digest_file, fs::Permissions::from_mode(0o400)).unwrap();
    let before = fs::metadata(&digest_file).unwrap().ino();
    let results = [
        "--result-file-image-digest",
        digest_file.to_str().unwrap(),
        "--result-file-image-size",
        size_file.to_str().unwrap(),
    ];

    let log = push(&layout, &image, &results);

    assert_eq!(log.lines().filter(|line| line.starts_with("pushed sha256:")).count(), 4, "{log}");
    assert_eq!(skopeo_raw(&image), blob_bytes(&layout, &digest));
    assert_eq!(fs::read_to_string(&digest_file).unwrap(), digest);
    let manifest: Value = serde_json::from_slice(&blob_bytes(&layout, &digest)).unwrap();
    let sizes = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
    let size: u64 = sizes.map(|descriptor| descriptor["size"].as_u64().unwrap()).sum();
    assert_eq!(fs::read_to_string(&size_file).unwrap(), size.to_string());
    for file in [&digest_file, &size_file] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o644);
    }
    assert_ne!(fs::metadata(&digest_file).unwrap().ino(), before);

    let log = push(&layout, &registry.image("a/b:2"), &[]);
    assert_eq!(log.lines().filter(|line| line.starts_with("exists sha256:")).count(), 3, "{log}");
    assert!(registry.log().contains("slipway/"), "the registry saw another user agent");
}

#[test]
fn a_digest_may_be_the_target() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (layout, digest) = simple(dir.path());
    let image = registry.image(&format!("a/b@{digest}"));
    push(&layout, &image, &[]);
    assert_eq!(skopeo_raw(&image), blob_bytes(&layout, &digest));
}

#[test]
fn an_index_of_two_platforms_is_pushed_whole() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let size = dir.path().join("size");
    let layout = Layout::new(&dir.path().join("output"));
    let mut amd64 = layout.image("amd64", &[("a", b"amd64"), ("same", b"same")]);
    let mut arm64 = layout.image("arm64", &[("a", b"arm64"), ("same", b"same")]);
    amd64["platform"] = json!({"os": "linux", "architecture": "amd64"});
    arm64["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let index = layout.index(&[amd64, arm64.clone()]);
    // Two indexes of one entry around it are no part of the image.
    let outer = layout.index(std::slice::from_ref(&index));
    let layout = layout.finish(&[outer]);
    let image = registry.image("multi:latest");

    push(&layout, &image, &["--result-file-image-size", size.to_str().unwrap()]);

    assert_eq!(skopeo_raw(&image), blob_bytes(&layout, index["digest"].as_str().unwrap()));
    let child = arm64["digest"].as_str().unwrap();
    assert_eq!(skopeo_raw(&registry.image(&format!("multi@{child}"))), blob_bytes(&layout, child));
    assert!(!size.exists(), "an index has no size");
    let out = format!("oci:{}", dir.path().join("pulled").display());
    let all = ["copy", "--all", "--src-tls-verify=false", &format!("docker://{image}"), &out];
    run("skopeo", &all);
}

#[test]
fn a_layout_with_two_images_is_pushed_as_its_index() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let images = [layout.image("amd64", &[("a", b"1")]), layout.image("arm64", &[("a", b"2")])];
    let layout = layout.finish(&images);
    let image = registry.image("two:1");
    push(&layout, &image, &[]);
    assert_eq!(skopeo_raw(&image), fs::read(layout.join("index.json")).unwrap());
}

#[test]
fn an_empty_flag_is_none() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (layout, digest) = simple(dir.path());
    let image = registry.image("empty/flags:1");
    let flags = [
        "--vuln-settings=",
        "--image-timestamp=",
        "--image-timestamp-file=",
        "--result-file-image-digest=",
        "--result-file-image-size=",
        "--secret-path=",
    ];
    push(&layout, &image, &flags);
    assert_eq!(skopeo_raw(&image), blob_bytes(&layout, &digest));
    // What is in the registry already.
    process(&["--image", &image, "--insecure", "--push="]).succeeded();
    assert_eq!(skopeo_raw(&image), blob_bytes(&layout, &digest));
}

/// Layers of a pushed image, unpacked, as skopeo gets them after checking every digest.
fn pulled_layers(image: &str, dir: &Path) -> Vec<Vec<u8>> {
    let (source, target) = (format!("docker://{image}"), format!("dir:{}", dir.display()));
    run("skopeo", &["copy", "--src-tls-verify=false", &source, &target]);
    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    let unpack = |layer: &Value| {
        let file = dir.join(layer["digest"].as_str().unwrap().trim_start_matches("sha256:"));
        run("gzip", &["-dc", file.to_str().unwrap()])
    };
    manifest["layers"].as_array().unwrap().iter().map(unpack).collect()
}

#[test]
fn an_archive_as_docker_saves_it_is_pushed() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (layout, _) = simple(&dir.path().join("layout"));
    let output = dir.path().join("output");
    fs::create_dir(&output).unwrap();
    // Three tags, layers without compression, and links of the old format.
    let archive = format!("docker-archive:{}:x/y:z", output.join("any name").display());
    let tags = ["--additional-tag", "x/y:2", "--additional-tag", "other:3"];
    let source = format!("oci:{}", layout.display());
    run("skopeo", &[&["copy"], &tags[..], &[&source, &archive]].concat());
    let image = registry.image("archive:1");
    let digest = dir.path().join("digest");

    push(&output, &image, &["--result-file-image-digest", digest.to_str().unwrap()]);

    let layers = pulled_layers(&image, &dir.path().join("pulled"));
    assert_eq!(layers, [tar("hello", b"hello\n"), tar("data", &noise(300_000))]);
    let stated = run(
        "skopeo",
        &["inspect", "--tls-verify=false", "--format={{.Digest}}", &format!("docker://{image}")],
    );
    assert_eq!(String::from_utf8(stated).unwrap().trim(), fs::read_to_string(&digest).unwrap());
    assert_eq!(skopeo_config(&image)["config"]["Labels"]["from"], "the strategy");

    let log = push(&output, &image, &[]);
    assert_eq!(log.lines().filter(|line| line.starts_with("exists sha256:")).count(), 3, "{log}");
}

#[test]
fn layers_of_an_archive_may_be_compressed_or_links() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let output = dir.path().join("output");
    fs::create_dir(&output).unwrap();
    let layer = tar("hello", b"hello\n");
    let plain = dir.path().join("layer");
    fs::write(&plain, &layer).unwrap();
    let diff_id = format!("sha256:{}", super::tools::sha256(&plain));
    let compressed = run("gzip", &["-c", plain.to_str().unwrap()]);
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id, diff_id]}}).to_string();
    let manifest = json!([{"Config": "config.json", "RepoTags": null, "Layers": ["1/layer.tar", "2/layer.tar"]}]).to_string();
    archive(
        &output.join("image.tar"),
        &[
            ("manifest.json", manifest.as_bytes()),
            ("./config.json", config.as_bytes()),
            ("1/layer.tar", &compressed),
        ],
        &[("2/layer.tar", "../1/layer.tar")],
    );
    let image = registry.image("links:1");

    push(&output, &image, &[]);

    assert_eq!(pulled_layers(&image, &dir.path().join("pulled")), [layer.clone(), layer]);
    let raw: Value = serde_json::from_slice(&skopeo_raw(&image)).unwrap();
    assert_eq!(raw["layers"][0]["size"], compressed.len(), "it was compressed again");
}

#[test]
fn annotations_and_labels_are_added() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (layout, digest) = simple(dir.path());
    let image = registry.image("labels:1");
    push(&layout, &image, &["--label", "a=1=2", "--annotation", "b=", "--label=c=3"]);
    assert_eq!(
        skopeo_config(&image)["config"]["Labels"],
        json!({"from": "the strategy", "a": "1=2", "c": "3"})
    );
    let manifest: Value = serde_json::from_slice(&skopeo_raw(&image)).unwrap();
    assert_eq!(manifest["annotations"], json!({"b": ""}));
    let original: Value = serde_json::from_slice(&blob_bytes(&layout, &digest)).unwrap();
    assert_eq!(manifest["layers"], original["layers"]);
}

#[test]
fn an_image_that_the_strategy_pushed_is_changed_in_the_registry() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = Layout::new(&dir.path().join("output"));
    let images = [layout.image("amd64", &[("a", b"1")]), layout.image("arm64", &[("a", b"2")])];
    let layout = layout.finish(&images);
    let image = registry.image("changed:1");
    push(&layout, &image, &[]);
    let digest = dir.path().join("digest");

    let results = ["--result-file-image-digest", digest.to_str().unwrap()];
    let unchanged = [&["--image", &image, "--insecure=true"], &results[..]].concat();
    process(&unchanged).succeeded();
    assert_eq!(skopeo_raw(&image), fs::read(layout.join("index.json")).unwrap());

    process(&[&unchanged[..], &["--annotation", "a=b", "--label", "c=d"]].concat()).succeeded();
    let index: Value = serde_json::from_slice(&skopeo_raw(&image)).unwrap();
    assert_eq!(index["annotations"], json!({"a": "b"}));
    for entry in index["manifests"].as_array().unwrap() {
        let child = registry.image(&format!("changed@{}", entry["digest"].as_str().unwrap()));
        let manifest: Value = serde_json::from_slice(&skopeo_raw(&child)).unwrap();
        assert_eq!(manifest["annotations"], json!({"a": "b"}));
        assert_eq!(skopeo_config(&child)["config"]["Labels"]["c"], "d");
    }
    let (source, pulled) = (format!("docker://{image}"), dir.path().join("pulled"));
    let target = format!("oci:{}", pulled.display());
    run("skopeo", &["copy", "--all", "--src-tls-verify=false", &source, &target]);
    let pulled: Value =
        serde_json::from_slice(&fs::read(pulled.join("index.json")).unwrap()).unwrap();
    assert_eq!(pulled["manifests"][0]["mediaType"], INDEX);
    assert_eq!(pulled["manifests"][0]["digest"], fs::read_to_string(&digest).unwrap());
}
