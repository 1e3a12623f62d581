//! One step on its way into the pod: the container without what all steps get.
//!
//! Invariant: a step knows from birth whether it is Shipwright's or the strategy's.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, EnvVar, ResourceRequirements, SecretVolumeSource, Volume, VolumeMount,
};
use slipway_step::protocol::{CREDENTIALS_SECRETS_DIR, Credential};

use super::checked::{Checked, CheckedSource, StrategyStep};
use super::identity;
use super::layout::{
    CLONE_SECRET_PATH, IMAGE_STEP, OUTPUT_VOLUME, PULL_SECRET_PATH, PUSH_SECRET_PATH, SOURCE_STEP,
    TRIVY_VOLUME, UPLOAD_STEP, home_volume, secret_volume, tmp_volume,
};
use super::params::OUTPUT_DIRECTORY;
use super::pod_security::Level;
use super::security::Security;
use super::settings::{ContainerTemplate, variable};

/// Whose step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Shipwright's.
    Supporting,
    /// The strategy's.
    Strategy,
}

/// A step and the volumes that only it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStep {
    pub origin: Origin,
    pub name: String,
    pub image: String,
    pub image_pull_policy: Option<String>,
    /// Program and arguments behind the gate.
    pub command: Vec<String>,
    pub working_dir: Option<String>,
    pub env: Vec<EnvVar>,
    pub resources: ResourceRequirements,
    pub security: Security,
    /// In the order of the manifest; on the same path, these win over the pod's own.
    pub mounts: Vec<VolumeMount>,
    pub volumes: Vec<Volume>,
    /// Credentials for its home.
    pub credentials: Vec<Credential>,
    /// It starts its clock when all other steps have started.
    pub awaits_all: bool,
}

/// All steps in the order in which they run.
pub fn planned(checked: &Checked) -> Vec<PlannedStep> {
    let secrets = SecretVolumes::of(checked);
    let source = source(checked, &secrets);
    let strategy = checked.steps.iter().map(|step| strategy(checked, step, &secrets));
    let image = image(checked, &secrets);
    source.into_iter().chain(strategy).chain(image).collect()
}

fn source(checked: &Checked, secrets: &SecretVolumes) -> Option<PlannedStep> {
    let settings = &checked.settings;
    let (name, template, arguments, secret) = match &checked.source {
        CheckedSource::Git { command, secret } => (
            SOURCE_STEP,
            &settings.git,
            literals(command.to_args()),
            secret.as_ref().map(|secret| (secret, CLONE_SECRET_PATH)),
        ),
        CheckedSource::Bundle { command, secret } => (
            SOURCE_STEP,
            &settings.bundle,
            literals(command.to_args()),
            secret.as_ref().map(|secret| (secret, PULL_SECRET_PATH)),
        ),
        CheckedSource::Upload { timeout } => {
            let timeout = timeout.iter().map(|timeout| format!("--timeout={timeout}"));
            let arguments = std::iter::once("waiter".to_owned())
                .chain(settings.waiter.args.iter().cloned())
                .chain(timeout);
            (UPLOAD_STEP, &settings.waiter, arguments.collect(), None)
        }
        CheckedSource::Nothing => return None,
    };
    let mut step = supporting(checked, name, template, &arguments);
    step.awaits_all = name == UPLOAD_STEP;
    secrets.mount(secret, &mut step);
    step.mounts.extend(identity_mounts(checked));
    Some(step)
}

fn image(checked: &Checked, secrets: &SecretVolumes) -> Option<PlannedStep> {
    const TRIVY_CACHE: &str = "/trivy-cache-data";
    let command = checked.output.command.as_ref()?;
    let mut step = supporting(
        checked,
        IMAGE_STEP,
        &checked.settings.image_processing,
        &literals(command.to_args()),
    );
    step.env.push(variable("TRIVY_CACHE_DIR", TRIVY_CACHE));
    step.volumes.push(empty_dir(TRIVY_VOLUME));
    step.mounts.push(mount(TRIVY_VOLUME, TRIVY_CACHE));
    if command.push.is_some() {
        step.volumes.push(empty_dir(OUTPUT_VOLUME));
        step.mounts.push(read_only(mount(OUTPUT_VOLUME, OUTPUT_DIRECTORY)));
    }
    secrets
        .mount(checked.output.secret.as_ref().map(|secret| (secret, PUSH_SECRET_PATH)), &mut step);
    step.mounts.extend(identity_mounts(checked));
    Some(step)
}

/// A text that the kubelet leaves as it is: it would replace `$(NAME)` and `$$` in the command line of any container.
pub fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn literals(arguments: Vec<String>) -> Vec<String> {
    arguments.into_iter().map(|argument| literal(&argument)).collect()
}

