//! Volumes of every kind that a strategy may have, seen from inside a step.

use serde_json::json;

use super::harness::{BUSYBOX, Documents, User, succeed};

#[test]
fn config_maps_and_secrets_are_files() {
    let user = User::root();
    let documents = Documents::script(
        "cd /mnt; cat config/one config/deep/two; ls config; stat -Lc %a config/one config/deep/two secret/password; \
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
