//! Adds annotations and labels to an image or to every image of an index.
//!
//! Invariant: only what is added changes; platforms, annotations and layers stay, and so does everything that we do not know.
//! Invariant: an index is rewritten after its children, so that it names them by their new digests.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde_json::{Map, Value};

use crate::oci::{Blob, Content, Manifest, OciError, digest_of};

/// Configs of other media types belong to artifacts and have no labels.
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// What to add, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Additions {
    /// For every manifest and index.
    pub(super) annotations: BTreeMap<String, String>,
    /// For the config of every image.
    pub(super) labels: BTreeMap<String, String>,
}

/// Adds them; without additions every byte stays.
pub(super) fn mutate(manifest: &mut Manifest, additions: &Additions) -> Result<(), OciError> {
    if additions == &Additions::default() {
        return Ok(());
    }
    let what = format!("manifest {}", manifest.digest());
    let mut document = parse(&manifest.bytes, &what)?;
    if manifest.is_index() {
        for child in &mut manifest.children {
            let before = child.digest();
            mutate(child, additions)?;
            let entries = document["manifests"].as_array_mut().into_iter().flatten();
            for entry in entries.filter(|entry| entry["digest"] == before.as_str()) {
                point_to(entry, &child.digest(), child.bytes.len() as u64);
            }
        }
    } else if !additions.labels.is_empty() {
        label(&mut document, &mut manifest.blobs, &additions.labels)?;
    }
    if !additions.annotations.is_empty() {
        add(object(&mut document, "annotations", &what)?, &additions.annotations);
    }
    manifest.bytes = document.to_string().into_bytes();
    Ok(())
}

fn label(
    document: &mut Value,
    blobs: &mut [Blob],
    labels: &BTreeMap<String, String>,
) -> Result<(), OciError> {
    let descriptor = &mut document["config"];
    if !CONFIG_TYPES.iter().any(|known| descriptor["mediaType"] == *known) {
        return Ok(());
    }
    let Some(blob) = blobs.iter_mut().find(|blob| descriptor["digest"] == blob.digest.as_str())
    else {
        return Ok(());
    };
    let what = format!("config {}", blob.digest);
    let mut config = parse(&read(blob, &what)?, &what)?;
    add(object(object(&mut config, "config", &what)?, "Labels", &what)?, labels);
    let bytes = config.to_string().into_bytes();
    *blob = Blob {
        digest: digest_of(&bytes),
        size: bytes.len() as u64,
        content: Content::Bytes(bytes),
    };
    point_to(descriptor, &blob.digest, blob.size);
    Ok(())
}

fn read(blob: &Blob, what: &str) -> Result<Vec<u8>, OciError> {
    OciError::check_document_size(what, blob.size)?;
    let mut bytes = Vec::new();
    blob.content
        .open()
        .and_then(|mut content| content.read_to_end(&mut bytes))
        .map_err(|source| OciError::ReadBlob { what: what.to_owned(), source })?;
    Ok(bytes)
}

fn point_to(descriptor: &mut Value, digest: &str, size: u64) {
    descriptor["digest"] = digest.into();
    descriptor["size"] = size.into();
    // A copy of what was there before.
    if let Some(descriptor) = descriptor.as_object_mut() {
        descriptor.remove("data");
    }
}

fn parse(bytes: &[u8], what: &str) -> Result<Value, OciError> {
    serde_json::from_slice(bytes).map_err(|source| OciError::Json { what: what.to_owned(), source })
}

/// The object at a key; made where there is none.
fn object<'a>(parent: &'a mut Value, key: &str, what: &str) -> Result<&'a mut Value, OciError> {
    let not_an_object =
        || OciError::Malformed { what: what.to_owned(), problem: format!("{key:?} is no object") };
    let value = parent.as_object_mut().ok_or_else(not_an_object)?.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    if value.is_object() { Ok(value) } else { Err(not_an_object()) }
}

