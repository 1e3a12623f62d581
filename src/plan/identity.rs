//! As which user and group each container runs, and the files that give that user a name (SHIP-0036).
//!
//! Invariant: a step's origin is part of its type from the moment it is built; nobody asks a name what a step is.
//! Invariant: every security context is made from a copy, so one strategy's user cannot reach another's steps.
//! Invariant: ids are set on containers only: a pod-level group without a user breaks the sandbox.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector, SeccompProfile,
    SecurityContext, Volume, VolumeMount,
};

use super::security::{Decider, Security};
use super::settings::{DEFAULT_ID, unprivileged};

/// The user and group of a strategy's `securityContext`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// `runAsUser`
    pub uid: i64,
    /// `runAsGroup`
    pub gid: i64,
}

/// Annotation of the pod with the content of `/etc/group`.
pub const GROUP_ANNOTATION: &str = "buildrun.shipwright.io/security-context-group";
/// Annotation of the pod with the content of `/etc/passwd`.
pub const PASSWD_ANNOTATION: &str = "buildrun.shipwright.io/security-context-passwd";
/// Annotation of the pod of such a strategy.
pub const POD_IDENTITY_FILES_ANNOTATION: &str = "slipway.dev/identity-files";
/// Annotation of a strategy that asks for the identity files in its own steps too.
pub const IDENTITY_FILES_ANNOTATION: &str = "buildstrategy.shipwright.io/identity-files";
/// Volume with the identity files.
pub const IDENTITY_VOLUME: &str = "shp-security-context";
/// Ids that Kubernetes accepts.
pub const VALID_IDS: std::ops::RangeInclusive<i64> = 0..=2_147_483_647;

/// The annotations from which the identity files are made. Both are single lines of numbers and constants.
pub fn annotations(identity: Identity) -> BTreeMap<String, String> {
    let Identity { uid, gid } = identity;
    BTreeMap::from([
        (GROUP_ANNOTATION.into(), format!("shp:x:{gid}")),
        (PASSWD_ANNOTATION.into(), format!("shp:x:{uid}:{gid}:shp:/shared-home:/sbin/nologin")),
    ])
}

