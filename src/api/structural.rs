//! The structural schema of a type, as a CustomResourceDefinition carries it.
//!
//! Invariant: nothing is nullable and no definition is shared; the API server accepts neither references nor unions
//! (quantities and int-or-string excepted, which it knows by name).
//! Invariant: what belongs to Kubernetes' own types carries no description, so that a CRD stays small.
//!
//! `schemars` describes the types as they serialize: what is always printed is required. What Go's markers say about
//! Kubernetes' own types and k8s-openapi does not know (defaults, atomic maps) is added here by the type's name.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// What a quantity looks like.
pub(crate) const QUANTITY_PATTERN: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Kubernetes' own types that are replaced as a whole by whoever applies them.
const ATOMIC: [&str; 8] = [
    "ConfigMapKeySelector",
    "FileKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "ObjectFieldSelector",
    "ResourceFieldSelector",
    "SecretKeySelector",
    "TypedLocalObjectReference",
];

/// The default that the API server fills into a field of one of Kubernetes' own types.
///
/// k8s-openapi calls some of these fields required, because they are never absent from what the API server returns.
fn core_default(type_name: &str, field: &str) -> Option<Value> {
    Some(match (type_name, field) {
        (
            "ConfigMapKeySelector"
            | "ConfigMapProjection"
            | "ConfigMapVolumeSource"
            | "LocalObjectReference"
            | "SecretKeySelector"
            | "SecretProjection",
            "name",
        )
        | ("GRPCAction", "service") => json!(""),
        ("ContainerPort", "protocol") => json!("TCP"),
        ("AzureDiskVolumeSource", "fsType") => json!("ext4"),
        ("AzureDiskVolumeSource", "readOnly") | ("FileKeySelector", "optional") => json!(false),
        ("ISCSIVolumeSource", "iscsiInterface") => json!("default"),
        ("RBDVolumeSource", "keyring") => json!("/etc/ceph/keyring"),
        ("RBDVolumeSource", "pool") => json!("rbd"),
        ("RBDVolumeSource", "user") => json!("admin"),
        ("ScaleIOVolumeSource", "fsType") => json!("xfs"),
        ("ScaleIOVolumeSource", "storageMode") => json!("ThinProvisioned"),
        _ => return None,
    })
}

/// The structural schema of a type of ours.
pub(super) fn schema_of<T: JsonSchema>() -> JSONSchemaProps {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let root = generator.subschema_for::<T>();
    let definitions = generator.take_definitions(true);
    Definitions(&definitions).translate(root.as_value())
}

/// The structural schema of the metadata that every object has.
pub(super) fn metadata() -> JSONSchemaProps {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let _ = generator.subschema_for::<ObjectMeta>();
    let definitions = generator.take_definitions(true);
    Definitions(&definitions).literal(&definitions[&*ObjectMeta::schema_name()])
}

/// An object of which only the type is known.
pub(super) fn any_object() -> JSONSchemaProps {
    JSONSchemaProps { type_: Some("object".into()), ..JSONSchemaProps::default() }
}

/// Named schemas that others refer to.
struct Definitions<'a>(&'a Map<String, Value>);

