//! What is said of an object when somebody applies it: why it is refused, and what it names that is not there yet.
//!
//! Invariant: only what does not depend on anything that may still come is refused, with the exceptions that [`Review::of_run`] names.
//! Invariant: of a change, only what it made worse.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::admission::admission;
use super::loaded::{Loaded, Presence};
use super::refusal::{ObjectName, Refusal};
use super::settings::Settings;
use super::validate::{validate, validate_build, validate_strategy};
use crate::api::{Build, FALSE, Strategy, reasons};

/// What a Build names may come so long after it was changed: `kubectl apply` of a directory sends files by name.
const APPLIED_TOGETHER: SignedDuration = SignedDuration::from_secs(10);
/// Bytes of all refusals together.
const MAX_REFUSALS: usize = 8 * 1024;
/// Bytes of one warning. The API server cuts longer ones.
const MAX_WARNING: usize = 256;
/// Bytes of all warnings together. The API server drops the rest.
const MAX_WARNINGS: usize = 3 * 1024;

/// What is wrong with an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// Why it cannot be taken.
    pub refusals: Vec<Refusal>,
    /// What would keep it from running as things are, and may pass.
    pub warnings: Vec<Refusal>,
}

impl Review {
    /// Of a BuildRun.
    ///
    /// It is refused for what its Build misses, unless nobody has judged the Build since it was changed a moment ago. And it is refused for
    /// everything that is missing where somebody waits for its Pod with an upload, who would wait for ever.
    pub fn of_run(loaded: &Loaded, settings: &Settings, now: Timestamp) -> Self {
        let run = &loaded.roots.buildrun.spec;
        let build = loaded.roots.build.as_ref();
        let refusals = |loaded: &Loaded| validate(loaded, settings).err().unwrap_or_default();
        let known: BTreeSet<_> = refusals(&completed(loaded)).into_iter().collect();
        let is_upload = run.source.as_ref().is_some_and(|source| source.type_ == "Local");
        let is_settled = build
            .and_then(Presence::found)
            .is_some_and(|build| is_known_to_fail(build) || !has_just_changed(build, now));
        let is_refused = |refusal: &Refusal| {
            let is_of_build = refusal.object.kind == Build::KIND || refusal.field == BUILD_FIELD;
            known.contains(refusal) || is_upload || is_settled && is_of_build
        };
        let mut all = match validate(loaded, settings) {
            Err(refusals) => refusals,
            Ok(checked) => {
                // Who is exempt from the standard nobody knows but the API server.
                let warnings = admission(&checked, &loaded.roots);
                return Self { refusals: Vec::new(), warnings };
            }
        };
        // That is what was asked for.
        all.retain(|refusal| refusal.reason != reasons::BUILD_RUN_CANCELED);
        let (refusals, warnings) = all.into_iter().partition(is_refused);
        Self { refusals, warnings }
    }

    /// Of a Build.
    pub fn of_build(build: &Build, loaded: &Loaded, settings: &Settings) -> Self {
        let known: BTreeSet<_> =
            validate_build(build, &completed(loaded), settings).into_iter().collect();
        let all = validate_build(build, loaded, settings);
        let (refusals, warnings) = all.into_iter().partition(|refusal| known.contains(refusal));
        Self { refusals, warnings }
    }

    /// Of a strategy. What Builds and runs may replace is no reason to refuse it.
    pub fn of_strategy(strategy: &Strategy, settings: &Settings) -> Self {
        let all = validate_strategy(strategy, settings);
        let (warnings, refusals) =
            all.into_iter().partition(|refusal| is_replaceable(strategy, &refusal.field));
        Self { refusals, warnings }
    }

    /// Without what was wrong with the object before as well, wherever it stands in its list.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        let known = before.refusals.iter().chain(&before.warnings).collect();
        let known = self.forget(known, Refusal::clone);
        self.forget(known, key);
        self
    }

    /// Forgets one for each that is known by the same key; what is known beside those comes back.
    fn forget<'a, K: Ord>(
        &mut self,
        known: Vec<&'a Refusal>,
        key: impl Fn(&Refusal) -> K,
    ) -> Vec<&'a Refusal> {
        let mut by_key: BTreeMap<K, Vec<&Refusal>> = BTreeMap::new();
        for refusal in known {
            by_key.entry(key(refusal)).or_default().push(refusal);
        }
        let mut is_new = |found: &Refusal| by_key.get_mut(&key(found)).and_then(Vec::pop).is_none();
        self.refusals.retain(&mut is_new);
        self.warnings.retain(&mut is_new);
        by_key.into_values().flatten().collect()
    }

    /// Everything for which the object is refused, a line each; nothing where it is not.
    pub fn message(&self, object: &ObjectName) -> Option<String> {
        let lines: Vec<String> =
            self.refusals.iter().map(|refusal| line(refusal, object)).collect();
        match &lines[..] {
            [] => None,
            [line] => Some(cut(line, MAX_REFUSALS)),
            _ => {
                let count = lines.len();
                let lines = fitting(lines.into_iter(), MAX_REFUSALS);
                Some(format!("{count} problems:\n{}", lines.join("\n")))
            }
        }
    }

    /// What may pass, a line each, as long as an API server passes them on.
    pub fn lines_of_warnings(&self, object: &ObjectName) -> Vec<String> {
        let lines = self.warnings.iter().map(|refusal| cut(&line(refusal, object), MAX_WARNING));
        fitting(lines, MAX_WARNINGS)
    }
}

