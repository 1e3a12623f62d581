//! Writes an image into one file that engines load: an OCI layout and a docker archive at once, over the same blobs.
//!
//! Invariant: the file appears whole under its name or not at all, and everything in it has the digest that it is named by.
//! Invariant: equal images give equal files.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, Os};
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
        let what = format!("blob {}", blob.digest);
        let read = |source| OciError::ReadBlob { what: what.clone(), source };
        let content = BufReader::with_capacity(BUFFER, blob.content.open().map_err(read)?);
        let mut content = Hashing::new(Watched { content, has_failed: false });
        let appended = append(&mut archive, &place(&blob.digest), blob.size, &mut content);
        let is_unreadable = content.below().has_failed;
        appended.map_err(|source| if is_unreadable { read(source) } else { write(source) })?;
        let (found, _) = content.finish().map_err(read)?;
        if found != blob.digest {
            let expected = blob.digest.clone();
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

/// Remembers that reading failed where one error may also mean that writing did.
struct Watched<R> {
    content: R,
    has_failed: bool,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = self.content.read(buffer);
        self.has_failed = outcome.is_err();
        outcome
    }
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
    let architecture = super::platform::of_this_machine();
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use rstest::rstest;

    use super::*;
    use crate::oci::blob::{Blob, Content, Part, digest_of};
    use crate::oci::manifest::DOCKER_IMAGE;

    /// An image whose layers are these blobs.
    fn image(layers: Vec<Blob>) -> Manifest {
        let describe =
            |digest: &str| json!({"mediaType": "text/plain", "digest": digest, "size": 0});
        let document = json!({
            "schemaVersion": 2,
            "config": describe(&digest_of(b"")),
            "layers": layers.iter().map(|layer| describe(&layer.digest)).collect::<Vec<_>>(),
        });
        let bytes = document.to_string().into_bytes();
        Manifest { media_type: DOCKER_IMAGE.to_owned(), bytes, blobs: layers, children: Vec::new() }
    }

    #[rstest]
    #[case::gone("/nowhere/at/all", "No such file")]
    // Nothing is mapped at its beginning.
    #[case::broken("/proc/self/mem", "Input/output error")]
    fn a_layer_that_cannot_be_read_is_told_from_a_file_that_cannot_be_written(
        #[case] layer: &str,
        #[case] expected: &str,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let part = Part { path: PathBuf::from(layer), offset: 0, length: 5 };
        let blob = Blob { digest: digest_of(b"layer"), size: 5, content: Content::Part(part) };
        let name = "app:1".parse().unwrap();
        let error = save(&image(vec![blob]), &name, &dir.path().join("saved")).unwrap_err();
        let OciError::ReadBlob { what, source } = error else { panic!("{error}") };
        assert_eq!(what, format!("blob {}", digest_of(b"layer")));
        assert!(source.to_string().contains(expected), "{source}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "something was left behind");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told() {
        let name = "app:1".parse().unwrap();
        let error = save(&image(Vec::new()), &name, Path::new("/proc/self/saved")).unwrap_err();
        assert!(matches!(error, OciError::Write { .. }), "{error}");
    }

    #[test]
    fn many_layers_take_a_moment_each() {
        let layers = (0..50_000).map(|layer| Blob {
            digest: format!("sha256:{layer:064}"),
            size: 0,
            content: Content::Bytes(Vec::new()),
        });
        let blobs: Vec<_> = layers.collect();
        let image = Manifest { blobs: blobs.clone(), ..image(vec![blobs[49_999].clone(); 50_000]) };
        let begin = Instant::now();
        let entry = docker_entry(&image, &"app:1".parse().unwrap()).unwrap().unwrap();
        assert_eq!(entry["Layers"].as_array().unwrap().len(), 50_000);
        // Looking through all layers for each one takes a minute.
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    }
}
