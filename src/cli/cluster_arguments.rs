//! Which cluster and namespace a verb talks to, said as to kubectl.

use std::path::PathBuf;

use super::Error;
use crate::cluster::client::{Access, Cluster};

#[derive(Debug, clap::Args)]
pub struct ClusterArguments {
    /// File that leads to the cluster; else those that KUBECONFIG names, or ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; else its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace; else that of the context
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

impl ClusterArguments {
    pub async fn find(&self) -> Result<Cluster, Error> {
        let access = Access {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            namespace: self.namespace.clone().filter(|name| !name.is_empty()),
        };
        Ok(Cluster::find(&access).await?)
    }
}

/// Does what a verb does on a cluster.
pub fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let outcome = runtime.block_on(work);
    // A thread that waits for a pager, or for a connection, keeps nobody.
    runtime.shutdown_background();
    outcome
}
