//! Golden pods: what a run becomes, as people expect it and as it was last seen.
//!
//! Invariant: each case says by hand why it is there, as whom every container runs, what is mounted and what is executed; the
//! snapshot beside it only shows that nothing else changed.
//!
//! A case is one file of `cases/`: the expectations first, then the objects. `INSTA_UPDATE=always` rewrites snapshots.

pub mod expectations;
mod mutations;
mod print;
mod reasons;
mod verdicts;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use slipway::local::{self, Commands, Document, Files};
use slipway::plan::explain::{Explanation, explain};
use slipway::plan::{Expansion, Loaded, Presence, Settings, expand, invariants, validate};
use slipway_step::protocol::StepCommandLine;

use expectations::Expectations;

/// When a run that says nothing was created.
const NOW: &str = "2026-01-02T03:04:05Z";
/// What Secrets of the cases hold, and no pod may.
const SECRET: &str = "TOP-SECRET";

/// What comes of a case.
pub struct Outcome {
    /// The expansion, or one line for each refusal.
    pub expansion: Result<Expansion, Vec<String>>,
    /// What is told of it; nothing where the run is refused.
    pub explanation: Option<Explanation>,
    pub notes: Vec<String>,
}

#[test]
fn cases_are_as_expected() {
    let mut failed = Vec::new();
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::glob!("cases/*.yaml", |path| {
            let (expectations, outcome) = run(path);
            insta::assert_snapshot!("pod", print::outcome(&outcome), &expectations.why);
            // All cases that fail, not only the first one.
            let checked = catch_unwind(AssertUnwindSafe(|| {
                expectations.check(&outcome);
                if let Ok(expansion) = &outcome.expansion {
                    holds_for_every_pod(&expansion.pod, &expectations);
                }
            }));
            if checked.is_err() {
                failed.push(path.display().to_string());
                eprintln!("^ {}\n", path.display());
            }
        });
    });
    assert_eq!(failed, Vec::<String>::new());
}

#[test]
fn there_are_enough_cases() {
    let cases = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases"));
    assert!(cases.unwrap().count() >= 80);
}

/// What a case expects, and its objects.
pub fn read(case: &Path) -> (Expectations, Vec<Document>) {
    let (mut documents, errors) = local::read(&[case.to_owned()]);
    assert!(errors.is_empty(), "{errors:?}");
    let expectations: Expectations = serde_json::from_value(documents.remove(0).value).unwrap();
    if !expectations.files.is_empty() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let paths: Vec<_> = expectations.files.iter().map(|file| root.join(file)).collect();
        let (more, errors) = local::read(&paths);
        assert!(errors.is_empty(), "{errors:?}");
        documents.extend(more);
    }
    (expectations, documents)
}

/// Loads, judges and expands the objects of a case, as `slipway render` does.
pub fn run(case: &Path) -> (Expectations, Outcome) {
    let (expectations, documents) = read(case);
    let (files, mut located, notes) = Files::of(documents);
    let mut notes: Vec<String> = notes.into_iter().map(|note| note.0).collect();
    let (mut expansion, mut explanation) = (None, None);
    if !files.incomplete {
        let now: Timestamp = NOW.parse().unwrap();
        let mut chosen = local::choose(
            &files,
            expectations.buildrun.as_deref(),
            now,
            Commands::Known(&BTreeMap::new()),
        )
        .unwrap();
        let absent = &expectations.absent;
        for object in absent {
            take_away(&mut chosen.loaded, object);
        }
        if expectations.registered
            && let Some(Presence::Found(build)) = &mut chosen.loaded.roots.build
        {
            build.status.get_or_insert_default().registered = Some("True".into());
        }
        let is_there = |note: &String| {
            let object = note.replacen(" default/", "/", 1);
            !absent.iter().any(|absent| object.starts_with(&format!("{absent} ")))
        };
        notes.extend(chosen.assumptions.into_iter().map(|note| note.0).filter(is_there));
        match validate(&chosen.loaded, &expectations.settings.apply(Settings::default())) {
            Ok(checked) => {
                (expansion, explanation) = (Some(expand(&checked)), Some(explain(&checked)));
            }
            Err(refusals) => {
                located.extend(refusals.into_iter().map(|refusal| files.locate(refusal)));
            }
        }
    }
    let lines = located.iter().map(|located| {
        let refusal = &located.refusal;
        let message = refusal.message.replace(&case.display().to_string(), "CASE");
        format!("{}: {}: {}: {message}", refusal.at, refusal.field, refusal.reason)
    });
    let lines: Vec<String> = lines.collect();
    let expansion = expansion.filter(|_| lines.is_empty()).ok_or(lines);
    let directory = format!("{}/", case.parent().unwrap().display());
    let notes = notes.into_iter().map(|note| note.replace(&directory, "")).collect();
    let explanation = explanation.filter(|_| expansion.is_ok());
    (expectations, Outcome { expansion, explanation, notes })
}

fn take_away(loaded: &mut Loaded, object: &str) {
    let (kind, name) = object.split_once('/').unwrap();
    let name = name.to_owned();
    match kind {
        "Secret" => _ = loaded.secrets.insert(name, Presence::Absent),
        "ConfigMap" => _ = loaded.config_maps.insert(name, Presence::Absent),
        "ServiceAccount" => _ = loaded.service_accounts.insert(name, Presence::Absent),
        _ => panic!("{object}"),
    }
}

fn holds_for_every_pod(pod: &Pod, expectations: &Expectations) {
    assert_eq!(invariants::broken(pod), Vec::<String>::new());
    let text = serde_json::to_string(pod).unwrap();
    assert!(!text.contains(SECRET), "a Secret's content is in the pod");
    let is_left = text.contains("$(params") || text.contains("$(inputs.params");
    assert_eq!(is_left, expectations.literal, "references to parameters are left");
    let spec = pod.spec.as_ref().unwrap();
    let annotations = pod.metadata.annotations.clone().unwrap();
    for container in &spec.containers {
        let is_supporting = annotations["slipway.dev/supporting-steps"]
            .split(',')
            .any(|name| name == container.name);
        let (_, command) = expectations::behind_the_gate(container);
        if is_supporting && command[0] == "slipway-step" {
            use clap::Parser;
            StepCommandLine::try_parse_from(command).unwrap();
        }
    }
}
