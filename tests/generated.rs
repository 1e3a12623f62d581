//! Any objects at all: nothing that files can hold makes a plan panic or a pod unsound.
//!
//! Invariant: good values are likely and bad ones are not rare, so that many runs are refused and many are not.

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use slipway::local::{self, Commands, Files};
use slipway::plan::{Checked, Finding, Settings, Severity, expand, explain, invariants, validate};

use crate::explain::{assert_agrees, assert_origins};

const NOW: &str = "2026-01-02T03:04:05Z";
const RUNS: usize = 600;

type Any = BoxedStrategy<Value>;

/// Mostly the first, sometimes one of the rest.
fn mostly(good: impl Strategy<Value = Value> + 'static, bad: &[Value]) -> Any {
    prop_oneof![20 => good, 1 => prop::sample::select(bad.to_vec())].boxed()
}

fn one_of(values: &[Value]) -> Any {
    prop::sample::select(values.to_vec()).boxed()
}

fn texts(values: &[&str]) -> Any {
    one_of(&values.iter().map(|text| json!(text)).collect::<Vec<_>>())
}

fn list(item: Any, most: usize) -> Any {
    prop::collection::vec(item, 0..=most).prop_map(Value::Array).boxed()
}

/// An object of fields that are there or not. The first ones must be.
fn object(required: Vec<(&'static str, Any)>, optional: Vec<(&'static str, Any)>) -> Any {
    let named = |name: &'static str| move |value| Some((name.to_owned(), value));
    let required = required.into_iter().map(|(name, value)| value.prop_map(named(name)).boxed());
    let optional = optional.into_iter().map(|(name, value)| {
        let member = value.prop_map(move |value| (name.to_owned(), value));
        prop::option::weighted(0.3, member).boxed()
    });
    let members: Vec<_> = required.chain(optional).collect();
    let collect = |members: Vec<Option<_>>| Value::Object(members.into_iter().flatten().collect());
    members.prop_map(collect).boxed()
}

fn text() -> Any {
    let good = texts(&[
        "",
        "a",
        "two words",
        "$(params.text)",
        "x$(params['text'])y",
        "$(params.list[0])",
        "$(params.shp-source-context)",
        "$(results.shp-image-digest.path)",
        "$(context.taskRun.name)",
        "$(HOME)",
        "$$(HOME)",
        "--flag",
        "é\u{301}\u{7}\n",
    ]);
    mostly(
        good,
        &[
            "$(params.nobody)",
            "$(params.a$(params.b))",
            "$(params.list)",
            "$(params.text[0])",
            "$(params.list[9])",
        ]
        .map(|text| json!(text)),
    )
}

fn item() -> Any {
    prop_oneof![8 => text(), 1 => texts(&["$(params.list)", "$(params.list[*])", "$(params.shp-output-directory)", "$(params.secret)"])].boxed()
}

fn id() -> Any {
    mostly(
        one_of(&[json!(0), json!(1000), json!(1010), json!(2_147_483_647)]),
        &[json!(-1), json!(2_147_483_648_i64), json!("0")],
    )
}

fn env() -> Any {
    let value = |value| json!({ "name": "KEY", "valueFrom": value });
    let good = prop_oneof![
        (texts(&["A", "B", "C", "SHP_SECRET_PARAM_AAAAA"]), item())
            .prop_map(|(name, value)| json!({ "name": name, "value": value })),
        one_of(&[
            value(json!({ "secretKeyRef": { "name": "s", "key": "k" } })),
            value(json!({ "fieldRef": { "fieldPath": "metadata.name" } }))
        ]),
    ];
    list(
        mostly(
            good,
            &[
                json!({ "name": "LD_PRELOAD" }),
                json!({ "name": "" }),
                json!({ "name": "A", "value": "x", "valueFrom": {} }),
            ],
        ),
        2,
    )
}

fn resources() -> Any {
    let amounts = || {
        object(
            vec![],
            vec![("cpu", texts(&["1", "250m", "0", "1e3"])), ("memory", texts(&["1Gi", "64Mi"]))],
        )
    };
    object(
        vec![],
        vec![
            ("requests", amounts()),
            ("limits", one_of(&[json!({ "memory": "2Gi" }), json!({ "cpu": "1" })])),
        ],
    )
}

