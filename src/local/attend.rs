//! One container from its start to its end: its log, and how it ended.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as EngineError;
use bollard::models::ContainerState;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, InspectContainerOptions, WaitContainerOptions,
};
use futures_util::stream::{Stream, StreamExt as _};
use k8s_openapi::jiff::Timestamp;
use slipway_step::protocol::results::{self, OUT_OF_MEMORY};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};

use super::container::TERMINATION_FILE;
use super::engine::Engine;
use super::error::{Asked as _, LocalError};
use super::happening::Happening;
use super::pod_state::{Ended, State};
use super::sandbox::Sandbox;

/// Longest line that is told at once; longer ones come in pieces.
const MOST_LINE: usize = 64 << 10;
/// What a line takes in memory beside its text, about.
const OVERHEAD: usize = 200;
/// How often, and how soon again, a container is looked at that has closed its output.
const LOOKS: usize = 10;
/// How many more looks a container gets that is being buried.
const PATIENCE: usize = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// What a container that was started does now. Between its end and its burial podman has states for which Docker has no word, and
/// then an exit code of 0 for everybody; both pass.
pub async fn state(engine: &Engine, id: &str) -> Result<State, LocalError> {
    let look = || engine.docker.inspect_container(id, None::<InspectContainerOptions>);
    let mut inspected = look().await;
    for _ in 0..PATIENCE {
        let is_final = match &inspected {
            Ok(container) => container.state.as_ref().is_some_and(|state| {
                state.running == Some(true) || time(state.finished_at.as_ref()).is_some()
            }),
            Err(EngineError::JsonDataError { .. }) => false,
            Err(_) => true,
        };
        if is_final {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        inspected = look().await;
    }
    let inspected = inspected.asked(|| "look at a container".into())?;
    let state = inspected.state.unwrap_or_default();
    let started = time(state.started_at.as_ref());
    Ok(match (state.running, started) {
        (Some(true), Some(since)) => State::Running { since },
        _ => State::Ended(ended(&state)),
    })
}

fn ended(state: &ContainerState) -> Ended {
    Ended {
        exit_code: state.exit_code.and_then(|code| code.try_into().ok()).unwrap_or(-1),
        out_of_memory: state.oom_killed == Some(true),
        message: None,
        started: time(state.started_at.as_ref()),
        finished: time(state.finished_at.as_ref()).unwrap_or_else(Timestamp::now),
    }
}

/// Engines write the year 1 where there is no time.
fn time(text: Option<&String>) -> Option<Timestamp> {
    text?.parse().ok().filter(|time: &Timestamp| time.as_second() > 0)
}

/// What a container prints, from its first byte on.
pub type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, EngineError>> + Send>>;

/// Listens to a container that has not started yet.
pub async fn attach(engine: &Engine, id: &str) -> Result<Output, EngineError> {
    let options =
        AttachContainerOptionsBuilder::new().stdout(true).stderr(true).stream(true).build();
    Ok(engine.docker.attach_container(id, Some(options)).await?.output)
}

/// Waits for the container's end; its log has been told in full by then.
pub async fn until_end(
    engine: &Engine,
    sandbox: &Sandbox,
    id: &str,
    name: &str,
    output: Output,
    lines: Lines<'_>,
) -> Result<State, LocalError> {
    follow(output, name, lines).await?;
    let mut state = wait(engine, id).await?;
    if let State::Ended(ended) = &mut state {
        ended.message = sandbox.own_text(engine, name, TERMINATION_FILE).await?;
        let report = ended.message.as_deref().and_then(results::decode);
        ended.out_of_memory |= report.is_some_and(|report| report.contains_key(OUT_OF_MEMORY));
    }
    Ok(state)
}

/// A container whose output has ended is about to end, and asking now and then is quicker than podman's own waiting, which looks
/// four times a second.
async fn wait(engine: &Engine, id: &str) -> Result<State, LocalError> {
    for _ in 0..LOOKS {
        if let ended @ State::Ended(_) = state(engine, id).await? {
            return Ok(ended);
        }
        tokio::time::sleep(PAUSE).await;
    }
    loop {
        let mut answers = engine.docker.wait_container(id, None::<WaitContainerOptions>);
        match answers.next().await {
            // A container that ends with anything but 0.
            Some(Ok(_) | Err(EngineError::DockerContainerWaitError { .. })) | None => {
                return state(engine, id).await;
            }
            // It has closed its output and works on.
            Some(Err(EngineError::RequestTimeoutError)) => {}
            Some(Err(source)) => {
                return Err(LocalError::Engine { what: "wait for a container".into(), source });
            }
        }
    }
}

/// Where the lines of containers go.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    pub tell: &'a UnboundedSender<Happening>,
    /// Bytes that may wait to be shown, so that a reader who pauses holds the step up and fills no memory.
    pub room: &'a Arc<Semaphore>,
    /// The pod is being ended: nobody may hold that up, and what finds no room is left out.
    pub ending: watch::Receiver<bool>,
}

impl Lines<'_> {
    /// Whether there was room for the line.
    async fn say(&mut self, container: &str, text: Vec<u8>) -> bool {
        let bytes = u32::try_from(text.len() + OVERHEAD).unwrap_or(u32::MAX);
        let room = tokio::select! {
            biased;
            room = Arc::clone(self.room).acquire_many_owned(bytes) => room.ok(),
            _ = self.ending.wait_for(|ending| *ending) => None,
        };
        let told = room.is_some();
        if told {
            let container = container.to_owned();
            // Nobody listens any more once the run has ended.
            drop(self.tell.send(Happening::Line { container, text, room }));
        }
        told
    }
}

async fn follow(mut output: Output, name: &str, mut to: Lines<'_>) -> Result<(), LocalError> {
    let mut left_out: u64 = 0;
    // Each stream has lines of its own.
    let mut lines: BTreeMap<bool, Vec<u8>> = BTreeMap::new();
    while let Some(chunk) = output.next().await {
        let chunk = chunk.asked(|| format!("read the log of {name}"))?;
        let line = lines.entry(matches!(chunk, LogOutput::StdErr { .. })).or_default();
        for byte in chunk.into_bytes() {
            if byte != b'\n' {
                line.push(byte);
            }
            if byte == b'\n' || line.len() >= MOST_LINE {
                left_out += u64::from(!to.say(name, std::mem::take(line)).await);
            }
        }
    }
    for line in lines.into_values().filter(|line| !line.is_empty()) {
        left_out += u64::from(!to.say(name, line).await);
    }
    if left_out > 0 {
        let note =
            format!("{name}: {left_out} lines are left out, which nobody had read by its end");
        drop(to.tell.send(Happening::Note(note)));
    }
    Ok(())
}
