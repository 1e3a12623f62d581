//! Clone secrets: which kind serves for which URL, and the private files by which git gets it.
//!
//! Invariant: a secret reaches git in files that only this user can read, never in a command line or the environment; they
//! vanish with [`Credentials`], or with the step's own TMPDIR where a signal comes first.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use tempfile::{NamedTempFile, TempDir};

use super::classify::Reason;
use super::error::GitError;
use super::url;

/// URL and secret do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A key, and a URL that is none of ssh.
    #[error(
        "the secret holds an ssh-privatekey, but the URL is not one of ssh; change the URL, the secret, or let https URLs be rewritten"
    )]
    SshUnexpected,
    /// A URL of ssh, and no key.
    #[error(
        "the URL is one of ssh, but the secret holds no ssh-privatekey; change the URL or the secret"
    )]
    SshExpected,
    /// Half of the basic credentials.
    #[error("the secret holds only one of username and password; add the other")]
    BasicIncomplete,
    /// A password that would travel in clear.
    #[error("username and password are not sent to an http URL; use https")]
    UnexpectedHttp,
    /// None of the kinds for this URL.
    #[error(
        "unsupported type of credentials: the secret needs ssh-privatekey for an ssh URL, or username and password for an https URL"
    )]
    Unsupported,
}

impl Mismatch {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::SshUnexpected => Reason::SshAuthUnexpected,
            Self::SshExpected => Reason::SshAuthExpected,
            Self::BasicIncomplete => Reason::BasicAuthIncomplete,
            Self::UnexpectedHttp => Reason::AuthUnexpectedHttp,
            Self::Unsupported => Reason::Unknown,
        }
    }
}

/// The files of a secret.
#[derive(Default)]
struct Secret {
    private_key: Option<String>,
    known_hosts: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// What of a secret serves for the URL.
#[derive(Debug, PartialEq, Eq)]
enum Method {
    Ssh { private_key: String, known_hosts: Option<String> },
    Basic { username: String, password: String },
}

impl Secret {
    fn read(folder: &Path) -> Result<Self, GitError> {
        let file = |name: &str| {
            let path = folder.join(name);
            match fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(GitError::Secret { path: path.display().to_string(), source }),
            }
        };
        if let Err(source) = fs::metadata(folder) {
            return Err(GitError::Secret { path: folder.display().to_string(), source });
        }
        Ok(Self {
            private_key: file("ssh-privatekey")?,
            known_hosts: file("known_hosts")?,
            username: file("username")?,
            password: file("password")?,
        })
    }

    fn method_for(self, url: &str, rewrite: bool) -> Result<Method, Mismatch> {
        if let Some(private_key) = self.private_key {
            if !url::is_ssh(url) && !rewrite {
                return Err(Mismatch::SshUnexpected);
            }
            return Ok(Method::Ssh { private_key, known_hosts: self.known_hosts });
        }
        if url::is_ssh(url) {
            return Err(Mismatch::SshExpected);
        }
        match (self.username, self.password) {
            (Some(_), Some(_)) if url.starts_with("http://") => Err(Mismatch::UnexpectedHttp),
            (Some(username), Some(password)) if url.starts_with("https://") => {
                Ok(Method::Basic { username: one_line(&username), password: one_line(&password) })
            }
            (Some(_), None) | (None, Some(_)) => Err(Mismatch::BasicIncomplete),
            _ => Err(Mismatch::Unsupported),
        }
    }
}

/// Without the line end that editors and `echo` leave behind.
fn one_line(text: &str) -> String {
    text.trim_end_matches(['\n', '\r']).to_owned()
}

/// The settings by which git finds the credentials, and the files they name.
pub(super) struct Credentials {
    settings: Vec<String>,
    secrets: Vec<String>,
    // The files live as long as this.
    _folder: Option<TempDir>,
}

impl Credentials {
    /// A repository for everybody.
    pub(super) fn none() -> Self {
        Self { settings: Vec::new(), secrets: Vec::new(), _folder: None }
    }

