//! Whether the namespace of a proven run accepts its pod.
//!
//! Invariant: the place of each refusal is text of Build, run or strategy, and not of the pod that nobody wrote.

use k8s_openapi::api::core::v1::Volume;

use super::checked::Checked;
use super::layout::container_name;
use super::loaded::{DEFAULT_NAMESPACE, Presence, Roots};
use super::pod::expand;
use super::pod_security::{Violation, violations};
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
    let run = &roots.buildrun.metadata;
    let object = name(BuildRun::KIND, run.namespace.as_ref(), run.name.as_ref());
    let refuse = |violation: &Violation| {
        let (at, field) = of_volume(violation, &volumes, roots, strategy).unwrap_or_else(|| {
            (ObjectName::of_strategy(strategy), of_step(violation, checked, strategy))
        });
        let namespace = run.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let container = violation.container.as_deref();
        let container = container.map(|name| format!("{name}: ")).unwrap_or_default();
        let Violation { control, message, .. } = violation;
        let level = enforces.word();
        let message = format!(
            "the namespace {namespace} enforces the Pod Security Standard {level}: {container}{control}: {message}"
        );
        let reason = reasons::POD_ADMISSION_FAILED;
        Refusal { object: object.clone(), at, field, reason, message }
    };
    let found = violations(&pod);
    found.iter().filter(|violation| violation.level <= enforces).map(refuse).collect()
}

/// What a strategy step says, or the strategy for all of its steps and for those around them.
fn of_step(violation: &Violation, checked: &Checked, strategy: &Strategy) -> String {
    let all = || String::from("spec.securityContext");
    let named = |name: &str| Some(name) == violation.container.as_deref();
    let index = checked.steps.iter().position(|step| named(&container_name(&step.step.name)));
    let Some(index) = index else { return all() };
    let field = violation.field.split_once("].").map_or("", |(_, field)| field);
    let context = strategy.spec().steps[index].security_context.as_ref();
    let is_own = context.is_some_and(|context| context.run_as_user.is_some());
    if field == "securityContext.runAsUser" && !is_own {
        return all() + ".runAsUser";
    }
    format!("spec.steps[{index}].{field}")
}

/// Where a volume of the pod has its source: the run's before the Build's before the strategy's.
fn of_volume(
    violation: &Violation,
    volumes: &[&str],
    roots: &Roots,
    strategy: &Strategy,
) -> Option<(ObjectName, String)> {
    let (index, rest) = violation.field.strip_prefix("spec.volumes[")?.split_once(']')?;
    let wanted = *volumes.get(index.parse::<usize>().ok()?)?;
    let last = |list: &[Volume]| list.iter().rposition(|volume| volume.name == wanted);
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
    let at = strategy.spec().volumes.iter().position(|volume| volume.volume.name == wanted)?;
    Some((ObjectName::of_strategy(strategy), format!("spec.volumes[{at}]{rest}")))
}

fn name(kind: &'static str, namespace: Option<&String>, name: Option<&String>) -> ObjectName {
    ObjectName {
        kind: kind.into(),
        namespace: namespace.cloned(),
        name: name.cloned().unwrap_or_default(),
    }
}
