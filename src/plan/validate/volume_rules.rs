//! What the API server would refuse of the pod's volumes.
//!
//! Invariant: the messages are the API server's.
//!
//! Cluster trust bundles and pod certificates are not judged: most clusters drop them.

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume};

use super::pod_rules::{FILE_FIELDS, Fault, REQUIRED, invalid, pod_field, pod_resource, unsupported};
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
    let mut keys: Vec<(String, &[KeyToPath])> = Vec::new();
    let mut files: Vec<(String, &[DownwardAPIVolumeFile])> = Vec::new();
    let config_map = of.config_map.as_ref().and_then(|source| source.items.as_deref());
    keys.extend(config_map.map(|items| ("configMap".to_owned(), items)));
    let secret = of.secret.as_ref().and_then(|source| source.items.as_deref());
    keys.extend(secret.map(|items| ("secret".to_owned(), items)));
    let downward = of.downward_api.as_ref().and_then(|source| source.items.as_deref());
    files.extend(downward.map(|items| ("downwardAPI".to_owned(), items)));
    let projected = of.projected.iter().flat_map(|source| source.sources.iter().flatten());
    for (index, of) in projected.enumerate() {
        let base = |source| format!("projected.sources[{index}].{source}");
        let config_map = of.config_map.as_ref().and_then(|source| source.items.as_deref());
        keys.extend(config_map.map(|items| (base("configMap"), items)));
        let secret = of.secret.as_ref().and_then(|source| source.items.as_deref());
        keys.extend(secret.map(|items| (base("secret"), items)));
        let downward = of.downward_api.as_ref().and_then(|source| source.items.as_deref());
        files.extend(downward.map(|items| (base("downwardAPI"), items)));
    }
    for (base, items) in keys {
        for (at, item) in items.iter().enumerate().filter(|(_, item)| is_final(&item.path)) {
            faults.extend(file_path(format!("{base}.items[{at}].path"), &item.path));
        }
    }
    for (base, items) in files {
        for (at, item) in items.iter().enumerate() {
            faults.extend(downward_file(item, &format!("{base}.items[{at}]")));
        }
    }
    faults
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
        (None, Some(resource)) => faults.extend(pod_resource(resource, base)),
    }
    faults
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
