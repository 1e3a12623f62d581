//! Each rule of Builds in both directions.

use rstest::rstest;
use serde_json::{Value, json};
use slipway::api::Version::{self, V1alpha1, V1beta1};

use super::{assert_maps, assert_same, names, object, shown, there};

/// A Build of these fields and what every Build has.
pub fn build(version: Version, spec: &Value) -> Value {
    let mut whole = json!({ "strategy": { "name": "s" }, "output": { "image": "i" } });
    if version == V1alpha1 {
        whole["source"] = json!({});
    }
    for (name, value) in spec.as_object().unwrap() {
        whole[name] = value.clone();
    }
    object(version, "Build", &json!({ "spec": whole }))
}

/// With an annotation.
fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][key] = json!(value);
    object
}

#[rstest]
#[case::bare(json!({}), json!({}))]
#[case::git(
    json!({ "source": { "url": "https://git/r", "revision": "main", "contextDir": "d", "credentials": { "name": "c" } } }),
    json!({ "source": { "type": "Git", "contextDir": "d", "git": { "url": "https://git/r", "revision": "main", "cloneSecret": "c" } } }))]
#[case::bundle(
    json!({ "source": { "bundleContainer": { "image": "b", "prune": "AfterPull" }, "contextDir": "d", "credentials": { "name": "c" } } }),
    json!({ "source": { "type": "OCI", "contextDir": "d", "ociArtifact": { "image": "b", "prune": "AfterPull", "pullSecret": "c" } } }))]
#[case::local(
    json!({ "sources": [{ "name": "l", "type": "LocalCopy", "timeout": "5m" }] }),
    json!({ "source": { "type": "Local", "local": { "name": "l", "timeout": "5m" } } }))]
#[case::local_without_a_name(
    json!({ "sources": [{ "name": "", "type": "LocalCopy" }] }), json!({ "source": { "type": "Local", "local": {} } }))]
#[case::parameters(
    json!({ "paramValues": [{ "name": "p", "values": [{ "value": "v" }, { "secretValue": { "name": "n", "key": "k" } }] }], "dockerfile": "D", "builder": { "image": "b" } }),
    json!({ "paramValues": [{ "name": "p", "values": [{ "value": "v" }, { "secretValue": { "name": "n", "key": "k" } }] },
        { "name": "dockerfile", "value": "D" }, { "name": "builder-image", "value": "b" }] }))]
#[case::output(
    json!({ "output": { "image": "i", "insecure": true, "credentials": { "name": "c" }, "annotations": { "a": "b" }, "labels": { "c": "d" }, "timestamp": "Zero" } }),
    json!({ "output": { "image": "i", "insecure": true, "pushSecret": "c", "annotations": { "a": "b" }, "labels": { "c": "d" }, "timestamp": "Zero" } }))]
#[case::the_rest(
    json!({ "strategy": { "name": "s", "kind": "ClusterBuildStrategy" }, "timeout": "5m", "env": [{ "name": "A", "value": "b" }],
        "volumes": [{ "name": "v", "emptyDir": {} }], "retention": { "failedLimit": 3, "succeededLimit": 4, "ttlAfterFailed": "1h", "ttlAfterSucceeded": "2h" },
        "trigger": { "secretRef": { "name": "t" }, "when": [{ "name": "g", "type": "GitHub", "github": { "events": ["Push"], "branches": ["main"] } }] } }),
    json!({ "strategy": { "name": "s", "kind": "ClusterBuildStrategy" }, "timeout": "5m", "env": [{ "name": "A", "value": "b" }],
        "volumes": [{ "name": "v", "emptyDir": {} }], "retention": { "failedLimit": 3, "succeededLimit": 4, "ttlAfterFailed": "1h", "ttlAfterSucceeded": "2h" },
        "trigger": { "triggerSecret": "t", "when": [{ "name": "g", "type": "GitHub", "github": { "events": ["Push"], "branches": ["main"] } }] } }))]
#[case::triggers_that_crash_upstream(
    json!({ "trigger": { "when": [{ "name": "i", "type": "Image", "image": { "names": ["n"] } }, { "name": "p", "type": "Pipeline", "objectRef": { "name": "o" } }] } }),
    json!({ "trigger": { "when": [{ "name": "i", "type": "Image", "image": { "names": ["n"] } }, { "name": "p", "type": "Pipeline", "objectRef": { "name": "o" } }] } }))]
fn what_both_versions_have(#[case] alpha: Value, #[case] beta: Value) {
    assert_same(&build(V1alpha1, &alpha), &build(V1beta1, &beta));
}

#[rstest]
#[case::bundle_before_url(
    json!({ "source": { "url": "https://git/r", "revision": "main", "bundleContainer": { "image": "b" } } }),
    json!({ "source": { "type": "OCI", "ociArtifact": { "image": "b" } } }))]
