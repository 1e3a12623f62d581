//! What a run comes to: its exit code, what it prints where, and the reason of a failure.

use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use super::harness::{Documents, PATIENCE, User, output, sample, succeed, variable};

#[test]
fn a_pushed_image_is_one_line_on_standard_output() {
    let user = User::root();
    let ran = user.run(&sample("hello", &output("pushed")).text(), &[]).expect(0);
    expect_image(&ran.stdout, "local/pushed@sha256:");
    let image = ran.stdout.trim();
    succeed(
        Command::new("skopeo")
            .args(["inspect", "--tls-verify=false"])
            .arg(format!("docker://{image}")),
    );
    let ran = ran.says("STEP ").says("IDENTITY").says("built ");
    let row = ran.stderr.lines().find(|line| line.starts_with("pack  ")).unwrap();
    assert!(row.contains("1001:1000") && row.ends_with("done"), "{row}");
    user.expect_nothing_left();
}

#[track_caller]
fn expect_image(stdout: &str, part: &str) {
    assert_eq!(stdout.lines().count(), 1, "{stdout:?}");
    assert!(stdout.ends_with('\n') && stdout.contains(part), "{stdout:?}");
}

#[test]
fn a_password_comes_from_a_directory_and_is_never_shown() {
    let user = User::root();
    let config = std::fs::read_to_string(variable("SLIPWAY_LOCAL_REGISTRY_AUTH")).unwrap();
    user.write("push/.dockerconfigjson", &config);
    let registry = variable("SLIPWAY_LOCAL_REGISTRY_TLS_ADDRESS");
    let output = json!({ "image": format!("{registry}/local/password:1"), "pushSecret": "push" });
    let documents = sample("hello", &output).text();
    let without = user.run(&documents, &[]).expect(2);
    assert!(without.stderr.contains("push"), "{}", without.stderr);
    let ran = user.run(&documents, &["--secret", "push=push", "--keep"]).expect(0);
    expect_image(&ran.stdout, "local/password@sha256:");
    let mut inspect = Command::new("skopeo");
    inspect.args(["inspect", "--tls-verify=false", "--authfile"]);
    inspect
        .arg(variable("SLIPWAY_LOCAL_REGISTRY_AUTH"))
        .arg(format!("docker://{}", ran.stdout.trim()));
    succeed(&mut inspect);

    let file = variable("SLIPWAY_LOCAL_REGISTRY_PASSWORD_FILE");
    let password = std::fs::read_to_string(file).unwrap();
    let password = password.trim();
    let login = config.split('"').max_by_key(|part| part.len()).unwrap();
    let ids = user.containers("{{.ID}}");
    assert!(ids.len() >= 3, "{ids:?}");
    let mut told = ran.stderr;
    for id in &ids {
        told += &succeed(&mut user.podman(&["inspect", id]));
    }
    for secret in [password, login] {
        assert!(secret.len() > 8 && !told.contains(secret), "a secret is told:\n{told}");
    }
}

#[test]
fn a_step_that_fails_is_told_with_its_exit_code_and_its_own_words() {
    let user = User::root();
    let script = "printf NoSense >$(results.shp-error-reason.path); \
        printf 'it makes none' >$(results.shp-error-message.path); exit 7";
    let ran = user.run(&Documents::script(script).text(), &[]).expect(1);
    let ran = ran.says("NoSense").says("it makes none").says("exit 7");
    assert_eq!(ran.stdout, "");
    user.expect_nothing_left();
}

#[test]
fn what_is_refused_asks_no_engine_for_anything() {
    let user = User::root();
    let mut documents = Documents::script("true");
    documents.build["spec"]["strategy"]["name"] = "other".into();
    let mut command = user.slipway();
    let file = user.write("refused.yaml", &documents.text());
    // Nobody listens there.
    command.args(["run", "--engine", "unix:///nowhere.sock", "-f"]).arg(file);
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("BuildStrategyNotFound"), "{error}");
}

