//! Every refusal that needs no cluster: its reason and exact message, the object that carries it and the field at fault.
//!
//! Invariant: the lists are complete and in order; the first line of an object is what its status shows.

mod pods;

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json};
use slipway::api::Strategy;
use slipway::plan::{
    Loaded, NamespaceFacts, ObjectName, Presence, Refusal, Roots, Settings, validate,
    validate_build,
};

/// What a case changes: specs of `strategy`, `build` and `run` by merge patch (null removes), whole `metadata` below `buildMetadata`
/// and `runMetadata`, `buildStatus`; names of `absent` objects.
fn loaded(patch: &Value) -> Loaded {
    let mut strategy = json!({
        "parameters": [
            { "name": "text", "description": "", "default": "" },
            { "name": "list", "description": "", "type": "array", "defaults": [] },
            { "name": "needed", "description": "" },
            { "name": "needed-list", "description": "", "type": "array" },
        ],
        "volumes": [{ "name": "cache", "overridable": true, "emptyDir": {} }, { "name": "fixed", "emptyDir": {} }],
        "steps": [{ "name": "build", "image": "builder", "command": ["build"] }],
    });
    let mut build = json!({
        "strategy": { "name": "s" },
        "output": { "image": "registry.example.com/app" },
        "paramValues": [{ "name": "needed", "value": "x" }, { "name": "needed-list", "values": [] }],
    });
    let mut run = json!({ "build": { "name": "b" } });
    merge(&mut strategy, &patch["strategy"]);
    merge(&mut build, &patch["build"]);
    merge(&mut run, &patch["run"]);
    let named = |name: &str, metadata: &Value| {
        let mut all = json!({ "name": name, "namespace": "ns" });
        merge(&mut all, metadata);
        all
    };
    let absent: Vec<String> = serde_json::from_value(patch["absent"].clone()).unwrap_or_default();
    let is_absent = |name: &str| absent.iter().any(|absent| absent == name);
    let build = json!({ "metadata": named("b", &patch["buildMetadata"]), "spec": build, "status": patch["buildStatus"] });
    let strategy = json!({ "metadata": named(patch["strategyName"].as_str().unwrap_or("s"), &Value::Null), "spec": strategy });
    let run = json!({ "metadata": named("r", &patch["runMetadata"]), "spec": run });
    let found = |value: Value| Presence::Found(serde_json::from_value(value).unwrap());
    let build = if is_absent("Build/b") { Presence::Absent } else { found(build) };
    let strategy = if is_absent("BuildStrategy/s") {
        Presence::Absent
    } else {
        Presence::Found(Strategy::Namespaced(serde_json::from_value(strategy).unwrap()))
    };
    let roots = Roots {
        buildrun: serde_json::from_value(run).unwrap(),
        build: Some(build),
        strategy: Some(strategy),
    };
    let gone = |kind: &str| {
        let gone = absent.iter().filter_map(|absent| absent.strip_prefix(kind));
        gone.map(String::from).collect::<Vec<_>>()
    };
    Loaded {
        roots,
        secrets: gone("Secret/").into_iter().map(|name| (name, Presence::Absent)).collect(),
        config_maps: gone("ConfigMap/").into_iter().map(|name| (name, Presence::Absent)).collect(),
        service_accounts: gone("ServiceAccount/")
            .into_iter()
            .map(|name| (name, Presence::Absent))
            .collect(),
        image_commands: BTreeMap::new(),
        image_problems: BTreeMap::new(),
        namespace: NamespaceFacts::default(),
    }
}

fn merge(value: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return };
    for (key, change) in patch {
        match change {
            Value::Null => _ = value.as_object_mut().unwrap().remove(key),
            Value::Object(_) if value[key].is_object() => merge(&mut value[key], change),
            _ => value[key] = change.clone(),
        }
    }
}

fn line(refusal: &Refusal) -> String {
    let object = |name: &ObjectName| format!("{} {}", name.kind, name.name);
    let by = if refusal.object == refusal.at {
        String::new()
    } else {
        format!("{} for ", object(&refusal.object))
    };
    let at = object(&refusal.at);
    format!("{by}{at}: {}: {}: {}", refusal.field, refusal.reason, refusal.message)
}

fn refusals(patch: &Value) -> Vec<String> {
    let refused = validate(&loaded(patch), &Settings::default()).err().unwrap_or_default();
    refused.iter().map(line).collect()
}

const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Stands for the long rules in expectations.
fn expand(text: &str) -> String {
    text.replace("<label>", LABEL_VALUE)
        .replace("<mode>", MODE)
        .replace("<qualified>", QUALIFIED_NAME)
        .replace("<subdomain>", SUBDOMAIN)
}

#[test]
fn the_objects_of_the_table_are_sound() {
    assert_eq!(refusals(&json!({})), Vec::<String>::new());
}

const URL: &str = "https://git.example.com/app";
const VERIFY: &str = "build.shipwright.io/verify.repository";

fn git(url: &str) -> Value {
    json!({ "source": { "type": "Git", "git": { "url": url } } })
}

fn verify(value: &str) -> Value {
    json!({ "annotations": { VERIFY: value } })
}

fn when(when: &Value) -> Value {
    json!({ "trigger": { "when": [when] } })
}

/// What the Build's own status says; all of a case are refusals of the Build, and the run says so with the first one's reason.
#[rstest]
// 2: source URL, as far as the URL alone tells.
#[case::verify_ssh(json!({ "build": git("ssh://git@git.example.com/app"), "buildMetadata": verify("true") }),
    &["spec.source.git.url: RemoteRepositoryUnreachable: the source url requires authentication"])]
#[case::verify_scp(json!({ "build": git("git@git.example.com:app"), "buildMetadata": verify("true") }),
    &["spec.source.git.url: RemoteRepositoryUnreachable: the source url requires authentication"])]
#[case::verify_scp_without_user(json!({ "build": git("git.example.com:app"), "buildMetadata": verify("true") }),
    &["spec.source.git.url: RemoteRepositoryUnreachable: the source url requires authentication"])]
#[case::verify_file(json!({ "build": git("file:///app"), "buildMetadata": verify("true") }),
    &["spec.source.git.url: RemoteRepositoryUnreachable: invalid source url"])]
#[case::verify_path(json!({ "build": git("/srv/app:1"), "buildMetadata": verify("true") }),
    &["spec.source.git.url: RemoteRepositoryUnreachable: invalid source url"])]
#[case::verify_word(json!({ "build": git(URL), "buildMetadata": verify("yes") }),
    &["spec.source.git.url: RemoteRepositoryUnreachable: the annotation build.shipwright.io/verify.repository was not properly defined, supported values are true or false"])]
