//! What the texts of steps and volumes become with the values of a run.
//!
//! Invariant: two passes: parameters first, then names and result paths, which values may hold too. Each pass reads a text
//! once, so a value is never read for parameters again.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Volume;
use slipway_step::protocol::{CREDENTIALS_DIR, result_path};

use super::effective::Effective;
use super::params::{Params, SOURCE_ROOT, UnresolvedDefault, Value, used};
use super::pod::SOURCE_VOLUME;
use super::reference_text::{self, Part, Reference, Target};
use super::texts::{Text, visit_step, visit_volume};
use crate::api::Step;

/// What the texts of one pod may take, in bytes. No API server stores an object of more than one and a half times this.
pub const MAX_TEXT: usize = 1 << 20;
/// What an item of a list or a variable takes beside its text, in bytes: many empty ones make a large pod too.
const ITEM: usize = 32;
/// About what an environment variable for a Secret's or ConfigMap's key takes.
const KEY_VARIABLE: usize = 200;

/// What a reference by name may mean, in the order of [`Substitution::of`]'s values.
pub const NAMED: [&str; 10] = [
    "context.taskRun.name",
    "context.taskRun.namespace",
    "context.taskRun.uid",
    "context.task.name",
    "context.task.retry-count",
    "workspaces.source.path",
    "workspaces.source.bound",
    "workspaces.source.volume",
    "workspaces.source.claim",
    "credentials.path",
];

/// The values of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Substitution {
    params: Params,
    named: BTreeMap<&'static str, String>,
    results: BTreeSet<&'static str>,
}

impl Substitution {
    /// The values of a run, and the defaults that cannot be resolved.
    pub fn of(effective: &Effective<'_>) -> (Self, Vec<UnresolvedDefault>) {
        let mut params =
            Params::system(effective.image(), effective.insecure(), &effective.source_context());
        let given =
            effective.param_values().into_iter().map(|(name, (value, ..))| (name, value)).collect();
        let declared = effective.strategy.map(|strategy| strategy.spec().parameters.as_slice());
        let unresolved = params.declare(declared.unwrap_or_default(), &given);
        let values: [String; NAMED.len()] = [
            effective.executor(),
            effective.namespace().to_owned(),
            effective.buildrun.metadata.uid.clone().unwrap_or_default(),
            effective.executor(),
            "0".into(),
            SOURCE_ROOT.into(),
            "true".into(),
            SOURCE_VOLUME.into(),
            String::new(),
            CREDENTIALS_DIR.into(),
        ];
        let named = NAMED.into_iter().zip(values).collect();
        (Self { params, named, results: effective.results().into_iter().collect() }, unresolved)
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Steps and volumes of the strategy with the values in their places; nothing where they would take more than [`MAX_TEXT`].
    pub fn resolve(&self, effective: &Effective<'_>) -> Option<Resolved> {
        if self.length(effective) > MAX_TEXT {
            return None;
        }
        let step = |step: &Step| {
            let mut step = step.clone();
            step.env.extend(effective.env.iter().map(|(_, _, variable)| (*variable).clone()));
            let mut names = BTreeSet::new();
            visit_step(&mut step, &mut |_, text| {
                names.extend(text.strings().flat_map(|text| used(text)).map(String::from));
            });
            visit_step(&mut step, &mut |_, text| self.apply(text));
            let mut env = self.params.env_for(&names);
            env.append(&mut step.env);
            Step { env, ..step }
        };
        let volume = |volume: &Volume| {
            let mut volume = volume.clone();
            visit_volume(&mut volume, &mut |_, text| self.apply(text));
            volume
        };
        Some(Resolved {
            steps: effective.steps.iter().map(step).collect(),
            volumes: effective.volumes.iter().map(volume).collect(),
        })
    }

    /// About how many bytes the texts take with the values in their places; counted, not made.
    fn length(&self, effective: &Effective<'_>) -> usize {
        let mut length = 0_usize;
        let mut count = |_: &str, text: Text<'_>| {
            for text in text.strings() {
                length = length.saturating_add(self.text_length(text) + ITEM);
            }
        };
        // The environment of Build and run goes into every step.
        let environment = Step {
            env: effective.env.iter().map(|(_, _, variable)| (*variable).clone()).collect(),
            ..Step::default()
        };
        visit_step(&mut environment.clone(), &mut count);
        let variables = effective.env.len() * ITEM;
        let shared =
            (std::mem::take(&mut length) + variables).saturating_mul(effective.steps.len());
        let mut count = |_: &str, text: Text<'_>| {
            for text in text.strings() {
                length = length.saturating_add(self.text_length(text) + ITEM);
            }
        };
        for step in &effective.steps {
            visit_step(&mut step.clone(), &mut count);
        }
        for volume in &effective.volumes {
            visit_volume(&mut volume.clone(), &mut count);
        }
        length.saturating_add(shared)
    }

    fn text_length(&self, text: &str) -> usize {
        reference_text::replaced_length(text, |reference| match reference.target {
            Target::Param { name, part } => {
                let value = match (self.params.get(name)?, part) {
                    (Value::Text(text), _) => text.len(),
                    (Value::List(items), Part::Item(index)) => items.get(index)?.len(),
                    (Value::List(items), _) => items.iter().map(|item| item.len() + ITEM).sum(),
                };
                Some(value + self.params.env_count(name) * KEY_VARIABLE)
            }
            _ => None,
        })
    }

    fn apply(&self, text: Text<'_>) {
        match text {
            Text::Single(text) => *text = self.text(text),
            Text::List(items) => *items = items.iter().flat_map(|item| self.item(item)).collect(),
        }
    }

    fn text(&self, text: &str) -> String {
        self.names(&reference_text::replace(text, |reference| match reference.target {
            Target::Param { name, part } => self.params.lookup(name, part),
            _ => None,
        }))
    }

    /// One item of a list: a whole array takes the place of an item that is nothing but a reference to it.
    fn item(&self, item: &str) -> Vec<String> {
        if let [
            Reference {
                text, target: Target::Param { name, part: Part::Whole | Part::All }, ..
            },
        ] = reference_text::references(item)[..]
            && text == item
            && let Some(Value::List(items)) = self.params.get(name)
        {
            return items.iter().map(|item| self.names(item)).collect();
        }
        vec![self.text(item)]
    }

    fn names(&self, text: &str) -> String {
        reference_text::replace(text, |reference| match reference.target {
            Target::ResultPath { name } if self.results.contains(name) => Some(result_path(name)),
            Target::Named(name) => self.named.get(name).cloned(),
            _ => None,
        })
    }
}

/// A strategy's steps and volumes as they are in one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resolved {
    /// With the environment of Build and run, and the variables that parameter values need.
    pub steps: Vec<Step>,
    /// With the sources that Build and run give them.
    pub volumes: Vec<Volume>,
}
