//! Judges every object of the files, each as what it is.
//!
//! Invariant: no object is implied: a Build without BuildRun is judged as a Build, a strategy without Build as a strategy.
//! Invariant: findings stand in the order of the objects whose status would carry them; of one object the first refusal is the one
//! that its status would show, and warnings come last.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use super::files::{Files, Located, Note, OWN_KINDS, Object, Wanted, is_of_cluster, is_other};
use super::load::{Chosen, load_build, load_run};
use super::read::{Document, ReadError};
use crate::api::{Build, BuildRun, BuildStrategy, Strategy};
use crate::plan::{
    DEFAULT_NAMESPACE, Finding, INVALID, ObjectName, Presence, Refusal, Roots, Settings, Warning,
    admission, build_warnings, buildrun_warnings, strategy_warnings, validate, validate_build,
    validate_strategy,
};

/// What came of a look at all objects.
#[derive(Debug, Default)]
pub struct Checkup {
    /// What to mend.
    pub findings: Vec<Finding>,
    /// What was assumed and what was passed over.
    pub notes: Vec<Note>,
}

/// Judges all objects of the documents. `now` is when runs that are not on a cluster yet were created; `untold` is as for
/// [`Files::beside_cluster`].
pub fn check(
    documents: Vec<Document>,
    errors: &[ReadError],
    settings: &Settings,
    now: Timestamp,
    untold: Option<BTreeSet<Wanted>>,
) -> Checkup {
    let (files, invalid, notes) = Files::sort(documents);
    let files = files.beside_cluster(untold);
    let is_taken = |object: &&ObjectName| files.object(object).is_some() || is_other(object);
    let refused = invalid.iter().map(|located| &located.refusal.at);
    let untaken = refused.filter(|object| !is_taken(object)).map(full).collect();
    let mut judge = Judge {
        files: &files,
        settings,
        now,
        is_complete: errors.is_empty(),
        untaken,
        told: BTreeMap::new(),
        proven: BTreeSet::new(),
        findings: files.unknown().to_vec(),
        notes,
    };
    for located in invalid {
        judge.tell(located);
    }
    let mut places: BTreeMap<ObjectName, usize> = BTreeMap::new();
    let mut objects = Vec::new();
    for (place, name) in files.order().iter().enumerate() {
        if let Entry::Vacant(entry) = places.entry(full(name)) {
            entry.insert(place);
            objects.extend(files.object(name).map(|object| (name, object)));
        }
    }
    for (name, object) in &objects {
        match object {
            Object::BuildRun(run) => judge.buildrun(name, run),
            Object::Build(build) => judge.build(name, build),
            Object::Strategy(_) => {}
        }
    }
    // What a run is refused for is the run's; what no run of these files tells is the strategy's own.
    for (name, object) in &objects {
        if let Object::Strategy(strategy) = object {
            judge.strategy(name, strategy);
        }
    }
    if objects.is_empty() && errors.is_empty() && judge.findings.is_empty() {
        judge.notes.push(Note("the files hold no BuildRun, Build or strategy".into()));
    }
    let mut findings: Vec<Finding> = errors.iter().map(unreadable).collect();
    let mut rest = judge.findings;
    for finding in &mut rest {
        finding.object = full(&finding.object);
        finding.at = full(&finding.at);
    }
    rest.sort_by_key(|finding| (places.get(&full(&finding.object)).copied(), finding.severity));
    findings.extend(rest);
    let mut known = BTreeSet::new();
    let mut notes = judge.notes;
    notes.retain(|note| known.insert(note.0.clone()));
    Checkup { findings, notes }
}

struct Judge<'a> {
    files: &'a Files,
    settings: &'a Settings,
    now: Timestamp,
    /// Every file could be read.
    is_complete: bool,
    /// Objects that could not be taken; some have no name, some no kind that there is.
    untaken: BTreeSet<ObjectName>,
    /// What was told of which text (object with the text, field, message), and for which objects.
    told: BTreeMap<(ObjectName, String, String), BTreeSet<ObjectName>>,
    /// Strategies with which a run of the files can start.
    proven: BTreeSet<ObjectName>,
    findings: Vec<Finding>,
    notes: Vec<Note>,
}