// 3: secrets.
#[case::source_secret(json!({ "build": { "source": { "type": "Git", "git": { "url": URL, "cloneSecret": "a" } } }, "absent": ["Secret/a"] }),
    &["spec.source.git.cloneSecret: SpecSourceSecretRefNotFound: referenced secret a not found"])]
#[case::pull_secret(json!({ "build": { "source": { "type": "OCI", "ociArtifact": { "image": "i", "pullSecret": "a" } } }, "absent": ["Secret/a"] }),
    &["spec.source.ociArtifact.pullSecret: SpecSourceSecretRefNotFound: referenced secret a not found"])]
#[case::push_secret(json!({ "build": { "output": { "pushSecret": "a" } }, "absent": ["Secret/a"] }),
    &["spec.output.pushSecret: SpecOutputSecretRefNotFound: referenced secret a not found"])]
#[case::both_secrets(json!({ "build": { "source": { "type": "Git", "git": { "url": URL, "cloneSecret": "b" } }, "output": { "pushSecret": "a" } }, "absent": ["Secret/a", "Secret/b"] }),
    &["spec.source.git.cloneSecret: MultipleSecretRefNotFound: missing secrets are a,b"])]
#[case::one_secret_twice(json!({ "build": { "source": { "type": "Git", "git": { "url": URL, "cloneSecret": "a" } }, "output": { "pushSecret": "a" } }, "absent": ["Secret/a"] }),
    &["spec.source.git.cloneSecret: SpecSourceSecretRefNotFound: referenced secret a not found"])]
// 4: strategy.
#[case::no_strategy(json!({ "absent": ["BuildStrategy/s"] }),
    &["spec.strategy.name: BuildStrategyNotFound: buildStrategy s does not exist in namespace ns"])]
#[case::no_cluster_strategy(json!({ "build": { "strategy": { "kind": "ClusterBuildStrategy" } }, "absent": ["BuildStrategy/s"] }),
    &["spec.strategy.name: ClusterBuildStrategyNotFound: clusterBuildStrategy s does not exist"])]
#[case::strategy_kind(json!({ "build": { "strategy": { "kind": "Strategy" } }, "absent": ["BuildStrategy/s"] }),
    &["spec.strategy.kind: UnknownBuildStrategyKind: unknown strategy kind Strategy used, must be one of BuildStrategy, or ClusterBuildStrategy"])]
// 4a: parameters; those of §3.4 are below.
#[case::undefined_parameter(json!({ "build": { "paramValues": [{ "name": "a", "value": "" }, { "name": "needed", "value": "" }, { "name": "needed-list", "values": [] }, { "name": "b", "value": "" }] } }),
    &["spec.paramValues[0]: UndefinedParameter: The following parameters are not defined in the build strategy: a, b"])]
// 4b: volumes.
#[case::volume(json!({ "build": { "volumes": [{ "name": "x", "emptyDir": {} }] } }),
    &[r#"spec.volumes[0].name: UndefinedVolume: Volume "x" is not defined in the Strategy"#])]
#[case::fixed_volume(json!({ "build": { "volumes": [{ "name": "cache", "emptyDir": {} }, { "name": "fixed", "emptyDir": {} }] } }),
    &[r#"spec.volumes[1].name: VolumeNotOverridable: Volume "fixed" is not overridable in the Strategy"#])]
// 4c: step resources; of 4a, 4b and 4c the last shows.
#[case::step_resource(json!({ "build": { "strategy": { "stepResources": [{ "name": "x", "resources": {} }] } } }),
    &[r#"spec.strategy.stepResources[0].name: UndefinedStepResource: stepResources references step "x" which does not exist in the build strategy"#])]
#[case::all_of_the_strategy(json!({ "build": { "strategy": { "stepResources": [{ "name": "x", "resources": {} }] }, "volumes": [{ "name": "x", "emptyDir": {} }],
        "paramValues": [{ "name": "a", "value": "" }, { "name": "needed", "value": "" }, { "name": "needed-list", "values": [] }] } }),
    &[r#"spec.strategy.stepResources[0].name: UndefinedStepResource: stepResources references step "x" which does not exist in the build strategy"#,
      r#"spec.volumes[0].name: UndefinedVolume: Volume "x" is not defined in the Strategy"#,
      "spec.paramValues[0]: UndefinedParameter: The following parameters are not defined in the build strategy: a"])]
// 6: output.
#[case::timestamp(json!({ "build": { "output": { "timestamp": "today" } } }),
    &["spec.output.timestamp: OutputTimestampNotValid: output timestamp value is invalid, must be Zero, SourceTimestamp, BuildTimestamp, or number"])]
#[case::timestamp_of_no_source(json!({ "build": { "output": { "timestamp": "SourceTimestamp" } } }),
    &["spec.output.timestamp: OutputTimestampNotSupported: cannot use SourceTimestamp output image setting with an empty build source"])]
#[case::timestamp_of_empty_source(json!({ "build": { "source": { "type": "Git" }, "output": { "timestamp": "SourceTimestamp" } } }),
    &["spec.output.timestamp: OutputTimestampNotSupported: cannot use SourceTimestamp output image setting with an empty build source"])]
#[case::platforms(json!({ "build": { "output": { "timestamp": "x", "platforms": [{ "os": "", "arch": "a" }, { "os": "Linux", "arch": "a" }, { "os": "linux", "arch": "x/y" }, { "os": "l", "arch": "a" }, { "os": "l", "arch": "a" }] },
        "nodeSelector": { "kubernetes.io/arch": "a", "kubernetes.io/os": "l" } } }),
    &["spec.output.platforms[0]: InvalidPlatform: spec.output.platforms[0] must specify both os and arch",
      r#"spec.output.platforms[1].os: InvalidPlatform: spec.output.platforms[1].os "Linux": invalid; use the value your Nodes have for label "kubernetes.io/os""#,
      r#"spec.output.platforms[2].arch: InvalidPlatform: spec.output.platforms[2].arch "x/y": invalid; use the value your Nodes have for label "kubernetes.io/arch""#,
      "spec.output.platforms[4]: InvalidPlatform: spec.output.platforms[4] is a duplicate of l/a",
      r#"spec.nodeSelector[kubernetes.io/os]: NodeSelectorPlatformConflict: nodeSelector must not contain "kubernetes.io/os" when spec.output.platforms is set; the build controller manages os/arch scheduling"#,
      r#"spec.nodeSelector[kubernetes.io/arch]: NodeSelectorPlatformConflict: nodeSelector must not contain "kubernetes.io/arch" when spec.output.platforms is set; the build controller manages os/arch scheduling"#,
      "spec.output.timestamp: OutputTimestampNotValid: output timestamp value is invalid, must be Zero, SourceTimestamp, BuildTimestamp, or number"])]
// 7: name.
#[case::name(json!({ "buildMetadata": { "name": format!("{}-", "b".repeat(63)) } }),
    &["metadata.name: BuildNameInvalid: must be no more than 63 bytes, <label>"])]
