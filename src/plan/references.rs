//! What else a run names, beside Build and strategy: what has to be fetched before it can be judged.
//!
//! Invariant: names only; the fetching belongs to whoever can fetch.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Volume;

use super::effective::Effective;
use super::loaded::Roots;

/// Names of the objects to fetch, all in the run's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Secrets with credentials and Secrets that are mounted.
    pub secrets: BTreeSet<String>,
    /// ConfigMaps that are mounted.
    pub config_maps: BTreeSet<String>,
    /// Service accounts in the order in which they are tried.
    pub service_accounts: Vec<String>,
    /// Images of steps that say no command.
    pub images: BTreeSet<String>,
}

/// The service account that stands for "make one for this run".
pub const GENERATED_ACCOUNT: &str = ".generate";
/// The accounts that are tried, in order, where the run names none.
pub const DEFAULT_ACCOUNTS: [&str; 2] = ["pipeline", "default"];

/// What the roots name.
pub fn references(roots: &Roots) -> References {
    let mut found = References::default();
    found.service_accounts = match roots.buildrun.spec.service_account.as_deref() {
        Some(GENERATED_ACCOUNT) => Vec::new(),
        Some(name) => vec![name.to_owned()],
        None => DEFAULT_ACCOUNTS.map(String::from).into(),
    };
    let Some(effective) = Effective::of(roots) else { return found };
    found.secrets.extend(effective.secrets().map(String::from));
    for volume in effective.volumes() {
        mounted(&volume, &mut found);
    }
    found.images.extend(
        effective
            .steps()
            .iter()
            .filter(|step| step.command.is_empty())
            .filter_map(|step| step.image.clone()),
    );
    found
}

fn mounted(volume: &Volume, found: &mut References) {
    found.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
    found.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        found.secrets.extend(source.secret.iter().map(|source| source.name.clone()));
        found.config_maps.extend(source.config_map.iter().map(|source| source.name.clone()));
    }
}
