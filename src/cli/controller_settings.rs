//! The controller's settings that pods depend on, by flag and by the environment variables that upstream's controller reads.

use clap::Args;
use serde_json::Value;

use super::controller_values::{Problems, whole};
use crate::plan::{ContainerTemplate, Requests, Settings};

/// Containers of supporting steps, and limits.
#[derive(Debug, Args)]
pub struct SettingsArguments {
    /// Container of the Git source step, as JSON; what it leaves out is as by default
    #[arg(long, env = "GIT_CONTAINER_TEMPLATE", value_name = "JSON")]
    git_container_template: Option<String>,
    /// Image of the Git source step; goes before the template's
    #[arg(long, env = "GIT_CONTAINER_IMAGE", value_name = "IMAGE")]
    git_container_image: Option<String>,
    /// Container of the OCI artifact source step, as JSON; what it leaves out is as by default
    #[arg(long, env = "BUNDLE_CONTAINER_TEMPLATE", value_name = "JSON")]
    bundle_container_template: Option<String>,
    /// Image of the OCI artifact source step; goes before the template's
    #[arg(long, env = "BUNDLE_CONTAINER_IMAGE", value_name = "IMAGE")]
    bundle_container_image: Option<String>,
    /// Container of the step that processes the image, as JSON; what it leaves out is as by default
    #[arg(long, env = "IMAGE_PROCESSING_CONTAINER_TEMPLATE", value_name = "JSON")]
    image_processing_container_template: Option<String>,
    /// Image of the step that processes the image; goes before the template's
    #[arg(long, env = "IMAGE_PROCESSING_CONTAINER_IMAGE", value_name = "IMAGE")]
    image_processing_container_image: Option<String>,
    /// Container of the upload source step, as JSON; what it leaves out is as by default
    #[arg(long, env = "WAITER_CONTAINER_TEMPLATE", value_name = "JSON")]
    waiter_container_template: Option<String>,
    /// Image of the upload source step; goes before the template's
    #[arg(long, env = "WAITER_CONTAINER_IMAGE", value_name = "IMAGE")]
    waiter_container_image: Option<String>,
    /// Image that hands `slipway-step` to the steps
    #[arg(long, env = "PREPARE_CONTAINER_IMAGE", value_name = "IMAGE")]
    prepare_container_image: Option<String>,
    /// `true` rewrites https URLs of Git repositories to ssh where a key is there
    #[arg(long, env = "GIT_ENABLE_REWRITE_RULE", value_name = "BOOL")]
    git_enable_rewrite_rule: Option<String>,
    /// How many vulnerabilities a status lists, by default 50; 0 and less leave it to the step
    #[arg(
        long,
        env = "VULNERABILITY_COUNT_LIMIT",
        value_name = "COUNT",
        allow_negative_numbers = true
    )]
    vulnerability_count_limit: Option<String>,
    /// Environment variables that nobody may set, with commas between; a trailing * matches the rest, a comma alone forbids none
    #[arg(long, env = "FORBIDDEN_ENV_VAR_NAMES", value_name = "NAMES")]
    forbidden_env_var_names: Option<String>,
    /// `Sum` lets a pod ask for the resources of all its steps together, `Largest`, the default, for those of its largest step
    #[arg(long, env = "BUILDRUN_RESOURCE_REQUESTS", value_name = "HOW")]
    buildrun_resource_requests: Option<String>,
    /// How often a pod is made again that was lost with its node or drained from it; by default 2
    #[arg(long, env = "BUILDRUN_POD_RETRIES", value_name = "COUNT", allow_negative_numbers = true)]
    buildrun_pod_retries: Option<String>,
    /// Accepted without effect: `TaskRun` or `PipelineRun`; a run is one pod
    #[arg(long, env = "BUILDRUN_EXECUTOR", value_name = "KIND")]
    buildrun_executor: Option<String>,
}

