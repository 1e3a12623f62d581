//! Each rule of BuildRuns in both directions.

use rstest::rstest;
use serde_json::{Value, json};
use slipway::api::Version::{self, V1alpha1, V1beta1};

use super::{assert_maps, assert_same, object};

/// A run with these fields. In v1alpha1 `serviceAccount` is always shown.
fn run(version: Version, spec: &Value) -> Value {
    let mut whole = match version {
        V1alpha1 => json!({ "serviceAccount": {} }),
        V1beta1 => json!({ "build": {} }),
    };
    for (name, value) in spec.as_object().unwrap() {
        whole[name] = value.clone();
    }
    object(version, "BuildRun", &json!({ "spec": whole }))
}

fn with_status(version: Version, status: &Value) -> Value {
    let mut run = run(version, &json!({}));
    run["status"] = status.clone();
    run
}

#[rstest]
#[case::bare(json!({}), json!({}))]
#[case::named(json!({ "buildRef": { "name": "b" } }), json!({ "build": { "name": "b" } }))]
#[case::embedded(
    json!({ "buildSpec": { "source": { "url": "u" }, "strategy": { "name": "s" }, "output": { "image": "i", "credentials": { "name": "c" } }, "dockerfile": "D" } }),
    json!({ "build": { "spec": { "source": { "type": "Git", "git": { "url": "u" } }, "strategy": { "name": "s" }, "output": { "image": "i", "pushSecret": "c" },
        "paramValues": [{ "name": "dockerfile", "value": "D" }] } } }))]
#[case::local(
    json!({ "sources": [{ "name": "l", "type": "LocalCopy", "timeout": "1m" }] }),
    json!({ "source": { "type": "Local", "local": { "name": "l", "timeout": "1m" } } }))]
#[case::account(json!({ "serviceAccount": { "name": "a" } }), json!({ "serviceAccount": "a" }))]
#[case::generated(json!({ "serviceAccount": { "name": "x", "generate": true } }), json!({ "serviceAccount": ".generate" }))]
#[case::output(
    json!({ "output": { "image": "i", "credentials": { "name": "c" }, "annotations": { "a": "b" }, "labels": { "c": "d" } } }),
    json!({ "output": { "image": "i", "pushSecret": "c", "annotations": { "a": "b" }, "labels": { "c": "d" } } }))]
#[case::parameters_stay_parameters(
    json!({ "paramValues": [{ "name": "dockerfile", "value": "D" }, { "name": "builder-image", "secretValue": { "name": "s", "key": "k" } }] }),
    json!({ "paramValues": [{ "name": "dockerfile", "value": "D" }, { "name": "builder-image", "secretValue": { "name": "s", "key": "k" } }] }))]
#[case::the_rest(
    json!({ "state": "BuildRunCanceled", "env": [{ "name": "A" }], "timeout": "1h", "retention": { "ttlAfterFailed": "1h" }, "volumes": [{ "name": "v", "emptyDir": {} }] }),
    json!({ "state": "BuildRunCanceled", "env": [{ "name": "A" }], "timeout": "1h", "retention": { "ttlAfterFailed": "1h" }, "volumes": [{ "name": "v", "emptyDir": {} }] }))]
fn what_both_versions_have(#[case] alpha: Value, #[case] beta: Value) {
    assert_same(&run(V1alpha1, &alpha), &run(V1beta1, &beta));
}

#[rstest]
#[case::version_of_the_build(
    json!({ "buildRef": { "name": "b", "apiVersion": "shipwright.io/v1alpha1" } }), json!({ "build": { "name": "b" } }))]
#[case::build_twice(
    json!({ "buildRef": { "name": "b" }, "buildSpec": { "source": {}, "strategy": { "name": "s" }, "output": { "image": "i" } } }),
    json!({ "build": { "name": "b", "spec": { "strategy": { "name": "s" }, "output": { "image": "i" } } } }))]
#[case::sources(
    json!({ "sources": [{ "name": "h", "type": "HTTP", "url": "u" }, { "name": "l", "type": "LocalCopy" }, { "name": "m", "type": "LocalCopy" }] }),
    json!({ "source": { "type": "Local", "local": { "name": "l" } } }))]
#[case::name_beside_generate(
    json!({ "serviceAccount": { "name": "mine", "generate": true } }), json!({ "serviceAccount": ".generate" }))]
#[case::generate_without_a_name(json!({ "serviceAccount": { "generate": true } }), json!({ "serviceAccount": ".generate" }))]
#[case::not_generated(json!({ "serviceAccount": { "name": "a", "generate": false } }), json!({ "serviceAccount": "a" }))]
#[case::output(
    json!({ "output": { "image": "i", "insecure": true, "timestamp": "Zero" } }), json!({ "output": { "image": "i" } }))]
#[case::description_of_a_volume(
    json!({ "volumes": [{ "name": "v", "description": "d", "emptyDir": {} }] }), json!({ "volumes": [{ "name": "v", "emptyDir": {} }] }))]
fn what_v1beta1_lacks(#[case] alpha: Value, #[case] beta: Value) {
    assert_maps(&run(V1alpha1, &alpha), &run(V1beta1, &beta));
}

#[rstest]
#[case::build_twice(
    json!({ "build": { "name": "b", "spec": { "strategy": { "name": "s" }, "output": { "image": "i" } } } }),
    json!({ "buildSpec": { "source": {}, "strategy": { "name": "s" }, "output": { "image": "i" } } }))]