fn mount() -> Any {
    let paths = [
        "/cache",
        "/cache/",
        "/workspace",
        "/workspace/source",
        "/workspace/output-image/",
        "/tekton/home",
        "/etc/passwd",
        "/data",
        "/x/$(params.text)",
    ];
    let path = mostly(
        texts(&paths),
        &["/tekton/results", "/shp", "", "/", "/a/../b", "relative"].map(|path| json!(path)),
    );
    let volume = mostly(texts(&["cache", "fixed"]), &[json!("nobody"), json!("map")]);
    object(
        vec![("name", volume), ("mountPath", path)],
        vec![("readOnly", one_of(&[json!(true), json!(false)])), ("subPath", text())],
    )
}

fn step() -> Any {
    let long = "x".repeat(63);
    let cut = format!("{}--yyyyy", "x".repeat(56));
    let names = [
        "build",
        "build",
        "push",
        "prepare",
        "source-default",
        "image-processing",
        &long,
        &cut,
        "go-$(params.name)",
    ];
    let name =
        mostly(texts(&names), &["Build", "", "a.b", "$(params.text)"].map(|name| json!(name)));
    let command = prop_oneof![
        9 => (texts(&["sh", "build"]), list(item(), 3)).prop_map(|(program, rest)| {
            json!(std::iter::once(program).chain(rest.as_array().unwrap().clone()).collect::<Vec<_>>())
        }),
        1 => list(item(), 1),
    ];
    let capabilities =
        one_of(&[json!({ "add": ["SYS_ADMIN"] }), json!({ "drop": ["NET_RAW"] }), json!({})]);
    let context = object(
        vec![],
        vec![
            ("runAsUser", id()),
            ("runAsGroup", id()),
            ("privileged", one_of(&[json!(true)])),
            ("capabilities", capabilities),
        ],
    );
    object(
        vec![
            ("name", name),
            (
                "image",
                mostly(
                    texts(&["builder", "builder:$(params.name)"]),
                    &[json!(""), json!("$(params.empty)")],
                ),
            ),
            ("command", command.boxed()),
        ],
        vec![
            ("args", list(item(), 3)),
            ("env", env()),
            ("resources", resources()),
            ("securityContext", context),
            ("volumeMounts", list(mount(), 2)),
            (
                "workingDir",
                texts(&["", "/workspace/source", "sub", "/opt", "$(params.shp-source-context)"]),
            ),
        ],
    )
}

fn strategy() -> Any {
    let parameters = json!([
        { "name": "text", "description": "", "default": "$(params.name) x" },
        { "name": "name", "description": "", "default": "app" },
        { "name": "empty", "description": "", "default": "" },
        { "name": "list", "description": "", "type": "array", "defaults": ["one"] },
        { "name": "secret", "description": "", "default": "plain" },
    ]);
    let volumes = json!([{ "name": "cache", "overridable": true, "emptyDir": {} }, { "name": "fixed", "hostPath": { "path": "/x" } }, { "name": "map", "configMap": { "name": "m" } }]);
    let odd = json!([{ "name": "shp-a-b", "emptyDir": {} }, { "name": "cache", "emptyDir": {} }, { "name": "fixed" }, { "name": "vol-$(params.name)" }]);
    let annotations = object(
        vec![],
        vec![
            ("buildstrategy.shipwright.io/identity-files", texts(&["true", "false"])),
            ("slipway.dev/supporting-steps", texts(&["step-build"])),
            ("buildrun.shipwright.io/security-context-passwd", texts(&["root:x:0:0::/:/bin/sh"])),
        ],
    );
    let spec = object(
        vec![
            ("parameters", one_of(&[parameters])),
            ("volumes", mostly(one_of(&[volumes, odd]), &[json!([])])),
            (
                "steps",
                mostly(prop::collection::vec(step(), 1..4).prop_map(Value::Array), &[json!([])]),
            ),
        ],
        vec![("securityContext", object(vec![("runAsUser", id()), ("runAsGroup", id())], vec![]))],
    );
    (annotations, spec)
        .prop_map(|(annotations, spec)| {
            document("BuildStrategy", &json!({ "name": "s", "annotations": annotations }), &spec)
        })
        .boxed()
}

