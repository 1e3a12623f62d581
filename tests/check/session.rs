//! `slipway check` as people call it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::sessions::{ACCOUNT, BUILD, Folder, RUN, STRATEGY, Session};

/// A strategy that nothing is to be said about.
pub const GOOD: &str = "\
apiVersion: shipwright.io/v1beta1
kind: BuildStrategy
metadata: {name: s}
spec:
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  steps:
    - {name: build, image: example.com/builder:1, command: [build, $(params.shp-output-image)]}
";

pub fn check(folder: &Folder, arguments: &[&str]) -> Session {
    folder.run(&[&["check"], arguments].concat(), "")
}

impl Session {
    /// These lines on standard output, and this exit code.
    #[track_caller]
    pub fn said(&self, code: i32, lines: &[&str]) {
        assert_eq!(self.stdout.lines().collect::<Vec<_>>(), lines);
        assert_eq!(self.code, Some(code));
    }
}

#[test]
fn samples_are_good() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut count = 0;
    for sample in std::fs::read_dir(samples).unwrap().map(|sample| sample.unwrap().path()) {
        if sample.is_dir() {
            let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
            let output = command.arg("check").arg("-f").arg(&sample).output().unwrap();
            Session::of(output).said(0, &["nothing found"]);
            count += 1;
        }
    }
    assert!(count >= 3);
}

#[test]
fn nothing_found_is_said_in_both_forms() {
    let folder =
        Folder::new("check_good").with("s.yaml", GOOD).with("b.yaml", BUILD).with("r.yaml", RUN);
    let session = check(&folder, &["-f", "s.yaml", "b.yaml", "r.yaml"]);
    session.said(0, &["nothing found"]);
    assert_eq!(session.stderr.trim_end(), ACCOUNT);
    let session = check(&folder, &["-f", "s.yaml", "b.yaml", "r.yaml", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&session.stdout).unwrap(), json!({ "findings": [] }));
    assert_eq!(session.code, Some(0));
}

#[test]
fn a_build_alone_is_judged_and_no_run_is_implied() {
    let folder = Folder::new("check_build").with("b.yaml", BUILD).with("s.yaml", GOOD);
    let session = check(&folder, &["-f", "b.yaml"]);
    session.said(2, &[
        "refusal b.yaml: Build default/b: spec.strategy.name: BuildStrategyNotFound: buildStrategy s does not exist in namespace default",
        "1 refusal, no warnings",
    ]);
    assert_eq!(session.stderr, "");
    let session = check(&folder, &["-f", "s.yaml", "-f", "b.yaml"]);
    session.said(0, &["nothing found"]);
    assert_eq!(session.stderr, "", "the account belongs to the run");
}

#[test]
fn a_run_alone_misses_its_build() {
    let folder = Folder::new("check_run")
        .with("r.yaml", RUN.replace("{name: r}", "{name: r, namespace: team}"));
    check(&folder, &["-f", "r.yaml"]).said(2, &[
        "refusal r.yaml: BuildRun team/r: spec.build.name: BuildNotFound: build.shipwright.io \"b\" not found",
        "1 refusal, no warnings",
    ]);
}

#[test]
fn a_refused_build_refuses_each_of_its_runs_and_is_told_once() {
    let build = BUILD.to_owned() + "  env: [{name: \"\", value: x}]\n";
    let second = RUN.replace("{name: r}", "{name: a}");
    let folder = Folder::new("check_runs")
        .with("r.yaml", RUN)
        .with("b.yaml", format!("{build}---\n{GOOD}"))
        .with(
            "second.json",
            serde_json::to_string(&json!({ "apiVersion": "v1", "kind": "List", "items": [
            serde_saphyr::from_str::<Value>(&second).unwrap()] }))
            .unwrap(),
        );
    let failed = "spec.build.name: BuildRegistrationFailed: the Build is not registered correctly, build: b, registered status: False, reason: SpecEnvNameCanNotBeBlank";
    // In the order of the objects in the files, and not by name.
    check(&folder, &["-f", "r.yaml", "b.yaml", "second.json"]).said(2, &[
        &format!("refusal r.yaml: BuildRun default/r: {failed}"),
        "refusal b.yaml: Build default/b: spec.env[0].name: SpecEnvNameCanNotBeBlank: name for environment variable must not be blank",
        &format!("refusal second.json: BuildRun default/a: {failed}"),
        "3 refusals, no warnings",
    ]);
}

