//! Build: what to build, how, and into which image.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, LocalObjectReference, Volume};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{GoDuration, ParamValue, TriggerWhen};

/// What to build, how, and into which image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildSpec {
    /// Image for the strategy's parameter `builder-image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<Image>,
    /// Path for the strategy's parameter `dockerfile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// Environment variables for every step of the strategy. A step must not define one of the same name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// The image to make.
    pub output: Image,
    /// Values for the strategy's parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub param_values: Vec<ParamValue>,
    /// How many finished BuildRuns to keep, and how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Where the source comes from. Empty, nothing is fetched.
    pub source: Source,
    /// Further sources. The first one of type `LocalCopy` counts instead of `source`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<BuildSource>,
    /// The strategy that builds the image.
    pub strategy: StrategyRef,
    /// How long a BuildRun may take, such as `30m`. `0s` means without limit. Default: `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Events that start a BuildRun. A separate program acts on them; not allowed inside a BuildRun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Volume sources to put in place of the strategy's overridable volumes, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<BuildVolume>,
}

/// Where the source comes from: `bundleContainer`, else `url`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Source {
    /// An image that holds the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_container: Option<Bundle>,
    /// Directory inside the source that holds what to build. Default: its root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_dir: Option<String>,
    /// Secret with the credentials of the Git repository or of the image's registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<LocalObjectReference>,
    /// Branch, tag or commit id. Default: the repository's default branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// URL of a Git repository, http, https or ssh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// An image that holds the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Bundle {
    /// Reference of the image.
    pub image: String,
    /// `AfterPull` deletes the image from the registry once it was pulled; `Never` keeps it. Default: `Never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<String>,
}

/// A further source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildSource {
    /// Name of the source.
    pub name: String,
    /// How long to wait for the upload, such as `5m`, for type `LocalCopy`. Default: `60s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// `LocalCopy` is a directory that the user uploads. `HTTP` is not fetched.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// URL of a file, for type `HTTP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// An image, and how to reach it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Image {
    /// Annotations to add to the image, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Secret with the registry's credentials, in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<LocalObjectReference>,
    /// Reference of the image, such as `registry.example.com/team/app:latest`.
    pub image: String,
    /// Whether the registry may be spoken to without TLS or with a certificate nobody vouches for. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Labels to add to the image, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Creation time to write into the image: `Zero` (1970), `SourceTimestamp` (of the commit or artifact),
    /// `BuildTimestamp` (of the BuildRun), or seconds since 1970. Default: what the strategy's tool writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

/// The strategy that builds the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct StrategyRef {
    /// Group and version of the strategy; not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// `BuildStrategy` (of the same namespace) or `ClusterBuildStrategy`. Default: `BuildStrategy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the strategy.
    pub name: String,
}

/// How many finished BuildRuns of this Build to keep, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Retention {
    /// How many failed BuildRuns to keep, at least 1. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub failed_limit: Option<u64>,
    /// How many succeeded BuildRuns to keep, at least 1. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub succeeded_limit: Option<u64>,
    /// How long to keep a failed BuildRun, such as `24h`. Default: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_after_failed: Option<GoDuration>,
    /// How long to keep a succeeded BuildRun, such as `24h`. Default: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_after_succeeded: Option<GoDuration>,
}

/// Events that start a BuildRun.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Trigger {
    /// Secret with which the sender of the event is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,
    /// The events; each of them starts a BuildRun.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<TriggerWhen>,
}

/// A name and one of Kubernetes' volume sources beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildVolume {
    /// What the volume is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name and source.
    #[serde(flatten)]
    #[schemars(schema_with = "crate::api::crd::flattened_volume")]
    pub volume: Volume,
}
