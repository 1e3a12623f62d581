//! What is left of runs: nothing, unless somebody wanted it or the run was killed.

use std::collections::BTreeSet;
use std::process::Command;

use rustix::process::Signal;

use super::harness::{Documents, User, succeed, variable};

/// Says so once it runs, and never ends by itself.
pub const ENDLESS: &str = "echo ready; exec sleep 1000";

#[test]
fn ten_runs_in_a_row_leave_nothing() {
    let user = User::root();
    let documents = Documents::script("true").text();
    for _ in 0..10 {
        user.run(&documents, &[]).expect(0);
        user.expect_nothing_left();
    }
}

#[test]
fn two_runs_at_once_know_nothing_of_each_other() {
    let user = User::root();
    let endless = Documents::script(ENDLESS).text();
    let mut first = user.start(&endless, &[]);
    first.wait_for("ready");
    let mine = user.left();
    let mut second = user.start(&endless, &[]);
    second.wait_for("ready");
    assert!(mine.is_subset(&user.left()));
    second.signal(Signal::INT);
    second.wait().expect(1);
    assert_eq!(user.left(), mine);
    first.signal(Signal::INT);
    first.wait().expect(1);
    user.expect_nothing_left();
}

#[test]
fn the_next_run_removes_what_a_killed_one_left_and_nothing_of_a_live_one() {
    let user = User::root();
    let endless = Documents::script(ENDLESS).text();
    let mut killed = user.start(&endless, &[]);
    killed.wait_for("ready");
    let of_killed = user.left();
    let mut live = user.start(&endless, &[]);
    live.wait_for("ready");
    let of_live: BTreeSet<_> = user.left().difference(&of_killed).cloned().collect();
    killed.signal(Signal::KILL);
    assert_eq!(killed.wait().code, None);
    assert!(of_killed.is_subset(&user.left()), "something else removed it");

    user.run(&Documents::script("true").text(), &[]).expect(0);
    assert_eq!(user.left(), of_live);
    live.signal(Signal::INT);
    live.wait().expect(1).says("BuildRunCanceled");
    user.expect_nothing_left();
}

#[test]
fn what_is_kept_stays_until_its_owner_removes_it() {
    let user = User::root();
    let documents = Documents::script("echo kept").text();
    let kept = user.run(&documents, &["--keep"]).expect(0);
    let runs = user.runs();
    assert_eq!(runs.len(), 1);
    let run = runs.first().unwrap();
    let kept = kept.says(&format!("slipway.dev/run={run}"));
    assert_eq!(kept.log("script"), ["kept"]);
    let left = user.left();
    for what in ["container slipway-", "volume slipway-", "lock "] {
        assert!(left.iter().any(|name| name.starts_with(what)), "no {what} in {left:?}");
    }
    user.run(&documents, &[]).expect(0);
    assert_eq!(user.left(), left);
    // An engine that has nothing of it knows nothing of it.
    user.start_on(&variable("SLIPWAY_REMOTE_ENGINE"), &documents).wait().expect(0);
    user.run(&documents, &[]).expect(0);
    assert_eq!(user.left(), left);
    // As it is printed, but for which engine.
    let commands: Vec<_> =
        kept.stderr.lines().map(str::trim).filter(|line| line.starts_with("podman ")).collect();
    assert_eq!(commands.len(), 2, "{}", kept.stderr);
    for command in commands {
        succeed(Command::new("bash").args(["-euc", &command.replace("podman ", &user.client())]));
    }
    assert!(user.left().iter().all(|name| name.starts_with("lock ")), "{:?}", user.left());
    user.run(&documents, &[]).expect(0);
    user.expect_nothing_left();
}
