//! The controller's settings, by flag and by the environment variables that upstream's controller reads.
//!
//! Invariant: everything that is wrong is told at once, with the names of flag and variable.

use clap::Args;
use serde_json::Value;

use crate::plan::{ContainerTemplate, Requests, Settings};

/// Containers of supporting steps, and limits.
#[derive(Debug, Args)]
pub struct SettingsArguments {
    /// Container of the Git source step, as JSON; what it leaves out is as by default
    #[arg(long, env = "GIT_CONTAINER_TEMPLATE", value_name = "JSON")]
    git_container_template: Option<String>,
    /// Image of the Git source step
    #[arg(long, env = "GIT_CONTAINER_IMAGE", value_name = "IMAGE")]
    git_container_image: Option<String>,
    /// Container of the OCI artifact source step, as JSON; what it leaves out is as by default
    #[arg(long, env = "BUNDLE_CONTAINER_TEMPLATE", value_name = "JSON")]
    bundle_container_template: Option<String>,
    /// Image of the OCI artifact source step
    #[arg(long, env = "BUNDLE_CONTAINER_IMAGE", value_name = "IMAGE")]
    bundle_container_image: Option<String>,
    /// Container of the step that processes the image, as JSON; what it leaves out is as by default
    #[arg(long, env = "IMAGE_PROCESSING_CONTAINER_TEMPLATE", value_name = "JSON")]
    image_processing_container_template: Option<String>,
    /// Image of the step that processes the image
    #[arg(long, env = "IMAGE_PROCESSING_CONTAINER_IMAGE", value_name = "IMAGE")]
    image_processing_container_image: Option<String>,
    /// Container of the upload source step, as JSON; what it leaves out is as by default
    #[arg(long, env = "WAITER_CONTAINER_TEMPLATE", value_name = "JSON")]
    waiter_container_template: Option<String>,
    /// Image of the upload source step
    #[arg(long, env = "WAITER_CONTAINER_IMAGE", value_name = "IMAGE")]
    waiter_container_image: Option<String>,
    /// Image that hands `slipway-step` to the steps
    #[arg(long, env = "PREPARE_CONTAINER_IMAGE", value_name = "IMAGE")]
    prepare_container_image: Option<String>,
    /// `true` rewrites https URLs of Git repositories to ssh where a key is there
    #[arg(long, env = "GIT_ENABLE_REWRITE_RULE", value_name = "BOOL")]
    git_enable_rewrite_rule: Option<String>,
    /// How many vulnerabilities a status lists; 0 and less leave it to the step
    #[arg(
        long,
        env = "VULNERABILITY_COUNT_LIMIT",
        value_name = "COUNT",
        allow_hyphen_values = true
    )]
    vulnerability_count_limit: Option<String>,
    /// Environment variables that nobody may set, with commas between; a trailing * matches the rest, a comma alone forbids none
    #[arg(long, env = "FORBIDDEN_ENV_VAR_NAMES", value_name = "NAMES")]
    forbidden_env_var_names: Option<String>,
    /// `Sum` lets a pod ask for the resources of all its steps together; by default it asks for its largest step
    #[arg(long, env = "BUILDRUN_RESOURCE_REQUESTS", value_name = "HOW")]
    buildrun_resource_requests: Option<String>,
    /// How often a pod is made again that was lost with its node or drained from it
    #[arg(long, env = "BUILDRUN_POD_RETRIES", default_value_t = 2, value_name = "COUNT")]
    buildrun_pod_retries: u32,
    /// Accepted for upstream's deployments, without effect: a run is one pod
    #[arg(long, env = "BUILDRUN_EXECUTOR", value_name = "KIND")]
    buildrun_executor: Option<String>,
}

/// Keys of a container that a template may have.
const TEMPLATE_KEYS: [&str; 8] = [
    "args",
    "command",
    "env",
    "image",
    "imagePullPolicy",
    "resources",
    "securityContext",
    "workingDir",
];

