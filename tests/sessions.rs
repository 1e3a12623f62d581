//! `slipway render` as people use it: bad input is refused with every problem named, and nothing of a pod is printed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const STRATEGY: &str = "\
apiVersion: shipwright.io/v1beta1
kind: BuildStrategy
metadata: {name: s}
spec:
  steps:
    - {name: build, image: example.com/builder, command: [build]}
";
pub const BUILD: &str = "\
apiVersion: shipwright.io/v1beta1
kind: Build
metadata: {name: b}
spec:
  strategy: {name: s}
  output: {image: registry.example.com/app}
";
pub const RUN: &str = "\
apiVersion: shipwright.io/v1beta1
kind: BuildRun
metadata: {name: r}
spec:
  build: {name: b}
";

/// A directory of its own for the files of one test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sessions").join(test);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn run(&self, arguments: &[&str], input: &str) -> Session {
        let mut child = Command::new(env!("CARGO_BIN_EXE_slipway"))
            .args(arguments)
            .current_dir(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Who does not read its input may have ended by now.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Session::of(child.wait_with_output().unwrap())
    }

    fn render(&self, arguments: &[&str]) -> Session {
        self.run(&[&["render"], arguments].concat(), "")
    }
}

/// What became of a call.
#[derive(Debug)]
pub struct Session {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Session {
    /// These keys of JSON, right behind the first such word and with no others between them.
    #[track_caller]
    pub fn has_keys(&self, behind: &str, keys: &[&str]) {
        let (_, rest) = self.stdout.split_once(behind).unwrap();
        let words = rest.lines().filter_map(|line| line.trim_start().strip_prefix('"'));
        let found = words.filter_map(|word| word.split_once("\":")).map(|(key, _)| key);
        assert_eq!(found.take(keys.len()).collect::<Vec<_>>(), keys, "{}", self.stdout);
    }

    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Refused with these problems, one on a line, and with nothing else.
    #[track_caller]
    pub fn refused(&self, problems: &[&str]) {
        let found: Vec<&str> =
            self.stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
        assert_eq!(found, problems);
        assert!(
            self.stderr
                .lines()
                .all(|line| line.starts_with("error: ") || line.starts_with("note: "))
        );
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""));
    }

    /// Rendered, with these notes; returns the pod's name.
    #[track_caller]
    fn rendered(&self, notes: &[&str]) -> &str {
        let found: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(found, notes);
        assert_eq!(self.code, Some(0));
        assert!(self.stdout.contains("kind: Pod"), "{}", self.stdout);
        let name = self.stdout.lines().find_map(|line| line.strip_prefix("  name: "));
        name.unwrap()
    }
}

pub const ACCOUNT: &str = "note: ServiceAccount default/default is assumed to exist";

#[test]
fn every_problem_stands_on_its_own_line_with_file_object_and_field() {
    let build = BUILD
        .replace("{name: s}", "{name: s, stepResources: [{name: bulid, resources: {}}]}")
        + "  env: [{name: \"\", value: x}]\n";
    let strategy = STRATEGY.to_owned() + "  securityContext: {runAsUser: -1, runAsGroup: 0}\n";
    let folder = Folder::new("every_problem")
        .with("s.yaml", strategy)
        .with("b.yaml", build)
        .with("r.yaml", RUN);
    folder.render(&["-f", "s.yaml", "-f", "b.yaml", "r.yaml"]).refused(&[
        "b.yaml: Build b: spec.strategy.stepResources[0].name: UndefinedStepResource: stepResources references step \"bulid\" which does not exist in the build strategy",
        "b.yaml: Build b: spec.env[0].name: SpecEnvNameCanNotBeBlank: name for environment variable must not be blank",
        "r.yaml: BuildRun r: spec.build.name: BuildRegistrationFailed: the Build is not registered correctly, build: b, registered status: False, reason: UndefinedStepResource",
        "s.yaml: BuildStrategy s: spec.securityContext.runAsUser: TaskRunGenerationFailed: Invalid value: -1: must be between 0 and 2147483647, inclusive",
    ]);
}

