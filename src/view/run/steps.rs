//! How each step of a pod stands: from the pod's status to one row a step.
//!
//! Invariant: a step's turn comes when all before it have ended well; what ended otherwise without its turn was skipped.
//!
//! All containers start together and each gate waits for its turn. `startedAt` is therefore when the waiting began; the turn is the
//! `finishedAt` of the step before.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{step_name, units};
use crate::view::one_line;

/// Bytes of an image that are here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pull {
    /// So far.
    pub done: u64,
    /// In all; 0 while nobody knows.
    pub total: u64,
}

/// Images that are on their way, by name.
pub type Pulls = BTreeMap<String, Pull>;

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is not its turn, or it has not started. The reason is the engine's, where it tells one that matters.
    Waiting {
        /// Such as `ErrImagePull`.
        reason: Option<String>,
    },
    /// Its image is on its way.
    Pulling(Pull),
    /// It is its turn.
    Running,
    /// It ended well.
    Done,
    /// It ended otherwise.
    Failed {
        /// With this code.
        exit_code: i32,
    },
    /// The kernel ended it.
    OutOfMemory,
    /// One before it did not end well.
    Skipped,
}

/// One step, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// Name of the step.
    pub name: String,
    /// Whom it runs as: `uid:gid`, with `image's` for what only the image knows.
    pub identity: String,
    /// How it stands.
    pub standing: Standing,
    /// From the start of the pod to its turn.
    pub waited: Option<SignedDuration>,
    /// From its turn to its end, or to now.
    pub ran: Option<SignedDuration>,
}

impl Standing {
    /// Whether nothing comes after it.
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Pulling(_) | Self::Running)
    }
}

/// The steps of a pod in their order.
pub fn steps(pod: &Pod, pulls: &Pulls, now: Timestamp) -> Vec<StepRow> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    let pod_start = pod
        .status
        .as_ref()
        .and_then(|status| time(status.start_time.as_ref()))
        .or_else(|| time(pod.metadata.creation_timestamp.as_ref()));
    let mut before = Before::AllDone(None);
    let mut rows = Vec::new();
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        let status =
            statuses.unwrap_or_default().iter().find(|status| status.name == container.name);
        let seen = Seen::of(status);
        let standing = seen.standing(&before, pulls.get(container.image.as_deref().unwrap_or("")));
        let turn = seen.turn(&before, &standing);
        let end = match standing {
            Standing::Running => Some(now),
            _ => seen.finished,
        };
        let between = |from: Option<Timestamp>, to: Option<Timestamp>| {
            Some(to?.duration_since(from?).max(SignedDuration::ZERO))
        };
        rows.push(StepRow {
            name: step_name(&container.name).to_owned(),
            identity: identity(pod, container, status),
            waited: between(pod_start, turn),
            ran: between(turn, end),
            standing: standing.clone(),
        });
        before = before.and(&standing, seen.finished);
    }
    rows
}

/// Images that are on their way for something else than a step, as rows of their own.
pub fn other_pulls(pod: &Pod, pulls: &Pulls) -> Vec<StepRow> {
    let of_steps = |image: &str| {
        let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        containers.any(|container| container.image.as_deref() == Some(image))
    };
    let others = pulls.iter().filter(|(image, _)| !of_steps(image));
    others
        .map(|(image, pull)| StepRow {
            name: image.clone(),
            identity: String::new(),
            standing: Standing::Pulling(*pull),
            waited: None,
            ran: None,
        })
        .collect()
}

/// Exit code of a gate whose turn does not come.
const SKIPPED: i32 = 1;

/// What the steps before one came to.
#[derive(Clone, Copy)]
enum Before {
    /// All ended well, the last at this time.
    AllDone(Option<Timestamp>),
    /// One has not ended yet.
    GoesOn,
    /// One did not end well, at this time.
    Failed(Option<Timestamp>),
}

impl Before {
    fn and(self, standing: &Standing, finished: Option<Timestamp>) -> Self {
        match (self, standing) {
            (Self::Failed(_), _) => self,
            (Self::AllDone(last), Standing::Done) => Self::AllDone(last.max(finished)),
            (_, Standing::Failed { .. } | Standing::OutOfMemory) => Self::Failed(finished),
            _ => Self::GoesOn,
        }
    }
}

