//! Repositories to fetch from, and the step as a pod would run it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub(super) const AUTHOR: &str = "Zoë Müller";

/// Runs a program that the tests need and returns its output; a missing one fails the test.
pub(super) fn output_of(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| {
        panic!(
            "{command:?}: {error}; install git, git-lfs, openssh-client, openssh-server and openssl"
        )
    });
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{stderr}");
    String::from_utf8(stdout).unwrap().trim_end().to_owned()
}

/// git for the tests' own use, untouched by the machine's configuration.
pub(super) fn git(folder: &Path, arguments: &[&str]) -> String {
    output_of(git_command(folder).args(arguments))
}

fn git_command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for (role, name) in [("AUTHOR", AUTHOR), ("COMMITTER", "Somebody Else")] {
        command.env(format!("GIT_{role}_NAME"), name);
        command.env(format!("GIT_{role}_EMAIL"), "zoe@example.com");
        command.env(format!("GIT_{role}_DATE"), "1700000000 +0100");
    }
    command.arg("-C").arg(folder).args([
        "-c",
        "protocol.file.allow=always",
        "-c",
        "core.fsync=none",
    ]);
    command
}

/// In the format of `git fast-import`: some thirty calls of git in one.
fn history_of_origin() -> String {
    let mut history = Vec::new();
    let mut commit = |reference: &str, mark: u32, from: Option<u32>, number: &str| {
        let from = from.map(|from| format!("from :{from}\n")).unwrap_or_default();
        let length = number.len();
        history.push(format!(
            "commit {reference}\nmark :{mark}\n\
             author {AUTHOR} <zoe@example.com> 1600000000 +0100\n\
             committer Somebody Else <zoe@example.com> 1700000000 +0100\n\
             data {length}\n{number}\n{from}M 100644 inline number\ndata {length}\n{number}\n"
        ));
    };
    for number in 1..=5 {
        commit("refs/heads/main", number, (number > 1).then(|| number - 1), &number.to_string());
    }
    commit("refs/heads/feature/x", 6, Some(5), "feature");
    commit("refs/heads/abcdef1", 7, Some(5), "looks like an id");
    commit("refs/pull/1/head", 8, Some(5), "proposal");
    commit("refs/tags/lonely", 9, Some(5), "lonely");
    history.push("reset refs/tags/light\nfrom :4\n".to_owned());
    let tagger = "tagger Somebody Else <zoe@example.com> 1700000000 +0100";
    history.push(format!("tag annotated\nfrom :3\n{tagger}\ndata 3\ntwo\n"));
    history.concat()
}

/// A bare repository and the working copy it was pushed from.
///
/// `main` has five commits, each with its number in the file `number`; `refs/pull/1/head` and the tag `lonely` are on no branch.
pub(super) struct Origin {
    folder: TempDir,
}

impl Origin {
    pub(super) fn new() -> Self {
        let origin = Self::empty();
        let history = origin.folder.path().join("history");
        fs::write(&history, history_of_origin()).unwrap();
        let mut import = git_command(&origin.work());
        output_of(import.args(["fast-import", "--quiet"]).stdin(File::open(&history).unwrap()));
        git(&origin.work(), &["reset", "--quiet", "--hard"]);
        origin.push();
        origin
    }

    pub(super) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "--quiet", "--initial-branch=main", "work"]);
        git(folder.path(), &["init", "--quiet", "--initial-branch=main", "--bare", "origin.git"]);
        Self { folder }
    }

    pub(super) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub(super) fn bare(&self) -> PathBuf {
        self.folder.path().join("origin.git")
    }

    pub(super) fn url(&self) -> String {
        format!("file://{}", self.bare().display())
    }

    pub(super) fn commit(&self, file: &str, content: &str) {
        fs::write(self.work().join(file), content).unwrap();
        git(&self.work(), &["add", "--all"]);
        git(&self.work(), &["commit", "--quiet", "--message", content]);
    }

    pub(super) fn add_submodule(&self, url: &str, path: &str) {
        git(&self.work(), &["submodule", "--quiet", "add", url, path]);
        git(&self.work(), &["commit", "--quiet", "--message", "submodule"]);
    }

    pub(super) fn push(&self) {
        let bare = self.bare().display().to_string();
        git(&self.work(), &["push", "--quiet", "--mirror", &bare]);
    }

    pub(super) fn id(&self, revision: &str) -> String {
        git(&self.work(), &["rev-parse", &format!("{revision}^{{commit}}")])
    }
}

