//! The CustomResourceDefinitions of the four kinds.
//!
//! Invariant: the frame (names, scopes, columns, required keys) is upstream's, so that clients and stored objects of
//! either installation fit the other.

use k8s_openapi::api::core::v1::Volume;
use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::{JsonSchema as _, Schema, SchemaGenerator};

use super::structural::{any_object, metadata, schema_of};
use super::{
    API_VERSION, Build, BuildRun, BuildRunSpec, BuildRunStatus, BuildSpec, BuildStatus,
    BuildStrategy, ClusterBuildStrategy, GROUP, StrategySpec, StrategyStatus, VERSION,
};

/// All four definitions.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        definition(&Kind {
            name: Build::KIND,
            plural: Build::PLURAL,
            description: Build::DESCRIPTION,
            scope: "Namespaced",
            short_names: &[],
            columns: &[
                ("Registered", "string", ".status.registered"),
                ("Reason", "string", ".status.reason"),
                ("BuildStrategyKind", "string", ".spec.strategy.kind"),
                ("BuildStrategyName", "string", ".spec.strategy.name"),
                ("CreationTime", "date", ".metadata.creationTimestamp"),
            ],
            spec: schema_of::<BuildSpec>(),
            spec_required: true,
            status: schema_of::<BuildStatus>(),
        }),
        definition(&Kind {
            name: BuildRun::KIND,
            plural: BuildRun::PLURAL,
            description: BuildRun::DESCRIPTION,
            scope: "Namespaced",
            short_names: &["br", "brs"],
            columns: &[
                ("Succeeded", "string", r#".status.conditions[?(@.type=="Succeeded")].status"#),
                ("Reason", "string", r#".status.conditions[?(@.type=="Succeeded")].reason"#),
                ("StartTime", "date", ".status.startTime"),
                ("CompletionTime", "date", ".status.completionTime"),
            ],
            spec: schema_of::<BuildRunSpec>(),
            spec_required: true,
            status: schema_of::<BuildRunStatus>(),
        }),
        definition(&Kind {
            name: BuildStrategy::KIND,
            plural: BuildStrategy::PLURAL,
            description: BuildStrategy::DESCRIPTION,
            scope: "Namespaced",
            short_names: &["bs", "bss"],
            columns: &[],
            spec: schema_of::<StrategySpec>(),
            spec_required: false,
            status: schema_of::<StrategyStatus>(),
        }),
        definition(&Kind {
            name: ClusterBuildStrategy::KIND,
            plural: ClusterBuildStrategy::PLURAL,
            description: ClusterBuildStrategy::DESCRIPTION,
            scope: "Cluster",
            short_names: &["cbs", "cbss"],
            columns: &[],
            spec: schema_of::<StrategySpec>(),
            spec_required: false,
            status: schema_of::<StrategyStatus>(),
        }),
    ]
}

/// The whole schema of every kind by its name, with that of the metadata, which a definition must leave open.
pub fn schemas() -> BTreeMap<String, JSONSchemaProps> {
    let mut schemas = BTreeMap::new();
    for crd in crds() {
        let version = crd.spec.versions.into_iter().next();
        let Some(mut schema) = version.and_then(|version| version.schema?.open_api_v3_schema)
        else {
            continue;
        };
        schema.properties.get_or_insert_default().insert("metadata".into(), metadata());
        schemas.insert(crd.spec.names.kind, schema);
    }
    schemas
}

/// The name of the file that a definition is kept in: `<group>_<plural>.yaml`.
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

/// A definition as YAML, starting with `---`.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::SerializeError> {
    Ok(format!("---\n{}", serde_saphyr::to_string(crd)?))
}

struct Kind {
    name: &'static str,
    plural: &'static str,
    description: &'static str,
    scope: &'static str,
    short_names: &'static [&'static str],
    /// Header, type and JSON path.
    columns: &'static [(&'static str, &'static str, &'static str)],
    spec: JSONSchemaProps,
    spec_required: bool,
    status: JSONSchemaProps,
}

