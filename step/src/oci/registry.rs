//! A repository in a registry: what is there, and pushing to it.
//!
//! Invariant: a manifest is pushed after everything that it names, so nobody ever pulls half an image.
//! Invariant: what the registry says it stored is compared with what was meant.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};

use super::OciError;
use super::blob::{Blob, Content};
use super::manifest::Manifest;
use super::transport::{Meaning, Scheme, client};

const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Uploads at the same time; registries slow down those who open more.
const UPLOADS: usize = 4;
const CHUNK: usize = 128 << 10;
/// Chunks that are read ahead while the connection is busy.
const READ_AHEAD: usize = 2;
/// One repository, and the reference in it that the user named.
pub struct Registry {
    client: Client,
    scheme: Scheme,
    image: Reference,
    auth: RegistryAuth,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Registry").field("image", &self.image).finish_non_exhaustive()
    }
}

impl Registry {
    /// Finds out how the registry is spoken to and logs in; insecure means TLS with any certificate or else plain HTTP.
    pub async fn connect(
        image: Reference,
        auth: RegistryAuth,
        insecure: bool,
    ) -> Result<Self, OciError> {
        // First, because it fails where no roots of trust are found; for the other schemes the library would panic.
        let verified = Self::with_scheme(Scheme::Https, &image, &auth)?;
        let registry = if insecure {
            let unverified = Self::with_scheme(Scheme::UnverifiedHttps, &image, &auth)?;
            let plain = Self::with_scheme(Scheme::Http, &image, &auth)?;
            let unverified_answers = unverified.retry(async || {
                match unverified.probe().await {
                    Ok(()) => Ok(true),
                    // What neither answers in one way is described by the other.
                    Err(_) => plain.probe().await.map(|()| false),
                }
            });
            let unverified_answers =
                unverified_answers.await.map_err(|error| plain.explain("answer", error))?;
            if unverified_answers { unverified } else { plain }
        } else {
            verified
        };
        let login = async || {
            registry.client.auth(&registry.image, &registry.auth, RegistryOperation::Push).await
        };
        registry.retry(login).await.map_err(|error| registry.explain("log in", error))?;
        Ok(registry)
    }

