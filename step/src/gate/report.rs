//! Which results fit the report of a step, and what is said about those that do not.
//!
//! Invariant: pure; the encoded report is at most `budget` bytes and holds whole results only, two excepted that are shortened
//! at whole entries and whole characters.
//!
//! kubelet cuts termination messages without a word, and a digest that lost its end is worse than a step that failed.

use crate::protocol::results::{
    ERROR_MESSAGE, ERROR_REASON, IMAGE_VULNERABILITIES, RESULT_TOO_LARGE, RESULT_UNREADABLE,
    Report, encode,
};
use crate::protocol::{RESULTS_DIR, result_path};

/// A result that the command changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) name: String,
    pub(super) content: Content,
}

/// What is in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The first bytes of the file, all of them unless it is huge.
    Bytes { head: Vec<u8>, size: u64 },
    /// The file is there and cannot be read.
    Unreadable { problem: String },
}

/// A report that fits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Composed {
    pub(super) report: Report,
    /// For the log: what was shortened or left out.
    pub(super) lines: Vec<String>,
    /// A result was left out: a command that ended well has failed nevertheless.
    pub(super) failed: bool,
}

/// A result that was left out.
#[derive(Debug)]
struct Failure {
    reason: &'static str,
    message: String,
}

/// Puts what changed into at most `budget` bytes. Where something must be left out, a command that ended well gets the reason;
/// one that failed keeps its own.
pub(super) fn compose(changed: Vec<Changed>, ended_well: bool, budget: usize) -> Composed {
    let mut failures = Vec::new();
    let mut report = Report::new();
    for Changed { name, content } in changed {
        match text(&name, content, budget) {
            Ok(text) => {
                report.insert(name, text);
            }
            Err(failure) => failures.push(failure),
        }
    }
    loop {
        let mut candidate = report.clone();
        if ended_well && let Some(first) = failures.first() {
            let messages: Vec<_> = failures.iter().map(|failure| &*failure.message).collect();
            candidate.insert(ERROR_REASON.into(), first.reason.into());
            candidate.insert(ERROR_MESSAGE.into(), messages.join("; "));
        }
        if let Some((report, shortened)) = fit(candidate, budget) {
            let failed = !failures.is_empty();
            let lines = failures.into_iter().map(|failure| failure.message);
            return Composed { report, lines: lines.chain(shortened).collect(), failed };
        }
        let Some(largest) = largest_rigid(&report) else {
            // Not even the reason fits.
            let lines = failures.into_iter().map(|failure| failure.message);
            let last =
                format!("no room for any result in the {budget} bytes of this step's report");
            return Composed {
                report: Report::new(),
                lines: lines.chain([last]).collect(),
                failed: true,
            };
        };
        if let Some(text) = report.remove(&largest) {
            failures.push(too_large(&largest, text.len() as u64, budget));
        }
    }
}

/// The text of a result that may fit, cut where only the head of the file is known.
fn text(name: &str, content: Content, budget: usize) -> Result<String, Failure> {
    let unreadable = |problem: &str| Failure {
        reason: RESULT_UNREADABLE,
        message: format!("result {name} cannot be reported: {} {problem}", result_path(name)),
    };
    let (mut head, size) = match content {
        Content::Bytes { head, size } => (head, size),
        Content::Unreadable { problem } => {
            return Err(unreadable(&format!("cannot be read: {problem}")));
        }
    };
    let whole = head.len() as u64 >= size;
    if !whole && !is_flexible(name) {
        return Err(too_large(name, size, budget));
    }
    if let Err(error) = std::str::from_utf8(&head) {
        // A character that the cut went through is no fault of the step.
        if whole || error.error_len().is_some() {
            return Err(unreadable("is not UTF-8 text"));
        }
        head.truncate(error.valid_up_to());
    }
    let mut text = String::from_utf8(head).map_err(|_| unreadable("is not UTF-8 text"))?;
    if !whole && name == IMAGE_VULNERABILITIES {
        text.truncate(text.rfind(',').unwrap_or_default());
    }
    Ok(text)
}

