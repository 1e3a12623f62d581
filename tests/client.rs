//! `slipway logs`, `upload`, `gather` and `--from-cluster` without a cluster: how they are called, and what they say where none answers.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use slipway::working_copy;
use slipway_step::unpack::{Permissions, Times, Unpacker, Whiteouts};

use super::sessions::{BUILD, Folder, STRATEGY};

/// A kubeconfig of a cluster that is not there.
fn folder(test: &str) -> Folder {
    // Port 1 is nobody's.
    folder_of(test, 1)
}

/// A kubeconfig of what answers at this port.
fn folder_of(test: &str, port: u16) -> Folder {
    let server = json!({ "server": format!("http://127.0.0.1:{port}") });
    let context = json!({ "cluster": "gone", "user": "", "namespace": "team" });
    let kubeconfig = json!({
        "clusters": [{ "name": "gone", "cluster": server }],
        "contexts": [{ "name": "here", "context": context }],
        "current-context": "here",
    });
    Folder::new(test).with("config", kubeconfig.to_string())
}

#[test]
fn a_cluster_that_does_not_answer_is_named_with_what_to_do() {
    let folder = folder("no_cluster").with("s.yaml", STRATEGY).with("b.yaml", BUILD);
    for arguments in [
        &["logs", "-f", "app"][..],
        &["upload", "app"],
        &["gather", "app"],
        &["explain", "--from-cluster", "app"],
        &["check", "-f", "b.yaml", "--from-cluster"],
        &["render", "-f", "s.yaml", "b.yaml", "--from-cluster"],
    ] {
        let session = folder.run(&[arguments, &["--kubeconfig", "config"]].concat(), "");
        assert_eq!((session.code, &*session.stdout), (Some(3), ""), "{arguments:?}: {session:?}");
        let text = "error: the cluster at http://127.0.0.1:1/ does not answer; see that it runs";
        assert!(session.stderr.starts_with(text), "{arguments:?}: {}", session.stderr);
    }
    let session = folder.run(&["logs", "x", "--kubeconfig", "config", "--context", "other"], "");
    assert_eq!(session.code, Some(3));
    assert!(session.stderr.contains("other"), "{}", session.stderr);
    assert!(!folder.path("app.tar.gz").exists());
}

#[test]
fn a_command_line_that_means_nothing_is_refused_before_a_cluster_is_asked() {
    let folder = folder("client_usage").with("dir/.shpignore", "a{b\n");
    for (arguments, code, words) in [
        (&["logs"][..], 64, "BUILDRUN"),
        (&["upload"], 64, "BUILD"),
        (&["upload", "app", "absent"], 64, "absent is no directory"),
        (&["upload", "app", "--upload-timeout", "5"], 64, "is no duration"),
        (&["upload", "app", "dir"], 2, "dir/.shpignore cannot be understood"),
        (&["gather"], 64, "BUILDRUN"),
        (&["check", "--from-cluster", "pod/x"], 64, "pod/x names no object"),
        (&["explain"], 64, "--filename"),
    ] {
        let cluster: &[&str] = if arguments.len() > 1 { &["--kubeconfig", "config"] } else { &[] };
        let session = folder.run(&[arguments, cluster].concat(), "");
        assert_eq!(session.code, Some(code), "{arguments:?}: {session:?}");
        assert!(session.stderr.contains(words), "{arguments:?}: {}", session.stderr);
    }
}

#[test]
fn links_that_lead_out_are_all_named_before_a_cluster_is_asked() {
    let folder = folder("client_links").with("dir/sub/file", "").with("dir/left", "");
    for (target, link) in [
        ("/etc/passwd", "absolute"),
        ("../../etc", "sub/up"),
        ("sub/../left", "around"),
        ("nowhere/x", "sub/dangling"),
        ("../left", "sub/inside"),
    ] {
        symlink(target, folder.path("dir").join(link)).unwrap();
    }
    let session = folder.run(&["upload", "app", "dir", "--kubeconfig", "config"], "");
    let expected = "\
error: dir/absolute cannot be unpacked: it is a symbolic link to the absolute \"/etc/passwd\"; make it a relative one within the source; if it is not needed, name it in a .shpignore
error: dir/around cannot be unpacked: it is a symbolic link to \"sub/../left\"; \"..\" may only stand at the beginning; if it is not needed, name it in a .shpignore
error: dir/sub/up cannot be unpacked: it is a symbolic link to \"../../etc\", which is outside of the folder of the source; if it is not needed, name it in a .shpignore
";
    assert_eq!((session.code, &*session.stderr), (Some(2), expected));
    fs::write(folder.path("dir/.shpignore"), "absolute\naround\nup\n").unwrap();
    let session = folder.run(&["upload", "app", "dir", "--kubeconfig", "config"], "");
    assert_eq!(session.code, Some(3), "{session:?}");
}

