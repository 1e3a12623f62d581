//! Through a real sshd, one process a connection.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rstest::rstest;
use tempfile::TempDir;

use super::failures::{BAD_KEY, NO_REVISION};
use super::fixture::{Origin, Step, git, output_of};

/// An sshd for the user who runs the tests. It asks for one key and speaks git's oldest protocol, as most do.
struct SshServer {
    folder: TempDir,
    port: u16,
    user: String,
}

impl SshServer {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in ["host", "user", "stranger"] {
            new_key(&file(name));
        }
        fs::write(
            file("config"),
            format!(
                "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
                file("host").display(),
                file("user.pub").display()
            ),
        )
        .unwrap();
        let user = output_of(Command::new("id").arg("-un"));
        if user == "root" {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (config, log) = (file("config"), file("log"));
        // `hack/test` unpacks one where none is installed.
        let sshd = env::var("SLIPWAY_SSHD").unwrap_or_else(|_| "/usr/sbin/sshd".into());
        assert!(
            Path::new(&sshd).exists(),
            "no sshd here: run hack/test, or install openssh-server"
        );
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = OwnedFd::from(stream.unwrap());
                let log = File::options().create(true).append(true).open(&log).unwrap();
                let mut child = Command::new(&sshd)
                    .args(["-i", "-e", "-f"])
                    .arg(&config)
                    .stdin(Stdio::from(stream.try_clone().unwrap()))
                    .stdout(Stdio::from(stream))
                    .stderr(Stdio::from(log))
                    .spawn()
                    .unwrap();
                thread::spawn(move || child.wait());
            }
        });
        Self { folder, port, user }
    }

    fn url(&self, repository: &Path) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, repository.display())
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn known_hosts(&self) -> String {
        format!("[127.0.0.1]:{} {}", self.port, self.file("host.pub"))
    }

    fn step(&self, origin: &Origin) -> Step {
        Step::new(&self.url(&origin.bare()))
            .secret(&[("ssh-privatekey", &self.file("user")), ("known_hosts", &self.known_hosts())])
    }
}

fn new_key(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    output_of(command.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(path));
}

/// The file that ssh writes to unless told otherwise: below the home in passwd, not `$HOME`.
fn own_known_hosts(user: &str) -> PathBuf {
    let line = output_of(Command::new("getent").args(["passwd", user]));
    Path::new(line.split(':').nth(5).unwrap()).join(".ssh/known_hosts")
}

#[test]
fn a_key_and_known_hosts() {
    let (server, origin) = (SshServer::start(), Origin::new());
    let outcome = server.step(&origin).run().succeeded();
    assert_eq!(outcome.results["commit-sha"], origin.id("main"));
    assert_eq!(outcome.results["branch-name"], "main");
}

#[test]
fn without_known_hosts_the_host_is_accepted_and_forgotten() {
    let (server, origin) = (SshServer::start(), Origin::new());
    let secret = [("ssh-privatekey", server.file("user"))];
    let secret = secret.each_ref().map(|(name, content)| (*name, content.as_str()));
    Step::new(&server.url(&origin.bare())).secret(&secret).run().succeeded();
    let known = fs::read_to_string(own_known_hosts(&server.user)).unwrap_or_default();
    assert!(!known.contains(&format!("[127.0.0.1]:{} ", server.port)), "{known}");
}

#[rstest]
#[case::no_line_end(|key: &str| key.trim_end().to_owned())]
#[case::from_windows(|key: &str| key.replace('\n', "\r\n"))]
fn a_key_as_people_paste_it(#[case] change: fn(&str) -> String) {
    let (server, origin) = (SshServer::start(), Origin::new());
    let key = change(&server.file("user"));
    Step::new(&server.url(&origin.bare())).secret(&[("ssh-privatekey", &key)]).run().succeeded();
}

#[rstest]
#[case::unknown_to_the_server("stranger")]
#[case::no_key_at_all("config")]
fn a_wrong_key(#[case] file: &str) {
    let (server, origin) = (SshServer::start(), Origin::new());
    let step =
        Step::new(&server.url(&origin.bare())).secret(&[("ssh-privatekey", &server.file(file))]);
    step.run().failed(128, "GitAuthInvalidKey", BAD_KEY);
}

#[test]
fn another_host_than_the_known_one() {
    let (server, origin) = (SshServer::start(), Origin::new());
    let known = format!("[127.0.0.1]:{} {}", server.port, server.file("stranger.pub"));
    let step = Step::new(&server.url(&origin.bare()))
        .secret(&[("ssh-privatekey", &server.file("user")), ("known_hosts", &known)]);
    step.run().failed(128, "GitAuthInvalidKey", BAD_KEY);
}

#[test]
fn a_repository_that_is_not_there() {
    let server = SshServer::start();
    let step = Step::new(&server.url(Path::new("/nowhere.git")))
        .secret(&[("ssh-privatekey", &server.file("user"))]);
    step.run().failed(128, "GitAuthInvalidKey", BAD_KEY);
}

#[rstest]
#[case::refused(false, 2)]
#[case::allowed(true, 1)]
fn a_full_commit(#[case] is_allowed: bool, #[case] history: usize) {
    let (server, origin) = (SshServer::start(), Origin::new());
    if is_allowed {
        git(&origin.bare(), &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    }
    let id = origin.id("main~3");
    let outcome = server.step(&origin).revision(&id).run().succeeded();
    assert_eq!((outcome.history(), outcome.results["commit-sha"].as_str()), (history, id.as_str()));
}

#[test]
fn a_commit_that_is_not_there() {
    let (server, origin) = (SshServer::start(), Origin::new());
    let step = server.step(&origin).revision(&"1".repeat(40));
    step.run().failed(128, "GitRevisionNotFound", NO_REVISION);
}

#[rstest]
#[case::rewritten(true)]
#[case::as_it_is(false)]
fn a_submodule_with_an_https_url(#[case] is_rewritten: bool) {
    let (server, outer, inner) = (SshServer::start(), Origin::new(), Origin::new());
    outer.add_submodule(&inner.url(), "inner");
    let url = format!("https://127.0.0.1{}", inner.bare().display());
    let modules = format!("[submodule \"inner\"]\npath = inner\nurl = {url}\n");
    outer.commit(".gitmodules", &modules);
    outer.push();
    let step = server.step(&outer);
    if is_rewritten {
        let outcome = step.argument("--git-url-rewrite").run().succeeded();
        assert_eq!(outcome.file("inner/number"), "5");
        assert!(!outcome.file(".git/config").contains("insteadOf"), "nothing of ours stays");
    } else {
        assert_ne!(step.run().code, Some(0), "nobody serves https here");
    }
}

#[test]
fn an_https_url_is_rewritten() {
    let origin = Origin::new();
    let server = SshServer::start();
    let url = format!("https://127.0.0.1:{}{}", server.port, origin.bare().display());
    let outcome = Step::new(&url)
        .secret(&[("ssh-privatekey", &server.file("user"))])
        .argument("--git-url-rewrite")
        .run();
    // The user is always `git`, who is nobody here; that sshd was asked is what counts.
    let outcome = outcome.failed(128, "GitAuthInvalidKey", BAD_KEY);
    assert!(outcome.log.contains("git@127.0.0.1: Permission denied"), "{}", outcome.log);
}
