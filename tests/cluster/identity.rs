//! Every step runs as the strategy's user and group, and supporting steps can do nothing about it.

use rstest::rstest;
use serde_json::json;

use super::documents::{
    build, clone_key, git_source, output, push_secret, sample, script_strategy, ssh_url, tls_output,
};
use super::door::Door;
use super::harness::{Ended, Namespace, documents, secret, variable, variable_file};

// The directory itself is the mount point of a volume, which kubelet makes: 0:0, for everybody to write into.
const LIST: &str = "find /workspace/source -mindepth 1 -exec stat -c '%u:%g %n' {} +";
const IDENTITY_VOLUME: &str = "shp-security-context";
const PASSWD_ANNOTATION: &str = "buildrun.shipwright.io/security-context-passwd";

/// A line of passwd as Slipway writes it.
fn passwd(uid: i64, gid: i64) -> String {
    format!("shp:x:{uid}:{gid}:shp:/shared-home:/sbin/nologin")
}

fn assert_users(run: &Ended, expected: &[(&str, (i64, i64))]) {
    let reported: Vec<_> = expected.iter().map(|(name, _)| (*name, run.user(name))).collect();
    assert_eq!(reported, expected);
}

#[test]
fn a_user_that_no_image_knows_clones_over_ssh_and_owns_the_source() {
    let namespace = Namespace::new("ssh");
    let source = git_source(&ssh_url("app"), None, true);
    let build = build("list", &source, &output(&namespace));
    let strategy = script_strategy("list", (1010, 1020), LIST);
    let run = namespace.run(&documents([&clone_key(), &strategy, &build])).expect_success();

    let ids = (1010, 1020);
    assert_users(&run, &[("prepare", ids), ("step-source-default", ids), ("step-script", ids)]);
    let listing = run.log("step-script");
    for file in ["/Dockerfile", "/greeting.txt", "/context", "/.git/HEAD"] {
        let line = format!("1010:1020 /workspace/source{file}");
        assert!(listing.lines().any(|listed| listed == line), "{line} is not in\n{listing}");
    }
    let of_others: Vec<_> =
        listing.lines().filter(|line| !line.starts_with("1010:1020 ")).collect();
    assert!(of_others.is_empty(), "{of_others:?}");
    let results = run.results("step-source-default");
    assert_eq!(
        results["shp-source-default-commit-sha"],
        "bb36d34cff729bf576d1b359dd2f3cf4de97fa87"
    );
    assert_eq!(results["shp-source-default-commit-author"], "Ada Example");
    assert_eq!(results["shp-source-default-branch-name"], "main");
}

#[test]
fn ssh_fails_without_the_generated_passwd() {
    let namespace = Namespace::new("no-passwd");
    let source = git_source(&ssh_url("app"), None, true);
    let build = build("list", &source, &output(&namespace));
    let strategy = script_strategy("list", (1010, 1020), LIST);
    let mut pod = namespace.render(&documents([&clone_key(), &strategy, &build]));

    let spec = pod.spec.as_mut().unwrap();
    let mut removed = 0;
    for container in &mut spec.containers {
        let mounts = container.volume_mounts.as_mut().unwrap();
        let before = mounts.len();
        mounts.retain(|mount| mount.name != IDENTITY_VOLUME);
        removed += before - mounts.len();
    }
    assert_eq!(removed, 2, "the source step alone has both files");
    spec.volumes.as_mut().unwrap().retain(|volume| volume.name != IDENTITY_VOLUME);

    let run = namespace.run_pod(&pod);
    assert_eq!(run.exit_code("step-source-default"), 1);
    assert_eq!(
        run.results("step-source-default")["shp-error-message"],
        "ssh does not run in the image of the source step: No user exists for uid 1010 (exit status: 255)"
    );
    assert_ne!(run.exit_code("step-script"), 0, "the strategy ran without a source");
}

