//! The volumes of a pod in an engine.
//!
//! Invariant: everything that is filled or shared lies in volumes of the engine, none of it in a directory of this machine: so a
//! remote engine serves as well as a local one, and nothing has to belong to another user here.
//! Invariant: content of Secrets is in memory only.
//!
//! Most volumes of a pod are directories of two volumes of the engine, one on disk and one in memory, bound from where the engine keeps
//! them: making and mounting a volume of the engine for each would cost more than running the step. Volumes with a limit, and those
//! that outlive the run, are volumes of their own.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{Mount, MountType, VolumeCreateRequest};
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume, VolumeMount,
};

use super::config_error::ConfigError;
use super::contents::Contents;
use super::engine::Engine;
use super::error::{Asked as _, LocalError};
use super::host_path::{self, LOOK_CONTAINER, Looker};
use super::images::USERS_CONTAINER;
use super::lease::CONTAINERS_LABEL;
use super::pod_fields::containers;
use super::volume_files::{VolumeContent, volume_files};
use crate::plan::{DEFAULT_NAMESPACE, TOKEN_VOLUME, nanos};

/// Where the sandbox has the volumes.
pub const SANDBOX_ROOT: &str = "/volumes";
/// Directory for what is not a volume of the pod.
const OWN: &str = ".slipway";
// No volume of a pod can have a name like these.
const DISK: &str = ".disk";
const MEMORY: &str = ".memory";
/// Modes of a volume's own directory, as the kubelet makes it.
const ON_DISK: u32 = 0o777;
const IN_MEMORY: u32 = 0o1777;
/// Bytes of a block of memory, as limits count them.
const BLOCK: u64 = 4096;

/// All volumes of one pod.
#[derive(Debug)]
pub struct PodVolumes {
    /// Volumes of the engine, by their name in the sandbox.
    engine: BTreeMap<String, EngineVolume>,
    /// Volumes of the pod.
    pod: BTreeMap<String, Place>,
}

#[derive(Debug, Clone)]
struct EngineVolume {
    name: String,
    mountpoint: String,
    /// It was there before this run, with whatever others left in it.
    lasts: bool,
}

/// Where a volume of the pod is.
#[derive(Debug, Clone)]
enum Place {
    /// In a volume of the engine.
    Engine {
        /// Name of that volume in the sandbox.
        volume: String,
        /// Directory in it; nothing for all of it.
        directory: Option<String>,
        read_only: bool,
    },
    /// A path of the engine's machine.
    Host { path: String },
}

/// A volume that may not grow beyond a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// Its name in the pod.
    pub volume: String,
    /// Bytes.
    pub limit: u64,
    /// The limit, as it was written.
    pub written: String,
}

/// One file or directory that goes into the volumes before anything starts; the path is one in the sandbox.
#[derive(Clone, PartialEq, Eq)]
pub struct Filling {
    pub path: String,
    pub mode: u32,
    /// Nothing for a directory. They may be secret.
    pub bytes: Option<Vec<u8>>,
    /// Whatever is there stays.
    pub only_if_missing: bool,
}

impl Filling {
    fn directory(path: String, mode: u32) -> Self {
        Self { path, mode, bytes: None, only_if_missing: false }
    }

    fn file(path: String, mode: u32, bytes: Vec<u8>) -> Self {
        Self { path, mode, bytes: Some(bytes), only_if_missing: false }
    }
}

impl std::fmt::Debug for Filling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:o}", self.path, self.mode)
    }
}

/// How a volume of the pod is to be had.
enum Kind {
    Shared { in_memory: bool, content: Option<VolumeContent> },
    Limited { in_memory: bool, limit: u64, written: String },
    Claim { name: String, read_only: bool },
    Host(HostPathVolumeSource),
    Other { kind: String },
}

/// The volumes, and what they begin with.
#[derive(Debug)]
pub struct MadeVolumes {
    pub volumes: PodVolumes,
    pub fillings: Vec<Filling>,
    pub limited: Vec<Limited>,
    /// What only a cluster has, in words.
    pub left_out: Vec<String>,
}

