//! Just enough of an API server for a controller to lead, to watch and to fail: what no real one does on demand.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::super::sessions::Folder;
use super::process::PATIENCE;

/// A server that runs until it is dropped.
pub struct ApiServer {
    _runtime: tokio::runtime::Runtime,
    state: Arc<State>,
    requests: Receiver<String>,
    address: String,
}

struct State {
    answers: AtomicBool,
    version: AtomicU64,
    lease: Mutex<Option<Value>>,
    /// Objects by the last word of their path.
    lists: BTreeMap<&'static str, Value>,
    sender: Sender<String>,
}

impl ApiServer {
    /// One that has these objects, and takes for ever to write a status.
    pub fn new(lists: &[(&'static str, Value)]) -> Self {
        let (sender, requests) = mpsc::channel();
        let state = Arc::new(State {
            answers: AtomicBool::new(true),
            version: AtomicU64::new(1),
            lease: Mutex::default(),
            lists: lists.iter().cloned().collect(),
            sender,
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let of_handler = Arc::clone(&state);
        let router =
            Router::new().fallback(move |request| respond(Arc::clone(&of_handler), request));
        runtime.spawn(async { axum::serve(listener, router).await });
        Self { _runtime: runtime, state, requests, address }
    }

    /// The file that leads to it.
    pub fn kubeconfig(&self, test: &str) -> String {
        let server = json!({ "server": format!("http://{}", self.address) });
        let kubeconfig = json!({
            "clusters": [{ "name": "fake", "cluster": server }],
            "contexts": [{ "name": "fake", "context": { "cluster": "fake", "user": "" } }],
            "current-context": "fake",
        });
        let folder = Folder::new(test).with("kubeconfig", kubeconfig.to_string());
        folder.path("kubeconfig").to_str().unwrap().to_owned()
    }

    /// Whether it answers at all.
    pub fn set_answers(&self, answers: bool) {
        self.state.answers.store(answers, Ordering::SeqCst);
    }

    /// From now on somebody else holds the lease and renews it before each look.
    pub fn lease_to_another(&self) {
        let spec = json!({ "holderIdentity": "another", "leaseDurationSeconds": 3600 });
        let metadata = json!({ "name": "shipwright-build-controller-lock", "namespace": "team" });
        *self.state.lease.lock().unwrap() = Some(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
        }));
    }

    pub fn lease_holder(&self) -> Value {
        let lease = self.state.lease.lock().unwrap();
        lease.as_ref().map_or(Value::Null, |lease| lease["spec"]["holderIdentity"].clone())
    }

    /// The next request, such as `GET leases` or `WATCH builds`.
    pub fn next_request(&self) -> String {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }

    /// Waits for the next request that is like this.
    pub fn wait_for(&self, wanted: &str) {
        while self.next_request() != wanted {}
    }
}

async fn respond(state: Arc<State>, request: Request) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let is_watch = uri.query().is_some_and(|query| query.contains("watch=true"));
    let path = uri.path().to_owned();
    let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let is_lease = path.contains("/leases");
    let plural = path.rsplit('/').next().unwrap_or_default().to_owned();
    let verb = if is_watch { "WATCH" } else { method.as_str() };
    let resource = if is_lease { "leases" } else { &plural };
    // Nobody may be left to read it.
    let _ = state.sender.send(format!("{verb} {resource}"));
    if !state.answers.load(Ordering::SeqCst) {
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    }
    if is_lease {
        return lease(&state, &method, &body);
    }
    if plural == "status" {
        return pending().await;
    }
    if is_watch {
        let nothing = futures_util::stream::pending::<Result<Bytes, Infallible>>();
        return Body::from_stream(nothing).into_response();
    }
    let items = state.lists.get(plural.as_str()).cloned().unwrap_or(json!([]));
    let lists = [
        "builds",
        "buildruns",
        "buildstrategies",
        "clusterbuildstrategies",
        "limitranges",
        "pods",
        "secrets",
    ];
    if method == Method::GET && lists.contains(&plural.as_str()) {
        let list = json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": items });
        return list.to_string().into_response();
    }
    status(StatusCode::NOT_FOUND)
}

fn lease(state: &State, method: &Method, body: &[u8]) -> Response {
    let mut lease = state.lease.lock().unwrap();
    if method != Method::GET {
        *lease = Some(serde_json::from_slice(body).unwrap());
    }
    let Some(lease) = lease.as_mut() else { return status(StatusCode::NOT_FOUND) };
    let version = state.version.fetch_add(1, Ordering::SeqCst);
    lease["metadata"]["resourceVersion"] = json!(version.to_string());
    lease.to_string().into_response()
}

fn status(code: StatusCode) -> Response {
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "as the test wants", "reason": reason, "code": code.as_u16(),
    });
    (code, status.to_string()).into_response()
}
