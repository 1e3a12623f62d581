//! What a case expects, and whether it is so.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde::Deserialize;
use serde_json::{Value, json};
use slipway::plan::{ContainerTemplate, Requests, Settings};

use super::Outcome;

/// The first document of a case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expectations {
    /// What the case shows.
    pub why: String,
    /// Files and directories that hold the objects, instead of the case itself.
    #[serde(default)]
    pub files: Vec<String>,
    /// The run, where there are several.
    pub buildrun: Option<String>,
    /// `KIND/NAME` of what a cluster would look for in vain: `Secret`, `ConfigMap`, `ServiceAccount`.
    #[serde(default)]
    pub absent: Vec<String>,
    /// A cluster had found the Build to be right before.
    #[serde(default)]
    pub registered: bool,
    /// What the platform team configured.
    #[serde(default)]
    pub settings: SettingsPatch,
    /// `CONTAINER UID:GID` of every container in order, `-` for an id that is not set.
    #[serde(default)]
    ids: Vec<String>,
    /// By container: `PATH`, with ` ro` behind it where it must be read-only, ` = VOLUME` for its volume; `!PATH` must not be
    /// there.
    #[serde(default)]
    mounts: BTreeMap<String, Vec<String>>,
    /// By container: parts of the command line behind the gate, joined by blanks; with `!` in front, what must not be in it.
    #[serde(default)]
    command: BTreeMap<String, Vec<String>>,
    /// By container: the whole command line behind the gate.
    #[serde(default)]
    exact: BTreeMap<String, Vec<String>>,
    /// By container: parts of the gate's own flags.
    #[serde(default)]
    gate: BTreeMap<String, Vec<String>>,
    /// By container: `NAME=VALUE`, `NAME <- secret/NAME/KEY`, `NAME <- configMap/NAME/KEY`, in this order; `!NAME`.
    #[serde(default)]
    env: BTreeMap<String, Vec<String>>,
    /// Of the pod; null must not be there.
    #[serde(default)]
    labels: BTreeMap<String, Option<String>>,
    /// Of the pod; null must not be there.
    #[serde(default)]
    annotations: BTreeMap<String, Option<String>>,
    /// By JSON pointer into the pod; `/spec/containers/NAME` finds by name; null must not be there.
    #[serde(default)]
    pod: BTreeMap<String, Value>,
    /// The service account that comes with the pod.
    account: Option<Value>,
    /// All notes, in order.
    notes: Option<Vec<String>>,
    /// Values hold references to parameters, which stay as they are.
    #[serde(default)]
    pub literal: bool,
    /// The run is refused: `OBJECT: FIELD: REASON: MESSAGE` of each refusal, in order.
    #[serde(default)]
    pub refused: Vec<String>,
}

/// Settings that differ from the default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SettingsPatch {
    git_url_rewrite: Option<bool>,
    #[serde(default)]
    sum_of_requests: bool,
    vulnerability_count_limit: Option<u32>,
    forbidden_env: Option<Vec<String>>,
    git: Option<ContainerTemplate>,
}

impl SettingsPatch {
    pub fn apply(&self, settings: Settings) -> Settings {
        Settings {
            git_url_rewrite: self.git_url_rewrite.unwrap_or(settings.git_url_rewrite),
            requests: if self.sum_of_requests { Requests::Sum } else { settings.requests },
            vulnerability_count_limit: self
                .vulnerability_count_limit
                .unwrap_or(settings.vulnerability_count_limit),
            forbidden_env: self.forbidden_env.clone().unwrap_or(settings.forbidden_env),
            git: self.git.clone().unwrap_or(settings.git),
            ..settings
        }
    }
}

impl Expectations {
    pub fn check(&self, outcome: &Outcome) {
        assert!(!self.why.is_empty(), "say why the case is there");
        if let Some(notes) = &self.notes {
            assert_eq!(&outcome.notes, notes);
        }
        let expansion = match &outcome.expansion {
            Err(lines) => return assert_eq!(lines, &self.refused),
            Ok(expansion) => expansion,
        };
        assert_eq!(self.refused, Vec::<String>::new(), "it is not refused");
        assert_eq!(json!(expansion.service_account), self.account.clone().unwrap_or_default());
        let pod = &expansion.pod;
        assert_eq!(ids(pod), self.ids);
        assert!(!self.mounts.is_empty(), "say what is mounted");
        assert!(!self.command.is_empty() || !self.exact.is_empty(), "say what is executed");
        for (name, mounts) in &self.mounts {
            check_mounts(container(pod, name), mounts);
        }
        for (name, parts) in &self.command {
            let command = behind_the_gate(container(pod, name)).1.join(" ");
            for part in parts {
                check_part(name, &command, part);
            }
        }
        for (name, command) in &self.exact {
            assert_eq!(&behind_the_gate(container(pod, name)).1, command, "{name}");
        }
        for (name, parts) in &self.gate {
            let flags = behind_the_gate(container(pod, name)).0.join(" ");
            for part in parts {
                check_part(name, &flags, part);
            }
        }
        for (name, variables) in &self.env {
            check_env(container(pod, name), variables);
        }
        let metadata = &pod.metadata;
        for (expected, found) in
            [(&self.labels, &metadata.labels), (&self.annotations, &metadata.annotations)]
        {
            for (key, value) in expected {
                assert_eq!(found.as_ref().unwrap().get(key), value.as_ref(), "{key}");
            }
        }
        for (pointer, value) in &self.pod {
            assert_eq!(&at(pod, pointer), value, "{pointer}");
        }
    }
}