#[test]
fn half_an_identity_is_refused_by_the_schema() {
    let strategy = STRATEGY.to_owned() + "  securityContext: {runAsUser: 1000}\n";
    let folder = Folder::new("half_identity").with("s.yaml", strategy).with("b.yaml", BUILD);
    folder.render(&["-f", "s.yaml", "b.yaml"]).refused(&[
        "s.yaml: BuildStrategy s: spec.securityContext.runAsGroup: Invalid: Required value",
    ]);
}

/// Each line refers ten times to the one before it, and the last is repeated until there are two megabytes.
fn bomb() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for depth in 1..10 {
        let items = vec![format!("*a{}", depth - 1); 10].join(", ");
        writeln!(text, "a{depth}: &a{depth} [{items}]").unwrap();
    }
    for key in 0.. {
        if text.len() > 2 << 20 {
            break;
        }
        writeln!(text, "k{key}: [*a9, *a9, *a9, *a9]").unwrap();
    }
    text
}

#[test]
fn a_bomb_of_two_megabytes_ends_soon_and_in_little_memory() {
    let folder = Folder::new("bomb").with("bomb.yaml", bomb()).with("b.yaml", BUILD);
    let start = Instant::now();
    // 512 MiB of address space: a program that grows beyond is aborted, and does not exit with 2.
    let script = "ulimit -v 524288; exec \"$0\" render -f bomb.yaml b.yaml";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_slipway")]).current_dir(&folder.0);
    let session = Session::of(command.output().unwrap());
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!((session.code, session.stdout.as_str()), (Some(2), ""), "{}", session.stderr);
    assert_eq!(session.stderr.lines().count(), 1, "{}", session.stderr);
    assert!(
        session.stderr.starts_with("error: bomb.yaml: is not valid YAML: "),
        "{}",
        session.stderr
    );
}

#[test]
fn a_deep_document_does_not_end_the_stack() {
    let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let folder =
        Folder::new("deep").with("deep.yaml", &deep).with("deep.json", format!("{{\"a\":{deep}}}"));
    for file in ["deep.yaml", "deep.json"] {
        let session = folder.render(&["-f", file]);
        assert_eq!((session.code, session.stdout.as_str()), (Some(2), ""), "{}", session.stderr);
        let start = format!("error: {file}: is not valid YAML: ");
        assert!(session.stderr.starts_with(&start), "{}", session.stderr);
    }
}

#[test]
fn a_run_without_its_build_is_refused() {
    let folder = Folder::new("no_build").with("s.yaml", STRATEGY).with("r.yaml", RUN);
    folder.render(&["-f", "s.yaml", "r.yaml"]).refused(&[
        "r.yaml: BuildRun r: spec.build.name: BuildNotFound: build.shipwright.io \"b\" not found",
    ]);
}

#[test]
fn a_build_alone_is_run_under_a_name_of_its_own() {
    let name = "b".repeat(60);
    let build = BUILD.replace("{name: b}", &format!("{{name: {name}}}"));
    let folder = Folder::new("implied").with("s.yaml", STRATEGY).with("b.yaml", build);
    let session = folder.render(&["-f", "s.yaml", "b.yaml"]);
    session.rendered(&[ACCOUNT]);
    let implied = format!("buildrun.shipwright.io/name: {}-local", "b".repeat(57));
    assert!(session.stdout.contains(&implied), "{}", session.stdout);
    assert!(!session.stdout.contains("ownerReferences"), "{}", session.stdout);
    assert_eq!(folder.render(&["-f", "s.yaml", "b.yaml"]).stdout, session.stdout);
}

#[test]
fn the_same_object_twice_is_refused() {
    let both = format!("{STRATEGY}---\n{BUILD}");
    let folder = Folder::new("twice").with("s.yaml", &both).with("t.yaml", &both).with(
        "b.yaml",
        BUILD.replace("metadata: {name: b}", "metadata: {name: b, namespace: default}"),
    );
    folder.render(&["-f", "s.yaml", "b.yaml"]).refused(&[
        "b.yaml: Build default/b: metadata.name: Invalid: the same object is in s.yaml already; keep one of the two",
    ]);
    folder.render(&["-f", "s.yaml", "t.yaml"]).refused(&[
        "t.yaml: BuildStrategy s: metadata.name: Invalid: the same object is in s.yaml already; keep one of the two",
        "t.yaml: Build b: metadata.name: Invalid: the same object is in s.yaml already; keep one of the two",
    ]);
}