/// What is refused before an upload is what the source step would refuse, and nothing else.
#[test]
fn the_source_step_judges_links_alike() {
    for (at, target) in [
        ("link", "file"),
        ("link", "./a/b"),
        ("link", "."),
        ("link", ".."),
        ("link", "../x"),
        ("link", "/"),
        ("link", "/etc/passwd"),
        ("link", "a/../b"),
        ("link", "a/.."),
        ("a/link", ".."),
        ("a/link", "../x"),
        ("a/link", "../../x"),
        ("a/b/link", "../..//./x"),
        ("a/b/link", "../x/.."),
        ("a/b/link", "../../../x"),
    ] {
        let [source, target_folder] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let link = source.path().join(at);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, &link).unwrap();
        let mut archive = Vec::new();
        working_copy::pack(source.path(), 0, 0, &mut archive).unwrap();
        let mut unpacker =
            Unpacker::open(target_folder.path(), Permissions::Masked, Times::Kept).unwrap();
        let is_taken = unpacker.unpack(&archive[..], Whiteouts::AreFiles, |_| {}).is_ok();
        let faults = working_copy::link_faults(source.path());
        assert_eq!(faults.is_empty(), is_taken, "{at} to {target}: {faults:?}");
    }
}

/// A request, and the connection that its answer goes to.
struct Asked {
    line: String,
    body: String,
    connection: TcpStream,
}

impl Asked {
    fn of(listener: &TcpListener) -> Self {
        let (connection, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        let head: Vec<_> = reader
            .by_ref()
            .lines()
            .map(Result::unwrap)
            .take_while(|line| !line.is_empty())
            .collect();
        let length = head
            .iter()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::parse));
        let mut body = vec![0; length.map_or(0, Result::unwrap)];
        reader.read_exact(&mut body).unwrap();
        Self { line: head[0].clone(), body: String::from_utf8(body).unwrap(), connection }
    }

    fn answer(mut self, object: &Value) {
        let text = object.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        write!(self.connection, "{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len()).unwrap();
    }
}

#[test]
fn an_upload_that_is_interrupted_while_its_run_is_made_cancels_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = folder_of("client_interrupted", listener.local_addr().unwrap().port());
    let mut upload = Command::new(env!("CARGO_BIN_EXE_slipway"));
    upload.args(["upload", "app", "--kubeconfig", "config"]).current_dir(folder.path(""));
    upload.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut upload = upload.spawn().unwrap();
    let mut told = BufReader::new(upload.stderr.take().unwrap()).lines().map(Result::unwrap);

    let asked = Asked::of(&listener);
    assert!(asked.line.starts_with("GET ") && asked.line.contains("/builds/app"), "{}", asked.line);
    let object = |kind: &str, name: &str, spec: Value| json!({ "apiVersion": "shipwright.io/v1beta1", "kind": kind, "metadata": { "name": name, "namespace": "team" }, "spec": spec });
    let spec = json!({ "strategy": { "name": "s" }, "output": { "image": "registry/app" } });
    asked.answer(&object("Build", "app", spec));
    let asked = Asked::of(&listener);
    assert!(asked.line.starts_with("POST ") && asked.line.contains("/buildruns"), "{}", asked.line);
    let id = rustix::process::Pid::from_child(&upload);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(
        told.next().unwrap(),
        "interrupted while the BuildRun is made; waiting for its name to cancel it"
    );
    asked.answer(&object("BuildRun", "app-1", json!({ "build": { "name": "app" } })));
    let asked = Asked::of(&listener);
    assert!(
        asked.line.starts_with("PATCH ") && asked.line.contains("/buildruns/app-1"),
        "{}",
        asked.line
    );
    let patch: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(patch, json!({ "spec": { "state": "BuildRunCanceled" } }));
    asked.answer(&object("BuildRun", "app-1", json!({ "build": { "name": "app" } })));
    let rest: Vec<_> = told.collect();
    assert_eq!(rest, ["BuildRun app-1 is canceled, for its source will not come"]);
    assert_eq!(upload.wait().unwrap().code(), Some(1));
}

#[test]
fn the_help_of_each_verb_has_examples() {
    for verb in ["logs", "upload", "gather", "render", "explain", "check"] {
        let session = Folder::new("client_help").run(&[verb, "--help"], "");
        assert_eq!(session.code, Some(0));
        for words in ["Examples:\n", &format!("  slipway {verb} "), "--kubeconfig", "--context"] {
            assert!(session.stdout.contains(words), "{verb}: {words}: {}", session.stdout);
        }
    }
}