/// One run of the step, with all result files named.
pub(super) struct Step {
    folder: TempDir,
    command: Command,
}

impl Step {
    pub(super) fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["results", "tmp", "home", "secret"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway-step"));
        command
            .env("HOME", folder.path().join("home"))
            .env("TMPDIR", folder.path().join("tmp"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env_remove("GIT_SHOW_LISTING")
            .args(["git", "--url", url, "--target"])
            .arg(folder.path().join("source"));
        for name in [
            "commit-sha",
            "commit-author",
            "branch-name",
            "source-timestamp",
            "error-message",
            "error-reason",
        ] {
            command.arg(format!("--result-file-{name}"));
            command.arg(folder.path().join("results").join(name));
        }
        Self { folder, command }
    }

    /// Exactly these arguments.
    pub(super) fn bare(arguments: &[&str]) -> Self {
        let mut step = Self::new("");
        step.command = Command::new(env!("CARGO_BIN_EXE_slipway-step"));
        step.command.arg("git").args(arguments);
        step
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn argument(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    pub(super) fn revision(self, revision: &str) -> Self {
        self.argument(&format!("--revision={revision}"))
    }

    pub(super) fn depth(self, depth: u32) -> Self {
        self.argument(&format!("--depth={depth}"))
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// A setting of git's, as an operator would give it.
    pub(super) fn setting(self, name: &str, value: &str) -> Self {
        self.variable("GIT_CONFIG_COUNT", "1")
            .variable("GIT_CONFIG_KEY_0", name)
            .variable("GIT_CONFIG_VALUE_0", value)
    }

    pub(super) fn secret(mut self, files: &[(&str, &str)]) -> Self {
        let folder = self.folder("secret");
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
        }
        self.command.arg("--secret-path").arg(folder);
        self
    }

    /// Exit code and log, whatever the results look like.
    pub(super) fn run_only(mut self) -> (Option<i32>, String) {
        let output = self.command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    pub(super) fn run(mut self) -> Outcome {
        let output = self.command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "the log is standard error");
        let left_over: Vec<_> = fs::read_dir(self.folder("tmp")).unwrap().collect();
        assert!(left_over.is_empty(), "credentials are left behind: {left_over:?}");
        let mut results = BTreeMap::new();
        for entry in fs::read_dir(self.folder("results")).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o644);
            let content = fs::read_to_string(entry.path()).unwrap();
            assert_eq!(content.trim_end(), content);
            results.insert(entry.file_name().into_string().unwrap(), content);
        }
        Outcome {
            code: output.status.code(),
            log: String::from_utf8(output.stderr).unwrap(),
            results,
            folder: self.folder,
        }
    }
}

/// What a run left.
pub(super) struct Outcome {
    pub(super) code: Option<i32>,
    pub(super) log: String,
    pub(super) results: BTreeMap<String, String>,
    folder: TempDir,
}

impl Outcome {
    /// The same, after a check that all went well and no error is reported.
    #[track_caller]
    pub(super) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.log);
        assert!(!self.results.keys().any(|name| name.starts_with("error")), "{:?}", self.results);
        self
    }

    /// Exit code, reason and message are these, and nothing else is reported.
    #[track_caller]
    pub(super) fn failed(self, code: i32, reason: &str, message: &str) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.log);
        let results: Vec<_> =
            self.results.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(results, [("error-message", message), ("error-reason", reason)], "{}", self.log);
        self
    }

    pub(super) fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    pub(super) fn file(&self, path: &str) -> String {
        fs::read_to_string(self.source().join(path)).unwrap()
    }

    /// How many commits came along.
    pub(super) fn history(&self) -> usize {
        git(&self.source(), &["rev-list", "HEAD"]).lines().count()
    }

    /// Neither log nor results hold it.
    #[track_caller]
    pub(super) fn hides(self, secret: &str) -> Self {
        assert!(!self.log.contains(secret), "{}", self.log);
        assert!(!self.results.values().any(|value| value.contains(secret)), "{:?}", self.results);
        self
    }
}