/// A pod whose source step waits for a server that does not answer yet, and whose other steps wait for it.
struct InTheMiddle {
    namespace: Namespace,
    pod: String,
    _door: Door,
}

impl InTheMiddle {
    fn of(test: &str, ids: (i64, i64)) -> Self {
        let namespace = Namespace::new(test);
        let door = Door::to(8080);
        let url = format!("http://git.slipway.test:{}/app.git", door.port());
        let build = build("idle", &git_source(&url, None, false), &output(&namespace));
        // Naming the directory makes it a build with image-processing.
        let strategy = script_strategy("idle", ids, "test -d $(params.shp-output-directory)");
        let pod = namespace.start(&namespace.render(&documents([&strategy, &build])));
        door.wait_for_knock();
        for container in ["step-source-default", "step-script", "step-image-processing"] {
            namespace.wait_until_running(&pod, container);
        }
        Self { namespace, pod, _door: door }
    }

    fn exec(&self, container: &str, script: &str) -> String {
        self.namespace.exec(&self.pod, container, &["sh", "-c", script])
    }
}

const STATUSES: &str = "cat /proc/[0-9]*/status";

/// One line of all processes' statuses, without repetitions.
fn values(statuses: &str, name: &str) -> Vec<String> {
    let mut values: Vec<_> = statuses
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
        .collect();
    values.sort();
    values.dedup();
    values
}

#[rstest]
#[case::ordinary((1010, 1020), "0000000000000000")]
// DAC_OVERRIDE, so that an image of any other user can be read.
#[case::root((0, 0), "0000000000000002")]
fn supporting_steps_have_no_capabilities(
    #[case] ids: (i64, i64),
    #[case] of_image_processing: &str,
) {
    let middle = InTheMiddle::of(&format!("capabilities-{}", ids.0), ids);
    let none = "0000000000000000";
    for (container, expected) in
        [("step-source-default", none), ("step-image-processing", of_image_processing)]
    {
        let statuses = middle.exec(container, STATUSES);
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(values(&statuses, set), [expected], "{set} of {container}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(values(&statuses, set), [none], "{set} of {container}");
        }
        assert_eq!(values(&statuses, "NoNewPrivs"), ["1"], "{container}");
        let (uid, gid) = ids;
        assert_eq!(
            values(&statuses, "Uid"),
            [format!("{uid}\t{uid}\t{uid}\t{uid}")],
            "{container}"
        );
        assert_eq!(
            values(&statuses, "Gid"),
            [format!("{gid}\t{gid}\t{gid}\t{gid}")],
            "{container}"
        );
    }
    let names = values(&middle.exec("step-source-default", STATUSES), "Name");
    assert!(names.iter().any(|name| name.starts_with("git")), "no git among {names:?}");
    // What the others do not have is there to be had.
    let of_strategy = values(&middle.exec("step-script", STATUSES), "CapBnd");
    assert!(of_strategy != [none] && of_strategy != [of_image_processing], "{of_strategy:?}");
}

#[rstest]
#[case::ordinary((1010, 1020))]
#[case::root((0, 0))]
fn the_files_with_the_identity_cannot_be_written(#[case] ids: (i64, i64)) {
    let middle = InTheMiddle::of(&format!("identity-files-{}", ids.0), ids);
    let (uid, gid) = ids;
    for container in ["step-source-default", "step-image-processing"] {
        for (file, line) in
            [("/etc/passwd", passwd(uid, gid)), ("/etc/group", format!("shp:x:{gid}"))]
        {
            for attempt in [
                format!("echo evil >>{file}"),
                format!("chmod u+w {file}"),
                format!("rm {file}"),
                format!("cp {file} /shp-tmp/copy && mv /shp-tmp/copy {file}"),
                format!("ln -s /shp-tmp/evil {file}.new && mv {file}.new {file}"),
            ] {
                let outcome =
                    middle.namespace.try_exec(&middle.pod, container, &["sh", "-c", &attempt]);
                let error = String::from_utf8_lossy(&outcome.stderr);
                let refusals =
                    ["Read-only file system", "Permission denied", "Device or resource busy"];
                assert!(!outcome.status.success(), "{attempt} in {container}");
                assert!(
                    refusals.iter().any(|refusal| error.contains(refusal)),
                    "{attempt}: {error}"
                );
            }
            let content = middle.exec(container, &format!("cat {file}"));
            assert_eq!(content.trim_end(), line, "{file} of {container}");
        }
    }
    // Strategy steps keep the files of their image.
    let of_image = middle.exec("step-script", "cat /etc/passwd");
    assert_eq!(of_image, "root:x:0:0:root:/root:/bin/sh\n");
}

