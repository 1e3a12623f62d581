//! The status of a pod, as its kubelet would report it.
//!
//! Invariant: the status follows from the containers' states alone, so that `observe` judges it as it judges a cluster's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, HostIP, LinuxContainerUser, Pod, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::pod_fields::containers;
use crate::api::{BuildRun, Nanoseconds};
use crate::plan::{Seen, Verdict, observe};

/// What a container does.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Nothing yet.
    Waiting {
        reason: &'static str,
        message: Option<String>,
    },
    Running {
        since: Timestamp,
    },
    Ended(Ended),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub exit_code: i32,
    pub out_of_memory: bool,
    /// What it left in its termination log.
    pub message: Option<String>,
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
}

/// All containers of a pod and what becomes of them.
#[derive(Debug)]
pub struct PodState {
    pod: Pod,
    states: BTreeMap<String, State>,
    /// The user of each container, and the identity of its image.
    known: BTreeMap<String, (Option<LinuxContainerUser>, String)>,
    /// Why the pod was ended as a whole, in the kubelet's words.
    ended: Option<(&'static str, String)>,
}

/// The kubelet's words for a pod that took too long, and for one that shall end.
pub const DEADLINE: (&str, &str) =
    ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
/// The kubelet's word for a container that waits for the init containers.
pub const POD_INITIALIZING: &str = "PodInitializing";

impl PodState {
    pub fn new(mut pod: Pod, started: Timestamp) -> Self {
        pod.metadata.creation_timestamp = Some(Time(started));
        if let Some(spec) = &mut pod.spec {
            // Accepted by a node: whatever has to be ended is ended here.
            spec.node_name = Some("localhost".into());
        }
        pod.status = Some(PodStatus { start_time: Some(Time(started)), ..PodStatus::default() });
        Self { pod, states: BTreeMap::new(), known: BTreeMap::new(), ended: None }
    }

    pub fn set(&mut self, container: &str, state: State) {
        self.states.insert(container.to_owned(), state);
    }

    pub fn know(&mut self, container: &str, user: Option<LinuxContainerUser>, image: &str) {
        self.known.insert(container.to_owned(), (user, image.to_owned()));
    }

    pub fn address(&mut self, ip: &str) {
        if let Some(status) = &mut self.pod.status {
            status.pod_ip = Some(ip.to_owned());
            status.pod_ips = Some(vec![PodIP { ip: ip.to_owned() }]);
            status.host_ip = Some(ip.to_owned());
            status.host_ips = Some(vec![HostIP { ip: ip.to_owned() }]);
        }
    }

    /// The first reason stays.
    pub fn end(&mut self, reason: &'static str, message: impl Into<String>) {
        self.ended.get_or_insert_with(|| (reason, message.into()));
    }

    /// It is being ended as a whole.
    pub fn is_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Containers that are still there to be ended.
    pub fn running(&self) -> Vec<String> {
        let running = |(name, state): (&String, &State)| {
            matches!(state, State::Running { .. }).then(|| name.clone())
        };
        self.states.iter().filter_map(running).collect()
    }

    /// The pod with the status that follows.
    pub fn pod(&self) -> Pod {
        let mut pod = self.pod.clone();
        let Some(spec) = &pod.spec else { return pod };
        let statuses = |names: &mut dyn Iterator<Item = &String>| -> Vec<ContainerStatus> {
            names.map(|name| self.status(name)).collect()
        };
        let init = statuses(&mut spec.init_containers.iter().flatten().map(|c| &c.name));
        let steps = statuses(&mut spec.containers.iter().map(|c| &c.name));
        if let Some(status) = &mut pod.status {
            status.phase = Some(self.phase(&init, &steps).into());
            status.init_container_statuses = Some(init);
            status.container_statuses = Some(steps);
            if let Some((reason, message)) = &self.ended
                && status.phase.as_deref() == Some("Failed")
            {
                status.reason = Some((*reason).to_owned());
                status.message = Some(message.clone());
            }
        }
        pod
    }

    /// What the pod comes to, with the run's status as it is now.
    pub fn judge(&self, buildrun: &mut BuildRun, timeout: Nanoseconds) -> (Verdict, Pod) {
        let pod = self.pod();
        let pod_name = pod.metadata.name.clone().unwrap_or_default();
        let seen = Seen { buildrun, timeout, pod_name: &pod_name, pod: Some(&pod) };
        let verdict = observe(&seen, Timestamp::now());
        buildrun.status = Some(verdict.status.clone());
        (verdict, pod)
    }

    fn phase(&self, init: &[ContainerStatus], steps: &[ContainerStatus]) -> &'static str {
        let ended = |status: &ContainerStatus| {
            status.state.as_ref().and_then(|state| state.terminated.as_ref()).map(|t| t.exit_code)
        };
        let is_waiting = |status: &ContainerStatus| {
            status.state.as_ref().is_none_or(|state| state.waiting.is_some())
        };
        if init.iter().filter_map(ended).any(|code| code != 0) {
            return "Failed";
        }
        let anything_runs = !self.running().is_empty();
        match steps.iter().map(ended).collect::<Option<Vec<_>>>() {
            // The kubelet calls a pod that it ended a failed one, whatever its containers said.
            Some(_) if self.ended.is_some() => "Failed",
            Some(codes) if codes.iter().all(|code| *code == 0) => "Succeeded",
            Some(_) => "Failed",
            None if self.ended.is_some() && !anything_runs => "Failed",
            None if steps.iter().any(is_waiting) => "Pending",
            None => "Running",
        }
    }

    fn status(&self, name: &str) -> ContainerStatus {
        let known = self.known.get(name);
        let user = known.and_then(|(user, _)| user.clone());
        let image = containers(&self.pod)
            .find(|container| container.name == name)
            .and_then(|container| container.image.clone());
        let state = self.states.get(name);
        ContainerStatus {
            name: name.to_owned(),
            image: image.unwrap_or_default(),
            image_id: known.map(|(_, image)| image.clone()).unwrap_or_default(),
            ready: matches!(state, Some(State::Running { .. })),
            started: Some(matches!(state, Some(State::Running { .. }))),
            state: Some(container_state(state)),
            user: user.map(|linux| ContainerUser { linux: Some(linux) }),
            ..ContainerStatus::default()
        }
    }
}

fn container_state(state: Option<&State>) -> ContainerState {
    let mut found = ContainerState::default();
    match state {
        None => {
            found.waiting = Some(ContainerStateWaiting {
                reason: Some(POD_INITIALIZING.into()),
                message: None,
            });
        }
        Some(State::Waiting { reason, message }) => {
            found.waiting = Some(ContainerStateWaiting {
                reason: Some((*reason).to_owned()),
                message: message.clone(),
            });
        }
        Some(State::Running { since }) => {
            found.running = Some(ContainerStateRunning { started_at: Some(Time(*since)) });
        }
        Some(State::Ended(ended)) => {
            let reason = match ended.exit_code {
                0 => "Completed",
                _ => "Error",
            };
            found.terminated = Some(ContainerStateTerminated {
                exit_code: ended.exit_code,
                reason: Some(if ended.out_of_memory { "OOMKilled" } else { reason }.into()),
                message: ended.message.clone(),
                started_at: ended.started.map(Time),
                finished_at: Some(Time(ended.finished)),
                ..ContainerStateTerminated::default()
            });
        }
    }
    found
}
