//! A container's security context in the making: every field of it knows who decided it.
//!
//! Invariant: no value changes without the word who changed it, so what [`super::explain`] tells is what the pod has.

use k8s_openapi::api::core::v1::{Capabilities, SeccompProfile, SecurityContext};
use serde::{Serialize, Serializer};

/// Who decided a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decider {
    /// The step's own `securityContext`.
    Step,
    /// The strategy's `securityContext`.
    Strategy,
    /// The configured or built-in container of a supporting step.
    Template,
    /// The namespace, which enforces the PodSecurity level `restricted`.
    Namespace,
    /// Slipway, which gives its own steps no privilege that their template does not ask for.
    Slipway,
    /// The image: what it says is not known here.
    Image,
    /// Nobody: the kubelet has a default.
    Kubelet,
}

impl Decider {
    /// The word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Strategy => "strategy",
            Self::Template => "template",
            Self::Namespace => "namespace",
            Self::Slipway => "slipway",
            Self::Image => "image",
            Self::Kubelet => "kubelet's default",
        }
    }
}

impl Serialize for Decider {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// A field and who decided it; nobody did where neither is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided<T> {
    value: Option<T>,
    by: Option<Decider>,
}

impl<T> Decided<T> {
    fn of(value: Option<T>, by: Decider) -> Self {
        let by = value.is_some().then_some(by);
        Self { value, by }
    }

    /// The value, where somebody set one.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Who set it, or took it away.
    pub fn by(&self) -> Option<Decider> {
        self.by
    }

    /// Sets the value, whatever it was.
    pub fn set(&mut self, value: T, by: Decider) {
        *self = Self { value: Some(value), by: Some(by) };
    }

    /// Sets the value where nobody has.
    pub fn fill(&mut self, value: T, by: Decider) {
        if self.value.is_none() {
            self.set(value, by);
        }
    }

    /// Takes the value away, where there is one.
    pub fn clear(&mut self, by: Decider) {
        if self.value.take().is_some() {
            self.by = Some(by);
        }
    }
}

/// What a security context says, field by field.
#[derive(Debug, Clone, PartialEq)]
pub struct Security {
    pub uid: Decided<i64>,
    pub gid: Decided<i64>,
    pub run_as_non_root: Decided<bool>,
    pub privileged: Decided<bool>,
    pub allow_privilege_escalation: Decided<bool>,
    pub read_only_root_filesystem: Decided<bool>,
    pub seccomp_profile: Decided<SeccompProfile>,
    pub added_capabilities: Decided<Vec<String>>,
    pub dropped_capabilities: Decided<Vec<String>>,
    /// As it was written, for what nobody else decides.
    written: Option<SecurityContext>,
}

impl Security {
    /// What this author wrote.
    pub fn written(context: Option<&SecurityContext>, by: Decider) -> Self {
        let said = context.cloned().unwrap_or_default();
        let capabilities = said.capabilities.unwrap_or_default();
        Self {
            uid: Decided::of(said.run_as_user, by),
            gid: Decided::of(said.run_as_group, by),
            run_as_non_root: Decided::of(said.run_as_non_root, by),
            privileged: Decided::of(said.privileged, by),
            allow_privilege_escalation: Decided::of(said.allow_privilege_escalation, by),
            read_only_root_filesystem: Decided::of(said.read_only_root_filesystem, by),
            seccomp_profile: Decided::of(said.seccomp_profile, by),
            added_capabilities: Decided::of(capabilities.add, by),
            dropped_capabilities: Decided::of(capabilities.drop, by),
            written: context.cloned(),
        }
    }

    /// The security context of a container; nothing where nobody says anything.
    pub fn context(&self) -> Option<SecurityContext> {
        let written = self.written.clone().unwrap_or_default();
        let capabilities = Capabilities {
            add: self.added_capabilities.value.clone(),
            drop: self.dropped_capabilities.value.clone(),
        };
        let says_nothing =
            written.capabilities.is_none() && capabilities == Capabilities::default();
        let context = SecurityContext {
            run_as_user: self.uid.value,
            run_as_group: self.gid.value,
            run_as_non_root: self.run_as_non_root.value,
            privileged: self.privileged.value,
            allow_privilege_escalation: self.allow_privilege_escalation.value,
            read_only_root_filesystem: self.read_only_root_filesystem.value,
            seccomp_profile: self.seccomp_profile.value.clone(),
            capabilities: (!says_nothing).then_some(capabilities),
            ..written
        };
        (self.written.is_some() || context != SecurityContext::default()).then_some(context)
    }
}
