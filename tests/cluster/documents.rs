//! Documents as users write them, with the test servers in them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::harness::{Namespace, secret, variable, variable_file};

const VERSION: &str = "shipwright.io/v1beta1";

/// A Build named `app`.
pub fn build(strategy: &str, source: &Value, output: &Value) -> String {
    let strategy = json!({ "name": strategy, "kind": "BuildStrategy" });
    let spec = json!({ "source": source, "strategy": strategy, "output": output });
    json!({ "apiVersion": VERSION, "kind": "Build", "metadata": { "name": "app" }, "spec": spec })
        .to_string()
}

/// A strategy whose one step, `step-script`, is a shell script in an image that knows no user but root.
pub fn script_strategy(name: &str, (uid, gid): (i64, i64), script: &str) -> String {
    let step = json!({
        "name": "script",
        "image": "docker.io/library/busybox:1.37",
        "command": ["sh", "-euc", script],
        "env": [{ "name": "HOME", "value": "/tekton/home" }],
    });
    let spec =
        json!({ "securityContext": { "runAsUser": uid, "runAsGroup": gid }, "steps": [step] });
    json!({ "apiVersion": VERSION, "kind": "BuildStrategy", "metadata": { "name": name }, "spec": spec }).to_string()
}

/// A source that is cloned without credentials, or with the Secret `clone`.
pub fn git_source(url: &str, revision: Option<&str>, with_secret: bool) -> Value {
    let mut git = json!({ "url": url });
    if let Some(revision) = revision {
        git["revision"] = revision.into();
    }
    if with_secret {
        git["cloneSecret"] = "clone".into();
    }
    json!({ "type": "Git", "git": git })
}

/// A repository of the ssh server.
pub fn ssh_url(repository: &str) -> String {
    format!("{}/{repository}.git", variable("SLIPWAY_GIT_SSH"))
}

/// A repository of the https server.
pub fn https_url(repository: &str) -> String {
    format!("{}/{repository}.git", variable("SLIPWAY_GIT_HTTPS"))
}

/// The Secret `clone` with the key that the ssh server takes.
pub fn clone_key() -> String {
    let key = variable_file("SLIPWAY_GIT_SSH_KEY");
    let hosts = variable_file("SLIPWAY_GIT_KNOWN_HOSTS");
    secret("clone", "kubernetes.io/ssh-auth", &[("ssh-privatekey", &key), ("known_hosts", &hosts)])
}

/// The Secret `push`, from the file that the variable names.
pub fn push_secret(variable: &str) -> String {
    let config = variable_file(variable);
    secret("push", "kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", &config)])
}

/// An image of this test's own in the registry without a password.
pub fn output(namespace: &Namespace) -> Value {
    let image = format!("{}/{}:1", variable("SLIPWAY_REGISTRY"), namespace.name());
    json!({ "image": image, "insecure": true })
}

/// An image of this test's own in the registry with TLS and password, pushed with the Secret `push`.
pub fn tls_output(namespace: &Namespace) -> Value {
    let image = format!("{}/{}:1", variable("SLIPWAY_REGISTRY_TLS"), namespace.name());
    json!({ "image": image, "pushSecret": "push" })
}

/// The documents of a sample.
pub fn sample(name: &str) -> Sample {
    let read = |file: &str| {
        let path = format!("{}/samples/{name}/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    Sample { strategy: read("strategy"), build: read("build"), run: read("buildrun") }
}

pub struct Sample {
    pub strategy: Value,
    pub build: Value,
    pub run: Value,
}

impl Sample {
    /// With another source and output, and nothing else changed.
    pub fn with(mut self, source: Option<&Value>, output: &Value) -> Self {
        if let Some(source) = source {
            self.build["spec"]["source"] = source.clone();
        }
        self.build["spec"]["output"] = output.clone();
        self
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for document in [&self.strategy, &self.build, &self.run] {
            write!(text, "{document}\n---\n").unwrap();
        }
        text
    }
}
