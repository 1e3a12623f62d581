//! Judges what somebody applies, before it is stored.
//!
//! Invariant: nothing is refused that cannot be judged: the controller judges it again.
//! Invariant: an object that is bad already can be labelled, canceled and deleted.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::error::ClusterError;
use super::super::lease::within;
use super::super::load::{Loader, Lookup};
use super::super::outcome::has_started;
use crate::Chain;
use crate::api::{API_VERSION, Build, BuildRun, BuildStrategy, ClusterBuildStrategy, Strategy};
use crate::plan::{ObjectName, Refusal, Review, Settings};

/// Group and version of what is asked.
pub const REVIEW: &str = "admission.k8s.io/v1";
/// Kind of what is asked.
pub const KIND: &str = "AdmissionReview";
/// How long an answer may take: less than API servers wait for one, see the installed configuration.
const LONGEST: Duration = Duration::from_secs(4);
/// Bytes of a warning, as the API server takes them.
const MAX_WARNING: usize = 256;

/// Who judges.
#[derive(Clone)]
pub struct Judge {
    pub loader: Loader,
    pub settings: Settings,
    /// Whether anything is judged at all.
    pub enabled: bool,
}

/// What an API server asks.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: GroupVersionKind,
    namespace: String,
    operation: String,
    object: Value,
    old_object: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupVersionKind {
    kind: String,
    version: String,
    group: String,
}

/// What is answered.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    refusal: Option<String>,
    warnings: Vec<String>,
}

impl Judge {
    /// The review with an answer in place of the request.
    pub async fn answer(&self, review: &Value) -> Value {
        let request = Request::deserialize(&review["request"]);
        let uid = review["request"]["uid"].clone();
        let answer = match request {
            Ok(request) => self.judge(&request).await,
            Err(error) => Answer {
                warnings: vec![warning(&format!("the request cannot be read: {error}"))],
                ..Answer::default()
            },
        };
        let mut response = json!({ "uid": uid, "allowed": answer.refusal.is_none() });
        if let Some(message) = answer.refusal {
            response["status"] = json!({ "status": "Failure", "reason": "Invalid", "code": 422, "message": message });
        }
        if !answer.warnings.is_empty() {
            response["warnings"] = json!(answer.warnings);
        }
        json!({ "apiVersion": REVIEW, "kind": KIND, "response": response })
    }

    async fn judge(&self, request: &Request) -> Answer {
        let is_ours = format!("{}/{}", request.kind.group, request.kind.version) == API_VERSION;
        let is_judged = ["CREATE", "UPDATE"].contains(&request.operation.as_str());
        let is_leaving = !request.object["metadata"]["deletionTimestamp"].is_null();
        if !self.enabled || !is_ours || !is_judged || is_leaving || !changes_spec(request) {
            return Answer::default();
        }
        let judged = match request.kind.kind.as_str() {
            Build::KIND => within(LONGEST, Box::pin(self.build(request))).await,
            BuildRun::KIND => within(LONGEST, Box::pin(self.run(request))).await,
            BuildStrategy::KIND => Ok(self.strategy(request, Strategy::Namespaced)),
            ClusterBuildStrategy::KIND => Ok(self.strategy(request, Strategy::Cluster)),
            _ => return Answer::default(),
        };
        match judged {
            Ok(answer) => answer,
            Err(error) => {
                let Request { uid, namespace, kind, .. } = request;
                let error = Chain(&error).to_string();
                tracing::warn!(
                    uid,
                    namespace,
                    kind = kind.kind,
                    error,
                    "cannot judge what was applied; it is taken"
                );
                let text = format!("what the {} names was not looked at: {error}", kind.kind);
                Answer { refusal: None, warnings: vec![warning(&text)] }
            }
        }
    }

    async fn build(&self, request: &Request) -> Result<Answer, ClusterError> {
        let review = async |build: &Build| {
            let loaded = self.loader.build_as_given(build).await;
            of_loaded(build, loaded.map(|loaded| Review::of_build(build, &loaded, &self.settings)))
        };
        let (new, old) = match objects::<Build>(request) {
            Ok(objects) => objects,
            Err(answer) => return Ok(answer),
        };
        let mut found = review(&new).await?;
        if let Some(old) = old {
            found = found.since(&review(&old).await?);
        }
        Ok(told(&found, &new))
    }

