//! BuildStrategy and ClusterBuildStrategy: how images are made.

use k8s_openapi::api::core::v1::Container;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Parameter, StrategySecurityContext, StrategyVolume};

/// The steps that build an image, and what they may be given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct StrategySpec {
    /// Containers that run one after another and build the image. Of their fields those count that v1beta1's steps have.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub build_steps: Vec<Container>,
    /// Parameters that Builds and BuildRuns may set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// User and group of the steps around the strategy's own, and the default for those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<StrategySecurityContext>,
    /// Volumes that the steps may mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<StrategyVolume>,
}