/// The volume with the identity files, read-only for everybody.
pub fn volume() -> Volume {
    let item = |path: &str, annotation: &str| DownwardAPIVolumeFile {
        path: path.into(),
        field_ref: Some(ObjectFieldSelector {
            api_version: None,
            field_path: format!("metadata.annotations['{annotation}']"),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    Volume {
        name: IDENTITY_VOLUME.into(),
        downward_api: Some(DownwardAPIVolumeSource {
            default_mode: Some(0o444),
            items: Some(vec![item("group", GROUP_ANNOTATION), item("passwd", PASSWD_ANNOTATION)]),
        }),
        ..Volume::default()
    }
}

/// The mounts of the identity files. By subPath, so a changed annotation cannot change a running step's files.
pub fn mounts() -> [VolumeMount; 2] {
    let mount = |path: &str, file: &str| VolumeMount {
        name: IDENTITY_VOLUME.into(),
        mount_path: path.into(),
        sub_path: Some(file.into()),
        ..VolumeMount::default()
    };
    [mount("/etc/group", "group"), mount("/etc/passwd", "passwd")]
}

/// The security of a supporting step: the template's, as the strategy's user and group where it names them, and with what a
/// restricted namespace demands where the template says nothing about it.
pub fn supporting(template: Option<&SecurityContext>, strategy: Option<Identity>) -> Security {
    let built_in = unprivileged(DEFAULT_ID, DEFAULT_ID);
    let mut security = Security::written(Some(template.unwrap_or(&built_in)), Decider::Template);
    if let Some(Identity { uid, gid }) = strategy {
        security.uid.set(uid, Decider::Strategy);
        security.gid.set(gid, Decider::Strategy);
        security.run_as_non_root.clear(Decider::Strategy);
    }
    if security.uid.get().is_some_and(|uid| *uid != 0) {
        security.run_as_non_root.set(true, Decider::Slipway);
        // Kubernetes sets no ambient capabilities: added ones do nothing for this user, and a restricted namespace refuses them.
        security.added_capabilities.clear(Decider::Slipway);
    }
    fill_privileges(&mut security, Decider::Slipway);
    security
}

/// The security of the init container, whose template nobody configures.
pub fn prepare(strategy: Option<Identity>) -> Security {
    supporting(None, strategy)
}

/// The security of a strategy step: its own, with unset ids filled from the strategy, and with what a restricted namespace
/// demands where it enforces that.
pub fn strategy_step(
    own: Option<&SecurityContext>,
    strategy: Option<Identity>,
    restricted: bool,
) -> Security {
    let mut security = Security::written(own, Decider::Step);
    if let Some(Identity { uid, gid }) = strategy {
        security.uid.fill(uid, Decider::Strategy);
        security.gid.fill(gid, Decider::Strategy);
    }
    if restricted {
        fill_privileges(&mut security, Decider::Namespace);
        if security.uid.get() != Some(&0) {
            security.run_as_non_root.fill(true, Decider::Namespace);
        }
    }
    security
}

/// What every restricted namespace demands, where nothing is said about it.
fn fill_privileges(security: &mut Security, by: Decider) {
    let escalates = security.privileged.get() == Some(&true)
        || security.added_capabilities.get().is_some_and(|added| {
            added.iter().any(|added| added == "SYS_ADMIN" || added == "CAP_SYS_ADMIN")
        });
    // The API server calls the two together a contradiction, which says less than the refusal that follows without.
    if !escalates {
        security.allow_privilege_escalation.fill(false, by);
    }
    security.dropped_capabilities.fill(vec!["ALL".into()], by);
    let profile = SeccompProfile { localhost_profile: None, type_: "RuntimeDefault".into() };
    security.seccomp_profile.fill(profile, by);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Capabilities;
    use proptest::prelude::*;

    use super::*;

    const STRATEGY: Option<Identity> = Some(Identity { uid: 1010, gid: 1020 });

    #[test]
    fn the_files_are_the_lines_of_ship_0036() {
        let annotations = annotations(Identity { uid: 1010, gid: 1020 });
        assert_eq!(annotations[GROUP_ANNOTATION], "shp:x:1020");
        assert_eq!(
            annotations[PASSWD_ANNOTATION],
            "shp:x:1010:1020:shp:/shared-home:/sbin/nologin"
        );
    }

    #[test]
    fn a_supporting_step_runs_as_the_strategy_and_keeps_the_rest_of_its_template() {
        let mut template = unprivileged(0, 0);
        template.capabilities = Some(Capabilities {
            add: Some(vec!["DAC_OVERRIDE".into()]),
            drop: Some(vec!["ALL".into()]),
        });
        let context = supporting(Some(&template), STRATEGY).context().unwrap();
        assert_eq!((context.run_as_user, context.run_as_group), (Some(1010), Some(1020)));
        assert_eq!(context.run_as_non_root, Some(true));
        assert_eq!(
            context.capabilities.unwrap(),
            Capabilities { add: None, drop: Some(vec!["ALL".into()]) }
        );
        assert_eq!(context.read_only_root_filesystem, Some(true));

        let root = supporting(Some(&template), None).context().unwrap();
        assert_eq!(
            (root.run_as_user, root.run_as_group, root.run_as_non_root),
            (Some(0), Some(0), None)
        );
        assert_eq!(root.capabilities.unwrap().add, Some(vec!["DAC_OVERRIDE".into()]));
    }

    #[test]
    fn a_template_that_demands_non_root_gives_way_to_a_root_strategy() {
        let template = SecurityContext { run_as_non_root: Some(true), ..unprivileged(1000, 1000) };
        let context =
            supporting(Some(&template), Some(Identity { uid: 0, gid: 0 })).context().unwrap();
        assert_eq!((context.run_as_user, context.run_as_non_root), (Some(0), None));
    }

    #[test]
    fn a_template_that_says_only_ids_gets_no_privilege() {
        let ids = SecurityContext {
            run_as_user: Some(5),
            run_as_group: Some(6),
            ..SecurityContext::default()
        };
        let context = supporting(Some(&ids), None).context().unwrap();
        let expected = SecurityContext {
            run_as_non_root: Some(true),
            read_only_root_filesystem: None,
            ..unprivileged(5, 6)
        };
        assert_eq!(context, expected);
    }

    #[test]
    fn a_privileged_step_is_left_to_the_namespace_to_refuse() {
        let own = SecurityContext { privileged: Some(true), ..SecurityContext::default() };
        let context = strategy_step(Some(&own), STRATEGY, true).context().unwrap();
        assert_eq!((context.privileged, context.allow_privilege_escalation), (Some(true), None));
    }

    #[test]
    fn a_strategy_step_keeps_what_its_author_wrote_field_by_field() {
        let own = SecurityContext {
            run_as_group: Some(0),
            privileged: Some(true),
            ..SecurityContext::default()
        };
        let context = strategy_step(Some(&own), STRATEGY, false).context().unwrap();
        assert_eq!(
            (context.run_as_user, context.run_as_group, context.privileged),
            (Some(1010), Some(0), Some(true))
        );
        assert_eq!(strategy_step(None, None, false).context(), None);
        let filled = strategy_step(None, STRATEGY, false).context().unwrap();
        assert_eq!(
            filled,
            SecurityContext {
                run_as_user: Some(1010),
                run_as_group: Some(1020),
                ..SecurityContext::default()
            }
        );
    }

    #[test]
    fn a_restricted_namespace_fills_only_what_is_unset() {
        let own = SecurityContext {
            allow_privilege_escalation: Some(true),
            ..SecurityContext::default()
        };
        let context = strategy_step(Some(&own), STRATEGY, true).context().unwrap();
        assert_eq!(context.allow_privilege_escalation, Some(true));
        assert_eq!(context.run_as_non_root, Some(true));
        assert_eq!(context.capabilities.unwrap().drop, Some(vec!["ALL".into()]));
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let root = strategy_step(None, Some(Identity { uid: 0, gid: 0 }), true).context().unwrap();
        assert_eq!(root.run_as_non_root, None);
    }

    #[test]
    fn whoever_decides_is_named_even_where_two_agree() {
        let template = SecurityContext {
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { add: Some(vec!["CHOWN".into()]), drop: None }),
            ..unprivileged(1010, 5)
        };
        let security = supporting(Some(&template), STRATEGY);
        assert_eq!(security.uid.by(), Some(Decider::Strategy));
        assert_eq!(security.seccomp_profile.by(), Some(Decider::Template));
        assert_eq!(security.dropped_capabilities.by(), Some(Decider::Slipway));
        assert_eq!(security.added_capabilities.get(), None);
        assert_eq!(security.added_capabilities.by(), Some(Decider::Slipway));
        assert_eq!(security.privileged.by(), None);

        let root = supporting(Some(&template), Some(Identity { uid: 0, gid: 0 }));
        assert_eq!(root.run_as_non_root.by(), Some(Decider::Strategy));
        assert_eq!(root.added_capabilities.by(), Some(Decider::Template));

        let own = SecurityContext { run_as_group: Some(1020), ..SecurityContext::default() };
        let step = strategy_step(Some(&own), STRATEGY, true);
        assert_eq!(step.uid.by(), Some(Decider::Strategy));
        assert_eq!(step.gid.by(), Some(Decider::Step));
        assert_eq!(step.dropped_capabilities.by(), Some(Decider::Namespace));
        assert_eq!(strategy_step(None, None, true).gid.by(), None);
    }

    proptest! {
        #[test]
        fn passwd_and_group_are_one_line_with_the_right_fields(uid in any::<i64>(), gid in any::<i64>()) {
            let annotations = annotations(Identity { uid, gid });
            let passwd = &annotations[PASSWD_ANNOTATION];
            prop_assert_eq!(passwd.split(':').count(), 7);
            prop_assert_eq!(annotations[GROUP_ANNOTATION].split(':').count(), 3);
            prop_assert!(annotations.values().all(|line| !line.contains(['\n', '\r'])));
            prop_assert_eq!(passwd.split(':').nth(2).unwrap().parse::<i64>().unwrap(), uid);
        }
    }
}