// 8: environment; the last shows.
#[case::env(json!({ "build": { "env": [{ "name": "" }, { "name": "LD_PRELOAD", "value": "x" }, { "name": "A", "value": "x", "valueFrom": {} }] } }),
    &["spec.env[2]: SpecEnvOnlyOneOfValueOrValueFromMustBeSpecified: only one of value or valueFrom must be specified",
      r#"spec.env[1].name: SpecEnvNameForbidden: environment variable "LD_PRELOAD" is forbidden for security reasons"#,
      "spec.env[0].name: SpecEnvNameCanNotBeBlank: name for environment variable must not be blank"])]
// 9: triggers; the last shows.
#[case::trigger_name(json!({ "build": when(&json!({ "name": "", "type": "x" })) }),
    &[r#"spec.trigger.when[0].type: TriggerInvalidType: "" contains an invalid type "x""#,
      "spec.trigger.when[0].name: TriggerNameCanNotBeBlank: name is not set on when trigger condition"])]
#[case::trigger_github(json!({ "build": when(&json!({ "name": "n", "type": "GitHub" })) }),
    &[r#"spec.trigger.when[0].github: TriggerInvalidGitHubWebHook: "n" is missing required attribute `.github`"#])]
#[case::trigger_events(json!({ "build": when(&json!({ "name": "n", "type": "GitHub", "github": { "events": [] } })) }),
    &[r#"spec.trigger.when[0].github.events: TriggerInvalidGitHubWebHook: "n" is missing required attribute `.github.events`"#])]
#[case::trigger_image(json!({ "build": when(&json!({ "name": "n", "type": "Image" })) }),
    &[r#"spec.trigger.when[0].image: TriggerInvalidImage: "n" is missing required attribute `.image`"#])]
#[case::trigger_names(json!({ "build": when(&json!({ "name": "n", "type": "Image", "image": {} })) }),
    &[r#"spec.trigger.when[0].image.names: TriggerInvalidImage: "n" is missing required attribute `.image.names`"#])]
#[case::trigger_object(json!({ "build": when(&json!({ "name": "n", "type": "Pipeline" })) }),
    &[r#"spec.trigger.when[0].objectRef: TriggerInvalidPipeline: "n" is missing required attribute `.objectRef`"#])]
#[case::trigger_status(json!({ "build": when(&json!({ "name": "n", "type": "Pipeline", "objectRef": { "name": "p" } })) }),
    &[r#"spec.trigger.when[0].objectRef.status: TriggerInvalidPipeline: "n" is missing required attribute `.objectRef.status`"#])]
#[case::trigger_nameless(json!({ "build": when(&json!({ "name": "n", "type": "Pipeline", "objectRef": { "name": "" } })) }),
    &[r#"spec.trigger.when[0].objectRef: TriggerInvalidPipeline: "n" is missing required attributes `.objectRef.name` or `.objectRef.selector`"#,
      r#"spec.trigger.when[0].objectRef.status: TriggerInvalidPipeline: "n" is missing required attribute `.objectRef.status`"#])]
#[case::trigger_both(json!({ "build": when(&json!({ "name": "n", "type": "Pipeline", "objectRef": { "name": "p", "selector": { "a": "b" }, "status": ["Succeeded"] } })) }),
    &[r#"spec.trigger.when[0].objectRef: TriggerInvalidPipeline: "n" contains `.objectRef.name` and `.objectRef.selector`, must be only one"#])]
// 10 to 13: where the pod may run; the last of each shows.
#[case::node_selector(json!({ "build": { "nodeSelector": { "a b": "-" } } }),
    &["spec.nodeSelector[a b]: NodeSelectorNotValid: Node selector value not valid: <label>",
      "spec.nodeSelector[a b]: NodeSelectorNotValid: Node selector key not valid: <qualified>"])]
#[case::tolerations(json!({ "build": { "tolerations": [{ "key": "", "value": "-", "effect": "NoExecute", "tolerationSeconds": 1 }] } }),
    &["spec.tolerations[0].tolerationSeconds: TolerationNotValid: Specifying TolerationSeconds is not supported.",
      "spec.tolerations[0].effect: TolerationNotValid: Only the 'NoSchedule' toleration effect is supported.",
      "spec.tolerations[0].value: TolerationNotValid: Toleration value not valid: <label>",
      "spec.tolerations[0].operator: TolerationNotValid: Toleration operator not valid. Must be one of: 'Exists', 'Equal'",
      "spec.tolerations[0].key: TolerationNotValid: Toleration key not valid: name part must be non-empty, <qualified>"])]
#[case::scheduler(json!({ "build": { "schedulerName": "" } }),
    &["spec.schedulerName: SchedulerNameNotValid: Scheduler name not valid: name part must be non-empty, <qualified>"])]
#[case::runtime_class(json!({ "build": { "runtimeClassName": "A" } }),
    &["spec.runtimeClassName: RuntimeClassNameNotValid: RuntimeClassName not valid: <subdomain>"])]
// Across validators the first shows.
#[case::all_at_once(json!({ "absent": ["Secret/a"], "build": { "runtimeClassName": "A", "env": [{ "name": "ENV" }], "output": { "pushSecret": "a", "timestamp": "x" } } }),
    &["spec.output.pushSecret: SpecOutputSecretRefNotFound: referenced secret a not found",
      "spec.output.timestamp: OutputTimestampNotValid: output timestamp value is invalid, must be Zero, SourceTimestamp, BuildTimestamp, or number",
      r#"spec.env[0].name: SpecEnvNameForbidden: environment variable "ENV" is forbidden for security reasons"#,
      "spec.runtimeClassName: RuntimeClassNameNotValid: RuntimeClassName not valid: <subdomain>"])]
fn builds(#[case] patch: Value, #[case] expected: &[&str]) {
    let loaded = loaded(&patch);
    let mut with_run = loaded.clone();
    let Some(Presence::Found(build)) = &loaded.roots.build else { panic!("no Build") };
    let found: Vec<Refusal> = validate_build(build, &loaded, &Settings::default());
    let name = build.metadata.name.clone().unwrap();
    let expected: Vec<String> =
        expected.iter().map(|expected| format!("Build {name}: {}", expand(expected))).collect();
    assert_eq!(found.iter().map(line).collect::<Vec<_>>(), expected);

    // 4.2 row 9
    with_run.roots.buildrun.spec.build.name = Some(name.clone());
    let of_run = validate(&with_run, &Settings::default()).unwrap_err();
    let of_run = of_run.iter().find(|refusal| refusal.object.kind == "BuildRun").unwrap();
    let reason = found[0].reason;
    assert_eq!(
        line(of_run),
        format!(
            "BuildRun r: spec.build.name: BuildRegistrationFailed: the Build is not registered correctly, build: {name}, registered status: False, reason: {reason}"
        )
    );
}

