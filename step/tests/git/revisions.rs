//! Every way to name a revision, and what comes along with it.

use std::fs;
use std::process::Command;

use rstest::rstest;

use super::fixture::{AUTHOR, Origin, Step, git, output_of};

#[test]
fn the_default_branch() {
    let origin = Origin::new();
    let outcome = Step::new(&origin.url()).run().succeeded();
    let expected = [
        ("branch-name", "main"),
        ("commit-author", AUTHOR),
        ("commit-sha", &origin.id("main")),
        ("source-timestamp", "1700000000"),
    ];
    assert!(
        outcome.results.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected)
    );
    assert_eq!(outcome.file("number"), "5");
    assert_eq!(outcome.history(), 1);
    assert!(outcome.source().join(".git").is_dir());
}

#[rstest]
#[case::branch("feature/x", "feature")]
#[case::lightweight_tag("light", "4")]
#[case::annotated_tag("annotated", "3")]
#[case::pull_request("refs/pull/1/head", "proposal")]
#[case::pull_request_in_short("pull/1/head", "proposal")]
#[case::full_name_of_a_branch("refs/heads/feature/x", "feature")]
#[case::full_name_of_a_tag("refs/tags/annotated", "3")]
#[case::branch_that_looks_like_an_id("abcdef1", "looks like an id")]
#[case::blanks_around(" light\n", "4")]
fn a_name(#[case] revision: &str, #[case] number: &str) {
    let origin = Origin::new();
    let outcome = Step::new(&origin.url()).revision(revision).run().succeeded();
    assert_eq!(outcome.file("number"), number);
    let names: Vec<_> = outcome.results.keys().map(String::as_str).collect();
    assert_eq!(names, ["commit-author", "commit-sha", "source-timestamp"]);
    let head = git(&outcome.source(), &["rev-parse", "HEAD"]);
    assert_eq!(outcome.results["commit-sha"], head);
}

#[test]
fn a_blank_revision_is_the_default_branch() {
    let origin = Origin::new();
    let outcome = Step::new(&origin.url()).revision("").run();
    assert_eq!(outcome.succeeded().results["branch-name"], "main");
}

#[rstest]
#[case::of_a_branch("main~3")]
#[case::of_a_tag("lonely")]
fn an_abbreviated_commit(#[case] commit: &str) {
    let origin = Origin::new();
    let id = origin.id(commit);
    let outcome = Step::new(&origin.url()).revision(&id[..7]).run().succeeded();
    assert_eq!(outcome.results["commit-sha"], id);
    assert!(outcome.history() > 1, "the depth does not count here");
}

#[rstest]
#[case::of_a_branch("main~3")]
#[case::of_a_tag("lonely")]
#[case::of_a_pull_request("refs/pull/1/head")]
fn a_full_commit(#[case] commit: &str) {
    let origin = Origin::new();
    let id = origin.id(commit);
    let outcome = Step::new(&origin.url()).revision(&id).run().succeeded();
    assert_eq!(outcome.results["commit-sha"], id);
    assert_eq!(outcome.history(), 1);
}

