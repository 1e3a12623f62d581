//! Judges what somebody applies, before it is stored.
//!
//! Invariant: nothing is refused that cannot be judged: the controller judges it again.
//! Invariant: an object that is bad already can be labelled, canceled and deleted.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::lease::within;
use super::super::load::Loader;
use super::super::outcome::has_started;
use super::referring::{Read, Referring, name_of, review};
use crate::Chain;
use crate::api::{
    API_VERSION, AlphaNames, Build, BuildRun, BuildStrategy, ClusterBuildStrategy, Strategy,
    Version, alpha_field, convert,
};
use crate::plan::{ObjectName, Review, Settings};

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
    /// As it was written, before it was converted.
    #[serde(rename = "requestKind")]
    written: GroupVersionKind,
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
            Build::KIND => Box::pin(self.build(request)).await,
            BuildRun::KIND => Box::pin(self.run(request)).await,
            BuildStrategy::KIND => self.strategy(request, Strategy::Namespaced),
            ClusterBuildStrategy::KIND => self.strategy(request, Strategy::Cluster),
            _ => Ok(Answer::default()),
        };
        judged.unwrap_or_else(|answer| answer)
    }

    async fn build(&self, request: &Request) -> Result<Answer, Answer> {
        let (new, old) = objects::<Build>(request)?;
        Ok(self.with_references(request, &new, old.as_ref()).await)
    }

    async fn run(&self, request: &Request) -> Result<Answer, Answer> {
        let (new, old) = objects::<BuildRun>(request)?;
        if old.as_ref().is_some_and(|old| old.is_done() || has_started(old)) {
            // What it says now has no effect.
            return Ok(Answer::default());
        }
        Ok(self.with_references(request, &new, old.as_ref()).await)
    }

    /// Where nobody can look at what the object names, it is judged as if that were in order.
    async fn with_references<K: Referring>(
        &self,
        request: &Request,
        new: &K,
        old: Option<&K>,
    ) -> Answer {
        let looked = async {
            let found = review(new, &self.loader, &self.settings).await?;
            let Some(old) = old else { return Ok(found) };
            Ok(found.since(&review(old, &self.loader, &self.settings).await?))
        };
        let error = match within(LONGEST, Box::pin(looked)).await {
            Ok(found) => return answer(found, request, &name_of(new)),
            Err(error) => error,
        };
        let error = Chain(&error).to_string();
        let Request { uid, namespace, kind, .. } = request;
        let kind = &kind.kind;
        tracing::warn!(
            uid,
            namespace,
            kind,
            name = name_of(new).name,
            error,
            "cannot look at what the object refers to; it is judged without"
        );
        let mut found = new.review(&new.assumed(), &self.settings);
        if let Some(old) = old {
            found = found.since(&old.review(&old.assumed(), &self.settings));
        }
        let mut answer = answer(found, request, &name_of(new));
        let text = format!("could not check what the {kind} refers to: {error}");
        answer.warnings.insert(0, warning(&text));
        answer
    }

    fn strategy<K: Read>(
        &self,
        request: &Request,
        strategy: impl Fn(K) -> Strategy,
    ) -> Result<Answer, Answer> {
        let (new, old) = objects::<K>(request)?;
        let name = name_of(&new);
        let review = |object| Review::of_strategy(&strategy(object), &self.settings);
        let mut found = review(new);
        if let Some(old) = old {
            found = found.since(&review(old));
        }
        Ok(answer(found, request, &name))
    }
}

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

/// What is said to whoever wrote it, by the names of the version that was written.
fn answer(mut review: Review, request: &Request, name: &ObjectName) -> Answer {
    let is_alpha = request.written.version == Version::V1alpha1.name();
    if is_alpha && !(review.refusals.is_empty() && review.warnings.is_empty()) {
        let alpha = convert(request.object.clone(), Version::V1alpha1);
        let names = alpha.map(|alpha| AlphaNames::of(&alpha, &request.object)).unwrap_or_default();
        for refusal in review.refusals.iter_mut().chain(&mut review.warnings) {
            refusal.field = if refusal.at == *name {
                names.field(&refusal.field)
            } else {
                alpha_field(&refusal.at.kind, &refusal.field)
            };
        }
    }
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
