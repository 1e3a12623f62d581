//! What the API server or the kubelet would refuse of the pod that strategy, Build and run make together.
//!
//! Invariant: as in the module above, the lists are complete and in order.

use rstest::rstest;
use serde_json::{Value, json};

use super::{expand, refusals, step};

/// What the API server does not take.
#[rstest]
#[case::privileges(step(&json!({ "securityContext": { "privileged": true, "allowPrivilegeEscalation": false } })),
    &["BuildStrategy s: spec.steps[0].securityContext: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"])]
#[case::administration(step(&json!({ "securityContext": { "capabilities": { "add": ["CAP_SYS_ADMIN"] }, "allowPrivilegeEscalation": false } })),
    &["BuildStrategy s: spec.steps[0].securityContext: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"])]
#[case::seccomp_type(step(&json!({ "securityContext": { "seccompProfile": { "type": "runtime/default" } } })),
    &[r#"BuildStrategy s: spec.steps[0].securityContext.seccompProfile.type: Unsupported value: "runtime/default": supported values: "Localhost", "RuntimeDefault", "Unconfined""#])]
#[case::no_seccomp_type(step(&json!({ "securityContext": { "seccompProfile": { "type": "" } } })),
    &["BuildStrategy s: spec.steps[0].securityContext.seccompProfile.type: Required value: type is required when seccompProfile is set"])]
#[case::no_seccomp_path(step(&json!({ "securityContext": { "seccompProfile": { "type": "Localhost" } } })),
    &["BuildStrategy s: spec.steps[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"])]
