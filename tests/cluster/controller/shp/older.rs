//! What clients before v0.16 do: they speak v1alpha1.

use serde_json::{Value, json};

use super::super::super::documents::{https_url, output};
use super::super::super::harness::Namespace;
use super::super::super::steps::shell;
use super::super::Controller;
use super::super::person::Person;
use super::super::runs::{end_of, until};
use super::strategy;

const VERSION: &str = "shipwright.io/v1alpha1";
const RUNS: &str = "buildruns.v1alpha1.shipwright.io";

fn create(person: &Person, kind: &str, name: &str, spec: &Value) {
    let document = json!({ "apiVersion": VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec, "status": {} });
    person.kubectl(&["create", "--filename=-"], &document.to_string());
}

#[test]
fn an_older_client_creates_lists_and_cancels() {
    let _controller = Controller::installed();
    let namespace = Namespace::new("shp-older");
    let dev = Person::bound(&namespace, "dev", "edit");
    let quick = shell("quick", "cat /workspace/source/greeting.txt");
    let slow = shell("slow", "trap 'exit 143' TERM; sleep 3600 & wait");
    for (name, step) in [("quick", quick), ("slow", slow)] {
        dev.kubectl(&["create", "--filename=-"], &strategy(name, &[step]));
        let spec = json!({
            "source": { "url": https_url("app") },
            "strategy": { "name": name, "kind": "BuildStrategy" },
            "output": { "image": output(&namespace)["image"] },
        });
        create(&dev, "Build", name, &spec);
        create(&dev, "BuildRun", name, &json!({ "buildRef": { "name": name } }));
    }
    assert_eq!(end_of(&namespace, "quick").succeeded().unwrap().reason, "Succeeded");
    until(&namespace, "slow", "Running");
    let cancel = r#"[{"op":"replace","path":"/spec/state","value":"BuildRunCanceled"}]"#;
    dev.kubectl(&["patch", RUNS, "slow", "--type=json", "--patch", cancel], "");
    end_of(&namespace, "slow");

    let list: Value =
        serde_json::from_str(&dev.kubectl(&["get", RUNS, "--output=json"], "")).unwrap();
    let shown: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            let condition = &run["status"]["conditions"][0];
            assert_eq!(run["apiVersion"], VERSION);
            json!([
                run["spec"]["buildRef"]["name"],
                condition["type"],
                condition["reason"],
                run["status"]["buildSpec"]["source"]["url"]
            ])
        })
        .collect();
    let expected = |name: &str, reason: &str| json!([name, "Succeeded", reason, https_url("app")]);
    assert_eq!(shown, [expected("quick", "Succeeded"), expected("slow", "BuildRunCanceled")]);
    let builds = "builds.v1alpha1.shipwright.io";
    let message = ["get", builds, "quick", "--output=jsonpath={.status.message}"];
    assert_eq!(dev.kubectl(&message, ""), "all validations succeeded");
    dev.kubectl(&["delete", RUNS, "--all"], "");
    dev.kubectl(&["delete", builds, "--all"], "");
}
