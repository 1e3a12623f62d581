//! What is installed: the committed file is the generated one (`UPDATE=1` rewrites it), and nobody gets more than they need.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use slipway::cluster::install::{IMAGE, Images, manifest, objects};

#[test]
fn the_committed_file_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("install.yaml");
    let generated = manifest(&Images::default()).expect("prints");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("writes");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "install.yaml is not what the code says: run with UPDATE=1");
}

#[test]
fn the_verb_prints_the_committed_file_with_the_image_that_is_asked_for() {
    let image = "registry.example.com/slipway:1";
    let printed = slipway(&["install", "--image", image]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("install.yaml");
    let committed = std::fs::read_to_string(path).expect("install.yaml");
    assert!(printed.contains(image));
    assert_eq!(printed, committed.replace(IMAGE, image));
}

/// Every image of Slipway's in a build Pod, by the settings that the controller has for them.
#[test]
fn the_image_of_the_supporting_steps_is_one_flag() {
    let image = "registry.example.com/slipway/step:1";
    let images = Images { step: Some(image.into()), ..Images::default() };
    let objects = objects(&images);
    let deployment = objects.last().expect("the Deployment");
    let env = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    let set = env.as_array().expect("a list").iter().filter(|variable| variable["value"] == image);
    let set: BTreeSet<_> = set.map(|variable| variable["name"].as_str().expect("text")).collect();
    let help = slipway(&["controller", "--help"]);
    let known = help.split_whitespace().filter_map(|word| word.strip_suffix("=]"));
    let known = known.map(|name| name.trim_start_matches("[env:"));
    assert_eq!(set, known.filter(|name| name.ends_with("_CONTAINER_IMAGE")).collect());
    assert_eq!(set.len(), 5);
    assert_eq!(slipway(&["install", "--step-image", image]), manifest(&images).expect("prints"));
}

fn slipway(arguments: &[&str]) -> String {
    let mut slipway = std::process::Command::new(env!("CARGO_BIN_EXE_slipway"));
    let output = slipway.args(arguments).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn no_role_has_a_wildcard() {
    let mut rules = 0;
    for object in objects(&Images::default()) {
        for rule in object["rules"].as_array().into_iter().flatten() {
            rules += 1;
            let lists = ["apiGroups", "resources", "verbs"].map(|field| &rule[field]);
            let words = lists.into_iter().flat_map(|list| list.as_array().expect("a list"));
            for word in words.filter_map(Value::as_str) {
                assert!(!word.contains('*'), "{rule}");
            }
        }
    }
    assert!(rules > 10, "the roles are elsewhere");
}

/// Whoever is bound to the roles for people sees builds, not what they are made of.
#[test]
fn aggregated_roles_give_builds_only() {
    let objects = objects(&Images::default());
    let roles: Vec<_> = objects
        .iter()
        .filter(|object| object["metadata"]["name"] != "slipway-controller")
        .collect();
    let groups = roles.iter().flat_map(|role| role["rules"].as_array().into_iter().flatten());
    let groups: Vec<_> = groups.map(|rule| rule["apiGroups"].clone()).collect();
    assert_eq!(groups.len(), 3);
    assert!(groups.iter().all(|group| *group == serde_json::json!(["shipwright.io"])));
}