#[case::seccomp_path(step(&json!({ "securityContext": { "seccompProfile": { "type": "Localhost", "localhostProfile": "/p" } } })),
    &[r#"BuildStrategy s: spec.steps[0].securityContext.seccompProfile.localhostProfile: Invalid value: "/p": must be a relative path"#])]
#[case::app_armor_path(step(&json!({ "securityContext": { "appArmorProfile": { "type": "Unconfined", "localhostProfile": "p" } } })),
    &[r#"BuildStrategy s: spec.steps[0].securityContext.appArmorProfile.localhostProfile: Invalid value: "p": can only be set when AppArmor type is Localhost"#])]
#[case::proc_mount(step(&json!({ "securityContext": { "procMount": "Masked" } })),
    &[r#"BuildStrategy s: spec.steps[0].securityContext.procMount: Unsupported value: "Masked": supported values: "Default", "Unmasked""#])]
#[case::unmasked(step(&json!({ "securityContext": { "procMount": "Unmasked" } })),
    &[r#"BuildStrategy s: spec.steps[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`"#])]
#[case::variables(step(&json!({ "env": [
        { "name": "" },
        { "name": "A=B", "value": "x" },
        { "name": "C", "valueFrom": {} },
        { "name": "D", "value": "x", "valueFrom": { "fieldRef": { "fieldPath": "metadata.uid" } } },
        { "name": "E", "valueFrom": { "fieldRef": { "fieldPath": "metadata.uid" }, "secretKeyRef": { "name": "s", "key": "k" } } },
        { "name": "F", "valueFrom": { "fieldRef": { "fieldPath": "spec.image" } } },
        { "name": "G", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels" } } },
        { "name": "H", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['a b']" } } },
        { "name": "I", "valueFrom": { "resourceFieldRef": { "resource": "limits.disk" } } },
        { "name": "J", "valueFrom": { "secretKeyRef": { "name": "s", "key": "" } } },
        { "name": "K", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['Example.com/a']" } } }] })),
    &["BuildStrategy s: spec.steps[0].env[0].name: Required value",
      r#"BuildStrategy s: spec.steps[0].env[1].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='"#,
      "BuildStrategy s: spec.steps[0].env[2].valueFrom: must specify one of: `configMapKeyRef`, `fieldRef`, `fileKeyRef`, `resourceFieldRef` or `secretKeyRef`",
      "BuildStrategy s: spec.steps[0].env[3].valueFrom: may not be specified when `value` is not empty",
      "BuildStrategy s: spec.steps[0].env[4].valueFrom: may not have more than one field specified at a time",
      r#"BuildStrategy s: spec.steps[0].env[5].valueFrom.fieldRef.fieldPath: Invalid value: "spec.image": error converting fieldPath: field label not supported: spec.image"#,
      r#"BuildStrategy s: spec.steps[0].env[6].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs""#,
      r#"BuildStrategy s: spec.steps[0].env[7].valueFrom.fieldRef.fieldPath: Invalid value: "a b": <qualified>"#,
      r#"BuildStrategy s: spec.steps[0].env[8].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.disk": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory""#,
      "BuildStrategy s: spec.steps[0].env[9].valueFrom.secretKeyRef.key: Required value",
      r#"BuildStrategy s: spec.steps[0].env[10].valueFrom.fieldRef.fieldPath: Invalid value: "Example.com/a": prefix part <subdomain>"#])]
#[case::variable_of_the_build(json!({ "build": { "env": [{ "name": "A", "valueFrom": {} }] } }),
    &["Build b: spec.env[0].valueFrom: must specify one of: `configMapKeyRef`, `fieldRef`, `fileKeyRef`, `resourceFieldRef` or `secretKeyRef`"])]
#[case::variable_of_the_run(json!({ "run": { "env": [{ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "x" } } }] } }),
    &[r#"BuildRun r: spec.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "x": error converting fieldPath: field label not supported: x"#])]
#[case::mounts(step(&json!({ "volumeMounts": [
        { "name": "cache", "mountPath": "/a", "subPath": "a/../b" },
        { "name": "cache", "mountPath": "/b", "subPath": "/b" },
        { "name": "cache", "mountPath": "/c", "subPathExpr": "../$(A)" },
        { "name": "cache", "mountPath": "/d", "subPath": "a", "subPathExpr": "b" },
        { "name": "cache", "mountPath": "/e", "mountPropagation": "Bidirectional" },
        { "name": "cache", "mountPath": "/f", "mountPropagation": "Both" },
        { "name": "cache", "mountPath": "/g", "recursiveReadOnly": "Yes" },
        { "name": "cache", "mountPath": "/h", "recursiveReadOnly": "Enabled" },
        { "name": "cache", "mountPath": "/i", "recursiveReadOnly": "IfPossible", "readOnly": true, "mountPropagation": "HostToContainer" }] })),
    &[r#"BuildStrategy s: spec.steps[0].volumeMounts[0].subPath: Invalid value: "a/../b": must not contain '..'"#,
      r#"BuildStrategy s: spec.steps[0].volumeMounts[1].subPath: Invalid value: "/b": must be a relative path"#,
      r#"BuildStrategy s: spec.steps[0].volumeMounts[2].subPathExpr: Invalid value: "../$(A)": must not contain '..'"#,
      r#"BuildStrategy s: spec.steps[0].volumeMounts[3].subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive"#,
      "BuildStrategy s: spec.steps[0].volumeMounts[4].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
      r#"BuildStrategy s: spec.steps[0].volumeMounts[5].mountPropagation: Unsupported value: "Both": supported values: "Bidirectional", "HostToContainer", "None""#,
      r#"BuildStrategy s: spec.steps[0].volumeMounts[6].recursiveReadOnly: Unsupported value: "Yes": supported values: "Disabled", "Enabled", "IfPossible""#,
      "BuildStrategy s: spec.steps[0].volumeMounts[7].recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
      "BuildStrategy s: spec.steps[0].volumeMounts[8].recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified"])]
#[case::volumes(json!({ "strategy": { "volumes": [
        { "name": "cache", "overridable": true, "emptyDir": {} },
        { "name": "a", "emptyDir": {}, "hostPath": { "path": "/a" } },
        { "name": "b", "hostPath": { "path": "/a/../b", "type": "Folder" } },
        { "name": "c", "hostPath": { "path": "" } },
        { "name": "d", "emptyDir": { "sizeLimit": "-1" } },
        { "name": "e", "secret": { "secretName": "s", "items": [{ "key": "k", "path": "../k" }, { "key": "k", "path": "..k" }] } },
        { "name": "f", "downwardAPI": { "items": [{ "path": "x" }, { "path": "y", "fieldRef": { "fieldPath": "spec.nodeName" } }] } },
        { "name": "g", "projected": { "sources": [{ "configMap": { "name": "m", "items": [{ "key": "k", "path": "/k" }] } }, { "downwardAPI": { "items": [{ "path": "", "fieldRef": { "fieldPath": "metadata.labels" } }] } }] } }] },
        "build": { "volumes": [{ "name": "cache", "hostPath": { "path": "/.." } }] } }),
    &[r#"Build b: spec.volumes[0].hostPath.path: Invalid value: "/..": must not contain '..'"#,
      "BuildStrategy s: spec.volumes[1].hostPath: Forbidden: may not specify more than 1 volume type",
      r#"BuildStrategy s: spec.volumes[2].hostPath.path: Invalid value: "/a/../b": must not contain '..'"#,
      r#"BuildStrategy s: spec.volumes[2].hostPath.type: Unsupported value: "Folder": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket""#,
      "BuildStrategy s: spec.volumes[3].hostPath.path: Required value",
      "BuildStrategy s: spec.volumes[4].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
      r#"BuildStrategy s: spec.volumes[5].secret.items[0].path: Invalid value: "../k": must not contain '..'"#,
      r#"BuildStrategy s: spec.volumes[5].secret.items[1].path: Invalid value: "..k": must not start with '..'"#,
      "BuildStrategy s: spec.volumes[6].downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required",
      r#"BuildStrategy s: spec.volumes[6].downwardAPI.items[1].fieldRef.fieldPath: Unsupported value: "spec.nodeName": supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid""#,
      r#"BuildStrategy s: spec.volumes[7].projected.sources[0].configMap.items[0].path: Invalid value: "/k": must be a relative path"#,
      "BuildStrategy s: spec.volumes[7].projected.sources[1].downwardAPI.items[0].path: Required value"])]