#[case::deletion_of_an_embedded_build(
    json!({ "build": { "spec": { "strategy": { "name": "s" }, "output": { "image": "i" }, "retention": { "atBuildDeletion": true } } } }),
    json!({ "buildSpec": { "source": {}, "strategy": { "name": "s" }, "output": { "image": "i" } } }))]
#[case::source_of_another_type(json!({ "source": { "type": "Git", "local": { "name": "l" } } }), json!({}))]
#[case::source_without_words(json!({ "source": { "type": "Local" } }), json!({}))]
#[case::output(
    json!({ "output": { "image": "i", "insecure": true, "timestamp": "Zero", "platforms": [{ "os": "linux", "arch": "amd64" }], "vulnerabilityScan": { "enabled": true } } }),
    json!({ "output": { "image": "i" } }))]
#[case::the_pod(
    json!({ "stepResources": [{ "name": "a", "resources": {} }], "nodeSelector": { "a": "b" }, "tolerations": [{ "key": "k" }], "schedulerName": "s", "runtimeClassName": "r" }),
    json!({}))]
fn what_v1alpha1_lacks(#[case] beta: Value, #[case] alpha: Value) {
    assert_maps(&run(V1beta1, &beta), &run(V1alpha1, &alpha));
}

const TIME: &str = "2026-01-02T03:04:05Z";

#[rstest]
#[case::git(
    json!({ "sources": [{ "name": "default", "git": { "commitSha": "a", "commitAuthor": "b", "branchName": "c" }, "timestamp": TIME }] }),
    json!({ "source": { "git": { "commitSha": "a", "commitAuthor": "b", "branchName": "c" }, "timestamp": TIME } }))]
#[case::artifact(
    json!({ "sources": [{ "name": "default", "bundle": { "digest": "d" } }] }), json!({ "source": { "ociArtifact": { "digest": "d" } } }))]
#[case::executor(
    json!({ "latestTaskRunRef": "t" }), json!({ "taskRunName": "t", "executor": { "name": "t", "kind": "TaskRun" } }))]
#[case::failure(
    json!({ "failureDetails": { "reason": "r", "message": "m", "location": { "pod": "p", "container": "c" } }, "failedAt": { "pod": "p", "container": "c" } }),
    json!({ "failureDetails": { "reason": "r", "message": "m", "location": { "pod": "p", "container": "c" } } }))]
#[case::failure_of_nothing(json!({ "failureDetails": { "reason": "r" } }), json!({ "failureDetails": { "reason": "r" } }))]
#[case::the_rest(
    json!({ "startTime": TIME, "completionTime": TIME, "output": { "digest": "d", "size": 3 }, "buildSpec": { "source": { "url": "u" }, "strategy": { "name": "s" }, "output": { "image": "i" } },
        "conditions": [{ "type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": TIME }] }),
    json!({ "startTime": TIME, "completionTime": TIME, "output": { "digest": "d", "size": 3 }, "buildSpec": { "source": { "type": "Git", "git": { "url": "u" } }, "strategy": { "name": "s" }, "output": { "image": "i" } },
        "conditions": [{ "type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": TIME }] }))]
fn status_that_both_versions_have(#[case] alpha: Value, #[case] beta: Value) {
    assert_same(&with_status(V1alpha1, &alpha), &with_status(V1beta1, &beta));
}

#[rstest]
#[case::last_of_several_sources(
    json!({ "sources": [{ "name": "a", "git": { "commitSha": "a" } }, { "name": "b", "bundle": { "digest": "d" } }] }),
    json!({ "source": { "ociArtifact": { "digest": "d" } } }))]
#[case::where_it_failed_without_why(json!({ "failedAt": { "pod": "p" } }), json!({}))]
fn status_that_v1beta1_lacks(#[case] alpha: Value, #[case] beta: Value) {
    assert_maps(&with_status(V1alpha1, &alpha), &with_status(V1beta1, &beta));
}

#[rstest]
#[case::both_sources(
    json!({ "source": { "git": { "commitSha": "a" }, "ociArtifact": { "digest": "d" }, "timestamp": TIME } }),
    json!({ "sources": [{ "name": "default", "git": { "commitSha": "a" }, "timestamp": TIME }, { "name": "default", "bundle": { "digest": "d" }, "timestamp": TIME }] }))]
#[case::timestamp_alone(json!({ "source": { "timestamp": TIME } }), json!({}))]
#[case::another_executor(
    json!({ "executor": { "name": "p", "kind": "PipelineRun" } }), json!({ "latestTaskRunRef": "p" }))]
#[case::executor_before_the_task_run(
    json!({ "executor": { "name": "p", "kind": "TaskRun" }, "taskRunName": "t" }), json!({ "latestTaskRunRef": "p" }))]
#[case::task_run_alone(json!({ "taskRunName": "t" }), json!({ "latestTaskRunRef": "t" }))]
#[case::vulnerabilities(
    json!({ "output": { "digest": "d", "vulnerabilities": [{ "id": "CVE-1", "severity": "high" }] } }), json!({ "output": { "digest": "d" } }))]
#[case::build(
    json!({ "buildSpec": { "strategy": { "name": "s" }, "output": { "image": "i" }, "nodeSelector": { "a": "b" }, "retention": { "atBuildDeletion": false } } }),
    json!({ "buildSpec": { "source": {}, "strategy": { "name": "s" }, "output": { "image": "i" } } }))]
fn status_that_v1alpha1_lacks(#[case] beta: Value, #[case] alpha: Value) {
    assert_maps(&with_status(V1beta1, &beta), &with_status(V1alpha1, &alpha));
}
