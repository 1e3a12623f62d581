//! What must hold for every finished pod, whatever made it.
//!
//! Invariant: reads the pod alone, so that it can judge any pod: a golden one, one from a cluster, one in a debug build.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume, VolumeMount};
use slipway_step::protocol::{
    BIN_PATH, CREDENTIALS_DIR, GateCommand, StepCommand, StepCommandLine,
};

use super::identity::{
    self, GROUP_ANNOTATION, IDENTITY_VOLUME, Identity, PASSWD_ANNOTATION,
    POD_IDENTITY_FILES_ANNOTATION,
};
use super::kubernetes_names::{dns_label, dns_subdomain, label_value};
use super::pod::SUPPORTING_STEPS_ANNOTATION;
use crate::api::BuildRun;

/// What is broken, one sentence each.
pub fn broken(pod: &Pod) -> Vec<String> {
    let mut found = Vec::new();
    let Some(spec) = &pod.spec else { return vec!["the pod has no spec".into()] };
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let supporting: BTreeSet<&str> = annotations
        .get(SUPPORTING_STEPS_ANNOTATION)
        .map(|names| names.split(',').collect())
        .unwrap_or_default();

    names(pod, spec, &mut found);
    volumes(spec, &mut found);
    order(spec, &mut found);
    let identity = identity(&annotations, spec, &mut found);
    for container in spec.init_containers.iter().flatten() {
        unprivileged(container, &mut found);
        without_token(container, &mut found);
    }
    let asks = annotations.get(POD_IDENTITY_FILES_ANNOTATION).is_some_and(|asks| asks == "true");
    for container in &spec.containers {
        if supporting.contains(container.name.as_str()) {
            unprivileged(container, &mut found);
            without_token(container, &mut found);
            supporting_step(container, identity, &mut found);
        } else if !asks && !identity_mounts(container).is_empty() {
            found.push(format!("{} has identity files that nobody asked for", container.name));
        }
    }
    if spec.security_context.is_some() {
        found.push("the pod sets a security context of its own: ids belong on containers".into());
    }
    if spec.automount_service_account_token != Some(false) {
        found.push("the pod mounts its account's token into every container".into());
    }
    for owner in pod.metadata.owner_references.iter().flatten() {
        if owner.kind != BuildRun::KIND || owner.controller != Some(true) || owner.uid.is_empty() {
            found.push(format!("owner {} {} is not the run as controller", owner.kind, owner.name));
        }
    }
    found
}

/// The strategy's user and group, as annotations and volume agree on them; nothing where there are neither.
fn identity(
    annotations: &BTreeMap<String, String>,
    spec: &PodSpec,
    found: &mut Vec<String>,
) -> Option<Identity> {
    let items = |volume: &Volume| {
        let source = volume.downward_api.clone()?;
        let items = source.items.into_iter().flatten();
        let paths = items.map(|item| (item.path, item.field_ref.map(|field| field.field_path)));
        Some((source.default_mode, paths.collect::<Vec<_>>()))
    };
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == IDENTITY_VOLUME);
    let lines = (annotations.get(PASSWD_ANNOTATION), annotations.get(GROUP_ANNOTATION));
    let (passwd, volume) = match (lines, volume) {
        ((None, None), None) => return None,
        ((Some(passwd), Some(_)), Some(volume)) => (passwd, volume),
        _ => {
            found.push(
                "the annotations of the identity files and their volume do not go together".into(),
            );
            return None;
        }
    };
    if items(volume) != items(&identity::volume()) {
        found.push("the volume of the identity files does not hold the two annotations".into());
    }
    let mut ids = passwd.split(':').skip(2).map(|id| id.parse().ok());
    let identity = Identity { uid: ids.next()??, gid: ids.next()?? };
    if !identity::annotations(identity).iter().all(|(key, line)| annotations.get(key) == Some(line))
    {
        found.push("the lines of passwd and group are not those of one user".into());
    }
    Some(identity)
}

fn names(pod: &Pod, spec: &PodSpec, found: &mut Vec<String>) {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if !dns_subdomain(name).is_empty() || name.len() > 63 {
        found.push(format!("pod name {name:?} is no host name"));
    }
    let mut seen = BTreeSet::new();
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        if !dns_label(&container.name).is_empty() || !seen.insert(&container.name) {
            found.push(format!("container name {:?} is invalid or taken", container.name));
        }
    }
    for (key, value) in pod.metadata.labels.iter().flatten() {
        if !label_value(value).is_empty() {
            found.push(format!("label {key} cannot have the value {value:?}"));
        }
    }
}

