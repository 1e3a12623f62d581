//! The end of a run: the table of steps, what was built or why not, and what to do next.

use std::collections::BTreeMap;

use anstyle::{AnsiColor, Style};
use k8s_openapi::api::core::v1::Pod;

use super::next_on_cluster::next_on_cluster;
use super::{Standing, StepRow, bytes, duration, paint};
use crate::api::{BuildRunStatus, FALSE, OutputStatus, SourceStatus, TRUE, reasons};
use crate::plan::DEFAULT_IMAGE;
use crate::view::one_line;

/// A run that is over.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// What became of it.
    pub status: &'a BuildRunStatus,
    /// Its pod, as it was last.
    pub pod: &'a Pod,
    /// The image that the Build names.
    pub image: &'a str,
    /// Where it ran.
    pub place: Place<'a>,
}

/// Where a run has run.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// On this machine.
    Here {
        /// The image is in the engine and not in its registry.
        loaded: bool,
        /// Label of the containers and volumes that were kept, such as `slipway.dev/run=ID`.
        kept: Option<&'a str>,
    },
    /// On a cluster.
    Cluster {
        /// Name of the run.
        run: &'a str,
        /// Its namespace.
        namespace: &'a str,
    },
}

/// One line a step, under a heading.
pub fn table(rows: &[StepRow], colour: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heading = ["STEP", "IDENTITY", "WAITED", "RAN", "RESULT"].map(String::from);
    let time = |time| Option::map_or(time, "-".into(), duration);
    let mut lines = vec![(heading, Style::new().bold())];
    lines.extend(rows.iter().map(|row| {
        let (result, style) = result(&row.standing);
        let cells =
            [one_line(&row.name), row.identity.clone(), time(row.waited), time(row.ran), result];
        (cells, style)
    }));
    let mut widths = [0; 4];
    for (cells, _) in &lines {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for (at, (cells, style)) in lines.iter().enumerate() {
        let [cells @ .., last] = cells;
        let before: Vec<_> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        let before = before.concat();
        text += &if at == 0 { paint(&before, *style, colour) } else { before };
        text += &paint(last, *style, colour);
        text.push('\n');
    }
    text
}

fn result(standing: &Standing) -> (String, Style) {
    let red = AnsiColor::Red.on_default();
    match standing {
        Standing::Done => ("done".into(), AnsiColor::Green.on_default()),
        Standing::Failed { exit_code } => (format!("exit {exit_code}"), red),
        Standing::OutOfMemory => ("out of memory".into(), red),
        Standing::Skipped => ("skipped".into(), Style::new().dimmed()),
        Standing::Running => ("not ended".into(), red),
        Standing::Waiting { reason: Some(reason) } => (format!("not started: {reason}"), red),
        Standing::Waiting { reason: None } | Standing::Pulling(_) => {
            ("not started".into(), Style::new().dimmed())
        }
    }
}

/// The image for programs, without its tag, which would name another one tomorrow: `registry.example.com/app@sha256:…`. Nothing
/// unless the run succeeded and a step reported a digest.
pub fn built_image(image: &str, status: &BuildRunStatus) -> Option<String> {
    status.succeeded().filter(|condition| condition.status == TRUE)?;
    let digest = digest(status.output.as_ref()?)?;
    let repository = image.split_once('@').map_or(image, |(repository, _)| repository);
    let end = match (repository.rfind(':'), repository.rfind('/')) {
        // A port belongs to the host.
        (Some(colon), Some(slash)) if colon < slash => repository.len(),
        (Some(colon), _) => colon,
        (None, _) => repository.len(),
    };
    Some(format!("{}@{digest}", one_line(&repository[..end])))
}

/// Steps may report anything; this is a digest.
fn digest(output: &OutputStatus) -> Option<&str> {
    let digest = output.digest.as_deref()?;
    let (algorithm, hex) = digest.split_once(':')?;
    let is_digest = !algorithm.is_empty()
        && algorithm.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && hex.len() >= 32
        && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    is_digest.then_some(digest)
}

/// What was built, or why not and what to do about it.
pub fn summary(ending: &Ending<'_>, colour: bool) -> String {
    let status = ending.status;
    let took = status
        .completion_time
        .as_ref()
        .zip(status.start_time.as_ref())
        .map(|(end, start)| duration(end.0.duration_since(start.0)));
    let built = status.succeeded().is_some_and(|condition| condition.status == TRUE);
    let mut text = Lines { text: String::new() };
    if built {
        let took = took.map(|took| format!(" in {took}")).unwrap_or_default();
        let heading = paint("built", AnsiColor::Green.on_default().bold(), colour);
        let is_loaded = matches!(ending.place, Place::Here { loaded: true, .. });
        let loaded = if is_loaded { " and loaded it into the engine" } else { "" };
        text.plain(&format!("{heading} {}{loaded}{took}", one_line(ending.image)));
    } else {
        let took = took.map(|took| format!(" after {took}")).unwrap_or_default();
        let heading = paint("not built", AnsiColor::Red.on_default().bold(), colour);
        text.plain(&format!("{heading}{took}: {}", cause(status)));
        failure(&mut text, status);
    }
    source(&mut text, status.source.as_ref());
    output(&mut text, status.output.as_ref(), built);
    if !built {
        let lines = match ending.place {
            Place::Here { kept, .. } => next(ending, kept.is_some()),
            Place::Cluster { run, namespace } => next_on_cluster(status, run, namespace),
        };
        for line in lines {
            text.field("next", &line);
        }
    }
    if let Place::Here { kept: Some(label), .. } = ending.place {
        text.field("kept", &kept(label));
    }
    text.text
}

/// What stays, and how it goes. By their names the containers come before the sandbox whose network they have: podman asks for that.
fn kept(label: &str) -> String {
    format!(
        "containers and volumes with the label {label}; the volumes hold the Secrets of the run\n\
         remove them with these commands, with podman or docker:\n\
         podman rm -f $(podman ps -a --filter label={label} --format '{{{{.Names}}}}' | sort -r)\n\
         podman volume rm $(podman volume ls -q --filter label={label})"
    )
}

struct Lines {
    text: String,
}

impl Lines {
    fn plain(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A name and its value, which may have several lines.
    fn field(&mut self, name: &str, value: &str) {
        for (at, line) in value.lines().enumerate() {
            let name = if at == 0 { name } else { "" };
            self.plain(format!("  {name:8}{}", one_line(line)).trim_end());
        }
    }
}

/// Reason and message of the condition. Where to look on a cluster is not said here.
fn cause(status: &BuildRunStatus) -> String {
    let Some(condition) = status.succeeded() else { return "nothing is known of the run".into() };
    let end = condition.message.to_ascii_lowercase().find("for detailed information");
    let message = condition.message[..end.unwrap_or(condition.message.len())]
        .trim_end_matches([' ', ',', '.', ':']);
    one_line(&format!("{}: {message}", condition.reason))
}

fn failure(text: &mut Lines, status: &BuildRunStatus) {
    let Some(details) = &status.failure_details else { return };
    if let Some(container) = details.location.as_ref().and_then(|at| at.container.as_deref()) {
        text.field("step", super::step_name(container));
    }
    text.field("reason", details.reason.as_deref().unwrap_or_default());
    text.field("message", details.message.as_deref().unwrap_or_default());
}

fn source(text: &mut Lines, source: Option<&SourceStatus>) {
    let Some(source) = source else { return };
    if let Some(git) = &source.git {
        let commit = git.commit_sha.as_ref().map(|commit| format!("commit {commit}"));
        let branch = git.branch_name.as_ref().map(|branch| format!("branch {branch}"));
        let author = git.commit_author.as_ref().map(|author| format!("by {author}"));
        let parts: Vec<_> = [commit, branch, author].into_iter().flatten().collect();
        text.field("source", &one_line(&parts.join(", ")));
    }
    let digest = source.oci_artifact.as_ref().and_then(|artifact| artifact.digest.as_deref());
    text.field("source", digest.unwrap_or_default());
}

fn output(text: &mut Lines, output: Option<&OutputStatus>, built: bool) {
    let none = OutputStatus::default();
    let output = output.unwrap_or(&none);
    match digest(output) {
        Some(digest) => text.field("digest", digest),
        None if built => text.field("digest", "unknown: no step reported one"),
        None => {}
    }
    if let Some(size) = output.size.and_then(|size| u64::try_from(size).ok()) {
        let human = bytes(size);
        let exact = format!("{size} bytes");
        text.field("size", &if size < 1024 { exact } else { format!("{human} ({exact})") });
    }
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for vulnerability in &output.vulnerabilities {
        *found.entry(&vulnerability.severity).or_default() += 1;
    }
    let counts = SEVERITIES
        .iter()
        .filter_map(|severity| found.get(severity).map(|count| format!("{count} {severity}")));
    let counts: Vec<_> = counts.collect();
    if !counts.is_empty() {
        text.field("found", &format!("vulnerabilities: {}", counts.join(", ")));
    }
}

const SEVERITIES: [&str; 5] = ["critical", "high", "medium", "low", "unknown"];

/// What to do about a failure.
fn next(ending: &Ending<'_>, is_kept: bool) -> Vec<String> {
    let status = ending.status;
    let Some(condition) = status.succeeded().filter(|condition| condition.status == FALSE) else {
        return vec!["run it again; it was interrupted before its end".into()];
    };
    let step = status
        .failure_details
        .as_ref()
        .and_then(|details| details.location.as_ref()?.container.as_deref())
        .map_or("the step", super::step_name);
    let mut lines = match condition.reason.as_str() {
        reasons::BUILD_RUN_CANCELED => return Vec::new(),
        reasons::BUILD_RUN_TIMEOUT => {
            return vec!["raise spec.timeout of the BuildRun or Build".into()];
        }
        reasons::STEP_OUT_OF_MEMORY => {
            return vec![format!(
                "raise the memory limit of {step}: spec.stepResources of the BuildRun or Build"
            )];
        }
        reasons::TASK_RUN_IMAGE_PULL_FAILED | reasons::PULL_IMAGE_FAILED => {
            return vec![match waiting(ending.pod) {
                Some((_, Some(DEFAULT_IMAGE), _)) => format!(
                    "hack/step load [ENGINE], in Slipway's sources, makes {DEFAULT_IMAGE} and puts it into the engine"
                ),
                _ => "see whether the image's name is right and the engine may pull it: docker login, podman login".into(),
            }];
        }
        reasons::VULNERABILITIES_FOUND => {
            return vec![
                "update what is vulnerable, or change spec.output.vulnerabilityScan".into(),
            ];
        }
        reasons::CREATE_CONTAINER_CONFIG_ERROR => {
            waiting(ending.pod).map(configuration).into_iter().collect()
        }
        reasons::POD_CREATION_FAILED => {
            vec!["mend what the message names: the step's command, image or mounts".into()]
        }
        reasons::INIT_CONTAINER_FAILED | reasons::INIT_CONTAINER_OOM => {
            vec!["read the lines of [prepare] above".into()]
        }
        _ => vec![format!("read the lines of [{step}] above")],
    };
    lines.push("slipway explain -f FILE tells as whom and with what rights each step runs".into());
    if !is_kept {
        lines.push("slipway run --keep leaves the containers and volumes to look into".into());
    }
    lines
}

/// The first container that cannot start, its image, and why.
fn waiting(pod: &Pod) -> Option<(&str, Option<&str>, &str)> {
    let of = pod.status.as_ref()?;
    let statuses = of.init_container_statuses.iter().chain(&of.container_statuses).flatten();
    let found = statuses.filter_map(|status| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        Some((status.name.as_str(), waiting.message.as_deref()?))
    });
    let (name, message) = found.into_iter().next()?;
    let spec = pod.spec.as_ref()?;
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let container = containers.find(|container| container.name == name);
    Some((name, container.and_then(|container| container.image.as_deref()), message))
}

/// What to do about a container that a kubelet would not make.
fn configuration((name, _, message): (&str, Option<&str>, &str)) -> String {
    let says = |part: &str| message.contains(part);
    let name = super::step_name(name);
    if says("secret \"")
        || says("configmap \"")
        || says("couldn't find key")
        || says("non-existent")
    {
        "see that the files hold every Secret and ConfigMap that the steps name, with its keys"
            .into()
    } else if says("missing value for ") {
        format!("give {name} a value for the variables that its subPathExpr names")
    } else if says("non-root") || says("runAsNonRoot") {
        format!("give {name} a securityContext.runAsUser other than 0, or do without runAsNonRoot")
    } else if says("MountVolume.SetUp") {
        // Told of the first container, whichever mounts it.
        format!(
            "mend the volume in the strategy, or what Build or BuildRun put in its place: {message}"
        )
    } else {
        format!(
            "mend this of {name} in the strategy or what it takes from Build and BuildRun: {message}"
        )
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;

    const DIGEST: &str = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

    fn row(name: &str, standing: Standing, seconds: Option<i64>) -> StepRow {
        let time = seconds.map(SignedDuration::from_secs);
        StepRow {
            name: name.into(),
            identity: "1001:1000".into(),
            standing,
            waited: time,
            ran: time,
        }
    }

    #[test]
    fn the_table_is_lined_up() {
        let rows = [
            row("source-default", Standing::Done, Some(2)),
            row("a", Standing::Failed { exit_code: 3 }, Some(185)),
            row("b", Standing::OutOfMemory, Some(1)),
            row("c", Standing::Skipped, None),
            row("d", Standing::Waiting { reason: Some("ErrImagePull".into()) }, None),
            row("e", Standing::Waiting { reason: None }, None),
            row("f", Standing::Running, Some(7)),
        ];
        insta::assert_snapshot!(table(&rows, false), @r"
        STEP            IDENTITY   WAITED    RAN       RESULT
        source-default  1001:1000  2.0 s     2.0 s     done
        a               1001:1000  3 m 05 s  3 m 05 s  exit 3
        b               1001:1000  1.0 s     1.0 s     out of memory
        c               1001:1000  -         -         skipped
        d               1001:1000  -         -         not started: ErrImagePull
        e               1001:1000  -         -         not started
        f               1001:1000  7.0 s     7.0 s     not ended
        ");
        let coloured = table(&rows[1..2], true);
        assert!(
            coloured.ends_with("3 m 05 s  3 m 05 s  \u{1b}[31mexit 3\u{1b}[0m\n"),
            "{coloured}"
        );
        assert_eq!(table(&[], true), "");
    }

    fn status(reason: &str, message: &str, more: &Value) -> BuildRunStatus {
        let succeeded = if reason == "Succeeded" { "True" } else { "False" };
        let mut status = json!({
            "conditions": [{ "type": "Succeeded", "status": succeeded, "reason": reason, "message": message, "lastTransitionTime": "2026-01-02T03:04:05Z" }],
            "startTime": "2026-01-02T03:04:00Z",
            "completionTime": "2026-01-02T03:04:12Z",
        });
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(status).unwrap()
    }

    fn text(status: &BuildRunStatus, kept: Option<&str>) -> String {
        text_of(status, &Pod::default(), kept)
    }

    fn text_of(status: &BuildRunStatus, pod: &Pod, kept: Option<&str>) -> String {
        let place = Place::Here { loaded: false, kept };
        summary(&Ending { status, pod, image: "example.com/app:1", place }, false)
    }

    #[test]
    fn what_was_built() {
        let more = json!({
            "source": { "git": { "commitSha": "abc", "branchName": "main", "commitAuthor": "Ada\u{1b}[2J" } },
            "output": { "digest": DIGEST, "size": 12_897_485, "vulnerabilities": [
                { "id": "a", "severity": "low" }, { "id": "b", "severity": "critical" }, { "id": "c", "severity": "low" }] },
        });
        insta::assert_snapshot!(text(&status("Succeeded", "", &more), Some("slipway.dev/run=x")), @r"
        built example.com/app:1 in 12.0 s
          source  commit abc, branch main, by Ada\u{1b}[2J
          digest  sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a
          size    12.3 MiB (12897485 bytes)
          found   vulnerabilities: 1 critical, 2 low
          kept    containers and volumes with the label slipway.dev/run=x; the volumes hold the Secrets of the run
                  remove them with these commands, with podman or docker:
                  podman rm -f $(podman ps -a --filter label=slipway.dev/run=x --format '{{.Names}}' | sort -r)
                  podman volume rm $(podman volume ls -q --filter label=slipway.dev/run=x)
        ");
        insta::assert_snapshot!(text(&status("Succeeded", "", &json!({})), None), @r"
        built example.com/app:1 in 12.0 s
          digest  unknown: no step reported one
        ");
    }

    #[test]
    fn why_nothing_was_built() {
        let message = "buildrun step step-build failed, for detailed information: kubectl --namespace default logs pod --container=step-build";
        let more = json!({ "failureDetails": {
            "location": { "container": "step-build", "pod": "pod" },
            "reason": "Mine",
            "message": "first\nsecond\u{7}",
        } });
        insta::assert_snapshot!(text(&status("Failed", message, &more), None), @r"
        not built after 12.0 s: Failed: buildrun step step-build failed
          step    build
          reason  Mine
          message first
                  second\u{7}
          next    read the lines of [build] above
          next    slipway explain -f FILE tells as whom and with what rights each step runs
          next    slipway run --keep leaves the containers and volumes to look into
        ");
        assert!(!text(&status("Failed", message, &more), Some("a=b")).contains("--keep"));
    }

    #[test]
    fn each_failure_says_what_to_do_next() {
        for (reason, next) in [
            ("BuildRunTimeout", "spec.timeout"),
            ("StepOutOfMemory", "spec.stepResources"),
            ("TaskRunImagePullFailed", "podman login"),
            ("VulnerabilitiesFound", "spec.output.vulnerabilityScan"),
            ("CreateContainerConfigError", "slipway explain"),
            ("PodCreationFailed", "command, image or mounts"),
            ("InitContainerFailed", "[prepare]"),
            ("PodEvicted", "[the step]"),
        ] {
            let text = text(&status(reason, "why", &json!({})), None);
            assert!(text.contains(next) && text.contains("  next    "), "{text}");
        }
        assert!(!text(&status("BuildRunCanceled", "why", &json!({})), None).contains("next"));
        let nothing = text(&BuildRunStatus::default(), None);
        assert!(nothing.starts_with("not built: nothing is known"), "{nothing}");
    }

    #[test]
    fn what_to_do_next_follows_from_what_keeps_the_container() {
        let of = |reason: &str, image: &str, message: &str| {
            let pod = json!({
                "spec": { "containers": [{ "name": "step-a" }, { "name": "step-b", "image": image }] },
                "status": { "containerStatuses": [
                    { "name": "step-a", "image": "", "imageID": "", "ready": false, "restartCount": 0 },
                    { "name": "step-b", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                      "state": { "waiting": { "reason": "why", "message": message } } },
                ] },
            });
            let pod = serde_json::from_value(pod).unwrap();
            let text = text_of(&status(reason, "why", &json!({})), &pod, None);
            text.lines().find_map(|line| line.strip_prefix("  next    ")).unwrap().to_owned()
        };
        let secrets = "every Secret and ConfigMap";
        for (message, next) in [
            ("secret \"login\" not found", secrets),
            ("couldn't find key a in ConfigMap ci/b", secrets),
            (
                "MountVolume.SetUp failed for volume \"v\" : references non-existent secret key: k",
                secrets,
            ),
            ("missing value for NOPE", "give b a value for the variables"),
            ("container has runAsNonRoot and image will run as root", "give b a securityContext"),
            ("subPath .. of volume v at /x must not", "mend this of b in the strategy"),
            ("subPath .. of volume v at /x must not", ": subPath .. of volume v at /x"),
            ("MountVolume.SetUp failed for volume \"v\" : no", "mend the volume in the strategy"),
        ] {
            let found = of("CreateContainerConfigError", "busybox", message);
            assert!(found.contains(next), "{found}");
        }
        let missing = "Back-off pulling image";
        let found = of("TaskRunImagePullFailed", DEFAULT_IMAGE, missing);
        assert!(found.starts_with("hack/step load"), "{found}");
        let found = of("TaskRunImagePullFailed", "busybox", missing);
        assert!(found.contains("podman login"), "{found}");
    }

    #[test]
    fn programs_get_the_image_without_its_tag() {
        let built = status("Succeeded", "", &json!({ "output": { "digest": DIGEST } }));
        for (image, repository) in [
            ("example.com/app:1", "example.com/app"),
            ("localhost:5000/team/app", "localhost:5000/team/app"),
            ("localhost:5000/app:latest", "localhost:5000/app"),
            ("app:1", "app"),
            ("app", "app"),
            ("example.com/app:1@sha256:00", "example.com/app"),
        ] {
            assert_eq!(built_image(image, &built), Some(format!("{repository}@{DIGEST}")));
        }
        for digest in ["", "sha256:", "latest", "sha256:zz", "sha256:00\n", "sha256:0a rm -rf"] {
            let built = status("Succeeded", "", &json!({ "output": { "digest": digest } }));
            assert_eq!(built_image("app", &built), None, "{digest}");
        }
        let failed = status("Failed", "", &json!({ "output": { "digest": DIGEST } }));
        assert_eq!(built_image("app", &failed), None);
        assert_eq!(built_image("app", &BuildRunStatus::default()), None);
    }
}
