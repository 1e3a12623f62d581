//! Kubernetes' Pod Security Standards: which level a finished pod meets, and what keeps it from a stricter one.
//!
//! Invariant: reads the pod alone, as the API server's PodSecurity admission does, and comes to the same verdict as its version
//! `latest` (1.34 and later), user namespaces counting for nothing.
//! Invariant: what no level but `privileged` accepts is told once, as a violation of `baseline`.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, EphemeralContainer, Lifecycle, LifecycleHandler, Pod, PodSpec,
    Probe, SELinuxOptions, SeccompProfile, SecurityContext, Volume, WindowsSecurityContextOptions,
};

/// The label by which a namespace enforces a level.
pub const ENFORCE_LABEL: &str = "pod-security.kubernetes.io/enforce";

/// A level of the standards, the laxest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everything is accepted.
    Privileged,
    /// Known ways to the node are closed.
    Baseline,
    /// No root, no privileges.
    Restricted,
}

impl Level {
    /// All levels, the laxest first.
    pub const ALL: [Self; 3] = [Self::Privileged, Self::Baseline, Self::Restricted];

    /// The level of that word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.word() == word)
    }

    /// The word in a namespace's label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// Something that a level does not accept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The container; nothing where the whole pod is at fault.
    pub container: Option<String>,
    /// The control, by the name that PodSecurity has for it.
    pub control: &'static str,
    /// The laxest level that does not accept it.
    pub level: Level,
    /// Where it stands in the pod.
    pub field: String,
    /// What the field must be.
    pub message: String,
}

/// The strictest level that accepts a pod with these violations.
pub fn level(violations: &[Violation]) -> Level {
    let accepts = |level: &Level| violations.iter().all(|violation| violation.level > *level);
    Level::ALL.into_iter().rev().find(accepts).unwrap_or(Level::Privileged)
}

/// All violations, those of the pod first, then container by container.
pub fn violations(pod: &Pod) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    let Some(spec) = &pod.spec else { return Vec::new() };
    host_namespaces(spec, &mut found);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        volume_type(index, volume, &mut found);
    }
    sysctls(spec, &mut found);
    app_armor_annotations(pod, &mut found);
    let whole = pod_scope(spec);
    identity(&whole, &mut found);
    profiles(&whole, &mut found);
    let is_windows = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    for (path, container) in containers(spec) {
        let scope = container_scope(&path, &container);
        privileges(&scope, &container, is_windows, &mut found);
        identity(&scope, &mut found);
        profiles(&scope, &mut found);
        inherited(&scope, &whole, is_windows, &mut found);
        host_access(&scope, &path, &container, &mut found);
    }
    found.0
}

/// What is inherited or the same for a pod and its containers.
struct Scope<'a> {
    container: Option<&'a str>,
    /// Path of the security context.
    path: String,
    run_as_user: Option<i64>,
    run_as_non_root: Option<bool>,
    seccomp: Option<&'a SeccompProfile>,
    app_armor: Option<&'a AppArmorProfile>,
    se_linux: Option<&'a SELinuxOptions>,
    windows: Option<&'a WindowsSecurityContextOptions>,
}

fn pod_scope(spec: &PodSpec) -> Scope<'_> {
    let context = spec.security_context.as_ref();
    Scope {
        container: None,
        path: "spec.securityContext".into(),
        run_as_user: context.and_then(|context| context.run_as_user),
        run_as_non_root: context.and_then(|context| context.run_as_non_root),
        seccomp: context.and_then(|context| context.seccomp_profile.as_ref()),
        app_armor: context.and_then(|context| context.app_armor_profile.as_ref()),
        se_linux: context.and_then(|context| context.se_linux_options.as_ref()),
        windows: context.and_then(|context| context.windows_options.as_ref()),
    }
}

fn container_scope<'a>(path: &str, container: &'a Container) -> Scope<'a> {
    let context = container.security_context.as_ref();
    Scope {
        container: Some(&container.name),
        path: format!("{path}.securityContext"),
        run_as_user: context.and_then(|context| context.run_as_user),
        run_as_non_root: context.and_then(|context| context.run_as_non_root),
        seccomp: context.and_then(|context| context.seccomp_profile.as_ref()),
        app_armor: context.and_then(|context| context.app_armor_profile.as_ref()),
        se_linux: context.and_then(|context| context.se_linux_options.as_ref()),
        windows: context.and_then(|context| context.windows_options.as_ref()),
    }
}

