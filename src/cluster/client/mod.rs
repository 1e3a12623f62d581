//! What people ask of a cluster with their own kubeconfig and their own rights: logs, uploads, everything about one run.
//!
//! Invariant: nothing is asked for that the role `edit` of a namespace does not give, except cluster-wide strategies.
//! Invariant: the content of Secrets is never kept.

mod cursor;
mod exec;
mod follow;
mod gather;
mod log_stream;
mod objects;
mod observed;
mod upload;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

pub use follow::{Ended, Following, News, follow};
pub use gather::{Gathered, gather};
pub use upload::{Sending, Upload, cancel, create, upload};

use super::error::ClusterError;
use super::find_cluster;
use crate::api::BuildRun;

/// How the user says which cluster and namespace, as for kubectl.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// File that leads to the cluster; without it those that KUBECONFIG names, or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// Context of that file; without it the current one.
    pub context: Option<String>,
    /// Namespace; without it the context's.
    pub namespace: Option<String>,
}

/// A connection whose other end is silent for so long is taken for a broken one, and made anew.
const LONGEST_SILENCE: Duration = Duration::from_mins(5);

/// A cluster and one of its namespaces.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// Its connections may be silent for any time: of an upload nobody answers until its end.
    unhurried: Client,
    server: String,
    /// The namespace.
    pub namespace: String,
}

impl Cluster {
    /// The one that the user means. Nothing is asked of it yet.
    pub async fn find(access: &Access) -> Result<Self, ClusterError> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let (kubeconfig, context) = (access.kubeconfig.as_deref(), access.context.as_deref());
        let mut config = find_cluster(kubeconfig, context).await?;
        // Whoever waits is told why.
        config.default_retry = false;
        let unhurried = Client::try_from(config.clone()).map_err(ClusterError::Connect)?;
        config.read_timeout = Some(LONGEST_SILENCE);
        let namespace = access.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(ClusterError::Connect)?;
        Ok(Self { client, unhurried, server, namespace })
    }

    /// A run of the namespace.
    pub async fn buildrun(&self, name: &str) -> Result<BuildRun, ClusterError> {
        self.get(name).await
    }

    /// Objects of one kind in the namespace.
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What keeps the cluster from answering.
    fn asked(&self, what: String, source: kube::Error) -> ClusterError {
        match source {
            kube::Error::Service(_) | kube::Error::HyperError(_) => {
                ClusterError::Unreachable { server: self.server.clone(), source }
            }
            source => ClusterError::of(what, source),
        }
    }

    /// An object of the namespace that must be there.
    async fn get<K>(&self, name: &str) -> Result<K, ClusterError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + fmt::Debug
            + DeserializeOwned,
    {
        let kind = K::kind(&());
        let found = self.api::<K>().get_opt(name).await;
        let what = || format!("get {kind} {name} in namespace {}", self.namespace);
        let found = found.map_err(|error| self.asked(what(), error))?;
        found.ok_or_else(|| ClusterError::NotFound {
            kind: kind.into_owned(),
            name: name.to_owned(),
            namespace: self.namespace.clone(),
        })
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Cluster");
        debug.field("server", &self.server).field("namespace", &self.namespace);
        debug.finish_non_exhaustive()
    }
}
