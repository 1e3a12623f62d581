//! What the platform team configures: the containers of supporting steps, and limits.
//!
//! Invariant: values only; reading flags and environment is the command line's business.
//! Invariant: nothing here is ever changed by an expansion; every step starts from a copy.

use k8s_openapi::api::core::v1::{
    Capabilities, EnvVar, ResourceRequirements, SeccompProfile, SecurityContext,
};

/// Everything configurable that a plan depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Container of the Git source step.
    pub git: ContainerTemplate,
    /// Container of the OCI artifact source step.
    pub bundle: ContainerTemplate,
    /// Container of the upload source step.
    pub waiter: ContainerTemplate,
    /// Container of the step behind the strategy.
    pub image_processing: ContainerTemplate,
    /// Image that holds `slipway-step`, for the init container that hands it to the steps.
    pub prepare_image: String,
    /// Rewrite https URLs of Git repositories to ssh.
    pub git_url_rewrite: bool,
    /// How many vulnerabilities a status may list; 0 leaves it to the step.
    pub vulnerability_count_limit: u32,
    /// Environment variable names that Builds, BuildRuns and strategies may not set; a trailing `*` matches the rest.
    pub forbidden_env: Vec<String>,
    /// How the resource requests of the steps add up.
    pub requests: Requests,
    /// How often the pod of one run is made again after the cluster took it away.
    pub pod_retries: u32,
    /// The image goes into this file of image-processing instead of to its registry.
    pub save_image: Option<String>,
}

/// How the resource requests of the steps of one pod add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// The pod asks for its largest step: steps run one at a time.
    Largest,
    /// The pod asks for all steps together, as Kubernetes counts containers.
    Sum,
}

/// What a supporting step's container looks like before its arguments are added. Same keys as Shipwright's templates.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerTemplate {
    /// Image of the container.
    pub image: String,
    /// Program and leading arguments.
    pub command: Vec<String>,
    /// Arguments; used for the waiter only.
    pub args: Vec<String>,
    /// Environment of the container.
    pub env: Vec<EnvVar>,
    /// When to pull the image.
    pub image_pull_policy: Option<String>,
    /// Resources of the container.
    pub resources: Option<ResourceRequirements>,
    /// User, group and privileges; user and group give way to the strategy's.
    pub security_context: Option<SecurityContext>,
    /// Working directory of the container.
    pub working_dir: Option<String>,
}

/// The image for all supporting roles that belongs to this version.
pub const DEFAULT_IMAGE: &str = concat!("slipway.dev/step:", env!("CARGO_PKG_VERSION"));

/// Environment variable names refused by default: they turn data into code in loaders, shells and interpreters.
const FORBIDDEN_ENV: [&str; 16] = [
    "LD_*",
    "BASH_FUNC_*",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "LD_DEBUG",
    "LD_PROFILE",
    "BASH_ENV",
    "ENV",
    "CDPATH",
    "PYTHONSTARTUP",
    "PERL5OPT",
    "PERLLIB",
    "PERL5LIB",
    "RUBYOPT",
    "NODE_OPTIONS",
];

/// User and group of supporting steps without a strategy's.
pub const DEFAULT_ID: i64 = 1000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            git: template("git", DEFAULT_ID, Some("GIT_SHOW_LISTING")),
            bundle: template("bundle", DEFAULT_ID, Some("BUNDLE_SHOW_LISTING")),
            waiter: ContainerTemplate {
                args: vec![
                    "start".into(),
                    format!("--lock-file={}", slipway_step::protocol::WAITER_LOCK_FILE),
                ],
                ..template("waiter", DEFAULT_ID, None)
            },
            image_processing: root_template("image-processing"),
            prepare_image: DEFAULT_IMAGE.into(),
            git_url_rewrite: false,
            vulnerability_count_limit: 50,
            forbidden_env: FORBIDDEN_ENV.map(String::from).into(),
            requests: Requests::Largest,
            pod_retries: 2,
            save_image: None,
        }
    }
}

impl Settings {
    /// Whether a Build, BuildRun or strategy may not set this environment variable.
    pub fn forbids_env(&self, name: &str) -> bool {
        self.forbidden_env.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        })
    }
}

fn template(role: &str, id: i64, listing: Option<&str>) -> ContainerTemplate {
    let mut env = vec![variable("HOME", "/shared-home")];
    env.extend(listing.map(|name| variable(name, "false")));
    ContainerTemplate {
        image: DEFAULT_IMAGE.into(),
        command: vec![slipway_step::protocol::PROGRAM.into(), role.into()],
        env,
        security_context: Some(unprivileged(id, id)),
        ..ContainerTemplate::default()
    }
}

/// Root, because without a strategy's user the step must read and replace what any user left behind.
fn root_template(role: &str) -> ContainerTemplate {
    let drop = Some(vec!["ALL".into()]);
    let capabilities = Some(Capabilities { add: Some(vec!["DAC_OVERRIDE".into()]), drop });
    ContainerTemplate {
        security_context: Some(SecurityContext { capabilities, ..unprivileged(0, 0) }),
        ..template(role, 0, None)
    }
}

/// A literal environment variable.
pub fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.into()), value_from: None }
}

/// What a restricted namespace demands, as this user and group.
pub fn unprivileged(uid: i64, gid: i64) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".into()]) }),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(gid),
        run_as_user: Some(uid),
        seccomp_profile: Some(SeccompProfile {
            localhost_profile: None,
            type_: "RuntimeDefault".into(),
        }),
        ..SecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_names_match_exactly_or_by_prefix() {
        let settings = Settings::default();
        for name in ["LD_ANYTHING", "LD_PRELOAD", "BASH_FUNC_x%%", "ENV", "NODE_OPTIONS"] {
            assert!(settings.forbids_env(name), "{name}");
        }
        for name in ["ENVIRONMENT", "MY_LD_PRELOAD", "env", "PATH"] {
            assert!(!settings.forbids_env(name), "{name}");
        }
    }
}
