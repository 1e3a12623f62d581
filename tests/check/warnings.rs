//! Every warning: when it is given, for which field, and that it is silent once its advice is followed.

use rstest::rstest;
use serde_json::{Value, json};
use slipway::plan::{Severity, WARNINGS};

use super::judge;

/// A strategy that nothing is to be said about, with other values at some JSON pointers; null removes.
fn strategy(changes: &[(&str, Value)]) -> Value {
    let strategy = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "ClusterBuildStrategy", "metadata": { "name": "s" },
        "spec": {
            "parameters": [{ "name": "target", "description": "d", "default": "" }],
            "securityContext": { "runAsUser": 1000, "runAsGroup": 1000 },
            "volumes": [{ "name": "cache", "emptyDir": {} }],
            "steps": [{
                "name": "build",
                "image": "example.com/builder:1.2",
                "command": ["/bin/sh"],
                "args": ["-c", "make \"$1\" && push \"$2\"", "build", "$(params.target)", "$(params.shp-output-image)"],
                "env": [{ "name": "A", "value": "$(params.target)" }],
                "volumeMounts": [{ "name": "cache", "mountPath": "/cache" }],
            }],
        },
    });
    changed(strategy, changes)
}

fn build(changes: &[(&str, Value)]) -> Value {
    let build = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "Build", "metadata": { "name": "b", "annotations": {} },
        "spec": {
            "strategy": { "name": "s", "kind": "ClusterBuildStrategy" },
            "source": { "type": "Git", "git": { "url": "https://example.com/a", "cloneSecret": "c" } },
            "output": { "image": "registry.example.com/app" },
            "env": [{ "name": "B", "value": "x" }],
        },
    });
    changed(build, changes)
}

fn changed(mut object: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            parent if value.is_null() => _ = parent.as_object_mut().unwrap().remove(key),
            parent => parent[key] = value.clone(),
        }
    }
    object
}

/// `FIELD: REASON` of all warnings; nothing may be refused.
#[track_caller]
fn warnings(objects: &[Value]) -> Vec<String> {
    let findings = judge(objects).findings;
    let line = |finding: &slipway::plan::Finding| {
        assert_eq!(finding.severity, Severity::Warning, "{finding:?}");
        assert_eq!(finding.object, finding.at);
        format!("{}: {}", finding.field, finding.reason)
    };
    findings.iter().map(line).collect()
}

#[test]
fn nothing_is_said_where_nothing_is_to_be_said() {
    assert_eq!(warnings(&[strategy(&[]), build(&[])]), Vec::<String>::new());
}

const ARGS: &str = "/spec/steps/0/args";
const SCRIPT: &str = "/spec/steps/0/args/1";
const IMAGE: &str = "/spec/steps/0/image";
const RIGHTS: &str = "/spec/steps/0/securityContext";
const NAME: &str = "/spec/steps/0/name";

