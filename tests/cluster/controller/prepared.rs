//! The container that hands `slipway-step` to the steps, where it does not come to that: no step starts, and the run says why.

use serde_json::{Value, json};

use super::super::harness::{Namespace, phase};
use super::super::steps::{BUSYBOX, shell};
use super::Controller;
use super::policy::Policy;
use super::runs::{executor_of, expect_ended, live, only_pod, pod_of, run_called};

fn replace(field: &str, value: &Value) -> Value {
    json!({ "op": "add", "path": format!("/spec/initContainers/0/{field}"), "value": value })
}

#[test]
fn a_preparation_that_does_not_come_to_its_end() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("prepared");
    let missing = "registry.slipway.test:5000/no/such:1";
    let script = |script: &str| {
        vec![
            replace("image", &json!(BUSYBOX)),
            replace("command", &json!(["sh", "-euc", script])),
            replace("args", &json!([])),
        ]
    };
    let hungry = replace("resources", &json!({ "limits": { "memory": "32Mi" } }));
    let rows = [
        ("fails", script("echo no; exit 4")),
        ("tells", script("printf 'my \"words\"' > /dev/termination-log; exit 5")),
        ("hungry", [script("tail /dev/zero"), vec![hungry]].concat()),
        (
            "pulled",
            vec![replace("image", &json!(missing)), replace("imagePullPolicy", &json!("Always"))],
        ),
        (
            "never",
            vec![replace("image", &json!(missing)), replace("imagePullPolicy", &json!("Never"))],
        ),
    ];
    let _policies: Vec<_> = rows
        .iter()
        .map(|(name, changes)| Policy::changing_the_pod_of(&namespace, name, changes))
        .collect();
    let samples =
        rows.map(|(name, _)| run_called(name, &[shell("first", "true"), shell("last", "true")]));
    let lives = live(&namespace, &samples, |_| {});
    let end = |name: &str| lives[name].last().unwrap();

    for (name, reason, message) in [
        (
            "fails",
            "InitContainerFailed",
            r#"init container failed, "prepare" exited with code 4: Error"#,
        ),
        (
            "tells",
            "InitContainerFailed",
            r#"init container failed, "prepare" exited with code 5: my "words""#,
        ),
        (
            "hungry",
            "InitContainerOOM",
            r#"init container failed, "prepare" exited with code 137: OOMKilled"#,
        ),
    ] {
        expect_ended(end(name), ("False", reason, message), &Value::Null);
        let pod = only_pod(&namespace, end(name));
        assert_eq!(phase(&pod), "Failed");
    }
    assert_eq!(namespace.log(pod_of(end("fails")), "prepare"), "no\n");

    let pulled = format!(
        "Back-off pulling image \"{missing}\": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image \"{missing}\": failed to resolve image: {missing}: not found"
    );
    let never = format!("Container image \"{missing}\" is not present with pull policy of Never");
    for (name, text) in [("pulled", pulled), ("never", never)] {
        let message = format!(
            "the step \"prepare\" in TaskRun \"{}\" failed to pull the image \"\". The pod errored with the message: \"{text}.\"",
            executor_of(end(name))
        );
        expect_ended(end(name), ("False", "TaskRunImagePullFailed", &message), &Value::Null);
        let ended = namespace.wait_until_ended(pod_of(end(name)));
        assert_eq!(ended.pod.status.as_ref().unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    }
}