/// What the status says of one container.
#[derive(Default)]
struct Seen<'a> {
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    exit_code: Option<i32>,
    out_of_memory: bool,
    waiting: Option<&'a str>,
}

impl<'a> Seen<'a> {
    fn of(status: Option<&'a ContainerStatus>) -> Self {
        let Some(state) = status.and_then(|status| status.state.as_ref()) else {
            return Self::default();
        };
        if let Some(ended) = &state.terminated {
            return Self {
                started: time(ended.started_at.as_ref()),
                finished: time(ended.finished_at.as_ref()),
                exit_code: Some(ended.exit_code),
                out_of_memory: ended.reason.as_deref() == Some("OOMKilled"),
                waiting: None,
            };
        }
        if let Some(running) = &state.running {
            return Self { started: time(running.started_at.as_ref()), ..Self::default() };
        }
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        Self { waiting, ..Self::default() }
    }

    fn standing(&self, before: &Before, pull: Option<&Pull>) -> Standing {
        // A gate whose turn does not come ends with 1, maybe before the end of the step that it waited for is known here. With
        // another code, whose end came first failed by itself; times may be whole seconds.
        let skipped = match before {
            Before::AllDone(_) => false,
            Before::Failed(at) => self.exit_code == Some(SKIPPED) || self.finished >= *at,
            Before::GoesOn => self.exit_code == Some(SKIPPED),
        };
        match self.exit_code {
            Some(0) => Standing::Done,
            Some(_) if skipped => Standing::Skipped,
            Some(_) if self.out_of_memory => Standing::OutOfMemory,
            Some(exit_code) => Standing::Failed { exit_code },
            None if self.started.is_some() && matches!(before, Before::AllDone(_)) => {
                Standing::Running
            }
            None => match (self.waiting_reason(), pull) {
                (None, Some(pull)) if self.started.is_none() => Standing::Pulling(*pull),
                (reason, _) => Standing::Waiting { reason: reason.map(one_line) },
            },
        }
    }

    /// Reasons that are part of every start say nothing.
    fn waiting_reason(&self) -> Option<&'a str> {
        self.waiting.filter(|reason| !["", "ContainerCreating", "PodInitializing"].contains(reason))
    }

    fn turn(&self, before: &Before, standing: &Standing) -> Option<Timestamp> {
        match (before, standing) {
            (_, Standing::Skipped | Standing::Waiting { .. } | Standing::Pulling(_)) => None,
            (Before::AllDone(last), _) => self.started.max(*last),
            _ => self.started,
        }
    }
}

/// A time that means one: kubelet writes the year 1970 for what it does not know.
fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0).filter(|time| time.as_second() > 0)
}

/// As the engine saw it, else as the pod says.
fn identity(pod: &Pod, container: &Container, status: Option<&ContainerStatus>) -> String {
    let seen = status.and_then(|status| status.user.as_ref()?.linux.as_ref());
    if let Some(seen) = seen {
        return format!("{}:{}", seen.uid, seen.gid);
    }
    let of_container = container.security_context.as_ref();
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let uid = of_container
        .and_then(|context| context.run_as_user)
        .or(of_pod.and_then(|context| context.run_as_user));
    let gid = of_container
        .and_then(|context| context.run_as_group)
        .or(of_pod.and_then(|context| context.run_as_group));
    let show = |id: Option<i64>| id.map_or_else(|| IMAGE.to_owned(), |id| id.to_string());
    if uid.is_none() && gid.is_none() {
        return IMAGE.into();
    }
    format!("{}:{}", show(uid), show(gid))
}

const IMAGE: &str = "image's";

