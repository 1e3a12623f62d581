//! What `slipway explain` tells: the values of the pod, each from whom it comes.
//!
//! `INSTA_UPDATE=always` rewrites the snapshots.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use slipway::plan::explain::{ExplainedContainer, Explanation};
use slipway::plan::{Decider, Origin};
use slipway::view;

use crate::golden;
use crate::sessions::{ACCOUNT, BUILD, Folder, RUN, STRATEGY};

#[test]
fn explanations_are_as_expected() {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "explain" }, {
        insta::glob!("golden/cases/{identity,sample}-*.yaml", |path| {
            let (expectations, outcome) = golden::run(path);
            let text = match &outcome.explanation {
                Some(explanation) => view::explain(explanation),
                None => outcome.expansion.unwrap_err().join("\n"),
            };
            insta::assert_snapshot!("text", text, &expectations.why);
        });
    });
}

#[test]
fn every_golden_pod_has_the_values_that_are_told() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases");
    let mut agreed = 0;
    for entry in std::fs::read_dir(cases).unwrap() {
        let path = entry.unwrap().path();
        let outcome = golden::run(&path).1;
        if let (Ok(expansion), Some(explanation)) = (&outcome.expansion, &outcome.explanation) {
            assert_agrees(explanation, &expansion.pod, &path.display().to_string());
            agreed += 1;
        }
    }
    assert!(agreed >= 80, "only {agreed} cases have a pod");
}

/// Every container with what its manifest says, and with what Kubernetes has for what it does not say.
#[track_caller]
pub fn assert_agrees(explanation: &Explanation, pod: &Pod, context: &str) {
    let spec = pod.spec.as_ref().unwrap();
    let containers: Vec<_> =
        spec.init_containers.iter().flatten().chain(&spec.containers).collect();
    assert_eq!(explanation.containers.len(), containers.len(), "{context}");
    let supporting = &pod.metadata.annotations.as_ref().unwrap()["slipway.dev/supporting-steps"];
    for (explained, container) in explanation.containers.iter().zip(containers) {
        let says = container.security_context.clone().unwrap_or_default();
        let capabilities = says.capabilities.unwrap_or_default();
        let seccomp = says.seccomp_profile.map_or("Unconfined".to_owned(), |profile| {
            let path = profile.localhost_profile.map(|path| format!("/{path}"));
            profile.type_ + &path.unwrap_or_default()
        });
        let is_privileged = says.privileged == Some(true);
        let seccomp = if is_privileged { "Unconfined".to_owned() } else { seccomp };
        let capabilities = if is_privileged {
            json!({ "add": ["ALL"], "drop": [] })
        } else {
            json!({ "add": capabilities.add.unwrap_or_default(), "drop": capabilities.drop.unwrap_or_default() })
        };
        let is_supporting =
            container.name == "prepare" || supporting.split(',').any(|name| name == container.name);
        let expected = json!({
            "name": container.name,
            "origin": if is_supporting { "supporting" } else { "strategy" },
            "uid": says.run_as_user,
            "gid": says.run_as_group,
            "groups": [],
            "capabilities": capabilities,
            "privileged": says.privileged.unwrap_or(false),
            "allowPrivilegeEscalation": is_privileged || says.allow_privilege_escalation.unwrap_or(true),
            "readOnlyRootFilesystem": says.read_only_root_filesystem.unwrap_or(false),
            "runAsNonRoot": says.run_as_non_root.unwrap_or(false),
            "seccompProfile": seccomp,
        });
        let mut told = json!(explained);
        told.as_object_mut().unwrap().remove("origins");
        told["uid"] = told["uid"]["value"].clone();
        told["gid"] = told["gid"]["value"].clone();
        assert_eq!(told, expected, "{context}");
    }
    assert!(spec.security_context.is_none(), "{context}");
}

/// Of a strategy's steps: what the step wrote is from the step, else from the strategy, else from whoever is left.
#[track_caller]
pub fn assert_origins(explanation: &Explanation, objects: &[Value], context: &str) {
    let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
    let strategy = &of_kind("BuildStrategy").unwrap()["spec"];
    let is_restricted = of_kind("Namespace").is_some();
    let steps = strategy["steps"].as_array().unwrap();
    let is_strategy = |container: &&ExplainedContainer| container.origin == Origin::Strategy;
    let containers: Vec<_> = explanation.containers.iter().filter(is_strategy).collect();
    assert_eq!(containers.len(), steps.len(), "{context}");
    for (container, step) in containers.into_iter().zip(steps) {
        let written = &step["securityContext"];
        for (told, field) in [(&container.uid, "runAsUser"), (&container.gid, "runAsGroup")] {
            let (value, from) = match (&written[field], &strategy["securityContext"][field]) {
                (Value::Null, Value::Null) => (None, Decider::Image),
                (Value::Null, id) => (id.as_i64(), Decider::Strategy),
                (id, _) => (id.as_i64(), Decider::Step),
            };
            assert_eq!((told.value, told.from), (value, from), "{context}");
        }
        let origins = &container.origins;
        let from = |value: &Value| {
            if !value.is_null() || container.privileged {
                Decider::Step
            } else if is_restricted {
                Decider::Namespace
            } else {
                Decider::Kubelet
            }
        };
        assert_eq!(origins.capabilities.drop, from(&written["capabilities"]["drop"]), "{context}");
        assert_eq!(origins.seccomp_profile, from(&written["seccompProfile"]), "{context}");
        let privileged =
            if written["privileged"].is_null() { Decider::Kubelet } else { Decider::Step };
        assert_eq!(origins.privileged, privileged, "{context}");
    }
}