#[case::modes(json!({ "strategy": { "volumes": [
        { "name": "cache", "overridable": true, "emptyDir": {} },
        { "name": "a", "secret": { "secretName": "s", "defaultMode": 1000, "items": [{ "key": "k", "path": "k", "mode": -1 }] } },
        { "name": "b", "configMap": { "name": "m", "defaultMode": 512, "items": [{ "key": "k", "path": "k", "mode": 512 }] } },
        { "name": "c", "downwardAPI": { "defaultMode": 512, "items": [{ "path": "p", "fieldRef": { "fieldPath": "metadata.name" }, "mode": 512 }] } },
        { "name": "d", "projected": { "defaultMode": 512, "sources": [{ "secret": { "name": "s", "items": [{ "key": "k", "path": "k", "mode": 512 }] } }] } }] } }),
    &["BuildStrategy s: spec.volumes[1].secret.defaultMode: Invalid value: 1000: <mode>",
      "BuildStrategy s: spec.volumes[1].secret.items[0].mode: Invalid value: -1: <mode>",
      "BuildStrategy s: spec.volumes[2].configMap.defaultMode: Invalid value: 512: <mode>",
      "BuildStrategy s: spec.volumes[2].configMap.items[0].mode: Invalid value: 512: <mode>",
      "BuildStrategy s: spec.volumes[3].downwardAPI.defaultMode: Invalid value: 512: <mode>",
      "BuildStrategy s: spec.volumes[3].downwardAPI.items[0].mode: Invalid value: 512: <mode>",
      "BuildStrategy s: spec.volumes[4].projected.defaultMode: Invalid value: 512: <mode>",
      "BuildStrategy s: spec.volumes[4].projected.sources[0].secret.items[0].mode: Invalid value: 512: <mode>"])]
