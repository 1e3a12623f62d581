//! Plays the kubelet for one pod.
//!
//! Invariant: whatever the engine says becomes a pod's status first; what it means is for `plan::observe` to say.
//! Invariant: every container that was started has ended when this ends.

mod containers;
mod scene;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};

use scene::Scene;

use super::attend::Output;
use super::container::Given;
use super::contents::Contents;
use super::engine::Engine;
use super::error::LocalError;
use super::happening::Happening;
use super::images::{ImageFacts, ImageUsers};
use super::lease::Lease;
use super::pod_fields::containers;
use super::pod_state::{DEADLINE, PodState, State};
use super::upload;
use crate::api::{BuildRun, BuildRunSpec, Nanoseconds};
use crate::plan::Verdict;

/// A pod and everything that it needs.
#[derive(Debug)]
pub struct Play {
    /// The pod.
    pub pod: Pod,
    /// Its run.
    pub buildrun: BuildRun,
    /// How long it may take; 0 for ever.
    pub timeout: Nanoseconds,
    /// When it began: images count.
    pub started: Timestamp,
    /// What Secrets and ConfigMaps hold.
    pub contents: Contents,
    /// The images of its containers, by name.
    pub images: BTreeMap<String, ImageFacts>,
    /// The directory that the source is taken from, where it is an upload.
    pub source: Option<PathBuf>,
    /// Path in image-processing's container of the image that goes into the engine once the run has succeeded.
    pub load: Option<String>,
    /// The engine's network.
    pub network: Option<String>,
}

/// How much the user wants an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    No,
    /// Steps may clean up first.
    Asked,
    /// At once.
    Now,
}

/// What came of it.
#[derive(Debug)]
pub struct Played {
    /// The run's status.
    pub verdict: Verdict,
    /// The pod as it was last.
    pub pod: Pod,
}

/// Bytes of log lines that may wait to be shown.
const BACKLOG: usize = 8 << 20;
/// Longer than any run.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// Runs the pod to its end. Everything that is made stays, under the lease.
pub async fn play(
    engine: &Engine,
    lease: &Lease,
    play: Play,
    tell: &UnboundedSender<Happening>,
    stop: watch::Receiver<Stop>,
) -> Result<Played, LocalError> {
    let state = PodState::new(play.pod.clone(), play.started);
    let mut performance = Stage {
        engine,
        lease,
        play,
        tell,
        stop,
        state,
        ids: BTreeMap::new(),
        outputs: BTreeMap::new(),
        room: Arc::new(Semaphore::new(BACKLOG)),
        limits: true,
    };
    performance.run().await
}

struct Stage<'a> {
    engine: &'a Engine,
    lease: &'a Lease,
    play: Play,
    tell: &'a UnboundedSender<Happening>,
    stop: watch::Receiver<Stop>,
    state: PodState,
    /// The engine's names of the containers.
    ids: BTreeMap<String, String>,
    /// The engine can limit what containers use.
    limits: bool,
    /// What those print that were made and are not attended to yet.
    outputs: BTreeMap<String, Output>,
    /// For what they print and nobody has shown yet.
    room: Arc<Semaphore>,
}

