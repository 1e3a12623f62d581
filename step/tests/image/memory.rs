//! How much memory it takes, whatever the size of a layer.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::tempdir;

use super::layout::{Layout, archive};
use super::registry::Registry;
use super::tools::{run, sha256, step};

pub(crate) const LIMIT: u64 = 64 << 10;
pub(crate) const MIB: u64 = 1 << 20;

/// The most memory that the program ever had, in KiB.
pub(crate) fn peak_memory(program: &mut Command, arguments: &[&str]) -> u64 {
    let mut child = program.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        // A process that has just ended has no memory to speak of.
        let text = fs::read_to_string(&status_file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()) {
            peak = u64::max(peak, kib);
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(status.success(), "{log}");
    assert!(peak > 0);
    peak
}

/// A tar archive with one file of zeros, as a sparse file.
pub(crate) fn large(file: &Path, size: u64) -> String {
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let mut made = fs::File::create(file).unwrap();
    made.write_all(header.as_bytes()).unwrap();
    made.set_len(512 + size + 1024).unwrap();
    format!("sha256:{}", sha256(file))
}

fn layout(dir: &Path, size: u64, packer: Option<&str>) -> PathBuf {
    let layout = Layout::new(dir);
    let file = dir.join("layer");
    let diff_id = large(&file, size);
    let mut media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
    if let Some(packer) = packer {
        let bytes = run(packer, &["-c", file.to_str().unwrap()]);
        fs::write(&file, bytes).unwrap();
        media_type = format!("{media_type}+{packer}");
    }
    let layer = layout.file(&media_type, &file);
    let image = layout.image_of("amd64", &[layer], &[diff_id]);
    layout.finish(&[image])
}

fn check(what: &str, arguments: &[&str]) {
    let peak = peak_memory(&mut step(), arguments);
    println!("{what}: peak {peak} KiB");
    assert!(peak < LIMIT, "{what}: {peak} KiB");
}

#[test]
fn memory_does_not_grow_with_a_layer() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = layout(&dir.path().join("layout"), 300 * MIB, None);
    let image = registry.image("large:1");
    let push = ["--push", layout.to_str().unwrap(), "--image", &image, "--insecure"];
    check("300 MiB in a layout", &push);
    let saved = dir.path().join("saved.tar");
    let save = ["--save", saved.to_str().unwrap(), "--image-timestamp", "1"];
    check("saved with another time", &[&push[..], &save].concat());
}

#[test]
fn memory_does_not_grow_with_what_a_layer_unpacks_to() {
    for packer in ["gzip", "zstd"] {
        let dir = tempdir().unwrap();
        let layout = layout(&dir.path().join("layout"), 100 * MIB, Some(packer));
        let saved = dir.path().join("saved.tar");
        let save = ["--save", saved.to_str().unwrap(), "--image", "a", "--image-timestamp", "1"];
        let push = ["--push", layout.to_str().unwrap()];
        check(packer, &[&push[..], &save].concat());
    }
}

#[test]
fn memory_does_not_grow_with_an_archive() {
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let output = dir.path().join("output");
    fs::create_dir(&output).unwrap();
    let layer = dir.path().join("layer");
    let diff_id = large(&layer, 80 * MIB);
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).to_string();
    let manifest = json!([{"Config": "config.json", "Layers": ["layer.tar"]}]).to_string();
    archive(
        &output.join("image.tar"),
        &[
            ("layer.tar", &fs::read(&layer).unwrap()),
            ("config.json", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ],
        &[],
    );
    let image = registry.image("large:2");
    let push = ["--push", output.to_str().unwrap(), "--image", &image, "--insecure"];
    check("80 MiB in an archive", &push);
    let retime = ["--image", &image, "--insecure", "--image-timestamp", "1"];
    check("changed in the registry", &retime);
}