#[case::projections(json!({ "strategy": { "volumes": [
        { "name": "cache", "overridable": true, "emptyDir": {} },
        { "name": "a", "secret": { "secretName": "s", "items": [{ "key": "", "path": "k" }] } },
        { "name": "b", "downwardAPI": { "items": [{ "path": "p", "resourceFieldRef": { "resource": "limits.cpu" } }] } },
        { "name": "c", "projected": { "sources": [
            { "serviceAccountToken": { "path": "t", "expirationSeconds": 599 } },
            { "serviceAccountToken": { "path": "", "expirationSeconds": 4_294_967_297_i64 } },
            { "secret": { "name": "s", "items": [{ "key": "k", "path": "k" }] }, "configMap": { "name": "m", "items": [{ "key": "k", "path": "k" }] } },
            { "downwardAPI": { "items": [{ "path": "k", "fieldRef": { "fieldPath": "metadata.name" } }] } }] } }] } }),
    &["BuildStrategy s: spec.volumes[1].secret.items[0].key: Required value",
      "BuildStrategy s: spec.volumes[2].downwardAPI.items[0].resourceFieldRef.containerName: Required value",
      "BuildStrategy s: spec.volumes[3].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
      "BuildStrategy s: spec.volumes[3].projected.sources[1].serviceAccountToken.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
      "BuildStrategy s: spec.volumes[3].projected.sources[1].serviceAccountToken.path: Required value",
      "BuildStrategy s: spec.volumes[3].projected.sources[2]: Forbidden: may not specify more than 1 volume type per source",
      r#"BuildStrategy s: spec.volumes[3].projected.sources[2].configMap.items[0].path: Invalid value: "m": conflicting duplicate paths"#,
      r#"BuildStrategy s: spec.volumes[3].projected.sources[3].downwardAPI.items[0].path: Invalid value: "k": conflicting duplicate paths"#])]
#[case::claims(step(&json!({ "resources": { "claims": [{ "name": "gpu" }] } })),
    &[r#"BuildStrategy s: spec.steps[0].resources.claims[0]: Not found: "gpu": must be one of the names in pod.spec.resourceClaims which is empty"#])]
#[case::resources(step(&json!({ "resources": { "limits": { "cpu": "-1", "gpu": "1", "example.com/gpu": "1" }, "requests": { "memory": "-1Gi" } } })),
    &[r#"BuildStrategy s: spec.steps[0].resources.limits.cpu: Invalid value: "-1": must be greater than or equal to 0"#,
      r#"BuildStrategy s: spec.steps[0].resources.limits.gpu: Invalid value: "gpu": must be a standard resource for containers"#,
      r#"BuildStrategy s: spec.steps[0].resources.requests.memory: Invalid value: "-1Gi": must be greater than or equal to 0"#])]
#[case::resources_of_the_run(json!({ "run": { "stepResources": [{ "name": "build", "resources": { "limits": { "cpu": "-1" } } }] } }),
    &[r#"BuildRun r: spec.stepResources[0].resources.limits.cpu: Invalid value: "-1": must be greater than or equal to 0"#])]
#[case::image_with_blanks_around(step(&json!({ "image": " i " })),
    &[r#"BuildStrategy s: spec.steps[0].image: Invalid value: " i ": must not have leading or trailing whitespace"#])]
fn pods(#[case] patch: Value, #[case] expected: &[&str]) {
    expect(&patch, "PodCreationFailed", expected);
}

/// What the kubelet does not take.
#[rstest]
#[case::root_that_may_not_be(step(&json!({ "securityContext": { "runAsNonRoot": true, "runAsUser": 0 } })), "CreateContainerConfigError",
    &["BuildStrategy s: spec.steps[0].securityContext.runAsNonRoot: container's runAsUser breaks non-root policy"])]
#[case::root_of_the_strategy(json!({ "strategy": { "securityContext": { "runAsUser": 0, "runAsGroup": 0 }, "steps": [{ "name": "build", "image": "i", "command": ["a"], "securityContext": { "runAsNonRoot": true } }] } }), "CreateContainerConfigError",
    &["BuildStrategy s: spec.steps[0].securityContext.runAsNonRoot: container's runAsUser breaks non-root policy"])]
#[case::image_with_a_blank(step(&json!({ "image": "a $(params.text)b" })), "TaskRunImagePullFailed",
    &[r#"BuildStrategy s: spec.steps[0].image: couldn't parse image name "a b": invalid reference format"#])]
fn containers(#[case] patch: Value, #[case] reason: &str, #[case] expected: &[&str]) {
    expect(&patch, reason, expected);
}

fn expect(patch: &Value, reason: &str, expected: &[&str]) {
    let expected: Vec<String> = expected
        .iter()
        .map(|expected| {
            let [place, field, message] = expected.splitn(3, ": ").collect::<Vec<_>>()[..] else {
                panic!("{expected}")
            };
            let by = if place.starts_with("BuildRun") { "" } else { "BuildRun r for " };
            expand(&format!("{by}{place}: {field}: {reason}: {message}"))
        })
        .collect();
    assert_eq!(refusals(patch), expected);
}

#[test]
fn a_pod_that_kubernetes_accepts_is_accepted() {
    let patch = json!({ "strategy": {
        "securityContext": { "runAsUser": 0, "runAsGroup": 0 },
        "volumes": [{ "name": "cache", "overridable": true },
            { "name": "d", "downwardAPI": { "items": [{ "path": "a", "fieldRef": { "fieldPath": "metadata.annotations['Example.com/owner']" } }, { "path": "b", "resourceFieldRef": { "containerName": "step-build", "resource": "limits.hugepages-2Mi" } }] } },
            { "name": "p", "projected": { "defaultMode": 511, "sources": [
                { "serviceAccountToken": { "path": "t", "expirationSeconds": 600 } }, { "serviceAccountToken": { "path": "u", "expirationSeconds": 4_294_967_296_i64 } },
                { "configMap": { "name": "m", "items": [{ "key": "k", "path": "a/k", "mode": 0 }] } }, { "configMap": { "name": "m", "items": [{ "key": "k", "path": "b/k" }] } }] } },
            { "name": "h", "hostPath": { "path": "/a..b" } }],
        "steps": [{ "name": "build", "image": "Registry.example.com:5000/a:$(params.tag)", "command": ["a"],
            "securityContext": { "runAsNonRoot": true, "runAsUser": 1, "privileged": true, "allowPrivilegeEscalation": true, "seccompProfile": { "type": "Localhost", "localhostProfile": "a/p.json" } },
            "env": [{ "name": "a.b-c d", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['a']" } } }, { "name": "HOST", "valueFrom": { "fieldRef": { "fieldPath": "spec.host" } } }, { "name": "B", "value": "", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } }],
            "resources": { "limits": { "cpu": "0", "hugepages-2Mi": "0", "example.com/gpu": "1" } },
            "volumeMounts": [{ "name": "p", "mountPath": "/p", "readOnly": true, "recursiveReadOnly": "Enabled" }, { "name": "cache", "mountPath": "/a", "subPath": "a..b/$(params.tag)", "mountPropagation": "Bidirectional" }] }],
        "parameters": [{ "name": "tag", "description": "", "default": "1" }] },
        "build": { "paramValues": null, "output": { "timestamp": "253402207200" } } });
    assert_eq!(refusals(&patch), Vec::<String>::new());
}
