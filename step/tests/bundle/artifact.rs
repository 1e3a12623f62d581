//! Artifacts made entry by entry, as no honest tool makes them, and the step that fetches them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::image::layout::Layout;
use crate::image::registry::Registry;
use crate::image::tools::{Ran, finish, process, role, run, sha256};

pub(crate) const TIME: u64 = 1_700_000_000;

/// One entry as it stands in an archive.
pub(crate) struct Entry<'a> {
    pub(crate) kind: u8,
    pub(crate) name: &'a str,
    pub(crate) target: &'a str,
    pub(crate) mode: u32,
    pub(crate) modified: u64,
    pub(crate) content: &'a [u8],
}

pub(crate) fn file<'a>(name: &'a str, content: &'a str) -> Entry<'a> {
    let content = content.as_bytes();
    Entry { kind: b'0', name, target: "", mode: 0o644, modified: TIME, content }
}

pub(crate) fn folder(name: &str) -> Entry<'_> {
    Entry { kind: b'5', mode: 0o755, ..file(name, "") }
}

pub(crate) fn symlink<'a>(name: &'a str, target: &'a str) -> Entry<'a> {
    Entry { kind: b'2', target, mode: 0o777, ..file(name, "") }
}

pub(crate) fn hard_link<'a>(name: &'a str, target: &'a str) -> Entry<'a> {
    Entry { kind: b'1', target, ..file(name, "") }
}

/// A header with the given bytes in the fields of name and target, which libraries would refuse to write.
pub(crate) fn header(entry: &Entry<'_>) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_size(entry.content.len() as u64);
    header.set_mtime(entry.modified);
    header.set_uid(0);
    header.set_gid(0);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.typeflag = [entry.kind];
    let (name, target) = (entry.name.as_bytes(), entry.target.as_bytes());
    gnu.name[..name.len()].copy_from_slice(name);
    gnu.linkname[..target.len()].copy_from_slice(target);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(512), 0);
    padded
}

/// Entries without an end.
pub(crate) fn open_archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let one = |entry: &Entry<'_>| [header(entry), padded(entry.content)].concat();
    entries.iter().flat_map(one).collect()
}

pub(crate) fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    [open_archive(entries), vec![0; 1024]].concat()
}

/// A record of an extended header.
pub(crate) fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while rest.len() + length.to_string().len() != length {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

/// A target folder, and files for the results.
pub(crate) struct Fetched {
    pub(crate) folder: TempDir,
}

impl Fetched {
    pub(crate) fn new() -> Self {
        let fetched = Self { folder: tempdir().unwrap() };
        fs::create_dir(fetched.source()).unwrap();
        fetched
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.source().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }

    pub(crate) fn result(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.path().join(name)).ok()
    }

    /// What is there below the folder of the source, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        fn walk(root: &Path, folder: &Path, names: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                names.push(path.strip_prefix(root).unwrap().display().to_string());
                if path.symlink_metadata().unwrap().is_dir() {
                    walk(root, &path, names);
                }
            }
        }
        let (source, mut names) = (self.source(), Vec::new());
        walk(&source, &source, &mut names);
        names.sort();
        names
    }

    pub(crate) fn arguments(&self, image: &str) -> Vec<String> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let digest = format!("--result-file-image-digest={}", path("digest"));
        let time = format!("--result-file-source-timestamp={}", path("timestamp"));
        let target = path("source");
        ["--image", image, "--target", &target, &digest, &time].map(str::to_owned).into()
    }

    pub(crate) fn fetch(&self, image: &str, more: &[&str]) -> Ran {
        self.fetch_in(image, 0, more)
    }

    /// The same, with some seconds of patience.
    pub(crate) fn fetch_in(&self, image: &str, seconds: u64, more: &[&str]) -> Ran {
        let wait = format!("--wait={seconds}");
        finish(role("bundle").args(self.arguments(image)).arg(wait).args(more))
    }
}

/// Adds an image with these archives as its layers, the lowest first, packed by turns in every way; its descriptor.
pub(crate) fn image(layout: &Layout, architecture: &str, archives: &[Vec<u8>]) -> Value {
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (bytes, packer) in archives.iter().zip([Some("gzip"), None, Some("zstd")].iter().cycle()) {
        let plain = layout.0.join("layer");
        fs::write(&plain, bytes).unwrap();
        diff_ids.push(format!("sha256:{}", sha256(&plain)));
        let mut media_type = LAYER.to_owned();
        if let Some(packer) = packer {
            fs::write(&plain, run(packer, &["-c", plain.to_str().unwrap()])).unwrap();
            media_type = format!("{media_type}+{packer}");
        }
        layers.push(layout.file(&media_type, &plain));
    }
    layout.image_of(architecture, &layers, &diff_ids)
}

/// Pushes an image with these layers; its digest.
pub(crate) fn push(registry: &Registry, name: &str, archives: &[Vec<u8>]) -> String {
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let image = image(&layout, "amd64", archives);
    let digest = image["digest"].as_str().unwrap().to_owned();
    push_layout(registry, name, &layout.finish(&[image]), &[]);
    digest
}

pub(crate) fn push_layout(registry: &Registry, name: &str, layout: &Path, more: &[&str]) {
    let image = registry.image(name);
    let arguments = ["--push", layout.to_str().unwrap(), "--image", &image, "--insecure"];
    process(&[&arguments[..], more].concat()).succeeded();
}
