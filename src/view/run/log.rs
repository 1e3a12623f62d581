//! Lines that containers print, with the step's name in front.
//!
//! Invariant: on a terminal a line changes nothing but the colour of its own text.
//! Invariant: elsewhere the bytes behind the name are the container's own, whatever they are.

use anstyle::{AnsiColor, Style};
use k8s_openapi::api::core::v1::Pod;

use super::{Output, paint, step_name};

/// Red is for failures.
const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::Green,
    AnsiColor::BrightBlue,
];

/// The colour of the step at this place.
pub(super) fn colour_of(at: usize) -> Style {
    COLOURS[at % COLOURS.len()].on_default()
}

/// How the log of a pod is printed.
#[derive(Debug, Clone)]
pub struct Log {
    containers: Vec<String>,
    width: usize,
    output: Output,
}

impl Log {
    /// For the containers of this pod: their names take the same width.
    pub fn of(pod: &Pod, output: Output) -> Self {
        let steps = pod.spec.iter().flat_map(|spec| &spec.containers);
        let before = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let containers: Vec<_> =
            steps.chain(before).map(|container| container.name.clone()).collect();
        let width = containers.iter().map(|name| step_name(name).chars().count()).max();
        Self { width: width.unwrap_or_default(), containers, output }
    }

    /// A line of a container with everything that belongs to it, its end included.
    pub fn line(&self, container: &str, text: &[u8]) -> Vec<u8> {
        let name = step_name(container);
        let style = self
            .containers
            .iter()
            .position(|known| known == container)
            .map(colour_of)
            .unwrap_or_default();
        let fill = self.width.saturating_sub(name.chars().count()) + 1;
        let mut line = paint(&format!("[{name}]"), style, self.output.colour).into_bytes();
        if !text.is_empty() {
            line.extend(std::iter::repeat_n(b' ', fill));
        }
        line.extend(self.shown(text));
        line.push(b'\n');
        line
    }

    /// Text as this output shows it. Where colours are asked for, somebody will look at it on a terminal sooner or later.
    pub fn shown(&self, text: &[u8]) -> Vec<u8> {
        if self.output.terminal || self.output.colour {
            harmless(text, self.output.colour).into_bytes()
        } else {
            text.to_vec()
        }
    }
}

const RESET: &str = "\u{1b}[0m";

/// What a terminal would show at last of a line that a program wrote over several times, without what else it would do.
fn harmless(text: &[u8], colour: bool) -> String {
    let text = String::from_utf8_lossy(text);
    let mut written = text.rsplit('\r').map(|text| part(text, colour));
    written.find(|part| part.visible).map(|part| part.text).unwrap_or_default()
}

struct Part {
    text: String,
    visible: bool,
}

/// Colours stay and end with the line, other control sequences go, other control characters are written out as `cat -v` does.
fn part(text: &str, colour: bool) -> Part {
    let mut shown = Part { text: String::new(), visible: false };
    let mut coloured = false;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = control_sequence(rest) {
            if colour && is_colour(&rest[..length]) {
                shown.text.push_str(&rest[..length]);
                coloured = true;
            }
            rest = &rest[length..];
            continue;
        }
        match first {
            '\t' => shown.text.push('\t'),
            '\u{0}'..='\u{1f}' | '\u{7f}' => {
                shown.text.push('^');
                shown.text.push(char::from(first as u8 ^ 0x40));
            }
            // Terminals take these for sequences of the first kind.
            '\u{80}'..='\u{9f}' => shown.text.push(char::REPLACEMENT_CHARACTER),
            _ => shown.text.push(first),
        }
        shown.visible = true;
        rest = &rest[first.len_utf8()..];
    }
    if coloured {
        shown.text.push_str(RESET);
    }
    shown
}