#[test]
fn without_an_engine_it_says_how_to_come_by_one() {
    let user = User::root();
    let file = user.write("fine.yaml", &Documents::script("true").text());
    let mut command = user.slipway();
    let path = user.path("nowhere.sock");
    command.env("DOCKER_HOST", format!("unix://{}", path.display()));
    let output = command.args(["run", "-f"]).arg(file).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    for part in ["DOCKER_HOST", "nowhere.sock", "--engine", "apt install podman"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert_eq!(
        user.slipway().args(["run", "--nonsense"]).output().unwrap().status.code(),
        Some(64)
    );
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let user = User::root();
    let mut documents = Documents::script("exec sleep 1000");
    documents.run["spec"]["timeout"] = "3s".into();
    user.run(&documents.text(), &[]).expect(1).says("BuildRunTimeout");
    user.expect_nothing_left();
}

#[test]
fn a_step_beyond_its_memory_is_ended() {
    let user = User::root();
    // The gate tells about the command's end, so the kernel must not take it instead.
    let script = "test $(cat /proc/self/oom_score_adj) -gt $(cat /proc/1/oom_score_adj) && echo before the gate;
        for i in 1 2 3 4; do head -c 300m /dev/zero | tail & done; wait; exit 3";
    let documents =
        Documents::script(script).with_step("resources", json!({ "limits": { "memory": "32Mi" } }));
    let ran = user.run(&documents.text(), &[]).expect(1);
    ran.says("before the gate").says("StepOutOfMemory").says("out of memory");
    user.expect_nothing_left();
}

#[test]
fn a_network_that_is_not_there_is_named_with_its_flag() {
    let user = User::root();
    let ran = user.run(&Documents::script("true").text(), &["--network", "nowhere"]).expect(3);
    ran.says("nowhere (--network)");
    user.expect_nothing_left();
}

#[test]
fn a_run_goes_on_where_nobody_reads_what_it_says() {
    let user = User::root();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = user.command(&Documents::script("seq 1000").text(), &[]);
    let status = command.stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
    user.expect_nothing_left();
}

#[test]
fn a_reader_who_pauses_neither_fills_memory_nor_keeps_anything() {
    const MOST_KILOBYTES: u64 = 96 << 10;
    let user = User::root();
    let script =
        "echo ready; trap '' TERM; yes 'a line of some length that nobody reads' | head -c 300m";
    let mut documents = Documents::script(script);
    documents.run["spec"]["timeout"] = "20s".into();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = user.command(&documents.text(), &[]);
    let mut child = command.stderr(writer).spawn().unwrap();
    drop(command);
    let mut told = BufReader::new(reader).lines().map(Result::unwrap);
    assert!(told.any(|line| line.contains("ready")), "the step never started");
    let begun = Instant::now();
    while !user.left().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{:?} is left", user.left());
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < MOST_KILOBYTES, "{kilobytes} KiB");
    assert!(told.any(|line| line.contains("lines are left out")), "what is left out is not told");
    assert!(told.any(|line| line.contains("BuildRunTimeout")), "the end is not told");
    drop(told);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_volume_beyond_its_size_evicts_the_run() {
    let user = User::root();
    let documents =
        Documents::script("dd if=/dev/zero of=/mnt/small/file bs=1M count=4; exec sleep 1000")
            .with_volume("small", json!({ "emptyDir": { "sizeLimit": "1Mi" } }));
    user.run(&documents.text(), &[]).expect(1).says("PodEvicted");
    user.expect_nothing_left();
}

#[test]
fn a_volume_in_memory_takes_no_more_than_its_size() {
    let user = User::root();
    let documents = Documents::script(
        "head -c 1m /dev/zero >/mnt/small/one; rm /mnt/small/one; dd if=/dev/zero of=/mnt/small/file bs=1M count=4",
    )
    .with_volume("small", json!({ "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }));
    user.run(&documents.text(), &[]).expect(1).says("No space left on device");
    user.expect_nothing_left();
}

#[test]
fn an_image_that_is_nowhere_cannot_be_pulled() {
    let user = User::root();
    let image = format!("{}/local/nowhere:1", variable("SLIPWAY_LOCAL_REGISTRY_ADDRESS"));
    let documents = Documents::script("true").with_step("image", json!(image));
    user.run(&documents.text(), &[]).expect(1).says("TaskRunImagePullFailed").says(&image);
    user.expect_nothing_left();
}

#[test]
fn a_program_that_is_not_in_the_image_fails_its_step() {
    let user = User::root();
    let documents = Documents::script("true").with_step("command", json!(["/no/such/program"]));
    user.run(&documents.text(), &[]).expect(1).says("/no/such/program").says("exit 127");
    user.expect_nothing_left();
}

#[test]
fn an_image_of_roots_does_not_run_where_root_may_not() {
    let user = User::root();
    let mut documents = Documents::script("echo never")
        .with_step("securityContext", json!({ "runAsNonRoot": true }));
    documents.strategy["spec"].as_object_mut().unwrap().remove("securityContext");
    let ran = user.run(&documents.text(), &[]).expect(1).says("CreateContainerConfigError");
    assert!(ran.log("script").is_empty(), "{}", ran.stderr);
    user.expect_nothing_left();
}
