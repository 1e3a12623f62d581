//! Adds annotations and labels to an image or to every image of an index, and gives them one time.
//!
//! Invariant: only what was asked for changes; platforms, annotations and media types stay, and so does everything that we do not know.
//! Invariant: what has all that was asked for already keeps its bytes and so its digest.
//! Invariant: an index is rewritten after its children, so that it names them by their new digests, and what one child says about
//! another one by digest stays true.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde_json::{Map, Value};

use super::ImageError;
use super::layers::Layers;
use super::time::Time;
use crate::oci::{Blob, Compression, Content, Layer, Manifest, OciError, digest_of};

/// Configs of other media types belong to artifacts and have no labels, times or unpacked layers.
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// Annotation or label: when the image was made.
const CREATED: &str = "org.opencontainers.image.created";
/// Annotation of an attestation in an index: the image that it is about.
const ABOUT: &str = "vnd.docker.reference.digest";
/// Annotations that say where things are in a packed layer; a layer that is packed again is an ordinary one.
const PLACES: [&str; 4] = [
    "io.github.containers.zstd-chunked.",
    "containerd.io/snapshot/stargz/",
    "io.containers.estargz.",
    "containerd.io/uncompressed",
];

/// What to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// For every manifest and index, by key.
    pub(super) annotations: BTreeMap<String, String>,
    /// For the config of every image, by key.
    pub(super) labels: BTreeMap<String, String>,
    /// For every image and all files in it.
    pub(super) time: Option<Time>,
}

/// What a manifest is now.
struct Changed {
    digest: String,
    bytes: Vec<u8>,
    blobs: Vec<Blob>,
}

/// Manifests that are done, by the digest of each before. What names one of them comes after it.
type Done = BTreeMap<String, Changed>;

/// Makes the changes; without any every byte stays.
pub(super) fn mutate(
    manifest: &mut Manifest,
    changes: &Changes,
    layers: &mut Layers<'_>,
) -> Result<(), ImageError> {
    if changes == &Changes::default() {
        return Ok(());
    }
    let mut done = Done::new();
    for one in manifest.all_manifests() {
        let now = change(one, changes, &done, layers)?;
        done.insert(one.digest(), now);
    }
    replace(manifest, &done);
    Ok(())
}

fn replace(manifest: &mut Manifest, done: &Done) {
    if let Some(changed) = done.get(&manifest.digest()) {
        manifest.bytes.clone_from(&changed.bytes);
        manifest.blobs.clone_from(&changed.blobs);
    }
    for child in &mut manifest.children {
        replace(child, done);
    }
}

fn change(
    manifest: &Manifest,
    changes: &Changes,
    done: &Done,
    layers: &mut Layers<'_>,
) -> Result<Changed, ImageError> {
    let what = format!("manifest {}", manifest.digest());
    let mut blobs = manifest.blobs.clone();
    let mut document = parse(&manifest.bytes, &what)?;
    let before = document.clone();
    if let Some(subject) = document.get_mut("subject") {
        redirect(subject, done);
    }
    if manifest.is_index() {
        change_entries(&mut document, changes, done);
    } else {
        change_image(&mut document, &what, &mut blobs, changes, layers)?;
    }
    if let (Some(time), Some(annotations)) = (&changes.time, document.get_mut("annotations")) {
        set_created(annotations, time);
    }
    if !changes.annotations.is_empty() {
        add(object(&mut document, "annotations", &what)?, &changes.annotations);
    }
    let bytes =
        if document == before { manifest.bytes.clone() } else { document.to_string().into_bytes() };
    Ok(Changed { digest: digest_of(&bytes), bytes, blobs })
}

fn change_entries(document: &mut Value, changes: &Changes, done: &Done) {
    for entry in array(document, "/manifests") {
        redirect(entry, done);
        if let Some(annotations) = entry.get_mut("annotations") {
            if let Some(changed) = text(annotations, ABOUT).and_then(|about| done.get(about)) {
                annotations[ABOUT] = changed.digest.as_str().into();
            }
            if let Some(time) = &changes.time {
                set_created(annotations, time);
            }
        }
    }
}

/// Lets a descriptor name what has another digest now.
fn redirect(descriptor: &mut Value, done: &Done) {
    if let Some(before) = text(descriptor, "digest")
        && let Some(changed) = done.get(before)
        && changed.digest != before
    {
        point_to(descriptor, &changed.digest, changed.bytes.len() as u64);
    }
}

