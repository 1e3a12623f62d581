//! `tar` as clients call it in the source step: what they upload, and what they may not.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink as link_to};
use std::process::{Command, Stdio};

use rstest::rstest;
use tempfile::{TempDir, tempdir};

use crate::bundle::artifact::{Entry, archive, file, folder, hard_link, open_archive, symlink};
use crate::image::tools::Ran;

const NEW: &[&str] = &["--no-same-permissions", "--no-same-owner", "-xvf", "-", "-C"];
const OLD: &[&str] = &["xfv", "-", "-C"];

/// The program under the name that the image gives it.
fn unpack(arguments: &[impl AsRef<OsStr>], target: &TempDir, archive: &[u8]) -> Ran {
    let bin = tempdir().unwrap();
    let tar = bin.path().join("tar");
    link_to(env!("CARGO_BIN_EXE_slipway-step"), &tar).unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "umask 022; exec \"$@\"", "-"])
        .arg(&tar)
        .args(arguments)
        .arg(target.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let archive = archive.to_vec();
    // A refusal ends the program before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&archive)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran { code: output.status.code(), log: String::from_utf8(output.stderr).unwrap() }
}

#[rstest]
#[case::newer(NEW)]
#[case::older(OLD)]
fn a_working_copy_is_unpacked(#[case] arguments: &[&str]) {
    let target = tempdir().unwrap();
    let bytes = archive(&[
        file("src/deep/main.rs", "fn main() {}\n"),
        Entry { mode: 0o777, ..file("run", "#!/bin/sh\n") },
        Entry { mode: 0o4600, ..file("key", "secret") },
        symlink("link", "src/deep"),
        hard_link("again", "run"),
        folder("empty"),
        file(".wh.a-file-like-any-other", "x"),
        file("src/deep/main.rs", "fn main() { }\n"),
    ]);
    let log = unpack(arguments, &target, &bytes).succeeded().log;
    let path = |name: &str| target.path().join(name);
    assert_eq!(fs::read_to_string(path("link/main.rs")).unwrap(), "fn main() { }\n");
    assert!(path("empty").is_dir() && path(".wh.a-file-like-any-other").exists());
    let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("run"), mode("key"), mode("empty")), (0o755, 0o600, 0o755));
    assert_eq!(fs::metadata(path("again")).unwrap().nlink(), 2);
    assert_eq!(log.lines().next(), Some("src/deep/main.rs"), "{log}");
}

#[test]
fn permissions_are_kept_for_who_asks() {
    let target = tempdir().unwrap();
    let bytes = archive(&[
        Entry { mode: 0o666, ..file("shared", "x") },
        Entry { mode: 0o777, ..folder("open") },
    ]);
    let log = unpack(&["-xpf", "-", "-C"], &target, &bytes).succeeded().log;
    assert_eq!(log, "");
    let mode = |name: &str| fs::metadata(target.path().join(name)).unwrap().permissions().mode();
    assert_eq!((mode("shared") & 0o7777, mode("open") & 0o7777), (0o666, 0o777));
}

#[rstest]
#[case::kept(&["-xf", "-", "-C"], true)]
#[case::new(&["-xmf", "-", "-C"], false)]
#[case::new_in_words(&["--extract", "--file=-", "--touch", "-C"], false)]
fn files_are_as_old_as_in_the_archive_unless_told(
    #[case] arguments: &[&str],
    #[case] is_kept: bool,
) {
    let target = tempdir().unwrap();
    unpack(arguments, &target, &archive(&[Entry { modified: 42, ..file("a", "x") }])).succeeded();
    assert_eq!(fs::metadata(target.path().join("a")).unwrap().mtime() == 42, is_kept);
}

#[test]
fn what_stands_behind_the_end_is_read() {
    let target = tempdir().unwrap();
    // More than a pipe holds: a client that cannot write it would take the upload for failed.
    let bytes = [archive(&[file("a", "x")]), vec![0; 1 << 20]].concat();
    unpack(NEW, &target, &bytes).succeeded();
    assert!(target.path().join("a").exists());
}

#[rstest]
#[case::up(archive(&[file("../escaped", "x")]), "entry \"../escaped\" of the archive is refused: \"..\" in its name")]
#[case::link_out(archive(&[symlink("out", "../x")]), "outside of the folder of the source")]
#[case::through_a_link(archive(&[folder("b"), symlink("a", "b"), file("a/c", "x")]), "which is no folder but a file or a link")]
#[case::hard_link_out(archive(&[hard_link("a", "/etc/passwd")]), "which is not in the archive before it")]
#[case::device(archive(&[Entry { kind: b'3', ..file("null", "") }]), "it is a character device")]
#[case::cut(open_archive(&[file("a", "x")])[..700].to_vec(), "the archive is corrupt at byte 700: it ends in the middle of an entry")]
#[case::something_else(b"hello".repeat(200), "it is no tar archive")]
fn what_may_not_be_uploaded(#[case] bytes: Vec<u8>, #[case] problem: &str) {
    let around = tempdir().unwrap();
    let target = TempDir::new_in(around.path()).unwrap();
    let log = unpack(NEW, &target, &bytes).failed(1);
    assert!(log.starts_with("tar: ") || log.contains("\ntar: "), "{log}");
    assert!(log.contains(problem), "{log}");
    assert_eq!(fs::read_dir(around.path()).unwrap().count(), 1);
}

#[test]
fn all_else_is_left_to_the_tar_of_the_image() {
    let target = tempdir().unwrap();
    // Lists what it reads.
    unpack(&["-tf", "-", "-C"], &target, &archive(&[file("a", "x")])).succeeded();
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}