/// Makes the volumes of the engine. What is to be filled in is returned beside them.
pub async fn make(
    engine: &Engine,
    pod: &Pod,
    contents: &Contents,
    run: &str,
    labels: &HashMap<String, String>,
) -> Result<Result<MadeVolumes, ConfigError>, LocalError> {
    let mut volumes = PodVolumes { engine: BTreeMap::new(), pod: BTreeMap::new() };
    let (mut fillings, mut limited, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let name = |volume: &str| match volume.strip_prefix('.') {
        Some(own) => format!("slipway-{run}.{own}"),
        None => format!("slipway-{run}-{volume}"),
    };
    let mut first = labels.clone();
    first.insert(CONTAINERS_LABEL.into(), container_names(pod).join(","));
    volumes.add(engine, DISK, &name(DISK), HashMap::new(), &first).await?;
    volumes.add(engine, MEMORY, &name(MEMORY), in_memory(None), labels).await?;
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let content = match volume_files(volume, pod, contents, &engine.machine()) {
            Ok(content) => content,
            Err(error) => return Ok(Err(error)),
        };
        let own = volume.name.as_str();
        let place = match kind(volume, content) {
            Kind::Shared { in_memory, content } => {
                let parent = if in_memory { MEMORY } else { DISK };
                let read_only = content.is_some();
                let content = content.unwrap_or_default();
                // Nobody asked for the token that a cluster would add by itself.
                if own != TOKEN_VOLUME {
                    left_out.extend(
                        content.left_out.iter().map(|what| format!("volume {own}: {what}")),
                    );
                }
                let path = format!("{parent}/{own}");
                // The kubelet has the files of ConfigMaps alone on disk.
                let on_disk = !in_memory || volume.config_map.is_some();
                let mode = if on_disk { ON_DISK } else { IN_MEMORY };
                fillings.push(Filling::directory(path.clone(), mode));
                fillings.extend(content.files.into_iter().map(|file| {
                    Filling::file(format!("{path}/{}", file.path), file.mode, file.bytes)
                }));
                Place::Engine { volume: parent.into(), directory: Some(own.into()), read_only }
            }
            Kind::Limited { in_memory: memory, limit, written } => {
                let options = if memory { in_memory(Some(limit)) } else { HashMap::new() };
                volumes.add(engine, own, &name(own), options, labels).await?;
                if !memory {
                    limited.push(Limited { volume: own.into(), limit, written });
                }
                let mode = if memory { IN_MEMORY } else { ON_DISK };
                fillings.push(Filling::directory(own.into(), mode));
                Place::Engine { volume: own.into(), directory: None, read_only: false }
            }
            Kind::Claim { name: claim, read_only } => {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
                let lasting = format!("slipway-claim-{namespace}.{claim}");
                // It belongs to no run: builds keep their caches in it.
                let known = engine.docker.inspect_volume(&lasting).await.is_ok();
                volumes.add(engine, own, &lasting, HashMap::new(), &HashMap::new()).await?;
                if !known {
                    fillings.push(Filling::directory(own.into(), ON_DISK));
                }
                Place::Engine { volume: own.into(), directory: None, read_only }
            }
            Kind::Host(source) if source.path.contains(':') => {
                let kind = "hostPath with a colon in its path".into();
                return Err(LocalError::Volume { volume: own.into(), kind });
            }
            Kind::Host(source) => {
                let image = containers(pod).find_map(|container| container.image.as_deref());
                let image = image.unwrap_or_default();
                let looker = Looker { engine, image, run, labels };
                if let Err(error) = host_path::check(&looker, own, &source).await? {
                    return Ok(Err(error));
                }
                Place::Host { path: source.path }
            }
            Kind::Other { kind } => {
                return Err(LocalError::Volume { volume: own.into(), kind });
            }
        };
        volumes.pod.insert(own.into(), place);
    }
    Ok(Ok(MadeVolumes { volumes, fillings, limited, left_out }))
}

