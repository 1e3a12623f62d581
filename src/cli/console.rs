//! What a run tells, written for people: log lines, live lines below them on a terminal, a table at the end.
//!
//! Invariant: a reader that went away never ends a build.
//! Invariant: the cursor is never hidden and no mode of the terminal is changed: whatever ends this program leaves a usable terminal.
//!
//! On a terminal the log lines of a tenth of a second are written in one piece with the live lines, else they would flicker.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::local::Happening;
use crate::view::run::{
    self, Ending, LiveLine, Log, Output, Pull, Pulls, Size, Standing, StepRow, announcements,
    duration,
};

/// Between two drawings of the live lines.
const PAUSE: SignedDuration = SignedDuration::from_millis(100);
/// As much of the log is not held back any longer.
const MOST_PENDING: usize = 64 << 10;

/// How a run is shown.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Where it goes to.
    pub output: Output,
    /// Whether lines may be drawn again.
    pub live: bool,
    /// Asks how large the terminal is now.
    pub size: fn() -> Size,
}

impl Manner {
    /// As standard error and the environment of this process want it.
    pub fn of_stderr() -> Self {
        Self::chosen(io::stderr().is_terminal(), |name: &str| std::env::var(name).ok())
    }

    fn chosen(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|name| name == "dumb");
        let forced = set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let unwanted = set("CLICOLOR").is_some_and(|value| value == "0");
        let colour = set("NO_COLOR").is_none() && (forced || (terminal && !dumb && !unwanted));
        Self { output: Output { terminal, colour }, live: terminal && !dumb, size: size_of_stderr }
    }
}

fn size_of_stderr() -> Size {
    let (width, height) = terminal_size::terminal_size_of(io::stderr())
        .map_or((80, 24), |(width, height)| (width.0, height.0));
    // Some serial lines say 0.
    let known = |value: u16, default| if value == 0 { default } else { usize::from(value) };
    Size { width: known(width, 80), height: known(height, 24) }
}

/// Shows what comes until nobody tells any more, and gives the console back for the end.
///
/// On a thread of its own: a reader that stops reading, such as a pager, stops nothing but the steps that print more than can wait.
pub fn show<W: Write + Send + 'static>(
    mut console: Console<W>,
    mut news: UnboundedReceiver<Happening>,
) -> JoinHandle<Console<W>> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            // Twice as often as lines are drawn, else a tick that is a little early costs a whole pause.
            let mut ticks = tokio::time::interval(PAUSE.unsigned_abs() / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    happening = news.recv() => match happening {
                        Some(happening) => console.tell(happening),
                        None => break,
                    },
                    _ = ticks.tick() => console.tick(),
                }
            }
        });
        console
    })
}

/// Shows one run.
#[derive(Debug)]
pub struct Console<W: Write> {
    out: W,
    broken: bool,
    manner: Manner,
    log: Log,
    pod: Pod,
    pulls: Pulls,
    pulls_began: BTreeMap<String, Timestamp>,
    told: Vec<Standing>,
    pending: Vec<u8>,
    drawn: Vec<LiveLine>,
    drawn_at: Option<Timestamp>,
}

impl<W: Write> Console<W> {
    /// For the run of this pod, which need not have a status yet.
    pub fn new(pod: &Pod, out: W, manner: Manner) -> Self {
        Self {
            out,
            broken: false,
            manner,
            log: Log::of(pod, manner.output),
            pod: pod.clone(),
            pulls: Pulls::new(),
            pulls_began: BTreeMap::new(),
            told: Vec::new(),
            pending: Vec::new(),
            drawn: Vec::new(),
            drawn_at: None,
        }
    }

    /// Shows a piece of news.
    pub fn tell(&mut self, happening: Happening) {
        self.tell_at(happening, Timestamp::now());
    }

    /// Lets the live lines go on; to be called some times a second.
    pub fn tick(&mut self) {
        self.draw(Timestamp::now());
    }

    /// Ends the live lines and says what became of the run.
    pub fn finish(mut self, ending: &Ending<'_>) {
        self.finish_at(ending, Timestamp::now());
    }