    /// The mounted secret in `secret`, made ready for `url`.
    pub(super) fn load(secret: &Path, url: &str, rewrite: bool) -> Result<Self, GitError> {
        let method = Secret::read(secret)?.method_for(url, rewrite)?;
        let folder =
            tempfile::Builder::new().prefix("git-").tempdir().map_err(GitError::Temporary)?;
        let (settings, secrets) =
            method.install(url, rewrite, folder.path()).map_err(GitError::Temporary)?;
        Ok(Self { settings, secrets, _folder: Some(folder) })
    }

    /// For `git -c`.
    pub(super) fn settings(&self) -> impl Iterator<Item = &String> {
        self.settings.iter()
    }

    /// What must not be printed.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(String::as_str)
    }
}

impl Method {
    fn install(
        self,
        url: &str,
        rewrite: bool,
        folder: &Path,
    ) -> io::Result<(Vec<String>, Vec<String>)> {
        match self {
            Self::Ssh { private_key, known_hosts } => {
                // ssh refuses a key without a line end behind it.
                let private_key: String =
                    private_key.lines().flat_map(|line| [line, "\n"]).collect();
                let key = write_private(folder, &private_key)?;
                let hosts = known_hosts.as_ref().map(|hosts| write_private(folder, hosts));
                let mut settings = vec![ssh_command(&key, hosts.transpose()?, folder)];
                if rewrite {
                    match url::rewrite_to_ssh(url) {
                        Some(setting) => settings.push(setting),
                        None => eprintln!("no https URL is rewritten: this URL has no host"),
                    }
                }
                Ok((settings, Vec::new()))
            }
            Self::Basic { username, password } => {
                let host = url::host_and_port(url).unwrap_or_default();
                let (user, word) = (percent_encode(&username), percent_encode(&password));
                let file = write_private(folder, &format!("https://{user}:{word}@{host}\n"))?;
                // An empty helper first: none of the image's may keep or change what is the user's.
                let settings = vec![
                    "credential.helper=".to_owned(),
                    format!("credential.helper=store --file {}", shell_quote(&file)),
                ];
                Ok((settings, vec![password, word]))
            }
        }
    }
}

/// A file of mode 0600; its path.
fn write_private(folder: &Path, content: &str) -> io::Result<String> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content.as_bytes())?;
    let (_, path) = file.keep().map_err(|error| error.error)?;
    Ok(path.display().to_string())
}

/// How git calls ssh. Its own default for `known_hosts` is the home in passwd, which cannot be written in a pod.
fn ssh_command(key: &str, known_hosts: Option<String>, folder: &Path) -> String {
    let mut words = vec!["ssh".to_owned()];
    for option in ["LogLevel=ERROR", "BatchMode=yes", "IdentitiesOnly=yes"] {
        words.extend(["-o".to_owned(), option.to_owned()]);
    }
    words.extend(["-i".to_owned(), shell_quote(key)]);
    let host_options = match known_hosts {
        Some(hosts) => vec![
            "StrictHostKeyChecking=yes".to_owned(),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            user_known_hosts(&hosts),
        ],
        None => vec![
            "StrictHostKeyChecking=accept-new".to_owned(),
            user_known_hosts(&folder.join("known_hosts").display().to_string()),
        ],
    };
    for option in host_options {
        words.extend(["-o".to_owned(), shell_quote(&option)]);
    }
    format!("core.sshCommand={}", words.join(" "))
}

/// ssh takes a list of files: quotes keep a blank in the path from parting it.
fn user_known_hosts(path: &str) -> String {
    if path.contains(' ') {
        format!("UserKnownHostsFile=\"{path}\"")
    } else {
        format!("UserKnownHostsFile={path}")
    }
}

