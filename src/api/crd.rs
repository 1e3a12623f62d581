//! The CustomResourceDefinitions of the four kinds.
//!
//! Invariant: the frame (names, scopes, columns, required keys) is upstream's, so that clients and stored objects of
//! either installation fit the other.

use k8s_openapi::api::core::v1::Volume;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceConversion, CustomResourceDefinition,
    CustomResourceDefinitionNames, CustomResourceDefinitionSpec, CustomResourceDefinitionVersion,
    CustomResourceSubresourceStatus, CustomResourceSubresources, CustomResourceValidation,
    JSONSchemaProps, ServiceReference, WebhookClientConfig, WebhookConversion,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::{JsonSchema as _, Schema, SchemaGenerator};

use super::structural::{any_object, metadata, schema_of};
use super::{
    Build, BuildRun, BuildRunSpec, BuildRunStatus, BuildSpec, BuildStatus, BuildStrategy,
    ClusterBuildStrategy, GROUP, StrategySpec, StrategyStatus, Version, v1alpha1,
};

/// The namespace of the controller's Services.
pub const WEBHOOK_NAMESPACE: &str = "shipwright-build";
/// The Service that the API server asks for conversions.
pub const WEBHOOK_SERVICE: &str = "slipway-webhook";
/// Where it asks for them.
pub const CONVERT_PATH: &str = "/convert";

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
            schemas: [
                (schema_of::<BuildSpec>(), schema_of::<BuildStatus>()),
                (schema_of::<v1alpha1::BuildSpec>(), schema_of::<BuildStatus>()),
            ],
            spec_required: true,
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
            schemas: [
                (schema_of::<BuildRunSpec>(), schema_of::<BuildRunStatus>()),
                (schema_of::<v1alpha1::BuildRunSpec>(), schema_of::<v1alpha1::BuildRunStatus>()),
            ],
            spec_required: true,
        }),
        definition(&Kind {
            name: BuildStrategy::KIND,
            plural: BuildStrategy::PLURAL,
            description: BuildStrategy::DESCRIPTION,
            scope: "Namespaced",
            short_names: &["bs", "bss"],
            columns: &[],
            schemas: of_strategy(),
            spec_required: false,
        }),
        definition(&Kind {
            name: ClusterBuildStrategy::KIND,
            plural: ClusterBuildStrategy::PLURAL,
            description: ClusterBuildStrategy::DESCRIPTION,
            scope: "Cluster",
            short_names: &["cbs", "cbss"],
            columns: &[],
            schemas: of_strategy(),
            spec_required: false,
        }),
    ]
}

/// The whole schema of a kind, with that of the metadata, which a definition must leave open.
pub fn schema(version: Version, kind: &str) -> Option<&'static JSONSchemaProps> {
    static SCHEMAS: LazyLock<BTreeMap<(String, String), JSONSchemaProps>> = LazyLock::new(schemas);
    SCHEMAS.get(&(version.name().to_owned(), kind.to_owned()))
}

/// By version and kind.
fn schemas() -> BTreeMap<(String, String), JSONSchemaProps> {
    let mut schemas = BTreeMap::new();
    for crd in crds() {
        for version in crd.spec.versions {
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
            schemas.extend(schema.map(|mut schema| {
                schema.properties.get_or_insert_default().insert("metadata".into(), metadata());
                ((version.name, crd.spec.names.kind.clone()), schema)
            }));
        }
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
    /// Spec and status, in the order of [`VERSIONS`].
    schemas: [(JSONSchemaProps, JSONSchemaProps); 2],
    spec_required: bool,
}

/// The one that is stored comes first.
const VERSIONS: [Version; 2] = [Version::V1beta1, Version::V1alpha1];

fn of_strategy() -> [(JSONSchemaProps, JSONSchemaProps); 2] {
    let status = schema_of::<StrategyStatus>;
    [(schema_of::<StrategySpec>(), status()), (schema_of::<v1alpha1::StrategySpec>(), status())]
}

fn definition(kind: &Kind) -> CustomResourceDefinition {
    let columns = kind.columns.iter().map(|(name, type_, path)| CustomResourceColumnDefinition {
        name: (*name).into(),
        type_: (*type_).into(),
        json_path: (*path).into(),
        ..CustomResourceColumnDefinition::default()
    });
    let short_names: Vec<String> = kind.short_names.iter().map(|name| (*name).into()).collect();
    let columns: Option<Vec<_>> = (!kind.columns.is_empty()).then(|| columns.collect());
    let version = |(version, schemas): (Version, &(JSONSchemaProps, JSONSchemaProps))| {
        let schema = root_schema(kind, version, schemas);
        CustomResourceDefinitionVersion {
            name: version.name().into(),
            served: true,
            storage: version == VERSIONS[0],
            schema: Some(CustomResourceValidation { open_api_v3_schema: Some(schema) }),
            subresources: Some(CustomResourceSubresources {
                status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
                scale: None,
            }),
            additional_printer_columns: columns.clone(),
            ..CustomResourceDefinitionVersion::default()
        }
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
            versions: VERSIONS.into_iter().zip(&kind.schemas).map(version).collect(),
            conversion: Some(conversion()),
            preserve_unknown_fields: None,
        },
        status: None,
    }
}

/// The controller converts, and adds the authority by which API servers know it.
fn conversion() -> CustomResourceConversion {
    CustomResourceConversion {
        strategy: "Webhook".into(),
        webhook: Some(WebhookConversion {
            client_config: Some(WebhookClientConfig {
                service: Some(ServiceReference {
                    namespace: WEBHOOK_NAMESPACE.into(),
                    name: WEBHOOK_SERVICE.into(),
                    path: Some(CONVERT_PATH.into()),
                    port: Some(443),
                }),
                ..WebhookClientConfig::default()
            }),
            conversion_review_versions: vec!["v1".into()],
        }),
    }
}

fn root_schema(
    kind: &Kind,
    version: Version,
    (spec, status): &(JSONSchemaProps, JSONSchemaProps),
) -> JSONSchemaProps {
    let constant = |text: &str| JSONSchemaProps {
        type_: Some("string".into()),
        description: Some(format!("Always `{text}`.")),
        ..JSONSchemaProps::default()
    };
    let properties = [
        ("apiVersion", constant(version.api_version())),
        ("kind", constant(kind.name)),
        ("metadata", any_object()),
        ("spec", spec.clone()),
        ("status", status.clone()),
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
mod tests;
