//! Every invariant really fires: one change to a sound pod, and the sentence that it must bring.

use std::path::Path;

use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, PodSpec, SecurityContext, VolumeMount,
};
use rstest::rstest;
use serde_json::{from_value, json};
use slipway::plan::invariants;

const SOURCE: usize = 0;
const BUILD: usize = 1;
const IMAGE: usize = 2;

/// With a source, a strategy's user, credentials and image-processing.
fn sound() -> Pod {
    let case =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases/volumes-shared-names.yaml");
    let pod = super::run(&case).1.expansion.unwrap().pod;
    assert_eq!(invariants::broken(&pod), Vec::<String>::new());
    pod
}

fn spec(pod: &mut Pod) -> &mut PodSpec {
    pod.spec.as_mut().unwrap()
}

fn container(pod: &mut Pod, index: usize) -> &mut Container {
    &mut spec(pod).containers[index]
}

fn context(pod: &mut Pod, index: usize) -> &mut SecurityContext {
    container(pod, index).security_context.as_mut().unwrap()
}

fn prepare(pod: &mut Pod) -> &mut Container {
    &mut spec(pod).init_containers.as_mut().unwrap()[0]
}

fn mounts(pod: &mut Pod, index: usize) -> &mut Vec<VolumeMount> {
    container(pod, index).volume_mounts.as_mut().unwrap()
}

fn mount(pod: &mut Pod, index: usize, path: &str) -> usize {
    mounts(pod, index).iter().position(|mount| mount.mount_path == path).unwrap()
}

fn annotations(pod: &mut Pod) -> &mut std::collections::BTreeMap<String, String> {
    pod.metadata.annotations.as_mut().unwrap()
}

fn volume<'a>(pod: &'a mut Pod, name: &str) -> &'a mut k8s_openapi::api::core::v1::Volume {
    spec(pod).volumes.as_mut().unwrap().iter_mut().find(|volume| volume.name == name).unwrap()
}

const PASSWD: &str = "buildrun.shipwright.io/security-context-passwd";

