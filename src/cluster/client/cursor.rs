//! Where in a container's log a reader stands, so that it can go on after its connection broke.
//!
//! Invariant: each line comes out once and in order, however often the log is read again from [`Cursor::since`] on.
//! Invariant: memory does not grow with the log, nor with one line of it.
//!
//! The API server gives every line a time, and reads from a second on that one names: the lines of that second come again. Their number is
//! known, so as many are skipped. Where a node's clock is seen to go back, times say nothing, and the log is read from its beginning. Where
//! it first goes back while the connection is broken, the API server leaves out what is older than the second that is asked for.

use k8s_openapi::jiff::Timestamp;

/// A longer line comes out in several pieces.
const LONGEST_LINE: usize = 1 << 20;

/// A reader's place in one log.
#[derive(Debug, Default)]
pub struct Cursor {
    /// The second of the newest line that came out.
    second: Option<i64>,
    /// Lines of that second that came out.
    in_second: u64,
    /// All lines that came out.
    in_all: u64,
    newest: Option<Timestamp>,
    went_back: bool,
    /// Bytes that came out of the line behind them.
    of_next: usize,
    reading: Reading,
}

/// What is known of the read that is under way.
#[derive(Debug, Default)]
struct Reading {
    /// Lines of before that still come.
    again: u64,
    /// Bytes of the next line that came out before.
    cut: usize,
    /// It does not begin with the log.
    is_later: bool,
    line: Vec<u8>,
    /// The line's beginning came out of this read already.
    is_middle: bool,
    /// The line came out before.
    is_known: bool,
}

impl Cursor {
    /// From when on the log is to be read; from its beginning where nothing is said.
    pub fn since(&self) -> Option<Timestamp> {
        let second = self.second.filter(|_| !self.went_back)?;
        Timestamp::from_second(second).ok()
    }

    /// A new read begins.
    pub fn begin(&mut self) {
        let is_later = self.since().is_some();
        let again = if is_later { self.in_second } else { self.in_all };
        self.reading = Reading { again, cut: self.of_next, is_later, ..Reading::default() };
    }

