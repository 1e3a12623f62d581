//! Metrics and probes over HTTP.
//!
//! A replica is alive as long as it answers: what the API server does is no reason to start it anew. It is ready while the API server
//! answers it about the lease, whether it leads or waits, and once it serves the webhook. Whether its watches have begun is no part of that: a webhook beside the probes
//! may be what a watch waits for.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use tokio::net::TcpListener;

use super::error::ClusterError;
use super::lease::Contact;
use super::metrics::Metrics;
use super::webhook::Serving;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves `/metrics`, `/healthz` and `/readyz` for as long as it is awaited.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    contact: Contact,
    webhook: Option<Serving>,
) -> Result<(), ClusterError> {
    let failed = |source| ClusterError::Listen { address: address.to_string(), source };
    let figures = move || {
        let text = metrics.text();
        async {
            match text {
                Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
                Err(error) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
                }
            }
        }
    };
    let ready = move || {
        let is_serving = webhook.as_ref().is_none_or(Serving::is_ready);
        let answer = if !contact.is_recent() {
            (StatusCode::SERVICE_UNAVAILABLE, "the API server does not answer about the lease")
        } else if !is_serving {
            (StatusCode::SERVICE_UNAVAILABLE, "the webhook has no certificate yet")
        } else {
            (StatusCode::OK, "ok")
        };
        async move { answer }
    };
    let router = Router::new()
        .route("/metrics", get(figures))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, "serving metrics and probes");
    axum::serve(listener, router).await.map_err(failed)
}
