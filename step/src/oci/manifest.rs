//! An image or an index with everything that hangs on it, ready to be pushed.
//!
//! Invariant: children and blobs are complete: pushing them before the manifest itself leaves nothing for the registry to miss.
//! Invariant: how many manifests are loaded is limited, since a few small indexes that name each other twice make millions.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use serde_json::Value;

use super::OciError;
use super::blob::{Blob, digest_of};

/// Docker's name for an image.
pub(super) const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's name for an index.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// More than any builder puts together; manifests that are there twice count twice.
const MOST_MANIFESTS: usize = 1000;
/// Indexes in indexes; builders make one or two.
pub(super) const DEEPEST: usize = 16;

/// Annotation: the image below this one.
const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// What we can read when we ask for a manifest.
pub(super) const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    DOCKER_INDEX,
    DOCKER_IMAGE,
];

/// The bytes of a manifest and what they name.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The media type under which it is pushed.
    pub media_type: String,
    /// Exactly what is pushed.
    pub bytes: Vec<u8>,
    /// Config and layers of an image; what is no manifest in an index.
    pub blobs: Vec<Blob>,
    /// The manifests of an index.
    pub children: Vec<Manifest>,
}

/// What has been loaded of one image or index so far.
#[derive(Debug, Default)]
pub(super) struct Extent {
    manifests: usize,
    depth: usize,
}

/// What a media type says about a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Index,
    Other,
}

impl Kind {
    pub(super) fn of(media_type: &MediaType) -> Self {
        match media_type {
            MediaType::ImageManifest => Self::Image,
            MediaType::ImageIndex => Self::Index,
            MediaType::Other(name) if name == DOCKER_IMAGE => Self::Image,
            MediaType::Other(name) if name == DOCKER_INDEX => Self::Index,
            _ => Self::Other,
        }
    }
}

impl Extent {
    /// One more manifest, in the one that was begun before.
    pub(super) fn begin(&mut self, what: &str) -> Result<(), OciError> {
        self.manifests += 1;
        self.depth += 1;
        let problem = if self.manifests > MOST_MANIFESTS {
            format!("the image has more than {MOST_MANIFESTS} manifests; divide it into several")
        } else if self.depth > DEEPEST + 1 {
            format!("it lies in more than {DEEPEST} indexes; put fewer of them into each other")
        } else {
            return Ok(());
        };
        Err(OciError::Malformed { what: what.to_owned(), problem })
    }

    /// The manifest is there, with all that is below it.
    pub(super) fn end(&mut self) {
        self.depth -= 1;
    }
}

impl Manifest {
    /// `sha256:…` of the bytes.
    pub fn digest(&self) -> String {
        digest_of(&self.bytes)
    }

    /// Whether it stands for several images.
    pub fn is_index(&self) -> bool {
        Kind::of(&self.media_type.as_str().into()) == Kind::Index
    }

    /// This one and everything below it once, each after all that it names, be it a child or a subject: the order in which a
    /// registry takes them.
    pub(crate) fn all_manifests(&self) -> Vec<&Self> {
        let (mut waiting, mut ordered) = (BTreeMap::new(), Vec::new());
        self.gather(&mut waiting);
        self.order(&mut waiting, &mut ordered);
        ordered
    }

    fn gather<'a>(&'a self, found: &mut BTreeMap<String, &'a Self>) {
        found.insert(self.digest(), self);
        for child in &self.children {
            child.gather(found);
        }
    }

    fn order<'a>(&self, waiting: &mut BTreeMap<String, &'a Self>, ordered: &mut Vec<&'a Self>) {
        let Some(this) = waiting.remove(&self.digest()) else { return };
        for child in &this.children {
            child.order(waiting, ordered);
        }
        if let Some(subject) = this.subject().and_then(|digest| waiting.get(&digest).copied()) {
            subject.order(waiting, ordered);
        }
        ordered.push(this);
    }

    /// The digest of what this one is about, such as the image of a signature.
    fn subject(&self) -> Option<String> {
        let document: Value = serde_json::from_slice(&self.bytes).ok()?;
        Some(document["subject"]["digest"].as_str()?.to_owned())
    }

    /// Every blob here and below, once.
    pub(super) fn all_blobs(&self) -> Vec<&Blob> {
        let mut seen = BTreeSet::new();
        let blobs = self.all_manifests().into_iter().flat_map(|manifest| &manifest.blobs);
        blobs.filter(|blob| seen.insert(&blob.digest)).collect()
    }

    /// What the image was built on, if its builder says so.
    pub(super) fn base(&self) -> Option<Reference> {
        let document: Value = serde_json::from_slice(&self.bytes).ok()?;
        document["annotations"][BASE_NAME].as_str()?.parse().ok()
    }

    /// Config and layers as the manifest states them, in bytes; an index has no size of its own.
    pub fn image_size(&self) -> Result<Option<u64>, OciError> {
        if self.is_index() {
            return Ok(None);
        }
        let image: ImageManifest = parse(&self.bytes, "manifest")?;
        Ok(Some(descriptors(&image).map(Descriptor::size).sum()))
    }
}

/// Config and layers of an image.
pub(super) fn descriptors(image: &ImageManifest) -> impl Iterator<Item = &Descriptor> {
    std::iter::once(image.config()).chain(image.layers())
}

/// Layers that their maker forbids to pass on stay where their descriptors say.
pub(super) fn is_distributable(descriptor: &Descriptor) -> bool {
    let media_type = descriptor.media_type().to_string();
    !media_type.contains(".nondistributable.") && !media_type.contains(".rootfs.foreign.")
}

/// Reads JSON; `what` names the document in the error.
pub(super) fn parse<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    what: &str,
) -> Result<T, OciError> {
    serde_json::from_slice(bytes).map_err(|source| OciError::Json { what: what.to_owned(), source })
}
