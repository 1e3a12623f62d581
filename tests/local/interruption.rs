//! Signals: the first one lets steps clean up, the second one does not.

use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use super::harness::{BUSYBOX, Documents, Running, User};
use super::leftovers::ENDLESS;
use super::proxy::Proxy;

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

/// Whatever the run is about when it is interrupted: pulls, volumes, the sandbox, containers, the first step.
#[test]
fn an_interrupt_at_any_moment_leaves_nothing() {
    let user = User::root();
    let documents = Documents::script(ENDLESS).text();
    let run = |delay: u64, signals: usize| {
        let running = user.start(&documents, &[]);
        // The moment is the point here; nothing is waited for.
        std::thread::sleep(std::time::Duration::from_millis(delay));
        for _ in 0..signals {
            running.signal(Signal::TERM);
        }
        let ran = running.wait();
        if ran.code.is_none() {
            // On a busy machine it has not come to its own handlers yet, and so to nothing else.
            assert_eq!(ran.stderr, "", "after {delay} ms");
        } else {
            let ran = ran.expect(1);
            assert!(!ran.stderr.contains("warning:"), "after {delay} ms:\n{}", ran.stderr);
        }
        assert_eq!(user.left(), std::collections::BTreeSet::new(), "after {delay} ms");
    };
    for delay in (100..1500).step_by(70) {
        run(delay, 1);
    }
    for delay in [300, 600, 800, 900, 1000, 1200] {
        run(delay, 2);
    }
}

#[test]
fn an_engine_that_hangs_keeps_nobody() {
    let user = User::root();
    let proxy = Proxy::new(&user);
    let mut running = user.start_on(&proxy.url(), &Documents::script(ENDLESS).text());
    running.wait_for("ready");
    let made = user.left();
    proxy.hang();
    for told in ["interrupted: ", "interrupted again", "gone without removing anything"] {
        running.signal(Signal::INT);
        running.wait_for(told);
    }
    running.wait().expect(1);
    proxy.go_on();
    assert!(user.left().is_subset(&made));
    user.run(&Documents::script("true").text(), &[]).expect(0);
    user.expect_nothing_left();
}

#[test]
fn who_is_not_to_be_hung_up_on_goes_on() {
    let user = User::root();
    let mut command = Command::new("nohup");
    let slipway = user.command(&Documents::script("echo ready; sleep 3; echo over").text(), &[]);
    command.arg(slipway.get_program()).args(slipway.get_args()).current_dir(user.path("."));
    command.env_clear().envs(slipway.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let mut running = Running::new(command);
    running.wait_for("ready");
    running.signal(Signal::HUP);
    running.wait_for("over");
    running.wait().expect(0);
    user.expect_nothing_left();
}