#[test]
fn a_fault_of_the_strategy_is_its_own_or_that_of_each_run() {
    let strategy = GOOD.replace("build, $(params", "$(params.nothing), $(params");
    let wrong = "TaskRunGenerationFailed: non-existent variable in \"$(params.nothing)\": spec.steps[0].command[0]";
    let folder = Folder::new("check_strategy")
        .with("s.yaml", strategy)
        .with("b.yaml", BUILD)
        .with("r.yaml", format!("{RUN}---\n{}", RUN.replace("{name: r}", "{name: q}")));
    let alone =
        format!("refusal s.yaml: BuildStrategy default/s: spec.steps[0].command[0]: {wrong}");
    check(&folder, &["-f", "s.yaml"]).said(2, &[&alone, "1 refusal, no warnings"]);
    check(&folder, &["-f", "s.yaml", "b.yaml"]).said(2, &[&alone, "1 refusal, no warnings"]);
    let of_run = |name: &str| {
        format!(
            "refusal s.yaml: BuildRun default/{name}: spec.steps[0].command[0] of BuildStrategy default/s: {wrong}"
        )
    };
    check(&folder, &["-f", "s.yaml", "b.yaml", "r.yaml"])
        .said(2, &[&of_run("r"), &of_run("q"), "2 refusals, no warnings"]);

    let session = check(&folder, &["-f", "s.yaml", "b.yaml", "r.yaml", "-o", "json"]);
    let found: Value = serde_json::from_str(&session.stdout).unwrap();
    assert_eq!(
        found["findings"][1],
        json!({
            "severity": "refusal",
            "object": { "kind": "BuildRun", "namespace": "default", "name": "q" },
            "file": "s.yaml",
            "field": "spec.steps[0].command[0]",
            "reason": "TaskRunGenerationFailed",
            "message": "non-existent variable in \"$(params.nothing)\": spec.steps[0].command[0]",
        })
    );
    assert_eq!(session.code, Some(2));
}

#[test]
fn warnings_do_not_change_the_exit_code_and_stand_behind_refusals() {
    let strategy = GOOD
        .replace("builder:1", "builder")
        .replace("kind: BuildStrategy", "kind: ClusterBuildStrategy")
        .replace("command: [build,", "command: [sh, -c, \"make $(params.shp-source-context)\",");
    let folder = Folder::new("check_warnings")
        .with("s.yaml", &strategy)
        .with("bad.yaml", strategy.replace("name: build,", "name: Build,"));
    let script = "warning s.yaml: ClusterBuildStrategy s: spec.steps[0].command[2]: ParameterInScript: the script holds \"$(params.shp-source-context)\", so that a value can run commands; pass it behind the script and read it there as an argument, or pass it in env";
    let image = "warning s.yaml: ClusterBuildStrategy s: spec.steps[0].image: FloatingImage: the image \"example.com/builder\" has no tag, so that another program may run tomorrow; name a version or a digest";
    check(&folder, &["-f", "s.yaml"]).said(0, &[image, script, "no refusals, 2 warnings"]);

    let session = check(&folder, &["-f", "s.yaml", "-o", "json"]);
    let found: Value = serde_json::from_str(&session.stdout).unwrap();
    assert_eq!(
        found["findings"][0]["object"],
        json!({ "kind": "ClusterBuildStrategy", "namespace": null, "name": "s" })
    );
    assert_eq!(session.code, Some(0));
    session.has_keys("{", &["findings", "severity", "object"]);
    session.has_keys(
        "\"object\"",
        &["kind", "namespace", "name", "file", "field", "reason", "message"],
    );

    let session = check(&folder, &["-f", "bad.yaml"]);
    let severities: Vec<&str> = session
        .stdout
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(first, _)| first)
        .collect();
    assert_eq!(severities, ["refusal", "warning", "warning", "1"]);
    assert_eq!(session.code, Some(2));
}