#[test]
fn kinds_that_nobody_knows_are_passed_over_and_named() {
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n";
    let folder = Folder::new("unknown")
        .with("a.yaml", format!("{other}---\n{STRATEGY}---\n{BUILD}---\n{RUN}"));
    folder.render(&["-f", "a.yaml"]).rendered(&[
        "note: a.yaml: apps/v1 Deployment is not used here",
        "note: a.yaml: v1 Service is not used here",
        ACCOUNT,
    ]);
}

#[test]
fn versions_and_kinds_of_our_group_that_nobody_knows_are_refused() {
    let old = BUILD.replace("v1beta1", "v1gamma1");
    let typo = RUN.replace("kind: BuildRun", "kind: Buildrun");
    let folder = Folder::new("version")
        .with("old.yaml", old)
        .with("typo.yaml", typo)
        .with("s.yaml", STRATEGY);
    let session = folder.render(&["-f", "old.yaml", "typo.yaml", "s.yaml"]);
    session.refused(&[
        "old.yaml: Build b: apiVersion: Invalid: shipwright.io/v1gamma1 cannot be read here; write the object as shipwright.io/v1beta1 or shipwright.io/v1alpha1",
        "typo.yaml: Buildrun r: kind: Invalid: shipwright.io/v1beta1 has no kind \"Buildrun\"; it has Build, BuildRun, BuildStrategy, ClusterBuildStrategy",
        "the files hold neither a BuildRun nor a Build; add one",
    ]);
}

