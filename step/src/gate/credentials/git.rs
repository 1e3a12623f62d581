//! `.gitconfig`, `.git-credentials` and `.ssh` from secrets with git credentials.
//!
//! ssh takes `~` from the passwd entry and not from `$HOME`, so every path in its configuration is absolute and below
//! `/tekton/creds`, which each step has for itself.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::{CredentialError, CredentialFile, or_line, read_basic, read_key};
use crate::protocol::Credential;

/// No file without a credential for it.
pub(super) fn files(
    credentials: &[Credential],
    secrets: &Path,
    merged: &Path,
    lines: &mut Vec<String>,
) -> Vec<CredentialFile> {
    let mut files = basic(credentials, secrets, lines);
    files.extend(ssh(credentials, secrets, merged, lines));
    files
}

fn basic(
    credentials: &[Credential],
    secrets: &Path,
    lines: &mut Vec<String>,
) -> Vec<CredentialFile> {
    let mut config = "[credential]\n\thelper = store\n".to_owned();
    let mut store = String::new();
    for credential in credentials {
        let Credential::GitBasic { secret, url } = credential else { continue };
        if let Some((section, line)) = or_line(basic_entry(secrets, secret, url), lines) {
            config += &section;
            store += &line;
        }
    }
    if store.is_empty() {
        return Vec::new();
    }
    vec![
        CredentialFile { path: ".gitconfig".into(), text: config },
        CredentialFile { path: ".git-credentials".into(), text: store },
    ]
}

/// The section of `.gitconfig` and the line of `.git-credentials` for one URL.
fn basic_entry(
    secrets: &Path,
    secret: &str,
    url: &str,
) -> Result<(String, String), CredentialError> {
    let (scheme, rest) = url
        .split_once("://")
        .filter(|(scheme, rest)| matches!(*scheme, "https" | "http") && !rest.is_empty())
        .filter(|_| !url.contains(|c: char| c.is_whitespace() || c.is_control()))
        .ok_or_else(|| CredentialError::Target {
            secret: secret.to_owned(),
            target: url.to_owned(),
            expected: "an http or https URL",
        })?;
    let (username, password) = read_basic(secrets, secret)?;
    let section = format!(
        "[credential \"{}\"]\n\tusername = \"{}\"\n",
        config_escaped(url),
        config_escaped(&username)
    );
    let line = format!("{scheme}://{}:{}@{rest}\n", url_escaped(&username), url_escaped(&password));
    Ok((section, line))
}

fn config_escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn url_escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

fn ssh(
    credentials: &[Credential],
    secrets: &Path,
    merged: &Path,
    lines: &mut Vec<String>,
) -> Vec<CredentialFile> {
    let folder = merged.join(".ssh");
    let mut keys = BTreeMap::new();
    let mut known = String::new();
    let mut hosts: BTreeMap<Host, Identities> = BTreeMap::new();
    for credential in credentials {
        let Credential::GitSsh { secret, host } = credential else { continue };
        let Some(host) = or_line(parse_host(secret, host), lines) else { continue };
        if !keys.contains_key(secret) {
            let key = read_key(secrets, secret, "ssh-privatekey");
            let Some(key) = or_line(key, lines) else { continue };
            keys.insert(secret.clone(), key + "\n");
        }
        let identities = hosts.entry(host).or_default();
        identities.secrets.push(secret.clone());
        match read_key(secrets, secret, "known_hosts") {
            Ok(text) => {
                known += &text;
                known.push('\n');
                identities.verified = true;
            }
            Err(CredentialError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => lines.push(crate::describe(&error)),
        }
    }
    if keys.is_empty() {
        return Vec::new();
    }
    let config = hosts.iter().map(|(host, identities)| block(host, identities, &folder)).collect();
    let mut files = vec![
        CredentialFile { path: ".ssh/config".into(), text: config },
        CredentialFile { path: ".ssh/known_hosts".into(), text: known },
    ];
    files.extend(
        keys.into_iter()
            .map(|(secret, text)| CredentialFile { path: format!(".ssh/id_{secret}"), text }),
    );
    files
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Host {
    name: String,
    port: Option<u16>,
}

#[derive(Debug, Default)]
struct Identities {
    secrets: Vec<String>,
    verified: bool,
}

/// `github.com`, `github.com:2222` or `[::1]:2222`.
fn parse_host(secret: &str, text: &str) -> Result<Host, CredentialError> {
    let refusal = || CredentialError::Target {
        secret: secret.to_owned(),
        target: text.to_owned(),
        expected: "a host name, or host:port",
    };
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, Some(port.parse().map_err(|_| refusal())?))
        }
        _ => (text, None),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    // ssh reads patterns, quotes and further words on this line.
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(refusal());
    }
    Ok(Host { name: name.to_owned(), port })
}

fn block(host: &Host, identities: &Identities, folder: &Path) -> String {
    let folder = folder.display();
    let mut lines = vec![format!("Host {}", host.name)];
    lines.extend(host.port.map(|port| format!("    Port {port}")));
    let keys = &identities.secrets;
    lines.extend(keys.iter().map(|secret| format!("    IdentityFile {folder}/id_{secret}")));
    lines.push(format!("    UserKnownHostsFile {folder}/known_hosts"));
    let strict = if identities.verified { "yes" } else { "accept-new" };
    lines.push(format!("    StrictHostKeyChecking {strict}\n"));
    lines.join("\n")
}
