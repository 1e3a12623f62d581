//! Result files: what a step found there, and what it changed.
//!
//! Invariant: at most [`HEAD`] bytes of a file are in memory, and nothing here waits for a file that is no regular file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::report::{Changed, Content};
use crate::protocol::results::{Report, encode};

/// How much of a file is read: far more than any report takes, so that a shortened result is chosen from much.
const HEAD: u64 = 1 << 20;

/// The declared results as they were before the command.
#[derive(Debug)]
pub(super) struct Results {
    folder: PathBuf,
    before: BTreeMap<String, State>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Absent,
    Read {
        head: Vec<u8>,
        size: u64,
        /// Only where the head is not everything.
        stamp: Option<Stamp>,
    },
    Unreadable {
        problem: String,
        /// Another user's file may be looked at, though not read.
        stamp: Option<Stamp>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Results {
    /// Remembers the declared results.
    pub(super) fn remember(folder: &Path, names: &[String]) -> Self {
        let before = names.iter().map(|name| (name.clone(), state(&folder.join(name)))).collect();
        Self { folder: folder.to_owned(), before }
    }

    /// Those that are not as they were, by name.
    pub(super) fn changed(self) -> Vec<Changed> {
        let Self { folder, before } = self;
        before
            .into_iter()
            .filter_map(|(name, before)| {
                let now = state(&folder.join(&name));
                if now == before {
                    return None;
                }
                let content = match now {
                    State::Absent => return None,
                    State::Read { head, size, .. } => Content::Bytes { head, size },
                    State::Unreadable { problem, .. } => Content::Unreadable { problem },
                };
                Some(Changed { name, content })
            })
            .collect()
    }
}

/// Leaves the report where kubelet picks it up, instead of whatever the command wrote there.
pub(super) fn hand_over(report: &Report, termination_log: &Path) -> io::Result<()> {
    if report.is_empty() && fs::metadata(termination_log).map_or(true, |log| log.len() == 0) {
        return Ok(());
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(termination_log)?
        .write_all(encode(report).as_bytes())
}

fn state(path: &Path) -> State {
    match read(path) {
        Ok(state) => state,
        Err(error) if error.kind() == io::ErrorKind::NotFound => State::Absent,
        Err(error) => State::Unreadable {
            problem: error.to_string(),
            stamp: fs::metadata(path).ok().map(Stamp::of),
        },
    }
}

fn read(path: &Path) -> io::Result<State> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    // A named pipe would hold up the gate until somebody writes to it.
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let head = read_head(&file)?;
    let whole = metadata.len() <= HEAD;
    let stamp = (!whole).then(|| Stamp::of(metadata.clone()));
    Ok(State::Read { head, size: metadata.len(), stamp })
}

fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

impl Stamp {
    #[expect(clippy::needless_pass_by_value, reason = "used as a function from Metadata")]
    fn of(metadata: fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn only_changed_results_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("same"), "1").unwrap();
        fs::write(file("rewritten"), "1").unwrap();
        fs::write(file("changed"), "1").unwrap();
        fs::write(file("removed"), "1").unwrap();
        let declared = names(&["absent", "changed", "new", "removed", "rewritten", "same"]);
        let results = Results::remember(folder.path(), &declared);
        fs::write(file("rewritten"), "1").unwrap();
        fs::write(file("changed"), "2").unwrap();
        fs::write(file("new"), "").unwrap();
        fs::write(file("undeclared"), "1").unwrap();
        fs::remove_file(file("removed")).unwrap();
        let changed = results.changed();
        let bytes = |name: &str, text: &str| Changed {
            name: name.into(),
            content: Content::Bytes { head: text.into(), size: text.len() as u64 },
        };
        assert_eq!(changed, [bytes("changed", "2"), bytes("new", "")]);
    }

    #[test]
    fn a_huge_result_is_not_read_whole_and_its_change_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge");
        let huge = File::create(&path).unwrap();
        huge.set_len(8 << 30).unwrap();
        let unchanged = Results::remember(folder.path(), &names(&["huge"]));
        assert_eq!(unchanged.changed(), []);
        let results = Results::remember(folder.path(), &names(&["huge"]));
        huge.set_len((8 << 30) + 1).unwrap();
        let changed = results.changed();
        let [Changed { content: Content::Bytes { head, size }, .. }] = changed.as_slice() else {
            panic!("{} changed", changed.len());
        };
        assert_eq!((head.len() as u64, *size), (HEAD, (8 << 30) + 1));
    }

    #[test]
    fn what_is_no_regular_file_is_unreadable_and_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let results = Results::remember(folder.path(), &names(&["folder", "pipe"]));
        fs::create_dir(folder.path().join("folder")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let changed = results.changed();
        assert_eq!(changed.len(), 2);
        for result in changed {
            let Content::Unreadable { problem } = result.content else { panic!("{}", result.name) };
            assert_eq!(problem, "not a regular file", "{}", result.name);
        }
    }

    #[test]
    fn the_report_replaces_what_the_command_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("termination-log");
        hand_over(&Report::new(), &log).unwrap();
        assert!(!log.exists());
        fs::write(&log, "a long word of the command's own").unwrap();
        hand_over(&Report::from([("a".into(), "1".into())]), &log).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), r#"{"a":"1"}"#);
        hand_over(&Report::new(), &log).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "");
    }
}
