//! The container that stands for the pod: it has the network that all others share, and all volumes.
//!
//! Invariant: it runs for as long as the pod does: volumes in memory last as long as somebody has them mounted.

use std::collections::BTreeSet;
use std::io;

use bollard::container::PathStatResponse;
use bollard::models::{ContainerCreateBody, HostConfig, Mount};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions,
    StartContainerOptions, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use slipway_step::protocol::PROGRAM;
use slipway_step::protocol::hold::{self, HoldCommand, SizeLimit};

use super::attend::{Output, attach};
use super::engine::Engine;
use super::error::{Asked as _, LocalError, is_absent};
use super::images::{ImageFacts, text};
use super::lease::{Lease, sandbox_name};
use super::pod_volumes::{Filling, Limited, SANDBOX_ROOT, own_path};

/// A symbolic link, in the modes of engines.
const LINK: u32 = 1 << 27;

/// The running sandbox.
#[derive(Debug)]
pub struct Sandbox {
    pub id: String,
    /// Its address; nothing where it has no network of its own.
    pub ip: Option<String>,
    /// The ids that containers of this engine may have.
    pub ids: IdRange,
}

/// The user and group ids that an engine can give: from 0 to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    pub last_uid: i64,
    pub last_gid: i64,
}

impl IdRange {
    /// There is no id beyond: the engine is root's.
    pub fn is_everybody(self) -> bool {
        self.last_uid >= i64::from(u32::MAX) - 1
    }
}

