//! What one value has that another lacks, and how it is put back into a third.
//!
//! Invariant: a patch between two values, put back into the first, makes the second.
//! Invariant: what is no longer as it was in the first value stays as it is now.
//! Invariant: the time of both goes with the length of lists, not with its square: who writes an object says how long they are.
//!
//! A three-way merge of which only the difference is kept, with digests of what it replaces.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::fields::{Fields, text_of};

/// The difference between what is shown and what there is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Patch {
    /// Members of an object.
    Fields {
        /// By name.
        fields: BTreeMap<String, Patch>,
        /// Those that mean nothing once what they belong to is another: what it is.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        of: BTreeMap<String, String>,
    },
    /// Items of a list whose names differ.
    Items {
        /// By the item's name.
        items: BTreeMap<String, Patch>,
        /// Where patched items stand at other places.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<Order>,
    },
    /// Items of another list, by their places.
    Places {
        /// Counted from 0.
        places: Vec<(usize, Patch)>,
    },
    /// A value as a whole.
    Whole {
        /// What there is; nothing where it is shown and should not be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
        /// Digest of what is shown; nothing where nothing is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<String>,
    },
}

/// The names of a list's items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// As they are shown.
    was: Vec<String>,
    /// As they are.
    now: Vec<String>,
}

/// Lists whose items are values as a whole: of two sources of one value the wrong one would count.
const WHOLE_ITEMS: [&str; 1] = ["paramValues"];

impl Patch {
    /// What `there_is` has that `shown` lacks; `field` is the name of both.
    pub fn between(field: &str, shown: Option<&Value>, there_is: Option<&Value>) -> Option<Self> {
        if shown == there_is {
            return None;
        }
        Some(match (shown, there_is) {
            (Some(Value::Object(shown)), Some(Value::Object(there_is))) => {
                Self::of_fields(shown, there_is)
            }
            (Some(Value::Array(_)) | None, Some(Value::Array(there_is))) => {
                let shown_items = shown.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                Self::of_items(field, shown_items, there_is)
                    .filter(|_| !there_is.is_empty() || shown.is_some())
                    .unwrap_or_else(|| Self::whole(shown, Some(&there_is.clone().into())))
            }
            _ => Self::whole(shown, there_is),
        })
    }

    fn whole(shown: Option<&Value>, there_is: Option<&Value>) -> Self {
        Self::Whole { value: there_is.cloned(), was: shown.map(digest) }
    }

    fn of_fields(shown: &Fields, there_is: &Fields) -> Self {
        let names: BTreeSet<&String> = shown.keys().chain(there_is.keys()).collect();
        let patch = |name: &String| {
            Some((name.clone(), Self::between(name, shown.get(name), there_is.get(name))?))
        };
        let fields: BTreeMap<_, _> = names.into_iter().filter_map(patch).collect();
        let owner = |name: &String| Some((name.clone(), owner(shown, name)?));
        let of = fields.keys().filter_map(owner).collect();
        Self::Fields { fields, of }
    }

    fn of_items(field: &str, shown: &[Value], there_is: &[Value]) -> Option<Self> {
        // What came of several sources says nothing of each of them.
        let is_result = field == "sources"
            && !there_is.iter().chain(shown).any(|source| source.get("type").is_some());
        let (Some(shown_names), Some(names)) = (names(shown), names(there_is)) else {
            return Self::of_places(shown, there_is);
        };
        if is_result {
            return None;
        }
        let before: BTreeMap<&String, &Value> = shown_names.iter().zip(shown).collect();
        let mut items = BTreeMap::new();
        for (name, item) in names.iter().zip(there_is) {
            let before = before.get(name).copied();
            let patch = match before {
                Some(before) if WHOLE_ITEMS.contains(&field) && before != item => {
                    Some(Self::whole(Some(before), Some(item)))
                }
                before => Self::between("", before, Some(item)),
            };
            items.extend(patch.map(|patch| (name.clone(), patch)));
        }
        let are_there: BTreeSet<&String> = names.iter().collect();
        for (name, item) in shown_names.iter().zip(shown) {
            if !are_there.contains(name) {
                items.insert(name.clone(), Self::whole(Some(item), None));
            }
        }
        let unordered = Self::Items { items, order: None };
        if unordered.put_into(Some(shown.to_vec().into())) == Some(there_is.to_vec().into()) {
            return Some(unordered);
        }
        let Self::Items { items, .. } = unordered else { return None };
        Some(Self::Items { items, order: Some(Order { was: shown_names, now: names }) })
    }

    fn of_places(shown: &[Value], there_is: &[Value]) -> Option<Self> {
        let are_texts = shown.iter().chain(there_is).all(Value::is_string);
        if shown.len() != there_is.len() || !are_texts {
            return None;
        }
        let patch = |(place, (shown, there_is))| {
            Some((place, Self::between("", Some(shown), Some(there_is))?))
        };
        let places = shown.iter().zip(there_is).enumerate().filter_map(patch).collect();
        Some(Self::Places { places })
    }