#[test]
fn a_directory_means_its_files_and_not_its_subdirectories() {
    let folder = Folder::new("directory")
        .with("d/1.yml", STRATEGY)
        .with("d/2.yaml", BUILD)
        .with("d/3.json", r#"{"apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": {"name": "r"}, "spec": {"build": {"name": "b"}}}"#)
        .with("d/notes.txt", "{{{")
        .with("d/no-ending", "{{{")
        .with("d/below/4.yaml", RUN.replace("{name: r}", "{name: other}"))
        .with("d/directory.yaml/5.yaml", "{{{")
        .with("empty/notes.txt", "");
    folder.render(&["-f", "d"]).rendered(&[ACCOUNT]);
    folder
        .render(&["-f", "empty", "-f", "d"])
        .refused(&["empty: holds no .yaml, .yml or .json file"]);
}

#[test]
fn a_dash_is_standard_input() {
    let folder = Folder::new("stdin").with("s.yaml", STRATEGY).with("-/1.yaml", "{{{");
    let session = folder.run(&["render", "-f", "s.yaml", "-f", "-"], &format!("{BUILD}---\n{RUN}"));
    session.rendered(&[ACCOUNT]);
    let session = folder.run(&["render", "-f", "-"], RUN);
    session.refused(&[
        "-: BuildRun r: spec.build.name: BuildNotFound: build.shipwright.io \"b\" not found",
    ]);
}

#[test]
fn of_several_runs_one_must_be_named() {
    let second = RUN.replace("{name: r}", "{name: nightly}");
    let folder = Folder::new("several")
        .with("a.yaml", format!("{STRATEGY}---\n{BUILD}---\n{RUN}---\n{second}"));
    folder
        .render(&["-f", "a.yaml"])
        .refused(&["the files hold several BuildRuns: nightly, r; say which with --buildrun NAME"]);
    folder
        .render(&["-f", "a.yaml", "--buildrun", "daily"])
        .refused(&["the files hold no BuildRun \"daily\"; they hold nightly, r"]);
    let nightly = folder.render(&["-f", "a.yaml", "--buildrun", "nightly"]);
    nightly.rendered(&[ACCOUNT]);
    assert!(nightly.stdout.contains("buildrun.shipwright.io/name: nightly"));
    assert_eq!(
        folder.render(&["-f", "a.yaml", "--buildrun", "default/nightly"]).stdout,
        nightly.stdout
    );
}

#[test]
fn of_several_builds_a_run_must_say_which() {
    let second = BUILD.replace("{name: b}", "{name: c}");
    let folder = Folder::new("several_builds")
        .with("a.yaml", format!("{STRATEGY}---\n{BUILD}---\n{second}"));
    folder
        .render(&["-f", "a.yaml"])
        .refused(&["the files hold several Builds: b, c; add a BuildRun for one of them"]);
    folder.render(&["-f", "a.yaml", "--buildrun", "r"]).refused(&[
        "the files hold no BuildRun \"r\"; they hold none at all, add its file with -f",
    ]);
}

#[test]
fn files_that_cannot_be_read_do_not_hide_each_other() {
    let folder = Folder::new("unreadable")
        .with("latin.yaml", b"kind: B\xe4ckerei\n")
        .with("broken.yaml", "kind: [\n")
        .with("secret.yaml", "stringData:\n  password: hunter2: x\n");
    let session =
        folder.render(&["-f", "missing.yaml", "latin.yaml", "broken.yaml", "secret.yaml"]);
    let lines: Vec<&str> = session.stderr.lines().collect();
    assert_eq!(
        lines[0],
        "error: missing.yaml: cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(lines[1], "error: latin.yaml: cannot be read: stream did not contain valid UTF-8");
    assert!(lines[2].starts_with("error: broken.yaml: is not valid YAML: "), "{}", lines[2]);
    assert!(lines[3].starts_with("error: secret.yaml: is not valid YAML: "), "{}", lines[3]);
    assert!(!session.stderr.contains("hunter2"), "{}", session.stderr);
    assert_eq!((session.code, session.stdout.as_str(), lines.len()), (Some(2), "", 4));
}

#[test]
fn a_file_without_permission_is_named() {
    let folder = Folder::new("permission").with("b.yaml", BUILD);
    let path = folder.0.join("b.yaml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads it all the same.
    if fs::read(&path).is_err() {
        let message = "b.yaml: cannot be read: Permission denied (os error 13)";
        folder.render(&["-f", "b.yaml"]).refused(&[message]);
    }
}

#[test]
fn a_file_beyond_measure_is_not_read() {
    let folder = Folder::new("large").with("large.yaml", "# padding\n".repeat(1 << 21));
    folder.render(&["-f", "large.yaml"]).refused(&["large.yaml: is larger than 16 MiB"]);
}

#[test]
fn documents_that_are_no_objects_are_refused() {
    let folder = Folder::new("no_objects")
        .with("a.yaml", "---\n---\njust text\n---\n[1]\n---\n{kind: Pod}\n---\n{apiVersion: v1}\n");
    folder.render(&["-f", "a.yaml"]).refused(&[
        "a.yaml: document: Invalid: is no object; a document has apiVersion, kind and metadata",
        "a.yaml: document: Invalid: is no object; a document has apiVersion, kind and metadata",
        "a.yaml: Pod: apiVersion: Invalid: Required value",
        "a.yaml: document: kind: Invalid: Required value",
        "the files hold neither a BuildRun nor a Build; add one",
    ]);
}

#[test]
fn lists_stand_for_their_members() {
    let indented = |text: &str| text.replace('\n', "\n      ");
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n  -   {}\n  - apiVersion: shipwright.io/v1beta1\n    kind: BuildList\n    items:\n    - {}\n",
        indented(STRATEGY).trim_end(),
        indented(BUILD).trim_end(),
    );
    let folder = Folder::new("lists").with("list.yaml", list).with("r.yaml", RUN);
    folder.render(&["-f", "list.yaml", "r.yaml"]).rendered(&[ACCOUNT]);
}

#[test]
fn control_characters_in_names_do_not_reach_the_terminal() {
    let build = BUILD.replace("{name: b}", r#"{name: "b\e[2J\nerror: all is well"}"#);
    let folder = Folder::new("control").with("b.yaml", build).with("s.yaml", STRATEGY);
    let session = folder.render(&["-f", "b.yaml", "s.yaml"]);
    assert_eq!((session.code, session.stdout.as_str()), (Some(2), ""));
    assert!(!session.stderr.contains('\u{1b}'), "{}", session.stderr);
    assert!(!session.stderr.contains("\nerror: all is well"), "{}", session.stderr);
}

#[test]
fn assumptions_are_listed() {
    let build = BUILD.replace("app}", "app, pushSecret: push}")
        + "  source: {type: Git, git: {url: \"https://git.example.com/app\", cloneSecret: clone}}\n";
    let run = RUN.to_owned() + "  serviceAccount: robot\n";
    let folder =
        Folder::new("assumptions").with("a.yaml", format!("{STRATEGY}---\n{build}---\n{run}"));
    folder.render(&["-f", "a.yaml"]).rendered(&[
        "note: ServiceAccount default/robot is assumed to exist",
        "note: Secret default/clone is assumed to exist",
        "note: Secret default/push is assumed to exist",
    ]);
}

#[test]
fn pipeline_is_the_account_only_where_the_files_hold_it() {
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: pipeline}\n";
    let folder = Folder::new("pipeline")
        .with("a.yaml", format!("{STRATEGY}---\n{BUILD}---\n{RUN}"))
        .with("account.yaml", account);
    let session = folder.render(&["-f", "a.yaml", "account.yaml"]);
    session.rendered(&[]);
    assert!(session.stdout.contains("serviceAccountName: pipeline"), "{}", session.stdout);
    let session = folder.render(&["-f", "a.yaml"]);
    session.rendered(&[ACCOUNT]);
    assert!(session.stdout.contains("serviceAccountName: default"), "{}", session.stdout);
}

#[test]
fn json_is_json_and_says_the_same() {
    let folder = Folder::new("json").with("a.yaml", format!("{STRATEGY}---\n{BUILD}---\n{RUN}"));
    let session = folder.render(&["-f", "a.yaml", "-o", "json"]);
    assert_eq!(session.code, Some(0), "{}", session.stderr);
    let pod: serde_json::Value = serde_json::from_str(&session.stdout).unwrap();
    assert_eq!((&pod["apiVersion"], &pod["kind"]), (&"v1".into(), &"Pod".into()));
    let yaml = folder.render(&["-f", "a.yaml"]);
    let (documents, errors) = {
        let folder = folder.with("pod.yaml", &yaml.stdout);
        slipway::local::read(&[folder.0.join("pod.yaml")])
    };
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(documents[0].value, pod);
}

#[test]
fn an_account_of_its_own_makes_a_list() {
    let run = RUN.to_owned() + "  serviceAccount: .generate\n";
    let folder =
        Folder::new("generate").with("a.yaml", format!("{STRATEGY}---\n{BUILD}---\n{run}"));
    let session = folder.render(&["-f", "a.yaml", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&session.stdout).unwrap();
    assert_eq!(list["kind"], "List");
    assert_eq!(list["items"][0]["kind"], "ServiceAccount");
    assert_eq!(list["items"][1]["kind"], "Pod");
}

#[test]
fn what_the_command_line_cannot_mean_is_a_usage_error() {
    let folder = Folder::new("usage").with("b.yaml", BUILD);
    let cases: [&[&str]; 6] = [
        &[],
        &["build"],
        &["render"],
        &["render", "-f"],
        &["render", "-f", "b.yaml", "-o", "xml"],
        &["render", "-f", "b.yaml", "--no-such-flag"],
    ];
    for arguments in cases {
        let session = folder.run(arguments, "");
        assert_eq!((session.code, session.stdout.as_str()), (Some(64), ""), "{arguments:?}");
        assert!(!session.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let folder = Folder::new("help");
    let session = folder.render(&["--help"]);
    assert_eq!((session.code, session.stderr.as_str()), (Some(0), ""));
    for part in
        ["Examples:", "slipway render -f samples/hello", "--buildrun <NAME>", "--output <OUTPUT>"]
    {
        assert!(session.stdout.contains(part), "{part}: {}", session.stdout);
    }
    // Wrapped to the width of the terminal.
    let help = folder.run(&["--help"], "").stdout;
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("0 done, 1 build failed, 2 refused"), "{help}");
    assert!(words.join(" ").contains("64 usage"), "{help}");
}
