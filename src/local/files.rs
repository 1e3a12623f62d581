//! The objects that the files hold, sorted by kind.
//!
//! Invariant: what the schema of a CustomResourceDefinition does not accept is told; the object is taken all the same as far as it
//! can be decoded, so that the rest of it is judged too.
//! Invariant: the content of Secrets and ConfigMaps is taken off the objects on the way in and kept apart.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{LimitRange, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::contents::{self, Contents, Fault};
use super::read::Document;
use crate::api::{
    API_VERSION, AlphaNames, Build, BuildRun, BuildStrategy, ClusterBuildStrategy, GROUP, Strategy,
    Version, convert,
};
use crate::plan::pod_security::{ENFORCE_LABEL, Level};
use crate::plan::{
    DEFAULT_NAMESPACE, Finding, INVALID, NamespaceFacts, ObjectName, Refusal, SecretFacts,
    go_quote, larger, schema, unknown_field,
};

/// Something about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The file that holds the text at fault; nothing where there is no such text.
    pub file: Option<String>,
    /// What is wrong.
    pub refusal: Refusal,
}

/// Something that the user should know and that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note(pub String);

/// What a generated name ends with.
const GENERATED: &str = "local";
/// The label by which it wants the level as of an older Kubernetes.
const ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";

/// The kinds that builds are made of.
pub(super) const OWN_KINDS: [&str; 4] =
    [Build::KIND, BuildRun::KIND, BuildStrategy::KIND, ClusterBuildStrategy::KIND];
/// The kinds beside them that builds meet on a cluster.
const OTHER_KINDS: [&str; 5] = ["ConfigMap", "LimitRange", NAMESPACE, "Secret", "ServiceAccount"];
const NAMESPACE: &str = "Namespace";

/// Namespace and name; cluster-scoped objects have an empty namespace.
pub(super) type Key = (String, String);

/// Everything that the files hold.
#[derive(Debug, Default)]
pub struct Files {
    pub(super) buildruns: BTreeMap<Key, BuildRun>,
    pub(super) builds: BTreeMap<Key, Build>,
    pub(super) strategies: BTreeMap<Key, Strategy>,
    pub(super) secrets: BTreeMap<Key, SecretFacts>,
    pub(super) config_maps: BTreeSet<Key>,
    pub(super) service_accounts: BTreeMap<Key, ServiceAccount>,
    pub(super) namespaces: BTreeMap<String, NamespaceFacts>,
    /// What the Secrets and ConfigMaps hold.
    pub contents: Contents,
    /// An object could not be read at all, so that what refers to it cannot be judged.
    pub incomplete: bool,
    /// File of each object, by kind, namespace and name.
    places: BTreeMap<(String, Key), String>,
    /// All documents' objects in the order in which they were read, also those that could not be taken.
    order: Vec<ObjectName>,
    /// Fields that nobody reads.
    unknown: Vec<Finding>,
    /// What the fields of objects that are written in v1alpha1 are called there.
    alpha: BTreeMap<ObjectName, AlphaNames>,
    /// Where a cluster was asked for all that the files do not hold: of what it told nothing.
    pub(super) untold: Option<BTreeSet<Wanted>>,
}

/// Kind, namespace and name of an object that others name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace; empty for those of the cluster.
    pub namespace: String,
    /// Its name; empty for all LimitRanges of the namespace.
    pub name: String,
}

