//! Writes an image into one file that engines load: an OCI layout and a docker archive at once, over the same blobs.
//!
//! Invariant: the file appears whole under its name or not at all, and everything in it has the digest that it is named by.
//! Invariant: equal images give equal files.

use std::collections::BTreeSet;
use std::env::consts::ARCH;
use std::fs::{File, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use oci_spec::distribution::Reference;
use oci_spec::image::{Arch, Descriptor, ImageIndex, ImageManifest, Os};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::OciError;
use super::blob::Hashing;
use super::manifest::{Manifest, parse};

const BUFFER: usize = 128 << 10;

/// Saves an image or index under a name; what lies in a registry only cannot be saved.
pub fn save(manifest: &Manifest, image: &Reference, path: &Path) -> Result<(), OciError> {
    let write = |source| OciError::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(write)?;
    let mut archive = tar::Builder::new(file.as_file());
    let mut documents = vec![
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
        ("index.json", index(manifest, image)),
    ];
    if let Some(entry) = docker_entry(manifest, image)? {
        documents.push(("manifest.json", json!([entry])));
    }
    for (name, document) in documents {
        let bytes = document.to_string().into_bytes();
        append(&mut archive, name, bytes.len() as u64, &*bytes).map_err(write)?;
    }
    for blob in manifest.all_blobs() {
        let content = blob.content.open().map_err(write)?;
        let mut content = Hashing::new(BufReader::with_capacity(BUFFER, content));
        append(&mut archive, &place(&blob.digest), blob.size, &mut content).map_err(write)?;
        let (found, _) = content.finish().map_err(write)?;
        if found != blob.digest {
            let (what, expected) = (format!("blob {}", blob.digest), blob.digest.clone());
            return Err(OciError::WrongDigest { what, expected, found });
        }
    }
    for manifest in manifest.all_manifests() {
        let bytes = &*manifest.bytes;
        append(&mut archive, &place(&manifest.digest()), bytes.len() as u64, bytes)
            .map_err(write)?;
    }
    archive.finish().map_err(write)?;
    drop(archive);
    file.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(write)?;
    file.persist(path).map_err(|error| write(error.error))?;
    eprintln!("saved {image} to {}", path.display());
    Ok(())
}

/// The same for everybody who saves the same.
fn append(
    archive: &mut tar::Builder<&File>,
    name: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content.take(size))
}

fn place(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// A name with a tag; engines cannot give a digest to what they load.
fn name(image: &Reference) -> Option<(String, &str)> {
    let tag = image.tag().filter(|_| image.digest().is_none())?;
    Some((format!("{}/{}:{tag}", image.registry(), image.repository()), tag))
}

fn index(manifest: &Manifest, image: &Reference) -> Value {
    let mut entry = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest(),
        "size": manifest.bytes.len(),
    });
    if let Some((name, tag)) = name(image) {
        // The first one is containerd's and the one that docker and podman read.
        entry["annotations"] =
            json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
    }
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    })
}

/// What a docker archive says of the image; of an index it can hold only the image for this machine, if there is one.
fn docker_entry(manifest: &Manifest, image: &Reference) -> Result<Option<Value>, OciError> {
    if manifest.is_index() {
        return match for_this_machine(manifest)? {
            Some(child) => docker_entry(child, image),
            None => Ok(None),
        };
    }
    let what = format!("manifest {}", manifest.digest());
    let document: ImageManifest = parse(&manifest.bytes, &what)?;
    let there: BTreeSet<_> = manifest.blobs.iter().map(|blob| blob.digest.as_str()).collect();
    let layer = |layer: &Descriptor| {
        let digest = layer.digest().to_string();
        if there.contains(&*digest) {
            return Ok(place(&digest));
        }
        let problem = format!("layer {digest} may not be passed on and so cannot be saved");
        Err(OciError::Malformed { what: what.clone(), problem })
    };
    let layers = document.layers().iter().map(layer).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(json!({
        "Config": place(document.config().digest().as_ref()),
        "RepoTags": name(image).map(|(name, _)| vec![name]).unwrap_or_default(),
        "Layers": layers,
    })))
}

fn for_this_machine(manifest: &Manifest) -> Result<Option<&Manifest>, OciError> {
    let what = format!("manifest {}", manifest.digest());
    let document: ImageIndex = parse(&manifest.bytes, &what)?;
    let architecture = match ARCH {
        "x86_64" => Arch::Amd64,
        "aarch64" => Arch::ARM64,
        "powerpc64" => Arch::PowerPC64le,
        other => other.into(),
    };
    let fits = |entry: &&Descriptor| {
        let platform = entry.platform().as_ref();
        platform.is_some_and(|platform| {
            *platform.os() == Os::Linux && *platform.architecture() == architecture
        })
    };
    let entry = document.manifests().iter().find(fits);
    Ok(entry.and_then(|entry| {
        let digest = entry.digest().to_string();
        manifest.children.iter().find(|child| child.digest() == digest && !child.is_index())
    }))
}
