//! What the controller's roles allow, beside what it asked for while the whole tier ran.

use std::collections::BTreeSet;

use serde_json::Value;
use slipway::cluster::install::{Images, NAME, objects};

use super::super::harness::variable;
use super::audit::{self, Request};

/// Admission asks for these on the controller's behalf, which no audit log shows; `roles` shows what happens without them.
const OF_ADMISSION: [&str; 2] =
    ["update builds/finalizers.shipwright.io", "update buildruns/finalizers.shipwright.io"];

#[test]
#[ignore = "hack/test runs it after all others of its tier"]
fn the_controller_used_each_of_its_rights_and_missed_none() {
    let begin = variable("SLIPWAY_AUDIT_BEGIN").parse().expect("a size in bytes");
    let requests = audit::by_controller_since(begin);
    let (refused, allowed): (Vec<_>, Vec<_>) =
        requests.iter().partition(|request| request.is_forbidden());
    let refused: BTreeSet<_> = refused.into_iter().map(Request::right).collect();
    let used: BTreeSet<_> = allowed.into_iter().map(Request::right).collect();
    let objects = objects(&Images::default());
    let own = objects.iter().filter(|object| object["metadata"]["name"] == NAME);
    let rights = rights(own.flat_map(|object| object["rules"].as_array().into_iter().flatten()));
    // A server that has just started does not know its roles yet, and refuses what they allow.
    let missing: BTreeSet<_> = refused.difference(&rights).collect();
    let unused: BTreeSet<_> = rights.difference(&used).map(String::as_str).collect();
    assert!(missing.is_empty(), "the controller's roles lack: {missing:#?}");
    assert_eq!(unused, BTreeSet::from(OF_ADMISSION), "rights that were never used");
}

/// What rules allow, as `verb resource.group`.
pub fn rights<'a>(rules: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let words = |list: &Value| -> Vec<String> {
        let words = list.as_array().unwrap().iter();
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let verbs = words(&rule["verbs"]).into_iter();
                rights.extend(verbs.map(|verb| format!("{verb} {resource}.{group}")));
            }
        }
    }
    rights
}