fn given() -> Any {
    let value = prop_oneof![
        (
            texts(&["text", "name", "empty"]),
            texts(&["", "a", "$(params.text)", "$(results.shp-image-size.path)"])
        )
            .prop_map(|(name, value)| json!({ "name": name, "value": value })),
        list(object(vec![("value", text())], vec![]), 3)
            .prop_map(|values| json!({ "name": "list", "values": values })),
        one_of(&[
            json!({ "name": "secret", "secretValue": { "name": "s", "key": "k", "format": "x${SECRET_VALUE}" } }),
            json!({ "name": "secret", "configMapValue": { "name": "s", "key": "k" } }),
            json!({ "name": "list", "values": [{ "secretValue": { "name": "s", "key": "k" } }, { "value": "" }] }),
        ]),
    ];
    list(
        mostly(
            value,
            &[
                json!({ "name": "nobody", "value": "" }),
                json!({ "name": "list", "value": "" }),
                json!({ "name": "shp-x" }),
            ],
        ),
        2,
    )
}

fn output() -> Any {
    object(
        vec![("image", mostly(texts(&["registry.example.com/app", "app"]), &[json!("")]))],
        vec![
            (
                "pushSecret",
                mostly(texts(&["push", "a.b", "security-context"]), &[json!(""), json!("No_Name")]),
            ),
            ("labels", one_of(&[json!({ "a": "b=c" })])),
            ("insecure", one_of(&[json!(true)])),
            (
                "timestamp",
                mostly(
                    texts(&["Zero", "BuildTimestamp", "-5"]),
                    &[json!(""), json!("SourceTimestamp"), json!("x")],
                ),
            ),
            (
                "vulnerabilityScan",
                one_of(&[json!({ "enabled": true }), json!({ "enabled": false })]),
            ),
        ],
    )
}

fn source() -> Any {
    let good = one_of(&[
        json!({ "type": "Git", "git": { "url": "$(HOME)", "cloneSecret": "a-b", "depth": -1, "revision": "--x" }, "contextDir": "../../x" }),
        json!({ "type": "Git", "git": { "url": "https://git.example.com/app" } }),
        json!({ "type": "OCI", "ociArtifact": { "image": "i", "pullSecret": "a.b", "prune": "AfterPull" } }),
        json!({ "type": "Local", "local": { "timeout": "90s" } }),
    ]);
    mostly(
        good,
        &[
            json!({ "type": "Local", "local": { "timeout": "1d" } }),
            json!({ "type": "" }),
            json!({ "type": "Git" }),
        ],
    )
}

/// What Build and run have in common.
fn shared() -> Vec<(&'static str, Any)> {
    let toleration = one_of(&[
        json!({ "key": "a", "operator": "Exists", "effect": "" }),
        json!({ "key": "a", "operator": "Equal" }),
    ]);
    vec![
        ("paramValues", given()),
        ("env", env()),
        ("timeout", mostly(texts(&["1h", "0", "1ns", "2000000h"]), &[json!("-1s"), json!("1d")])),
        (
            "volumes",
            mostly(
                one_of(&[
                    json!([{ "name": "cache", "secret": { "secretName": "v" } }]),
                    json!([{ "name": "cache" }]),
                ]),
                &[json!([{ "name": "fixed" }])],
            ),
        ),
        ("nodeSelector", mostly(one_of(&[json!({ "a": "b" })]), &[json!({ "a b": "-" })])),
        ("tolerations", list(mostly(toleration, &[json!({})]), 2)),
        ("source", source()),
    ]
}

fn build() -> Any {
    let resources =
        list(object(vec![("name", texts(&["build"])), ("resources", resources())], vec![]), 1);
    let strategy = object(
        vec![("name", mostly(texts(&["s"]), &[json!("nobody")]))],
        vec![("stepResources", resources)],
    );
    object(vec![("strategy", strategy), ("output", output())], shared())
}

