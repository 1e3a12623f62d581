//! What the API server would refuse of the pod's volumes.
//!
//! Invariant: the messages are the API server's.
//!
//! Cluster trust bundles and pod certificates are not judged: most clusters drop them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection};

use super::pod_rules::{
    FILE_FIELDS, Fault, REQUIRED, invalid, pod_field, pod_resource, unsupported,
};
use crate::plan::requests::nanos;

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Shortest life of a token, in seconds.
const TEN_MINUTES: i64 = 600;

/// Judges a volume; texts that are not final are left out.
pub fn volume(of: &Volume, is_final: &impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    // What a volume has beside its name are sources.
    let fields = serde_json::to_value(of).unwrap_or_default();
    let sources = fields.as_object().into_iter().flat_map(|fields| fields.keys());
    for source in sources.filter(|field| *field != "name").skip(1) {
        faults.push((source.clone(), "Forbidden: may not specify more than 1 volume type".into()));
    }
    if let Some(source) = &of.host_path {
        let field = "hostPath.path".to_owned();
        if source.path.is_empty() {
            faults.push((field, REQUIRED.into()));
        } else {
            faults.extend(backsteps(field, &source.path));
        }
        let kind = source.type_.as_deref().unwrap_or_default();
        faults.extend(unsupported("hostPath.type".into(), kind, &HOST_PATH_TYPES));
    }
    let size = of.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref());
    if size.is_some_and(|size| nanos(size) < 0) {
        let message = "Forbidden: SizeLimit field must be a valid resource quantity";
        faults.push(("emptyDir.sizeLimit".into(), message.into()));
    }
    if let Some(source) = &of.config_map {
        faults.extend(mode("configMap.defaultMode".into(), source.default_mode));
        faults.extend(keys("configMap", source.items.as_deref(), is_final));
    }
    if let Some(source) = &of.secret {
        faults.extend(mode("secret.defaultMode".into(), source.default_mode));
        faults.extend(keys("secret", source.items.as_deref(), is_final));
    }
    if let Some(source) = &of.downward_api {
        faults.extend(mode("downwardAPI.defaultMode".into(), source.default_mode));
        faults.extend(downward_files("downwardAPI", source.items.as_deref()));
    }
    if let Some(source) = &of.projected {
        faults.extend(mode("projected.defaultMode".into(), source.default_mode));
        let sources = source.sources.as_deref().unwrap_or_default();
        for (index, source) in sources.iter().enumerate() {
            faults.extend(projection(source, &format!("projected.sources[{index}]"), is_final));
        }
        faults.extend(conflicts(sources, is_final));
    }
    faults
}

fn projection(of: &VolumeProjection, base: &str, is_final: &impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(source) = &of.secret {
        faults.extend(keys(&format!("{base}.secret"), source.items.as_deref(), is_final));
    }
    if let Some(source) = &of.config_map {
        faults.extend(keys(&format!("{base}.configMap"), source.items.as_deref(), is_final));
    }
    if let Some(source) = &of.downward_api {
        faults.extend(downward_files(&format!("{base}.downwardAPI"), source.items.as_deref()));
    }
    if let Some(source) = &of.service_account_token {
        let base = format!("{base}.serviceAccountToken");
        let bound = match source.expiration_seconds {
            Some(..TEN_MINUTES) => Some("less than 10 minutes"),
            Some(seconds) if seconds > 1 << 32 => Some("larger than 2^32 seconds"),
            _ => None,
        };
        if let (Some(bound), Some(seconds)) = (bound, source.expiration_seconds) {
            let message = format!("Invalid value: {seconds}: may not specify a duration {bound}");
            faults.push((format!("{base}.expirationSeconds"), message));
        }
        faults.extend(file_path(format!("{base}.path"), &source.path));
    }
    let kinds = [
        of.secret.is_some(),
        of.config_map.is_some(),
        of.downward_api.is_some(),
        of.service_account_token.is_some(),
    ];
    if kinds.into_iter().filter(|is_set| *is_set).count() > 1 {
        let message = "Forbidden: may not specify more than 1 volume type per source";
        faults.push((base.to_owned(), message.into()));
    }
    faults
}

