//! What an engine must be told so that a container has what the same one would have on a cluster: user, capabilities, profiles.
//!
//! Invariant: never more privilege than on the cluster, where the container runtime is containerd; where an engine cannot give as
//! much, that is said.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Capabilities, Container, Pod};

use super::config_error::ConfigError;
use super::pod_fields::namespace;

/// Whose engine it is; they differ in what added capabilities mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// dockerd
    Docker,
    /// Podman's service
    Podman,
}

/// A container's security context in the engine's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Privileges {
    /// `uid[:gid]`, or a name of the image's in place of the uid. Where there is no gid it is the one that the image's
    /// `/etc/passwd` has for the user, else 0.
    pub user: String,
    /// Capabilities to drop, without `CAP_`, or `ALL`.
    pub cap_drop: Vec<String>,
    /// Capabilities to add to what is left, without `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    /// All capabilities and all devices.
    pub privileged: bool,
    /// Root filesystem that nobody can write to.
    pub read_only: bool,
    /// All of `/proc`.
    pub unmasked: bool,
    /// Profiles and flags, such as `seccomp=unconfined` and `no-new-privileges`.
    pub security_options: Vec<String>,
    /// Added capabilities that this engine cannot hold ready for a program that gains root in the container, such as a setuid one.
    pub out_of_reach: Vec<String>,
}

/// What containerd gives to containers. Dockerd gives the same, Podman the same or, in newer versions, three less.
const CLUSTER_DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const ALL: &str = "ALL";
/// Largest id that Kubernetes accepts.
const MOST_ID: i64 = 2_147_483_647;

/// What to tell the engine. `image_user` is the `USER` of the image's configuration.
pub fn privileges(
    container: &Container,
    pod: &Pod,
    image_user: &str,
    flavour: Flavour,
) -> Result<Privileges, ConfigError> {
    let context = container.security_context.clone().unwrap_or_default();
    // The kubelet asks for the user's half alone: a group in the image's USER has no effect on a cluster.
    let user = match (context.run_as_user, image_user.split(':').next().unwrap_or_default()) {
        (Some(uid), _) => User::Uid(uid),
        (None, "") => User::Uid(0),
        (None, user) => user.parse().map_or_else(|_| User::Name(user.to_owned()), User::Uid),
    };
    if context.run_as_non_root == Some(true) {
        check_non_root(container, pod, &user, context.run_as_user.is_some())?;
    }
    let is_root = match &user {
        User::Uid(uid) => *uid == 0,
        User::Name(name) => name == "root",
    };
    let user = match user {
        User::Uid(uid) => uid.to_string(),
        User::Name(name) => name,
    };
    let group = context.run_as_group.map(|gid| format!(":{gid}")).unwrap_or_default();
    let privileged = context.privileged == Some(true);
    let mut told = Privileges {
        user: user + &group,
        privileged,
        read_only: context.read_only_root_filesystem == Some(true),
        unmasked: context.proc_mount.as_deref() == Some("Unmasked"),
        ..Privileges::default()
    };
    if !privileged {
        let wanted = Wanted::of(context.capabilities.as_ref());
        if is_root || flavour == Flavour::Docker {
            (told.cap_drop, told.cap_add) = wanted.exactly();
        } else {
            (told.cap_drop, told.out_of_reach) = wanted.at_most();
        }
    }
    let options = &mut told.security_options;
    if context.allow_privilege_escalation == Some(false) {
        options.push("no-new-privileges".into());
    }
    let seccomp = context.seccomp_profile.as_ref();
    match seccomp.map(|profile| (profile.type_.as_str(), &profile.localhost_profile)) {
        Some(("RuntimeDefault", _)) => {}
        Some(("Localhost", profile)) if !privileged => {
            let profile = profile.clone().unwrap_or_default();
            return Err(ConfigError::Seccomp { container: container.name.clone(), profile });
        }
        // A kubelet confines only who asks for it.
        _ => options.push("seccomp=unconfined".into()),
    }
    let apparmor = context.app_armor_profile.as_ref();
    match apparmor.map(|profile| (profile.type_.as_str(), &profile.localhost_profile)) {
        Some(("Unconfined", _)) => options.push("apparmor=unconfined".into()),
        Some(("Localhost", Some(profile))) => options.push(format!("apparmor={profile}")),
        _ => {}
    }
    let label = context.se_linux_options.unwrap_or_default();
    let labels =
        [("user", label.user), ("role", label.role), ("type", label.type_), ("level", label.level)];
    options.extend(
        labels
            .into_iter()
            .filter_map(|(part, value)| value.map(|value| format!("label={part}:{value}"))),
    );
    Ok(told)
}