fn add(object: &mut Value, additions: &BTreeMap<String, String>) {
    for (key, value) in additions {
        object[key] = value.as_str().into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(config: &Value) -> Manifest {
        let config = config.to_string().into_bytes();
        let document = json!({
            "schemaVersion": 2,
            "config": {"mediaType": CONFIG_TYPES[0], "digest": digest_of(&config), "size": config.len(), "data": "e30="},
            "layers": [],
            "annotations": {"kept": "yes"},
            "unknown": [1],
        });
        Manifest {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            bytes: document.to_string().into_bytes(),
            blobs: vec![Blob {
                digest: digest_of(&config),
                size: config.len() as u64,
                content: Content::Bytes(config),
            }],
            children: Vec::new(),
        }
    }

    fn index(children: Vec<Manifest>) -> Manifest {
        let entries: Vec<_> = children
            .iter()
            .map(|child| json!({"mediaType": child.media_type, "digest": child.digest(), "size": child.bytes.len(), "platform": {"os": "linux"}}))
            .collect();
        Manifest {
            media_type: "application/vnd.oci.image.index.v1+json".into(),
            bytes: json!({"schemaVersion": 2, "manifests": entries}).to_string().into_bytes(),
            blobs: Vec::new(),
            children,
        }
    }

    fn additions() -> Additions {
        Additions {
            annotations: [("a".to_owned(), "1".to_owned())].into(),
            labels: [("l".to_owned(), "2=3".to_owned())].into(),
        }
    }

    fn document(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn nothing_to_add_changes_nothing() {
        let mut manifest = image(&json!({"b": 1, "a": 2}));
        let before = manifest.bytes.clone();
        mutate(&mut manifest, &Additions::default()).unwrap();
        assert_eq!(manifest.bytes, before);
    }

    #[test]
    fn an_image_keeps_what_it_had() {
        let mut manifest = image(&json!({"config": {"Labels": {"kept": "yes"}}, "other": 7}));
        mutate(&mut manifest, &additions()).unwrap();
        let changed = document(&manifest.bytes);
        assert_eq!(changed["annotations"], json!({"kept": "yes", "a": "1"}));
        assert_eq!(changed["unknown"], json!([1]));
        assert_eq!(changed["config"]["digest"], manifest.blobs[0].digest.as_str());
        assert_eq!(changed["config"]["size"], manifest.blobs[0].size);
        assert_eq!(changed["config"]["data"], Value::Null);
        let Content::Bytes(config) = &manifest.blobs[0].content else { panic!() };
        assert_eq!(digest_of(config), manifest.blobs[0].digest);
        assert_eq!(
            document(config),
            json!({"config": {"Labels": {"kept": "yes", "l": "2=3"}}, "other": 7})
        );
    }

    #[test]
    fn a_config_without_labels_gets_them() {
        for config in [json!({}), json!({"config": null}), json!({"config": {"Labels": null}})] {
            let mut manifest = image(&config);
            mutate(&mut manifest, &additions()).unwrap();
            let Content::Bytes(config) = &manifest.blobs[0].content else { panic!() };
            assert_eq!(document(config)["config"]["Labels"], json!({"l": "2=3"}));
        }
    }

    #[test]
    fn an_index_names_its_changed_children() {
        let mut top = index(vec![index(vec![image(&json!({}))]), image(&json!({"x": 1}))]);
        mutate(&mut top, &additions()).unwrap();
        let changed = document(&top.bytes);
        assert_eq!(changed["annotations"], json!({"a": "1"}));
        for (entry, child) in changed["manifests"].as_array().unwrap().iter().zip(&top.children) {
            assert_eq!(entry["digest"], child.digest().as_str());
            assert_eq!(entry["size"], child.bytes.len());
            assert_eq!(entry["platform"], json!({"os": "linux"}));
            assert_eq!(document(&child.bytes)["annotations"]["a"], "1");
        }
        let inner = &top.children[0];
        assert_eq!(
            document(&inner.bytes)["manifests"][0]["digest"],
            inner.children[0].digest().as_str()
        );
    }

    #[test]
    fn a_config_that_is_no_object_is_refused() {
        let error = mutate(&mut image(&json!({"config": "text"})), &additions()).unwrap_err();
        assert!(error.to_string().contains("\"config\" is no object"), "{error}");
    }
}