/// One of the objects that are judged.
#[derive(Debug, Clone, Copy)]
pub enum Object<'a> {
    /// A BuildRun.
    BuildRun(&'a BuildRun),
    /// A Build.
    Build(&'a Build),
    /// A strategy of either kind.
    Strategy(&'a Strategy),
}

impl Files {
    /// Sorts documents; what cannot be taken is refused, what is not known is noted.
    pub fn of(documents: Vec<Document>) -> (Self, Vec<Located>, Vec<Note>) {
        let (files, refusals, mut notes) = Self::sort(documents);
        for finding in &files.unknown {
            let file = finding.file.as_deref().unwrap_or_default();
            let Finding { at, field, message, .. } = finding;
            notes.push(Note(format!("{file}: {} {}: {field}: {message}", at.kind, at.name)));
        }
        (files, refusals, notes)
    }

    /// Sorts documents, as [`Files::of`] does, but for fields that nobody reads.
    pub(super) fn sort(documents: Vec<Document>) -> (Self, Vec<Located>, Vec<Note>) {
        let mut files = Self::default();
        let (mut refusals, mut notes) = (Vec::new(), Vec::new());
        let mut generated = BTreeMap::new();
        for document in documents {
            for document in items(document) {
                let document = named(document, &mut generated);
                files.order.push(object_of(&document));
                files.take(&document, &mut refusals, &mut notes);
            }
        }
        (files, refusals, notes)
    }

    /// A cluster was asked for all that the files do not hold; what it told is among them, and of these objects it told nothing.
    #[must_use]
    pub fn beside_cluster(self, untold: Option<BTreeSet<Wanted>>) -> Self {
        Self { untold, ..self }
    }

    /// Names of all objects in the order in which they were read, also of those that could not be taken.
    pub(super) fn order(&self) -> &[ObjectName] {
        &self.order
    }

    /// Fields that nobody reads.
    pub(super) fn unknown(&self) -> &[Finding] {
        &self.unknown
    }

    /// An object by name, if it is one of ours and could be taken.
    pub(super) fn object(&self, object: &ObjectName) -> Option<Object<'_>> {
        let namespace = object.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.into());
        let key = (namespace, object.name.clone());
        match object.kind.as_ref() {
            BuildRun::KIND => self.buildruns.get(&key).map(Object::BuildRun),
            Build::KIND => self.builds.get(&key).map(Object::Build),
            BuildStrategy::KIND => self.strategies.get(&key).map(Object::Strategy),
            ClusterBuildStrategy::KIND => {
                self.strategies.get(&(String::new(), key.1)).map(Object::Strategy)
            }
            _ => None,
        }
    }

    /// The file that holds an object.
    pub fn place(&self, object: &ObjectName) -> Option<String> {
        let namespace = object.namespace.clone();
        let scoped = (namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.into()), object.name.clone());
        let cluster = (String::new(), object.name.clone());
        let place = |key| self.places.get(&(object.kind.to_string(), key)).cloned();
        place(scoped).or_else(|| place(cluster))
    }

    /// Whether an object is among them.
    pub(super) fn holds(&self, kind: &str, key: &Key) -> bool {
        self.places.contains_key(&(kind.to_owned(), key.clone()))
    }

    /// An object does not stand in its file any more.
    pub(super) fn forget_place(&mut self, kind: &str, key: &Key) {
        self.places.remove(&(kind.to_owned(), key.clone()));
    }

    /// A refusal with the file of its text, which names the field as it is written there.
    pub fn locate(&self, mut refusal: Refusal) -> Located {
        refusal.field = self.written(&refusal.at, refusal.field);
        Located { file: self.place(&refusal.at), refusal }
    }

    /// The name of a field in the version in which the object is written.
    pub(super) fn written(&self, object: &ObjectName, field: String) -> String {
        let without = ObjectName { namespace: None, ..object.clone() };
        let is_default = object.namespace.as_deref() == Some(DEFAULT_NAMESPACE);
        let written = self.alpha.get(object);
        match written.or_else(|| self.alpha.get(&without).filter(|_| is_default)) {
            Some(names) => names.field(&field),
            None => field,
        }
    }

    fn take(&mut self, document: &Document, refusals: &mut Vec<Located>, notes: &mut Vec<Note>) {
        let value = &document.value;
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let own = Version::of(api_version).is_some();
        match (api_version, kind) {
            (_, BuildRun::KIND) if own => {
                self.ours(document, BuildRun::KIND, refusals, |f, k, run| {
                    f.buildruns.insert(k, run)
                });
            }
            (_, Build::KIND) if own => {
                self.ours(document, Build::KIND, refusals, |f, k, build| f.builds.insert(k, build));
            }
            (_, BuildStrategy::KIND) if own => {
                self.ours(document, BuildStrategy::KIND, refusals, |f, k, strategy| {
                    f.strategies.insert(k, Strategy::Namespaced(strategy))
                });
            }
            (_, ClusterBuildStrategy::KIND) if own => {
                self.ours(document, ClusterBuildStrategy::KIND, refusals, |f, k, strategy| {
                    f.strategies.insert(k, Strategy::Cluster(strategy))
                });
            }
            ("v1", "Secret") => self.secret(document, refusals),
            ("v1", "ConfigMap") => self.config_map(document, refusals),
            ("v1", "ServiceAccount") => {
                self.core(document, "ServiceAccount", refusals, |f, k, account| {
                    f.service_accounts.insert(k, account)
                });
            }
            ("v1", NAMESPACE) => self.namespace(document, refusals, notes),
            ("v1", "LimitRange") => self.core(
                document,
                "LimitRange",
                refusals,
                |f, (namespace, _), range: LimitRange| {
                    let limits = range.spec.map(|spec| spec.limits).unwrap_or_default();
                    let minimum = &mut f.namespaces.entry(namespace).or_default().minimum_requests;
                    let of_containers =
                        limits.into_iter().filter(|limit| limit.type_ == "Container");
                    for (resource, least) in of_containers.filter_map(|limit| limit.min).flatten() {
                        let least = match minimum.remove(&resource) {
                            Some(other) => larger(other, least),
                            None => least,
                        };
                        minimum.insert(resource, least);
                    }
                    None::<()>
                },
            ),
            _ if !value.is_object() => {
                let message = "is no object; a document has apiVersion, kind and metadata";
                refusals.push(problem(document, "", message.into()));
            }
            (version, kind) if own => {
                let (kind, kinds) = (go_quote(kind), OWN_KINDS.join(", "));
                let message = format!("{version} has no kind {kind}; it has {kinds}");
                refusals.push(problem(document, "kind", message));
            }
            (version, _) if version.split('/').next() == Some(GROUP) => {
                let message = format!(
                    "{version} cannot be read here; write the object as {API_VERSION} or {}",
                    Version::V1alpha1
                );
                refusals.push(problem(document, "apiVersion", message));
            }
            ("", _) => refusals.push(problem(document, "apiVersion", "Required value".into())),
            (_, "") => refusals.push(problem(document, "kind", "Required value".into())),
            (version, kind) => {
                notes.push(Note(format!("{}: {version} {kind} is not used here", document.file)));
            }
        }
    }

    /// A namespace, with the PodSecurity level that it enforces.
    fn namespace(
        &mut self,
        document: &Document,
        refusals: &mut Vec<Located>,
        notes: &mut Vec<Note>,
    ) {
        let labels = document.value.pointer("/metadata/labels");
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
        let word = label(ENFORCE_LABEL);
        if let Some(version) = label(ENFORCE_VERSION).filter(|version| *version != "latest") {
            let file = &document.file;
            let name = document
                .value
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            notes.push(Note(format!(
                "{file}: Namespace {name}: the newest version of its PodSecurity level counts here, not {version}"
            )));
        }
        let enforces = word.and_then(Level::of_word);
        if let Some(word) = word.filter(|_| enforces.is_none()) {
            let (word, words) = (go_quote(word), Level::ALL.map(Level::word).join(", "));
            let message = format!("Invalid value: {word}: must be one of {words}");
            refusals.push(problem(document, &format!("metadata.labels[{ENFORCE_LABEL}]"), message));
        }
        self.core(document, NAMESPACE, refusals, |f, (_, name), _: Namespace| {
            f.namespaces.entry(name).or_default().enforces = enforces;
            None::<()>
        });
    }

    fn secret(&mut self, document: &Document, refusals: &mut Vec<Located>) {
        let facts = secret_facts(&document.value);
        let (content, faults) = contents::of_secret(&document.value);
        refusals.extend(located(document, faults));
        self.core(document, "Secret", refusals, |f, k, _: Meta| {
            f.contents.secrets.insert(k.clone(), content);
            f.secrets.insert(k, facts)
        });
    }

    fn config_map(&mut self, document: &Document, refusals: &mut Vec<Located>) {
        let (content, faults) = contents::of_config_map(&document.value);
        refusals.extend(located(document, faults));
        self.core(document, "ConfigMap", refusals, |f, k, _: Meta| {
            f.contents.config_maps.insert(k.clone(), content);
            f.config_maps.insert(k).then_some(())
        });
    }

    /// An object of ours: judged by its schema, then decoded.
    fn ours<T: DeserializeOwned, Old>(
        &mut self,
        document: &Document,
        kind: &'static str,
        refusals: &mut Vec<Located>,
        insert: impl FnOnce(&mut Self, Key, T) -> Option<Old>,
    ) {
        let findings = schema::check(&document.value).unwrap_or_default();
        self.unknown.extend(findings.unknown.iter().map(|field| {
            let file = Some(document.file.clone());
            Finding::warning(object_of(document), file, unknown_field(field))
        }));
        let is_valid = findings.problems.is_empty();
        refusals.extend(
            findings
                .problems
                .into_iter()
                .map(|found| problem(document, &found.path, found.message)),
        );
        // An object that breaks its schema is still read as far as it goes: the rest of it may be wrong too.
        // What it could not be read for is a problem of its own only where the schema found none.
        let mut decoding = Vec::new();
        if document.value["apiVersion"] == Version::V1alpha1.api_version() {
            match convert(document.value.clone(), Version::V1beta1) {
                Ok(value) => {
                    let names = AlphaNames::of(&document.value, &value);
                    self.alpha.insert(object_of(document), names);
                    let file = document.file.clone();
                    self.core(&Document { file, value }, kind, &mut decoding, insert);
                }
                Err(error) => decoding.push(problem(document, "apiVersion", error.to_string())),
            }
        } else {
            self.core(document, kind, &mut decoding, insert);
        }
        self.incomplete |= !decoding.is_empty();
        if is_valid {
            refusals.extend(decoding);
        }
    }

    fn core<T: DeserializeOwned, Old>(
        &mut self,
        document: &Document,
        kind: &'static str,
        refusals: &mut Vec<Located>,
        insert: impl FnOnce(&mut Self, Key, T) -> Option<Old>,
    ) {
        let metadata = document.value.get("metadata");
        let text =
            |field: &str| metadata.and_then(|metadata| metadata.get(field)).and_then(Value::as_str);
        let Some(name) = text("name").filter(|name| !name.is_empty()) else {
            refusals.push(problem(
                document,
                "metadata.name",
                "Required value: name is required".into(),
            ));
            return;
        };
        let namespace =
            if is_of_cluster(kind) { "" } else { text("namespace").unwrap_or(DEFAULT_NAMESPACE) };
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(first) = self.places.get(&(kind.to_owned(), key.clone())) {
            let message = format!("the same object is in {first} already; keep one of the two");
            refusals.push(problem(document, "metadata.name", message));
            return;
        }
        let mut value = document.value.clone();
        if let Some(object) = value.as_object_mut() {
            // What became of an object elsewhere says nothing here.
            object.remove("status");
        }
        match serde_json::from_value(value) {
            Ok(object) => {
                self.places.insert((kind.to_owned(), key.clone()), document.file.clone());
                insert(self, key, object);
            }
            Err(error) => refusals.push(problem(document, "", error.to_string())),
        }
    }
}

