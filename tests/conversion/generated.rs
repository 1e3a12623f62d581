//! Objects of every form that the schemas admit.
//!
//! Invariant: 10,000 of them go there and back, of all four kinds in both versions, the same ones every time.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::{Value, json};
use slipway::api::PRESERVED_ANNOTATION;
use slipway::api::Version::{self, V1alpha1, V1beta1};
use slipway::api::crd;
use slipway::plan::schema;

use super::schema_values::{Chance, paths, reached, value};
use super::{object, other, preserved, shown, there, version_of};

const KINDS: [&str; 4] = ["Build", "BuildRun", "BuildStrategy", "ClusterBuildStrategy"];

/// A kind in a version, with the paths of its fields.
struct Form {
    version: Version,
    kind: &'static str,
    schema: JSONSchemaProps,
    paths: Vec<Vec<String>>,
}

/// Every kind in both versions; of the schema only spec and status, which are what is converted.
fn forms() -> Vec<Form> {
    let versions = [V1alpha1, V1beta1];
    let kinds = KINDS.into_iter().flat_map(|kind| versions.map(|version| (kind, version)));
    let form = |(kind, version)| {
        let mut schema = crd::schema(version, kind).unwrap().clone();
        schema.properties.as_mut().unwrap().retain(|name, _| name == "spec" || name == "status");
        Form { version, kind, paths: paths(&schema), schema }
    };
    kinds.map(form).collect()
}

impl Form {
    /// An object that has the field of this place.
    fn object(&self, place: usize, seed: u64) -> Value {
        let mut chance = Chance::new(seed);
        let wanted = &self.paths[place % self.paths.len()];
        let members = value(&self.schema, "", Some(wanted), &mut chance, 0);
        let mut object = object(self.version, self.kind, &members);
        if chance.below(4) == 0 {
            let word = *chance.one_of(&["true", "false", "yes"]);
            object["metadata"]["annotations"]["build.shipwright.io/build-run-deletion"] =
                json!(word);
        }
        canonical(object)
    }
}

/// With what v1alpha1 always shows.
fn canonical(mut object: Value) -> Value {
    let is_run = object["kind"] == "BuildRun" && version_of(&object) == V1alpha1;
    if let Some(spec) = object.get_mut("spec").filter(|_| is_run).and_then(Value::as_object_mut) {
        spec.entry("serviceAccount").or_insert_with(|| json!({}));
    }
    object
}

/// Calls the test with this many objects.
fn for_objects(cases: u32, test: impl Fn(&Form, Value, u64) -> Result<(), TestCaseError>) {
    let forms = forms();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let strategy = (0..forms.len(), any::<usize>(), any::<u64>());
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |(form, place, seed)| {
        let form = &forms[form];
        test(form, form.object(place, seed), seed)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Nothing that the API server would refuse.
fn assert_valid(object: &Value) -> Result<(), TestCaseError> {
    let mut findings = schema::check(object).unwrap();
    // What one version has as a plain list, the other refuses duplicates in.
    findings.problems.retain(|problem| !problem.message.starts_with("Duplicate value"));
    prop_assert!(findings.problems.is_empty(), "{:?} in {object:#}", findings.problems);
    prop_assert!(findings.unknown.is_empty(), "{:?} in {object:#}", findings.unknown);
    Ok(())
}

/// How many fields both versions have together.
fn field_count(forms: &[Form]) -> u32 {
    forms.iter().map(|form| u32::try_from(form.paths.len()).unwrap()).sum()
}

#[test]
fn every_field_of_both_versions_comes_back() {
    let mut missing: BTreeSet<String> = BTreeSet::new();
    for form in forms() {
        for (place, path) in form.paths.iter().enumerate() {
            let object = form.object(place, place as u64);
            let mut found = BTreeSet::new();
            reached(&object, &form.schema, "", &mut found);
            let wanted = format!(".{}", path.join("."));
            if !found.contains(&wanted) {
                missing.insert(format!("{} {}{wanted}", form.version, form.kind));
            }
            same_there_and_back(&object).unwrap();
        }
    }
    assert!(missing.is_empty(), "never generated: {missing:#?}");
}

/// With those that the fields are counted by, 10,000.
#[test]
fn there_and_back_is_the_same_object() {
    let fields = field_count(&forms());
    assert!((2_000..8_000).contains(&fields), "{fields} fields");
    for_objects(10_000 - fields, |_, object, _| same_there_and_back(&object));
}

fn same_there_and_back(object: &Value) -> Result<(), TestCaseError> {
    let converted = there(object);
    prop_assert_eq!(&there(&converted), object, "by way of {:#}", converted);
    let kept = converted.pointer("/metadata/annotations").map(|all| &all[PRESERVED_ANNOTATION]);
    let size = kept.and_then(Value::as_str).map_or(0, str::len);
    let most = 4 * object.to_string().len();
    prop_assert!(size < most, "{size} bytes are kept of {object:#}");
    assert_valid(&converted)
}

#[test]
fn what_is_changed_in_between_wins_and_the_rest_comes_back() {
    for_objects(2_000, |form, object, seed| {
        let converted = there(&object);
        let mut changed = converted.clone();
        let mut chance = Chance::new(seed);
        if !change(&mut changed["spec"], &mut chance, 0) {
            return Ok(());
        }
        // What upstream would have made of it, without and with the change.
        let before = leaves(&shown(there(&shown(converted.clone()))));
        let after = leaves(&shown(there(&shown(changed.clone()))));
        let found = shown(there(&changed));
        let found_leaves = leaves(&found);
        let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for path in paths {
            if before.get(path) != after.get(path) {
                prop_assert_eq!(
                    found_leaves.get(path),
                    after.get(path),
                    "{} in {:#} by way of {:#}",
                    path,
                    found,
                    changed
                );
            }
        }
        // What nothing depends on changes alone.
        if !form.kind.ends_with("BuildStrategy") {
            let mut later = converted;
            later["spec"]["timeout"] = json!("7m");
            let mut expected = object;
            expected["spec"]["timeout"] = json!("7m");
            prop_assert_eq!(there(&later), expected, "by way of {:#}", later);
        }
        Ok(())
    });
}

/// Changes one value somewhere inside; false if there is none.
fn change(value: &mut Value, chance: &mut Chance, depth: usize) -> bool {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let place = chance.below(members.len());
            let name = members.keys().nth(place).unwrap().clone();
            // Without its name an item is no longer valid.
            if depth > 0 && name != "name" && chance.below(4) == 0 {
                members.remove(&name);
                return true;
            }
            change(&mut members[&name], chance, depth + 1)
        }
        Value::Array(items) if !items.is_empty() => {
            let place = chance.below(items.len());
            change(&mut items[place], chance, depth + 1)
        }
        Value::String(text) => {
            text.push_str("-changed");
            true
        }
        Value::Bool(is_set) => {
            *is_set = !*is_set;
            true
        }
        Value::Number(_) => {
            *value = json!(77);
            true
        }
        _ => false,
    }
}