#[rstest]
#[case::in_a_script(&[(SCRIPT, json!("make $(params.target)"))], &["spec.steps[0].args[1]: ParameterInScript"])]
#[case::in_quotes(&[(SCRIPT, json!("make '$(params.target)'"))], &["spec.steps[0].args[1]: ParameterInScript"])]
#[case::in_brackets(&[(SCRIPT, json!("make $(params['target'])"))], &["spec.steps[0].args[1]: ParameterInScript"])]
#[case::old_form(&[(SCRIPT, json!("make $(inputs.params.target)"))], &["spec.steps[0].args[1]: ParameterInScript"])]
#[case::in_eval(&[(SCRIPT, json!("eval \"make $(params.target)\""))], &["spec.steps[0].args[1]: ParameterInScript"])]
#[case::value_of_the_build(&[(SCRIPT, json!("cd $(params.shp-source-context)"))], &["spec.steps[0].args[1]: ParameterInScript"])]
#[case::several_are_one(&[(SCRIPT, json!("a $(params.target) $(params.shp-output-image) $(params.target)"))], &["spec.steps[0].args[1]: ParameterInScript"])]
#[case::fixed_values(&[(SCRIPT, json!("cd $(params.shp-source-root) $(params.shp-output-directory) $(params.shp-output-insecure) >$(results.shp-image-digest.path)"))], &[])]
#[case::options_together(&[("/spec/steps/0/args/0", json!("-exc")), (SCRIPT, json!("make $(params.target)"))], &["spec.steps[0].args[1]: ParameterInScript"])]
#[case::in_the_command(&[("/spec/steps/0/command", json!(["bash", "-ec", "make $(params.target)"]))], &["spec.steps[0].command[2]: ParameterInScript"])]
#[case::command_and_args(&[("/spec/steps/0/command", json!(["bash", "-ec"])), (ARGS, json!(["echo $(params.shp-output-image)", "$(params.target)"]))], &["spec.steps[0].args[0]: ParameterInScript"])]
#[case::other_interpreter(&[("/spec/steps/0/command", json!(["python3"])), (SCRIPT, json!("print('$(params.target)')"))], &["spec.steps[0].args[1]: ParameterInScript"])]
#[case::no_shell(&[("/spec/steps/0/command", json!(["compile"])), (SCRIPT, json!("$(params.target)"))], &[])]
#[case::script_file(&[(ARGS, json!(["build.sh", "$(params.target)", "$(params.shp-output-image)"]))], &[])]
#[case::shell_substitution(&[(SCRIPT, json!("make $(cat params.txt) $(HOME)"))], &[])]
#[case::no_tag(&[(IMAGE, json!("example.com:5000/builder"))], &["spec.steps[0].image: FloatingImage"])]
#[case::latest(&[(IMAGE, json!("builder:latest"))], &["spec.steps[0].image: FloatingImage"])]
#[case::digest(&[(IMAGE, json!("builder@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))], &[])]
#[case::chosen_image(&[(IMAGE, json!("builder:$(params.target)"))], &[])]
#[case::no_identity(&[("/spec/securityContext", Value::Null)], &["spec.securityContext: NoIdentity"])]
#[case::own_identity(&[("/spec/securityContext", Value::Null), (RIGHTS, json!({ "runAsUser": 1 }))], &[])]
#[case::unused_parameter(&[("/spec/parameters", json!([{ "name": "target", "description": "d" }, { "name": "tagret", "description": "d", "default": "" }]))], &["spec.parameters[1].name: UnusedParameter"])]
#[case::used_in_a_default(&[("/spec/parameters", json!([{ "name": "target", "description": "d", "default": "$(params.base)" }, { "name": "base", "description": "d", "default": "b" }]))], &[])]
#[case::used_in_a_volume(&[("/spec/parameters", json!([{ "name": "target", "description": "d" }, { "name": "map", "description": "d", "default": "m" }])), ("/spec/volumes", json!([{ "name": "cache", "configMap": { "name": "$(params.map)" } }])), ("/spec/steps/0/volumeMounts/0/readOnly", json!(true))], &[])]
#[case::unused_volume(&[("/spec/steps/0/volumeMounts", json!([]))], &["spec.volumes[0].name: UnusedVolume"])]
#[case::host_path(&[("/spec/volumes", json!([{ "name": "cache", "hostPath": { "path": "/var" } }]))], &["spec.volumes[0].hostPath: HostPathVolume"])]
#[case::privileged(&[(RIGHTS, json!({ "privileged": true }))], &["spec.steps[0].securityContext.privileged: PrivilegedStep"])]
#[case::not_privileged(&[(RIGHTS, json!({ "privileged": false }))], &[])]
#[case::capability(&[(RIGHTS, json!({ "capabilities": { "add": ["SETFCAP", "SYS_ADMIN", "ALL"] } }))], &["spec.steps[0].securityContext.capabilities.add[1]: AddedCapability", "spec.steps[0].securityContext.capabilities.add[2]: AddedCapability"])]
#[case::variable_twice(&[("/spec/steps/0/env", json!([{ "name": "A", "value": "1" }, { "name": "B", "value": "1" }, { "name": "A", "value": "2" }]))], &["spec.steps[0].env[0].name: DuplicateVariable"])]
#[case::source_step(&[(NAME, json!("source-default"))], &["spec.steps[0].name: ReservedStepName"])]
#[case::upload_step(&[(NAME, json!("source-local"))], &["spec.steps[0].name: ReservedStepName"])]
#[case::image_step(&[(NAME, json!("image-processing"))], &["spec.steps[0].name: ReservedStepName"])]
#[case::no_such_result(&[("/spec/steps/0/args/2", json!("$(results.digest.path)"))], &["spec.steps[0].args[2]: UnknownReference"])]
#[case::no_such_context(&[("/spec/steps/0/args/2", json!("$(context.pipelineRun.name)"))], &["spec.steps[0].args[2]: UnknownReference"])]
#[case::exit_code(&[("/spec/steps/0/args/2", json!("$(steps.step-build.exitCode.path)"))], &["spec.steps[0].args[2]: UnknownReference"])]
#[case::other_workspace(&[("/spec/steps/0/args/2", json!("$(workspaces.cache.path)"))], &["spec.steps[0].args[2]: UnknownReference"])]
#[case::other_credentials(&[("/spec/steps/0/args/2", json!("$(credentials.file)"))], &["spec.steps[0].args[2]: UnknownReference"])]
#[case::known_context(&[("/spec/steps/0/args/2", json!("$(context.taskRun.name)$(workspaces.source.path)$(results.shp-source-default-commit-sha.path)"))], &[])]
#[case::first_version(&[("/spec/steps/0/env/0/value", json!("$(build.output.image)"))], &["spec.steps[0].env[0].value: UnknownReference"])]
#[case::no_output(&[("/spec/steps/0/args/4", json!("x"))], &["spec.steps: NoOutput"])]
#[case::output_directory(&[("/spec/steps/0/args/4", json!("$(params.shp-output-directory)"))], &[])]
#[case::unknown_field(&[("/spec/steps/0/comand", json!(["x"]))], &["spec.steps[0].comand: UnknownField"])]
fn a_strategy(#[case] changes: &[(&str, Value)], #[case] expected: &[&str]) {
    assert_eq!(warnings(&[strategy(changes)]), expected);
}

