//! A sample from `kubectl apply` to its status, with nothing but install.yaml in the cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};
use slipway::api::{BuildRun, SUCCEEDED};

use super::super::documents::{output, sample};
use super::super::harness::{Namespace, PATIENCE};
use super::super::samples::Pushed;
use super::Controller;

#[test]
fn the_sample_builds_under_the_account_of_the_install_file() {
    let controller = Controller::installed();
    let namespace = Namespace::restricted("install");
    let sample = sample("hello").with(None, &output(&namespace));
    namespace.apply(&sample.text());
    let run =
        namespace.watch_all(&["buildruns"], PATIENCE, BuildRun::is_done).expect("the run ends");

    let status = run.status.as_ref().unwrap();
    let condition = status.succeeded().unwrap();
    assert_eq!(condition.type_, SUCCEEDED);
    assert_eq!(
        (&*condition.status, &*condition.reason, &*condition.message),
        ("True", "Succeeded", "All Steps have completed executing")
    );
    assert_eq!(status.conditions.len(), 1);
    assert!(status.failure_details.is_none() && status.executor.is_none());
    let (start, completion) = (status.start_time.as_ref(), status.completion_time.as_ref());
    assert!(start.unwrap().0 <= completion.unwrap().0);

    let pushed = Pushed::of(&namespace);
    let output = status.output.as_ref().unwrap();
    assert_eq!(output.digest.as_deref(), Some(&*pushed.digest()));
    assert_eq!(output.size, Some(pushed.size()));

    let build: Value =
        serde_json::from_str(&namespace.kubectl(&["get", "build/hello", "--output=json"])).unwrap();
    assert_eq!(json!(status.build_spec), build["spec"]);
    let registered = json!({ "registered": "True", "reason": "Succeeded", "message": "all validations succeeded" });
    assert_eq!(build["status"], registered);
    let labels = BTreeMap::from([
        ("build.shipwright.io/generation".to_owned(), "1".to_owned()),
        ("build.shipwright.io/name".to_owned(), "hello".to_owned()),
    ]);
    assert_eq!(run.metadata.labels, Some(labels));

    // The last that it writes.
    let event = |event: &Event| event.involved_object.kind.as_deref() == Some("BuildRun");
    let event = namespace.watch_all(&["events"], PATIENCE, event).expect("an event of the run");
    assert_eq!(
        (event.type_.as_deref(), event.reason.as_deref()),
        (Some("Normal"), Some("Succeeded"))
    );
    let requests = controller.requests();
    // Elsewhere, others may start an API server again, which refuses everything for a moment.
    let here = requests.iter().filter(|request| request.is_in(namespace.name()));
    let forbidden: Vec<_> = here.filter(|request| request.is_forbidden()).collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}
