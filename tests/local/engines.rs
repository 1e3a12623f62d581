//! Other engines than root's own: an ordinary user's, and one on another machine.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::json;

use super::harness::{Documents, User, output, sample};

#[test]
fn an_ordinary_user_pushes_an_image_and_keeps_nothing_of_anybody_elses() {
    let user = User::ordinary();
    let ran = user.run(&sample("hello", &output("rootless")).text(), &[]).expect(0);
    assert!(ran.stdout.contains("local/rootless@sha256:"), "{}", ran.stdout);
    user.expect_nothing_left();
    let uid = user.uid();
    for part in ["home", "run"] {
        expect_owner(&user.path(part), uid);
    }
}

fn expect_owner(path: &Path, uid: u32) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    assert_eq!(metadata.uid(), uid, "{}", path.display());
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            expect_owner(&entry.unwrap().path(), uid);
        }
    }
}

#[test]
fn an_ordinary_user_builds_a_dockerfile() {
    let user = User::ordinary();
    user.write("copy/Dockerfile", "FROM scratch\nCOPY Dockerfile /copied\n");
    let mut documents = sample("buildah-shipwright-managed-push", &output("rootless-dockerfile"));
    let source = documents.build["spec"]["source"].as_object_mut().unwrap();
    source.remove("contextDir");
    let ran = user.run(&documents.text(), &["--source", "copy"]).expect(0);
    assert!(ran.stdout.contains("local/rootless-dockerfile@sha256:"), "{}", ran.stdout);
    user.expect_nothing_left();
}

#[test]
fn steps_of_an_ordinary_user_are_whom_the_strategy_names() {
    let user = User::ordinary();
    let script = "id -u; id -g; stat -c %u:%g /mnt/data/file; grep CapEff /proc/self/status";
    let documents = Documents::script(&format!("touch /mnt/data/file; {script}"))
        .with_volume("data", json!({ "emptyDir": {} }));
    user.run(&documents.text(), &[]).expect(0).prints(&[
        "1001",
        "1000",
        "1001:1000",
        "CapEff:\t0000000000000000",
    ]);
    user.expect_nothing_left();
}

#[test]
fn an_id_that_an_ordinary_user_cannot_give_is_told_with_its_mend() {
    let user = User::ordinary();
    for (field, file) in [("runAsUser", "/etc/subuid"), ("runAsGroup", "/etc/subgid")] {
        let mut documents = Documents::script("echo never");
        documents.strategy["spec"]["securityContext"][field] = 1_000_000.into();
        let ran = user.run(&documents.text(), &[]).expect(3);
        let ran = ran.says("1000000").says("0 to 65536").says(file).says("usermod");
        assert!(ran.log("script").is_empty(), "{}", ran.stderr);
        user.expect_nothing_left();
    }
}

#[test]
fn an_engine_on_another_machine_serves_as_well() {
    let user = User::remote();
    user.write("copy/file", "of the client\n");
    let mut documents = sample("hello", &output("remote"));
    let ran = user.run(&documents.text(), &[]).expect(0);
    assert!(ran.stdout.contains("local/remote@sha256:"), "{}", ran.stdout);
    user.expect_nothing_left();

    documents =
        Documents::script("cat file").with_step("workingDir", json!("$(params.shp-source-root)"));
    documents.build["spec"]["source"] =
        json!({ "type": "Git", "git": { "url": "https://git.example.com/app" } });
    user.run(&documents.text(), &["--source", "copy"]).expect(0).prints(&["of the client"]);
    user.expect_nothing_left();
}
