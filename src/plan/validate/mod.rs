//! Judges a loaded run: a proven one, or every reason why it cannot start.
//!
//! Invariant: all refusals are collected; the first one for an object is the one that upstream would show in its status.
//! Invariant: no cluster is asked; what only the cluster knows arrives in [`Loaded`].

mod build;
mod generation;
mod parameters;
mod pod_rules;
mod problems;
mod proof;
mod scheduling;
mod steps;
mod strategy;
mod strategy_alone;
mod texts;
mod volume_rules;

use std::collections::BTreeSet;

pub use build::repository_to_ask;
use problems::Site;
pub use strategy_alone::validate_strategy;

use super::checked::Checked;
use super::effective::{Author, Effective};
use super::go_quote::go_quote;
use super::kubernetes_names::label_value;
use super::loaded::{Loaded, Presence, Roots};
use super::params::UnresolvedDefault;
use super::references::{self, GENERATED_ACCOUNT, Mounted};
use super::refusal::{ObjectName, Refusal};
use super::retain::other_controller;
use super::settings::Settings;
use super::substitution::{Resolved, Substitution};
use crate::api::{
    Build, BuildRun, BuildRunSpec, BuildSpec, BuildStrategy, ClusterBuildStrategy, Strategy,
    reasons,
};

/// A proven run, or all refusals; none where nothing is wrong and the Build or its strategy is assumed, so that there is nothing to
/// prove.
pub fn validate(loaded: &Loaded, settings: &Settings) -> Result<Checked, Vec<Refusal>> {
    let mut found = Vec::new();
    let roots = &loaded.roots;
    let run = buildrun_name(&roots.buildrun);
    let run_site = Site::own(&run, "spec");

    found.extend(run_alone(&run_site, &roots.buildrun, settings));
    found.extend(build_of(&run_site, loaded, settings));
    if roots.buildrun.spec.is_canceled() {
        found.push(run_site.refuse(
            "state",
            reasons::BUILD_RUN_CANCELED,
            "the BuildRun is marked canceled.",
        ));
    }
    found.extend(ownership(&run, roots));
    found.extend(account(&run_site, loaded));
    let effective = Effective::of(roots);
    let proven = effective.as_ref().and_then(|effective| {
        let substitution = Substitution::of(effective);
        let resolved = substitution.0.resolve(effective);
        found.extend(with_build(
            &run,
            loaded,
            effective,
            &substitution,
            resolved.as_ref(),
            settings,
        ));
        effective.strategy?;
        Some((effective, resolved?))
    });
    // The Build's own verdict and the run's come to the same words where the run adds nothing.
    let mut known = BTreeSet::new();
    found.retain(|refusal| {
        known.insert((refusal.at.clone(), refusal.field.clone(), refusal.message.clone()))
    });
    match (proven, found.is_empty()) {
        (Some((effective, resolved)), true) => {
            Ok(proof::prove(loaded, effective, resolved, settings))
        }
        _ => Err(found),
    }
}

/// Everything that is wrong with a Build, in the order of its own status.
pub fn validate_build(build: &Build, loaded: &Loaded, settings: &Settings) -> Vec<Refusal> {
    let site = Site::own(&build_name(build), "spec");
    let own_name = build.metadata.name.as_deref().unwrap_or_default();
    let strategy = loaded.roots.strategy.as_ref();
    let spec = &build.spec;
    let mut found = Vec::new();
    found.extend(build::source_url(&site, build.metadata.annotations.as_ref(), spec));
    found.extend(build::secrets(&site, spec, &loaded.secrets));
    found.extend(of_strategy(&site, spec, strategy));
    found.extend(build::output(&site, spec));
    found.extend(build::name(&Site { base: String::new(), ..site.clone() }, own_name));
    found.extend(build::env(&site, &spec.env, settings));
    found.extend(build::triggers(&site, spec.trigger.as_ref()));
    found.extend(last_first(scheduling::node_selector(&site, &spec.node_selector)));
    found.extend(last_first(scheduling::tolerations(&site, &spec.tolerations)));
    found.extend(scheduling::scheduler_name(&site, spec.scheduler_name.as_deref()));
    found.extend(scheduling::runtime_class_name(&site, spec.runtime_class_name.as_deref()));
    found
}

/// Of several problems that one validator finds in a Build, upstream shows the last; in a BuildRun, the first.
fn last_first(mut found: Vec<Refusal>) -> Vec<Refusal> {
    found.reverse();
    found
}

