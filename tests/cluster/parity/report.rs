//! What a build came to, as a flat list of fields, and how two such lists differ.
//!
//! Invariant: a field that one side lacks is a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use slipway::api::BuildRunStatus;

use super::super::harness::statuses;

/// Path of a field and its value, such as `/containers/step-a/seen/uid`.
pub type Report = BTreeMap<String, String>;

/// A field that need not be the same on both sides; `*` in its path stands for anything.
#[derive(Clone, Copy)]
pub struct Differs {
    pub field: &'static str,
    pub why: &'static str,
}

/// Lines of a probing step begin like this, then come the name of a field and its value.
const SEEN: &str = "seen ";

/// Everything that a user can see of a build: status, pod, and how each container ended with what it printed.
pub fn report(status: &BuildRunStatus, pod: &Pod, log: impl Fn(&str) -> Vec<String>) -> Report {
    let mut report = Report::new();
    let mut status = json!(status);
    for time in ["/startTime", "/completionTime", "/conditions/0/lastTransitionTime"] {
        if let Some(time) = status.pointer_mut(time) {
            *time = "a time".into();
        }
    }
    flatten("/status", &status, &mut report);
    let of_pod = pod.status.as_ref().unwrap();
    let whole =
        json!({ "phase": of_pod.phase, "reason": of_pod.reason, "message": of_pod.message });
    flatten("/pod", &whole, &mut report);
    for container in statuses(pod) {
        let state = container.state.as_ref().unwrap();
        let mut ended = json!({});
        if let Some(terminated) = &state.terminated {
            let message = terminated.message.as_deref().unwrap_or_default();
            let results = slipway_step::protocol::results::decode(message);
            ended = json!({
                "exitCode": terminated.exit_code,
                "reason": terminated.reason,
                "results": results.map_or_else(|| json!(message), |results| json!(results)),
            });
        } else if let Some(waiting) = &state.waiting {
            ended["waiting"] = json!({ "reason": waiting.reason, "message": waiting.message });
        }
        ended["user"] = json!(container.user.as_ref().and_then(|user| user.linux.as_ref()));
        // One side puts names in front, all of the same width.
        let lines = log(&container.name).into_iter().map(|line| line.trim().to_owned());
        let (seen, said): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with(SEEN));
        // Nobody knows which of the two streams comes first.
        let mut said: Vec<_> = said.into_iter().filter(|line| !line.is_empty()).collect();
        said.sort();
        ended["log"] = json!(said);
        for line in seen {
            let (field, value) =
                line[SEEN.len()..].split_once(' ').unwrap_or((&line[SEEN.len()..], ""));
            // A field that is told twice is a list.
            let value = match ended["seen"].get(field) {
                Some(before) => format!("{}; {value}", before.as_str().unwrap()),
                None => value.to_owned(),
            };
            ended["seen"][field] = value.into();
        }
        flatten(&format!("/containers/{}", container.name), &ended, &mut report);
    }
    report
}

fn flatten(path: &str, value: &Value, report: &mut Report) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&format!("{path}/{name}"), value, report);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{path}/{index}"), value, report);
            }
        }
        Value::String(text) => drop(report.insert(path.into(), text.clone())),
        other => drop(report.insert(path.into(), other.to_string())),
    }
}

/// The differences that nothing allows, one line each; nothing where there are none.
pub fn differences(cluster: &Report, local: &Report, allowed: &[Differs]) -> String {
    let paths: BTreeSet<_> = cluster.keys().chain(local.keys()).collect();
    let mut text = String::new();
    for path in paths {
        let (there, here) = (cluster.get(path), local.get(path));
        if there == here {
            continue;
        }
        if let Some(allowed) = allowed.iter().find(|allowed| matches(allowed.field, path)) {
            eprintln!("{path}: {there:?} on the kubelet, {here:?} here: {}", allowed.why);
            continue;
        }
        writeln!(text, "{path}\n  kubelet {there:?}\n  here    {here:?}").unwrap();
    }
    text
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| matches(after, &rest[at..]))
        }),
    }
}
