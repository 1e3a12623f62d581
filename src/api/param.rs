//! Parameters of strategies, and the values that Builds and BuildRuns give them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A parameter that a strategy declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Parameter {
    /// Value of a `string` parameter that is given none. Without it a value is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Values of an `array` parameter that is given none; may be empty. Without it values are required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Vec<String>>,
    /// What the parameter does, for the people who set it.
    pub description: String,
    /// Name by which steps use it, as `$(params.<name>)`: letters, digits, `_`, `-` and `.`, not starting with a
    /// digit, `-` or `.`.
    pub name: String,
    /// `string` or `array`. Default: `string`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
}

/// A value for a parameter of the strategy: exactly one of `value`, `configMapValue` and `secretValue` for a `string`
/// parameter, `values` for an `array` parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ParamValue {
    /// Take the value from a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_value: Option<ObjectKeyRef>,
    /// Name of the parameter.
    pub name: String,
    /// Take the value from a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_value: Option<ObjectKeyRef>,
    /// The value itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The items of an `array` parameter; may be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<SingleValue>>,
}

/// One item of an `array` parameter: exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SingleValue {
    /// Take the item from a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_value: Option<ObjectKeyRef>,
    /// Take the item from a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_value: Option<ObjectKeyRef>,
    /// The item itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A key of a ConfigMap or Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectKeyRef {
    /// Text around the value: every `${CONFIGMAP_VALUE}` or `${SECRET_VALUE}` in it stands for the key's content.
    /// Default: the content alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Key inside the object.
    pub key: String,
    /// Name of the object.
    pub name: String,
}