/// What the Build says of its strategy. Of parameters, volumes and step resources, upstream shows the last that is wrong.
fn of_strategy(
    site: &Site,
    spec: &BuildSpec,
    strategy: Option<&Presence<Strategy>>,
) -> Vec<Refusal> {
    let mut found: Vec<Refusal> =
        strategy::registered(site, &spec.strategy, strategy).into_iter().collect();
    if let Some(strategy) = strategy.and_then(|strategy| strategy.found()) {
        let strategy = strategy.spec();
        let given: Vec<_> = spec
            .param_values
            .iter()
            .enumerate()
            .map(|(index, value)| (value, site, index))
            .collect();
        found.extend(strategy::step_resources(
            site,
            "strategy.stepResources",
            strategy,
            &spec.strategy.step_resources,
        ));
        found.extend(strategy::volumes(site, strategy, &spec.volumes));
        found.extend(parameters::validate(&strategy.parameters, &given, None));
    }
    found
}

/// What a BuildRun says, read on its own.
fn run_alone(site: &Site, run: &BuildRun, settings: &Settings) -> Vec<Refusal> {
    let mut found = Vec::new();
    let broken = label_value(run.metadata.name.as_deref().unwrap_or_default());
    if !broken.is_empty() {
        let place = Site { base: String::new(), ..site.clone() };
        found.push(place.refuse(
            "metadata.name",
            reasons::BUILD_RUN_NAME_INVALID,
            broken.join(", "),
        ));
    }
    let build = &run.spec.build;
    match (&build.name, &build.spec) {
        (None, None) => found.push(site.refuse(
            "build",
            reasons::BUILD_RUN_NO_REF_OR_SPEC,
            "no build referenced or specified, either 'buildRef' or 'buildSpec' has to be set",
        )),
        (Some(_), Some(_)) => found.push(site.refuse(
            "build",
            reasons::BUILD_RUN_AMBIGUOUS_BUILD,
            "fields 'buildRef' and 'buildSpec' are mutually exclusive",
        )),
        (None, Some(spec)) => found.extend(overrides(site, &run.spec, spec)),
        (Some(_), None) => {}
    }
    for (index, variable) in
        run.spec.env.iter().enumerate().filter(|(_, variable)| settings.forbids_env(&variable.name))
    {
        let message = format!(
            "environment variable {} is forbidden for security reasons",
            go_quote(&variable.name)
        );
        found.push(site.refuse(
            &format!("env[{index}].name"),
            reasons::SPEC_ENV_NAME_FORBIDDEN,
            message,
        ));
    }
    found
}

/// An embedded Build leaves nothing to override.
fn overrides(site: &Site, run: &BuildRunSpec, build: &BuildSpec) -> Vec<Refusal> {
    let mut found = Vec::new();
    let mut forbid = |is_set: bool, field: &str| {
        if is_set {
            let message = match field {
                "build.spec.trigger" => {
                    "cannot use 'triggers' override in the 'BuildRun', only allowed in the 'Build'"
                        .to_owned()
                }
                _ => format!("cannot use '{field}' override and 'buildSpec' simultaneously"),
            };
            found.push(site.refuse(
                field,
                reasons::BUILD_RUN_BUILD_FIELD_OVERRIDE_FORBIDDEN,
                message,
            ));
        }
    };
    forbid(run.output.is_some(), "output");
    forbid(!run.param_values.is_empty(), "paramValues");
    forbid(!run.env.is_empty(), "env");
    forbid(run.timeout.is_some(), "timeout");
    forbid(build.trigger.is_some(), "build.spec.trigger");
    forbid(!run.node_selector.is_empty(), "nodeSelector");
    forbid(!run.tolerations.is_empty(), "tolerations");
    forbid(run.scheduler_name.is_some(), "schedulerName");
    forbid(run.runtime_class_name.is_some(), "runtimeClassName");
    forbid(!run.step_resources.is_empty(), "stepResources");
    found
}

/// The Build that a run names must be there and registered; an embedded one is judged as part of the run.
fn build_of(site: &Site, loaded: &Loaded, settings: &Settings) -> Vec<Refusal> {
    let reference = &loaded.roots.buildrun.spec.build;
    if let Some(spec) = &reference.spec {
        return embedded(
            &Site { base: "spec.build.spec".into(), ..site.clone() },
            spec,
            loaded,
            settings,
        );
    }
    match (&reference.name, loaded.roots.build.as_ref()) {
        (Some(_), Some(Presence::Found(build))) => {
            let own = Site::own(&build_name(build), "spec");
            let mut found: Vec<_> = build::unreachable(&own, build).into_iter().collect();
            found.extend(validate_build(build, loaded, settings));
            let why = found.first().map(|first| unregistered(site, build, first));
            found.extend(why.or_else(|| owned_by_others(site, build)));
            found
        }
        (Some(_), Some(Presence::Assumed)) | (None, _) => Vec::new(),
        (Some(name), _) => {
            vec![site.refuse(
                "build.name",
                reasons::BUILD_NOT_FOUND,
                format!("build.shipwright.io {} not found", go_quote(name)),
            )]
        }
    }
}