fn documents() -> impl Strategy<Value = Vec<Value>> {
    let metadata = |name: &'static str| {
        object(
            vec![("name", one_of(&[json!(name)]))],
            vec![("uid", texts(&["", "1-2"])), ("generation", one_of(&[json!(7)]))],
        )
    };
    let accounts =
        mostly(texts(&["builder", ".generate", "nobody"]), &[json!(""), json!("No_Name")]);
    let mut optional = shared();
    optional.push(("output", output()));
    optional.push(("serviceAccount", accounts));
    optional.push(("state", mostly(texts(&["x"]), &[json!("BuildRunCanceled")])));
    let named = object(vec![("build", one_of(&[json!({ "name": "b" })]))], optional);
    let embedded = (build(), object(vec![], vec![("serviceAccount", texts(&[".generate"]))]))
        .prop_map(|(spec, mut run)| {
            run["build"] = json!({ "spec": spec });
            run
        });
    let run = prop_oneof![3 => named, 1 => embedded];
    let cluster = [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default", "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } }),
        json!({ "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "l" }, "spec": { "limits": [{ "type": "Container", "min": { "cpu": "50m" } }] } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "builder" }, "secrets": [{ "name": "push" }, { "name": "a-b" }, { "name": "basic" }, {}] }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "basic", "annotations": { "tekton.dev/git-0": "", "tekton.dev/docker-0": "a=b:c" } }, "type": "kubernetes.io/basic-auth" }),
    ];
    let cluster = prop::sample::subsequence(cluster.to_vec(), 0..=4);
    (strategy(), metadata("b"), build(), metadata("r"), run, cluster).prop_map(
        |(strategy, build_metadata, build, run_metadata, run, cluster)| {
            let build = document("Build", &build_metadata, &build);
            let run = document("BuildRun", &run_metadata, &run);
            [strategy, build, run].into_iter().chain(cluster).collect()
        },
    )
}

fn document(kind: &str, metadata: &Value, spec: &Value) -> Value {
    json!({ "apiVersion": "shipwright.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec })
}

/// As `slipway explain` does it; nothing where anything is refused.
fn plan(path: &std::path::Path) -> Option<Checked> {
    let (documents, errors) = local::read(&[path.to_owned()]);
    assert!(errors.is_empty(), "{errors:?}");
    let (files, refused, _) = Files::of(documents);
    let now: Timestamp = NOW.parse().unwrap();
    let chosen = local::choose(&files, None, now, Commands::Assumed).ok()?;
    let checked = validate(&chosen.loaded, &Settings::default()).ok();
    checked.filter(|_| refused.is_empty())
}

/// `slipway check` refuses what cannot run; of what can, at most the namespace refuses the pod, or a Build
/// is wrong that the run does not use.
fn assert_judged_alike(path: &std::path::Path, can_run: bool, text: &str) {
    let (documents, errors) = local::read(&[path.to_owned()]);
    let is_embedded =
        documents.iter().any(|document| document.value.pointer("/spec/build/spec").is_some());
    let now = NOW.parse().unwrap();
    let findings = local::check(documents, &errors, &Settings::default(), now, None).findings;
    let mut refusals = findings.iter().filter(|finding| finding.severity == Severity::Refusal);
    if can_run {
        let is_other = |finding: &Finding| {
            finding.reason == "PodAdmissionFailed" || finding.object.kind == "Build" && is_embedded
        };
        assert!(refusals.all(is_other), "{text}\n{findings:#?}");
    } else {
        assert!(refusals.next().is_some(), "{text}");
    }
}

#[test]
fn whatever_the_files_hold_it_is_refused_or_makes_a_sound_pod() {
    let folder = std::env::temp_dir().join(format!("slipway-generated-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("objects.json");
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let documents = documents();
    let mut sound = 0;
    for _ in 0..RUNS {
        let objects = documents.new_tree(&mut runner).unwrap().current();
        let text = objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        std::fs::write(&path, &text).unwrap();
        let planned = plan(&path);
        assert_judged_alike(&path, planned.is_some(), &text);
        let Some(checked) = planned else { continue };
        let expansion = expand(&checked);
        assert_eq!(invariants::broken(&expansion.pod), Vec::<String>::new(), "{text}");
        assert_eq!(plan(&path).as_ref(), Some(&checked), "{text}");
        assert_eq!(expand(&checked), expansion, "{text}");
        let explanation = explain::explain(&checked);
        assert_agrees(&explanation, &expansion.pod, &text);
        assert_origins(&explanation, &objects, &text);
        let deadline = expansion.pod.spec.as_ref().unwrap().active_deadline_seconds;
        assert!(deadline.is_none_or(|seconds| (1..=2_147_483_647).contains(&seconds)), "{text}");
        sound += 1;
    }
    std::fs::remove_dir_all(&folder).unwrap();
    println!("{sound} of {RUNS} runs made a pod");
    assert!((RUNS / 10..RUNS * 9 / 10).contains(&sound), "{sound} of {RUNS}");
}
