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

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptions,
};
use tempfile::NamedTempFile;

use super::engine::Engine;
use super::error::{Asked as _, LocalError, is_absent, status_code};

/// Label of everything that is made for a run, with the run's id.
pub const RUN_LABEL: &str = "slipway.dev/run";
/// Label of everything that is made on behalf of somebody, with that user and machine.
pub const OWNER_LABEL: &str = "slipway.dev/owner";
/// Label of a container, with its name in the pod.
pub const CONTAINER_LABEL: &str = "slipway.dev/container";

/// Content of the file of a run whose things the user wanted to keep.
const KEPT: &[u8] = b"kept";

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
            let name = file.path().file_name().unwrap_or_default().to_string_lossy();
            let id = name.to_lowercase();
            return Ok(Self { id, owner: owner(&directory), file });
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

    /// Removes everything that was made under this lease.
    pub async fn clear(&self, engine: &Engine) -> Result<(), LocalError> {
        let name = self.name();
        remove(engine, &self.owner, |run| run == name).await
    }

    /// Leaves everything that was made to the user, who removes it by its label.
    pub fn keep(mut self) -> Result<(), LocalError> {
        let path = self.file.path().display().to_string();
        let failed = |source| LocalError::Lease { path: path.clone(), source };
        self.file.write_all(KEPT).map_err(failed)?;
        self.file.keep().map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Removes what runs that were killed left behind.
    pub async fn clear_stale(&self, engine: &Engine) -> Result<(), LocalError> {
        let directory = directory()?;
        let failed = |source| LocalError::Lease { path: directory.display().to_string(), source };
        let made: BTreeSet<String> =
            made(engine, &self.owner).await?.into_iter().filter_map(|thing| thing.run).collect();
        let mut runs = made.clone();
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            runs.insert(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        let mut stale = BTreeMap::new();
        for run in runs {
            if let Some(lock) = stale_lock(&directory.join(&run), made.contains(&run)) {
                stale.insert(run, lock);
            }
        }
        if stale.keys().any(|run| made.contains(run)) {
            remove(engine, &self.owner, |run| stale.contains_key(run)).await?;
        }
        for run in stale.keys() {
            // Another run may have been quicker.
            drop(std::fs::remove_file(directory.join(run)));
        }
        Ok(())
    }
}

/// The file of a run that nobody holds, locked until its things are removed; or that there is no file.
fn stale_lock(path: &Path, left_things: bool) -> Option<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(None),
        // Whoever cannot be asked is taken to be alive.
        Err(_) => None,
        Ok(mut file) => {
            file.try_lock().ok()?;
            let mut content = Vec::new();
            file.read_to_end(&mut content).ok()?;
            (content != KEPT || !left_things).then_some(Some(file))
        }
    }
}

/// Where the locks are: gone with the session or with the machine, as the runs are.
fn directory() -> Result<PathBuf, LocalError> {
    let uid = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let directory = match runtime {
        Some(runtime) => Path::new(&runtime).join("slipway-runs"),
        None => std::env::temp_dir().join(format!("slipway-runs-{uid}")),
    };
    let failed = |source| LocalError::Lease { path: directory.display().to_string(), source };
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let metadata = std::fs::symlink_metadata(&directory).map_err(failed)?;
    if !metadata.is_dir() || metadata.uid() != uid {
        return Err(failed(io::Error::other("it is no directory of this user's; remove it")));
    }
    Ok(directory)
}

/// This user on this machine, as far as locks reach.
fn owner(directory: &Path) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", directory.display())
}

struct Made {
    run: Option<String>,
    container: Option<String>,
    is_sandbox: bool,
    volume: Option<String>,
}

async fn made(engine: &Engine, owner: &str) -> Result<Vec<Made>, LocalError> {
    let filters = HashMap::from([("label", vec![format!("{OWNER_LABEL}={owner}")])]);
    let label = |labels: &Option<HashMap<String, String>>, name: &str| {
        labels.as_ref().and_then(|labels| labels.get(name).cloned())
    };
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let containers =
        engine.docker.list_containers(Some(options)).await.asked(|| "list containers".into())?;
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let volumes =
        engine.docker.list_volumes(Some(options)).await.asked(|| "list volumes".into())?;
    let mut found: Vec<Made> = containers
        .into_iter()
        .map(|container| Made {
            run: label(&container.labels, RUN_LABEL),
            is_sandbox: label(&container.labels, CONTAINER_LABEL).is_none(),
            container: container.id,
            volume: None,
        })
        .collect();
    found.extend(volumes.volumes.into_iter().flatten().map(|volume| Made {
        run: volume.labels.get(RUN_LABEL).cloned(),
        is_sandbox: false,
        container: None,
        volume: Some(volume.name),
    }));
    Ok(found)
}

/// Containers first: a volume in use cannot be removed.
async fn remove(engine: &Engine, owner: &str, of: impl Fn(&str) -> bool) -> Result<(), LocalError> {
    let mut found = made(engine, owner).await?;
    found.retain(|thing| thing.run.as_deref().is_some_and(&of));
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    // The sandbox last: podman keeps it for as long as others share its network.
    for is_sandbox in [false, true] {
        let removals = found
            .iter()
            .filter(|thing| thing.is_sandbox == is_sandbox)
            .filter_map(|thing| thing.container.as_deref())
            .map(|id| engine.docker.remove_container(id, Some(options.clone())));
        for removed in futures_util::future::join_all(removals).await {
            gone(removed).asked(|| "remove a container".into())?;
        }
    }
    let volumes = found.iter().filter_map(|thing| thing.volume.as_deref()).map(async |name| {
        let removed = engine.docker.remove_volume(name, None::<RemoveVolumeOptions>).await;
        gone(removed).asked(|| format!("remove volume {name}"))
    });
    futures_util::future::try_join_all(volumes).await?;
    Ok(())
}

/// What somebody else has removed, or is removing, is as good as removed.
fn gone(removed: Result<(), bollard::errors::Error>) -> Result<(), bollard::errors::Error> {
    match removed {
        Err(error) if is_absent(&error) || status_code(&error) == Some(409) => Ok(()),
        outcome => outcome,
    }
}