#[rstest]
#[case::absent(json!({ "build": git("file:///x") }))]
#[case::off(json!({ "build": git("file:///x"), "buildMetadata": verify("false") }))]
#[case::empty(json!({ "build": git("file:///x"), "buildMetadata": verify("") }))]
#[case::with_secret(json!({ "build": { "source": { "type": "Git", "git": { "url": "file:///x", "cloneSecret": "a" } } }, "buildMetadata": verify("true") }))]
#[case::other_protocol(json!({ "build": git("git://git.example.com/app"), "buildMetadata": verify("true") }))]
#[case::shape(json!({ "build": { "source": { "type": "Git" } } }))]
#[case::timestamp(json!({ "build": { "output": { "timestamp": "-62167219200" } } }))]
#[case::missing_parameters_of_the_build(json!({ "build": { "paramValues": null }, "run": { "paramValues": [{ "name": "needed", "secretValue": { "name": "a", "key": "b" } }, { "name": "needed-list", "values": [{ "value": "" }] }] } }))]
#[case::empty_effect(json!({ "build": { "tolerations": [{ "key": "a", "operator": "Exists", "effect": "" }] } }))]
#[case::duplicate_env(json!({ "strategy": { "steps": [{ "name": "a", "image": "i", "command": ["a"], "env": [{ "name": "A" }, { "name": "A" }] }] }, "build": { "env": [{ "name": "B" }, { "name": "B" }] } }))]
#[case::optional_objects(json!({ "strategy": { "volumes": [{ "name": "a", "secret": { "secretName": "a", "optional": true } }] }, "absent": ["Secret/a"] }))]
#[case::owned_by_the_build(json!({ "build": { "retention": { "atBuildDeletion": true } }, "runMetadata": { "ownerReferences": [{ "apiVersion": "v", "kind": "Build", "name": "b", "uid": "1", "controller": true }] } }))]
#[case::owned_without_controller(json!({ "build": { "retention": { "atBuildDeletion": true } }, "runMetadata": { "ownerReferences": [{ "apiVersion": "v", "kind": "X", "name": "x", "uid": "1" }] } }))]
#[case::generated_account(json!({ "run": { "serviceAccount": ".generate" } }))]
#[case::a_hundred_steps(json!({ "strategy": { "steps": (0..100).map(|n| json!({ "name": format!("s{n}"), "image": "i", "command": ["a"] })).collect::<Vec<_>>() } }))]
fn these_are_fine(#[case] patch: Value) {
    assert_eq!(refusals(&patch), Vec::<String>::new());
}

/// §3.4, judged for the run: Build's and run's values together.
#[rstest]
#[case::restricted(json!([{ "name": "DOCKERFILE", "value": "" }, { "name": "shp-x", "value": "" }]),
    &["paramValues[0]: RestrictedParametersInUse: The following parameters are restricted and cannot be set: DOCKERFILE, shp-x"])]
#[case::restricted_context(json!([{ "name": "BUILDER_IMAGE", "value": "" }, { "name": "CONTEXT_DIR", "value": "" }]),
    &["paramValues[0]: RestrictedParametersInUse: The following parameters are restricted and cannot be set: BUILDER_IMAGE, CONTEXT_DIR"])]
#[case::undefined(json!([{ "name": "x", "value": "" }, { "name": "dockerfile", "value": "" }]),
    &["paramValues[0]: UndefinedParameter: The following parameters are not defined in the build strategy: x, dockerfile"])]
#[case::wrong_type(json!([{ "name": "text", "values": [] }, { "name": "list", "value": "" }]),
    &["paramValues[0]: WrongParameterValueType: The values for the following parameters are using the wrong type: text, list"])]
#[case::missing(json!([{ "name": "needed" }, { "name": "needed-list" }]),
    &["paramValues[0]: MissingParameterValues: The following parameters are required but no value has been provided: needed, needed-list"])]
#[case::inconsistent(json!([{ "name": "text", "value": "", "secretValue": { "name": "a", "key": "b" } }, { "name": "list", "values": [{ "value": "", "configMapValue": { "name": "a", "key": "b" } }] }]),
    &["paramValues[0]: InconsistentParameterValues: The following parameters have more than one of 'configMapValue', 'secretValue', and 'value' set: text, list"])]
#[case::empty_item(json!([{ "name": "list", "values": [{ "value": "" }, {}, {}] }]),
    &["paramValues[0]: EmptyArrayItemParameterValues: The values for the following array parameters are containing at least one item where none of 'configMapValue', 'secretValue', and 'value' are set: list"])]
#[case::incomplete_config_map(json!([{ "name": "text", "configMapValue": { "name": "", "key": "k" } }, { "name": "list", "values": [{ "configMapValue": { "name": "n", "key": "" } }, { "configMapValue": { "name": "", "key": "" } }] }]),
    &["paramValues[0]: IncompleteConfigMapValueParameterValues: The values for the following parameters are containing a 'configMapValue' with an empty 'name' or 'key': text, list, list"])]
#[case::incomplete_secret(json!([{ "name": "text", "secretValue": { "name": "n", "key": "" } }]),
    &["paramValues[0]: IncompleteSecretValueParameterValues: The values for the following parameters are containing a 'secretValue' with an empty 'name' or 'key': text"])]
#[case::all_at_once(json!([{ "name": "shp-x", "value": "" }, { "name": "x", "value": "" }, { "name": "text", "values": [{}] }, { "name": "needed" }]),
    &["paramValues[0]: RestrictedParametersInUse: The following parameters are restricted and cannot be set: shp-x",
      "paramValues[1]: UndefinedParameter: The following parameters are not defined in the build strategy: x",
      "paramValues[2]: WrongParameterValueType: The values for the following parameters are using the wrong type: text",
      "paramValues[3]: MissingParameterValues: The following parameters are required but no value has been provided: needed",
      "paramValues[2]: EmptyArrayItemParameterValues: The values for the following array parameters are containing at least one item where none of 'configMapValue', 'secretValue', and 'value' are set: text"])]
fn parameters(#[case] values: Value, #[case] expected: &[&str]) {
    let expected: Vec<String> =
        expected.iter().map(|expected| format!("BuildRun r: spec.{expected}")).collect();
    assert_eq!(refusals(&json!({ "run": { "paramValues": values } })), expected);
}

#[test]
fn a_parameter_that_nobody_gives_is_missing_in_the_run() {
    assert_eq!(
        refusals(&json!({ "build": { "paramValues": null } })),
        [
            "BuildRun r: spec.paramValues: MissingParameterValues: The following parameters are required but no value has been provided: needed, needed-list"
        ]
    );
}

fn embedded(build: &Value) -> Value {
    let mut spec = json!({
        "strategy": { "name": "s" },
        "output": { "image": "i" },
        "paramValues": [{ "name": "needed", "value": "x" }, { "name": "needed-list", "values": [] }],
    });
    merge(&mut spec, build);
    json!({ "build": { "name": null, "spec": spec } })
}