/// Only what every object has: for kinds whose content does not matter here.
#[derive(serde::Deserialize)]
struct Meta {
    #[serde(rename = "metadata")]
    _metadata: ObjectMeta,
}

/// Whether objects of a kind belong to no namespace.
pub(super) fn is_of_cluster(kind: &str) -> bool {
    kind == ClusterBuildStrategy::KIND || kind == NAMESPACE
}

/// Whether an object is of a kind that is taken and that nothing is built from.
pub(super) fn is_other(object: &ObjectName) -> bool {
    OTHER_KINDS.contains(&object.kind.as_ref())
}

/// The objects of documents, each in a document of its own; those that name no namespace are in this one.
pub fn in_namespace(documents: Vec<Document>, namespace: &str) -> Vec<Document> {
    let mut documents: Vec<_> = documents.into_iter().flat_map(items).collect();
    for document in &mut documents {
        let kind = document.value.get("kind").and_then(Value::as_str).unwrap_or_default();
        if is_of_cluster(kind) {
            continue;
        }
        let metadata = document.value.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata
            && metadata.get("namespace").and_then(Value::as_str).is_none_or(str::is_empty)
        {
            metadata.insert("namespace".into(), namespace.into());
        }
    }
    documents
}

/// The members of a List, also of one in another, or the document itself. Where a list tells the kind of all its members, they need
/// not, as kubectl has it.
pub(super) fn items(document: Document) -> Vec<Document> {
    let text = |field: &str| document.value.get(field).and_then(Value::as_str).unwrap_or_default();
    let Some(kind) = text("kind").strip_suffix("List") else { return vec![document] };
    let Some(Value::Array(members)) = document.value.get("items") else { return vec![document] };
    let version = text("apiVersion");
    let member = |value: &Value| {
        let mut value = value.clone();
        if let Some(fields) = value.as_object_mut().filter(|_| !kind.is_empty())
            && !fields.contains_key("kind")
            && !fields.contains_key("apiVersion")
        {
            fields.insert("apiVersion".into(), version.into());
            fields.insert("kind".into(), kind.into());
        }
        Document { file: document.file.clone(), value }
    };
    members.iter().map(member).flat_map(items).collect()
}

