//! What somebody changes after a conversion wins over what was kept, and the rest comes back.

use std::sync::mpsc;
use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use slipway::api::Version::{V1alpha1, V1beta1};
use slipway::api::{PRESERVED_ANNOTATION, convert_telling};

use super::build::build;
use super::{object, other, preserved, shown, there, version_of};

/// A Build with nearly everything that v1alpha1 has no field for.
fn rich() -> Value {
    build(
        V1beta1,
        &json!({
            "source": { "type": "Git", "contextDir": "d", "git": { "url": "u", "depth": 3 } },
            "strategy": { "name": "s", "stepResources": [{ "name": "a", "resources": { "limits": { "cpu": "1" } } }] },
            "paramValues": [
                { "name": "dockerfile", "secretValue": { "name": "s", "key": "k" } },
                { "name": "a", "value": "1" }, { "name": "builder-image", "value": "b" }, { "name": "c", "value": "2" },
            ],
            "output": { "image": "i", "platforms": [{ "os": "linux", "arch": "arm64" }], "vulnerabilityScan": { "enabled": true } },
            "nodeSelector": { "disk": "ssd" },
        }),
    )
}

/// The Build after a client of v1alpha1 changed it.
fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut alpha = there(&rich());
    change(&mut alpha);
    there(&alpha)
}

/// The rich Build after the same change in v1beta1.
fn expected(change: impl FnOnce(&mut Value)) -> Value {
    let mut beta = rich();
    change(&mut beta);
    beta
}

#[test]
fn a_client_that_knows_only_v1alpha1_destroys_nothing() {
    let beta = changed(|alpha| {
        alpha["spec"]["source"]["revision"] = json!("main");
        alpha["spec"]["timeout"] = json!("5m");
    });
    assert_eq!(
        beta,
        expected(|beta| {
            beta["spec"]["source"]["git"]["revision"] = json!("main");
            beta["spec"]["timeout"] = json!("5m");
        })
    );
}

#[test]
fn a_value_for_what_was_kept_wins() {
    let beta = changed(|alpha| alpha["spec"]["dockerfile"] = json!("Mine"));
    assert_eq!(
        beta,
        expected(|beta| beta["spec"]["paramValues"][0] =
            json!({ "name": "dockerfile", "value": "Mine" }))
    );
}

#[test]
fn what_belongs_to_another_source_or_strategy_goes_with_it() {
    let beta =
        changed(|alpha| alpha["spec"]["source"] = json!({ "bundleContainer": { "image": "b" } }));
    assert_eq!(
        beta,
        expected(|beta| {
            beta["spec"]["source"] = json!({ "type": "OCI", "ociArtifact": { "image": "b" } });
        })
    );
    let beta = changed(|alpha| alpha["spec"]["strategy"]["name"] = json!("other"));
    assert_eq!(beta, expected(|beta| beta["spec"]["strategy"] = json!({ "name": "other" })));
}

#[test]
fn items_may_be_added_removed_renamed_and_reordered() {
    let names = |beta: &Value| -> Vec<String> {
        let values = beta["spec"]["paramValues"].as_array().unwrap();
        values.iter().map(|value| value["name"].as_str().unwrap().to_owned()).collect()
    };
    let after = |values: Value| names(&changed(|alpha| alpha["spec"]["paramValues"] = values));
    let (a, c, d) =
        (json!({ "name": "a", "value": "9" }), json!({ "name": "c" }), json!({ "name": "d" }));
    assert_eq!(after(json!([a, c])), ["dockerfile", "a", "builder-image", "c"]);
    assert_eq!(after(json!([a, d, c])), ["dockerfile", "a", "d", "builder-image", "c"]);
    assert_eq!(after(json!([c])), ["dockerfile", "builder-image", "c"]);
    assert_eq!(after(json!([d, c])), ["dockerfile", "d", "builder-image", "c"]);
    assert_eq!(after(json!([c, a])), ["dockerfile", "c", "a", "builder-image"]);
    assert_eq!(after(json!([])), ["dockerfile", "builder-image"]);
    let without = changed(|alpha| {
        alpha["spec"].as_object_mut().unwrap().remove("builder");
        alpha["spec"].as_object_mut().unwrap().remove("paramValues");
    });
    assert_eq!(names(&without), ["dockerfile"]);
}

#[test]
fn steps_keep_their_fields_of_v1alpha1_by_name() {
    let strategy = object(
        V1alpha1,
        "BuildStrategy",
        &json!({ "spec": { "buildSteps": [
            { "name": "a", "image": "i", "stdin": true }, { "name": "b", "tty": true }, { "name": "c", "args": ["$(build.dockerfile)", "x"], "stdinOnce": true },
        ] } }),
    );
    let mut beta = there(&strategy);
    let steps = beta["spec"]["steps"].as_array_mut().unwrap();
    steps.remove(1);
    steps.swap(0, 1);
    steps[0]["args"][1] = json!("y");
    steps[1]["image"] = json!("j");
    assert_eq!(
        there(&beta)["spec"],
        json!({ "buildSteps": [
            { "name": "c", "args": ["$(build.dockerfile)", "y"], "stdinOnce": true }, { "name": "a", "image": "j", "stdin": true },
        ] })
    );
    steps_renamed(&strategy);
}

