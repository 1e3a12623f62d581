//! BuildRun: one run of a Build.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::{FALSE, SUCCEEDED, TRUE};
use super::kind::kind;
use super::{
    BuildSpec, BuildVolume, Condition, GoDuration, Image, LocalSource, ParamValue, StepResources,
};

kind! {
    /// One run of a Build.
    BuildRun, "buildruns", NamespaceResourceScope, BuildRunSpec, BuildRunStatus
}

impl BuildRunSpec {
    /// The only `state` that has an effect.
    pub const CANCELED: &'static str = "BuildRunCanceled";
    /// The `serviceAccount` that stands for one made for this run alone.
    pub const GENERATE_SERVICE_ACCOUNT: &'static str = ".generate";

    /// Whether somebody asked for the end of the run.
    pub fn is_canceled(&self) -> bool {
        self.state.as_deref() == Some(Self::CANCELED)
    }
}

impl BuildRun {
    /// The run's one condition, once it has one.
    pub fn succeeded(&self) -> Option<&Condition> {
        self.status.as_ref()?.succeeded()
    }

    /// Whether the run is over, either way.
    pub fn is_done(&self) -> bool {
        self.status.as_ref().is_some_and(BuildRunStatus::is_done)
    }
}

impl BuildRunStatus {
    /// Whether the run is over, either way.
    pub fn is_done(&self) -> bool {
        self.succeeded().is_some_and(|condition| [TRUE, FALSE].contains(&&*condition.status))
    }

    /// Whether the run is over, and not well.
    pub fn has_failed(&self) -> bool {
        self.succeeded().is_some_and(|condition| condition.status == FALSE)
    }

    /// The one condition, once there is one.
    pub fn succeeded(&self) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == SUCCEEDED)
    }

    /// Whether the run is over, and well.
    pub fn has_succeeded(&self) -> bool {
        self.succeeded().is_some_and(|condition| condition.status == TRUE)
    }
}

/// Which Build to run, and what to do differently this time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildRunSpec {
    /// The Build: either by name or written out here.
    pub build: ReferencedBuild,
    /// Environment variables; they replace those of the Build that have the same name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Labels that a node must have to run the build, added to those of the Build.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Another image to make. Its `image` is always used; of the rest, what is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Image>,
    /// Values for the strategy's parameters; they replace those of the Build that have the same name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub param_values: Vec<ParamValue>,
    /// How long to keep this BuildRun once it is finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<BuildRunRetention>,
    /// RuntimeClass of the pod, instead of the Build's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Scheduler of the pod, instead of the Build's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Name of the ServiceAccount to run as, or `.generate` for one of its own. Default: `pipeline` if the namespace
    /// has it, else `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// A directory that the user uploads, instead of the Build's source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<BuildRunSource>,
    /// `BuildRunCanceled` ends the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Resources to put in place of those of the strategy's steps and of the Build's, by step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub step_resources: Vec<StepResources>,
    /// How long the run may take, such as `30m`, instead of the Build's. `0s` means without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Taints of nodes that the pod tolerates; they replace those of the Build that have the same key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Volume sources to put in place of the strategy's overridable volumes and the Build's, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<BuildVolume>,
}

/// The Build to run: exactly one of `name` and `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ReferencedBuild {
    /// Name of a Build in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A Build that exists for this run alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<BuildSpec>,
}

/// A source for this run alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildRunSource {
    /// A directory that the user uploads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalSource>,
    /// `Local` is the only type.
    #[serde(rename = "type")]
    pub type_: String,
}

/// How long to keep this BuildRun once it is finished.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildRunRetention {
    /// How long to keep it if it failed, such as `24h`. Default: what the Build says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_after_failed: Option<GoDuration>,
    /// How long to keep it if it succeeded, such as `24h`. Default: what the Build says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_after_succeeded: Option<GoDuration>,
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
    /// Object that ran the build, where something else than a plain pod did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor: Option<Executor>,
    /// Why the run failed and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_details: Option<FailureDetails>,
    /// What came out of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputStatus>,
    /// What went into the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceStatus>,
    /// When the pod started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// Deprecated: name of the TaskRun, where one ran the build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_run_name: Option<String>,
}

/// Object that ran the build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Executor {
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
}

/// What went into the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SourceStatus {
    /// The commit, for a Git source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSourceStatus>,
    /// The image, for an OCI source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci_artifact: Option<OciArtifactStatus>,
    /// Time of the commit, or of the newest part of the artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Time>,
}

/// The commit that was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct GitSourceStatus {
    /// Branch, where the Build names no revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch_name: Option<String>,
    /// Author of the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_author: Option<String>,
    /// Full id of the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_sha: Option<String>,
}

/// The image whose content was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct OciArtifactStatus {
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
    /// Vulnerabilities that were found in the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vulnerabilities: Vec<Vulnerability>,
}

/// A vulnerability that was found in the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Vulnerability {
    /// Identifier, such as `CVE-2024-1234`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// `critical`, `high`, `medium`, `low` or `unknown`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub severity: String,
}

/// Why the run failed and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FailureDetails {
    /// The container that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<FailedAt>,
    /// What the failed step reported, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the failed step reported, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The container that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FailedAt {
    /// Name of the container, `step-<step>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}
