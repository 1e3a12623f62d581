//! Uploads that somebody ends, or whose connections do.

use rustix::process::{Pid, Signal, kill_process};

use super::super::super::sessions::Folder;
use super::super::controller::Controller;
use super::super::controller::lost::WAIT;
use super::super::controller::person::Person;
use super::super::controller::runs::{end_of, pod_of, run_called, until};
use super::super::harness::Namespace;
use super::super::steps::shell;
use super::proxy::Proxy;
use super::{expect, lines, slipway, start, without_run};

/// Reads on to the line that begins so; the rest of it.
fn rest_of(lines: &mut impl Iterator<Item = String>, beginning: &str) -> String {
    lines.find_map(|line| line.strip_prefix(beginning).map(String::from)).unwrap()
}

#[test]
fn an_upload_that_is_interrupted_cancels_its_run() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("upload-interrupted");
    let dev = Person::bound(&namespace, "dev", "edit");
    // More than can be sent before the signal comes. It takes no room on this disk, and goes with the test.
    let folder = tempfile::tempdir().unwrap();
    let sparse = std::fs::File::create(folder.path().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    namespace.apply(&without_run(&run_called("app", &[shell("a", "true")])));
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut upload = start(&dev, folder.path(), &["upload", "app"]);
        let mut told = lines(upload.stderr.take().unwrap());
        let run = rest_of(&mut told, "created BuildRun ");
        if signal == Signal::INT {
            let progress = rest_of(&mut told, "uploading: ");
            assert!(progress.ends_with(" of 1.0 TiB"), "{progress}");
        }
        kill_process(Pid::from_child(&upload), signal).unwrap();
        let rest: Vec<_> = told.collect();
        assert_eq!(upload.wait().unwrap().code(), Some(1), "{rest:#?}");
        let told = format!("BuildRun {run} is canceled, for its source will not come");
        assert!(rest.contains(&told), "{rest:#?}");
        let ended = end_of(&namespace, &run);
        assert_eq!(ended.succeeded().unwrap().reason, "BuildRunCanceled");
    }
}

#[test]
fn a_run_that_has_its_source_goes_on_when_the_upload_is_interrupted() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("upload-left");
    let dev = Person::bound(&namespace, "dev", "edit");
    let folder = Folder::new("upload_left").with("src/file", "");
    let script = format!("echo builds; {WAIT}");
    namespace.apply(&without_run(&run_called("app", &[shell("long", &script)])));
    let mut upload = start(&dev, &folder.path("src"), &["upload", "app"]);
    let mut told = lines(upload.stderr.take().unwrap());
    let run = rest_of(&mut told, "created BuildRun ");
    let mut printed = lines(upload.stdout.take().unwrap());
    rest_of(&mut printed, "[long]         builds");
    kill_process(Pid::from_child(&upload), Signal::INT).unwrap();
    let rest: Vec<_> = told.collect();
    assert_eq!(upload.wait().unwrap().code(), Some(1), "{rest:#?}");
    assert!(rest.contains(&format!("interrupted: BuildRun {run} goes on")), "{rest:#?}");
    let cancel = rest.iter().find_map(|line| line.trim().strip_suffix("   cancels it")).unwrap();
    let now = until(&namespace, &run, "Running");
    assert!(!now.spec.is_canceled());
    dev.type_in(&folder.path("src"), cancel);
    assert_eq!(end_of(&namespace, &run).succeeded().unwrap().reason, "BuildRunCanceled");
}

#[test]
fn an_upload_whose_lines_nobody_reads_goes_on() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("upload-unread");
    let dev = Person::bound(&namespace, "dev", "edit");
    let folder = Folder::new("upload_unread").with("src/file", "");
    let script = "for i in $(seq 2000); do echo line $i; done";
    namespace.apply(&without_run(&run_called("app", &[shell("a", script), shell("b", script)])));
    let mut upload = start(&dev, &folder.path("src"), &["upload", "app"]);
    drop(upload.stdout.take());
    let told: Vec<_> = lines(upload.stderr.take().unwrap()).collect();
    assert_eq!(upload.wait().unwrap().code(), Some(0), "{told:#?}");
    let run = rest_of(&mut told.iter().cloned(), "created BuildRun ");
    assert!(end_of(&namespace, &run).status.unwrap().has_succeeded());
}

#[test]
fn a_waiter_is_told_again_when_the_connection_breaks() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("upload-told");
    let dev = Person::bound(&namespace, "dev", "edit");
    let folder = Folder::new("upload_told").with("src/large", vec![b'x'; 8 << 20]);
    namespace
        .apply(&without_run(&run_called("app", &[shell("a", "ls -l /workspace/source/large")])));
    let own = std::fs::read_to_string(dev.kubeconfig()).unwrap();
    let proxy = Proxy::of(&own);
    // While the source is on its way, so that what comes next on a connection of its own fails.
    proxy.refuse_after(4 << 20, 2);
    let kubeconfig = proxy.kubeconfig("upload_told_proxy", &own);
    let uploaded = slipway(&dev, &folder, &["upload", "app", "src", "--kubeconfig", &kubeconfig]);
    expect(&uploaded, 0, &["; trying again", "\nuploaded 1 files, ", "\nbuilt "]);
    let run = rest_of(&mut uploaded.stderr.lines().map(String::from), "created BuildRun ");
    let ended = end_of(&namespace, &run);
    assert!(ended.status.as_ref().unwrap().has_succeeded(), "{}", pod_of(&ended));
}
