//! What an engine is told of one container of the pod.

use std::collections::{BTreeSet, HashMap};

use bollard::models::{ContainerCreateBody, HostConfig};
use k8s_openapi::api::core::v1::{Container, LinuxContainerUser, Pod, VolumeMount};
use slipway_step::protocol::TERMINATION_LOG;

use super::config_error::ConfigError;
use super::contents::Contents;
use super::engine::Engine;
use super::environment::{environment, expanded, expanded_path};
use super::image_groups::image_groups;
use super::images::{ImageFacts, ImageUsers};
use super::lease::CONTAINER_LABEL;
use super::pod_volumes::{Filling, PodVolumes, own_fillings};
use super::security::{Flavour, Privileges, privileges};
use super::volume_files::{MOST_NAME, MOST_PATH};
use crate::plan::nanos;

/// File of a container with what it reports when it ends.
pub const TERMINATION_FILE: &str = "termination-log";
const PASSWD_FILE: &str = "passwd";
const GROUP_FILE: &str = "group";
/// Where Podman lets everybody write on a read-only root.
const PODMAN_WRITABLE: [&str; 3] = ["/run", "/tmp", "/var/tmp"];
/// One second of processor time, in what the engine counts.
const NANOS: i128 = 1_000_000_000;

/// Everything that a container is made of.
#[derive(Debug)]
pub struct Given<'a> {
    pub engine: &'a Engine,
    pub pod: &'a Pod,
    pub contents: &'a Contents,
    pub image: &'a ImageFacts,
    pub users: &'a ImageUsers,
    pub labels: &'a HashMap<String, String>,
    /// Limits can be set.
    pub limits: bool,
    /// What the user asked for.
    pub network: Option<&'a str>,
}

/// A container, ready to be made as soon as its own files are there.
#[derive(Debug)]
pub struct Ready {
    pub container: Container,
    pub privileges: Privileges,
    /// Who it runs as, as a kubelet reports it; nothing where the image does not know the user's name.
    pub identity: Option<LinuxContainerUser>,
    environment: Vec<(String, String)>,
    /// The mounts, with the paths in their volumes.
    pub mounts: Vec<(VolumeMount, Option<String>)>,
    /// Groups that the image gives to its user.
    groups: Vec<u32>,
    /// The image's own users are bound over themselves.
    shadows: Vec<(&'static str, &'static str)>,
    /// Files to be there first.
    pub fillings: Vec<Filling>,
}

/// Resolves what the kubelet would; fails where the kubelet could not make the container.
pub fn prepare(container: &Container, given: &Given<'_>) -> Result<Ready, ConfigError> {
    let environment = environment(container, given.pod, given.contents, &given.engine.machine())?;
    let mounts = container.volume_mounts.iter().flatten();
    let mounts = mounts
        .map(|mount| Ok((mount.clone(), sub_path(mount, &environment)?)))
        .collect::<Result<_, _>>()?;
    let privileges = privileges(container, given.pod, &given.image.user, given.engine.flavour)?;
    let mut files = vec![(TERMINATION_FILE, 0o666, "")];
    let mut shadows = Vec::new();
    if given.engine.flavour == Flavour::Podman {
        // Podman adds the missing entry of a user, and so would hide what a cluster refuses. Without a group it adds one of the
        // user's own number.
        let (uid, gid) = ids(&privileges.user);
        let gid = if privileges.user.contains(':') { gid } else { uid };
        for (path, file, text, id) in [
            ("/etc/passwd", PASSWD_FILE, &given.users.passwd, uid),
            ("/etc/group", GROUP_FILE, &given.users.group, gid),
        ] {
            let mounted =
                container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == path);
            let known = |text: &str| id.is_none_or(|id| has_id(text, id));
            if let Some(text) = text.as_deref().filter(|text| !mounted && !known(text)) {
                files.push((file, 0o644, text));
                shadows.push((path, file));
            }
        }
    }
    let fillings = own_fillings(&container.name, &files);
    let users = |text: &Option<String>| text.clone().unwrap_or_default();
    let groups =
        image_groups(&privileges.user, &users(&given.users.passwd), &users(&given.users.group));
    let identity = identity(&privileges.user, &groups, &users(&given.users.passwd));
    Ok(Ready {
        container: container.clone(),
        privileges,
        identity,
        environment,
        mounts,
        groups,
        shadows,
        fillings,
    })
}

