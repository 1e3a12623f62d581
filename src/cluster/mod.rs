//! A Kubernetes cluster: what its API server holds in, pods and statuses out.
//!
//! Invariant: what an object means is for `plan` to say; here it is fetched, applied and written.
//! Invariant: a malformed object stops nothing but itself.

mod build;
mod build_run;
mod context;
mod error;
mod image_commands;
pub mod install;
mod lease;
mod load;
mod metrics;
mod pod;
mod retention;
mod server;
mod status;
mod watches;

use std::net::SocketAddr;
use std::sync::Arc;

use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};

use context::Context;
use lease::{Candidate, Leadership};
use load::Loader;
use metrics::Metrics;

pub use error::ClusterError;
pub use lease::{Chain, Election};
pub use metrics::{Label, MetricSettings};

use crate::plan::Settings;

/// How the controller runs.
#[derive(Debug, Clone)]
pub struct Controlling {
    /// What pods depend on.
    pub settings: Settings,
    /// Who leads.
    pub election: Election,
    /// Registries that are asked about images without TLS, or with any certificate.
    pub insecure_registries: Vec<String>,
    /// Reconciles of Builds at once.
    pub builds: u16,
    /// Reconciles of BuildRuns at once.
    pub build_runs: u16,
    /// Where metrics and probes are served.
    pub address: SocketAddr,
    /// What is counted.
    pub metrics: MetricSettings,
}

/// Controls until `stop` comes back or another replica leads.
pub async fn control(
    controlling: Controlling,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ClusterError> {
    // An error means that somebody installed a provider before, which serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = Config::infer().await.map_err(ClusterError::Config)?;
    let client = Client::try_from(config).map_err(ClusterError::Connect)?;
    let metrics = Arc::new(Metrics::new(controlling.metrics.clone()));
    let served = server::serve(controlling.address, Arc::clone(&metrics));
    tokio::select! {
        served = served => served,
        led = lead(client, &controlling, metrics, stop) => led,
    }
}

async fn lead(
    client: Client,
    controlling: &Controlling,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ClusterError> {
    let identity = &controlling.election.identity;
    let leadership = Leadership::default();
    let mut candidate =
        Candidate::new(client.clone(), controlling.election.clone(), leadership.clone());
    tokio::pin!(stop);
    tracing::info!(identity, "waiting for the lease");
    tokio::select! {
        () = candidate.lead() => {}
        () = &mut stop => return Ok(()),
    }
    tracing::info!(identity, "leading");
    let reporter = Reporter { controller: "slipway".into(), instance: Some(identity.clone()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let loader = Loader {
        client: client.clone(),
        insecure_registries: controlling.insecure_registries.clone(),
    };
    let watches = watches::Watches::of(&client);
    let stores = watches.stores();
    let settings = controlling.settings.clone();
    let context = Context::new(loader, settings, leadership, recorder, metrics, stores);
    let run = watches.run(Arc::new(context), controlling.builds, controlling.build_runs);
    tokio::select! {
        () = run => Ok(()),
        () = candidate.hold() => Err(ClusterError::NotLeading),
        () = stop => candidate.release().await,
    }
}