#[rstest]
#[case::no_spec("the pod has no spec", |pod: &mut Pod| pod.spec = None)]
#[case::no_name("pod name \"\" is no host name", |pod: &mut Pod| pod.metadata.name = None)]
#[case::long_name("is no host name", |pod: &mut Pod| pod.metadata.name = Some("a".repeat(64)))]
#[case::container_name("container name \"Step\" is invalid or taken", |pod: &mut Pod| container(pod, BUILD).name = "Step".into())]
#[case::taken_name("container name \"prepare\" is invalid or taken", |pod: &mut Pod| container(pod, BUILD).name = "prepare".into())]
#[case::label("label x cannot have the value", |pod: &mut Pod| _ = pod.metadata.labels.as_mut().unwrap().insert("x".into(), "a b".into()))]
#[case::volume_name("volume name \"a.b\" is invalid or taken", |pod: &mut Pod| volume(pod, "shp-mine").name = "a.b".into())]
#[case::volume_taken("volume name \"slipway-bin\" is invalid or taken", |pod: &mut Pod| volume(pod, "shp-mine").name = "slipway-bin".into())]
#[case::mount_without_volume("step-build mounts volume \"nobody\", which is not there", |pod: &mut Pod| {
    let at = mount(pod, BUILD, "/mine");
    mounts(pod, BUILD)[at].name = "nobody".into();
})]
#[case::two_at_one_path("step-build mounts two volumes at \"/workspace/\"", |pod: &mut Pod| {
    let at = mount(pod, BUILD, "/mine");
    mounts(pod, BUILD)[at].mount_path = "/workspace/".into();
})]
#[case::unused_volume("nobody mounts volume \"slipway-unused\"", |pod: &mut Pod| {
    let unused = from_value(json!({ "name": "slipway-unused", "emptyDir": {} })).unwrap();
    spec(pod).volumes.as_mut().unwrap().push(unused);
})]
#[case::no_gate("step-build does not run behind a gate", |pod: &mut Pod| container(pod, BUILD).command = Some(vec!["sh".into()]))]
#[case::broken_gate("step-build does not run behind a gate", |pod: &mut Pod| _ = container(pod, BUILD).args.as_mut().unwrap().pop())]
#[case::order("waits for Some(\"/shp/run/1\") and not for the step before it", |pod: &mut Pod| spec(pod).containers.swap(BUILD, IMAGE))]
#[case::first_waits("step-build waits for Some(\"/shp/run/0\") and not", |pod: &mut Pod| _ = spec(pod).containers.remove(SOURCE))]
#[case::no_run_directory("step-build has no run directory of its own", |pod: &mut Pod| {
    let at = mount(pod, BUILD, "/shp/run/1");
    mounts(pod, BUILD).remove(at);
})]
#[case::shared_run_directory("the run directory of step-source-default has more than one writer", |pod: &mut Pod| {
    let at = mount(pod, BUILD, "/shp/run/0");
    mounts(pod, BUILD)[at].read_only = None;
})]
#[case::blind("step-build cannot see /shp/run/0, which it waits for", |pod: &mut Pod| {
    let at = mount(pod, BUILD, "/shp/run/0");
    mounts(pod, BUILD).remove(at);
})]
#[case::annotation_without_volume("do not go together", |pod: &mut Pod| volume(pod, "shp-security-context").name = "other".into())]
#[case::volume_without_annotation("do not go together", |pod: &mut Pod| _ = annotations(pod).remove(PASSWD))]
#[case::half_the_annotations("do not go together", |pod: &mut Pod| {
    annotations(pod).remove("buildrun.shipwright.io/security-context-group");
})]
#[case::other_volume("does not hold the two annotations", |pod: &mut Pod| {
    volume(pod, "shp-security-context").downward_api.as_mut().unwrap().default_mode = Some(0o666);
})]
#[case::other_source("does not hold the two annotations", |pod: &mut Pod| {
    let volume = volume(pod, "shp-security-context");
    volume.downward_api = None;
    volume.config_map = Some(from_value(json!({ "name": "forged" })).unwrap());
})]
#[case::forged_lines("are not those of one user", |pod: &mut Pod| {
    annotations(pod).insert(PASSWD.into(), "root:x:1010:1020:root:/root:/bin/sh".into());
})]
#[case::two_lines("are not those of one user", |pod: &mut Pod| {
    annotations(pod).get_mut(PASSWD).unwrap().push_str("\nroot:x:0:0::/:/bin/sh");
})]
#[case::other_group("are not those of one user", |pod: &mut Pod| {
    annotations(pod).insert("buildrun.shipwright.io/security-context-group".into(), "shp:x:0".into());
})]
#[case::other_user("step-source-default does not run as the user and group of the strategy", |pod: &mut Pod| context(pod, SOURCE).run_as_user = Some(5))]
#[case::no_group("step-image-processing does not run as the user and group of the strategy", |pod: &mut Pod| context(pod, IMAGE).run_as_group = None)]
#[case::no_passwd("step-source-default does not have exactly the identity files", |pod: &mut Pod| {
    let at = mount(pod, SOURCE, "/etc/passwd");
    mounts(pod, SOURCE).remove(at);
})]
#[case::whole_directory("step-source-default does not have exactly the identity files", |pod: &mut Pod| {
    let at = mount(pod, SOURCE, "/etc/passwd");
    mounts(pod, SOURCE)[at].sub_path = None;
})]
#[case::strategy_has_files("step-build has identity files that nobody asked for", |pod: &mut Pod| {
    let at = mount(pod, SOURCE, "/etc/passwd");
    let passwd = mounts(pod, SOURCE)[at].clone();
    mounts(pod, BUILD).push(passwd);
})]
#[case::capabilities("step-source-default does not drop every capability", |pod: &mut Pod| context(pod, SOURCE).capabilities = None)]
#[case::added_capabilities("step-image-processing adds capabilities for a user who is not root", |pod: &mut Pod| {
    context(pod, IMAGE).capabilities.as_mut().unwrap().add = Some(vec!["DAC_OVERRIDE".into()]);
})]
#[case::escalation("step-source-default allows privilege escalation", |pod: &mut Pod| context(pod, SOURCE).allow_privilege_escalation = None)]
#[case::privileged("step-image-processing is privileged", |pod: &mut Pod| context(pod, IMAGE).privileged = Some(true))]
#[case::seccomp("step-source-default runs without a seccomp profile", |pod: &mut Pod| context(pod, SOURCE).seccomp_profile = None)]
#[case::unconfined("step-source-default runs without a seccomp profile", |pod: &mut Pod| {
    context(pod, SOURCE).seccomp_profile.as_mut().unwrap().type_ = "Unconfined".into();
})]
#[case::non_root("step-source-default does not say that it is not root", |pod: &mut Pod| context(pod, SOURCE).run_as_non_root = None)]
#[case::prepare_privileges("prepare allows privilege escalation", |pod: &mut Pod| prepare(pod).security_context = None)]
#[case::prepare_token("prepare mounts a token or credentials", |pod: &mut Pod| {
    prepare(pod).volume_mounts.as_mut().unwrap()[0].mount_path = "/var/run/secrets/kubernetes.io/serviceaccount".into();
})]
#[case::source_token("step-source-default mounts a token or credentials", |pod: &mut Pod| {
    let at = mount(pod, BUILD, "/var/run/secrets/kubernetes.io/serviceaccount");
    let token = mounts(pod, BUILD)[at].clone();
    mounts(pod, SOURCE).push(token);
})]
#[case::source_credentials("step-source-default mounts a token or credentials", |pod: &mut Pod| {
    let at = mount(pod, BUILD, "/tekton/creds");
    let credentials = mounts(pod, BUILD)[at].clone();
    mounts(pod, SOURCE).push(credentials);
})]
#[case::pod_context("the pod sets a security context of its own", |pod: &mut Pod| {
    spec(pod).security_context = Some(PodSecurityContext { run_as_group: Some(0), ..PodSecurityContext::default() });
})]
#[case::automount("the pod mounts its account's token into every container", |pod: &mut Pod| {
    spec(pod).automount_service_account_token = None;
})]
#[case::owner("owner Build b is not the run as controller", |pod: &mut Pod| {
    let owner = json!([{ "apiVersion": "v1", "kind": "Build", "name": "b", "uid": "1", "controller": true }]);
    pod.metadata.owner_references = from_value(owner).unwrap();
})]
#[case::owner_without_uid("owner BuildRun r is not the run as controller", |pod: &mut Pod| {
    let owner = json!([{ "apiVersion": "v1", "kind": "BuildRun", "name": "r", "uid": "", "controller": true }]);
    pod.metadata.owner_references = from_value(owner).unwrap();
})]
fn a_change_is_noticed(#[case] sentence: &str, #[case] change: fn(&mut Pod)) {
    let mut pod = sound();
    change(&mut pod);
    let broken = invariants::broken(&pod);
    assert!(broken.iter().any(|broken| broken.contains(sentence)), "{broken:?}");
}
