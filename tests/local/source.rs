//! A working copy as the source, the engine as the target, and parameters from the command line.

use serde_json::json;
use slipway_step::oci::{Credentials, Reference, Registry};

use crate::artifact;

use super::harness::{Documents, User, make_executable, output, sample, succeed, variable};

fn from_git(script: &str) -> Documents {
    let mut documents =
        Documents::script(script).with_step("workingDir", json!("$(params.shp-source-root)"));
    documents.build["spec"]["source"] = json!({
        "type": "Git",
        "git": { "url": "https://git.example.com/app", "cloneSecret": "nowhere" },
    });
    documents
}

#[test]
fn a_working_copy_arrives_as_it_is() {
    let user = User::root();
    user.write("copy/main.txt", "text\n");
    make_executable(&user.write("copy/bin/tool", "#!/bin/sh\necho tool\n"));
    user.write("copy/ignored/large.bin", "never");
    user.write("copy/.shpignore", "ignored\n");
    std::os::unix::fs::symlink("main.txt", user.path("copy/link")).unwrap();
    let script = "stat -c '%u:%g %n' main.txt bin bin/tool; bin/tool; readlink link; cat link; ls; touch new";
    let documents = from_git(script);
    // Without the working copy it cannot even begin.
    user.run(&documents.text(), &[]).expect(2);
    user.run(&documents.text(), &["--source", "copy"]).expect(0).prints(&[
        "1001:1000 main.txt",
        "1001:1000 bin",
        "1001:1000 bin/tool",
        "tool",
        "main.txt",
        "text",
        "bin",
        "link",
        "main.txt",
    ]);
    assert!(!user.path("copy/new").exists());
    user.expect_nothing_left();
    user.run(&documents.text(), &["--source", "absent"]).expect(2).says("absent");
}

#[test]
fn an_ignore_file_that_says_nothing_is_refused_before_anything_is_made() {
    let user = User::root();
    user.write("copy/.shpignore", "# what stays\na{b\n");
    user.run(&from_git("true").text(), &["--source", "copy"])
        .expect(2)
        .says("copy/.shpignore")
        .says("line 2");
    user.expect_nothing_made();
}

#[test]
fn a_large_working_copy_arrives_whole() {
    let user = User::root();
    let mut bytes = vec![0_u8; 24 << 20];
    let mut state = 1_u32;
    for byte in &mut bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24).to_le_bytes()[0];
    }
    user.write("copy/small", "");
    std::fs::write(user.path("copy/large"), &bytes).unwrap();
    let sum = succeed(std::process::Command::new("sha256sum").arg(user.path("copy/large")));
    let sum = sum.split_whitespace().next().unwrap();
    let documents = from_git("sha256sum large | cut -d ' ' -f 1");
    user.run(&documents.text(), &["--source", "copy"]).expect(0).prints(&[sum]);
    user.expect_nothing_left();
}

#[test]
fn an_image_goes_into_the_engine() {
    let user = User::root();
    let image = format!("registry.slipway.test/local/loaded:{}", std::process::id());
    let documents = sample("hello", &json!({ "image": image }));
    let loaded = user.run(&documents.text(), &["--load"]);
    let found = user.podman(&["image", "inspect", &image]).output().unwrap();
    user.podman(&["rmi", "--force", &image]).output().unwrap();
    let loaded = loaded.expect(0);
    assert_eq!(loaded.stdout, format!("{image}\n"), "its name in the engine");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    user.expect_nothing_left();
}

#[test]
fn the_readmes_first_command_builds_an_image() {
    let directory = env!("CARGO_MANIFEST_DIR");
    let readme = std::fs::read_to_string(format!("{directory}/README.md")).unwrap();
    let mut lines = readme.lines().map(|line| line.trim_start_matches("$ "));
    let line = lines.find(|line| line.starts_with("slipway ")).unwrap();
    assert!(line.starts_with("slipway run "), "{line}");
    let user = User::root();
    let engine = variable("SLIPWAY_ENGINE");
    let mut slipway = user.slipway();
    slipway.args(line.split_whitespace().skip(1)).current_dir(directory).env("DOCKER_HOST", engine);
    let image = succeed(&mut slipway);
    assert_eq!(image, "registry.example.com/examples/hello:latest\n");
    succeed(&mut user.podman(&["image", "rm", image.trim()]));
    user.expect_nothing_left();
}

#[test]
fn an_image_that_its_strategy_pushes_cannot_be_loaded() {
    let user = User::root();
    let documents = sample("buildah-strategy-managed-push", &output("not-loaded"));
    user.run(&documents.text(), &["--load"]).expect(2).says("--load").says("shp-output-directory");
    user.expect_nothing_made();
}

#[test]
fn parameters_come_from_the_command_line() {
    let user = User::root();
    let documents = Documents::script("echo \"$@\"")
        .with_step("args", json!(["script", "$(params.word)", "$(params.list[*])", "end"]))
        .with_strategy(
            "parameters",
            json!([
                { "name": "word", "description": "a word", "default": "none" },
                { "name": "list", "description": "words", "type": "array", "defaults": [] },
            ]),
        )
        .text();
    user.run(&documents, &[]).expect(0).prints(&["none end"]);
    let flags = ["--param", "word=a=b $(params.list)", "--param", "list=1", "--param", "list=2"];
    user.run(&documents, &flags).expect(0).prints(&["a=b $(params.list) 1 2 end"]);
    user.run(&documents, &["--param", "other=1"]).expect(2).says("other");
    user.run(&documents, &["--param", "word=1", "--param", "word=2"]).expect(2).says("word");
    user.run(&documents, &["--param", "word"]).expect(2).says("word");
    user.expect_nothing_left();
}

#[test]
fn an_artifact_is_fetched_from_its_registry() {
    let user = User::root();
    let name = "local/artifact-source:1";
    let address = variable("SLIPWAY_LOCAL_REGISTRY_ADDRESS");
    let image: Reference = format!("{address}/{name}").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let say = |line: &str| eprintln!("{line}");
        let registry = Registry::connect(image, Credentials::anonymous(), true, say).await.unwrap();
        registry.push(&artifact::image("which", "from an artifact\n")).await.unwrap();
    });
    let script = "cat which; stat -c '%u:%g %a %n' which";
    let mut documents = from_git(script);
    let image = format!("{}/{name}", variable("SLIPWAY_LOCAL_REGISTRY"));
    documents.build["spec"]["source"] = json!({ "type": "OCI", "ociArtifact": { "image": image } });
    user.run(&documents.text(), &[]).expect(0).prints(&["from an artifact", "1001:1000 750 which"]);
    user.expect_nothing_left();
}
