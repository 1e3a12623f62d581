//! Times of images: every form of asking for one, every form of an image, and what must not change besides.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::layout::{Layout, simple, tar};
use super::registry::Registry;
use super::tools::{
    Ran, digest_after, finish, process, run, sha256, skopeo_config, skopeo_raw, step,
};

const SECONDS: &str = "1700000000";
const WRITTEN: &str = "2023-11-14T22:13:20Z";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image of today with everything around it that shall stay.
fn dated(layout: &Layout, architecture: &str) -> Value {
    let files: [(&str, &[u8]); 2] = [("hello", b"hello\n"), ("arch", architecture.as_bytes())];
    let mut descriptor = layout.image(architecture, &files);
    layout.edit(&mut descriptor, |manifest| {
        manifest["annotations"] =
            json!({"kept": "yes", "org.opencontainers.image.created": "2026-01-01T00:00:00Z"});
        manifest["unknown"] = json!([1]);
    });
    layout.edit_config(&mut descriptor, |config| {
        config["created"] = "2026-01-02T03:04:05.678Z".into();
        config["variant"] = "v8".into();
        config["history"] = json!([
            {"created": "2026-01-02T03:04:05Z", "created_by": "COPY", "author": "somebody"},
            {"created_by": "ENV", "empty_layer": true},
        ]);
    });
    descriptor["platform"] = json!({"os": "linux", "architecture": architecture, "variant": "v8"});
    descriptor
}

/// The four kinds of what a strategy may leave, made anew with the same content.
fn output(kind: &str, dir: &Path) -> PathBuf {
    let layout = Layout::new(&dir.join("layout"));
    match kind {
        "index" => {
            let entries = [dated(&layout, "amd64"), dated(&layout, "arm64")];
            let index = layout.index(&entries);
            layout.finish(&[index])
        }
        "archive" => {
            let image = dated(&layout, "amd64");
            let layout = layout.finish(&[image]);
            let output = dir.join("output");
            fs::create_dir(&output).unwrap();
            let target = format!("docker-archive:{}:a/b:c", output.join("image.tar").display());
            run("skopeo", &["copy", &format!("oci:{}", layout.display()), &target]);
            output
        }
        _ => {
            let image = dated(&layout, "amd64");
            layout.finish(&[image])
        }
    }
}

/// The times of all entries of all layers of an image, which are what its config says.
fn times(image: &str) -> BTreeSet<u64> {
    let dir = tempdir().unwrap();
    let (source, target) = (format!("docker://{image}"), format!("dir:{}", dir.path().display()));
    run("skopeo", &["copy", "--src-tls-verify=false", &source, &target]);
    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.path().join("manifest.json")).unwrap()).unwrap();
    let mut times = BTreeSet::new();
    let diff_ids = skopeo_config(image)["rootfs"]["diff_ids"].clone();
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), diff_ids.as_array().unwrap().len());
    for (layer, diff_id) in layers.iter().zip(diff_ids.as_array().unwrap()) {
        let file = dir.path().join(&layer["digest"].as_str().unwrap()["sha256:".len()..]);
        let unpacked = match layer["mediaType"].as_str().unwrap() {
            name if name.ends_with("gzip") => run("gzip", &["-dc", file.to_str().unwrap()]),
            name if name.ends_with("zstd") => run("zstd", &["-dc", file.to_str().unwrap()]),
            _ => fs::read(&file).unwrap(),
        };
        let plain = dir.path().join("plain");
        fs::write(&plain, &unpacked).unwrap();
        assert_eq!(*diff_id, format!("sha256:{}", sha256(&plain)));
        for entry in tar::Archive::new(&*unpacked).entries().unwrap() {
            times.insert(entry.unwrap().header().mtime().unwrap());
        }
    }
    times
}

fn check_config(config: &Value) {
    assert_eq!(config["created"], WRITTEN);
    assert_eq!(config["variant"], "v8");
    assert_eq!(config["config"]["Labels"], json!({"from": "the strategy", "added": "label"}));
    let history = json!([
        {"created": WRITTEN, "created_by": "COPY", "author": "somebody"},
        {"created": WRITTEN, "created_by": "ENV", "empty_layer": true},
    ]);
    assert_eq!(config["history"], history);
}

