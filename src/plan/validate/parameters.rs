//! Values of parameters against what the strategy declares.

use std::collections::BTreeMap;

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

/// Judges values; `complete` says that every required parameter must have one by now.
#[expect(clippy::too_many_lines, reason = "one table of eight verdicts in upstream's order")]
pub fn validate(
    declared: &[Parameter],
    given: &[Given<'_>],
    complete: Option<&Site>,
) -> Vec<Refusal> {
    let mut found = Vec::new();
    let mut report = |offenders: Vec<(String, Option<Given<'_>>)>, reason, text: &str| {
        let Some((_, first)) = offenders.first() else { return };
        let names: Vec<&str> = offenders.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!("{text}{}", names.join(", "));
        match (first, complete) {
            (Some((_, site, index)), _) => {
                found.push(site.refuse(&format!("paramValues[{index}]"), reason, message));
            }
            (None, Some(site)) => found.push(site.refuse("paramValues", reason, message)),
            (None, None) => {}
        }
    };

    let named = |matches: &dyn Fn(&str) -> bool| -> Vec<(String, Option<Given<'_>>)> {
        given
            .iter()
            .filter(|(value, ..)| matches(&value.name))
            .map(|given| (given.0.name.clone(), Some(*given)))
            .collect()
    };
    let reserved = |name: &str| RESERVED.contains(&name) || name.starts_with(RESERVED_PREFIX);
    report(
        named(&reserved),
        reasons::RESTRICTED_PARAMETERS_IN_USE,
        "The following parameters are restricted and cannot be set: ",
    );
    let undefined =
        |name: &str| !reserved(name) && !declared.iter().any(|parameter| parameter.name == name);
    report(
        named(&undefined),
        reasons::UNDEFINED_PARAMETER,
        "The following parameters are not defined in the build strategy: ",
    );

    // A later value of the same name wins, as in the merge of Build and BuildRun.
    let by_name: BTreeMap<&str, Given<'_>> =
        given.iter().map(|given| (given.0.name.as_str(), *given)).collect();
    let judge = |offends: &dyn Fn(&Parameter, Option<&ParamValue>) -> usize| -> Vec<(String, Option<Given<'_>>)> {
        declared
            .iter()
            .flat_map(|parameter| {
                let given = by_name.get(parameter.name.as_str()).copied();
                let times = offends(parameter, given.map(|(value, ..)| value));
                std::iter::repeat_n((parameter.name.clone(), given), times)
            })
            .collect()
    };
    report(
        judge(&|parameter, given| {
            usize::from(given.is_some_and(|given| {
                if is_array(parameter) {
                    inline_keys(&single(given)) > 0
                } else {
                    given.values.is_some()
                }
            }))
        }),
        reasons::WRONG_PARAMETER_VALUE_TYPE,
        "The values for the following parameters are using the wrong type: ",
    );
    if complete.is_some() {
        report(
            judge(&|parameter, given| {
                let has_default = if is_array(parameter) {
                    parameter.defaults.is_some()
                } else {
                    parameter.default.is_some()
                };
                let has_value = given
                    .is_some_and(|given| given.values.is_some() || inline_keys(&single(given)) > 0);
                usize::from(!has_default && !has_value)
            }),
            reasons::MISSING_PARAMETER_VALUES,
            "The following parameters are required but no value has been provided: ",
        );
    }
    report(
        judge(&|_, given| {
            usize::from(
                given.is_some_and(|given| all(given).iter().any(|value| inline_keys(value) > 1)),
            )
        }),
        reasons::INCONSISTENT_PARAMETER_VALUES,
        "The following parameters have more than one of 'configMapValue', 'secretValue', and 'value' set: ",
    );
    report(
        judge(&|_, given| {
            let items = given.and_then(|given| given.values.as_ref());
            usize::from(
                items.is_some_and(|items| items.iter().any(|value| inline_keys(value) == 0)),
            )
        }),
        reasons::EMPTY_ARRAY_ITEM_PARAMETER_VALUES,
        "The values for the following array parameters are containing at least one item where none of 'configMapValue', 'secretValue', and 'value' are set: ",
    );
    report(
        judge(&|_, given| incomplete(given, |value| value.config_map_value.as_ref())),
        reasons::INCOMPLETE_CONFIG_MAP_VALUE_PARAMETER_VALUES,
        "The values for the following parameters are containing a 'configMapValue' with an empty 'name' or 'key': ",
    );
    report(
        judge(&|_, given| incomplete(given, |value| value.secret_value.as_ref())),
        reasons::INCOMPLETE_SECRET_VALUE_PARAMETER_VALUES,
        "The values for the following parameters are containing a 'secretValue' with an empty 'name' or 'key': ",
    );
    found
}

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
