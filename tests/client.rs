//! `slipway logs`, `upload`, `gather` and `--from-cluster` without a cluster: how they are called, and what they say where none answers.

use serde_json::json;

use super::sessions::{BUILD, Folder, STRATEGY};

/// A kubeconfig of a cluster that is not there.
fn folder(test: &str) -> Folder {
    // Port 1 is nobody's.
    let server = json!({ "server": "http://127.0.0.1:1" });
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
fn the_help_of_each_verb_has_examples() {
    for verb in ["logs", "upload", "gather", "render", "explain", "check"] {
        let session = Folder::new("client_help").run(&[verb, "--help"], "");
        assert_eq!(session.code, Some(0));
        for words in ["Examples:\n", &format!("  slipway {verb} "), "--kubeconfig", "--context"] {
            assert!(session.stdout.contains(words), "{verb}: {words}: {}", session.stdout);
        }
    }
}
