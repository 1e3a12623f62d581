//! The files of a volume that the kubelet writes: of ConfigMaps, Secrets, and what a pod is told about itself.
//!
//! Invariant: no file leaves its volume: every path is relative, without `..`, and crosses no other file.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeProjection};

use super::config_error::ConfigError;
use super::contents::{ConfigMapContent, Contents, SecretContent};
use super::pod_fields::{self, Machine, namespace};

/// What a volume holds before anything runs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct VolumeContent {
    /// The files, by path.
    pub files: Vec<VolumeFile>,
    /// What only a cluster could add, such as `the token of the service account (token)`.
    pub left_out: Vec<String>,
}

/// One file of a volume. Its owner is root.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeFile {
    /// Below the volume's root, with `/` between directories.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Content, which may be secret.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for VolumeFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:o}", self.path, self.mode)
    }
}

impl std::fmt::Debug for VolumeContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.files).entries(&self.left_out).finish()
    }
}

/// Mode of files where nothing is said about it.
const DEFAULT_MODE: i32 = 0o644;
/// The certificates of a cluster, which every namespace of one holds.
const CLUSTER_CERTIFICATES: &str = "kube-root-ca.crt";
/// Longest name of a file, in bytes.
pub(super) const MOST_NAME: usize = 255;
/// Longest path of a file, in bytes.
pub(super) const MOST_PATH: usize = 4096;

/// The content of a volume; nothing for kinds that are no files of the kubelet's, such as `hostPath`.
pub fn volume_files(
    volume: &Volume,
    pod: &Pod,
    contents: &Contents,
    machine: &Machine,
) -> Result<Option<VolumeContent>, ConfigError> {
    let mut writer =
        Writer { pod, contents, machine, files: BTreeMap::new(), left_out: Vec::new() };
    let written = if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let items = source.items.as_deref().unwrap_or_default();
        writer.secret(name, items, source.default_mode, source.optional)
    } else if let Some(source) = &volume.config_map {
        let items = source.items.as_deref().unwrap_or_default();
        writer.config_map(&source.name, items, source.default_mode, source.optional)
    } else if let Some(source) = &volume.downward_api {
        writer.downward(source.items.as_deref().unwrap_or_default(), source.default_mode)
    } else if let Some(projected) = &volume.projected {
        let mut sources = projected.sources.iter().flatten();
        sources.try_for_each(|source| writer.projection(source, projected.default_mode))
    } else {
        return Ok(None);
    };
    written
        .and_then(|()| writer.done())
        .map(Some)
        .map_err(|why| ConfigError::Volume { volume: volume.name.clone(), why: Box::new(why) })
}

struct Writer<'a> {
    pod: &'a Pod,
    contents: &'a Contents,
    machine: &'a Machine,
    /// Mode and bytes by path; of two files on a path the later one counts.
    files: BTreeMap<String, (i32, Vec<u8>)>,
    left_out: Vec<String>,
}

