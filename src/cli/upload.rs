//! `slipway upload`: a run of a Build on a cluster with a directory of this machine as its source.
//!
//! Invariant: a run whose source will not come is canceled.

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube::core::Status;

use super::cluster_arguments::{ClusterArguments, block_on};
use super::signals::Signals;
use super::teller::{Lines, end, tell, told};
use super::{Error, Exit, complain, print_text};
use crate::Chain;
use crate::api::GoDuration;
use crate::cluster::ClusterError;
use crate::cluster::client::{Cluster, Sending, Upload, cancel, create, upload as send};
use crate::view::one_line;
use crate::view::run::bytes;
use crate::working_copy::{self, Extent};

pub const EXAMPLES: &str = "\
Examples:
  slipway upload app                     the current directory into a new run of the Build app
  slipway upload app ./service --no-follow
  run=$(slipway upload app --no-follow) && slipway logs -f \"$run\"
  slipway upload -n team --upload-timeout 30m app ~/src/app

Everything goes along, also .git, symbolic links, executable bits and empty directories, but for what a .shpignore leaves out. On the cluster the files belong to the user of the strategy.
Standard output gets the lines of the steps, as of slipway logs, or with --no-follow the name of the BuildRun; all else goes to standard error.
A run that is refused ends this at once, with its reason and exit code 2. An upload that breaks off cancels its run. Ctrl-C during the upload does so too; later it leaves the run alone and says how to cancel it.";

/// So long an interrupted verb waits for the answer that tells it what there is to cancel.
const LONGEST_CREATE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub struct UploadArguments {
    /// Name of the Build
    #[arg(value_name = "BUILD")]
    build: String,
    /// The directory
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// End once the source has come, and print the name of the BuildRun
    #[arg(long)]
    no_follow: bool,
    /// How long the run waits for its source, such as 90s or 1h
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    upload_timeout: GoDuration,
    #[command(flatten)]
    cluster: ClusterArguments,
}

fn duration(text: &str) -> Result<GoDuration, String> {
    let duration = GoDuration(text.to_owned());
    match duration.parse() {
        Ok(length) if length.0 > 1_000_000_000 => Ok(duration),
        _ => Err("is no duration of more than a second, such as 90s or 1h30m".into()),
    }
}

pub fn upload(arguments: &UploadArguments) -> Result<Exit, Error> {
    let directory = &arguments.directory;
    if !directory.is_dir() {
        complain(&format!("error: {} is no directory", directory.display()));
        return Ok(Exit::Usage);
    }
    let ignores = working_copy::ignore_faults(directory);
    let faults: Vec<_> = ignores.into_iter().chain(working_copy::link_faults(directory)).collect();
    if !faults.is_empty() {
        for fault in faults {
            complain(&format!("error: {}", one_line(&Chain(&fault).to_string())));
        }
        return Ok(Exit::Refused);
    }
    block_on(async {
        let cluster = arguments.cluster.find().await?;
        let mut signals = Signals::caught()?;
        let creating = create(&cluster, &arguments.build, arguments.upload_timeout.clone());
        tokio::pin!(creating);
        let created = tokio::select! {
            created = &mut creating => created,
            () = signals.next() => {
                complain("interrupted while the BuildRun is made; waiting for its name to cancel it");
                let created = tokio::time::timeout(LONGEST_CREATE, creating).await;
                return interrupted(&cluster, created.ok(), &mut signals).await;
            }
        };
        let run = match created {
            Ok(run) => run,
            // What the cluster has against the run it would have against any.
            Err(error) if error.response().is_some_and(is_verdict) => {
                complain(&format!("error: {}", Chain(&error)));
                return Ok(Exit::Refused);
            }
            Err(error) => return Err(error.into()),
        };
        complain(&format!("created BuildRun {run}"));
        Box::pin(work(arguments, &cluster, run, signals)).await
    })
}

/// Nobody wants the run any more that is on its way: what came of it, unless that is not known in time.
async fn interrupted(
    cluster: &Cluster,
    created: Option<Result<String, ClusterError>>,
    signals: &mut Signals,
) -> Result<Exit, Error> {
    match created {
        Some(Ok(run)) => give_up(cluster, &run, signals).await,
        Some(Err(error)) if error.response().is_some() => return Err(Error::Interrupted),
        _ => complain(&format!(
            "warning: interrupted while a BuildRun was made, and the cluster does not say whether it is there; see: kubectl get buildruns -n {}",
            cluster.namespace
        )),
    }
    Ok(Exit::Failed)
}

/// Whether the cluster has looked at the run and does not want it; else it could not look, or does not let this user.
fn is_verdict(said: &Status) -> bool {
    [400, 422].contains(&said.code) || said.message.contains("denied the request")
}

