//! The log of one container, from its beginning to its end, however often the connection breaks.
//!
//! Invariant: a container that has ended is read once more to the end of its log: only then nothing can be missing.

use std::time::Duration;

use futures_util::AsyncBufReadExt as _;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::api::LogParams;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::cursor::Cursor;
use super::follow::News;
use super::observed::{Observed, Outage, is_final};
use super::{Cluster, ClusterError, LONGEST_SILENCE};

/// Between two tries.
pub const PAUSE: Duration = Duration::from_secs(1);
/// So long the log of a container that has ended may be silent before it is asked for anew.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// How a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has not started, and may.
    Waiting,
    /// It runs.
    Running,
    /// It has ended, and its log can be read.
    Ended,
    /// It never starts, or its pod has gone.
    Gone,
}

/// A container of a pod.
pub struct ContainerLog<'a> {
    pub cluster: &'a Cluster,
    pub pod: &'a str,
    pub container: &'a str,
    pub observed: watch::Receiver<Observed>,
    pub news: &'a mpsc::Sender<News>,
}

/// Nobody listens any more, or the log cannot be had.
#[derive(Debug)]
pub enum Stopped {
    Unheard,
    Failed(ClusterError),
}

/// How a read ended.
enum Read {
    /// All there was is read.
    Whole,
    /// It broke off.
    Broken(kube::Error),
    /// There is no log, and will be none.
    Nothing(String),
}

