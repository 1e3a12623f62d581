//! The user's credentials for pulls, from docker's configuration and its helpers.
//!
//! Invariant: what a helper prints is never told: it may be a password.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use slipway_step::oci::Reference;

/// Why credentials that may be there cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The configuration cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration is not what docker writes.
    #[error("{path} is not valid")]
    Invalid {
        /// The file.
        path: String,
    },
    /// A helper ended with an error.
    #[error("{helper} failed")]
    Helper {
        /// The program.
        helper: String,
    },
    /// A helper or the configuration says something that is no credential.
    #[error("{0}")]
    Other(CredentialRetrievalError),
}

/// The credentials for the registry of an image; nothing where there are none.
pub fn credentials(image: &str) -> Result<Option<DockerCredentials>, CredentialError> {
    let variable = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let directory = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    directory.map_or(Ok(None), |directory| within(&directory.join("config.json"), image))
}

fn within(path: &Path, image: &str) -> Result<Option<DockerCredentials>, CredentialError> {
    let Ok(reference) = image.parse::<Reference>() else { return Ok(None) };
    // Docker Hub has a key of its own, and so it is known to those who hand out credentials.
    let server = match reference.registry() {
        "docker.io" | "index.docker.io" => "https://index.docker.io/v1/",
        host => host,
    };
    let name = || path.display().to_string();
    let bytes = match fs::read(path) {
        // Nobody has ever logged in.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        outcome => outcome.map_err(|source| CredentialError::Read { path: name(), source })?,
    };
    let invalid = || CredentialError::Invalid { path: name() };
    let mut config: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    // Docker takes a store without a name for none.
    if let Some(fields) = config.as_object_mut()
        && fields.get("credsStore").is_some_and(|store| store == "")
    {
        fields.remove("credsStore");
    }
    let config = config.to_string();
    let found = match get_credential_from_reader(config.as_bytes(), server) {
        Err(CredentialRetrievalError::NoCredentialConfigured) => return Ok(None),
        // So helpers say that they have none.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            return Ok(None);
        }
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
            return Err(CredentialError::Helper { helper });
        }
        Err(CredentialRetrievalError::ConfigReadError) => return Err(invalid()),
        outcome => outcome.map_err(CredentialError::Other)?,
    };
    let credentials =
        DockerCredentials { serveraddress: Some(server.into()), ..DockerCredentials::default() };
    Ok(Some(match found {
        DockerCredential::UsernamePassword(username, password) => {
            DockerCredentials { username: Some(username), password: Some(password), ..credentials }
        }
        DockerCredential::IdentityToken(token) => {
            DockerCredentials { identitytoken: Some(token), ..credentials }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The user's name for the image, or what is wrong.
    fn user(config: Option<&str>) -> Result<Option<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        if let Some(config) = config {
            fs::write(&path, config).unwrap();
        }
        let found = within(&path, "registry.example.com/app:1");
        let found = found.map_err(|error| error.to_string().replace(&name(&path), "FILE"));
        found.map(|found| found.and_then(|found| found.username))
    }

    fn name(path: &Path) -> String {
        path.display().to_string()
    }

    #[test]
    fn who_never_logged_in_has_no_credentials_and_no_fault() {
        for config in [
            None,
            Some("{}"),
            Some(r#"{"credsStore": ""}"#),
            Some(r#"{"credsStore": null, "credHelpers": {"registry.example.com": ""}}"#),
            Some(r#"{"auths": {"elsewhere.example.com": {"auth": "bWU6aHVudGVyMg=="}}}"#),
        ] {
            assert_eq!(user(config), Ok(None), "{config:?}");
        }
    }

    #[test]
    fn credentials_are_found_beside_a_store_without_a_name() {
        let config = r#"{"credsStore": "", "auths": {"registry.example.com": {"auth": "bWU6aHVudGVyMg=="}}}"#;
        assert_eq!(user(Some(config)), Ok(Some("me".into())));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file() {
        for config in ["", "{", "[]", "7", r#"{"auths": 7}"#] {
            assert_eq!(user(Some(config)), Err("FILE is not valid".into()), "{config}");
        }
        let unreadable = within(Path::new("/dev/null/config.json"), "registry.example.com/app:1");
        let error = unreadable.unwrap_err().to_string();
        assert!(error.starts_with("/dev/null/config.json: "), "{error}");
        let missing = r#"{"credsStore": "slipway-has-no-such"}"#;
        assert_eq!(user(Some(missing)), Err("Unable to communicate with credential helper".into()));
    }
}
