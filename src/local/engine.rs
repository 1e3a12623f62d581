//! The container engine: where it is, what it is.
//!
//! Invariant: only the Docker Engine API is spoken, so Docker, Docker Desktop and Podman serve alike; what differs between them is in
//! [`Flavour`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::error::{Asked as _, LocalError};
use super::pod_fields::Machine;
use super::security::Flavour;
use crate::Chain;

/// What is known of the machine that runs the containers.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The client.
    pub(super) docker: Docker,
    /// Where it is.
    pub url: String,
    /// Whose it is.
    pub flavour: Flavour,
    /// Processors of its machine.
    pub cpus: u64,
    /// Bytes of memory of its machine.
    pub memory: u64,
    /// It says that it is an ordinary user's; podman does not.
    pub rootless: bool,
    /// Its machine has the first version of cgroups, where only root can limit anything.
    pub old_cgroups: bool,
}

/// How long an answer may take. Making a container copies its whole image where the engine's storage cannot do better.
const PATIENCE: Duration = Duration::from_mins(30);
/// How long the first answer may take, after which nobody is taken to be there: a busy machine needs many seconds for it.
const GREETING: Duration = Duration::from_secs(30);

impl Engine {
    /// The engine that the user named, else the first one that answers.
    pub async fn find(named: Option<&str>) -> Result<Self, LocalError> {
        if let Some(url) = named {
            return Self::connect(url).await;
        }
        if let Some(host) = variable("DOCKER_HOST") {
            return Self::connect(&host).await.map_err(|error| match error {
                LocalError::Unreachable { .. } => LocalError::NoEngine {
                    tried: vec![format!("{host} (DOCKER_HOST: {})", reason(&error))],
                },
                other => other,
            });
        }
        if let Some(url) = docker_config().map(|config| context(&config)).transpose()?.flatten() {
            return Self::connect(&url).await;
        }
        let mut tried = Vec::new();
        for url in sockets() {
            // Nothing asks a socket that does not exist.
            if url.strip_prefix("unix://").is_some_and(|path| !Path::new(path).exists()) {
                tried.push(format!("{url} (not there)"));
                continue;
            }
            match Self::connect(&url).await {
                Ok(engine) => return Ok(engine),
                Err(error) => tried.push(format!("{url} ({})", reason(&error))),
            }
        }
        Err(LocalError::NoEngine { tried })
    }

    async fn connect(url: &str) -> Result<Self, LocalError> {
        let unreachable = |source| LocalError::Unreachable { url: url.into(), source };
        let newest = client(url, API_DEFAULT_VERSION)?;
        // Together, because podman takes half a second for each.
        let asking = newest.clone().with_timeout(GREETING);
        let (version, info) = futures_util::join!(asking.version(), asking.info());
        let version = version.map_err(unreachable)?;
        let os = version.os.unwrap_or_else(|| "linux".into());
        if os != "linux" {
            return Err(LocalError::NotLinux { url: url.into(), os });
        }
        let is_podman =
            version.components.iter().flatten().any(|part| part.name.starts_with("Podman"));
        let spoken = version.api_version.as_deref().and_then(api_version);
        let docker = match spoken.filter(|spoken| spoken < API_DEFAULT_VERSION) {
            Some(older) => client(url, &older)?,
            None => newest,
        };
        let info = if let Ok(info) = info {
            info
        } else {
            // It may have been asked in too new a version.
            let asking = docker.clone().with_timeout(GREETING);
            asking.info().await.asked(|| "say what it is".into())?
        };
        let options = info.security_options.unwrap_or_default();
        let old_cgroups = info.cgroup_version.is_some_and(|version| version.as_ref() == "1");
        Ok(Self {
            docker,
            url: url.into(),
            flavour: if is_podman { Flavour::Podman } else { Flavour::Docker },
            cpus: info.ncpu.and_then(|cpus| cpus.try_into().ok()).unwrap_or(1),
            memory: info.mem_total.and_then(|bytes| bytes.try_into().ok()).unwrap_or(0),
            old_cgroups,
            rootless: options.iter().any(|option| option == "name=rootless"),
        })
    }
}

