//! The verbs for those who build on a cluster, as somebody who may edit one namespace.

mod ended;
mod proxy;
mod went_on;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::sessions::{Folder, Session};
use super::controller::Controller;
use super::controller::person::Person;
use super::controller::runs::{end_of, pod_of, run_called};
use super::documents::Sample;
use super::harness::{Namespace, secret};
use super::steps::shell;
use proxy::Proxy;

/// What the shell of these tests looks like to a user.
fn slipway(person: &Person<'_>, folder: &Folder, arguments: &[&str]) -> Session {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.args(arguments).args(["--namespace", person.namespace()]);
    command.current_dir(folder.path("")).env("KUBECONFIG", person.kubeconfig());
    Session::of(command.stdin(Stdio::null()).output().unwrap())
}

/// The same, while it goes on.
fn start(person: &Person<'_>, folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.args(arguments).args(["--namespace", person.namespace()]).current_dir(folder);
    command.env("KUBECONFIG", person.kubeconfig()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The lines of one of its ends.
fn lines(end: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(end).lines().map(Result::unwrap)
}

/// Strategy and Build without a run.
fn without_run(sample: &Sample) -> String {
    format!("{}\n---\n{}", sample.strategy, sample.build)
}

fn expect(session: &Session, code: i32, words: &[&str]) {
    assert_eq!(session.code, Some(code), "{}\n{}", session.stdout, session.stderr);
    for word in words {
        assert!(session.stderr.contains(word), "{word}: {}", session.stderr);
    }
}

#[test]
fn no_line_is_lost_or_told_twice_however_often_connections_break() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("logs-broken");
    let dev = Person::bound(&namespace, "dev", "edit");
    let slow = "for i in $(seq 300); do echo slow $i; usleep 10000; done";
    let fast = "for i in $(seq 3000); do echo fast $i; done; sleep 1; for i in $(seq 10); do echo late $i; done; printf 'no end'";
    let sample = run_called("broken", &[shell("slow", slow), shell("fast", fast)]);
    namespace.apply(&sample.text());

    let own = fs::read_to_string(dev.kubeconfig()).unwrap();
    let proxy = Proxy::of(&own);
    let kubeconfig = proxy.kubeconfig("logs_broken", &own);
    let mut follow = Command::new(env!("CARGO_BIN_EXE_slipway"));
    follow.args(["logs", "-f", "--kubeconfig", &kubeconfig, "-n", namespace.name(), "broken"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = follow.stderr.take().unwrap();
    let told = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).map(|_| text).unwrap()
    });
    let mut found = Vec::new();
    let cuts = BTreeMap::from([(20, 0), (90, 3), (200, 1), (301, 0), (1000, 2), (3305, 1)]);
    for line in BufReader::new(follow.stdout.take().unwrap()).lines() {
        found.push(line.unwrap());
        if let Some(refused) = cuts.get(&found.len()) {
            proxy.cut(*refused);
        }
    }
    let code = follow.wait().unwrap().code();
    let told = told.join().unwrap();
    let slow = (1..=300).map(|at| format!("[slow]    slow {at}"));
    let fast = (1..=3000).map(|at| format!("[fast]    fast {at}"));
    let late = (1..=10).map(|at| format!("[fast]    late {at}"));
    let end = ["[fast]    no end".to_owned()];
    let expected: Vec<_> = slow.chain(fast).chain(late).chain(end).collect();
    let first = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{} lines in place of {}, other from {first:?} on: {told}",
        found.len(),
        expected.len()
    );
    assert_eq!(code, Some(0), "{told}");
    // It was cut off indeed.
    assert!(told.contains(" broke"), "{told}");
    assert!(told.contains("built registry.slipway.test:5000/broken"), "{told}");
}

