//! Whether the namespace of a proven run accepts its pod.
//!
//! Invariant: the place of each refusal is text of Build, run or strategy, and not of the pod that nobody wrote.

use k8s_openapi::api::core::v1::Volume;

use super::checked::Checked;
use super::layout::container_name;
use super::loaded::{DEFAULT_NAMESPACE, Presence, Roots};
use super::pod::expand;
use super::pod_security::{MUST_BE_TRUE, Violation, violations};
use super::refusal::{ObjectName, Refusal};
use crate::api::{Build, BuildRun, Strategy, reasons};

/// What the Pod Security Standard that the namespace enforces does not accept.
pub fn admission(checked: &Checked, roots: &Roots) -> Vec<Refusal> {
    let strategy = roots.strategy.as_ref().and_then(Presence::found);
    let (Some(enforces), Some(strategy)) = (checked.enforces, strategy) else { return Vec::new() };
    let pod = expand(checked).pod;
    let volumes: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
        .map(|volume| volume.name.as_str())
        .collect();
    let mut found = violations(&pod);
    found.retain(|violation| violation.level <= enforces);
    let mut faults: Vec<Fault<'_>> = Vec::new();
    for violation in found.iter().filter(|violation| !is_for_root(violation, &found)) {
        let (at, field) =
            of_volume(violation, &volumes, checked, roots, strategy).unwrap_or_else(|| {
                (ObjectName::of_strategy(strategy), of_step(violation, checked, strategy))
            });
        let Violation { control, message, .. } = violation;
        let same = faults.iter_mut().find(|fault| {
            (&fault.at, &fault.field, fault.control, fault.message)
                == (&at, &field, control, message)
        });
        let container = violation.container.as_deref();
        if let Some(fault) = same {
            fault.containers.extend(container);
        } else {
            let containers = container.into_iter().collect();
            faults.push(Fault { at, field, containers, control, message });
        }
    }
    let run = &roots.buildrun.metadata;
    let object = name(BuildRun::KIND, run.namespace.as_ref(), run.name.as_ref());
    let namespace = run.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let level = enforces.word();
    let refuse = |Fault { at, field, containers, control, message }| {
        let containers = containers.join(", ");
        let separator = if containers.is_empty() { "" } else { ": " };
        let message = format!(
            "the namespace {namespace} enforces the Pod Security Standard {level}: {containers}{separator}{control}: {message}"
        );
        let reason = reasons::POD_ADMISSION_FAILED;
        Refusal { object: object.clone(), at, field, reason, message }
    };
    faults.into_iter().map(refuse).collect()
}

/// One text, and all containers for which it is a fault.
struct Fault<'a> {
    at: ObjectName,
    field: String,
    containers: Vec<&'a str>,
    control: &'static str,
    message: &'a str,
}

/// Whether something is missing only because a container is root: another user would not need to say more.
fn is_for_root(violation: &Violation, found: &[Violation]) -> bool {
    let is_root =
        |other: &Violation| other.control == "runAsUser" && other.container == violation.container;
    violation.control == "runAsNonRoot"
        && violation.message == MUST_BE_TRUE
        && found.iter().any(is_root)
}

/// What a strategy says of itself or in a step, or what it says for all of its steps and for those around them.
fn of_step(violation: &Violation, checked: &Checked, strategy: &Strategy) -> String {
    if violation.field.starts_with("metadata.") {
        return violation.field.clone();
    }
    let all = || String::from("spec.securityContext");
    let named = |name: &str| Some(name) == violation.container.as_deref();
    let index = checked.steps.iter().position(|step| named(&container_name(&step.step.name)));
    let (_, field) = violation.field.split_once("].").unwrap_or_default();
    let context = index.and_then(|index| strategy.spec().steps[index].security_context.as_ref());
    let is_own = context.is_some_and(|context| context.run_as_user.is_some());
    match index {
        _ if field == "securityContext.runAsUser" && !is_own => all() + ".runAsUser",
        Some(index) if !field.is_empty() => format!("spec.steps[{index}].{field}"),
        _ => all(),
    }
}

/// Where a volume of the pod has its source: the run's before the Build's before the strategy's.
fn of_volume(
    violation: &Violation,
    volumes: &[&str],
    checked: &Checked,
    roots: &Roots,
    strategy: &Strategy,
) -> Option<(ObjectName, String)> {
    let (index, rest) = violation.field.strip_prefix("spec.volumes[")?.split_once(']')?;
    let wanted = *volumes.get(index.parse::<usize>().ok()?)?;
    // The pod has the name with its values, the objects may have references in it.
    let at = checked.volumes.iter().position(|volume| volume.name == wanted)?;
    let declared = strategy.spec().volumes.get(at)?;
    let is_overridable = declared.overridable == Some(true);
    let last = |list: &[Volume]| {
        list.iter().rposition(|volume| is_overridable && volume.name == declared.volume.name)
    };
    let run = &roots.buildrun;
    let run_name =
        || name(BuildRun::KIND, run.metadata.namespace.as_ref(), run.metadata.name.as_ref());
    if let Some(at) = last(&run.spec.volumes) {
        return Some((run_name(), format!("spec.volumes[{at}]{rest}")));
    }
    if let Some(at) = run.spec.build.spec.as_ref().and_then(|spec| last(&spec.volumes)) {
        return Some((run_name(), format!("spec.build.spec.volumes[{at}]{rest}")));
    }
    let build = roots.build.as_ref().and_then(Presence::found);
    if let Some((build, at)) = build.and_then(|build| Some((build, last(&build.spec.volumes)?))) {
        let metadata = &build.metadata;
        let build = name(Build::KIND, metadata.namespace.as_ref(), metadata.name.as_ref());
        return Some((build, format!("spec.volumes[{at}]{rest}")));
    }
    Some((ObjectName::of_strategy(strategy), format!("spec.volumes[{at}]{rest}")))
}

fn name(kind: &'static str, namespace: Option<&String>, name: Option<&String>) -> ObjectName {
    ObjectName {
        kind: kind.into(),
        namespace: namespace.cloned(),
        name: name.cloned().unwrap_or_default(),
    }
}
