//! Values of parameters against what the strategy declares.

use std::collections::{BTreeMap, BTreeSet};

use super::problems::Site;
use crate::api::{ObjectKeyRef, ParamValue, Parameter, SingleValue, reasons};
use crate::plan::params::{is_array, single};
use crate::plan::refusal::Refusal;

/// Names that nobody may give a value: they belonged to Shipwright once.
const RESERVED: [&str; 3] = ["BUILDER_IMAGE", "DOCKERFILE", "CONTEXT_DIR"];
/// Prefix of the names that belong to Shipwright.
const RESERVED_PREFIX: &str = "shp-";

/// A value and where it was written.
pub type Given<'a> = (&'a ParamValue, &'a Site, usize);

/// Judges values; `complete` says that every required parameter must have one by now, and where the missing would stand.
pub fn validate(
    declared: &[Parameter],
    given: &[Given<'_>],
    complete: Option<&Site>,
) -> Vec<Refusal> {
    let mut found = names(declared, given);
    // A later value of the same name wins, as in the merge of Build and BuildRun.
    let by_name: BTreeMap<&str, Given<'_>> =
        given.iter().map(|given| (given.0.name.as_str(), *given)).collect();
    for rule in &RULES {
        let offenders = declared.iter().flat_map(|parameter| {
            let given = by_name.get(parameter.name.as_str()).copied();
            let times = (rule.offends)(parameter, given.map(|(value, ..)| value));
            std::iter::repeat_n((parameter.name.as_str(), given), times)
        });
        let offenders: Vec<_> = offenders.collect();
        let Some((_, first)) = offenders.first() else { continue };
        let names: Vec<&str> = offenders.iter().map(|(name, _)| *name).collect();
        let message = format!("{}{}", rule.text, names.join(", "));
        let (site, field) = match (first, complete) {
            _ if rule.is_about_missing && complete.is_none() => continue,
            (Some((_, site, index)), _) => (*site, format!("paramValues[{index}]")),
            (None, Some(site)) => (site, "paramValues".to_owned()),
            (None, None) => continue,
        };
        found.push(site.refuse(&field, rule.reason, message));
    }
    found
}

/// Values that nobody may give, and those of parameters that do not exist.
fn names(declared: &[Parameter], given: &[Given<'_>]) -> Vec<Refusal> {
    let declared: BTreeSet<&str> =
        declared.iter().map(|parameter| parameter.name.as_str()).collect();
    let is_reserved = |name: &str| RESERVED.contains(&name) || name.starts_with(RESERVED_PREFIX);
    let (reserved, others): (Vec<&Given<'_>>, Vec<&Given<'_>>) =
        given.iter().partition(|(value, ..)| is_reserved(&value.name));
    let undefined =
        others.into_iter().filter(|(value, ..)| !declared.contains(value.name.as_str()));
    let refuse = |offenders: Vec<&Given<'_>>, reason, text: &str| {
        let (_, site, index) = offenders.first()?;
        let names: Vec<&str> = offenders.iter().map(|(value, ..)| value.name.as_str()).collect();
        Some(site.refuse(
            &format!("paramValues[{index}]"),
            reason,
            format!("{text}{}", names.join(", ")),
        ))
    };
    let reserved = refuse(
        reserved,
        reasons::RESTRICTED_PARAMETERS_IN_USE,
        "The following parameters are restricted and cannot be set: ",
    );
    let undefined = refuse(
        undefined.collect(),
        reasons::UNDEFINED_PARAMETER,
        "The following parameters are not defined in the build strategy: ",
    );
    reserved.into_iter().chain(undefined).collect()
}

/// What a declared parameter's value must be.
struct Rule {
    reason: &'static str,
    /// Beginning of the message, in front of the names.
    text: &'static str,
    /// How often a parameter is named.
    offends: fn(&Parameter, Option<&ParamValue>) -> usize,
    is_about_missing: bool,
}

impl Rule {
    const fn new(
        reason: &'static str,
        text: &'static str,
        offends: fn(&Parameter, Option<&ParamValue>) -> usize,
    ) -> Self {
        Self { reason, text, offends, is_about_missing: false }
    }
}

/// In the order in which upstream reports.
const RULES: [Rule; 6] = [
    Rule::new(
        reasons::WRONG_PARAMETER_VALUE_TYPE,
        "The values for the following parameters are using the wrong type: ",
        |parameter, given| {
            usize::from(given.is_some_and(|given| {
                if is_array(parameter) {
                    inline_keys(&single(given)) > 0
                } else {
                    given.values.is_some()
                }
            }))
        },
    ),
    Rule {
        is_about_missing: true,
        ..Rule::new(
            reasons::MISSING_PARAMETER_VALUES,
            "The following parameters are required but no value has been provided: ",
            |parameter, given| {
                let has_default = if is_array(parameter) {
                    parameter.defaults.is_some()
                } else {
                    parameter.default.is_some()
                };
                let has_value = given
                    .is_some_and(|given| given.values.is_some() || inline_keys(&single(given)) > 0);
                usize::from(!has_default && !has_value)
            },
        )
    },
    Rule::new(
        reasons::INCONSISTENT_PARAMETER_VALUES,
        "The following parameters have more than one of 'configMapValue', 'secretValue', and 'value' set: ",
        |_, given| {
            usize::from(
                given.is_some_and(|given| all(given).iter().any(|value| inline_keys(value) > 1)),
            )
        },
    ),
    Rule::new(
        reasons::EMPTY_ARRAY_ITEM_PARAMETER_VALUES,
        "The values for the following array parameters are containing at least one item where none of 'configMapValue', 'secretValue', and 'value' are set: ",
        |_, given| {
            let items = given.and_then(|given| given.values.as_ref());
            usize::from(
                items.is_some_and(|items| items.iter().any(|value| inline_keys(value) == 0)),
            )
        },
    ),
    Rule::new(
        reasons::INCOMPLETE_CONFIG_MAP_VALUE_PARAMETER_VALUES,
        "The values for the following parameters are containing a 'configMapValue' with an empty 'name' or 'key': ",
        |_, given| incomplete(given, |value| value.config_map_value.as_ref()),
    ),
    Rule::new(
        reasons::INCOMPLETE_SECRET_VALUE_PARAMETER_VALUES,
        "The values for the following parameters are containing a 'secretValue' with an empty 'name' or 'key': ",
        |_, given| incomplete(given, |value| value.secret_value.as_ref()),
    ),
];

/// How many of the three keys of a single value are there.
fn inline_keys(value: &SingleValue) -> usize {
    usize::from(value.value.is_some())
        + usize::from(value.config_map_value.is_some())
        + usize::from(value.secret_value.is_some())
}

/// The value itself and the items of its list.
fn all(value: &ParamValue) -> Vec<SingleValue> {
    std::iter::once(single(value)).chain(value.values.iter().flatten().cloned()).collect()
}

fn incomplete(
    given: Option<&ParamValue>,
    key: impl Fn(&SingleValue) -> Option<&ObjectKeyRef>,
) -> usize {
    let Some(given) = given else { return 0 };
    all(given)
        .iter()
        .filter_map(key)
        .filter(|key| key.name.is_empty() || key.key.is_empty())
        .count()
}