fn too_large(name: &str, size: u64, budget: usize) -> Failure {
    Failure {
        reason: RESULT_TOO_LARGE,
        message: format!(
            "result {name} is too large: {size} bytes, and all results of this step may take {budget}; \
             write less to {RESULTS_DIR}/{name}, or keep it in the image"
        ),
    }
}

fn is_flexible(name: &str) -> bool {
    name == IMAGE_VULNERABILITIES || name == ERROR_MESSAGE
}

/// The result that takes most and may not be shortened.
fn largest_rigid(report: &Report) -> Option<String> {
    report
        .iter()
        .filter(|(name, _)| !is_flexible(name))
        .max_by_key(|(name, text)| entry_size(name, text))
        .map(|(name, _)| name.clone())
}

fn entry_size(name: &str, text: &str) -> usize {
    encode(&Report::from([(name.to_owned(), text.to_owned())])).len()
}

fn fits(report: &Report, budget: usize) -> bool {
    encode(report).len() <= budget
}

/// The report with as much of the two flexible results as fits, and a line for each that was shortened.
fn fit(mut report: Report, budget: usize) -> Option<(Report, Vec<String>)> {
    let mut lines = Vec::new();
    for (name, unit, shorten) in [
        (IMAGE_VULNERABILITIES, "entries", most_severe as fn(&str, usize) -> String),
        (ERROR_MESSAGE, "characters", first_characters),
    ] {
        if fits(&report, budget) {
            break;
        }
        let Some(text) = report.remove(name) else { continue };
        let total = if unit == "entries" { entries(&text).count() } else { text.chars().count() };
        let fitting = |count: usize| {
            let mut shortened = report.clone();
            shortened.insert(name.to_owned(), shorten(&text, count));
            fits(&shortened, budget).then_some(shortened)
        };
        let kept = largest(total, |count| fitting(count).is_some());
        lines.push(format!(
            "result {name} shortened to {kept} of {total} {unit} to fit the {budget} bytes of this step's report"
        ));
        // Nothing left of it: the name alone would only take room.
        if kept > 0
            && let Some(shortened) = fitting(kept)
        {
            report = shortened;
        }
    }
    fits(&report, budget).then_some((report, lines))
}

/// The largest number up to `total` that passes, 0 if none does; whatever is below a number that passes does so too.
fn largest(total: usize, passes: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, total);
    while low < high {
        let middle = high - (high - low) / 2;
        if passes(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|entry| !entry.is_empty())
}

/// The `count` most severe entries, in the order in which they are listed.
fn most_severe(text: &str, count: usize) -> String {
    let mut ranked: Vec<_> = entries(text).enumerate().collect();
    ranked.sort_by_key(|(_, entry)| rank(entry));
    ranked.truncate(count);
    ranked.sort_by_key(|(position, _)| *position);
    let kept: Vec<_> = ranked.into_iter().map(|(_, entry)| entry).collect();
    kept.join(",")
}

/// 0 is the most severe; what nobody knows counts least.
fn rank(entry: &str) -> usize {
    let severity = entry.rsplit_once(':').map_or("", |(_, severity)| severity.trim());
    ["c", "h", "m", "l"].iter().position(|known| known.eq_ignore_ascii_case(severity)).unwrap_or(4)
}