/// Where a run names its Build.
const BUILD_FIELD: &str = "spec.build.name";

/// The same where everything that was not found is there, whatever it is.
fn completed(loaded: &Loaded) -> Loaded {
    fn assume<T>(presence: &mut Presence<T>) {
        if presence.is_absent() {
            *presence = Presence::Assumed;
        }
    }
    let mut completed = loaded.clone();
    completed.roots.build.iter_mut().for_each(assume);
    completed.roots.strategy.iter_mut().for_each(assume);
    completed.secrets.values_mut().for_each(assume);
    completed.config_maps.values_mut().for_each(assume);
    completed.service_accounts.values_mut().for_each(assume);
    completed
}

/// Whether its status says already that it is not registered.
fn is_known_to_fail(build: &Build) -> bool {
    let status = build.status.as_ref();
    status.is_some_and(|status| status.registered.as_deref() == Some(FALSE))
}

/// Whether somebody wrote what the Build is to be a moment ago. Its status is written by the controller, and labels say nothing of it.
fn has_just_changed(build: &Build, now: Timestamp) -> bool {
    let metadata = &build.metadata;
    let managers = metadata.managed_fields.iter().flatten();
    let writes = managers
        .filter(|manager| manager.subresource.is_none())
        .filter(|manager| {
            let fields = manager.fields_v1.as_ref();
            fields.is_some_and(|fields| fields.0.get("f:spec").is_some())
        })
        .filter_map(|manager| manager.time.as_ref());
    let last = writes.chain(&metadata.creation_timestamp).map(|time| time.0).max();
    // Clocks differ a little.
    last.is_none_or(|last| now.duration_since(last).abs() < APPLIED_TOGETHER)
}

/// Whether a Build or a run may say something else in its place.
fn is_replaceable(strategy: &Strategy, field: &str) -> bool {
    let Some((list, rest)) = field.split_once('[') else { return false };
    let Some((index, rest)) = rest.split_once(']') else { return false };
    let Ok(index) = index.parse::<usize>() else { return false };
    match list {
        "spec.volumes" => {
            let volume = strategy.spec().volumes.get(index);
            volume.is_some_and(|volume| volume.overridable == Some(true))
        }
        "spec.steps" => rest.starts_with(".resources"),
        _ => false,
    }
}

/// What tells one problem from another, but for its place in a list.
fn key(refusal: &Refusal) -> (ObjectName, String, &'static str, String) {
    let Refusal { at, field, reason, message, .. } = refusal;
    let mut name = String::new();
    let mut in_index = false;
    for c in field.chars() {
        in_index = c == '[' || in_index && c != ']';
        if !in_index {
            name.push(c);
        }
    }
    (at.clone(), name, reason, message.clone())
}

/// `Build team/app spec.strategy.name: Reason: message`; the object is named where it is not the one that was applied.
fn line(refusal: &Refusal, object: &ObjectName) -> String {
    let Refusal { at, field, reason, message, .. } = refusal;
    let mut place = Vec::new();
    if at != object {
        place.push(at.to_string());
    }
    if !field.is_empty() {
        place.push(field.clone());
    }
    let separator = if place.is_empty() { "" } else { ": " };
    let line = format!("{}{separator}{reason}: {message}", place.join(" "));
    // Names and values hold anything.
    let shown =
        |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    line.chars().map(shown).collect()
}

/// The text with no more bytes than that.
fn cut(text: &str, most: usize) -> String {
    const MORE: &str = "…";
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most - MORE.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MORE}", &text[..end])
}