fn embedded_and(run: &Value) -> Value {
    let mut whole = embedded(&json!({}));
    merge(&mut whole, run);
    json!({ "run": whole })
}

/// §4.2 and §4.9: what the run's status says.
#[rstest]
// 1
#[case::name(json!({ "runMetadata": { "name": "r".repeat(64) } }),
    &["BuildRun rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr: metadata.name: BuildRunNameInvalid: must be no more than 63 bytes"])]
// 2, 3
#[case::no_build(json!({ "run": { "build": { "name": null } }, "absent": ["Build/b"] }),
    &["BuildRun r: spec.build: BuildRunNoRefOrSpec: no build referenced or specified, either 'buildRef' or 'buildSpec' has to be set"])]
#[case::two_builds(json!({ "run": { "build": { "spec": embedded(&json!({}))["build"]["spec"] } } }),
    &["BuildRun r: spec.build: BuildRunAmbiguousBuild: fields 'buildRef' and 'buildSpec' are mutually exclusive"])]
// 4
#[case::output(embedded_and(&json!({ "output": { "image": "x" } })), &["BuildRun r: spec.output: BuildRunBuildFieldOverrideForbidden: cannot use 'output' override and 'buildSpec' simultaneously"])]
#[case::param_values(embedded_and(&json!({ "paramValues": [{ "name": "text", "value": "" }] })), &["BuildRun r: spec.paramValues: BuildRunBuildFieldOverrideForbidden: cannot use 'paramValues' override and 'buildSpec' simultaneously"])]
#[case::env(embedded_and(&json!({ "env": [{ "name": "A" }] })), &["BuildRun r: spec.env: BuildRunBuildFieldOverrideForbidden: cannot use 'env' override and 'buildSpec' simultaneously"])]
#[case::timeout(embedded_and(&json!({ "timeout": "1m" })), &["BuildRun r: spec.timeout: BuildRunBuildFieldOverrideForbidden: cannot use 'timeout' override and 'buildSpec' simultaneously"])]
#[case::trigger(json!({ "run": embedded(&json!({ "trigger": {} })) }), &["BuildRun r: spec.build.spec.trigger: BuildRunBuildFieldOverrideForbidden: cannot use 'triggers' override in the 'BuildRun', only allowed in the 'Build'"])]
#[case::node_selector(embedded_and(&json!({ "nodeSelector": { "a": "b" } })), &["BuildRun r: spec.nodeSelector: BuildRunBuildFieldOverrideForbidden: cannot use 'nodeSelector' override and 'buildSpec' simultaneously"])]
#[case::tolerations(embedded_and(&json!({ "tolerations": [{ "key": "a", "operator": "Exists" }] })), &["BuildRun r: spec.tolerations: BuildRunBuildFieldOverrideForbidden: cannot use 'tolerations' override and 'buildSpec' simultaneously"])]
#[case::scheduler(embedded_and(&json!({ "schedulerName": "x" })), &["BuildRun r: spec.schedulerName: BuildRunBuildFieldOverrideForbidden: cannot use 'schedulerName' override and 'buildSpec' simultaneously"])]
#[case::runtime_class(embedded_and(&json!({ "runtimeClassName": "x" })), &["BuildRun r: spec.runtimeClassName: BuildRunBuildFieldOverrideForbidden: cannot use 'runtimeClassName' override and 'buildSpec' simultaneously"])]
#[case::step_resources(embedded_and(&json!({ "stepResources": [{ "name": "build", "resources": {} }] })), &["BuildRun r: spec.stepResources: BuildRunBuildFieldOverrideForbidden: cannot use 'stepResources' override and 'buildSpec' simultaneously"])]
// 5
#[case::forbidden_env(json!({ "run": { "env": [{ "name": "BASH_FUNC_x" }, { "name": "CDPATH" }] } }),
    &[r#"BuildRun r: spec.env[0].name: SpecEnvNameForbidden: environment variable "BASH_FUNC_x" is forbidden for security reasons"#,
      r#"BuildRun r: spec.env[1].name: SpecEnvNameForbidden: environment variable "CDPATH" is forbidden for security reasons"#])]
// 6
#[case::build_not_found(json!({ "absent": ["Build/b"] }), &[r#"BuildRun r: spec.build.name: BuildNotFound: build.shipwright.io "b" not found"#])]
#[case::build_not_found_and_canceled(json!({ "absent": ["Build/b"], "run": { "state": "BuildRunCanceled" } }),
    &[r#"BuildRun r: spec.build.name: BuildNotFound: build.shipwright.io "b" not found"#,
      "BuildRun r: spec.state: BuildRunCanceled: the BuildRun is marked canceled."])]
// 8: embedded, the last validator shows
#[case::embedded(json!({ "absent": ["Secret/a"], "run": embedded(&json!({
        "source": { "type": "", "git": { "url": URL, "cloneSecret": "a" } }, "env": [{ "name": "" }, { "name": "ENV" }],
        "nodeSelector": { "a": "-" }, "tolerations": [{ "key": "a" }], "schedulerName": "-", "runtimeClassName": "-",
        "volumes": [{ "name": "fixed" }] })) }),
    &["BuildRun r: spec.build.spec.schedulerName: BuildRegistrationFailed: Scheduler name not valid: <qualified>",
      "BuildRun r: spec.build.spec.tolerations[0].operator: BuildRegistrationFailed: Toleration operator not valid. Must be one of: 'Exists', 'Equal'",
      "BuildRun r: spec.build.spec.nodeSelector[a]: BuildRegistrationFailed: Node selector value not valid: <label>",
      r#"BuildRun r: spec.build.spec.env[1].name: BuildRegistrationFailed: environment variable "ENV" is forbidden for security reasons"#,
      "BuildRun r: spec.build.spec.env[0].name: BuildRegistrationFailed: name for environment variable must not be blank",
      "BuildRun r: spec.build.spec.source.type: BuildRegistrationFailed: type definition is missing",
      r#"BuildRun r: spec.build.spec.volumes[0].name: BuildRegistrationFailed: Volume "fixed" is not overridable in the Strategy"#,
      "BuildRun r: spec.build.spec.source.git.cloneSecret: BuildRegistrationFailed: referenced secret a not found",
      "BuildRun r: spec.build.spec.runtimeClassName: BuildRegistrationFailed: RuntimeClassName not valid: <subdomain>"])]