    fn tell_at(&mut self, happening: Happening, now: Timestamp) {
        match happening {
            Happening::Note(note) => {
                for line in note.lines() {
                    self.say(&format!("note: {line}"));
                }
            }
            Happening::Pulling { image, done, total } => {
                if !self.pulls.contains_key(&image) {
                    self.pulls_began.insert(image.clone(), now);
                    if !self.manner.live {
                        self.say(&format!("pulling {image}"));
                    }
                }
                self.pulls.insert(image, Pull { done, total });
            }
            Happening::Pulled { image } => {
                self.pulls.remove(&image);
                let took = self.pulls_began.remove(&image).map(|began| now.duration_since(began));
                let took = took.map(|took| format!(" in {}", duration(took))).unwrap_or_default();
                self.say(&format!("pulled {image}{took}"));
            }
            Happening::Line { container, text, room: _ } => {
                self.pending.extend(self.log.line(&container, &text));
            }
            Happening::Pod(pod) => {
                self.pod = *pod;
                // An image that cannot be pulled may be here already: then nobody says that it came.
                let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
                if phase.is_some_and(|phase| phase != "Pending") {
                    self.pulls.clear();
                }
                self.announce(now);
            }
        }
        self.draw(now);
    }

    fn finish_at(&mut self, ending: &Ending<'_>, now: Timestamp) {
        self.end_live();
        let rows = self.rows(now);
        let colour = self.manner.output.colour;
        let parts = [run::table(&rows, colour), run::summary(ending, colour)];
        for part in parts.iter().filter(|part| !part.is_empty()) {
            self.write(format!("\n{part}").as_bytes());
        }
    }

    /// A line of our own.
    fn say(&mut self, line: &str) {
        let line = self.log.shown(line.as_bytes());
        self.pending.extend(line);
        self.pending.push(b'\n');
    }

    /// Where nothing is live, says what has changed.
    fn announce(&mut self, now: Timestamp) {
        if self.manner.live {
            return;
        }
        let rows = self.rows(now);
        let nothing = Standing::Waiting { reason: None };
        for (at, row) in rows.iter().enumerate() {
            for line in announcements(self.told.get(at).unwrap_or(&nothing), row) {
                self.say(&line);
            }
        }
        self.told = rows.into_iter().map(|row| row.standing).collect();
    }

    fn rows(&self, now: Timestamp) -> Vec<StepRow> {
        run::steps(&self.pod, &self.pulls, now)
    }

    /// Writes what is pending and draws the live lines, unless they were drawn a moment ago.
    fn draw(&mut self, now: Timestamp) {
        if !self.manner.live {
            let pending = std::mem::take(&mut self.pending);
            self.write(&pending);
            return;
        }
        let fresh = self
            .drawn_at
            .is_some_and(|at| (SignedDuration::ZERO..PAUSE).contains(&now.duration_since(at)));
        if fresh && self.pending.len() < MOST_PENDING {
            return;
        }
        let size = (self.manner.size)();
        let mut rows = self.rows(now);
        rows.extend(run::other_pulls(&self.pod, &self.pulls));
        let lines = run::live(&rows, size, self.manner.output.colour);
        self.drawn_at = Some(now);
        if self.pending.is_empty() && lines == self.drawn {
            return;
        }
        let mut text = self.erasure(size);
        text.append(&mut self.pending);
        for line in &lines {
            text.extend_from_slice(line.text.as_bytes());
            text.push(b'\n');
        }
        self.drawn = lines;
        self.write(&text);
    }

    /// What takes the live lines off the screen. A terminal that became narrower has broken them into several.
    fn erasure(&self, size: Size) -> Vec<u8> {
        if self.drawn.is_empty() {
            return Vec::new();
        }
        let width = size.width.max(1);
        let up: usize = self.drawn.iter().map(|line| line.columns.div_ceil(width).max(1)).sum();
        // To the first column too: the terminal may have echoed a key.
        format!("\r\u{1b}[{up}A\u{1b}[J").into_bytes()
    }

    fn end_live(&mut self) {
        let mut text = self.erasure((self.manner.size)());
        text.append(&mut self.pending);
        self.drawn.clear();
        self.write(&text);
    }

    /// Whether anybody reads is none of the build's business: the first failure is the last try.
    fn write(&mut self, text: &[u8]) {
        if self.broken || text.is_empty() {
            return;
        }
        self.broken = self.out.write_all(text).and_then(|()| self.out.flush()).is_err();
    }
}

/// Whatever ends the run, what was held back is written and no live line stays.
impl<W: Write> Drop for Console<W> {
    fn drop(&mut self) {
        self.end_live();
    }
}

#[cfg(test)]
mod screen;
#[cfg(test)]
mod tests;
