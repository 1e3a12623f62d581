//! One container from its start to its end: its log, and how it ended.

use std::collections::BTreeMap;

use bollard::container::LogOutput;
use bollard::models::ContainerState;
use bollard::query_parameters::{
    InspectContainerOptions, LogsOptionsBuilder, WaitContainerOptions,
};
use futures_util::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;

use super::container::TERMINATION_FILE;
use super::engine::Engine;
use super::error::{Asked as _, LocalError};
use super::happening::Happening;
use super::pod_state::{Ended, State};
use super::sandbox::Sandbox;

/// Longest line that is told at once; longer ones come in pieces.
const MOST_LINE: usize = 64 << 10;

/// What a container does now.
pub async fn state(engine: &Engine, id: &str) -> Result<State, LocalError> {
    let inspected = engine
        .docker
        .inspect_container(id, None::<InspectContainerOptions>)
        .await
        .asked(|| "look at a container".into())?;
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

/// Waits for the container's end; its log has been told in full by then.
pub async fn until_end(
    engine: &Engine,
    sandbox: &Sandbox,
    id: &str,
    name: &str,
    tell: &UnboundedSender<Happening>,
) -> Result<State, LocalError> {
    let (logged, waited) = futures_util::join!(follow(engine, id, name, tell), wait(engine, id));
    waited?;
    logged?;
    let mut state = state(engine, id).await?;
    if let State::Ended(ended) = &mut state {
        ended.message = sandbox.own_text(engine, name, TERMINATION_FILE).await?;
    }
    Ok(state)
}

async fn wait(engine: &Engine, id: &str) -> Result<(), LocalError> {
    let mut answers = engine.docker.wait_container(id, None::<WaitContainerOptions>);
    match answers.next().await {
        // A container that ends with anything but 0.
        Some(Err(bollard::errors::Error::DockerContainerWaitError { .. })) => Ok(()),
        Some(outcome) => outcome.map(drop).asked(|| "wait for a container".into()),
        None => Ok(()),
    }
}

async fn follow(
    engine: &Engine,
    id: &str,
    name: &str,
    tell: &UnboundedSender<Happening>,
) -> Result<(), LocalError> {
    let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).build();
    let mut logs = engine.docker.logs(id, Some(options));
    // Each stream has lines of its own.
    let mut lines: BTreeMap<bool, Vec<u8>> = BTreeMap::new();
    let say = |text: Vec<u8>| {
        // Nobody listens any more once the run has ended.
        drop(tell.send(Happening::Line { container: name.to_owned(), text }));
    };
    while let Some(chunk) = logs.next().await {
        let chunk = chunk.asked(|| format!("read the log of {name}"))?;
        let line = lines.entry(matches!(chunk, LogOutput::StdErr { .. })).or_default();
        for byte in chunk.into_bytes() {
            if byte != b'\n' {
                line.push(byte);
            }
            if byte == b'\n' || line.len() >= MOST_LINE {
                say(std::mem::take(line));
            }
        }
    }
    lines.into_values().filter(|line| !line.is_empty()).for_each(say);
    Ok(())
}
