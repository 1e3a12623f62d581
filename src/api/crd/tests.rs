//! The frame and the schemas are the contract's.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::api::MAX_ANNOTATIONS;

mod alpha;

/// The root schema of a kind as JSON, in the version that is stored.
fn schema(kind: &str) -> Value {
    version(kind, 0)["schema"]["openAPIV3Schema"].clone()
}

/// A version of a kind by its place.
fn version(kind: &str, place: usize) -> Value {
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == kind).expect("a kind");
    let crd = serde_json::to_value(crd).expect("encodes");
    crd["spec"]["versions"][place].clone()
}

/// The schema of a field: names of members, `[]` for the items of a list, `{}` for the values of a map.
fn field<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(schema, |schema, part| match part {
        "[]" => &schema["items"],
        "{}" => &schema["additionalProperties"],
        name => &schema["properties"][name],
    })
}

fn keys(schema: &Value) -> BTreeSet<&str> {
    schema["properties"].as_object().expect("an object").keys().map(String::as_str).collect()
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split_whitespace().collect()
}

/// Every node of a schema, with its path.
fn visit(schema: &Value, path: &str, look: &mut dyn FnMut(&str, &Value)) {
    look(path, schema);
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        visit(member, &format!("{path}.{name}"), look);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            visit(&schema[key], &format!("{path}.{mark}"), look);
        }
    }
}

/// All nodes with a certain key, as `path value`, in the version that is stored.
fn all_with(kind: &str, key: &str) -> Vec<String> {
    nodes_with(&schema(kind), key)
}

fn nodes_with(schema: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    visit(schema, "", &mut |path, node| {
        if let Some(value) = node.get(key) {
            found.push(format!("{path} {value}"));
        }
    });
    found
}

const VOLUME_SOURCES: &str = "awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI \
    emptyDir ephemeral fc flexVolume flocker gcePersistentDisk gitRepo glusterfs hostPath image iscsi nfs \
    persistentVolumeClaim photonPersistentDisk portworxVolume projected quobyte rbd scaleIO secret storageos \
    vsphereVolume";

#[test]
fn required_keys_of_our_own_types() {
    let own = |kind: &str| -> Vec<String> {
        let core = ["env", "tolerations", "volumeMounts", "securityContext", "resources"];
        all_with(kind, "required")
            .into_iter()
            .filter(|line| {
                let path = line.split(' ').next().unwrap_or_default();
                let inside = |part: &str| path.contains(&format!(".{part}."));
                let in_volume = path.split_once(".volumes.[].").is_some();
                let strategy_identity = path == ".spec.securityContext";
                !in_volume && (strategy_identity || !core.iter().any(|part| inside(part)))
            })
            .collect()
    };
    assert_eq!(
        own("Build"),
        [
            r#" ["spec"]"#,
            r#".spec ["output","strategy"]"#,
            r#".spec.output ["image"]"#,
            r#".spec.output.platforms.[] ["arch","os"]"#,
            r#".spec.paramValues.[] ["name"]"#,
            r#".spec.paramValues.[].configMapValue ["key","name"]"#,
            r#".spec.paramValues.[].secretValue ["key","name"]"#,
            r#".spec.paramValues.[].values.[].configMapValue ["key","name"]"#,
            r#".spec.paramValues.[].values.[].secretValue ["key","name"]"#,
            r#".spec.source ["type"]"#,
            r#".spec.source.git ["url"]"#,
            r#".spec.source.ociArtifact ["image"]"#,
            r#".spec.strategy ["name"]"#,
            r#".spec.strategy.stepResources.[] ["name","resources"]"#,
            r#".spec.trigger.when.[] ["name","type"]"#,
            r#".spec.volumes.[] ["name"]"#,
        ]
    );
    assert_eq!(
        own("BuildStrategy"),
        [
            r#".spec ["steps"]"#,
            r#".spec.parameters.[] ["description","name"]"#,
            r#".spec.securityContext ["runAsGroup","runAsUser"]"#,
            r#".spec.steps.[] ["name"]"#,
            r#".spec.volumes.[] ["name"]"#,
        ]
    );
    let embedded = [".spec.build.spec", ".status.buildSpec"];
    let of_run: Vec<_> = own("BuildRun")
        .into_iter()
        .filter(|line| !embedded.iter().any(|path| line.starts_with(path)))
        .filter(|line| !line.contains("aramValues") && !line.contains("latforms"))
        .collect();
    assert_eq!(
        of_run,
        [
            r#" ["spec"]"#,
            r#".spec ["build"]"#,
            r#".spec.output ["image"]"#,
            r#".spec.source ["type"]"#,
            r#".spec.stepResources.[] ["name","resources"]"#,
            r#".spec.volumes.[] ["name"]"#,
            r#".status.conditions.[] ["lastTransitionTime","message","reason","status","type"]"#,
            r#".status.executor ["kind","name"]"#,
        ]
    );
}

