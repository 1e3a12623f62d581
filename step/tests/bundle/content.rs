//! What layers may hold, and what becomes of what they may not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use rstest::rstest;
use tempfile::tempdir;

use super::artifact::{
    Entry, Fetched, TIME, archive, file, folder, hard_link, open_archive, push, record, symlink,
};
use crate::image::registry::Registry;
use crate::image::tools::{Ran, run};

/// An artifact with a layer of these entries.
fn fetched(entries: &[Entry<'_>]) -> (Fetched, Ran) {
    let registry = Registry::plain();
    push(&registry, "source:1", &[archive(entries)]);
    let fetched = Fetched::new();
    let ran = fetched.fetch(&registry.image("source:1"), &[]);
    (fetched, ran)
}

#[test]
fn files_folders_and_links_within_the_source() {
    let (fetched, ran) = fetched(&[
        folder("./"),
        folder("bin/"),
        Entry { mode: 0o755, ..file("bin/run", "#!/bin/sh\n") },
        Entry { modified: TIME + 5, ..file("deep/in/a/folder", "found") },
        symlink("link", "deep/in"),
        symlink("deep/in/up", "../../bin/run"),
        symlink("dangling", "nowhere"),
        hard_link("again", "bin/run"),
        Entry { mode: 0o500, ..folder("closed") },
        file("closed/inside", "there"),
        file("/absolute", "contained"),
        file("empty", ""),
    ]);
    let log = ran.succeeded().log;
    assert_eq!(fetched.text("deep/in/a/folder"), "found");
    assert_eq!(fetched.text("deep/in/up"), "#!/bin/sh\n");
    assert_eq!(fs::read_link(fetched.path("dangling")).unwrap().to_str(), Some("nowhere"));
    assert_eq!(fetched.text("closed/inside"), "there");
    assert_eq!(fetched.text("absolute"), "contained");
    assert_eq!(fetched.text("empty"), "");
    assert!(log.contains("names begin with \"/\", such as \"/absolute\""), "{log}");
    let metadata = |name| fs::metadata(fetched.path(name)).unwrap();
    assert_eq!(metadata("again").ino(), metadata("bin/run").ino());
    assert_eq!(metadata("bin/run").permissions().mode() & 0o7777, 0o755);
    assert_eq!(metadata("closed").permissions().mode() & 0o7777, 0o700);
    assert_eq!(metadata("bin/run").mtime(), 1_700_000_000);
    assert_eq!(fetched.result("timestamp").unwrap(), (TIME + 5).to_string());
    assert!(fetched.result("digest").unwrap().starts_with("sha256:"));
}

#[test]
fn set_id_bits_and_owners_are_left_out() {
    let (fetched, ran) = fetched(&[
        Entry { mode: 0o6755, ..file("tool", "x") },
        Entry { mode: 0o7777, ..folder("shared") },
    ]);
    ran.succeeded();
    let mode = |name| fs::metadata(fetched.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("tool"), mode("shared")), (0o755, 0o777));
}

#[test]
fn what_stands_there_twice_is_what_came_last() {
    let (fetched, ran) = fetched(&[
        file("twice", "first and longer"),
        file("twice", "second"),
        file("was-file", "x"),
        folder("was-file"),
        file("was-file/inside", "y"),
        folder("was-folder"),
        file("was-folder/inside", "x"),
        file("was-folder", "y"),
        symlink("was-link", "twice"),
        file("was-link", "z"),
        symlink("was-link-to-folder", "was-file"),
        folder("was-link-to-folder"),
        file("was-link-to-folder/own", "own"),
        file("to-and-fro", "1"),
        folder("to-and-fro"),
        file("to-and-fro", "3"),
        file("shared", "of both"),
        hard_link("alone", "shared"),
        file("shared", "of one"),
    ]);
    ran.succeeded();
    assert_eq!(fetched.text("twice"), "second");
    assert_eq!(fetched.text("was-file/inside"), "y");
    assert_eq!(fetched.text("was-folder"), "y");
    assert_eq!(fetched.text("was-link"), "z");
    assert_eq!(fetched.text("was-link-to-folder/own"), "own");
    assert!(!fetched.path("was-file/own").exists());
    assert_eq!(fetched.text("to-and-fro"), "3");
    assert_eq!(
        (fetched.text("shared"), fetched.text("alone")),
        ("of one".into(), "of both".into())
    );
}

