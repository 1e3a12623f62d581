//! What is installed: the committed file is the generated one (`UPDATE=1` rewrites it), and nobody gets more than they need.

use std::path::Path;

use serde_json::Value;
use slipway::cluster::install::{IMAGE, manifest, objects};

#[test]
fn the_committed_file_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("install.yaml");
    let generated = manifest(IMAGE).expect("prints");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("writes");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "install.yaml is not what the code says: run with UPDATE=1");
}

#[test]
fn the_verb_prints_the_committed_file_with_the_image_that_is_asked_for() {
    let image = "registry.example.com/slipway:1";
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(["install", "--image", image])
        .output()
        .expect("starts");
    let printed = String::from_utf8(printed.stdout).expect("text");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("install.yaml");
    let committed = std::fs::read_to_string(path).expect("install.yaml");
    assert!(printed.contains(image));
    assert_eq!(printed, committed.replace(IMAGE, image));
}

#[test]
fn no_role_has_a_wildcard() {
    let mut rules = 0;
    for object in objects(IMAGE) {
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
    let objects = objects(IMAGE);
    let roles: Vec<_> = objects
        .iter()
        .filter(|object| object["metadata"]["name"] != "slipway-controller")
        .collect();
    let groups = roles.iter().flat_map(|role| role["rules"].as_array().into_iter().flatten());
    let groups: Vec<_> = groups.map(|rule| rule["apiGroups"].clone()).collect();
    assert_eq!(groups.len(), 3);
    assert!(groups.iter().all(|group| *group == serde_json::json!(["shipwright.io"])));
}