/// The path in its volume that a mount asks for. It may not lead out of it, and to an engine a colon would end it.
fn sub_path(
    mount: &VolumeMount,
    environment: &[(String, String)],
) -> Result<Option<String>, ConfigError> {
    let (field, written, path) = match (mount.sub_path_expr.as_deref(), &mount.sub_path) {
        (None | Some(""), None) => return Ok(None),
        (None | Some(""), Some(path)) => ("subPath", path.as_str(), path.clone()),
        (Some(expression), _) => {
            ("subPathExpr", expression, expanded_path(expression, environment)?)
        }
    };
    // What it becomes may be a Secret's value.
    let wrong = |rule| ConfigError::SubPath {
        field,
        written: written.to_owned(),
        volume: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        rule,
    };
    if path.starts_with('/') {
        return Err(wrong("must not be an absolute path"));
    }
    if path.contains(':') {
        return Err(wrong("must not contain ':' in this engine"));
    }
    let names = || path.split('/').filter(|name| !matches!(*name, "" | "."));
    if names().any(|name| name == "..") {
        return Err(wrong("must not contain '..'"));
    }
    if path.len() > MOST_PATH || names().any(|name| name.len() > MOST_NAME) {
        return Err(wrong("is longer than a file system takes"));
    }
    let path: Vec<&str> = names().collect();
    Ok(Some(path.join("/")).filter(|path| !path.is_empty()))
}

/// The ids of a user: those that are missing are in the image's `/etc/passwd`.
fn identity(user: &str, groups: &[u32], passwd: &str) -> Option<LinuxContainerUser> {
    let name = user.split(':').next().unwrap_or_default();
    let lines = passwd.lines().map(|line| line.trim().split(':').collect::<Vec<_>>());
    let id = |field: Option<&&str>| field.and_then(|id| id.parse::<i64>().ok());
    let (uid, gid) = ids(user);
    let mut entries = lines.filter(|fields| match uid {
        Some(uid) => id(fields.get(2)) == Some(uid),
        None => fields.first() == Some(&name),
    });
    let entry = entries.next();
    let of_entry = |at: usize| entry.as_ref().and_then(|fields| id(fields.get(at)));
    let uid = uid.or_else(|| of_entry(2))?;
    let gid = gid.or_else(|| of_entry(3)).unwrap_or(0);
    let all: BTreeSet<i64> = groups.iter().map(|gid| i64::from(*gid)).chain([gid]).collect();
    Some(LinuxContainerUser { uid, gid, supplemental_groups: Some(all.into_iter().collect()) })
}

/// The ids in `uid[:gid]`, as far as they are numbers.
pub fn ids(user: &str) -> (Option<i64>, Option<i64>) {
    let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
    (uid.parse().ok(), gid.parse().ok())
}

/// Whether a passwd or group file has an entry with this id; 0 needs none.
fn has_id(text: &str, id: i64) -> bool {
    let of_line = |line: &str| line.split(':').nth(2).and_then(|id| id.parse::<i64>().ok());
    id == 0 || text.lines().any(|line| of_line(line) == Some(id))
}

impl Ready {
    /// The container as the engine takes it, in the network of the sandbox.
    pub fn body(
        &self,
        given: &Given<'_>,
        volumes: &PodVolumes,
        sandbox: &str,
    ) -> ContainerCreateBody {
        let container = &self.container;
        let words = |words: &Option<Vec<String>>| {
            words
                .as_ref()
                .map(|words| expanded(words, &self.environment))
                .filter(|words| !words.is_empty())
        };
        let mut labels = given.labels.clone();
        labels.insert(CONTAINER_LABEL.into(), container.name.clone());
        let environment: Vec<String> =
            self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        // Docker takes it from the sandbox, and refuses to hear it twice.
        let is_podman = given.engine.flavour == Flavour::Podman;
        ContainerCreateBody {
            hostname: given.pod.metadata.name.clone().filter(|_| is_podman),
            image: Some(given.image.id.clone()),
            entrypoint: words(&container.command),
            cmd: words(&container.args),
            env: Some(environment),
            user: Some(self.privileges.user.clone()),
            working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
            labels: Some(labels),
            tty: Some(false),
            host_config: Some(self.host_config(given, volumes, sandbox)),
            ..ContainerCreateBody::default()
        }
    }

    /// Podman makes some directories of a read-only root writable; on a cluster they are as read-only as the rest.
    fn read_only_places(&self, given: &Given<'_>) -> HashMap<String, String> {
        if given.engine.flavour != Flavour::Podman || !self.privileges.read_only {
            return HashMap::new();
        }
        let mounts = || self.container.volume_mounts.iter().flatten();
        let is_mounted = |place: &str| {
            mounts().any(|mount| mount.mount_path.trim_end_matches('/').starts_with(place))
        };
        let places = PODMAN_WRITABLE.into_iter().filter(|place| !is_mounted(place));
        places.map(|place| (place.to_owned(), "ro,tmpcopyup".to_owned())).collect()
    }

