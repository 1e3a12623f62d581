//! The gate on a real kubelet: order, exit codes, signals, results, and what the BuildRun's status says of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::json;
use slipway::plan::Next;
use slipway_step::protocol::results::{
    ERROR_MESSAGE, ERROR_REASON, IMAGE_DIGEST, RESULT_TOO_LARGE, Report,
    WORKING_DIRECTORY_NOT_FOUND, budget, decode, encode,
};

use super::harness::{Ended, Namespace, PATIENCE, status, variable};
use super::start::{rounds, show};
use super::steps::{
    BUSYBOX, STEP, Wish, ask_to_end, condition, details, expect_failed_at, in_an_empty_image,
    judge, run_of, shell, step, with,
};

/// A step that runs until it is told to end, and obeys.
const UNTIL_TOLD: &str = "trap 'echo told; exit 0' TERM; echo runs; sleep 1000 & wait";

fn expect_skipped(ended: &Ended<'_>, container: &str) {
    let log = ended.log(container);
    assert_eq!(ended.exit_code(container), 1, "{log}");
    assert!(log.starts_with("slipway: skipped: ") && log.lines().count() == 1, "{log}");
}

#[test]
fn a_step_that_fails_keeps_its_exit_code_and_later_ones_are_skipped() {
    let namespace = Namespace::new("exit");
    let ended = namespace.run(&run_of(&[
        shell("first", "echo first"),
        shell("second", "echo second; exit 3"),
        shell("third", "echo third"),
        shell("fourth", "echo fourth"),
    ]));
    assert_eq!((ended.exit_code("step-first"), ended.exit_code("step-second")), (0, 3));
    assert_eq!(ended.log("step-second"), "second\n");
    expect_skipped(&ended, "step-third");
    expect_skipped(&ended, "step-fourth");
    expect_failed_at(&ended.pod, "step-second");
}

#[test]
fn a_killed_command_is_137_and_later_steps_are_skipped() {
    let namespace = Namespace::new("killed-step");
    let pod = namespace.start(&namespace.render(&run_of(&[
        shell("first", "echo runs; while :; do sleep 1; done"),
        shell("second", "echo second"),
    ])));
    namespace.wait_for_log(&pod, "step-first", "runs");
    namespace.exec(&pod, "step-first", &["sh", "-c", "kill -9 $(cat /proc/1/task/1/children)"]);
    let ended = namespace.wait_until_ended(&pod);
    assert_eq!(ended.exit_code("step-first"), 137);
    expect_skipped(&ended, "step-second");
    expect_failed_at(&ended.pod, "step-first");
}

#[test]
fn a_killed_gate_is_137_and_wakes_its_successor_which_skips() {
    let namespace = Namespace::new("killed-gate");
    let pod = namespace.start(&namespace.render(&run_of(&[
        shell("first", "echo runs; while :; do sleep 1; done"),
        shell("second", "echo second"),
    ])));
    namespace.wait_for_log(&pod, "step-first", "runs");
    namespace.wait_until_running(&pod, "step-second");
    let killed = Timestamp::now();
    kill_first_process(&namespace.wait_until_running(&pod, "step-first"), "step-first");
    let ended = namespace.wait_until_ended(&pod);
    assert_eq!(ended.exit_code("step-first"), 137);
    expect_skipped(&ended, "step-second");
    let woken = log_time(&namespace, &pod, "step-second", "skipped").duration_since(killed);
    show(&format!("skipped {woken:#} after the gate before was told to be killed\n"));
    assert!(woken.as_secs() < 5, "{woken:#}");
    expect_failed_at(&ended.pod, "step-first");
}