impl SettingsArguments {
    /// What pods depend on; what is wrong is as by default.
    pub fn settings(&self, problems: &mut Problems) -> Settings {
        let mut settings = Settings::default();
        for (role, container, template, image) in [
            ("GIT", &mut settings.git, &self.git_container_template, &self.git_container_image),
            (
                "BUNDLE",
                &mut settings.bundle,
                &self.bundle_container_template,
                &self.bundle_container_image,
            ),
            (
                "IMAGE_PROCESSING",
                &mut settings.image_processing,
                &self.image_processing_container_template,
                &self.image_processing_container_image,
            ),
            (
                "WAITER",
                &mut settings.waiter,
                &self.waiter_container_template,
                &self.waiter_container_image,
            ),
        ] {
            let variable = format!("{role}_CONTAINER_TEMPLATE");
            let complete = |json: &str| completed(json, container);
            if let Some(complete) = problems.read(&variable, template.as_ref(), complete) {
                *container = complete;
            }
            if let Some(image) = given(image.as_ref()) {
                image.clone_into(&mut container.image);
            }
        }
        if let Some(image) = given(self.prepare_container_image.as_ref()) {
            image.clone_into(&mut settings.prepare_image);
        }
        settings.git_url_rewrite = given(self.git_enable_rewrite_rule.as_ref())
            .is_some_and(|word| word.eq_ignore_ascii_case("true"));
        if let Some(count) = problems.read(
            "VULNERABILITY_COUNT_LIMIT",
            self.vulnerability_count_limit.as_ref(),
            whole::<i64>(i64::MIN),
        ) {
            settings.vulnerability_count_limit = u32::try_from(count.max(0)).unwrap_or(u32::MAX);
        }
        if let Some(retries) =
            problems.read("BUILDRUN_POD_RETRIES", self.buildrun_pod_retries.as_ref(), whole(0))
        {
            settings.pod_retries = retries;
        }
        if let Some(names) = given(self.forbidden_env_var_names.as_ref()) {
            let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
            settings.forbidden_env = names.map(String::from).collect();
        }
        let requests = |word: &str| match word {
            "Largest" => Ok(Requests::Largest),
            "Sum" => Ok(Requests::Sum),
            _ => Err(format!("{word:?} is neither Largest nor Sum")),
        };
        let how = self.buildrun_resource_requests.as_ref();
        if let Some(requests) = problems.read("BUILDRUN_RESOURCE_REQUESTS", how, requests) {
            settings.requests = requests;
        }
        problems.read("BUILDRUN_EXECUTOR", self.buildrun_executor.as_ref(), |kind| match kind {
            "TaskRun" | "PipelineRun" => Ok(()),
            _ => Err(format!("unsupported BuildrunExecutor: {kind}")),
        });
        settings
    }
}

/// An empty variable says nothing.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
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

/// Upstream takes whole containers, and the name of its own says nothing.
const WITHOUT_EFFECT: &str = "name";

/// The default container with what the template says in place of its own, key by key.
fn completed(json: &str, default: &ContainerTemplate) -> Result<ContainerTemplate, String> {
    let given: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let Value::Object(mut given) = given else { return Err("must be a JSON object".into()) };
    given.remove(WITHOUT_EFFECT);
    let unknown: Vec<&str> =
        given.keys().map(String::as_str).filter(|key| !TEMPLATE_KEYS.contains(key)).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "{} cannot be set; only {} can",
            unknown.join(", "),
            TEMPLATE_KEYS.join(", ")
        ));
    }
    // An empty image stands for the default one.
    given.retain(|key, value| !(value.is_null() || key == "image" && *value == ""));
    let mut merged = serde_json::to_value(default).map_err(|error| error.to_string())?;
    if let Value::Object(fields) = &mut merged {
        fields.extend(given.clone());
    }
    let merged: ContainerTemplate =
        serde_json::from_value(merged).map_err(|error| error.to_string())?;
    let kept = serde_json::to_value(&merged).map_err(|error| error.to_string())?;
    let mut lost = Vec::new();
    find_lost(&Value::Object(given), &kept, "", &mut lost);
    if !lost.is_empty() {
        return Err(format!("{} cannot be set: no container has it", lost.join(", ")));
    }
    match merged.image_pull_policy.as_deref() {
        None | Some("Always" | "IfNotPresent" | "Never") => Ok(merged),
        Some(policy) => {
            Err(format!("imagePullPolicy: {policy:?} is neither Always nor IfNotPresent nor Never"))
        }
    }
}

