//! The image of the supporting steps, looked at from inside, as a user that it does not know.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::harness::Namespace;

/// The largest id that Kubernetes accepts.
const STRANGER: i64 = 2_147_483_646;

#[test]
fn the_image_works_for_any_user_on_a_read_only_root() {
    let script = r"
        id -u
        cat /etc/passwd; echo; cat /etc/group; echo
        stat -c '%a %n' /shared-home /shared-home/.docker /shared-home/.ssh
        git config --system filter.lfs.process
        tar --version | head -n 1
        ls -L /etc/ssl/certs/ca-certificates.crt
        command -v ssh; command -v tar; command -v waiter
        waiter --help >/dev/null && echo waiter answers
        touch /new 2>&1 || true
        echo set-id files: $(find / -xdev -perm /6000 2>/dev/null | wc -l)";
    let namespace = Namespace::new("base-image");
    let pod: Pod = serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "look" },
        "spec": { "restartPolicy": "Never", "containers": [{
            "name": "look",
            "image": format!("slipway.dev/step:{}", env!("CARGO_PKG_VERSION")),
            "command": ["sh", "-c", script],
            "securityContext": {
                "runAsUser": STRANGER, "runAsGroup": STRANGER, "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
            },
        }] },
    }))
    .unwrap();
    let run = namespace.run_pod(&pod).expect_success();
    let expected = [
        "2147483646",
        "shp:x:1000:1000:shp:/shared-home:/sbin/nologin",
        "shp:x:1000",
        "777 /shared-home",
        "777 /shared-home/.docker",
        "777 /shared-home/.ssh",
        "git-lfs filter-process",
        "tar (GNU tar)",
        "/etc/ssl/certs/ca-certificates.crt",
        "/usr/bin/ssh",
        "/usr/local/bin/tar",
        "/usr/local/bin/waiter",
        "waiter answers",
        "touch: cannot touch '/new': Read-only file system",
        "set-id files: 0",
    ];
    let log = run.log("look");
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tar = lines[7].starts_with("tar (GNU tar)");
    let seen: Vec<&str> = lines
        .iter()
        .enumerate()
        .map(|(i, l)| if i == 7 && tar { "tar (GNU tar)" } else { l })
        .collect();
    assert_eq!(seen, expected);
}