    /// What there is, by what is shown now.
    pub fn put_into(&self, shown: Option<Value>) -> Option<Value> {
        match self {
            Self::Whole { value, was } => {
                if shown.as_ref().map(digest) == *was {
                    value.clone()
                } else {
                    shown
                }
            }
            Self::Fields { fields, of } => {
                let Some(Value::Object(mut shown)) = shown else { return shown };
                let changed: BTreeSet<_> = of
                    .iter()
                    .filter(|(name, was)| owner(&shown, name).as_ref() != Some(was))
                    .map(|(name, _)| name)
                    .collect();
                for (name, patch) in fields {
                    if !changed.contains(name) {
                        let member = patch.put_into(shown.remove(name));
                        shown.extend(member.map(|member| (name.clone(), member)));
                    }
                }
                Some(Value::Object(shown))
            }
            Self::Places { places } => {
                let Some(Value::Array(mut shown)) = shown else { return shown };
                for (place, patch) in places {
                    if let Some(item) = shown.get_mut(*place)
                        && let Some(value) = patch.put_into(Some(item.clone()))
                    {
                        *item = value;
                    }
                }
                Some(Value::Array(shown))
            }
            Self::Items { items, order } => {
                let is_absent = shown.is_none();
                let shown = match shown {
                    None => Vec::new(),
                    Some(Value::Array(shown)) => shown,
                    other => return other,
                };
                let list = put_items(items, order.as_ref(), shown);
                (!list.is_empty() || !is_absent).then_some(Value::Array(list))
            }
        }
    }
}

/// An item of a list, and the name by which it is found.
type Entry = (Option<String>, Value);

fn put_items(
    items: &BTreeMap<String, Patch>,
    order: Option<&Order>,
    shown: Vec<Value>,
) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let mut list: Vec<Entry> = Vec::new();
    for item in shown {
        // Of items that share a name the patch is the first one's.
        let name = name(&item).map(str::to_owned).filter(|name| seen.insert(name.clone()));
        let patch = name.as_ref().and_then(|name| items.get(name));
        let item = match patch {
            Some(patch) => patch.put_into(Some(item)),
            None => Some(item),
        };
        list.extend(item.map(|item| (name, item)));
    }
    let mut absent: BTreeMap<&String, Value> = items
        .iter()
        .filter(|(name, _)| !seen.contains(*name))
        .filter_map(|(name, patch)| Some((name, patch.put_into(None)?)))
        .collect();
    if let Some(order) = order {
        sort(&mut list, order);
        list = put_between(list, order, &mut absent);
    }
    list.extend(absent.into_iter().map(|(name, item)| (Some(name.clone()), item)));
    list.into_iter().map(|(_, item)| item).collect()
}

/// Each absent item right behind the nearest one that was in front of it.
fn put_between(
    list: Vec<Entry>,
    order: &Order,
    absent: &mut BTreeMap<&String, Value>,
) -> Vec<Entry> {
    let there: BTreeSet<String> = list.iter().filter_map(|(name, _)| name.clone()).collect();
    let mut behind: BTreeMap<Option<String>, Vec<Entry>> = BTreeMap::new();
    let mut nearest = None;
    for name in &order.now {
        if there.contains(name) {
            nearest = Some(name.clone());
        } else if let Some(item) = absent.remove(name) {
            behind.entry(nearest.clone()).or_default().push((Some(name.clone()), item));
        }
    }
    let mut whole = behind.remove(&None).unwrap_or_default();
    for entry in list {
        let followers = behind.remove(&entry.0);
        whole.push(entry);
        whole.extend(followers.into_iter().flatten());
    }
    whole
}

/// Brings items to their old places, where nobody has changed their order since. New ones stay behind what stands before them.
fn sort(list: &mut Vec<Entry>, order: &Order) {
    let (was, now) = (places(&order.was), places(&order.now));
    let place = |places: &BTreeMap<&str, usize>, name: &Option<String>| {
        name.as_ref().and_then(|name| places.get(name.as_str()).copied())
    };
    let known: Vec<usize> = list.iter().filter_map(|(name, _)| place(&was, name)).collect();
    if !known.is_sorted() {
        return;
    }
    let mut groups: Vec<(Option<usize>, Vec<Entry>)> = Vec::new();
    for entry in list.drain(..) {
        let old = place(&now, &entry.0);
        match groups.last_mut() {
            Some((_, group)) if old.is_none() => group.push(entry),
            _ => groups.push((old, vec![entry])),
        }
    }
    groups.sort_by_key(|(place, _)| *place);
    list.extend(groups.into_iter().flat_map(|(_, group)| group));
}

/// Where each name stands.
fn places(names: &[String]) -> BTreeMap<&str, usize> {
    names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect()
}

/// What a member belongs to: which source, which strategy.
fn owner(parent: &Fields, field: &str) -> Option<String> {
    let text = |object: &str, field: &str| {
        parent.get(object).and_then(|object| object.get(field)).and_then(Value::as_str)
    };
    match field {
        "executor" => Some(text(field, "name").unwrap_or_default().to_owned()),
        "source" | "sources" => Some(source(parent).to_owned()),
        "strategy" => {
            let (kind, name) = (text(field, "kind"), text(field, "name"));
            Some(format!("{}/{}", kind.unwrap_or_default(), name.unwrap_or_default()))
        }
        _ => None,
    }
}

/// Which kind of source a spec has, in either version.
fn source(parent: &Fields) -> &str {
    let source = parent.get("source").and_then(Value::as_object);
    let has = |field: &str| source.is_some_and(|source| source.contains_key(field));
    let mut sources = parent.get("sources").and_then(Value::as_array).into_iter().flatten();
    let type_ = source.and_then(|source| text_of(source, "type"));
    if sources.any(|source| source.get("type").is_some_and(|type_| type_ == "LocalCopy")) {
        "Local"
    } else if let Some(type_) = type_ {
        type_
    } else if has("bundleContainer") {
        "OCI"
    } else if has("url") {
        "Git"
    } else {
        ""
    }
}

/// The names of all items, if each has one of its own.
fn names(items: &[Value]) -> Option<Vec<String>> {
    let names: Option<Vec<String>> =
        items.iter().map(|item| name(item).map(str::to_owned)).collect();
    names.filter(|names| names.iter().collect::<BTreeSet<_>>().len() == names.len())
}

fn name(item: &Value) -> Option<&str> {
    item.get("name").and_then(Value::as_str)
}

/// Enough of a digest to notice a change.
fn digest(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest[..8].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
