//! From the files' objects to one loaded run.
//!
//! Invariant: Builds and strategies that the files do not hold are absent: without them there is nothing to run. What else they do
//! not hold is assumed to be there and listed, or absent where nobody could fetch it later; service accounts are always assumed. Where a
//! cluster was asked, only what it did not tell of is assumed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::files::{Files, Key, Note, Wanted, is_of_cluster};
use crate::api::{
    Build, BuildRun, BuildRunSpec, BuildStrategy, ClusterBuildStrategy, ReferencedBuild,
    StrategyRef,
};
use crate::plan::{
    DEFAULT_NAMESPACE, GENERATED_ACCOUNT, ImageCommand, Loaded, Presence, Roots, dns_subdomain,
    go_quote, references,
};

/// A run with everything that it depends on.
#[derive(Debug)]
pub struct Chosen {
    /// What to judge.
    pub loaded: Loaded,
    /// What was taken to be there.
    pub assumptions: Vec<Note>,
}

/// What becomes of Secrets and ConfigMaps that nobody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// They will be there when the run is: it is judged as it would be on a cluster.
    Assumed,
    /// They will not be there: the run happens here.
    Absent,
}

/// What is known of the programs that images run of themselves, for steps that say no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commands<'a> {
    /// Nobody looks at images: each is taken to have a program, for whoever does not start the pod.
    Assumed,
    /// Of these images, and of no others.
    Known(&'a BTreeMap<String, ImageCommand>),
}

/// Why no run can be chosen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChooseError {
    /// There is nothing to run.
    #[error("the files hold neither a BuildRun nor a Build; add one")]
    Nothing,
    /// There is more than one and no word which.
    #[error("the files hold several {kind}s: {}{hint}", names.join(", "))]
    Several {
        /// `BuildRun` or `Build`.
        kind: &'static str,
        /// Their names.
        names: Vec<String>,
        /// What else to do.
        hint: &'static str,
    },
    /// The named one is not there, and no other.
    #[error(
        "the files hold no BuildRun {}; they hold none at all, add its file with -f",
        go_quote(name)
    )]
    NoRun {
        /// The asked name.
        name: String,
    },
    /// The named one is not there.
    #[error("the files hold no BuildRun {}; they hold {}", go_quote(name), held.join(", "))]
    Unknown {
        /// The asked name.
        name: String,
        /// What there is.
        held: Vec<String>,
    },
}

/// Longest part of a Build's name in the name of its implied run.
const IMPLIED_NAME: usize = 57;

/// The run that the user named, with everything that it depends on, for whoever only looks at it.
pub fn choose(
    files: &Files,
    name: Option<&str>,
    now: Timestamp,
    commands: Commands<'_>,
) -> Result<Chosen, ChooseError> {
    let buildrun = choose_run(files, name, now)?;
    Ok(load(files, buildrun, Missing::Assumed, commands))
}

/// The run that the user named as `NAME` or `NAMESPACE/NAME`, the only one, or the implied run of the only Build. `now` is when
/// a run that is not on a cluster yet was created.
pub fn choose_run(
    files: &Files,
    name: Option<&str>,
    now: Timestamp,
) -> Result<BuildRun, ChooseError> {
    let mut matching = files.buildruns.iter().filter(|((namespace, own), _)| {
        name.is_none_or(|name| name == own || name.split_once('/') == Some((namespace, own)))
    });
    let buildrun = match (matching.next(), matching.next(), name) {
        (Some((_, run)), None, _) => run.clone(),
        (Some(_), Some(_), _) => {
            let names = names(&files.buildruns);
            return Err(ChooseError::Several {
                kind: BuildRun::KIND,
                names,
                hint: "; say which with --buildrun NAME",
            });
        }
        (None, _, Some(name)) if files.buildruns.is_empty() => {
            return Err(ChooseError::NoRun { name: name.into() });
        }
        (None, _, Some(name)) => {
            return Err(ChooseError::Unknown { name: name.into(), held: names(&files.buildruns) });
        }
        (None, _, None) => implied(files)?,
    };
    Ok(created(buildrun, now))
}

/// A run that is not on a cluster yet is created `now`.
fn created(mut buildrun: BuildRun, now: Timestamp) -> BuildRun {
    buildrun.metadata.creation_timestamp.get_or_insert(Time(now));
    buildrun
}

/// A run with everything that it depends on, for whoever only looks at it.
pub(super) fn load_run(files: &Files, buildrun: &BuildRun, now: Timestamp) -> Chosen {
    load(files, created(buildrun.clone(), now), Missing::Assumed, Commands::Assumed)
}

