//! Signals: the first one lets steps clean up, the second one does not.

use rustix::process::Signal;
use serde_json::json;

use super::harness::{BUSYBOX, Documents, User};

#[test]
fn an_interrupt_lets_the_step_clean_up() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let user = User::root();
        let script = "trap 'echo cleaned up; exit 3' TERM; echo ready; while :; do sleep 1000 & wait $!; done";
        let mut running = user.start(&Documents::script(script).text(), &[]);
        running.wait_for("ready");
        running.signal(signal);
        let ran = running.wait().expect(1).says("BuildRunCanceled");
        assert!(ran.log("script").contains(&"cleaned up"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
        user.expect_nothing_left();
    }
}

#[test]
fn a_second_interrupt_waits_for_nobody() {
    let user = User::root();
    let script =
        "trap 'echo not now' TERM; echo ready; while :; do sleep 1000 & wait $! || true; done";
    let mut running = user.start(&Documents::script(script).text(), &[]);
    running.wait_for("ready");
    running.signal(Signal::INT);
    running.wait_for("not now");
    let asked = std::time::Instant::now();
    running.signal(Signal::INT);
    running.wait().expect(1).says("BuildRunCanceled");
    // Left alone the step has half a minute.
    assert!(asked.elapsed().as_secs() < 20, "{:?}", asked.elapsed());
    user.expect_nothing_left();
}

#[test]
fn an_interrupt_before_the_last_step_keeps_it_from_running() {
    let user = User::root();
    let mut documents = Documents::script("echo ready; exec sleep 1000");
    let second = json!({ "name": "second", "image": BUSYBOX, "command": ["echo", "never"] });
    documents.strategy["spec"]["steps"].as_array_mut().unwrap().push(second);
    let mut running = user.start(&documents.text(), &[]);
    running.wait_for("ready");
    running.signal(Signal::INT);
    let ran = running.wait().expect(1).says("BuildRunCanceled");
    assert!(!ran.log("second").contains(&"never"), "{}", ran.stderr);
    user.expect_nothing_left();
}
