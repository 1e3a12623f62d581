//! Puts together what a run was proven to be. Called once nothing is left to refuse.

use std::collections::BTreeMap;

use slipway_step::protocol::{
    BundleCommand, Credential, DEFAULT_WAIT, GitCommand, ImageCommand, result_path,
    results as names,
};

use crate::api::Step;
use crate::plan::checked::{
    Account, Checked, CheckedOutput, CheckedSource, Placement, Run, StrategyFacts, StrategyStep,
};
use crate::plan::effective::{Effective, SourceOf};
use crate::plan::identity::{IDENTITY_FILES_ANNOTATION, Identity};
use crate::plan::layout::{CLONE_SECRET_PATH, PULL_SECRET_PATH, PUSH_SECRET_PATH};
use crate::plan::loaded::{Loaded, Presence, SecretFacts};
use crate::plan::params::{OUTPUT_DIRECTORY, SOURCE_ROOT};
use crate::plan::references::{DEFAULT_ACCOUNTS, GENERATED_ACCOUNT};
use crate::plan::settings::Settings;
use crate::plan::substitution::Resolved;
use crate::plan::timeout::{deadline, timeout};

pub fn prove(
    loaded: &Loaded,
    effective: &Effective<'_>,
    resolved: Resolved,
    settings: &Settings,
) -> Checked {
    let run = run(effective);
    let source = source(effective, settings);
    let (account, credentials) = account(loaded, effective);
    Checked {
        strategy: strategy(effective),
        output: output(effective, settings),
        steps: steps(effective, loaded, resolved.steps),
        volumes: resolved.volumes,
        results: effective.results(),
        placement: Placement {
            node_selector: effective.node_selector(),
            tolerations: effective.tolerations(),
            scheduler_name: effective.scheduler_name().map(String::from),
            runtime_class_name: effective.runtime_class_name().map(String::from),
        },
        timeout: deadline(timeout(effective.buildrun, Some(effective.spec))),
        enforces: loaded.namespace.enforces,
        minimum_requests: loaded.namespace.minimum_requests.clone(),
        settings: settings.clone(),
        run,
        source,
        account,
        credentials,
    }
}

