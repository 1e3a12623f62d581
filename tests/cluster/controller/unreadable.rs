//! Objects that the API server takes and our types cannot read: `defaultMode` has 32 bits, which the definitions do not say.

use serde_json::{Value, json};
use slipway::api::BuildRun;

use super::super::documents::script_strategy;
use super::super::harness::{Namespace, PATIENCE};
use super::disturbed::{Audited, Runs};
use super::{Controller, DEPLOYMENT, of_controller};

const VERSION: &str = "shipwright.io/v1beta1";
const WHY: &str = "invalid value: integer `5000000000`, expected i32";

#[test]
fn what_cannot_be_read_stops_nothing_but_what_names_it() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("unreadable");
    let volumes =
        json!([{ "name": "v", "configMap": { "name": "c", "defaultMode": 5_000_000_000_i64 } }]);
    let object = |kind: &str, name: &str, spec: Value| json!({ "apiVersion": VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec });
    let build = |name: &str, strategy: &str| {
        let strategy = json!({ "name": strategy, "kind": "BuildStrategy" });
        object("Build", name, json!({ "strategy": strategy, "output": { "image": "unused" } }))
    };
    let run =
        |name: &str, build: &str| object("BuildRun", name, json!({ "build": { "name": build } }));
    let unreadable = |mut object: Value| {
        object["spec"]["volumes"] = volumes.clone();
        object
    };
    let strategy: Value =
        serde_json::from_str(&script_strategy("odd", (1001, 1001), "true")).unwrap();
    let mut runs = Runs::prepare(&namespace);
    let items = [
        unreadable(strategy),
        unreadable(build("unreadable", "nothing")),
        build("of-odd-strategy", "odd"),
        unreadable(run("unreadable", "app")),
        run("of-unreadable", "unreadable"),
        run("of-odd-strategy", "of-odd-strategy"),
    ];
    namespace.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string());
    runs.create(2);

    let of_strategy = format!("BuildStrategy odd cannot be read: {WHY}");
    let registered = |build: &Value| {
        build["metadata"]["name"] == "of-odd-strategy" && !build["status"]["reason"].is_null()
    };
    let build = namespace.watch_all(&["builds"], PATIENCE, registered).expect("it is judged");
    let told =
        json!({ "registered": "False", "reason": "BuildStrategyNotFound", "message": of_strategy });
    assert_eq!(build["status"], told);
    let expected = [
        ("of-unreadable", "BuildNotFound", format!("Build unreadable cannot be read: {WHY}")),
        ("of-odd-strategy", "BuildStrategyNotFound", of_strategy),
    ];
    for (name, reason, message) in expected {
        let only = format!("--field-selector=metadata.name={name}");
        let run = namespace.watch_all(&["buildruns", &only], PATIENCE, BuildRun::is_done);
        let status = run.unwrap_or_else(|| panic!("{name} has no end")).status.unwrap();
        let condition = status.succeeded().unwrap();
        assert_eq!(
            (&*condition.status, &*condition.reason, &*condition.message),
            ("False", reason, &*message)
        );
    }
    runs.assert_each_built_once(Audited::Everything);

    // Nobody knows what they want: they are left alone, and the log says which they are.
    let log = of_controller(&["logs", DEPLOYMENT, "--tail=-1"]);
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_namespace: Vec<_> = lines.filter(|line| line["namespace"] == namespace.name()).collect();
    for kind in ["build", "buildrun"] {
        let named = of_namespace.iter().any(|line| {
            line["reconcile"] == kind && line["name"] == "unreadable" && line["error"] == WHY
        });
        assert!(named, "no line names the unreadable {kind}: {of_namespace:#?}");
    }
    let left = namespace.kubectl(&["get", "buildrun/unreadable", "--output=jsonpath={.status}"]);
    assert_eq!(left, "");
}