/// Length of the control sequence (`ESC [ … letter`) that the text begins with.
fn control_sequence(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\u{1b}[")?;
    let inner = body.bytes().take_while(|byte| (0x20..0x40).contains(byte)).count();
    let last = body.as_bytes().get(inner)?;
    (0x40..0x7f).contains(last).then_some(2 + inner + 1)
}

fn is_colour(sequence: &str) -> bool {
    let body = sequence.strip_prefix("\u{1b}[").and_then(|body| body.strip_suffix('m'));
    body.is_some_and(|body| body.bytes().all(|byte| byte.is_ascii_digit() || b";:".contains(&byte)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(terminal: bool, colour: bool) -> Log {
        let container = |name: &str| json!({ "name": name });
        let pod = json!({ "spec": {
            "containers": [container("step-source-default"), container("step-build")],
            "initContainers": [container("prepare")],
        } });
        Log::of(&serde_json::from_value(pod).unwrap(), Output { terminal, colour })
    }

    fn line(log: &Log, container: &str, text: &[u8]) -> String {
        String::from_utf8(log.line(container, text)).unwrap()
    }

    #[test]
    fn names_stand_in_front_and_are_lined_up() {
        let log = log(false, false);
        assert_eq!(line(&log, "step-build", b"text"), "[build]          text\n");
        assert_eq!(line(&log, "step-source-default", b"text"), "[source-default] text\n");
        assert_eq!(line(&log, "prepare", b""), "[prepare]\n");
        let other = "[somebody-who-is-not-in-the-pod] text\n";
        assert_eq!(line(&log, "somebody-who-is-not-in-the-pod", b"text"), other);
    }

    #[test]
    fn a_file_gets_the_bytes_as_they_are() {
        let text = b"\x1b[31mred\x1b[2J 10%\r20%\xff\x07\r";
        let expected = [b"[build]          ", &text[..], b"\n"].concat();
        assert_eq!(log(false, false).line("step-build", text), expected);
    }

    #[test]
    fn steps_have_colours_of_their_own() {
        let log = log(true, true);
        assert_eq!(
            line(&log, "step-source-default", b"a"),
            "\u{1b}[36m[source-default]\u{1b}[0m a\n"
        );
        assert_eq!(line(&log, "step-build", b"a"), "\u{1b}[33m[build]\u{1b}[0m          a\n");
        let bare = "[build]          a\n";
        assert_eq!(line(&super::tests::log(true, false), "step-build", b"a"), bare);
    }

    #[test]
    fn a_terminal_obeys_only_colours() {
        for (text, coloured, bare) in [
            (&b"plain"[..], "plain", "plain"),
            (b"a\tb", "a\tb", "a\tb"),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n", "gr\u{fc}n"),
            (b"\x1b[1;31mred", "\u{1b}[1;31mred\u{1b}[0m", "red"),
            (b"\x1b[38:2::1:2:3mx\x1b[m", "\u{1b}[38:2::1:2:3mx\u{1b}[m\u{1b}[0m", "x"),
            (b"a\x1b[2Jb\x1b[10;20Hc\x1b[?1049hd\x1b[6ne", "abcde", "abcde"),
            (b"\x1b[>1mx", "x", "x"),
            (b"\x1b]0;title\x07x", "^[]0;title^Gx", "^[]0;title^Gx"),
            (b"\x1bcx\x1b", "^[cx^[", "^[cx^["),
            (b"\x1b[", "^[[", "^[["),
            (b"\x1b[12\x18x", "^[[12^Xx", "^[[12^Xx"),
            (b"a\x08b\x7f\x00", "a^Hb^?^@", "a^Hb^?^@"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}"),
            ("\u{9b}2J".as_bytes(), "\u{fffd}2J", "\u{fffd}2J"),
            (b"10%\r20%\r30%", "30%", "30%"),
            (b"line\r", "line", "line"),
            (b"100%\r\x1b[K", "100%", "100%"),
            (b"\r\r", "", ""),
        ] {
            assert_eq!(harmless(text, true), coloured, "{text:?}");
            assert_eq!(harmless(text, false), bare, "{text:?}");
        }
    }

    #[test]
    fn a_line_may_be_long() {
        let text = vec![b'x'; 1 << 20];
        assert_eq!(harmless(&text, true).len(), text.len());
    }
}
