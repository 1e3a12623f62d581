//! Objects of a cluster as documents, for whoever judges or keeps them.
//!
//! Invariant: of Secrets and ConfigMaps only metadata are asked for, and of Secrets their type. The annotation in which kubectl repeats
//! their content comes with those, and is dropped at once.

use axum::http;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Namespace, ServiceAccount};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use serde_json::{Value, json};

use super::{Cluster, ClusterError};
use crate::api::{Build, BuildRun, BuildStrategy, ClusterBuildStrategy};

const SECRET: &str = "Secret";
const CONFIG_MAP: &str = "ConfigMap";
/// What `kubectl apply` keeps of an object; of a Secret it is all.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// A table has a line for each object, and of a Secret's content only how much it is.
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// The column with a Secret's type.
const TYPE: &str = "Type";

impl Cluster {
    /// The objects of that kind and name, as they are to be applied: one, none, or all LimitRanges of the namespace. Of Secrets and
    /// ConfigMaps there is only what they are called, and their annotations and type.
    pub async fn objects(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<Value>, ClusterError> {
        let what = || match namespace {
            "" => format!("get {kind} {name}"),
            namespace => format!("get {kind} {name} in namespace {namespace}"),
        };
        let found = match kind {
            SECRET => self.secret(namespace, name).await,
            CONFIG_MAP => {
                let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
                let found = api.get_metadata_opt(name).await;
                found.map(|found| {
                    let metadata = found.map(|found| found.metadata.annotations);
                    let object = |annotations| nameless(CONFIG_MAP, namespace, name, annotations);
                    metadata.map(|annotations| object(json!(annotations))).into_iter().collect()
                })
            }
            "LimitRange" => {
                let api = Api::<LimitRange>::namespaced(self.client.clone(), namespace);
                let list = api.list(&ListParams::default()).await;
                list.map(|list| {
                    list.items.into_iter().map(|range| document(kind, "v1", json!(range))).collect()
                })
            }
            kind => {
                let Some(resource) = resource(kind) else { return Ok(Vec::new()) };
                let api = match namespace {
                    "" => Api::<DynamicObject>::all_with(self.client.clone(), &resource),
                    namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
                };
                let found = api.get_opt(name).await;
                let version = &resource.api_version;
                found.map(|found| {
                    found.map(|found| document(kind, version, json!(found))).into_iter().collect()
                })
            }
        };
        found.map_err(|error| self.asked(what(), error))
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Vec<Value>, kube::Error> {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}?includeObject=Metadata");
        let request = http::Request::get(path).header(http::header::ACCEPT, AS_TABLE);
        let request = request.body(Vec::new()).map_err(kube::Error::HttpError)?;
        let table = match self.client.request::<Value>(request).await {
            Err(kube::Error::Api(response)) if response.code == 404 => return Ok(Vec::new()),
            table => table?,
        };
        let columns = table["columnDefinitions"].as_array();
        let at =
            columns.and_then(|columns| columns.iter().position(|column| column["name"] == TYPE));
        let row = &table["rows"][0];
        let annotations = row["object"]["metadata"]["annotations"].clone();
        let mut object = nameless(SECRET, namespace, name, annotations);
        if let Some(type_) = at.map(|at| row["cells"][at].clone()).filter(Value::is_string) {
            object["type"] = type_;
        }
        Ok(vec![object])
    }
}

/// An object of which nothing counts but its annotations.
fn nameless(kind: &str, namespace: &str, name: &str, annotations: Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": kind, "metadata": { "name": name, "namespace": namespace },
    });
    if let Value::Object(mut annotations) = annotations {
        annotations.remove(LAST_APPLIED);
        object["metadata"]["annotations"] = Value::Object(annotations);
    }
    object
}

/// An object as a user would write it.
fn document(kind: &str, version: &str, mut object: Value) -> Value {
    object["apiVersion"] = version.into();
    object["kind"] = kind.into();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    without_bookkeeping(object)
}

/// Without what only the API server and kubectl read.
pub fn without_bookkeeping(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    object
}

fn resource(kind: &str) -> Option<ApiResource> {
    Some(match kind {
        BuildRun::KIND => ApiResource::erase::<BuildRun>(&()),
        Build::KIND => ApiResource::erase::<Build>(&()),
        BuildStrategy::KIND => ApiResource::erase::<BuildStrategy>(&()),
        ClusterBuildStrategy::KIND => ApiResource::erase::<ClusterBuildStrategy>(&()),
        "Namespace" => ApiResource::erase::<Namespace>(&()),
        "ServiceAccount" => ApiResource::erase::<ServiceAccount>(&()),
        _ => return None,
    })
}