/// As many lines as fit into so many bytes, and how many more there are.
fn fitting(lines: impl ExactSizeIterator<Item = String>, most: usize) -> Vec<String> {
    let mut left = lines.len();
    let mut room = most;
    let mut fitting = Vec::new();
    for line in lines {
        let line = if fitting.is_empty() { cut(&line, most) } else { line };
        let Some(rest) = room.checked_sub(line.len()) else { break };
        room = rest;
        left -= 1;
        fitting.push(line);
    }
    if left > 0 {
        fitting.push(format!("and {left} more"));
    }
    fitting
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::BuildStrategy;

    fn refusal(field: &str, message: &str) -> Refusal {
        let object = ObjectName {
            kind: Build::KIND.into(),
            namespace: Some("team".into()),
            name: "app".into(),
        };
        let (at, field, message) = (object.clone(), field.to_owned(), message.to_owned());
        Refusal { object, at, field, reason: "Reason", message }
    }

    fn of(refusals: Vec<Refusal>) -> Review {
        Review { warnings: refusals.clone(), refusals }
    }

    #[test]
    fn an_object_is_named_where_it_is_another() {
        let own = refusal("spec.env[0]", "a\u{1b}[2J\nb");
        let object = own.at.clone();
        let mut other = refusal("spec", "c");
        other.at.name = "other".into();
        let mut whole = refusal("", "d");
        whole.at.kind = "BuildRun".into();
        let message = of(vec![own.clone(), other, whole]).message(&object).unwrap();
        let expected = "3 problems:\nspec.env[0]: Reason: a\\u{1b}[2J\\nb\nBuild team/other spec: Reason: c\nBuildRun team/app: Reason: d";
        assert_eq!(message, expected);
        let message = of(vec![own]).message(&object).unwrap();
        assert_eq!(message, "spec.env[0]: Reason: a\\u{1b}[2J\\nb");
        assert_eq!(Review::default().message(&object), None);
    }

    #[test]
    fn no_text_is_longer_than_an_api_server_takes_it() {
        let many: Vec<_> = (0..999).map(|n| refusal(&format!("spec.env[{n}]"), "é")).collect();
        let object = many[0].at.clone();
        let message = of(many.clone()).message(&object).unwrap();
        assert!(message.starts_with("999 problems:\nspec.env[0]: ") && message.len() < 9000);
        let last = message.lines().last().unwrap();
        let left: usize = last.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(message.lines().count() - 2 + left, 999);

        let long = of(vec![refusal("spec", &"é".repeat(9000)); 2]);
        let message = long.message(&object).unwrap();
        assert!(message.ends_with("…\nand 1 more") && message.len() < 9000, "{message}");
        let warnings = long.lines_of_warnings(&object);
        assert!(warnings[0].ends_with('…'), "{warnings:?}");
        assert!([255, 256].contains(&warnings[0].len()), "{warnings:?}");
        let warnings = of(many).lines_of_warnings(&object);
        assert!(warnings.iter().map(String::len).sum::<usize>() < 4096 - 16);
        assert!(warnings.last().unwrap().starts_with("and "));
    }

    #[test]
    fn of_a_change_only_what_it_made_worse_counts() {
        let bad = |index: usize| refusal(&format!("spec.env[{index}].name"), "blank");
        let before = of(vec![bad(0), refusal("spec.volumes[0]", "other")]);
        let since = |refusals| of(refusals).since(&before).refusals;
        assert_eq!(since(vec![bad(0)]), []);
        assert_eq!(since(vec![bad(3)]), [], "it was moved");
        assert_eq!(since(vec![bad(1), bad(0)]), [bad(1)]);
        assert_eq!(since(vec![refusal("spec.env[0].name", "bad")]).len(), 1);
        assert_eq!(since(vec![refusal("spec.env[0].value", "blank")]).len(), 1);
    }

    #[test]
    fn a_build_has_just_changed_when_its_spec_has() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let is_new = |managed: &Value| {
            let metadata = json!({ "name": "app", "creationTimestamp": "2026-11-21T11:00:00Z", "managedFields": managed });
            let spec = json!({ "strategy": { "name": "s" }, "output": { "image": "i" } });
            let build = json!({ "metadata": metadata, "spec": spec });
            has_just_changed(&serde_json::from_value(build).unwrap(), now)
        };
        let written = |field: &str, subresource: Option<&str>| {
            let fields = json!({ field: { "f:a": {} } });
            json!([{ "manager": "m", "time": "2026-11-21T11:59:58Z", "subresource": subresource, "fieldsV1": fields }])
        };
        assert!(is_new(&written("f:spec", None)));
        assert!(!is_new(&written("f:metadata", None)));
        assert!(!is_new(&written("f:spec", Some("status"))));
        assert!(!is_new(&json!([])));
    }

    fn strategy(change: &Value) -> Review {
        let mut step =
            json!({ "name": "build", "image": "example.com/image", "command": ["true"] });
        step.as_object_mut()
            .unwrap()
            .extend(change["step"].as_object().cloned().unwrap_or_default());
        let spec = json!({ "steps": [step], "volumes": change["volumes"] });
        let strategy: BuildStrategy =
            serde_json::from_value(json!({ "metadata": { "name": "s" }, "spec": spec })).unwrap();
        Review::of_strategy(&Strategy::Namespaced(strategy), &Settings::default())
    }

    #[test]
    fn a_strategy_is_not_refused_for_what_a_build_may_replace() {
        let broken = |overridable: bool| json!({ "volumes": [{ "name": "a", "overridable": overridable, "emptyDir": {}, "hostPath": { "path": "/" } }] });
        let fixed = strategy(&broken(false));
        assert!(!fixed.refusals.is_empty() && fixed.warnings.is_empty(), "{fixed:?}");
        let overridable = strategy(&broken(true));
        assert!(overridable.refusals.is_empty() && !overridable.warnings.is_empty());

        let resources = json!({ "requests": { "cpu": "2" }, "limits": { "cpu": "1" } });
        let greedy = strategy(&json!({ "step": { "resources": resources } }));
        assert!(greedy.refusals.is_empty() && !greedy.warnings.is_empty(), "{greedy:?}");
        let undeclared = strategy(&json!({ "step": { "args": ["$(params.nothing)"] } }));
        assert!(undeclared.warnings.is_empty() && undeclared.refusals.len() == 1);
    }
}