/// Every container that is made beside the sandbox.
fn container_names(pod: &Pod) -> Vec<&str> {
    let names = containers(pod).map(|container| container.name.as_str());
    names.chain([USERS_CONTAINER, LOOK_CONTAINER]).collect()
}

fn kind(volume: &Volume, content: Option<VolumeContent>) -> Kind {
    const NANOS: i128 = 1_000_000_000;
    if content.is_some() {
        return Kind::Shared { in_memory: true, content };
    }
    let scratch = |source: &EmptyDirVolumeSource| {
        let in_memory = match source.medium.as_deref() {
            None | Some("") => false,
            Some("Memory") => true,
            Some(medium) => return Kind::Other { kind: format!("emptyDir with medium {medium}") },
        };
        match &source.size_limit {
            Some(size) => match u64::try_from(nanos(size) / NANOS).ok() {
                Some(limit) if limit > 0 => {
                    Kind::Limited { in_memory, limit, written: size.0.clone() }
                }
                // The API server reads 0 as no limit.
                _ => Kind::Shared { in_memory, content: None },
            },
            None => Kind::Shared { in_memory, content: None },
        }
    };
    if let Some(source) = &volume.empty_dir {
        return scratch(source);
    }
    if volume.ephemeral.is_some() {
        return Kind::Shared { in_memory: false, content: None };
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        let read_only = claim.read_only == Some(true);
        return Kind::Claim { name: claim.claim_name.clone(), read_only };
    }
    if let Some(host) = &volume.host_path {
        return Kind::Host(host.clone());
    }
    let written = serde_json::to_value(volume).unwrap_or_default();
    let kinds = written.as_object().into_iter().flat_map(serde_json::Map::keys);
    match kinds.into_iter().find(|key| *key != "name") {
        // The API server makes it an emptyDir.
        None => Kind::Shared { in_memory: false, content: None },
        Some(kind) => Kind::Other { kind: kind.clone() },
    }
}

/// Options of a volume in memory. Podman takes `size` for a quota of its own, so the limit is told in blocks.
fn in_memory(limit: Option<u64>) -> HashMap<String, String> {
    let blocks = limit.map(|limit| format!(",nr_blocks={}", limit.div_ceil(BLOCK)));
    [
        ("type", "tmpfs".into()),
        ("device", "tmpfs".into()),
        ("o", format!("mode=0755{}", blocks.unwrap_or_default())),
    ]
    .map(|(key, value): (&str, String)| (key.to_owned(), value))
    .into()
}

