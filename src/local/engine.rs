//! The container engine: where it is, what it is.
//!
//! Invariant: only the Docker Engine API is spoken, so Docker, Docker Desktop and Podman serve alike; what differs between them is in
//! [`Flavour`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::error::{Asked as _, LocalError};
use super::pod_fields::Machine;
use super::security::Flavour;

/// What is known of the machine that runs the containers.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The client.
    pub(super) docker: Docker,
    /// Where it is.
    pub url: String,
    /// Whose it is.
    pub flavour: Flavour,
    /// It runs as an ordinary user.
    pub rootless: bool,
    /// Processors of its machine.
    pub cpus: u64,
    /// Bytes of memory of its machine.
    pub memory: u64,
    /// Resource limits have an effect.
    pub limits: bool,
}

/// How long an answer may take. Making a container copies its whole image where the engine's storage cannot do better.
const PATIENCE: Duration = Duration::from_mins(30);

impl Engine {
    /// The engine that the user named, else the first one that answers.
    pub async fn find(named: Option<&str>) -> Result<Self, LocalError> {
        if let Some(url) = named {
            return Self::connect(url).await;
        }
        let mut tried = Vec::new();
        for (source, url) in places() {
            // Nothing asks a socket that does not exist.
            if url.strip_prefix("unix://").is_some_and(|path| !Path::new(path).exists()) {
                tried.push(format!("{url} ({source}, not there)"));
                continue;
            }
            match Self::connect(&url).await {
                Ok(engine) => return Ok(engine),
                Err(error) => tried.push(format!("{url} ({source}: {})", reason(&error))),
            }
        }
        Err(LocalError::NoEngine { tried })
    }

    async fn connect(url: &str) -> Result<Self, LocalError> {
        let docker =
            client(url).map_err(|source| LocalError::Address { url: url.into(), source })?;
        let docker = docker.with_timeout(Duration::from_secs(10));
        let unreachable = |source| LocalError::Unreachable { url: url.into(), source };
        let docker = docker.negotiate_version().await.map_err(unreachable)?;
        let version = docker.version().await.map_err(unreachable)?;
        let info = docker.info().await.asked(|| "say what it is".into())?;
        let os = version.os.unwrap_or_else(|| "linux".into());
        if os != "linux" {
            return Err(LocalError::NotLinux { url: url.into(), os });
        }
        let is_podman =
            version.components.iter().flatten().any(|part| part.name.starts_with("Podman"));
        let options = info.security_options.unwrap_or_default();
        let rootless =
            options.iter().any(|option| option == "name=rootless" || option == "rootless");
        let old_cgroups = info.cgroup_version.is_some_and(|version| version.as_ref() == "1");
        Ok(Self {
            docker: docker.with_timeout(PATIENCE),
            url: url.into(),
            flavour: if is_podman { Flavour::Podman } else { Flavour::Docker },
            rootless,
            cpus: info.ncpu.and_then(|cpus| cpus.try_into().ok()).unwrap_or(1),
            memory: info.mem_total.and_then(|bytes| bytes.try_into().ok()).unwrap_or(0),
            limits: !(rootless && old_cgroups),
        })
    }
}

impl Engine {
    /// What containers may ask about their machine.
    pub(super) fn machine(&self) -> Machine {
        Machine { cpus: self.cpus, memory: self.memory, storage: 0 }
    }
}

fn reason(error: &LocalError) -> String {
    format!("{:#}", Chain(error))
}

/// An error with what led to it, in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

fn client(url: &str) -> Result<Docker, bollard::errors::Error> {
    match url.split_once("://") {
        // bollard wants a scheme before a path.
        None if url.starts_with('/') => {
            Docker::connect_with_unix(url, PATIENCE.as_secs(), API_DEFAULT_VERSION)
        }
        Some(("tcp" | "https", _)) => {
            // An error means that somebody installed a provider before, which serves as well.
            drop(rustls::crypto::ring::default_provider().install_default());
            Docker::connect_with_host(url)
        }
        _ => Docker::connect_with_host(url),
    }
}

/// Where engines are, in the order in which docker and podman look, with what said so.
fn places() -> Vec<(&'static str, String)> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(host) = variable("DOCKER_HOST") {
        return vec![("DOCKER_HOST", host)];
    }
    let home = variable("HOME").map(PathBuf::from);
    let config = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| home.as_ref().map(|home| home.join(".docker")));
    let mut found = Vec::new();
    if let Some(url) =
        config.as_deref().and_then(|config| context(config, variable("DOCKER_CONTEXT")))
    {
        found.push(("docker context", url));
    }
    let mut socket = |path: PathBuf| found.push(("socket", format!("unix://{}", path.display())));
    socket("/var/run/docker.sock".into());
    if let Some(runtime) = variable("XDG_RUNTIME_DIR") {
        socket(Path::new(&runtime).join("docker.sock"));
        socket(Path::new(&runtime).join("podman/podman.sock"));
    }
    if let Some(home) = &home {
        for path in [
            ".docker/run/docker.sock",
            ".docker/desktop/docker.sock",
            ".local/share/containers/podman/machine/podman.sock",
        ] {
            socket(home.join(path));
        }
    }
    socket("/run/podman/podman.sock".into());
    found
}

/// The engine of the docker context in use; nothing where that is the default one.
fn context(config: &Path, named: Option<String>) -> Option<String> {
    let read = |path: PathBuf| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    };
    let name = match named {
        Some(name) => name,
        None => read(config.join("config.json"))?["currentContext"].as_str()?.to_owned(),
    };
    if name == "default" {
        return None;
    }
    let folder: String = Sha256::digest(&name).iter().map(|byte| format!("{byte:02x}")).collect();
    let meta = read(config.join("contexts/meta").join(folder).join("meta.json"))?;
    meta["Endpoints"]["docker"]["Host"].as_str().map(String::from)
}
