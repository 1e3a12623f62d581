//! `.docker/config.json` from secrets with registry credentials.
//!
//! Invariant: for the same registry basic-auth beats dockerconfigjson, which beats dockercfg; among equals the last one wins.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{CredentialError, CredentialFile, or_line, read_basic, read_key};
use crate::protocol::Credential;

/// Entries by registry, with whatever fields they have: an identity token is a credential too.
type Auths = Map<String, Value>;

/// No file without an entry.
pub(super) fn files(
    credentials: &[Credential],
    secrets: &Path,
    lines: &mut Vec<String>,
) -> Vec<CredentialFile> {
    let mut ranked: Vec<_> = credentials.iter().filter_map(|one| Some((rank(one)?, one))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut auths = Auths::new();
    for (_, credential) in ranked {
        if let Some(found) = or_line(entries(credential, secrets), lines) {
            auths.extend(found);
        }
    }
    if auths.is_empty() {
        return Vec::new();
    }
    let text = json!({ "auths": auths }).to_string();
    vec![CredentialFile { path: ".docker/config.json".into(), text }]
}

fn rank(credential: &Credential) -> Option<u8> {
    match credential {
        Credential::Dockercfg { .. } => Some(0),
        Credential::DockerConfig { .. } => Some(1),
        Credential::DockerBasic { .. } => Some(2),
        Credential::GitBasic { .. } | Credential::GitSsh { .. } => None,
    }
}

fn entries(credential: &Credential, secrets: &Path) -> Result<Auths, CredentialError> {
    match credential {
        Credential::Dockercfg { secret } => read_auths(secrets, secret, ".dockercfg", Some),
        Credential::DockerConfig { secret } => {
            read_auths(secrets, secret, ".dockerconfigjson", |mut config| {
                match config.remove("auths") {
                    Some(Value::Object(auths)) => Some(auths),
                    Some(_) => None,
                    // Credential helpers alone: programs that a step's image need not have.
                    None => Some(Auths::new()),
                }
            })
        }
        Credential::DockerBasic { secret, registry } => {
            let (username, password) = read_basic(secrets, secret)?;
            let auth = STANDARD.encode(format!("{username}:{password}"));
            let entry = json!({ "username": username, "password": password, "auth": auth });
            Ok(Auths::from_iter([(registry.clone(), entry)]))
        }
        Credential::GitBasic { .. } | Credential::GitSsh { .. } => Ok(Auths::new()),
    }
}

fn read_auths(
    secrets: &Path,
    secret: &str,
    key: &'static str,
    pick: impl Fn(Map<String, Value>) -> Option<Auths>,
) -> Result<Auths, CredentialError> {
    let text = read_key(secrets, secret, key)?;
    serde_json::from_str(&text)
        .ok()
        .and_then(pick)
        .filter(|auths| auths.values().all(Value::is_object))
        .ok_or_else(|| CredentialError::Malformed {
            secret: secret.to_owned(),
            key,
            expected: "a JSON object of credentials by registry",
        })
}
