//! One file for engines instead of a push: what podman loads, and what skopeo finds in it either way.

use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::layout::{Layout, noise, simple, tar};
use super::tools::{process, run, sha256};

/// The architecture of this machine as images name it.
fn here() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Saves without any registry being there; the file and the results for digest and size.
fn save(output: &Path, image: &str, more: &[&str]) -> (TempDir, PathBuf, String, Option<String>) {
    let dir = tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let (saved, digest, size) = (file("image.tar"), file("digest"), file("size"));
    let arguments = [
        &["--push", output.to_str().unwrap(), "--image", image],
        &["--save", saved.to_str().unwrap()][..],
        &["--result-file-image-digest", digest.to_str().unwrap()],
        &["--result-file-image-size", size.to_str().unwrap()],
        more,
    ];
    process(&arguments.concat()).succeeded();
    let digest = fs::read_to_string(digest).unwrap();
    (dir, saved, digest, fs::read_to_string(size).ok())
}

fn inspect(transport: &str, file: &Path) -> Value {
    let source = format!("{transport}:{}", file.display());
    serde_json::from_slice(&run("skopeo", &["inspect", "--config", &source])).unwrap()
}

/// What podman says of an image that it has loaded into a store of its own.
fn load(file: &Path, image: &str) -> Value {
    let store = tempdir().unwrap();
    let place = |name: &str| store.path().join(name).to_str().unwrap().to_owned();
    let (root, state) = (place("root"), place("state"));
    let podman = |arguments: &[&str]| {
        let options = ["--storage-driver=vfs", "--root", &root, "--runroot", &state];
        run("podman", &[&options[..], arguments].concat())
    };
    podman(&["load", "--quiet", "--input", file.to_str().unwrap()]);
    let found: Value = serde_json::from_slice(&podman(&["image", "inspect", image])).unwrap();
    found[0].clone()
}

#[test]
fn an_engine_loads_what_was_saved() {
    let dir = tempdir().unwrap();
    let (layout, _) = simple(&dir.path().join("layout"));
    let image = "registry.example.com:5000/team/app:1.2";
    let more = ["--label", "a=b", "--image-timestamp", "1700000000"];
    let (_kept, file, digest, size) = save(&layout, image, &more);

    let found = load(&file, image);
    assert_eq!(found["Digest"], digest);
    assert_eq!(found["RepoTags"], json!([image]));
    assert_eq!(found["Labels"], json!({"from": "the strategy", "a": "b"}));
    assert_eq!(found["Created"], "2023-11-14T22:13:20Z");
    for transport in ["oci-archive", "docker-archive"] {
        assert_eq!(inspect(transport, &file)["config"]["Labels"]["a"], "b");
        // Every layer is read and compared with the config.
        let target = format!("dir:{}", dir.path().join(transport).display());
        run("skopeo", &["copy", &format!("{transport}:{}", file.display()), &target]);
    }
    let listed = run("tar", &["--list", "--file", file.to_str().unwrap()]);
    let listed = String::from_utf8(listed).unwrap();
    let names: Vec<_> = listed.lines().collect();
    assert_eq!(names[..3], ["oci-layout", "index.json", "manifest.json"]);
    assert_eq!(names.len(), 3 + 4, "{listed}");
    assert!(size.is_some_and(|size| size.parse::<u64>().unwrap() > 300_000));
}

#[rstest]
#[case("app", "docker.io/library/app:latest")]
#[case("team/app:1", "docker.io/team/app:1")]
#[case("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest")]
fn the_name_is_whole(#[case] image: &str, #[case] expected: &str) {
    let dir = tempdir().unwrap();
    let (layout, _) = simple(dir.path());
    let (_kept, file, ..) = save(&layout, image, &[]);
    let read = |name: &str| -> Value {
        serde_json::from_slice(&run("tar", &["-xOf", file.to_str().unwrap(), name])).unwrap()
    };
    assert_eq!(read("manifest.json")[0]["RepoTags"], json!([expected]));
    let annotations = &read("index.json")["manifests"][0]["annotations"];
    assert_eq!(annotations["io.containerd.image.name"], expected);
}

#[test]
fn an_archive_and_its_saved_form_are_the_same_image() {
    let dir = tempdir().unwrap();
    let (layout, _) = simple(&dir.path().join("layout"));
    let output = dir.path().join("output");
    fs::create_dir(&output).unwrap();
    let archive = format!("docker-archive:{}:x/y:z", output.join("a.tar").display());
    run("skopeo", &["copy", &format!("oci:{}", layout.display()), &archive]);
    let image = "registry.example.com/app:1";
    let (_kept, file, ..) = save(&output, image, &[]);
    assert_eq!(inspect("docker-archive", &file), inspect("docker-archive", &output.join("a.tar")));
    assert_eq!(load(&file, image)["RootFS"]["Layers"].as_array().unwrap().len(), 2);
}

#[test]
fn of_an_index_the_image_for_this_machine_is_loaded() {
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let mut entries = Vec::new();
    for architecture in ["mips", here()] {
        let mut image = layout.image(architecture, &[("a", architecture.as_bytes())]);
        image["platform"] = json!({"os": "linux", "architecture": architecture});
        entries.push(image);
    }
    let index = layout.index(&entries);
    let layout = layout.finish(std::slice::from_ref(&index));
    let image = "registry.example.com/multi:1";
    let (_kept, file, digest, size) = save(&layout, image, &[]);
    assert_eq!(digest, index["digest"].as_str().unwrap());
    assert_eq!(size, None);
    assert_eq!(inspect("docker-archive", &file)["architecture"], here());
    assert_eq!(load(&file, image)["Architecture"], here());
    let target = format!("oci:{}", dir.path().join("all").display());
    run("skopeo", &["copy", "--all", &format!("oci-archive:{}", file.display()), &target]);
}

#[test]
fn equal_images_are_equal_files_and_a_broken_one_is_none() {
    let dir = tempdir().unwrap();
    let (layout, _) = simple(&dir.path().join("layout"));
    let [one, other] = [(); 2].map(|()| {
        let (_kept, file, ..) = save(&layout, "a:1", &[]);
        sha256(&file)
    });
    assert_eq!(one, other);

    let blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let layer = blobs
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&layer).unwrap();
    bytes[1000] ^= 1;
    fs::write(&layer, bytes).unwrap();
    let file = dir.path().join("image.tar");
    let arguments = ["--push", layout.to_str().unwrap(), "--save", file.to_str().unwrap()];
    let log = process(&[&arguments[..], &["--image", "a:1"]].concat()).failed(1);
    assert!(log.contains("instead of sha256:"), "{log}");
    assert!(!file.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn unpacked_layers_are_loaded_too() {
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let layer = layout.blob("application/vnd.oci.image.layer.v1.tar", &tar("a", &noise(5000)));
    let diff_id = layer["digest"].as_str().unwrap().to_owned();
    let image = layout.image_of(here(), &[layer], &[diff_id]);
    let layout = layout.finish(&[image]);
    let name = "registry.example.com/plain:1";
    let (_kept, file, ..) = save(&layout, name, &[]);
    assert_eq!(load(&file, name)["RootFS"]["Layers"].as_array().unwrap().len(), 1);
}
