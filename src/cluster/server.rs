//! Metrics and probes over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use tokio::net::TcpListener;

use super::error::ClusterError;
use super::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics`, `/healthz` and `/readyz` for as long as it is awaited.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> Result<(), ClusterError> {
    let failed = |source| ClusterError::Listen { address: address.to_string(), source };
    let figures = move || {
        let metrics = Arc::clone(&metrics);
        async move {
            match metrics.text() {
                Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    };
    let fine = || async { "ok" };
    let router = Router::new()
        .route("/metrics", get(figures))
        .route("/healthz", get(fine))
        .route("/readyz", get(fine));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    axum::serve(listener, router).await.map_err(failed)
}
