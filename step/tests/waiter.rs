//! The waiter as the source step of an upload, and as what a client calls in it.

use std::os::unix::fs::{PermissionsExt, symlink};

use rstest::rstest;

use crate::pod::{Container, Pod, Settings};

const PROGRAM: &str = "/shp/bin/slipway-step";
const LOCK: &str = "/shp-tmp/waiter.lock";

fn start<'a>(pod: &'a Pod, arguments: &[&str]) -> Container<'a> {
    let line: Vec<_> = [PROGRAM, "waiter"].iter().chain(arguments).copied().collect();
    pod.exec(&line, &Settings::default())
}

fn waiting(pod: &Pod) -> Container<'_> {
    let mut container = start(pod, &["start", "--lock-file=/shp-tmp/waiter.lock"]);
    let lock = pod.path(LOCK);
    // It is there before it is written.
    container.until(LOCK, || std::fs::read_to_string(&lock).is_ok_and(|text| !text.is_empty()));
    container
}

#[rstest]
#[case::as_clients_call_it(&["done", "--lock-file=/shp-tmp/waiter.lock"])]
#[case::as_old_clients_call_it(&["done"])]
#[case::by_its_other_name(&["stop", "--lock-file", LOCK])]
fn the_waiting_ends_when_it_is_done(#[case] arguments: &[&str]) {
    let pod = Pod::new();
    let waiter = waiting(&pod);
    assert_eq!(pod.read(LOCK), "1", "the id of its own process");
    assert_eq!(pod.path(LOCK).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let done = start(&pod, arguments).end();
    assert_eq!(done.code, 0, "{done:?}");
    assert!(!pod.exists(LOCK));
    assert_eq!(waiter.end().code, 0);
}

#[test]
fn a_program_named_waiter_is_the_waiter() {
    let pod = Pod::new();
    let waiter = waiting(&pod);
    symlink(PROGRAM, pod.path("/shp/bin/waiter")).unwrap();
    let done = pod.exec(&["/shp/bin/waiter", "done"], &Settings::default()).end();
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(waiter.end().code, 0);
}

#[test]
fn time_that_is_up_is_a_failure_and_leaves_no_file() {
    let pod = Pod::new();
    let ended = start(&pod, &["start", "--lock-file", LOCK, "--timeout=1001ms"]).end();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("no source was uploaded within 1.001 s"), "{ended:?}");
    assert!(!pod.exists(LOCK));
}

#[test]
fn a_signal_ends_the_waiting_and_leaves_no_file() {
    let pod = Pod::new();
    let waiter = waiting(&pod);
    waiter.signal("TERM");
    assert_eq!(waiter.end().code, 143);
    assert!(!pod.exists(LOCK));
}

#[rstest]
#[case::nobody_waits(&["done"], "no waiter is running")]
#[case::another_file(&["done", "--lock-file=/workspace/notes"], "does not hold a process id")]
#[case::folder_missing(&["start", "--lock-file=/no/such/lock"], "/no/such/lock")]
#[case::duration(&["start", "--timeout=5 minutes"], "\"5 minutes\" is not a duration")]
#[case::flag(&["start", "--no-such"], "--no-such")]
#[case::action(&["begin"], "begin")]
fn every_failure_is_1(#[case] arguments: &[&str], #[case] words: &str) {
    let pod = Pod::new();
    pod.write("/workspace/notes", "not a number");
    let ended = start(&pod, arguments).end();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains(words), "{ended:?}");
    assert!(pod.exists("/workspace/notes"));
}

#[test]
fn a_call_for_help_is_answered() {
    let ended = start(&Pod::new(), &["--help"]).end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("--lock-file"), "{ended:?}");
}
