//! A Kubernetes cluster: what its API server holds in, pods and statuses out.
//!
//! Invariant: what an object means is for `plan` to say; here it is fetched, applied and written.
//! Invariant: a malformed object stops nothing but itself.

mod arrivals;
mod build;
mod build_run;
pub mod client;
mod context;
mod disruptions;
mod error;
mod failures;
mod image_commands;
pub mod install;
mod lease;
mod load;
mod metrics;
mod outcome;
mod pod;
mod reads;
mod repository;
mod retention;
mod server;
mod status;
mod watches;
mod webhook;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use tower::limit::RateLimitLayer;

use context::Context;
use lease::{Candidate, Leadership};
use load::Loader;
use metrics::Metrics;
use reads::Reads;
use webhook::Webhook;

pub use error::ClusterError;
pub use lease::Election;
pub use metrics::{Label, MetricSettings};
pub use webhook::{TlsSettings, WebhookSettings};

use crate::plan::Settings;

/// How the controller runs.
#[derive(Debug, Clone)]
pub struct Controlling {
    /// File that leads to the cluster; without it the usual ones, or the account of the pod that this runs in.
    pub kubeconfig: Option<PathBuf>,
    /// How much may be asked of the API server; without it as much as there is to ask.
    pub request_rate: Option<RequestRate>,
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
    /// How long a reconcile may take before it is given up and tried again.
    pub longest_reconcile: Duration,
    /// Where metrics and probes are served.
    pub address: SocketAddr,
    /// What is counted.
    pub metrics: MetricSettings,
    /// How the webhook is served; without it none is.
    pub webhook: Option<WebhookSettings>,
}

impl Controlling {
    fn loader(&self, client: Client) -> Loader {
        let insecure_registries = self.insecure_registries.clone();
        Loader { client, insecure_registries, reads: Reads::default() }
    }
}

/// A number of requests within a time, and then the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRate {
    /// Requests that may be made at once.
    pub at_once: u32,
    /// Requests a second, over a longer time.
    pub a_second: u32,
}

impl RequestRate {
    fn layer(self) -> RateLimitLayer {
        let window = Duration::from_secs(self.at_once.into()) / self.a_second.max(1);
        RateLimitLayer::new(self.at_once.max(1).into(), window)
    }
}

/// Controls until `stop` comes back or another replica leads.
pub async fn control(
    controlling: Controlling,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ClusterError> {
    // An error means that somebody installed a provider before, which serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut config = find_cluster(controlling.kubeconfig.as_deref(), None).await?;
    // The client would try for minutes what a server is too busy for, and tell nobody why.
    config.default_retry = false;
    // The lease is kept whatever else is asked for.
    let unlimited = Client::try_from(config.clone()).map_err(ClusterError::Connect)?;
    let client = match controlling.request_rate {
        None => unlimited.clone(),
        Some(rate) => ClientBuilder::try_from(config)
            .map_err(ClusterError::Connect)?
            .with_layer(&rate.layer())
            .build(),
    };
    let metrics = Arc::new(Metrics::new(&controlling.metrics).map_err(ClusterError::Metrics)?);
    let leadership = Leadership::default();
    let mut webhook = match &controlling.webhook {
        Some(webhook) => {
            // Somebody waits for its answers.
            let loader = controlling.loader(unlimited.clone());
            let settings = controlling.settings.clone();
            Some(Webhook::start(webhook, unlimited.clone(), loader, settings)?)
        }
        None => None,
    };
    let serving = webhook.as_ref().map(Webhook::serving);
    let candidate = Candidate::new(unlimited, controlling.election.clone(), leadership.clone());
    let contact = candidate.contact();
    let served = server::serve(controlling.address, Arc::clone(&metrics), contact, serving);
    let asked = async {
        match &mut webhook {
            Some(webhook) => webhook.run().await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        // The webhook is what ended.
        asked = asked => return asked,
        served = served => served,
        led = lead(client, &controlling, candidate, leadership, metrics, stop) => led,
    };
    if let Some(webhook) = webhook {
        webhook.end().await;
    }
    ended
}

/// The way to the cluster that the file and its context mean; without either, the usual one.
async fn find_cluster(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Config, ClusterError> {
    let path = kubeconfig.map(|path| path.display().to_string());
    let path = path.unwrap_or_else(|| "the kubeconfig".into());
    let failed = |source| ClusterError::Kubeconfig { path: path.clone(), source };
    let read = match (kubeconfig, context) {
        (None, None) => return Config::infer().await.map_err(ClusterError::Config),
        (None, Some(_)) => Kubeconfig::read(),
        (Some(path), _) => Kubeconfig::read_from(path),
    };
    let options =
        KubeConfigOptions { context: context.map(String::from), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(read.map_err(failed)?, &options).await.map_err(failed)
}

async fn lead(
    client: Client,
    controlling: &Controlling,
    mut candidate: Candidate,
    leadership: Leadership,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ClusterError> {
    let identity = &controlling.election.identity;
    tokio::pin!(stop);
    tracing::info!(identity, "waiting for the lease");
    tokio::select! {
        () = candidate.lead() => {}
        () = &mut stop => return Ok(()),
    }
    tracing::info!(identity, "leading");
    let reporter = Reporter { controller: "slipway".into(), instance: Some(identity.clone()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let loader = controlling.loader(client.clone());
    let watches = watches::Watches::of(&client);
    let settings = controlling.settings.clone();
    let context = Context::new(loader, settings, leadership, recorder, metrics, &watches);
    let run = watches.run(Arc::new(context), controlling);
    tokio::select! {
        () = run => Ok(()),
        () = candidate.hold() => Err(ClusterError::NotLeading),
        () = stop => candidate.release().await,
    }
}
