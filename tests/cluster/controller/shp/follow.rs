//! Builds that are created, run and followed: S1 to S4, S7 and S9 of the client's acceptance checks.

use std::time::Instant;

use serde_json::{Value, json};

use super::super::super::documents::https_url;
use super::super::super::harness::{Namespace, PATIENCE, variable};
use super::super::super::steps::{BUSYBOX, shell, step, with};
use super::super::Controller;
use super::super::person::Person;
use super::super::runs::{end_of, pod_of, until};
use super::client::{shp, start_shp, try_shp};
use super::{strategy, wait_until_registered};

/// A Build of the test repository by a strategy of the namespace.
fn create_build(person: &Person, name: &str, strategy: &str) {
    let source = format!("--source-git-url={}", https_url("app"));
    let output = format!("--output-image={}/{name}", variable("SLIPWAY_REGISTRY"));
    let strategy = format!("--strategy-name={strategy}");
    let kind = "--strategy-kind=BuildStrategy";
    shp(person, &["build", "create", name, &source, &output, "--output-insecure", &strategy, kind]);
}

/// The only run of the Build.
fn run_of(person: &Person, build: &str) -> String {
    let selector = format!("--selector=build.shipwright.io/name={build}");
    let names = person.kubectl(&["get", "buildruns", &selector, "--output=name"], "");
    names.trim_end().strip_prefix("buildrun.shipwright.io/").unwrap().to_owned()
}

#[test]
fn a_build_is_created_and_followed_to_its_good_end() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("shp-good");
    let dev = Person::bound(&namespace, "dev", "edit");
    // The client must see the pod run, and lose no line of a step that ends with it.
    let second = "echo done; until test -e /tmp/go; do sleep 0.1; done";
    let steps = [shell("first", "cat /workspace/source/greeting.txt"), shell("second", second)];
    dev.kubectl(&["create", "--filename=-"], &strategy("two", &steps));
    create_build(&dev, "good", "two");
    shp(&dev, &["build", "create", "lost", "--output-image=registry.slipway.test:5000/lost"]);
    wait_until_registered(&dev, "good");
    let judged = "--for=jsonpath={.status.registered}=False";
    dev.kubectl(&["wait", judged, "--timeout=180s", "build/lost"], "");

    let list = shp(&dev, &["build", "list"]);
    let status = |name: &str| {
        let line = list.lines().find(|line| line.starts_with(name)).unwrap();
        line.splitn(3, "  ").last().unwrap().trim().to_owned()
    };
    assert_eq!(status("good"), "all validations succeeded", "{list}");
    assert_eq!(status("lost"), "clusterBuildStrategy buildpacks-v3 does not exist", "{list}");

    let mut followed = start_shp(&dev, &["build", "run", "good", "-F"]);
    for expected in ["[source-default] ", "[first] hello again", "[second] done"] {
        followed.wait_for(expected);
    }
    let run = until(&namespace, &run_of(&dev, "good"), "Running");
    let go = ["exec", pod_of(&run), "--container=step-second", "--", "touch", "/tmp/go"];
    dev.kubectl(&go, "");
    let followed = followed.end();
    assert_eq!(followed.code, Some(0), "{followed:#?}");
    assert!(!followed.stderr.contains("waiting to start"), "{followed:#?}");
    assert!(followed.stdout.contains("has succeeded!"), "{followed:#?}");
}

#[test]
fn a_step_that_fails_is_told_with_its_reason_and_all_logs_are_there() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("shp-failing");
    let dev = Person::bound(&namespace, "dev", "edit");
    let script = "printf Mine >$0; printf 'my words' >$1; echo before the end; exit 1";
    let paths = json!(["$(results.shp-error-reason.path)", "$(results.shp-error-message.path)"]);
    let telling = with(step("x", BUSYBOX, &["sh", "-euc", script]), "args", paths);
    let steps = [shell("first", "echo begun"), telling, shell("later", "echo never")];
    dev.kubectl(&["create", "--filename=-"], &strategy("failing", &steps));
    create_build(&dev, "failing", "failing");
    wait_until_registered(&dev, "failing");

    let followed = try_shp(&dev, &["build", "run", "failing", "-F"]);
    assert_eq!(followed.code, Some(1), "{followed:#?}");
    let told = "has failed at step \"step-x\" because of Mine: my words";
    assert!(followed.stdout.contains(told), "{followed:#?}");
    assert!(!followed.stdout.contains("\"spec\""), "the whole pod: {followed:#?}");
    let details = followed.stdout.split("Step details:\n").nth(1).expect("the step's status");
    // Streams of logs that are still open may print behind it.
    let details = serde_json::Deserializer::from_str(details).into_iter::<Value>().next();
    let details = details.expect("a status").unwrap();
    assert_eq!(details["state"]["terminated"]["exitCode"], 1);

    let run = run_of(&dev, "failing");
    let logs = shp(&dev, &["buildrun", "logs", &run]);
    let containers = ["prepare", "step-source-default", "step-first", "step-x", "step-later"];
    for container in containers {
        assert!(logs.contains(&format!("container {container:?}: ***")), "{logs}");
    }
    for (text, is_there) in [("begun", true), ("before the end", true), ("never", false)] {
        assert_eq!(logs.contains(text), is_there, "{text} in {logs}");
    }
}

