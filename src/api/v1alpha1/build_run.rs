//! BuildRun: one run of a Build.

use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BuildSource, BuildSpec, BuildVolume, Image};
use crate::api::{
    BuildRunRetention, Condition, FailedAt, FailureDetails, GitSourceStatus, GoDuration, ParamValue,
};

/// Which Build to run, and what to do differently this time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildRunSpec {
    /// The Build to run, by name; or `buildSpec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_ref: Option<BuildRef>,
    /// A Build that exists for this run alone; or `buildRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_spec: Option<BuildSpec>,
    /// Environment variables; they replace those of the Build that have the same name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Another image to make. Its `insecure` and `timestamp` are not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Image>,
    /// Values for the strategy's parameters; they replace those of the Build that have the same name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub param_values: Vec<ParamValue>,
    /// How long to keep this BuildRun once it is finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<BuildRunRetention>,
    /// The ServiceAccount to run as. Default: `pipeline` if the namespace has it, else `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// Sources for this run alone. The first one of type `LocalCopy` counts instead of the Build's source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<BuildSource>,
    /// `BuildRunCanceled` ends the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How long the run may take, such as `30m`, instead of the Build's. `0s` means without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Volume sources to put in place of the strategy's overridable volumes and the Build's, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<BuildVolume>,
}

/// The Build to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildRef {
    /// Group and version of the Build; not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Name of a Build in the same namespace.
    pub name: String,
}

/// The ServiceAccount to run as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceAccount {
    /// Whether the run gets one of its own; `name` does not count then. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<bool>,
    /// Name of the ServiceAccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What became of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildRunStatus {
    /// The Build as it was when the run started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_spec: Option<BuildSpec>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// One condition of type `Succeeded`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Deprecated: the container that failed, as in `failureDetails`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<FailedAt>,
    /// Why the run failed and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_details: Option<FailureDetails>,
    /// Name of the object that ran the build, where something else than a plain pod did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_task_run_ref: Option<String>,
    /// What came out of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputStatus>,
    /// What went into the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceStatus>,
    /// When the pod started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
}

/// What went into the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SourceStatus {
    /// The image, for a source from an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleStatus>,
    /// The commit, for a Git source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSourceStatus>,
    /// Name of the source.
    pub name: String,
    /// Time of the commit, or of the newest part of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Time>,
}

/// The image whose content was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BundleStatus {
    /// Digest of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// The image that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct OutputStatus {
    /// Digest of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Compressed size of the image in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
}