#[case::embedded_git(json!({ "run": embedded(&json!({ "source": { "type": "Git" } })) }), &["BuildRun r: spec.build.spec.source.git: BuildRegistrationFailed: type does not match the source"])]
#[case::embedded_oci(json!({ "run": embedded(&json!({ "source": { "type": "OCI" } })) }), &["BuildRun r: spec.build.spec.source.ociArtifact: BuildRegistrationFailed: type does not match the source"])]
#[case::embedded_local(json!({ "run": embedded(&json!({ "source": { "type": "Local" } })) }), &["BuildRun r: spec.build.spec.source.local: BuildRegistrationFailed: type does not match the source"])]
#[case::embedded_strategy(json!({ "run": embedded(&json!({})), "absent": ["BuildStrategy/s"] }), &["BuildRun r: spec.build.spec.strategy.name: BuildRegistrationFailed: buildStrategy s does not exist in namespace ns"])]
#[case::embedded_timestamp(json!({ "run": embedded(&json!({ "output": { "timestamp": "x" } })) }),
    &["BuildRun r: spec.build.spec.output.timestamp: TaskRunGenerationFailed: output image: cannot parse output timestamp x as a number, must be Zero, SourceTimestamp, BuildTimestamp, or a an integer"])]
// 9: only its status tells what its other runs keep it from
#[case::registered_false(json!({ "buildStatus": { "registered": "False", "reason": "SetOwnerReferenceFailed" } }),
    &["BuildRun r: spec.build.name: BuildRegistrationFailed: the Build is not registered correctly, build: b, registered status: False, reason: SetOwnerReferenceFailed"])]
#[case::registered_by_now(json!({ "buildStatus": { "registered": "False", "reason": "SpecOutputSecretRefNotFound" } }), &[])]
// 10, 11
#[case::canceled(json!({ "run": { "state": "BuildRunCanceled" } }), &["BuildRun r: spec.state: BuildRunCanceled: the BuildRun is marked canceled."])]
#[case::owned(json!({ "build": { "retention": { "atBuildDeletion": true } }, "runMetadata": { "ownerReferences": [{ "apiVersion": "v", "kind": "X", "name": "x", "uid": "1", "controller": true }] } }),
    &["BuildRun r: metadata.ownerReferences[0]: SetOwnerReferenceFailed: unexpected error when trying to set the ownerreference: Object ns/r is already owned by another X controller x"])]
// 14
#[case::account(json!({ "run": { "serviceAccount": "a" }, "absent": ["ServiceAccount/a"] }), &["BuildRun r: spec.serviceAccount: ServiceAccountNotFound: service account a not found"])]
// 15: the Build was registered while the strategy was there
#[case::strategy_gone(json!({ "absent": ["BuildStrategy/s"], "buildStatus": { "registered": "True" } }),
    &["Build b: spec.strategy.name: BuildStrategyNotFound: buildStrategy s does not exist in namespace ns",
      r#"BuildRun r: spec.build.name: BuildStrategyNotFound: BuildStrategy.shipwright.io "s" not found"#])]
#[case::cluster_strategy_gone(json!({ "absent": ["BuildStrategy/s"], "build": { "strategy": { "kind": "ClusterBuildStrategy" } }, "buildStatus": { "registered": "True" } }),
    &["Build b: spec.strategy.name: ClusterBuildStrategyNotFound: clusterBuildStrategy s does not exist",
      r#"BuildRun r: spec.build.name: ClusterBuildStrategyNotFound: ClusterBuildStrategy.shipwright.io "s" not found"#])]
#[case::strategy_kind(json!({ "absent": ["BuildStrategy/s"], "build": { "strategy": { "kind": "X" } }, "buildStatus": { "registered": "True" } }),
    &["Build b: spec.strategy.kind: UnknownBuildStrategyKind: unknown strategy kind X used, must be one of BuildStrategy, or ClusterBuildStrategy",
      "BuildRun r: spec.build.name: UnknownStrategyKind: unknown strategy X"])]
// 17 to 19
#[case::volumes(json!({ "run": { "volumes": [{ "name": "fixed" }, { "name": "x" }] } }),
    &[r#"BuildRun r: spec.volumes[0].name: VolumeNotOverridable: Volume "fixed" is not overridable in the Strategy"#,
      r#"BuildRun r: spec.volumes[1].name: UndefinedVolume: Volume "x" is not defined in the Strategy"#])]
#[case::unknown_step(json!({ "run": { "stepResources": [{ "name": "x", "resources": {} }] } }),
    &[r#"BuildRun r: spec.stepResources[0].name: UndefinedStepResource: stepResources references step "x" which does not exist in the build strategy"#])]
#[case::placement(json!({ "run": { "nodeSelector": { "": "-" }, "tolerations": [{ "key": "-", "operator": "x" }], "schedulerName": "a/b/c", "runtimeClassName": "" } }),
    &["BuildRun r: spec.nodeSelector[]: NodeSelectorNotValid: Node selector key not valid: name part must be non-empty, <qualified>",
      "BuildRun r: spec.nodeSelector[]: NodeSelectorNotValid: Node selector value not valid: <label>",
      "BuildRun r: spec.tolerations[0].key: TolerationNotValid: Toleration key not valid: <qualified>",
      "BuildRun r: spec.tolerations[0].operator: TolerationNotValid: Toleration operator not valid. Must be one of: 'Exists', 'Equal'",
      "BuildRun r: spec.schedulerName: SchedulerNameNotValid: Scheduler name not valid: a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
      "BuildRun r: spec.runtimeClassName: RuntimeClassNameNotValid: RuntimeClassName not valid: <subdomain>"])]
