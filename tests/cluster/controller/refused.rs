//! Every refusal that comes before a pod: what the status of a Build says, and that of a run, word for word.
//!
//! Invariant: whatever is refused has no pod, and its run has what upstream's would have kept by then, and no more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::harness::{Namespace, kubectl, run};
use super::super::steps::shell;
use super::Controller;
use super::told::{assert_same, collect, condition, ended, events, list, object, writes};

const VERSION: &str = "shipwright.io/v1beta1";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const URL: &str = "https://git.example.com/app";

#[expect(clippy::needless_pass_by_value, reason = "callers write values in place")]
fn object_of(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// A strategy with something of everything that a Build can get wrong, and this step.
#[expect(clippy::needless_pass_by_value, reason = "callers write values in place")]
fn strategy(name: &str, step: Value, volumes: Value) -> Value {
    let parameters = json!([
        { "name": "text", "description": "", "default": "" },
        { "name": "list", "description": "", "type": "array", "defaults": [] },
        { "name": "needed", "description": "" },
    ]);
    let spec = json!({ "parameters": parameters, "volumes": volumes, "steps": [step] });
    object_of("BuildStrategy", name, spec)
}

fn strategies() -> Vec<Value> {
    let volumes = json!([{ "name": "cache", "overridable": true, "emptyDir": {} }, { "name": "fixed", "emptyDir": {} }]);
    let with = |field: &str, value: Value| {
        let mut step = shell("build", "true");
        step[field] = value;
        step
    };
    let mount = |name: &str| with("volumeMounts", json!([{ "name": name, "mountPath": "/m" }]));
    let config_map = json!([{ "name": "files", "configMap": { "name": "missing" } }]);
    let secret =
        json!([{ "name": "files", "overridable": true, "secret": { "secretName": "missing" } }]);
    vec![
        strategy("s", shell("build", "true"), volumes.clone()),
        strategy("forbidden", with("env", json!([{ "name": "LD_PRELOAD" }])), json!([])),
        strategy("word", with("env", json!([{ "name": "WORD" }])), json!([])),
        strategy("mount", mount("nothing"), json!([])),
        strategy("writable", mount("files"), config_map.clone()),
        strategy("twice", shell("build", "true"), json!([{ "name": "a" }, { "name": "a" }])),
        strategy("index", shell("build", "echo $(params.list[5])"), json!([])),
        strategy("undeclared", shell("build", "echo $(params.nothing)"), json!([])),
        strategy("map", shell("build", "true"), config_map),
        strategy("secret", shell("build", "true"), secret),
    ]
}

/// A Build's spec that says nothing wrong, changed.
fn spec(change: &Value) -> Value {
    let mut spec = json!({
        "strategy": { "name": "s" },
        "output": { "image": "registry.slipway.test:5000/refused" },
        "paramValues": [{ "name": "needed", "value": "x" }],
    });
    merge(&mut spec, change);
    spec
}

fn merge(value: &mut Value, change: &Value) {
    let Some(change) = change.as_object() else { return *value = change.clone() };
    for (key, change) in change {
        merge(&mut value[key], change);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "callers write values in place")]
fn git(change: Value) -> Value {
    let mut git = json!({ "url": URL });
    merge(&mut git, &change);
    json!({ "type": "Git", "git": git })
}

/// Name of the Build, what its spec has beside, reason and message.
type Refusal = (&'static str, Value, &'static str, String);

#[rustfmt::skip]
fn refused_builds(namespace: &str) -> Vec<Refusal> {
    let missing = json!({ "image": "i", "pushSecret": "no-push" });
    let platforms = |platform: Value| json!({ "output": { "platforms": [platform] } });
    let given = |value: Value| json!({ "paramValues": [{ "name": "needed", "value": "x" }, value] });
    let toleration = |toleration: Value| json!({ "tolerations": [toleration] });
    let when = |when: Value| json!({ "trigger": { "when": [when] } });
    let key = json!({ "name": "n", "key": "k" });
    let variable = json!({ "name": "A", "value": "x", "valueFrom": { "secretKeyRef": key } });
    vec![
        ("clone-secret", json!({ "source": git(json!({ "cloneSecret": "no-clone" })) }), "SpecSourceSecretRefNotFound", "referenced secret no-clone not found".into()),
        ("pull-secret", json!({ "source": { "type": "OCI", "ociArtifact": { "image": "i", "pullSecret": "no-pull" } } }), "SpecSourceSecretRefNotFound", "referenced secret no-pull not found".into()),
        ("push-secret", json!({ "output": missing }), "SpecOutputSecretRefNotFound", "referenced secret no-push not found".into()),
        ("both-secrets", json!({ "source": git(json!({ "cloneSecret": "no-clone" })), "output": missing }), "MultipleSecretRefNotFound", "missing secrets are no-clone,no-push".into()),
        ("no-strategy", json!({ "strategy": { "name": "none" } }), "BuildStrategyNotFound", format!("buildStrategy none does not exist in namespace {namespace}")),
        ("no-cluster-strategy", json!({ "strategy": { "name": namespace, "kind": "ClusterBuildStrategy" } }), "ClusterBuildStrategyNotFound", format!("clusterBuildStrategy {namespace} does not exist")),
        ("unknown-kind", json!({ "strategy": { "kind": "Strategy" } }), "UnknownBuildStrategyKind", "unknown strategy kind Strategy used, must be one of BuildStrategy, or ClusterBuildStrategy".into()),
        ("restricted", given(json!({ "name": "DOCKERFILE", "value": "" })), "RestrictedParametersInUse", "The following parameters are restricted and cannot be set: DOCKERFILE".into()),
        ("undefined", given(json!({ "name": "nothing", "value": "" })), "UndefinedParameter", "The following parameters are not defined in the build strategy: nothing".into()),
        ("wrong-type", given(json!({ "name": "text", "values": [{ "value": "" }] })), "WrongParameterValueType", "The values for the following parameters are using the wrong type: text".into()),
        ("inconsistent", given(json!({ "name": "text", "value": "", "secretValue": key })), "InconsistentParameterValues", "The following parameters have more than one of 'configMapValue', 'secretValue', and 'value' set: text".into()),
        ("empty-item", given(json!({ "name": "list", "values": [{ "value": "" }, {}] })), "EmptyArrayItemParameterValues", "The values for the following array parameters are containing at least one item where none of 'configMapValue', 'secretValue', and 'value' are set: list".into()),
        ("incomplete-map", given(json!({ "name": "text", "configMapValue": { "name": "", "key": "k" } })), "IncompleteConfigMapValueParameterValues", "The values for the following parameters are containing a 'configMapValue' with an empty 'name' or 'key': text".into()),
        ("incomplete-secret", given(json!({ "name": "text", "secretValue": { "name": "n", "key": "" } })), "IncompleteSecretValueParameterValues", "The values for the following parameters are containing a 'secretValue' with an empty 'name' or 'key': text".into()),
        ("no-volume", json!({ "volumes": [{ "name": "x", "emptyDir": {} }] }), "UndefinedVolume", r#"Volume "x" is not defined in the Strategy"#.into()),
        ("fixed-volume", json!({ "volumes": [{ "name": "fixed", "emptyDir": {} }] }), "VolumeNotOverridable", r#"Volume "fixed" is not overridable in the Strategy"#.into()),
        ("no-step", json!({ "strategy": { "stepResources": [{ "name": "x", "resources": {} }] } }), "UndefinedStepResource", r#"stepResources references step "x" which does not exist in the build strategy"#.into()),
        ("no-timestamp", json!({ "output": { "timestamp": "SourceTimestamp" } }), "OutputTimestampNotSupported", "cannot use SourceTimestamp output image setting with an empty build source".into()),
        ("timestamp", json!({ "output": { "timestamp": "today" } }), "OutputTimestampNotValid", "output timestamp value is invalid, must be Zero, SourceTimestamp, BuildTimestamp, or number".into()),
        ("half-platform", platforms(json!({ "os": "linux", "arch": "" })), "InvalidPlatform", "spec.output.platforms[0] must specify both os and arch".into()),
        ("platform-os", platforms(json!({ "os": "Linux", "arch": "a" })), "InvalidPlatform", r#"spec.output.platforms[0].os "Linux": invalid; use the value your Nodes have for label "kubernetes.io/os""#.into()),
        ("platform-selector", json!({ "output": { "platforms": [{ "os": "linux", "arch": "amd64" }] }, "nodeSelector": { "kubernetes.io/os": "linux" } }), "NodeSelectorPlatformConflict", r#"nodeSelector must not contain "kubernetes.io/os" when spec.output.platforms is set; the build controller manages os/arch scheduling"#.into()),
        ("name-of-more-than-sixty-three-bytes-which-no-label-of-a-run-takes", json!({}), "BuildNameInvalid", "must be no more than 63 bytes".into()),
        ("blank-env", json!({ "env": [{ "name": "" }] }), "SpecEnvNameCanNotBeBlank", "name for environment variable must not be blank".into()),
        ("forbidden-env", json!({ "env": [{ "name": "LD_PRELOAD" }] }), "SpecEnvNameForbidden", r#"environment variable "LD_PRELOAD" is forbidden for security reasons"#.into()),
        ("double-env", json!({ "env": [variable] }), "SpecEnvOnlyOneOfValueOrValueFromMustBeSpecified", "only one of value or valueFrom must be specified".into()),
        ("trigger-name", when(json!({ "name": "", "type": "Image", "image": { "names": ["i"] } })), "TriggerNameCanNotBeBlank", "name is not set on when trigger condition".into()),
        ("trigger-type", when(json!({ "name": "n", "type": "x" })), "TriggerInvalidType", r#""n" contains an invalid type "x""#.into()),
        ("trigger-github", when(json!({ "name": "n", "type": "GitHub" })), "TriggerInvalidGitHubWebHook", r#""n" is missing required attribute `.github`"#.into()),
        ("trigger-image", when(json!({ "name": "n", "type": "Image" })), "TriggerInvalidImage", r#""n" is missing required attribute `.image`"#.into()),
        ("trigger-images", when(json!({ "name": "n", "type": "Image", "image": {} })), "TriggerInvalidImage", r#""n" is missing required attribute `.image.names`"#.into()),
        ("trigger-object", when(json!({ "name": "n", "type": "Pipeline" })), "TriggerInvalidPipeline", r#""n" is missing required attribute `.objectRef`"#.into()),
        ("trigger-status", when(json!({ "name": "n", "type": "Pipeline", "objectRef": { "name": "p" } })), "TriggerInvalidPipeline", r#""n" is missing required attribute `.objectRef.status`"#.into()),
        ("trigger-both", when(json!({ "name": "n", "type": "Pipeline", "objectRef": { "name": "p", "selector": { "a": "b" }, "status": ["x"] } })), "TriggerInvalidPipeline", r#""n" contains `.objectRef.name` and `.objectRef.selector`, must be only one"#.into()),
        ("selector-key", json!({ "nodeSelector": { "a b": "c" } }), "NodeSelectorNotValid", format!("Node selector key not valid: {QUALIFIED_NAME}")),
        ("selector-value", json!({ "nodeSelector": { "a": "-" } }), "NodeSelectorNotValid", format!("Node selector value not valid: {LABEL_VALUE}")),
        ("toleration-key", toleration(json!({ "key": "-", "operator": "Exists" })), "TolerationNotValid", format!("Toleration key not valid: {QUALIFIED_NAME}")),
        ("toleration-operator", toleration(json!({ "key": "a" })), "TolerationNotValid", "Toleration operator not valid. Must be one of: 'Exists', 'Equal'".into()),
        ("toleration-value", toleration(json!({ "key": "a", "operator": "Equal", "value": "-" })), "TolerationNotValid", format!("Toleration value not valid: {LABEL_VALUE}")),
        ("toleration-effect", toleration(json!({ "key": "a", "operator": "Exists", "effect": "NoExecute" })), "TolerationNotValid", "Only the 'NoSchedule' toleration effect is supported.".into()),
        ("toleration-time", toleration(json!({ "key": "a", "operator": "Exists", "tolerationSeconds": 1 })), "TolerationNotValid", "Specifying TolerationSeconds is not supported.".into()),
        ("scheduler", json!({ "schedulerName": "-" }), "SchedulerNameNotValid", format!("Scheduler name not valid: {QUALIFIED_NAME}")),
        ("runtime-class", json!({ "runtimeClassName": "A" }), "RuntimeClassNameNotValid", format!("RuntimeClassName not valid: {SUBDOMAIN}")),
    ]
}

/// Builds that their source repository keeps from being registered.
fn unverified_builds() -> Vec<(Value, &'static str)> {
    let build = |name: &str, url: &str, verify: &str| {
        let mut build =
            object_of("Build", name, spec(&json!({ "source": git(json!({ "url": url })) })));
        build["metadata"]["annotations"] =
            json!({ "build.shipwright.io/verify.repository": verify });
        build
    };
    vec![
        (
            build("verify-ssh", "ssh://git@git.example.com/app", "true"),
            "the source url requires authentication",
        ),
        (build("verify-file", "file:///app", "true"), "invalid source url"),
        (
            build("verify-word", URL, "yes"),
            "the annotation build.shipwright.io/verify.repository was not properly defined, supported values are true or false",
        ),
    ]
}

fn registered(reason: &str, message: &str) -> Value {
    let registered = if reason == "Succeeded" { "True" } else { "False" };
    json!({ "registered": registered, "reason": reason, "message": message })
}

#[test]
fn builds_and_the_runs_that_name_them() {
    let controller = Controller::installed();
    let namespace = Namespace::new("refused-builds");
    namespace.apply(&list(&strategies()));
    let mut builds = vec![object_of("Build", "good", spec(&json!({})))];
    let mut expected =
        BTreeMap::from([("good".to_owned(), registered("Succeeded", "all validations succeeded"))]);
    for (name, change, reason, message) in refused_builds(namespace.name()) {
        builds.push(object_of("Build", name, spec(&change)));
        expected.insert(name.to_owned(), registered(reason, &message));
    }
    for (build, message) in unverified_builds() {
        let name = build["metadata"]["name"].as_str().unwrap().to_owned();
        expected.insert(name, registered("RemoteRepositoryUnreachable", message));
        builds.push(build);
    }
    namespace.apply(&list(&builds));
    let names = expected.keys().cloned().collect();
    let told = collect(&namespace, &["builds"], &names, |build: &Value| {
        let name = build["metadata"]["name"].as_str().unwrap().to_owned();
        build["status"]["registered"].is_string().then_some(name)
    });
    let told: BTreeMap<_, _> =
        told.into_iter().map(|(name, build)| (name, build["status"].clone())).collect();
    assert_same(&told, &expected);

    expected.remove("good");
    let runs = expected.iter().enumerate().map(|(index, (build, status))| {
        let reason = status["reason"].as_str().unwrap();
        let message = format!("the Build is not registered correctly, build: {build}, registered status: False, reason: {reason}");
        Run::new(&format!("run-{index}"), json!({ "build": { "name": build } }), "BuildRegistrationFailed", &message, Kept::Nothing)
    });
    expect(&controller, &namespace, &runs.collect::<Vec<_>>());
}

/// What a refused run has beside its condition.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    /// It was refused before its Build counted.
    Nothing,
    /// Labels, and the spec of the Build.
    Build(&'static str),
    /// The spec that is embedded.
    Spec,
}

/// A run that is refused.
struct Run {
    document: Value,
    reason: &'static str,
    message: String,
    kept: Kept,
}

impl Run {
    fn new(name: &str, spec: Value, reason: &'static str, message: &str, kept: Kept) -> Self {
        let document = object_of("BuildRun", name, spec);
        Self { document, reason, message: message.to_owned(), kept }
    }

    fn name(&self) -> String {
        self.document["metadata"]["name"].as_str().unwrap().to_owned()
    }
}

/// Applies all at once, and compares what becomes of each.
fn expect(controller: &Controller, namespace: &Namespace, runs: &[Run]) {
    namespace.apply(&list(&runs.iter().map(|run| run.document.clone()).collect::<Vec<_>>()));
    let names: BTreeSet<String> = runs.iter().map(Run::name).collect();
    let ended = ended(namespace, &names);
    let events = events(namespace, &names);
    let said = |status: &str, reason: &str, message: &str| {
        ["Succeeded", status, reason, message].map(String::from)
    };
    let told: BTreeMap<_, _> = ended
        .iter()
        .map(|(name, run)| (name.clone(), <[&str; 4]>::from(condition(run)).map(String::from)))
        .collect();
    let expected: BTreeMap<_, _> =
        runs.iter().map(|run| (run.name(), said("False", run.reason, &run.message))).collect();
    assert_same(&told, &expected);
    let expected_events: BTreeMap<_, _> = runs
        .iter()
        .map(|run| (run.name(), ("Warning".to_owned(), run.reason.to_owned(), run.message.clone())))
        .collect();
    assert_same(&events, &expected_events);
    for run in runs {
        let name = run.name();
        let seen = &ended[&name];
        let status = seen.status.as_ref().unwrap();
        assert!(status.completion_time.is_some() && status.start_time.is_none(), "{name}");
        assert!(status.failure_details.is_none() && status.output.is_none(), "{name}");
        assert_eq!(
            seen.metadata.annotations.as_ref().and_then(|own| own.get("slipway.dev/pod")),
            None
        );
        let kept = match run.kept {
            Kept::Nothing => (Value::Null, Value::Null),
            Kept::Build(build) => {
                let labels = json!({ "build.shipwright.io/name": build, "build.shipwright.io/generation": "1" });
                (object(namespace, &format!("build/{build}"))["spec"].clone(), labels)
            }
            Kept::Spec => (run.document["spec"]["build"]["spec"].clone(), Value::Null),
        };
        assert_eq!((json!(status.build_spec), json!(seen.metadata.labels)), kept, "{name}");
    }
    assert_eq!(
        namespace.kubectl(&["get", "pods,serviceaccounts", "--output=name"]),
        "serviceaccount/default\n"
    );
    let of_runs = writes(controller, namespace);
    let count = |write: &str| of_runs.iter().filter(|other| *other == write).count();
    let labelled = runs.iter().filter(|run| matches!(run.kept, Kept::Build(_))).count();
    let counts = ["patch buildruns", "create events"].map(count);
    assert_eq!(counts, [labelled, runs.len()]);
    // Who looks again before its own status came back has it refused.
    let statuses = count("patch buildruns/status");
    assert!((runs.len()..=runs.len() + labelled).contains(&statuses), "{statuses}");
    assert_eq!(of_runs.len(), labelled + runs.len() + statuses, "{of_runs:?}");
}

#[rustfmt::skip]
fn refused_runs(namespace: &str) -> Vec<Run> {
    use Kept::{Build, Nothing, Spec};
    let named = |build: &str, change: Value| {
        let mut run = json!({ "build": { "name": build } });
        merge(&mut run, &change);
        run
    };
    let good = |change: Value| named("good", change);
    let embedded = |change: Value| json!({ "build": { "spec": spec(&change) } });
    let embedded_and = |field: &str, value: Value| {
        let mut run = embedded(json!({}));
        run[field] = value;
        run
    };
    let given = |value: Value| good(json!({ "paramValues": [value] }));
    let toleration = |toleration: Value| good(json!({ "tolerations": [toleration] }));
    let output = |change: Value| {
        let mut output = json!({ "image": "i" });
        merge(&mut output, &change);
        good(json!({ "output": output }))
    };
    let key = json!({ "name": "n", "key": "k" });
    let platform = json!([{ "os": "linux", "arch": "amd64" }]);
    let pipeline_run = r#"multi-arch builds require PipelineRun executor mode, current executor mode: "TaskRun""#;
    let mut runs = vec![
        // What the run says, read on its own.
        Run::new(&"r".repeat(64), good(json!({})), "BuildRunNameInvalid", "must be no more than 63 bytes", Nothing),
        Run::new("nothing", json!({ "build": {} }), "BuildRunNoRefOrSpec", "no build referenced or specified, either 'buildRef' or 'buildSpec' has to be set", Nothing),
        Run::new("both", json!({ "build": { "name": "good", "spec": spec(&json!({})) } }), "BuildRunAmbiguousBuild", "fields 'buildRef' and 'buildSpec' are mutually exclusive", Nothing),
        Run::new("triggers", embedded(json!({ "trigger": { "when": [] } })), "BuildRunBuildFieldOverrideForbidden", "cannot use 'triggers' override in the 'BuildRun', only allowed in the 'Build'", Nothing),
        Run::new("forbidden-env", good(json!({ "env": [{ "name": "LD_PRELOAD" }] })), "SpecEnvNameForbidden", r#"environment variable "LD_PRELOAD" is forbidden for security reasons"#, Nothing),
        // Its Build.
        Run::new("no-build", named("none", json!({})), "BuildNotFound", r#"build.shipwright.io "none" not found"#, Nothing),
        Run::new("embedded-strategy", embedded(json!({ "strategy": { "name": "none" } })), "BuildRegistrationFailed", &format!("buildStrategy none does not exist in namespace {namespace}"), Nothing),
        Run::new("embedded-kind", embedded(json!({ "strategy": { "kind": "x" } })), "BuildRegistrationFailed", "unknown strategy kind x used, must be one of BuildStrategy, or ClusterBuildStrategy", Nothing),
        Run::new("embedded-secret", embedded(json!({ "output": { "pushSecret": "no-push" } })), "BuildRegistrationFailed", "referenced secret no-push not found", Nothing),
        Run::new("embedded-source", embedded(json!({ "source": { "type": "Git" } })), "BuildRegistrationFailed", "type does not match the source", Nothing),
        Run::new("embedded-env", embedded(json!({ "env": [{ "name": "" }] })), "BuildRegistrationFailed", "name for environment variable must not be blank", Nothing),
        Run::new("embedded-selector", embedded(json!({ "nodeSelector": { "a": "-" } })), "BuildRegistrationFailed", &format!("Node selector value not valid: {LABEL_VALUE}"), Nothing),
        Run::new("embedded-toleration", embedded(json!({ "tolerations": [{ "key": "a" }] })), "BuildRegistrationFailed", "Toleration operator not valid. Must be one of: 'Exists', 'Equal'", Nothing),
        Run::new("embedded-scheduler", embedded(json!({ "schedulerName": "-" })), "BuildRegistrationFailed", &format!("Scheduler name not valid: {QUALIFIED_NAME}"), Nothing),
        Run::new("canceled", good(json!({ "state": "BuildRunCanceled" })), "BuildRunCanceled", "the BuildRun is marked canceled.", Nothing),
        Run::new("canceled-embedded", embedded_and("state", json!("BuildRunCanceled")), "BuildRunCanceled", "the BuildRun is marked canceled.", Nothing),
        // Its account.
        Run::new("account", good(json!({ "serviceAccount": "none" })), "ServiceAccountNotFound", "service account none not found", Build("good")),
        Run::new("account-embedded", embedded_and("serviceAccount", json!("none")), "ServiceAccountNotFound", "service account none not found", Spec),
        // Its parameters, with those of its Build.
        Run::new("missing", named("bare", json!({})), "MissingParameterValues", "The following parameters are required but no value has been provided: needed", Build("bare")),
        Run::new("taken-away", given(json!({ "name": "needed" })), "MissingParameterValues", "The following parameters are required but no value has been provided: needed", Build("good")),
        Run::new("restricted", given(json!({ "name": "shp-x", "value": "" })), "RestrictedParametersInUse", "The following parameters are restricted and cannot be set: shp-x", Build("good")),
        Run::new("undefined", given(json!({ "name": "nothing", "value": "" })), "UndefinedParameter", "The following parameters are not defined in the build strategy: nothing", Build("good")),
        Run::new("wrong-type", given(json!({ "name": "list", "value": "" })), "WrongParameterValueType", "The values for the following parameters are using the wrong type: list", Build("good")),
        Run::new("inconsistent", given(json!({ "name": "text", "value": "", "configMapValue": key })), "InconsistentParameterValues", "The following parameters have more than one of 'configMapValue', 'secretValue', and 'value' set: text", Build("good")),
        Run::new("empty-item", given(json!({ "name": "list", "values": [{}] })), "EmptyArrayItemParameterValues", "The values for the following array parameters are containing at least one item where none of 'configMapValue', 'secretValue', and 'value' are set: list", Build("good")),
        Run::new("incomplete-map", given(json!({ "name": "list", "values": [{ "configMapValue": { "name": "n", "key": "" } }, { "configMapValue": { "name": "", "key": "k" } }] })), "IncompleteConfigMapValueParameterValues", "The values for the following parameters are containing a 'configMapValue' with an empty 'name' or 'key': list, list", Build("good")),
        Run::new("incomplete-secret", given(json!({ "name": "text", "secretValue": { "name": "", "key": "k" } })), "IncompleteSecretValueParameterValues", "The values for the following parameters are containing a 'secretValue' with an empty 'name' or 'key': text", Build("good")),
        // What it says of the strategy and of the node.
        Run::new("no-volume", good(json!({ "volumes": [{ "name": "x", "emptyDir": {} }] })), "UndefinedVolume", r#"Volume "x" is not defined in the Strategy"#, Build("good")),
        Run::new("fixed-volume", good(json!({ "volumes": [{ "name": "fixed", "emptyDir": {} }] })), "VolumeNotOverridable", r#"Volume "fixed" is not overridable in the Strategy"#, Build("good")),
        Run::new("no-step", good(json!({ "stepResources": [{ "name": "x", "resources": {} }] })), "UndefinedStepResource", r#"stepResources references step "x" which does not exist in the build strategy"#, Build("good")),
        Run::new("selector-key", good(json!({ "nodeSelector": { "a b": "-" } })), "NodeSelectorNotValid", &format!("Node selector key not valid: {QUALIFIED_NAME}"), Build("good")),
        Run::new("toleration-key", toleration(json!({ "operator": "Exists" })), "TolerationNotValid", &format!("Toleration key not valid: name part must be non-empty, {QUALIFIED_NAME}"), Build("good")),
        Run::new("toleration-effect", toleration(json!({ "key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1 })), "TolerationNotValid", "Only the 'NoSchedule' toleration effect is supported.", Build("good")),
        Run::new("scheduler", good(json!({ "schedulerName": "-" })), "SchedulerNameNotValid", &format!("Scheduler name not valid: {QUALIFIED_NAME}"), Build("good")),
        Run::new("runtime-class", good(json!({ "runtimeClassName": "A" })), "RuntimeClassNameNotValid", &format!("RuntimeClassName not valid: {SUBDOMAIN}"), Build("good")),
        Run::new("platforms", named("platforms", json!({})), "ExecutorNotPipelineRun", pipeline_run, Build("platforms")),
        Run::new("own-platforms", output(json!({ "platforms": platform })), "ExecutorNotPipelineRun", pipeline_run, Build("good")),
        Run::new("half-platform", output(json!({ "platforms": [{ "os": "", "arch": "amd64" }] })), "InvalidPlatform", "spec.output.platforms[0] must specify both os and arch", Build("good")),
        // What keeps the pod from being made.
        Run::new("step-env", named("forbidden", json!({})), "TaskRunGenerationFailed", r#"build strategy: BuildStrategy step "build" defines forbidden environment variable "LD_PRELOAD""#, Build("forbidden")),
        Run::new("env-exists", named("word", json!({ "env": [{ "name": "WORD", "value": "x" }] })), "TaskRunGenerationFailed", r#"build strategy: error(s) occurred merging environment variables into BuildStrategy "word" steps: environment variable "WORD" already exists"#, Build("word")),
        Run::new("mount", named("mount", json!({})), "TaskRunGenerationFailed", r#"build strategy: volume for the Volume Mount "nothing" is not found"#, Build("mount")),
        Run::new("writable", named("writable", json!({})), "TaskRunGenerationFailed", r#"build strategy: volume mount "files" must be read only"#, Build("writable")),
        Run::new("twice", named("twice", json!({})), "TaskRunGenerationFailed", r#"build strategy: BuildStrategy Volume "a" is listed more than once"#, Build("twice")),
        Run::new("index", named("index", json!({})), "TaskRunGenerationFailed", "[User error] non-existent param references:[$(params.list[5])]", Build("index")),
        Run::new("undeclared", named("undeclared", json!({})), "TaskRunGenerationFailed", r#"non-existent variable in "$(params.nothing)": spec.steps[0].command[2]"#, Build("undeclared")),
        Run::new("no-timestamp", output(json!({ "timestamp": "SourceTimestamp" })), "TaskRunGenerationFailed", "output image: cannot use SourceTimestamp setting, because there is no source timestamp available for this source", Build("good")),
        Run::new("timestamp", output(json!({ "timestamp": "1.5" })), "TaskRunGenerationFailed", "output image: cannot parse output timestamp 1.5 as a number, must be Zero, SourceTimestamp, BuildTimestamp, or a an integer", Build("good")),
        Run::new("timeout", good(json!({ "timeout": "-1s" })), "TaskRunGenerationFailed", r#"metadata configuration: timeout "-1s" is negative; 0 means none"#, Build("good")),
        Run::new("request", good(json!({ "stepResources": [{ "name": "build", "resources": { "requests": { "cpu": "2" }, "limits": { "cpu": "1" } } }] })), "TaskRunGenerationFailed", "[User error] invalid request resource value: 2 must be less or equal to limit 1", Build("good")),
        // What the pod would mount.
        Run::new("config-map", named("map", json!({})), "VolumeDoesNotExist", r#"ConfigMap "missing" not found"#, Build("map")),
        Run::new("secret", named("secret", json!({})), "VolumeDoesNotExist", r#"Secret "missing" not found"#, Build("secret")),
        Run::new("own-volume", named("secret", json!({ "volumes": [{ "name": "files", "configMap": { "name": "gone" } }] })), "VolumeDoesNotExist", r#"ConfigMap "gone" not found"#, Build("secret")),
        Run::new("own-push-secret", output(json!({ "pushSecret": "gone" })), "VolumeDoesNotExist", r#"Secret "gone" not found"#, Build("good")),
        Run::new("volume-embedded", embedded(json!({ "strategy": { "name": "map" } })), "VolumeDoesNotExist", r#"ConfigMap "missing" not found"#, Spec),
    ];
    for (field, value) in [
        ("output", json!({ "image": "i" })),
        ("paramValues", json!([{ "name": "text", "value": "x" }])),
        ("env", json!([{ "name": "A" }])),
        ("timeout", json!("1m")),
        ("nodeSelector", json!({ "a": "b" })),
        ("tolerations", json!([{ "key": "a", "operator": "Exists" }])),
        ("schedulerName", json!("s")),
        ("runtimeClassName", json!("r")),
        ("stepResources", json!([{ "name": "build", "resources": {} }])),
    ] {
        let message = format!("cannot use '{field}' override and 'buildSpec' simultaneously");
        let name = format!("override-{}", field.to_lowercase());
        runs.push(Run::new(&name, embedded_and(field, value), "BuildRunBuildFieldOverrideForbidden", &message, Nothing));
    }
    runs
}

#[test]
fn runs() {
    let controller = Controller::installed();
    let namespace = Namespace::new("refused-runs");
    namespace.apply(&list(&strategies()));
    let mut bare = spec(&json!({}));
    bare.as_object_mut().unwrap().remove("paramValues");
    let platforms = json!({ "output": { "platforms": [{ "os": "linux", "arch": "amd64" }] } });
    let mut builds = vec![
        object_of("Build", "good", spec(&json!({}))),
        object_of("Build", "bare", bare),
        object_of("Build", "platforms", spec(&platforms)),
        object_of("Build", "owner", spec(&json!({ "retention": { "atBuildDeletion": true } }))),
    ];
    for strategy in
        ["forbidden", "word", "mount", "writable", "twice", "index", "undeclared", "map", "secret"]
    {
        builds.push(object_of(
            "Build",
            strategy,
            spec(&json!({ "strategy": { "name": strategy } })),
        ));
    }
    namespace.apply(&list(&builds));
    let mut runs = refused_runs(namespace.name());
    runs.push(owned_by_another(&namespace));
    expect(&controller, &namespace, &runs);
}

/// A run whose Build wants to own it, and which has another controller.
fn owned_by_another(namespace: &Namespace) -> Run {
    let create = ["--namespace", namespace.name(), "create", "configmap", "other", "--output=json"];
    let other: Value = serde_json::from_str(&run(kubectl(&create), "")).unwrap();
    let message = format!(
        "unexpected error when trying to set the ownerreference: Object {}/owned is already owned by another ConfigMap controller other",
        namespace.name()
    );
    let spec = json!({ "build": { "name": "owner" } });
    let mut owned = Run::new("owned", spec, "SetOwnerReferenceFailed", &message, Kept::Nothing);
    let uid = &other["metadata"]["uid"];
    owned.document["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": uid, "controller": true }]);
    owned
}
