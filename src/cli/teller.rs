//! What a run on a cluster tells: its lines to standard output, all else to standard error.
//!
//! Invariant: standard output gets nothing but what containers printed.
//! Invariant: a standard output that takes no more ends no build.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _, Write as _};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::console::Manner;
use super::{Error, Exit, complain};
use crate::cluster::client::{Cluster, Ended, News};
use crate::plan::image_of;
use crate::view::one_line;
use crate::view::run::{
    Ending, Log, Output, Place, Pulls, Standing, announcements, steps, summary, table,
};

/// News that may wait for the reader.
const WAITING: usize = 256;

/// What becomes of the lines of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// They are printed, and once nobody takes them there is nothing more to do.
    Wanted,
    /// They are printed as long as somebody takes them; the work goes on without.
    Welcome,
    /// Standard output is for something else.
    Dropped,
}

/// The telling that goes on.
pub type Telling = JoinHandle<io::Result<()>>;

/// Tells what comes on a thread of its own, until nobody sends any more; `follows` tells how steps go on as well.
pub fn tell(lines: Lines, follows: bool) -> (Sender<News>, Telling) {
    let (sender, news) = channel(WAITING);
    (sender, tokio::task::spawn_blocking(move || Teller::new(lines, follows).tell(news)))
}

struct Teller {
    log: Log,
    output: Output,
    lines: Lines,
    follows: bool,
    /// How the steps of the newest pod stood.
    told: BTreeMap<String, Standing>,
    /// Steps and why they did not start.
    reasons: BTreeSet<(String, String)>,
    pod: Option<String>,
}

impl Teller {
    fn new(lines: Lines, follows: bool) -> Self {
        let colour = Manner::of_stderr().output.colour;
        let terminal = io::stdout().is_terminal();
        let output = Output { terminal, colour: colour && terminal };
        let log = Log::of(&Pod::default(), output);
        let (told, reasons) = (BTreeMap::new(), BTreeSet::new());
        Self { log, output, lines, follows, told, reasons, pod: None }
    }

    fn tell(mut self, mut news: Receiver<News>) -> io::Result<()> {
        let mut outcome = Ok(());
        while let Some(news) = news.blocking_recv() {
            match news {
                News::Note(note) => complain(&format!("note: {}", one_line(&note))),
                News::Line { .. } if self.lines == Lines::Dropped => {}
                News::Line { container, text } => {
                    let Err(error) = self.line(&container, &text) else { continue };
                    // A reader that has seen enough, such as `head`, is no failure.
                    if error.kind() != io::ErrorKind::BrokenPipe {
                        outcome = Err(error);
                    }
                    if self.lines == Lines::Wanted {
                        break;
                    }
                    self.lines = Lines::Dropped;
                }
                News::Pod(pod) => self.pod(&pod),
            }
        }
        outcome
    }

    fn line(&mut self, container: &str, text: &[u8]) -> io::Result<()> {
        let line = self.log.line(container, text);
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()
    }

    fn pod(&mut self, pod: &Pod) {
        if self.pod != pod.metadata.name {
            self.pod.clone_from(&pod.metadata.name);
            self.log = Log::of(pod, self.output);
            self.told.clear();
        }
        if !self.follows {
            return;
        }
        for row in steps(pod, &Pulls::new(), Timestamp::now()) {
            let nothing = Standing::Waiting { reason: None };
            let before = self.told.get(&row.name).unwrap_or(&nothing);
            for line in announcements(before, &row) {
                complain(&line);
            }
            if let Standing::Waiting { reason: Some(reason) } = &row.standing
                && self.reasons.insert((row.name.clone(), reason.clone()))
            {
                complain(&format!("{}: not started: {reason}", row.name));
            }
            self.told.insert(row.name, row.standing);
        }
    }
}

/// Tells what became of a run, and how to exit.
pub fn end(cluster: &Cluster, ended: &Ended) -> Exit {
    let run = &ended.run;
    let name = run.metadata.name.as_deref().unwrap_or_default();
    let status = run.status.clone().unwrap_or_default();
    let colour = Manner::of_stderr().output.colour;
    if ended.is_deleted && !run.is_done() {
        complain(&format!("error: BuildRun {name} was deleted before it ended"));
        return Exit::Failed;
    }
    if !run.is_done() {
        let said = status
            .succeeded()
            .map_or("the controller has not looked at it yet".into(), |condition| {
                format!("{}: {}", condition.reason, condition.message)
            });
        complain(&format!("BuildRun {name} has not ended: {}", one_line(&said)));
        return Exit::Done;
    }
    let none = Pod::default();
    let pod = ended.pod.as_ref().unwrap_or(&none);
    let place = Place::Cluster { run: name, namespace: &cluster.namespace };
    // Known since its start.
    let image = status.build_spec.as_ref().map(|build| image_of(run, build)).unwrap_or_default();
    let ending = Ending { status: &status, pod, image, place };
    let rows = steps(pod, &Pulls::new(), Timestamp::now());
    if ended.pod.is_none() && status.start_time.is_some() {
        complain("note: the pod of the run has gone, and its log with it");
    }
    let parts = [table(&rows, colour), summary(&ending, colour)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    complain(format!("\n{}", parts.join("\n")).trim_end());
    if status.has_succeeded() {
        Exit::Done
    } else if status.start_time.is_none() && !run.spec.is_canceled() {
        // It never had a pod.
        Exit::Refused
    } else {
        Exit::Failed
    }
}

/// Waits until all is told.
pub async fn told(telling: Telling) -> Result<(), Error> {
    let outcome = telling.await.map_err(|error| Error::Runtime(error.into()))?;
    outcome.map_err(|source| Error::Write { path: "standard output".into(), source })
}
