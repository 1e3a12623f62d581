//! Each rule of strategies of both kinds in both directions.

use rstest::rstest;
use serde_json::{Value, json};
use slipway::api::Version::{self, V1alpha1, V1beta1};

use super::{assert_maps, assert_same, names, object};

const KINDS: [&str; 2] = ["BuildStrategy", "ClusterBuildStrategy"];

fn strategies(version: Version, spec: &Value) -> impl Iterator<Item = Value> + '_ {
    KINDS.into_iter().map(move |kind| object(version, kind, &json!({ "spec": spec })))
}

/// The parameters that v1alpha1 does not declare.
fn dockerfile() -> Value {
    json!({ "name": "dockerfile", "description": "The Dockerfile to be built.", "type": "string", "default": "Dockerfile" })
}

fn builder() -> Value {
    json!({ "name": "builder-image", "description": "The builder image.", "type": "string" })
}

#[rstest]
#[case::whole(
    json!({ "buildSteps": [{ "name": "a", "image": "i", "command": ["c"], "args": ["d"], "workingDir": "w", "env": [{ "name": "E", "value": "v" }],
            "resources": { "limits": { "cpu": "1" } }, "volumeMounts": [{ "name": "v", "mountPath": "/v" }], "imagePullPolicy": "Always", "securityContext": { "runAsUser": 0 } }],
        "parameters": [{ "name": "p", "description": "d", "type": "array", "defaults": [] }], "securityContext": { "runAsUser": 1, "runAsGroup": 2 },
        "volumes": [{ "name": "v", "overridable": true, "description": "d", "emptyDir": {} }] }),
    json!({ "steps": [{ "name": "a", "image": "i", "command": ["c"], "args": ["d"], "workingDir": "w", "env": [{ "name": "E", "value": "v" }],
            "resources": { "limits": { "cpu": "1" } }, "volumeMounts": [{ "name": "v", "mountPath": "/v" }], "imagePullPolicy": "Always", "securityContext": { "runAsUser": 0 } }],
        "parameters": [{ "name": "p", "description": "d", "type": "array", "defaults": [] }], "securityContext": { "runAsUser": 1, "runAsGroup": 2 },
        "volumes": [{ "name": "v", "overridable": true, "description": "d", "emptyDir": {} }] }))]
#[case::dockerfile(
    json!({ "buildSteps": [{ "name": "a", "command": ["$(params.DOCKERFILE)"], "args": ["-f=$(params.DOCKERFILE)"], "env": [{ "name": "E", "value": "$(params.DOCKERFILE)" }] }] }),
    json!({ "steps": [{ "name": "a", "command": ["$(params.dockerfile)"], "args": ["-f=$(params.dockerfile)"], "env": [{ "name": "E", "value": "$(params.dockerfile)" }] }],
        "parameters": [dockerfile()] }))]
#[case::both_in_one_text(
    json!({ "buildSteps": [{ "name": "a", "args": ["$(params.DOCKERFILE) $(build.builder.image) $(params.p)"] }], "parameters": [{ "name": "p", "description": "d" }] }),
    json!({ "steps": [{ "name": "a", "args": ["$(params.dockerfile) $(params.builder-image) $(params.p)"] }],
        "parameters": [{ "name": "p", "description": "d" }, dockerfile(), builder()] }))]
#[case::image_and_directory_are_not_touched(
    json!({ "buildSteps": [{ "name": "a", "image": "$(build.builder.image)", "workingDir": "$(params.DOCKERFILE)", "volumeMounts": [{ "name": "v", "mountPath": "$(build.dockerfile)" }] }] }),
    json!({ "steps": [{ "name": "a", "image": "$(build.builder.image)", "workingDir": "$(params.DOCKERFILE)", "volumeMounts": [{ "name": "v", "mountPath": "$(build.dockerfile)" }] }] }))]
fn what_both_versions_have(#[case] alpha: Value, #[case] beta: Value) {
    for (alpha, beta) in strategies(V1alpha1, &alpha).zip(strategies(V1beta1, &beta)) {
        assert_same(&alpha, &beta);
    }
}

#[rstest]
#[case::the_rest_of_a_container(
    json!({ "buildSteps": [{ "name": "a", "image": "i", "envFrom": [{ "configMapRef": { "name": "c" } }], "lifecycle": { "preStop": { "exec": { "command": ["x"] } } },
        "ports": [{ "containerPort": 80, "protocol": "TCP" }], "livenessProbe": { "tcpSocket": { "port": "http" } }, "stdin": true, "tty": true, "restartPolicy": "Always",
        "volumeDevices": [{ "name": "d", "devicePath": "/d" }], "terminationMessagePath": "/t" }, { "name": "b" }] }),
    json!({ "steps": [{ "name": "a", "image": "i" }, { "name": "b" }] }))]