#[test]
fn a_changed_annotation_does_not_reach_a_running_step() {
    let namespace = Namespace::new("annotation");
    let door = Door::to(8080);
    let url = format!("http://git.slipway.test:{}/app.git", door.port());
    let build = build("idle", &git_source(&url, None, false), &output(&namespace));
    let strategy = script_strategy("idle", (1010, 1020), "true");
    let mut pod = namespace.render(&documents([&strategy, &build]));
    // It sees the whole volume, and so tells when the change has reached the node.
    let witness = json!({
        "name": "witness",
        "image": "docker.io/library/busybox:1.37",
        "command": ["sh", "-c", "until grep evil /identity/passwd; do sleep 0.2; done"],
        "volumeMounts": [{ "name": IDENTITY_VOLUME, "mountPath": "/identity" }],
    });
    pod.spec.as_mut().unwrap().containers.push(serde_json::from_value(witness).unwrap());
    let pod = namespace.start(&pod);
    door.wait_for_knock();
    namespace.wait_until_running(&pod, "witness");

    let change = format!("{PASSWD_ANNOTATION}=evil:x:0:0:evil:/:/bin/sh");
    namespace.kubectl(&["annotate", "--overwrite", "pod", &pod, &change]);
    namespace.wait_for_log(&pod, "witness", "evil:x:0:0:evil:/:/bin/sh");

    let content = namespace.exec(&pod, "step-source-default", &["cat", "/etc/passwd"]);
    assert_eq!(content.trim_end(), passwd(1010, 1020));
    assert_eq!(namespace.exec(&pod, "step-source-default", &["id", "-un"]), "shp\n");
    // The step goes on undisturbed.
    door.open();
    let run = namespace.wait_until_ended(&pod).expect_success();
    assert_eq!(run.user("step-source-default"), (1010, 1020));
}

#[test]
fn registry_credentials_belong_to_the_strategys_user() {
    let namespace = Namespace::new("credentials");
    let look = "stat -c '%u:%g %a %n' $HOME/.docker $HOME/.docker/config.json; cat $HOME/.docker/config.json";
    let strategy = script_strategy("look", (1010, 1020), look);
    let source = git_source(&ssh_url("app"), None, true);
    let build = build("look", &source, &tls_output(&namespace));
    let push = push_secret("SLIPWAY_REGISTRY_AUTH");
    let run = namespace.run(&documents([&clone_key(), &push, &strategy, &build])).expect_success();

    let log = run.log("step-script");
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines[0], "1010:1020 700 /tekton/home/.docker");
    assert_eq!(lines[1], "1010:1020 600 /tekton/home/.docker/config.json");
    let there: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    let given: serde_json::Value =
        serde_json::from_str(&variable_file("SLIPWAY_REGISTRY_AUTH")).unwrap();
    assert_eq!(there["auths"], given["auths"]);
}