/// Under another name it is another step.
fn steps_renamed(strategy: &Value) {
    let mut beta = there(strategy);
    beta["spec"]["steps"][0]["name"] = json!("z");
    let alpha = there(&beta);
    assert_eq!(alpha["spec"]["buildSteps"][0], json!({ "name": "z", "image": "i" }));
    assert_eq!(alpha["spec"]["buildSteps"][1], json!({ "name": "b", "tty": true }));
}

/// `kubectl apply` merges the manifest into the object as it is read: the annotation is in neither the manifest nor its last version.
#[test]
fn applying_a_manifest_of_v1alpha1_again_changes_nothing_else() {
    let manifest = json!({ "spec": { "source": { "url": "new" }, "strategy": { "name": "s" }, "output": { "image": "j" } } });
    let beta = changed(|alpha| merge(alpha, &manifest));
    assert_eq!(
        beta,
        expected(|beta| {
            beta["spec"]["source"]["git"]["url"] = json!("new");
            beta["spec"]["output"]["image"] = json!("j");
        })
    );
}

/// A JSON merge patch without removals.
fn merge(object: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().unwrap() {
        if value.is_object() && object[name].is_object() {
            merge(&mut object[name], value);
        } else {
            object[name] = value.clone();
        }
    }
}

#[test]
fn what_replaces_the_object_replaces_all_of_it() {
    let alpha = shown(there(&rich()));
    let beta = there(&alpha);
    assert_eq!(beta["spec"].get("nodeSelector"), None);
    assert_eq!(beta["metadata"].get("annotations"), None);
}

#[test]
fn what_was_kept_for_the_other_version_is_not_read() {
    let mut copied = there(&rich());
    // Somebody writes the annotation of an object of v1alpha1 onto one of v1beta1.
    let mut beta = build(V1beta1, &json!({}));
    beta["metadata"]["annotations"] = copied["metadata"]["annotations"].take();
    assert_eq!(there(&beta), build(V1alpha1, &json!({})));
}

#[rstest]
#[case::no_json("{", json!({}))]
#[case::no_object("[]", json!({}))]
#[case::other_members(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "metadata": {"value": {"name": "y"}}}"#, json!({}))]
#[case::unknown_field(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "spec": {"fields": {"x": {"value": 1}, "kind": {"value": "y"}}}}"#, json!({}))]
#[case::other_type(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "spec": {"fields": {"timeout": {"value": 1}, "env": {"value": {"a": "b"}}, "nodeSelector": {"value": {"a": 1}}}}}"#, json!({ "nodeSelector": {} }))]
#[case::wrong_member(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "status": {"value": "text"}}"#, json!({}))]
#[case::status(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "status": {"value": {"registered": "True", "reason": "Succeeded", "message": "all validations succeeded"}}}"#, json!({}))]
#[case::word_that_is_none(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "spec": {"fields": {"output": {"fields": {"vulnerabilityScan": {"value": {"ignore": {"severity": "worst"}}}}}}}}"#, json!({ "output": { "image": "i", "vulnerabilityScan": { "ignore": {} } } }))]
#[case::number_out_of_bounds(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "spec": {"fields": {"retention": {"value": {"failedLimit": 0}}}}}"#, json!({ "retention": {} }))]
#[case::required_member_missing(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "spec": {"fields": {"strategy": {"fields": {"stepResources": {"value": [{"name": "a"}]}}}}}}"#, json!({ "strategy": { "name": "s", "stepResources": [] } }))]
#[case::duplicates(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "spec": {"fields": {"output": {"fields": {"platforms": {"value": [{"os": "a", "arch": "b"}, {"os": "a", "arch": "b"}]}}}}}}"#, json!({}))]
#[case::too_few_items(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "spec": {"fields": {"trigger": {"value": {"when": [{"name": "a", "type": "GitHub", "github": {"events": []}}]}}}}}"#, json!({ "trigger": { "when": [{ "name": "a", "type": "GitHub", "github": {} }] } }))]
#[case::other_format(
    r#"{"format": 2, "for": "shipwright.io/v1beta1", "spec": {"fields": {"timeout": {"value": "1h"}}}}"#, json!({}))]
#[case::number(
    r#"{"format": 1, "for": "shipwright.io/v1beta1", "deletion": {"value": 1}}"#, json!({}))]
fn what_somebody_writes_into_the_annotation_breaks_nothing(
    #[case] text: &str,
    #[case] left: Value,
) {
    let mut alpha = build(V1alpha1, &json!({}));
    alpha["metadata"]["annotations"] = json!({ PRESERVED_ANNOTATION: text });
    let mut beta = there(&alpha);
    preserved(&mut beta);
    assert_eq!(beta, build(V1beta1, &left));
}