#[test]
fn long_names() {
    let name = format!("{}file", "a folder of 20 bytes/".repeat(150));
    let link = "n".repeat(200);
    let long = Entry { kind: b'L', ..file("././@LongLink", &name) };
    let records =
        record("path", &link) + &record("linkpath", &name) + &record("mtime", "1700000009.75");
    let (fetched, ran) = fetched(&[
        long,
        file("short", "reached"),
        Entry { kind: b'x', ..file("pax", &records) },
        symlink("short", "short"),
        Entry { kind: b'x', ..file("pax", &record("mtime", "1700000009.75")) },
        file("dated", "x"),
        Entry { kind: b'g', ..file("pax_global_header", &record("comment", "of a commit")) },
        file("last", "x"),
    ]);
    ran.succeeded();
    assert_eq!(fetched.text(&name), "reached");
    assert_eq!(fetched.text(&link), "reached");
    assert_eq!(fetched.result("timestamp").unwrap(), "1700000009");
    assert_eq!(fetched.text("last"), "x");
}

#[test]
fn layers_hide_what_is_below_them() {
    let registry = Registry::plain();
    let layers = [
        archive(&[
            file("gone", "x"),
            file("kept", "x"),
            file("tree/a", "x"),
            file("tree/deep/b", "x"),
            Entry { modified: TIME + 100, ..file("emptied/old", "x") },
            file("changed", "below"),
        ]),
        archive(&[
            file("emptied/new", "x"),
            file(".wh.gone", ""),
            file(".wh.tree", ""),
            // Does not concern its own layer, wherever it stands.
            file("emptied/.wh..wh..opq", ""),
            file(".wh..wh.plnk", ""),
            file(".wh.never", ""),
            file("nowhere/.wh.never", ""),
            file("changed", "above"),
        ]),
        archive(&[file("gone", "back again"), file(".wh.kept", "")]),
    ];
    let digest = push(&registry, "layers:1", &layers);
    let fetched = Fetched::new();
    let ran = fetched.fetch(&registry.image("layers:1"), &["--show-listing"]).succeeded();
    assert_eq!(fetched.names(), ["changed", "emptied", "emptied/new", "gone"]);
    assert_eq!(fetched.text("gone"), "back again");
    assert_eq!(fetched.text("changed"), "above");
    // Of what is there in the end.
    assert_eq!(fetched.result("timestamp").unwrap(), TIME.to_string());
    assert_eq!(fetched.result("digest").unwrap(), digest);
    assert!(ran.log.contains(" emptied/new\n"), "{}", ran.log);
}

const DEVICE: Entry<'_> =
    Entry { kind: b'3', name: "dev/null", target: "", mode: 0o666, modified: TIME, content: b"" };

