//! The containers of the pod, from their making to the end of the last one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::query_parameters::{
    KillContainerOptions, StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;

use super::scene::Scene;
use super::{FOR_EVER, Stage, Stop, time_left};
use crate::local::attend::{self, Lines};
use crate::local::container::{Ready, ids};
use crate::local::engine::Engine;
use crate::local::error::{Asked as _, LocalError, is_absent, status_code, words};
use crate::local::lease::container_name;
use crate::local::pod_state::{DEADLINE, State};
use crate::local::sandbox;
use crate::local::upload;
use crate::plan::{Next, SOURCE_VOLUME, go_quote, upload_container};

/// How long a step may take to end, as Kubernetes has it.
const GRACE: i32 = 30;

impl Stage<'_> {
    /// Makes and starts containers; false where one cannot be.
    pub(super) async fn start(
        &mut self,
        containers: &[Ready],
        scene: &Scene,
    ) -> Result<bool, LocalError> {
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
        let upload = containers.iter().find(|ready| ready.container.name == upload_container());
        if let (Some(step), Some(directory)) = (upload, &self.play.source) {
            let owner = ids(&step.privileges.user);
            let target = scene.volumes.in_sandbox(SOURCE_VOLUME, "").unwrap_or_default();
            let sending = upload::source(self.engine, &scene.sandbox, &target, directory, owner);
            let mut stop = self.stop.clone();
            let left_here = tokio::select! {
                left_here = sending => left_here?,
                _ = stop.wait_for(|stop| *stop != Stop::No) => return Ok(false),
            };
            for path in left_here {
                self.note(format!("{} stays here: it is no file", path.display()));
            }
        }
        // The first one comes last: nothing that a step does may change a volume while another container is given its part of it.
        // Until the first one has ended the others only wait.
        let (first, others) = containers.split_at(containers.len().min(1));
        for containers in [others, first] {
            let starting = containers.iter().map(async |ready| {
                let name = &ready.container.name;
                let id = &self.ids[name];
                let started = async {
                    let output = attend::attach(self.engine, id).await?;
                    self.engine.docker.start_container(id, None::<StartContainerOptions>).await?;
                    Ok(output)
                };
                (name.clone(), started.await)
            });
            for (name, started) in join_all(starting).await {
                match started {
                    Ok(output) => {
                        self.outputs.insert(name.clone(), output);
                        self.state.set(&name, State::Running { since: Timestamp::now() });
                    }
                    Err(error) => fine &= self.cannot_start(&name, error)?,
                }
            }
            if !fine {
                self.end_running().await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends at once whatever runs.
    pub(super) async fn end_running(&mut self) -> Result<(), LocalError> {
        for name in self.state.running() {
            end(self.engine, &self.ids[&name], Stop::Now).await?;
            self.state.set(&name, attend::state(self.engine, &self.ids[&name]).await?);
        }
        Ok(())
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
    pub(super) async fn until_all_ended(&mut self, scene: &Scene) -> Result<(), LocalError> {
        let (engine, room) = (self.engine, Arc::clone(&self.room));
        let (say_ending, ending) = watch::channel(false);
        let lines = Lines { tell: self.tell, room: &room, ending };
        let mut tasks: FuturesUnordered<Task<'_>> = FuturesUnordered::new();
        for name in self.state.running() {
            let id = self.ids[&name].clone();
            if name == upload_container() && self.play.source.is_some() {
                let id = id.clone();
                tasks.push(Box::pin(async move {
                    upload::done(engine, &id).await.map(|()| News::None)
                }));
            }
            let Some(output) = self.outputs.remove(&name) else { continue };
            let lines = lines.clone();
            tasks.push(Box::pin(async move {
                let state =
                    attend::until_end(engine, &scene.sandbox, &id, &name, output, lines).await?;
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
            if matches!(verdict.next, Next::EndPod | Next::DeletePod) || self.state.is_ended() {
                wanted = wanted.max(Stop::Asked);
            }
            if wanted > asked {
                asked = wanted;
                // Whoever has ended already hears it no more.
                let _ = say_ending.send(true);
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
}

/// Ends a container; one that has ended by itself, or is about to, is as good.
async fn end(engine: &Engine, id: &str, how: Stop) -> Result<(), LocalError> {
    let ended = if how == Stop::Now {
        engine.docker.kill_container(id, None::<KillContainerOptions>).await
    } else {
        let options = StopContainerOptionsBuilder::new().t(GRACE).build();
        engine.docker.stop_container(id, Some(options)).await
    };
    match ended {
        Err(error) if is_absent(&error) || matches!(status_code(&error), Some(304 | 409)) => Ok(()),
        // So says podman of a container that it is about to bury.
        Err(EngineError::DockerResponseServerError { message, .. })
            if message.contains("container state improper") =>
        {
            Ok(())
        }
        Err(_) if matches!(attend::state(engine, id).await, Ok(State::Ended(_))) => Ok(()),
        outcome => outcome.asked(|| "end a container".into()),
    }
}
