//! What the API server's admission does in a namespace: it changes the pod of a run, as a mesh's webhook would, or refuses a status.
//!
//! Invariant: a policy counts before the test goes on, and goes with it.

use std::time::Instant;

use serde_json::{Value, json};

use super::super::harness::{Namespace, PATIENCE, kubectl, output_of, run};
use super::disturbed::put_back;

/// A policy and its binding, until they are dropped.
pub struct Policy {
    kind: &'static str,
    name: String,
}

impl Policy {
    /// These operations of JSON Patch, on each pod of the run of that name.
    pub fn changing_the_pod_of(namespace: &Namespace, run: &str, operations: &[Value]) -> Self {
        let labels = json!({ "buildrun.shipwright.io/name": run });
        let changed =
            json!({ "op": "add", "path": "/metadata/annotations/changed", "value": "yes" });
        let patches = operations.iter().chain([&changed]).map(|operation| {
            let [op, path, value] = ["op", "path", "value"].map(|key| expression(&operation[key]));
            format!("JSONPatch{{op: {op}, path: {path}, value: {value}}}")
        });
        let patch = format!("[{}]", patches.collect::<Vec<_>>().join(", "));
        let mutation = json!({ "patchType": "JSONPatch", "jsonPatch": { "expression": patch } });
        let spec = json!({
            "matchConstraints": matches(namespace, "CREATE", ("", "v1", "pods"), &labels),
            "failurePolicy": "Fail", "reinvocationPolicy": "Never", "mutations": [mutation],
        });
        let policy = Self::create(
            "Mutating",
            "v1beta1",
            &format!("{}-{run}", namespace.name()),
            spec,
            &json!({}),
        );
        let container = json!({ "name": "any", "image": "any" });
        let mounts =
            operations.iter().filter_map(|operation| operation["value"]["volumeMounts"].as_array());
        let volumes: Vec<_> = mounts
            .flatten()
            .map(|mount| json!({ "name": mount["name"], "emptyDir": {} }))
            .collect();
        let spec = json!({ "initContainers": [{ "name": "prepare", "image": "any" }], "containers": [container], "volumes": volumes });
        let metadata = json!({ "name": "probe", "labels": labels, "annotations": { "probe": "" } });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
        policy.wait_until_it_counts(|| {
            let get = "--output=jsonpath={.metadata.annotations.changed}";
            let mut create = kubectl(&[
                "--namespace",
                namespace.name(),
                "create",
                "--dry-run=server",
                "--filename=-",
                get,
            ]);
            output_of(&mut create, &pod.to_string()).stdout == b"yes"
        });
        policy
    }

    /// The API server takes a status of this kind only where the expression is true. The probe is the name of an object and a status for
    /// which it is not.
    pub fn refusing_statuses(
        namespace: &Namespace,
        kind: &str,
        unless: &str,
        (name, status): (&str, &Value),
    ) -> Self {
        let resource = format!("{kind}/status");
        let of_status = ("shipwright.io", "v1beta1", resource.as_str());
        let spec = json!({
            "matchConstraints": matches(namespace, "UPDATE", of_status, &json!({})),
            "validations": [{ "expression": unless, "message": "not here" }],
        });
        let deny = json!({ "validationActions": ["Deny"] });
        let policy = Self::create("Validating", "v1", namespace.name(), spec, &deny);
        let patch = json!({ "status": status }).to_string();
        policy.wait_until_it_counts(|| {
            let refused = namespace.try_kubectl(&[
                "patch",
                kind,
                name,
                "--subresource=status",
                "--dry-run=server",
                "--type=merge",
                "--patch",
                &patch,
            ]);
            String::from_utf8_lossy(&refused.stderr).contains("not here")
        });
        policy
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers write values in place")]
    fn create(kind: &'static str, version: &str, name: &str, spec: Value, binding: &Value) -> Self {
        let policy = Self { kind, name: name.to_owned() };
        let object = |kind: String, spec: &Value| json!({ "apiVersion": format!("admissionregistration.k8s.io/{version}"), "kind": kind, "metadata": { "name": name }, "spec": spec });
        let mut bound = binding.clone();
        bound["policyName"] = name.into();
        let items = [
            object(format!("{kind}AdmissionPolicy"), &spec),
            object(format!("{kind}AdmissionPolicyBinding"), &bound),
        ];
        run(
            kubectl(&["create", "--filename=-"]),
            &json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string(),
        );
        policy
    }

    /// The API server takes it up by and by.
    fn wait_until_it_counts(&self, does: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !does() {
            assert!(Instant::now() < deadline, "{} does not count after {PATIENCE:?}", self.name);
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        put_back(|| {
            for kind in ["AdmissionPolicyBinding", "AdmissionPolicy"] {
                run(kubectl(&["delete", &format!("{}{kind}", self.kind), &self.name]), "");
            }
        });
    }
}

/// Objects of one kind, with these labels, of that namespace.
fn matches(
    namespace: &Namespace,
    operation: &str,
    (group, version, resource): (&str, &str, &str),
    labels: &Value,
) -> Value {
    json!({
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace.name() } },
        "objectSelector": { "matchLabels": labels },
        "resourceRules": [{ "apiGroups": [group], "apiVersions": [version], "operations": [operation], "resources": [resource] }],
    })
}

/// The value in the API server's expression language, which wants lists and maps of one type.
fn expression(value: &Value) -> String {
    let any = |value| format!("dyn({})", expression(value));
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(key, value)| format!("{}: {}", json!(key), any(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(any).collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}
