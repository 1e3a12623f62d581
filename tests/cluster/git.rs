//! The Git source on the kubelet: what can be fetched, and what is said about what cannot.

use rstest::rstest;

use super::documents::{build, clone_key, git_source, https_url, output, script_strategy, ssh_url};
use super::harness::{Ended, Namespace, documents, secret, variable, variable_file};

const SOURCE: &str = "step-source-default";
const TIP: &str = "bb36d34cff729bf576d1b359dd2f3cf4de97fa87";

/// Clones as 1010:1020, then runs the script in the source. Without a Secret nothing is used to log in.
fn fetch<'a>(
    namespace: &'a Namespace,
    url: &str,
    revision: Option<&str>,
    clone_secret: Option<&str>,
    script: &str,
) -> Ended<'a> {
    let source = git_source(url, revision, clone_secret.is_some());
    let build = build("look", &source, &output(namespace));
    let script = format!("cd /workspace/source; {script}");
    let strategy = script_strategy("look", (1010, 1020), &script);
    namespace.run(&documents([clone_secret.unwrap_or_default(), &strategy, &build]))
}

fn basic(entries: &[(&str, &str)]) -> String {
    // The type basic-auth would have the API server refuse half of it.
    secret("clone", "Opaque", entries)
}

fn reader() -> String {
    let password = variable_file("SLIPWAY_GIT_PASSWORD_FILE");
    let credentials = [("username", &*variable("SLIPWAY_GIT_USER")), ("password", &*password)];
    secret("clone", "kubernetes.io/basic-auth", &credentials)
}

#[rstest]
#[case::commit(TIP, TIP)]
#[case::short_commit("bb36d34", TIP)]
#[case::commit_that_is_no_tip("45c7e10", "45c7e10")]
#[case::annotated_tag("v1.0.0", "8bc2d00")]
#[case::light_tag("v1.0.0-light", "8bc2d00")]
#[case::branch("feature/one", "86043df")]
#[case::pull_request("refs/pull/1/head", "0e7818a")]
fn a_revision(#[case] revision: &str, #[case] commit: &str) {
    let namespace = Namespace::new(&format!("revision-{}", revision.replace(['/', '.'], "-")));
    let run = fetch(
        &namespace,
        &ssh_url("app"),
        Some(revision),
        Some(&clone_key()),
        "cat greeting.txt .git/HEAD",
    )
    .expect_success();
    let sha = &run.results(SOURCE)["shp-source-default-commit-sha"];
    assert!(sha.starts_with(commit) && sha.len() == 40, "{sha}");
    let log = run.log("step-script");
    assert_eq!(log.starts_with("hello from a pull request"), revision.contains("pull"), "{log}");
}

#[test]
fn a_commit_that_the_server_does_not_give_away_by_itself() {
    let namespace = Namespace::new("tips-only");
    let commit = "45c7e10";
    let run = fetch(
        &namespace,
        &ssh_url("tips-only"),
        Some(commit),
        Some(&clone_key()),
        "test -f Dockerfile",
    )
    .expect_success();
    assert!(run.results(SOURCE)["shp-source-default-commit-sha"].starts_with(commit));
}

#[test]
fn the_short_form_of_an_ssh_url() {
    let namespace = Namespace::new("scp");
    let url = format!("{}:app.git", variable("SLIPWAY_GIT_SCP"));
    let run =
        fetch(&namespace, &url, None, Some(&clone_key()), "cat greeting.txt").expect_success();
    assert_eq!(run.log("step-script").trim_end(), "hello again");
}

#[test]
fn submodules() {
    let namespace = Namespace::new("submodule");
    let run = fetch(
        &namespace,
        &ssh_url("with-submodule"),
        None,
        Some(&clone_key()),
        "cat app/greeting.txt",
    )
    .expect_success();
    assert_eq!(run.log("step-script").trim_end(), "hello again");
}

#[rstest]
#[case::ssh("ssh", ssh_url("with-lfs"), Some(clone_key()))]
#[case::https("https", https_url("with-lfs"), None)]
#[case::https_with_password("private", https_url("private-with-lfs"), Some(reader()))]
fn large_files(#[case] name: &str, #[case] url: String, #[case] secret: Option<String>) {
    let namespace = Namespace::new(&format!("lfs-{name}"));
    let script = "wc -c <data.bin; seq 1 20000 | cmp - data.bin";
    let run = fetch(&namespace, &url, None, secret.as_deref(), script).expect_success();
    assert_eq!(run.log("step-script").trim(), "108894");
}

#[test]
fn user_name_and_password() {
    let namespace = Namespace::new("basic");
    let url = https_url("private");
    let password = variable_file("SLIPWAY_GIT_PASSWORD_FILE");
    let script = "cat greeting.txt; cat .git/config";
    let run = fetch(&namespace, &url, None, Some(&reader()), script).expect_success();
    let log = run.log("step-script");
    assert!(log.starts_with("a secret greeting"), "{log}");
    assert!(!log.contains(&password) && !run.log(SOURCE).contains(&password));
}