/// What a run says of a Build that is refused. Upstream keeps a Build registered whose strategy is deleted, and finds out when
/// the run needs the strategy.
fn unregistered(site: &Site, build: &Build, first: &Refusal) -> Refusal {
    let status = build.status.as_ref();
    let was_registered = status.and_then(|status| status.registered.as_deref()) == Some("True");
    let strategy = &build.spec.strategy;
    let not_found =
        |kind: &str| format!("{kind}.shipwright.io {} not found", go_quote(&strategy.name));
    let (reason, message) = match first.reason {
        reason @ reasons::BUILD_STRATEGY_NOT_FOUND if was_registered => {
            (reason, not_found(BuildStrategy::KIND))
        }
        reason @ reasons::CLUSTER_BUILD_STRATEGY_NOT_FOUND if was_registered => {
            (reason, not_found(ClusterBuildStrategy::KIND))
        }
        reasons::UNKNOWN_BUILD_STRATEGY_KIND if was_registered => {
            let kind = strategy.kind.as_deref().unwrap_or_default();
            (reasons::UNKNOWN_STRATEGY_KIND, format!("unknown strategy {kind}"))
        }
        reason => return not_registered(site, build, reason),
    };
    site.refuse("build.name", reason, message)
}

/// What only a look at all runs of a Build tells, its status says.
fn owned_by_others(site: &Site, build: &Build) -> Option<Refusal> {
    let status = build.status.as_ref()?;
    let reason = reasons::SET_OWNER_REFERENCE_FAILED;
    let says_so =
        status.registered.as_deref() == Some("False") && status.reason.as_deref() == Some(reason);
    says_so.then(|| not_registered(site, build, reason))
}

fn not_registered(site: &Site, build: &Build, reason: &str) -> Refusal {
    let name = build.metadata.name.as_deref().unwrap_or_default();
    let message = format!(
        "the Build is not registered correctly, build: {name}, registered status: False, reason: {reason}"
    );
    site.refuse("build.name", reasons::BUILD_REGISTRATION_FAILED, message)
}

/// Upstream runs nine of a Build's validators on an embedded one and shows what the last of them says; the rest comes later
/// there and is refused here.
fn embedded(site: &Site, spec: &BuildSpec, loaded: &Loaded, settings: &Settings) -> Vec<Refusal> {
    let strategy = loaded.roots.strategy.as_ref();
    let validators = [
        build::source_url(site, None, spec).into_iter().collect(),
        build::secrets(site, spec, &loaded.secrets),
        of_strategy(site, spec, strategy),
        build::source_shape(site, spec.source.as_ref()).into_iter().collect(),
        build::env(site, &spec.env, settings),
        last_first(scheduling::node_selector(site, &spec.node_selector)),
        last_first(scheduling::tolerations(site, &spec.tolerations)),
        scheduling::scheduler_name(site, spec.scheduler_name.as_deref()).into_iter().collect(),
    ];
    let mut found: Vec<Refusal> = validators.into_iter().rev().flatten().collect();
    found.extend(scheduling::runtime_class_name(site, spec.runtime_class_name.as_deref()));
    for refusal in &mut found {
        refusal.reason = reasons::BUILD_REGISTRATION_FAILED;
    }
    found
}

/// A Build that takes its runs with it must become their controller, which an object has one of at most.
fn ownership(run: &ObjectName, roots: &Roots) -> Option<Refusal> {
    let build = roots.build.as_ref().and_then(Presence::found)?;
    let (index, message) = other_controller(build, &roots.buildrun)?;
    let field = format!("metadata.ownerReferences[{index}]");
    Some(Site::own(run, "").refuse(&field, reasons::SET_OWNER_REFERENCE_FAILED, message))
}

/// The account that the run names must be there; of the default ones, one.
fn account(site: &Site, loaded: &Loaded) -> Option<Refusal> {
    let name = loaded.roots.buildrun.spec.service_account.as_deref()?;
    let absent = name != GENERATED_ACCOUNT
        && loaded.service_accounts.get(name).is_some_and(Presence::is_absent);
    let message = format!("service account {name} not found");
    absent.then(|| site.refuse("serviceAccount", reasons::SERVICE_ACCOUNT_NOT_FOUND, message))
}

