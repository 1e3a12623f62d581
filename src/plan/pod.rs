//! The pod of a proven run.
//!
//! Invariant: equal input makes a byte-identical pod.
//! Invariant: every step is a regular container behind its gate, in the order source, strategy, image-processing; `prepare` is the
//! only init container.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, ObjectReference, Pod, PodSpec, ProjectedVolumeSource,
    ServiceAccount, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use slipway_step::protocol::{
    BIN_DIR, BIN_PATH, CREDENTIALS_DIR, GateCommand, PrepareCommand, RESULTS_DIR, results::budget,
    run_dir,
};

use super::checked::{Account, Checked};
use super::identity;
use super::labels::{BUILD_GENERATION_LABEL, BUILD_LABEL, RUN_GENERATION_LABEL, RUN_LABEL};
use super::layout::container_name;
use super::params::SOURCE_ROOT;
use super::requests;
use super::settings::Requests;
use super::step::{Origin, PlannedStep, empty_dir, literal, mount, planned, read_only};
use crate::api::{API_VERSION, BuildRun};

/// Volume of the source.
pub const SOURCE_VOLUME: &str = "slipway-source";
/// Annotation that names the containers which are Shipwright's own.
pub const SUPPORTING_STEPS_ANNOTATION: &str = "slipway.dev/supporting-steps";
/// The init container that hands `slipway-step` to the steps.
pub const PREPARE: &str = "prepare";
/// Where a process finds its account's token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const BIN_VOLUME: &str = "slipway-bin";
/// Volume of the service account's token.
pub const TOKEN_VOLUME: &str = "slipway-token";
/// Volumes that every step mounts.
const SHARED: [(&str, &str); 4] = [
    ("slipway-workspace", "/workspace"),
    (SOURCE_VOLUME, SOURCE_ROOT),
    ("slipway-home", "/tekton/home"),
    ("slipway-results", RESULTS_DIR),
];

/// Everything that has to be created for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Expansion {
    /// The pod.
    pub pod: Pod,
    /// The account that is made for this run alone.
    pub service_account: Option<ServiceAccount>,
}

/// Makes the pod; cannot fail.
pub fn expand(checked: &Checked) -> Expansion {
    let mut steps = planned(checked);
    if checked.settings.requests == Requests::Largest {
        let mut resources: Vec<_> = steps.iter().map(|step| step.resources.clone()).collect();
        requests::keep_largest(&mut resources, &checked.minimum_requests);
        for (step, resources) in steps.iter_mut().zip(resources) {
            step.resources = resources;
        }
    }
    let token = matches!(checked.account, Account::Named { token: true, .. });
    let containers: Vec<Container> =
        (0..steps.len()).map(|index| container(&steps, index, &checked.results, token)).collect();
    let volumes = volumes(checked, &steps, &containers);
    let pod = Pod {
        metadata: metadata(checked, &steps),
        spec: Some(PodSpec {
            active_deadline_seconds: checked.timeout,
            automount_service_account_token: Some(false),
            containers,
            init_containers: Some(vec![prepare(checked)]),
            node_selector: Some(checked.placement.node_selector.clone())
                .filter(|selector| !selector.is_empty()),
            restart_policy: Some("Never".into()),
            runtime_class_name: checked.placement.runtime_class_name.clone(),
            scheduler_name: checked.placement.scheduler_name.clone(),
            service_account_name: Some(match &checked.account {
                Account::Named { name, .. } => name.clone(),
                Account::Generated { .. } => checked.run.name.clone(),
            }),
            tolerations: Some(checked.placement.tolerations.clone())
                .filter(|tolerations| !tolerations.is_empty()),
            volumes: Some(volumes),
            ..PodSpec::default()
        }),
        status: None,
    };
    debug_assert_eq!(super::invariants::broken(&pod), Vec::<String>::new());
    Expansion { pod, service_account: service_account(checked) }
}

