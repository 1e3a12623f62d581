//! What else a run names, beside Build and strategy: what has to be fetched before it can be judged.
//!
//! Invariant: names only, with the run's values in their places; the fetching belongs to whoever can fetch.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{EnvVar, Volume};

use super::effective::Effective;
use super::loaded::Roots;
use super::substitution::Substitution;

/// Names of the objects to fetch, all in the run's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Secrets with credentials and Secrets that are mounted.
    pub secrets: BTreeSet<String>,
    /// ConfigMaps that are mounted.
    pub config_maps: BTreeSet<String>,
    /// Secrets of which a key becomes an environment variable. The kubelet fetches them; a run is not refused for one.
    pub secret_keys: BTreeSet<String>,
    /// ConfigMaps of which a key becomes an environment variable. The kubelet fetches them; a run is not refused for one.
    pub config_map_keys: BTreeSet<String>,
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
    let mut found = References {
        service_accounts: match roots.buildrun.spec.service_account.as_deref() {
            Some(GENERATED_ACCOUNT) => Vec::new(),
            Some(name) => vec![name.to_owned()],
            None => DEFAULT_ACCOUNTS.map(String::from).into(),
        },
        ..References::default()
    };
    let Some(effective) = Effective::of(roots) else { return found };
    found.secrets.extend(effective.secrets().map(String::from));
    let resolved = Substitution::of(&effective).0.resolve(&effective).unwrap_or_default();
    for volume in &resolved.volumes {
        for object in mounted(volume) {
            match object {
                Mounted::Secret(name) => found.secrets.insert(name.to_owned()),
                Mounted::ConfigMap(name) => found.config_maps.insert(name.to_owned()),
            };
        }
    }
    for step in &resolved.steps {
        if step.command.is_empty() {
            found.images.extend(step.image.clone());
        }
        for variable in &step.env {
            keys(variable, &mut found);
        }
    }
    found
}

fn keys(variable: &EnvVar, found: &mut References) {
    let Some(source) = &variable.value_from else { return };
    let is_due = |optional: Option<bool>| optional != Some(true);
    let secret = source.secret_key_ref.iter().filter(|key| is_due(key.optional));
    found.secret_keys.extend(secret.map(|key| key.name.clone()));
    let config_map = source.config_map_key_ref.iter().filter(|key| is_due(key.optional));
    found.config_map_keys.extend(config_map.map(|key| key.name.clone()));
}

/// An object without which no container that mounts it can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounted<'a> {
    /// Name of a Secret.
    Secret(&'a str),
    /// Name of a ConfigMap.
    ConfigMap(&'a str),
}

/// The objects that a volume is made of, in its order; optional ones may be missing.
pub fn mounted(volume: &Volume) -> Vec<Mounted<'_>> {
    let due = |optional: Option<bool>| optional != Some(true);
    let secret = volume.secret.iter().filter(|source| due(source.optional));
    let secret =
        secret.map(|source| Mounted::Secret(source.secret_name.as_deref().unwrap_or_default()));
    let config_map = volume.config_map.iter().filter(|source| due(source.optional));
    let config_map = config_map.map(|source| Mounted::ConfigMap(&source.name));
    let mut found: Vec<_> = secret.chain(config_map).collect();
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        let config_map = source.config_map.iter().filter(|source| due(source.optional));
        found.extend(config_map.map(|source| Mounted::ConfigMap(&source.name)));
        let secret = source.secret.iter().filter(|source| due(source.optional));
        found.extend(secret.map(|source| Mounted::Secret(&source.name)));
    }
    found
}
