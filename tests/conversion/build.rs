//! Each rule of Builds in both directions.

use rstest::rstest;
use serde_json::{Value, json};
use slipway::api::Version::{V1alpha1, V1beta1};

use super::{assert_maps, object};

fn build(version: slipway::api::Version, spec: &Value) -> Value {
    let mut whole = json!({ "strategy": { "name": "s" }, "output": { "image": "i" } });
    if version == V1alpha1 {
        whole["source"] = json!({});
    }
    for (name, value) in spec.as_object().expect("a spec") {
        whole[name] = value.clone();
    }
    object(version, "Build", &json!({ "spec": whole }))
}

#[rstest]
#[case::git(
    json!({ "source": { "url": "https://git/r", "revision": "main", "contextDir": "d", "credentials": { "name": "c" } } }),
    json!({ "source": { "type": "Git", "contextDir": "d", "git": { "url": "https://git/r", "revision": "main", "cloneSecret": "c" } } }))]
#[case::bundle_before_url(
    json!({ "source": { "url": "https://git/r", "revision": "main", "bundleContainer": { "image": "b", "prune": "AfterPull" }, "credentials": { "name": "c" } } }),
    json!({ "source": { "type": "OCI", "ociArtifact": { "image": "b", "prune": "AfterPull", "pullSecret": "c" } } }))]
#[case::local_before_all(
    json!({ "source": { "url": "https://git/r", "contextDir": "d", "bundleContainer": { "image": "b" } },
        "sources": [{ "name": "h", "type": "HTTP", "url": "https://x" }, { "name": "l", "type": "LocalCopy", "timeout": "5m" }, { "name": "m", "type": "LocalCopy" }] }),
    json!({ "source": { "type": "Local", "contextDir": "d", "local": { "name": "l", "timeout": "5m" } } }))]
#[case::http_alone(json!({ "sources": [{ "name": "h", "type": "HTTP", "url": "https://x" }] }), json!({}))]
#[case::none(json!({ "source": { "contextDir": "d" } }), json!({}))]
#[case::fields_that_became_parameters(
    json!({ "paramValues": [{ "name": "p", "value": "v" }], "dockerfile": "D", "builder": { "image": "b", "credentials": { "name": "c" }, "labels": { "a": "b" } } }),
    json!({ "paramValues": [{ "name": "p", "value": "v" }, { "name": "dockerfile", "value": "D" }, { "name": "builder-image", "value": "b" }] }))]
#[case::no_dockerfile(json!({ "dockerfile": "" }), json!({}))]
fn from_alpha(#[case] alpha: Value, #[case] beta: Value) {
    assert_maps(&build(V1alpha1, &alpha), &build(V1beta1, &beta));
}
