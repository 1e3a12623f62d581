//! What Build and BuildRun say together.
//!
//! Invariant: nothing is merged in place; Build, BuildRun and strategy stay as they were written.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements, Toleration, Volume};

use super::loaded::Roots;
use super::params::{OUTPUT_DIRECTORY_PARAM, SOURCE_ROOT, used};
use super::texts::{Text, visit_step, visit_variable};
use crate::api::{
    Build, BuildRun, BuildSpec, GitSource, GoDuration, Image, LocalSource, OciArtifact, ParamValue,
    Step, Strategy, VulnerabilityScan,
};

/// The Build that counts for a run, with the run's own settings.
#[derive(Debug, Clone, Copy)]
pub struct Effective<'a> {
    /// The run.
    pub buildrun: &'a BuildRun,
    /// The Build that the run names; nothing where its spec is embedded.
    pub build: Option<&'a Build>,
    /// The Build's spec, by name or embedded.
    pub spec: &'a BuildSpec,
    /// The strategy, where it is there.
    pub strategy: Option<&'a Strategy>,
}

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
        Some(Self { buildrun: &roots.buildrun, build, spec, strategy })
    }

    fn override_output(&self) -> Option<&'a Image> {
        self.buildrun.spec.output.as_ref()
    }

    /// Reference that the image is pushed to.
    pub fn image(&self) -> &'a str {
        &self.override_output().unwrap_or(&self.spec.output).image
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
        const LOCAL: &str = "Local";
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

    /// How long the run may take.
    pub fn timeout(&self) -> Option<(&'a GoDuration, Author)> {
        let own = self.buildrun.spec.timeout.as_ref().map(|timeout| (timeout, Author::BuildRun));
        own.or(self.spec.timeout.as_ref().map(|timeout| (timeout, Author::Build)))
    }

    /// Environment for the strategy steps: the Build's, with the run's in their places or behind, and where each was written.
    pub fn env(&self) -> Vec<(Author, usize, &'a EnvVar)> {
        let mut merged: Vec<_> = self
            .spec
            .env
            .iter()
            .enumerate()
            .map(|(index, variable)| (Author::Build, index, variable))
            .collect();
        for (index, variable) in self.buildrun.spec.env.iter().enumerate() {
            match merged.iter_mut().find(|(_, _, other)| other.name == variable.name) {
                Some(place) => *place = (Author::BuildRun, index, variable),
                None => merged.push((Author::BuildRun, index, variable)),
            }
        }
        merged
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

    /// The strategy's steps with the resources that Build and run give them; no other change.
    pub fn steps(&self) -> Vec<Step> {
        let Some(strategy) = self.strategy else { return Vec::new() };
        let mut steps = strategy.spec().steps.clone();
        for step in &mut steps {
            if let Some(resources) = self.step_resources(&step.name) {
                step.resources = Some(resources.clone());
            }
        }
        steps
    }

    fn step_resources(&self, step: &str) -> Option<&'a ResourceRequirements> {
        let own = self.buildrun.spec.step_resources.iter();
        own.chain(&self.spec.strategy.step_resources)
            .find(|override_| override_.name == step)
            .map(|override_| &override_.resources)
    }

    /// The strategy's volumes; an overridable one gets the source that Build and run give it.
    pub fn volumes(&self) -> Vec<Volume> {
        let Some(strategy) = self.strategy else { return Vec::new() };
        let overrides = self.buildrun.spec.volumes.iter().chain(&self.spec.volumes);
        let volume = |declared: &crate::api::StrategyVolume| {
            let replaced = overrides.clone().find(|volume| {
                declared.overridable == Some(true) && volume.name == declared.volume.name
            });
            replaced.unwrap_or(&declared.volume).clone()
        };
        strategy.spec().volumes.iter().map(volume).collect()
    }

    /// Whether there is something left to do behind the strategy.
    pub fn has_image_step(&self) -> bool {
        self.steps().iter().any(|step| self.writes_output(step))
            || !self.annotations().is_empty()
            || !self.labels().is_empty()
            || self.vulnerability_scan().is_some_and(|scan| scan.enabled == Some(true))
            || self.timestamp().is_some()
    }

    /// Whether a step, with the environment that Build and run add, refers to the output directory.
    pub fn writes_output(&self, step: &Step) -> bool {
        let mut found = false;
        let mut look = |_: &str, text: Text<'_>| {
            let mut refers =
                |text: &str| found |= used(text).any(|name| name == OUTPUT_DIRECTORY_PARAM);
            match text {
                Text::Single(text) => refers(text),
                Text::List(items) => items.iter().for_each(|item| refers(item)),
            }
        };
        visit_step(&mut step.clone(), &mut look);
        for (_, _, variable) in self.env() {
            visit_variable(&mut variable.clone(), "", &mut look);
        }
        found
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
            toleration.effect.get_or_insert_with(|| "NoSchedule".into());
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

/// A path without `.`, `..` and doubled slashes, read as text: a link in the source does not count.
fn clean(path: &str) -> String {
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