/// The example of the proposal, in the words of v1beta1: the strategy names 1001:1000 and its step group 0.
#[test]
fn a_step_may_override_its_strategy() {
    let namespace = Namespace::new("example");
    let door = Door::to(22);
    let mut packing = sample("hello").strategy;
    packing["kind"] = "ClusterBuildStrategy".into();
    packing["metadata"]["name"] = "buildpacks-v3".into();
    packing["spec"]["securityContext"] = json!({ "runAsUser": 1001, "runAsGroup": 1000 });
    let step = &mut packing["spec"]["steps"][0];
    step["name"] = "build".into();
    step["securityContext"] = json!({ "runAsGroup": 0 });
    let script = step["args"][1].as_str().unwrap();
    step["args"][1] = format!("id -u; id -g\n{script}").into();
    let key = variable_file("SLIPWAY_GIT_SSH_KEY");
    let clone = secret("clone", "kubernetes.io/ssh-auth", &[("ssh-privatekey", &key)]);
    let url = format!("{}:{}/app.git", variable("SLIPWAY_GIT_SSH"), door.port());
    let build = build("buildpacks-v3", &git_source(&url, None, true), &output(&namespace))
        .replace(r#""kind":"BuildStrategy""#, r#""kind":"ClusterBuildStrategy""#);
    let pod = namespace.render(&documents([&clone, &packing.to_string(), &build]));
    let pod = namespace.start(&pod);

    door.wait_for_knock();
    namespace.wait_until_running(&pod, "step-image-processing");
    for container in ["step-source-default", "step-image-processing"] {
        assert_eq!(
            namespace.exec(&pod, container, &["sh", "-c", "id -u; id -g; id -un; id -gn"]),
            "1001\n1000\nshp\nshp\n",
            "{container}"
        );
    }
    door.open();
    let run = namespace.wait_until_ended(&pod).expect_success();
    assert!(run.log("step-build").starts_with("1001\n0\n"), "{}", run.log("step-build"));
    let (supporting, strategy) = ((1001, 1000), (1001, 0));
    assert_users(
        &run,
        &[
            ("prepare", supporting),
            ("step-source-default", supporting),
            ("step-build", strategy),
            ("step-image-processing", supporting),
        ],
    );
}

#[test]
fn a_strategy_without_a_user_leaves_everybody_their_own() {
    let namespace = Namespace::new("no-user");
    let mut packing = sample("hello").strategy;
    packing["spec"].as_object_mut().unwrap().remove("securityContext").unwrap();
    packing["spec"]["steps"][0].as_object_mut().unwrap().remove("securityContext").unwrap();
    // The image of the source step knows its default user, so ssh works without further files.
    let source = git_source(&ssh_url("app"), None, true);
    let build = build("hello", &source, &output(&namespace));
    let pod = namespace.render(&documents([&clone_key(), &packing.to_string(), &build]));
    assert!(!serde_json::to_string(&pod).unwrap().contains("security-context"));
    let run = namespace.run_pod(&pod).expect_success();
    let expected = [
        ("step-source-default", (1000, 1000)),
        ("step-pack", (0, 0)),
        ("step-image-processing", (0, 0)),
    ];
    assert_users(&run, &expected);
}

#[test]
fn a_strategy_may_ask_for_the_files_in_its_own_steps() {
    let namespace = Namespace::new("asking");
    let source = git_source(&ssh_url("app"), None, true);
    let build = build("who", &source, &output(&namespace));
    // No group by name: this shell's reader wants a fourth field, which the proposal's line does not have.
    let look = "id -un; cat /etc/passwd; echo; cat /etc/group";
    let strategy = script_strategy("who", (1010, 1020), look);
    let asking = strategy.replace(
        r#""name":"who"}"#,
        r#""name":"who","annotations":{"buildstrategy.shipwright.io/identity-files":"true"}}"#,
    );
    assert_ne!(asking, strategy);
    let run = namespace.run(&documents([&clone_key(), &asking, &build])).expect_success();
    let expected = format!("shp\n{}\nshp:x:1020", passwd(1010, 1020));
    assert_eq!(run.log("step-script").trim_end(), expected);
}
