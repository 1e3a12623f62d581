//! Converts objects between the versions that API servers serve.
//!
//! Invariant: one object that cannot be converted fails its whole review, as API servers expect.

use serde_json::{Value, json};

use crate::api::{ConversionError, Version, convert_telling};

/// Group and version of what is asked.
pub const REVIEW: &str = "apiextensions.k8s.io/v1";
/// Kind of what is asked.
pub const KIND: &str = "ConversionReview";

/// The review with an answer in place of the request.
pub fn answer(mut review: Value) -> Value {
    let mut request = review["request"].take();
    let objects = match request["objects"].take() {
        Value::Array(objects) => objects,
        _ => Vec::new(),
    };
    let desired = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let mut response = json!({ "uid": request["uid"], "result": { "status": "Success" } });
    match convert_all(objects, desired) {
        Ok(objects) => response["convertedObjects"] = Value::Array(objects),
        Err(error) => {
            response["result"] = json!({ "status": "Failure", "message": error.to_string() });
        }
    }
    json!({ "apiVersion": REVIEW, "kind": KIND, "response": response })
}

fn convert_all(objects: Vec<Value>, desired: &str) -> Result<Vec<Value>, ConversionError> {
    let to = Version::desired(desired)?;
    objects.into_iter().map(|object| convert_one(object, to)).collect()
}

fn convert_one(object: Value, to: Version) -> Result<Value, ConversionError> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (metadata, to_version) = (&object["metadata"], to.api_version());
    let (kind, from_version) = (word(&object["kind"]), word(&object["apiVersion"]));
    let (namespace, name) = (word(&metadata["namespace"]), word(&metadata["name"]));
    let converted = convert_telling(object, to).inspect_err(|error| {
        tracing::warn!(kind, from_version, to_version, namespace, name, %error, "cannot convert");
    })?;
    for loss in converted.losses {
        tracing::warn!(kind, from_version, to_version, namespace, name, "{loss}");
    }
    Ok(converted.object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(desired: &str, objects: &Value) -> Value {
        let request = json!({ "uid": "1", "desiredAPIVersion": desired, "objects": objects });
        let answer = answer(json!({ "apiVersion": REVIEW, "kind": KIND, "request": request }));
        assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!(REVIEW), &json!(KIND)));
        assert!(answer.get("request").is_none());
        answer["response"].clone()
    }

    fn object(version: &str, kind: &str) -> Value {
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "a" }, "spec": {} })
    }

    #[test]
    fn objects_keep_their_order_and_those_of_that_version_their_shape() {
        let beta = object("shipwright.io/v1beta1", "BuildStrategy");
        let alpha = object("shipwright.io/v1alpha1", "ClusterBuildStrategy");
        let response = ask("shipwright.io/v1beta1", &json!([beta, alpha]));
        assert_eq!(response["uid"], "1");
        assert_eq!(response["result"]["status"], "Success");
        assert_eq!(response["convertedObjects"][0], beta);
        assert_eq!(response["convertedObjects"][1]["kind"], "ClusterBuildStrategy");
        assert_eq!(response["convertedObjects"][1]["apiVersion"], "shipwright.io/v1beta1");
    }

    #[test]
    fn one_bad_object_fails_all() {
        let good = object("shipwright.io/v1alpha1", "Build");
        for (desired, bad, message) in [
            (
                "shipwright.io/v2",
                good.clone(),
                "unexpected conversion version to \"shipwright.io/v2\"",
            ),
            (
                "shipwright.io/v1beta1",
                object("shipwright.io/v1", "Build"),
                "unexpected conversion version from \"shipwright.io/v1\"",
            ),
            ("shipwright.io/v1beta1", object("shipwright.io/v1alpha1", "Pod"), "unsupported Kind"),
        ] {
            let response = ask(desired, &json!([good, bad]));
            assert_eq!(response["uid"], "1");
            assert_eq!(response["result"], json!({ "status": "Failure", "message": message }));
            assert!(response["convertedObjects"].is_null());
        }
    }
}
