//! What strategy, Build and run say that goes into the pod as it is: what the API server would refuse there, and the kubelet before
//! it starts a container.
//!
//! Invariant: the reason is what the status would have once the pod was refused; the message is what the API server or the kubelet
//! would say.
//!
//! Rules that need a cluster (admission, features of nodes) are not in here, nor what a volume's driver or an extended resource
//! demands.

use k8s_openapi::api::core::v1::{
    EnvVar, ObjectFieldSelector, ResourceFieldSelector, ResourceRequirements, SecurityContext,
    VolumeMount,
};

use super::generation::Context;
use super::problems::Site;
use super::volume_rules::{descending, volume};
use crate::api::{Step, reasons};
use crate::plan::go_quote::go_quote;
use crate::plan::image_reference::is_image_reference;
use crate::plan::kubernetes_names::qualified_name;
use crate::plan::refusal::Refusal;
use crate::plan::requests::nanos;
use crate::plan::substitution::Resolved;

/// Fields of the pod that a variable may take its value from.
const VARIABLE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of the pod that a file may take its content from.
pub const FILE_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Resources that variables and files may tell of; of huge pages, any size.
const TOLD_RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// Of a pod that the API server does not take.
const REFUSED: &str = reasons::POD_CREATION_FAILED;
pub const REQUIRED: &str = "Required value";

/// A field, and what is wrong with it.
pub type Fault = (String, String);

impl Context<'_> {
    /// Judges what the pod takes over; without `resolved`, texts that hold references are left out.
    pub fn pod_rules(&self, resolved: Option<&Resolved>) -> Vec<Refusal> {
        let (steps, volumes) = self.steps_and_volumes(resolved);
        let is_final = |text: &str| resolved.is_some() || !text.contains("$(");
        let mut found = Vec::new();
        let mut refuse = |site: &Site, base: &str, reason: &'static str, faults: Vec<Fault>| {
            let refuse =
                |(field, message): Fault| site.refuse(&(base.to_owned() + &field), reason, message);
            found.extend(faults.into_iter().map(refuse));
        };
        // What the variables of Build and run come to in each step is theirs.
        for (index, (step, own)) in steps.iter().zip(&self.effective.steps).enumerate() {
            let place = format!("steps[{index}].");
            let image = step.image.as_deref().filter(|image| is_final(image)).unwrap_or_default();
            let faults = unusable_image(image).into_iter().collect();
            refuse(&self.strategy_site, &place, reasons::TASK_RUN_IMAGE_PULL_FAILED, faults);
            let root = step.security_context.as_ref().and_then(|context| self.root(context));
            let faults = root.into_iter().collect();
            refuse(&self.strategy_site, &place, reasons::CREATE_CONTAINER_CONFIG_ERROR, faults);
            let mut faults: Vec<Fault> = image_with_blanks(image).into_iter().collect();
            faults.extend(step.security_context.iter().flat_map(rights));
            for (at, of) in own.env.iter().enumerate() {
                faults.extend(step_variable(of, &format!("env[{at}]")));
            }
            for (at, of) in step.volume_mounts.iter().enumerate() {
                faults.extend(mount(of, step, &format!("volumeMounts[{at}]"), &is_final));
            }
            refuse(&self.strategy_site, &place, REFUSED, faults);
            let (site, place) = self.resources_place(index, own);
            let faults = own.resources.iter().flat_map(resources).collect();
            refuse(site, &format!("{place}."), REFUSED, faults);
        }
        for (author, index, of) in &self.effective.env {
            refuse(self.of(*author), "", REFUSED, variable(of, &format!("env[{index}]")));
        }
        for (index, (of, own)) in volumes.iter().zip(&self.effective.volumes).enumerate() {
            let (site, place) = self.volume_place(index, &own.name);
            refuse(site, &format!("{place}."), REFUSED, volume(of, &is_final));
        }
        found
    }

    /// Root, where it may not be.
    fn root(&self, context: &SecurityContext) -> Option<Fault> {
        let strategy = self.strategy.spec().security_context.as_ref();
        let uid = context.run_as_user.or(strategy.map(|strategy| strategy.run_as_user));
        let message = "container's runAsUser breaks non-root policy";
        (context.run_as_non_root == Some(true) && uid == Some(0))
            .then(|| ("securityContext.runAsNonRoot".into(), message.into()))
    }
}

