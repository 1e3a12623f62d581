//! Files in either version: what `convert` prints, and that every verb reads both.

use serde_json::{Value, json};
use slipway::api::PRESERVED_ANNOTATION;

use crate::sessions::{BUILD, Folder, RUN, STRATEGY, Session};

/// A strategy of v1alpha1 whose supporting steps run as another user than its own step.
const ALPHA_STRATEGY: &str = "\
apiVersion: shipwright.io/v1alpha1
kind: ClusterBuildStrategy
metadata:
  name: buildpacks-v3
spec:
  securityContext:
    runAsUser: 1001
    runAsGroup: 1000
  buildSteps:
  - name: build
    securityContext:
      runAsGroup: 0
    image: example.com/builder:1
    command: [/cnb/lifecycle/creator, $(params.shp-output-image)]
";
const ALPHA_BUILD: &str = "\
apiVersion: shipwright.io/v1alpha1
kind: Build
metadata: {name: b}
spec:
  source: {url: https://git.example.com/app, credentials: {name: git}}
  strategy: {name: buildpacks-v3, kind: ClusterBuildStrategy}
  output: {image: registry.example.com/app, credentials: {name: push}}
";
const ALPHA_RUN: &str = "\
apiVersion: shipwright.io/v1alpha1
kind: BuildRun
metadata: {name: r}
spec:
  buildRef: {name: b}
";
const SECRETS: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: git}
type: kubernetes.io/basic-auth
---
apiVersion: v1
kind: Secret
metadata: {name: push}
type: kubernetes.io/dockerconfigjson
";

fn json_of(session: &Session) -> Value {
    assert_eq!(session.code, Some(0), "{}", session.stderr);
    serde_json::from_str(&session.stdout).unwrap()
}

fn alpha(test: &str) -> Folder {
    Folder::new(test)
        .with("s.yaml", ALPHA_STRATEGY)
        .with("b.yaml", ALPHA_BUILD)
        .with("r.yaml", ALPHA_RUN)
        .with("secrets.yaml", SECRETS)
}

const ALL: [&str; 5] = ["-f", "s.yaml", "b.yaml", "r.yaml", "secrets.yaml"];

#[test]
fn every_verb_reads_v1alpha1() {
    let folder = alpha("alpha_read");
    let checked = folder.run(&[&["check"][..], &ALL].concat(), "");
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(0), "nothing found\n"));
    let pod = json_of(&folder.run(&[&["render", "-o", "json"][..], &ALL].concat(), ""));
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let ids = |name: &str| {
        let container = containers.iter().find(|container| container["name"] == name).unwrap();
        let context = &container["securityContext"];
        (context["runAsUser"].as_i64().unwrap(), context["runAsGroup"].as_i64().unwrap())
    };
    assert_eq!(ids("step-source-default"), (1001, 1000));
    assert_eq!(ids("step-build"), (1001, 0));
    let explained = folder.run(&[&["explain"][..], &ALL].concat(), "");
    assert_eq!(explained.code, Some(0), "{}", explained.stderr);
    let step = explained.stdout.lines().find(|line| line.starts_with("step-build ")).unwrap();
    assert!(step.contains("1001 (strategy)  0 (step)"), "{step}");
}

#[test]
fn both_versions_may_be_mixed() {
    let folder = alpha("alpha_mixed").with("t.yaml", STRATEGY).with(
        "c.yaml",
        ALPHA_BUILD.replace("{name: buildpacks-v3, kind: ClusterBuildStrategy}", "{name: s}"),
    );
    let session = folder.run(&["render", "-f", "t.yaml", "c.yaml", "secrets.yaml", "-"], RUN);
    assert_eq!(session.code, Some(0), "{}", session.stderr);
}

#[test]
fn problems_name_the_field_as_it_is_written() {
    let build = ALPHA_BUILD.replace("name: push", "name: nobody") + "  timeout: 5\n";
    let strategy = ALPHA_STRATEGY.replace("$(params.shp-output-image)", "$(params.nobody)");
    let folder = Folder::new("alpha_problems")
        .with("s.yaml", strategy)
        .with("b.yaml", build)
        .with("r.yaml", ALPHA_RUN.replace("{name: b}", "{name: c}"));
    let session = folder.run(&["render", "-f", "b.yaml"], "");
    session.refused(&[
        "b.yaml: Build b: spec.timeout: Invalid: Invalid value: \"int64\": spec.timeout in body must be of type duration: \"int64\"",
        "b.yaml: Build b: spec.strategy.name: ClusterBuildStrategyNotFound: clusterBuildStrategy buildpacks-v3 does not exist",
        "BuildRun b-local: spec.build.name: BuildRegistrationFailed: the Build is not registered correctly, build: b, registered status: False, reason: ClusterBuildStrategyNotFound",
    ]);
    let session = folder.run(&["check", "-f", "s.yaml", "r.yaml"], "");
    assert_eq!(session.code, Some(2), "{}", session.stderr);
    assert!(session.stdout.contains("spec.buildSteps[0].command[1]"), "{}", session.stdout);
    assert!(session.stdout.contains("spec.buildRef.name"), "{}", session.stdout);
}