fn check_manifest(manifest: &Value) {
    let annotations =
        json!({"kept": "yes", "added": "annotation", "org.opencontainers.image.created": WRITTEN});
    assert_eq!(manifest["annotations"], annotations);
    assert_eq!(manifest["mediaType"], super::layout::IMAGE);
    assert_eq!(manifest["unknown"], json!([1]));
    assert_eq!(manifest["layers"][0]["mediaType"], format!("{LAYER}+gzip"));
}

/// Made twice, with the time in a flag and in a file: equal.
#[rstest]
fn every_kind_of_image_gets_every_form_of_time(
    #[values("layout", "index", "archive", "registry")] kind: &str,
) {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let file = dir.path().join("source time");
    fs::write(&file, format!("{SECONDS}\n")).unwrap();
    let forms = [
        ("first", ["--image-timestamp", SECONDS]),
        ("second", ["--image-timestamp-file", file.to_str().unwrap()]),
    ];
    let additions = ["--label", "added=label", "--annotation", "added=annotation", "--insecure"];
    let digests = forms.map(|(name, asked)| {
        let output = output(kind, &dir.path().join(name));
        let image = registry.image(&format!("{name}:1"));
        let push = ["--push", output.to_str().unwrap()];
        let mut arguments = [&["--image", &image], &asked[..], &additions].concat();
        if kind == "registry" {
            let digest = process(&[&["--image", &image, "--insecure"], &push[..]].concat());
            digest.succeeded();
        } else {
            arguments.extend(push);
        }
        digest_after(&arguments)
    });

    assert_eq!(digests[0], digests[1]);
    let image = registry.image("first:1");
    let raw: Value = serde_json::from_slice(&skopeo_raw(&image)).unwrap();
    match kind {
        "index" => {
            assert_eq!(raw["annotations"], json!({"added": "annotation"}));
            for (entry, architecture) in
                raw["manifests"].as_array().unwrap().iter().zip(["amd64", "arm64"])
            {
                let platform =
                    json!({"os": "linux", "architecture": architecture, "variant": "v8"});
                assert_eq!(entry["platform"], platform);
                let child = registry.image(&format!("first@{}", entry["digest"].as_str().unwrap()));
                check_manifest(&serde_json::from_slice(&skopeo_raw(&child)).unwrap());
                check_config(&skopeo_config(&child));
                assert_eq!(times(&child), BTreeSet::from([1_700_000_000]));
            }
        }
        "archive" => {
            assert_eq!(times(&image), BTreeSet::from([1_700_000_000]));
            // Archives of docker have no annotations.
            assert_eq!(raw["annotations"], json!({"added": "annotation"}));
            assert_eq!(raw["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
            assert_eq!(skopeo_config(&image)["created"], WRITTEN);
        }
        _ => {
            assert_eq!(times(&image), BTreeSet::from([1_700_000_000]));
            check_manifest(&raw);
            check_config(&skopeo_config(&image));
        }
    }

    // Once more: everything has its time, so nothing is packed or sent again.
    let again = ["--image", &image, "--insecure", "--image-timestamp", SECONDS];
    let log = process(&again).succeeded().log;
    assert!(log.contains(&format!("image digest {}", digests[0])), "{log}");
    assert!(log.contains("its entries have that time already"), "{log}");
    let sent = log.lines().filter(|line| line.starts_with("pushed ")).count();
    assert_eq!(sent, if kind == "index" { 3 } else { 1 }, "more than manifests: {log}");
}

#[rstest]
#[case("0", "1970-01-01T00:00:00Z", 0)]
#[case("4294967296", "2106-02-07T06:28:16Z", 4_294_967_296)]
#[case("17179869184", "2514-05-30T01:53:04Z", 17_179_869_184)]
fn times_have_64_bits(#[case] seconds: &str, #[case] written: &str, #[case] expected: u64) {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let (layout, _) = simple(dir.path());
    let image = registry.image("time:1");
    let arguments = ["--push", layout.to_str().unwrap(), "--image", &image, "--insecure"];
    process(&[&arguments[..], &["--image-timestamp", seconds]].concat()).succeeded();
    assert_eq!(skopeo_config(&image)["created"], written);
    assert_eq!(times(&image), BTreeSet::from([expected]));
}

#[rstest]
#[case::plain("", None)]
#[case::gzip("+gzip", Some("gzip"))]
#[case::zstd("+zstd", Some("zstd"))]
fn layers_stay_packed_as_they_were(#[case] suffix: &str, #[case] packer: Option<&str>) {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = Layout::new(&dir.path().join("layout"));
    let plain = dir.path().join("layer");
    fs::write(&plain, tar("hello", &vec![b'h'; 100_000])).unwrap();
    let diff_id = format!("sha256:{}", sha256(&plain));
    if let Some(packer) = packer {
        let packed = run(packer, &["-c", plain.to_str().unwrap()]);
        fs::write(&plain, packed).unwrap();
    }
    let mut layer = layout.file(&format!("{LAYER}{suffix}"), &plain);
    layer["annotations"] =
        json!({"kept": "yes", "io.github.containers.zstd-chunked.manifest-position": "1:2:3:4"});
    // The same layer twice is changed once.
    let image = layout.image_of("amd64", &[layer.clone(), layer], &[diff_id.clone(), diff_id]);
    let layout = layout.finish(&[image]);
    let image = registry.image("packed:1");
    let arguments = ["--push", layout.to_str().unwrap(), "--image", &image, "--insecure"];
    process(&[&arguments[..], &["--image-timestamp", SECONDS]].concat()).succeeded();
    let raw: Value = serde_json::from_slice(&skopeo_raw(&image)).unwrap();
    assert_eq!(raw["layers"][0], raw["layers"][1]);
    assert_eq!(raw["layers"][0]["mediaType"], format!("{LAYER}{suffix}"));
    assert_eq!(raw["layers"][0]["annotations"], json!({"kept": "yes"}));
    assert_eq!(times(&image), BTreeSet::from([1_700_000_000]));
}

#[test]
fn an_attestation_keeps_its_content_and_names_the_new_image() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let image = dated(&layout, "amd64");
    let statement = layout.blob("application/vnd.in-toto+json", br#"{"_type":"statement"}"#);
    let mut attestation =
        layout.image_of("unknown", std::slice::from_ref(&statement), &["sha256:00".to_owned()]);
    layout.edit_config(&mut attestation, |config| config["os"] = "unknown".into());
    let subject =
        json!({"mediaType": image["mediaType"], "digest": image["digest"], "size": image["size"]});
    layout.edit(&mut attestation, |manifest| manifest["subject"] = subject);
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]});
    // It is found wherever it stands.
    let index = layout.index(&[attestation, image.clone()]);
    let layout = layout.finish(&[index]);
    let name = registry.image("attested:1");
    let arguments = ["--push", layout.to_str().unwrap(), "--image", &name, "--insecure"];
    process(&[&arguments[..], &["--image-timestamp", SECONDS]].concat()).succeeded();

    let raw: Value = serde_json::from_slice(&skopeo_raw(&name)).unwrap();
    let [attestation, changed] = raw["manifests"].as_array().unwrap().as_slice() else {
        panic!("{raw}")
    };
    assert_ne!(changed["digest"], image["digest"]);
    assert_eq!(attestation["annotations"]["vnd.docker.reference.digest"], changed["digest"]);
    let child = registry.image(&format!("attested@{}", attestation["digest"].as_str().unwrap()));
    let manifest: Value = serde_json::from_slice(&skopeo_raw(&child)).unwrap();
    assert_eq!(manifest["subject"]["digest"], changed["digest"]);
    assert_eq!(manifest["layers"], json!([statement]));
    assert_eq!(skopeo_config(&child)["created"], Value::Null);
}