#[rstest]
#[case::refused(false, 2)]
#[case::allowed(true, 1)]
fn a_full_commit_of_an_old_server(#[case] is_allowed: bool, #[case] history: usize) {
    let origin = Origin::new();
    if is_allowed {
        git(&origin.bare(), &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    }
    let id = origin.id("main~3");
    let step = Step::new(&origin.url()).revision(&id).setting("protocol.version", "0");
    let outcome = step.run().succeeded();
    assert_eq!(outcome.results["commit-sha"], id);
    assert_eq!(outcome.history(), history);
}

#[rstest]
#[case(0, None, 5)]
#[case(1, None, 1)]
#[case(3, None, 3)]
#[case(0, Some("refs/pull/1/head"), 6)]
#[case(2, Some("refs/pull/1/head"), 2)]
#[case(2, Some("light"), 2)]
fn shallow_and_whole(#[case] depth: u32, #[case] revision: Option<&str>, #[case] expected: usize) {
    let origin = Origin::new();
    let mut step = Step::new(&origin.url()).depth(depth);
    if let Some(revision) = revision {
        step = step.revision(revision);
    }
    assert_eq!(step.run().succeeded().history(), expected);
}

#[rstest]
#[case::of_a_branch(None)]
#[case::of_a_commit(Some("main"))]
fn submodules_of_submodules(#[case] commit: Option<&str>) {
    let (outer, middle, inner) = (Origin::new(), Origin::new(), Origin::new());
    middle.add_submodule(&inner.url(), "inner");
    middle.push();
    outer.add_submodule(&middle.url(), "middle");
    // Not at a tip any more.
    middle.commit("number", "6");
    middle.push();
    outer.push();
    let mut step = Step::new(&outer.url()).setting("protocol.file.allow", "always");
    if let Some(commit) = commit {
        step = step.revision(&outer.id(commit));
    }
    let outcome = step.run().succeeded();
    assert_eq!(outcome.file("middle/number"), "5");
    assert_eq!(outcome.file("middle/inner/number"), "5");
}

#[rstest]
#[case::of_a_branch(None)]
#[case::of_a_commit(Some("main"))]
fn large_files(#[case] commit: Option<&str>) {
    let origin = Origin::empty();
    let work = |arguments: &[&str]| git(&origin.work(), arguments);
    work(&["config", "lfs.locksverify", "false"]);
    work(&["lfs", "install", "--local"]);
    work(&["lfs", "track", "*.bin"]);
    let content = "large ".repeat(10_000);
    origin.commit("model.bin", &content);
    work(&["remote", "add", "origin", &origin.url()]);
    work(&["push", "--quiet", "origin", "main"]);

    let mut step = Step::new(&origin.url());
    if let Some(commit) = commit {
        step = step.revision(&origin.id(commit));
    }
    // As the image has it for the whole system.
    let system = step.folder("gitconfig");
    for (name, value) in
        [("filter.lfs.process", "git-lfs filter-process"), ("filter.lfs.required", "true")]
    {
        let mut config = Command::new("git");
        output_of(config.args(["config", "--file"]).arg(&system).args([name, value]));
    }
    let step = step
        .variable("GIT_CONFIG_NOSYSTEM", "0")
        .variable("GIT_CONFIG_SYSTEM", &system.display().to_string());
    let outcome = step.run().succeeded();
    assert!(
        git(&outcome.source(), &["cat-file", "blob", "HEAD:model.bin"]).starts_with("version ")
    );
    assert_eq!(outcome.file("model.bin"), content);
}

#[test]
fn noise_and_a_strange_environment_change_nothing() {
    let origin = Origin::new();
    let outcome = Step::new(&origin.url())
        .variable("GIT_TRACE", "1")
        .variable("GIT_DIR", "/nowhere")
        .variable("GIT_WORK_TREE", "/nowhere")
        .variable("LC_ALL", "de_DE.UTF-8")
        .variable("LANGUAGE", "de")
        .argument("--verbose")
        .run()
        .succeeded();
    assert!(outcome.log.contains("trace:"), "{}", outcome.log);
    assert_eq!(outcome.results["commit-sha"], origin.id("main"));
    assert_eq!(outcome.results["commit-author"], AUTHOR);
}

#[rstest]
#[case(None, true, true)]
#[case(Some("true"), false, true)]
#[case(Some("0"), true, false)]
#[case(None, false, false)]
fn listing(#[case] variable: Option<&str>, #[case] flag: bool, #[case] expected: bool) {
    let origin = Origin::new();
    let mut step = Step::new(&origin.url());
    if let Some(value) = variable {
        step = step.variable("GIT_SHOW_LISTING", value);
    }
    if flag {
        step = step.argument("--show-listing");
    }
    let outcome = step.run().succeeded();
    let is_listed =
        outcome.log.lines().any(|line| line.starts_with("100644") && line.ends_with(" number"));
    assert_eq!(is_listed, expected, "{}", outcome.log);
}

#[test]
fn the_target_may_be_an_empty_folder_reached_through_a_link() {
    let origin = Origin::new();
    let step = Step::new(&origin.url()).revision("refs/pull/1/head");
    fs::create_dir(step.folder("volume")).unwrap();
    std::os::unix::fs::symlink("volume", step.folder("source")).unwrap();
    assert_eq!(step.run().succeeded().file("number"), "proposal");
}