#[test]
fn what_the_schema_refuses_is_invalid() {
    let strategy = GOOD.replace("{runAsUser: 1000, runAsGroup: 1000}", "{runAsUser: 1000}");
    let folder = Folder::new("check_schema")
        .with("s.yaml", strategy)
        .with("b.yaml", BUILD.replace("{image: registry.example.com/app}", "{image: 3}"))
        .with("typo.yaml", RUN.replace("kind: BuildRun", "kind: Buildrun"));
    check(&folder, &["-f", "s.yaml"]).said(2, &[
        "refusal s.yaml: BuildStrategy default/s: spec.securityContext.runAsGroup: Invalid: Required value",
        "1 refusal, no warnings",
    ]);
    let session = check(&folder, &["-f", "b.yaml", "typo.yaml", "-o", "json"]);
    let found: Value = serde_json::from_str(&session.stdout).unwrap();
    let findings = found["findings"].as_array().unwrap();
    let summary: Vec<_> = findings
        .iter()
        .map(|found| (&found["object"], &found["file"], &found["field"], &found["reason"]))
        .collect();
    assert_eq!(
        summary,
        [
            (
                &json!({ "kind": "Build", "namespace": "default", "name": "b" }),
                &json!("b.yaml"),
                &json!("spec.output.image"),
                &json!("Invalid")
            ),
            (
                &json!({ "kind": "Buildrun", "namespace": null, "name": "r" }),
                &json!("typo.yaml"),
                &json!("kind"),
                &json!("Invalid")
            ),
        ]
    );
    assert_eq!(session.code, Some(2));
}

#[test]
fn what_cannot_be_read_is_a_finding_and_hides_nothing_else() {
    let folder = Folder::new("check_unreadable")
        .with("broken.yaml", "{{{")
        .with("b.yaml", BUILD)
        .with(
            "other.yaml",
            BUILD.replace("{name: b}", "{name: 'no:label'}").replace("{name: s}", "{name: good}"),
        )
        .with("good.yaml", GOOD.replace("{name: s}", "{name: good}"));
    // Whether the strategy of the first Build is missing cannot be known: it may stand in the broken file.
    let session = check(
        &folder,
        &["-f", "broken.yaml", "b.yaml", "other.yaml", "good.yaml", "missing.yaml", "-o", "json"],
    );
    let found: Value = serde_json::from_str(&session.stdout).unwrap();
    let findings = found["findings"].as_array().unwrap();
    let nothing = json!({ "kind": "", "namespace": null, "name": "" });
    for (finding, file) in findings.iter().zip(["broken.yaml", "missing.yaml"]) {
        assert_eq!(
            (&finding["object"], &finding["file"], &finding["field"], &finding["reason"]),
            (&nothing, &json!(file), &json!(""), &json!("Invalid"))
        );
    }
    assert_eq!(findings[1]["message"], "cannot be read: No such file or directory (os error 2)");
    let reasons: Vec<&Value> = findings[2..].iter().map(|finding| &finding["reason"]).collect();
    assert!(reasons.contains(&&json!("BuildNameInvalid")), "{findings:#?}");
    assert!(!session.stdout.contains("NotFound"), "{}", session.stdout);
    assert_eq!(session.code, Some(2));
}