fn volumes(spec: &PodSpec, found: &mut Vec<String>) {
    let mut declared = BTreeSet::new();
    for volume in spec.volumes.iter().flatten() {
        if !dns_label(&volume.name).is_empty() || !declared.insert(volume.name.as_str()) {
            found.push(format!("volume name {:?} is invalid or taken", volume.name));
        }
    }
    let mut used = BTreeSet::new();
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let mut paths = BTreeSet::new();
        for mount in container.volume_mounts.iter().flatten() {
            used.insert(mount.name.as_str());
            if !declared.contains(mount.name.as_str()) {
                found.push(format!(
                    "{} mounts volume {:?}, which is not there",
                    container.name, mount.name
                ));
            }
            if !paths.insert(mount.mount_path.trim_end_matches('/')) {
                found.push(format!(
                    "{} mounts two volumes at {:?}",
                    container.name, mount.mount_path
                ));
            }
        }
    }
    // A strategy may declare volumes that it does not mount; ours all have a user.
    let ours = |name: &&&str| name.starts_with("slipway-") || **name == IDENTITY_VOLUME;
    for unused in declared.iter().filter(ours).filter(|name| !used.contains(**name)) {
        found.push(format!("nobody mounts volume {unused:?}"));
    }
}

/// Every step is behind a gate that waits for the one before it, and nobody but the gate writes what the next one waits for.
fn order(spec: &PodSpec, found: &mut Vec<String>) {
    let mut before: Option<String> = None;
    for container in &spec.containers {
        let Some(gate) = gate(container) else {
            found.push(format!("{} does not run behind a gate", container.name));
            continue;
        };
        if gate.after != before {
            found.push(format!(
                "{} waits for {:?} and not for the step before it",
                container.name, gate.after
            ));
        }
        let at = |path: &str| mounts(container).find(|mount| mount.mount_path == path);
        match at(&gate.run_dir) {
            None => found.push(format!("{} has no run directory of its own", container.name)),
            Some(own) => {
                let writers = spec.containers.iter().filter(|other| {
                    mounts(other)
                        .any(|mount| mount.name == own.name && mount.read_only != Some(true))
                });
                if writers.count() != 1 {
                    found.push(format!(
                        "the run directory of {} has more than one writer",
                        container.name
                    ));
                }
            }
        }
        for seen in gate.after.iter().chain(&gate.await_started) {
            if at(seen).is_none() {
                found.push(format!("{} cannot see {seen}, which it waits for", container.name));
            }
        }
        before = Some(gate.run_dir);
    }
}

fn mounts(container: &Container) -> impl Iterator<Item = &VolumeMount> {
    container.volume_mounts.iter().flatten()
}

fn gate(container: &Container) -> Option<GateCommand> {
    use clap::Parser;
    if container.command.as_deref() != Some(&[BIN_PATH.to_owned()]) {
        return None;
    }
    let arguments =
        std::iter::once(BIN_PATH.to_owned()).chain(container.args.iter().flatten().cloned());
    match StepCommandLine::try_parse_from(arguments).ok()?.command {
        StepCommand::Gate(gate) => Some(gate),
        _ => None,
    }
}

fn unprivileged(container: &Container, found: &mut Vec<String>) {
    let context = container.security_context.clone().unwrap_or_default();
    let capabilities = context.capabilities.clone().unwrap_or_default();
    if !capabilities.drop.unwrap_or_default().iter().any(|capability| capability == "ALL") {
        found.push(format!("{} does not drop every capability", container.name));
    }
    if context.run_as_user != Some(0) && capabilities.add.is_some_and(|added| !added.is_empty()) {
        found.push(format!("{} adds capabilities for a user who is not root", container.name));
    }
    if context.allow_privilege_escalation != Some(false) {
        found.push(format!("{} allows privilege escalation", container.name));
    }
    if context.privileged == Some(true) {
        found.push(format!("{} is privileged", container.name));
    }
    if context.seccomp_profile.is_none_or(|profile| profile.type_ == "Unconfined") {
        found.push(format!("{} runs without a seccomp profile", container.name));
    }
    if context.run_as_user.is_some_and(|uid| uid != 0) && context.run_as_non_root != Some(true) {
        found.push(format!("{} does not say that it is not root", container.name));
    }
}

fn without_token(container: &Container, found: &mut Vec<String>) {
    let is_secret = |mount: &VolumeMount| {
        mount.mount_path.starts_with("/var/run/secrets/") || mount.mount_path == CREDENTIALS_DIR
    };
    if mounts(container).any(is_secret) {
        found.push(format!("{} mounts a token or credentials", container.name));
    }
}

fn identity_mounts(container: &Container) -> Vec<(&str, Option<&str>)> {
    let mounts = mounts(container).filter(|mount| mount.name == IDENTITY_VOLUME);
    mounts.map(|mount| (mount.mount_path.as_str(), mount.sub_path.as_deref())).collect()
}

fn supporting_step(container: &Container, identity: Option<Identity>, found: &mut Vec<String>) {
    let mut fail = |what: &str| found.push(format!("{} {what}", container.name));
    let expected: &[(&str, Option<&str>)] = match identity {
        Some(_) => &[("/etc/group", Some("group")), ("/etc/passwd", Some("passwd"))],
        None => &[],
    };
    if identity_mounts(container) != expected {
        fail("does not have exactly the identity files that belong to it");
    }
    if let Some(Identity { uid, gid }) = identity {
        let context = container.security_context.clone().unwrap_or_default();
        if (context.run_as_user, context.run_as_group) != (Some(uid), Some(gid)) {
            fail("does not run as the user and group of the strategy");
        }
    }
}
