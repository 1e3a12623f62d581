//! One build, twice: on a kubelet, and on an engine of this machine as `slipway run` has it. Both reports are compared field by field.
//!
//! Invariant: what may differ is listed, with the reason; everything else is the same.

mod cases;
mod inside;
mod report;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use rstest::rstest;
use serde_json::Value;
use slipway::api::{BuildRun, BuildRunStatus, Nanoseconds};
use slipway::plan::{Next, Seen, Verdict, observe};

use self::cases::{ALWAYS, Case};
use self::report::{Report, differences, report};
use super::harness::{Namespace, phase, variable};
use super::steps::ask_to_end;

/// Where a build runs; each side has servers of its own, of the same names.
#[derive(Clone, Copy)]
pub enum Side {
    Cluster,
    Engine,
}

impl Side {
    /// Name of a variable of `hack/cluster env`, or of its like in `hack/engine env`.
    fn variable(self, name: &str) -> String {
        match self {
            Self::Cluster => format!("SLIPWAY_{name}"),
            Self::Engine => format!("SLIPWAY_LOCAL_{name}"),
        }
    }
}

#[rstest]
#[case::hello(cases::hello)]
#[case::strategy_push(cases::strategy_push)]
#[case::shipwright_push(cases::shipwright_push)]
#[case::strategy_push_tls(cases::strategy_push_tls)]
#[case::shipwright_push_tls(cases::shipwright_push_tls)]
#[case::strategy_push_wrong_password(cases::strategy_push_wrong_password)]
#[case::shipwright_push_wrong_password(cases::shipwright_push_wrong_password)]
#[case::main_job(cases::main_job)]
#[case::missing_context(cases::missing_context)]
#[case::clone_refused(cases::clone_refused)]
#[case::exit_code(cases::exit_code)]
#[case::killed(cases::killed)]
#[case::terminated(cases::terminated)]
#[case::no_program(cases::no_program)]
#[case::missing_program(cases::missing_program)]
#[case::not_executable(cases::not_executable)]
#[case::working_directories(cases::working_directories)]
#[case::large_result(cases::large_result)]
#[case::own_words(cases::own_words)]
#[case::results(cases::results)]
#[case::orphans(cases::orphans)]
#[case::empty_image(cases::empty_image)]
#[case::out_of_memory(cases::out_of_memory)]
#[case::survivor(cases::survivor)]
#[case::timeout(cases::timeout)]
#[case::evicted(cases::evicted)]
#[case::missing_image(cases::missing_image)]
#[case::never_pulled(cases::never_pulled)]
#[case::missing_secret(cases::missing_secret)]
#[case::missing_value(cases::missing_value)]
#[case::root_refused(cases::root_refused)]
#[case::identities(inside::identities)]
#[case::root_identities(inside::root_identities)]
#[case::identity_files(inside::identity_files)]
#[case::no_strategy_user(inside::no_strategy_user)]
#[case::volumes(inside::volumes)]
#[case::environment(inside::environment)]
fn the_same_on_the_kubelet_and_here(#[case] case: fn(Side, &str) -> Case) {
    // The name of the case, as the test's thread has it.
    let thread = std::thread::current();
    let name = thread.name().unwrap().rsplit_once("case_").unwrap().1;
    let name = name.split_once('_').unwrap().1.replace('_', "-");
    let namespace = Namespace::new(&format!("parity-{name}"));
    let on_the_kubelet = of_cluster(&namespace, &case(Side::Cluster, namespace.name()));
    let mine = case(Side::Engine, namespace.name());
    let here = of_engine(&mine);
    let allowed = [ALWAYS, mine.differs].concat();
    let differences = differences(&on_the_kubelet, &here, &allowed);
    assert!(differences.is_empty(), "{name} differs:\n{differences}");
}

/// Plays the controller for the pod that is rendered, until the run has ended.
fn of_cluster(namespace: &Namespace, case: &Case) -> Report {
    let mut buildrun = case.buildrun();
    let name = namespace.start(&namespace.render(&case.text()));
    let (pod, status) = loop {
        let seen =
            namespace.wait_for(&name, "judged", |pod| judge(&buildrun, pod).next != Next::Wait);
        let verdict = judge(&buildrun, &seen);
        buildrun.status = Some(verdict.status.clone());
        match verdict.next {
            // Time has passed between two looks at the clock.
            Next::Wait => {}
            Next::Finished => break (seen, verdict.status),
            Next::EndPod | Next::DeletePod => {
                ask_to_end(namespace, &name);
                let ended = namespace.wait_for(&name, "ended from outside", |pod| {
                    matches!(phase(pod), "Succeeded" | "Failed")
                });
                break (ended, verdict.status);
            }
            Next::Again(left) => {
                let ends = |pod: &Pod| !matches!(judge(&buildrun, pod).next, Next::Again(_));
                let left = Duration::try_from(left).unwrap_or_default();
                namespace.watch(&name, left, ends);
            }
        }
    };
    report(&status, &pod, |container| {
        // A container that never started has no log, nor has one that kubelet has removed already.
        let output = namespace.try_kubectl(&["logs", &name, "--container", container]);
        let gone = "unable to retrieve container logs for ";
        let log = String::from_utf8_lossy(&output.stdout);
        log.lines().filter(|line| !line.starts_with(gone)).map(String::from).collect()
    })
}

fn judge(buildrun: &BuildRun, pod: &Pod) -> Verdict {
    let timeout = pod.spec.as_ref().unwrap().active_deadline_seconds.unwrap_or_default();
    let seen = Seen {
        buildrun,
        timeout: Nanoseconds(timeout * 1_000_000_000),
        pod_name: pod.metadata.name.as_deref().unwrap(),
        pod: Some(pod),
    };
    observe(&seen, Timestamp::now())
}

/// What `slipway run` makes of the same documents.
fn of_engine(case: &Case) -> Report {
    let engine = variable("SLIPWAY_ENGINE");
    let mut slipway = Command::new(env!("CARGO_BIN_EXE_slipway"));
    slipway.args(["run", "-f", "-", "-o", "json", "--engine", &engine]);
    slipway.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = slipway.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(case.text().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ended: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {said}", output.status));
    let pod: Pod = serde_json::from_value(ended["pod"].clone()).unwrap();
    let status: BuildRunStatus =
        serde_json::from_value(ended["buildrun"]["status"].clone()).unwrap();
    report(&status, &pod, |container| {
        let name = container.strip_prefix("step-").unwrap_or(container);
        let prefix = format!("[{name}]");
        said.lines().filter_map(|line| line.strip_prefix(&prefix)).map(String::from).collect()
    })
}
