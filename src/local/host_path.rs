//! What `hostPath.type` asks of a path of the engine's machine.
//!
//! Invariant: looking at a path makes nothing there, and the container through which it is looked at is never started.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, RemoveContainerOptionsBuilder,
};
use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::config_error::ConfigError;
use super::engine::Engine;
use super::error::{Asked as _, LocalError, is_absent, status_code, words};
use super::lease::container_name;
use super::sandbox::create;
use super::security::Flavour;

/// Name of the container through which paths are looked at.
pub const LOOK_CONTAINER: &str = "host-path";
/// Where it has what is looked at.
const LOOK: &str = "/look";

/// Go's bits of a file's mode, as engines tell them.
const DIRECTORY: u32 = 1 << 31;
const DEVICE: u32 = 1 << 26;
const PIPE: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const CHARACTER_DEVICE: u32 = 1 << 21;

/// For whom a path is looked at.
#[derive(Debug)]
pub struct Looker<'a> {
    pub engine: &'a Engine,
    /// An image that the engine has.
    pub image: &'a str,
    /// The run, and the labels of what is made for it.
    pub run: &'a str,
    pub labels: &'a HashMap<String, String>,
}

/// Whether the path is what the volume says; in the kubelet's words where not.
pub async fn check(
    looker: &Looker<'_>,
    volume: &str,
    source: &HostPathVolumeSource,
) -> Result<Result<(), ConfigError>, LocalError> {
    // Without a type nobody looks: the engine makes what is missing, as a cluster's runtime does.
    let Some(kind) = source.type_.as_deref().filter(|kind| !kind.is_empty()) else {
        return Ok(Ok(()));
    };
    let path = &source.path;
    let mode = looker.mode(path).await?;
    if kind == "FileOrCreate" && mode.is_none() {
        return Err(LocalError::HostFile { volume: volume.into(), path: path.clone() });
    }
    Ok(judge(kind, mode).map_err(|is_not| ConfigError::Volume {
        volume: volume.into(),
        why: Box::new(ConfigError::HostPath { path: path.clone(), is_not }),
    }))
}

/// What a path with this mode is not, by the type of its volume; the engine makes missing directories.
fn judge(kind: &str, mode: Option<u32>) -> Result<(), &'static str> {
    let is = |bits: u32| {
        let all = DIRECTORY | DEVICE | PIPE | SOCKET | CHARACTER_DEVICE;
        mode.is_some_and(|mode| mode & all == bits)
    };
    let (fits, is_not) = match kind {
        "DirectoryOrCreate" => (mode.is_none() || is(DIRECTORY), "a directory"),
        "Directory" => (is(DIRECTORY), "a directory"),
        "File" | "FileOrCreate" => (is(0), "a file"),
        "Socket" => (is(SOCKET), "a socket file"),
        "CharDevice" => (is(DEVICE | CHARACTER_DEVICE), "a character device"),
        "BlockDevice" => (is(DEVICE), "a block device"),
        _ => (false, "of a type that there is"),
    };
    if fits { Ok(()) } else { Err(is_not) }
}

impl Looker<'_> {
    /// The mode of what is at the path, links followed; nothing where nothing is.
    async fn mode(&self, path: &str) -> Result<Option<u32>, LocalError> {
        // Podman makes what a bind asks for, but follows links below one as its machine does. Docker makes nothing for a mount,
        // and knows where Docker Desktop's machine has the paths of this one.
        let (source, target) = match self.engine.flavour {
            Flavour::Podman => ("/", format!("{LOOK}{path}")),
            Flavour::Docker => (path, LOOK.to_owned()),
        };
        let body = ContainerCreateBody {
            image: Some(self.image.to_owned()),
            cmd: Some(vec!["never-started".into()]),
            labels: Some(self.labels.clone()),
            host_config: Some(HostConfig {
                mounts: Some(vec![Mount {
                    target: Some(LOOK.into()),
                    source: Some(source.to_owned()),
                    typ: Some(MountType::BIND),
                    read_only: Some(true),
                    ..Mount::default()
                }]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let what = || format!("look at {path}");
        let name = container_name(self.run, LOOK_CONTAINER);
        let container = match create(self.engine, &name, body).await {
            Err(error)
                if status_code(&error) == Some(400) && words(&error).contains("does not exist") =>
            {
                return Ok(None);
            }
            made => made.asked(what)?,
        };
        let docker = &self.engine.docker;
        let options = ContainerArchiveInfoOptionsBuilder::new().path(&target).build();
        let found = docker.get_container_archive_info(&container, Some(options)).await;
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        docker
            .remove_container(&container, Some(options))
            .await
            .asked(|| "remove a container".into())?;
        match found {
            Err(error) if is_absent(&error) => Ok(None),
            found => Ok(Some(found.asked(what)?.file_mode)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_its_volume_says_or_is_told_in_the_kubelets_words() {
        let directory = Some(DIRECTORY | 0o755);
        let file = Some(0o644);
        let socket = Some(SOCKET | 0o755);
        let character = Some(DEVICE | CHARACTER_DEVICE | 0o666);
        let block = Some(DEVICE | 0o660);
        let pipe = Some(PIPE | 0o644);
        for (kind, fitting, is_not) in [
            ("Directory", vec![directory], "a directory"),
            ("DirectoryOrCreate", vec![directory, None], "a directory"),
            ("File", vec![file], "a file"),
            ("FileOrCreate", vec![file], "a file"),
            ("Socket", vec![socket], "a socket file"),
            ("CharDevice", vec![character], "a character device"),
            ("BlockDevice", vec![block], "a block device"),
        ] {
            for mode in [None, directory, file, socket, character, block, pipe] {
                let expected = if fitting.contains(&mode) { Ok(()) } else { Err(is_not) };
                assert_eq!(judge(kind, mode), expected, "{kind} {mode:?}");
            }
        }
        assert!(judge("Folder", directory).is_err());
    }
}
