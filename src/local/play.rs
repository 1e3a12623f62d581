//! Plays the kubelet for one pod.
//!
//! Invariant: whatever the engine says becomes a pod's status first; what it means is for `plan::observe` to say.
//! Invariant: every container that was started has ended when this ends.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use bollard::query_parameters::{
    KillContainerOptions, StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::attend::{self, Output};
use super::container::{self, Given, Ready, ids};
use super::contents::Contents;
use super::engine::Engine;
use super::error::{Asked as _, LocalError, is_absent, status_code, words};
use super::happening::Happening;
use super::images::{self, ImageFacts, ImageUsers};
use super::lease::{Lease, container_name};
use super::pod_state::{DEADLINE, PodState, State};
use super::pod_volumes::{self, MadeVolumes, PodVolumes};
use super::sandbox::{self, Sandbox};
use super::security::Flavour;
use super::upload;
use crate::api::{BuildRun, BuildRunSpec, Nanoseconds};
use crate::plan::{Next, SOURCE_VOLUME, Verdict, go_quote};

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

/// How long a step may take to end, as Kubernetes has it.
const GRACE: i32 = 30;
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
}

/// Everything that was made before a container was.
struct Scene {
    sandbox: Sandbox,
    volumes: PodVolumes,
    /// Volumes with a limit on disk, and the limit as it was written.
    limited: BTreeMap<String, String>,
    /// The first of them that has grown beyond it.
    over: watch::Receiver<Option<String>>,
    ready: Vec<Ready>,
    users: BTreeMap<String, ImageUsers>,
}

