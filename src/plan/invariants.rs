//! What must hold for every finished pod, whatever made it.
//!
//! Invariant: reads the pod alone, so that it can judge any pod: a golden one, one from a cluster, one in a debug build.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, VolumeMount};
use slipway_step::protocol::{
    BIN_PATH, CREDENTIALS_DIR, GateCommand, StepCommand, StepCommandLine,
};

use super::identity::{GROUP_ANNOTATION, IDENTITY_VOLUME, PASSWD_ANNOTATION};
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
    let has_identity = annotations.contains_key(PASSWD_ANNOTATION);

    names(pod, spec, &mut found);
    volumes(spec, &mut found);
    order(spec, &mut found);
    if annotations.contains_key(PASSWD_ANNOTATION) != annotations.contains_key(GROUP_ANNOTATION)
        || has_identity != volume_is_declared(spec)
    {
        found.push(
            "the annotations of the identity files and their volume do not go together".into(),
        );
    }
    for container in spec.init_containers.iter().flatten() {
        unprivileged(container, &mut found);
    }
    for container in &spec.containers {
        if supporting.contains(container.name.as_str()) {
            unprivileged(container, &mut found);
            supporting_step(container, annotations.get(PASSWD_ANNOTATION), &mut found);
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

/// Every step is behind a gate that waits for the one before it.
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
        before = Some(gate.run_dir);
    }
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

fn volume_is_declared(spec: &PodSpec) -> bool {
    spec.volumes.iter().flatten().any(|volume| volume.name == IDENTITY_VOLUME)
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
}

/// `passwd` is the annotation's line, from which the strategy's user and group are read.
fn supporting_step(container: &Container, passwd: Option<&String>, found: &mut Vec<String>) {
    let mounts: Vec<&VolumeMount> = container.volume_mounts.iter().flatten().collect();
    let mut fail = |what: &str| found.push(format!("{} {what}", container.name));
    let identity: Vec<&str> = mounts
        .iter()
        .filter(|mount| mount.name == IDENTITY_VOLUME)
        .map(|mount| mount.mount_path.as_str())
        .collect();
    let expected: &[&str] = if passwd.is_some() { &["/etc/group", "/etc/passwd"] } else { &[] };
    if identity != expected {
        fail("does not have exactly the identity files that belong to it");
    }
    if let Some(passwd) = passwd {
        let context = container.security_context.clone().unwrap_or_default();
        let ids: Vec<Option<i64>> =
            passwd.split(':').skip(2).take(2).map(|id| id.parse().ok()).collect();
        if ids != [context.run_as_user, context.run_as_group] {
            fail("does not run as the user and group of the strategy");
        }
    }
    if mounts.iter().any(|mount| {
        mount.mount_path.starts_with("/var/run/secrets/") || mount.mount_path == CREDENTIALS_DIR
    }) {
        fail("mounts a token or credentials");
    }
}
