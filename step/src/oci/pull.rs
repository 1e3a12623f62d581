//! Pulls one image, and deletes it afterwards.
//!
//! Invariant: only one image of an index is asked for, and no layer before somebody wants it.

use std::time::{Duration, Instant};

use oci_spec::image::{ImageIndex, ImageManifest};
use serde::Deserialize;

use super::OciError;
use super::blob::{Blob, Content, digest_of};
use super::manifest::{DEEPEST, Kind, parse};
use super::platform;
use super::registry::Registry;
use super::transport::{Failure, retry};

/// How often an image is asked for that is not there yet.
const PAUSE: Duration = Duration::from_secs(1);

/// An image in a registry.
#[derive(Debug)]
pub struct Pulled {
    /// The digests that led to it: first that of what the reference names, last that of the image itself.
    pub digests: Vec<String>,
    /// From the lowest on, each with the digest of what it unpacks to if the image's config says so.
    pub layers: Vec<(Blob, Option<String>)>,
}

impl Pulled {
    /// The digest of the image itself.
    pub fn digest(&self) -> &str {
        self.digests.last().map_or("", String::as_str)
    }
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Registry {
    /// The image that the reference names, or that of its index which fits this machine. One that is not there is waited for.
    pub async fn pull(&self, patience: Duration) -> Result<Pulled, OciError> {
        let (mut media_type, mut bytes) = self.await_document(patience).await?;
        let mut digests = vec![digest_of(&bytes)];
        for _ in 0..=DEEPEST {
            let digest = digest_of(&bytes);
            let what = format!("manifest {digest}");
            match Kind::of(&media_type.as_str().into()) {
                Kind::Other => return Err(OciError::NotAnImage { what, media_type }),
                Kind::Image => {
                    let image: ImageManifest = parse(&bytes, &what)?;
                    let layers = self.layers(&image, &what).await?;
                    return Ok(Pulled { digests, layers });
                }
                Kind::Index => {
                    let index: ImageIndex = parse(&bytes, &what)?;
                    let entry = platform::choose(&index, &platform::of_this_machine(), &what)?;
                    let digest = entry.digest().to_string();
                    (media_type, bytes) =
                        self.document(&digest, &format!("manifest {digest}")).await?;
                    digests.push(digest);
                }
            }
        }
        let problem =
            format!("it lies in more than {DEEPEST} indexes; put fewer of them into each other");
        Err(OciError::Malformed { what: format!("manifest {}", self.target()), problem })
    }

    /// What the reference names. Clients upload the source when its run is there already, so it may come a little later.
    async fn await_document(&self, patience: Duration) -> Result<(String, Vec<u8>), OciError> {
        let begin = Instant::now();
        let mut has_told = false;
        loop {
            match self.try_document(self.target()).await {
                Err(Failure::Answer { status: 404, text: answer, .. }) => {
                    let image = self.image().to_string();
                    if begin.elapsed() >= patience {
                        let seconds = patience.as_secs();
                        return Err(OciError::NoImage { image, seconds, answer });
                    }
                    if !has_told {
                        let seconds = patience.as_secs();
                        eprintln!(
                            "{image} is not there ({answer}): waiting up to {seconds} s for whoever uploads it"
                        );
                        has_told = true;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failure) => {
                    let action = format!("send manifest {}", self.target());
                    return Err(self.explain(&action, failure));
                }
                Ok((media_type, bytes)) => {
                    self.check_target(&bytes)?;
                    return Ok((media_type, bytes));
                }
            }
        }
    }

    async fn layers(
        &self,
        image: &ImageManifest,
        what: &str,
    ) -> Result<Vec<(Blob, Option<String>)>, OciError> {
        let kind = image.config().media_type().to_string();
        // Artifacts may have any other config, or none.
        let diff_ids = if kind.ends_with("image.config.v1+json")
            || kind.ends_with("container.image.v1+json")
        {
            let config: Config = parse(&self.config_bytes(image.config()).await?, "config")?;
            let (found, stated) = (config.rootfs.diff_ids.len(), image.layers().len());
            if found != stated {
                let problem = format!(
                    "its config speaks of {found} layers and the manifest itself of {stated}"
                );
                return Err(OciError::Malformed { what: what.to_owned(), problem });
            }
            config.rootfs.diff_ids.into_iter().map(Some).collect()
        } else {
            vec![None; image.layers().len()]
        };
        let blob = |layer: &oci_spec::image::Descriptor| Blob {
            digest: layer.digest().to_string(),
            size: layer.size(),
            content: Content::Remote,
        };
        Ok(image.layers().iter().map(blob).zip(diff_ids).collect())
    }

    /// Deletes manifests by their digests, in the given order: no index is left behind that names what is gone.
    pub async fn delete(&self, digests: &[String]) -> Result<(), OciError> {
        for digest in digests {
            let delete = || Ok(self.client().delete(self.url(&format!("manifests/{digest}"))?));
            match retry(self.say(), async || self.request(delete).await).await {
                Ok(_) => eprintln!("deleted {}@{digest}", self.image().repository()),
                // Somebody else, or the registry with the index that named it.
                Err(Failure::Answer { status: 404, .. }) => {
                    eprintln!("{}@{digest} is gone already", self.image().repository());
                }
                Err(Failure::Answer { status: 405, text: answer, .. }) => {
                    let registry = self.image().resolve_registry().to_owned();
                    return Err(OciError::NoDeletion { registry, answer });
                }
                Err(failure) => return Err(self.explain(&format!("delete {digest}"), failure)),
            }
        }
        Ok(())
    }
}
