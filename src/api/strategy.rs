//! BuildStrategy and ClusterBuildStrategy: how images are made.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EnvVar, ResourceRequirements, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Parameter;
use super::kind::kind;

kind! {
    /// A way to build images, for the Builds of its namespace.
    BuildStrategy, "buildstrategies", NamespaceResourceScope, StrategySpec, StrategyStatus
}

kind! {
    /// A way to build images, for all Builds of the cluster.
    ClusterBuildStrategy, "clusterbuildstrategies", ClusterResourceScope, StrategySpec, StrategyStatus
}

/// The steps that build an image, and what they may be given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct StrategySpec {
    /// Parameters that Builds and BuildRuns may set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// User and group of the steps around the strategy's own, and the default for those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<StrategySecurityContext>,
    /// Containers that run one after another and build the image.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<Step>,
    /// Volumes that the steps may mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<StrategyVolume>,
}

/// User and group of a build: what fetches the source and pushes the image runs as these, and so do the strategy's
/// steps unless a step says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct StrategySecurityContext {
    /// Group id.
    pub run_as_group: i64,
    /// User id.
    pub run_as_user: i64,
}

/// One container of a strategy. `command`, `args`, `env` and most other texts may hold `$(params.<name>)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Step {
    /// Arguments of the command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Program to run. Default: the image's entry point.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Environment variables. Those of Build and BuildRun come after these and must have other names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Image to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When to pull the image: `Always`, `IfNotPresent` or `Never`. Default: `Always` for the tag `latest`, else
    /// `IfNotPresent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// Name of the step, a DNS label that no other step has. Its container is called `step-<name>`.
    pub name: String,
    /// CPU, memory and other resources. Builds and BuildRuns may replace them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Rights of the container. Unset user and group come from the strategy's `securityContext`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
    /// Volumes of the strategy to mount. Mounts of ConfigMap, Secret, downward API and projected volumes must be
    /// `readOnly`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Directory to run in. Default: the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
}

/// A volume that steps of the strategy may mount: a name and one of Kubernetes' volume sources beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct StrategyVolume {
    /// What the volume is for, for the people who override it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether Builds and BuildRuns may put another volume source in its place. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridable: Option<bool>,
    /// Name and source.
    #[serde(flatten)]
    #[schemars(schema_with = "super::crd::flattened_volume")]
    pub volume: Volume,
}

/// Strategies have no status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StrategyStatus {}

/// A strategy of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// A strategy of one namespace.
    Namespaced(BuildStrategy),
    /// A strategy of the whole cluster.
    Cluster(ClusterBuildStrategy),
}

impl Strategy {
    /// `BuildStrategy` or `ClusterBuildStrategy`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Namespaced(_) => BuildStrategy::KIND,
            Self::Cluster(_) => ClusterBuildStrategy::KIND,
        }
    }

    /// The strategy's name, empty if it has none.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// The strategy's annotations, by key.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        let annotations: Option<&BTreeMap<_, _>> = self.metadata().annotations.as_ref();
        annotations.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The strategy's metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Namespaced(strategy) => &strategy.metadata,
            Self::Cluster(strategy) => &strategy.metadata,
        }
    }

    /// Steps, parameters, volumes, identity.
    pub fn spec(&self) -> &StrategySpec {
        match self {
            Self::Namespaced(strategy) => &strategy.spec,
            Self::Cluster(strategy) => &strategy.spec,
        }
    }
}
