//! Volumes of every kind that a strategy may have, seen from inside a step.

use serde_json::json;

use super::harness::{BUSYBOX, Documents, User, succeed};

#[test]
fn config_maps_and_secrets_are_files() {
    let user = User::root();
    let documents = Documents::script(
        "cd /mnt; cat config/one config/deep/two /etc/data/one /etc/data-one; ls config; stat -Lc %a config/one config/deep/two secret/password; \
         cat secret/password /etc/only; echo; (echo x >config/one) 2>/dev/null || echo read-only",
    )
    .with_volume(
        "config",
        json!({ "configMap": {
            "name": "config",
            "items": [{ "key": "one", "path": "one", "mode": 0o640 }, { "key": "two", "path": "deep/two" }],
            "defaultMode": 0o444,
        } }),
    )
    .with_volume("secret", json!({ "secret": { "secretName": "secret", "defaultMode": 0o404 } }))

    .with_mount(json!({ "name": "secret", "mountPath": "/etc/only", "subPath": "password", "readOnly": true }))
    .with_mount(json!({ "name": "config", "mountPath": "/etc/data", "subPath": "..data", "readOnly": true }))
    .with_mount(json!({ "name": "config", "mountPath": "/etc/data-one", "subPath": "..data/one", "readOnly": true }))
    .with_step("securityContext", json!({ "runAsUser": 0, "runAsGroup": 0 }))
    .with(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "config" },
        "data": { "one": "first\n", "two": "second\n", "three": "third\n" },
    }))
    .with(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "secret" },
        "stringData": { "password": "hidden" },
    }));
    user.run(&documents.text(), &[]).expect(0).prints(&[
        "first",
        "second",
        "first",
        "first",
        "deep",
        "one",
        "640",
        "444",
        "404",
        "hiddenhidden",
        "read-only",
    ]);
    user.expect_nothing_left();
}

