//! Credentials of the build's service account, laid out where builders look for them: `/tekton/creds`, then `$HOME`.
//!
//! Invariant: nothing here fails a step; what cannot be provided is one line in the log, without a secret's content.
//! Invariant: files are 0600 and folders that are made 0700, as the step's own user.

mod docker;
mod git;
mod place;

use std::env;
use std::fs;
use std::io;
use std::path::Path;

use place::CredentialFile;

use crate::protocol::{CREDENTIALS_DIR, CREDENTIALS_SECRETS_DIR, Credential};

/// Why a secret is of no use, or its credentials cannot be left.
#[derive(Debug, thiserror::Error)]
enum CredentialError {
    /// A key of the secret is not there.
    #[error("secret {secret}: key {key} cannot be read")]
    Read {
        secret: String,
        key: &'static str,
        #[source]
        source: io::Error,
    },
    /// It is not what its type promises. The parser's words are left out: they may quote the secret.
    #[error("secret {secret}: key {key} is not {expected}")]
    Malformed { secret: String, key: &'static str, expected: &'static str },
    /// The annotation names no usable target.
    #[error("secret {secret}: {target:?} in its annotation is not {expected}")]
    Target { secret: String, target: String, expected: &'static str },
    /// A file cannot be written.
    #[error("credentials cannot be written to {path}")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// Merges the secrets and leaves them for the command.
pub(super) fn provide(credentials: &[Credential]) {
    let home = env::var_os("HOME").filter(|home| !home.is_empty());
    let lines = lay_out(
        credentials,
        Path::new(CREDENTIALS_SECRETS_DIR),
        Path::new(CREDENTIALS_DIR),
        home.as_deref().map(Path::new),
    );
    for line in lines {
        super::log(&format!("warning: {line}"));
    }
}

/// The same with other folders; returns what is to be said.
fn lay_out(
    credentials: &[Credential],
    secrets: &Path,
    merged: &Path,
    home: Option<&Path>,
) -> Vec<String> {
    if credentials.is_empty() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let mut files = docker::files(credentials, secrets, &mut lines);
    files.extend(git::files(credentials, secrets, merged, &mut lines));
    place::write(&files, merged, &mut lines);
    match home {
        Some(home) => {
            let mut refused = Vec::new();
            place::write(&files, home, &mut refused);
            // Most steps of such a home need none; one that does says no more than that it is not allowed.
            lines.extend(refused.into_iter().map(|line| {
                let merged = merged.display();
                format!("{line}; they are in {merged} only: where this step needs them, set HOME in its env")
            }));
        }
        None => lines.push(format!(
            "HOME is not set, so credentials are in {} only; set HOME in the step's env",
            merged.display()
        )),
    }
    lines
}

/// The text under one key of a mounted secret, without the line end that editors and `echo` leave.
fn read_key(secrets: &Path, secret: &str, key: &'static str) -> Result<String, CredentialError> {
    fs::read_to_string(secrets.join(secret).join(key))
        .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
        .map_err(|source| CredentialError::Read { secret: secret.to_owned(), key, source })
}

/// User name and password of a `kubernetes.io/basic-auth`.
fn read_basic(secrets: &Path, secret: &str) -> Result<(String, String), CredentialError> {
    let one_line = |key| {
        let text = read_key(secrets, secret, key)?;
        if text.contains(['\r', '\n', '\0']) {
            let secret = secret.to_owned();
            return Err(CredentialError::Malformed { secret, key, expected: "one line of text" });
        }
        Ok(text)
    };
    Ok((one_line("username")?, one_line("password")?))
}

/// Keeps what is there and says what is not.
fn or_line<T>(outcome: Result<T, CredentialError>, lines: &mut Vec<String>) -> Option<T> {
    outcome.map_err(|error| lines.push(crate::describe(&error))).ok()
}

#[cfg(test)]
mod tests;
