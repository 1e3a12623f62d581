//! Reads what is in a repository: manifests, configs and layers.
//!
//! Invariant: what is asked for by its digest has that digest; only a layer's is up to who unpacks it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, Os};
use reqwest::header;

use super::OciError;
use super::blob::{Blob, Content, Part, digest_of};
use super::error::DOCUMENT_LIMIT;
use super::manifest::{DEEPEST, Extent, Kind, MANIFEST_TYPES, Manifest, parse};
use super::registry::Registry;
use super::transport::{Failure, next_chunk, read_document, retry};

impl Registry {
    /// The image or index that the reference names now; its layers stay where they are.
    pub async fn load(&self) -> Result<Manifest, OciError> {
        self.load_manifest(self.target(), &mut Extent::default()).await
    }

    /// The configuration of the image; of an index, that of its first image for Linux.
    pub async fn config(&self) -> Result<Option<Vec<u8>>, OciError> {
        let mut target = self.target().to_owned();
        for _ in 0..=DEEPEST {
            let what = format!("manifest {target}");
            let (media_type, bytes) = self.document(&target, &what).await?;
            match Kind::of(&media_type.as_str().into()) {
                Kind::Other => return Err(OciError::NotAnImage { what, media_type }),
                Kind::Image => {
                    let image: ImageManifest = parse(&bytes, &what)?;
                    return self.config_bytes(image.config()).await.map(Some);
                }
                Kind::Index => {
                    let index: ImageIndex = parse(&bytes, &what)?;
                    let Some(entry) = index.manifests().iter().find(|entry| may_be_linux(entry))
                    else {
                        return Ok(None);
                    };
                    target = entry.digest().to_string();
                }
            }
        }
        Ok(None)
    }

    async fn load_manifest(&self, target: &str, extent: &mut Extent) -> Result<Manifest, OciError> {
        let what = format!("manifest {target}");
        extent.begin(&what)?;
        let (media_type, bytes) = self.document(target, &what).await?;
        let (mut blobs, mut children) = (Vec::new(), Vec::new());
        match Kind::of(&media_type.as_str().into()) {
            Kind::Other => return Err(OciError::NotAnImage { what, media_type }),
            Kind::Index => {
                let index: ImageIndex = parse(&bytes, &what)?;
                for entry in index.manifests() {
                    let digest = entry.digest().to_string();
                    if Kind::of(entry.media_type()) == Kind::Other {
                        blobs.push(Blob { digest, size: entry.size(), content: Content::Remote });
                    } else {
                        children.push(Box::pin(self.load_manifest(&digest, extent)).await?);
                    }
                }
            }
            Kind::Image => {
                let image: ImageManifest = parse(&bytes, &what)?;
                blobs.push(self.load_config(image.config()).await?);
                blobs.extend(image.layers().iter().map(|layer| Blob {
                    digest: layer.digest().to_string(),
                    size: layer.size(),
                    content: Content::Remote,
                }));
            }
        }
        extent.end();
        Ok(Manifest { media_type, bytes, blobs, children })
    }

    /// A manifest or index as it was sent, and what the registry calls it.
    pub(super) async fn document(
        &self,
        target: &str,
        what: &str,
    ) -> Result<(String, Vec<u8>), OciError> {
        let found = self.try_document(target).await;
        let (media_type, bytes) =
            found.map_err(|failure| self.explain(&format!("send {what}"), failure))?;
        if target.contains(':') {
            check_digest(what, target, &bytes)?;
        }
        Ok((media_type, bytes))
    }

    pub(super) async fn try_document(&self, target: &str) -> Result<(String, Vec<u8>), Failure> {
        let get = || {
            let request = self.client().get(self.url(&format!("manifests/{target}"))?);
            Ok(request.header(header::ACCEPT, MANIFEST_TYPES.join(", ")))
        };
        retry(self.say(), async || {
            let answer = self.request(get).await?;
            let media_type = answer.headers().get(header::CONTENT_TYPE);
            let media_type = media_type.and_then(|name| name.to_str().ok()).unwrap_or_default();
            let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
            Ok((media_type, read_document(answer, DOCUMENT_LIMIT).await?))
        })
        .await
    }

    async fn load_config(&self, descriptor: &Descriptor) -> Result<Blob, OciError> {
        let digest = descriptor.digest().to_string();
        let bytes = self.config_bytes(descriptor).await?;
        Ok(Blob { digest, size: bytes.len() as u64, content: Content::Bytes(bytes) })
    }

    pub(super) async fn config_bytes(&self, descriptor: &Descriptor) -> Result<Vec<u8>, OciError> {
        let digest = descriptor.digest().to_string();
        let what = format!("config {digest}");
        OciError::check_document_size(&what, descriptor.size())?;
        let get = || Ok(self.client().get(self.url(&format!("blobs/{digest}"))?));
        let bytes = retry(self.say(), async || {
            read_document(self.request(get).await?, DOCUMENT_LIMIT).await
        })
        .await
        .map_err(|failure| self.explain(&format!("send {what}"), failure))?;
        check_digest(&what, &digest, &bytes)?;
        Ok(bytes)
    }

    /// Brings a blob into a file; it has the size that its manifest states, its digest is up to who reads it.
    pub async fn fetch(&self, blob: &Blob, path: &Path) -> Result<Blob, OciError> {
        let digest = &blob.digest;
        retry(self.say(), async || self.fetch_once(blob, path).await)
            .await
            .map_err(|failure| self.explain(&format!("send blob {digest}"), failure))?;
        let part = Part { path: path.to_owned(), offset: 0, length: blob.size };
        Ok(Blob { content: Content::Part(part), ..blob.clone() })
    }

    async fn fetch_once(&self, blob: &Blob, path: &Path) -> Result<(), Failure> {
        let get = || Ok(self.client().get(self.url(&format!("blobs/{}", blob.digest))?));
        let mut answer = self.request(get).await?;
        let write = |source| Failure::Write { path: path.to_owned(), source };
        let mut file = File::create(path).map_err(write)?;
        let mut length = 0;
        while let Some(chunk) = next_chunk(&mut answer).await? {
            length += chunk.len() as u64;
            if length > blob.size {
                break;
            }
            file.write_all(&chunk).map_err(write)?;
        }
        if length == blob.size {
            return Ok(());
        }
        let expected = blob.size;
        Err(Failure::Nonsense(format!("it sent {length} bytes or more instead of {expected}")))
    }

    /// Whether these bytes have the digest that the reference names, if it does.
    pub(super) fn check_target(&self, bytes: &[u8]) -> Result<(), OciError> {
        match self.image().digest() {
            Some(digest) => check_digest(&format!("manifest {digest}"), digest, bytes),
            None => Ok(()),
        }
    }
}

fn check_digest(what: &str, expected: &str, bytes: &[u8]) -> Result<(), OciError> {
    let found = digest_of(bytes);
    if found == expected {
        return Ok(());
    }
    Err(OciError::WrongDigest { what: what.to_owned(), expected: expected.to_owned(), found })
}

/// Of an index's entries, an image that is not said to be for another system.
fn may_be_linux(entry: &Descriptor) -> bool {
    let system = entry.platform().as_ref().map(oci_spec::image::Platform::os);
    Kind::of(entry.media_type()) != Kind::Other && system.is_none_or(|system| *system == Os::Linux)
}