#[rstest]
#[case::up(&[file("../escaped", "x")], "\"../escaped\" of the archive is refused: \"..\" in its name")]
#[case::up_in_the_middle(&[file("a/../../escaped", "x")], "\"..\" in its name")]
#[case::absolute_up(&[file("/../escaped", "x")], "\"..\" in its name")]
#[case::folder_up(&[folder("../escaped")], "\"..\" in its name")]
#[case::link_up(&[symlink("out", "../escaped")], "\"out\" of the archive is refused: it is a symbolic link to \"../escaped\", which is outside")]
#[case::absolute_link(&[symlink("out", "/etc")], "a symbolic link to the absolute \"/etc\"; make it a relative one")]
#[case::link_by_way_of_another(
    &[folder("a/b"), symlink("a/b/up", "../.."), symlink("out", "a/b/up/..")],
    "\"..\" may only stand at the beginning"
)]
#[case::through_a_link(&[folder("b"), symlink("a", "b"), file("a/file", "x")], "\"a/file\" of the archive is refused: it lies in \"a\", which is no folder but a file or a link")]
#[case::through_a_file(&[file("a", "x"), file("a/b", "x")], "it lies in \"a\"")]
#[case::hard_link_out(&[hard_link("out", "../../etc/passwd")], "it is a hard link to \"../../etc/passwd\": \"..\" in its name")]
#[case::hard_link_to_the_system(&[hard_link("out", "/etc/passwd")], "a hard link to \"etc/passwd\", which is not in the archive before it")]
#[case::hard_link_to_a_link(&[symlink("a", "b"), hard_link("c", "a")], "a hard link to \"a\", which is no regular file")]
#[case::hard_link_through_a_link(&[file("b/c", "x"), symlink("a", "b"), hard_link("d", "a/c")], "it lies in \"a\"")]
#[case::hard_link_to_itself(&[file("a", "x"), hard_link("a", "a")], "which is itself")]
#[case::device(&[DEVICE], "\"dev/null\" of the archive is refused: it is a character device; a source may hold folders, files and links within it")]
#[case::block_device(&[Entry { kind: b'4', ..DEVICE }], "it is a block device")]
#[case::pipe(&[Entry { kind: b'6', ..DEVICE }], "it is a named pipe")]
#[case::unknown(&[Entry { kind: b'V', ..DEVICE }], "of a kind that is not known")]
#[case::sparse(&[Entry { kind: b'S', ..DEVICE }], "it is a sparse file; pack the source without tar's --sparse")]
#[case::link_at_the_root(&[symlink("./", "x")], "it is a symbolic link where the folder of the source itself is")]
#[case::hides_the_folder_above(&[folder("a"), file("a/.wh...", "")], "it hides a name that nothing can have")]
#[case::long_part(&[Entry { kind: b'L', ..file("long", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef") }, file("a", "")], "a part of its name has 256 bytes; at most 255 are possible")]
fn what_does_not_stay_inside_is_refused(#[case] entries: &[Entry<'_>], #[case] problem: &str) {
    let registry = Registry::plain();
    // On top of a layer, so that marks count.
    push(&registry, "source:1", &[archive(&[file("before", "x")]), archive(entries)]);
    let fetched = Fetched::new();
    let log = fetched.fetch(&registry.image("source:1"), &[]).failed(1);
    assert!(log.contains(problem), "{log}");
    assert!(log.contains("unpack layer sha256:"), "{log}");
    let around: Vec<_> = fs::read_dir(fetched.folder.path()).unwrap().collect();
    assert_eq!(around.len(), 1, "{around:?}");
    assert_eq!(fetched.result("digest"), None);
}

#[test]
fn a_sparse_file_is_refused_before_it_grows() {
    let dir = tempdir().unwrap();
    let large = dir.path().join("large");
    fs::File::create(&large).unwrap().set_len(10 << 30).unwrap();
    for (format, kind) in [("gnu", b'S'), ("posix", b'x')] {
        let format = format!("--format={format}");
        let folder = dir.path().to_str().unwrap();
        let bytes = run("tar", &["-c", "--sparse", &format, "-C", folder, "large"]);
        assert!(bytes.len() < 1 << 20 && bytes[156] == kind, "{format}");
        let registry = Registry::plain();
        push(&registry, "source:1", &[bytes]);
        let fetched = Fetched::new();
        let log = fetched.fetch(&registry.image("source:1"), &[]).failed(1);
        assert!(log.contains("it is a sparse file; pack the source without"), "{log}");
        assert_eq!(fetched.names(), [""; 0]);
    }
}

#[test]
fn a_longer_name_than_any_is_not_held() {
    let name = "x".repeat(2 << 20);
    let (_, ran) = fetched(&[Entry { kind: b'L', ..file("long", &name) }, file("a", "")]);
    let log = ran.failed(1);
    assert!(log.contains("an extended header or a long name has more than 1 MiB"), "{log}");
}

#[rstest]
#[case::no_archive(b"this is no archive at all, but it is longer than nothing".repeat(20), "it is no tar archive, or a header of it is broken")]
#[case::cut_in_a_header(open_archive(&[file("a", "x"), file("b", "x")])[..1300].to_vec(), "it ends in the middle of a header")]
#[case::a_lone_block_of_zeros([&open_archive(&[file("a", "x")])[..1024], &[0; 512], &open_archive(&[file("b", "x")])].concat(), "a block of zeros stands before further entries")]
#[case::cut_in_an_entry(open_archive(&[file("a", "x")])[..600].to_vec(), "it ends in the middle of an entry")]
fn a_layer_that_is_no_archive(#[case] bytes: Vec<u8>, #[case] problem: &str) {
    let registry = Registry::plain();
    push(&registry, "source:1", &[bytes]);
    let log = Fetched::new().fetch(&registry.image("source:1"), &[]).failed(1);
    assert!(log.contains(problem), "{log}");
}

#[test]
fn an_image_without_a_file_has_no_time() {
    let (fetched, ran) = fetched(&[folder("only")]);
    ran.succeeded();
    assert_eq!(fetched.result("timestamp"), None);
    assert!(fetched.result("digest").is_some());
}
