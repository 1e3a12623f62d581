//! What a pod can be told about itself: its fields and the resources of its containers, as texts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::config_error::ConfigError;
use crate::plan::{DEFAULT_NAMESPACE, go_quote, nanos};

/// What a container without a limit may use: all of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Machine {
    /// Processors
    pub cpus: u64,
    /// Bytes of memory
    pub memory: u64,
    /// Bytes of the disk on which containers live
    pub storage: u64,
}

/// A field that files and variables may name. Whole maps are lines of `key="value"`, sorted.
pub fn field(pod: &Pod, path: &str) -> Result<String, ConfigError> {
    let metadata = &pod.metadata;
    let unknown = || ConfigError::Field { path: path.to_owned() };
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.annotations" => &metadata.annotations,
            "metadata.labels" => &metadata.labels,
            _ => return Err(unknown()),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.name" => metadata.name.clone().unwrap_or_default(),
        "metadata.namespace" => namespace(pod).to_owned(),
        "metadata.uid" => metadata.uid.clone().unwrap_or_default(),
        _ => return Err(unknown()),
    })
}

/// A field that variables may name: also those of which the pod learns on its node.
pub fn variable_field(pod: &Pod, path: &str) -> Result<String, ConfigError> {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let value = match path {
        "spec.nodeName" | "spec.host" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.hostIP" => status.and_then(|status| status.host_ip.clone()),
        "status.hostIPs" => status.map(|status| {
            let ips = status.host_ips.iter().flatten();
            ips.map(|ip| ip.ip.clone()).collect::<Vec<_>>().join(",")
        }),
        "status.podIP" => status.and_then(|status| status.pod_ip.clone()),
        "status.podIPs" => status.map(|status| {
            let ips = status.pod_ips.iter().flatten();
            ips.map(|ip| ip.ip.clone()).collect::<Vec<_>>().join(",")
        }),
        _ => return field(pod, path),
    };
    Ok(value.unwrap_or_default())
}

/// A limit or request of a container in units of its divisor, rounded up. Where there is no limit, it is the machine.
pub fn resource(
    selector: &ResourceFieldSelector,
    container: &Container,
    machine: &Machine,
) -> Result<String, ConfigError> {
    const MILLI: i128 = 1_000_000;
    const ONE: i128 = 1_000_000_000;
    let unknown = || ConfigError::Resource { resource: selector.resource.clone() };
    let (bound, resource) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let (unit, all) = match resource {
        "cpu" => (MILLI, machine.cpus),
        "memory" => (ONE, machine.memory),
        "ephemeral-storage" => (ONE, machine.storage),
        _ if resource.starts_with("hugepages-") => (ONE, 0),
        _ => return Err(unknown()),
    };
    let resources = container.resources.clone().unwrap_or_default();
    let amount = |map: Option<BTreeMap<String, Quantity>>| {
        map.and_then(|map| map.get(resource).map(nanos)).filter(|amount| *amount != 0)
    };
    let limit = amount(resources.limits);
    let amount = match bound {
        "limits" => limit.unwrap_or(i128::from(all) * ONE),
        // A cluster copies the limit of a resource that has no request.
        "requests" => amount(resources.requests).or(limit).unwrap_or_default(),
        _ => return Err(unknown()),
    };
    let divisor = selector.divisor.as_ref().map(nanos).filter(|divisor| *divisor > 0);
    let in_units = |amount: i128| (amount + unit - 1) / unit;
    let (amount, divisor) = (in_units(amount), in_units(divisor.unwrap_or(ONE)));
    Ok(((amount + divisor - 1) / divisor).to_string())
}

/// All containers, in the order in which they start.
pub fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

/// The container of which a volume or variable wants to know.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Result<&'a Container, ConfigError> {
    containers(pod)
        .find(|container| container.name == name)
        .ok_or_else(|| ConfigError::NoContainer { name: name.to_owned() })
}

