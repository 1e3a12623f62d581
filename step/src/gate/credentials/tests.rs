use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const PASSWORD: &str = "very-secret";

/// Mounted secrets and the two folders to fill.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("creds")).unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret(self, name: &str, keys: &[(&str, &str)]) -> Self {
        let folder = self.path("secrets").join(name);
        fs::create_dir_all(&folder).unwrap();
        for (key, text) in keys {
            fs::write(folder.join(key), text).unwrap();
        }
        self
    }

    fn provide(&self, credentials: &[&str]) -> Vec<String> {
        let credentials: Vec<_> = credentials.iter().map(|one| one.parse().unwrap()).collect();
        lay_out(&credentials, &self.path("secrets"), &self.path("creds"), Some(&self.path("home")))
    }

    fn home(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path("home").join(name)).unwrap();
        assert_eq!(text, fs::read_to_string(self.path("creds").join(name)).unwrap(), "{name}");
        text
    }

    fn auths(&self) -> Value {
        serde_json::from_str::<Value>(&self.home(".docker/config.json")).unwrap()["auths"].take()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn registries_are_merged_in_order_and_entries_keep_their_fields() {
    let config = json!({
        "auths": {
            "one.example": { "auth": "Y29uZmlnOmpzb24=" },
            "two.example": { "auth": "Y29uZmlnOmpzb24=" },
            "token.example": { "identitytoken": "t", "auth": "", "email": "a@b" },
        },
        "credHelpers": { "three.example": "ecr-login" },
    });
    let cfg = json!({
        "two.example": { "auth": "b2xk" },
        "four.example": { "auth": "b2xk" },
    });
    let world = World::new()
        .secret("basic", &[("username", "me\n"), ("password", PASSWORD)])
        .secret("config", &[(".dockerconfigjson", &config.to_string())])
        .secret("cfg", &[(".dockercfg", &cfg.to_string())]);
    let lines =
        world.provide(&["docker-basic:basic=one.example", "docker-config:config", "dockercfg:cfg"]);
    assert_eq!(lines, Vec::<String>::new());
    assert_eq!(
        world.auths(),
        json!({
            "four.example": { "auth": "b2xk" },
            "one.example": { "username": "me", "password": PASSWORD, "auth": "bWU6dmVyeS1zZWNyZXQ=" },
            "token.example": { "identitytoken": "t", "auth": "", "email": "a@b" },
            "two.example": { "auth": "Y29uZmlnOmpzb24=" },
        })
    );
    assert!(!world.home(".docker/config.json").contains("credHelpers"));
}

#[test]
fn files_are_private_and_replace_what_was_there() {
    let world = World::new().secret("git", &[("username", "u"), ("password", PASSWORD)]);
    let home = world.path("home");
    fs::create_dir(home.join(".docker")).unwrap();
    fs::write(home.join(".docker/config.json"), "old").unwrap();
    world.provide(&["docker-basic:git=r.example", "git-basic:git=https://git.example"]);
    assert!(world.auths().is_object());
    for name in [".docker/config.json", ".gitconfig", ".git-credentials"] {
        assert_eq!(mode(&home.join(name)), 0o600, "{name}");
        assert_eq!(mode(&world.path("creds").join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&world.path("creds/.docker")), 0o700);
    assert_eq!(fs::read_dir(home.join(".docker")).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn git_gets_a_helper_and_escaped_credentials() {
    let world = World::new()
        .secret("one", &[("username", "a\"b\\c"), ("password", "p@ss:/wörd\n")])
        .secret("two", &[("username", "u"), ("password", "p")]);
    let lines =
        world.provide(&["git-basic:one=https://one.example:8443", "git-basic:two=http://two"]);
    assert_eq!(lines, Vec::<String>::new());
    assert_eq!(
        world.home(".gitconfig"),
        "[credential]\n\thelper = store\n\
         [credential \"https://one.example:8443\"]\n\tusername = \"a\\\"b\\\\c\"\n\
         [credential \"http://two\"]\n\tusername = \"u\"\n"
    );
    assert_eq!(
        world.home(".git-credentials"),
        "https://a%22b%5Cc:p%40ss%3A%2Fw%C3%B6rd@one.example:8443\nhttp://u:p@two\n"
    );
}

/// git itself reads what we wrote.
#[test]
fn git_finds_the_password() {
    let world = World::new().secret("one", &[("username", "a\"b\\c"), ("password", "p@ss:/wörd")]);
    world.provide(&["git-basic:one=https://one.example:8443"]);
    let mut git = std::process::Command::new("git")
        .args(["credential", "fill"])
        .env("HOME", world.path("home"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    io::Write::write_all(
        &mut git.stdin.take().unwrap(),
        b"protocol=https\nhost=one.example:8443\n\n",
    )
    .unwrap();
    let output = git.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("username=a\"b\\c\npassword=p@ss:/wörd\n"), "{text}");
}

#[test]
fn ssh_gets_a_key_for_each_host() {
    let world = World::new()
        .secret("known", &[("ssh-privatekey", "KEY"), ("known_hosts", "one ssh-ed25519 AAAA\n")])
        .secret("new", &[("ssh-privatekey", "OTHER\n")]);
    let lines = world.provide(&[
        "git-ssh:known=one.example",
        "git-ssh:new=two.example:2222",
        "git-ssh:new=[::1]:22",
    ]);
    assert_eq!(lines, Vec::<String>::new());
    let folder = world.path("creds/.ssh");
    let folder = folder.display();
    assert_eq!(
        world.home(".ssh/config"),
        format!(
            "Host ::1\n    Port 22\n    IdentityFile {folder}/id_new\n    UserKnownHostsFile {folder}/known_hosts\n    StrictHostKeyChecking accept-new\n\
             Host one.example\n    IdentityFile {folder}/id_known\n    UserKnownHostsFile {folder}/known_hosts\n    StrictHostKeyChecking yes\n\
             Host two.example\n    Port 2222\n    IdentityFile {folder}/id_new\n    UserKnownHostsFile {folder}/known_hosts\n    StrictHostKeyChecking accept-new\n"
        )
    );
    assert_eq!(world.home(".ssh/known_hosts"), "one ssh-ed25519 AAAA\n");
    assert_eq!(world.home(".ssh/id_known"), "KEY\n");
    assert_eq!(world.home(".ssh/id_new"), "OTHER\n");
    assert_eq!(mode(&world.path("home/.ssh/id_new")), 0o600);
}

#[test]
fn what_is_wrong_is_one_line_without_the_secret_and_the_rest_is_provided() {
    let world = World::new()
        .secret("broken", &[(".dockerconfigjson", "{\"auths\": very-secret")])
        .secret("half", &[("username", "u")])
        .secret("lines", &[("username", "u"), ("password", "very-secret\nhost=evil")])
        .secret("good", &[("username", "u"), ("password", PASSWORD)])
        .secret("key", &[("ssh-privatekey", PASSWORD)]);
    let lines = world.provide(&[
        "docker-config:broken",
        "docker-config:absent",
        "docker-basic:half=r.example",
        "docker-basic:good=r.example",
        "git-basic:lines=https://git.example",
        "git-basic:good=git.example",
        "git-basic:good=https://git.example\n[core]",
        "git-ssh:key=host ProxyCommand",
        "git-ssh:key=*",
    ]);
    assert_eq!(lines.len(), 8, "{lines:#?}");
    for (line, word) in lines.iter().zip([
        "secret broken: key .dockerconfigjson",
        "secret absent: key .dockerconfigjson",
        "secret half: key password",
        "secret lines: key password",
        "\"git.example\"",
        "https://git.example\\n[core]",
        "host ProxyCommand",
        "\"*\"",
    ]) {
        assert!(line.contains(word), "{word} in {line}");
        assert!(!line.contains(PASSWORD) && !line.contains('\n'), "{line}");
    }
    assert_eq!(world.auths().as_object().unwrap().len(), 1);
    assert!(!world.path("home/.ssh").exists() && !world.path("home/.gitconfig").exists());
}

#[test]
fn without_a_usable_home_credentials_stay_where_they_are_merged() {
    let world = World::new().secret("good", &[("username", "u"), ("password", PASSWORD)]);
    let credentials = ["docker-basic:good=r.example".parse().unwrap()];
    let (secrets, merged) = (world.path("secrets"), world.path("creds"));
    let lines = lay_out(&credentials, &secrets, &merged, None);
    assert!(lines.len() == 1 && lines[0].contains("HOME is not set"), "{lines:?}");
    let lines = lay_out(&credentials, &secrets, &merged, Some(Path::new("/proc")));
    assert!(lines.len() == 1 && lines[0].contains("/proc/.docker"), "{lines:?}");
    assert!(lines[0].ends_with("set HOME in its env"), "{lines:?}");
    assert!(merged.join(".docker/config.json").exists());
    assert_eq!(lay_out(&[], &secrets, &merged, None), Vec::<String>::new());
}
