//! The gate as the first process of a container.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use rstest::rstest;
use slipway_step::protocol::GateCommand;
use slipway_step::protocol::results::{
    ERROR_MESSAGE, ERROR_REASON, RESULT_TOO_LARGE, RESULT_UNREADABLE, WORKING_DIRECTORY_NOT_FOUND,
};

use crate::pod::{Pod, RUN_DIRS, Settings, gate};

/// Far below the grace period of a pod, far above what a busy machine needs.
const AT_ONCE: Duration = Duration::from_millis(500);

fn with_results(gate: GateCommand, results: &[&str]) -> GateCommand {
    GateCommand { results: results.iter().map(|&name| name.into()).collect(), ..gate }
}

fn with_workdir(gate: GateCommand, dir: &str) -> GateCommand {
    GateCommand { workdir: Some(dir.into()), ..gate }
}

fn with_command(gate: GateCommand, command: &[&str]) -> GateCommand {
    GateCommand { command: command.iter().map(|&word| word.into()).collect(), ..gate }
}

#[rstest]
#[case("exit 0", 0)]
#[case("exit 3", 3)]
#[case("exit 255", 255)]
#[case("kill -9 $$", 137)]
#[case("kill -15 $$", 143)]
fn the_exit_code_is_the_commands_own(#[case] script: &str, #[case] code: i32) {
    let pod = Pod::new();
    let ended = pod.run(&gate(0, script));
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(pod.exists("/shp/run/0/started"));
    assert_eq!(pod.exists("/shp/run/0/ok"), code == 0);
    assert_eq!((ended.message.as_str(), ended.stderr.as_str()), ("", ""));
}