const URL: &str = "/spec/source/git/url";
const SECRET: &str = "/spec/source/git/cloneSecret";

#[rstest]
#[case::user(&[(URL, json!("https://org@dev.azure.com/x"))], &[])]
#[case::token(&[(URL, json!("https://ghp_t0k3n@example.com/a"))], &["spec.source.git.url: CredentialsInUrl"])]
#[case::password(&[(URL, json!("https://user:t0k3n@example.com/a"))], &["spec.source.git.url: CredentialsInUrl"])]
#[case::ssh_password(&[(URL, json!("ssh://git:t0k3n@example.com/a"))], &["spec.source.git.url: CredentialsInUrl"])]
#[case::ssh_user(&[(URL, json!("ssh://git@example.com/a"))], &[])]
#[case::at_in_the_path(&[(URL, json!("https://example.com/a@b"))], &[])]
#[case::http(&[(URL, json!("http://example.com/a"))], &["spec.source.git.url: CloneSecretUnencrypted"])]
#[case::http_without_secret(&[(URL, json!("http://example.com/a")), (SECRET, Value::Null)], &[])]
#[case::https_without_secret(&[(SECRET, Value::Null)], &[])]
#[case::ssh(&[(URL, json!("ssh://git@example.com/a")), (SECRET, Value::Null)], &["spec.source.git.cloneSecret: CloneSecretMissing"])]
#[case::scp_like(&[(URL, json!("git@example.com:a/b")), (SECRET, Value::Null)], &["spec.source.git.cloneSecret: CloneSecretMissing"])]
#[case::scp_like_with_secret(&[(URL, json!("git@example.com:a/b"))], &[])]
#[case::other_source(&[("/spec/source/type", json!("OCI")), ("/spec/source/ociArtifact", json!({ "image": "example.com/a:1" })), (URL, json!("http://example.com/a"))], &[])]
#[case::scan(&[("/spec/output/vulnerabilityScan", json!({ "enabled": true }))], &[])]
#[case::no_scan(&[("/spec/output/vulnerabilityScan", json!({ "enabled": false }))], &[])]
#[case::variable_twice(&[("/spec/env", json!([{ "name": "B", "value": "1" }, { "name": "B", "value": "2" }]))], &["spec.env[0].name: DuplicateVariable"])]
#[case::old_annotation(&[("/metadata/annotations/build.shipwright.io~1build-run-deletion", json!("true"))], &["metadata.annotations[build.shipwright.io/build-run-deletion]: NoEffect"])]
#[case::unknown_field(&[("/spec/output/tag", json!("x"))], &["spec.output.tag: UnknownField"])]
fn a_build(#[case] changes: &[(&str, Value)], #[case] expected: &[&str]) {
    let build = changed_with_slashes(changes);
    assert_eq!(warnings(&[strategy(&[]), build.clone()]), expected);

    // The same in a BuildRun, where only a Build has annotations and unknown fields are told by the whole.
    let run = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": { "name": "r" },
        "spec": { "build": { "spec": build["spec"] } },
    });
    let expected: Vec<String> = expected
        .iter()
        .filter_map(|line| line.strip_prefix("spec."))
        .map(|line| format!("spec.build.spec.{line}"))
        .collect();
    assert_eq!(warnings(&[strategy(&[]), run]), expected);
}