/// What Kubernetes' types do not know they drop without a word.
fn find_lost(given: &Value, kept: &Value, path: &str, lost: &mut Vec<String>) {
    match (given, kept) {
        (Value::Object(given), _) => {
            for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match kept.get(key) {
                    Some(kept) => find_lost(value, kept, &path, lost),
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for (index, (given, kept)) in given.iter().zip(kept).enumerate() {
                find_lost(given, kept, &format!("{path}[{index}]"), lost);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container() -> ContainerTemplate {
        Settings::default().waiter
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: SettingsArguments,
    }

    fn settings(flags: &[&str]) -> Settings {
        let line = <Line as clap::Parser>::parse_from([&["controller"], flags].concat());
        let mut problems = Problems::default();
        let settings = line.arguments.settings(&mut problems);
        assert_eq!(problems.into_lines(), Vec::<String>::new());
        settings
    }

    #[test]
    fn each_image_and_template_counts_for_its_own_step() {
        type Role = fn(&mut Settings) -> &mut ContainerTemplate;
        let roles: [(&str, Role); 4] = [
            ("git", |settings| &mut settings.git),
            ("bundle", |settings| &mut settings.bundle),
            ("image-processing", |settings| &mut settings.image_processing),
            ("waiter", |settings| &mut settings.waiter),
        ];
        for (name, role) in roles {
            let template = format!(
                r#"--{name}-container-template={{"image":"of/template","workingDir":"/a"}}"#
            );
            let mut expected = Settings::default();
            role(&mut expected).image = "of/template".into();
            role(&mut expected).working_dir = Some("/a".into());
            assert_eq!(settings(&[&template]), expected);
            // The image of its own goes before the template's.
            role(&mut expected).image = "own".into();
            let image = format!("--{name}-container-image=own");
            assert_eq!(settings(&[&template, &image]), expected);
        }
    }

    #[test]
    fn the_other_settings_count() {
        type Change = fn(&mut Settings);
        let cases: [(&str, Change); 13] = [
            ("--git-enable-rewrite-rule=TRUE", |settings| settings.git_url_rewrite = true),
            ("--git-enable-rewrite-rule=yes", |_| {}),
            ("--vulnerability-count-limit=7", |settings| settings.vulnerability_count_limit = 7),
            ("--vulnerability-count-limit=0", |settings| settings.vulnerability_count_limit = 0),
            ("--vulnerability-count-limit=-3", |settings| settings.vulnerability_count_limit = 0),
            ("--vulnerability-count-limit=", |_| {}),
            ("--buildrun-executor=TaskRun", |_| {}),
            ("--forbidden-env-var-names= A , B_* ", |settings| {
                settings.forbidden_env = vec!["A".into(), "B_*".into()];
            }),
            ("--forbidden-env-var-names=,", |settings| settings.forbidden_env = Vec::new()),
            ("--forbidden-env-var-names=", |_| {}),
            ("--prepare-container-image=own", |settings| settings.prepare_image = "own".into()),
            ("--buildrun-pod-retries=0", |settings| settings.pod_retries = 0),
            ("--buildrun-resource-requests=Sum", |settings| settings.requests = Requests::Sum),
        ];
        for (flag, change) in cases {
            let mut expected = Settings::default();
            change(&mut expected);
            assert_eq!(settings(&[flag]), expected, "{flag}");
        }
    }

    #[test]
    fn a_template_with_one_key_keeps_all_others() {
        let default = serde_json::to_value(container()).unwrap();
        for (key, value) in [
            ("args", json!(["start"])),
            ("command", json!(["/ko-app/waiter"])),
            ("env", json!([{ "name": "HTTPS_PROXY", "value": "http://proxy:3128" }])),
            ("image", json!("registry.example.com/step:1")),
            ("imagePullPolicy", json!("Always")),
            ("resources", json!({ "limits": { "memory": "1Gi" }, "requests": { "cpu": "100m" } })),
            ("securityContext", json!({ "runAsGroup": 1010, "runAsUser": 1010 })),
            ("workingDir", json!("/tmp")),
        ] {
            let completed = completed(&json!({ key: value }).to_string(), &container()).unwrap();
            let mut expected = default.clone();
            expected[key] = value;
            assert_eq!(serde_json::to_value(completed).unwrap(), expected);
        }
    }

    #[test]
    fn what_says_nothing_is_as_by_default() {
        for json in [
            "{}",
            r#"{"image":""}"#,
            r#"{"image":null,"env":null,"securityContext":null,"name":"x"}"#,
        ] {
            assert_eq!(completed(json, &container()), Ok(container()), "{json}");
        }
        let emptied = completed(r#"{"env":[],"args":[]}"#, &container()).unwrap();
        assert_eq!((emptied.env, emptied.args), (vec![], vec![]));
    }

    #[test]
    fn what_no_template_may_say_is_refused() {
        for (json, problem) in [
            ("[]", "must be a JSON object"),
            (
                r#"{"ports":[],"volumeMounts":[]}"#,
                "ports, volumeMounts cannot be set; only args, command, env, image, imagePullPolicy, resources, securityContext, workingDir can",
            ),
            (
                r#"{"securityContext":{"runAsUsr":1,"capabilities":{"dropp":["ALL"]}}}"#,
                "securityContext.capabilities.dropp, securityContext.runAsUsr cannot be set: no container has it",
            ),
            (
                r#"{"env":[{"name":"A","value":"1"},{"name":"B","valeu":"2"}]}"#,
                "env[1].valeu cannot be set: no container has it",
            ),
            (
                r#"{"imagePullPolicy":"Sometimes"}"#,
                "imagePullPolicy: \"Sometimes\" is neither Always nor IfNotPresent nor Never",
            ),
        ] {
            assert_eq!(completed(json, &container()), Err(problem.to_owned()), "{json}");
        }
        for json in [r#"{"image":5}"#, r#"{"command":"sh"}"#, r#"{"resources":[]}"#, "{"] {
            assert!(completed(json, &container()).is_err(), "{json}");
        }
    }
}
