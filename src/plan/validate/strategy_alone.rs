//! A strategy read on its own: what every run of it would be refused for that replaces nothing of it, whatever values it gives.
//!
//! Invariant: values are not known, so a text that holds references is judged for its references only.

use super::generation;
use super::problems::Site;
use crate::api::{BuildRun, BuildRunSpec, BuildSpec, Image, ReferencedBuild, Strategy};
use crate::plan::effective::Effective;
use crate::plan::loaded::{Loaded, Presence, Roots};
use crate::plan::refusal::{ObjectName, Refusal};
use crate::plan::settings::Settings;
use crate::plan::substitution::Substitution;

/// Everything that is wrong with a strategy by itself. Upstream says none of it before there is a run, and has no status of
/// strategies; the reasons are those that a run would get.
pub fn validate_strategy(strategy: &Strategy, settings: &Settings) -> Vec<Refusal> {
    let loaded = Loaded { roots: bare(strategy), ..Loaded::default() };
    let Some(effective) = Effective::of(&loaded.roots) else { return Vec::new() };
    // Defaults may give way to other values, so no text is judged with them in it.
    let (_, unresolved) = Substitution::of(&effective);
    let (substitution, _) = Substitution::of(&Effective { strategy: None, ..effective.clone() });
    let name = ObjectName::of_strategy(strategy);
    let site = Site::own(&name, "spec");
    let context = generation::Context {
        strategy_site: site.clone(),
        build_site: site.clone(),
        run_site: site,
        strategy,
        effective: &effective,
        substitution: &substitution,
        resolved: None,
        loaded: &loaded,
        settings,
    };
    context.refusals(&unresolved, context.texts())
}

/// The least that refers to the strategy. Nothing of it can be at fault.
fn bare(strategy: &Strategy) -> Roots {
    let output = Image { image: "image".into(), ..Image::default() };
    let spec = Some(BuildSpec { output, ..BuildSpec::default() });
    Roots {
        buildrun: BuildRun {
            spec: BuildRunSpec {
                build: ReferencedBuild { name: None, spec },
                ..BuildRunSpec::default()
            },
            ..BuildRun::default()
        },
        build: None,
        strategy: Some(Presence::Found(strategy.clone())),
    }
}
