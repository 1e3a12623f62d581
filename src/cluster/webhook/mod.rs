//! What API servers ask this replica: whether an object is in order, and what it is in another version.
//!
//! Invariant: every replica answers, whoever leads, from before it is ready until after it is asked to end.

mod admission;
mod body;
mod callers;
mod conversion;
mod generation;
mod keeper;
mod referring;
mod room;
mod rotation;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use kube::Client;
use tokio::runtime::Handle as Runtime;
use tokio::task::JoinHandle;

use super::error::ClusterError;
use super::load::Loader;
use crate::api::crd::CONVERT_PATH;
use crate::plan::Settings;
use admission::Judge;
use body::{BadRequest, Format, review};
use keeper::Keeper;
use room::Room;

/// The Service by which API servers find the webhook.
pub use crate::api::crd::WEBHOOK_SERVICE as SERVICE;
pub use tls::{Serving, TlsSettings, UnusableCertificate};

/// The Secret of its certificates.
pub const SECRET: &str = "slipway-webhook";
/// The configuration of what is judged when it is applied.
pub const CONFIGURATION: &str = "slipway-admission";
/// How long the head of a request may take to come, and a connection may lie idle: longer than API servers keep theirs.
const SLOWEST_HEAD: Duration = Duration::from_mins(2);
/// How long new connections are still taken once the process is to end: until then nobody has told every API server.
const LINGER: Duration = Duration::from_secs(3);
/// How long what was asked may take to be answered after that.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// How the webhook is served.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Namespace of its Service and its Secret.
    pub namespace: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What may be spoken there.
    pub tls: TlsSettings,
    /// Whether what is applied is judged.
    pub admission: bool,
}

/// The webhook, which runs.
pub struct Webhook {
    serving: Serving,
    handle: Handle<SocketAddr>,
    server: JoinHandle<std::io::Result<()>>,
    keeper: Option<Keeper>,
}

impl Webhook {
    /// Begins to listen. Nobody is answered before there is a certificate.
    pub fn start(
        webhook: &WebhookSettings,
        client: Client,
        loader: Loader,
        settings: Settings,
    ) -> Result<Self, ClusterError> {
        let failed = |source| ClusterError::Listen { address: webhook.address.to_string(), source };
        if webhook.tls.ignores_suites() {
            tracing::warn!(
                "the cipher suites that are set are those of TLS 1.2, which is not spoken"
            );
        }
        let serving = Serving::default();
        let config = webhook.tls.server(serving.clone()).map_err(ClusterError::Tls)?;
        let judge = Judge { loader, settings, enabled: webhook.admission };
        let listener = TcpListener::bind(webhook.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let handle = Handle::new();
        let config = RustlsConfig::from_config(Arc::new(config));
        let mut server = axum_server::from_tcp_rustls(listener, config).map_err(failed)?;
        let mut http = server.http_builder().http1();
        http.timer(TokioTimer::new()).header_read_timeout(SLOWEST_HEAD);
        let server = server.handle(handle.clone()).serve(router(judge).into_make_service());
        let server = tokio::spawn(server);
        let (admission, namespace) = (webhook.admission, webhook.namespace.clone());
        tracing::info!(%address, namespace, admission, "serving the webhook");
        let keeper = Some(Keeper::new(client, namespace, serving.clone()));
        Ok(Self { serving, handle, server, keeper })
    }

    /// Whether this replica answers.
    pub fn serving(&self) -> Serving {
        self.serving.clone()
    }

    /// Keeps the certificate; comes back if the server ends.
    pub async fn run(&mut self) -> Result<(), ClusterError> {
        let keeper = self.keeper.take();
        let keep = async {
            match keeper {
                Some(keeper) => keeper.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = &mut self.server => match ended {
                Ok(Ok(())) | Err(_) => Err(ClusterError::WebhookEnded),
                Ok(Err(source)) => Err(ClusterError::Webhook(source)),
            },
            () = keep => Ok(()),
        }
    }

    /// Answers what is asked until everybody asks elsewhere.
    pub async fn end(self) {
        tracing::info!(seconds = LINGER.as_secs(), "the webhook answers for a little longer");
        tokio::time::sleep(LINGER).await;
        self.handle.graceful_shutdown(Some(LAST_ANSWERS));
        // However it ended, nobody waits for it any more.
        drop(self.server.await);
    }
}

fn router(judge: Judge) -> Router {
    let room = Room::default();
    Router::new()
        .route("/health", get(|| async { StatusCode::NO_CONTENT }))
        .route(CONVERT_PATH, post(convert).with_state(room.clone()))
        .route("/validate", post(validate).with_state((room, judge)))
}

async fn validate(State((room, judge)): State<(Room, Judge)>, request: Request) -> Response {
    answered(&room, request, move |headers, body| {
        let asked = asked(headers, body, admission::REVIEW, admission::KIND);
        match asked {
            Ok((format, review)) => {
                format.answer(&Runtime::current().block_on(judge.answer(&review)))
            }
            Err(problem) => problem.answer(),
        }
    })
    .await
}

async fn convert(State(room): State<Room>, request: Request) -> Response {
    answered(&room, request, |headers, body| {
        let asked = asked(headers, body, conversion::REVIEW, conversion::KIND);
        match asked {
            Ok((format, review)) => format.answer(&conversion::answer(review)),
            Err(problem) => problem.answer(),
        }
    })
    .await
}

/// Answers a review on a thread of its own: a long one would keep others waiting, and the lease.
async fn answered(
    room: &Room,
    request: Request,
    answer: impl FnOnce(&HeaderMap, &[u8]) -> Response + Send + 'static,
) -> Response {
    let arrived = match room.take(request).await {
        Ok(arrived) => arrived,
        Err(code) => return code.into_response(),
    };
    let answer = tokio::task::spawn_blocking(move || answer(&arrived.headers, &arrived.body));
    answer.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// What is asked, and how it is answered.
fn asked(
    headers: &HeaderMap,
    body: &[u8],
    version: &str,
    kind: &str,
) -> Result<(Format, serde_json::Value), BadRequest> {
    let review = review(Format::sent(headers)?, body, version, kind)?;
    Ok((Format::wanted(headers)?, review))
}