enum User {
    Uid(i64),
    Name(String),
}

fn check_non_root(
    container: &Container,
    pod: &Pod,
    user: &User,
    is_asked: bool,
) -> Result<(), ConfigError> {
    let metadata = &pod.metadata;
    let pod = format!(
        "{}_{}({})",
        metadata.name.as_deref().unwrap_or_default(),
        namespace(pod),
        metadata.uid.as_deref().unwrap_or_default()
    );
    let container = container.name.clone();
    match user {
        User::Uid(0) if is_asked => Err(ConfigError::RootUser { pod, container }),
        User::Uid(0) => Err(ConfigError::RootImage { pod, container }),
        User::Uid(uid) if !is_asked && !(0..=MOST_ID).contains(uid) => {
            Err(ConfigError::ImageUser { uid: *uid, pod, container })
        }
        User::Uid(_) => Ok(()),
        User::Name(user) => Err(ConfigError::NamedUser { user: user.clone(), pod, container }),
    }
}

/// The capabilities that a container may have at most.
struct Wanted {
    /// All but `without`, whatever the kernel has.
    all: bool,
    without: BTreeSet<String>,
    /// These, where it is not all.
    these: BTreeSet<String>,
}

impl Wanted {
    /// In containerd's order: `ALL` is added, `ALL` is dropped, then single ones are added, then dropped.
    fn of(capabilities: Option<&Capabilities>) -> Self {
        let names = |names: Option<&Vec<String>>| -> BTreeSet<String> {
            names.into_iter().flatten().map(|name| plain(name)).collect()
        };
        let mut add = names(capabilities.and_then(|capabilities| capabilities.add.as_ref()));
        let mut drop = names(capabilities.and_then(|capabilities| capabilities.drop.as_ref()));
        let (adds_all, drops_all) = (add.remove(ALL), drop.remove(ALL));
        let mut these: BTreeSet<String> =
            if drops_all { BTreeSet::new() } else { CLUSTER_DEFAULT.map(String::from).into() };
        these.extend(add);
        these.retain(|name| !drop.contains(name));
        Self { all: adds_all && !drops_all, without: drop, these }
    }

    /// What to drop and to add, for a user who has what is added.
    fn exactly(self) -> (Vec<String>, Vec<String>) {
        if self.all {
            return (self.without.into_iter().collect(), vec![ALL.into()]);
        }
        (vec![ALL.into()], self.these.into_iter().collect())
    }

    /// What to drop of an engine's defaults, and what is missing then: whatever Podman adds is in effect for ordinary users too,
    /// to whom a cluster gives nothing.
    fn at_most(self) -> (Vec<String>, Vec<String>) {
        let is_wanted = |name: &str| {
            if self.all { !self.without.contains(name) } else { self.these.contains(name) }
        };
        let (wanted, dropped): (Vec<&str>, Vec<&str>) =
            CLUSTER_DEFAULT.into_iter().partition(|name| is_wanted(name));
        let dropped = if wanted.is_empty() { vec![ALL] } else { dropped };
        let out_of_reach = if self.all {
            vec![ALL.into()]
        } else {
            let beyond = |name: &String| !CLUSTER_DEFAULT.contains(&name.as_str());
            self.these.into_iter().filter(beyond).collect()
        };
        (dropped.into_iter().map(String::from).collect(), out_of_reach)
    }
}

