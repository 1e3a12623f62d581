//! Where references may stand in a step and in a volume: one list for reading and for replacing.
//!
//! Invariant: what is not visited here (resources, security context, environment names, subPathExpr) is never substituted.

use k8s_openapi::api::core::v1::{EnvVar, KeyToPath, Volume};

use crate::api::Step;

/// A place that may hold references.
pub enum Text<'a> {
    /// One string.
    Single(&'a mut String),
    /// A list in which one item may become many.
    List(&'a mut Vec<String>),
}

impl Text<'_> {
    /// The string, or the items of the list.
    pub fn strings(&self) -> std::slice::Iter<'_, String> {
        match self {
            Self::Single(text) => std::slice::from_ref(&**text).iter(),
            Self::List(items) => items.iter(),
        }
    }
}

/// Visits every text of a step with its field path relative to the step.
pub fn visit_step(step: &mut Step, visit: &mut impl FnMut(&str, Text<'_>)) {
    visit("name", Text::Single(&mut step.name));
    single(&mut step.image, "image", visit);
    single(&mut step.image_pull_policy, "imagePullPolicy", visit);
    visit("command", Text::List(&mut step.command));
    visit("args", Text::List(&mut step.args));
    single(&mut step.working_dir, "workingDir", visit);
    for (index, variable) in step.env.iter_mut().enumerate() {
        visit_variable(variable, &format!("env[{index}]"), visit);
    }
    for (index, mount) in step.volume_mounts.iter_mut().enumerate() {
        visit(&format!("volumeMounts[{index}].name"), Text::Single(&mut mount.name));
        visit(&format!("volumeMounts[{index}].mountPath"), Text::Single(&mut mount.mount_path));
        single(&mut mount.sub_path, &format!("volumeMounts[{index}].subPath"), visit);
    }
}

/// Visits the texts of one environment variable.
pub fn visit_variable(variable: &mut EnvVar, path: &str, visit: &mut impl FnMut(&str, Text<'_>)) {
    single(&mut variable.value, &format!("{path}.value"), visit);
    let Some(source) = &mut variable.value_from else { return };
    if let Some(key) = &mut source.secret_key_ref {
        visit(&format!("{path}.valueFrom.secretKeyRef.name"), Text::Single(&mut key.name));
        visit(&format!("{path}.valueFrom.secretKeyRef.key"), Text::Single(&mut key.key));
    }
    if let Some(key) = &mut source.config_map_key_ref {
        visit(&format!("{path}.valueFrom.configMapKeyRef.name"), Text::Single(&mut key.name));
        visit(&format!("{path}.valueFrom.configMapKeyRef.key"), Text::Single(&mut key.key));
    }
}

/// Visits every text of a volume with its field path relative to the volume.
pub fn visit_volume(volume: &mut Volume, visit: &mut impl FnMut(&str, Text<'_>)) {
    visit("name", Text::Single(&mut volume.name));
    if let Some(source) = &mut volume.config_map {
        visit("configMap.name", Text::Single(&mut source.name));
        items(&mut source.items, "configMap", visit);
    }
    if let Some(source) = &mut volume.secret {
        single(&mut source.secret_name, "secret.secretName", visit);
        items(&mut source.items, "secret", visit);
    }
    if let Some(source) = &mut volume.persistent_volume_claim {
        visit("persistentVolumeClaim.claimName", Text::Single(&mut source.claim_name));
    }
    for (index, source) in volume
        .projected
        .iter_mut()
        .flat_map(|projected| projected.sources.iter_mut().flatten())
        .enumerate()
    {
        let path = format!("projected.sources[{index}]");
        if let Some(source) = &mut source.config_map {
            visit(&format!("{path}.configMap.name"), Text::Single(&mut source.name));
        }
        if let Some(source) = &mut source.secret {
            visit(&format!("{path}.secret.name"), Text::Single(&mut source.name));
        }
        if let Some(source) = &mut source.service_account_token {
            single(&mut source.audience, &format!("{path}.serviceAccountToken.audience"), visit);
        }
    }
    if let Some(source) = &mut volume.csi {
        if let Some(secret) = &mut source.node_publish_secret_ref {
            visit("csi.nodePublishSecretRef.name", Text::Single(&mut secret.name));
        }
        for (key, value) in source.volume_attributes.iter_mut().flatten() {
            visit(&format!("csi.volumeAttributes[{key}]"), Text::Single(value));
        }
    }
}

fn single(text: &mut Option<String>, path: &str, visit: &mut impl FnMut(&str, Text<'_>)) {
    if let Some(text) = text {
        visit(path, Text::Single(text));
    }
}

fn items(items: &mut Option<Vec<KeyToPath>>, source: &str, visit: &mut impl FnMut(&str, Text<'_>)) {
    for (index, item) in items.iter_mut().flatten().enumerate() {
        visit(&format!("{source}.items[{index}].key"), Text::Single(&mut item.key));
        visit(&format!("{source}.items[{index}].path"), Text::Single(&mut item.path));
    }
}