/// A key of an annotation holds a slash, which JSON pointers write as `~1`.
fn changed_with_slashes(changes: &[(&str, Value)]) -> Value {
    let mut build = build(&[]);
    for (pointer, value) in changes {
        match pointer.strip_prefix("/metadata/annotations/") {
            Some(key) => build["metadata"]["annotations"][key.replace("~1", "/")] = value.clone(),
            None => build = changed(build, &[(*pointer, value.clone())]),
        }
    }
    build
}

#[test]
fn a_reference_that_tekton_knows_is_called_so() {
    for (text, is_of_tekton) in
        [("$(steps.step-build.exitCode.path)", true), ("$(context.pipelineRun.name)", false)]
    {
        let findings = judge(&[strategy(&[("/spec/steps/0/args/2", json!(text))])]).findings;
        assert_eq!(findings[0].message.contains("Tekton"), is_of_tekton, "{findings:?}");
    }
}

#[test]
fn a_run_sets_a_variable_twice() {
    let run = json!({
        "apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": { "name": "r" },
        "spec": { "build": { "name": "b" }, "env": [{ "name": "R", "value": "1" }, { "name": "R", "value": "2" }] },
    });
    assert_eq!(
        warnings(&[strategy(&[]), build(&[]), run]),
        ["spec.env[0].name: DuplicateVariable"]
    );
}

#[test]
fn credentials_are_not_repeated() {
    let build = build(&[(URL, json!("https://user:t0k3n@example.com/a"))]);
    let findings = judge(&[strategy(&[]), build]).findings;
    assert_eq!(findings.len(), 1);
    assert!(!format!("{findings:?}").contains("t0k3n"));
}

#[test]
fn each_warning_is_explained_and_is_no_reason_of_a_status() {
    let page = include_str!("../../docs/check.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let explained: Vec<&str> = rows
        .map(|(reason, _)| reason)
        .filter(|reason| reason.starts_with(char::is_uppercase))
        .collect();
    assert_eq!(explained, WARNINGS);
    let known = include_str!("../../src/api/reasons.rs");
    let cases = include_str!("warnings.rs");
    for reason in WARNINGS {
        assert!(!known.contains(&format!("\"{reason}\"")), "{reason}");
        assert!(cases.contains(&format!(": {reason}\"")), "no case gives {reason}");
    }
}