    async fn run(&self, request: &Request) -> Result<Answer, ClusterError> {
        let now = Timestamp::now();
        let review = async |run: &BuildRun| {
            let loaded = self.loader.run(run, Lookup::Nothing).await;
            of_loaded(run, loaded.map(|loaded| Review::of_run(&loaded, &self.settings, now)))
        };
        let (new, old) = match objects::<BuildRun>(request) {
            Ok(objects) => objects,
            Err(answer) => return Ok(answer),
        };
        if old.as_ref().is_some_and(|old| old.is_done() || has_started(old)) {
            // What it says now has no effect.
            return Ok(Answer::default());
        }
        let mut found = review(&new).await?;
        if let Some(old) = old {
            found = found.since(&review(&old).await?);
        }
        Ok(told(&found, &new))
    }

    fn strategy<K: Read>(&self, request: &Request, strategy: impl Fn(K) -> Strategy) -> Answer {
        let (new, old) = match objects::<K>(request) {
            Ok(objects) => objects,
            Err(answer) => return answer,
        };
        let name = name_of(&new);
        let review = |object| Review::of_strategy(&strategy(object), &self.settings);
        let mut found = review(new);
        if let Some(old) = old {
            found = found.since(&review(old));
        }
        answer(&found, &name)
    }
}

/// A kind of ours.
trait Read: Resource<DynamicType = ()> + DeserializeOwned {}

impl<K: Resource<DynamicType = ()> + DeserializeOwned> Read for K {}

/// Whether there is anything new to judge. Whoever cancels a run changes nothing else of it.
fn changes_spec(request: &Request) -> bool {
    let spec = |object: &Value| {
        let mut spec = object["spec"].clone();
        if let (BuildRun::KIND, Value::Object(fields)) = (request.kind.kind.as_str(), &mut spec) {
            fields.remove("state");
        }
        spec
    };
    request.old_object.is_null() || spec(&request.object) != spec(&request.old_object)
}

/// The object and what it was before, as far as that can be read; an answer where the object itself cannot.
fn objects<K: Read>(request: &Request) -> Result<(K, Option<K>), Answer> {
    let read = |object: &Value| {
        let mut read: K = K::deserialize(object).map_err(|error| error.to_string())?;
        if !request.namespace.is_empty() {
            read.meta_mut().namespace = Some(request.namespace.clone());
        }
        Ok::<_, String>(read)
    };
    let old = (!request.old_object.is_null()).then(|| read(&request.old_object));
    match (read(&request.object), old) {
        (Ok(new), old) => Ok((new, old.and_then(Result::ok))),
        // Nobody could read it before either.
        (Err(_), Some(Err(_))) => Err(Answer::default()),
        (Err(error), _) => {
            let name = request.object["metadata"]["name"].as_str().unwrap_or_default();
            let message = format!("{} {name} cannot be read: {error}", request.kind.kind);
            Err(Answer { refusal: Some(message), warnings: Vec::new() })
        }
    }
}

/// What was found, or that something which the object names cannot be read.
fn of_loaded<K: Read>(
    object: &K,
    review: Result<Review, ClusterError>,
) -> Result<Review, ClusterError> {
    review.or_else(|error| {
        let (reason, message) = error.unreadable().ok_or(error)?;
        let object = name_of(object);
        let at = object.clone();
        Ok(Review::of_refusal(Refusal { object, at, field: "spec".into(), reason, message }))
    })
}

fn name_of<K: Read>(object: &K) -> ObjectName {
    ObjectName {
        kind: K::kind(&()).into_owned().into(),
        namespace: object.namespace(),
        name: object.name_any(),
    }
}

fn told<K: Read>(review: &Review, object: &K) -> Answer {
    answer(review, &name_of(object))
}

fn answer(review: &Review, name: &ObjectName) -> Answer {
    Answer { refusal: review.message(name), warnings: review.lines_of_warnings(name) }
}

/// A warning of our own.
fn warning(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = text.len().min(MAX_WARNING);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