impl Sandbox {
    /// Makes it and starts it.
    pub async fn start(
        engine: &Engine,
        lease: &Lease,
        image: &ImageFacts,
        mounts: Vec<Mount>,
        limited: &[Limited],
        hostname: &str,
        network: Option<&str>,
    ) -> Result<(Self, Output), LocalError> {
        let limits = limited.iter().map(|limited| SizeLimit {
            directory: format!("{SANDBOX_ROOT}/{}", limited.volume),
            bytes: limited.limit,
        });
        // To measure what any user left in the volumes.
        let read_all = (!limited.is_empty()).then(|| vec!["DAC_READ_SEARCH".to_owned()]);
        let is_host = network == Some("host");
        let of = network.map(|name| format!(" in network {name} (--network)")).unwrap_or_default();
        let body = ContainerCreateBody {
            image: Some(image.id.clone()),
            entrypoint: Some(vec![PROGRAM.into()]),
            cmd: Some(HoldCommand { limits: limits.collect() }.to_args()),
            user: Some("0:0".into()),
            hostname: (!is_host).then(|| hostname.to_owned()),
            labels: Some(lease.labels()),
            host_config: Some(HostConfig {
                mounts: Some(mounts),
                network_mode: network.map(String::from),
                cap_drop: Some(vec!["ALL".into()]),
                cap_add: read_all,
                // Docker fills no volume of a container whose root cannot be written to.
                readonly_rootfs: Some(false),
                security_opt: Some(vec!["no-new-privileges".into()]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let name = sandbox_name(lease.id());
        let id =
            create(engine, &name, body).await.asked(|| format!("make the pod's sandbox{of}"))?;
        let mut output = attach(engine, &id).await.asked(|| "hear the pod's sandbox".into())?;
        engine
            .docker
            .start_container(&id, None::<StartContainerOptions>)
            .await
            .asked(|| format!("start the pod's sandbox{of}"))?;
        let ids = first_line(&mut output, |line| {
            let (uid, gid) = hold::parse_ids(line)?;
            Some(IdRange { last_uid: uid, last_gid: gid })
        });
        let ids = ids.await?.ok_or_else(|| LocalError::Archive {
            what: "the sandbox's ids".into(),
            source: io::Error::from(io::ErrorKind::UnexpectedEof),
        })?;
        let inspected = engine
            .docker
            .inspect_container(&id, None::<InspectContainerOptions>)
            .await
            .asked(|| "look at the pod's sandbox".into())?;
        let settings = inspected.network_settings.unwrap_or_default();
        let networks = settings.networks.unwrap_or_default().into_values();
        let mut addresses = networks.filter_map(|network| network.ip_address);
        Ok((Self { id, ip: addresses.find(|ip| !ip.is_empty()), ids }, output))
    }

    /// Puts files and directories into the volumes.
    pub async fn fill(&self, engine: &Engine, fillings: &[Filling]) -> Result<(), LocalError> {
        let (mut missing, mut paths) = (Vec::new(), BTreeSet::new());
        for filling in fillings {
            let is_new = paths.insert(&filling.path);
            let path = format!("{SANDBOX_ROOT}/{}", filling.path);
            if is_new && (!filling.only_if_missing || self.look(engine, &path).await?.is_none()) {
                missing.push(filling);
            }
        }
        let archive = archive(&missing)
            .map_err(|source| LocalError::Archive { what: "the volumes".into(), source })?;
        let options = UploadToContainerOptionsBuilder::new().path(SANDBOX_ROOT).build();
        let body = bollard::body_full(archive.into());
        let sent = engine.docker.upload_to_container(&self.id, Some(options), body).await;
        sent.asked(|| "fill the pod's volumes".into())
    }

    /// What is at a path; nothing where nothing is.
    async fn look(
        &self,
        engine: &Engine,
        path: &str,
    ) -> Result<Option<PathStatResponse>, LocalError> {
        let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        match engine.docker.get_container_archive_info(&self.id, Some(options)).await {
            Err(error) if is_absent(&error) => Ok(None),
            // The path may come of a Secret.
            found => Ok(Some(found.asked(|| "look into a volume".into())?)),
        }
    }

    /// The path of something in a volume without links in it; nothing where a link leads out of the volume, or to nowhere.
    pub async fn without_links(
        &self,
        engine: &Engine,
        volume: &str,
        path: &str,
    ) -> Result<Option<String>, LocalError> {
        let mut found = String::new();
        for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
            let next = format!("{volume}{found}/{part}");
            let Some(stat) = self.look(engine, &next).await? else { return Ok(None) };
            let target = if stat.file_mode & LINK == 0 { next } else { stat.link_target };
            match target.strip_prefix(volume) {
                Some(inside) if inside.is_empty() || inside.starts_with('/') => {
                    inside.clone_into(&mut found);
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(found.trim_start_matches('/').to_owned()))
    }

    /// What a container left in one of its own files.
    pub async fn own_text(
        &self,
        engine: &Engine,
        container: &str,
        file: &str,
    ) -> Result<Option<String>, LocalError> {
        let path = format!("{SANDBOX_ROOT}/{}", own_path(container, file));
        let text = text(engine, &self.id, &path).await?;
        Ok(text.map(|text| tail(&text).to_owned()).filter(|text| !text.is_empty()))
    }
}

/// The first volume that the sandbox says has grown beyond its limit; nothing once the sandbox has ended.
pub async fn overgrown(mut output: Output) -> Result<Option<String>, LocalError> {
    let volume =
        |directory: &str| directory.strip_prefix(SANDBOX_ROOT)?.strip_prefix('/').map(String::from);
    first_line(&mut output, |line| volume(hold::parse_over(line)?)).await
}

/// What the sandbox prints, up to the first line that means something.
async fn first_line<T>(
    output: &mut Output,
    meaning: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, LocalError> {
    let mut text = String::new();
    while let Some(chunk) = output.next().await {
        let chunk = chunk.asked(|| "hear the pod's sandbox".into())?;
        text.push_str(&String::from_utf8_lossy(&chunk.into_bytes()));
        while let Some((line, rest)) = text.split_once('\n') {
            if let Some(found) = meaning(line) {
                return Ok(Some(found));
            }
            text = rest.to_owned();
        }
    }
    Ok(None)
}

/// Makes a container.
pub async fn create(
    engine: &Engine,
    name: &str,
    body: ContainerCreateBody,
) -> Result<String, bollard::errors::Error> {
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    Ok(engine.docker.create_container(Some(options), body).await?.id)
}

fn archive(fillings: &[&Filling]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let now = Timestamp::now().as_second().try_into().unwrap_or(0);
    for filling in fillings {
        let mut header = tar::Header::new_gnu();
        header.set_mode(filling.mode);
        header.set_mtime(now);
        let bytes = filling.bytes.as_deref();
        header.set_entry_type(match bytes {
            Some(_) => tar::EntryType::Regular,
            None => tar::EntryType::Directory,
        });
        let bytes = bytes.unwrap_or_default();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, &filling.path, bytes)?;
    }
    archive.into_inner()
}

/// As much as a kubelet reads of what a container reports: its end.
fn tail(text: &str) -> &str {
    const MOST: usize = 4096;
    let mut start = text.len().saturating_sub(MOST);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
