//! Objects that are judged together with what they name: Builds and BuildRuns.

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::super::build::run_of;
use super::super::error::ClusterError;
use super::super::load::{Loader, Lookup};
use crate::api::{Build, BuildRun};
use crate::plan::{Loaded, ObjectName, Presence, Refusal, Review, Roots, Settings};

/// A kind of ours.
pub trait Read: Resource<DynamicType = ()> + DeserializeOwned {}

impl<K: Resource<DynamicType = ()> + DeserializeOwned> Read for K {}

/// A kind whose objects name others.
pub trait Referring: Read {
    /// Everything that it names.
    async fn load(&self, loader: &Loader) -> Result<Loaded, ClusterError>;

    /// The same as if everything were there.
    fn assumed(&self) -> Loaded;

    /// What is wrong with it.
    fn review(&self, loaded: &Loaded, settings: &Settings) -> Review;

    /// Where it names an object that cannot be read, and whether it is refused for that.
    fn reference(&self) -> (&'static str, bool);
}

impl Referring for Build {
    async fn load(&self, loader: &Loader) -> Result<Loaded, ClusterError> {
        loader.build_as_given(self).await
    }

    fn assumed(&self) -> Loaded {
        let roots = Roots {
            buildrun: run_of(self),
            build: Some(Presence::Found(self.clone())),
            strategy: Some(Presence::Assumed),
        };
        Loaded { roots, ..Loaded::default() }
    }

    fn review(&self, loaded: &Loaded, settings: &Settings) -> Review {
        Review::of_build(self, loaded, settings)
    }

    fn reference(&self) -> (&'static str, bool) {
        ("spec.strategy.name", false)
    }
}

impl Referring for BuildRun {
    async fn load(&self, loader: &Loader) -> Result<Loaded, ClusterError> {
        loader.run(self, Lookup::Nothing).await
    }

    fn assumed(&self) -> Loaded {
        let build = self.spec.build.name.as_ref().map(|_| Presence::Assumed);
        let roots = Roots { buildrun: self.clone(), build, strategy: Some(Presence::Assumed) };
        Loaded { roots, ..Loaded::default() }
    }

    fn review(&self, loaded: &Loaded, settings: &Settings) -> Review {
        Review::of_run(loaded, settings, Timestamp::now())
    }

    fn reference(&self) -> (&'static str, bool) {
        // A Build that cannot be read, or with such a strategy, is not registered.
        match &self.spec.build.spec {
            Some(_) => ("spec.build.spec.strategy.name", false),
            None => ("spec.build.name", true),
        }
    }
}

/// What is wrong with an object and with what it names. Where some of that is there and cannot be read, that is said of the reference,
/// and the object is judged as if all of it were in order.
pub async fn review<K: Referring>(
    object: &K,
    loader: &Loader,
    settings: &Settings,
) -> Result<Review, ClusterError> {
    let error = match object.load(loader).await {
        Ok(named) => return Ok(object.review(&named, settings)),
        Err(error) => error,
    };
    let (reason, message) = error.unreadable().ok_or(error)?;
    let mut review = object.review(&object.assumed(), settings);
    let (field, is_refused) = object.reference();
    let name = name_of(object);
    let refusal = Refusal { object: name.clone(), at: name, field: field.into(), reason, message };
    if is_refused { &mut review.refusals } else { &mut review.warnings }.push(refusal);
    Ok(review)
}

/// How the object is called in a refusal.
pub fn name_of<K: Read>(object: &K) -> ObjectName {
    ObjectName {
        kind: K::kind(&()).into_owned().into(),
        namespace: object.namespace(),
        name: object.name_any(),
    }
}
