//! Finds a registry's credentials in a docker configuration.
//!
//! Invariant: an entry counts only when its key is exactly the registry's host and port, or `https://index.docker.io/v1/` for
//! Docker Hub; this is upstream's rule, and a build that works there works here.
//! Invariant: errors name files and registries, never a user, password or token.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use super::OciError;

/// The key in a Secret of type `kubernetes.io/dockerconfigjson`.
const FILE: &str = ".dockerconfigjson";
const DOCKER_HUB: &str = "index.docker.io";
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Entry(…)")
    }
}

/// What the secret says about the registry; the path is the folder of a mounted secret or the file itself.
pub fn find(secret_path: &Path, registry: &str) -> Result<RegistryAuth, OciError> {
    let path = if secret_path.is_dir() { secret_path.join(FILE) } else { secret_path.to_owned() };
    let bytes = fs::read(&path).map_err(|source| OciError::Read { path: path.clone(), source })?;
    // serde's message quotes the text at fault, which may be a password.
    let mut config: Config = serde_json::from_slice(&bytes).map_err(|error| {
        refuse(
            &path,
            format!(
                "it is not a docker configuration with \"auths\" (line {}, column {})",
                error.line(),
                error.column()
            ),
        )
    })?;
    let key = if registry == DOCKER_HUB { DOCKER_HUB_KEY } else { registry };
    match config.auths.remove(key) {
        Some(entry) => authentication(entry)
            .map_err(|problem| refuse(&path, format!("{problem} in the entry for {key}"))),
        None => Err(OciError::NoCredentials {
            registry: registry.to_owned(),
            available: available(&config),
        }),
    }
}

fn available(config: &Config) -> String {
    if config.auths.is_empty() {
        return "none".to_owned();
    }
    config.auths.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn authentication(entry: Entry) -> Result<RegistryAuth, &'static str> {
    if !entry.registrytoken.is_empty() {
        return Ok(RegistryAuth::Bearer(entry.registrytoken));
    }
    if !entry.identitytoken.is_empty() {
        return Err(
            "\"identitytoken\" is not supported; use a user and a password or access token",
        );
    }
    // As docker does it: `auth` is what was stored last, and wins.
    if !entry.auth.is_empty() {
        let text = STANDARD
            .decode(entry.auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or("\"auth\" is not base64 of text")?;
        let (username, password) =
            text.split_once(':').ok_or("\"auth\" has no colon between user and password")?;
        return Ok(RegistryAuth::Basic(
            username.to_owned(),
            password.trim_end_matches('\0').to_owned(),
        ));
    }
    if entry.username.is_empty() && entry.password.is_empty() {
        return Ok(RegistryAuth::Anonymous);
    }
    Ok(RegistryAuth::Basic(entry.username, entry.password))
}

fn refuse(path: &Path, problem: String) -> OciError {
    OciError::Secret { path: PathBuf::from(path), problem }
}
