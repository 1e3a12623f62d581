//! What people see of a run: log lines, live lines, a table of steps, what became of it all.
//!
//! Invariant: nothing that a step printed or reported moves the cursor of a terminal or changes its settings.

mod hint;
mod live;
mod log;
mod next_on_cluster;
mod report;
mod steps;
mod units;

use anstyle::Style;

use crate::plan::step_name;

pub use hint::{EXAMPLES, no_engine_hint};
pub use live::{LiveLine, live};
pub use log::Log;
pub use report::{Ending, Place, built_image, summary, table};
pub use steps::{Pull, Pulls, Standing, StepRow, announcements, other_pulls, steps};
pub use units::{bytes, duration};

/// Where text goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Somebody reads it on a terminal, which obeys control characters.
    pub terminal: bool,
    /// Colours are wanted.
    pub colour: bool,
}

/// Columns and lines of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

fn paint(text: &str, style: Style, colour: bool) -> String {
    if colour && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
}
