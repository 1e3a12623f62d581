//! All images of a pod, before anything is made of them.
//!
//! Invariant: an image that cannot be had becomes the status that a kubelet would report, and so the same verdict.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::engine::Engine;
use super::error::LocalError;
use super::happening::Happening;
use super::images::{ImageFacts, PullFailure, fetch};
use super::play::{Played, Stop, time_left};
use super::pod_fields::containers;
use super::pod_state::{DEADLINE, PodState, State};
use crate::api::{BuildRun, BuildRunSpec, Nanoseconds};

/// Images by the name that the pod has for them.
pub type Images = BTreeMap<String, ImageFacts>;

/// Brings all images here, or tells what became of the run without them.
pub async fn fetch_images(
    engine: &Engine,
    pod: &Pod,
    buildrun: &mut BuildRun,
    timeout: Nanoseconds,
    started: Timestamp,
    tell: &UnboundedSender<Happening>,
    mut stop: watch::Receiver<Stop>,
) -> Result<Result<Images, Played>, LocalError> {
    let mut state = PodState::new(pod.clone(), started);
    let say = |pod: Pod| {
        // Nobody listens any more once the run has ended.
        drop(tell.send(Happening::Pod(Box::new(pod))));
    };
    say(state.pod());
    tokio::select! {
        fetched = fetch_all(engine, pod, tell) => match fetched? {
            Ok(images) => return Ok(Ok(images)),
            Err((container, failure)) => state.set(&container, waiting(failure)),
        },
        Ok(()) = stop.changed() => {
            buildrun.spec.state = Some(BuildRunSpec::CANCELED.into());
            state.end(DEADLINE.0, DEADLINE.1);
        }
        () = tokio::time::sleep(time_left(pod, started)) => state.end(DEADLINE.0, DEADLINE.1),
    }
    let (verdict, pod) = state.judge(buildrun, timeout);
    say(pod.clone());
    Ok(Err(Played { verdict, pod }))
}

/// All images at once; the first of the pod's that cannot be had, with its container.
async fn fetch_all(
    engine: &Engine,
    pod: &Pod,
    tell: &UnboundedSender<Happening>,
) -> Result<Result<Images, (String, PullFailure)>, LocalError> {
    let mut wanted: Vec<(&str, Option<&str>, &str)> = Vec::new();
    for container in containers(pod) {
        let image = container.image.as_deref().unwrap_or_default();
        let policy = container.image_pull_policy.as_deref();
        if !wanted.iter().any(|known| (known.0, known.1) == (image, policy)) {
            wanted.push((image, policy, &container.name));
        }
    }
    let fetched = wanted.iter().map(async |(image, policy, container)| {
        Ok((*image, *container, fetch(engine, image, *policy, tell).await?))
    });
    let mut images = Images::new();
    for (image, container, fetched) in try_join_all(fetched).await? {
        match fetched {
            Ok(facts) => images.insert(image.to_owned(), facts),
            Err(failure) => return Ok(Err((container.to_owned(), failure))),
        };
    }
    Ok(Ok(images))
}

fn waiting(PullFailure { image, never, message }: PullFailure) -> State {
    let (reason, message) = if never {
        ("ErrImageNeverPull", message)
    } else {
        ("ImagePullBackOff", format!("Back-off pulling image \"{image}\": ErrImagePull: {message}"))
    };
    State::Waiting { reason, message: Some(message) }
}