#[test]
fn namespaces_are_kept_apart() {
    let team = |text: &str, name: &str| {
        text.replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, namespace: team}}"))
    };
    let build = BUILD.replace("metadata: {name: b}", "metadata: {name: b, namespace: team}");
    let folder = Folder::new("check_namespaces")
        .with("s.yaml", GOOD)
        .with("b.yaml", build)
        .with("team.yaml", team(GOOD, "s"));
    check(&folder, &["-f", "s.yaml", "b.yaml"]).said(2, &[
        "refusal b.yaml: Build team/b: spec.strategy.name: BuildStrategyNotFound: buildStrategy s does not exist in namespace team",
        "1 refusal, no warnings",
    ]);
    check(&folder, &["-f", "s.yaml", "b.yaml", "team.yaml"]).said(0, &["nothing found"]);
}

#[test]
fn runs_with_generated_names_are_different_runs() {
    let run = RUN.replace("name: r", "generateName: nightly-");
    let folder = Folder::new("check_generated").with(
        "a.yaml",
        format!("{GOOD}---\n{BUILD}---\n{run}---\n{}", run.replace("{name: b}", "{name: c}")),
    );
    check(&folder, &["-f", "a.yaml"]).said(2, &[
        "refusal a.yaml: BuildRun default/nightly-local2: spec.build.name: BuildNotFound: build.shipwright.io \"c\" not found",
        "1 refusal, no warnings",
    ]);
}

#[test]
fn an_object_that_is_there_twice_is_judged_once() {
    let strategy = GOOD.replace("builder:1", "builder");
    let folder =
        Folder::new("check_twice").with("s.yaml", strategy.as_str()).with("t.yaml", strategy);
    let session = check(&folder, &["-f", "s.yaml", "t.yaml"]);
    let reasons: Vec<&str> =
        session.stdout.lines().filter_map(|line| line.split(": ").nth(3)).collect();
    assert_eq!(reasons, ["Invalid", "FloatingImage"], "{}", session.stdout);
    assert_eq!(session.code, Some(2));
}

#[test]
fn members_of_a_list_of_one_kind_need_not_name_it() {
    let list = |kind: &str, object: &str| {
        let member = object.replace("apiVersion: shipwright.io/v1beta1\n", "");
        let member: Vec<&str> = member.lines().filter(|line| !line.starts_with("kind:")).collect();
        let member = member.join("\n    ");
        format!("apiVersion: shipwright.io/v1beta1\nkind: {kind}\nitems:\n  -\n    {member}\n")
    };
    let folder = Folder::new("check_list")
        .with("s.yaml", list("BuildStrategyList", GOOD))
        .with("b.yaml", list("BuildList", BUILD))
        .with("any.yaml", list("List", BUILD));
    check(&folder, &["-f", "s.yaml", "b.yaml"]).said(0, &["nothing found"]);
    // Of a list of anything, each member says what it is.
    assert_eq!(check(&folder, &["-f", "any.yaml"]).code, Some(2));
}

#[test]
fn a_file_that_is_named_twice_is_read_once() {
    let folder = Folder::new("check_named_twice")
        .with("s.yaml", GOOD)
        .with("b.yaml", BUILD)
        .with("r.yaml", RUN);
    check(&folder, &["-f", "s.yaml", "-f", "s.yaml", "./s.yaml"]).said(0, &["nothing found"]);
    check(&folder, &["-f", ".", "-f", "s.yaml"]).said(0, &["nothing found"]);
}

#[test]
fn what_is_assumed_and_what_is_passed_over_is_noted() {
    let build = BUILD.to_owned()
        + "  source: {type: Git, git: {url: 'https://example.com/a', cloneSecret: clone}}\n";
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
    let folder = Folder::new("check_notes")
        .with("a.yaml", format!("{GOOD}---\n{build}---\n{RUN}---\n{other}"))
        .with("d.yaml", other);
    let session = check(&folder, &["-f", "a.yaml"]);
    session.said(0, &["nothing found"]);
    let notes: Vec<&str> = session.stderr.lines().collect();
    assert_eq!(
        notes,
        [
            "note: a.yaml: apps/v1 Deployment is not used here",
            "note: Secret default/clone is assumed to exist",
            ACCOUNT
        ]
    );
    let session = check(&folder, &["-f", "d.yaml"]);
    session.said(0, &["nothing found"]);
    assert!(
        session.stderr.ends_with("note: the files hold no BuildRun, Build or strategy\n"),
        "{}",
        session.stderr
    );
}