#[case::local_before_all(
    json!({ "source": { "url": "https://git/r", "contextDir": "d", "bundleContainer": { "image": "b" } },
        "sources": [{ "name": "h", "type": "HTTP", "url": "https://x" }, { "name": "l", "type": "LocalCopy", "timeout": "5m" }, { "name": "m", "type": "LocalCopy" }] }),
    json!({ "source": { "type": "Local", "contextDir": "d", "local": { "name": "l", "timeout": "5m" } } }))]
#[case::http_alone(json!({ "sources": [{ "name": "h", "type": "HTTP", "url": "https://x" }] }), json!({}))]
#[case::no_source(json!({ "source": { "contextDir": "d", "revision": "main" } }), json!({}))]
#[case::builder(
    json!({ "builder": { "image": "b", "credentials": { "name": "c" }, "labels": { "a": "b" }, "insecure": true } }),
    json!({ "paramValues": [{ "name": "builder-image", "value": "b" }] }))]
#[case::empty_dockerfile(json!({ "dockerfile": "" }), json!({}))]
#[case::dockerfile_twice(
    json!({ "dockerfile": "D", "paramValues": [{ "name": "dockerfile", "value": "E" }, { "name": "p" }] }),
    json!({ "paramValues": [{ "name": "dockerfile", "value": "E" }, { "name": "p" }, { "name": "dockerfile", "value": "D" }] }))]
#[case::the_last_source_of_a_value(
    json!({ "paramValues": [{ "name": "p", "value": "v", "configMapValue": { "name": "c", "key": "k" }, "secretValue": { "name": "s", "key": "k", "format": "x" } },
        { "name": "q", "values": [{ "value": "v", "configMapValue": { "name": "c", "key": "k" } }] }] }),
    json!({ "paramValues": [{ "name": "p", "secretValue": { "name": "s", "key": "k", "format": "x" } },
        { "name": "q", "values": [{ "configMapValue": { "name": "c", "key": "k" } }] }] }))]
#[case::version_of_the_strategy(
    json!({ "strategy": { "name": "s", "apiVersion": "shipwright.io/v1alpha1" } }), json!({}))]
#[case::description_of_a_volume(
    json!({ "volumes": [{ "name": "v", "description": "d", "emptyDir": {} }] }),
    json!({ "volumes": [{ "name": "v", "emptyDir": {} }] }))]
fn what_v1beta1_lacks(#[case] alpha: Value, #[case] beta: Value) {
    assert_maps(&build(V1alpha1, &alpha), &build(V1beta1, &beta));
}

#[rstest]
#[case::directory_of_an_upload(
    json!({ "source": { "type": "Local", "contextDir": "d", "local": { "name": "l" }, "git": { "url": "u" } } }),
    json!({ "sources": [{ "name": "l", "type": "LocalCopy" }] }))]
#[case::depth(
    json!({ "source": { "type": "Git", "git": { "url": "u", "depth": 0 }, "local": {} } }), json!({ "source": { "url": "u" } }))]
#[case::type_that_nobody_knows(
    json!({ "source": { "type": "", "git": { "url": "u" }, "contextDir": "d" } }), json!({ "source": { "url": "u", "contextDir": "d" } }))]
#[case::upload_without_words(json!({ "source": { "type": "Local" } }), json!({}))]
#[case::artifact_that_crashes_upstream(json!({ "source": { "type": "OCI", "contextDir": "d" } }), json!({ "source": { "contextDir": "d" } }))]
#[case::parameters_of_other_sources(
    json!({ "paramValues": [{ "name": "dockerfile", "configMapValue": { "name": "c", "key": "k" } }, { "name": "p", "value": "v" },
        { "name": "builder-image", "secretValue": { "name": "c", "key": "k" } }] }),
    json!({ "paramValues": [{ "name": "p", "value": "v" }] }))]
#[case::parameters_that_crash_upstream(
    json!({ "paramValues": [{ "name": "builder-image" }, { "name": "dockerfile" }] }), json!({}))]
#[case::builder_of_values(json!({ "paramValues": [{ "name": "builder-image", "values": [{ "value": "x" }] }] }), json!({}))]
#[case::order_of_parameters(
    json!({ "paramValues": [{ "name": "builder-image", "value": "b" }, { "name": "a", "value": "1" }, { "name": "dockerfile", "value": "D" }, { "name": "c", "value": "2" }] }),
    json!({ "paramValues": [{ "name": "a", "value": "1" }, { "name": "c", "value": "2" }], "dockerfile": "D", "builder": { "image": "b" } }))]
#[case::empty_dockerfile(
    json!({ "paramValues": [{ "name": "dockerfile", "value": "" }] }), json!({ "dockerfile": "" }))]
#[case::output(
    json!({ "output": { "image": "i", "platforms": [{ "os": "linux", "arch": "arm64" }], "vulnerabilityScan": { "enabled": true, "ignore": { "id": ["CVE-1"] } } } }),
    json!({}))]
#[case::resources_of_steps(
    json!({ "strategy": { "name": "s", "stepResources": [{ "name": "a", "resources": { "limits": { "cpu": 1 } } }] } }), json!({}))]
