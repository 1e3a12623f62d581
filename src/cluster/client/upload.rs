//! A working copy on its way into a run.
//!
//! Invariant: a run whose source does not come is canceled, for it would wait in vain.
//! Invariant: a run that is refused or ends otherwise ends the upload with its verdict.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use slipway_step::protocol::WAITER_LOCK_FILE;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::exec::In;
use super::follow::{Ended, Following, News, follow_on};
use super::log_stream::{Stage, has_succeeded, stage};
use super::observed::{Observed, Outage};
use super::{Cluster, ClusterError};
use crate::Chain;
use crate::api::{Build, BuildRun, BuildRunSource, BuildRunSpec, GoDuration, LocalSource};
use crate::plan::{SOURCE_ROOT, upload_container};
use crate::working_copy::{self, SourceError};

/// What the source is called that the user brings along.
const SOURCE: &str = "local-copy";
/// How soon a waiter that has not begun to wait is told again.
const PAUSE: Duration = Duration::from_millis(200);
/// So long after a program that ran beside the step it may turn out that the step has ended.
const LONGEST_END: Duration = Duration::from_secs(5);
/// The exit code of a program that was killed.
const KILLED: i32 = 137;
/// Canceling is worth no more time.
const LONGEST_CANCEL: Duration = Duration::from_secs(10);
/// Longest beginning of a generated name of which the name is a label's value still.
const LONGEST_PREFIX: usize = 63 - 6;

/// An upload that is wanted.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The working copy.
    pub directory: PathBuf,
    /// Name of the run.
    pub run: String,
    /// Whether to go on until the run has ended.
    pub follow: bool,
}

/// How an upload goes on.
#[derive(Debug)]
pub enum Sending {
    /// So many more bytes of the archive went.
    Bytes(usize),
    /// All is there, but for these paths, which no archive holds.
    Done(Vec<PathBuf>),
}

/// Creates a run of the Build, which waits so long for its source.
pub async fn create(
    cluster: &Cluster,
    build: &str,
    timeout: GoDuration,
) -> Result<String, ClusterError> {
    let found: Build = cluster.get(build).await?;
    let source = LocalSource { name: Some(SOURCE.into()), timeout: Some(timeout) };
    let mut run = BuildRun {
        spec: BuildRunSpec {
            source: Some(BuildRunSource { type_: "Local".into(), local: Some(source) }),
            ..BuildRunSpec::default()
        },
        ..BuildRun::default()
    };
    run.spec.build.name = Some(found.name_any());
    let prefix: String = build.chars().take(LONGEST_PREFIX).collect();
    run.metadata.generate_name = Some(format!("{prefix}-"));
    let created = cluster.api().create(&PostParams::default(), &run).await;
    let what = format!("create a BuildRun of Build {build} in namespace {}", cluster.namespace);
    Ok(created.map_err(|error| cluster.asked(what, error))?.name_any())
}

/// Sends the working copy as soon as the run waits for it. The run, unless it goes on and nobody follows it.
pub async fn upload(
    cluster: &Cluster,
    upload: &Upload,
    news: &mpsc::Sender<News>,
    told: impl FnMut(Sending),
) -> Result<Option<Ended>, ClusterError> {
    let observed = Observed::now(cluster, &upload.run).await?;
    let (sender, receiver) = watch::channel(observed);
    let following = Following { run: upload.run.clone(), steps: Vec::new(), follow: true };
    let follow = follow_on(cluster, &following, news, &sender);
    let send = send(cluster, receiver, &upload.directory, news, told);
    tokio::pin!(follow);
    tokio::pin!(send);
    let is_sent = tokio::select! {
        ended = &mut follow => return ended.map(Some),
        is_sent = &mut send => is_sent?,
    };
    // A run that ended before it took its source says why.
    if upload.follow || !is_sent { follow.await.map(Some) } else { Ok(None) }
}

