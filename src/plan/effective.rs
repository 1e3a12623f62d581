//! What Build and BuildRun say together.
//!
//! Invariant: nothing is merged in place; Build, BuildRun and strategy stay as they were written.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements, Toleration, Volume};

use slipway_step::protocol::results as names;

use super::layout::executor_name;
use super::loaded::{DEFAULT_NAMESPACE, Roots};
use super::params::{OUTPUT_DIRECTORY_PARAM, SOURCE_ROOT, used};
use super::replacement::attempt;
use super::texts::{Text, visit_step, visit_variable};
use crate::api::{
    Build, BuildRun, BuildSpec, GitSource, GoDuration, Image, LocalSource, OciArtifact, ParamValue,
    Step, Strategy, StrategySpec, StrategyVolume, VulnerabilityScan,
};

/// The Build that counts for a run, with the run's own settings.
#[derive(Debug, Clone)]
pub struct Effective<'a> {
    /// The run.
    pub buildrun: &'a BuildRun,
    /// The Build that the run names; nothing where its spec is embedded.
    pub build: Option<&'a Build>,
    /// The Build's spec, by name or embedded.
    pub spec: &'a BuildSpec,
    /// The strategy, where it is there.
    pub strategy: Option<&'a Strategy>,
    /// Environment for the strategy steps: the Build's, with the run's in their places or behind, and where each was written.
    pub env: Vec<(Author, usize, &'a EnvVar)>,
    /// The strategy's steps with the resources that Build and run give them; no other change.
    pub steps: Vec<Step>,
    /// The strategy's volumes; an overridable one has the source that Build and run give it.
    pub volumes: Vec<Volume>,
    /// For each step, whether it refers to the output directory: in its own text, or in the environment that it gets.
    pub writes_output: Vec<bool>,
}

/// Type of a source that is uploaded.
const LOCAL: &str = "Local";

