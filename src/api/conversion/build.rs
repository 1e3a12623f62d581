//! Build in either version, and the spec of a Build inside a BuildRun.

use serde_json::Value;

use super::fields::{
    Fields, change_items, change_object, flatten_reference, nest_reference, only, reference, set,
    take_list, take_object, take_text, text_of,
};

/// Says in v1alpha1 whether the BuildRuns are deleted with the Build.
pub const DELETION_ANNOTATION: &str = "build.shipwright.io/build-run-deletion";

/// The parameter that v1alpha1 calls `spec.dockerfile`.
pub const DOCKERFILE: &str = "dockerfile";
/// The parameter that v1alpha1 calls `spec.builder`.
pub const BUILDER_IMAGE: &str = "builder-image";

/// The type of a source that the user uploads, in v1alpha1.
const LOCAL_COPY: &str = "LocalCopy";

pub fn to_beta(mut build: Fields) -> Fields {
    change_object(&mut build, "spec", spec_to_beta);
    let is_deleted = take_annotation(&mut build).map(|value| value == "true");
    if let (Some(is_deleted), Some(Value::Object(spec))) = (is_deleted, build.get_mut("spec")) {
        let mut retention = take_object(spec, "retention").unwrap_or_default();
        set(&mut retention, "atBuildDeletion", Some(is_deleted));
        set(spec, "retention", Some(retention));
    }
    build
}

pub fn to_alpha(mut build: Fields) -> Fields {
    let at_deletion = build.get("spec").and_then(|spec| spec.pointer("/retention/atBuildDeletion"));
    if let Some(is_deleted) = at_deletion.and_then(Value::as_bool) {
        let mut metadata = take_object(&mut build, "metadata").unwrap_or_default();
        let mut annotations = take_object(&mut metadata, "annotations").unwrap_or_default();
        set(&mut annotations, DELETION_ANNOTATION, Some(is_deleted.to_string()));
        set(&mut metadata, "annotations", Some(annotations));
        set(&mut build, "metadata", Some(metadata));
    }
    change_object(&mut build, "spec", spec_to_alpha);
    build
}

/// Takes the annotation off the object.
fn take_annotation(build: &mut Fields) -> Option<String> {
    let metadata = build.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let value = take_text(annotations, DELETION_ANNOTATION);
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    value
}

/// The spec of a Build, also of one inside a BuildRun.
pub fn spec_to_beta(mut spec: Fields) -> Fields {
    let source = source_to_beta(&mut spec);
    set(&mut spec, "source", source);
    let dockerfile = take_text(&mut spec, "dockerfile").filter(|path| !path.is_empty());
    let builder = take_object(&mut spec, "builder")
        .map(|mut builder| take_text(&mut builder, "image").unwrap_or_default());
    let mut values = take_list(&mut spec, "paramValues");
    for (name, value) in [(DOCKERFILE, dockerfile), (BUILDER_IMAGE, builder)] {
        if let Some(value) = value {
            let mut parameter = reference(name.into());
            set(&mut parameter, "value", Some(value));
            values.get_or_insert_default().push(parameter.into());
        }
    }
    set(&mut spec, "paramValues", values);
    param_values(&mut spec);
    change_object(&mut spec, "output", |mut output| {
        flatten_reference(&mut output, "credentials", "pushSecret");
        output
    });
    change_object(&mut spec, "strategy", |strategy| only(strategy, &["kind", "name"]));
    change_object(&mut spec, "trigger", |mut trigger| {
        flatten_reference(&mut trigger, "secretRef", "triggerSecret");
        trigger
    });
    volumes_to_beta(&mut spec);
    only(
        spec,
        &[
            "env",
            "output",
            "paramValues",
            "retention",
            "source",
            "strategy",
            "timeout",
            "trigger",
            "volumes",
        ],
    )
}

/// The spec of a Build, also of one inside a BuildRun.
pub fn spec_to_alpha(mut spec: Fields) -> Fields {
    source_to_alpha(&mut spec);
    param_values(&mut spec);
    parameters_to_alpha(&mut spec);
    change_object(&mut spec, "output", |mut output| {
        nest_reference(&mut output, "pushSecret", "credentials");
        only(output, &["annotations", "credentials", "image", "insecure", "labels", "timestamp"])
    });
    change_object(&mut spec, "strategy", |strategy| only(strategy, &["kind", "name"]));
    change_object(&mut spec, "trigger", |mut trigger| {
        nest_reference(&mut trigger, "triggerSecret", "secretRef");
        trigger
    });
    if let Some(mut retention) = take_object(&mut spec, "retention") {
        retention.remove("atBuildDeletion");
        set(&mut spec, "retention", Some(retention).filter(|retention| !retention.is_empty()));
    }
    only(
        spec,
        &[
            "builder",
            "dockerfile",
            "env",
            "output",
            "paramValues",
            "retention",
            "source",
            "sources",
            "strategy",
            "timeout",
            "trigger",
            "volumes",
        ],
    )
}