fn definition(kind: &Kind) -> CustomResourceDefinition {
    let columns = kind.columns.iter().map(|(name, type_, path)| CustomResourceColumnDefinition {
        name: (*name).into(),
        type_: (*type_).into(),
        json_path: (*path).into(),
        ..CustomResourceColumnDefinition::default()
    });
    let short_names: Vec<String> = kind.short_names.iter().map(|name| (*name).into()).collect();
    let version = CustomResourceDefinitionVersion {
        name: VERSION.into(),
        served: true,
        storage: true,
        schema: Some(CustomResourceValidation { open_api_v3_schema: Some(root_schema(kind)) }),
        subresources: Some(CustomResourceSubresources {
            status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
            scale: None,
        }),
        additional_printer_columns: (!kind.columns.is_empty()).then(|| columns.collect()),
        ..CustomResourceDefinitionVersion::default()
    };
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{}.{GROUP}", kind.plural)),
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: GROUP.into(),
            names: CustomResourceDefinitionNames {
                kind: kind.name.into(),
                list_kind: Some(format!("{}List", kind.name)),
                plural: kind.plural.into(),
                singular: Some(kind.name.to_lowercase()),
                short_names: (!short_names.is_empty()).then_some(short_names),
                categories: None,
            },
            scope: kind.scope.into(),
            versions: vec![version],
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

fn root_schema(kind: &Kind) -> JSONSchemaProps {
    let constant = |text: &str| JSONSchemaProps {
        type_: Some("string".into()),
        description: Some(format!("Always `{text}`.")),
        ..JSONSchemaProps::default()
    };
    let properties = [
        ("apiVersion", constant(API_VERSION)),
        ("kind", constant(kind.name)),
        ("metadata", any_object()),
        ("spec", kind.spec.clone()),
        ("status", kind.status.clone()),
    ];
    JSONSchemaProps {
        description: Some(kind.description.trim().into()),
        properties: Some(
            properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect(),
        ),
        required: kind.spec_required.then(|| vec!["spec".into()]),
        ..any_object()
    }
}

/// The schema of a core volume that is flattened into a type of ours, without the core's descriptions.
pub(super) fn flattened_volume(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Volume::json_schema(generator);
    let members = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut);
    for member in members.into_iter().flat_map(|members| members.values_mut()) {
        if let Some(member) = member.as_object_mut() {
            member.remove("description");
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The root schema of a kind as JSON.
    fn schema(kind: &str) -> Value {
        let crd = crds().into_iter().find(|crd| crd.spec.names.kind == kind).expect("a kind");
        let crd = serde_json::to_value(crd).expect("encodes");
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
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

    /// All nodes with a certain key, as `path value`.
    fn all_with(kind: &str, key: &str) -> Vec<String> {
        let mut found = Vec::new();
        visit(&schema(kind), "", &mut |path, node| {
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
            [
                ".spec.retention.ttlAfterFailed",
                ".spec.retention.ttlAfterSucceeded",
                ".spec.timeout"
            ]
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
        assert_eq!(
            step("env.[].valueFrom.resourceFieldRef"),
            words("resource containerName divisor")
        );
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
                assert!(
                    node["type"] != "array" || node["items"].is_object(),
                    "{path} has no items"
                );
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
            assert!(
                own_without_words.is_empty(),
                "{kind}: no description at {own_without_words:?}"
            );
        }
    }

    #[test]
    fn definitions_leave_room_for_a_second_version() {
        // What kubectl keeps of an object in an annotation.
        const LIMIT: usize = 262_144;
        for crd in crds() {
            let size = serde_json::to_vec(&crd).expect("encodes").len();
            assert!(size < LIMIT / 2, "{} takes {size} bytes", crd.spec.names.plural);
        }
    }
}