/// A step that asks for everything, with half an identity of its own.
const PRIVILEGED: &str = "\
apiVersion: shipwright.io/v1beta1
kind: ClusterBuildStrategy
metadata: {name: s}
spec:
  securityContext: {runAsUser: 1001, runAsGroup: 1000}
  steps:
    - name: build
      image: example.com/builder
      command: [build]
      securityContext:
        runAsGroup: 0
        privileged: true
        capabilities: {add: [SYS_ADMIN], drop: [KILL]}
        seccompProfile: {type: Localhost, localhostProfile: p.json}
";

fn namespace(level: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: team, labels: {{pod-security.kubernetes.io/enforce: {level}}}}}\n"
    )
}

/// The privileged build in a namespace.
fn privileged(test: &str, level: &str) -> Folder {
    let build = BUILD
        .replace("{name: b}", "{name: b, namespace: team}")
        .replace("{name: s}", "{name: s, kind: ClusterBuildStrategy}");
    let run = RUN.replace("{name: r}", "{name: r, namespace: team}");
    Folder::new(test)
        .with("a.yaml", format!("{PRIVILEGED}---\n{build}---\n{run}"))
        .with("namespace.yaml", namespace(level))
}

fn explain(folder: &Folder, arguments: &[&str]) -> crate::sessions::Session {
    folder.run(&[&["explain"], arguments].concat(), "")
}

#[test]
fn json_has_every_value_with_its_origin() {
    let folder = privileged("explain_json", "baseline");
    let session = explain(&folder, &["-f", "a.yaml", "namespace.yaml", "-o", "json"]);
    assert_eq!(session.stderr, "note: ServiceAccount team/default is assumed to exist\n");
    assert_eq!(session.code, Some(0));
    session.has_keys("{", &["containers", "name", "origin", "uid", "value", "from", "gid"]);
    session.has_keys(
        "\"groups\"",
        &["capabilities", "add", "drop", "privileged", "allowPrivilegeEscalation"],
    );
    session.has_keys("\"readOnlyRootFilesystem\"", &["seccompProfile"]);
    let mut told: Value = serde_json::from_str(&session.stdout).unwrap();
    let step = told["containers"].as_array_mut().unwrap().remove(1);
    let from = |value: i64, from: &str| json!({ "value": value, "from": from });
    assert_eq!(
        step,
        json!({
            "name": "step-build",
            "origin": "strategy",
            "uid": from(1001, "strategy"),
            "gid": from(0, "step"),
            "groups": [],
            "capabilities": { "add": ["ALL"], "drop": [] },
            "privileged": true,
            "allowPrivilegeEscalation": true,
            "readOnlyRootFilesystem": false,
            "runAsNonRoot": false,
            "seccompProfile": "Unconfined",
            "origins": {
                "groups": "image",
                "capabilities": { "add": "step", "drop": "step" },
                "privileged": "step",
                "allowPrivilegeEscalation": "step",
                "readOnlyRootFilesystem": "kubelet's default",
                "runAsNonRoot": "kubelet's default",
                "seccompProfile": "step",
            },
        })
    );
    let violation = |level: &str, control: &str, field: &str, message: &str| {
        let field = format!("spec.containers[0].securityContext.{field}");
        json!({ "container": "step-build", "level": level, "control": control, "field": field, "message": message })
    };
    let expected = json!({
        "containers": [{
            "name": "prepare",
            "origin": "supporting",
            "uid": from(1001, "strategy"),
            "gid": from(1000, "strategy"),
            "groups": [],
            "capabilities": { "add": [], "drop": ["ALL"] },
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": "RuntimeDefault",
            "origins": {
                "groups": "image",
                "capabilities": { "add": "kubelet's default", "drop": "template" },
                "privileged": "kubelet's default",
                "allowPrivilegeEscalation": "template",
                "readOnlyRootFilesystem": "template",
                "runAsNonRoot": "slipway",
                "seccompProfile": "template",
            },
        }],
        "podSecurityLevel": "privileged",
        "podSecurityReasons": [
            violation("baseline", "privileged", "privileged", "must not be true"),
            violation("restricted", "allowPrivilegeEscalation", "allowPrivilegeEscalation", "must be false"),
            violation("restricted", "capabilities", "capabilities.drop", "must contain ALL"),
            violation("baseline", "capabilities", "capabilities.add[0]", "must not be SYS_ADMIN"),
            violation("restricted", "runAsNonRoot", "runAsNonRoot", "must be true"),
        ],
        "namespace": { "name": "team", "enforces": "baseline", "admits": false },
    });
    assert_eq!(told, expected);
    let yaml = explain(&folder, &["-f", "a.yaml", "namespace.yaml", "-o", "yaml"]);
    assert!(yaml.stdout.contains("podSecurityLevel: privileged"), "{}", yaml.stdout);
}

