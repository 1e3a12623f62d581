//! Everything that a cluster needs for the controller, as objects to apply.
//!
//! Invariant: the controller's role names what it asks for and nothing else; no wildcard.

use serde_json::{Value, json};

use super::lease::LEASE;
use super::webhook::{CONFIGURATION, SECRET, SERVICE};
use crate::api::{Build, BuildRun, BuildStrategy, ClusterBuildStrategy, GROUP, VERSION, crd};

/// Where upstream's controller lives, and so the lease.
pub const NAMESPACE: &str = crd::WEBHOOK_NAMESPACE;
/// Name of the controller's account, role and Deployment.
pub const NAME: &str = "slipway-controller";
/// Image of the controller that belongs to this version.
pub const IMAGE: &str = concat!("slipway.dev/controller:", env!("CARGO_PKG_VERSION"));
/// The settings that name an image of Slipway's in build Pods.
const STEP_IMAGES: [&str; 5] = [
    "PREPARE_CONTAINER_IMAGE",
    "GIT_CONTAINER_IMAGE",
    "BUNDLE_CONTAINER_IMAGE",
    "WAITER_CONTAINER_IMAGE",
    "IMAGE_PROCESSING_CONTAINER_IMAGE",
];
/// Port of metrics and probes.
const PORT: u16 = 8383;
/// Port of the webhook.
const WEBHOOK_PORT: u16 = 8443;
/// Label of a namespace in which nothing is judged when it is applied, with the value `disabled`.
const ADMISSION_LABEL: &str = "slipway.dev/admission";
/// What an API server need not ask about: a change that leaves the spec alone, such as the controller's labels.
const CHANGES_SPEC: &str = "request.operation == 'CREATE' || !has(object.spec) || !has(oldObject.spec) || object.spec != oldObject.spec";
const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// Where Slipway's images are.
#[derive(Debug, Clone)]
pub struct Images {
    /// The controller's.
    pub controller: String,
    /// That of the supporting steps; where there is none, the controller has its own default.
    pub step: Option<String>,
}

impl Default for Images {
    fn default() -> Self {
        Self { controller: IMAGE.into(), step: None }
    }
}

/// Definitions and objects as one YAML text, in the order in which they are needed.
pub fn manifest(images: &Images) -> Result<String, serde_saphyr::SerializeError> {
    let definitions = crd::crds().iter().map(crd::to_yaml).collect::<Result<String, _>>()?;
    objects(images).iter().try_fold(definitions, |text, object| {
        Ok(format!("{text}---\n{}", serde_saphyr::to_string(object)?))
    })
}

/// All objects beside the CustomResourceDefinitions.
pub fn objects(images: &Images) -> Vec<Value> {
    let labels = json!({ "app.kubernetes.io/name": NAME });
    let anywhere = json!({ "name": NAME, "labels": labels });
    let here = json!({ "name": NAME, "namespace": NAMESPACE, "labels": labels });
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": NAMESPACE, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
        }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": here }),
        role("ClusterRole", &anywhere, &cluster_rules()),
        binding("ClusterRole", &anywhere),
        role("Role", &here, &own_rules()),
        binding("Role", &here),
        aggregated("view", &["view"], &view_rules()),
        aggregated("edit", &["edit", "admin"], &edit_rules()),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": here,
            "spec": {
                "selector": labels,
                "ports": [{ "name": "metrics", "port": PORT, "targetPort": "metrics" }],
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": SERVICE, "namespace": NAMESPACE, "labels": labels },
            "spec": {
                "selector": labels,
                "ports": [{ "name": "webhook", "port": 443, "targetPort": "webhook" }],
            },
        }),
        admission(&labels),
        deployment(images, &here, &labels),
    ]
}

/// What API servers ask the webhook about. Whom they trust the controller adds: whoever applies this again leaves it as it is.
fn admission(labels: &Value) -> Value {
    let kinds =
        [Build::PLURAL, BuildRun::PLURAL, BuildStrategy::PLURAL, ClusterBuildStrategy::PLURAL];
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": CONFIGURATION, "labels": labels },
        "webhooks": [{
            "name": "admission.slipway.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": { "service": { "name": SERVICE, "namespace": NAMESPACE, "path": "/validate", "port": 443 } },
            "failurePolicy": "Ignore",
            "matchConditions": [{ "name": "the-spec-changes", "expression": CHANGES_SPEC }],
            "matchPolicy": "Equivalent",
            "namespaceSelector": {
                "matchExpressions": [{ "key": ADMISSION_LABEL, "operator": "NotIn", "values": ["disabled"] }],
            },
            "rules": [{
                "apiGroups": [GROUP],
                "apiVersions": [VERSION],
                "operations": ["CREATE", "UPDATE"],
                "resources": kinds,
                "scope": "*",
            }],
            "sideEffects": "None",
            "timeoutSeconds": 5,
        }],
    })
}

