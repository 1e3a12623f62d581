//! Where the pod may run: nodeSelector, tolerations, schedulerName, runtimeClassName.
//!
//! Invariant: problems are in the order in which upstream finds them in a BuildRun.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;

use super::problems::Site;
use crate::api::reasons;
use crate::plan::kubernetes_names::{dns_subdomain, label_value, qualified_name};
use crate::plan::refusal::Refusal;

/// Keys and values must be those of labels.
pub fn node_selector(site: &Site, selector: &BTreeMap<String, String>) -> Vec<Refusal> {
    let mut found = Vec::new();
    for (key, value) in selector {
        let field = format!("nodeSelector[{key}]");
        let mut refuse = |what: &str, broken: Vec<String>| {
            if !broken.is_empty() {
                let message = format!("Node selector {what} not valid: {}", broken.join(", "));
                found.push(site.refuse(&field, reasons::NODE_SELECTOR_NOT_VALID, message));
            }
        };
        refuse("key", qualified_name(key));
        refuse("value", label_value(value));
    }
    found
}

/// Only `NoSchedule` tolerations without a time, with an explicit operator.
pub fn tolerations(site: &Site, tolerations: &[Toleration]) -> Vec<Refusal> {
    let mut found = Vec::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        let mut refuse = |field: &str, message: String| {
            found.push(site.refuse(
                &format!("tolerations[{index}].{field}"),
                reasons::TOLERATION_NOT_VALID,
                message,
            ));
        };
        let broken = qualified_name(toleration.key.as_deref().unwrap_or_default());
        if !broken.is_empty() {
            refuse("key", format!("Toleration key not valid: {}", broken.join(", ")));
        }
        if !matches!(toleration.operator.as_deref(), Some("Exists" | "Equal")) {
            refuse(
                "operator",
                "Toleration operator not valid. Must be one of: 'Exists', 'Equal'".into(),
            );
        }
        let broken = label_value(toleration.value.as_deref().unwrap_or_default());
        if !broken.is_empty() {
            refuse("value", format!("Toleration value not valid: {}", broken.join(", ")));
        }
        if !matches!(toleration.effect.as_deref(), None | Some("" | "NoSchedule")) {
            refuse("effect", "Only the 'NoSchedule' toleration effect is supported.".into());
        }
        if toleration.toleration_seconds.is_some() {
            refuse("tolerationSeconds", "Specifying TolerationSeconds is not supported.".into());
        }
    }
    found
}

/// Must be a qualified name.
pub fn scheduler_name(site: &Site, name: Option<&str>) -> Option<Refusal> {
    let broken = qualified_name(name?);
    let message = format!("Scheduler name not valid: {}", broken.join(", "));
    (!broken.is_empty())
        .then(|| site.refuse("schedulerName", reasons::SCHEDULER_NAME_NOT_VALID, message))
}

/// Must be a DNS subdomain.
pub fn runtime_class_name(site: &Site, name: Option<&str>) -> Option<Refusal> {
    let broken = dns_subdomain(name?);
    let message = format!("RuntimeClassName not valid: {}", broken.join(", "));
    (!broken.is_empty())
        .then(|| site.refuse("runtimeClassName", reasons::RUNTIME_CLASS_NAME_NOT_VALID, message))
}