impl Writer<'_> {
    fn secret(
        &mut self,
        name: &str,
        items: &[KeyToPath],
        mode: Option<i32>,
        optional: Option<bool>,
    ) -> Result<(), ConfigError> {
        let nothing = SecretContent::default();
        let content = match self.contents.secret(namespace(self.pod), name) {
            Err(_) if optional == Some(true) => &nothing,
            found => found?,
        };
        let all = content.0.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect();
        self.keys(&all, items, mode, optional, |key| ConfigError::NoSecretItem { key })
    }

    fn config_map(
        &mut self,
        name: &str,
        items: &[KeyToPath],
        mode: Option<i32>,
        optional: Option<bool>,
    ) -> Result<(), ConfigError> {
        let nothing = ConfigMapContent::default();
        let content = match self.contents.config_map(namespace(self.pod), name) {
            Err(_) if optional == Some(true) => &nothing,
            found => found?,
        };
        let bytes = content.binary_data.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice()));
        let texts = content.data.iter().map(|(key, text)| (key.as_str(), text.as_bytes()));
        let all = bytes.chain(texts).collect();
        self.keys(&all, items, mode, optional, |key| ConfigError::NoConfigMapItem { key })
    }

    /// All keys, or those that are asked for, on the paths that are asked for.
    fn keys(
        &mut self,
        all: &BTreeMap<&str, &[u8]>,
        items: &[KeyToPath],
        mode: Option<i32>,
        optional: Option<bool>,
        missing: impl Fn(String) -> ConfigError,
    ) -> Result<(), ConfigError> {
        if items.is_empty() {
            for (key, bytes) in all {
                self.put(key, mode, bytes.to_vec())?;
            }
        }
        for item in items {
            match all.get(item.key.as_str()) {
                Some(bytes) => self.put(&item.path, item.mode.or(mode), bytes.to_vec())?,
                None if optional == Some(true) => {}
                None => return Err(missing(item.key.clone())),
            }
        }
        Ok(())
    }

    fn downward(
        &mut self,
        items: &[DownwardAPIVolumeFile],
        mode: Option<i32>,
    ) -> Result<(), ConfigError> {
        for item in items {
            let text = if let Some(field) = &item.field_ref {
                pod_fields::field(self.pod, &field.field_path)?
            } else if let Some(selector) = &item.resource_field_ref {
                let name = selector.container_name.as_deref().unwrap_or_default();
                pod_fields::resource(
                    selector,
                    pod_fields::container(self.pod, name)?,
                    self.machine,
                )?
            } else {
                String::new()
            };
            self.put(&item.path, item.mode.or(mode), text.into_bytes())?;
        }
        Ok(())
    }

    fn projection(
        &mut self,
        source: &VolumeProjection,
        mode: Option<i32>,
    ) -> Result<(), ConfigError> {
        if let Some(source) = &source.secret {
            let items = source.items.as_deref().unwrap_or_default();
            self.secret(&source.name, items, mode, source.optional)?;
        }
        if let Some(source) = &source.config_map {
            let items = source.items.as_deref().unwrap_or_default();
            let found = self.config_map(&source.name, items, mode, source.optional);
            match found {
                Err(ConfigError::NoConfigMap { name }) if name == CLUSTER_CERTIFICATES => {
                    self.left_out.push(format!("the cluster's certificates ({name})"));
                }
                found => found?,
            }
        }
        if let Some(source) = &source.downward_api {
            self.downward(source.items.as_deref().unwrap_or_default(), mode)?;
        }
        if let Some(source) = &source.service_account_token {
            self.left_out.push(format!("the service account's token ({})", source.path));
        }
        if let Some(source) = &source.cluster_trust_bundle {
            self.left_out.push(format!("the cluster's trust bundle ({})", source.path));
        }
        if source.pod_certificate.is_some() {
            self.left_out.push("the pod's certificate".into());
        }
        Ok(())
    }

    fn put(&mut self, path: &str, mode: Option<i32>, bytes: Vec<u8>) -> Result<(), ConfigError> {
        let path = clean(path)?;
        self.files.insert(path, (mode.unwrap_or(DEFAULT_MODE), bytes));
        Ok(())
    }

    fn done(self) -> Result<VolumeContent, ConfigError> {
        for path in self.files.keys() {
            let mut above = path.match_indices('/').map(|(at, _)| &path[..at]);
            if above.any(|above| self.files.contains_key(above)) {
                return Err(ConfigError::Crossed { path: path.clone() });
            }
        }
        let file = |(path, (mode, bytes)): (String, (i32, Vec<u8>))| VolumeFile {
            path,
            mode: mode.cast_unsigned() & 0o777,
            bytes,
        };
        Ok(VolumeContent {
            files: self.files.into_iter().map(file).collect(),
            left_out: self.left_out,
        })
    }
}