#[test]
fn the_exit_code_of_logs_is_the_run_s() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("logs-verdict");
    let dev = Person::bound(&namespace, "dev", "edit");
    let folder = Folder::new("logs_verdict");
    let script = "echo 'mine' | tee \"$(results.shp-error-reason.path)\"; echo first; exit 3";
    let failing = run_called("failing", &[shell("good", "echo good"), shell("bad", script)]);
    let mut refused = run_called("refused", &[shell("a", "true")]).run;
    refused["spec"]["build"]["name"] = json!("absent");
    namespace.apply(&format!("{}\n---\n{refused}", failing.text()));

    let followed = slipway(&dev, &folder, &["logs", "-f", "failing"]);
    expect(
        &followed,
        1,
        &["bad: failed, exit 3", "\nnot built after ", "  step    bad\n", "  reason  mine\n"],
    );
    assert_eq!(followed.stdout, "[good]    good\n[bad]     mine\n[bad]     first\n");
    // Once it has ended there is the same to see.
    for words in [&["logs", "failing"][..], &["logs", "-f", "failing"]] {
        let printed = slipway(&dev, &folder, words);
        expect(&printed, 1, &["\nnot built after "]);
        assert_eq!(printed.stdout, followed.stdout);
    }
    let step = slipway(&dev, &folder, &["logs", "--step", "good", "failing"]);
    assert_eq!((step.code, &*step.stdout), (Some(1), "[good]    good\n"));
    let step = slipway(&dev, &folder, &["logs", "--step", "other", "failing"]);
    expect(&step, 64, &["BuildRun failing has no step other; it has prepare, good, bad"]);

    let refused = slipway(&dev, &folder, &["logs", "-f", "refused"]);
    let reason = "not built: BuildNotFound: build.shipwright.io \"absent\" not found\n";
    expect(&refused, 2, &[reason]);
    assert_eq!(refused.stdout, "");
    let absent = slipway(&dev, &folder, &["logs", "-f", "absent"]);
    expect(&absent, 3, &[&format!("no BuildRun absent in namespace {}", namespace.name())]);
    let foreign = Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(["logs", "-n", "kube-system", "x", "--kubeconfig", &dev.kubeconfig()])
        .output();
    expect(
        &Session::of(foreign.unwrap()),
        3,
        &["get BuildRun x in namespace kube-system", "(403)"],
    );
}

#[test]
fn a_directory_arrives_as_it_is_and_belongs_to_the_strategy_s_user() {
    let _controller = Controller::installed();
    let namespace = Namespace::restricted("upload");
    let dev = Person::bound(&namespace, "dev", "edit");
    let large: Vec<u8> =
        (0..40_u32 << 18).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let folder = Folder::new("upload")
        .with("src/plain", "text")
        .with("src/.git/config", "mine")
        .with("src/sub/with space/gr\u{fc}n \u{2713}.txt", "green")
        .with("src/run.sh", "#!/bin/sh\n")
        .with("src/left.log", "stays")
        .with("src/.shpignore", "*.log\n")
        .with("src/large", &large);
    let source = folder.path("src");
    fs::create_dir(source.join("empty")).unwrap();
    symlink("sub/with space", source.join("link")).unwrap();
    symlink("nowhere", source.join("dangling")).unwrap();
    fs::set_permissions(source.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let list = "cd /workspace/source; find . -mindepth 1 | sort | while read -r f; do stat -c '%u:%g %a %F %N' \"$f\"; done; sha256sum large";
    let restricted = json!({
        "runAsNonRoot": true, "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
    });
    let list = super::steps::with(shell("list", list), "securityContext", restricted);
    namespace.apply(&without_run(&run_called("app", &[list])));

    let uploaded = slipway(&dev, &folder, &["upload", "app", "src"]);
    expect(&uploaded, 0, &["uploaded 8 files, ", "\nbuilt registry.slipway.test:5000/app"]);
    let lines: Vec<_> =
        uploaded.stdout.lines().filter_map(|line| line.strip_prefix("[list]         ")).collect();
    let digest = Sha256::digest(&large);
    let sum = digest.iter().fold(String::new(), |sum, byte| format!("{sum}{byte:02x}"));
    for expected in [
        "1001:1000 755 directory ./.git".to_owned(),
        "1001:1000 644 regular file ./.git/config".into(),
        "1001:1000 755 directory ./empty".into(),
        "1001:1000 777 symbolic link './link' -> 'sub/with space'".into(),
        "1001:1000 777 symbolic link './dangling' -> 'nowhere'".into(),
        "1001:1000 755 regular file ./run.sh".into(),
        "1001:1000 644 regular file ./sub/with space/gr\u{fc}n \u{2713}.txt".into(),
        format!("{sum}  large"),
    ] {
        assert!(lines.contains(&expected.as_str()), "{expected}: {lines:#?}");
    }
    assert!(!uploaded.stdout.contains("left.log"), "{lines:#?}");

    // Whoever does not follow gets the name.
    let quiet = slipway(&dev, &folder, &["upload", "app", "src", "--no-follow"]);
    expect(&quiet, 0, &["uploaded 8 files"]);
    let run = quiet.stdout.strip_suffix('\n').unwrap();
    assert!(end_of(&namespace, run).status.unwrap().has_succeeded());
}

#[test]
fn an_upload_ends_with_the_verdict_of_a_run_that_is_refused() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("upload-refused");
    let dev = Person::bound(&namespace, "dev", "edit");
    let folder = Folder::new("upload_refused").with("file", "");
    let mut sample = run_called("app", &[shell("a", "true")]);
    sample.build["spec"]["strategy"]["name"] = json!("absent");
    namespace.apply(&sample.build.to_string());
    let refused = slipway(&dev, &folder, &["upload", "app", "."]);
    assert_eq!((refused.code, &*refused.stdout), (Some(2), ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("BuildStrategyNotFound"), "{}", refused.stderr);
    let absent = slipway(&dev, &folder, &["upload", "other"]);
    expect(&absent, 3, &[&format!("no Build other in namespace {}", namespace.name())]);
}

/// The files of an archive, without its folder.
fn read_back(path: &std::path::Path) -> BTreeMap<String, String> {
    let file = fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name.split_once('/').unwrap().1.to_owned(), text)
    });
    entries.collect()
}

