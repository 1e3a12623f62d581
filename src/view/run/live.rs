//! One line a step that is drawn again in its place while the run goes on.
//!
//! Invariant: no line is as wide as the terminal and together they are shorter than it, so that whoever draws them finds the way back.

use anstyle::{AnsiColor, Style};

use super::log::colour_of;
use super::{Size, Standing, StepRow, duration, one_line, paint, units};

/// A line for the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveLine {
    /// What to print.
    pub text: String,
    /// How many columns it takes.
    pub columns: usize,
}

/// Between the name and the state.
const GAP: &str = "  ";
/// A name is not cut further for the state's sake.
const LEAST_NAME: usize = 6;

/// The lines of the steps. Where there are more of them than the terminal has room for, those that are over and those that wait
/// become one line each.
pub fn live(rows: &[StepRow], size: Size, colour: bool) -> Vec<LiveLine> {
    let columns = size.width.saturating_sub(1);
    let lines = size.height.saturating_sub(1);
    let widest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
    let name_width = widest.min((columns / 2).max(LEAST_NAME)).min(columns);
    let line = |(at, row): (usize, &StepRow)| {
        let name = format!("{:name_width$}", cut(&one_line(&row.name), name_width));
        let (state, style) = state(&row.standing, row);
        let state = cut(&format!("{GAP}{state}"), columns - name_width);
        LiveLine {
            columns: name_width + state.chars().count(),
            text: paint(&name, colour_of(at), colour) + &paint(&state, style, colour),
        }
    };
    let of = |from: usize, to: usize| {
        rows[from..to].iter().enumerate().map(move |(at, row)| (from + at, row))
    };
    if rows.len() <= lines {
        return of(0, rows.len()).map(line).collect();
    }
    let counted = |count: usize, what: &str| {
        let text = cut(&format!("{count} {what}"), columns);
        LiveLine {
            columns: text.chars().count(),
            text: paint(&text, Style::new().dimmed(), colour),
        }
    };
    let first = rows.iter().position(|row| !row.standing.is_over()).unwrap_or(rows.len() - 1);
    // Too little room even for what is left out.
    if lines < 3 {
        return of(first, rows.len()).take(lines).map(line).collect();
    }
    let shown = lines - 2;
    let first = first.min(rows.len() - shown);
    let last = first + shown;
    let mut found = Vec::new();
    found.extend((first > 0).then(|| counted(first, "before")));
    found.extend(of(first, last).map(line));
    found.extend((last < rows.len()).then(|| counted(rows.len() - last, "after")));
    found
}

fn state(standing: &Standing, row: &StepRow) -> (String, Style) {
    let red = AnsiColor::Red.on_default();
    let dimmed = Style::new().dimmed();
    let ran = row.ran.map(|ran| format!(" {}", duration(ran))).unwrap_or_default();
    match standing {
        Standing::Waiting { reason: None } => ("waiting".into(), dimmed),
        Standing::Waiting { reason: Some(reason) } => (format!("waiting: {reason}"), dimmed),
        Standing::Pulling(pull) if pull.total > 0 => {
            (format!("pulling {}", units::part(pull.done, pull.total)), Style::new())
        }
        Standing::Pulling(pull) if pull.done > 0 => {
            (format!("pulling {}", units::bytes(pull.done)), Style::new())
        }
        Standing::Pulling(_) => ("pulling".into(), Style::new()),
        Standing::Running => (format!("running{ran}"), Style::new().bold()),
        Standing::Done => (format!("done{ran}"), AnsiColor::Green.on_default()),
        Standing::Failed { exit_code } => (format!("failed exit {exit_code}{ran}"), red),
        Standing::OutOfMemory => (format!("failed out of memory{ran}"), red),
        Standing::Skipped => ("skipped".into(), dimmed),
    }
}

/// The first characters; anything but ASCII is a question mark, because nobody knows how wide a terminal draws it.
fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns).map(|c| if c.is_ascii() { c } else { '?' }).collect()
}
