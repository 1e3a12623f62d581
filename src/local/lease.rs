//! Keeps the runs of this user apart: what belongs to a live run, and what one that was killed left behind.
//!
//! Invariant: a run holds the lock of its file from before it makes anything until everything is removed; the kernel drops the lock
//! of a run that dies.
//! Invariant: only what carries our owner's label and whose run holds no lock is stale.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptions,
};
use futures_util::future::{join_all, try_join_all};
use futures_util::join;
use tempfile::NamedTempFile;

use super::engine::Engine;
use super::error::{Asked as _, LocalError, is_absent, status_code};

/// Label of everything that is made for a run, with the run's id.
pub const RUN_LABEL: &str = "slipway.dev/run";
/// Label of everything that is made on behalf of somebody, with that user and machine.
pub const OWNER_LABEL: &str = "slipway.dev/owner";
/// Label of a run's first volume, with the names of the containers that are made for it.
pub const CONTAINERS_LABEL: &str = "slipway.dev/containers";
/// Label of a container, with its name in the pod.
pub const CONTAINER_LABEL: &str = "slipway.dev/container";

/// File that tells one directory of locks from all others.
const OWNER_FILE: &str = ".owner";
/// What the file of a run begins with whose things the user wanted to keep.
const KEPT: &str = "kept ";
/// How often, and how soon again, it is tried to remove what a run made.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Content of the file of a run whose things this engine keeps.
fn kept(engine: &Engine) -> String {
    format!("{KEPT}{}", engine.url)
}

/// The right to make things under an id of one's own.
#[derive(Debug)]
pub struct Lease {
    /// Removed when the lease is given back; its lock goes with the process.
    file: NamedTempFile,
    id: String,
    owner: String,
}

impl Lease {
    /// A lease that no other run has.
    pub fn take() -> Result<Self, LocalError> {
        let directory = directory()?;
        let failed = |source| LocalError::Lease { path: directory.display().to_string(), source };
        loop {
            let file = tempfile::Builder::new()
                .prefix("")
                .rand_bytes(10)
                .tempfile_in(&directory)
                .map_err(failed)?;
            // Somebody who cleans up may have taken the new file for a stale one.
            match file.as_file().try_lock() {
                Ok(()) if file.as_file().metadata().map_err(failed)?.nlink() > 0 => {}
                Ok(()) | Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            let id = id_of(&file.path().file_name().unwrap_or_default().to_string_lossy());
            return Ok(Self { id, owner: owner(&directory)?, file });
        }
    }

    /// Unique among the runs of this user.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// By this label the user finds what was kept.
    pub fn label(&self) -> String {
        format!("{RUN_LABEL}={}", self.name())
    }

    /// Labels for whatever is made.
    pub fn labels(&self) -> HashMap<String, String> {
        HashMap::from([
            (RUN_LABEL.to_owned(), self.name()),
            (OWNER_LABEL.to_owned(), self.owner.clone()),
        ])
    }

    /// The file's name, which differs from the id in its capitals.
    fn name(&self) -> String {
        self.file.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Removes everything that was made under this lease. What was asked for just before may still come.
    pub async fn clear(&self, engine: &Engine) -> Result<(), LocalError> {
        let name = self.name();
        let mut tries = 1..=TRIES;
        loop {
            let removed = async {
                let made = made(engine, &self.owner).await?;
                remove(engine, made.iter().filter(|(run, _)| **run == name)).await
            };
            match removed.await {
                Err(_) if tries.next().is_some() => tokio::time::sleep(PAUSE).await,
                outcome => return outcome,
            }
        }
    }

    /// Leaves everything that was made to the user, who removes it by its label.
    pub fn keep(mut self, engine: &Engine) -> Result<(), LocalError> {
        let path = self.file.path().display().to_string();
        let failed = |source| LocalError::Lease { path: path.clone(), source };
        self.file.write_all(kept(engine).as_bytes()).map_err(failed)?;
        self.file.keep().map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Removes what runs that were killed left behind.
    pub async fn clear_stale(&self, engine: &Engine) -> Result<(), LocalError> {
        let directory = directory()?;
        let failed = |source| LocalError::Lease { path: directory.display().to_string(), source };
        let made = made(engine, &self.owner).await?;
        let mut runs: BTreeSet<String> = made.keys().cloned().collect();
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                runs.insert(name);
            }
        }
        let mut stale = BTreeMap::new();
        for run in runs {
            let path = directory.join(&run);
            if let Some(lock) = stale_lock(&path, engine, made.contains_key(&run)) {
                stale.insert(run, lock);
            }
        }
        remove(engine, made.iter().filter(|(run, _)| stale.contains_key(*run))).await?;
        for run in stale.keys() {
            // Another run may have been quicker.
            drop(std::fs::remove_file(directory.join(run)));
        }
        Ok(())
    }
}

/// A run that nobody holds.
struct Stale {
    _lock: Option<File>,
}

/// The file of a run that nobody holds, locked until its things are removed; or that there is no file.
fn stale_lock(path: &Path, engine: &Engine, left_things: bool) -> Option<Stale> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Stale { _lock: None }),
        // Whoever cannot be asked is taken to be alive.
        Err(_) => None,
        Ok(mut file) => {
            file.try_lock().ok()?;
            let mut content = String::new();
            file.read_to_string(&mut content).ok()?;
            // Only the engine that has the things can say that the user has removed them.
            let is_kept = content.starts_with(KEPT) && (left_things || content != kept(engine));
            (!is_kept).then_some(Stale { _lock: Some(file) })
        }
    }
}