/// All containers of a pod with their paths.
fn containers(spec: &PodSpec) -> Vec<(String, Container)> {
    let path = |list: &str, index: usize| format!("spec.{list}[{index}]");
    let of = |list: &'static str, containers: &[Container]| -> Vec<_> {
        let with_path =
            |(index, container): (usize, &Container)| (path(list, index), container.clone());
        containers.iter().enumerate().map(with_path).collect()
    };
    let mut all = of("initContainers", spec.init_containers.as_deref().unwrap_or_default());
    all.extend(of("containers", &spec.containers));
    let ephemeral: Vec<Container> =
        spec.ephemeral_containers.iter().flatten().map(as_container).collect();
    all.extend(of("ephemeralContainers", &ephemeral));
    all
}

/// What the standards look at, which an ephemeral container has too.
fn as_container(container: &EphemeralContainer) -> Container {
    Container {
        name: container.name.clone(),
        security_context: container.security_context.clone(),
        ports: container.ports.clone(),
        liveness_probe: container.liveness_probe.clone(),
        readiness_probe: container.readiness_probe.clone(),
        startup_probe: container.startup_probe.clone(),
        lifecycle: container.lifecycle.clone(),
        ..Container::default()
    }
}

struct Found(Vec<Violation>);

impl Found {
    fn baseline(
        &mut self,
        container: Option<&str>,
        control: &'static str,
        field: String,
        message: impl Into<String>,
    ) {
        self.violation(Level::Baseline, container, control, field, message.into());
    }

    fn restricted(
        &mut self,
        container: Option<&str>,
        control: &'static str,
        field: String,
        message: impl Into<String>,
    ) {
        self.violation(Level::Restricted, container, control, field, message.into());
    }

    fn violation(
        &mut self,
        level: Level,
        container: Option<&str>,
        control: &'static str,
        field: String,
        message: String,
    ) {
        let container = container.map(String::from);
        self.0.push(Violation { container, control, level, field, message });
    }
}

fn host_namespaces(spec: &PodSpec, found: &mut Found) {
    for (field, is_shared) in
        [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)]
    {
        if is_shared == Some(true) {
            found.baseline(None, "hostNamespaces", format!("spec.{field}"), "must not be true");
        }
    }
}

fn volume_type(index: usize, volume: &Volume, found: &mut Found) {
    let field = format!("spec.volumes[{index}]");
    if volume.host_path.is_some() {
        let message = format!("must not be set (volume {})", volume.name);
        found.baseline(None, "hostPathVolumes", format!("{field}.hostPath"), message);
        return;
    }
    let is_accepted = volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.image.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some();
    if !is_accepted {
        let message = format!("must be of another type (volume {})", volume.name);
        found.restricted(None, "restrictedVolumes", field, message);
    }
}

const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

fn sysctls(spec: &PodSpec, found: &mut Found) {
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    for (index, sysctl) in sysctls.enumerate() {
        if !SAFE_SYSCTLS.contains(&sysctl.name.as_str()) {
            let field = format!("spec.securityContext.sysctls[{index}].name");
            found.baseline(None, "sysctls", field, format!("must not be {}", sysctl.name));
        }
    }
}

/// The form of AppArmor profiles before there were fields for them, which still counts.
fn app_armor_annotations(pod: &Pod, found: &mut Found) {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    for (key, value) in pod.metadata.annotations.iter().flatten() {
        let Some(container) = key.strip_prefix(PREFIX) else { continue };
        let is_accepted =
            value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        if !is_accepted {
            let field = format!("metadata.annotations[{key}]");
            let message = format!("must not be {value}");
            found.baseline(Some(container), "appArmorProfile", field, message);
        }
    }
}