/// Where the source comes from.
#[derive(Debug, Clone, Copy)]
pub enum SourceOf<'a> {
    /// A Git repository.
    Git(&'a GitSource),
    /// An image that holds the source.
    Oci(&'a OciArtifact),
    /// An upload.
    Local(&'a LocalSource),
    /// Nowhere: there is no source step.
    Nothing,
}

/// Who wrote a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// The Build, or the spec embedded in the run.
    Build,
    /// The BuildRun.
    BuildRun,
}

/// The image that a run makes; nothing where its Build is not there.
pub fn output_image(roots: &Roots) -> Option<String> {
    Effective::of(roots).map(|effective| effective.image().to_owned())
}

/// The image that a run of a Build with this spec makes.
pub fn image_of<'a>(buildrun: &'a BuildRun, spec: &'a BuildSpec) -> &'a str {
    &buildrun.spec.output.as_ref().unwrap_or(&spec.output).image
}

impl<'a> Effective<'a> {
    /// The effective Build of a run; nothing where the run names none, or one that is not there.
    pub fn of(roots: &'a Roots) -> Option<Self> {
        let reference = &roots.buildrun.spec.build;
        let build = roots.build.as_ref().and_then(|build| build.found());
        let spec = match (&reference.spec, build) {
            (Some(spec), _) => spec,
            (None, Some(build)) => &build.spec,
            (None, None) => return None,
        };
        let build = if reference.spec.is_some() { None } else { build };
        let strategy = roots.strategy.as_ref().and_then(|strategy| strategy.found());
        let buildrun = &roots.buildrun;
        let env = merged_env(&spec.env, &buildrun.spec.env);
        let (steps, volumes) =
            strategy.map(Strategy::spec).map_or_else(Default::default, |strategy| {
                (steps(strategy, spec, buildrun), volumes(strategy, spec, buildrun))
            });
        let env_writes_output = env.iter().any(|(_, _, variable)| variable_writes_output(variable));
        let writes_output =
            steps.iter().map(|step| env_writes_output || step_writes_output(step)).collect();
        Some(Self { buildrun, build, spec, strategy, env, steps, volumes, writes_output })
    }

    fn override_output(&self) -> Option<&'a Image> {
        self.buildrun.spec.output.as_ref()
    }

    /// Reference that the image is pushed to.
    pub fn image(&self) -> &'a str {
        image_of(self.buildrun, self.spec)
    }

    /// Whether the registry may be without TLS.
    pub fn insecure(&self) -> bool {
        self.override_output()
            .and_then(|output| output.insecure)
            .or(self.spec.output.insecure)
            .unwrap_or(false)
    }

    /// Secret with the registry's credentials.
    pub fn push_secret(&self) -> Option<&'a str> {
        self.override_output().and_then(|output| output.push_secret.as_deref()).or(self
            .spec
            .output
            .push_secret
            .as_deref())
    }

    /// Time for the image, and who asked for it.
    pub fn timestamp(&self) -> Option<(&'a str, Author)> {
        let overridden = self
            .override_output()
            .and_then(|output| output.timestamp.as_deref())
            .map(|text| (text, Author::BuildRun));
        overridden.or(self.spec.output.timestamp.as_deref().map(|text| (text, Author::Build)))
    }

    /// Settings of the vulnerability scan.
    pub fn vulnerability_scan(&self) -> Option<&'a VulnerabilityScan> {
        self.override_output().and_then(|output| output.vulnerability_scan.as_ref()).or(self
            .spec
            .output
            .vulnerability_scan
            .as_ref())
    }

    /// Annotations for the image.
    pub fn annotations(&self) -> BTreeMap<&'a str, &'a str> {
        self.merged(|output| &output.annotations)
    }

    /// Labels for the image.
    pub fn labels(&self) -> BTreeMap<&'a str, &'a str> {
        self.merged(|output| &output.labels)
    }

    fn merged(
        &self,
        map: impl Fn(&'a Image) -> &'a BTreeMap<String, String>,
    ) -> BTreeMap<&'a str, &'a str> {
        let overridden = self.override_output().into_iter();
        std::iter::once(&self.spec.output)
            .chain(overridden)
            .flat_map(map)
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect()
    }

    /// Where the source comes from: the run's upload before the Build's source.
    pub fn source(&self) -> SourceOf<'a> {
        if let Some(source) =
            self.buildrun.spec.source.as_ref().filter(|source| source.type_ == LOCAL)
        {
            return source.local.as_ref().map_or(SourceOf::Nothing, SourceOf::Local);
        }
        let Some(source) = &self.spec.source else { return SourceOf::Nothing };
        let found = match source.type_.as_str() {
            LOCAL => source.local.as_ref().map(SourceOf::Local),
            "OCI" => source.oci_artifact.as_ref().map(SourceOf::Oci),
            "Git" => source.git.as_ref().map(SourceOf::Git),
            _ => None,
        };
        found.unwrap_or(SourceOf::Nothing)
    }

    /// Who says that the source is uploaded, where it is.
    pub fn local_source_author(&self) -> Author {
        let is_own = self.buildrun.spec.source.as_ref().is_some_and(|source| source.type_ == LOCAL);
        if is_own { Author::BuildRun } else { Author::Build }
    }

    /// `/workspace/source` with the Build's context directory, cleaned.
    pub fn source_context(&self) -> String {
        let directory = self
            .spec
            .source
            .as_ref()
            .and_then(|source| source.context_dir.as_deref())
            .unwrap_or_default();
        clean(&format!("{SOURCE_ROOT}/{directory}"))
    }

    /// Secret with the credentials of the source.
    pub fn source_secret(&self) -> Option<&'a str> {
        match self.source() {
            SourceOf::Git(git) => git.clone_secret.as_deref(),
            SourceOf::Oci(artifact) => artifact.pull_secret.as_deref(),
            SourceOf::Local(_) | SourceOf::Nothing => None,
        }
    }

    /// Names of the results that steps of this run may leave.
    pub fn results(&self) -> Vec<&'static str> {
        let mut found = vec![
            names::IMAGE_DIGEST,
            names::IMAGE_SIZE,
            names::IMAGE_VULNERABILITIES,
            names::ERROR_MESSAGE,
            names::ERROR_REASON,
        ];
        found.extend_from_slice(match self.source() {
            SourceOf::Git(_) => &[
                names::SOURCE_COMMIT_SHA,
                names::SOURCE_COMMIT_AUTHOR,
                names::SOURCE_BRANCH_NAME,
                names::SOURCE_TIMESTAMP,
            ],
            SourceOf::Oci(_) => &[names::SOURCE_IMAGE_DIGEST, names::SOURCE_TIMESTAMP],
            SourceOf::Local(_) | SourceOf::Nothing => &[],
        });
        found
    }

    /// Name of what executes the run, as `$(context.taskRun.name)` has it; the pod's name without `-pod`.
    pub fn executor(&self) -> String {
        let metadata = &self.buildrun.metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        // A run from a file has no uid. It is told from others by what a cluster would tell it by.
        let unique =
            self.uid().map_or_else(|| format!("{}/{name}", self.namespace()), String::from);
        match attempt(self.buildrun) {
            0 => executor_name(name, &unique),
            attempt => executor_name(name, &format!("{unique}/{attempt}")),
        }
    }

    /// What the cluster knows the run by; nothing for a run from a file.
    pub fn uid(&self) -> Option<&'a str> {
        self.buildrun.metadata.uid.as_deref().filter(|uid| !uid.is_empty())
    }

    /// Namespace of the run.
    pub fn namespace(&self) -> &'a str {
        self.buildrun.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }

    /// How long the run may take.
    pub fn timeout(&self) -> Option<(&'a GoDuration, Author)> {
        let own = self.buildrun.spec.timeout.as_ref().map(|timeout| (timeout, Author::BuildRun));
        own.or(self.spec.timeout.as_ref().map(|timeout| (timeout, Author::Build)))
    }

    /// Values of parameters by name; the run's before the Build's.
    pub fn param_values(&self) -> BTreeMap<&'a str, (&'a ParamValue, Author, usize)> {
        let of = |author, values: &'a [ParamValue]| {
            values
                .iter()
                .enumerate()
                .map(move |(index, value)| (value.name.as_str(), (value, author, index)))
        };
        of(Author::Build, &self.spec.param_values)
            .chain(of(Author::BuildRun, &self.buildrun.spec.param_values))
            .collect()
    }

    /// The same values in the order in which they were written: the Build's, with the run's in their places or behind.
    pub fn given_params(&self) -> Vec<(&'a ParamValue, Author, usize)> {
        let effective = self.param_values();
        let mut names = BTreeSet::new();
        let written = self.spec.param_values.iter().chain(&self.buildrun.spec.param_values);
        let first = written.filter(|value| names.insert(value.name.as_str()));
        first.filter_map(|value| effective.get(value.name.as_str()).copied()).collect()
    }

    /// Whether there is something left to do behind the strategy.
    pub fn has_image_step(&self) -> bool {
        self.writes_output.contains(&true)
            || !self.annotations().is_empty()
            || !self.labels().is_empty()
            || self.vulnerability_scan().is_some_and(|scan| scan.enabled == Some(true))
            || self.timestamp().is_some()
    }

    /// Secrets with credentials that the run needs, and where each is named.
    pub fn secrets(&self) -> impl Iterator<Item = &'a str> {
        self.source_secret().into_iter().chain(self.push_secret())
    }

    /// Labels that the node must have; the run's before the Build's.
    pub fn node_selector(&self) -> BTreeMap<String, String> {
        let mut merged = self.spec.node_selector.clone();
        merged.extend(self.buildrun.spec.node_selector.clone());
        merged
    }

    /// The run's tolerations, and those of the Build whose key the run does not name. An empty effect means `NoSchedule`.
    pub fn tolerations(&self) -> Vec<Toleration> {
        let own = &self.buildrun.spec.tolerations;
        let inherited = self
            .spec
            .tolerations
            .iter()
            .filter(|toleration| !own.iter().any(|other| other.key == toleration.key));
        let mut merged: Vec<Toleration> = own.iter().chain(inherited).cloned().collect();
        for toleration in &mut merged {
            if toleration.effect.as_deref().unwrap_or_default().is_empty() {
                toleration.effect = Some("NoSchedule".into());
            }
        }
        merged
    }

    /// Who places the pod.
    pub fn scheduler_name(&self) -> Option<&'a str> {
        self.buildrun.spec.scheduler_name.as_deref().or(self.spec.scheduler_name.as_deref())
    }

    /// What runs the pod's containers.
    pub fn runtime_class_name(&self) -> Option<&'a str> {
        self.buildrun.spec.runtime_class_name.as_deref().or(self.spec.runtime_class_name.as_deref())
    }
}