fn change_image(
    document: &mut Value,
    manifest: &str,
    blobs: &mut [Blob],
    changes: &Changes,
    layers: &mut Layers<'_>,
) -> Result<(), ImageError> {
    if changes.labels.is_empty() && changes.time.is_none() {
        return Ok(());
    }
    let descriptor = &document["config"];
    if !CONFIG_TYPES.iter().any(|known| descriptor["mediaType"] == *known) {
        return Ok(());
    }
    let Some(at) = blobs.iter().position(|blob| descriptor["digest"] == blob.digest.as_str())
    else {
        return Ok(());
    };
    let what = format!("config {}", blobs[at].digest);
    let mut config = parse(&read(&blobs[at], &what)?, &what)?;
    let before = config.clone();
    // A statement about an image has no platform, and its own times are part of what it states.
    let is_statement = config["os"] == "unknown" && config["architecture"] == "unknown";
    if let Some(time) = changes.time.as_ref().filter(|_| !is_statement) {
        change_layers(document, manifest, &mut config, blobs, time, layers)?;
        let not_an_object =
            || OciError::Malformed { what: what.clone(), problem: "it is no object".to_owned() };
        set_times(config.as_object_mut().ok_or_else(not_an_object)?, time);
    }
    if !changes.labels.is_empty() {
        add(object(object(&mut config, "config", &what)?, "Labels", &what)?, &changes.labels);
    }
    if config == before {
        return Ok(());
    }
    let bytes = config.to_string().into_bytes();
    blobs[at] = Blob {
        digest: digest_of(&bytes),
        size: bytes.len() as u64,
        content: Content::Bytes(bytes),
    };
    point_to(&mut document["config"], &blobs[at].digest, blobs[at].size);
    Ok(())
}

/// Changes the layers, the descriptors of the manifest and the digests in the config together.
fn change_layers(
    document: &mut Value,
    what: &str,
    config: &mut Value,
    blobs: &mut [Blob],
    time: &Time,
    layers: &mut Layers<'_>,
) -> Result<(), ImageError> {
    let before = blobs.to_vec();
    let (descriptors, diff_ids) = (array(document, "/layers"), array(config, "/rootfs/diff_ids"));
    if descriptors.len() != diff_ids.len() {
        let problem = format!(
            "its config speaks of {} layers and the manifest itself of {}",
            diff_ids.len(),
            descriptors.len()
        );
        return Err(OciError::Malformed { what: what.to_owned(), problem }.into());
    }
    let known: BTreeMap<_, _> = before.iter().map(|blob| (blob.digest.as_str(), blob)).collect();
    let mut replaced = BTreeMap::new();
    for (descriptor, diff_id) in descriptors.iter_mut().zip(diff_ids) {
        let compression = Compression::of(text(descriptor, "mediaType").unwrap_or_default())?;
        let blob = text(descriptor, "digest").and_then(|digest| known.get(digest));
        let (Some(compression), Some(&blob)) = (compression, blob) else { continue };
        let expected = diff_id.as_str().unwrap_or_default();
        let layer = Layer { blob, compression, diff_id: Some(expected) };
        let Some(changed) = layers.retime(layer, time.seconds)? else { continue };
        point_to(descriptor, &changed.blob.digest, changed.blob.size);
        if let Some(annotations) = descriptor.get_mut("annotations").and_then(Value::as_object_mut)
        {
            annotations.retain(|key, _| !PLACES.iter().any(|place| key.starts_with(place)));
        }
        *diff_id = changed.diff_id.into();
        replaced.insert(blob.digest.as_str(), changed.blob);
    }
    // The same layer may be there twice.
    for blob in blobs {
        if let Some(now) = replaced.get(blob.digest.as_str()) {
            blob.clone_from(now);
        }
    }
    Ok(())
}

fn set_times(config: &mut Map<String, Value>, time: &Time) {
    config.insert("created".to_owned(), time.written.as_str().into());
    let history = config.get_mut("history").and_then(Value::as_array_mut);
    for entry in history.into_iter().flatten().filter_map(Value::as_object_mut) {
        entry.insert("created".to_owned(), time.written.as_str().into());
    }
    if let Some(labels) = config.get_mut("config").and_then(|config| config.get_mut("Labels")) {
        set_created(labels, time);
    }
}