/// Capabilities that the level "baseline" lets a container add.
pub const BASELINE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn privileges(scope: &Scope<'_>, container: &Container, is_windows: bool, found: &mut Found) {
    let empty = SecurityContext::default();
    let context = container.security_context.as_ref().unwrap_or(&empty);
    let (path, name) = (&scope.path, scope.container);
    if context.privileged == Some(true) {
        found.baseline(name, "privileged", format!("{path}.privileged"), "must not be true");
    }
    if context.proc_mount.as_ref().is_some_and(|mount| mount != "Default") {
        found.baseline(name, "procMount", format!("{path}.procMount"), "must be Default or unset");
    }
    if is_windows {
        // The API server refuses the rest on Windows, and the standards do not ask for it.
        return;
    }
    if context.allow_privilege_escalation != Some(false) {
        let field = format!("{path}.allowPrivilegeEscalation");
        found.restricted(name, "allowPrivilegeEscalation", field, "must be false");
    }
    let capabilities = context.capabilities.clone().unwrap_or_default();
    if !capabilities.drop.iter().flatten().any(|capability| capability == "ALL") {
        let field = format!("{path}.capabilities.drop");
        found.restricted(name, "capabilities", field, "must contain ALL");
    }
    for (index, added) in capabilities.add.iter().flatten().enumerate() {
        let field = format!("{path}.capabilities.add[{index}]");
        let message = format!("must not be {added}");
        if !BASELINE_CAPABILITIES.contains(&added.as_str()) {
            found.baseline(name, "capabilities", field, message);
        } else if added != "NET_BIND_SERVICE" {
            found.restricted(name, "capabilities", field, message);
        }
    }
}

fn identity(scope: &Scope<'_>, found: &mut Found) {
    let (path, name) = (&scope.path, scope.container);
    if scope.run_as_non_root == Some(false) {
        let field = format!("{path}.runAsNonRoot");
        found.restricted(name, "runAsNonRoot", field, "must not be false");
    }
    if scope.run_as_user == Some(0) {
        found.restricted(name, "runAsUser", format!("{path}.runAsUser"), "must not be 0");
    }
}

fn profiles(scope: &Scope<'_>, found: &mut Found) {
    const SELINUX_TYPES: [&str; 5] =
        ["", "container_engine_t", "container_init_t", "container_kvm_t", "container_t"];
    const PROFILE: &str = "must be RuntimeDefault or Localhost";
    let (path, name) = (&scope.path, scope.container);
    if scope.seccomp.is_some_and(|profile| !is_confined(&profile.type_)) {
        let field = format!("{path}.seccompProfile.type");
        found.baseline(name, "seccompProfile", field, PROFILE);
    }
    if scope.app_armor.is_some_and(|profile| !is_confined(&profile.type_)) {
        let field = format!("{path}.appArmorProfile.type");
        found.baseline(name, "appArmorProfile", field, PROFILE);
    }
    if let Some(options) = scope.se_linux {
        let field = |field: &str| format!("{path}.seLinuxOptions.{field}");
        let type_ = options.type_.as_deref().unwrap_or_default();
        if !SELINUX_TYPES.contains(&type_) {
            let message = format!("must not be {type_}");
            found.baseline(name, "seLinuxOptions", field("type"), message);
        }
        for (part, value) in [("user", &options.user), ("role", &options.role)] {
            if value.as_ref().is_some_and(|value| !value.is_empty()) {
                found.baseline(name, "seLinuxOptions", field(part), "must not be set");
            }
        }
    }
    if scope.windows.is_some_and(|options| options.host_process == Some(true)) {
        let field = format!("{path}.windowsOptions.hostProcess");
        found.baseline(name, "windowsHostProcess", field, "must not be true");
    }
}

/// Of what a container has to say and does not.
pub const MUST_BE_TRUE: &str = "must be true";

fn is_confined(profile: &str) -> bool {
    ["RuntimeDefault", "Localhost"].contains(&profile)
}

/// What a container must say unless its pod does.
fn inherited(scope: &Scope<'_>, whole: &Scope<'_>, is_windows: bool, found: &mut Found) {
    let (path, name) = (&scope.path, scope.container);
    if scope.run_as_non_root.is_none() && whole.run_as_non_root != Some(true) {
        found.restricted(name, "runAsNonRoot", format!("{path}.runAsNonRoot"), MUST_BE_TRUE);
    }
    let pod_is_confined = whole.seccomp.is_some_and(|profile| is_confined(&profile.type_));
    if scope.seccomp.is_none() && !pod_is_confined && !is_windows {
        let field = format!("{path}.seccompProfile.type");
        found.restricted(name, "seccompProfile", field, "must be RuntimeDefault or Localhost");
    }
}