fn metadata(checked: &Checked, steps: &[PlannedStep]) -> ObjectMeta {
    let run = &checked.run;
    let strategy = &checked.strategy;
    let mut labels = BTreeMap::from([
        (RUN_LABEL.to_owned(), run.name.clone()),
        (RUN_GENERATION_LABEL.to_owned(), run.generation.to_string()),
    ]);
    if let Some((name, generation)) = &run.build {
        labels.insert(BUILD_LABEL.into(), name.clone());
        labels.insert(BUILD_GENERATION_LABEL.into(), generation.to_string());
    }
    let prefix = strategy.kind.to_lowercase();
    labels.insert(format!("{prefix}.shipwright.io/name"), strategy.name.clone());
    labels.insert(format!("{prefix}.shipwright.io/generation"), strategy.generation.to_string());

    let mut annotations = strategy.annotations.clone();
    // Ours come last: a strategy cannot forge them.
    if let Some(identity) = strategy.identity.filter(|_| uses_identity_files(steps)) {
        annotations.extend(identity::annotations(identity));
        if strategy.identity_files {
            annotations.insert(identity::POD_IDENTITY_FILES_ANNOTATION.into(), "true".into());
        }
    }
    let supporting: Vec<String> = steps
        .iter()
        .filter(|step| step.origin == Origin::Supporting)
        .map(|step| container_name(&step.name))
        .collect();
    annotations.insert(SUPPORTING_STEPS_ANNOTATION.into(), supporting.join(","));
    ObjectMeta {
        name: Some(format!("{}-pod", run.executor)),
        namespace: run.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: owner(checked),
        ..ObjectMeta::default()
    }
}

/// The run owns what is made for it; a run from a file has no uid and cannot own anything.
fn owner(checked: &Checked) -> Option<Vec<OwnerReference>> {
    let uid = checked.run.uid.clone()?;
    Some(vec![OwnerReference {
        api_version: API_VERSION.into(),
        block_owner_deletion: Some(true),
        controller: Some(true),
        kind: BuildRun::KIND.into(),
        name: checked.run.name.clone(),
        uid,
    }])
}

fn service_account(checked: &Checked) -> Option<ServiceAccount> {
    let Account::Generated { secrets } = &checked.account else { return None };
    let secrets = secrets
        .iter()
        .map(|name| ObjectReference { name: Some(name.clone()), ..ObjectReference::default() });
    Some(ServiceAccount {
        metadata: ObjectMeta {
            name: Some(checked.run.name.clone()),
            namespace: checked.run.namespace.clone(),
            labels: Some(BTreeMap::from([(RUN_LABEL.to_owned(), checked.run.name.clone())])),
            owner_references: owner(checked),
            ..ObjectMeta::default()
        },
        automount_service_account_token: Some(false),
        secrets: Some(secrets.collect::<Vec<_>>()).filter(|secrets| !secrets.is_empty()),
        ..ServiceAccount::default()
    })
}

fn prepare(checked: &Checked) -> Container {
    let command = PrepareCommand { to: BIN_DIR.into() };
    Container {
        name: PREPARE.into(),
        image: Some(checked.settings.prepare_image.clone()),
        command: Some(vec![slipway_step::protocol::PROGRAM.into()]),
        args: Some(command.to_args()),
        security_context: identity::prepare(checked.strategy.identity).context(),
        volume_mounts: Some(vec![mount(BIN_VOLUME, BIN_DIR)]),
        ..Container::default()
    }
}

fn container(steps: &[PlannedStep], index: usize, results: &[&str], token: bool) -> Container {
    let step = &steps[index];
    let (working_dir, workdir) = working_directories(step.working_dir.as_deref());
    let others = (0..steps.len()).filter(|other| *other != index && step.awaits_all);
    let gate = GateCommand {
        run_dir: run_dir(index),
        after: index.checked_sub(1).map(run_dir),
        await_started: others.map(run_dir).collect(),
        workdir,
        // `prepare` counts: kubelet divides by init containers too.
        budget: budget(steps.len() + 1),
        results: results.iter().map(|name| (*name).to_owned()).collect(),
        credentials: step.credentials.clone(),
        command: step.command.clone(),
    };
    Container {
        name: container_name(&step.name),
        image: Some(step.image.clone()),
        image_pull_policy: step.image_pull_policy.clone(),
        command: Some(vec![BIN_PATH.into()]),
        args: Some(literal_flags(gate.to_args())),
        env: Some(step.env.clone()).filter(|env| !env.is_empty()),
        resources: Some(step.resources.clone()).filter(|resources| {
            *resources != k8s_openapi::api::core::v1::ResourceRequirements::default()
        }),
        security_context: step.security.context(),
        volume_mounts: Some(mounts(step, index, &gate, token)),
        working_dir,
        ..Container::default()
    }
}

/// The gate's own flags as they are: only what stands behind them is the author's, with references for the kubelet to expand.
fn literal_flags(mut arguments: Vec<String>) -> Vec<String> {
    let end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    arguments[..end].iter_mut().for_each(|flag| *flag = literal(flag));
    arguments
}

