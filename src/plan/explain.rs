//! What each container of a run may do, and who decided that; and which PodSecurity level its pod needs.
//!
//! Invariant: values and their deciders come from the steps that [`expand`] makes the pod of; no rule stands here twice.
//! Invariant: what only an image knows is nothing, from [`Decider::Image`].

use serde::Serialize;

use super::checked::Checked;
use super::identity;
use super::layout::container_name;
use super::loaded::DEFAULT_NAMESPACE;
use super::pod::{PREPARE, expand};
use super::pod_security::{Level, Violation, level, violations};
use super::security::{Decided, Decider, Security};
use super::step::{Origin, planned};

/// A run explained. The names of the fields are those of `slipway explain -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// In the order of the pod.
    pub containers: Vec<ExplainedContainer>,
    /// The strictest level that accepts the pod.
    pub pod_security_level: Level,
    /// What keeps the pod from stricter levels.
    pub pod_security_reasons: Vec<Violation>,
    /// The namespace, where it is known to enforce a level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<ExplainedNamespace>,
}

/// A container explained.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of Kubernetes' security context"
)]
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedContainer {
    /// Name of the container, such as `step-build`.
    pub name: String,
    /// Whose container it is.
    pub origin: Origin,
    /// User of its processes.
    pub uid: Id,
    /// Primary group of its processes.
    pub gid: Id,
    /// Further groups that the pod gives them; the image's `/etc/group` may have more.
    pub groups: Vec<i64>,
    /// Capabilities beside those that the runtime gives to every container; `ALL` of a privileged one, whatever it says.
    pub capabilities: Capabilities<Vec<String>>,
    /// They may do what root on the node may.
    pub privileged: bool,
    /// They may get more privileges than they start with.
    pub allow_privilege_escalation: bool,
    /// They cannot write to the image's files.
    pub read_only_root_filesystem: bool,
    /// `RuntimeDefault`, `Unconfined` or `Localhost/` and the profile.
    pub seccomp_profile: String,
    /// The kubelet refuses to start the container as root.
    pub run_as_non_root: bool,
    /// Who decided the fields above.
    pub origins: Origins,
}

/// A user or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Id {
    /// Nothing where only the image knows.
    pub value: Option<i64>,
    /// Who decided it.
    pub from: Decider,
}

/// Something for each of the two lists of capabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capabilities<T> {
    /// Of those that are added.
    pub add: T,
    /// Of those that are dropped.
    pub drop: T,
}

/// Who decided each field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origins {
    /// Of the groups.
    pub groups: Decider,
    /// Of the capabilities.
    pub capabilities: Capabilities<Decider>,
    /// Of `privileged`.
    pub privileged: Decider,
    /// Of `allowPrivilegeEscalation`.
    pub allow_privilege_escalation: Decider,
    /// Of `readOnlyRootFilesystem`.
    pub read_only_root_filesystem: Decider,
    /// Of `seccompProfile`.
    pub seccomp_profile: Decider,
    /// Of `runAsNonRoot`.
    pub run_as_non_root: Decider,
}

/// What the namespace says to the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedNamespace {
    /// Its name.
    pub name: String,
    /// The level that it enforces.
    pub enforces: Level,
    /// Whether it accepts the pod.
    pub admits: bool,
}

/// The profile of containers without one.
const UNCONFINED: &str = "Unconfined";

/// Explains a proven run.
pub fn explain(checked: &Checked) -> Explanation {
    let prepare = identity::prepare(checked.strategy.identity);
    let mut containers = vec![container(PREPARE.into(), Origin::Supporting, &prepare)];
    let steps = planned(checked).into_iter();
    containers.extend(
        steps.map(|step| container(container_name(&step.name), step.origin, &step.security)),
    );
    let pod_security_reasons = violations(&expand(checked).pod);
    let pod_security_level = level(&pod_security_reasons);
    let namespace = checked.enforces.map(|enforces| ExplainedNamespace {
        name: checked.run.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.into()),
        enforces,
        admits: enforces <= pod_security_level,
    });
    Explanation { containers, pod_security_level, pod_security_reasons, namespace }
}

fn container(name: String, origin: Origin, security: &Security) -> ExplainedContainer {
    let mut explained = as_written(name, origin, security);
    if explained.privileged {
        // Nothing else that is said of them counts then: all capabilities, no profile, no bounds.
        let by = explained.origins.privileged;
        explained.capabilities = Capabilities { add: vec!["ALL".into()], drop: Vec::new() };
        explained.allow_privilege_escalation = true;
        explained.seccomp_profile = UNCONFINED.into();
        explained.origins.capabilities = Capabilities { add: by, drop: by };
        explained.origins.allow_privilege_escalation = by;
        explained.origins.seccomp_profile = by;
    }
    explained
}

fn as_written(name: String, origin: Origin, security: &Security) -> ExplainedContainer {
    let kubelet = |by: Option<Decider>| by.unwrap_or(Decider::Kubelet);
    let list = |names: &Decided<Vec<String>>| names.get().cloned().unwrap_or_default();
    let is = |field: &Decided<bool>| field.get().copied().unwrap_or(false);
    let seccomp_profile = security.seccomp_profile.get().map_or_else(
        || UNCONFINED.into(),
        |profile| match &profile.localhost_profile {
            Some(path) => format!("{}/{path}", profile.type_),
            None => profile.type_.clone(),
        },
    );
    ExplainedContainer {
        name,
        origin,
        uid: id(&security.uid),
        gid: id(&security.gid),
        // Kubernetes has them for whole pods only, and ours set no ids on the pod.
        groups: Vec::new(),
        capabilities: Capabilities {
            add: list(&security.added_capabilities),
            drop: list(&security.dropped_capabilities),
        },
        privileged: is(&security.privileged),
        // What is not forbidden is allowed: setuid programs work.
        allow_privilege_escalation: security.allow_privilege_escalation.get() != Some(&false),
        read_only_root_filesystem: is(&security.read_only_root_filesystem),
        run_as_non_root: is(&security.run_as_non_root),
        seccomp_profile,
        origins: Origins {
            groups: Decider::Image,
            capabilities: Capabilities {
                add: kubelet(security.added_capabilities.by()),
                drop: kubelet(security.dropped_capabilities.by()),
            },
            privileged: kubelet(security.privileged.by()),
            allow_privilege_escalation: kubelet(security.allow_privilege_escalation.by()),
            read_only_root_filesystem: kubelet(security.read_only_root_filesystem.by()),
            run_as_non_root: kubelet(security.run_as_non_root.by()),
            seccomp_profile: kubelet(security.seccomp_profile.by()),
        },
    }
}

/// An id that nobody sets is the image's: the user of its configuration, the group of that user in its `/etc/passwd`.
fn id(field: &Decided<i64>) -> Id {
    Id { value: field.get().copied(), from: field.by().unwrap_or(Decider::Image) }
}