fn cluster_rules() -> Vec<Value> {
    let definitions: Vec<_> =
        crd::crds().into_iter().filter_map(|definition| definition.metadata.name).collect();
    let definitions: Vec<_> = definitions.iter().map(String::as_str).collect();
    // An object that is watched alone is asked for by its name.
    let tell = ["list", "patch", "watch"];
    vec![
        named(rule("apiextensions.k8s.io", &["customresourcedefinitions"], &tell), &definitions),
        named(
            rule("admissionregistration.k8s.io", &["validatingwebhookconfigurations"], &tell),
            &[CONFIGURATION],
        ),
        rule(GROUP, &["builds"], &["get", "list", "watch"]),
        rule(GROUP, &["builds/status", "buildruns/status"], &["patch"]),
        rule(GROUP, &["buildruns"], &["delete", "list", "patch", "watch"]),
        rule(
            "shipwright.io",
            &["buildstrategies", "clusterbuildstrategies"],
            &["get", "list", "watch"],
        ),
        // Clusters with the admission plugin OwnerReferencesPermissionEnforcement, OpenShift for one, ask for this of whoever makes an
        // object that holds up the deletion of its owner.
        rule(GROUP, &["builds/finalizers", "buildruns/finalizers"], &["update"]),
        rule("", &["pods"], &["create", "delete", "get", "list", "patch", "watch"]),
        rule("", &["secrets"], &["get", "list", "watch"]),
        rule("", &["configmaps", "namespaces"], &["get"]),
        rule("", &["limitranges"], &["list"]),
        rule("", &["serviceaccounts"], &["create", "delete", "get"]),
        rule("events.k8s.io", &["events"], &["create"]),
    ]
}

/// What the controller needs in its own namespace. A name cannot limit who creates.
fn own_rules() -> Vec<Value> {
    vec![
        rule("coordination.k8s.io", &["leases"], &["create"]),
        named(rule("coordination.k8s.io", &["leases"], &["get", "update"]), &[LEASE]),
        rule("", &["secrets"], &["create"]),
        named(rule("", &["secrets"], &["update"]), &[SECRET]),
    ]
}

fn view_rules() -> Vec<Value> {
    let kinds = ["builds", "buildruns", "buildstrategies", "clusterbuildstrategies"];
    vec![rule(GROUP, &kinds, &["get", "list", "watch"])]
}

fn edit_rules() -> Vec<Value> {
    let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
    vec![
        rule(GROUP, &["builds", "buildruns", "buildstrategies"], &verbs),
        rule(GROUP, &["clusterbuildstrategies"], &["get", "list", "watch"]),
    ]
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

/// The rule for these objects alone.
fn named(mut rule: Value, names: &[&str]) -> Value {
    rule["resourceNames"] = json!(names);
    rule
}

fn role(kind: &str, metadata: &Value, rules: &[Value]) -> Value {
    json!({ "apiVersion": RBAC, "kind": kind, "metadata": metadata, "rules": rules })
}

/// Binds the controller's account to the role of the same name.
fn binding(kind: &str, metadata: &Value) -> Value {
    json!({
        "apiVersion": RBAC,
        "kind": format!("{kind}Binding"),
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME },
        "subjects": [{ "kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE }],
    })
}

/// A role that Kubernetes' own roles take in: whoever may view or edit a namespace may do so with builds.
fn aggregated(name: &str, to: &[&str], rules: &[Value]) -> Value {
    let labels: serde_json::Map<String, Value> = to
        .iter()
        .map(|role| (format!("rbac.authorization.k8s.io/aggregate-to-{role}"), json!("true")))
        .collect();
    let metadata =
        json!({ "name": format!("shipwright-build-aggregate-{name}"), "labels": labels });
    role("ClusterRole", &metadata, rules)
}

fn deployment(images: &Images, metadata: &Value, labels: &Value) -> Value {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let mut env = vec![
        field("BUILD_CONTROLLER_LEADER_ELECTION_NAMESPACE", "metadata.namespace"),
        field("POD_NAME", "metadata.name"),
        field("WEBHOOK_NAMESPACE", "metadata.namespace"),
    ];
    if let Some(step) = &images.step {
        env.extend(STEP_IMAGES.map(|name| json!({ "name": name, "value": step })));
    }
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": "metrics" } });
    let container = json!({
        "name": "controller",
        "image": images.controller,
        "args": ["controller"],
        "env": env,
        "ports": [
            { "name": "metrics", "containerPort": PORT },
            { "name": "webhook", "containerPort": WEBHOOK_PORT },
        ],
        "livenessProbe": probe("/healthz"),
        "readinessProbe": probe("/readyz"),
        "resources": { "requests": { "cpu": "20m", "memory": "40Mi" }, "limits": { "memory": "1Gi" } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsGroup": 1000,
            "runAsNonRoot": true,
            "runAsUser": 1000,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [container], "serviceAccountName": NAME },
            },
        },
    })
}
