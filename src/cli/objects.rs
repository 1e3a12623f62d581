//! Objects from files, and from a cluster what the files do not hold.
//!
//! Invariant: what a file holds wins over what the cluster has.
//! Invariant: what the user may not look at is told and taken to be there; without Build and strategy there is nothing to judge.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::cluster_arguments::{ClusterArguments, block_on};
use super::{Error, complain};
use crate::Chain;
use crate::api::{Build, BuildRun, BuildStrategy, ClusterBuildStrategy};
use crate::cluster::ClusterError;
use crate::cluster::client::Cluster;
use crate::local::{self, Document, Files, ReadError, Wanted};

/// Where objects that come from no file are said to stand.
const PLACE: &str = "cluster";
const SECRET: &str = "Secret";

#[derive(Debug, clap::Args)]
pub struct ObjectArguments {
    /// File with YAML or JSON documents, a directory of such files, or - for standard input; may be repeated
    #[arg(
        short = 'f',
        long = "filename",
        required_unless_present = "from_cluster",
        num_args = 1..,
        value_name = "FILE"
    )]
    files: Vec<PathBuf>,
    /// Take these BuildRuns and Builds from the cluster, as NAME, buildrun/NAME or build/NAME, and all that objects name and no file holds
    #[arg(long, num_args = 0.., value_name = "BUILDRUN|BUILD")]
    from_cluster: Option<Vec<String>>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// Documents, and why others could not be read.
#[derive(Debug, Default)]
pub struct Objects {
    pub documents: Vec<Document>,
    pub errors: Vec<ReadError>,
    /// Where a cluster was asked for what the files do not hold: of what it told nothing.
    pub untold: Option<BTreeSet<Wanted>>,
}

impl Objects {
    pub fn of_files(files: &[PathBuf]) -> Self {
        let (documents, errors) = local::read(files);
        Self { documents, errors, untold: None }
    }
}

impl ObjectArguments {
    pub fn load(&self) -> Result<Objects, Error> {
        let objects = Objects::of_files(&self.files);
        let Some(names) = &self.from_cluster else { return Ok(objects) };
        block_on(async {
            let cluster = self.cluster.find().await?;
            from_cluster(&cluster, names, objects, Secrets::LookedUp).await
        })
    }
}

/// What becomes of Secrets that are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// The cluster is asked whether they are there, and of which type.
    LookedUp,
    /// They are taken to be there, without a question.
    Assumed,
}

/// The objects with those of that name on the cluster, and all that both name.
pub async fn from_cluster(
    cluster: &Cluster,
    names: &[String],
    objects: Objects,
    secrets: Secrets,
) -> Result<Objects, Error> {
    let Objects { documents, errors, .. } = objects;
    let mut documents = local::in_namespace(documents, &cluster.namespace);
    for name in names {
        add(&mut documents, [named(cluster, name).await?]);
    }
    let (mut asked, mut untold) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let (files, ..) = Files::of(documents.clone());
        let wanted = local::wanted(&files);
        let new: Vec<Wanted> = wanted.difference(&asked).cloned().collect();
        if new.is_empty() {
            return Ok(Objects { documents, errors, untold: Some(untold) });
        }
        for wanted in new {
            if wanted.kind == SECRET && secrets == Secrets::Assumed {
                untold.insert(wanted.clone());
                asked.insert(wanted);
                continue;
            }
            match cluster.objects(wanted.kind, &wanted.namespace, &wanted.name).await {
                Ok(found) => add(&mut documents, found.into_iter().map(document)),
                Err(error) if is_beside(&wanted) && is_forbidden(&error) => {
                    complain(&format!("warning: {}", Chain(&error)));
                    untold.insert(wanted.clone());
                }
                Err(error) => return Err(error.into()),
            }
            asked.insert(wanted);
        }
    }
}

/// One that comes from a cluster.
pub fn document(value: serde_json::Value) -> Document {
    Document { file: PLACE.into(), value }
}

/// Adds what no file holds.
fn add(documents: &mut Vec<Document>, found: impl IntoIterator<Item = Document>) {
    for found in found {
        if !documents.iter().any(|document| is_same(document, &found)) {
            documents.push(found);
        }
    }
}

fn is_same(document: &Document, other: &Document) -> bool {
    let same = |pointer| document.value.pointer(pointer) == other.value.pointer(pointer);
    ["/kind", "/metadata/namespace", "/metadata/name"].into_iter().all(same)
}

/// The object that the user means.
async fn named(cluster: &Cluster, argument: &str) -> Result<Document, Error> {
    let (kinds, name): (&[&str], _) = match argument.split_once('/') {
        None => (&[BuildRun::KIND, Build::KIND], argument),
        Some(("buildrun" | "buildruns", name)) => (&[BuildRun::KIND], name),
        Some(("build" | "builds", name)) => (&[Build::KIND], name),
        Some(_) => return Err(Error::Name { name: argument.to_owned() }),
    };
    for kind in kinds {
        let found = cluster.objects(kind, &cluster.namespace, name).await?;
        if let Some(found) = found.into_iter().next() {
            return Ok(document(found));
        }
    }
    let (kind, namespace) = (kinds.join(" or "), cluster.namespace.clone());
    Err(ClusterError::NotFound { kind, name: name.to_owned(), namespace }.into())
}

/// Whether a judgement is worth something without it.
fn is_beside(wanted: &Wanted) -> bool {
    ![Build::KIND, BuildStrategy::KIND, ClusterBuildStrategy::KIND].contains(&wanted.kind)
}

fn is_forbidden(error: &ClusterError) -> bool {
    error.response().is_some_and(|response| response.code == 403)
}