/// A Build with all that it names, for the Build's own verdict.
pub(super) fn load_build(files: &Files, build: &Build) -> Chosen {
    let mut run = run_of(build);
    // Which account it runs as is the run's business.
    run.spec.service_account = Some(GENERATED_ACCOUNT.into());
    load(files, run, Missing::Assumed, Commands::Assumed)
}

/// Names of objects, with their namespaces where they are in several.
fn names<T>(objects: &BTreeMap<Key, T>) -> Vec<String> {
    let namespaces: BTreeSet<&String> = objects.keys().map(|(namespace, _)| namespace).collect();
    let name = |(namespace, name): &Key| match namespaces.len() {
        1 => name.clone(),
        _ => format!("{namespace}/{name}"),
    };
    objects.keys().map(name).collect()
}

/// A Build alone is run as it is.
fn implied(files: &Files) -> Result<BuildRun, ChooseError> {
    let mut builds = files.builds.values();
    let Some(build) = builds.next() else { return Err(ChooseError::Nothing) };
    if builds.next().is_some() {
        let names = names(&files.builds);
        let hint = "; add a BuildRun for one of them";
        return Err(ChooseError::Several { kind: Build::KIND, names, hint });
    }
    Ok(run_of(build))
}

fn run_of(build: &Build) -> BuildRun {
    let name = build.metadata.name.clone().unwrap_or_default();
    let mut run = BuildRun {
        spec: BuildRunSpec {
            build: ReferencedBuild { name: Some(name.clone()), spec: None },
            ..BuildRunSpec::default()
        },
        ..BuildRun::default()
    };
    let prefix: String = name.chars().take(IMPLIED_NAME).collect();
    run.metadata.name = Some(format!("{}-local", prefix.trim_end_matches(['-', '.'])));
    run.metadata.namespace.clone_from(&build.metadata.namespace);
    run
}

/// Everything that a run depends on.
pub fn load(files: &Files, buildrun: BuildRun, missing: Missing, commands: Commands<'_>) -> Chosen {
    let namespace = namespace_of(&buildrun).to_owned();
    let key = |name: &str| (namespace.clone(), name.to_owned());
    let roots = roots(files, buildrun);

    let named = references(&roots);
    let mut assumptions = Vec::new();
    let mut service_accounts = BTreeMap::new();
    let asked = roots.buildrun.spec.service_account.is_some();
    for name in &named.service_accounts {
        let account = files.service_accounts.get(&key(name)).cloned();
        let is_last = Some(name) == named.service_accounts.last();
        let earlier_found =
            service_accounts.values().any(|account| matches!(account, Presence::Found(_)));
        let presence = match account {
            None if asked || (is_last && !earlier_found) => {
                assumed(files, "ServiceAccount", &key(name), &mut assumptions)
            }
            account => account.map_or(Presence::Absent, Presence::Found),
        };
        service_accounts.insert(name.clone(), presence);
    }
    let mut secret_names = named.secrets;
    for account in service_accounts.values().filter_map(Presence::found) {
        let listed = account.secrets.iter().flatten().filter_map(|secret| secret.name.clone());
        secret_names.extend(listed.filter(|name| !name.is_empty()));
    }
    let secrets = presences(
        files,
        "Secret",
        &secret_names,
        &named.secret_keys,
        |key| files.secrets.get(key).cloned(),
        &namespace,
        missing,
        &mut assumptions,
    );
    let config_maps = presences(
        files,
        "ConfigMap",
        &named.config_maps,
        &named.config_map_keys,
        |key| files.config_maps.contains(key).then_some(()),
        &namespace,
        missing,
        &mut assumptions,
    );
    let mut image_commands = BTreeMap::new();
    for image in named.images {
        let command = match commands {
            Commands::Known(known) => {
                known.get(&image).cloned().map_or(Presence::Absent, Presence::Found)
            }
            Commands::Assumed => {
                let name = go_quote(&image);
                assumptions.push(Note(format!(
                    "the image {name} is assumed to have a command, which a step leaves to it"
                )));
                Presence::Assumed
            }
        };
        image_commands.insert(image, command);
    }
    let facts = files.namespaces.get(&namespace).cloned().unwrap_or_default();
    Chosen {
        loaded: Loaded {
            roots,
            secrets,
            config_maps,
            service_accounts,
            image_commands,
            image_problems: BTreeMap::new(),
            namespace: facts,
        },
        assumptions,
    }
}

/// The namespace in which a run looks for everything.
pub(super) fn namespace_of(buildrun: &BuildRun) -> &str {
    buildrun.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
}