#[test]
fn only_the_annotation_of_conversion_itself_is_put_back() {
    let text = r#"{"format": 1, "for": "shipwright.io/v1beta1", "deletion": {"value": "true"}}"#;
    let mut alpha = build(V1alpha1, &json!({}));
    alpha["metadata"]["annotations"] = json!({ PRESERVED_ANNOTATION: text, "a/b": "c" });
    let beta = shown(there(&alpha));
    assert_eq!(
        beta["metadata"]["annotations"],
        json!({ "a/b": "c", "build.shipwright.io/build-run-deletion": "true" })
    );
}

#[test]
fn what_is_too_large_to_keep_is_lost_the_status_first() {
    let lost = |of_spec: usize, of_status: usize| {
        let run = object(
            V1beta1,
            "BuildRun",
            &json!({
                "spec": { "build": { "name": "b" }, "nodeSelector": { "a": "x".repeat(of_spec) } },
                "status": { "output": { "vulnerabilities": [{ "id": "x".repeat(of_status), "severity": "low" }] } },
            }),
        );
        let back = there(&there(&run));
        (
            back["spec"].get("nodeSelector").is_none(),
            back["status"]["output"].get("vulnerabilities").is_none(),
        )
    };
    assert_eq!(lost(1000, 1000), (false, false));
    assert_eq!(lost(1000, 300_000), (false, true));
    assert_eq!(lost(300_000, 1000), (true, true));
}

#[test]
fn other_annotations_leave_less_room() {
    let mut beta = build(V1beta1, &json!({ "nodeSelector": { "a": "x".repeat(1000) } }));
    beta["metadata"]["annotations"] = json!({ "a/b": "x".repeat(262_000) });
    let alpha = there(&beta);
    assert_eq!(alpha["metadata"]["annotations"], beta["metadata"]["annotations"]);
}

#[test]
fn what_is_lost_is_told() {
    let losses = |object: &Value| -> Vec<String> {
        let to = other(version_of(object));
        let losses = convert_telling(object.clone(), to).unwrap().losses;
        losses.iter().map(ToString::to_string).collect()
    };
    assert_eq!(losses(&rich()), Vec::<String>::new());
    let mut alpha = there(&rich());
    assert_eq!(losses(&alpha), Vec::<String>::new());
    alpha["metadata"]["annotations"][PRESERVED_ANNOTATION] = json!("{");
    assert_eq!(
        losses(&alpha),
        [
            "the annotation slipway.dev/preserved is not as this version of slipway writes it, so nothing comes back from it; \
          remove it, or convert with the version that wrote it"
        ]
    );
    let large = build(V1beta1, &json!({ "nodeSelector": { "a": "x".repeat(300_000) } }));
    assert_eq!(
        losses(&large),
        [
            "the fields of its spec and status that v1alpha1 does not have are lost, because all annotations of an object together \
          may have 262144 bytes at most; to see those fields, read the object in its other version"
        ]
    );
}

/// Who writes an object says how long its lists are. Work that goes with the square of that takes far longer than this.
#[test]
fn fifty_thousand_items_are_converted_in_time() {
    const ITEMS: usize = 50_000;
    const LONGEST: Duration = Duration::from_mins(3);
    let name = |number: usize| format!("p{number:05}");
    let named = move |number: usize| json!({ "name": name(number), "value": "v" });
    let (sender, done) = mpsc::channel();
    std::thread::spawn(move || {
        let mut values: Vec<Value> = (0..ITEMS).map(named).collect();
        values.insert(0, json!({ "name": "dockerfile", "value": "D" }));
        let beta = build(V1beta1, &json!({ "paramValues": values }));
        // Where everything stands does not fit into an annotation.
        let back = there(&there(&beta));
        values.rotate_left(1);
        assert_eq!(back, build(V1beta1, &json!({ "paramValues": values })));

        // Every second one comes back, and all of them to other places.
        let is_shown = |number: &usize| number.is_multiple_of(2);
        let was: Vec<String> = (0..ITEMS).filter(is_shown).map(name).collect();
        let now: Vec<String> = (0..ITEMS).rev().map(name).collect();
        let kept: serde_json::Map<String, Value> = (0..ITEMS)
            .filter(|number| !is_shown(number))
            .map(|number| (name(number), json!({ "value": named(number) })))
            .collect();
        let patch = json!({ "items": kept, "order": { "was": was, "now": now } });
        let text = json!({ "format": 1, "for": V1beta1.api_version(), "spec": { "fields": { "paramValues": patch } } });
        let values: Vec<Value> = (0..ITEMS).filter(is_shown).map(named).collect();
        let mut alpha = build(V1alpha1, &json!({ "paramValues": values }));
        alpha["metadata"]["annotations"] = json!({ PRESERVED_ANNOTATION: text.to_string() });
        let values: Vec<Value> = (0..ITEMS).rev().map(named).collect();
        assert_eq!(shown(there(&alpha)), build(V1beta1, &json!({ "paramValues": values })));
        sender.send(()).unwrap();
    });
    done.recv_timeout(LONGEST).expect("both conversions end in time, and as they should");
}
