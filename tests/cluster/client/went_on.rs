//! Logs of runs that do not go on as most do.

use super::super::super::sessions::Folder;
use super::super::controller::Controller;
use super::super::controller::injected::{PROXY, beside, container};
use super::super::controller::lost::{WAIT, evict};
use super::super::controller::person::Person;
use super::super::controller::policy::Policy;
use super::super::controller::runs::{pod_of, run_called, until};
use super::super::harness::Namespace;
use super::super::steps::shell;
use super::proxy::Proxy;
use super::{expect, lines, slipway, start};

#[test]
fn a_run_is_followed_into_the_pod_that_replaces_its_own() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("logs-replaced");
    let dev = Person::bound(&namespace, "dev", "edit");
    let folder = Folder::new("logs_replaced");
    let script = format!("echo ready; {WAIT}; echo done");
    namespace.apply(&run_called("drained", &[shell("long", &script)]).text());
    let mut follow = start(&dev, &folder.path(""), &["logs", "-f", "drained"]);
    let mut printed = lines(follow.stdout.take().unwrap());
    let told = follow.stderr.take().unwrap();
    let told = std::thread::spawn(move || lines(told).collect::<Vec<_>>());
    assert_eq!(printed.next().unwrap(), "[long]    ready");
    evict(&namespace, pod_of(&until(&namespace, "drained", "Running")));
    assert_eq!(printed.next().unwrap(), "[long]    ready");
    let run = until(&namespace, "drained", "Running");
    let pod = pod_of(&run);
    namespace.let_go(pod, "step-long");
    assert_eq!(printed.collect::<Vec<_>>(), ["[long]    done"]);
    let (code, told) = (follow.wait().unwrap().code(), told.join().unwrap());
    assert_eq!(code, Some(0), "{told:#?}");
    assert!(told.contains(&format!("note: the run goes on in another pod, {pod}")), "{told:#?}");
    assert!(told.iter().any(|line| line.starts_with("built ")), "{told:#?}");
}

#[test]
fn what_others_put_beside_the_steps_is_followed_too_and_holds_nothing_up() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("logs-beside");
    let dev = Person::bound(&namespace, "dev", "edit");
    let folder = Folder::new("logs_beside");
    let proxy = container(&format!("echo beside; {PROXY}"));
    let _policy = Policy::changing_the_pod_of(&namespace, "app", &[beside(&proxy)]);
    namespace
        .apply(&run_called("app", &[shell("a", "echo first"), shell("b", "echo last")]).text());
    let followed = slipway(&dev, &folder, &["logs", "-f", "app"]);
    expect(&followed, 0, &["\nbuilt "]);
    let mut found: Vec<_> = followed.stdout.lines().collect();
    let place = found.iter().position(|line| *line == "[proxy]   beside");
    found.remove(place.unwrap_or_else(|| panic!("{found:#?}")));
    assert_eq!(found, ["[a]       first", "[b]       last"]);
    // The same once all is over.
    let beside = slipway(&dev, &folder, &["logs", "-f", "--step", "proxy", "app"]);
    expect(&beside, 0, &["\nbuilt "]);
    assert!(beside.stdout.ends_with("beside\n"), "{beside:?}");
}

#[test]
fn a_step_that_is_silent_while_connections_break_is_followed_to_its_end() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("logs-quiet");
    let dev = Person::bound(&namespace, "dev", "edit");
    let script = format!("echo before; {WAIT}; echo after");
    namespace.apply(&run_called("quiet", &[shell("long", &script)]).text());
    let own = std::fs::read_to_string(dev.kubeconfig()).unwrap();
    let proxy = Proxy::of(&own);
    let kubeconfig = proxy.kubeconfig("logs_quiet", &own);
    let arguments = ["logs", "-f", "quiet", "--kubeconfig", &kubeconfig];
    let mut follow = start(&dev, &Folder::new("logs_quiet_here").path(""), &arguments);
    let told = follow.stderr.take().unwrap();
    let told = std::thread::spawn(move || lines(told).collect::<Vec<_>>());
    let mut printed = lines(follow.stdout.take().unwrap());
    assert_eq!(printed.next().unwrap(), "[long]    before");
    // Each time run, pods and log are asked for anew.
    for _ in 0..4 {
        proxy.cut(2);
        proxy.wait_for_connections(3);
    }
    namespace.let_go(pod_of(&until(&namespace, "quiet", "Running")), "step-long");
    assert_eq!(printed.collect::<Vec<_>>(), ["[long]    after"]);
    let (code, told) = (follow.wait().unwrap().code(), told.join().unwrap());
    assert_eq!(code, Some(0), "{told:#?}");
    assert!(told.iter().any(|line| line.contains(" broke")), "{told:#?}");
}