/// The Build's variables, with the run's in their places or behind. Of several with one name the last counts, for Kubernetes too.
fn merged_env<'a>(build: &'a [EnvVar], run: &'a [EnvVar]) -> Vec<(Author, usize, &'a EnvVar)> {
    let mut merged: Vec<_> = build
        .iter()
        .enumerate()
        .map(|(index, variable)| (Author::Build, index, variable))
        .collect();
    let mut places: BTreeMap<&str, usize> =
        build.iter().enumerate().map(|(place, variable)| (variable.name.as_str(), place)).collect();
    for (index, variable) in run.iter().enumerate() {
        let entry = (Author::BuildRun, index, variable);
        if let Some(place) = places.get(variable.name.as_str()) {
            merged[*place] = entry;
        } else {
            places.insert(&variable.name, merged.len());
            merged.push(entry);
        }
    }
    merged
}

fn steps(strategy: &StrategySpec, build: &BuildSpec, buildrun: &BuildRun) -> Vec<Step> {
    let given = build.strategy.step_resources.iter().chain(&buildrun.spec.step_resources);
    let resources: BTreeMap<&str, &ResourceRequirements> =
        given.map(|given| (given.name.as_str(), &given.resources)).collect();
    let step = |step: &Step| {
        let given = resources.get(step.name.as_str()).map(|resources| (*resources).clone());
        Step { resources: given.or_else(|| step.resources.clone()), ..step.clone() }
    };
    strategy.steps.iter().map(step).collect()
}