    fn with_scheme(
        scheme: Scheme,
        image: &Reference,
        auth: &RegistryAuth,
    ) -> Result<Self, OciError> {
        let registry = image.resolve_registry();
        let client = client(scheme, registry).map_err(|source| OciError::Client {
            registry: registry.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Self { client, scheme, image: image.clone(), auth: auth.clone() })
    }

    /// Whether anything answers, with a client of its own because a client remembers how it logged in.
    async fn probe(&self) -> Result<(), OciDistributionError> {
        let client = client(self.scheme, self.image.resolve_registry())?;
        let answer =
            client.auth(&self.image, &RegistryAuth::Anonymous, RegistryOperation::Pull).await;
        match answer {
            Err(error @ OciDistributionError::RequestError(_)) => Err(error),
            // A refusal is an answer.
            _ => Ok(()),
        }
    }

    /// Pushes an image or index with everything that hangs on it, and says on standard error what was sent.
    pub async fn push(&self, manifest: &Manifest) -> Result<(), OciError> {
        let mut seen = BTreeSet::new();
        let mut blobs = Vec::new();
        collect_blobs(manifest, &mut seen, &mut blobs);
        stream::iter(blobs)
            .map(|blob| self.push_blob(blob))
            .buffer_unordered(UPLOADS)
            .try_collect::<()>()
            .await?;
        self.push_children(manifest).await?;
        self.push_manifest(manifest, self.target()).await
    }

    /// The tag or digest that the user named; a digest wins.
    fn target(&self) -> &str {
        self.image.digest().or(self.image.tag()).unwrap_or("latest")
    }

    async fn push_children(&self, manifest: &Manifest) -> Result<(), OciError> {
        for child in &manifest.children {
            Box::pin(self.push_children(child)).await?;
            self.push_manifest(child, &child.digest()).await?;
        }
        Ok(())
    }

    async fn push_blob(&self, blob: &Blob) -> Result<(), OciError> {
        if matches!(blob.content, Content::Remote) {
            return Ok(());
        }
        let digest = &blob.digest;
        let exists = self
            .retry(async || self.client.blob_exists(&self.image, digest).await)
            .await
            .map_err(|error| self.explain(&format!("look for blob {digest}"), error))?;
        if !exists {
            self.retry(async || self.send_blob(blob).await)
                .await
                .map_err(|error| self.explain(&format!("take blob {digest}"), error))?;
        }
        report(if exists { "exists" } else { "pushed" }, digest, blob.size);
        Ok(())
    }

    async fn send_blob(&self, blob: &Blob) -> Result<(), OciDistributionError> {
        let mut content = blob.content.open()?;
        let (sender, receiver) = tokio::sync::mpsc::channel(READ_AHEAD);
        tokio::task::spawn_blocking(move || {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = content.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
                let (item, last) = match read {
                    Ok(count) => (Ok(chunk.into()), count == 0),
                    Err(error) => (Err(OciDistributionError::IoError(error)), true),
                };
                // Nobody receives any more when the request has ended early.
                if sender.blocking_send(item).is_err() || last {
                    return;
                }
            }
        });
        let chunks = stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        });
        self.client
            .push_blob_stream(&self.image, Box::pin(chunks), &blob.digest, Some(blob.size))
            .await
            .map(drop)
    }

    async fn push_manifest(&self, manifest: &Manifest, target: &str) -> Result<(), OciError> {
        let expected = manifest.digest();
        let what = format!("manifest {expected}");
        let content_type = manifest.media_type.as_str().try_into().map_err(|_| {
            OciError::NotAnImage { what: what.clone(), media_type: manifest.media_type.clone() }
        })?;
        let content_type: &_ = &content_type;
        let named = self.named(target);
        self.retry(async || {
            let bytes = manifest.bytes.clone();
            self.client.push_manifest_raw(&named, bytes, Clone::clone(content_type)).await
        })
        .await
        .map_err(|error| self.explain(&format!("take {what}"), error))?;
        let found = self
            .retry(async || {
                self.client.fetch_manifest_digest(&self.named(&expected), &self.auth).await
            })
            .await
            .map_err(|error| self.explain(&format!("show {what}"), error))?;
        if found != expected {
            return Err(OciError::WrongDigest { what: format!("{named}"), expected, found });
        }
        report("pushed", &expected, manifest.bytes.len() as u64);
        Ok(())
    }

    /// The repository with another tag or digest. The client is given a digest as if it were a tag: the address is the same, and it
    /// does not stumble over registries that answer without a `Location`.
    fn named(&self, target: &str) -> Reference {
        Reference::with_tag(
            self.image.registry().to_owned(),
            self.image.repository().to_owned(),
            target.to_owned(),
        )
    }

    async fn retry<T>(
        &self,
        attempt: impl AsyncFn() -> Result<T, OciDistributionError>,
    ) -> Result<T, OciDistributionError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS {
            match attempt().await {
                Err(error) if Meaning::of(&error, self.scheme).may_pass() => {
                    eprintln!("{error}; trying again in {pause:?}");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        attempt().await
    }

    fn explain(&self, action: &str, source: OciDistributionError) -> OciError {
        let registry = self.image.resolve_registry().to_owned();
        let (image, action) = (self.image.to_string(), action.to_owned());
        let meaning = Meaning::of(&source, self.scheme);
        let source = Box::new(source);
        match meaning {
            Meaning::Denied(answer) => OciError::Denied { registry, image, action, answer },
            Meaning::Answer { text: answer, .. } => {
                OciError::Answer { registry, image, action, answer }
            }
            Meaning::PlainHttp(url) => OciError::PlainHttp { registry, url },
            Meaning::NotTls => OciError::NotTls { registry, source },
            Meaning::Untrusted => OciError::Untrusted { registry, source },
            Meaning::LocalFile | Meaning::Broken | Meaning::Nonsense => {
                OciError::Unreachable { registry, image, action, source }
            }
        }
    }
}

fn collect_blobs<'a>(
    manifest: &'a Manifest,
    seen: &mut BTreeSet<&'a str>,
    blobs: &mut Vec<&'a Blob>,
) {
    blobs.extend(manifest.blobs.iter().filter(|blob| seen.insert(&blob.digest)));
    for child in &manifest.children {
        collect_blobs(child, seen, blobs);
    }
}

/// One line for people.
fn report(what: &str, digest: &str, size: u64) {
    let short: String = digest.chars().take("sha256:".len() + 12).collect();
    eprintln!("{what} {short} {size} bytes");
}