/// A path below the volume's root, as short as it can be said.
fn clean(path: &str) -> Result<String, ConfigError> {
    let wrong = |rule| ConfigError::Path { rule, path: path.to_owned() };
    if path.starts_with('/') {
        return Err(wrong("must be relative path"));
    }
    if path.len() > MOST_PATH {
        return Err(wrong("must be less than or equal to 4096 characters"));
    }
    let names: Vec<&str> = path.split('/').collect();
    if names.contains(&"..") {
        return Err(wrong("must not contain '..'"));
    }
    if names.iter().any(|name| name.len() > MOST_NAME) {
        return Err(wrong("filenames must be less than or equal to 255 characters"));
    }
    if names[0].starts_with("..") {
        return Err(wrong("must not start with '..'"));
    }
    let names: Vec<&str> = names.into_iter().filter(|name| !matches!(*name, "" | ".")).collect();
    if names.is_empty() {
        return Err(wrong("must not be empty"));
    }
    Ok(names.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn contents() -> Contents {
        let key = |name: &str| ("ci".to_owned(), name.to_owned());
        let bytes = |text: &str| text.as_bytes().to_vec();
        let secret = [("user", "me"), ("token", "hunter2")];
        let map = ConfigMapContent {
            data: BTreeMap::from([("a".into(), "text".into())]),
            binary_data: BTreeMap::from([("b".into(), vec![0xff])]),
        };
        Contents {
            secrets: BTreeMap::from([(
                key("login"),
                SecretContent(secret.map(|(key, text)| (key.into(), bytes(text))).into()),
            )]),
            config_maps: BTreeMap::from([(key("settings"), map)]),
        }
    }

    fn of(mut volume: Value) -> Result<Option<VolumeContent>, String> {
        volume["name"] = "v".into();
        let volume: Volume = serde_json::from_value(volume).unwrap();
        let pod = serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "ci", "labels": { "x": "1", "y": "\"2\"" } },
            "spec": { "containers": [{ "name": "c", "resources": { "limits": { "cpu": "1500m" } } }] },
        }))
        .unwrap();
        let machine = Machine { cpus: 2, memory: 1 << 30, storage: 1 };
        volume_files(&volume, &pod, &contents(), &machine).map_err(|error| error.to_string())
    }

    /// Path, mode and text of each file.
    fn files(volume: Value) -> Vec<(String, u32, String)> {
        let text = |file: VolumeFile| {
            (file.path, file.mode, String::from_utf8_lossy(&file.bytes).into_owned())
        };
        of(volume).unwrap().unwrap().files.into_iter().map(text).collect()
    }

    fn file(path: &str, mode: u32, text: &str) -> (String, u32, String) {
        (path.into(), mode, text.into())
    }

    #[test]
    fn all_keys_become_files() {
        assert_eq!(
            files(json!({ "secret": { "secretName": "login" } })),
            [file("token", 0o644, "hunter2"), file("user", 0o644, "me")]
        );
        assert_eq!(
            files(json!({ "configMap": { "name": "settings", "defaultMode": 0o400 } })),
            [file("a", 0o400, "text"), file("b", 0o400, "\u{fffd}")]
        );
    }

    #[test]
    fn items_choose_keys_paths_and_modes() {
        let items = json!([
            { "key": "user", "path": "./deep//er/name", "mode": 0o600 },
            { "key": "user", "path": "again" },
        ]);
        assert_eq!(
            files(
                json!({ "secret": { "secretName": "login", "defaultMode": 0o444, "items": items } })
            ),
            [file("again", 0o444, "me"), file("deep/er/name", 0o600, "me")]
        );
    }

    #[test]
    fn what_is_optional_may_be_missing() {
        let items = json!([{ "key": "none", "path": "n" }, { "key": "a", "path": "a" }]);
        assert_eq!(files(json!({ "secret": { "secretName": "none", "optional": true } })), []);
        assert_eq!(
            files(json!({ "configMap": { "name": "none", "optional": true, "items": items } })),
            []
        );
        assert_eq!(
            files(json!({ "configMap": { "name": "settings", "optional": true, "items": items } })),
            [file("a", 0o644, "text")]
        );
    }

    #[test]
    fn pods_are_told_about_themselves() {
        let found = files(json!({ "downwardAPI": { "defaultMode": 0o440, "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "in/name", "fieldRef": { "fieldPath": "metadata.name" }, "mode": 0o400 },
            { "path": "cpu", "resourceFieldRef": { "containerName": "c", "resource": "limits.cpu", "divisor": "1m" } },
            { "path": "memory", "resourceFieldRef": { "containerName": "c", "resource": "limits.memory", "divisor": "1Mi" } },
        ] } }));
        let expected = [
            file("cpu", 0o440, "1500"),
            file("in/name", 0o400, "p"),
            file("labels", 0o440, "x=\"1\"\ny=\"\\\"2\\\"\""),
            file("memory", 0o440, "1024"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn projections_share_a_volume_and_what_needs_a_cluster_is_left_out() {
        let found = of(json!({ "projected": { "defaultMode": 0o444, "sources": [
            { "secret": { "name": "login", "items": [{ "key": "user", "path": "x" }] } },
            { "configMap": { "name": "settings", "items": [{ "key": "a", "path": "x" }] } },
            { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
            { "serviceAccountToken": { "path": "token" } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "clusterTrustBundle": { "name": "n", "path": "bundle" } },
        ] } }))
        .unwrap()
        .unwrap();
        let paths: Vec<_> = found.files.iter().map(|file| (&*file.path, &*file.bytes)).collect();
        assert_eq!(paths, [("namespace", &b"ci"[..]), ("x", b"text")]);
        assert_eq!(
            found.left_out,
            [
                "the service account's token (token)",
                "the cluster's certificates (kube-root-ca.crt)",
                "the cluster's trust bundle (bundle)",
            ]
        );
    }

    #[test]
    fn directories_are_empty_and_other_kinds_are_not_ours() {
        assert_eq!(of(json!({ "emptyDir": {} })), Ok(None));
        assert_eq!(of(json!({ "hostPath": { "path": "/" } })), Ok(None));
        assert_eq!(of(json!({ "persistentVolumeClaim": { "claimName": "c" } })), Ok(None));
    }

    #[test]
    fn what_is_missing_is_told_in_the_kubelets_words() {
        let item = |key: &str, path: &str| json!([{ "key": key, "path": path }]);
        let map = |items| json!({ "configMap": { "name": "settings", "items": items } });
        for (volume, why) in [
            (json!({ "secret": { "secretName": "none" } }), r#"secret "none" not found"#),
            (json!({ "configMap": { "name": "none" } }), r#"configmap "none" not found"#),
            (
                json!({ "secret": { "secretName": "login", "items": item("x", "y") } }),
                "references non-existent secret key: x",
            ),
            (map(item("x", "y")), "configmap references non-existent config key: x"),
            (map(item("a", "/y")), "invalid path: must be relative path: /y"),
            (map(item("a", "y/../../z")), "invalid path: must not contain '..': y/../../z"),
            (map(item("a", "..y")), "invalid path: must not start with '..': ..y"),
            (map(item("a", "./")), "invalid path: must not be empty: ./"),
            (
                map(json!([{ "key": "a", "path": "x" }, { "key": "b", "path": "x/y" }])),
                "invalid path: is a file and a directory at once: x/y",
            ),
        ] {
            let expected = format!(r#"MountVolume.SetUp failed for volume "v" : {why}"#);
            assert_eq!(of(volume), Err(expected));
        }
    }

    #[test]
    fn nothing_printed_for_debugging_shows_a_value() {
        let shown = format!("{:?}", of(json!({ "secret": { "secretName": "login" } })));
        assert!(shown.contains("token") && !shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains(&format!("{:?}", b"hunter2")), "{shown}");
    }

    proptest! {
        #[test]
        fn no_file_leaves_its_volume(path in "[./a]{0,12}") {
            if let Ok(path) = clean(&path) {
                prop_assert!(!path.starts_with('/') && !path.is_empty());
                prop_assert!(path.split('/').all(|name| !["", ".", ".."].contains(&name)));
            }
        }
    }
}