fn volumes(strategy: &StrategySpec, build: &BuildSpec, buildrun: &BuildRun) -> Vec<Volume> {
    let given = build.volumes.iter().chain(&buildrun.spec.volumes);
    let sources: BTreeMap<&str, &Volume> =
        given.map(|volume| (volume.name.as_str(), volume)).collect();
    let volume = |declared: &StrategyVolume| {
        let replaced = sources
            .get(declared.volume.name.as_str())
            .filter(|_| declared.overridable == Some(true));
        replaced.map_or(&declared.volume, |volume| volume).clone()
    };
    strategy.volumes.iter().map(volume).collect()
}

fn step_writes_output(step: &Step) -> bool {
    let mut found = false;
    visit_step(&mut step.clone(), &mut |_, text| found |= refers_to_output(&text));
    found
}

fn variable_writes_output(variable: &EnvVar) -> bool {
    let mut found = false;
    visit_variable(&mut variable.clone(), "", &mut |_, text| found |= refers_to_output(&text));
    found
}

fn refers_to_output(text: &Text<'_>) -> bool {
    text.strings().any(|text| used(text).any(|name| name == OUTPUT_DIRECTORY_PARAM))
}

/// A path without `.`, `..` and doubled slashes, read as text: a link in the source does not count.
pub fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_directory_is_joined_and_cleaned() {
        for (path, expected) in [
            ("/workspace/source/", "/workspace/source"),
            ("/workspace/source/docker-build", "/workspace/source/docker-build"),
            ("/workspace/source/./a//b/", "/workspace/source/a/b"),
            ("/workspace/source/../x", "/workspace/x"),
            ("/workspace/source/../../../../etc", "/etc"),
        ] {
            assert_eq!(clean(path), expected);
        }
    }
}