/// The run with its Build and its strategy.
pub(super) fn roots(files: &Files, buildrun: BuildRun) -> Roots {
    let namespace = namespace_of(&buildrun).to_owned();
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
    Roots { buildrun, build, strategy }
}

/// Everything that runs and Builds of the files name and that is not among them, as far as it can be told before more is there.
pub fn wanted(files: &Files) -> BTreeSet<Wanted> {
    let mut wanted = BTreeSet::new();
    let implied = files.builds.values().map(run_of);
    for run in files.buildruns.values().cloned().chain(implied) {
        let namespace = namespace_of(&run).to_owned();
        let mut want = |kind, name: &str| {
            let namespace = if is_of_cluster(kind) { String::new() } else { namespace.clone() };
            wanted.insert(Wanted { kind, namespace, name: name.to_owned() });
        };
        want("Namespace", &namespace);
        want("LimitRange", "");
        let roots = roots(files, run);
        if let Some(name) = &roots.buildrun.spec.build.name {
            want(Build::KIND, name);
        }
        let found = roots.build.as_ref().and_then(Presence::found).map(|build| &build.spec);
        if let Some(spec) = roots.buildrun.spec.build.spec.as_ref().or(found) {
            match spec.strategy.kind.as_deref() {
                Some(ClusterBuildStrategy::KIND) => {
                    want(ClusterBuildStrategy::KIND, &spec.strategy.name);
                }
                _ => want(BuildStrategy::KIND, &spec.strategy.name),
            }
        }
        let named = references(&roots);
        let accounts = named.service_accounts.iter();
        for name in accounts.clone() {
            want("ServiceAccount", name);
        }
        let found = accounts
            .filter_map(|name| files.service_accounts.get(&(namespace.clone(), name.clone())));
        for secret in found.flat_map(|account| account.secrets.iter().flatten()) {
            want("Secret", secret.name.as_deref().unwrap_or_default());
        }
        for name in named.secrets.iter().chain(&named.secret_keys) {
            want("Secret", name);
        }
        for name in named.config_maps.iter().chain(&named.config_map_keys) {
            want("ConfigMap", name);
        }
    }
    wanted.retain(|wanted| {
        let Wanted { kind, namespace, name } = wanted;
        let is_name = *kind == "LimitRange" || dns_subdomain(name).is_empty();
        is_name && !files.holds(kind, &(namespace.clone(), name.clone()))
    });
    wanted
}

/// What is known of the objects that a run names. Those that only have `keys` in it are not judged, but assumed all the same.
#[expect(clippy::too_many_arguments, reason = "each says another thing of one kind")]
fn presences<T>(
    files: &Files,
    kind: &'static str,
    names: &BTreeSet<String>,
    keys: &BTreeSet<String>,
    held: impl Fn(&Key) -> Option<T>,
    namespace: &str,
    missing: Missing,
    assumptions: &mut Vec<Note>,
) -> BTreeMap<String, Presence<T>> {
    let mut look = |name: &String| {
        let key = (namespace.to_owned(), name.clone());
        match (held(&key), missing) {
            (Some(object), _) => Presence::Found(object),
            (None, Missing::Assumed) => assumed(files, kind, &key, assumptions),
            (None, Missing::Absent) => Presence::Absent,
        }
    };
    for name in keys.difference(names) {
        look(name);
    }
    names.iter().map(|name| (name.clone(), look(name))).collect()
}