async fn work(
    arguments: &UploadArguments,
    cluster: &Cluster,
    run: String,
    mut signals: Signals,
) -> Result<Exit, Error> {
    let follow = !arguments.no_follow;
    let upload = Upload { directory: arguments.directory.clone(), run: run.clone(), follow };
    let progress = RefCell::new(Progress::of(working_copy::extent(&upload.directory)));
    let lines = if follow { Lines::Welcome } else { Lines::Dropped };
    let (sender, telling) = tell(lines, true);
    let sending = send(cluster, &upload, &sender, |news| progress.borrow_mut().tell(news));
    let outcome = tokio::select! {
        outcome = Box::pin(sending) => Some(outcome),
        () = signals.next() => None,
    };
    let mut progress = progress.into_inner();
    progress.erase();
    drop(sender);
    let Some(outcome) = outcome else {
        if progress.is_done {
            let namespace = &cluster.namespace;
            complain(&format!(
                "interrupted: BuildRun {run} goes on\n  slipway logs -f -n {namespace} {run}   follows it\n  {CANCEL} {run} -n {namespace}   cancels it"
            ));
        } else {
            complain("interrupted before the source was there");
            give_up(cluster, &run, &mut signals).await;
        }
        return Ok(Exit::Failed);
    };
    if outcome.is_err() && !progress.is_done {
        give_up(cluster, &run, &mut signals).await;
    }
    let told = tokio::select! {
        told = told(telling) => told,
        // Whoever pauses the log and wants an end does without the rest of it.
        () = signals.next() => Ok(()),
    };
    if let Err(error) = told {
        complain(&format!("warning: {}", Chain(&error)));
    }
    match outcome? {
        Some(ended) => Ok(end(cluster, &ended)),
        None => print_text(&format!("{run}\n")).map(|()| Exit::Done),
    }
}

const CANCEL: &str =
    r#"kubectl patch --type merge -p '{"spec":{"state":"BuildRunCanceled"}}' buildrun"#;

/// Nobody else can bring the source of this run. One more signal waits for nothing.
async fn give_up(cluster: &Cluster, run: &str, signals: &mut Signals) {
    let canceled = tokio::select! {
        canceled = cancel(cluster, run) => canceled.map_err(|error| Chain(&error).to_string()),
        () = signals.next() => Err("interrupted".into()),
    };
    match canceled {
        Ok(()) => complain(&format!("BuildRun {run} is canceled, for its source will not come")),
        Err(why) => complain(&format!(
            "warning: BuildRun {run} waits for a source that will not come, and could not be canceled ({why}); to cancel it: {CANCEL} {run} -n {}",
            cluster.namespace
        )),
    }
}

/// Between two tellings, to people who watch and to files.
const OFTEN: Duration = Duration::from_millis(200);
const RARELY: Duration = Duration::from_secs(10);

/// How far the upload is.
struct Progress {
    extent: Extent,
    sent: u64,
    began: Option<Instant>,
    told: Option<Instant>,
    is_terminal: bool,
    is_drawn: bool,
    is_done: bool,
}

impl Progress {
    fn of(extent: Extent) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let (sent, began, told) = (0, None, None);
        Self { extent, sent, began, told, is_terminal, is_drawn: false, is_done: false }
    }

    fn tell(&mut self, news: Sending) {
        let began = *self.began.get_or_insert_with(Instant::now);
        match news {
            Sending::Bytes(count) => {
                self.sent += u64::try_from(count).unwrap_or_default();
                let pause = if self.is_terminal { OFTEN } else { RARELY };
                let told = *self.told.get_or_insert(began);
                if told.elapsed() >= pause {
                    self.told = Some(Instant::now());
                    self.draw();
                }
            }
            Sending::Done(left_out) => {
                self.erase();
                self.is_done = true;
                complain(&format!(
                    "uploaded {} files, {} in {:.1} s",
                    self.extent.files,
                    bytes(self.sent),
                    began.elapsed().as_secs_f64()
                ));
                for path in left_out {
                    let path = one_line(&path.display().to_string());
                    complain(&format!(
                        "note: {path} stays here: sockets, pipes and devices cannot be uploaded"
                    ));
                }
            }
        }
    }

    fn draw(&mut self) {
        // Long names make an archive a little longer than was thought.
        let whole = self.extent.bytes.max(self.sent);
        let line = format!("uploading: {} of {}", bytes(self.sent), bytes(whole));
        if self.is_terminal {
            self.erase();
            drop(write!(std::io::stderr(), "{line}"));
            self.is_drawn = true;
        } else {
            complain(&line);
        }
    }

    /// Takes the line off the screen.
    fn erase(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            drop(write!(std::io::stderr(), "\r\u{1b}[K"));
        }
    }
}
