//! Build: what to build, how, and into which image.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements, Toleration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::kind;
use super::{BuildVolume, GoDuration, Image, ParamValue};

kind! {
    /// What to build, how, and into which image. A BuildRun runs it.
    Build, "builds", NamespaceResourceScope, BuildSpec, BuildStatus
}

/// What to build, how, and into which image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildSpec {
    /// Environment variables for every step of the strategy. A step must not define one of the same name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Labels that a node must have to run the build.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// The image to make.
    pub output: Image,
    /// Values for the strategy's parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub param_values: Vec<ParamValue>,
    /// How many finished BuildRuns to keep, and how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// RuntimeClass of the build's pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Scheduler of the build's pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Where the source comes from. Without it nothing is fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The strategy that builds the image.
    pub strategy: StrategyRef,
    /// How long a BuildRun may take, such as `30m`. `0s` means without limit. Default: `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Taints of nodes that the build's pod tolerates. `operator` must be given; the effect can only be `NoSchedule`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Events that start a BuildRun. A separate program acts on them; not allowed inside a BuildRun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Volume sources to put in place of the strategy's overridable volumes, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<BuildVolume>,
}

/// Where the source comes from. `type` says which of the other fields counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Source {
    /// Directory inside the source that holds what to build. Default: its root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_dir: Option<String>,
    /// A Git repository, for type `Git`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSource>,
    /// A directory that the user uploads, for type `Local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalSource>,
    /// An image that holds the source, for type `OCI`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci_artifact: Option<OciArtifact>,
    /// `Git`, `OCI` or `Local`.
    #[serde(rename = "type")]
    pub type_: String,
}

/// A Git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct GitSource {
    /// Name of a Secret of type `kubernetes.io/basic-auth` or `kubernetes.io/ssh-auth` in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clone_secret: Option<String>,
    /// How many commits to fetch; 0 fetches the whole history. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<i64>,
    /// Branch, tag or commit id. Default: the repository's default branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// URL of the repository, http, https or ssh.
    pub url: String,
}

/// An image that holds the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct OciArtifact {
    /// Reference of the image.
    pub image: String,
    /// `AfterPull` deletes the image from the registry once it was pulled; `Never` keeps it. Default: `Never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<String>,
    /// Name of a Secret with the registry's credentials, in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<String>,
}

/// A directory that the user uploads while the BuildRun waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalSource {
    /// Name of the source; only for the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long to wait for the upload, such as `5m`. Default: `60s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<GoDuration>,
}

/// The strategy that builds the image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct StrategyRef {
    /// `BuildStrategy` (of the same namespace) or `ClusterBuildStrategy`. Default: `BuildStrategy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the strategy.
    pub name: String,
    /// Resources to put in place of those of the strategy's steps, by step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub step_resources: Vec<StepResources>,
}

/// Resources for one step of the strategy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct StepResources {
    /// Name of the strategy's step.
    pub name: String,
    /// What the step gets instead of everything the strategy says about its resources.
    pub resources: ResourceRequirements,
}

/// How many finished BuildRuns of this Build to keep, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Retention {
    /// Whether the BuildRuns are deleted with the Build. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_build_deletion: Option<bool>,
    /// How many failed BuildRuns to keep, 1 to 10000. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub failed_limit: Option<u64>,
    /// How many succeeded BuildRuns to keep, 1 to 10000. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub succeeded_limit: Option<u64>,
    /// How long to keep a failed BuildRun, such as `24h`. Default: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_after_failed: Option<GoDuration>,
    /// How long to keep a succeeded BuildRun, such as `24h`. Default: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_after_succeeded: Option<GoDuration>,
}

/// Events that start a BuildRun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Trigger {
    /// Name of a Secret with which the sender of the event is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger_secret: Option<String>,
    /// The events; each of them starts a BuildRun.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<TriggerWhen>,
}

/// One event. `type` says which of the other fields counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TriggerWhen {
    /// GitHub webhooks, for type `GitHub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github: Option<WhenGitHub>,
    /// New images, for type `Image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<WhenImage>,
    /// Name of the event, for messages.
    pub name: String,
    /// Another object reaching a state, for type `Pipeline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<WhenObjectRef>,
    /// `GitHub`, `Image` or `Pipeline`.
    #[serde(rename = "type")]
    pub type_: String,
}

/// GitHub webhooks that start a BuildRun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WhenGitHub {
    /// Branches to which the events are limited.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// `Push` and `PullRequest`, at least one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub events: Vec<String>,
}

/// Images whose new versions start a BuildRun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WhenImage {
    /// References of the images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// Objects that start a BuildRun by reaching a state; exactly one of `name` and `selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WhenObjectRef {
    /// Name of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels of the objects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// States that count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
}

/// Whether the Build can be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildStatus {
    /// What is wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What is wrong, in one word; `Succeeded` if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `True` if BuildRuns of it can start, else `False`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered: Option<String>,
}