fn api_version(text: &str) -> Option<ClientVersion> {
    let (major, minor) = text.split_once('.')?;
    Some(ClientVersion { major_version: major.parse().ok()?, minor_version: minor.parse().ok()? })
}

impl Engine {
    /// What containers may ask about their machine.
    pub(super) fn machine(&self) -> Machine {
        Machine { cpus: self.cpus, memory: self.memory, storage: 0 }
    }
}

fn reason(error: &LocalError) -> String {
    Chain(error).to_string()
}

fn client(url: &str, version: &ClientVersion) -> Result<Docker, LocalError> {
    let seconds = PATIENCE.as_secs();
    let wants_tls = std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty());
    let made = match url.split_once("://") {
        // A path alone is a socket.
        None if url.starts_with('/') => Docker::connect_with_unix(url, seconds, version),
        Some(("unix", _)) => Docker::connect_with_unix(url, seconds, version),
        Some(("tcp", _)) if wants_tls => with_tls(url, version),
        Some(("https", _)) => with_tls(url, version),
        Some(("tcp" | "http", _)) => Docker::connect_with_http(url, seconds, version),
        _ => Err(EngineError::UnsupportedURISchemeError { uri: url.into() }),
    };
    made.map_err(|source| match source {
        EngineError::SocketNotFoundError(_) => LocalError::Unreachable { url: url.into(), source },
        source => LocalError::Address { url: url.into(), source },
    })
}

/// With the certificates that docker would use.
fn with_tls(url: &str, version: &ClientVersion) -> Result<Docker, EngineError> {
    // An error means that somebody installed a provider before, which serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    let directory = variable("DOCKER_CERT_PATH")
        .map(PathBuf::from)
        .or_else(docker_config)
        .ok_or(EngineError::NoHomePathError)?;
    let [key, certificate, authority] =
        ["key.pem", "cert.pem", "ca.pem"].map(|file| directory.join(file));
    Docker::connect_with_ssl(url, &key, &certificate, &authority, PATIENCE.as_secs(), version)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn docker_config() -> Option<PathBuf> {
    let config = variable("DOCKER_CONFIG").map(PathBuf::from);
    config.or_else(|| Some(Path::new(&variable("HOME")?).join(".docker")))
}

/// Where engines listen by default, in the order in which docker and podman look.
fn sockets() -> Vec<String> {
    let mut found = vec![PathBuf::from("/var/run/docker.sock")];
    if let Some(runtime) = variable("XDG_RUNTIME_DIR") {
        found.push(Path::new(&runtime).join("docker.sock"));
        found.push(Path::new(&runtime).join("podman/podman.sock"));
    }
    if let Some(home) = variable("HOME") {
        for path in [
            ".docker/run/docker.sock",
            ".docker/desktop/docker.sock",
            ".local/share/containers/podman/machine/podman.sock",
        ] {
            found.push(Path::new(&home).join(path));
        }
    }
    found.push("/run/podman/podman.sock".into());
    found.into_iter().map(|path| format!("unix://{}", path.display())).collect()
}

/// The engine of the docker context in use; nothing where that is the default one. Who chose a context wants no other engine.
fn context(config: &Path) -> Result<Option<String>, LocalError> {
    let read = |path: PathBuf| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    };
    let current = || {
        let config = read(config.join("config.json"))?;
        config["currentContext"].as_str().map(String::from)
    };
    let name = match variable("DOCKER_CONTEXT").or_else(current) {
        Some(name) if name != "default" && !name.is_empty() => name,
        _ => return Ok(None),
    };
    let folder = Sha256::digest(&name)
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let meta = read(config.join("contexts/meta").join(folder).join("meta.json"));
    let host = meta.and_then(|meta| meta["Endpoints"]["docker"]["Host"].as_str().map(String::from));
    host.map(Some).ok_or(LocalError::Context { name })
}
