//! One line a step that is drawn again in its place while the run goes on.
//!
//! Invariant: no line is as wide as the terminal and together they are shorter than it, so that whoever draws them finds the way back.

use anstyle::{AnsiColor, Style};

use super::log::colour_of;
use super::{Size, Standing, StepRow, duration, paint, units};
use crate::view::one_line;

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
    let names: Vec<_> = rows.iter().map(|row| one_line(&row.name)).collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let name_width = widest.min((columns / 2).max(LEAST_NAME)).min(columns);
    let line = |(at, row): (usize, &StepRow)| {
        let name = format!("{:name_width$}", cut(&names[at], name_width));
        let (state, style) = state(&row.standing, row);
        let state = cut(&format!("{GAP}{state}"), columns - name_width);
        let state = state.trim_end();
        LiveLine {
            columns: name_width + state.chars().count(),
            text: paint(&name, colour_of(at), colour) + &paint(state, style, colour),
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

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;

    use super::*;
    use crate::view::run::Pull;

    fn row(name: &str, standing: Standing) -> StepRow {
        let ran = (standing != WAITING).then_some(SignedDuration::from_millis(3200));
        StepRow { name: name.into(), identity: String::new(), standing, waited: None, ran }
    }

    const WAITING: Standing = Standing::Waiting { reason: None };

    fn text(rows: &[StepRow], width: usize, height: usize) -> String {
        let lines = live(rows, Size { width, height }, false);
        lines.into_iter().map(|line| line.text + "\n").collect()
    }

    fn every_standing() -> Vec<StepRow> {
        let pulling = |done: u64, total: u64| {
            Standing::Pulling(Pull { done: done << 20, total: total << 20 })
        };
        vec![
            row("source-default", Standing::Done),
            row("a", Standing::Running),
            row("b", pulling(12, 40)),
            row("c", pulling(12, 0)),
            row("d", pulling(0, 0)),
            row("e", Standing::Failed { exit_code: 3 }),
            row("f", Standing::OutOfMemory),
            row("g", Standing::Skipped),
            row("h", Standing::Waiting { reason: Some("ErrImagePull".into()) }),
            row("i", WAITING),
        ]
    }

    #[test]
    fn every_state_has_its_words() {
        insta::assert_snapshot!(text(&every_standing(), 80, 24), @r"
        source-default  done 3.2 s
        a               running 3.2 s
        b               pulling 12/40 MiB
        c               pulling 12.0 MiB
        d               pulling
        e               failed exit 3 3.2 s
        f               failed out of memory 3.2 s
        g               skipped
        h               waiting: ErrImagePull
        i               waiting
        ");
        insta::assert_snapshot!(text(&every_standing()[..3], 20, 24), @r"
        source-de  done 3.2
        a          running
        b          pulling
        ");
    }

    #[test]
    fn the_steps_that_go_on_are_shown_where_not_all_can_be() {
        let states = |done: usize| {
            let state = |at: usize| match at {
                at if at < done => Standing::Done,
                at if at == done => Standing::Running,
                _ => WAITING,
            };
            (0..60).map(|at| row(&format!("s{at}"), state(at))).collect::<Vec<_>>()
        };
        insta::assert_snapshot!(text(&states(30), 80, 6), @r"
        30 before
        s30  running 3.2 s
        s31  waiting
        s32  waiting
        27 after
        ");
        for done in 0..60 {
            assert!(text(&states(done), 80, 6).contains("running"), "{done}");
        }
        assert_eq!(text(&states(30), 80, 2), "s30  running 3.2 s\n");
    }

    #[test]
    fn lines_are_never_as_wide_or_as_many_as_the_terminal_has() {
        let rows = every_standing();
        for width in 0..90 {
            for height in 0..14 {
                let lines = live(&rows, Size { width, height }, true);
                assert!(lines.len() < height.max(1), "{width}x{height}: {lines:?}");
                for line in &lines {
                    assert!(line.columns < width.max(1), "{width}x{height}: {line:?}");
                }
                let bare = live(&rows, Size { width, height }, false);
                for (line, bare) in lines.iter().zip(&bare) {
                    assert_eq!(bare.text.chars().count(), bare.columns);
                    assert_eq!(line.columns, bare.columns);
                }
            }
        }
    }

    #[test]
    fn names_from_elsewhere_cannot_break_a_line() {
        let rows = [row("a\u{1b}[2J\n\u{4e2d}", Standing::Running)];
        assert_eq!(text(&rows, 80, 24), "a\\u{1b}[2J\\n?  running 3.2 s\n");
    }
}