impl Judge<'_> {
    fn buildrun(&mut self, name: &ObjectName, run: &BuildRun) {
        self.warn(name, buildrun_warnings(run));
        let mut chosen = load_run(self.files, run, self.now);
        self.assume(&mut chosen);
        match validate(&chosen.loaded, self.settings) {
            Ok(checked) => {
                let strategy = chosen.loaded.roots.strategy.as_ref().and_then(Presence::found);
                self.proven
                    .extend(strategy.map(|strategy| full(&ObjectName::of_strategy(strategy))));
                self.refuse(admission(&checked, &chosen.loaded.roots));
            }
            Err(refusals) => self.refuse(refusals),
        }
        self.notes.extend(chosen.assumptions);
    }

    fn build(&mut self, name: &ObjectName, build: &Build) {
        self.warn(name, build_warnings(build));
        let mut chosen = load_build(self.files, build);
        self.assume(&mut chosen);
        self.refuse(validate_build(build, &chosen.loaded, self.settings));
        self.notes.extend(chosen.assumptions);
    }

    fn strategy(&mut self, name: &ObjectName, strategy: &Strategy) {
        let mut refusals = validate_strategy(strategy, self.settings);
        // A run that replaces what is wrong shows that not every run is refused.
        let is_proven = self.proven.contains(&full(name));
        refusals.retain(|refusal| !is_proven && !self.told.contains_key(&text_of(refusal)));
        self.refuse(refusals);
        self.warn(name, strategy_warnings(strategy));
    }

    /// What is missing because it could not be read is no further problem of the others: it is taken to be there.
    fn assume(&self, chosen: &mut Chosen) {
        let Roots { buildrun, build, strategy } = &mut chosen.loaded.roots;
        let namespace = buildrun.metadata.namespace.clone();
        let named = |kind: &str, name: &str| {
            full(&ObjectName {
                kind: kind.to_owned().into(),
                namespace: namespace.clone(),
                name: name.to_owned(),
            })
        };
        let reference = &buildrun.spec.build;
        let found = build.as_ref().and_then(Presence::found).map(|build| &build.spec);
        let wanted = reference.spec.as_ref().or(found).map(|spec| &spec.strategy).map(|strategy| {
            named(strategy.kind.as_deref().unwrap_or(BuildStrategy::KIND), &strategy.name)
        });
        if let (Some(Presence::Absent), Some(wanted)) = (&strategy, wanted)
            && self.may_be_there(&wanted)
        {
            *strategy = Some(Presence::Assumed);
        }
        if let (Some(Presence::Absent), Some(name)) = (&build, &reference.name)
            && self.may_be_there(&named(Build::KIND, name))
        {
            *build = Some(Presence::Assumed);
        }
    }

    /// Whether something that could not be read or taken may be this object.
    fn may_be_there(&self, wanted: &ObjectName) -> bool {
        let may_be = |untaken: &ObjectName| {
            let is_known = OWN_KINDS.contains(&untaken.kind.as_ref()) || is_other(untaken);
            let has_kind = !is_known || untaken.kind == wanted.kind;
            let has_name = untaken.name.is_empty() || untaken.name == wanted.name;
            let has_namespace = !is_known || untaken.namespace == wanted.namespace;
            has_kind && has_name && has_namespace
        };
        !self.is_complete || self.untaken.iter().any(may_be)
    }

    fn refuse(&mut self, refusals: Vec<Refusal>) {
        for refusal in refusals {
            let located = self.files.locate(refusal);
            self.tell(located);
        }
    }

    fn tell(&mut self, Located { file, refusal }: Located) {
        let told = self.told.entry(text_of(&refusal)).or_default();
        if told.insert(full(&refusal.object)) {
            self.findings.push(Finding::refusal(refusal, file));
        }
    }

    fn warn(&mut self, object: &ObjectName, warnings: Vec<Warning>) {
        let file = self.files.place(object);
        self.findings.extend(warnings.into_iter().map(|mut warning| {
            warning.field = self.files.written(object, warning.field);
            Finding::warning(object.clone(), file.clone(), warning)
        }));
    }
}

/// A file that says nothing: there is no object to name.
fn unreadable(error: &ReadError) -> Finding {
    let object = ObjectName { kind: "".into(), namespace: None, name: String::new() };
    let (file, message) = (error.file().to_owned(), error.why());
    let refusal = Refusal {
        object: object.clone(),
        at: object,
        field: String::new(),
        reason: INVALID,
        message,
    };
    Finding::refusal(refusal, Some(file))
}

/// The text at fault and what is wrong with it.
fn text_of(refusal: &Refusal) -> (ObjectName, String, String) {
    (full(&refusal.at), refusal.field.clone(), refusal.message.clone())
}

/// An object's name with the namespace that `kubectl` would put it in.
fn full(object: &ObjectName) -> ObjectName {
    let ObjectName { kind, namespace, name } = object.clone();
    let is_scoped = !is_of_cluster(&kind);
    let is_known = OWN_KINDS.contains(&kind.as_ref()) || is_other(object);
    let namespace = match namespace {
        Some(namespace) if is_scoped => Some(namespace),
        None if is_scoped && is_known => Some(DEFAULT_NAMESPACE.into()),
        _ => None,
    };
    ObjectName { kind, namespace, name }
}