fn rights(context: &SecurityContext) -> Vec<Fault> {
    let mut faults = Vec::new();
    let added = context.capabilities.iter().flat_map(|all| all.add.iter().flatten());
    let is_admin = added.into_iter().any(|added| added == "CAP_SYS_ADMIN");
    for (escalates, what) in [
        (context.privileged == Some(true), "`privileged` to true"),
        (is_admin, "`capabilities.Add` CAP_SYS_ADMIN"),
    ] {
        if escalates && context.allow_privilege_escalation == Some(false) {
            let message = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
            faults.push(("securityContext".to_owned(), message));
        }
    }
    let seccomp = context.seccomp_profile.as_ref();
    let seccomp = seccomp.map(|of| ("seccomp", "seccompProfile", &of.type_, &of.localhost_profile));
    let app_armor = context.app_armor_profile.as_ref();
    let app_armor =
        app_armor.map(|of| ("AppArmor", "appArmorProfile", &of.type_, &of.localhost_profile));
    for (what, field, kind, path) in seccomp.into_iter().chain(app_armor) {
        faults.extend(profile(what, field, kind, path.as_deref()));
    }
    let kind = context.proc_mount.as_deref().unwrap_or("Default");
    let field = "securityContext.procMount".to_owned();
    if kind == "Unmasked" {
        // Nothing that is written here can say so of the pod.
        faults.push((field.clone(), invalid(kind, "`hostUsers` must be false to use `Unmasked`")));
    }
    faults.extend(unsupported(field, kind, &["Default", "Unmasked"]));
    faults
}

fn image_with_blanks(image: &str) -> Option<Fault> {
    let message = || invalid(image, "must not have leading or trailing whitespace");
    (image.trim() != image).then(|| ("image".into(), message()))
}

fn unusable_image(image: &str) -> Option<Fault> {
    let is_fine = image.is_empty() || image.trim() != image || is_image_reference(image);
    let message =
        || format!("couldn't parse image name {}: invalid reference format", go_quote(image));
    (!is_fine).then(|| ("image".into(), message()))
}

/// A profile on the node, or one that everybody has.
fn profile(what: &str, field: &str, kind: &str, path: Option<&str>) -> Option<Fault> {
    let base = format!("securityContext.{field}");
    let (kind_field, path_field) = (format!("{base}.type"), format!("{base}.localhostProfile"));
    match path {
        _ if kind.is_empty() => {
            Some((kind_field, format!("{REQUIRED}: type is required when {field} is set")))
        }
        _ if !PROFILES.contains(&kind) => unsupported(kind_field, kind, &PROFILES),
        None if kind == "Localhost" => {
            Some((path_field, format!("{REQUIRED}: must be set when {what} type is Localhost")))
        }
        Some(path) if kind == "Localhost" => descending(path_field, path),
        Some(path) => {
            let rule = format!("can only be set when {what} type is Localhost");
            Some((path_field, invalid(path, &rule)))
        }
        None => None,
    }
}

/// A variable of a step. A Build or a run is refused for some of this with reasons of its own.
fn step_variable(of: &EnvVar, base: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    if of.name.is_empty() {
        faults.push((format!("{base}.name"), REQUIRED.into()));
    }
    if of.value_from.is_some() && of.value.as_ref().is_some_and(|value| !value.is_empty()) {
        let message = "may not be specified when `value` is not empty";
        faults.push((format!("{base}.valueFrom"), message.into()));
    }
    faults.extend(variable(of, base));
    faults
}

fn variable(of: &EnvVar, base: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !of.name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        let rule = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        faults.push((format!("{base}.name"), invalid(&of.name, rule)));
    }
    let Some(source) = &of.value_from else { return faults };
    let base = format!("{base}.valueFrom");
    let sources = [
        source.config_map_key_ref.is_some(),
        source.field_ref.is_some(),
        source.file_key_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.secret_key_ref.is_some(),
    ];
    let message = match sources.into_iter().filter(|is_set| *is_set).count() {
        0 => Some(
            "must specify one of: `configMapKeyRef`, `fieldRef`, `fileKeyRef`, `resourceFieldRef` or `secretKeyRef`",
        ),
        1 => None,
        _ => Some("may not have more than one field specified at a time"),
    };
    faults.extend(message.map(|message| (base.clone(), message.to_owned())));
    let field = source.field_ref.as_ref();
    faults.extend(field.and_then(|of| pod_field(of, &base, &VARIABLE_FIELDS)));
    let resource = source.resource_field_ref.as_ref();
    faults.extend(resource.and_then(|of| pod_resource(of, &base)));
    for (what, key) in [
        ("configMapKeyRef", source.config_map_key_ref.as_ref().map(|of| &of.key)),
        ("secretKeyRef", source.secret_key_ref.as_ref().map(|of| &of.key)),
    ] {
        if key.is_some_and(String::is_empty) {
            faults.push((format!("{base}.{what}.key"), REQUIRED.into()));
        }
    }
    faults
}