impl ContainerLog<'_> {
    /// Tells every line until the container has ended. Waits for its start.
    pub async fn follow(mut self) -> Result<(), Stopped> {
        let mut cursor = Cursor::default();
        let mut outage = Outage::default();
        loop {
            let stage = self.until(|stage| stage != Stage::Waiting).await;
            if stage == Stage::Gone {
                return Ok(());
            }
            let is_last = stage == Stage::Ended;
            match self.read(&mut cursor, !is_last).await? {
                Read::Whole if is_last => return self.tell(cursor.finish()).await,
                Read::Whole => outage.end(),
                Read::Nothing(why) => {
                    if is_last {
                        return self.note(format!("no log of {}: {why}", self.container)).await;
                    }
                }
                Read::Broken(error) => match outage.go_on(Instant::now()) {
                    Some(true) => {
                        let container = self.container;
                        self.note(format!(
                            "the log of {container} broke off ({error}); reading on"
                        ))
                        .await?;
                    }
                    Some(false) => {}
                    None => return Err(Stopped::Failed(self.failed(error))),
                },
            }
            if is_last {
                tokio::time::sleep(PAUSE).await;
            } else {
                let ended = self.until(|stage| !matches!(stage, Stage::Waiting | Stage::Running));
                drop(tokio::time::timeout(PAUSE, ended).await);
            }
        }
    }

    /// Tells the lines that there are now.
    pub async fn print(self) -> Result<(), Stopped> {
        let stage = self.stage();
        if matches!(stage, Stage::Waiting | Stage::Gone) {
            return Ok(());
        }
        let mut cursor = Cursor::default();
        let mut outage = Outage::default();
        loop {
            match self.read(&mut cursor, false).await? {
                Read::Whole => return self.tell(cursor.finish()).await,
                Read::Nothing(why) => {
                    return self.note(format!("no log of {}: {why}", self.container)).await;
                }
                Read::Broken(error) if outage.go_on(Instant::now()).is_none() => {
                    return Err(Stopped::Failed(self.failed(error)));
                }
                Read::Broken(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn read(&self, cursor: &mut Cursor, follow: bool) -> Result<Read, Stopped> {
        let parameters = LogParams {
            container: Some(self.container.to_owned()),
            follow,
            timestamps: true,
            since_time: cursor.since(),
            ..LogParams::default()
        };
        let api: Api<Pod> = self.cluster.api();
        let mut stream = match api.log_stream(self.pod, &parameters).await {
            Ok(stream) => stream,
            // It has not started after all, or its pod has gone.
            Err(kube::Error::Api(response)) if [400, 404].contains(&response.code) => {
                return Ok(Read::Nothing(response.message.clone()));
            }
            Err(error) if is_final(&error) => return Err(Stopped::Failed(self.failed(error))),
            Err(error) => return Ok(Read::Broken(error)),
        };
        cursor.begin();
        let mut observed = self.observed.clone();
        let mut heard = Instant::now();
        loop {
            let over = over_for(&mut observed, self.pod, self.container, LONGEST_REST);
            let (lines, length) = tokio::select! {
                bytes = stream.fill_buf() => match bytes {
                    Ok([]) => return Ok(Read::Whole),
                    Ok(bytes) => (cursor.take(bytes), bytes.len()),
                    // It only has nothing to say.
                    Err(_) if heard.elapsed() >= LONGEST_SILENCE => return Ok(Read::Whole),
                    Err(error) => return Ok(Read::Broken(kube::Error::ReadEvents(error))),
                },
                // A connection may be broken without anybody saying so.
                () = over, if follow => return Ok(Read::Whole),
            };
            stream.consume_unpin(length);
            heard = Instant::now();
            for line in lines {
                self.tell(Some(line)).await?;
            }
        }
    }

    async fn tell(&self, line: Option<Vec<u8>>) -> Result<(), Stopped> {
        let Some(text) = line else { return Ok(()) };
        self.send(News::Line { container: self.container.to_owned(), text }).await
    }

    async fn note(&self, note: String) -> Result<(), Stopped> {
        self.send(News::Note(note)).await
    }

    async fn send(&self, news: News) -> Result<(), Stopped> {
        self.news.send(news).await.map_err(|_| Stopped::Unheard)
    }

    fn failed(&self, error: kube::Error) -> ClusterError {
        let what = format!("read the log of {} of pod {}", self.container, self.pod);
        ClusterError::of(what, error)
    }

    fn stage(&self) -> Stage {
        stage(&self.observed.borrow(), self.pod, self.container)
    }

    async fn until(&mut self, is: impl Fn(Stage) -> bool) -> Stage {
        let (pod, container) = (self.pod, self.container);
        let stood = self.observed.wait_for(|observed| is(stage(observed, pod, container))).await;
        // Nobody looks any more: what is known now is all.
        stood.map_or(Stage::Gone, |observed| stage(&observed, pod, container))
    }
}

/// Comes back once a container has ended, and some time has passed.
async fn over_for(
    observed: &mut watch::Receiver<Observed>,
    pod: &str,
    container: &str,
    longest: Duration,
) {
    let is_over =
        |observed: &Observed| matches!(stage(observed, pod, container), Stage::Ended | Stage::Gone);
    drop(observed.wait_for(is_over).await);
    tokio::time::sleep(longest).await;
}

/// How a container stands, as far as it was seen.
pub fn stage(observed: &Observed, pod: &str, container: &str) -> Stage {
    let Some(seen) = observed.pods.get(pod).filter(|seen| !seen.is_gone) else {
        return Stage::Gone;
    };
    let state = status_of(&seen.pod, container).and_then(|status| status.state.as_ref());
    let phase = seen.pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_over = matches!(phase, Some("Succeeded" | "Failed"));
    match state {
        Some(state) if state.terminated.is_some() => Stage::Ended,
        Some(state) if state.running.is_some() && !is_over => Stage::Running,
        Some(state) if state.running.is_some() => Stage::Ended,
        _ if is_over || observed.is_final => Stage::Gone,
        _ => Stage::Waiting,
    }
}

/// Whether a container was seen to end well.
pub fn has_succeeded(observed: &Observed, pod: &str, container: &str) -> bool {
    let status = observed.pods.get(pod).and_then(|seen| status_of(&seen.pod, container));
    let ended = status.and_then(|status| status.state.as_ref()?.terminated.as_ref());
    ended.is_some_and(|ended| ended.exit_code == 0)
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let statuses = status.init_container_statuses.iter().chain(&status.container_statuses);
    statuses.flatten().find(|status| status.name == container)
}