// 20
#[case::platforms(json!({ "build": { "output": { "platforms": [{ "os": "linux", "arch": "amd64" }] } } }),
    &[r#"BuildRun r for Build b: spec.output.platforms: ExecutorNotPipelineRun: multi-arch builds require PipelineRun executor mode, current executor mode: "TaskRun""#])]
#[case::platforms_of_run(json!({ "build": { "nodeSelector": { "kubernetes.io/arch": "a" } }, "run": { "output": { "image": "i", "platforms": [{ "os": "linux", "arch": "" }] }, "nodeSelector": { "kubernetes.io/os": "l" } } }),
    &["BuildRun r: spec.output.platforms[0]: InvalidPlatform: spec.output.platforms[0] must specify both os and arch",
      r#"BuildRun r: spec.nodeSelector[kubernetes.io/os]: NodeSelectorPlatformConflict: nodeSelector must not contain "kubernetes.io/os" when spec.output.platforms is set; the build controller manages os/arch scheduling"#,
      r#"BuildRun r for Build b: spec.nodeSelector[kubernetes.io/arch]: NodeSelectorPlatformConflict: nodeSelector must not contain "kubernetes.io/arch" when spec.output.platforms is set; the build controller manages os/arch scheduling"#,
      r#"BuildRun r: spec.output.platforms: ExecutorNotPipelineRun: multi-arch builds require PipelineRun executor mode, current executor mode: "TaskRun""#])]
// 23
#[case::missing_volumes(json!({ "absent": ["Secret/a", "ConfigMap/b", "Secret/c", "ConfigMap/d", "Secret/p"],
        "strategy": { "volumes": [
            { "name": "z", "projected": { "sources": [{ "configMap": { "name": "d" } }, { "secret": { "name": "c" } }] } },
            { "name": "a", "secret": { "secretName": "a" } },
            { "name": "b", "overridable": true, "emptyDir": {} }] },
        "build": { "volumes": [{ "name": "b", "configMap": { "name": "b" } }] },
        "run": { "output": { "image": "i", "pushSecret": "p" } } }),
    &[r#"BuildRun r for BuildStrategy s: spec.volumes[0]: VolumeDoesNotExist: ConfigMap "d" not found"#,
      r#"BuildRun r for BuildStrategy s: spec.volumes[0]: VolumeDoesNotExist: Secret "c" not found"#,
      r#"BuildRun r for BuildStrategy s: spec.volumes[1]: VolumeDoesNotExist: Secret "a" not found"#,
      r#"BuildRun r for Build b: spec.volumes[0]: VolumeDoesNotExist: ConfigMap "b" not found"#,
      r#"BuildRun r: spec.output.pushSecret: VolumeDoesNotExist: Secret "p" not found"#])]
// In the order of upstream's look at it, across rows.
#[case::all_at_once(json!({ "runMetadata": { "name": "-" }, "absent": ["ServiceAccount/a"], "run": { "serviceAccount": "a", "state": "BuildRunCanceled", "env": [{ "name": "ENV" }], "timeout": "-1s", "volumes": [{ "name": "x" }], "paramValues": [{ "name": "x" }] } }),
    &["BuildRun -: metadata.name: BuildRunNameInvalid: <label>",
      r#"BuildRun -: spec.env[0].name: SpecEnvNameForbidden: environment variable "ENV" is forbidden for security reasons"#,
      "BuildRun -: spec.state: BuildRunCanceled: the BuildRun is marked canceled.",
      "BuildRun -: spec.serviceAccount: ServiceAccountNotFound: service account a not found",
      "BuildRun -: spec.paramValues[0]: UndefinedParameter: The following parameters are not defined in the build strategy: x",
      r#"BuildRun -: spec.volumes[0].name: UndefinedVolume: Volume "x" is not defined in the Strategy"#,
      r#"BuildRun -: spec.timeout: TaskRunGenerationFailed: metadata configuration: timeout "-1s" is negative; 0 means none"#])]
fn runs(#[case] patch: Value, #[case] expected: &[&str]) {
    assert_eq!(
        refusals(&patch),
        expected.iter().map(|expected| expand(expected)).collect::<Vec<_>>()
    );
}

fn steps(steps: &Value) -> Value {
    json!({ "strategy": { "steps": steps } })
}

fn step(change: &Value) -> Value {
    let mut step = json!({ "name": "build", "image": "builder", "command": ["build"] });
    merge(&mut step, change);
    steps(&json!([step]))
}

/// §4.3: what keeps a pod from being made, all of it `TaskRunGenerationFailed` of the run.
#[rstest]
#[case::forbidden_env(step(&json!({ "env": [{ "name": "LD_X" }] })),
    &[r#"BuildStrategy s: spec.steps[0].env[0].name: build strategy: BuildStrategy step "build" defines forbidden environment variable "LD_X""#])]
#[case::env_exists(json!({ "strategy": { "steps": [{ "name": "a", "image": "i", "command": ["a"], "env": [{ "name": "A" }] }] }, "run": { "env": [{ "name": "A" }] } }),
    &[r#"BuildStrategy s: spec.steps[0].env[0].name: build strategy: error(s) occurred merging environment variables into BuildStrategy "s" steps: environment variable "A" already exists"#])]
#[case::no_volume(step(&json!({ "volumeMounts": [{ "name": "x", "mountPath": "/x" }] })),
    &[r#"BuildStrategy s: spec.steps[0].volumeMounts[0].name: build strategy: volume for the Volume Mount "x" is not found"#])]
#[case::read_only(json!({ "strategy": { "volumes": [{ "name": "d", "downwardAPI": {} }, { "name": "p", "projected": {} }, { "name": "c", "configMap": {} }, { "name": "s", "secret": {} }],
        "steps": [{ "name": "a", "image": "i", "command": ["a"], "volumeMounts": [{ "name": "s", "mountPath": "/s", "readOnly": false }, { "name": "c", "mountPath": "/c" }, { "name": "p", "mountPath": "/p" }, { "name": "d", "mountPath": "/d" }] }] } }),
    &[r#"BuildStrategy s: spec.steps[0].volumeMounts[3].readOnly: build strategy: volume mount "d" must be read only"#,
      r#"BuildStrategy s: spec.steps[0].volumeMounts[2].readOnly: build strategy: volume mount "p" must be read only"#,
      r#"BuildStrategy s: spec.steps[0].volumeMounts[1].readOnly: build strategy: volume mount "c" must be read only"#,
      r#"BuildStrategy s: spec.steps[0].volumeMounts[0].readOnly: build strategy: volume mount "s" must be read only"#])]
#[case::volume_twice(json!({ "strategy": { "volumes": [{ "name": "a" }, { "name": "a" }] } }),
    &[r#"BuildStrategy s: spec.volumes[1].name: build strategy: BuildStrategy Volume "a" is listed more than once"#])]
#[case::source_timestamp_of_run(json!({ "run": { "output": { "image": "i", "timestamp": "SourceTimestamp" } } }),
    &["BuildRun r: spec.output.timestamp: output image: cannot use SourceTimestamp setting, because there is no source timestamp available for this source"])]
#[case::source_timestamp_of_upload(json!({ "build": { "source": { "type": "Git", "git": { "url": URL } }, "output": { "timestamp": "SourceTimestamp" } }, "run": { "source": { "type": "Local", "local": {} } } }),
    &["Build b: spec.output.timestamp: output image: cannot use SourceTimestamp setting, because there is no source timestamp available for this source"])]
#[case::timestamp_of_run(json!({ "run": { "output": { "image": "i", "timestamp": "1.5" } } }),
    &["BuildRun r: spec.output.timestamp: output image: cannot parse output timestamp 1.5 as a number, must be Zero, SourceTimestamp, BuildTimestamp, or a an integer"])]
#[case::empty_timestamp(json!({ "build": { "output": { "timestamp": "" } } }),
    &["Build b: spec.output.timestamp: output image: cannot parse output timestamp  as a number, must be Zero, SourceTimestamp, BuildTimestamp, or a an integer"])]
// What the steps of the run cannot do anything with.
#[case::timestamp_before_the_first_year(json!({ "build": { "output": { "timestamp": "-62167219201" } } }),
    &["Build b: spec.output.timestamp: output image: timestamp -62167219201 is not in the years 0 to 9999; write seconds since 1970"])]