/// When the container printed the line.
fn log_time(namespace: &Namespace, pod: &str, container: &str, text: &str) -> Timestamp {
    let log = namespace.kubectl(&["logs", pod, "--container", container, "--timestamps"]);
    let line = log.lines().find(|line| line.contains(text)).unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

/// Kills a container's first process from the machine that it runs on.
pub fn kill_first_process(pod: &Pod, container: &str) {
    let id = status(pod, container).unwrap().container_id.as_deref().unwrap();
    let id = id.strip_prefix("containerd://").unwrap();
    let killed = Command::new("ctr").args(["tasks", "kill", "--signal=SIGKILL", id]).output();
    let killed = killed.expect("ctr starts");
    assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
}

#[test]
fn a_program_that_is_no_program_is_126_and_named() {
    let namespace = Namespace::new("format");
    let ended = namespace.run(&run_of(&[
        shell("make", "echo garbage > /workspace/garbage; chmod 755 /workspace/garbage"),
        step("garbage", BUSYBOX, &["/workspace/garbage"]),
        shell("later", "echo later"),
    ]));
    assert_eq!(ended.exit_code("step-garbage"), 126);
    let log = ended.log("step-garbage");
    assert!(log.starts_with("slipway: /workspace/garbage: exec format error; check"), "{log}");
    expect_skipped(&ended, "step-later");
    expect_failed_at(&ended.pod, "step-garbage");
}

#[test]
fn a_missing_working_directory_is_made_in_the_workspace_and_refused_in_the_source() {
    let namespace = Namespace::new("workdir");
    let missing = "/workspace/source/missing";
    let ended = namespace.run(&run_of(&[
        with(shell("made", "pwd; stat -c %u:%g ."), "workingDir", json!("/workspace/made/here")),
        with(shell("missing", "echo missing"), "workingDir", json!(missing)),
    ]));
    assert_eq!(ended.log("step-made"), "/workspace/made/here\n1001:1000\n");
    assert_eq!(ended.exit_code("step-missing"), 1);
    let verdict = expect_failed_at(&ended.pod, "step-missing");
    let details = details(&verdict);
    assert_eq!(details.reason.as_deref(), Some(WORKING_DIRECTORY_NOT_FOUND));
    let message = details.message.as_deref().unwrap();
    assert!(message.contains(&format!("working directory {missing} does not exist")), "{message}");
    assert_eq!(ended.log("step-missing"), format!("slipway: {message}\n"));
}

#[test]
fn a_result_of_100_kilobytes_fails_the_step_and_is_named() {
    let namespace = Namespace::new("large");
    let large = "head -c 100000 /dev/zero | tr '\\0' x > $0";
    let large = with(
        step("large", BUSYBOX, &["sh", "-euc", large]),
        "args",
        json!(["$(results.shp-image-digest.path)"]),
    );
    let ended = namespace.run(&run_of(&[large, shell("later", "echo later")]));
    assert_eq!(ended.exit_code("step-large"), 1);
    expect_skipped(&ended, "step-later");
    let verdict = expect_failed_at(&ended.pod, "step-large");
    let details = details(&verdict);
    assert_eq!(details.reason.as_deref(), Some(RESULT_TOO_LARGE));
    let message = details.message.as_deref().unwrap();
    let named = "result shp-image-digest is too large: 100000 bytes";
    assert!(message.contains(named), "{message}");
    assert!(ended.log("step-large").contains(named));
}

#[test]
fn full_reports_of_twelve_containers_arrive_uncut_also_with_three_tools_attached() {
    let namespace = Namespace::new("full");
    let budget = budget(12);
    let digest = |index: usize| {
        let overhead = encode(&Report::from([(IMAGE_DIGEST.into(), String::new())])).len();
        format!("{index:0width$}", width = budget - overhead)
    };
    let names: Vec<_> = (1..=11).map(|index| format!("full-{index}")).collect();
    let mut steps: Vec<_> = (1..=11)
        .map(|index| {
            let script = format!("printf {} > $0", digest(index));
            let step = step(&names[index - 1], BUSYBOX, &["sh", "-euc", &script]);
            with(step, "args", json!(["$(results.shp-image-digest.path)"]))
        })
        .collect();
    let wait = format!(
        "printf {} > $0; echo runs; until test -e /workspace/go; do sleep 0.01; done",
        digest(11)
    );
    steps[10]["command"] = json!(["sh", "-euc", wait]);
    let pod = namespace.start(&namespace.render(&run_of(&steps)));
    namespace.wait_for_log(&pod, "step-full-11", "runs");
    for tool in ["one", "two", "three"] {
        let (image, tool) = (format!("--image={BUSYBOX}"), format!("--container={tool}"));
        namespace.kubectl(&["debug", &pod, &image, &tool, "--profile=general", "--", "true"]);
    }
    namespace.wait_for(&pod, "left by all tools", |pod| {
        let tools = pod.status.as_ref().and_then(|it| it.ephemeral_container_statuses.as_ref());
        let ended = tools
            .into_iter()
            .flatten()
            .filter(|tool| tool.state.as_ref().is_some_and(|state| state.terminated.is_some()));
        ended.count() == 3
    });
    namespace.let_go(&pod, "step-full-11");
    let ended = namespace.wait_until_ended(&pod).expect_success();
    for (index, name) in (1..=11).zip(&names) {
        let message = ended.terminated(&format!("step-{name}")).message.as_deref().unwrap();
        assert_eq!(message.len(), budget, "{name}: {message}");
        let expected = Report::from([(IMAGE_DIGEST.to_owned(), digest(index))]);
        assert_eq!(decode(message), Some(expected), "{name}");
    }
    let verdict = judge(&ended.pod, Wish::Build, Timestamp::now());
    assert_eq!(condition(&verdict), ("True", "Succeeded", "All Steps have completed executing"));
    let output = verdict.status.output.unwrap();
    assert_eq!(output.digest, Some(digest(11)));
}

#[test]
fn a_steps_own_reason_and_message_arrive() {
    let namespace = Namespace::new("own-words");
    let script = "printf Mine > $0; printf '%s' 'my \"words\", größer' > $1; exit 9";
    let failing = with(
        step("failing", BUSYBOX, &["sh", "-euc", script]),
        "args",
        json!(["$(results.shp-error-reason.path)", "$(results.shp-error-message.path)"]),
    );
    let ended = namespace.run(&run_of(&[failing]));
    assert_eq!(ended.exit_code("step-failing"), 9);
    let expected = [(ERROR_MESSAGE, "my \"words\", größer"), (ERROR_REASON, "Mine")];
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    assert_eq!(ended.results("step-failing"), expected);
    let verdict = expect_failed_at(&ended.pod, "step-failing");
    let details = details(&verdict);
    assert_eq!(details.reason.as_deref(), Some("Mine"));
    assert_eq!(details.message.as_deref(), Some("my \"words\", größer"));
}

/// Two seconds from kubelet's act to the end are the aim; a busy machine gets more, and still less than the grace period.
const MOST_TO_CANCEL: SignedDuration = SignedDuration::from_secs(20);

#[rstest]
#[case::first_runs(0)]
#[case::second_runs(1)]
#[case::third_runs(2)]
fn a_cancelled_pod_ends_when_its_step_obeys(#[case] position: usize) {
    let names = ["step-first", "step-second", "step-third"];
    let running = names[position];
    let script = |index| if index == position { UNTIL_TOLD } else { "echo done" };
    let namespace = Namespace::new(&format!("cancel-{}", running.trim_start_matches("step-")));
    let pod = namespace.start(&namespace.render(&run_of(&[
        shell("first", script(0)),
        shell("second", script(1)),
        shell("third", script(2)),
    ])));
    namespace.wait_for_log(&pod, running, "runs");
    let seen = namespace.wait_until_running(&pod, "step-third");
    let canceling = judge(&seen, Wish::Cancel, Timestamp::now());
    let (status, reason, message) = condition(&canceling);
    assert_eq!((status, reason), ("Unknown", "BuildRunCanceled"), "{message}");
    assert_eq!(canceling.next, Next::EndPod);

    // The shortest deadline there is has passed already, so that kubelet may act at its next look at the pod.
    let started = seen.status.as_ref().unwrap().start_time.as_ref().unwrap().0;
    let asked = Timestamp::now();
    assert!(asked.duration_since(started).as_secs() >= 1);
    ask_to_end(&namespace, &pod);
    let ended = namespace.wait_until_ended(&pod);
    let now = Timestamp::now();
    assert!(now.duration_since(asked) < MOST_TO_CANCEL, "{:#}", now.duration_since(asked));
    let told = log_time(&namespace, &pod, running, "told");
    show(&format!(
        "{running} cancelled: pod ended {:#} after kubelet told the step, which was {:#} after it was asked to\n",
        now.duration_since(told),
        told.duration_since(asked)
    ));

    assert_eq!(ended.pod.status.as_ref().unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    // It obeyed with 0, and is nevertheless no step to go on from.
    let log = ended.log(running);
    assert_eq!((ended.exit_code(running), log.contains("told")), (143, true), "{log}");
    let (earlier, later) = (&names[..position], &names[position + 1..]);
    for container in later {
        // Told itself, or woken by the one before, whichever comes first.
        let (exit_code, log) = (ended.exit_code(container), ended.log(container));
        assert!([143, 1].contains(&exit_code), "{container}: {exit_code}");
        assert!(log.is_empty() || log.starts_with("slipway: skipped: "), "{container}: {log}");
    }
    for container in earlier {
        assert_eq!((ended.exit_code(container), &*ended.log(container)), (0, "done\n"));
    }
    let verdict = judge(&ended.pod, Wish::Cancel, Timestamp::now());
    assert_eq!(
        condition(&verdict),
        (
            "False",
            "BuildRunCanceled",
            "The BuildRun and underlying TaskRun were canceled successfully."
        )
    );
    assert_eq!((verdict.status.failure_details, verdict.next), (None, Next::Finished));
}

#[test]
fn a_thousand_orphans_leave_no_zombie() {
    let namespace = Namespace::new("orphans");
    // Zombies of a first process that does not reap stay for ever; a hundred looks tell.
    let script = "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i + 1)); done; echo made $i
        zombies() { cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.Z' || true; }
        tries=0; until [ $(zombies) = 0 ] || [ $tries = 100 ]; do sleep 0.01; tries=$((tries + 1)); done
        echo zombies $(zombies)";
    let ended = namespace.run(&run_of(&[shell("orphans", script)])).expect_success();
    assert_eq!(ended.log("step-orphans"), "made 1000\nzombies 0\n");
}

#[test]
fn a_step_runs_in_an_empty_image_on_a_read_only_root_as_any_user() {
    let namespace = Namespace::restricted("empty");
    let look =
        "stat -c '%u:%g' /workspace/copied/slipway-step; /workspace/copied/slipway-step --version";
    let ended = namespace.run(&run_of(&in_an_empty_image(look))).expect_success();
    assert_eq!(ended.user("step-copy"), (2_147_483_646, 2_147_483_646));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(ended.log("step-look"), format!("2147483646:2147483646\nslipway-step {version}\n"));
}

/// Steps of a pod whose hand-overs are measured.
const STEPS: usize = 11;

/// Twenty hand-overs between two users here, two hundred for `hack/bench handover`.
#[test]
fn steps_of_two_users_follow_each_other_at_once() {
    let namespace = Namespace::alone("handover");
    let pods = rounds(2);
    let (mut within, mut between) = (Vec::new(), Vec::new());
    for pod in 0..pods {
        let pauses = pauses(&namespace, pod);
        within.extend(pauses.within);
        between.extend(pauses.between);
    }
    within.sort();
    between.sort();
    let mut figures = format!(
        "\n| {} pauses from one program's clock to the next one's | in one step | from step to step |\n| --- | ---: | ---: |\n",
        between.len()
    );
    for (name, share) in [("median", 50), ("p90", 90), ("p99", 99), ("longest", 100)] {
        let [within, between] = [&within, &between].map(|pauses| {
            let pause = pauses[(pauses.len() - 1) * share / 100];
            format!("{:.1} ms", pause.as_secs_f64() * 1e3)
        });
        writeln!(figures, "| {name} | {within} | {between} |").unwrap();
    }
    show(&figures);
    assert_eq!((within.len(), between.len()), (pods * (STEPS - 1), pods * (STEPS - 1)));
}

/// Where this machine keeps the pod's empty directories.
fn volumes_of(pod: &Pod) -> PathBuf {
    let uid = pod.metadata.uid.as_deref().unwrap();
    let pods = Path::new(&variable("SLIPWAY_STATE")).join("kubelet/pods");
    pods.join(uid).join("volumes/kubernetes.io~empty-dir")
}

/// Waits until every step but the first sleeps in the kernel until the one before lets go of its run directory: nobody polls.
fn await_waiting(volumes: &Path) {
    let held: Vec<u64> = (0..STEPS - 1)
        .map(|index| volumes.join(format!("slipway-run-{index}")).metadata().unwrap().ino())
        .collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let waits = |inode| {
            let inode = format!(":{inode} ");
            locks.lines().any(|line| line.contains(" -> ") && line.contains(&inode))
        };
        if held.iter().all(waits) {
            return;
        }
        assert!(Instant::now() < deadline, "not every step waits for the one before:\n{locks}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// From one look at the clock to the next one.
struct Pauses {
    /// Of programs that a shell runs: what this machine takes anyhow.
    within: Vec<Duration>,
    /// Of steps: the end of one program, two gates and the start of another.
    between: Vec<Duration>,
}

fn pauses(namespace: &Namespace, pod: usize) -> Pauses {
    let user = |index: usize| json!({ "runAsUser": 1001 + index % 2 });
    let looks = "date +%s%N\n".repeat(STEPS - 1);
    let first = format!("until test -e /workspace/go; do sleep 0.01; done\n{looks}exec date +%s%N");
    let steps: Vec<_> = (0..STEPS)
        .map(|index| {
            let name = format!("at-{index}");
            let command: &[&str] =
                if index == 0 { &["sh", "-euc", &first] } else { &["date", "+%s%N"] };
            // As builds do; what asks for nothing is nobody's next choice on a busy machine.
            let resources = json!({ "requests": { "cpu": "1" } });
            let step = with(step(&name, STEP, command), "resources", resources);
            with(step, "securityContext", user(index))
        })
        .collect();
    let mut rendered = namespace.render(&run_of(&steps));
    rendered.metadata.name = Some(format!("handover-{pod}"));
    let pod = namespace.start(&rendered);
    let volumes = volumes_of(&namespace.wait_until_running(&pod, "step-at-0"));
    await_waiting(&volumes);
    // From this side, because a program in the pod's containers would cost what is measured.
    std::fs::write(volumes.join("slipway-workspace/go"), "").unwrap();
    let ended = namespace.wait_until_ended(&pod).expect_success();
    let mut times: Vec<u64> = Vec::new();
    for index in 0..STEPS {
        let container = format!("step-at-{index}");
        assert_eq!(ended.user(&container).0, 1001 + i64::try_from(index % 2).unwrap());
        times.extend(ended.log(&container).lines().map(|line| line.parse::<u64>().unwrap()));
    }
    let mut within: Vec<_> =
        times.windows(2).map(|pair| Duration::from_nanos(pair[1] - pair[0])).collect();
    let between = within.split_off(STEPS - 1);
    Pauses { within, between }
}