fn run(effective: &Effective<'_>) -> Run {
    let metadata = &effective.buildrun.metadata;
    let generation = |generation: Option<i64>| generation.unwrap_or(FIRST_GENERATION);
    Run {
        executor: effective.executor(),
        namespace: metadata.namespace.clone(),
        uid: effective.uid().map(String::from),
        generation: generation(metadata.generation),
        build: effective.build.map(|build| {
            (build.metadata.name.clone().unwrap_or_default(), generation(build.metadata.generation))
        }),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

/// What the API server would give an object that comes from a file.
const FIRST_GENERATION: i64 = 1;

fn strategy(effective: &Effective<'_>) -> StrategyFacts {
    const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    const OWN: [&str; 5] = [
        "slipway.dev/",
        "clusterbuildstrategy.shipwright.io/",
        "buildstrategy.shipwright.io/",
        "build.shipwright.io/",
        "buildrun.shipwright.io/",
    ];
    let Some(strategy) = effective.strategy else { return StrategyFacts::default() };
    let metadata = strategy.metadata();
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let identity_files =
        annotations.get(IDENTITY_FILES_ANNOTATION).is_some_and(|value| value == "true");
    StrategyFacts {
        kind: strategy.kind(),
        name: strategy.name().to_owned(),
        generation: metadata.generation.unwrap_or(FIRST_GENERATION),
        identity: strategy
            .spec()
            .security_context
            .map(|ids| Identity { uid: ids.run_as_user, gid: ids.run_as_group }),
        identity_files,
        annotations: annotations
            .into_iter()
            .filter(|(key, _)| {
                key != LAST_APPLIED && !OWN.iter().any(|prefix| key.starts_with(prefix))
            })
            .collect(),
    }
}

fn source(effective: &Effective<'_>, settings: &Settings) -> CheckedSource {
    let path = |name: &str| Some(result_path(name));
    match effective.source() {
        SourceOf::Git(git) => CheckedSource::Git {
            secret: git.clone_secret.clone(),
            command: GitCommand {
                url: git.url.clone(),
                target: SOURCE_ROOT.into(),
                result_file_commit_sha: path(names::SOURCE_COMMIT_SHA),
                result_file_commit_author: path(names::SOURCE_COMMIT_AUTHOR),
                result_file_branch_name: path(names::SOURCE_BRANCH_NAME),
                result_file_error_message: path(names::ERROR_MESSAGE),
                result_file_error_reason: path(names::ERROR_REASON),
                result_file_source_timestamp: path(names::SOURCE_TIMESTAMP),
                revision: git.revision.clone(),
                // Negative depths are passed over, as upstream does.
                depth: git
                    .depth
                    .filter(|depth| *depth >= 0)
                    .map(|depth| u32::try_from(depth).unwrap_or(u32::MAX)),
                git_url_rewrite: settings.git_url_rewrite,
                secret_path: git.clone_secret.is_some().then(|| CLONE_SECRET_PATH.into()),
                ..GitCommand::default()
            },
        },
        SourceOf::Oci(artifact) => CheckedSource::Bundle {
            secret: artifact.pull_secret.clone(),
            command: BundleCommand {
                image: artifact.image.clone(),
                target: SOURCE_ROOT.into(),
                result_file_image_digest: path(names::SOURCE_IMAGE_DIGEST),
                result_file_source_timestamp: path(names::SOURCE_TIMESTAMP),
                secret_path: artifact.pull_secret.is_some().then(|| PULL_SECRET_PATH.into()),
                prune: artifact.prune.as_deref() == Some("AfterPull"),
                show_listing: false,
                wait: DEFAULT_WAIT,
            },
        },
        SourceOf::Local(local) => CheckedSource::Upload {
            timeout: local.timeout.as_ref().map(|timeout| {
                timeout.parse().map_or_else(|_| timeout.0.clone(), |t| t.to_string())
            }),
        },
        SourceOf::Nothing => CheckedSource::Nothing,
    }
}

fn output(effective: &Effective<'_>, settings: &Settings) -> CheckedOutput {
    if !effective.has_image_step() {
        return CheckedOutput { command: None, secret: None };
    }
    let pairs = |map: BTreeMap<&str, &str>| {
        map.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    let scan = effective.vulnerability_scan().filter(|scan| scan.enabled == Some(true));
    let timestamp = effective.timestamp().map(|(text, _)| text);
    let created = effective
        .buildrun
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(0, |time| time.0.as_second());
    let pushes = effective.writes_output.contains(&true);
    let secret = effective.push_secret().map(String::from);
    let command = ImageCommand {
        push: pushes.then(|| OUTPUT_DIRECTORY.into()),
        save: settings.save_image.clone().filter(|_| pushes),
        annotations: pairs(effective.annotations()),
        labels: pairs(effective.labels()),
        vuln_settings: scan.map(|scan| serde_json::json!(scan).to_string()),
        vuln_count_limit: scan
            .map(|_| settings.vulnerability_count_limit)
            .filter(|limit| *limit > 0),
        image_timestamp: match timestamp {
            None | Some("SourceTimestamp") => None,
            Some("Zero") => Some("0".into()),
            Some("BuildTimestamp") => Some(created.to_string()),
            Some(number) => Some(number.into()),
        },
        image_timestamp_file: (timestamp == Some("SourceTimestamp"))
            .then(|| result_path(names::SOURCE_TIMESTAMP)),
        image: effective.image().into(),
        insecure: effective.insecure(),
        result_file_image_digest: Some(result_path(names::IMAGE_DIGEST)),
        result_file_image_size: Some(result_path(names::IMAGE_SIZE)),
        result_file_image_vulnerabilities: Some(result_path(names::IMAGE_VULNERABILITIES)),
        secret_path: secret.is_some().then(|| PUSH_SECRET_PATH.into()),
    };
    CheckedOutput { command: Some(command), secret }
}

/// Stands for the command of an image that nobody has looked at.
const ASSUMED_COMMAND: &str = "unknown";

/// The steps as they are in the run, each with a command.
fn steps(effective: &Effective<'_>, loaded: &Loaded, steps: Vec<Step>) -> Vec<StrategyStep> {
    let make = |(mut step, writes_output): (Step, &bool)| {
        let image = step.image.as_deref().unwrap_or_default();
        if step.command.is_empty() {
            let own = own_command(loaded, image);
            let assumed = || (vec![ASSUMED_COMMAND.into()], Vec::new());
            let (command, args) =
                own.map_or_else(assumed, |(command, args)| (command.to_vec(), args.to_vec()));
            step.command = command;
            if step.args.is_empty() {
                step.args = args;
            }
        }
        StrategyStep { step, writes_output: *writes_output }
    };
    steps.into_iter().zip(&effective.writes_output).map(make).collect()
}

/// What an image runs of itself, and with which arguments. One without ENTRYPOINT runs its CMD even where the step gives
/// arguments.
pub fn own_command<'a>(loaded: &'a Loaded, image: &str) -> Option<(&'a [String], &'a [String])> {
    let image = loaded.image_commands.get(image).and_then(Presence::found)?;
    Some(if image.entrypoint.is_empty() {
        (&image.cmd, &[])
    } else {
        (&image.entrypoint, &image.cmd)
    })
}

fn account(loaded: &Loaded, effective: &Effective<'_>) -> (Account, Vec<Credential>) {
    let push = effective.push_secret();
    let asked = effective.buildrun.spec.service_account.as_deref();
    if asked == Some(GENERATED_ACCOUNT) {
        let secrets: Vec<String> = push.map(String::from).into_iter().collect();
        return (Account::Generated { secrets: secrets.clone() }, credentials(loaded, secrets));
    }
    let there = |name: &&str| {
        loaded.service_accounts.get(*name).is_some_and(|account| account.found().is_some())
    };
    let [first, last] = DEFAULT_ACCOUNTS;
    let name = asked.unwrap_or_else(|| Some(first).filter(there).unwrap_or(last));
    let account = loaded.service_accounts.get(name).and_then(Presence::found);
    let listed = account
        .iter()
        .flat_map(|account| account.secrets.iter().flatten())
        .filter_map(|secret| secret.name.clone());
    let mut secrets: Vec<String> = listed.collect();
    secrets
        .extend(push.filter(|push| !secrets.iter().any(|secret| secret == push)).map(String::from));
    let token =
        account.is_none_or(|account| account.automount_service_account_token != Some(false));
    (Account::Named { name: name.to_owned(), token }, credentials(loaded, secrets))
}

/// What each Secret is good for, by its type and annotations. One that nobody can look at is taken for a registry's.
fn credentials(loaded: &Loaded, secrets: Vec<String>) -> Vec<Credential> {
    const DOCKER: &str = "tekton.dev/docker-";
    const GIT: &str = "tekton.dev/git-";
    let mut found = Vec::new();
    for secret in secrets {
        let facts = match loaded.secrets.get(&secret) {
            Some(Presence::Found(facts)) => facts.clone(),
            Some(Presence::Absent) => continue,
            Some(Presence::Assumed) | None => SecretFacts {
                type_: Some("kubernetes.io/dockerconfigjson".into()),
                annotations: BTreeMap::new(),
            },
        };
        let targets = |prefix: &str| {
            let targets = facts
                .annotations
                .iter()
                .filter(|(key, target)| key.starts_with(prefix) && !target.is_empty());
            targets.map(|(_, target)| target.clone()).collect::<Vec<_>>()
        };
        let name = || secret.clone();
        match facts.type_.as_deref() {
            Some("kubernetes.io/dockerconfigjson") => {
                found.push(Credential::DockerConfig { secret: name() });
            }
            Some("kubernetes.io/dockercfg") => found.push(Credential::Dockercfg { secret: name() }),
            Some("kubernetes.io/basic-auth") => {
                let registries = targets(DOCKER).into_iter();
                found.extend(
                    registries.map(|registry| Credential::DockerBasic { secret: name(), registry }),
                );
                found.extend(
                    targets(GIT)
                        .into_iter()
                        .map(|url| Credential::GitBasic { secret: name(), url }),
                );
            }
            Some("kubernetes.io/ssh-auth") => {
                found.extend(
                    targets(GIT)
                        .into_iter()
                        .map(|host| Credential::GitSsh { secret: name(), host }),
                );
            }
            _ => {}
        }
    }
    found
}
