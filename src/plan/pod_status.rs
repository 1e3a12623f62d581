//! What a Pod says of its containers.
//!
//! Invariant: a step is a container that was made as one; what others put into the pod, such as a mesh's proxy, is none.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::layout::is_step;

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Init containers, then steps.
pub fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    let steps = containers.into_iter().flatten().filter(|status| is_step(&status.name));
    init.into_iter().flatten().chain(steps)
}

/// The init containers that have to end before a step starts, as far as something is known of them. Those that are restarted go on
/// beside the steps, and end with them in whatever way.
pub fn preparations(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let restarted: Vec<&str> = init
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let statuses = pod.status.iter().flat_map(|status| status.init_container_statuses.iter());
    statuses.flatten().filter(move |status| !restarted.contains(&status.name.as_str()))
}

/// The steps in the order of the pod's spec, with what is known of each.
pub fn steps(pod: &Pod) -> Vec<(&str, Option<&ContainerStatus>)> {
    containers(pod).filter(|(name, _)| is_step(name)).collect()
}

/// Every step has ended.
pub fn have_steps_ended(pod: &Pod) -> bool {
    let steps = steps(pod);
    !steps.is_empty() && steps.iter().all(|(_, status)| terminated(*status).is_some())
}

/// A container that is no step goes on, or has not begun.
pub fn have_others_to_end(pod: &Pod) -> bool {
    containers(pod).any(|(name, status)| !is_step(name) && terminated(status).is_none())
}

fn containers(pod: &Pod) -> impl Iterator<Item = (&str, Option<&ContainerStatus>)> {
    let status = pod.status.as_ref();
    let known = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.map(|container| {
        (container.name.as_str(), known.iter().find(|status| status.name == container.name))
    })
}

/// Whether a step runs or has run, and may have said something.
pub fn has_started(pod: &Pod) -> bool {
    phase(pod) == "Running"
        || steps(pod)
            .into_iter()
            .filter_map(|(_, status)| state(status?))
            .any(|state| state.running.is_some() || state.terminated.is_some())
}

pub fn state(status: &ContainerStatus) -> Option<&ContainerState> {
    status.state.as_ref()
}

pub fn waiting(status: &ContainerStatus) -> Option<&ContainerStateWaiting> {
    state(status)?.waiting.as_ref()
}

pub fn terminated(status: Option<&ContainerStatus>) -> Option<&ContainerStateTerminated> {
    state(status?)?.terminated.as_ref()
}

pub fn failed(status: Option<&ContainerStatus>) -> Option<&ContainerStateTerminated> {
    terminated(status).filter(|ended| ended.exit_code != 0)
}

pub fn failed_at(status: Option<&ContainerStatus>) -> Option<&Time> {
    failed(status)?.finished_at.as_ref()
}