const NO_ACCESS: &str =
    "The source repository does not exist, or you have insufficient permission to access it.";
const BAD_KEY: &str = "The key is invalid for the specified target. Please make sure that the Git repository exists, you have sufficient permissions, and the key is in the right format.";
const BAD_PASSWORD: &str = "Basic authentication has failed. Check your username or password. Note: GitHub requires a personal access token instead of your regular password.";
const NO_REVISION: &str = "The remote revision does not exist. Check your revision argument.";
const HALF: &str =
    "Basic authentication needs both username and password, but the secret holds only one of them.";
const KEY_FOR_HTTPS: &str =
    "Credential/URL inconsistency: SSH credentials provided, but URL is not a SSH Git URL.";
const PASSWORD_FOR_SSH: &str = "Credential/URL inconsistency: the URL is an SSH Git URL, but the secret holds no ssh-privatekey.";
const PASSWORD_FOR_HTTP: &str = "Credential/URL inconsistency: username and password are only sent to https URLs, because http carries them in clear.";

fn wrong_key() -> String {
    let key = variable_file("SLIPWAY_GIT_WRONG_SSH_KEY");
    secret("clone", "kubernetes.io/ssh-auth", &[("ssh-privatekey", &key)])
}

struct Failing {
    url: String,
    revision: Option<&'static str>,
    secret: Option<String>,
}

#[rstest]
#[case::revision("revision", Failing { url: ssh_url("app"), revision: Some("nope"), secret: Some(clone_key()) }, 128, "GitRevisionNotFound", NO_REVISION)]
#[case::short_commit("short-commit", Failing { url: ssh_url("app"), revision: Some("1111111"), secret: Some(clone_key()) }, 128, "GitRevisionNotFound", NO_REVISION)]
#[case::repository("repository", Failing { url: https_url("nowhere"), revision: None, secret: None }, 128, "GitRemoteRepositoryNotFound", NO_ACCESS)]
#[case::repository_over_ssh("repository-ssh", Failing { url: ssh_url("nowhere"), revision: None, secret: Some(clone_key()) }, 128, "GitRemoteRepositoryNotFound", NO_ACCESS)]
#[case::private("private", Failing { url: https_url("private"), revision: None, secret: None }, 128, "GitRemoteRepositoryPrivate", NO_ACCESS)]
#[case::wrong_password("wrong-password", Failing { url: https_url("private"), revision: None, secret: Some(basic(&[("username", "reader"), ("password", "wrong")])) }, 128, "GitAuthInvalidUserOrPass", BAD_PASSWORD)]
#[case::wrong_key("wrong-key", Failing { url: ssh_url("app"), revision: None, secret: Some(wrong_key()) }, 128, "GitAuthInvalidKey", BAD_KEY)]
#[case::no_password("no-password", Failing { url: https_url("private"), revision: None, secret: Some(basic(&[("username", "reader")])) }, 110, "GitBasicAuthIncomplete", HALF)]
#[case::no_user_name("no-user-name", Failing { url: https_url("private"), revision: None, secret: Some(basic(&[("password", "x")])) }, 110, "GitBasicAuthIncomplete", HALF)]
#[case::key_for_https("key-for-https", Failing { url: https_url("app"), revision: None, secret: Some(clone_key()) }, 110, "GitSSHAuthUnexpected", KEY_FOR_HTTPS)]
#[case::password_for_ssh("password-for-ssh", Failing { url: ssh_url("app"), revision: None, secret: Some(reader()) }, 110, "GitSSHAuthExpected", PASSWORD_FOR_SSH)]
#[case::password_for_http("password-for-http", Failing { url: format!("{}/private.git", variable("SLIPWAY_GIT_HTTP")), revision: None, secret: Some(reader()) }, 110, "AuthUnexpectedHTTP", PASSWORD_FOR_HTTP)]
fn a_source_that_cannot_be_fetched(
    #[case] name: &str,
    #[case] failing: Failing,
    #[case] exit_code: i32,
    #[case] reason: &str,
    #[case] message: &str,
) {
    let namespace = Namespace::new(&format!("no-{name}"));
    let Failing { url, revision, secret } = failing;
    let run = fetch(&namespace, &url, revision, secret.as_deref(), "echo the strategy ran");
    let results = run.results(SOURCE);
    assert_eq!(run.exit_code(SOURCE), exit_code, "{}", run.log(SOURCE));
    assert_eq!(results["shp-error-reason"], reason, "{}", run.log(SOURCE));
    assert_eq!(results["shp-error-message"], message);
    assert_ne!(run.exit_code("step-script"), 0);
    assert!(!run.log("step-script").contains("the strategy ran"));
}