    /// Takes what was read; the lines that are new, without their ends.
    pub fn take(&mut self, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.reading.line.extend_from_slice(part);
            if end.is_some() {
                lines.extend(self.end_of_line());
            } else if self.reading.line.len() >= LONGEST_LINE {
                lines.extend(self.piece());
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        lines
    }

    /// The log has ended; what stands behind its last line's end is new as well.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        if self.reading.line.is_empty() && !self.reading.is_middle {
            return None;
        }
        self.end_of_line()
    }

    fn end_of_line(&mut self) -> Option<Vec<u8>> {
        let (text, time) = self.text();
        let is_known = std::mem::take(&mut self.reading.is_known);
        let was_middle = std::mem::take(&mut self.reading.is_middle);
        let text = text?;
        if is_known {
            return None;
        }
        let time = time.or(self.newest.filter(|_| was_middle));
        self.count(time);
        let cut = std::mem::take(&mut self.reading.cut);
        self.of_next = 0;
        let rest = text.get(cut..).unwrap_or_default();
        let is_out = rest.is_empty() && (cut > 0 || was_middle);
        (!is_out).then(|| rest.to_vec())
    }

    /// The beginning of a line that is too long to be kept.
    fn piece(&mut self) -> Option<Vec<u8>> {
        let (text, time) = self.text();
        self.reading.is_middle = true;
        let text = text.filter(|_| !self.reading.is_known)?;
        // Its time counts once it is whole, and is wanted then.
        self.newest = self.newest.max(time);
        let known = self.reading.cut.min(text.len());
        self.reading.cut -= known;
        self.of_next += text.len() - known;
        (known < text.len()).then(|| text[known..].to_vec())
    }

    /// What is kept of the line, without its time. Nothing where it is no line of the log.
    fn text(&mut self) -> (Option<Vec<u8>>, Option<Timestamp>) {
        let mut line = std::mem::take(&mut self.reading.line);
        if self.reading.is_middle {
            return (Some(line), None);
        }
        let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let time = std::str::from_utf8(&line[..end]).ok().and_then(|time| time.parse().ok());
        let Some(time) = time else {
            // The rest of a line that began earlier; else what the node says in place of a log.
            return (Some(line).filter(|_| !self.reading.is_later), None);
        };
        line.drain(..line.len().min(end + 1));
        self.reading.is_known = self.is_known(time);
        (Some(line), Some(time))
    }

    fn is_known(&mut self, time: Timestamp) -> bool {
        let reading = &mut self.reading;
        if reading.again == 0 {
            return false;
        }
        // The node has removed the oldest part of the log.
        if !self.went_back && Some(time) > self.newest {
            reading.again = 0;
            return false;
        }
        reading.again -= 1;
        true
    }

    fn count(&mut self, time: Option<Timestamp>) {
        let Some(time) = time else { return };
        self.in_all += 1;
        self.newest = self.newest.max(Some(time));
        let second = time.as_second();
        if self.second.is_none_or(|known| known < second) {
            self.second = Some(second);
            self.in_second = 1;
        } else {
            self.in_second += 1;
            self.went_back |= self.second.is_some_and(|known| second < known);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log as the API server sends it from a second on.
    fn sent(log: &[(i64, i32, String)], since: Option<Timestamp>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (second, nanosecond, text) in log {
            let time = Timestamp::new(*second, *nanosecond).unwrap();
            if since.is_none_or(|since| time >= since) {
                bytes.extend(format!("{time} {text}\n").into_bytes());
            }
        }
        bytes
    }

    fn texts(lines: Vec<Vec<u8>>) -> Vec<String> {
        lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    fn line(second: i64, text: &str) -> (i64, i32, String) {
        (second, 0, text.into())
    }

    proptest! {
        /// Wherever the connection breaks, whatever lines share a second or a time, and wherever the clock goes once it was seen to go
        /// back.
        #[test]
        fn each_line_comes_once_however_often_the_connection_breaks(
            lines in prop::collection::vec((0..4_i64, 0..3_i32, "[a-c ]{0,6}"), 0..40),
            is_steady in any::<bool>(),
            cuts in prop::collection::vec(0..400_usize, 0..8),
        ) {
            let mut log = lines;
            let mut seen = 0;
            if is_steady {
                log.sort_by_key(|(second, nanosecond, _)| (*second, *nanosecond));
            } else {
                log.splice(0..0, [line(2, "before"), line(1, "after")]);
                seen = sent(&log[..2], None).len();
            }
            let mut cursor = Cursor::default();
            let mut found = Vec::new();
            for cut in cuts {
                let bytes = sent(&log, cursor.since());
                cursor.begin();
                let cut = (seen + cut).min(bytes.len());
                for part in bytes[..cut].chunks(7) {
                    found.extend(cursor.take(part));
                }
            }
            let bytes = sent(&log, cursor.since());
            cursor.begin();
            found.extend(cursor.take(&bytes));
            found.extend(cursor.finish());
            let expected: Vec<_> = log.into_iter().map(|(_, _, text)| text).collect();
            prop_assert_eq!(texts(found), expected);
        }
    }

    #[test]
    fn the_last_line_may_lack_its_end() {
        let mut cursor = Cursor::default();
        cursor.begin();
        assert_eq!(texts(cursor.take(b"1970-01-01T00:00:01Z a\n1970-01-01T00:00:01.5Z b")), ["a"]);
        // It broke, and is read again.
        cursor.begin();
        assert!(cursor.take(b"1970-01-01T00:00:01Z a\n1970-01-01T00:00:01.5Z b").is_empty());
        assert_eq!(texts(cursor.finish().into_iter().collect()), ["b"]);
    }

    #[test]
    fn what_the_node_has_removed_is_not_waited_for() {
        let log: Vec<_> = (0..5).map(|at| (1, at, format!("{at}"))).collect();
        let mut cursor = Cursor::default();
        cursor.begin();
        assert_eq!(cursor.take(&sent(&log[..3], None)).len(), 3);
        cursor.begin();
        assert_eq!(texts(cursor.take(&sent(&log[3..], cursor.since()))), ["3", "4"]);
    }

    #[test]
    fn a_line_of_any_length_is_told_in_pieces_once() {
        let long = "x".repeat(LONGEST_LINE * 2 + 5);
        let lines = [line(1, "a"), line(1, &long), line(2, "b")];
        let bytes = sent(&lines, None);
        let mut cursor = Cursor::default();
        let mut found = Vec::new();
        for cut in [LONGEST_LINE + 100, LONGEST_LINE + 50_000, bytes.len() - 30, bytes.len()] {
            assert_eq!(sent(&lines, cursor.since()).len(), bytes.len());
            cursor.begin();
            for part in bytes[..cut].chunks(8 << 10) {
                found.extend(cursor.take(part));
                assert!(cursor.reading.line.len() < LONGEST_LINE + (8 << 10));
            }
        }
        let found = texts(found);
        assert_eq!((&*found[0], found.last().unwrap().as_str()), ("a", "b"));
        assert_eq!(found[1..found.len() - 1].concat(), long);
    }

    #[test]
    fn what_a_node_says_in_place_of_a_log_is_told() {
        let mut cursor = Cursor::default();
        cursor.begin();
        let text = "unable to retrieve container logs for containerd://abc";
        assert!(cursor.take(text.as_bytes()).is_empty());
        assert_eq!(texts(cursor.finish().into_iter().collect()), [text]);
    }
}