/// An object of ours that leaves the end of its name to the cluster gets one that is always the same here. `generated` counts
/// those of each kind whose names begin the same.
fn named(mut document: Document, generated: &mut BTreeMap<(String, Key), usize>) -> Document {
    let kind = document.value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !OWN_KINDS.contains(&kind.as_str()) {
        return document;
    }
    let metadata = document.value.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
        let (name, prefix) = (text("name"), text("generateName"));
        if name.is_empty() && !prefix.is_empty() {
            let count =
                generated.entry((kind, (text("namespace").into(), prefix.into()))).or_default();
            *count += 1;
            let name = match *count {
                1 => format!("{prefix}{GENERATED}"),
                count => format!("{prefix}{GENERATED}{count}"),
            };
            metadata.insert("name".into(), name.into());
        }
    }
    document
}

fn secret_facts(value: &Value) -> SecretFacts {
    let annotations = value
        .pointer("/metadata/annotations")
        .and_then(|map| serde_json::from_value(map.clone()).ok());
    SecretFacts {
        type_: value.get("type").and_then(Value::as_str).map(String::from),
        annotations: annotations.unwrap_or_default(),
    }
}

fn located(document: &Document, faults: Vec<Fault>) -> impl Iterator<Item = Located> {
    faults.into_iter().map(|(field, message)| problem(document, &field, message))
}

pub(super) fn problem(document: &Document, field: &str, message: String) -> Located {
    let object = object_of(document);
    let refusal =
        Refusal { at: object.clone(), object, field: field.to_owned(), reason: INVALID, message };
    Located { file: Some(document.file.clone()), refusal }
}

pub(super) fn object_of(document: &Document) -> ObjectName {
    let text = |pointer| document.value.pointer(pointer).and_then(Value::as_str);
    ObjectName {
        kind: text("/kind").unwrap_or_default().to_owned().into(),
        namespace: text("/metadata/namespace").map(String::from),
        name: text("/metadata/name").unwrap_or_default().to_owned(),
    }
}