/// Where the locks are: where every program of this user sees the same files, and where they last as long as what they stand for.
fn directory() -> Result<PathBuf, LocalError> {
    let uid = rustix::process::getuid().as_raw();
    let variable = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let state = variable("XDG_STATE_HOME")
        .or_else(|| Some(variable("HOME")?.join(".local/state")))
        .map_or_else(
            || std::env::temp_dir().join(format!("slipway-{uid}")),
            |state| state.join("slipway"),
        );
    let directory = state.join("runs");
    let failed = |source| LocalError::Lease { path: directory.display().to_string(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
    let metadata = std::fs::symlink_metadata(&directory).map_err(failed)?;
    if !metadata.is_dir() || metadata.uid() != uid {
        return Err(failed(io::Error::other("it is no directory of this user's; remove it")));
    }
    Ok(directory)
}

/// Who sees these locks, and nobody else: engines are shared by users and machines whose names may be the same.
fn owner(directory: &Path) -> Result<String, LocalError> {
    let path = directory.join(OWNER_FILE);
    let failed = |source| LocalError::Lease { path: path.display().to_string(), source };
    let token = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = tempfile::Builder::new().rand_bytes(20).tempfile_in(directory);
            let mut file = file.map_err(failed)?;
            let token = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            file.write_all(token.as_bytes()).map_err(failed)?;
            match file.persist_noclobber(&path) {
                Ok(_) => token,
                // Another run was quicker.
                Err(_) => std::fs::read_to_string(&path).map_err(failed)?,
            }
        }
        outcome => outcome.map_err(failed)?,
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(format!("{host}:{}", token.trim_start_matches(".tmp")))
}

/// What was made for one run.
#[derive(Debug, Default)]
struct Made {
    volumes: Vec<String>,
    /// The containers beside the sandbox; some may not have been made.
    containers: BTreeSet<String>,
}

/// Everything of this owner's, by run.
///
/// The volumes name the containers that are made beside them, and the list of containers those whose volumes are gone already.
/// Podman's list cannot be read while one of them is between its end and its burial.
async fn made(engine: &Engine, owner: &str) -> Result<BTreeMap<String, Made>, LocalError> {
    let filters = HashMap::from([("label", vec![format!("{OWNER_LABEL}={owner}")])]);
    let of_volumes = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let of_containers = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let docker = &engine.docker;
    let (volumes, containers) =
        join!(docker.list_volumes(Some(of_volumes)), docker.list_containers(Some(of_containers)));
    let listed = volumes.asked(|| "list volumes".into())?;
    let mut found: BTreeMap<String, Made> = BTreeMap::new();
    for volume in listed.volumes.into_iter().flatten() {
        let Some(run) = volume.labels.get(RUN_LABEL) else { continue };
        let made = found.entry(run.clone()).or_default();
        let containers =
            volume.labels.get(CONTAINERS_LABEL).map(String::as_str).unwrap_or_default();
        made.containers
            .extend(containers.split(',').filter(|name| !name.is_empty()).map(String::from));
        made.volumes.push(volume.name);
    }
    let listed = match containers {
        Err(EngineError::JsonDataError { .. }) => Vec::new(),
        outcome => outcome.asked(|| "list containers".into())?,
    };
    for labels in listed.into_iter().filter_map(|container| container.labels) {
        let Some(run) = labels.get(RUN_LABEL) else { continue };
        let made = found.entry(run.clone()).or_default();
        made.containers.extend(labels.get(CONTAINER_LABEL).cloned());
    }
    Ok(found)
}

async fn remove(
    engine: &Engine,
    made: impl Iterator<Item = (&String, &Made)>,
) -> Result<(), LocalError> {
    for (run, Made { volumes, containers }) in made {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removals = containers.iter().map(async |container| {
            let name = container_name(&id_of(run), container);
            engine.docker.remove_container(&name, Some(options.clone())).await
        });
        for removed in join_all(removals).await {
            removed_or_being_removed(removed).asked(|| "remove a container".into())?;
        }
        // The sandbox after those that share its network, the volumes after those that use them.
        let sandbox = sandbox_name(&id_of(run));
        let removed = engine.docker.remove_container(&sandbox, Some(options)).await;
        removed_or_being_removed(removed).asked(|| "remove the pod's sandbox".into())?;
        let removals = volumes.iter().map(async |name| {
            match engine.docker.remove_volume(name, None::<RemoveVolumeOptions>).await {
                Err(error) if is_absent(&error) => Ok(()),
                outcome => outcome.asked(|| format!("remove volume {name}")),
            }
        });
        try_join_all(removals).await?;
    }
    Ok(())
}

/// The id of the run whose lock is in a file of this name.
fn id_of(file: &str) -> String {
    file.to_lowercase()
}

/// Name in the engine of the container that has the network.
pub fn sandbox_name(id: &str) -> String {
    format!("slipway-{id}")
}

/// Name in the engine of a container of the pod.
pub fn container_name(id: &str, container: &str) -> String {
    format!("slipway-{id}-{container}")
}

/// What somebody else has removed, or is removing, is as good as removed.
fn removed_or_being_removed(removed: Result<(), EngineError>) -> Result<(), EngineError> {
    match removed {
        Err(error) if is_absent(&error) || status_code(&error) == Some(409) => Ok(()),
        outcome => outcome,
    }
}
