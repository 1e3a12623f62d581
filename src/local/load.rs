//! From the files' objects to one loaded run.
//!
//! Invariant: what the files do not hold is assumed to be there and listed, except Builds and strategies: without them there is
//! nothing to run.

use std::collections::BTreeMap;

use super::files::{DEFAULT_NAMESPACE, Files, Note};
use crate::api::{Build, BuildRun, BuildRunSpec, ReferencedBuild, StrategyRef};
use crate::plan::{Loaded, Presence, Roots, references};

/// A run with everything that it depends on.
#[derive(Debug)]
pub struct Chosen {
    /// What to judge.
    pub loaded: Loaded,
    /// What was taken to be there.
    pub assumptions: Vec<Note>,
}

/// Why no run can be chosen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChooseError {
    /// There is nothing to run.
    #[error("the files hold neither a BuildRun nor a Build; add one")]
    Nothing,
    /// There is more than one and no word which.
    #[error("the files hold several {kind}s: {}; say which with --buildrun NAME{hint}", names.join(", "))]
    Several {
        /// `BuildRun` or `Build`.
        kind: &'static str,
        /// Their names.
        names: Vec<String>,
        /// What else to do.
        hint: &'static str,
    },
    /// The named one is not there.
    #[error("the files hold no BuildRun {name:?}; they hold: {}", held.join(", "))]
    Unknown {
        /// The asked name.
        name: String,
        /// What there is.
        held: Vec<String>,
    },
}

/// Longest part of a Build's name in the name of its implied run.
const IMPLIED_NAME: usize = 57;

/// The run that the user named, the only one, or the implied run of the only Build.
pub fn choose(files: &Files, name: Option<&str>) -> Result<Chosen, ChooseError> {
    let names = || files.buildruns.keys().map(|(_, name)| name.clone()).collect::<Vec<_>>();
    let mut matching = files
        .buildruns
        .values()
        .filter(|run| name.is_none() || run.metadata.name.as_deref() == name);
    let buildrun = match (matching.next(), matching.next(), name) {
        (Some(run), None, _) => run.clone(),
        (Some(_), Some(_), _) => {
            return Err(ChooseError::Several { kind: BuildRun::KIND, names: names(), hint: "" });
        }
        (None, _, Some(name)) => {
            return Err(ChooseError::Unknown { name: name.into(), held: names() });
        }
        (None, _, None) => implied(files)?,
    };
    Ok(load(files, buildrun))
}

/// A Build alone is run as it is.
fn implied(files: &Files) -> Result<BuildRun, ChooseError> {
    let mut builds = files.builds.values();
    let Some(build) = builds.next() else { return Err(ChooseError::Nothing) };
    if builds.next().is_some() {
        let names = files.builds.keys().map(|(_, name)| name.clone()).collect();
        let hint = ", and add a BuildRun for it";
        return Err(ChooseError::Several { kind: Build::KIND, names, hint });
    }
    let name = build.metadata.name.clone().unwrap_or_default();
    let mut run = BuildRun {
        spec: BuildRunSpec {
            build: ReferencedBuild { name: Some(name.clone()), spec: None },
            ..BuildRunSpec::default()
        },
        ..BuildRun::default()
    };
    let prefix: String = name.chars().take(IMPLIED_NAME).collect();
    run.metadata.name = Some(format!("{prefix}-local"));
    run.metadata.namespace.clone_from(&build.metadata.namespace);
    Ok(run)
}

fn load(files: &Files, buildrun: BuildRun) -> Chosen {
    let namespace = buildrun.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.into());
    let key = |name: &str| (namespace.clone(), name.to_owned());
    let presence = |found: Option<Build>| found.map_or(Presence::Absent, Presence::Found);
    let build = buildrun
        .spec
        .build
        .name
        .as_ref()
        .map(|name| presence(files.builds.get(&key(name)).cloned()));
    let strategy_of = |reference: &StrategyRef| {
        let key = match reference.kind.as_deref() {
            Some("ClusterBuildStrategy") => (String::new(), reference.name.clone()),
            _ => key(&reference.name),
        };
        files.strategies.get(&key).cloned().map_or(Presence::Absent, Presence::Found)
    };
    let spec = buildrun
        .spec
        .build
        .spec
        .as_ref()
        .or(build.as_ref().and_then(|build| build.found()).map(|build| &build.spec));
    let strategy = spec.map(|spec| strategy_of(&spec.strategy));
    let roots = Roots { buildrun, build, strategy };

    let named = references(&roots);
    let mut assumptions = Vec::new();
    let mut assume = |kind: &str, name: &str| {
        assumptions.push(Note(format!("{kind} {namespace}/{name} is assumed to exist")));
    };
    let mut service_accounts = BTreeMap::new();
    let asked = roots.buildrun.spec.service_account.is_some();
    for name in &named.service_accounts {
        let account = files.service_accounts.get(&key(name)).cloned();
        let is_last = Some(name) == named.service_accounts.last();
        let earlier_found =
            service_accounts.values().any(|account| matches!(account, Presence::Found(_)));
        let presence = match account {
            Some(account) => Presence::Found(account),
            None if asked || (is_last && !earlier_found) => {
                assume("ServiceAccount", name);
                Presence::Assumed
            }
            None => Presence::Absent,
        };
        service_accounts.insert(name.clone(), presence);
    }
    let mut secret_names = named.secrets;
    for account in service_accounts.values().filter_map(Presence::found) {
        secret_names
            .extend(account.secrets.iter().flatten().filter_map(|secret| secret.name.clone()));
    }
    let mut secrets = BTreeMap::new();
    for name in secret_names {
        let facts = files.secrets.get(&key(&name)).cloned().map_or_else(
            || {
                assume("Secret", &name);
                Presence::Assumed
            },
            Presence::Found,
        );
        secrets.insert(name, facts);
    }
    let mut config_maps = BTreeMap::new();
    for name in named.config_maps {
        let there = if files.config_maps.contains(&key(&name)) {
            Presence::Found(())
        } else {
            assume("ConfigMap", &name);
            Presence::Assumed
        };
        config_maps.insert(name, there);
    }
    let image_commands = named.images.into_iter().map(|image| (image, Presence::Assumed)).collect();
    let facts = files.namespaces.get(&namespace).cloned().unwrap_or_default();
    Chosen {
        loaded: Loaded {
            roots,
            secrets,
            config_maps,
            service_accounts,
            image_commands,
            namespace: facts,
        },
        assumptions,
    }
}