fn host_access(scope: &Scope<'_>, path: &str, container: &Container, found: &mut Found) {
    let name = scope.container;
    for (index, port) in container.ports.iter().flatten().enumerate() {
        if port.host_port.is_some_and(|port| port != 0) {
            let field = format!("{path}.ports[{index}].hostPort");
            found.baseline(name, "hostPorts", field, "must not be set");
        }
    }
    for field in hosts(container) {
        let field = format!("{path}.{field}");
        found.baseline(name, "hostProbesAndHostLifecycle", field, "must not be set");
    }
}

/// The fields in which a probe or a hook names a host, which the kubelet would call for the container.
fn hosts(container: &Container) -> Vec<String> {
    let probe = |name: &str, probe: Option<&Probe>| {
        let http = probe.and_then(|probe| probe.http_get.as_ref()?.host.clone());
        let tcp = probe.and_then(|probe| probe.tcp_socket.as_ref()?.host.clone());
        hosts_of(name, http, tcp)
    };
    let hook = |name: &str, hook: fn(&Lifecycle) -> Option<&LifecycleHandler>| {
        let hook = container.lifecycle.as_ref().and_then(hook);
        let http = hook.and_then(|hook| hook.http_get.as_ref()?.host.clone());
        let tcp = hook.and_then(|hook| hook.tcp_socket.as_ref()?.host.clone());
        hosts_of(&format!("lifecycle.{name}"), http, tcp)
    };
    [
        probe("livenessProbe", container.liveness_probe.as_ref()),
        probe("readinessProbe", container.readiness_probe.as_ref()),
        probe("startupProbe", container.startup_probe.as_ref()),
        hook("postStart", |lifecycle| lifecycle.post_start.as_ref()),
        hook("preStop", |lifecycle| lifecycle.pre_stop.as_ref()),
    ]
    .concat()
}