/// Ends a run.
pub async fn cancel(cluster: &Cluster, run: &str) -> Result<(), ClusterError> {
    let api: Api<BuildRun> = cluster.api();
    let state = Patch::Merge(json!({ "spec": { "state": BuildRunSpec::CANCELED } }));
    let parameters = PatchParams::default();
    let patch = api.patch(run, &parameters, &state);
    let patched = tokio::time::timeout(LONGEST_CANCEL, patch).await;
    let patched = patched.map_err(|_| ClusterError::Silent { longest: LONGEST_CANCEL })?;
    patched.map(drop).map_err(|error| cluster.asked(format!("cancel BuildRun {run}"), error))
}

/// Whether the run has taken it; not where it ended before.
async fn send(
    cluster: &Cluster,
    mut observed: watch::Receiver<Observed>,
    directory: &Path,
    news: &mpsc::Sender<News>,
    mut told: impl FnMut(Sending),
) -> Result<bool, ClusterError> {
    let Some(pod) = waiting_pod(&mut observed).await else { return Ok(false) };
    let step = upload_container();
    let at = In { pod: &pod, container: &step };
    let (pieces, packing) = working_copy::stream(directory, 0, 0);
    // Modes go by the archive and the umask there; whose the files are goes by who unpacks them.
    let unpack = ["tar", "--no-same-permissions", "--no-same-owner", "-xf", "-", "-C", SOURCE_ROOT];
    let outcome =
        cluster.exec(at, &unpack, Some(pieces), |count| told(Sending::Bytes(count))).await;
    let failed = match (packing.end().await, outcome) {
        // What cannot be read here says more than what the other end makes of half an archive.
        (Err(error), _) if !matches!(error, SourceError::Write(_)) => {
            return Err(ClusterError::Source(error));
        }
        (Ok(left_out), Ok(outcome)) if outcome.code == Some(0) => {
            return done(cluster, observed, at, news).await.inspect(|is_done| {
                if *is_done {
                    told(Sending::Done(left_out));
                }
            });
        }
        (_, Err(error)) => error,
        (_, Ok(outcome)) if outcome.code != Some(KILLED) => {
            return Err(ClusterError::Unpack { code: outcome.code, words: outcome.words });
        }
        (_, Ok(outcome)) => ClusterError::Unpack { code: outcome.code, words: outcome.words },
    };
    // With the step goes whatever runs beside it, and the step tells why by itself.
    let has_ended = observed.wait_for(|observed| stage(observed, &pod, &step) != Stage::Running);
    let has_ended = tokio::time::timeout(LONGEST_END, has_ended).await.is_ok();
    if has_ended { Ok(false) } else { Err(failed) }
}

/// Tells the step that all is there, however often the connection breaks; not where it ended before.
async fn done(
    cluster: &Cluster,
    observed: watch::Receiver<Observed>,
    at: In<'_>,
    news: &mpsc::Sender<News>,
) -> Result<bool, ClusterError> {
    let lock_file = format!("--lock-file={WAITER_LOCK_FILE}");
    let mut outage = Outage::default();
    loop {
        let outcome = cluster.exec(at, &["waiter", "done", &lock_file], None, |_| {}).await;
        let is_told = matches!(&outcome, Ok(outcome) if outcome.code == Some(0));
        // The answer may be what was lost.
        if is_told || has_succeeded(&observed.borrow(), at.pod, at.container) {
            return Ok(true);
        }
        // It has ended, and tells why by itself.
        if stage(&observed.borrow(), at.pod, at.container) != Stage::Running {
            return Ok(false);
        }
        match outcome {
            // It has not begun to wait yet.
            Ok(_) => outage.end(),
            Err(error) => match outage.go_on(Instant::now()) {
                Some(true) => {
                    let note = format!("{}; trying again", Chain(&error));
                    drop(news.send(News::Note(note)).await);
                }
                Some(false) => {}
                None => return Err(error),
            },
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The pod whose source step waits.
async fn waiting_pod(observed: &mut watch::Receiver<Observed>) -> Option<String> {
    let step = upload_container();
    let waits = |observed: &Observed| {
        let pods = observed.pods_in_order().into_iter();
        let mut waiting = pods
            .map(|seen| seen.pod.name_any())
            .filter(|name| stage(observed, name, &step) == Stage::Running);
        waiting.next()
    };
    let seen = observed.wait_for(|observed| waits(observed).is_some() || observed.is_over()).await;
    seen.ok().and_then(|observed| waits(&observed))
}
