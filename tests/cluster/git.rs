//! The Git source on the kubelet.

use super::harness::{Namespace, documents, secret, variable, variable_file};

/// A strategy that changes nothing and lists the source by numbers.
pub const LIST: &str = r#"
apiVersion: shipwright.io/v1beta1
kind: BuildStrategy
metadata: {name: list}
spec:
  securityContext: {runAsUser: 1010, runAsGroup: 1020}
  steps:
    - name: list
      image: docker.io/library/busybox:1.37
      command: [sh, -c, "find /workspace/source -exec stat -c '%u:%g %n' {} +"]
"#;

#[test]
fn smoke() {
    let namespace = Namespace::new("smoke");
    let key = secret(
        "clone",
        "kubernetes.io/ssh-auth",
        &[
            ("ssh-privatekey", &variable_file("SLIPWAY_GIT_SSH_KEY")),
            ("known_hosts", &variable_file("SLIPWAY_GIT_KNOWN_HOSTS")),
        ],
    );
    let url = variable("SLIPWAY_GIT_SSH");
    let build = format!(
        r#"
apiVersion: shipwright.io/v1beta1
kind: Build
metadata: {{name: app}}
spec:
  source: {{type: Git, git: {{url: "{url}/app.git", cloneSecret: clone}}}}
  strategy: {{name: list, kind: BuildStrategy}}
  output: {{image: "registry.slipway.test:5000/nothing:1"}}
"#
    );
    let run = namespace.run(&documents([&key, LIST, &build])).expect_success();
    println!(
        "{} {:?} {:?}",
        run.log("step-list"),
        run.user("step-list"),
        run.results("step-source-default")
    );
}