/// A field of the pod, or one label or annotation of it.
pub fn pod_field(of: &ObjectFieldSelector, base: &str, known: &[&str]) -> Option<Fault> {
    let field = format!("{base}.fieldRef.fieldPath");
    let path = match of.field_path.as_str() {
        // The name that it once had, which still counts.
        "spec.host" => "spec.nodeName",
        path => path,
    };
    if path.is_empty() {
        return Some((field, REQUIRED.into()));
    }
    if let Some(key) = subscript(path) {
        let broken = qualified_name(&key);
        return (!broken.is_empty()).then(|| (field, invalid(&key, &broken.join(", "))));
    }
    if VARIABLE_FIELDS.contains(&path) || FILE_FIELDS.contains(&path) {
        return unsupported(field, path, known);
    }
    let rule = format!("error converting fieldPath: field label not supported: {path}");
    Some((field, invalid(path, &rule)))
}

/// The key in `metadata.labels['KEY']` or `metadata.annotations['KEY']`, as it is judged: annotations have no case there.
fn subscript(path: &str) -> Option<String> {
    let key = |rest: &str| Some(rest.strip_prefix("['")?.strip_suffix("']")?.to_owned());
    match path.strip_prefix("metadata.annotations") {
        Some(rest) => key(rest).map(|key| key.to_lowercase()),
        None => key(path.strip_prefix("metadata.labels")?),
    }
}

pub fn pod_resource(of: &ResourceFieldSelector, base: &str) -> Option<Fault> {
    let field = format!("{base}.resourceFieldRef.resource");
    let huge = ["limits.hugepages-", "requests.hugepages-"];
    match of.resource.as_str() {
        "" => Some((field, REQUIRED.into())),
        resource if huge.iter().any(|huge| resource.starts_with(huge)) => None,
        resource => unsupported(field, resource, &TOLD_RESOURCES),
    }
}

fn mount(
    of: &VolumeMount,
    step: &Step,
    base: &str,
    is_final: &impl Fn(&str) -> bool,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let path = of.sub_path.as_deref().filter(|path| is_final(path)).unwrap_or_default();
    faults.extend(descending(format!("{base}.subPath"), path));
    let expression = of.sub_path_expr.as_deref().unwrap_or_default();
    let field = format!("{base}.subPathExpr");
    if !expression.is_empty() && of.sub_path.as_ref().is_some_and(|path| !path.is_empty()) {
        let rule = "subPathExpr and subPath are mutually exclusive";
        faults.push((field.clone(), invalid(expression, rule)));
    }
    faults.extend(descending(field, expression));
    let propagation = of.mount_propagation.as_deref().unwrap_or("None");
    let field = format!("{base}.mountPropagation");
    let is_privileged =
        step.security_context.as_ref().and_then(|context| context.privileged) == Some(true);
    if propagation == "Bidirectional" && !is_privileged {
        let message =
            "Forbidden: Bidirectional mount propagation is available only to privileged containers";
        faults.push((field.clone(), message.into()));
    }
    faults.extend(unsupported(field, propagation, &["Bidirectional", "HostToContainer", "None"]));
    let how = of.recursive_read_only.as_deref().unwrap_or("Disabled");
    let field = format!("{base}.recursiveReadOnly");
    faults.extend(unsupported(field.clone(), how, &["Disabled", "Enabled", "IfPossible"]));
    if ["Enabled", "IfPossible"].contains(&how) {
        let is_writable = of.read_only != Some(true);
        let rules = [
            (is_writable, "readOnly is true"),
            (propagation != "None", "mountPropagation is None or not specified"),
        ];
        for (_, rule) in rules.into_iter().filter(|(is_broken, _)| *is_broken) {
            faults.push((field.clone(), format!("Forbidden: may only be specified when {rule}")));
        }
    }
    faults
}

fn resources(of: &ResourceRequirements) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (what, amounts) in [("limits", &of.limits), ("requests", &of.requests)] {
        for (resource, amount) in amounts.iter().flatten() {
            let is_standard = ["cpu", "memory", "ephemeral-storage"].contains(&resource.as_str())
                || resource.starts_with("hugepages-");
            let message = if !is_standard && !resource.contains('/') {
                invalid(resource, "must be a standard resource for containers")
            } else if nanos(amount) < 0 {
                invalid(&amount.0, "must be greater than or equal to 0")
            } else {
                continue;
            };
            faults.push((format!("resources.{what}.{resource}"), message));
        }
    }
    for (index, claim) in of.claims.iter().flatten().enumerate() {
        let field = format!("resources.claims[{index}]");
        let rule = "must be one of the names in pod.spec.resourceClaims which is empty";
        faults.push(match claim.name.as_str() {
            "" => (field, REQUIRED.into()),
            name => (field, format!("Not found: {}: {rule}", go_quote(name))),
        });
    }
    faults
}

pub fn unsupported(field: String, value: &str, known: &[&str]) -> Option<Fault> {
    let listed = || known.iter().map(|word| go_quote(word)).collect::<Vec<_>>().join(", ");
    let message =
        || format!("Unsupported value: {}: supported values: {}", go_quote(value), listed());
    (!known.contains(&value)).then(|| (field, message()))
}

pub fn invalid(value: &str, rule: &str) -> String {
    format!("Invalid value: {}: {rule}", go_quote(value))
}