fn first_characters(text: &str, count: usize) -> String {
    text.chars().take(count).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::protocol::results::{IMAGE_DIGEST, decode};

    fn changed(name: &str, text: &str) -> Changed {
        let content = Content::Bytes { head: text.into(), size: text.len() as u64 };
        Changed { name: name.into(), content }
    }

    fn reason(composed: &Composed) -> Option<&str> {
        composed.report.get(ERROR_REASON).map(String::as_str)
    }

    #[test]
    fn what_fits_is_reported_as_it_is() {
        let composed = compose(vec![changed("a", "1\n"), changed("b", "")], true, 22);
        assert_eq!(encode(&composed.report), r#"{"a":"1\n","b":""}"#);
        assert_eq!((composed.lines, composed.failed), (vec![], false));
    }

    #[rstest]
    #[case::least_severe_first("a:L,b:C,c:U,d:H,e:M", 4, "a:L,b:C,d:H,e:M")]
    #[case::order_is_kept("a:L,b:C,c:U,d:H,e:M", 2, "b:C,d:H")]
    #[case::later_of_equals_goes("a:H,b:H,c:H", 2, "a:H,b:H")]
    #[case::strange_entries_go_first("strange,a:X,b:L", 1, "b:L")]
    #[case::small_letters_too("a:l,b:u,c:c,d:m", 2, "c:c,d:m")]
    fn vulnerabilities_are_shortened_from_the_least_severe_end(
        #[case] text: &str,
        #[case] room: usize,
        #[case] kept: &str,
    ) {
        let budget = entry_size(IMAGE_VULNERABILITIES, kept);
        let composed = compose(vec![changed(IMAGE_VULNERABILITIES, text)], true, budget);
        assert_eq!(composed.report[IMAGE_VULNERABILITIES], kept);
        assert!(!composed.failed);
        let total = text.split(',').count();
        assert!(composed.lines[0].contains(&format!("{room} of {total} entries")), "{composed:?}");
    }

    #[test]
    fn the_message_is_shortened_last_and_at_whole_characters() {
        let all = vec![
            changed(ERROR_MESSAGE, "äöü\"ß"),
            changed(ERROR_REASON, "Mine"),
            changed(IMAGE_VULNERABILITIES, "a:C"),
        ];
        let without_list = Report::from([
            (ERROR_MESSAGE.to_owned(), "äöü\"".to_owned()),
            (ERROR_REASON.to_owned(), "Mine".to_owned()),
        ]);
        let budget = encode(&without_list).len();
        for budget in [budget, budget + 1] {
            let composed = compose(all.clone(), false, budget);
            assert_eq!(composed.report, without_list);
            assert_eq!(composed.lines.len(), 2, "{composed:?}");
            assert!(!composed.failed);
        }
        // Half an escape is none.
        assert_eq!(compose(all, false, budget - 1).report[ERROR_MESSAGE], "äöü");
    }

    #[test]
    fn a_result_that_does_not_fit_fails_the_step_and_leaves_the_others() {
        let large = "x".repeat(100_000);
        let all = vec![
            changed("large", &large),
            changed(IMAGE_DIGEST, "sha256:1"),
            changed(IMAGE_VULNERABILITIES, "a:C"),
        ];
        let composed = compose(all, true, 819);
        assert!(composed.failed);
        assert_eq!(reason(&composed), Some(RESULT_TOO_LARGE));
        assert_eq!(composed.report[IMAGE_DIGEST], "sha256:1");
        assert_eq!(composed.report[IMAGE_VULNERABILITIES], "a:C");
        let message = &composed.report[ERROR_MESSAGE];
        assert!(message.contains("result large") && message.contains("100000 bytes"), "{message}");
        assert!(message.contains("819"), "{message}");
    }

    #[test]
    fn a_failed_step_keeps_its_own_reason_and_message() {
        let all = vec![
            changed("large", &"x".repeat(5000)),
            changed(ERROR_REASON, "Mine"),
            changed(ERROR_MESSAGE, "my words"),
        ];
        let composed = compose(all, false, 4096);
        assert!(composed.failed);
        assert_eq!(reason(&composed), Some("Mine"));
        assert_eq!(composed.report[ERROR_MESSAGE], "my words");
        assert!(composed.lines[0].contains("large"), "{composed:?}");
    }

    #[test]
    fn a_failed_step_without_a_reason_does_not_get_a_wrong_one() {
        let composed = compose(vec![changed("large", &"x".repeat(5000))], false, 4096);
        assert_eq!(composed.report, Report::new());
        assert!(composed.failed);
    }

    #[test]
    fn what_is_no_text_is_named_and_not_mended() {
        let binary = Content::Bytes { head: vec![0xff, 0xfe], size: 2 };
        let denied = Content::Unreadable { problem: "permission denied".into() };
        let all = vec![
            Changed { name: "binary".into(), content: binary },
            Changed { name: "denied".into(), content: denied },
            changed("fine", "1"),
        ];
        let composed = compose(all, true, 4096);
        assert_eq!(reason(&composed), Some(RESULT_UNREADABLE));
        let message = &composed.report[ERROR_MESSAGE];
        assert!(message.contains("binary") && message.contains("UTF-8"), "{message}");
        assert!(message.contains("denied") && message.contains("permission denied"), "{message}");
        assert_eq!(composed.report["fine"], "1");
        assert!(!composed.report.contains_key("binary"));
    }

    #[test]
    fn of_a_huge_file_only_whole_entries_and_characters_are_taken() {
        let head = |bytes: &[u8]| Content::Bytes { head: bytes.to_vec(), size: 1 << 40 };
        let all = vec![
            Changed { name: IMAGE_VULNERABILITIES.into(), content: head(b"a:C,b:") },
            Changed { name: ERROR_MESSAGE.into(), content: head(&"aä".as_bytes()[..2]) },
            Changed { name: "huge".into(), content: head(b"1") },
        ];
        let composed = compose(all.clone(), false, 4096);
        assert_eq!(composed.report[IMAGE_VULNERABILITIES], "a:C");
        assert_eq!(composed.report[ERROR_MESSAGE], "a");
        assert!(composed.lines[0].contains("huge") && composed.lines[0].contains("1099511627776"));
        assert_eq!(reason(&compose(all, true, 4096)), Some(RESULT_TOO_LARGE));
    }

    /// Names that matter and others; contents that JSON blows up.
    fn any_changed() -> impl Strategy<Value = Vec<Changed>> {
        let name = prop_oneof![
            Just(ERROR_MESSAGE.to_owned()),
            Just(ERROR_REASON.to_owned()),
            Just(IMAGE_VULNERABILITIES.to_owned()),
            "[a-z]{1,40}",
        ];
        let text = prop_oneof![
            "\\PC{0,60}",
            "[\u{0}-\u{1f}\"\\\\]{0,200}",
            "([A-Z]{3}-[0-9]{1,9}:[CHMLUX],?){0,60}",
        ];
        let content = prop_oneof![
            8 => text.prop_map(|text| Content::Bytes { size: text.len() as u64, head: text.into() }),
            1 => vec(any::<u8>(), 0..40)
                .prop_map(|head| Content::Bytes { size: head.len() as u64, head }),
            1 => (vec(any::<u8>(), 0..40), any::<u64>())
                .prop_map(|(head, size)| Content::Bytes { head, size }),
            1 => "\\PC{0,20}".prop_map(|problem| Content::Unreadable { problem }),
        ];
        btree_map(name, content, 0..8).prop_map(|all| {
            all.into_iter().map(|(name, content)| Changed { name, content }).collect()
        })
    }

    proptest! {
        #[test]
        fn the_report_fits_and_is_whole(
            all in any_changed(),
            ended_well in any::<bool>(),
            budget in 0_usize..1500,
        ) {
            let composed = compose(all.clone(), ended_well, budget);
            let message = encode(&composed.report);
            prop_assert!(message.len() <= budget, "{} > {budget}: {message}", message.len());
            if !message.is_empty() {
                prop_assert_eq!(decode(&message), Some(composed.report.clone()));
            }
            for Changed { name, content } in &all {
                let Content::Bytes { head, .. } = content else { continue };
                if !composed.failed && !is_flexible(name) {
                    prop_assert_eq!(composed.report.get(name).map(String::as_bytes), Some(&head[..]));
                }
            }
            if composed.failed && ended_well && !composed.report.is_empty() {
                prop_assert!(composed.report.contains_key(ERROR_REASON));
            }
            if composed.lines.is_empty() {
                prop_assert_eq!(composed.report.len(), all.len(), "left out without a word");
            }
        }
    }
}