impl Definitions<'_> {
    fn translate(&self, schema: &Value) -> JSONSchemaProps {
        let mut translated = match reference(schema) {
            Some(name) => self.named(name),
            None => self.literal(schema),
        };
        if let Some(description) = text(schema, "description") {
            translated.description = Some(flow(&description));
        }
        translated
    }

    fn named(&self, name: &str) -> JSONSchemaProps {
        let Some(core_name) = name.strip_prefix("io.k8s.") else {
            return self.translate(&self.0[name]);
        };
        match core_name.rsplit('.').next().unwrap_or_default() {
            "Quantity" => {
                JSONSchemaProps { pattern: Some(QUANTITY_PATTERN.into()), ..int_or_string() }
            }
            "IntOrString" => int_or_string(),
            "ObjectMeta" => any_object(),
            "FieldsV1" => {
                JSONSchemaProps { x_kubernetes_preserve_unknown_fields: Some(true), ..any_object() }
            }
            type_name => {
                let mut schema = self.literal(&self.0[name]);
                complete_core(type_name, &mut schema);
                without_descriptions(&mut schema);
                schema
            }
        }
    }

    fn literal(&self, schema: &Value) -> JSONSchemaProps {
        let properties = schema["properties"].as_object().map(|members| {
            members.iter().map(|(name, member)| (name.clone(), self.translate(member))).collect()
        });
        let items = schema.get("items").map(|items| self.translate(items));
        let values = schema
            .get("additionalProperties")
            .filter(|values| values.is_object())
            .map(|values| self.translate(values));
        JSONSchemaProps {
            type_: type_of(schema),
            // `uint64` is a word of schemars alone.
            format: text(schema, "format").filter(|format| format != "uint64"),
            enum_: schema["enum"].as_array().map(|words| {
                words.iter().filter(|word| !word.is_null()).cloned().map(JSON).collect()
            }),
            minimum: schema["minimum"].as_f64(),
            maximum: schema["maximum"].as_f64(),
            min_items: schema["minItems"].as_i64(),
            required: texts(schema, "required"),
            properties,
            items: items.map(|items| JSONSchemaPropsOrArray::Schema(Box::new(items))),
            additional_properties: values
                .map(|values| JSONSchemaPropsOrBool::Schema(Box::new(values))),
            x_kubernetes_list_type: text(schema, "x-kubernetes-list-type"),
            x_kubernetes_list_map_keys: texts(schema, "x-kubernetes-list-map-keys"),
            ..JSONSchemaProps::default()
        }
    }
}

/// The name of the definition that stands in this place, be it optional or not.
fn reference(schema: &Value) -> Option<&str> {
    let target = match schema["anyOf"].as_array() {
        Some(choices) => choices.iter().find_map(|choice| choice["$ref"].as_str()),
        None => schema["$ref"].as_str(),
    };
    target?.strip_prefix("#/$defs/")
}

/// The type; `null` beside it only says that the field is optional.
fn type_of(schema: &Value) -> Option<String> {
    match &schema["type"] {
        Value::String(name) => Some(name.clone()),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").map(str::to_owned)
        }
        _ => None,
    }
}

fn text(schema: &Value, key: &str) -> Option<String> {
    schema[key].as_str().map(str::to_owned)
}

fn texts(schema: &Value, key: &str) -> Option<Vec<String>> {
    let items = schema[key].as_array()?;
    Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// A comment without its line ends; paragraphs stay.
fn flow(comment: &str) -> String {
    let paragraphs: Vec<_> =
        comment.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
    paragraphs.join("\n\n")
}

fn int_or_string() -> JSONSchemaProps {
    let only = |name: &str| JSONSchemaProps { type_: Some(name.into()), ..Default::default() };
    JSONSchemaProps {
        any_of: Some(vec![only("integer"), only("string")]),
        x_kubernetes_int_or_string: Some(true),
        ..JSONSchemaProps::default()
    }
}

fn complete_core(type_name: &str, schema: &mut JSONSchemaProps) {
    if ATOMIC.contains(&type_name) {
        schema.x_kubernetes_map_type = Some("atomic".into());
    }
    for (field, member) in schema.properties.iter_mut().flatten() {
        if let Some(default) = core_default(type_name, field) {
            member.default = Some(JSON(default));
            if let Some(required) = &mut schema.required {
                required.retain(|name| name != field);
            }
        }
        let keys: &[&str] = match (type_name, field.as_str()) {
            ("ResourceRequirements", "claims") | ("Container", "env") => &["name"],
            ("Container", "ports") => &["containerPort", "protocol"],
            ("Container", "volumeDevices") => &["devicePath"],
            ("Container", "volumeMounts") => &["mountPath"],
            ("ContainerRestartRuleOnExitCodes", "values") => {
                member.x_kubernetes_list_type = Some("set".into());
                continue;
            }
            _ => continue,
        };
        member.x_kubernetes_list_type = Some("map".into());
        member.x_kubernetes_list_map_keys = Some(keys.iter().map(|key| (*key).into()).collect());
    }
    schema.required = schema.required.take().filter(|required| !required.is_empty());
}

fn without_descriptions(schema: &mut JSONSchemaProps) {
    schema.description = None;
    let members: Option<&mut BTreeMap<_, _>> = schema.properties.as_mut();
    members.into_iter().flat_map(BTreeMap::values_mut).for_each(without_descriptions);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        without_descriptions(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        without_descriptions(values);
    }
}
