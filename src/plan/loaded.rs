//! What was fetched for one run, before anybody judged it.
//!
//! Invariant: absence is data: an object that was looked for and is not there stands here as [`Presence::Absent`].
//! Invariant: the content of Secrets and ConfigMaps never comes in; their names, types and annotations do.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::pod_security::Level;
use crate::api::{Build, BuildRun, Strategy};

/// Namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Whether an object that a run names is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence<T> {
    /// It was fetched.
    Found(T),
    /// It was looked for, and is not there.
    Absent,
    /// Nobody can look here; it is taken to be there, and the user is told so.
    Assumed,
}

impl<T> Presence<T> {
    /// The object, where it was fetched.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(object) => Some(object),
            Self::Absent | Self::Assumed => None,
        }
    }

    /// Whether it is known not to be there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// The objects from which a run starts.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// The run.
    pub buildrun: BuildRun,
    /// The Build that it names; nothing where it names none.
    pub build: Option<Presence<Build>>,
    /// The strategy of the effective Build; nothing where there is no Build to name one.
    pub strategy: Option<Presence<Strategy>>,
}

/// What is known of a Secret: never its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretFacts {
    /// Type, such as `kubernetes.io/dockerconfigjson`.
    pub type_: Option<String>,
    /// Annotations, some of which say what credentials are for.
    pub annotations: BTreeMap<String, String>,
}

/// Everything that one run depends on.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Run, Build and strategy.
    pub roots: Roots,
    /// The Secrets that [`super::references`] named, by name.
    pub secrets: BTreeMap<String, Presence<SecretFacts>>,
    /// The ConfigMaps that it named, by name.
    pub config_maps: BTreeMap<String, Presence<()>>,
    /// The service accounts that it named, by name.
    pub service_accounts: BTreeMap<String, Presence<ServiceAccount>>,
    /// The programs of images whose steps say no command, by image. Whoever starts the pod assumes none.
    pub image_commands: BTreeMap<String, Presence<ImageCommand>>,
    /// Why nobody can say what an image runs, by image, where somebody asked.
    pub image_problems: BTreeMap<String, String>,
    /// What is known of the namespace.
    pub namespace: NamespaceFacts,
}

/// What an image runs of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageCommand {
    /// `ENTRYPOINT`
    pub entrypoint: Vec<String>,
    /// `CMD`
    pub cmd: Vec<String>,
}

/// What the namespace demands of pods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamespaceFacts {
    /// The PodSecurity level that it enforces, where that is known.
    pub enforces: Option<Level>,
    /// The least that a container must request, by resource, from its LimitRanges.
    pub minimum_requests: BTreeMap<String, Quantity>,
}