/// What to say where no live line shows it: that a step's turn came, and how it ended.
pub fn announcements(before: &Standing, row: &StepRow) -> Vec<String> {
    let started = |standing: &Standing| *standing == Standing::Running || standing.is_over();
    if *before == row.standing || !started(&row.standing) {
        return Vec::new();
    }
    let name = one_line(&row.name);
    let mut lines = Vec::new();
    if !started(before) && row.standing != Standing::Skipped {
        lines.push(format!("{name}: started"));
    }
    let ran = row.ran.map(units::duration);
    let after = ran.as_ref().map(|ran| format!(" after {ran}")).unwrap_or_default();
    lines.extend(match &row.standing {
        Standing::Done => Some(match ran {
            Some(ran) => format!("{name}: done in {ran}"),
            None => format!("{name}: done"),
        }),
        Standing::Failed { exit_code } => Some(format!("{name}: failed, exit {exit_code}{after}")),
        Standing::OutOfMemory => Some(format!("{name}: out of memory{after}")),
        Standing::Skipped => Some(format!("{name}: skipped")),
        Standing::Waiting { .. } | Standing::Pulling(_) | Standing::Running => None,
    });
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> String {
        (START.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)).to_string()
    }

    const START: &str = "2026-01-02T03:04:00Z";

    fn ended(code: i32, start: i64, end: i64) -> Value {
        json!({ "terminated": { "exitCode": code, "startedAt": at(start), "finishedAt": at(end) } })
    }

    fn running(start: i64) -> Value {
        json!({ "running": { "startedAt": at(start) } })
    }

    fn waiting(reason: &str) -> Value {
        json!({ "waiting": { "reason": reason } })
    }

    fn rows(states: &[Value], pulls: &Pulls) -> Vec<StepRow> {
        let name = |at: usize| format!("step-s{at}");
        let container = |at: usize| json!({ "name": name(at), "image": format!("image-{at}") });
        let told = |(at, state): (usize, &Value)| json!({ "name": name(at), "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
        let pod = json!({
            "metadata": { "creationTimestamp": START },
            "spec": { "containers": (0..states.len()).map(container).collect::<Vec<_>>() },
            "status": { "containerStatuses": states.iter().enumerate().map(told).collect::<Vec<_>>() },
        });
        let now = at(100).parse().unwrap();
        steps(&serde_json::from_value(pod).unwrap(), pulls, now)
    }

    /// State, seconds waited and seconds run of each step.
    fn short(states: &[Value]) -> Vec<(Standing, Option<i64>, Option<i64>)> {
        let seconds = |time: Option<SignedDuration>| time.map(|time| time.as_secs());
        let rows = rows(states, &Pulls::new()).into_iter();
        rows.map(|row| (row.standing, seconds(row.waited), seconds(row.ran))).collect()
    }

    fn failed(exit_code: i32) -> Standing {
        Standing::Failed { exit_code }
    }

    const WAITING: Standing = Standing::Waiting { reason: None };

    #[test]
    fn a_turn_comes_when_the_step_before_ends() {
        assert_eq!(
            short(&[ended(0, 2, 5), ended(0, 3, 9), running(3), running(3)]),
            [
                (Standing::Done, Some(2), Some(3)),
                (Standing::Done, Some(5), Some(4)),
                (Standing::Running, Some(9), Some(91)),
                (WAITING, None, None),
            ]
        );
        // One that started late had its turn at once.
        assert_eq!(short(&[ended(0, 2, 5), ended(0, 8, 9)])[1], (Standing::Done, Some(8), Some(1)));
    }

    #[test]
    fn what_comes_after_a_failure_is_skipped() {
        let skipped = (Standing::Skipped, None, None);
        assert_eq!(
            short(&[ended(0, 2, 5), ended(3, 2, 9), ended(1, 2, 9), ended(143, 2, 12), running(2)]),
            [
                (Standing::Done, Some(2), Some(3)),
                (failed(3), Some(5), Some(4)),
                skipped.clone(),
                skipped,
                (WAITING, None, None),
            ]
        );
    }

    #[test]
    fn what_ends_before_its_turn_failed_by_itself() {
        let states = short(&[running(2), ended(127, 3, 4), ended(1, 2, 5)]);
        let kinds: Vec<_> = states.into_iter().map(|(standing, ..)| standing).collect();
        assert_eq!(kinds, [Standing::Running, failed(127), Standing::Skipped]);
        let states = short(&[ended(143, 2, 9), ended(127, 3, 4)]);
        assert_eq!(states[1], (failed(127), Some(3), Some(1)));
    }

    #[test]
    fn the_kernel_ends_a_step_only_where_it_fails() {
        let killed = |code: i32| json!({ "terminated": { "exitCode": code, "reason": "OOMKilled", "finishedAt": at(5) } });
        assert_eq!(short(&[killed(137)])[0].0, Standing::OutOfMemory);
        assert_eq!(short(&[killed(0)])[0].0, Standing::Done);
    }

    #[test]
    fn the_year_1970_is_no_time() {
        let never = json!({ "terminated": { "exitCode": 128, "startedAt": "1970-01-01T00:00:00Z", "finishedAt": at(5) } });
        assert_eq!(short(&[never]), [(failed(128), None, None)]);
    }

    #[test]
    fn an_image_on_its_way_is_shown_until_the_step_starts_or_the_engine_gives_up() {
        let pull = Pull { done: 1, total: 2 };
        let pulls: Pulls = (0..4).map(|at| (format!("image-{at}"), pull)).collect();
        let states =
            [waiting("ContainerCreating"), waiting("ErrImagePull"), running(1), Value::Null];
        let rows = rows(&states, &pulls);
        let standings: Vec<_> = rows.into_iter().map(|row| row.standing).collect();
        let gave_up = Standing::Waiting { reason: Some("ErrImagePull".into()) };
        assert_eq!(standings, [Standing::Pulling(pull), gave_up, WAITING, Standing::Pulling(pull)]);
    }

    #[test]
    fn images_for_no_step_have_rows_of_their_own() {
        let pod = json!({ "spec": { "containers": [{ "name": "step-a", "image": "a" }] } });
        let pulls: Pulls = ["a", "b"].map(|name| (name.into(), Pull::default())).into();
        let rows = other_pulls(&serde_json::from_value(pod).unwrap(), &pulls);
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn identities_are_what_the_pod_says() {
        for (context, of_pod, identity) in [
            (json!({ "runAsUser": 1001, "runAsGroup": 1000 }), Value::Null, "1001:1000"),
            (json!({ "runAsUser": 0 }), Value::Null, "0:image's"),
            (json!({ "runAsUser": 0 }), json!({ "runAsUser": 5, "runAsGroup": 6 }), "0:6"),
            (json!({ "runAsGroup": 7 }), Value::Null, "image's:7"),
            (Value::Null, Value::Null, "image's"),
        ] {
            let pod = json!({ "spec": {
                "containers": [{ "name": "step-a", "securityContext": context }],
                "securityContext": of_pod,
            } });
            let pod = serde_json::from_value(pod).unwrap();
            let rows = steps(&pod, &Pulls::new(), START.parse().unwrap());
            assert_eq!(rows[0].identity, identity);
        }
        let seen = json!({
            "spec": { "containers": [{ "name": "step-a", "securityContext": { "runAsUser": 5 } }] },
            "status": { "containerStatuses": [{ "name": "step-a", "image": "", "imageID": "", "ready": true, "restartCount": 0, "user": { "linux": { "uid": 5, "gid": 6 } } }] },
        });
        let seen = serde_json::from_value(seen).unwrap();
        assert_eq!(steps(&seen, &Pulls::new(), START.parse().unwrap())[0].identity, "5:6");
    }

    #[test]
    fn every_start_and_every_end_is_announced_once() {
        let row = |standing: &Standing| StepRow {
            name: "build".into(),
            identity: String::new(),
            standing: standing.clone(),
            waited: None,
            ran: Some(SignedDuration::from_millis(3200)),
        };
        let pulling = Standing::Pulling(Pull::default());
        for (before, after, lines) in [
            (&WAITING, &pulling, &[][..]),
            (&pulling, &Standing::Running, &["build: started"]),
            (&Standing::Running, &Standing::Running, &[]),
            (&Standing::Running, &Standing::Done, &["build: done in 3.2 s"]),
            (&Standing::Running, &failed(3), &["build: failed, exit 3 after 3.2 s"]),
            (&Standing::Running, &Standing::OutOfMemory, &["build: out of memory after 3.2 s"]),
            (&WAITING, &Standing::Done, &["build: started", "build: done in 3.2 s"]),
            (&WAITING, &Standing::Skipped, &["build: skipped"]),
            (&Standing::Done, &Standing::Done, &[]),
        ] {
            assert_eq!(announcements(before, &row(after)), lines, "{before:?} {after:?}");
        }
    }
}