#[test]
fn an_id_that_only_the_image_knows_is_null() {
    let folder = Folder::new("explain_image").with("a.yaml", format!("{STRATEGY}---\n{BUILD}"));
    let session = explain(&folder, &["-f", "a.yaml", "-o", "json"]);
    let told: Value = serde_json::from_str(&session.stdout).unwrap();
    let step = &told["containers"][1];
    let unknown = json!({ "value": null, "from": "image" });
    assert_eq!((&step["uid"], &step["gid"]), (&unknown, &unknown));
    assert_eq!(told.get("namespace"), None);
}

#[test]
fn a_namespace_that_would_refuse_the_pod_is_told_and_no_failure() {
    for (level, verdict) in [
        ("restricted", Some("Namespace team enforces restricted and refuses this pod.")),
        ("baseline", Some("Namespace team enforces baseline and refuses this pod.")),
        ("privileged", Some("Namespace team enforces privileged and accepts this pod.")),
    ] {
        let folder = privileged(&format!("explain_namespace_{level}"), level);
        let session = explain(&folder, &["-f", "a.yaml", "-f", "namespace.yaml"]);
        assert_eq!(session.stdout.lines().last(), verdict);
        assert_eq!(session.code, Some(0));
    }
}

#[test]
fn a_level_that_does_not_exist_is_refused_as_the_api_server_does() {
    let folder = privileged("explain_no_level", "resticted");
    explain(&folder, &["-f", "a.yaml", "namespace.yaml"]).refused(&[
        "namespace.yaml: Namespace team: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid: Invalid value: \"resticted\": must be one of privileged, baseline, restricted",
    ]);
}

#[test]
fn an_older_version_of_a_level_is_judged_as_the_newest() {
    let folder = privileged(
        "explain_version",
        "baseline, pod-security.kubernetes.io/enforce-version: v1.24",
    );
    let session = explain(&folder, &["-f", "a.yaml", "namespace.yaml"]);
    assert_eq!(session.code, Some(0));
    assert_eq!(
        session.stderr.lines().next(),
        Some(
            "note: namespace.yaml: Namespace team: the newest version of its PodSecurity level counts here, not v1.24"
        )
    );
}

#[test]
fn what_render_refuses_is_refused_in_the_same_words() {
    let run = RUN.replace("{name: b}", "{name: nobody}");
    let folder = Folder::new("explain_refused")
        .with("a.yaml", format!("{STRATEGY}---\n{BUILD}---\n{run}---\nkind: Pod\n"));
    let rendered = folder.run(&["render", "-f", "a.yaml", "gone.yaml"], "");
    let explained = explain(&folder, &["-f", "a.yaml", "gone.yaml"]);
    assert_eq!((explained.code, explained.stdout.as_str()), (Some(2), ""));
    assert_eq!(explained.stderr, rendered.stderr);
    assert!(explained.stderr.lines().count() >= 2, "{}", explained.stderr);
}

#[test]
fn one_of_several_runs_is_explained() {
    let other = RUN.replace("{name: r}", "{name: other}");
    let folder = Folder::new("explain_several")
        .with("a.yaml", format!("{STRATEGY}---\n{BUILD}---\n{RUN}---\n{other}"));
    explain(&folder, &["-f", "a.yaml"])
        .refused(&["the files hold several BuildRuns: other, r; say which with --buildrun NAME"]);
    let session = explain(&folder, &["-f", "a.yaml", "--buildrun", "other"]);
    assert_eq!((session.code, session.stderr.trim_end()), (Some(0), ACCOUNT));
}

#[test]
fn nothing_from_files_moves_the_cursor() {
    let strategy = STRATEGY.replace(
        "command: [build]",
        r#"command: [build], securityContext: {capabilities: {add: ["X\e[2J\nPodSecurity level: restricted"]}, seccompProfile: {type: Localhost, localhostProfile: "p\e[1A"}}"#,
    );
    let folder = Folder::new("explain_control").with("a.yaml", format!("{strategy}---\n{BUILD}"));
    let session = explain(&folder, &["-f", "a.yaml"]);
    assert_eq!(session.code, Some(0), "{}", session.stderr);
    assert!(!session.stdout.contains('\u{1b}'), "{}", session.stdout);
    let levels = session.stdout.lines().filter(|line| line.starts_with("PodSecurity level"));
    assert_eq!(levels.collect::<Vec<_>>(), ["PodSecurity level: privileged"]);
}

#[test]
fn help_shows_examples_and_origins() {
    let session = explain(&Folder::new("explain_help"), &["--help"]);
    assert_eq!((session.code, session.stderr.as_str()), (Some(0), ""));
    // Wrapped to the width of the terminal.
    let help = session.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["slipway explain -f samples/hello", "--buildrun <NAME>", "kubelet's default"] {
        assert!(help.contains(part), "{part}: {}", session.stdout);
    }
}