#[case::timestamp_after_the_last_year(json!({ "run": { "output": { "image": "i", "timestamp": "253402207201" } } }),
    &["BuildRun r: spec.output.timestamp: output image: timestamp 253402207201 is not in the years 0 to 9999; write seconds since 1970"])]
#[case::output_image(json!({ "build": { "output": { "image": "https://registry.example.com/app" } } }),
    &[r#"Build b: spec.output.image: output image: "https://registry.example.com/app" names no image; write [host/]repository[:tag], the repository in small letters"#])]
#[case::output_image_of_run(json!({ "build": { "output": { "image": "A/B" } }, "run": { "output": { "image": "registry.example.com/App" } } }),
    &[r#"BuildRun r: spec.output.image: output image: "registry.example.com/App" names no image; write [host/]repository[:tag], the repository in small letters"#])]
// What Tekton refuses.
#[case::timeout(json!({ "build": { "timeout": "1d" } }), &[r#"Build b: spec.timeout: metadata configuration: timeout "1d" is not a duration such as 90s, 1h30m or 0"#])]
#[case::upload_timeout(json!({ "run": { "source": { "type": "Local", "local": { "timeout": "1d" } } } }),
    &[r#"BuildRun r: spec.source.local.timeout: source acquisition: timeout "1d" is not a duration such as 90s or 5m"#])]
#[case::given_twice(json!({ "run": { "paramValues": [{ "name": "text", "value": "a" }, { "name": "text", "value": "b" }] } }),
    &[r#"BuildRun r: spec.paramValues[1].name: metadata configuration: parameter "text" is given more than once"#])]
#[case::declarations(json!({ "build": { "paramValues": null }, "strategy": { "parameters": [{ "name": "1a", "default": "" }, { "name": "shp-source-root", "default": "" }, { "name": "b", "default": "" }, { "name": "b", "default": "" }] } }),
    &[r#"BuildStrategy s: spec.parameters[0].name: metadata configuration: parameter "1a" must begin with a letter or '_' and hold only letters, digits, '_', '-' and '.'"#,
      r#"BuildStrategy s: spec.parameters[1].name: metadata configuration: parameter "shp-source-root" is one of Shipwright's own; choose another name"#,
      r#"BuildStrategy s: spec.parameters[3].name: metadata configuration: parameter "b" is declared more than once"#])]
#[case::no_step(steps(&json!([])), &["BuildStrategy s: spec.steps: build strategy: there are 0 steps; a strategy has 1 to 100"])]
#[case::no_image(step(&json!({ "image": null })), &[r#"BuildStrategy s: spec.steps[0].image: build strategy: step "build" has no image"#])]
#[case::step_name(step(&json!({ "name": "Build" })),
    &[r#"BuildStrategy s: spec.steps[0].name: build strategy: step name "Build" is not valid: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#])]
#[case::step_names_that_are_cut_alike(steps(&json!([{ "name": format!("{}1", "x".repeat(60)), "image": "i", "command": ["a"] }, { "name": format!("{}2", "x".repeat(60)), "image": "i", "command": ["a"] }])),
    &[r#"BuildStrategy s: spec.steps[1].name: build strategy: there is more than one step "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx2"; rename this one"#])]
#[case::own_mounts(step(&json!({ "volumeMounts": [{ "name": "cache", "mountPath": "/tekton" }, { "name": "cache", "mountPath": "/shp/" }, { "name": "cache", "mountPath": "/tekton/home" }, { "name": "cache", "mountPath": "" }, { "name": "cache", "mountPath": "/tektonic" }] })),
    &[r#"BuildStrategy s: spec.steps[0].volumeMounts[0].mountPath: build strategy: nothing may be mounted at "/tekton", which belongs to the pod"#,
      r#"BuildStrategy s: spec.steps[0].volumeMounts[1].mountPath: build strategy: nothing may be mounted at "/shp/", which belongs to the pod"#,
      r#"BuildStrategy s: spec.steps[0].volumeMounts[3].mountPath: build strategy: nothing can be mounted at ""; name a directory below /"#])]
#[case::own_volumes(json!({ "strategy": { "volumes": [{ "name": "slipway-x" }, { "name": "shp-output-directory" }, { "name": "shp-tmp-source-default-42db8f45" }, { "name": "shp-cache" }] } }),
    &[r#"BuildStrategy s: spec.volumes[0].name: build strategy: volume name "slipway-x" belongs to the pod; choose another"#,
      r#"BuildStrategy s: spec.volumes[1].name: build strategy: volume name "shp-output-directory" belongs to the pod; choose another"#,
      r#"BuildStrategy s: spec.volumes[2].name: build strategy: volume name "shp-tmp-source-default-42db8f45" belongs to the pod; choose another"#])]
#[case::request_above_limit(json!({ "strategy": { "steps": [{ "name": "build", "image": "i", "command": ["a"], "resources": { "requests": { "cpu": "2" }, "limits": { "cpu": "1500m" } } }] } }),
    &["BuildStrategy s: spec.steps[0].resources.requests.cpu: [User error] invalid request resource value: 2 must be less or equal to limit 1500m"])]
#[case::request_of_run(json!({ "run": { "stepResources": [{ "name": "build", "resources": { "requests": { "memory": "1Gi" }, "limits": { "memory": "1G" } } }] } }),
    &["BuildRun r: spec.stepResources[0].resources.requests.memory: [User error] invalid request resource value: 1Gi must be less or equal to limit 1G"])]
#[case::too_many_steps(steps(&(0..101).map(|n| json!({ "name": format!("s{n}"), "image": "i", "command": ["a"] })).collect()),
    &["BuildStrategy s: spec.steps: build strategy: there are 101 steps; a strategy has 1 to 100"])]
#[case::label(json!({ "strategyName": "s".repeat(64) }),
    &[r#"BuildStrategy ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss: metadata.name: metadata configuration: strategy name "ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss" is no label value: must be no more than 63 bytes"#])]
#[case::quoted_as_go_does(step(&json!({ "volumeMounts": [{ "name": "\u{e9}\u{7}\u{200b}\"", "mountPath": "/x" }] })),
    &[r#"BuildStrategy s: spec.steps[0].volumeMounts[0].name: build strategy: volume for the Volume Mount "é\a\u200b\"" is not found"#])]
fn generation(#[case] patch: Value, #[case] expected: &[&str]) {
    let expected: Vec<String> = expected
        .iter()
        .map(|expected| {
            let (object, rest) = expected.split_once(": ").unwrap();
            let (field, message) = rest.split_once(": ").unwrap();
            let by = if object.starts_with("BuildRun") { "" } else { "BuildRun r for " };
            format!("{by}{object}: {field}: TaskRunGenerationFailed: {message}")
        })
        .collect();
    assert_eq!(refusals(&patch), expected);
}
