//! What the controller's roles allow, beside what it asked for while the whole tier ran.

use std::collections::BTreeSet;

use serde_json::Value;
use slipway::cluster::install::{Images, NAME, NAMESPACE, objects};

use super::super::harness::variable;
use super::audit::{self, Request};

/// Admission asks for these on the controller's behalf, which no audit log shows; `roles` shows what happens without them.
const OF_ADMISSION: [&str; 2] =
    ["update builds/finalizers.shipwright.io", "update buildruns/finalizers.shipwright.io"];

/// One verb on one kind of object, as a rule allows it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    /// Such as `get pods.`.
    right: String,
    /// The only namespace where; else everywhere.
    namespace: Option<String>,
    /// The only object; else all of them.
    name: Option<String>,
}

impl Grant {
    fn allows(&self, request: &Request) -> bool {
        self.right == request.right()
            && self.namespace.as_ref().is_none_or(|namespace| request.is_in(namespace))
            && self.name.as_ref().is_none_or(|name| request.name() == name)
    }

    /// Whether the request could not do with less. What is asked for nowhere but at home is for the Role there.
    fn is_needed_for(&self, request: &Request) -> bool {
        self.allows(request) && (self.namespace.is_some() || !request.is_in(NAMESPACE))
    }
}

#[test]
#[ignore = "hack/test runs it after all others of its tier"]
fn the_controller_used_each_of_its_rights_and_missed_none() {
    let begin = variable("SLIPWAY_AUDIT_BEGIN").parse().expect("a size in bytes");
    let requests = audit::by_controller_since(begin);
    let (refused, allowed): (Vec<_>, Vec<_>) =
        requests.iter().partition(|request| request.is_forbidden());
    let objects = objects(&Images::default());
    let own = objects.iter().filter(|object| object["metadata"]["name"] == NAME);
    let grants: BTreeSet<_> = own.flat_map(grants).collect();

    // A server that has just started does not know its roles yet, and refuses what they allow.
    let is_missing = |request: &&&Request| !grants.iter().any(|grant| grant.allows(request));
    let missing: Vec<_> = refused.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "the controller's roles lack: {missing:#?}");
    let is_unused = |grant: &&Grant| !allowed.iter().any(|request| grant.is_needed_for(request));
    let (of_admission, unused): (Vec<_>, Vec<_>) = grants
        .iter()
        .filter(is_unused)
        .partition(|grant| OF_ADMISSION.contains(&grant.right.as_str()));
    assert!(unused.is_empty(), "rights that were never used: {unused:#?}");
    assert_eq!(of_admission.len(), OF_ADMISSION.len());
}

/// What a role allows; nothing where the object is none.
fn grants(role: &Value) -> Vec<Grant> {
    let namespace = role["metadata"]["namespace"].as_str();
    let mut grants = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let names = rule["resourceNames"].as_array().map(|names| names.iter().map(Some).collect());
        for name in names.unwrap_or_else(|| vec![None]) {
            let name = name.map(|name| name.as_str().unwrap().to_owned());
            grants.extend(rights([rule]).into_iter().map(|right| Grant {
                right,
                namespace: namespace.map(String::from),
                name: name.clone(),
            }));
        }
    }
    grants
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
