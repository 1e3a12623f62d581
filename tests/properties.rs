//! What holds for every run: nothing of one reaches another, equal input makes equal pods, values are read once, and the
//! identity files hold two lines of ours.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;
use serde_json::{Value, json};
use slipway::local::{self, Commands, Files};
use slipway::plan::{Expansion, Refusal, Settings, expand, validate};

const GROUP: &str = "buildrun.shipwright.io/security-context-group";
const PASSWD: &str = "buildrun.shipwright.io/security-context-passwd";

/// A run with its Build and its strategy.
#[derive(Debug, Clone)]
struct Case {
    strategy: Value,
    build: Value,
    run: Value,
}

impl Case {
    /// A strategy of these ids with every source of supporting steps.
    fn of(identity: Option<(i64, i64)>) -> Self {
        let mut strategy = json!({
            "apiVersion": "shipwright.io/v1beta1", "kind": "BuildStrategy", "metadata": { "name": "s" },
            "spec": {
                "parameters": [{ "name": "text", "description": "A text.", "default": "x" }],
                "steps": [{
                    "name": "build", "image": "example.com/builder", "command": ["build", "$(params.text)"],
                    "args": ["$(params.shp-output-directory)"],
                    "env": [{ "name": "A", "value": "$(params.text)" }],
                }],
            },
        });
        if let Some((uid, gid)) = identity {
            strategy["spec"]["securityContext"] = json!({ "runAsUser": uid, "runAsGroup": gid });
        }
        let build = json!({
            "apiVersion": "shipwright.io/v1beta1", "kind": "Build", "metadata": { "name": "b" },
            "spec": {
                "strategy": { "name": "s" },
                "source": { "type": "Git", "git": { "url": "https://git.example.com/app" } },
                "output": { "image": "registry.example.com/app", "labels": { "a": "b" } },
            },
        });
        let run = json!({
            "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun",
            "metadata": { "name": "r", "creationTimestamp": "2026-01-02T03:04:05Z" },
            "spec": { "build": { "name": "b" } },
        });
        Self { strategy, build, run }
    }

    fn given(mut self, value: &str) -> Self {
        self.run["spec"]["paramValues"] = json!([{ "name": "text", "value": value }]);
        self
    }

    fn expansion(&self, settings: &Settings) -> Result<Expansion, Vec<Refusal>> {
        // Only reading makes documents: three of a sample give theirs up for the case's.
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/hello");
        let (mut documents, errors) = local::read(&[sample]);
        assert!(errors.is_empty(), "{errors:?}");
        for (document, value) in documents.iter_mut().zip([&self.strategy, &self.build, &self.run])
        {
            document.value = value.clone();
        }
        let (files, refused, _) = Files::of(documents);
        if !refused.is_empty() {
            return Err(refused.into_iter().map(|located| located.refusal).collect());
        }
        let chosen = local::choose(
            &files,
            None,
            "2026-01-02T03:04:05Z".parse().unwrap(),
            Commands::Known(&BTreeMap::new()),
        )
        .unwrap();
        validate(&chosen.loaded, settings).map(|checked| expand(&checked))
    }

    fn bytes(&self, settings: &Settings) -> String {
        serde_json::to_string(&self.expansion(settings).unwrap().pod).unwrap()
    }
}

/// No identity of its own, root, and two others.
fn cases() -> [Case; 4] {
    [None, Some((0, 0)), Some((1010, 1020)), Some((1001, 1000))].map(Case::of)
}

#[test]
fn no_strategy_leaves_its_user_to_the_next_in_any_order() {
    let cases = cases();
    let alone = cases.each_ref().map(|case| case.bytes(&Settings::default()));
    assert!(alone[0].contains("\"runAsUser\":1000") && alone[1].contains("\"runAsUser\":0"));
    let settings = Settings::default();
    for first in 0..4 {
        for second in 0..4 {
            for third in 0..4 {
                for index in [first, second, third] {
                    assert_eq!(
                        cases[index].bytes(&settings),
                        alone[index],
                        "{first} {second} {third}"
                    );
                }
            }
        }
    }
    assert_eq!(settings, Settings::default());
}

#[test]
fn no_strategy_leaves_its_user_to_another_at_the_same_time() {
    let cases = cases();
    let alone = cases.each_ref().map(|case| case.bytes(&Settings::default()));
    let settings = Settings::default();
    let start = Barrier::new(50);
    thread::scope(|scope| {
        for number in 0..50 {
            let (cases, alone, settings, start) = (&cases, &alone, &settings, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..8 {
                    let index = (number + round) % 4;
                    assert_eq!(cases[index].bytes(settings), alone[index]);
                }
            });
        }
    });
}