/// Upper case and without `CAP_`.
fn plain(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").map(String::from).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::Flavour::{Docker, Podman};
    use super::*;

    fn of(context: &Value, image_user: &str, flavour: Flavour) -> Result<Privileges, String> {
        let container = json!({ "name": "step-a", "securityContext": context });
        let container: Container = serde_json::from_value(container).unwrap();
        let pod = json!({ "metadata": { "name": "p", "namespace": "ci", "uid": "u" } });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        privileges(&container, &pod, image_user, flavour).map_err(|error| error.to_string())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn users_are_those_of_the_kubelet() {
        for (context, image_user, expected) in [
            (json!({}), "", "0"),
            (json!({}), "1000", "1000"),
            (json!({}), "1000:2000", "1000"),
            (json!({}), "app:staff", "app"),
            (json!({ "runAsUser": 5 }), "app", "5"),
            (json!({ "runAsUser": 5, "runAsGroup": 6 }), "1000:2000", "5:6"),
            (json!({ "runAsGroup": 6 }), "1000:2000", "1000:6"),
            (json!({ "runAsGroup": 6 }), "app", "app:6"),
            (json!({ "runAsGroup": 6 }), "", "0:6"),
        ] {
            let shown = context.to_string();
            assert_eq!(
                of(&context, image_user, Docker).unwrap().user,
                expected,
                "{shown} {image_user}"
            );
        }
    }

    #[test]
    fn root_gets_exactly_what_the_cluster_gives() {
        for flavour in [Docker, Podman] {
            for (context, drop, add) in [
                (json!({}), &["ALL"][..], &CLUSTER_DEFAULT[..]),
                (json!({ "capabilities": { "drop": ["ALL"] } }), &["ALL"], &[]),
                (
                    json!({ "capabilities": { "drop": ["all"], "add": ["CAP_CHOWN", "setuid"] } }),
                    &["ALL"],
                    &["CHOWN", "SETUID"],
                ),
                (
                    json!({ "capabilities": { "drop": ["CHOWN", "ALL"], "add": ["CHOWN"] } }),
                    &["ALL"],
                    &[],
                ),
                (
                    json!({ "capabilities": { "add": ["ALL"], "drop": ["SYS_ADMIN"] } }),
                    &["SYS_ADMIN"],
                    &["ALL"],
                ),
                (
                    json!({ "capabilities": { "add": ["ALL", "CHOWN"], "drop": ["ALL"] } }),
                    &["ALL"],
                    &["CHOWN"],
                ),
            ] {
                let shown = context.to_string();
                let found = of(&context, "root", flavour).unwrap();
                assert_eq!((found.cap_drop, found.cap_add), (names(drop), names(add)), "{shown}");
                assert_eq!(found.out_of_reach, names(&[]));
            }
        }
        let found =
            of(&json!({ "capabilities": { "add": ["SYS_ADMIN"], "drop": ["MKNOD"] } }), "", Docker)
                .unwrap();
        assert!(
            found.cap_add.contains(&"SYS_ADMIN".into()) && !found.cap_add.contains(&"MKNOD".into())
        );
    }

    #[test]
    fn podman_never_adds_for_ordinary_users() {
        for (capabilities, drop, out_of_reach) in [
            (json!({}), &[][..], &[][..]),
            (json!({ "drop": ["ALL"] }), &["ALL"], &[]),
            (json!({ "drop": ["ALL"], "add": ["SYS_ADMIN"] }), &["ALL"], &["SYS_ADMIN"]),
            (json!({ "drop": ["MKNOD", "CHOWN", "BPF"] }), &["CHOWN", "MKNOD"], &[]),
            (json!({ "add": ["ALL"], "drop": ["KILL"] }), &["KILL"], &["ALL"]),
        ] {
            let context = json!({ "capabilities": capabilities });
            let found = of(&context, "1000", Podman).unwrap();
            assert_eq!(
                (found.cap_drop, found.cap_add),
                (names(drop), names(&[])),
                "{capabilities}"
            );
            assert_eq!(found.out_of_reach, names(out_of_reach), "{capabilities}");
            let docker = of(&context, "1000", Docker).unwrap();
            assert_eq!(docker.out_of_reach, names(&[]));
        }
        let setuid = json!({ "runAsUser": 1000, "capabilities": { "drop": ["ALL"], "add": ["SETUID", "SETGID"] } });
        let found = of(&setuid, "", Podman).unwrap();
        let kept = |name: &&str| !found.cap_drop.contains(&(*name).to_owned());
        assert_eq!(
            CLUSTER_DEFAULT.into_iter().filter(kept).collect::<Vec<_>>(),
            ["SETGID", "SETUID"]
        );
    }

    #[test]
    fn profiles_and_flags() {
        for (context, options) in [
            (json!({}), &["seccomp=unconfined"][..]),
            (json!({ "seccompProfile": { "type": "Unconfined" } }), &["seccomp=unconfined"]),
            (json!({ "seccompProfile": { "type": "RuntimeDefault" } }), &[]),
            (
                json!({ "privileged": true, "seccompProfile": { "type": "Localhost", "localhostProfile": "x" } }),
                &["seccomp=unconfined"],
            ),
            (
                json!({ "allowPrivilegeEscalation": false }),
                &["no-new-privileges", "seccomp=unconfined"],
            ),
            (json!({ "allowPrivilegeEscalation": true }), &["seccomp=unconfined"]),
            (
                json!({ "appArmorProfile": { "type": "Unconfined" } }),
                &["seccomp=unconfined", "apparmor=unconfined"],
            ),
            (
                json!({ "appArmorProfile": { "type": "Localhost", "localhostProfile": "p" } }),
                &["seccomp=unconfined", "apparmor=p"],
            ),
            (
                json!({ "seLinuxOptions": { "type": "t", "level": "s0:c1" } }),
                &["seccomp=unconfined", "label=type:t", "label=level:s0:c1"],
            ),
        ] {
            let shown = context.to_string();
            assert_eq!(
                of(&context, "", Podman).unwrap().security_options,
                names(options),
                "{shown}"
            );
        }
        let found = of(
            &json!({ "privileged": true, "readOnlyRootFilesystem": true, "procMount": "Unmasked" }),
            "",
            Docker,
        )
        .unwrap();
        assert!(found.privileged && found.read_only && found.unmasked);
        assert_eq!((found.cap_drop, found.cap_add), (vec![], vec![]));
        let local = json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": "profiles/a.json" } });
        assert_eq!(
            of(&local, "", Docker).unwrap_err(),
            r#"container step-a wants the node's seccomp profile "profiles/a.json", which is not on this machine; use RuntimeDefault"#
        );
    }

    #[test]
    fn root_is_refused_where_it_must_not_be_in_the_kubelets_words() {
        for (context, image_user, expected) in [
            (json!({ "runAsUser": 0 }), "1000", "container's runAsUser breaks non-root policy"),
            (json!({}), "", "container has runAsNonRoot and image will run as root"),
            (json!({}), "0:5", "container has runAsNonRoot and image will run as root"),
            (
                json!({}),
                "app:staff",
                "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root",
            ),
            (
                json!({}),
                "4294967295",
                "container has runAsNonRoot and image has an invalid user id (4294967295). (Must be 1-(2147483647)): must be between 0 and 2147483647, inclusive",
            ),
        ] {
            let mut context = context;
            context["runAsNonRoot"] = true.into();
            let expected = format!(r#"{expected} (pod: "p_ci(u)", container: step-a)"#);
            assert_eq!(of(&context, image_user, Docker).unwrap_err(), expected);
        }
        for (context, image_user) in [
            (json!({ "runAsNonRoot": true, "runAsUser": 5 }), ""),
            (json!({ "runAsNonRoot": true }), "5"),
            (json!({ "runAsNonRoot": false, "runAsUser": 0 }), ""),
        ] {
            assert!(of(&context, image_user, Docker).is_ok());
        }
    }

    proptest! {
        #[test]
        fn ordinary_users_get_nothing_added_by_podman(
            uid in 1..=MOST_ID,
            add in proptest::collection::vec("ALL|CHOWN|SYS_ADMIN|CAP_KILL", 0..3),
            drop in proptest::collection::vec("ALL|CHOWN|NET_RAW|CAP_KILL", 0..3),
        ) {
            let found = of(&json!({ "runAsUser": uid, "capabilities": { "add": add, "drop": drop } }), "", Podman).unwrap();
            prop_assert_eq!(found.cap_add, names(&[]));
        }
    }
}
