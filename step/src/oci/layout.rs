//! Reads an OCI image layout from a folder.
//!
//! Invariant: an index with exactly one entry stands for that entry, however deep; any other index is pushed with all its children.
//! Invariant: what a strategy left is read only where it is a regular file, and of a document not more than a registry takes.
//! Invariant: manifests are checked against their digests and blobs against their sizes here, blobs against their digests by the
//! registry.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::OciError;
use super::blob::{Blob, Content, Part, digest_of, open_regular};
use super::error::DOCUMENT_LIMIT;
use super::manifest::{Extent, Kind, Manifest, descriptors, is_distributable, parse};

/// The file that makes a folder a layout.
pub(super) const INDEX: &str = "index.json";

/// The image or index in the folder.
pub(super) fn load(dir: &Path) -> Result<Manifest, OciError> {
    let path = dir.join(INDEX);
    let bytes = read_document(&path)?;
    let index: ImageIndex = parse(&bytes, &path.display().to_string())?;
    match index.manifests().as_slice() {
        [] => Err(OciError::EmptyIndex { path }),
        [only] => load_unwrapped(dir, only),
        several => {
            let media_type = index
                .media_type()
                .as_ref()
                .map_or(oci_spec::image::MediaType::ImageIndex.to_string(), ToString::to_string);
            let mut extent = Extent::default();
            extent.begin(&path.display().to_string())?;
            load_index(dir, media_type, bytes, several, &mut extent)
        }
    }
}

fn load_unwrapped(dir: &Path, descriptor: &Descriptor) -> Result<Manifest, OciError> {
    let mut manifest = load_manifest(dir, descriptor, &mut Extent::default())?;
    while manifest.is_index() && manifest.children.len() == 1 && manifest.blobs.is_empty() {
        manifest = manifest.children.remove(0);
    }
    Ok(manifest)
}

fn load_manifest(
    dir: &Path,
    descriptor: &Descriptor,
    extent: &mut Extent,
) -> Result<Manifest, OciError> {
    extent.begin(&format!("manifest {}", descriptor.digest()))?;
    let manifest = load_below(dir, descriptor, extent)?;
    extent.end();
    Ok(manifest)
}

fn load_below(
    dir: &Path,
    descriptor: &Descriptor,
    extent: &mut Extent,
) -> Result<Manifest, OciError> {
    let path = blob_path(dir, descriptor);
    let media_type = descriptor.media_type().to_string();
    let kind = Kind::of(descriptor.media_type());
    if kind == Kind::Other {
        return Err(OciError::NotAnImage { what: path.display().to_string(), media_type });
    }
    let bytes = read_document(&path)?;
    let (expected, found) = (descriptor.digest().to_string(), digest_of(&bytes));
    if found != expected {
        return Err(OciError::WrongDigest { what: path.display().to_string(), expected, found });
    }
    if kind == Kind::Index {
        let index: ImageIndex = parse(&bytes, &path.display().to_string())?;
        return load_index(dir, media_type, bytes, index.manifests(), extent);
    }
    let image: ImageManifest = parse(&bytes, &path.display().to_string())?;
    let blobs = descriptors(&image)
        .filter(|descriptor| is_distributable(descriptor))
        .map(|descriptor| load_blob(dir, descriptor))
        .collect::<Result<_, _>>()?;
    Ok(Manifest { media_type, bytes, blobs, children: Vec::new() })
}

fn load_index(
    dir: &Path,
    media_type: String,
    bytes: Vec<u8>,
    entries: &[Descriptor],
    extent: &mut Extent,
) -> Result<Manifest, OciError> {
    let (manifests, others): (Vec<_>, Vec<_>) =
        entries.iter().partition(|entry| Kind::of(entry.media_type()) != Kind::Other);
    Ok(Manifest {
        media_type,
        bytes,
        blobs: others.into_iter().map(|entry| load_blob(dir, entry)).collect::<Result<_, _>>()?,
        children: manifests
            .into_iter()
            .map(|entry| load_manifest(dir, entry, extent))
            .collect::<Result<_, _>>()?,
    })
}

fn load_blob(dir: &Path, descriptor: &Descriptor) -> Result<Blob, OciError> {
    let path = blob_path(dir, descriptor);
    let expected = descriptor.size();
    let found = length_of(&path)?;
    if found != expected {
        return Err(OciError::WrongSize { path, expected, found });
    }
    Ok(Blob {
        digest: descriptor.digest().to_string(),
        size: expected,
        content: Content::Part(Part { path, offset: 0, length: expected }),
    })
}

/// A digest is letters, digits and a few signs without a slash, so it cannot lead out of the folder.
fn blob_path(dir: &Path, descriptor: &Descriptor) -> PathBuf {
    let digest = descriptor.digest();
    dir.join("blobs").join(digest.algorithm().as_ref()).join(digest.digest())
}

fn read_document(path: &Path) -> Result<Vec<u8>, OciError> {
    read_up_to(DOCUMENT_LIMIT, path)
}

fn read_up_to(limit: u64, path: &Path) -> Result<Vec<u8>, OciError> {
    let read = |source| OciError::Read { path: path.to_owned(), source };
    let file = open_regular(path).map_err(read)?;
    let stated = file.metadata().map_err(read)?.len();
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(read)?;
    // A file may have more than it states.
    let size = stated.max(bytes.len() as u64);
    if size > limit {
        return Err(OciError::TooLarge { what: path.display().to_string(), size, limit });
    }
    Ok(bytes)
}

fn length_of(path: &Path) -> Result<u64, OciError> {
    let metadata = open_regular(path).and_then(|file| file.metadata());
    Ok(metadata.map_err(|source| OciError::Read { path: path.to_owned(), source })?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_states_no_size_is_not_read_to_its_end() {
        let error = read_up_to(100, Path::new("/proc/self/status")).unwrap_err();
        assert!(matches!(error, OciError::TooLarge { size: 101, limit: 100, .. }), "{error}");
    }
}
