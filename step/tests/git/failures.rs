//! Exit code, reason and message of everything that goes wrong without a server.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rstest::rstest;

use super::fixture::{Origin, Step};

pub(super) const NO_REVISION: &str =
    "The remote revision does not exist. Check your revision argument.";
pub(super) const BAD_KEY: &str = "The key is invalid for the specified target. Please make sure that the Git repository exists, you have sufficient permissions, and the key is in the right format.";

#[rstest]
#[case::branch("nope")]
#[case::branch_called_repository("repository")]
#[case::path("feature/nope")]
#[case::pull_request("refs/pull/9/head")]
#[case::pattern("refs/heads/*")]
#[case::flag("--upload-pack=touch /tmp/x")]
#[case::abbreviated("1111111")]
#[case::full("1111111111111111111111111111111111111111")]
#[case::sha256("1111111111111111111111111111111111111111111111111111111111111111")]
fn a_revision_that_is_not_there(#[case] revision: &str) {
    let origin = Origin::new();
    let step = Step::new(&origin.url()).revision(revision);
    step.run().failed(128, "GitRevisionNotFound", NO_REVISION);
}

#[test]
fn a_full_commit_that_an_old_server_does_not_have() {
    let origin = Origin::new();
    let step = Step::new(&origin.url()).revision(&"1".repeat(40));
    step.setting("protocol.version", "0").run().failed(128, "GitRevisionNotFound", NO_REVISION);
}

#[rstest]
#[case::default_branch(None)]
#[case::commit(Some("1111111111111111111111111111111111111111"))]
fn a_repository_that_is_not_there(#[case] revision: Option<&str>) {
    let mut step = Step::new("file:///nowhere/at/all.git");
    if let Some(revision) = revision {
        step = step.revision(revision);
    }
    // Upstream's words for a file and for plain ssh: git does not tell why it could not read.
    step.run().failed(128, "GitAuthInvalidKey", BAD_KEY);
}

#[test]
fn a_repository_without_a_commit() {
    let origin = Origin::empty();
    Step::new(&origin.url()).run().failed(
        128,
        "GitError",
        "fatal:  your current branch 'main' does not have any commits yet (exit code 128)",
    );
}

#[test]
fn a_host_that_is_not_there_and_a_password_in_the_url() {
    let outcome = Step::new("https://someone:S3cret@127.0.0.1:1/a.git").run().hides("S3cret");
    assert_eq!(outcome.code, Some(128));
    assert_eq!(outcome.results["error-reason"], "GitError");
    let message = &outcome.results["error-message"];
    assert!(message.contains("127.0.0.1"), "{message}");
    assert!(outcome.log.contains("https://xxxxx@127.0.0.1:1/a.git"), "{}", outcome.log);
    assert!(outcome.log.contains("clone secret"), "{}", outcome.log);
}

#[test]
fn no_url() {
    let message = "no repository to fetch; give its URL with --url";
    Step::new("").run().failed(100, "GitError", message);
}

#[test]
fn no_target() {
    let step = Step::bare(&["--url", "file:///a", "--target", ""]);
    assert_eq!(step.run().code, Some(101));
}

#[test]
fn no_argument_at_all() {
    assert_eq!(Step::bare(&[]).run().code, Some(100));
}

#[test]
fn an_unknown_flag() {
    assert_eq!(Step::bare(&["--nope"]).run().code, Some(2));
}

#[test]
fn a_message_file_alone_stays_unwritten() {
    let step = Step::bare(&["--url", "", "--result-file-error-message"]);
    let file = step.folder("results").join("error-message").display().to_string();
    let outcome = step.argument(&file).run();
    assert_eq!((outcome.code, outcome.results.len()), (Some(100), 0));
}

#[test]
fn missing_tools_come_before_everything_else() {
    let step = Step::new("");
    let nothing = step.folder("home").display().to_string();
    step.variable("PATH", &nothing).run().failed(
        120,
        "GitError",
        "ssh is not installed in the image of the source step; use an image that has ssh, git and git-lfs",
    );
}

#[rstest]
#[case::looked_at(false)]
#[case::skipped(true)]
fn a_broken_tool(#[case] is_skipped: bool) {
    let origin = Origin::new();
    let step = Step::new(&origin.url());
    let folder = step.folder("home");
    let broken = folder.join("git-lfs");
    fs::write(&broken, "#!/bin/sh\necho no luck >&2\nexit 3\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let step = step.variable("PATH", &path);
    if is_skipped {
        step.argument("--skip-validation").run().succeeded();
    } else {
        step.run().failed(
            1,
            "GitError",
            "git-lfs does not run in the image of the source step: no luck (exit status: 3)",
        );
    }
}

#[rstest]
#[case::clone("main")]
#[case::fetch("refs/pull/1/head")]
fn a_target_that_holds_something(#[case] revision: &str) {
    let origin = Origin::new();
    let step = Step::new(&origin.url()).revision(revision);
    let target = step.folder("source");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("keep"), "me").unwrap();
    let message =
        format!("destination path {target:?} already exists and is not an empty directory");
    let outcome = step.run().failed(128, "GitError", &message);
    assert_eq!(outcome.file("keep"), "me");
}

#[test]
fn a_result_that_cannot_be_written() {
    let origin = Origin::new();
    let step = Step::new(&origin.url());
    let path = step.folder("results").join("commit-sha");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("in-the-way"), "").unwrap();
    let outcome = step.run_only();
    assert_eq!(outcome.0, Some(1), "{}", outcome.1);
    assert!(
        outcome.1.contains(&format!("write the result file {}", path.display())),
        "{}",
        outcome.1
    );
}