impl Stage<'_> {
    async fn run(&mut self) -> Result<Played, LocalError> {
        let stop = self.stop.clone();
        let left = time_left(&self.play.pod, self.play.started);
        let early = ended_early(stop.clone(), left);
        tokio::pin!(early);
        let scene = match to_its_end(Box::pin(self.set_up()), &mut early, stop.clone()).await {
            Ok(set_up) => match set_up? {
                Some(scene) => scene,
                None => return Ok(self.finished()),
            },
            Err(by_user) => return self.given_up(by_user).await,
        };
        scene.check_ids()?;
        let init = self.play.pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let init = init.count();
        let (first, steps) = scene.ready.split_at(init);
        for containers in first.chunks(1).chain([steps]) {
            let starting = Box::pin(self.start(containers, &scene));
            match to_its_end(starting, &mut early, stop.clone()).await {
                Ok(Ok(true)) => self.until_all_ended(&scene).await?,
                Ok(Ok(false)) => return Ok(self.finished()),
                Ok(Err(error)) => return Err(error),
                Err(by_user) => return self.given_up(by_user).await,
            }
            self.verdict();
            if self.play.buildrun.is_done() {
                break;
            }
        }
        let played = self.finished();
        if let Some(path) = self.play.load.clone()
            && played.verdict.status.has_succeeded()
        {
            let archive = scene.saved_image(&path).unwrap_or(path);
            upload::load(self.engine, &scene.sandbox, &archive).await?;
        }
        Ok(played)
    }

    /// The pod is ended before all of it was there.
    async fn given_up(&mut self, by_user: bool) -> Result<Played, LocalError> {
        if by_user {
            self.cancel();
        } else {
            self.state.end(DEADLINE.0, DEADLINE.1);
        }
        self.end_running().await?;
        Ok(self.finished())
    }

    fn note(&self, text: String) {
        self.say(Happening::Note(text));
    }

    fn say(&self, happening: Happening) {
        // Nobody listens any more once the run has ended.
        drop(self.tell.send(happening));
    }

    fn containers(&self) -> Vec<Container> {
        containers(&self.play.pod).cloned().collect()
    }

    fn image(&self, container: &Container) -> &ImageFacts {
        // The caller brings an image for every container.
        &self.play.images[container.image.as_deref().unwrap_or_default()]
    }

    fn given<T>(
        &self,
        container: &Container,
        users: &BTreeMap<String, ImageUsers>,
        labels: &HashMap<String, String>,
        with: impl FnOnce(&Given<'_>) -> T,
    ) -> T {
        let nobody = ImageUsers::default();
        let image = container.image.as_deref().unwrap_or_default();
        with(&Given {
            engine: self.engine,
            pod: &self.state.pod(),
            contents: &self.play.contents,
            image: self.image(container),
            users: users.get(image).unwrap_or(&nobody),
            labels,
            limits: self.limits,
            network: self.play.network.as_deref(),
        })
    }

    /// A kubelet would try for ever; the verdict ends the run at once.
    fn cannot_configure(&mut self, container: Option<&str>, why: &str) -> Option<Scene> {
        let first = self.containers().into_iter().next().map(|container| container.name);
        let name = container.map(String::from).or(first).unwrap_or_default();
        let message = Some(why.to_owned());
        self.state.set(&name, State::Waiting { reason: "CreateContainerConfigError", message });
        self.note(format!("{name}: {why}"));
        None
    }

    /// The user has enough.
    fn cancel(&mut self) {
        self.play.buildrun.spec.state = Some(BuildRunSpec::CANCELED.into());
        self.state.end(DEADLINE.0, DEADLINE.1);
    }

    /// Judges the pod as it is, and keeps the status for the next time.
    fn verdict(&mut self) -> Verdict {
        let (verdict, pod) = self.state.judge(&mut self.play.buildrun, self.play.timeout);
        self.say(Happening::Pod(Box::new(pod)));
        verdict
    }

    fn finished(&mut self) -> Played {
        Played { verdict: self.verdict(), pod: self.state.pod() }
    }
}

/// Does something to its end, unless the pod has to end before. Even then nothing is left half made that could not be found to be
/// removed, but where the user cannot wait.
async fn to_its_end<T>(
    mut doing: Pin<Box<impl Future<Output = T>>>,
    early: impl Future<Output = bool>,
    mut stop: watch::Receiver<Stop>,
) -> Result<T, bool> {
    let by_user = tokio::select! {
        done = &mut doing => return Ok(done),
        by_user = early => by_user,
    };
    tokio::select! {
        _ = &mut doing => {}
        _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
    }
    Err(by_user)
}

/// Comes back when a pod that is not all there yet has to end; true where the user wants it.
async fn ended_early(mut stop: watch::Receiver<Stop>, left: Duration) -> bool {
    tokio::select! {
        Ok(_) = stop.wait_for(|stop| *stop != Stop::No) => true,
        () = tokio::time::sleep(left) => false,
    }
}

/// What is left of the pod's time.
pub fn time_left(pod: &Pod, started: Timestamp) -> Duration {
    let seconds = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    let Some(seconds) = seconds else { return FOR_EVER };
    let left = SignedDuration::from_secs(seconds) - Timestamp::now().duration_since(started);
    Duration::try_from(left).unwrap_or_default()
}