#[test]
fn one_document_comes_out_bare_and_several_as_a_list() {
    let folder = alpha("convert");
    let one = folder.run(&["convert", "-f", "b.yaml", "--to", "v1beta1"], "");
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    assert_eq!(one.stderr, "");
    assert_eq!(
        one.stdout,
        "\
apiVersion: shipwright.io/v1beta1
kind: Build
metadata:
  name: b
spec:
  output:
    image: registry.example.com/app
    pushSecret: push
  source:
    git:
      cloneSecret: git
      url: https://git.example.com/app
    type: Git
  strategy:
    kind: ClusterBuildStrategy
    name: buildpacks-v3
"
    );
    let back = folder.run(&["convert", "-f", "-", "--to", "v1alpha1", "-o", "json"], &one.stdout);
    let again = folder.run(&["convert", "-f", "b.yaml", "--to", "v1alpha1", "-o", "json"], "");
    assert_eq!(json_of(&back), json_of(&again));

    let session = folder.run(
        &["convert", "-f", "b.yaml", "-f", "secrets.yaml", "--to", "v1beta1", "-o", "json"],
        "",
    );
    let list = json_of(&session);
    assert_eq!((&list["apiVersion"], &list["kind"]), (&json!("v1"), &json!("List")));
    let versions: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|item| &item["apiVersion"]).collect();
    assert_eq!(versions, ["shipwright.io/v1beta1", "v1", "v1"]);
    assert_eq!(
        session.stderr,
        "note: secrets.yaml: Secret git: v1 has only one version here; it is printed as it is\n\
         note: secrets.yaml: Secret push: v1 has only one version here; it is printed as it is\n"
    );
    let one_in_a_list =
        format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{}]}}"#, json_of(&again));
    let list = folder.run(&["convert", "-f", "-", "--to", "v1beta1", "-o", "json"], &one_in_a_list);
    assert_eq!(json_of(&list)["items"].as_array().unwrap().len(), 1);
}

#[test]
fn what_the_other_version_lacks_is_told_and_kept() {
    let build = BUILD.to_owned() + "  nodeSelector: {disk: ssd}\n  future: 1\n";
    let folder = Folder::new("convert_kept").with("b.yaml", &build);
    let session = folder.run(&["convert", "-f", "b.yaml", "--to", "v1alpha1", "-o", "json"], "");
    let converted = json_of(&session);
    assert_eq!(
        converted["metadata"]["annotations"][PRESERVED_ANNOTATION],
        r#"{"format":1,"for":"shipwright.io/v1beta1","spec":{"fields":{"nodeSelector":{"value":{"disk":"ssd"}}}}}"#
    );
    assert_eq!(
        session.stderr,
        "note: b.yaml: Build b: spec.future: unknown field, which has no effect; it is left out\n\
         note: b.yaml: Build b: v1alpha1 has no place for all of it; the rest is kept in the annotation slipway.dev/preserved\n"
    );
    let back =
        folder.run(&["convert", "-f", "-", "--to", "v1beta1", "-o", "json"], &session.stdout);
    let same = folder.run(
        &["convert", "-f", "-", "--to", "v1beta1", "-o", "json"],
        &build.replace("  future: 1\n", ""),
    );
    assert_eq!(json_of(&back), json_of(&same));
}

/// What cannot be read comes back for nobody.
#[test]
fn an_annotation_that_somebody_else_wrote_is_told() {
    let build =
        ALPHA_BUILD.replace("{name: b}", "{name: b, annotations: {slipway.dev/preserved: '{'}}");
    let folder = Folder::new("convert_unreadable").with("b.yaml", &build);
    let session = folder.run(&["convert", "-f", "b.yaml", "--to", "v1beta1", "-o", "json"], "");
    assert_eq!(json_of(&session)["metadata"].get("annotations"), None);
    assert_eq!(
        session.stderr,
        "note: b.yaml: Build b: the annotation slipway.dev/preserved is not as this version of slipway writes it, so nothing comes back from it; \
         remove it, or convert with the version that wrote it\n"
    );
}

#[test]
fn nothing_is_printed_of_what_is_refused() {
    let folder = alpha("convert_refused")
        .with("old.yaml", BUILD.replace("v1beta1", "v1"))
        .with("typo.yaml", RUN.replace("kind: BuildRun", "kind: Buildrun"))
        .with("odd.yaml", ALPHA_BUILD.to_owned() + "  timeout: 5\n")
        .with("none.yaml", "# nothing\n")
        .with("text.yaml", "text\n");
    let convert = |files: &[&str]| {
        folder.run(&[&["convert", "--to", "v1beta1", "-f"][..], files].concat(), "")
    };
    convert(&["b.yaml", "old.yaml", "typo.yaml", "odd.yaml", "gone.yaml", "text.yaml"]).refused(&[
        "gone.yaml: cannot be read: No such file or directory (os error 2)",
        "old.yaml: Build b: apiVersion: Invalid: unexpected conversion version from \"shipwright.io/v1\"",
        "typo.yaml: Buildrun r: kind: Invalid: unsupported Kind",
        "odd.yaml: Build b: spec.timeout: Invalid: Invalid value: \"int64\": spec.timeout in body must be of type duration: \"int64\"",
        "text.yaml: document: apiVersion: Invalid: Required value",
    ]);
    convert(&["none.yaml"]).refused(&["the files hold no object; add one"]);
    let usage = folder.run(&["convert", "-f", "b.yaml", "--to", "v2"], "");
    assert_eq!(usage.code, Some(64));
}

#[test]
fn help_shows_how() {
    let session = Folder::new("convert_help").run(&["convert", "--help"], "");
    assert!(session.stdout.contains("slipway convert -f buildstrategy.yaml --to v1beta1"));
}