/// git hands both settings to a shell.
fn shell_quote(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-=".contains(&byte));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::os::unix::fs::PermissionsExt;

    const SSH: &str = "git@h:a";
    const HTTPS: &str = "https://h:8443/a";

    /// k: key, h: known hosts, u: username, p: password.
    fn secret(parts: &str) -> Secret {
        let part = |letter: char, text: &str| parts.contains(letter).then(|| text.to_owned());
        Secret {
            private_key: part('k', "KEY"),
            known_hosts: part('h', "HOSTS"),
            username: part('u', "me"),
            password: part('p', "p@ss word\r\n"),
        }
    }

    #[rstest]
    #[case("k", HTTPS, Mismatch::SshUnexpected)]
    #[case("kup", HTTPS, Mismatch::SshUnexpected)]
    #[case("kh", "file:///a", Mismatch::SshUnexpected)]
    #[case("up", SSH, Mismatch::SshExpected)]
    #[case("u", SSH, Mismatch::SshExpected)]
    #[case("", SSH, Mismatch::SshExpected)]
    #[case("", "ssh://h/a", Mismatch::SshExpected)]
    #[case("up", "http://h/a", Mismatch::UnexpectedHttp)]
    #[case("u", HTTPS, Mismatch::BasicIncomplete)]
    #[case("p", HTTPS, Mismatch::BasicIncomplete)]
    #[case("p", "http://h/a", Mismatch::BasicIncomplete)]
    #[case("u", "file:///a", Mismatch::BasicIncomplete)]
    #[case("up", "file:///a", Mismatch::Unsupported)]
    #[case("", HTTPS, Mismatch::Unsupported)]
    #[case("h", HTTPS, Mismatch::Unsupported)]
    fn what_does_not_fit(#[case] parts: &str, #[case] url: &str, #[case] expected: Mismatch) {
        assert_eq!(secret(parts).method_for(url, false), Err(expected));
    }

    #[rstest]
    #[case("k", SSH, false)]
    #[case("khup", "ssh://git@h/a", false)]
    #[case("k", HTTPS, true)]
    #[case("k", "http://h/a", true)]
    fn a_key_fits(#[case] parts: &str, #[case] url: &str, #[case] rewrite: bool) {
        let method = secret(parts).method_for(url, rewrite);
        assert!(matches!(method, Ok(Method::Ssh { .. })), "{method:?}");
    }

    #[test]
    fn a_line_end_is_no_part_of_a_password() {
        let expected = Method::Basic { username: "me".into(), password: "p@ss word".into() };
        assert_eq!(secret("uph").method_for(HTTPS, false), Ok(expected));
    }

    #[test]
    fn basic_credentials_go_through_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let method = secret("up").method_for(HTTPS, false).unwrap();
        let (settings, secrets) = method.install(HTTPS, false, folder.path()).unwrap();
        assert_eq!(secrets, ["p@ss word", "p%40ss%20word"]);
        assert_eq!(settings[0], "credential.helper=");
        let file = settings[1].strip_prefix("credential.helper=store --file ").unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "https://me:p%40ss%20word@h:8443\n");
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[rstest]
    #[case::no_line_end("A\nB", "A\nB\n")]
    #[case::windows("A\r\nB\r\n", "A\nB\n")]
    #[case::as_it_should_be("A\nB\n", "A\nB\n")]
    fn a_key_is_copied_as_ssh_wants_it(#[case] key: &str, #[case] expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let method = Method::Ssh { private_key: key.into(), known_hosts: None };
        method.install(SSH, false, folder.path()).unwrap();
        let copy = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
        assert_eq!(fs::read_to_string(copy.path()).unwrap(), expected);
        assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_ssh_command() {
        let folder = Path::new("/tmp/a b");
        assert_eq!(
            ssh_command("/tmp/k", Some("/tmp/h".into()), folder),
            "core.sshCommand=ssh -o LogLevel=ERROR -o BatchMode=yes -o IdentitiesOnly=yes -i /tmp/k -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/dev/null -o UserKnownHostsFile=/tmp/h"
        );
        assert_eq!(
            ssh_command("/tmp/k k", None, folder),
            "core.sshCommand=ssh -o LogLevel=ERROR -o BatchMode=yes -o IdentitiesOnly=yes -i '/tmp/k k' -o StrictHostKeyChecking=accept-new -o 'UserKnownHostsFile=\"/tmp/a b/known_hosts\"'"
        );
    }

    #[test]
    fn the_rewrite_is_a_setting_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let method = secret("kh").method_for(HTTPS, true).unwrap();
        let (settings, _) = method.install(HTTPS, true, folder.path()).unwrap();
        assert_eq!(settings[1], "url.ssh://git@h:8443/.insteadOf=https://h:8443/");
    }
}