impl Stage<'_> {
    async fn run(&mut self) -> Result<Played, LocalError> {
        let early = ended_early(self.stop.clone(), time_left(&self.play.pod, self.play.started));
        tokio::pin!(early);
        let set_up = tokio::select! {
            set_up = self.set_up() => Ok(set_up?),
            by_user = &mut early => Err(by_user),
        };
        let scene = match set_up {
            Ok(Some(scene)) => scene,
            Ok(None) => return Ok(self.finished()),
            Err(by_user) => return Ok(self.given_up(by_user)),
        };
        self.check_ids(&scene)?;
        let init = self.play.pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let init = init.count();
        let (first, steps) = scene.ready.split_at(init);
        for containers in first.chunks(1).chain([steps]) {
            let started = tokio::select! {
                started = self.start(containers, &scene) => Ok(started?),
                by_user = &mut early => Err(by_user),
            };
            match started {
                Ok(true) => self.until_all_ended(&scene).await?,
                Ok(false) => return Ok(self.finished()),
                Err(by_user) => return Ok(self.given_up(by_user)),
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
            let archive = Self::saved_image(&scene, &path).unwrap_or(path);
            upload::load(self.engine, &scene.sandbox, &archive).await?;
        }
        Ok(played)
    }

    /// The pod is ended before all of it was there.
    fn given_up(&mut self, by_user: bool) -> Played {
        if by_user {
            self.cancel();
        } else {
            self.state.end(DEADLINE.0, DEADLINE.1);
        }
        self.finished()
    }

    /// Volumes, sandbox and what is in them; nothing where a kubelet could not make the pod.
    async fn set_up(&mut self) -> Result<Option<Scene>, LocalError> {
        let labels = self.lease.labels();
        let made = pod_volumes::make(
            self.engine,
            &self.play.pod,
            &self.play.contents,
            self.lease.id(),
            &labels,
        );
        let MadeVolumes { volumes, mut fillings, limited, left_out } = match made.await? {
            Ok(made) => made,
            Err(error) => return Ok(self.cannot_configure(None, &error.to_string())),
        };
        for what in left_out {
            self.note(format!("{what} is left out: only a cluster has it"));
        }
        let hostname = self.play.pod.metadata.name.clone().unwrap_or_default();
        let Some(first) = self.containers().into_iter().next() else { return Ok(None) };
        let (sandbox, output) = Sandbox::start(
            self.engine,
            self.lease,
            self.image(&first),
            volumes.for_sandbox(),
            &limited,
            &hostname,
            self.play.network.as_deref(),
        )
        .await?;
        self.state.address(sandbox.ip.as_deref().unwrap_or("127.0.0.1"));
        self.limits = self.can_limit(&sandbox);
        let Some((ready, users)) = self.resolve(&labels).await? else { return Ok(None) };
        for ready in &ready {
            fillings.extend(ready.fillings.iter().cloned());
            for (mount, sub_path) in &ready.mounts {
                let paths = sub_path.iter().flat_map(|path| volumes.sub_path(mount, path));
                fillings.extend(paths);
            }
        }
        sandbox.fill(self.engine, &fillings).await?;
        let (say, over) = watch::channel(None);
        if !limited.is_empty() {
            let tell = self.tell.clone();
            tokio::spawn(async move {
                match sandbox::overgrown(output).await {
                    Ok(Some(volume)) => drop(say.send(Some(volume))),
                    // It has ended, as it does when everything is removed.
                    Ok(None) => {}
                    Err(error) => {
                        let note = format!("nobody watches the sizes of volumes any more: {error}");
                        drop(tell.send(Happening::Note(note)));
                    }
                }
            });
        }
        Ok(Some(Scene {
            sandbox,
            volumes,
            limited: limited.into_iter().map(|limited| (limited.volume, limited.written)).collect(),
            over,
            ready,
            users,
        }))
    }

    /// Everything that a kubelet would find out of the containers before it makes them; nothing where it could not.
    async fn resolve(
        &mut self,
        labels: &HashMap<String, String>,
    ) -> Result<Option<(Vec<Ready>, BTreeMap<String, ImageUsers>)>, LocalError> {
        let mut users = BTreeMap::new();
        for (name, image) in &self.play.images {
            users.insert(name.clone(), images::users(self.engine, image, self.lease).await?);
        }
        let (mut ready, mut broken) = (Vec::new(), Vec::new());
        for container in self.containers() {
            let prepared = self
                .given(&container, &users, labels, |given| container::prepare(&container, given));
            match prepared {
                Ok(container) => ready.push(container),
                Err(error) => broken.push((container.name.clone(), error.to_string())),
            }
        }
        for (name, why) in &broken {
            self.cannot_configure(Some(name), why);
        }
        for ready in &ready {
            for capability in &ready.privileges.out_of_reach {
                self.note(format!(
                    "{}: capability {capability} is out of reach of a user who is not root in this engine",
                    ready.container.name
                ));
            }
            let image = self.image(&ready.container).id.clone();
            self.state.know(&ready.container.name, ready.identity.clone(), &image);
        }
        Ok(broken.is_empty().then_some((ready, users)))
    }

    /// Whether limits have an effect; who has set some is told where not.
    fn can_limit(&self, sandbox: &Sandbox) -> bool {
        let is_ordinary = match self.engine.flavour {
            Flavour::Docker => self.engine.rootless,
            Flavour::Podman => !sandbox.ids.is_everybody(),
        };
        let can = !(is_ordinary && self.engine.old_cgroups);
        if !can && self.containers().iter().any(has_limits) {
            self.note("limits of memory and processors have no effect: with version 1 of cgroups only root's engine can limit".into());
        }
        can
    }

    fn note(&self, text: String) {
        self.say(Happening::Note(text));
    }

    fn say(&self, happening: Happening) {
        // Nobody listens any more once the run has ended.
        drop(self.tell.send(happening));
    }

    fn containers(&self) -> Vec<Container> {
        let spec = self.play.pod.spec.iter();
        spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
            .cloned()
            .collect()
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

    /// An ordinary user's engine cannot give every id.
    fn check_ids(&self, scene: &Scene) -> Result<(), LocalError> {
        let range = scene.sandbox.ids;
        for ready in &scene.ready {
            let (uid, gid) = ids(&ready.privileges.user);
            for (kind, id, last, file) in [
                ("user", uid, range.last_uid, "/etc/subuid"),
                ("group", gid, range.last_gid, "/etc/subgid"),
            ] {
                if let Some(id) = id.filter(|id| *id > last) {
                    let option = if kind == "user" { "--add-subuids" } else { "--add-subgids" };
                    let mend = format!(
                        "give it more in {file} (usermod {option} FIRST-LAST USER, then podman system migrate), run as root, or use a smaller id"
                    );
                    let container = ready.container.name.clone();
                    return Err(LocalError::IdOutOfRange { container, kind, id, last, mend });
                }
            }
        }
        Ok(())
    }

    /// Where the sandbox has what image-processing saved.
    fn saved_image(scene: &Scene, path: &str) -> Option<String> {
        let step = scene.ready.last()?;
        step.container.volume_mounts.iter().flatten().find_map(|mount| {
            let below = path.strip_prefix(&mount.mount_path)?.strip_prefix('/')?;
            scene.volumes.in_sandbox(&mount.name, below)
        })
    }

    /// Makes and starts containers; false where one cannot be.
    async fn start(&mut self, containers: &[Ready], scene: &Scene) -> Result<bool, LocalError> {
        let labels = self.lease.labels();
        let bodies: Vec<_> = containers
            .iter()
            .map(|ready| {
                self.given(&ready.container, &scene.users, &labels, |given| {
                    ready.body(given, &scene.volumes, &scene.sandbox.id)
                })
            })
            .collect();
        let made = containers.iter().zip(bodies).map(async |(ready, body)| {
            let name = container_name(self.lease.id(), &ready.container.name);
            (ready.container.name.clone(), sandbox::create(self.engine, &name, body).await)
        });
        let mut fine = true;
        for (name, made) in join_all(made).await {
            match made {
                Ok(id) => {
                    self.ids.insert(name, id);
                }
                Err(error) => fine &= self.cannot_start(&name, error)?,
            }
        }
        if !fine {
            return Ok(false);
        }
        let upload = containers.iter().find(|ready| ready.container.name == upload::STEP);
        if let (Some(step), Some(directory)) = (upload, &self.play.source) {
            let owner = ids(&step.privileges.user);
            let target = scene.volumes.in_sandbox(SOURCE_VOLUME, "").unwrap_or_default();
            let sandbox = &scene.sandbox;
            for path in upload::source(self.engine, sandbox, &target, directory, owner).await? {
                self.note(format!("{} stays here: it is no file", path.display()));
            }
        }
        let started = containers.iter().map(async |ready| {
            let name = &ready.container.name;
            let id = &self.ids[name];
            let started = async {
                let output = attend::attach(self.engine, id).await?;
                self.engine.docker.start_container(id, None::<StartContainerOptions>).await?;
                Ok(output)
            };
            (name.clone(), started.await)
        });
        for (name, started) in join_all(started).await {
            match started {
                Ok(output) => {
                    self.outputs.insert(name.clone(), output);
                    self.state.set(&name, State::Running { since: Timestamp::now() });
                }
                Err(error) => fine &= self.cannot_start(&name, error)?,
            }
        }
        if !fine {
            for name in self.state.running() {
                end(self.engine, &self.ids[&name], Stop::Now).await?;
                self.state.set(&name, attend::state(self.engine, &self.ids[&name]).await?);
            }
        }
        Ok(fine)
    }

    fn cannot_start(
        &mut self,
        name: &str,
        error: bollard::errors::Error,
    ) -> Result<bool, LocalError> {
        if status_code(&error).is_none() {
            return Err(LocalError::Engine { what: format!("start {name}"), source: error });
        }
        let message = words(&error);
        self.note(format!("{name} cannot be started: {message}"));
        self.state
            .set(name, State::Waiting { reason: "CreateContainerError", message: Some(message) });
        Ok(false)
    }
}

/// What a task brings.
enum News {
    /// A container does something else now.
    State(String, State),
    /// A volume has grown beyond its limit.
    Over(String),
    /// Nothing that a status would tell.
    None,
}

type Task<'t> = Pin<Box<dyn Future<Output = Result<News, LocalError>> + 't>>;

impl Stage<'_> {
    /// Attends to the running containers until the last one has ended, and ends them where they have to be.
    async fn until_all_ended(&mut self, scene: &Scene) -> Result<(), LocalError> {
        let (engine, tell) = (self.engine, self.tell);
        let mut tasks: FuturesUnordered<Task<'_>> = FuturesUnordered::new();
        for name in self.state.running() {
            let id = self.ids[&name].clone();
            if name == upload::STEP && self.play.source.is_some() {
                let id = id.clone();
                tasks.push(Box::pin(async move {
                    upload::done(engine, &id).await.map(|()| News::None)
                }));
            }
            let Some(output) = self.outputs.remove(&name) else { continue };
            tasks.push(Box::pin(async move {
                let state =
                    attend::until_end(engine, &scene.sandbox, &id, &name, output, tell).await?;
                Ok(News::State(name, state))
            }));
        }
        if !scene.limited.is_empty() {
            let mut over = scene.over.clone();
            tasks.push(Box::pin(async move {
                // The sandbox has ended where nobody can say it any more.
                let volume =
                    over.wait_for(Option::is_some).await.ok().and_then(|over| over.clone());
                Ok(volume.map_or(News::None, News::Over))
            }));
        }
        let mut asked = Stop::No;
        loop {
            let mut wanted = *self.stop.borrow();
            if wanted != Stop::No && !self.state.is_ended() {
                self.cancel();
            }
            let verdict = self.verdict();
            let running = self.state.running();
            if running.is_empty() {
                return Ok(());
            }
            if verdict.next == Next::EndPod || self.state.is_ended() {
                wanted = wanted.max(Stop::Asked);
            }
            if wanted > asked {
                asked = wanted;
                tasks.extend(running.iter().map(|name| -> Task<'_> {
                    let id = self.ids[name].clone();
                    Box::pin(async move { end(engine, &id, wanted).await.map(|()| News::None) })
                }));
            }
            let again = match verdict.next {
                Next::Again(left) => Duration::try_from(left).unwrap_or_default(),
                _ => FOR_EVER,
            };
            let left = time_left(&self.play.pod, self.play.started);
            tokio::select! {
                Some(news) = tasks.next() => match news? {
                    News::State(name, state) => self.state.set(&name, state),
                    News::Over(volume) => {
                        let limit = scene.limited.get(&volume).cloned().unwrap_or_default();
                        let (volume, limit) = (go_quote(&volume), go_quote(&limit));
                        let message = format!("Usage of EmptyDir volume {volume} exceeds the limit {limit}. ");
                        self.state.end("Evicted", message);
                    }
                    News::None => {}
                },
                Ok(()) = self.stop.changed() => {}
                () = tokio::time::sleep(again) => {}
                () = tokio::time::sleep(left), if asked == Stop::No => {
                    self.state.end(DEADLINE.0, DEADLINE.1);
                }
            }
        }
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

fn has_limits(container: &Container) -> bool {
    let resources = container.resources.as_ref();
    resources.and_then(|resources| resources.limits.as_ref()).is_some_and(|l| !l.is_empty())
}

/// Ends a container; one that has ended by itself is as good.
async fn end(engine: &Engine, id: &str, how: Stop) -> Result<(), LocalError> {
    let ended = if how == Stop::Now {
        engine.docker.kill_container(id, None::<KillContainerOptions>).await
    } else {
        let options = StopContainerOptionsBuilder::new().t(GRACE).build();
        engine.docker.stop_container(id, Some(options)).await
    };
    match ended {
        Err(error) if is_absent(&error) || matches!(status_code(&error), Some(304 | 409)) => Ok(()),
        outcome => outcome.asked(|| "end a container".into()),
    }
}
