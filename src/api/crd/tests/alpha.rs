//! What the contract says of v1alpha1.

use serde_json::json;

use super::*;

fn alpha(kind: &str) -> Value {
    version(kind, 1)["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn both_versions_are_served_and_one_is_stored() {
    for crd in crds() {
        let kind = &crd.spec.names.kind;
        let (beta, alpha) = (version(kind, 0), version(kind, 1));
        for (version, name, is_stored) in [(&beta, "v1beta1", true), (&alpha, "v1alpha1", false)] {
            assert_eq!(
                (&version["name"], &version["served"], &version["storage"]),
                (&json!(name), &json!(true), &json!(is_stored))
            );
            assert_eq!(version["subresources"], json!({"status": {}}));
        }
        assert_eq!(alpha["additionalPrinterColumns"], beta["additionalPrinterColumns"]);
        let conversion = serde_json::to_value(&crd.spec.conversion).expect("encodes");
        assert_eq!(
            conversion,
            json!({"strategy": "Webhook", "webhook": {
                "clientConfig": {"service": {
                    "namespace": "shipwright-build", "name": "slipway-webhook", "path": "/convert", "port": 443,
                }},
                "conversionReviewVersions": ["v1"],
            }})
        );
    }
}

#[test]
fn required_keys() {
    let required = |kind: &str, path: &str| field(&alpha(kind), path)["required"].clone();
    assert_eq!(alpha("Build")["required"], json!(["spec"]));
    assert_eq!(alpha("BuildRun")["required"], json!(["spec"]));
    assert_eq!(alpha("BuildStrategy")["required"], Value::Null);
    assert_eq!(required("Build", "spec"), json!(["output", "source", "strategy"]));
    assert_eq!(required("BuildRun", "spec"), Value::Null);
    assert_eq!(required("BuildStrategy", "spec"), json!(["buildSteps"]));
    assert_eq!(required("Build", "spec.source"), Value::Null);
    assert_eq!(required("Build", "spec.source.bundleContainer"), json!(["image"]));
    assert_eq!(required("Build", "spec.source.credentials"), Value::Null);
    assert_eq!(required("Build", "spec.sources.[]"), json!(["name"]));
    assert_eq!(required("Build", "spec.builder"), json!(["image"]));
    assert_eq!(required("BuildRun", "spec.buildRef"), json!(["name"]));
    assert_eq!(required("BuildRun", "spec.serviceAccount"), Value::Null);
    assert_eq!(required("BuildRun", "status.sources.[]"), json!(["name"]));
    let same = ["spec.buildSpec", "status.buildSpec"];
    for path in same {
        assert_eq!(
            field(&alpha("BuildRun"), path)["properties"],
            field(&alpha("Build"), "spec")["properties"]
        );
    }
}

#[test]
fn limits_words_and_formats() {
    let build = alpha("Build");
    assert!(nodes_with(&build, "enum").is_empty());
    let limits = [".spec.retention.failedLimit", ".spec.retention.succeededLimit"];
    assert_eq!(nodes_with(&build, "minimum"), limits.map(|path| format!("{path} 1.0")));
    assert!(nodes_with(&build, "maximum").is_empty());
    assert_eq!(nodes_with(&build, "minItems"), [".spec.trigger.when.[].github.events 1"]);
    assert_eq!(field(&build, "spec.timeout")["format"], "duration");
    assert_eq!(field(&build, "spec.sources.[].timeout")["format"], Value::Null);
}

#[test]
fn lists_that_refuse_duplicates() {
    let strategy = alpha("ClusterBuildStrategy");
    assert_eq!(
        nodes_with(&strategy, "x-kubernetes-list-map-keys"),
        [
            r#".spec.buildSteps ["name"]"#,
            r#".spec.buildSteps.[].env ["name"]"#,
            r#".spec.buildSteps.[].ports ["containerPort","protocol"]"#,
            r#".spec.buildSteps.[].resources.claims ["name"]"#,
            r#".spec.buildSteps.[].volumeDevices ["devicePath"]"#,
            r#".spec.buildSteps.[].volumeMounts ["mountPath"]"#,
        ]
    );
    assert_eq!(
        nodes_with(&strategy, "x-kubernetes-list-type")
            .into_iter()
            .filter(|line| line.ends_with(r#""set""#))
            .collect::<Vec<_>>(),
        [r#".spec.buildSteps.[].restartPolicyRules.[].exitCodes.values "set""#]
    );
    assert!(nodes_with(&alpha("Build"), "x-kubernetes-list-map-keys").is_empty());
}

#[test]
fn fields_and_defaults() {
    let (build, run) = (alpha("Build"), alpha("BuildRun"));
    assert_eq!(
        keys(field(&build, "spec")),
        words(
            "builder dockerfile env output paramValues retention source sources strategy timeout trigger volumes"
        )
    );
    assert_eq!(
        keys(field(&build, "spec.source")),
        words("bundleContainer contextDir credentials revision url")
    );
    assert_eq!(keys(field(&build, "spec.sources.[]")), words("name timeout type url"));
    let image = words("annotations credentials image insecure labels timestamp");
    for path in ["spec.output", "spec.builder"] {
        assert_eq!(keys(field(&build, path)), image);
    }
    assert_eq!(keys(field(&build, "spec.strategy")), words("apiVersion kind name"));
    assert_eq!(keys(field(&build, "spec.trigger")), words("secretRef when"));
    assert_eq!(
        keys(field(&run, "spec")),
        words(
            "buildRef buildSpec env output paramValues retention serviceAccount sources state timeout volumes"
        )
    );
    assert_eq!(
        keys(field(&run, "status")),
        words(
            "buildSpec completionTime conditions failedAt failureDetails latestTaskRunRef output sources startTime"
        )
    );
    assert_eq!(keys(field(&run, "status.output")), words("digest size"));
    let strategy = alpha("BuildStrategy");
    assert_eq!(
        keys(field(&strategy, "spec.buildSteps.[]")),
        words(
            "args command env image imagePullPolicy name resources securityContext volumeMounts workingDir \
             envFrom lifecycle livenessProbe ports readinessProbe resizePolicy restartPolicy \
             restartPolicyRules startupProbe stdin stdinOnce terminationMessagePath \
             terminationMessagePolicy tty volumeDevices"
        )
    );
    assert_eq!(field(&build, "spec.output.credentials.name")["default"], "");
    assert_eq!(field(&strategy, "spec.buildSteps.[].ports.[].protocol")["default"], "TCP");
    assert_eq!(field(&strategy, "spec.buildSteps.[].livenessProbe.grpc.service")["default"], "");
}

#[test]
fn every_node_is_structural() {
    for kind in ["Build", "BuildRun", "BuildStrategy", "ClusterBuildStrategy"] {
        visit(&alpha(kind), kind, &mut |path, node| {
            let known = node["type"].is_string() || node["x-kubernetes-int-or-string"] == true;
            assert!(known, "{path} has no type");
            assert!(node["type"] != "array" || node["items"].is_object(), "{path} has no items");
        });
    }
}