    fn host_config(&self, given: &Given<'_>, volumes: &PodVolumes, sandbox: &str) -> HostConfig {
        let privileges = &self.privileges;
        let name = &self.container.name;
        let mut binds: Vec<String> = Vec::new();
        for (mount, sub_path) in &self.mounts {
            binds.extend(volumes.mount(mount, sub_path.as_deref()));
        }
        binds.extend(volumes.own_file(name, TERMINATION_FILE, TERMINATION_LOG, false));
        binds.extend(
            self.shadows.iter().filter_map(|(path, file)| {
                volumes.own_file(name, file, path, privileges.read_only)
            }),
        );
        let limit = |resource: &str| {
            let limits = self.container.resources.as_ref()?.limits.as_ref()?;
            limits.get(resource).map(nanos).filter(|_| given.limits)
        };
        // Kubernetes gives no swap to containers with a limit.
        let memory = limit("memory").and_then(|nanos| i64::try_from(nanos / NANOS).ok());
        // Nothing is to be shared but the machine's own, which an ordinary user's podman cannot reach by way of the sandbox.
        let network = match given.network {
            Some("host") => "host".to_owned(),
            _ => format!("container:{sandbox}"),
        };
        HostConfig {
            network_mode: Some(network),
            binds: Some(binds),
            group_add: Some(self.groups.iter().map(ToString::to_string).collect()),
            cap_add: Some(privileges.cap_add.clone()),
            cap_drop: Some(privileges.cap_drop.clone()),
            privileged: Some(privileges.privileged),
            readonly_rootfs: Some(privileges.read_only),
            tmpfs: Some(self.read_only_places(given)),
            security_opt: Some(privileges.security_options.clone()),
            masked_paths: privileges.unmasked.then(Vec::new),
            readonly_paths: privileges.unmasked.then(Vec::new),
            memory,
            memory_swap: memory,
            // Docker refuses more than there is, which is no limit anyway.
            nano_cpus: limit("cpu").and_then(|nanos| {
                i64::try_from(nanos.min(i128::from(given.engine.cpus) * NANOS)).ok()
            }),
            ..HostConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_stays_in_its_volume_and_its_variables_are_never_told() {
        const FAULT: &str = "of volume files at /mnt";
        let long = "x".repeat(256);
        let values = [("PW", "hunter:2"), ("UP", "a/../b"), ("ROOT", "/etc"), ("LONG", &long)];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let of = |field: &str, path: &str| {
            let mount = serde_json::json!({ "name": "files", "mountPath": "/mnt", field: path });
            sub_path(&serde_json::from_value(mount).unwrap(), &values)
                .map_err(|error| error.to_string())
        };
        for (path, expected) in [
            ("", None),
            (".", None),
            ("./", None),
            ("..data", Some("..data")),
            ("a/..b/./c//d/", Some("a/..b/c/d")),
            ("$(PW)", Some("$(PW)")),
        ] {
            assert_eq!(of("subPath", path), Ok(expected.map(String::from)), "{path}");
        }
        for (path, rule) in [
            ("x/$(PW)", "must not contain ':' in this engine"),
            ("$(UP)", "must not contain '..'"),
            ("$(ROOT)", "must not be an absolute path"),
            ("$(LONG)", "is longer than a file system takes"),
        ] {
            assert_eq!(of("subPathExpr", path), Err(format!("subPathExpr {path} {FAULT} {rule}")));
        }
        assert_eq!(of("subPath", ".."), Err(format!("subPath .. {FAULT} must not contain '..'")));
    }

    #[test]
    fn ids_that_are_missing_are_those_of_the_image() {
        const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1234:5678::/:\nbroken\n";
        for (user, groups, expected) in [
            ("1001:1000", &[][..], Some((1001, 1000, vec![1000]))),
            ("1234", &[10, 2000], Some((1234, 5678, vec![10, 2000, 5678]))),
            ("app", &[10], Some((1234, 5678, vec![10, 5678]))),
            ("app:77", &[], Some((1234, 77, vec![77]))),
            ("4321", &[], Some((4321, 0, vec![0]))),
            ("nobody", &[], None),
        ] {
            let expected = expected.map(|(uid, gid, groups)| LinuxContainerUser {
                uid,
                gid,
                supplemental_groups: Some(groups),
            });
            assert_eq!(identity(user, groups, PASSWD), expected, "{user}");
        }
    }
}