#[case::two_names_of_the_dockerfile(
    json!({ "buildSteps": [{ "name": "a", "args": ["$(build.dockerfile)", "$(params.DOCKERFILE) $(build.dockerfile)"], "env": [{ "name": "E", "value": "$(build.dockerfile)" }] }] }),
    json!({ "steps": [{ "name": "a", "args": ["$(params.dockerfile)", "$(params.dockerfile) $(params.dockerfile)"], "env": [{ "name": "E", "value": "$(params.dockerfile)" }] }],
        "parameters": [dockerfile()] }))]
#[case::declared_as_well(
    json!({ "buildSteps": [{ "name": "a", "args": ["$(params.DOCKERFILE)"] }], "parameters": [dockerfile(), { "name": "p", "description": "d" }] }),
    json!({ "steps": [{ "name": "a", "args": ["$(params.dockerfile)"] }], "parameters": [dockerfile(), { "name": "p", "description": "d" }, dockerfile()] }))]
fn what_v1beta1_lacks(#[case] alpha: Value, #[case] beta: Value) {
    for (alpha, beta) in strategies(V1alpha1, &alpha).zip(strategies(V1beta1, &beta)) {
        assert_maps(&alpha, &beta);
    }
}

#[rstest]
#[case::parameters_with_own_words(
    json!({ "steps": [{ "name": "a", "args": ["$(params.dockerfile)", "$(params.builder-image)"] }],
        "parameters": [{ "name": "builder-image", "description": "mine", "type": "string" }, { "name": "p", "description": "d" },
            { "name": "dockerfile", "description": "mine", "type": "string", "default": "Dockerfile" }] }),
    json!({ "buildSteps": [{ "name": "a", "args": ["$(params.DOCKERFILE)", "$(build.builder.image)"] }], "parameters": [{ "name": "p", "description": "d" }] }))]
#[case::parameters_that_no_step_uses(
    json!({ "steps": [{ "name": "a" }], "parameters": [dockerfile(), builder()] }), json!({ "buildSteps": [{ "name": "a" }] }))]
#[case::texts_of_v1alpha1(
    json!({ "steps": [{ "name": "a", "args": ["$(params.DOCKERFILE) $(params.dockerfile)"] }], "parameters": [dockerfile()] }),
    json!({ "buildSteps": [{ "name": "a", "args": ["$(params.DOCKERFILE) $(params.DOCKERFILE)"] }] }))]
#[case::text_of_v1alpha1_without_the_parameter(
    json!({ "steps": [{ "name": "a", "args": ["$(build.dockerfile)"] }] }), json!({ "buildSteps": [{ "name": "a", "args": ["$(build.dockerfile)"] }] }))]
fn what_v1alpha1_lacks(#[case] beta: Value, #[case] alpha: Value) {
    for (beta, alpha) in strategies(V1beta1, &beta).zip(strategies(V1alpha1, &alpha)) {
        assert_maps(&beta, &alpha);
    }
}

#[rstest]
#[case::another_default(json!({ "name": "dockerfile", "description": "d", "type": "string", "default": "D" }))]
#[case::no_default(json!({ "name": "dockerfile", "description": "d", "type": "string" }))]
#[case::no_type(json!({ "name": "dockerfile", "description": "d", "default": "Dockerfile" }))]
#[case::builder_with_a_default(json!({ "name": "builder-image", "description": "d", "type": "string", "default": "i" }))]
#[case::builder_without_a_type(json!({ "name": "builder-image", "description": "d" }))]
fn a_parameter_that_is_not_exactly_v1alpha1s_own_stays(#[case] parameter: Value) {
    let spec = |steps: &str| json!({ steps: [{ "name": "a", "args": ["$(params.dockerfile)"] }], "parameters": [parameter.clone()] });
    for (alpha, beta) in
        strategies(V1alpha1, &spec("buildSteps")).zip(strategies(V1beta1, &spec("steps")))
    {
        assert_same(&alpha, &beta);
    }
}

#[test]
fn a_strategy_without_a_spec_stays_without() {
    for kind in KINDS {
        let bare = |version| object(version, kind, &json!({ "status": {} }));
        assert_same(&bare(V1alpha1), &bare(V1beta1));
    }
}

#[test]
fn a_parameter_that_is_only_declared_in_v1beta1_is_told_with_the_steps() {
    let written = object(
        V1alpha1,
        "BuildStrategy",
        &json!({ "spec": { "buildSteps": [{ "name": "a", "args": ["$(build.dockerfile)", "$(build.builder.image)"] }],
            "parameters": [{ "name": "p", "description": "d" }, builder()] } }),
    );
    let field = |beta: &str| names(&written).field(beta);
    assert_eq!(field("spec.parameters[0].name"), "spec.parameters[0].name");
    assert_eq!(field("spec.parameters[1].name"), "spec.parameters[1].name");
    assert_eq!(field("spec.parameters[2].name"), "spec.buildSteps");
    assert_eq!(field("spec.parameters[3].name"), "spec.buildSteps");
    assert_eq!(field("spec.steps[0].args[1]"), "spec.buildSteps[0].args[1]");
}
