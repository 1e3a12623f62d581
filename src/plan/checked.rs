//! A run that was proven: everything that could go wrong in making its pod has been ruled out.
//!
//! Invariant: made by [`super::validate`] only; fields are readable inside `plan` and by nobody else.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Toleration, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use slipway_step::protocol::{Credential, GitCommand};

use super::identity::Identity;
use super::pod_security::Level;
use super::settings::Settings;
use crate::api::Step;

/// What [`super::expand`] makes a pod of.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub(super) settings: Settings,
    pub(super) run: Run,
    pub(super) strategy: StrategyFacts,
    pub(super) source: CheckedSource,
    pub(super) output: CheckedOutput,
    /// Strategy steps, substituted, with merged environment and resources; each has a command. Where that of an image was assumed,
    /// a word stands for it, so that the run can be judged and explained; nobody starts it.
    pub(super) steps: Vec<StrategyStep>,
    /// Strategy volumes, overridden and substituted.
    pub(super) volumes: Vec<Volume>,
    /// Names of the results that the steps may leave.
    pub(super) results: Vec<&'static str>,
    pub(super) account: Account,
    /// Credentials that strategy steps find in their home.
    pub(super) credentials: Vec<Credential>,
    pub(super) placement: Placement,
    /// In seconds; nothing means for ever.
    pub(super) timeout: Option<i64>,
    /// The PodSecurity level that the namespace enforces, where that is known.
    pub(super) enforces: Option<Level>,
    pub(super) minimum_requests: BTreeMap<String, Quantity>,
}

/// The BuildRun and its Build by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub name: String,
    pub namespace: Option<String>,
    pub uid: Option<String>,
    pub generation: i64,
    /// Name and generation; nothing where the Build is embedded.
    pub build: Option<(String, i64)>,
    /// `<buildrun>-<5 characters>`, as `$(context.taskRun.name)` has it.
    pub executor: String,
}

/// What the strategy says of all its steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StrategyFacts {
    pub kind: &'static str,
    pub name: String,
    pub generation: i64,
    pub annotations: BTreeMap<String, String>,
    pub identity: Option<Identity>,
    /// Its own steps get the identity files too.
    pub identity_files: bool,
}

/// One step of the strategy.
#[derive(Debug, Clone, PartialEq)]
pub struct StrategyStep {
    pub step: Step,
    /// It writes to the output directory.
    pub writes_output: bool,
}

/// The source step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckedSource {
    Git { command: GitCommand, secret: Option<String> },
    Bundle { command: slipway_step::protocol::BundleCommand, secret: Option<String> },
    Upload { timeout: Option<String> },
    Nothing,
}

/// The image and what happens to it behind the strategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedOutput {
    /// The step behind the strategy; nothing where nothing is left to do.
    pub command: Option<slipway_step::protocol::ImageCommand>,
    pub secret: Option<String>,
}

/// As whom the pod speaks to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// An account that is there; `token` says whether it wants its token mounted.
    Named { name: String, token: bool },
    /// One made for this run, with these Secrets.
    Generated { secrets: Vec<String> },
}

/// Where the pod may run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placement {
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Toleration>,
    pub scheduler_name: Option<String>,
    pub runtime_class_name: Option<String>,
}