/// `dockerfile` and `builder-image` have fields of their own in v1alpha1; what has no value there is lost.
fn parameters_to_alpha(spec: &mut Fields) {
    let Some(mut values) = take_list(spec, "paramValues") else { return };
    let count = values.len();
    values.retain(|parameter| {
        let text = |field: &str| parameter.get(field).and_then(Value::as_str);
        let name = text("name").unwrap_or_default();
        match name {
            DOCKERFILE => set(spec, "dockerfile", text("value")),
            BUILDER_IMAGE => set(
                spec,
                "builder",
                text("value").map(|image| Fields::from_iter([("image".to_owned(), image.into())])),
            ),
            _ => {}
        }
        ![DOCKERFILE, BUILDER_IMAGE].contains(&name)
    });
    if values.len() == count || !values.is_empty() {
        set(spec, "paramValues", Some(values));
    }
}

/// Of several sources of one value the last one counts.
pub fn param_values(spec: &mut Fields) {
    change_items(spec, "paramValues", |mut parameter| {
        change_items(&mut parameter, "values", last_source);
        last_source(parameter)
    });
}

fn last_source(mut value: Fields) -> Fields {
    let mut found = false;
    for source in ["secretValue", "configMapValue", "value"] {
        if found {
            value.remove(source);
        }
        found |= value.contains_key(source);
    }
    value
}

/// v1beta1's volumes of Builds have no description.
pub fn volumes_to_beta(spec: &mut Fields) {
    change_items(spec, "volumes", |mut volume| {
        volume.remove("description");
        volume
    });
}

/// The first source that the user uploads.
pub fn local_to_beta(sources: Vec<Value>) -> Option<Fields> {
    let mut sources = sources.into_iter().filter_map(|source| match source {
        Value::Object(source) => Some(source),
        _ => None,
    });
    let mut local = sources.find(|source| text_of(source, "type") == Some(LOCAL_COPY))?;
    local.retain(|name, value| name == "timeout" || name == "name" && *value != "");
    Some(local)
}

/// A list with the one source that the user uploads.
pub fn local_to_alpha(mut local: Fields) -> Vec<Value> {
    set(&mut local, "type", Some(LOCAL_COPY));
    // It is required there.
    local.entry("name").or_insert_with(|| "".into());
    vec![local.into()]
}

fn source_to_beta(spec: &mut Fields) -> Option<Fields> {
    let local = take_list(spec, "sources").and_then(local_to_beta);
    let mut source = take_object(spec, "source").unwrap_or_default();
    let context_dir = take_text(&mut source, "contextDir");
    let bundle = take_object(&mut source, "bundleContainer");
    let mut typed = Fields::new();
    let (kind, key, mut members) = match (local, bundle) {
        (Some(local), _) => ("Local", "local", local),
        (None, Some(bundle)) => ("OCI", "ociArtifact", only(bundle, &["image", "prune"])),
        (None, None) if source.contains_key("url") => {
            ("Git", "git", only(source.clone(), &["revision", "url"]))
        }
        (None, None) => return None,
    };
    let secret = match kind {
        "Git" => Some("cloneSecret"),
        "OCI" => Some("pullSecret"),
        _ => None,
    };
    if let Some(secret) = secret {
        flatten_reference(&mut source, "credentials", secret);
        set(&mut members, secret, source.remove(secret));
    }
    set(&mut typed, "type", Some(kind));
    set(&mut typed, key, Some(members));
    set(&mut typed, "contextDir", context_dir);
    Some(typed)
}

fn source_to_alpha(spec: &mut Fields) {
    let mut typed = take_object(spec, "source").unwrap_or_default();
    let mut source = Fields::new();
    let kind = take_text(&mut typed, "type").unwrap_or_default();
    let local = take_object(&mut typed, "local").filter(|_| kind == "Local");
    if let Some(local) = local {
        set(spec, "sources", Some(local_to_alpha(local)));
    } else {
        if kind == "OCI" {
            if let Some(mut artifact) = take_object(&mut typed, "ociArtifact") {
                nest_reference(&mut artifact, "pullSecret", "credentials");
                set(&mut source, "credentials", artifact.remove("credentials"));
                set(&mut source, "bundleContainer", Some(artifact));
            }
        } else if let Some(mut git) = take_object(&mut typed, "git") {
            nest_reference(&mut git, "cloneSecret", "credentials");
            source = only(git, &["credentials", "revision", "url"]);
        }
        set(&mut source, "contextDir", take_text(&mut typed, "contextDir"));
    }
    set(spec, "source", Some(source));
}
