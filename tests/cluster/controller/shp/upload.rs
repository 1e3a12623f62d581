//! Local directories that are uploaded into a run, by every generation of the client: S5 and S6 of its acceptance checks.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rstest::rstest;

use super::super::super::documents::{build, output};
use super::super::super::harness::Namespace;
use super::super::super::steps::shell;
use super::super::Controller;
use super::super::person::Person;
use super::client::try_shp;
use super::{strategy, wait_until_registered};

/// A directory that goes with its test.
pub struct Files(PathBuf);

impl Files {
    pub fn new(namespace: &Namespace) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(namespace.name());
        let files = Self(root);
        files.write("main.c", "int main(void) { return 0; }\n");
        files.write("with space/deep/er.txt", "deep\n");
        files.write("large", &"0123456789abcde\n".repeat(200_000));
        files.write(".gitignore", "large\n");
        symlink("main.c", files.0.join("link")).unwrap();
        files
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Owner, size and name of each file, then a word about their content.
pub const LOOK: &str = "cd /workspace/source; find . ! -type d -exec stat -c 'file %u:%g %s %n' {} +; md5sum large; \
    echo as $(id -u):$(id -g)";

#[rstest]
#[case::whose_tar_has_short_flags("v0.16", false)]
#[case::that_says_done_without_a_file("v0.17", false)]
#[case::of_today("v0.19", false)]
#[case::of_today_that_follows("v0.19", true)]
fn files_are_uploaded_by_a_client(#[case] release: &str, #[case] follow: bool) {
    let _controller = Controller::installed();
    let name =
        format!("shp-upload-{}{}", release.replace('.', "-"), if follow { "-f" } else { "" });
    let namespace = Namespace::new(&name);
    let dev = Person::bound(&namespace, "dev", "edit");
    let files = Files::new(&namespace);
    dev.kubectl(&["create", "--filename=-"], &strategy("look", &[shell("look", LOOK)]));
    dev.kubectl(
        &["create", "--filename=-"],
        &build("look", &serde_json::Value::Null, &output(&namespace)),
    );
    wait_until_registered(&dev, "app");

    let release = format!("--release={release}");
    let flags: &[&str] = if follow { &["--follow"] } else { &[] };
    let said =
        try_shp(&dev, &[&["build", "upload", "app", files.path(), &release], flags].concat());
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(!said.stderr.to_lowercase().contains("cannot"), "{said:#?}");
    if follow {
        assert!(said.stdout.contains("has succeeded!"), "{said:#?}");
    }

    let label = "--selector=build.shipwright.io/name=app";
    let log = dev.kubectl(&["logs", label, "--container=step-look"], "");
    let mut seen: Vec<_> = log.lines().filter_map(|line| line.strip_prefix("file ")).collect();
    seen.sort_unstable();
    let expected = [
        "1234:5678 29 ./main.c",
        "1234:5678 3200000 ./large",
        "1234:5678 5 ./with space/deep/er.txt",
    ];
    assert_eq!(seen, expected, "{log}");
    assert!(log.contains("as 1234:5678"), "{log}");
    assert!(log.contains("b77560f806f7b50b510a59bd03d69a94  large"), "{log}");
}
