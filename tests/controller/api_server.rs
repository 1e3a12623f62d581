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
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::sessions::Folder;
use super::process::PATIENCE;

/// A server that runs until it is dropped.
pub struct ApiServer {
    _runtime: tokio::runtime::Runtime,
    state: Arc<State>,
    requests: Receiver<String>,
    address: String,
}

/// Version, kind in the plural and name, line.
type Change = (u64, (String, String), String);

struct State {
    answers: AtomicBool,
    /// Whether a status is ever written.
    writes: bool,
    version: AtomicU64,
    lease: Mutex<Option<Value>>,
    /// By kind in the plural and name.
    objects: Mutex<BTreeMap<(String, String), Value>>,
    /// What changed, for those who watch.
    changes: watch::Sender<Vec<Change>>,
    /// Code and message, by request.
    refusals: Mutex<BTreeMap<String, (StatusCode, String)>>,
    sender: Sender<String>,
}

impl ApiServer {
    /// One that has these objects, and takes for ever to write a status.
    pub fn new(lists: &[(&'static str, Value)]) -> Self {
        Self::that(false, lists)
    }

    /// One that has these objects, and writes what it is asked to.
    pub fn writing(lists: &[(&'static str, Value)]) -> Self {
        Self::that(true, lists)
    }

    fn that(writes: bool, lists: &[(&'static str, Value)]) -> Self {
        let (sender, requests) = mpsc::channel();
        let named = |(plural, list): &(&str, Value)| {
            let items = list.as_array().unwrap().clone().into_iter();
            let key = |item: &Value| (plural.to_string(), name_of(item));
            items.map(|item| (key(&item), item)).collect::<Vec<_>>()
        };
        let state = Arc::new(State {
            answers: AtomicBool::new(true),
            writes,
            version: AtomicU64::new(1),
            lease: Mutex::default(),
            objects: Mutex::new(lists.iter().flat_map(named).collect()),
            changes: watch::channel(Vec::new()).0,
            refusals: Mutex::default(),
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

    /// From now on a request, such as `POST pods`, is answered so, or as ever.
    pub fn refuse(&self, request: &str, answer: Option<(StatusCode, &str)>) {
        let mut refusals = self.state.refusals.lock().unwrap();
        refusals.remove(request);
        refusals.extend(answer.map(|(code, text)| (request.to_owned(), (code, text.to_owned()))));
    }

    /// Has one more object.
    pub fn add(&self, plural: &str, object: Value) {
        self.state.store(plural, name_of(&object), object, "ADDED");
    }

    /// Changes an object, so that whoever watches it looks again.
    pub fn change(&self, plural: &str, name: &str, patch: &Value) {
        assert!(self.state.change(plural, name, patch).is_some(), "there is no {plural} {name}");
    }

    /// Takes an object away.
    pub fn remove(&self, plural: &str, name: &str) {
        let removed = self.state.remove(plural, name);
        assert!(removed.is_some(), "there is no {plural} {name}");
    }

    /// The object as it is now; null where there is none.
    pub fn object(&self, plural: &str, name: &str) -> Value {
        self.state.get(plural, name).unwrap_or_default()
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

    /// The next request, such as `GET leases`, `WATCH builds` or `PATCH buildruns/status`.
    pub fn next_request(&self) -> String {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }

    /// Leaves out what was asked until now.
    pub fn forget_requests(&self) {
        while self.requests.try_recv().is_ok() {}
    }

    /// Waits for the next request that is like this.
    pub fn wait_for(&self, wanted: &str) {
        while self.next_request() != wanted {}
    }
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

/// As RFC 7386 has it, but for lists that Kubernetes merges by name.
fn merge(value: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return *value = patch.clone() };
    for (key, patch) in patch {
        if key == "webhooks" {
            let (items, patches) = (value[key].as_array_mut().unwrap(), patch.as_array().unwrap());
            for patch in patches {
                let item = items.iter_mut().find(|item| item["name"] == patch["name"]);
                merge(item.unwrap(), patch);
            }
        } else if patch.is_null() {
            value.as_object_mut().map(|value| value.remove(key));
        } else {
            merge(&mut value[key], patch);
        }
    }
}

impl State {
    fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.objects.lock().unwrap().get(&(plural.to_owned(), name.to_owned())).cloned()
    }

    fn create(&self, plural: &str, mut object: Value) -> Value {
        let name = name_of(&object);
        object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
        object["metadata"]["creationTimestamp"] =
            json!(k8s_openapi::jiff::Timestamp::now().to_string());
        self.store(plural, name, object, "ADDED")
    }

    /// The object as it is after the patch, unless that was meant for another version.
    fn change(&self, plural: &str, name: &str, patch: &Value) -> Option<Value> {
        let before = self.get(plural, name)?;
        let version = &patch["metadata"]["resourceVersion"];
        if !version.is_null() && *version != before["metadata"]["resourceVersion"] {
            return None;
        }
        let mut after = before.clone();
        merge(&mut after, patch);
        if after == before {
            return Some(after);
        }
        Some(self.store(plural, name.to_owned(), after, "MODIFIED"))
    }

    fn store(&self, plural: &str, name: String, mut object: Value, how: &str) -> Value {
        let mut objects = self.objects.lock().unwrap();
        self.tell(plural, &mut object, how);
        objects.insert((plural.to_owned(), name), object.clone());
        object
    }

    fn tell(&self, plural: &str, object: &mut Value, how: &str) {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let line = format!("{}\n", json!({ "type": how, "object": object }));
        let of = (plural.to_owned(), name_of(object));
        self.changes.send_modify(|changes| changes.push((version, of, line)));
    }

    fn remove(&self, plural: &str, name: &str) -> Option<Value> {
        let mut object =
            self.objects.lock().unwrap().remove(&(plural.to_owned(), name.to_owned()))?;
        self.tell(plural, &mut object, "DELETED");
        Some(object)
    }

    /// The object in a new version, or nothing where another one was meant.
    fn replace(&self, plural: &str, name: &str, object: Value) -> Option<Value> {
        let before = self.get(plural, name)?;
        let version = &object["metadata"]["resourceVersion"];
        let is_meant = version.is_null() || *version == before["metadata"]["resourceVersion"];
        is_meant.then(|| self.store(plural, name.to_owned(), object, "MODIFIED"))
    }

    /// Of one name, or all.
    fn list(&self, plural: &str, only: Option<&str>) -> Value {
        let objects = self.objects.lock().unwrap();
        let is_asked_for = |name: &str| only.is_none_or(|only| name == only);
        let items = objects.iter().filter(|((of, name), _)| of == plural && is_asked_for(name));
        let items: Vec<_> = items.map(|(_, object)| object).collect();
        let version = self.version.load(Ordering::SeqCst).to_string();
        json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": version }, "items": items })
    }

    /// Everything that changes after this version, for ever.
    fn watch(&self, plural: String, only: Option<String>, after: u64) -> Body {
        let is_asked_for = move |name: &str| only.as_ref().is_none_or(|only| name == only);
        let is_asked_for = Arc::new(is_asked_for);
        let from = (self.changes.subscribe(), (plural, is_asked_for), after, true);
        let lines = stream::unfold(from, async |(mut changes, what, after, is_first)| {
            let (plural, is_asked_for) = &what;
            if !is_first {
                changes.changed().await.ok()?;
            }
            let mut latest = after;
            let mut lines = String::new();
            for (version, (of, name), line) in changes.borrow_and_update().iter() {
                if *version > after && of == plural && is_asked_for(name) {
                    lines.push_str(line);
                    latest = *version;
                }
            }
            Some((Ok::<_, Infallible>(Bytes::from(lines)), (changes, what, latest, false)))
        });
        Body::from_stream(lines)
    }
}

/// Kind in the plural, name and subresource that a path names.
fn parts(path: &str) -> [String; 3] {
    let words: Vec<_> = path.trim_matches('/').split('/').collect();
    let words = &words[if words[0] == "api" { 2 } else { 3 }..];
    let words = if words[0] == "namespaces" && words.len() > 2 { &words[2..] } else { words };
    [0, 1, 2].map(|at| words.get(at).copied().unwrap_or_default().to_owned())
}

async fn respond(state: Arc<State>, request: Request) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let query = uri.query().unwrap_or_default();
    let [plural, name, subresource] = parts(uri.path());
    let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let is_watch = query.contains("watch=true");
    let verb = if is_watch { "WATCH" } else { method.as_str() };
    let slash = if subresource.is_empty() { "" } else { "/" };
    let asked = format!("{verb} {plural}{slash}{subresource}");
    let refusal = state.refusals.lock().unwrap().get(&asked).cloned();
    // Nobody may be left to read it.
    let _ = state.sender.send(asked);
    if !state.answers.load(Ordering::SeqCst) {
        return status(StatusCode::INTERNAL_SERVER_ERROR, "as the test wants");
    }
    if let Some((code, text)) = refusal {
        return status(code, &text);
    }
    if plural == "leases" {
        return lease(&state, &method, &body);
    }
    if subresource == "status" && !state.writes {
        return pending().await;
    }
    let mut words = query.split('&');
    let only = words.find_map(|word| word.strip_prefix("fieldSelector=metadata.name%3D"));
    let only = only.map(String::from);
    if is_watch {
        let mut versions =
            query.split('&').filter_map(|word| word.strip_prefix("resourceVersion="));
        let after = versions.find_map(|version| version.parse().ok()).unwrap_or_default();
        return state.watch(plural, only, after).into_response();
    }
    let document = || serde_json::from_slice::<Value>(&body).unwrap();
    let answer = match method {
        Method::GET if name.is_empty() => Some(state.list(&plural, only.as_deref())),
        Method::GET => state.get(&plural, &name),
        Method::POST if state.get(&plural, &name_of(&document())).is_some() => {
            return status(StatusCode::CONFLICT, "it is there");
        }
        Method::POST => Some(state.create(&plural, document())),
        Method::PUT => {
            let replaced = state.replace(&plural, &name, document());
            if replaced.is_none() {
                return status(StatusCode::CONFLICT, "it changed");
            }
            replaced
        }
        Method::PATCH => {
            let mut patch = document();
            if subresource == "status" {
                patch = json!({ "metadata": { "resourceVersion": patch["metadata"]["resourceVersion"] }, "status": patch["status"] });
            }
            let changed = state.change(&plural, &name, &patch);
            if changed.is_none() {
                return status(StatusCode::CONFLICT, "it changed");
            }
            changed
        }
        _ => None,
    };
    answer.map_or_else(
        || status(StatusCode::NOT_FOUND, "not found"),
        |answer| answer.to_string().into_response(),
    )
}

fn lease(state: &State, method: &Method, body: &[u8]) -> Response {
    let mut lease = state.lease.lock().unwrap();
    if method != Method::GET {
        *lease = Some(serde_json::from_slice(body).unwrap());
    }
    let Some(lease) = lease.as_mut() else {
        return status(StatusCode::NOT_FOUND, "there is no lease");
    };
    let version = state.version.fetch_add(1, Ordering::SeqCst);
    lease["metadata"]["resourceVersion"] = json!(version.to_string());
    lease.to_string().into_response()
}

fn status(code: StatusCode, message: &str) -> Response {
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code.as_u16(),
    });
    (code, status.to_string()).into_response()
}
