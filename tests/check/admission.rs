//! `slipway check` with a Namespace in the files, which may not accept the pod.

use super::session::{GOOD, check};
use crate::sessions::{BUILD, Folder, RUN};

fn namespace(level: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: default, labels: {{pod-security.kubernetes.io/enforce: {level}}}}}\n"
    )
}

#[test]
fn a_namespace_that_does_not_accept_the_pod_refuses_each_run() {
    let strategy = GOOD.replace(
        "command: [build, $(params.shp-output-image)]}",
        "command: [build, $(params.shp-output-image)], securityContext: {privileged: true}}",
    ) + "  volumes: [{name: node, hostPath: {path: /}}]\n";
    let folder = Folder::new("check_admission")
        .with("n.yaml", namespace("baseline"))
        .with("s.yaml", strategy)
        .with("b.yaml", BUILD)
        .with("r.yaml", RUN);
    let start = "refusal s.yaml: BuildRun default/r";
    let refused = "of BuildStrategy default/s: PodAdmissionFailed: the namespace default enforces the Pod Security Standard baseline";
    let session = check(&folder, &["-f", "n.yaml", "s.yaml", "b.yaml", "r.yaml"]);
    let refusals: Vec<&str> =
        session.stdout.lines().filter(|line| line.starts_with("refusal")).collect();
    assert_eq!(
        refusals,
        [
            format!(
                "{start}: spec.volumes[0].hostPath {refused}: hostPathVolumes: must not be set (volume node)"
            ),
            format!(
                "{start}: spec.steps[0].securityContext.privileged {refused}: step-build: privileged: must not be true"
            ),
        ]
    );
    assert_eq!(session.code, Some(2));
    // Without the namespace, or without a run, nobody refuses.
    for files in [&["-f", "s.yaml", "b.yaml", "r.yaml"][..], &["-f", "n.yaml", "s.yaml", "b.yaml"]]
    {
        assert_eq!(check(&folder, files).code, Some(0));
    }
}

#[test]
fn a_restricted_namespace_points_at_what_the_strategy_says_of_all_steps() {
    let files = |strategy: &str| format!("{strategy}---\n{BUILD}---\n{RUN}");
    let folder = Folder::new("check_restricted")
        .with("n.yaml", namespace("restricted"))
        .with("good.yaml", files(GOOD))
        .with("root.yaml", files(&GOOD.replace("runAsUser: 1000", "runAsUser: 0")));
    check(&folder, &["-f", "n.yaml", "good.yaml"]).said(0, &["nothing found"]);
    // That root has not said that it is nobody else is no fault beside it.
    check(&folder, &["-f", "n.yaml", "root.yaml"]).said(2, &[
        "refusal root.yaml: BuildRun default/r: spec.securityContext.runAsUser of BuildStrategy default/s: PodAdmissionFailed: the namespace default enforces the Pod Security Standard restricted: prepare, step-build: runAsUser: must not be 0",
        "1 refusal, no warnings",
    ]);
}

#[test]
fn an_annotation_that_a_namespace_does_not_accept_is_the_strategys() {
    let annotation = "container.apparmor.security.beta.kubernetes.io/step-build";
    let strategy = GOOD
        .replace("{name: s}", &format!("{{name: s, annotations: {{{annotation}: unconfined}}}}"));
    let folder = Folder::new("check_annotation")
        .with("n.yaml", namespace("baseline"))
        .with("s.yaml", format!("{strategy}---\n{BUILD}---\n{RUN}"));
    check(&folder, &["-f", "n.yaml", "s.yaml"]).said(2, &[
        &format!("refusal s.yaml: BuildRun default/r: metadata.annotations[{annotation}] of BuildStrategy default/s: PodAdmissionFailed: the namespace default enforces the Pod Security Standard baseline: step-build: appArmorProfile: must not be unconfined"),
        "1 refusal, no warnings",
    ]);
}

#[test]
fn a_volume_that_a_namespace_does_not_accept_is_found_where_its_name_is_a_reference() {
    let strategy = GOOD.to_owned()
        + "  parameters: [{name: host, description: d, default: node}]\n  volumes: [{name: other, emptyDir: {}}, {name: $(params.host), overridable: true, hostPath: {path: /}}]\n";
    let folder = Folder::new("check_volume_reference")
        .with("n.yaml", namespace("baseline"))
        .with("s.yaml", format!("{strategy}---\n{RUN}"))
        .with("b.yaml", BUILD)
        .with(
            "overriding.yaml",
            BUILD.to_owned() + "  volumes: [{name: $(params.host), hostPath: {path: /a}}]\n",
        );
    for (build, place) in [
        (
            "b.yaml",
            "s.yaml: BuildRun default/r: spec.volumes[1].hostPath of BuildStrategy default/s",
        ),
        (
            "overriding.yaml",
            "overriding.yaml: BuildRun default/r: spec.volumes[0].hostPath of Build default/b",
        ),
    ] {
        let session = check(&folder, &["-f", "n.yaml", "s.yaml", build]);
        let line = format!(
            "refusal {place}: PodAdmissionFailed: the namespace default enforces the Pod Security Standard baseline: hostPathVolumes: must not be set (volume node)"
        );
        assert!(session.stdout.lines().any(|said| said == line), "{}", session.stdout);
    }
}