/// An object that the files do not hold is taken to be there, unless no object can have its name or a cluster was asked for it.
fn assumed<T>(
    files: &Files,
    kind: &'static str,
    (namespace, name): &Key,
    assumptions: &mut Vec<Note>,
) -> Presence<T> {
    let wanted = Wanted { kind, namespace: namespace.clone(), name: name.clone() };
    let is_known_absent = files.untold.as_ref().is_some_and(|untold| !untold.contains(&wanted));
    if is_known_absent || !dns_subdomain(name).is_empty() {
        return Presence::Absent;
    }
    assumptions.push(Note(format!("{kind} {namespace}/{name} is assumed to exist")));
    Presence::Assumed
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::local::read::Document;

    fn documents(secret: &Value) -> Vec<Document> {
        let own = |kind: &str, spec: Value| {
            json!({
                "apiVersion": "shipwright.io/v1beta1", "kind": kind,
                "metadata": { "name": "x", "namespace": "ci" }, "spec": spec,
            })
        };
        let env = json!([{ "name": "E", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "k" } } }]);
        let values = [
            own(
                "BuildStrategy",
                json!({
                    "steps": [{ "name": "s", "image": "quay.io/a:1", "env": env }],
                    "volumes": [{ "name": "v", "configMap": { "name": "map" } }],
                }),
            ),
            own(
                "Build",
                json!({
                    "strategy": { "name": "x", "kind": "BuildStrategy" },
                    "output": { "image": "registry/i", "pushSecret": "push" },
                }),
            ),
            secret.clone(),
        ];
        values.into_iter().map(|value| Document { file: "all.yaml".into(), value }).collect()
    }

    fn held(secret: &Value) -> Files {
        let (files, refusals, _) = Files::of(documents(secret));
        assert_eq!(refusals, []);
        files
    }

    fn push_secret() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "push", "namespace": "ci" },
            "stringData": { "k": "v" },
        })
    }

    fn unused() -> Value {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "unused", "namespace": "ci" } })
    }

    fn loaded(files: &Files, missing: Missing, commands: Commands<'_>) -> Chosen {
        let run = choose_run(files, None, "2026-01-02T03:04:05Z".parse().unwrap()).unwrap();
        load(files, run, missing, commands)
    }

    #[test]
    fn what_nobody_holds_is_assumed_for_a_cluster_and_absent_here() {
        let files = held(&unused());
        let chosen = loaded(&files, Missing::Assumed, Commands::Assumed);
        assert_eq!(chosen.loaded.secrets["push"], Presence::Assumed);
        assert_eq!(chosen.loaded.config_maps["map"], Presence::Assumed);
        let notes: Vec<_> = chosen.assumptions.iter().map(|note| note.0.as_str()).collect();
        for expected in
            ["Secret ci/push", "Secret ci/keys", "ConfigMap ci/map", "ServiceAccount ci/default"]
        {
            assert!(
                notes.contains(&format!("{expected} is assumed to exist").as_str()),
                "{notes:?}"
            );
        }

        let chosen = loaded(&files, Missing::Absent, Commands::Known(&BTreeMap::new()));
        assert_eq!(chosen.loaded.secrets["push"], Presence::Absent);
        assert_eq!(chosen.loaded.config_maps["map"], Presence::Absent);
        assert_eq!(chosen.loaded.service_accounts["default"], Presence::Assumed);
        assert_eq!(
            chosen.assumptions,
            [Note("ServiceAccount ci/default is assumed to exist".into())]
        );
    }

    #[test]
    fn what_somebody_holds_is_found_either_way() {
        let files = held(&push_secret());
        for missing in [Missing::Assumed, Missing::Absent] {
            let chosen = loaded(&files, missing, Commands::Known(&BTreeMap::new()));
            assert!(matches!(chosen.loaded.secrets["push"], Presence::Found(_)));
        }
        assert_eq!(files.contents.secret("ci", "push").unwrap().0["k"], b"v");
    }

    #[test]
    fn commands_of_images_are_known_once_somebody_has_looked() {
        let files = held(&unused());
        let image = "quay.io/a:1".to_owned();
        let unknown = loaded(&files, Missing::Absent, Commands::Known(&BTreeMap::new()));
        assert_eq!(unknown.loaded.image_commands[&image], Presence::Absent);
        let assumed = loaded(&files, Missing::Absent, Commands::Assumed);
        assert_eq!(assumed.loaded.image_commands[&image], Presence::Assumed);
        let note =
            "the image \"quay.io/a:1\" is assumed to have a command, which a step leaves to it";
        assert!(assumed.assumptions.contains(&Note(note.into())), "{:?}", assumed.assumptions);
        let command = ImageCommand { entrypoint: vec!["/run".into()], cmd: Vec::new() };
        let commands = BTreeMap::from([
            (image.clone(), command.clone()),
            ("other".to_owned(), ImageCommand::default()),
        ]);
        let known = loaded(&files, Missing::Absent, Commands::Known(&commands));
        assert_eq!(
            known.loaded.image_commands,
            BTreeMap::from([(image, Presence::Found(command))])
        );
    }

    #[test]
    fn content_that_cannot_be_read_is_refused_with_file_object_and_field() {
        let mut secret = push_secret();
        secret["data"] = json!({ "password": "hunter2!" });
        let (_, refusals, _) = Files::of(documents(&secret));
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].file.as_deref(), Some("all.yaml"));
        let refusal = &refusals[0].refusal;
        assert_eq!(
            (refusal.object.kind.as_ref(), refusal.object.name.as_str()),
            ("Secret", "push")
        );
        assert_eq!((&*refusal.field, &*refusal.message), ("data[password]", "is not valid base64"));
    }
}