impl PodVolumes {
    async fn add(
        &mut self,
        engine: &Engine,
        own: &str,
        name: &str,
        driver_opts: HashMap<String, String>,
        labels: &HashMap<String, String>,
    ) -> Result<(), LocalError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".into()),
            driver_opts: Some(driver_opts),
            labels: Some(labels.clone()),
            ..VolumeCreateRequest::default()
        };
        let made =
            engine.docker.create_volume(request).await.asked(|| format!("make volume {name}"))?;
        let lasts = labels.is_empty();
        let volume = EngineVolume { name: name.into(), mountpoint: made.mountpoint, lasts };
        self.engine.insert(own.into(), volume);
        Ok(())
    }

    /// All volumes of the engine, for the sandbox.
    pub fn for_sandbox(&self) -> Vec<Mount> {
        let mount = |(own, volume): (&String, &EngineVolume)| Mount {
            target: Some(format!("{SANDBOX_ROOT}/{own}")),
            source: Some(volume.name.clone()),
            typ: Some(MountType::VOLUME),
            ..Mount::default()
        };
        self.engine.iter().map(mount).collect()
    }

    /// What a mount of a container is to the engine. `sub_path` has its references expanded.
    pub fn mount(&self, mount: &VolumeMount, sub_path: Option<&str>) -> Option<String> {
        let place = self.pod.get(&mount.name)?;
        let (mut source, forced) = match place {
            Place::Engine { volume, directory, read_only } => {
                let mountpoint = self.engine.get(volume)?.mountpoint.clone();
                (join(mountpoint, directory.as_deref()), *read_only)
            }
            Place::Host { path } => (path.clone(), false),
        };
        let sub_path = match place {
            Place::Engine { directory: Some(_), read_only: true, .. } => within_content(sub_path),
            _ => sub_path,
        };
        source = join(source, sub_path);
        Some(bind(&source, &mount.mount_path, forced || mount.read_only == Some(true)))
    }

    /// One of a container's own files, bound to where it wants it.
    pub fn own_file(
        &self,
        container: &str,
        file: &str,
        target: &str,
        read_only: bool,
    ) -> Option<String> {
        let mountpoint = self.engine.get(MEMORY)?.mountpoint.clone();
        let source = join(mountpoint, Some(&format!("{OWN}/{container}/{file}")));
        Some(bind(&source, target, read_only))
    }

    /// Where the sandbox has a directory of a volume of the pod.
    pub fn in_sandbox(&self, volume: &str, path: &str) -> Option<String> {
        match self.pod.get(volume)? {
            Place::Engine { volume, directory, .. } => {
                let root = join(format!("{SANDBOX_ROOT}/{volume}"), directory.as_deref());
                Some(join(root, Some(path).filter(|path| !path.is_empty())))
            }
            Place::Host { .. } => None,
        }
    }

    /// Where the sandbox has a volume that others may have put links into.
    pub fn shared_with_others(&self, volume: &str) -> Option<String> {
        let Place::Engine { volume: of_engine, .. } = self.pod.get(volume)? else { return None };
        self.engine.get(of_engine)?.lasts.then(|| format!("{SANDBOX_ROOT}/{of_engine}"))
    }

    /// The volume is a path of the engine's machine.
    pub fn is_of_host(&self, volume: &str) -> bool {
        matches!(self.pod.get(volume), Some(Place::Host { .. }))
    }

    /// Directories that a mount asks for by subPath and that nobody made. Files of ConfigMaps and the like are there already.
    pub fn sub_path(&self, mount: &VolumeMount, sub_path: &str) -> Vec<Filling> {
        let Some(Place::Engine { volume, directory, read_only: false }) = self.pod.get(&mount.name)
        else {
            return Vec::new();
        };
        let mut path = join(volume.clone(), directory.as_deref());
        let mut found = Vec::new();
        for part in sub_path.split('/') {
            path = join(path, Some(part));
            found
                .push(Filling { only_if_missing: true, ..Filling::directory(path.clone(), 0o777) });
        }
        found
    }
}

/// A container's own file in the sandbox.
pub fn own_path(container: &str, file: &str) -> String {
    format!("{MEMORY}/{OWN}/{container}/{file}")
}

/// What a container's own files need: their directory, and what they begin with.
pub fn own_fillings(container: &str, files: &[(&str, u32, &str)]) -> Vec<Filling> {
    let directory = |path: String| Filling::directory(path, 0o755);
    let mut found = vec![
        directory(format!("{MEMORY}/{OWN}")),
        directory(format!("{MEMORY}/{OWN}/{container}")),
    ];
    found.extend(files.iter().map(|(file, mode, text)| {
        Filling::file(own_path(container, file), *mode, text.as_bytes().to_vec())
    }));
    found
}

/// Neither the engine's own paths nor Kubernetes' mount paths hold a colon.
fn bind(source: &str, target: &str, read_only: bool) -> String {
    format!("{source}:{target}:{}", if read_only { "ro" } else { "rw" })
}

/// A kubelet has the files of ConfigMaps and the like in a directory behind the link `..data`; here they lie in the volume itself.
fn within_content(sub_path: Option<&str>) -> Option<&str> {
    match sub_path?.strip_prefix("..data") {
        Some("") => None,
        Some(rest) => rest.strip_prefix('/').or(sub_path),
        None => sub_path,
    }
}

fn join(mut path: String, part: Option<&str>) -> String {
    if let Some(part) = part {
        path.push('/');
        path.push_str(part);
    }
    path
}
