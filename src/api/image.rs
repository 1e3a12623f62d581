//! The image that a build makes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Which image to make, and what to do with it before and while it is pushed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Image {
    /// Annotations to add to the image, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Reference to push to, such as `registry.example.com/team/app:latest`.
    pub image: String,
    /// Whether the registry may be spoken to without TLS or with a certificate nobody vouches for. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Labels to add to the image, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Operating systems and architectures to build for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["os", "arch"]))]
    pub platforms: Vec<Platform>,
    /// Name of a Secret with the registry's credentials, in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_secret: Option<String>,
    /// Creation time to write into the image: `Zero` (1970), `SourceTimestamp` (of the commit or artifact),
    /// `BuildTimestamp` (of the BuildRun), or seconds since 1970. Default: what the strategy's tool writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Search the image for known vulnerabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vulnerability_scan: Option<VulnerabilityScan>,
}

/// One operating system and architecture, as the nodes' labels name them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Platform {
    /// Architecture, as in the node label `kubernetes.io/arch`, such as `amd64`.
    pub arch: String,
    /// Operating system, as in the node label `kubernetes.io/os`, such as `linux`.
    pub os: String,
}

/// Whether and how to search the image for known vulnerabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct VulnerabilityScan {
    /// Whether to search at all. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether a finding fails the BuildRun before the image is pushed. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_on_finding: Option<bool>,
    /// Findings to pass over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore: Option<VulnerabilityIgnore>,
}

/// Findings to pass over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct VulnerabilityIgnore {
    /// Identifiers to pass over, such as `CVE-2024-1234`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub id: Vec<String>,
    /// Pass over this severity and everything below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Pass over what has no fix yet. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfixed: Option<bool>,
}

/// How bad a vulnerability is, for passing over it and everything below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// `low`, and `unknown` with it.
    Low,
    /// `medium` and below.
    Medium,
    /// `high` and below.
    High,
}

impl Severity {
    /// The word as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl JsonSchema for Severity {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Severity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": ["low", "medium", "high"]})
    }
}
