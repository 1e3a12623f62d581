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
use serde::Deserialize;
use serde_json::json;

use super::OciError;
use super::login::Login;

/// The key in a Secret of type `kubernetes.io/dockerconfigjson`.
const FILE: &str = ".dockerconfigjson";
const DOCKER_HUB: &str = "index.docker.io";
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What a registry is told about us.
#[derive(Clone)]
pub struct Credentials {
    /// Who we are.
    pub login: Login,
    /// What every request to the registry carries besides.
    pub(super) headers: BTreeMap<String, String>,
}

impl Credentials {
    /// Those of nobody.
    pub fn anonymous() -> Self {
        Self { login: Login::Anonymous, headers: BTreeMap::new() }
    }

    /// A docker configuration that says this to one registry, for another program; nothing where there is nothing to say.
    pub fn to_docker_config(&self, registry: &str) -> Option<Vec<u8>> {
        let entry = match &self.login {
            Login::Anonymous => return None,
            Login::Basic { username, password } => {
                json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
            }
            Login::Identity(token) => json!({ "identitytoken": token }),
            Login::Token(token) => json!({ "registrytoken": token }),
        };
        Some(json!({ "auths": { key_of(registry): entry } }).to_string().into_bytes())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A header may hold a token.
        formatter.debug_struct("Credentials").field("login", &self.login).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "HttpHeaders")]
    headers: BTreeMap<String, String>,
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

/// What the secret says about the registry; the path is the folder of a mounted secret or the file itself.
pub fn find(secret_path: &Path, registry: &str) -> Result<Credentials, OciError> {
    let path = if secret_path.is_dir() { secret_path.join(FILE) } else { secret_path.to_owned() };
    let bytes = fs::read(&path).map_err(|source| OciError::Read { path: path.clone(), source })?;
    let config = parse(&bytes).map_err(|problem| refuse(&path, problem))?;
    let available = available(&config);
    match of(config, registry).map_err(|problem| refuse(&path, problem))? {
        Some(credentials) => Ok(credentials),
        None => Err(OciError::NoCredentials { registry: registry.to_owned(), available }),
    }
}

/// What a docker configuration says about the registry; nothing where it does not name it. The error is what is wrong with it.
pub fn find_in(config: &[u8], registry: &str) -> Result<Option<Credentials>, String> {
    of(parse(config)?, registry)
}

fn parse(bytes: &[u8]) -> Result<Config, String> {
    // serde's message quotes the text at fault, which may be a password.
    serde_json::from_slice(bytes).map_err(|error| {
        format!(
            "it is not a docker configuration with \"auths\" (line {}, column {})",
            error.line(),
            error.column()
        )
    })
}

fn of(mut config: Config, registry: &str) -> Result<Option<Credentials>, String> {
    let key = key_of(registry);
    let Some(entry) = config.auths.remove(key) else { return Ok(None) };
    let login = login(entry).map_err(|problem| format!("{problem} in the entry for {key}"))?;
    Ok(Some(Credentials { login, headers: config.headers }))
}

fn key_of(registry: &str) -> &str {
    if registry == DOCKER_HUB { DOCKER_HUB_KEY } else { registry }
}

fn available(config: &Config) -> String {
    if config.auths.is_empty() {
        return "none".to_owned();
    }
    config.auths.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn login(entry: Entry) -> Result<Login, &'static str> {
    if !entry.registrytoken.is_empty() {
        return Ok(Login::Token(entry.registrytoken));
    }
    if !entry.identitytoken.is_empty() {
        return Ok(Login::Identity(entry.identitytoken));
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
        let (username, password) =
            (username.to_owned(), password.trim_end_matches('\0').to_owned());
        return Ok(Login::Basic { username, password });
    }
    if entry.username.is_empty() && entry.password.is_empty() {
        return Ok(Login::Anonymous);
    }
    Ok(Login::Basic { username: entry.username, password: entry.password })
}

fn refuse(path: &Path, problem: String) -> OciError {
    OciError::Secret { path: PathBuf::from(path), problem }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn found(config: &str, registry: &str) -> Result<Credentials, OciError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), config).unwrap();
        find(dir.path(), registry)
    }

    fn basic(username: &str, password: &str) -> Login {
        Login::Basic { username: username.into(), password: password.into() }
    }

    #[rstest]
    #[case("quay.io", "quay.io", true)]
    #[case("https://quay.io", "quay.io", false)]
    #[case("quay.io/v1/", "quay.io", false)]
    #[case("quay.io", "quay.io:443", false)]
    #[case("registry:5000", "registry:5000", true)]
    #[case("registry", "registry:5000", false)]
    #[case("https://index.docker.io/v1/", "index.docker.io", true)]
    #[case("index.docker.io", "index.docker.io", false)]
    #[case("docker.io", "index.docker.io", false)]
    fn only_the_exact_key_matches(
        #[case] key: &str,
        #[case] registry: &str,
        #[case] matches: bool,
    ) {
        let config = format!(r#"{{"auths": {{"{key}": {{"auth": "dTpwOnA="}}}}}}"#);
        match found(&config, registry) {
            Ok(credentials) => {
                assert!(matches);
                assert_eq!(credentials.login, basic("u", "p:p"));
            }
            Err(error) => {
                assert!(!matches);
                assert_eq!(
                    error.to_string(),
                    format!(
                        "failed to find registry credentials for {registry}, available configurations: {key}"
                    )
                );
            }
        }
    }

    #[rstest]
    #[case(r#"{"auths": {}}"#, "none")]
    #[case("{}", "none")]
    #[case(r#"{"auths": {"b": {}, "a": {}}}"#, "a, b")]
    fn what_there_is_is_listed(#[case] config: &str, #[case] available: &str) {
        let error = found(config, "c").unwrap_err().to_string();
        assert!(error.ends_with(&format!("available configurations: {available}")), "{error}");
    }

    #[rstest]
    #[case(r#"{"username": "u", "password": "p"}"#, basic("u", "p"))]
    #[case(r#"{"username": "x", "password": "x", "auth": "dTpw"}"#, basic("u", "p"))]
    #[case(r#"{"auth": "dTpw", "identitytoken": "i"}"#, Login::Identity("i".into()))]
    #[case(r#"{"registrytoken": "t"}"#, Login::Token("t".into()))]
    #[case(r#"{"email": "a@b"}"#, Login::Anonymous)]
    fn every_form_of_an_entry_is_read(#[case] entry: &str, #[case] expected: Login) {
        let config = format!(r#"{{"auths": {{"r": {entry}}}}}"#);
        assert_eq!(found(&config, "r").unwrap().login, expected);
    }

    #[rstest]
    #[case(r#"{"auths": {"r": {"auth": "c2VjcmV0"}}}"#, "\"auth\" has no colon")]
    #[case(r#"{"auths": {"r": {"auth": "secret!"}}}"#, "\"auth\" is not base64")]
    #[case(r#"{"auths": {"r": {"auth": 1, "password": "secret"}}}"#, "line 1")]
    #[case(r#"{"auths": "secret"}"#, "line 1")]
    fn what_is_wrong_is_said_without_secrets(#[case] config: &str, #[case] expected: &str) {
        let error = crate::describe(&found(config, "r").unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("secret") && !error.contains("c2VjcmV0"), "{error}");
    }
}