fn hosts_of(name: &str, http: Option<String>, tcp: Option<String>) -> Vec<String> {
    let named = [("httpGet", http), ("tcpSocket", tcp)].into_iter();
    named
        .filter(|(_, host)| host.as_ref().is_some_and(|host| !host.is_empty()))
        .map(|(action, _)| format!("{name}.{action}.host"))
        .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    /// A pod that every level accepts, with a value put at a path into it.
    fn pod(path: &str, value: &Value) -> Pod {
        let context = json!({
            "allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": 1000,
            "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        let container = |name: &str| json!({ "name": name, "securityContext": context });
        let mut pod = json!({
            "metadata": { "annotations": {} },
            "spec": {
                "initContainers": [container("init")],
                "containers": [container("first"), container("second")],
                "ephemeralContainers": [container("ephemeral")],
                "securityContext": {},
                "volumes": [{ "name": "data", "emptyDir": {} }],
            },
        });
        let (parent, key) = path.rsplit_once('/').unwrap();
        match pod.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            parent if value.is_null() => drop(parent.as_object_mut().unwrap().remove(key)),
            parent => parent[key] = value.clone(),
        }
        serde_json::from_value(pod).unwrap()
    }

    /// `LEVEL CONTROL CONTAINER: FIELD MESSAGE` of each violation.
    fn lines(pod: &Pod) -> Vec<String> {
        let line = |violation: &Violation| {
            let container = violation.container.as_deref().unwrap_or("pod");
            let (level, control) = (violation.level.word(), violation.control);
            format!("{level} {control} {container}: {} {}", violation.field, violation.message)
        };
        violations(pod).iter().map(line).collect()
    }

    const FIRST: &str = "/spec/containers/0/securityContext";

    #[rstest]
    #[case("/spec/containers/0/securityContext/runAsGroup", json!(0))]
    #[case("/spec/containers/0/securityContext/runAsUser", Value::Null)]
    #[case("/spec/containers/0/securityContext/privileged", json!(false))]
    #[case("/spec/containers/0/securityContext/procMount", json!("Default"))]
    #[case("/spec/containers/0/securityContext/capabilities", json!({ "drop": ["ALL", "CHOWN"] }))]
    #[case("/spec/containers/0/securityContext/seccompProfile", json!({ "type": "Localhost", "localhostProfile": "a.json" }))]
    #[case("/spec/containers/0/securityContext/appArmorProfile", json!({ "type": "RuntimeDefault" }))]
    #[case("/spec/containers/0/securityContext/seLinuxOptions", json!({ "type": "container_engine_t", "level": "s0:c1" }))]
    #[case("/spec/containers/0/securityContext/windowsOptions", json!({ "hostProcess": false }))]
    #[case("/spec/containers/0/ports", json!([{ "containerPort": 80 }, { "containerPort": 81, "hostPort": 0 }]))]
    #[case("/spec/containers/0/livenessProbe", json!({ "httpGet": { "port": 80, "host": "" } }))]
    #[case("/spec/hostNetwork", json!(false))]
    #[case("/spec/securityContext", json!({ "sysctls": [{ "name": "net.ipv4.tcp_syncookies", "value": "1" }], "fsGroup": 0 }))]
    #[case("/metadata/annotations", json!({ "container.apparmor.security.beta.kubernetes.io/first": "localhost/a" }))]
    #[case("/spec/volumes", json!([
        { "name": "a", "configMap": {} }, { "name": "b", "csi": { "driver": "d" } }, { "name": "c", "downwardAPI": {} },
        { "name": "d", "ephemeral": {} }, { "name": "e", "image": {} }, { "name": "f", "persistentVolumeClaim": { "claimName": "c" } },
        { "name": "g", "projected": {} }, { "name": "h", "secret": {} },
    ]))]
    fn every_level_accepts(#[case] path: &str, #[case] value: Value) {
        let pod = pod(path, &value);
        assert_eq!(lines(&pod), Vec::<String>::new());
        assert_eq!(level(&violations(&pod)), Level::Restricted);
    }

    #[rstest]
    #[case("/spec/hostNetwork", json!(true), "hostNamespaces pod: spec.hostNetwork must not be true")]
    #[case("/spec/hostPID", json!(true), "hostNamespaces pod: spec.hostPID must not be true")]
    #[case("/spec/hostIPC", json!(true), "hostNamespaces pod: spec.hostIPC must not be true")]
    #[case("/spec/containers/0/securityContext/privileged", json!(true), "privileged first: spec.containers[0].securityContext.privileged must not be true")]
    #[case("/spec/initContainers/0/securityContext/privileged", json!(true), "privileged init: spec.initContainers[0].securityContext.privileged must not be true")]
    #[case("/spec/ephemeralContainers/0/securityContext/privileged", json!(true), "privileged ephemeral: spec.ephemeralContainers[0].securityContext.privileged must not be true")]
    #[case("/spec/containers/1/securityContext/capabilities/add", json!(["NET_BIND_SERVICE", "SYS_ADMIN"]), "capabilities second: spec.containers[1].securityContext.capabilities.add[1] must not be SYS_ADMIN")]
    #[case("/spec/containers/0/securityContext/capabilities/add", json!(["CAP_CHOWN"]), "capabilities first: spec.containers[0].securityContext.capabilities.add[0] must not be CAP_CHOWN")]
    #[case("/spec/volumes/0", json!({ "name": "host", "hostPath": { "path": "/" } }), "hostPathVolumes pod: spec.volumes[0].hostPath must not be set (volume host)")]
    #[case("/spec/containers/0/ports", json!([{ "containerPort": 80 }, { "containerPort": 80, "hostPort": 80 }]), "hostPorts first: spec.containers[0].ports[1].hostPort must not be set")]
    #[case("/spec/securityContext/appArmorProfile", json!({ "type": "Unconfined" }), "appArmorProfile pod: spec.securityContext.appArmorProfile.type must be RuntimeDefault or Localhost")]
    #[case("/spec/containers/0/securityContext/appArmorProfile", json!({ "type": "Unconfined" }), "appArmorProfile first: spec.containers[0].securityContext.appArmorProfile.type must be RuntimeDefault or Localhost")]
    #[case("/metadata/annotations", json!({ "container.apparmor.security.beta.kubernetes.io/first": "unconfined" }), "appArmorProfile first: metadata.annotations[container.apparmor.security.beta.kubernetes.io/first] must not be unconfined")]
    #[case("/spec/securityContext/seLinuxOptions", json!({ "type": "spc_t" }), "seLinuxOptions pod: spec.securityContext.seLinuxOptions.type must not be spc_t")]
    #[case("/spec/containers/0/securityContext/seLinuxOptions", json!({ "type": "spc_t" }), "seLinuxOptions first: spec.containers[0].securityContext.seLinuxOptions.type must not be spc_t")]
    #[case("/spec/containers/0/securityContext/seLinuxOptions", json!({ "user": "u" }), "seLinuxOptions first: spec.containers[0].securityContext.seLinuxOptions.user must not be set")]
    #[case("/spec/containers/0/securityContext/seLinuxOptions", json!({ "role": "r" }), "seLinuxOptions first: spec.containers[0].securityContext.seLinuxOptions.role must not be set")]
    #[case("/spec/containers/0/securityContext/procMount", json!("Unmasked"), "procMount first: spec.containers[0].securityContext.procMount must be Default or unset")]
    #[case("/spec/securityContext/seccompProfile", json!({ "type": "Unconfined" }), "seccompProfile pod: spec.securityContext.seccompProfile.type must be RuntimeDefault or Localhost")]
    #[case("/spec/containers/0/securityContext/seccompProfile", json!({ "type": "Unconfined" }), "seccompProfile first: spec.containers[0].securityContext.seccompProfile.type must be RuntimeDefault or Localhost")]
    #[case("/spec/securityContext/sysctls", json!([{ "name": "net.ipv4.tcp_rmem", "value": "1" }, { "name": "kernel.msgmax", "value": "1" }]), "sysctls pod: spec.securityContext.sysctls[1].name must not be kernel.msgmax")]
    #[case("/spec/securityContext/windowsOptions", json!({ "hostProcess": true }), "windowsHostProcess pod: spec.securityContext.windowsOptions.hostProcess must not be true")]
    #[case("/spec/containers/0/securityContext/windowsOptions", json!({ "hostProcess": true }), "windowsHostProcess first: spec.containers[0].securityContext.windowsOptions.hostProcess must not be true")]
    #[case("/spec/containers/0/livenessProbe", json!({ "httpGet": { "port": 80, "host": "h" } }), "hostProbesAndHostLifecycle first: spec.containers[0].livenessProbe.httpGet.host must not be set")]
    #[case("/spec/containers/0/readinessProbe", json!({ "tcpSocket": { "port": 80, "host": "h" } }), "hostProbesAndHostLifecycle first: spec.containers[0].readinessProbe.tcpSocket.host must not be set")]
    #[case("/spec/containers/0/startupProbe", json!({ "httpGet": { "port": 80, "host": "h" } }), "hostProbesAndHostLifecycle first: spec.containers[0].startupProbe.httpGet.host must not be set")]
    #[case("/spec/containers/0/lifecycle", json!({ "postStart": { "httpGet": { "port": 80, "host": "h" } } }), "hostProbesAndHostLifecycle first: spec.containers[0].lifecycle.postStart.httpGet.host must not be set")]
    #[case("/spec/containers/0/lifecycle", json!({ "preStop": { "tcpSocket": { "port": 80, "host": "h" } } }), "hostProbesAndHostLifecycle first: spec.containers[0].lifecycle.preStop.tcpSocket.host must not be set")]
    fn baseline_refuses(#[case] path: &str, #[case] value: Value, #[case] expected: &str) {
        let pod = pod(path, &value);
        assert_eq!(lines(&pod), [format!("baseline {expected}")]);
        assert_eq!(level(&violations(&pod)), Level::Privileged);
    }

    #[rstest]
    #[case("/spec/volumes/0", json!({ "name": "share", "nfs": { "server": "s", "path": "/" } }), "restrictedVolumes pod: spec.volumes[0] must be of another type (volume share)")]
    #[case("/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(true), "allowPrivilegeEscalation first: spec.containers[0].securityContext.allowPrivilegeEscalation must be false")]
    #[case(
        "/spec/containers/0/securityContext/allowPrivilegeEscalation",
        Value::Null,
        "allowPrivilegeEscalation first: spec.containers[0].securityContext.allowPrivilegeEscalation must be false"
    )]
    #[case(
        "/spec/initContainers/0/securityContext/allowPrivilegeEscalation",
        Value::Null,
        "allowPrivilegeEscalation init: spec.initContainers[0].securityContext.allowPrivilegeEscalation must be false"
    )]
    #[case("/spec/containers/0/securityContext/runAsNonRoot", json!(false), "runAsNonRoot first: spec.containers[0].securityContext.runAsNonRoot must not be false")]
    #[case(
        "/spec/containers/0/securityContext/runAsNonRoot",
        Value::Null,
        "runAsNonRoot first: spec.containers[0].securityContext.runAsNonRoot must be true"
    )]
    #[case("/spec/securityContext/runAsNonRoot", json!(false), "runAsNonRoot pod: spec.securityContext.runAsNonRoot must not be false")]
    #[case("/spec/containers/0/securityContext/runAsUser", json!(0), "runAsUser first: spec.containers[0].securityContext.runAsUser must not be 0")]
    #[case("/spec/securityContext/runAsUser", json!(0), "runAsUser pod: spec.securityContext.runAsUser must not be 0")]
    #[case(
        "/spec/containers/0/securityContext/seccompProfile",
        Value::Null,
        "seccompProfile first: spec.containers[0].securityContext.seccompProfile.type must be RuntimeDefault or Localhost"
    )]
    #[case(
        "/spec/containers/0/securityContext/capabilities",
        Value::Null,
        "capabilities first: spec.containers[0].securityContext.capabilities.drop must contain ALL"
    )]
    #[case("/spec/containers/0/securityContext/capabilities/drop", json!(["all"]), "capabilities first: spec.containers[0].securityContext.capabilities.drop must contain ALL")]
    #[case("/spec/containers/0/securityContext/capabilities/add", json!(["NET_BIND_SERVICE", "CHOWN"]), "capabilities first: spec.containers[0].securityContext.capabilities.add[1] must not be CHOWN")]
    fn restricted_refuses(#[case] path: &str, #[case] value: Value, #[case] expected: &str) {
        let pod = pod(path, &value);
        assert_eq!(lines(&pod), [format!("restricted {expected}")]);
        assert_eq!(level(&violations(&pod)), Level::Baseline);
    }

    #[test]
    fn a_pod_may_say_it_for_its_containers() {
        let context =
            json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
        let mut pod = pod("/spec/securityContext", &context);
        for container in &mut pod.spec.as_mut().unwrap().containers {
            let context = container.security_context.as_mut().unwrap();
            (context.run_as_non_root, context.seccomp_profile) = (None, None);
        }
        assert_eq!(lines(&pod), Vec::<String>::new());
    }

    #[test]
    fn a_container_that_says_nothing_is_told_everything_that_restricted_asks_for() {
        let found = violations(&pod(FIRST, &Value::Null));
        assert_eq!(level(&found), Level::Baseline);
        assert!(found.iter().all(|found| found.container.as_deref() == Some("first")));
        let controls: Vec<_> = found.iter().map(|found| found.control).collect();
        let expected =
            ["allowPrivilegeEscalation", "capabilities", "runAsNonRoot", "seccompProfile"];
        assert_eq!(controls, expected);
    }

    #[test]
    fn windows_pods_are_not_asked_for_what_they_cannot_say() {
        let mut pod = pod("/spec/os", &json!({ "name": "windows" }));
        for container in &mut pod.spec.as_mut().unwrap().containers {
            let run_as_non_root = Some(true);
            container.security_context =
                Some(SecurityContext { run_as_non_root, ..SecurityContext::default() });
        }
        assert_eq!(lines(&pod), Vec::<String>::new());
    }

    #[test]
    fn every_capability_and_sysctl_of_the_tables_is_accepted_by_baseline() {
        let added = pod(
            "/spec/containers/0/securityContext/capabilities/add",
            &json!(BASELINE_CAPABILITIES),
        );
        assert_eq!(level(&violations(&added)), Level::Baseline);
        assert_eq!(violations(&added).len(), BASELINE_CAPABILITIES.len() - 1);
        let sysctls = SAFE_SYSCTLS.map(|name| json!({ "name": name, "value": "1" }));
        let set = pod("/spec/securityContext/sysctls", &json!(sysctls));
        assert_eq!(lines(&set), Vec::<String>::new());
    }
}