#[test]
fn limits_words_and_formats_are_the_contracts_and_no_more() {
    assert_eq!(
        all_with("Build", "enum"),
        [r#".spec.output.vulnerabilityScan.ignore.severity ["low","medium","high"]"#]
    );
    let limits = [".spec.retention.failedLimit", ".spec.retention.succeededLimit"];
    assert_eq!(all_with("Build", "minimum"), limits.map(|path| format!("{path} 1.0")));
    assert_eq!(all_with("Build", "maximum"), limits.map(|path| format!("{path} 10000.0")));
    assert_eq!(all_with("Build", "minItems"), [".spec.trigger.when.[].github.events 1"]);
    let durations: Vec<_> = all_with("Build", "format")
        .into_iter()
        .filter(|line| line.ends_with(r#" "duration""#))
        .collect();
    assert_eq!(
        durations,
        [".spec.retention.ttlAfterFailed", ".spec.retention.ttlAfterSucceeded", ".spec.timeout"]
            .map(|path| format!(r#"{path} "duration""#))
    );
    for kind in ["BuildRun", "BuildStrategy", "ClusterBuildStrategy"] {
        let of_kind: Vec<_> = ["enum", "minimum", "maximum", "minItems"]
            .into_iter()
            .flat_map(|key| all_with(kind, key))
            .filter(|line| {
                !line.contains("spec.build.spec.") && !line.contains("status.buildSpec.")
            })
            .filter(|line| !line.contains(".spec.output.vulnerabilityScan."))
            .collect();
        assert!(of_kind.is_empty(), "{kind}: {of_kind:?}");
    }
}

#[test]
fn lists_that_refuse_duplicates() {
    let claims = |paths: &[&str]| -> Vec<String> {
        paths.iter().map(|path| format!(r#"{path}.resources.claims ["name"]"#)).collect()
    };
    let mut of_build = vec![r#".spec.output.platforms ["os","arch"]"#.to_owned()];
    of_build.extend(claims(&[".spec.strategy.stepResources.[]"]));
    assert_eq!(all_with("Build", "x-kubernetes-list-map-keys"), of_build);
    let mut of_strategy = vec![r#".spec.steps ["name"]"#.to_owned()];
    of_strategy.extend(claims(&[".spec.steps.[]"]));
    assert_eq!(all_with("BuildStrategy", "x-kubernetes-list-map-keys"), of_strategy);
}

#[test]
fn keys_of_kubernetes_own_types() {
    let build = schema("Build");
    let strategy = schema("ClusterBuildStrategy");
    let step = |path: &str| keys(field(&strategy, &format!("spec.steps.[].{path}")));
    let volume_sources = words(VOLUME_SOURCES);
    let with = |more: &'static str| &volume_sources | &words(more);
    assert_eq!(keys(field(&build, "spec.volumes.[]")), with("name"));
    assert_eq!(keys(field(&strategy, "spec.volumes.[]")), with("name overridable description"));
    assert_eq!(
        keys(field(&strategy, "spec.steps.[]")),
        words(
            "args command env image imagePullPolicy name resources securityContext volumeMounts workingDir"
        )
    );
    assert_eq!(
        step("env.[].valueFrom"),
        words("configMapKeyRef secretKeyRef fieldRef fileKeyRef resourceFieldRef")
    );
    assert_eq!(step("env.[].valueFrom.secretKeyRef"), words("key name optional"));
    assert_eq!(step("env.[].valueFrom.fieldRef"), words("fieldPath apiVersion"));
    assert_eq!(step("env.[].valueFrom.fileKeyRef"), words("key path volumeName optional"));
    assert_eq!(step("env.[].valueFrom.resourceFieldRef"), words("resource containerName divisor"));
    assert_eq!(
        step("securityContext"),
        words(
            "allowPrivilegeEscalation appArmorProfile capabilities privileged procMount \
             readOnlyRootFilesystem runAsGroup runAsNonRoot runAsUser seLinuxOptions seccompProfile \
             windowsOptions"
        )
    );
    assert_eq!(step("securityContext.capabilities"), words("add drop"));
    assert_eq!(step("securityContext.seLinuxOptions"), words("level role type user"));
    assert_eq!(step("securityContext.seccompProfile"), words("type localhostProfile"));
    assert_eq!(
        step("volumeMounts.[]"),
        words("name mountPath readOnly recursiveReadOnly subPath subPathExpr mountPropagation")
    );
    assert_eq!(step("resources"), words("claims limits requests"));
    assert_eq!(step("resources.claims.[]"), words("name request"));
    assert_eq!(
        keys(field(&build, "spec.tolerations.[]")),
        words("effect key operator tolerationSeconds value")
    );
    let template = field(&build, "spec.volumes.[].ephemeral.volumeClaimTemplate.metadata");
    assert_eq!(template, &serde_json::json!({"type": "object"}));
    assert_eq!(
        field(&strategy, "spec.steps.[].env.[].valueFrom.secretKeyRef")["required"],
        serde_json::json!(["key"])
    );
}

#[test]
fn quantities_are_numbers_or_patterned_texts() {
    let mut quantities = Vec::new();
    visit(&schema("BuildStrategy"), "", &mut |path, node| {
        if node.get("pattern").is_some() {
            assert_eq!(node["x-kubernetes-int-or-string"], true, "{path}");
            quantities.push(path.to_owned());
        }
    });
    let volume = ".spec.volumes.[]";
    let claim = format!("{volume}.ephemeral.volumeClaimTemplate.spec.resources");
    let items = "downwardAPI.items.[].resourceFieldRef.divisor";
    let expected = [
        ".spec.steps.[].env.[].valueFrom.resourceFieldRef.divisor".to_owned(),
        ".spec.steps.[].resources.limits.{}".into(),
        ".spec.steps.[].resources.requests.{}".into(),
        format!("{volume}.{items}"),
        format!("{volume}.emptyDir.sizeLimit"),
        format!("{claim}.limits.{{}}"),
        format!("{claim}.requests.{{}}"),
        format!("{volume}.projected.sources.[].{items}"),
    ];
    assert_eq!(quantities, expected);
}

#[test]
fn every_node_is_structural() {
    for kind in ["Build", "BuildRun", "BuildStrategy", "ClusterBuildStrategy"] {
        visit(&schema(kind), kind, &mut |path, node| {
            let known = node["type"].is_string() || node["x-kubernetes-int-or-string"] == true;
            assert!(known, "{path} has no type");
            assert!(node["type"] != "array" || node["items"].is_object(), "{path} has no items");
        });
        let own_without_words: Vec<_> = {
            let mut found = Vec::new();
            visit(field(&schema(kind), "status"), "", &mut |path, node| {
                let of_list_or_map = path.ends_with("[]") || path.ends_with("{}");
                if !of_list_or_map
                    && !path.contains("buildSpec.")
                    && node.get("description").is_none()
                {
                    found.push(path.to_owned());
                }
            });
            found
        };
        assert!(own_without_words.is_empty(), "{kind}: no description at {own_without_words:?}");
    }
}

#[test]
fn definitions_fit_where_kubectl_keeps_them() {
    // `kubectl apply` keeps the object in an annotation of it.
    for crd in crds() {
        let size = serde_json::to_vec(&crd).expect("encodes").len();
        assert!(size < MAX_ANNOTATIONS, "{} takes {size} bytes", crd.spec.names.plural);
    }
}