/// All values without members, by their paths; items by their names where these differ.
fn leaves(object: &Value) -> BTreeMap<String, Value> {
    fn visit(value: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    visit(member, &format!("{path}/{name}"), found);
                }
            }
            Value::Array(items) => {
                let names: Vec<_> = items.iter().filter_map(|item| item["name"].as_str()).collect();
                let are_named = names.len() == items.len()
                    && names.iter().collect::<BTreeSet<_>>().len() == names.len();
                for (place, item) in items.iter().enumerate() {
                    let name =
                        if are_named { format!("={}", names[place]) } else { place.to_string() };
                    visit(item, &format!("{path}/{name}"), found);
                }
            }
            leaf => _ = found.insert(path.to_owned(), leaf.clone()),
        }
    }
    let mut found = BTreeMap::new();
    visit(object, "", &mut found);
    found
}

#[test]
fn nothing_breaks_a_conversion() {
    for_objects(1_000, |form, mut object, seed| {
        let mut chance = Chance::new(seed);
        // The annotation of another object of the same kind, made for the version to come.
        let kept = preserved(&mut there(&there(&form.object(chance.below(10_000), seed ^ 1))));
        prop_assert!(kept.is_none());
        let mut foreign = there(&form.object(chance.below(10_000), seed ^ 2));
        let foreign = foreign["metadata"]["annotations"].take();
        for _ in 0..3 {
            spoil(&mut object, &mut chance, 0);
        }
        object["apiVersion"] = json!(other(form.version).api_version());
        object["kind"] = json!(form.kind);
        let metadata = json!({ "name": "x", "annotations": foreign });
        object["metadata"] = metadata;
        let converted = there(&object);
        let types: Vec<_> = schema::check(&converted).unwrap().problems;
        // A format is kept as it is written: what reads it says what is wrong.
        let is_type = |text: &str| {
            let formats = ["must be of type duration", "must be of type date-time"];
            text.contains("must be of type") && !formats.iter().any(|format| text.contains(format))
        };
        let mistyped: Vec<_> = types.iter().filter(|problem| is_type(&problem.message)).collect();
        prop_assert!(mistyped.is_empty(), "{mistyped:?}");
        prop_assert_eq!(&converted["metadata"]["name"], "x");
        there(&converted);
        Ok(())
    });
}

/// Puts a value of another type somewhere.
fn spoil(value: &mut Value, chance: &mut Chance, depth: usize) {
    let odd = [json!(null), json!(1.5), json!("x"), json!([[]]), json!({ "name": 5 }), json!(true)];
    let members = match value {
        Value::Object(members) => members.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    if members == 0 || depth > 1 && chance.below(4) == 0 {
        *value = chance.one_of(&odd).clone();
        return;
    }
    let place = chance.below(members);
    match value {
        Value::Object(members) => {
            let member = members.values_mut().nth(place).unwrap();
            spoil(member, chance, depth + 1);
        }
        Value::Array(items) => spoil(&mut items[place], chance, depth + 1),
        _ => {}
    }
}