#[case::the_pod(
    json!({ "nodeSelector": { "a": "b" }, "tolerations": [{ "key": "k", "operator": "Exists" }], "schedulerName": "x", "runtimeClassName": "y" }), json!({}))]
fn what_v1alpha1_lacks(#[case] beta: Value, #[case] alpha: Value) {
    assert_maps(&build(V1beta1, &beta), &build(V1alpha1, &alpha));
}

const DELETION: &str = "build.shipwright.io/build-run-deletion";

#[test]
fn deletion_with_the_build_is_an_annotation_in_v1alpha1() {
    for is_deleted in [true, false] {
        let limits = json!({ "retention": { "failedLimit": 1 } });
        let mut beta = build(V1beta1, &limits);
        beta["spec"]["retention"]["atBuildDeletion"] = json!(is_deleted);
        let alpha = annotated(build(V1alpha1, &limits), DELETION, &is_deleted.to_string());
        assert_same(&alpha, &beta);
        let alone = json!({ "retention": { "atBuildDeletion": is_deleted } });
        let alpha = annotated(build(V1alpha1, &json!({})), DELETION, &is_deleted.to_string());
        assert_same(&alpha, &build(V1beta1, &alone));
    }
}

#[test]
fn any_other_word_than_true_keeps_the_runs_and_comes_back() {
    let alpha = annotated(build(V1alpha1, &json!({})), DELETION, "yes");
    assert_maps(&alpha, &build(V1beta1, &json!({ "retention": { "atBuildDeletion": false } })));
}

#[test]
fn the_annotation_passes_through_where_v1beta1_says_nothing_of_its_own() {
    let beta = annotated(build(V1beta1, &json!({})), DELETION, "true");
    assert_maps(&beta, &annotated(build(V1alpha1, &json!({})), DELETION, "true"));
    let both = annotated(
        build(V1beta1, &json!({ "retention": { "atBuildDeletion": false } })),
        DELETION,
        "true",
    );
    assert_maps(&both, &annotated(build(V1alpha1, &json!({})), DELETION, "false"));
}

#[test]
fn other_metadata_and_the_status_stay() {
    let status =
        json!({ "registered": "False", "reason": "BuildStrategyNotFound", "message": "m" });
    let with = |version| {
        let mut build = annotated(build(version, &json!({})), "team/owner", "us");
        build["metadata"]["labels"] = json!({ "a": "b" });
        build["metadata"]["generation"] = json!(3);
        build["status"] = status.clone();
        build
    };
    assert_same(&with(V1alpha1), &with(V1beta1));
}

#[test]
fn null_counts_as_absent() {
    let beta =
        build(V1beta1, &json!({ "source": null, "paramValues": [{ "name": "p", "value": null }] }));
    let alpha = build(V1alpha1, &json!({ "paramValues": [{ "name": "p" }] }));
    assert_eq!(there(&beta), alpha);
    assert_eq!(shown(there(&alpha)), build(V1beta1, &json!({ "paramValues": [{ "name": "p" }] })));
}

#[rstest]
#[case::same_place("spec.paramValues[1].value", "spec.paramValues[1].value")]
#[case::beside_the_field("spec.paramValues[0]", "spec.paramValues[0]")]
#[case::dockerfile("spec.paramValues[2].name", "spec.dockerfile")]
#[case::builder("spec.paramValues[3]", "spec.builder.image")]
#[case::no_item("spec.paramValues[9]", "spec.paramValues[9]")]
#[case::another_list("spec.volumes[0].name", "spec.volumes[0].name")]
#[case::source("spec.source.git.url", "spec.source.url")]
#[case::deletion(
    "spec.retention.atBuildDeletion",
    "metadata.annotations[build.shipwright.io/build-run-deletion]"
)]
fn a_field_has_the_name_that_the_object_knows(#[case] beta: &str, #[case] alpha: &str) {
    let spec = json!({ "paramValues": [{ "name": "dockerfile", "value": "E" }, { "name": "p", "value": "v" }], "dockerfile": "D", "builder": { "image": "b" } });
    let written = build(V1alpha1, &spec);
    assert_eq!(names(&written).field(beta), alpha);
    if alpha.starts_with("spec.") {
        let embedded =
            object(V1alpha1, "BuildRun", &json!({ "spec": { "buildSpec": written["spec"] } }));
        let beta = beta.replacen("spec.", "spec.build.spec.", 1);
        let alpha = alpha.replacen("spec.", "spec.buildSpec.", 1);
        assert_eq!(names(&embedded).field(&beta), alpha);
    }
}

/// What came back stands elsewhere than what is written.
#[test]
fn a_field_has_the_name_that_the_object_knows_by_what_is_kept() {
    let beta = build(
        V1beta1,
        &json!({ "paramValues": [{ "name": "builder-image", "value": "b" }, { "name": "p", "value": "v" }] }),
    );
    let alpha = there(&beta);
    assert_eq!(names(&alpha).field("spec.paramValues[0].name"), "spec.builder.image");
    assert_eq!(names(&alpha).field("spec.paramValues[1].name"), "spec.paramValues[0].name");
}
