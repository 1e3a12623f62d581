//! What a Build or BuildRun may say of its strategy's steps and volumes.

use std::collections::{BTreeMap, BTreeSet};

use super::problems::Site;
use crate::api::{
    BuildStrategy, BuildVolume, ClusterBuildStrategy, StepResources, Strategy, StrategyRef,
    StrategySpec, reasons,
};
use crate::plan::go_quote::go_quote;
use crate::plan::loaded::{DEFAULT_NAMESPACE, Presence};
use crate::plan::refusal::Refusal;

/// The strategy must be there, for the Build's own status.
pub fn registered(
    site: &Site,
    reference: &StrategyRef,
    strategy: Option<&Presence<Strategy>>,
) -> Option<Refusal> {
    let absent = strategy.is_none_or(Presence::is_absent);
    let name = &reference.name;
    match reference.kind.as_deref() {
        None | Some(BuildStrategy::KIND) if absent => {
            let namespace = site.at.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
            let message = format!("buildStrategy {name} does not exist in namespace {namespace}");
            Some(site.refuse("strategy.name", reasons::BUILD_STRATEGY_NOT_FOUND, message))
        }
        Some(ClusterBuildStrategy::KIND) if absent => {
            let message = format!("clusterBuildStrategy {name} does not exist");
            Some(site.refuse("strategy.name", reasons::CLUSTER_BUILD_STRATEGY_NOT_FOUND, message))
        }
        None | Some(BuildStrategy::KIND | ClusterBuildStrategy::KIND) => None,
        Some(kind) => {
            let message = format!(
                "unknown strategy kind {kind} used, must be one of BuildStrategy, or ClusterBuildStrategy"
            );
            Some(site.refuse("strategy.kind", reasons::UNKNOWN_BUILD_STRATEGY_KIND, message))
        }
    }
}

/// Volumes must be declared by the strategy, as overridable.
pub fn volumes(site: &Site, strategy: &StrategySpec, volumes: &[BuildVolume]) -> Vec<Refusal> {
    // The first of a name counts.
    let declared =
        strategy.volumes.iter().rev().map(|volume| (volume.volume.name.as_str(), volume));
    let declared: BTreeMap<_, _> = declared.collect();
    let mut found = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let name = &volume.name;
        let (reason, message) = match declared.get(name.as_str()) {
            None => (
                reasons::UNDEFINED_VOLUME,
                format!("Volume {} is not defined in the Strategy", go_quote(name)),
            ),
            Some(declared) if declared.overridable != Some(true) => (
                reasons::VOLUME_NOT_OVERRIDABLE,
                format!("Volume {} is not overridable in the Strategy", go_quote(name)),
            ),
            Some(_) => continue,
        };
        found.push(site.refuse(&format!("volumes[{index}].name"), reason, message));
    }
    found
}

/// Resources must be for a step that there is. `field` is where the list stands.
pub fn step_resources(
    site: &Site,
    field: &str,
    strategy: &StrategySpec,
    resources: &[StepResources],
) -> Vec<Refusal> {
    let steps: BTreeSet<_> = strategy.steps.iter().map(|step| step.name.as_str()).collect();
    let refuse = |(index, resources): (usize, &StepResources)| {
        let message = format!(
            "stepResources references step {} which does not exist in the build strategy",
            go_quote(&resources.name)
        );
        site.refuse(&format!("{field}[{index}].name"), reasons::UNDEFINED_STEP_RESOURCE, message)
    };
    resources
        .iter()
        .enumerate()
        .filter(|(_, resources)| !steps.contains(resources.name.as_str()))
        .map(refuse)
        .collect()
}