impl SettingsArguments {
    /// What pods depend on, or everything that is wrong, a line each.
    pub fn settings(&self) -> Result<Settings, Vec<String>> {
        let mut settings = Settings::default();
        let mut problems = Vec::new();
        for (name, variable, container, template, image) in [
            (
                "git",
                "GIT",
                &mut settings.git,
                &self.git_container_template,
                &self.git_container_image,
            ),
            (
                "bundle",
                "BUNDLE",
                &mut settings.bundle,
                &self.bundle_container_template,
                &self.bundle_container_image,
            ),
            (
                "image-processing",
                "IMAGE_PROCESSING",
                &mut settings.image_processing,
                &self.image_processing_container_template,
                &self.image_processing_container_image,
            ),
            (
                "waiter",
                "WAITER",
                &mut settings.waiter,
                &self.waiter_container_template,
                &self.waiter_container_image,
            ),
        ] {
            if let Some(json) = given(template.as_ref()) {
                match completed(json, container) {
                    Ok(merged) => *container = merged,
                    Err(message) => problems.push(format!(
                        "--{name}-container-template ({variable}_CONTAINER_TEMPLATE): {message}"
                    )),
                }
            }
            if let Some(image) = given(image.as_ref()) {
                image.clone_into(&mut container.image);
            }
        }
        if let Some(image) = given(self.prepare_container_image.as_ref()) {
            image.clone_into(&mut settings.prepare_image);
        }
        settings.git_url_rewrite = self
            .git_enable_rewrite_rule
            .as_ref()
            .is_some_and(|word| word.eq_ignore_ascii_case("true"));
        if let Some(count) = given(self.vulnerability_count_limit.as_ref()) {
            match count.trim().parse::<i64>() {
                Ok(count) => settings.vulnerability_count_limit = u32::try_from(count.max(0)).unwrap_or(u32::MAX),
                Err(_) => problems.push(format!(
                    "--vulnerability-count-limit (VULNERABILITY_COUNT_LIMIT): {count:?} is no whole number"
                )),
            }
        }
        settings.pod_retries = self.buildrun_pod_retries;
        if let Some(names) = given(self.forbidden_env_var_names.as_ref()) {
            let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
            settings.forbidden_env = names.map(String::from).collect();
        }
        match given(self.buildrun_resource_requests.as_ref()) {
            None | Some("Largest") => {}
            Some("Sum") => settings.requests = Requests::Sum,
            Some(word) => problems.push(format!(
                "--buildrun-resource-requests (BUILDRUN_RESOURCE_REQUESTS): {word:?} is neither Largest nor Sum"
            )),
        }
        if let Some(kind) = given(self.buildrun_executor.as_ref())
            .filter(|kind| !matches!(*kind, "TaskRun" | "PipelineRun"))
        {
            problems.push(format!(
                "--buildrun-executor (BUILDRUN_EXECUTOR): unsupported BuildrunExecutor: {kind}"
            ));
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

/// An empty variable says nothing.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// The default container with what the template says in place of its own.
fn completed(json: &str, default: &ContainerTemplate) -> Result<ContainerTemplate, String> {
    let given: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let Value::Object(given) = given else { return Err("must be a JSON object".into()) };
    let unknown: Vec<&str> =
        given.keys().map(String::as_str).filter(|key| !TEMPLATE_KEYS.contains(key)).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "{} cannot be set; only {} can",
            unknown.join(", "),
            TEMPLATE_KEYS.join(", ")
        ));
    }
    let mut merged = serde_json::to_value(default).map_err(|error| error.to_string())?;
    let image = given.get("image").and_then(Value::as_str).unwrap_or_default();
    if let Value::Object(fields) = &mut merged {
        // An empty image stands for the default one.
        fields.extend(
            given.clone().into_iter().filter(|(key, _)| key != "image" || !image.is_empty()),
        );
    }
    serde_json::from_value(merged).map_err(|error| error.to_string())
}