/// The pod's namespace.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={}", go_quote(value));
    map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "hello-pod", "namespace": "ci", "uid": "u-1",
                "labels": { "b": "2", "a": "1" },
                "annotations": { "example.com/text": "two\n\"lines\"" },
            },
            "spec": {
                "nodeName": "node", "serviceAccountName": "builder",
                "containers": [{ "name": "one" }], "initContainers": [{ "name": "prepare" }],
            },
            "status": { "hostIP": "10.0.0.1", "podIP": "10.1.0.2", "podIPs": [{ "ip": "10.1.0.2" }, { "ip": "fd00::2" }] },
        }))
        .unwrap()
    }

    #[test]
    fn fields_read_as_the_kubelet_writes_them() {
        for (path, expected) in [
            ("metadata.name", "hello-pod"),
            ("metadata.namespace", "ci"),
            ("metadata.uid", "u-1"),
            ("metadata.labels", "a=\"1\"\nb=\"2\""),
            ("metadata.annotations", r#"example.com/text="two\n\"lines\"""#),
            ("metadata.labels['a']", "1"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['example.com/text']", "two\n\"lines\""),
        ] {
            assert_eq!(field(&pod(), path).as_deref(), Ok(expected), "{path}");
            assert_eq!(variable_field(&pod(), path).as_deref(), Ok(expected), "{path}");
        }
        for (path, expected) in [
            ("spec.nodeName", "node"),
            ("spec.host", "node"),
            ("spec.serviceAccountName", "builder"),
            ("status.hostIP", "10.0.0.1"),
            ("status.podIP", "10.1.0.2"),
            ("status.podIPs", "10.1.0.2,fd00::2"),
        ] {
            assert_eq!(variable_field(&pod(), path).as_deref(), Ok(expected), "{path}");
            assert!(field(&pod(), path).is_err(), "{path} is for variables only");
        }
        for path in ["spec.hostname", "metadata.name['a']", "status", ""] {
            let error = variable_field(&pod(), path).unwrap_err();
            assert_eq!(error.to_string(), format!("unsupported fieldPath: {path}"));
        }
    }

    #[test]
    fn resources_are_rounded_up_in_units_of_the_divisor() {
        let container: Container = serde_json::from_value(json!({
            "name": "one",
            "resources": {
                "limits": { "cpu": "1500m", "memory": "100M", "hugepages-2Mi": "4Mi" },
                "requests": { "cpu": "1m", "memory": "0" },
            },
        }))
        .unwrap();
        let machine = Machine { cpus: 4, memory: 8 << 30, storage: 10_000_000_001 };
        let bare = Container::default();
        for (container, resource_, divisor, expected) in [
            (&container, "limits.cpu", "", "2"),
            (&container, "limits.cpu", "1m", "1500"),
            (&container, "limits.memory", "", "100000000"),
            (&container, "limits.memory", "1Mi", "96"),
            (&container, "limits.hugepages-2Mi", "1Mi", "4"),
            (&container, "limits.ephemeral-storage", "1G", "11"),
            (&container, "requests.cpu", "0", "1"),
            (&container, "requests.cpu", "1m", "1"),
            (&container, "requests.memory", "1M", "100"),
            (&bare, "limits.cpu", "", "4"),
            (&bare, "limits.memory", "1Gi", "8"),
            (&bare, "limits.hugepages-2Mi", "", "0"),
            (&bare, "requests.cpu", "", "0"),
        ] {
            let selector = ResourceFieldSelector {
                resource: resource_.into(),
                divisor: Some(Quantity(divisor.into())).filter(|_| !divisor.is_empty()),
                ..ResourceFieldSelector::default()
            };
            let found = resource(&selector, container, &machine);
            assert_eq!(found.as_deref(), Ok(expected), "{resource_} in {divisor}");
        }
        for unknown in ["cpu", "limits.gpu", "most.cpu"] {
            let selector = ResourceFieldSelector {
                resource: unknown.into(),
                ..ResourceFieldSelector::default()
            };
            let error = resource(&selector, &bare, &machine).unwrap_err();
            assert_eq!(error.to_string(), format!("unsupported container resource : {unknown}"));
        }
    }

    #[test]
    fn containers_are_found_by_name() {
        for name in ["one", "prepare"] {
            assert_eq!(container(&pod(), name).unwrap().name, name);
        }
        assert_eq!(container(&pod(), "x").unwrap_err().to_string(), "container x not found");
    }
}