/// Builders say it there too.
fn set_created(texts: &mut Value, time: &Time) {
    if let Some(created) = texts.get_mut(CREATED) {
        *created = time.written.as_str().into();
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// The entries of an array; none where there is no array.
fn array<'a>(value: &'a mut Value, pointer: &str) -> &'a mut [Value] {
    value.pointer_mut(pointer).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
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
    use std::time::{Duration, Instant};

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

    fn additions() -> Changes {
        Changes {
            time: None,
            annotations: [("a".to_owned(), "1".to_owned())].into(),
            labels: [("l".to_owned(), "2=3".to_owned())].into(),
        }
    }

    fn change(manifest: &mut Manifest, changes: &Changes) -> Result<(), ImageError> {
        mutate(manifest, changes, &mut Layers::new(&|_, _| unreachable!("nothing is fetched")))
    }

    fn document(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn nothing_to_add_changes_nothing() {
        let mut manifest = image(&json!({"b": 1, "a": 2}));
        let before = manifest.bytes.clone();
        change(&mut manifest, &Changes::default()).unwrap();
        assert_eq!(manifest.bytes, before);
    }

    #[test]
    fn an_image_keeps_what_it_had() {
        let mut manifest = image(&json!({"config": {"Labels": {"kept": "yes"}}, "other": 7}));
        change(&mut manifest, &additions()).unwrap();
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
            change(&mut manifest, &additions()).unwrap();
            let Content::Bytes(config) = &manifest.blobs[0].content else { panic!() };
            assert_eq!(document(config)["config"]["Labels"], json!({"l": "2=3"}));
        }
    }

    #[test]
    fn an_index_names_its_changed_children() {
        let mut top = index(vec![index(vec![image(&json!({}))]), image(&json!({"x": 1}))]);
        change(&mut top, &additions()).unwrap();
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
    fn many_layers_take_a_moment_each() {
        let blobs: Vec<_> = (0..50_000)
            .map(|layer| Blob {
                digest: format!("sha256:{layer:064}"),
                size: 0,
                content: Content::Bytes(Vec::new()),
            })
            .collect();
        // The last one all the time, which is no tar archive and so stays what it is.
        let name = &blobs[blobs.len() - 1].digest;
        let mut manifest = image(&json!({"rootfs": {"diff_ids": vec![name; blobs.len()]}}));
        let mut changed = document(&manifest.bytes);
        changed["layers"] = vec![json!({"digest": name}); blobs.len()].into();
        manifest.bytes = changed.to_string().into_bytes();
        manifest.blobs.extend(blobs);
        let time = Time { seconds: 0, written: "1970-01-01T00:00:00Z".to_owned() };
        let begin = Instant::now();
        change(&mut manifest, &Changes { time: Some(time), ..Changes::default() }).unwrap();
        // Looking through all layers for each one takes a minute.
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    }

    /// An image that is about another one.
    fn about(subject: &Manifest, name: &str) -> Manifest {
        let mut referrer = image(&json!({"name": name}));
        let mut changed = document(&referrer.bytes);
        changed["subject"] = json!({"digest": subject.digest(), "size": subject.bytes.len()});
        referrer.bytes = changed.to_string().into_bytes();
        referrer
    }

    #[test]
    fn what_is_about_another_image_comes_after_it_wherever_that_lies() {
        let subject = image(&json!({}));
        let bill = about(&subject, "bill");
        let signature = about(&bill, "signature");
        let mut top = index(vec![signature, index(vec![bill]), index(vec![subject])]);
        change(&mut top, &additions()).unwrap();
        let [signature, with_bill, with_subject] = &*top.children else { panic!() };
        let (bill, subject) = (&with_bill.children[0], &with_subject.children[0]);
        for (referrer, subject) in [(bill, subject), (signature, bill)] {
            let named = &document(&referrer.bytes)["subject"];
            assert_eq!(*named, json!({"digest": subject.digest(), "size": subject.bytes.len()}));
        }
        let order: Vec<_> = top.all_manifests().into_iter().map(Manifest::digest).collect();
        let expected = [subject, bill, signature, with_bill, with_subject, &top];
        assert_eq!(order, expected.map(Manifest::digest));
    }

    #[test]
    fn a_config_that_is_no_object_is_refused() {
        let error = change(&mut image(&json!({"config": "text"})), &additions()).unwrap_err();
        assert!(error.to_string().contains("\"config\" is no object"), "{error}");
    }
}
