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

/// A field that need not be the same on both sides. In its path `*` stands for anything but a slash, `**` for anything.
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
    let Some((before, after)) = pattern.split_once('*') else { return pattern == path };
    let Some(rest) = path.strip_prefix(before) else { return false };
    let (after, most) = match after.strip_prefix('*') {
        Some(after) => (after, rest.len()),
        None => (after, rest.find('/').unwrap_or(rest.len())),
    };
    (0..=most).filter_map(|at| rest.get(at..)).any(|rest| matches(after, rest))
}

#[test]
fn a_star_stays_within_a_name_and_two_do_not() {
    for (pattern, path, expected) in [
        ("/containers/*/seen/mount./tmp", "/containers/step-a/seen/mount./tmp", true),
        ("/containers/*/seen/mount./tmp", "/containers/step-a/seen/mount./var/tmp", false),
        ("/containers/*/seen/mount./dev", "/containers/step-a/seen/mount./dev/shm", false),
        ("*/seen/uid", "/containers/step-a/seen/uid", false),
        ("/containers/**", "/containers/step-a/log/0", true),
        ("/pod/*", "/pod/reason", true),
        ("/pod/*", "/pod/reason/more", false),
        ("/a*b*", "/aäbc", true),
    ] {
        assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
    }
}