/// Pushes a layout with one layer under wrong names and returns the log.
fn refused(media_type: &str, bytes: &[u8], diff_id: &str) -> String {
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let layer = layout.blob(media_type, bytes);
    let image = layout.image_of("amd64", &[layer], &[diff_id.to_owned()]);
    let layout = layout.finish(&[image]);
    let out = dir.path().join("out.tar");
    let arguments = ["--push", layout.to_str().unwrap(), "--save", out.to_str().unwrap()];
    let more = ["--image", "a/b:c", "--image-timestamp", SECONDS];
    let log = process(&[&arguments[..], &more].concat()).failed(1);
    assert!(!out.exists());
    log
}

#[rstest]
#[case::wrong_diff_id("", tar("a", b"a"), "what layer sha256:")]
#[case::no_tar("", vec![b'x'; 2000], "its tar is corrupt at byte 0: the checksum of a header is wrong")]
#[case::cut("", tar("a", &[0; 2000])[..1500].to_vec(), "it ends in the middle of an entry")]
#[case::no_gzip("+gzip", tar("a", b"a"), "it cannot be unpacked: invalid gzip header")]
#[case::no_zstd("+zstd", tar("a", b"a"), "it cannot be unpacked: ")]
#[case::encrypted(
    "+gzip+encrypted",
    tar("a", b"a"),
    "cannot get another time; push the image without output.timestamp"
)]
fn what_cannot_be_changed_is_refused(
    #[case] suffix: &str,
    #[case] bytes: Vec<u8>,
    #[case] expected: &str,
) {
    let log = refused(&format!("{LAYER}{suffix}"), &bytes, "sha256:00");
    assert!(log.contains(expected), "{log}");
}

