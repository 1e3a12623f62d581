//! How long a build's pod takes to start, beside the smallest pod there is.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::harness::Namespace;
use super::steps::{STEP, run_of, step};

/// How much longer a pod of five steps may take than one of one container, when neither has work to do: ten times the aim, because
/// a busy machine is no fault of the pod. `hack/bench start` is for the figure.
const MOST: Duration = Duration::from_secs(15);

/// How often something is measured: `hack/bench` measures more often than a test does.
pub fn rounds(of_a_test: usize) -> usize {
    match std::env::var("SLIPWAY_BENCH_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("SLIPWAY_BENCH_ROUNDS is a number"),
        Err(_) => of_a_test,
    }
}

/// Shows figures also where a test's own output is kept back.
pub fn show(figures: &str) {
    std::io::stdout().write_all(figures.as_bytes()).unwrap();
}

/// From the request to the last step's program, and to the pod's end as a watch shows it.
struct Times {
    started: Duration,
    ended: Duration,
}

#[test]
fn five_steps_start_nearly_as_fast_as_one_container() {
    let namespace = Namespace::alone("start");
    let clock = ["date", "+%s%N"];
    let names = ["one", "two", "three", "four", "five"];
    let five = namespace.render(&run_of(&names.map(|name| step(name, STEP, &clock))));
    let bare: Pod = serde_json::from_value(json!({
        "metadata": { "name": "bare" },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{ "name": "only", "image": STEP, "command": clock }],
        },
    }))
    .unwrap();
    // In turns, so that both meet the same load; the first turn warms up what both use.
    let mut turns: Vec<_> = (0..=rounds(5))
        .map(|turn| {
            [run(&namespace, &bare, turn, "only"), run(&namespace, &five, turn, "step-five")]
        })
        .collect();
    turns.remove(0);
    let mut figures = String::from(
        "\n| from the request | bare pod | five steps | |\n| --- | ---: | ---: | ---: |\n",
    );
    let mut compare = |what: &str, of: fn(&Times) -> Duration| {
        let one = median(turns.iter().map(|[bare, _]| of(bare)));
        let all = median(turns.iter().map(|[_, five]| of(five)));
        let more = all.saturating_sub(one);
        let [one_seconds, all_seconds, more_seconds] =
            [one, all, more].map(|time| format!("{:.2} s", time.as_secs_f64()));
        let count = turns.len();
        writeln!(
            figures,
            "| {what}, median of {count} | {one_seconds} | {all_seconds} | +{more_seconds} |"
        )
        .unwrap();
        more
    };
    compare("to the last program", |times| times.started);
    let more = compare("to the pod's end", |times| times.ended);
    show(&figures);
    assert!(more <= MOST, "{more:?}");
}

pub fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    let middle = times.len() / 2;
    if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2 }
}

#[test]
fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
    let of = |seconds: &[u64]| median(seconds.iter().copied().map(Duration::from_secs));
    assert_eq!(of(&[5, 1, 3]), Duration::from_secs(3));
    assert_eq!(of(&[1, 4]), Duration::from_millis(2500));
    assert_eq!(of(&[9, 1, 4, 2]), Duration::from_secs(3));
}

/// Runs the pod, whose last container prints the time, under a name of its own.
fn run(namespace: &Namespace, pod: &Pod, turn: usize, last: &str) -> Times {
    let mut pod = pod.clone();
    pod.metadata.name = pod.metadata.name.map(|name| format!("{name}-{turn}"));
    let asked = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ended = namespace.run_pod(&pod).expect_success();
    let seen = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let printed = Duration::from_nanos(ended.log(last).trim_end().parse().unwrap());
    Times { started: printed.checked_sub(asked).unwrap(), ended: seen.checked_sub(asked).unwrap() }
}