/// Paths at which two items would be.
fn conflicts(sources: &[VolumeProjection], is_final: &impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut known = BTreeSet::new();
    let mut faults = Vec::new();
    for (index, of) in sources.iter().enumerate() {
        let secret = of.secret.as_ref();
        let secret = secret.map(|of| ("secret", &of.name, of.items.as_deref()));
        let config_map = of.config_map.as_ref();
        let config_map = config_map.map(|of| ("configMap", &of.name, of.items.as_deref()));
        let mut paths: Vec<(&str, usize, &str, &str)> = Vec::new();
        for (kind, name, items) in secret.into_iter().chain(config_map) {
            let items = items.unwrap_or_default().iter().enumerate();
            paths.extend(items.map(|(at, item)| (kind, at, item.path.as_str(), name.as_str())));
        }
        let files = of.downward_api.iter().flat_map(|of| of.items.iter().flatten()).enumerate();
        paths.extend(
            files.map(|(at, item)| ("downwardAPI", at, item.path.as_str(), item.path.as_str())),
        );
        for (kind, at, path, value) in paths {
            if !path.is_empty() && is_final(path) && !known.insert(path) {
                let field = format!("projected.sources[{index}].{kind}.items[{at}].path");
                faults.push((field, invalid(value, "conflicting duplicate paths")));
            }
        }
    }
    faults
}

fn keys(base: &str, items: Option<&[KeyToPath]>, is_final: &impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, item) in items.unwrap_or_default().iter().enumerate() {
        if item.key.is_empty() {
            faults.push((format!("{base}.items[{at}].key"), REQUIRED.into()));
        }
        if is_final(&item.path) {
            faults.extend(file_path(format!("{base}.items[{at}].path"), &item.path));
        }
        faults.extend(mode(format!("{base}.items[{at}].mode"), item.mode));
    }
    faults
}

fn downward_files(base: &str, items: Option<&[DownwardAPIVolumeFile]>) -> Vec<Fault> {
    let items = items.unwrap_or_default().iter().enumerate();
    items.flat_map(|(at, item)| downward_file(item, &format!("{base}.items[{at}]"))).collect()
}

fn downward_file(of: &DownwardAPIVolumeFile, base: &str) -> Vec<Fault> {
    let mut faults: Vec<Fault> = file_path(format!("{base}.path"), &of.path).into_iter().collect();
    match (&of.field_ref, &of.resource_field_ref) {
        (None, None) => {
            let message = format!("{REQUIRED}: one of fieldRef and resourceFieldRef is required");
            faults.push((base.to_owned(), message));
        }
        (Some(_), Some(_)) => {
            let message = "fieldRef and resourceFieldRef can not be specified simultaneously";
            faults.push((base.to_owned(), message.into()));
        }
        (Some(field), None) => faults.extend(pod_field(field, base, &FILE_FIELDS)),
        // A variable has its own container's resources, a file has nobody's.
        (None, Some(resource)) if resource.container_name.as_ref().is_none_or(String::is_empty) => {
            faults.push((format!("{base}.resourceFieldRef.containerName"), REQUIRED.into()));
        }
        (None, Some(resource)) => faults.extend(pod_resource(resource, base)),
    }
    faults.extend(mode(format!("{base}.mode"), of.mode));
    faults
}

/// Permissions, and nothing else that a file's mode may have.
fn mode(field: String, mode: Option<i32>) -> Option<Fault> {
    let mode = mode.filter(|mode| !(0..=0o777).contains(mode))?;
    let rule = "must be a number between 0 and 0777 (octal), both inclusive";
    Some((field, format!("Invalid value: {mode}: {rule}")))
}

/// The path of a file below its volume; names that begin with `..` are the kubelet's.
fn file_path(field: String, path: &str) -> Option<Fault> {
    if path.is_empty() {
        return Some((field, REQUIRED.into()));
    }
    let reserved = invalid(path, "must not start with '..'");
    let is_reserved = path.starts_with("..");
    descending(field.clone(), path).or_else(|| is_reserved.then_some((field, reserved)))
}

/// A path that stays below where it begins.
pub fn descending(field: String, path: &str) -> Option<Fault> {
    if path.starts_with('/') {
        return Some((field, invalid(path, "must be a relative path")));
    }
    backsteps(field, path)
}

fn backsteps(field: String, path: &str) -> Option<Fault> {
    let is_up = path.split('/').any(|part| part == "..");
    is_up.then(|| (field, invalid(path, "must not contain '..'")))
}