/// The bytes in a frame that asks for a window of so many bytes, as a power of two.
fn framed(window: u8, bytes: &[u8]) -> Vec<u8> {
    let only_block_as_it_is = 1;
    let block = u32::try_from(bytes.len()).unwrap() << 3 | only_block_as_it_is;
    let header = [0x28, 0xb5, 0x2f, 0xfd, 0, (window - 10) << 3];
    [&header, &block.to_le_bytes()[..3], bytes].concat()
}

#[test]
fn a_large_zstd_window_is_read_and_a_huge_one_explained() {
    let dir = tempdir().unwrap();
    let plain = tar("hello", b"hello\n");
    let file = dir.path().join("layer");
    fs::write(&file, &plain).unwrap();
    let diff_id = format!("sha256:{}", sha256(&file));
    let layout = Layout::new(&dir.path().join("layout"));
    let layer = layout.blob(&format!("{LAYER}+zstd"), &framed(27, &plain));
    let image = layout.image_of("amd64", &[layer], std::slice::from_ref(&diff_id));
    let layout = layout.finish(&[image]);
    let saved = dir.path().join("saved");
    let arguments = ["--push", layout.to_str().unwrap(), "--save", saved.to_str().unwrap()];
    let more = ["--image", "a", "--image-timestamp", SECONDS];
    process(&[&arguments[..], &more].concat()).succeeded();

    let log = refused(&format!("{LAYER}+zstd"), &framed(28, &plain), &diff_id);
    assert!(log.contains("its zstd window is larger than 128 MiB; pack"), "{log}");
}

#[test]
fn a_changed_layer_is_refused_although_its_time_is_right() {
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let bytes = tar("a", b"a");
    let mut layer = layout.blob(LAYER, &bytes);
    let digest = layer["digest"].as_str().unwrap().to_owned();
    let file = layout.0.join("blobs").join(digest.replace(':', "/"));
    let mut changed = bytes;
    changed[512] ^= 1;
    fs::write(&file, changed).unwrap();
    layer["size"] = fs::metadata(&file).unwrap().len().into();
    let image = layout.image_of("amd64", &[layer], std::slice::from_ref(&digest));
    let layout = layout.finish(&[image]);
    let arguments = ["--push", layout.to_str().unwrap(), "--save", "/dev/null/no", "--image", "a"];
    let log = process(&[&arguments[..], &["--image-timestamp", "0"]].concat()).failed(1);
    assert!(log.contains(&format!("instead of {digest}")), "{log}");
}

#[test]
fn no_room_for_changed_layers_is_explained() {
    let dir = tempdir().unwrap();
    let (layout, _) = simple(dir.path());
    let arguments = ["--push", layout.to_str().unwrap(), "--save", "/nowhere/out", "--image", "a"];
    let ran: Ran = finish(
        step().args(arguments).args(["--image-timestamp", "0"]).env("TMPDIR", "/nowhere/at/all"),
    );
    // Its layers are that old already, so there is no need for room.
    let log = ran.failed(1);
    assert!(log.contains("write \"/nowhere/out\""), "{log}");
    let ran = finish(
        step().args(arguments).args(["--image-timestamp", "1"]).env("TMPDIR", "/nowhere/at/all"),
    );
    let log = ran.failed(1);
    assert!(log.contains("the folder that TMPDIR names must have room"), "{log}");
}
