//! Artifacts that hold a source, for registries and uploads.

use serde_json::{Value, json};
use slipway_step::oci::{Blob, Content, Manifest, digest_of};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// 2023-11-14T22:13:20Z
const TIME: u64 = 1_700_000_000;

/// A tar archive with one file of this text, of mode 0750, of somebody and of [`TIME`].
pub fn archive(name: &str, text: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o750);
    header.set_mtime(TIME);
    header.set_uid(4711);
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, text.as_bytes()).unwrap();
    archive.into_inner().unwrap()
}

fn blob(bytes: Vec<u8>) -> Blob {
    Blob { digest: digest_of(&bytes), size: bytes.len() as u64, content: Content::Bytes(bytes) }
}

/// An image with one file that holds the text.
pub fn image(name: &str, text: &str) -> Manifest {
    let layer = blob(archive(name, text));
    let config = json!({ "os": "linux", "architecture": "any", "rootfs": { "type": "layers", "diff_ids": [layer.digest] } });
    let config = blob(config.to_string().into_bytes());
    let of = |kind: &str, blob: &Blob| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": blob.digest, "size": blob.size });
    let document = json!({
        "schemaVersion": 2, "mediaType": IMAGE,
        "config": of("config.v1+json", &config), "layers": [of("layer.v1.tar", &layer)],
    });
    let bytes = document.to_string().into_bytes();
    Manifest { media_type: IMAGE.into(), bytes, blobs: vec![config, layer], children: Vec::new() }
}

/// An index over images for Linux, by their architectures.
pub fn index(images: Vec<(&str, Manifest)>) -> Manifest {
    let entries: Vec<Value> = images
        .iter()
        .map(|(architecture, image)| {
            let platform = json!({ "os": "linux", "architecture": architecture });
            json!({ "mediaType": IMAGE, "digest": image.digest(), "size": image.bytes.len(), "platform": platform })
        })
        .collect();
    let document = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    let bytes = document.to_string().into_bytes();
    let children = images.into_iter().map(|(_, image)| image).collect();
    Manifest { media_type: INDEX.into(), bytes, blobs: Vec::new(), children }
}