#[test]
fn everything_about_a_run_is_in_one_file_and_what_is_not_is_named() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("gather");
    let dev = Person::bound(&namespace, "dev", "edit");
    let folder = Folder::new("gather");
    let mut step = shell("use", "echo used; exit 1");
    step["env"] = json!([{ "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "token" } } }]);
    let sample = run_called("app", &[step]);
    namespace.apply(&secret("keys", "Opaque", &[("token", "not-to-be-seen")]));
    namespace.apply(&sample.text());
    let run = end_of(&namespace, "app");
    let pod = pod_of(&run);

    let gathered = slipway(&dev, &folder, &["gather", "app"]);
    expect(&gathered, 0, &[]);
    assert_eq!(gathered.stdout, "app.tar.gz\n");
    let files = read_back(&folder.path("app.tar.gz"));
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let (log, of_pod) = (format!("logs/{pod}/step-use.log"), format!("pods/{pod}.yaml"));
    let prepare = format!("logs/{pod}/prepare.log");
    let mut expected = vec![
        "build.yaml",
        "buildrun.yaml",
        "contents.txt",
        "events.yaml",
        "identity.txt",
        &*prepare,
        &*log,
        &*of_pod,
        "strategy.yaml",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(files[&log].ends_with(" used\n"), "{}", files[&log]);
    assert!(files["identity.txt"].contains("1001 (strategy)"), "{}", files["identity.txt"]);
    assert!(files["events.yaml"].contains("Created container"), "{}", files["events.yaml"]);
    let read: Value = serde_saphyr::from_str(&files["buildrun.yaml"]).unwrap();
    assert_eq!(read["status"]["conditions"][0]["reason"], "Failed");
    assert!(files.values().all(|text| !text.contains("not-to-be-seen")));
    assert!(files[&of_pod].contains("secretKeyRef"));

    // Whoever may not look at Secrets needs none of them.
    let reader = Person::bound(&namespace, "viewer", "view");
    let read = slipway(&reader, &folder, &["gather", "app", "--output", "read.tar.gz"]);
    expect(&read, 0, &[]);
    assert_eq!(read.stderr, "");
    let identity = &read_back(&folder.path("read.tar.gz"))["identity.txt"];
    let assumed = format!("note: Secret {}/keys is assumed to exist", namespace.name());
    assert!(identity.contains(&assumed), "{identity}");
    namespace.kubectl(&["delete", "rolebinding", "viewer"]);

    // A run that never began names its strategy through its Build alone.
    let mut wrong = sample.run.clone();
    wrong["metadata"]["name"] = json!("wrong");
    wrong["spec"]["state"] = json!("BuildRunCanceled");
    namespace.apply(&wrong.to_string());
    assert!(end_of(&namespace, "wrong").status.unwrap().build_spec.is_none());
    expect(&slipway(&dev, &folder, &["gather", "wrong"]), 0, &["note: the run has no pod"]);
    assert!(read_back(&folder.path("wrong.tar.gz"))["strategy.yaml"].contains("echo used"));

    namespace.kubectl(&["delete", "pod", pod]);
    let gone = slipway(&dev, &folder, &["gather", "app", "--output", "gone.tar.gz"]);
    expect(&gone, 0, &[&format!("note: pod {pod} is not there any more")]);
    let files = read_back(&folder.path("gone.tar.gz"));
    assert!(files["contents.txt"].contains("Not there:\n  pod "), "{}", files["contents.txt"]);
    assert!(files.contains_key("build.yaml") && !files.contains_key(&log));

    // Somebody who may look at runs and nothing else.
    let (verbs, kinds) =
        ("--verb=get,list", "--resource=buildruns.shipwright.io,builds.shipwright.io");
    namespace.kubectl(&["create", "role", "runs", verbs, kinds]);
    let viewer = Person::with_role(&namespace, "viewer", "runs");
    let partial = slipway(&viewer, &folder, &["gather", "app", "--output", "partial.tar.gz"]);
    expect(&partial, 3, &["error: the pods: the API server does not list the pods"]);
    let files = read_back(&folder.path("partial.tar.gz"));
    assert!(files["contents.txt"].contains("Could not be had:\n"), "{}", files["contents.txt"]);
    assert!(files.contains_key("buildrun.yaml"));
}

#[test]
fn an_edited_strategy_is_judged_with_a_build_of_the_cluster() {
    let _controller = Controller::installed();
    let namespace = Namespace::restricted("from-cluster");
    let dev = Person::bound(&namespace, "dev", "edit");
    let mut sample = run_called("app", &[shell("a", "true")]);
    sample.build["spec"]["output"]["pushSecret"] = json!("push");
    namespace.apply(&without_run(&sample));
    let mut edited = sample.strategy.clone();
    edited["spec"]["securityContext"]["runAsUser"] = json!(4321);
    let folder = Folder::new("from_cluster").with("strategy.yaml", edited.to_string());

    let refused = slipway(&dev, &folder, &["check", "--from-cluster", "build/app"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stdout.contains("referenced secret push not found"), "{}", refused.stdout);
    let content = "{\"auths\":{\"a\":{\"password\":\"not-to-be-seen\"}}}";
    namespace.apply(&secret(
        "push",
        "kubernetes.io/dockerconfigjson",
        &[(".dockerconfigjson", content)],
    ));
    let explained =
        slipway(&dev, &folder, &["explain", "-f", "strategy.yaml", "--from-cluster", "app"]);
    expect(&explained, 0, &[]);
    assert!(explained.stdout.contains("4321 (strategy)"), "{}", explained.stdout);
    assert!(explained.stdout.contains("enforces restricted"), "{}", explained.stdout);
    let rendered = slipway(&dev, &folder, &["render", "--from-cluster", "app"]);
    expect(&rendered, 0, &[]);
    assert!(
        rendered.stdout.contains("runAsUser: 1001") && rendered.stdout.contains("secretName: push")
    );
    assert!(!rendered.stdout.contains("not-to-be-seen"));

    // Who may not look at Secrets is told so.
    let viewer = Person::bound(&namespace, "viewer", "view");
    let warned = slipway(&viewer, &folder, &["explain", "--from-cluster", "app"]);
    let warning = "warning: the API server does not get Secret push in namespace";
    expect(
        &warned,
        0,
        &[warning, &format!("note: Secret {}/push is assumed to exist", namespace.name())],
    );
    let absent = slipway(&dev, &folder, &["explain", "--from-cluster", "other"]);
    expect(&absent, 3, &[&format!("no BuildRun or Build other in namespace {}", namespace.name())]);
}
