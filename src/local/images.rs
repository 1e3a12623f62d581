//! The images of a pod's containers: here already, or pulled with the user's credentials.
//!
//! Invariant: an image is looked up once a run, and its users are read once for good: they belong to its content.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use bollard::errors::Error as EngineError;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, DownloadFromContainerOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use super::credentials::credentials;
use super::engine::Engine;
use super::error::{Asked as _, LocalError, is_absent, words};
use super::happening::Happening;
use super::lease::{CONTAINER_LABEL, Lease, container_name};
use crate::plan::ImageCommand;
use slipway_step::oci::Reference;

/// What matters of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// Identity of its content in the engine, such as `sha256:…`.
    pub id: String,
    /// `USER`, as it was written.
    pub user: String,
    /// What it runs.
    pub command: ImageCommand,
}

/// An image that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullFailure {
    /// The image.
    pub image: String,
    /// It was not to be pulled, and is not here.
    pub never: bool,
    /// The engine's words.
    pub message: String,
}

/// Who an image knows: its `/etc/passwd` and `/etc/group`, as far as there are such files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUsers {
    /// `/etc/passwd`
    pub passwd: Option<String>,
    /// `/etc/group`
    pub group: Option<String>,
}

/// Brings the image here, as the pull policy of Kubernetes says: `Always`, `Never` or `IfNotPresent`; without one, `Always` for
/// `:latest`. An image that is here serves where it cannot be pulled, unless the policy was written down.
pub async fn fetch(
    engine: &Engine,
    image: &str,
    policy: Option<&str>,
    tell: &UnboundedSender<Happening>,
) -> Result<Result<ImageFacts, PullFailure>, LocalError> {
    let here = inspect(engine, image).await?;
    let latest = image
        .parse::<Reference>()
        .is_ok_and(|reference| reference.digest().is_none() && reference.tag() == Some("latest"));
    let pulls = match policy {
        Some("Always") => true,
        Some("Never") => {
            let message =
                format!("Container image \"{image}\" is not present with pull policy of Never");
            return Ok(here.ok_or(PullFailure { image: image.into(), never: true, message }));
        }
        Some(_) => here.is_none(),
        None => here.is_none() || latest,
    };
    if !pulls && let Some(facts) = here {
        return Ok(Ok(facts));
    }
    match pull(engine, image, tell).await? {
        Ok(()) => {
            let facts = inspect(engine, image).await?;
            let message = "it was pulled and is not there".into();
            Ok(facts.ok_or(PullFailure { image: image.into(), never: false, message }))
        }
        Err(_) if policy.is_none() && here.is_some() => Ok(Ok(here.unwrap_or_default())),
        Err(failure) => Ok(Err(failure)),
    }
}

async fn inspect(engine: &Engine, image: &str) -> Result<Option<ImageFacts>, LocalError> {
    let inspected = match engine.docker.inspect_image(image).await {
        Err(error) if is_absent(&error) => return Ok(None),
        outcome => outcome.asked(|| format!("look at image {image}"))?,
    };
    let config = inspected.config.unwrap_or_default();
    Ok(Some(ImageFacts {
        id: inspected.id.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        command: ImageCommand {
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
        },
    }))
}

