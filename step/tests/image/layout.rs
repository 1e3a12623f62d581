//! Images for the tests: OCI layouts made by hand, docker archives made by skopeo.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::tools::{run, sha256};

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout that is being written.
pub(crate) struct Layout(pub(crate) PathBuf);

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(dir.to_owned())
    }

    /// The descriptor of some bytes, which are a blob from now on.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let file = self.0.join("new");
        fs::write(&file, bytes).unwrap();
        self.file(media_type, &file)
    }

    /// The same for a file, which is moved.
    pub(crate) fn file(&self, media_type: &str, file: &Path) -> Value {
        let hex = sha256(file);
        let size = fs::metadata(file).unwrap().len();
        fs::rename(file, self.0.join("blobs/sha256").join(&hex)).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": size})
    }

    /// An image with layers of one file each, and its descriptor; unusual spacing shows whether bytes are kept.
    pub(crate) fn image(&self, architecture: &str, files: &[(&str, &[u8])]) -> Value {
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for (name, content) in files {
            let plain = self.0.join("layer");
            fs::write(&plain, tar(name, content)).unwrap();
            diff_ids.push(format!("sha256:{}", sha256(&plain)));
            run("gzip", &["-n", "-f", plain.to_str().unwrap()]);
            layers.push(self.file(&format!("{LAYER}+gzip"), &plain.with_extension("gz")));
        }
        self.image_of(architecture, &layers, &diff_ids)
    }

    pub(crate) fn image_of(
        &self,
        architecture: &str,
        layers: &[Value],
        diff_ids: &[String],
    ) -> Value {
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": {"from": "the strategy"}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let manifest =
            json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers});
        self.blob(IMAGE, serde_json::to_string_pretty(&manifest).unwrap().as_bytes())
    }

    /// Changes a document and the descriptor that names it.
    pub(crate) fn edit(&self, descriptor: &mut Value, change: impl FnOnce(&mut Value)) {
        let mut document = self.read(descriptor);
        change(&mut document);
        let media_type = descriptor["mediaType"].as_str().unwrap();
        let text = serde_json::to_string_pretty(&document).unwrap();
        let new = self.blob(media_type, text.as_bytes());
        descriptor["digest"] = new["digest"].clone();
        descriptor["size"] = new["size"].clone();
    }

    /// Changes the config of the image that a descriptor names.
    pub(crate) fn edit_config(&self, image: &mut Value, change: impl FnOnce(&mut Value)) {
        self.edit(image, |manifest| self.edit(&mut manifest["config"], change));
    }

    fn read(&self, descriptor: &Value) -> Value {
        let place = descriptor["digest"].as_str().unwrap().replace(':', "/");
        serde_json::from_slice(&fs::read(self.0.join("blobs").join(place)).unwrap()).unwrap()
    }

    /// An index over some entries, and its descriptor.
    pub(crate) fn index(&self, entries: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        self.blob(INDEX, index.to_string().as_bytes())
    }

    /// Says what the layout holds, and returns the folder.
    pub(crate) fn finish(self, entries: &[Value]) -> PathBuf {
        let index = json!({"schemaVersion": 2, "manifests": entries});
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
        self.0
    }
}

/// A layout with one image of two layers; folder and digest.
pub(crate) fn simple(dir: &Path) -> (PathBuf, String) {
    let layout = Layout::new(dir);
    let image = layout.image("amd64", &[("hello", b"hello\n"), ("data", &noise(300_000))]);
    let digest = image["digest"].as_str().unwrap().to_owned();
    (layout.finish(&[image]), digest)
}

/// A tar archive with one file.
pub(crate) fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, content).unwrap();
    archive.into_inner().unwrap()
}

/// Bytes that do not compress, the same ones each time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A docker archive written entry by entry.
pub(crate) fn archive(file: &Path, entries: &[(&str, &[u8])], links: &[(&str, &str)]) {
    let mut builder = tar::Builder::new(fs::File::create(file).unwrap());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    for (name, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
    }
    builder.finish().unwrap();
}