#[test]
fn nothing_from_a_file_moves_the_cursor() {
    let folder = Folder::new("check_cursor")
        .with("s.yaml", GOOD.replace("{name: s}", r#"{name: "s\e[2J\n"}"#));
    let session = check(&folder, &["-f", "s.yaml"]);
    assert!(session.stdout.contains(r"s\u{1b}[2J\n"), "{}", session.stdout);
    assert!(!session.stdout.contains('\u{1b}'));
}

#[test]
fn a_wrong_option_is_a_wrong_usage() {
    let folder = Folder::new("check_usage").with("s.yaml", STRATEGY);
    for arguments in [&["-f", "s.yaml", "-o", "yaml"][..], &[]] {
        let session = check(&folder, arguments);
        assert_eq!((session.code, session.stdout.as_str()), (Some(64), ""), "{}", session.stderr);
    }
}

#[test]
fn a_run_that_replaces_what_is_wrong_with_its_strategy_shows_that_it_can_be_used() {
    let resources =
        |memory: &str| format!("{{requests: {{memory: {memory}}}, limits: {{memory: 1Gi}}}}");
    let strategy = GOOD
        .replace("command: [build,", &format!("resources: {}, command: [build,", resources("2Gi")));
    let run = RUN.to_owned()
        + &format!("  stepResources: [{{name: build, resources: {}}}]\n", resources("1Gi"));
    let folder = Folder::new("check_proven")
        .with("s.yaml", strategy)
        .with("b.yaml", BUILD)
        .with("r.yaml", run);
    check(&folder, &["-f", "s.yaml", "b.yaml", "r.yaml"]).said(0, &["nothing found"]);
    check(&folder, &["-f", "s.yaml", "b.yaml"]).said(2, &[
        "refusal s.yaml: BuildStrategy default/s: spec.steps[0].resources.requests.memory: TaskRunGenerationFailed: [User error] invalid request resource value: 2Gi must be less or equal to limit 1Gi",
        "1 refusal, no warnings",
    ]);
}

#[test]
fn what_is_missing_is_told_unless_it_could_not_be_read() {
    let typo = |name: &str| {
        BUILD
            .replace("kind: Build", "kind: Biuld")
            .replace("{name: b}", &format!("{{name: {name}}}"))
    };
    let folder = Folder::new("check_missing")
        .with("r.yaml", RUN)
        .with("b.yaml", typo("b"))
        .with("other.yaml", typo("other"));
    let reasons = |files: &[&str]| -> Vec<String> {
        let session = check(&folder, &[&["-o", "json", "-f"], files].concat());
        assert_eq!(session.code, Some(2));
        let found: Value = serde_json::from_str(&session.stdout).unwrap();
        let findings = found["findings"].as_array().unwrap().iter();
        findings.map(|finding| finding["reason"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(reasons(&["r.yaml"]), ["BuildNotFound"]);
    assert_eq!(reasons(&["r.yaml", "b.yaml"]), ["Invalid"]);
    assert_eq!(reasons(&["r.yaml", "other.yaml"]), ["BuildNotFound", "Invalid"]);
}

#[test]
fn a_command_that_only_the_image_knows_refuses_no_run_that_nobody_starts_yet() {
    let strategy = STRATEGY.replace(", command: [build]", "");
    let folder =
        Folder::new("check_no_command").with("a.yaml", format!("{strategy}---\n{BUILD}---\n{RUN}"));
    let note = "note: the image \"example.com/builder\" is assumed to have a command, which a step leaves to it";
    let session = check(&folder, &["-f", "a.yaml"]);
    assert_eq!(session.code, Some(0), "{}", session.stdout);
    assert!(session.stderr.lines().any(|line| line == note), "{}", session.stderr);
    let session = folder.run(&["explain", "-f", "a.yaml"], "");
    assert_eq!(session.code, Some(0), "{}", session.stderr);
    assert!(session.stderr.lines().any(|line| line == note), "{}", session.stderr);
    let session = folder.run(&["render", "-f", "a.yaml"], "");
    assert!(session.stderr.contains("cannot be found out here"), "{}", session.stderr);
    assert_eq!(session.code, Some(2));
    // It looks for an engine, which is not there.
    let session = folder.run(&["run", "-f", "a.yaml", "--engine", "unix:///nowhere/socket"], "");
    assert!(!session.stderr.contains("TaskRunGenerationFailed"), "{}", session.stderr);
    assert!(session.stderr.contains("/nowhere/socket"), "{}", session.stderr);
}

#[test]
fn an_object_that_cannot_be_taken_hides_nothing_else() {
    let run = RUN.to_owned() + "  env: [{name: LD_PRELOAD, value: x}]\n";
    let build = BUILD.to_owned() + "  env: [{name: \"\", value: x}]\n";
    let folder = Folder::new("check_untaken")
        .with("nameless.yaml", GOOD.replace("{name: s}", "{}"))
        .with("account.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {}\n")
        .with("unreadable.yaml", "{{{")
        .with("a.yaml", format!("{build}---\n{run}"));
    for hides_nothing in ["nameless.yaml", "unreadable.yaml"] {
        let session = check(&folder, &["-f", hides_nothing, "a.yaml"]);
        for reason in
            ["SpecEnvNameCanNotBeBlank", "SpecEnvNameForbidden", "BuildRegistrationFailed"]
        {
            assert!(session.stdout.contains(reason), "{reason}: {}", session.stdout);
        }
        assert!(!session.stdout.contains("NotFound"), "{}", session.stdout);
    }
    // An object of another kind is no strategy.
    let session = check(&folder, &["-f", "account.yaml", "a.yaml"]);
    assert!(session.stdout.contains("BuildStrategyNotFound"), "{}", session.stdout);
}

#[test]
fn an_object_of_a_misspelt_kind_is_named() {
    let folder = Folder::new("check_misspelt")
        .with("a.yaml", "apiVersion: shipwright.io/v1beta1\nkind: Biuld\nmetadata: {name: zz}\n");
    let session = check(&folder, &["-f", "a.yaml"]);
    assert!(
        session.stdout.starts_with("refusal a.yaml: Biuld zz: kind: Invalid: "),
        "{}",
        session.stdout
    );
}

#[test]
fn every_kind_may_leave_the_end_of_its_name_to_the_cluster() {
    let folder = Folder::new("check_generated_kinds")
        .with("s.yaml", GOOD.replace("{name: s}", "{generateName: s-}"))
        .with("b.yaml", BUILD.replace("{name: b}", "{generateName: b-}"));
    check(&folder, &["-f", "s.yaml", "b.yaml"]).said(2, &[
        "refusal b.yaml: Build default/b-local: spec.strategy.name: BuildStrategyNotFound: buildStrategy s does not exist in namespace default",
        "1 refusal, no warnings",
    ]);
}

#[test]
fn what_no_pod_may_say_is_refused_also_without_a_run() {
    let rights = "{privileged: true, allowPrivilegeEscalation: false}";
    let strategy =
        GOOD.replace("command: [build", &format!("securityContext: {rights}, command: [build"));
    let strategy = strategy.replace("image: ", "image: $(params.nobody)/");
    let folder = Folder::new("check_pod_rules").with("s.yaml", strategy);
    let session = check(&folder, &["-f", "s.yaml"]);
    let line = "refusal s.yaml: BuildStrategy default/s: spec.steps[0].securityContext: PodCreationFailed: cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
    assert!(session.stdout.lines().any(|said| said == line), "{}", session.stdout);
    // A text with references is judged with their values.
    assert!(!session.stdout.contains("couldn't parse"), "{}", session.stdout);
    assert_eq!(session.code, Some(2));
}