/// The container's working directory and the gate's. Below `/workspace` the gate changes directory once the step before has
/// ended: the runtime would create the directory before there is any source, and the source step would refuse to fill it.
fn working_directories(asked: Option<&str>) -> (Option<String>, Option<String>) {
    const WORKSPACE: &str = "/workspace";
    match asked {
        None | Some("") => (None, None),
        Some(relative) if !relative.starts_with('/') => {
            (None, Some(format!("{WORKSPACE}/{relative}")))
        }
        Some(SOURCE_ROOT) => (Some(SOURCE_ROOT.into()), None),
        Some(inside) if inside == WORKSPACE || inside.starts_with("/workspace/") => {
            (None, Some(inside.into()))
        }
        Some(outside) => (Some(outside.into()), None),
    }
}

/// The pod's own mounts where the step has none on that path, then the step's.
fn mounts(step: &PlannedStep, index: usize, gate: &GateCommand, token: bool) -> Vec<VolumeMount> {
    let mut own =
        vec![read_only(mount(BIN_VOLUME, BIN_DIR)), mount(&run_volume(index), &gate.run_dir)];
    let mut seen: Vec<usize> = index.checked_sub(1).into_iter().collect();
    if step.awaits_all {
        seen.extend(
            (0..)
                .take(gate.await_started.len() + 1)
                .filter(|other| *other != index && Some(*other) != index.checked_sub(1)),
        );
    }
    own.extend(seen.into_iter().map(|other| read_only(mount(&run_volume(other), &run_dir(other)))));
    own.extend(SHARED.map(|(volume, path)| mount(volume, path)));
    if step.origin == Origin::Strategy {
        own.push(mount(&credentials_volume(index), CREDENTIALS_DIR));
        if token {
            own.push(read_only(mount(TOKEN_VOLUME, TOKEN_PATH)));
        }
    }
    own.retain(|own| {
        !step.mounts.iter().any(|mount| mount.mount_path.trim_end_matches('/') == own.mount_path)
    });
    own.extend(step.mounts.iter().cloned());
    own
}

/// The pod's own volumes that somebody mounts, those of the steps, and all of the strategy's.
fn volumes(checked: &Checked, steps: &[PlannedStep], containers: &[Container]) -> Vec<Volume> {
    let mut own = vec![empty_dir(BIN_VOLUME)];
    own.extend((0..steps.len()).map(|index| empty_dir(&run_volume(index))));
    own.extend(SHARED.map(|(volume, _)| empty_dir(volume)));
    own.extend((0..steps.len()).map(|index| in_memory(&credentials_volume(index))));
    own.push(token_volume());
    own.extend(steps.iter().flat_map(|step| step.volumes.iter().cloned()));
    if uses_identity_files(steps) {
        own.push(identity::volume());
    }
    let mounted = |name: &str| {
        containers
            .iter()
            .flat_map(|c| c.volume_mounts.iter().flatten())
            .any(|mount| mount.name == name)
    };
    let mut volumes: Vec<Volume> = Vec::new();
    for volume in own
        .into_iter()
        .filter(|volume| mounted(&volume.name))
        .chain(checked.volumes.iter().cloned())
    {
        if !volumes.iter().any(|known| known.name == volume.name) {
            volumes.push(volume);
        }
    }
    volumes
}

fn uses_identity_files(steps: &[PlannedStep]) -> bool {
    steps.iter().flat_map(|step| &step.mounts).any(|mount| mount.name == identity::IDENTITY_VOLUME)
}

fn run_volume(index: usize) -> String {
    format!("slipway-run-{index}")
}

fn credentials_volume(index: usize) -> String {
    format!("slipway-creds-{index}")
}

fn in_memory(name: &str) -> Volume {
    let source =
        EmptyDirVolumeSource { medium: Some("Memory".into()), ..EmptyDirVolumeSource::default() };
    Volume { empty_dir: Some(source), ..empty_dir(name) }
}

/// The same files that the API server mounts into a pod by default, for strategy steps only.
fn token_volume() -> Volume {
    let sources = serde_json::json!([
        { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
        { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
    ]);
    let sources: Option<Vec<VolumeProjection>> = serde_json::from_value(sources).ok();
    Volume {
        name: TOKEN_VOLUME.into(),
        projected: Some(ProjectedVolumeSource { default_mode: Some(0o444), sources }),
        ..Volume::default()
    }
}