#[test]
fn equal_input_makes_equal_bytes_in_every_process() {
    let render = |format: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_slipway"))
            .args(["render", "-f", "samples/hello", "-o", format])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    for format in ["yaml", "json"] {
        let first = render(format);
        assert!((0..5).all(|_| render(format) == first), "{format}");
    }
}

/// The builder's container.
fn builder(expansion: &Expansion) -> Value {
    let containers = json!(expansion.pod.spec.as_ref().unwrap().containers);
    let is_builder = |container: &&Value| container["name"] == "step-build";
    containers.as_array().unwrap().iter().find(is_builder).unwrap().clone()
}

/// What stands behind the gate.
fn command(container: &Value) -> Vec<String> {
    let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    let end = args.iter().position(|arg| arg == "--").unwrap();
    args[end + 1..].to_vec()
}

/// Every way to name a declared or a system parameter, and what nobody replaces.
const FORMS: [&str; 9] = [
    "$(params.text)",
    "$(params[\"text\"])",
    "$(params['text'])",
    "$(inputs.params.text)",
    "$(params.shp-output-image)",
    "$(params.text$",
    "$(HOME)",
    "$$(HOME)",
    "$(results.nope.path)",
];

#[test]
fn a_value_is_put_in_as_it_is() {
    let value = FORMS.join(" ");
    let expansion = Case::of(None).given(&value).expansion(&Settings::default()).unwrap();
    let container = builder(&expansion);
    assert_eq!(command(&container)[1], value);
    let variables = container["env"].as_array().unwrap();
    let variable = variables.iter().find(|variable| variable["name"] == "A").unwrap();
    assert_eq!(variable["value"], value);
}

/// Words, what ends a line or a field, and forms of references.
fn hostile() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![
            "[a-zA-Z0-9 ]{1,6}",
            Just("\n".to_owned()),
            Just("\r\n".to_owned()),
            Just(":".to_owned()),
            Just("root:x:0:0:root:/root:/bin/sh".to_owned()),
            Just("'".to_owned()),
            Just("\\".to_owned()),
            Just("\u{2028}".to_owned()),
            prop::sample::select(FORMS.to_vec()).prop_map(str::to_owned),
        ],
        0..8,
    )
    .prop_map(|parts| parts.concat())
}

/// Names of objects, good and bad.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[a-z]([-a-z0-9]{0,10}[a-z0-9])?", 1 => hostile()]
}

/// Keys of annotations, ours among them.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}(\\.example\\.com/[a-z]{1,8})?",
        Just(GROUP.to_owned()),
        Just(PASSWD.to_owned()),
        Just("BuildRun.shipwright.io/security-context-passwd".to_owned()),
        Just("buildstrategy.shipwright.io/identity-files".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn no_value_is_read_for_parameters_again(value in hostile()) {
        let expansion = Case::of(None).given(&value).expansion(&Settings::default());
        let expansion = expansion.map_err(|refusals| TestCaseError::fail(format!("{refusals:?}")))?;
        prop_assert_eq!(&command(&builder(&expansion))[1], &value);
    }

    #[test]
    fn nothing_gets_into_the_identity_files(
        uid in prop_oneof![9 => 0_i64..=2_147_483_647, 1 => any::<i64>()],
        gid in prop_oneof![9 => 0_i64..=2_147_483_647, 1 => any::<i64>()],
        names in [name(), name(), name()],
        annotations in prop::collection::btree_map(key(), hostile(), 0..4),
        value in hostile(),
        url in hostile(),
    ) {
        let [strategy, build, run] = names;
        let mut case = Case::of(Some((uid, gid))).given(&value);
        case.strategy["metadata"] = json!({ "name": strategy, "annotations": annotations });
        case.build["metadata"] = json!({ "name": build, "annotations": annotations });
        case.build["spec"]["strategy"]["name"] = strategy.as_str().into();
        case.build["spec"]["source"]["git"]["url"] = url.as_str().into();
        case.build["spec"]["output"]["annotations"] = json!({ "a": value });
        case.run["metadata"] = json!({ "name": run, "annotations": annotations });
        case.run["spec"]["build"]["name"] = build.as_str().into();
        // What is refused makes no files at all.
        if let Ok(expansion) = case.expansion(&Settings::default()) {
            prop_assert!((0..=2_147_483_647).contains(&uid) && (0..=2_147_483_647).contains(&gid));
            let found = expansion.pod.metadata.annotations.unwrap();
            let ours: Vec<(&str, &str)> = found
                .iter()
                .filter(|(key, _)| key.contains("security-context") && key.starts_with("buildrun."))
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            let group = format!("shp:x:{gid}");
            let passwd = format!("shp:x:{uid}:{gid}:shp:/shared-home:/sbin/nologin");
            prop_assert_eq!(ours, [(GROUP, group.as_str()), (PASSWD, passwd.as_str())]);
        }
    }
}