async fn pull(
    engine: &Engine,
    image: &str,
    tell: &UnboundedSender<Happening>,
) -> Result<Result<(), PullFailure>, LocalError> {
    let options = CreateImageOptionsBuilder::new().from_image(&tagged(image)).build();
    let credentials = credentials(image).unwrap_or_else(|error| {
        let note =
            format!("credentials for {image} cannot be read, so it is pulled without: {error}");
        drop(tell.send(Happening::Note(note)));
        None
    });
    let mut progress = engine.docker.create_image(Some(options), None, credentials);
    let mut layers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let say = |done, total| {
        // Nobody listens any more once the run has ended.
        drop(tell.send(Happening::Pulling { image: image.into(), done, total }));
    };
    say(0, 0);
    while let Some(step) = progress.next().await {
        let failed =
            |message: String| Ok(Err(PullFailure { image: image.into(), never: false, message }));
        let step = match step {
            Ok(step) => step,
            Err(
                error @ (EngineError::DockerStreamError { .. }
                | EngineError::DockerResponseServerError { .. }),
            ) => {
                return failed(words(&error));
            }
            Err(source) => {
                return Err(LocalError::Engine { what: format!("pull {image}"), source });
            }
        };
        if let Some(error) = step.error_detail.and_then(|detail| detail.message) {
            return failed(error);
        }
        let downloads = step.status.is_some_and(|status| status == "Downloading");
        if let (Some(layer), Some(detail), true) = (step.id, step.progress_detail, downloads) {
            let bytes =
                |count: Option<i64>| count.and_then(|count| count.try_into().ok()).unwrap_or(0);
            layers.insert(layer, (bytes(detail.current), bytes(detail.total)));
            say(
                layers.values().map(|(done, _)| done).sum(),
                layers.values().map(|(_, total)| total).sum(),
            );
        }
    }
    drop(tell.send(Happening::Pulled { image: image.into() }));
    Ok(Ok(()))
}

/// The image by its tag or digest: Docker would take every tag of a repository alone.
fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Most bytes of a file that is read for its text.
const MOST_TEXT: usize = 4 << 20;
/// Name of the container that is made to read an image's users.
pub const USERS_CONTAINER: &str = "users";

/// Who the image knows. Read from a container that is never started, and kept in the cache of this user.
pub async fn users(
    engine: &Engine,
    image: &ImageFacts,
    lease: &Lease,
) -> Result<ImageUsers, LocalError> {
    let cached = cache(image);
    let known = cached.as_ref().and_then(|path| fs::read(path).ok());
    if let Some(users) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return Ok(users);
    }
    let mut labels = lease.labels();
    labels.insert(CONTAINER_LABEL.into(), USERS_CONTAINER.into());
    let body = ContainerCreateBody {
        image: Some(image.id.clone()),
        cmd: Some(vec!["never-started".into()]),
        labels: Some(labels),
        ..ContainerCreateBody::default()
    };
    let name = container_name(lease.id(), USERS_CONTAINER);
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let made = engine.docker.create_container(Some(options), body).await;
    let container = made.asked(|| format!("make a container of {}", image.id))?.id;
    let users = ImageUsers {
        passwd: text(engine, &container, "/etc/passwd").await?,
        group: text(engine, &container, "/etc/group").await?,
    };
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    engine
        .docker
        .remove_container(&container, Some(options))
        .await
        .asked(|| "remove a container".into())?;
    if let (Some(path), Ok(json)) = (cached, serde_json::to_vec(&users)) {
        // A cache that cannot be written only costs time.
        drop(path.parent().map(fs::create_dir_all));
        drop(fs::write(path, json));
    }
    Ok(users)
}

fn cache(image: &ImageFacts) -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    let id = image.id.trim_start_matches("sha256:");
    let is_name = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then(|| base.join("slipway/image-users").join(format!("{id}.json")))
}

/// The text of one file of a container; nothing where there is no such file.
pub(super) async fn text(
    engine: &Engine,
    container: &str,
    path: &str,
) -> Result<Option<String>, LocalError> {
    let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
    let mut archive = Vec::new();
    let mut stream = engine.docker.download_from_container(container, Some(options));
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) if archive.len() < MOST_TEXT => archive.extend_from_slice(&chunk),
            Ok(_) => {
                let source = std::io::Error::other(format!("it has more than {MOST_TEXT} bytes"));
                return Err(LocalError::Archive { what: path.into(), source });
            }
            Err(error) if is_absent(&error) => return Ok(None),
            Err(source) => return Err(LocalError::Engine { what: format!("read {path}"), source }),
        }
    }
    let failed = |source| LocalError::Archive { what: path.into(), source };
    let mut archive = tar::Archive::new(archive.as_slice());
    let Some(entry) = archive.entries().map_err(failed)?.next() else { return Ok(None) };
    let mut entry = entry.map_err(failed)?;
    // A link, which podman follows and docker does not.
    if !entry.header().entry_type().is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