#[test]
fn projected_volumes_gather_and_the_downward_api_tells_of_the_pod() {
    let user = User::root();
    let fields = json!({ "items": [
        { "path": "name", "fieldRef": { "fieldPath": "metadata.name" } },
        { "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } },
    ] });
    let documents = Documents::script(
        "cat /mnt/all/from-config /mnt/all/name /etc/space; echo; [ \"$(cat /mnt/downward/name)\" = \"$(hostname)\" ]",
    )
    .with_volume(
        "all",
        json!({ "projected": { "sources": [
            { "configMap": { "name": "config", "items": [{ "key": "one", "path": "from-config" }] } },
            { "downwardAPI": { "items": [{ "path": "name", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
        ] } }),
    )
    .with_volume("downward", json!({ "downwardAPI": fields }))
    .with_mount(json!({ "name": "downward", "mountPath": "/etc/space", "subPath": "namespace", "readOnly": true }))
    .with(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "config" }, "data": { "one": "first\n" },
    }));
    user.run(&documents.text(), &[]).expect(0).prints(&["first", "defaultdefault"]);
    user.expect_nothing_left();
}

#[test]
fn steps_share_an_empty_directory() {
    let user = User::root();
    let mut documents =
        Documents::script("cat /mnt/shared/file /mnt/memory/file; stat -c %a /mnt/shared")
            .with_volume("shared", json!({ "emptyDir": {} }))
            .with_volume("memory", json!({ "emptyDir": { "medium": "Memory" } }));
    let before = json!({
        "name": "before",
        "image": BUSYBOX,
        "command": ["sh", "-c", "echo shared >/elsewhere/file; echo memory >/memory/file"],
        "securityContext": { "runAsUser": 1234, "runAsGroup": 1234 },
        "volumeMounts": [
            { "name": "shared", "mountPath": "/elsewhere" },
            { "name": "memory", "mountPath": "/memory" },
        ],
    });
    documents.strategy["spec"]["steps"].as_array_mut().unwrap().insert(0, before);
    user.run(&documents.text(), &[]).expect(0).prints(&["shared", "memory", "777"]);
    user.expect_nothing_left();
}

/// The source of a build, say, makes a link out of what the next run, or the next step, is given a part of.
#[test]
fn no_link_leads_a_sub_path_out_of_its_volume() {
    let user = User::root();
    let claim = format!("links-{}", std::process::id());
    let claimed = |script: &str, sub_path: Option<&str>| {
        let mut documents = Documents::script(script).with_strategy(
            "volumes",
            json!([{ "name": "cache", "overridable": true,
                "persistentVolumeClaim": { "claimName": claim } }]),
        );
        let mut mount = json!({ "name": "cache", "mountPath": "/mnt/cache", "readOnly": false });
        if let Some(path) = sub_path {
            mount["subPath"] = path.into();
        }
        documents = documents.with_mount(mount);
        user.run(&documents.text(), &[])
    };
    let links =
        "mkdir -p d/e; echo found >d/e/file; ln -s d in; ln -s /etc out; ln -s /nowhere/x no";
    let made = claimed(&format!("cd /mnt/cache; {links}"), None);
    let inside = claimed("cat /mnt/cache/file", Some("in/e"));
    let outside = ["out", "no", "in/../../x"].map(|path| claimed("ls /mnt/cache/", Some(path)));
    succeed(&mut user.podman(&["volume", "rm", &format!("slipway-claim-default.{claim}")]));
    made.expect(0);
    inside.expect(0).prints(&["found"]);
    let [out, nowhere, up] = outside;
    let refused = out.expect(1).says("failed to prepare subPath").says("leads out of the volume");
    assert!(refused.log("script").is_empty(), "{}", refused.stderr);
    // A directory takes the place of a link to nowhere.
    nowhere.expect(0).prints(&[]);
    up.expect(2).says("must not contain '..'");
}

#[test]
fn no_step_changes_what_a_later_one_is_given() {
    let user = User::root();
    let mount = json!({ "name": "shared", "mountPath": "/v", "readOnly": false });
    let mut documents = Documents::script("rm -rf /v/sub; ln -s /etc /v/sub")
        .with_strategy("volumes", json!([{ "name": "shared", "emptyDir": {} }]))
        .with_mount(mount);
    let steps = documents.strategy["spec"]["steps"].as_array_mut().unwrap();
    for number in 0..6 {
        steps.push(json!({
            "name": format!("later-{number}"), "image": BUSYBOX, "command": ["ls", "/v"],
            "volumeMounts": [{ "name": "shared", "mountPath": "/v", "subPath": "sub", "readOnly": false }],
        }));
    }
    let ran = user.run(&documents.text(), &[]).expect(0);
    for number in 0..6 {
        assert!(ran.log(&format!("later-{number}")).is_empty(), "{}", ran.stderr);
    }
    user.expect_nothing_left();
}

#[test]
fn a_claim_keeps_its_content_between_runs() {
    let user = User::root();
    let claim = format!("cache-{}", std::process::id());
    let documents = Documents::script(
        "cat /mnt/cache/count 2>/dev/null || echo none; echo once >/mnt/cache/count",
    )
    .with_volume("cache", json!({ "persistentVolumeClaim": { "claimName": claim } }));
    let volume = format!("slipway-claim-default.{claim}");
    let first = user.run(&documents.text(), &[]);
    let second = user.run(&documents.text(), &[]);
    user.expect_nothing_left();
    succeed(&mut user.podman(&["volume", "rm", &volume]));
    first.expect(0).prints(&["none"]);
    second.expect(0).prints(&["once"]);
}

#[test]
fn a_volume_of_huge_pages_is_not_here() {
    let user = User::root();
    for medium in ["HugePages", "HugePages-2Mi"] {
        let documents = Documents::script("true")
            .with_volume("pages", json!({ "emptyDir": { "medium": medium } }));
        user.run(&documents.text(), &[])
            .expect(3)
            .says(&format!("volume pages is of kind emptyDir with medium {medium}, which"));
    }
    user.expect_nothing_left();
}

#[test]
fn a_path_of_the_engines_machine_is_what_its_type_says() {
    let user = User::root();
    user.write("host/file", "text\n");
    std::os::unix::fs::symlink(user.path("host"), user.path("link")).unwrap();
    let run = |kind: &str, path: &str| {
        let source = json!({ "hostPath": { "path": user.path(path), "type": kind } });
        let look = "if [ -d /mnt/it ]; then echo directory; else cat /mnt/it; fi";
        user.run(&Documents::script(look).with_volume("it", source).text(), &[])
    };
    for (kind, path, expected) in [
        ("Directory", "link", "directory"),
        ("DirectoryOrCreate", "host", "directory"),
        ("DirectoryOrCreate", "made", "directory"),
        ("", "made-too", "directory"),
        ("File", "link/file", "text"),
        ("FileOrCreate", "host/file", "text"),
    ] {
        run(kind, path).expect(0).prints(&[expected]);
    }
    let failed = |path: &str, is_not: &str| {
        let path = user.path(path).display().to_string();
        format!(
            "MountVolume.SetUp failed for volume \"it\" : hostPath type check failed: {path} is not {is_not}"
        )
    };
    for (kind, path, is_not) in [
        ("Directory", "missing", "a directory"),
        ("Directory", "host/file", "a directory"),
        ("DirectoryOrCreate", "host/file", "a directory"),
        ("File", "missing", "a file"),
        ("FileOrCreate", "host", "a file"),
        ("Socket", "host/file", "a socket file"),
        ("CharDevice", "missing", "a character device"),
        ("BlockDevice", "host/file", "a block device"),
    ] {
        run(kind, path).expect(1).says(&failed(path, is_not));
    }
    run("FileOrCreate", "missing").expect(3).says("volume it is a hostPath of type FileOrCreate");
    assert!(!user.path("missing").exists());
    user.expect_nothing_left();
}