/// A step from its template; `arguments` begin with the subcommand, which the template's command stands for.
fn supporting(
    checked: &Checked,
    name: &str,
    template: &ContainerTemplate,
    arguments: &[String],
) -> PlannedStep {
    const TMP: &str = "/shp-tmp";
    const HOME: &str = "/shp-writable-home";
    let (tmp, home) = (tmp_volume(name), home_volume(name));
    let mut env = template.env.clone();
    env.retain(|variable| !matches!(variable.name.as_str(), "TMPDIR" | "HOME"));
    env.extend([variable("TMPDIR", TMP), variable("HOME", HOME)]);
    PlannedStep {
        origin: Origin::Supporting,
        name: name.to_owned(),
        image: template.image.clone(),
        image_pull_policy: template.image_pull_policy.clone(),
        command: template.command.iter().chain(&arguments[1..]).cloned().collect(),
        working_dir: template.working_dir.clone(),
        env,
        resources: template.resources.clone().unwrap_or_default(),
        security: identity::supporting(
            template.security_context.as_ref(),
            checked.strategy.identity,
        ),
        mounts: vec![mount(&tmp, TMP), mount(&home, HOME)],
        volumes: vec![empty_dir(&tmp), empty_dir(&home)],
        credentials: Vec::new(),
        awaits_all: false,
    }
}

fn strategy(
    checked: &Checked,
    checked_step: &StrategyStep,
    secrets: &SecretVolumes,
) -> PlannedStep {
    let step = checked_step.step.clone();
    let mut planned = PlannedStep {
        origin: Origin::Strategy,
        security: identity::strategy_step(
            step.security_context.as_ref(),
            checked.strategy.identity,
            checked.enforces == Some(Level::Restricted),
        ),
        name: step.name,
        image: step.image.unwrap_or_default(),
        image_pull_policy: step.image_pull_policy,
        command: step.command.into_iter().chain(step.args).collect(),
        working_dir: step.working_dir,
        env: step.env,
        resources: step.resources.unwrap_or_default(),
        mounts: step.volume_mounts,
        volumes: Vec::new(),
        credentials: checked.credentials.clone(),
        awaits_all: false,
    };
    let is_free = |path: &str, planned: &PlannedStep| {
        !planned.mounts.iter().any(|mount| mount.mount_path.trim_end_matches('/') == path)
    };
    if checked_step.writes_output && is_free(OUTPUT_DIRECTORY, &planned) {
        planned.volumes.push(empty_dir(OUTPUT_VOLUME));
        planned.mounts.push(mount(OUTPUT_VOLUME, OUTPUT_DIRECTORY));
    }
    for secret in credential_secrets(checked) {
        let path = format!("{CREDENTIALS_SECRETS_DIR}/{secret}");
        secrets.mount(Some((secret, &path)), &mut planned);
    }
    if checked.strategy.identity_files {
        let mounts = identity_mounts(checked).into_iter();
        let free: Vec<_> = mounts.filter(|mount| is_free(&mount.mount_path, &planned)).collect();
        planned.mounts.extend(free);
    }
    planned
}

fn identity_mounts(checked: &Checked) -> Vec<VolumeMount> {
    if checked.strategy.identity.is_some() { identity::mounts().into() } else { Vec::new() }
}

/// The Secrets of the credentials, each once.
fn credential_secrets(checked: &Checked) -> BTreeSet<&String> {
    checked.credentials.iter().map(Credential::secret).collect()
}

/// The volumes of all Secrets of a run, by Secret, so that no two volumes share a name.
struct SecretVolumes(BTreeMap<String, String>);

impl SecretVolumes {
    fn of(checked: &Checked) -> Self {
        let source = match &checked.source {
            CheckedSource::Git { secret, .. } | CheckedSource::Bundle { secret, .. } => {
                secret.as_ref()
            }
            CheckedSource::Upload { .. } | CheckedSource::Nothing => None,
        };
        let secrets =
            source.into_iter().chain(&checked.output.secret).chain(credential_secrets(checked));
        let mut taken: BTreeSet<String> =
            checked.volumes.iter().map(|volume| volume.name.clone()).collect();
        let mut volumes = BTreeMap::new();
        for secret in secrets {
            if !volumes.contains_key(secret) {
                let volume = secret_volume(secret, &taken);
                taken.insert(volume.clone());
                volumes.insert(secret.clone(), volume);
            }
        }
        Self(volumes)
    }

    fn mount(&self, secret: Option<(&String, &str)>, step: &mut PlannedStep) {
        let Some((secret, path)) = secret else { return };
        let Some(volume) = self.0.get(secret) else { return };
        step.mounts.push(read_only(mount(volume, path)));
        step.volumes.push(Volume {
            name: volume.clone(),
            secret: Some(SecretVolumeSource {
                default_mode: Some(0o444),
                secret_name: Some(secret.clone()),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
}

/// A volume that lives as long as the pod.
pub fn empty_dir(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

/// A writable mount.
pub fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// The same mount, read-only.
pub fn read_only(mount: VolumeMount) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount }
}
