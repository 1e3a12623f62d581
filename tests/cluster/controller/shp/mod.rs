//! Shipwright's stock client against the controller, played by the program in tests/shp: what it prints and how it ends.
//!
//! Invariant: the client is somebody with the role `edit` in one namespace, who also writes all manifests here.

mod bundle;
pub mod client;
mod follow;
mod lists;
mod older;
mod upload;

use serde_json::{Value, json};

use super::person::Person;

const VERSION: &str = "shipwright.io/v1beta1";

/// A strategy of that name with these steps as 1234:5678.
pub fn strategy(name: &str, steps: &[Value]) -> String {
    let user = json!({ "runAsUser": 1234, "runAsGroup": 5678 });
    let spec = json!({ "securityContext": user, "steps": steps });
    json!({ "apiVersion": VERSION, "kind": "BuildStrategy", "metadata": { "name": name }, "spec": spec }).to_string()
}

/// The Build is judged, and in order.
fn wait_until_registered(person: &Person, build: &str) {
    let registered = ["wait", "--for=jsonpath={.status.registered}=True", "--timeout=180s"];
    person.kubectl(&[&registered[..], &["build", build]].concat(), "");
}