fn ids(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.as_ref().unwrap();
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let id = |id: Option<i64>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let line = |container: &Container| {
        let context = container.security_context.clone().unwrap_or_default();
        format!("{} {}:{}", container.name, id(context.run_as_user), id(context.run_as_group))
    };
    containers.map(line).collect()
}

fn container<'a>(pod: &'a Pod, name: &str) -> &'a Container {
    let spec = pod.spec.as_ref().unwrap();
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.find(|container| container.name == name).unwrap_or_else(|| panic!("no container {name}"))
}

/// The gate's flags, and the command line that it executes; for `prepare`, its own.
pub fn behind_the_gate(container: &Container) -> (Vec<String>, Vec<String>) {
    let mut flags: Vec<String> = container.args.clone().unwrap_or_default();
    let Some(end) = flags.iter().position(|flag| flag == "--") else {
        let command = container.command.iter().flatten().chain(&flags).cloned().collect();
        return (Vec::new(), command);
    };
    let command = flags.split_off(end + 1);
    (flags, command)
}

fn check_part(name: &str, text: &str, part: &str) {
    match part.strip_prefix('!') {
        Some(part) => assert!(!text.contains(part), "{name}: {part:?} is in {text}"),
        None => assert!(text.contains(part), "{name}: {part:?} is not in {text}"),
    }
}

fn check_mounts(container: &Container, expected: &[String]) {
    for line in expected {
        let (path, volume) = line.split_once(" = ").unwrap_or((line, ""));
        let path_alone = path.trim_start_matches('!').trim_end_matches(" ro");
        let found =
            container.volume_mounts.iter().flatten().find(|mount| mount.mount_path == path_alone);
        let name = &container.name;
        match found {
            None => assert!(path.starts_with('!'), "{name} does not mount {path_alone}"),
            Some(mount) => {
                assert!(!path.starts_with('!'), "{name} mounts {path_alone}");
                assert_eq!(mount.read_only == Some(true), path.ends_with(" ro"), "{name}: {path}");
                assert!(
                    volume.is_empty() || mount.name == volume,
                    "{name}: {path} is {}",
                    mount.name
                );
            }
        }
    }
}

fn check_env(container: &Container, expected: &[String]) {
    let line = |variable: &k8s_openapi::api::core::v1::EnvVar| {
        let source = variable.value_from.clone().unwrap_or_default();
        let secret = source.secret_key_ref.map(|key| format!("secret/{}/{}", key.name, key.key));
        let map =
            source.config_map_key_ref.map(|key| format!("configMap/{}/{}", key.name, key.key));
        match secret.or(map) {
            Some(key) => format!("{} <- {key}", variable.name),
            None => format!("{}={}", variable.name, variable.value.clone().unwrap_or_default()),
        }
    };
    let found: Vec<String> = container.env.iter().flatten().map(line).collect();
    let mut from = 0;
    for expected in expected {
        if let Some(name) = expected.strip_prefix('!') {
            assert!(
                container.env.iter().flatten().all(|variable| variable.name != name),
                "{found:?}"
            );
            continue;
        }
        let at = found[from..].iter().position(|found| found == expected);
        let at = at.unwrap_or_else(|| {
            panic!("{}: no {expected:?} in this place of {found:?}", container.name)
        });
        from += at + 1;
    }
}

/// A value of the pod; containers and volumes are found by name as well as by index.
fn at(pod: &Pod, pointer: &str) -> Value {
    let mut value = json!(pod);
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/");
        value = match &value {
            Value::Array(items) => {
                let by_name = items.iter().find(|item| item["name"] == key.as_str());
                by_name
                    .or_else(|| items.get(key.parse::<usize>().ok()?))
                    .cloned()
                    .unwrap_or_default()
            }
            other => other.get(&key).cloned().unwrap_or_default(),
        };
    }
    value
}