#[test]
fn a_run_is_canceled_while_somebody_else_follows_it() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("shp-cancel");
    let dev = Person::bound(&namespace, "dev", "edit");
    let script = "echo it has begun; trap 'exit 143' TERM; sleep 3600 & wait";
    dev.kubectl(&["create", "--filename=-"], &strategy("slow", &[shell("slow", script)]));
    create_build(&dev, "slow", "slow");
    wait_until_registered(&dev, "slow");

    let mut followed = start_shp(&dev, &["build", "run", "slow", "-F"]);
    followed.wait_for("[slow] it has begun");
    let run = run_of(&dev, "slow");
    shp(&dev, &["buildrun", "cancel", &run]);
    let followed = followed.end();
    assert!(followed.stdout.contains("has been canceled"), "{followed:#?}");

    let ended = end_of(&namespace, &run);
    assert_eq!(ended.succeeded().unwrap().reason, "BuildRunCanceled");
    let logs = shp(&dev, &["buildrun", "logs", &run]);
    assert!(logs.contains("it has begun"), "{logs}");
    let again = try_shp(&dev, &["buildrun", "cancel", &run]);
    assert_eq!(again.code, Some(1), "{again:#?}");
    shp(&dev, &["buildrun", "delete", &run]);
    dev.kubectl(&["wait", "--for=delete", "--timeout=180s", &format!("buildrun/{run}")], "");
}

/// A Build that is judged, and found to have no strategy.
fn create_lost_build(person: &Person) {
    create_build(person, "lost", "missing");
    let judged = "--for=jsonpath={.status.registered}=False";
    person.kubectl(&["wait", judged, "--timeout=180s", "build/lost"], "");
}

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");

/// Without a pod the client has nothing to wait for, and would wait for ever: the run is not even taken.
#[test]
fn an_upload_for_a_build_without_a_strategy_is_refused() {
    let _controller = Controller::installed();
    let namespace = Namespace::judged("shp-no-strategy");
    let dev = Person::bound(&namespace, "dev", "edit");
    create_lost_build(&dev);
    // An API server that hears nothing in time takes the run; with -F the client looks at runs without a pod, and ends.
    let deadline = Instant::now() + PATIENCE;
    while try_shp(&dev, &["build", "upload", "lost", FILES, "-F"]).code != Some(1) {
        assert!(Instant::now() < deadline, "the run is still taken after {PATIENCE:?}");
    }
    let runs = || dev.kubectl(&["get", "buildruns", "--output=name"], "");
    let before = runs();
    let said = try_shp(&dev, &["build", "upload", "lost", FILES]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.stderr.contains("buildStrategy missing does not exist"), "{said:#?}");
    assert_eq!(runs(), before);
}

/// Where nothing is judged when it is applied, the client ends at least with -F.
#[test]
fn a_followed_upload_ends_where_its_run_is_taken_and_fails() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("shp-not-judged");
    let dev = Person::bound(&namespace, "dev", "edit");
    create_lost_build(&dev);
    let said = try_shp(&dev, &["build", "upload", "lost", FILES, "-F"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("BuildRegistrationFailed"), "{said:#?}");
    let run = dev.kubectl(&["get", "buildruns", "--output=jsonpath={.items[*].metadata.name}"], "");
    let ended = end_of(&namespace, &run);
    assert_eq!(ended.succeeded().unwrap().reason, "BuildRegistrationFailed");
}