/// What Build, run and strategy come to together.
fn with_build(
    run: &ObjectName,
    loaded: &Loaded,
    effective: &Effective<'_>,
    substitution: &(Substitution, Vec<UnresolvedDefault>),
    resolved: Option<&Resolved>,
    settings: &Settings,
) -> Vec<Refusal> {
    let run_site = Site::own(run, "spec");
    let build_site = build_site(run, effective);
    let own = &effective.buildrun.spec;
    let mut found = Vec::new();

    if let Some(spec) = effective.strategy.map(Strategy::spec) {
        let of = |author| if author == Author::Build { &build_site } else { &run_site };
        let given: Vec<_> = effective
            .given_params()
            .into_iter()
            .map(|(value, author, index)| (value, of(author), index))
            .collect();
        found.extend(parameters::validate(&spec.parameters, &given, Some(&run_site)));
        found.extend(strategy::volumes(&run_site, spec, &own.volumes));
        found.extend(strategy::step_resources(
            &run_site,
            "stepResources",
            spec,
            &own.step_resources,
        ));
    }
    found.extend(scheduling::node_selector(&run_site, &own.node_selector));
    found.extend(scheduling::tolerations(&run_site, &own.tolerations));
    found.extend(scheduling::scheduler_name(&run_site, own.scheduler_name.as_deref()));
    found.extend(scheduling::runtime_class_name(&run_site, own.runtime_class_name.as_deref()));
    found.extend(platforms(&build_site, &run_site, effective));
    found.extend(build::env(&run_site, &own.env, settings).into_iter().filter_map(
        |mut refusal| {
            // Forbidden names have been told; upstream finds the others when the API server refuses the pod.
            let is_new = refusal.reason != reasons::SPEC_ENV_NAME_FORBIDDEN;
            refusal.reason = reasons::TASK_RUN_GENERATION_FAILED;
            is_new.then_some(refusal)
        },
    ));
    let Some(strategy) = effective.strategy else { return found };

    let (substitution, unresolved) = substitution;
    let context = generation::Context {
        strategy_site: Site::of(run, &ObjectName::of_strategy(strategy), "spec"),
        build_site,
        run_site,
        strategy,
        effective,
        substitution,
        resolved,
        loaded,
        settings,
    };
    let texts = context.texts();
    // Names of objects are known once every reference in them is.
    let mounted = if texts.is_empty() { mounted(&context) } else { Vec::new() };
    found.extend(context.refusals(unresolved, texts));
    found.extend(context.too_large());
    found.extend(mounted);
    found
}

/// One pod runs on one platform.
fn platforms(build_site: &Site, run_site: &Site, effective: &Effective<'_>) -> Vec<Refusal> {
    let own = effective.buildrun.spec.output.as_ref().filter(|output| !output.platforms.is_empty());
    let (site, output) = match own {
        Some(output) => (run_site, output),
        None => (build_site, &effective.spec.output),
    };
    let mut found = build::platforms(site, output);
    found.extend(build::platform_conflicts(
        run_site,
        output,
        &effective.buildrun.spec.node_selector,
    ));
    found.extend(build::platform_conflicts(build_site, output, &effective.spec.node_selector));
    if !output.platforms.is_empty() {
        let message = "multi-arch builds require PipelineRun executor mode, current executor mode: \"TaskRun\"";
        found.push(site.refuse("output.platforms", reasons::EXECUTOR_NOT_PIPELINE_RUN, message));
    }
    found
}

/// Secrets and ConfigMaps that the pod mounts must be there. Those that the Build names were looked at with it.
fn mounted(context: &generation::Context<'_>) -> Vec<Refusal> {
    let Loaded { secrets, config_maps, .. } = context.loaded;
    let missing = |object: Mounted<'_>| match object {
        Mounted::Secret(name) => secrets.get(name)?.is_absent().then(|| ("Secret", go_quote(name))),
        Mounted::ConfigMap(name) => {
            config_maps.get(name)?.is_absent().then(|| ("ConfigMap", go_quote(name)))
        }
    };
    let mut found = Vec::new();
    let mut look = |site: &Site, field: &str, object: Mounted<'_>| {
        if let Some((kind, name)) = missing(object) {
            found.push(site.refuse(
                field,
                reasons::VOLUME_DOES_NOT_EXIST,
                format!("{kind} {name} not found"),
            ));
        }
    };
    for (index, volume) in
        context.resolved.iter().flat_map(|resolved| &resolved.volumes).enumerate()
    {
        let (site, place) = context.volume_place(index, &context.effective.volumes[index].name);
        for object in references::mounted(volume) {
            look(site, &place, object);
        }
    }
    let output = context.effective.buildrun.spec.output.as_ref();
    if let Some(secret) = output.and_then(|output| output.push_secret.as_deref()) {
        look(&context.run_site, "output.pushSecret", Mounted::Secret(secret));
    }
    found
}

/// Where the effective Build's spec stands. The run carries what only the run found out.
fn build_site(run: &ObjectName, effective: &Effective<'_>) -> Site {
    match effective.build {
        Some(build) => Site::of(run, &build_name(build), "spec"),
        None => Site::own(run, "spec.build.spec"),
    }
}

fn buildrun_name(run: &BuildRun) -> ObjectName {
    let metadata = &run.metadata;
    ObjectName {
        kind: BuildRun::KIND.into(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

fn build_name(build: &Build) -> ObjectName {
    let metadata = &build.metadata;
    ObjectName {
        kind: Build::KIND.into(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}
