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

use super::units;

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

/// Name of a step, from that of its container.
pub fn step_name(container: &str) -> &str {
    container.strip_prefix("step-").unwrap_or(container)
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
            identity: identity(pod, container),
            waited: between(pod_start, turn),
            ran: between(turn, end).filter(|_| turn.is_some()),
            standing: standing.clone(),
        });
        before = before.and(&standing, seen.finished);
    }
    rows
}

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
        // Whose end came first failed by itself; times may be whole seconds.
        let skipped = matches!(before, Before::Failed(at) if self.finished >= *at);
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
                (reason, _) => Standing::Waiting { reason: reason.map(super::one_line) },
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

fn identity(pod: &Pod, container: &Container) -> String {
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
    let name = super::one_line(&row.name);
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