#[rstest]
#[case("no-such-program", 127, "not found")]
#[case("/workspace/no/such", 127, "not found")]
#[case("/workspace/plain", 126, "not an executable file")]
#[case("/workspace", 126, "not an executable file")]
#[case("/workspace/no-interpreter", 127, "interpreter or loader is missing")]
#[case("/workspace/garbage", 126, "exec format error")]
#[case("/workspace/without-first-line", 126, "exec format error")]
fn a_command_that_cannot_start_is_named(
    #[case] program: &str,
    #[case] code: i32,
    #[case] words: &str,
) {
    let pod = Pod::new();
    pod.write("/workspace/plain", "");
    for (name, text) in [
        ("no-interpreter", "#!/no/such\n"),
        ("garbage", "\x7fELF and no more"),
        ("without-first-line", "true\n"),
    ] {
        let name = format!("/workspace/{name}");
        pod.write(&name, text);
        std::fs::set_permissions(pod.path(&name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let ended = pod.run(&with_command(gate(0, ""), &[program]));
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(ended.stderr.starts_with(&format!("slipway: {program}: ")), "{ended:?}");
    assert!(ended.stderr.contains(words), "{ended:?}");
    assert!(!pod.exists("/shp/run/0/ok"));
}

#[test]
fn the_command_has_its_own_group_no_input_and_no_handle_of_ours() {
    let pod = Pod::new();
    let script = "set -e
        test $PPID = 1
        test $(cut -d' ' -f5 /proc/$$/stat) = $$
        test $(readlink /proc/self/fd/0) = /dev/null
        ls -l /proc/$$/fd
        ! ls -l /proc/$$/fd | grep /shp/";
    let ended = pod.run(&gate(0, script));
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn our_own_program_is_found_without_a_path() {
    let pod = Pod::new();
    let ended = pod.run(&with_command(gate(0, ""), &["slipway-step", "--version"]));
    assert_eq!(
        (ended.code, ended.stdout.split(' ').next()),
        (0, Some("slipway-step")),
        "{ended:?}"
    );
}

#[test]
fn a_step_waits_for_the_one_before_and_starts_when_it_ends() {
    let pod = Pod::new();
    // Users that no image knows; the largest id that Linux allows in a pod.
    let largest = Settings { uid: 2_147_483_646, gid: 0, ..Settings::default() };
    let mut second = pod.start_as(&gate(1, "echo second >> /workspace/order"), &largest);
    second.until_exists("/shp/run/1/started");
    let mut third = pod.start(&gate(2, "echo third >> /workspace/order"));
    third.until_exists("/shp/run/2/started");
    let wait =
        "until test -e /workspace/go; do sleep 0.01; done; umask 0; echo first >> /workspace/order";
    let mut first = pod.start(&gate(0, wait));
    first.until_exists("/shp/run/0/started");
    let held = pod.path("/shp/run/0").metadata().unwrap().ino();
    second.until("lock is waited for", || is_waited_for(held));
    pod.write("/workspace/go", "");
    for container in [first, second, third] {
        let ended = container.end();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    assert_eq!(pod.read("/workspace/order"), "first\nsecond\nthird\n");
}

#[test]
fn steps_follow_each_other_without_a_pause() {
    let pod = Pod::new();
    let step = |index| gate(index, "umask 0; date +%s%N >> /workspace/times");
    let user = |index: usize| Settings {
        uid: 1000 + u32::try_from(index % 2).unwrap(),
        ..Settings::default()
    };
    let waiting: Vec<_> = (1..RUN_DIRS)
        .map(|index| {
            let mut container = pod.start_as(&step(index), &user(index));
            container.until_exists(&format!("/shp/run/{index}/started"));
            container
        })
        .collect();
    let first = pod.start_as(&step(0), &user(0));
    for container in std::iter::once(first).chain(waiting) {
        let ended = container.end();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let times: Vec<u64> =
        pod.read("/workspace/times").lines().map(|line| line.parse().unwrap()).collect();
    let mut pauses: Vec<_> =
        times.windows(2).map(|pair| Duration::from_nanos(pair[1] - pair[0])).collect();
    pauses.sort();
    let median = pauses[pauses.len() / 2];
    println!("hand-over with the start of a shell and its clock: {pauses:?}");
    // Ten times the aim: a busy machine is no fault of the gate.
    assert!(median < Duration::from_millis(50), "{pauses:?}");
}

/// Whether somebody waits for a lock on the file with this inode: ` ->` marks those lines.
fn is_waited_for(inode: u64) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| line.contains(" -> ") && line.contains(&format!(":{inode} ")))
}

#[test]
fn after_a_failure_every_later_step_is_skipped() {
    let pod = Pod::new();
    let second = pod
        .start(&with_results(gate(1, "touch /workspace/ran; echo 1 > /tekton/results/r"), &["r"]));
    let third = pod.start(&gate(2, "touch /workspace/ran"));
    // The command may write there; its failure counts all the same.
    assert_eq!(pod.run(&gate(0, "touch /shp/run/0/ok; exit 3")).code, 3);
    for (container, before) in [(second, "/shp/run/0"), (third, "/shp/run/1")] {
        let ended = container.end();
        assert_eq!((ended.code, ended.message.as_str()), (1, ""), "{ended:?}");
        assert!(ended.stderr.starts_with("slipway: skipped"), "{ended:?}");
        assert!(ended.stderr.contains(before) && ended.stderr.lines().count() == 1, "{ended:?}");
    }
    assert!(!pod.exists("/workspace/ran"));
}

#[rstest]
#[case::folder("mkdir /shp/run/0/ok; exit 3", 3)]
#[case::link("ln -s /shp/run/0/started /shp/run/0/ok; kill -9 $$", 137)]
#[case::folder_though_it_ended_well("mkdir /shp/run/0/ok", 1)]
#[case::link_though_it_ended_well("ln -s /workspace/elsewhere /shp/run/0/ok", 1)]
#[case::pipe_though_it_ended_well("mkfifo /shp/run/0/ok", 1)]
fn a_forged_marker_neither_counts_nor_holds_up(#[case] script: &str, #[case] code: i32) {
    let pod = Pod::new();
    let ended = pod.run(&gate(0, script));
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(!pod.exists("/workspace/elsewhere"));
    let ended = pod.run(&gate(1, "touch /workspace/ran"));
    assert!(ended.code == 1 && ended.stderr.contains("skipped"), "{ended:?}");
    assert!(!pod.exists("/workspace/ran"));
}

#[test]
fn a_log_that_nobody_takes_does_not_end_the_step() {
    let pod = Pod::new();
    // The gate has something to say after whoever read its log is gone.
    let line = "mkfifo /tmp/log; true </tmp/log & exec 2>/tmp/log; wait; exec /shp/bin/slipway-step \"$@\"";
    let step = GateCommand {
        credentials: vec!["dockercfg:absent".parse().unwrap()],
        ..with_results(gate(0, "printf 1 > /tekton/results/r"), &["r"])
    };
    let args = step.to_args();
    let line = ["sh", "-c", line, "sh"].into_iter().chain(args.iter().map(String::as_str));
    let ended = pod.exec(&line.collect::<Vec<_>>(), &Settings::default()).end();
    assert_eq!((ended.code, ended.message.as_str()), (0, r#"{"r":"1"}"#), "{ended:?}");
    assert!(pod.exists("/shp/run/0/ok"));
}

#[test]
fn a_killed_gate_wakes_its_successor_which_skips() {
    let pod = Pod::new();
    let mut first = pod.start(&gate(0, "touch /workspace/runs; exec sleep 1000"));
    let mut second = pod.start(&gate(1, "touch /workspace/ran"));
    first.until_exists("/workspace/runs");
    let held = pod.path("/shp/run/0").metadata().unwrap().ino();
    second.until("lock is waited for", || is_waited_for(held));
    first.signal("KILL");
    let killed = Instant::now();
    let ended = second.end();
    assert!(killed.elapsed() < AT_ONCE, "{:?}", killed.elapsed());
    assert_ne!(first.end().code, 0);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("skipped"), "{ended:?}");
    assert!(!pod.exists("/workspace/ran"));
}

#[rstest]
#[case("TERM", 143)]
#[case("INT", 130)]
#[case("HUP", 129)]
#[case("QUIT", 131)]
fn a_waiting_gate_ends_at_once(#[case] signal: &str, #[case] code: i32) {
    let pod = Pod::new();
    // One waits for a step that never starts, one for a step that never ends.
    let mut first = pod.start(&gate(1, "true"));
    let mut second = pod.start(&gate(2, "true"));
    first.until_exists("/shp/run/1/started");
    second.until_exists("/shp/run/2/started");
    let held = pod.path("/shp/run/1").metadata().unwrap().ino();
    second.until("lock is waited for", || is_waited_for(held));
    for container in [second, first] {
        let begin = Instant::now();
        container.signal(signal);
        let ended = container.end();
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    }
}

#[rstest]
#[case::obeyed("trap 'exit 7' TERM; touch /workspace/ready; while :; do sleep 0.01; done", 7)]
// The pod is being ended; what the command left is not what a later step shall go on with.
#[case::obeyed_well(
    "trap 'exit 0' TERM; touch /workspace/ready; while :; do sleep 0.01; done",
    143
)]
#[case::default("touch /workspace/ready; sleep 1000; exit 1", 143)]
fn a_signal_reaches_the_running_command(#[case] script: &str, #[case] code: i32) {
    let pod = Pod::new();
    let mut container = pod.start(&gate(0, script));
    container.until_exists("/workspace/ready");
    let begin = Instant::now();
    container.signal("TERM");
    let ended = container.end();
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert!(!pod.exists("/shp/run/0/ok"));
}

#[test]
fn a_thousand_orphans_leave_no_zombie() {
    let pod = Pod::new();
    let script =
        "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i + 1)); done; touch /workspace/made
        while grep -q '^State:.Z' /proc/[0-9]*/status 2> /dev/null; do sleep 0.01; done";
    let ended = pod.run(&gate(0, script));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(pod.exists("/workspace/made"));
}

#[test]
fn orphans_come_to_the_gate_also_where_it_is_not_the_first_process() {
    let pod = Pod::new();
    let script = "test $PPID != 1 || exit 9
        (sleep 1000 & echo $! > /workspace/orphan)
        until grep -q \"^PPid:.$PPID\\$\" /proc/$(cat /workspace/orphan)/status; do sleep 0.01; done
        kill $(cat /workspace/orphan)
        while test -e /proc/$(cat /workspace/orphan); do sleep 0.01; done";
    let settings = Settings { first: false, ..Settings::default() };
    let ended = pod.start_as(&gate(0, script), &settings).end();
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn source_local_waits_until_the_others_have_started() {
    let pod = Pod::new();
    let source = GateCommand {
        await_started: vec!["/shp/run/1".into()],
        ..gate(0, "test -e /shp/run/1/started")
    };
    let mut source = pod.start(&source);
    source.until_exists("/shp/run/0/started");
    let next = pod.start(&gate(1, "true"));
    assert_eq!(source.end().code, 0);
    assert_eq!(next.end().code, 0);
}

#[test]
fn a_run_directory_that_is_missing_or_taken_is_named() {
    let pod = Pod::new();
    let ended = pod.run(&gate(RUN_DIRS, "true"));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.starts_with("slipway: open run directory /shp/run/21"), "{ended:?}");
    let mut holder = pod.start(&gate(0, "exec sleep 1000"));
    holder.until_exists("/shp/run/0/started");
    let ended = pod.run(&gate(0, "true"));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.starts_with("slipway: lock run directory /shp/run/0"), "{ended:?}");
}

#[rstest]
#[case(0)]
#[case(4)]
fn changed_results_are_reported_also_on_failure(#[case] code: i32) {
    let pod = Pod::new();
    pod.write("/tekton/results/old", "same");
    let script = format!(
        "printf '\"1\"\\n' > /tekton/results/new; echo x > /tekton/results/undeclared; exit {code}"
    );
    let ended = pod.run(&with_results(gate(0, &script), &["absent", "new", "old"]));
    assert_eq!((ended.code, ended.message.as_str()), (code, r#"{"new":"\"1\"\n"}"#), "{ended:?}");
}

#[test]
fn a_large_result_fails_the_step_and_is_named() {
    let pod = Pod::new();
    let script = "printf %0100000d 0 > /tekton/results/large; printf 1 > /tekton/results/small";
    let step = GateCommand { budget: 819, ..with_results(gate(0, script), &["large", "small"]) };
    let ended = pod.run(&step);
    assert_eq!(ended.code, 1, "{ended:?}");
    let report = ended.report();
    assert_eq!(report[ERROR_REASON], RESULT_TOO_LARGE);
    assert!(
        report[ERROR_MESSAGE].contains("result large is too large: 100000 bytes"),
        "{report:?}"
    );
    assert_eq!(report["small"], "1");
    assert!(ended.message.len() <= 819);
    assert!(ended.stderr.starts_with("slipway: result large is too large"), "{ended:?}");
    assert!(!pod.exists("/shp/run/0/ok"));
}

#[test]
fn a_failed_step_keeps_its_own_code_and_reason_beside_a_large_result() {
    let pod = Pod::new();
    let script = "cd /tekton/results
        printf %0100000d 0 > large; printf Mine > shp-error-reason; printf 'my words' > shp-error-message
        exit 7";
    let names = ["large", ERROR_MESSAGE, ERROR_REASON];
    let ended = pod.run(&with_results(gate(0, script), &names));
    assert_eq!(ended.code, 7, "{ended:?}");
    let report = ended.report();
    assert_eq!((&*report[ERROR_REASON], &*report[ERROR_MESSAGE]), ("Mine", "my words"));
    assert!(ended.stderr.contains("result large is too large"), "{ended:?}");
}

#[test]
fn a_result_that_cannot_be_read_fails_the_step_that_left_it() {
    let pod = Pod::new();
    let script = "echo 1 > /tekton/results/hidden; chmod 0 /tekton/results/hidden";
    let ended = pod.run(&with_results(gate(0, script), &["hidden"]));
    assert_eq!(ended.code, 1, "{ended:?}");
    let report = ended.report();
    assert_eq!(report[ERROR_REASON], RESULT_UNREADABLE);
    assert!(report[ERROR_MESSAGE].contains("/tekton/results/hidden"), "{report:?}");
    // A later step has nothing to do with it.
    let other = Settings { uid: 1011, ..Settings::default() };
    let later = GateCommand { after: None, ..with_results(gate(1, "true"), &["hidden"]) };
    let ended = pod.start_as(&later, &other).end();
    assert_eq!((ended.code, ended.message.as_str()), (0, ""), "{ended:?}");
}

#[test]
fn a_report_that_cannot_be_left_fails_the_step() {
    let pod = Pod::new();
    let script = "printf 1 > /tekton/results/r; exit 0";
    let step = with_results(gate(0, script), &["r"]);
    let mut line = vec![
        "sh",
        "-c",
        "chmod 0444 /dev/termination-log; exec setpriv --reuid 1010 --regid 1020 --clear-groups /shp/bin/slipway-step \"$@\"",
        "sh",
    ];
    let args = step.to_args();
    line.extend(args.iter().map(String::as_str));
    let root = Settings { uid: 0, gid: 0, ..Settings::default() };
    let ended = pod.exec(&line, &root).end();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("write results to /dev/termination-log"), "{ended:?}");
    assert!(!pod.exists("/shp/run/0/ok"));
}

#[test]
fn a_working_directory_in_the_workspace_is_made_and_one_in_the_source_is_not() {
    let pod = Pod::new();
    pod.make_folder("/workspace/source/sub");
    for (index, dir) in ["/workspace/output/image", "/workspace/source/sub"].iter().enumerate() {
        let ended = pod.run(&with_workdir(gate(index, "pwd; ls -d ."), dir));
        assert_eq!((ended.code, ended.stdout), (0, format!("{dir}\n.\n")));
    }
    let missing = with_workdir(gate(2, "touch /workspace/ran"), "/workspace/source/missing");
    let ended = pod.run(&missing);
    assert_eq!(ended.code, 1, "{ended:?}");
    let report = ended.report();
    assert_eq!(report[ERROR_REASON], WORKING_DIRECTORY_NOT_FOUND);
    assert!(report[ERROR_MESSAGE].contains("/workspace/source/missing"), "{report:?}");
    assert!(ended.stderr.contains("/workspace/source/missing"), "{ended:?}");
    assert!(!pod.exists("/workspace/ran") && !pod.exists("/workspace/source/missing"));
    let ended = pod.run(&with_workdir(gate(3, "true"), "/no/such"));
    // The step before failed, and that comes first.
    assert!(ended.stderr.contains("skipped"), "{ended:?}");
}

#[test]
fn credentials_are_in_home_for_the_steps_own_user() {
    let pod = Pod::new();
    pod.write(
        "/tekton/creds-secrets/push/.dockerconfigjson",
        r#"{"auths":{"r.example":{"auth":"eA=="}}}"#,
    );
    pod.write("/tekton/creds-secrets/git/username", "me");
    pod.write("/tekton/creds-secrets/git/password", "hidden-word");
    pod.write("/tekton/creds-secrets/ssh/ssh-privatekey", "KEY");
    let credentials = [
        "docker-config:push",
        "git-basic:git=https://git.example",
        "git-ssh:ssh=git.example",
        "dockercfg:absent",
    ];
    let credentials: Vec<_> = credentials.iter().map(|one| one.parse().unwrap()).collect();
    let script = "cd $HOME; stat -c '%a %u:%g %n' .docker .docker/config.json .git-credentials .gitconfig .ssh .ssh/*
        cmp .docker/config.json /tekton/creds/.docker/config.json";
    let step = GateCommand { credentials, ..gate(0, script) };
    let ended = pod.run(&step);
    assert_eq!(ended.code, 0, "{ended:?}");
    let expected = "700 1010:1020 .docker\n600 1010:1020 .docker/config.json\n600 1010:1020 .git-credentials\n\
        600 1010:1020 .gitconfig\n700 1010:1020 .ssh\n600 1010:1020 .ssh/config\n\
        600 1010:1020 .ssh/id_ssh\n600 1010:1020 .ssh/known_hosts\n";
    assert_eq!(ended.stdout, expected);
    assert_eq!(
        ended.stderr.lines().collect::<Vec<_>>(),
        [
            "slipway: warning: secret absent: key .dockercfg cannot be read: No such file or directory (os error 2)"
        ]
    );
    // A home that is not there to be written, and none at all.
    for (index, home) in [(1, Some("/etc/home")), (2, None)] {
        let step = GateCommand {
            run_dir: format!("/shp/run/{index}"),
            command: vec!["true".into()],
            ..step.clone()
        };
        let settings = Settings { home, ..Settings::default() };
        std::fs::set_permissions(pod.path("/etc"), PermissionsExt::from_mode(0o755)).unwrap();
        let ended = pod.start_as(&step, &settings).end();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 2, "{ended:?}");
        assert!(!ended.stderr.contains("hidden-word"), "{ended:?}");
    }
}

#[test]
fn what_another_user_keeps_in_a_shared_home_costs_one_line() {
    let pod = Pod::new();
    pod.write("/tekton/creds-secrets/both/username", "me");
    pod.write("/tekton/creds-secrets/both/password", "hidden-word");
    let private = pod.path("/tekton/home/.docker");
    std::fs::create_dir(&private).unwrap();
    std::fs::set_permissions(private, PermissionsExt::from_mode(0o700)).unwrap();
    let credentials = ["docker-basic:both=r.example", "git-basic:both=https://git.example"]
        .map(|one| one.parse().unwrap());
    let step =
        GateCommand { credentials: credentials.into(), ..gate(0, "cat $HOME/.git-credentials") };
    let ended = pod.run(&step);
    assert_eq!(
        (ended.code, &*ended.stdout),
        (0, "https://me:hidden-word@git.example\n"),
        "{ended:?}"
    );
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains("/tekton/home/.docker/config.json"), "{ended:?}");
}

#[test]
fn a_wrong_flag_is_2() {
    let pod = Pod::new();
    let ended =
        pod.exec(&["/shp/bin/slipway-step", "gate", "--no-such"], &Settings::default()).end();
    assert_eq!(ended.code, 2, "{ended:?}");
}
