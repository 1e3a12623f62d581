//! What `slipway explain` shows people: who each container runs as, what it may do, and which namespaces accept the pod.
//!
//! Invariant: 120 columns are enough unless a step has a name or a profile of unusual length.

use std::fmt::Display;

use super::one_line;
use super::table::{table, wrap};
use crate::plan::explain::{Capabilities, ExplainedContainer, Explanation, Id};
use crate::plan::pod_security::{Level, Violation};
use crate::plan::{Decider, Origin};

/// Longest line of a container's name.
const NAME: usize = 30;
/// Longest line of a list of capabilities or a profile.
const LIST: usize = 30;

/// An explanation as text.
pub fn explain(explanation: &Explanation) -> String {
    let containers = &explanation.containers;
    let paragraphs = [
        identities(containers),
        privileges(containers),
        legend(containers),
        pod_security(explanation),
    ];
    paragraphs.join("\n")
}

fn identities(containers: &[ExplainedContainer]) -> String {
    let mut rows = vec![row(["CONTAINER", "ORIGIN", "UID", "GID", "GROUPS"])];
    rows.extend(containers.iter().map(|container| {
        let origin = match container.origin {
            Origin::Supporting => "supporting",
            Origin::Strategy => "strategy",
        };
        let groups: Vec<String> = container.groups.iter().map(i64::to_string).collect();
        let groups = if groups.is_empty() { "none".into() } else { groups.join(", ") };
        let unknown_uid = if container.run_as_non_root { "not 0" } else { UNKNOWN };
        vec![
            name(container),
            origin.into(),
            id(&container.uid, unknown_uid),
            id(&container.gid, UNKNOWN),
            groups,
        ]
    }));
    table(&rows)
}

fn privileges(containers: &[ExplainedContainer]) -> String {
    let heads =
        ["CONTAINER", "CAPABILITIES", "PRIVILEGED", "ESCALATION", "SECCOMP", "READ-ONLY ROOT"];
    let mut rows = vec![row(heads)];
    rows.extend(containers.iter().map(|container| {
        let origins = &container.origins;
        let yes = |is: bool| if is { "yes" } else { "no" };
        vec![
            name(container),
            capabilities(&container.capabilities, &origins.capabilities),
            decided(yes(container.privileged), origins.privileged),
            decided(yes(container.allow_privilege_escalation), origins.allow_privilege_escalation),
            wrap(&decided(&container.seccomp_profile, origins.seccomp_profile), LIST),
            decided(yes(container.read_only_root_filesystem), origins.read_only_root_filesystem),
        ]
    }));
    table(&rows)
}

/// What stands for an id that only the image knows.
const UNKNOWN: &str = "?";

fn legend(containers: &[ExplainedContainer]) -> String {
    let mut text = String::from("What has no origin behind it is the kubelet's default.\n");
    if containers
        .iter()
        .any(|container| container.uid.value.is_none() || container.gid.value.is_none())
    {
        text.push_str("(image) is for the image to say: a user by its configuration, a user's group by its /etc/passwd.\n");
    }
    text.push_str("Groups are those beside the gid; an image's /etc/group may add to them.\n");
    text
}

fn pod_security(explanation: &Explanation) -> String {
    let level = format!("PodSecurity level: {}\n", explanation.pod_security_level.word());
    let not = |level: Level| {
        let reasons = explanation.pod_security_reasons.iter();
        let rows: Vec<_> =
            reasons.filter(|violation| violation.level == level).map(reason).collect();
        let is_met = rows.is_empty();
        (!is_met).then(|| format!("Not {} because of\n{}", level.word(), table(&rows)))
    };
    let namespace = explanation.namespace.as_ref().map(|namespace| {
        let verdict = if namespace.admits { "accepts" } else { "refuses" };
        let (name, enforces) = (one_line(&namespace.name), namespace.enforces.word());
        format!("Namespace {name} enforces {enforces} and {verdict} this pod.\n")
    });
    [level].into_iter().chain(Level::ALL.into_iter().filter_map(not)).chain(namespace).collect()
}

fn reason(violation: &Violation) -> Vec<String> {
    let container = violation.container.as_deref().unwrap_or("the pod");
    // The container's name says it better than its place in a list.
    let field = match violation.field.split_once("].") {
        Some((_, field)) if violation.container.is_some() => field,
        _ => &violation.field,
    };
    let field = one_line(&format!("{field} {}", violation.message));
    vec![format!("  {}", one_line(container)), field]
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(String::from).to_vec()
}

fn name(container: &ExplainedContainer) -> String {
    wrap(&one_line(&container.name), NAME)
}

fn id(id: &Id, unknown: &str) -> String {
    match id.value {
        Some(value) => decided(value, id.from),
        None => decided(unknown, id.from),
    }
}

/// A value with its origin, unless that is nobody.
fn decided(value: impl Display, by: Decider) -> String {
    let value = one_line(&value.to_string());
    match by {
        Decider::Kubelet => value,
        by => format!("{value} ({})", by.word()),
    }
}

fn capabilities(lists: &Capabilities<Vec<String>>, origins: &Capabilities<Decider>) -> String {
    let list = |verb: &str, names: &[String], by: Decider| {
        let line = decided(format!("{verb} {}", names.join(", ")), by);
        (!names.is_empty()).then(|| wrap(&line, LIST))
    };
    let lines = [list("add", &lists.add, origins.add), list("drop", &lists.drop, origins.drop)];
    let lines: Vec<String> = lines.into_iter().flatten().collect();
    if lines.is_empty() { "the runtime's".into() } else { lines.join("\n") }
}
