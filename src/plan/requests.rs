//! What the pod asks the scheduler for, when its containers run one at a time.
//!
//! Invariant: limits are never touched. A request is always written out, because the API server would otherwise copy the limit
//! into it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Resources that a pod may share over time. Extended resources and huge pages must keep request = limit.
const SHARED: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Leaves each resource's largest request where it is and lowers the others to `minimum`, else to 0.
pub fn keep_largest(steps: &mut [ResourceRequirements], minimum: &BTreeMap<String, Quantity>) {
    let named: BTreeSet<&str> = SHARED
        .into_iter()
        .filter(|resource| steps.iter().any(|step| request(step, resource).is_some()))
        .collect();
    for resource in named {
        // `max_by_key` keeps the last of equals; the first one is what a reader expects.
        let largest =
            (0..steps.len()).rev().max_by_key(|&index| request(&steps[index], resource).map(nanos));
        for (index, step) in steps.iter_mut().enumerate() {
            if Some(index) == largest {
                continue;
            }
            let lowest = minimum.get(resource).cloned().unwrap_or_else(|| Quantity("0".into()));
            // Also where nothing is asked for: a LimitRange's default would be added to each.
            if request(step, resource).is_none_or(|asked| nanos(&lowest) < nanos(asked)) {
                step.requests.get_or_insert_with(BTreeMap::new).insert(resource.to_owned(), lowest);
            }
        }
    }
}

/// The larger of two quantities.
pub fn larger(left: Quantity, right: Quantity) -> Quantity {
    if nanos(&right) > nanos(&left) { right } else { left }
}

/// What a container asks for: its request, else its limit.
fn request<'a>(step: &'a ResourceRequirements, resource: &str) -> Option<&'a Quantity> {
    let of = |map: &'a Option<BTreeMap<String, Quantity>>| {
        map.as_ref().and_then(|map| map.get(resource))
    };
    of(&step.requests).or_else(|| of(&step.limits))
}

/// The requests that are larger than the limit of the same resource, by resource.
pub fn above_limit(resources: &ResourceRequirements) -> Vec<(&str, &Quantity, &Quantity)> {
    let (Some(requests), Some(limits)) = (&resources.requests, &resources.limits) else {
        return Vec::new();
    };
    requests
        .iter()
        .filter_map(|(resource, request)| {
            limits.get(resource).map(|limit| (resource.as_str(), request, limit))
        })
        .filter(|(_, request, limit)| nanos(request) > nanos(limit))
        .collect()
}

/// A quantity in units of 10⁻⁹, rounded up; saturates. Text that is no quantity counts as 0: the schema has refused it before.
pub fn nanos(quantity: &Quantity) -> i128 {
    const NANO: i128 = 1_000_000_000;
    let text = quantity.0.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (multiplier, divisor) = scale(suffix);
    let mut numerator = 0_i128;
    for digit in whole.bytes().chain(fraction.bytes()).filter(u8::is_ascii_digit) {
        numerator = numerator.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
    }
    let divisor = divisor.saturating_mul(power(10, fraction.len()));
    let scaled = numerator.saturating_mul(multiplier).saturating_mul(NANO);
    let rounded = scaled.saturating_add(divisor - 1) / divisor;
    if negative { -rounded } else { rounded }
}

/// What a suffix multiplies by and divides by.
fn scale(suffix: &str) -> (i128, i128) {
    match suffix {
        "n" => (1, power(10, 9)),
        "u" => (1, power(10, 6)),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (power(10, 6), 1),
        "G" => (power(10, 9), 1),
        "T" => (power(10, 12), 1),
        "P" => (power(10, 15), 1),
        "E" => (power(10, 18), 1),
        "Ki" => (power(1024, 1), 1),
        "Mi" => (power(1024, 2), 1),
        "Gi" => (power(1024, 3), 1),
        "Ti" => (power(1024, 4), 1),
        "Pi" => (power(1024, 5), 1),
        "Ei" => (power(1024, 6), 1),
        _ => {
            match suffix.strip_prefix(['e', 'E']).and_then(|exponent| exponent.parse::<i32>().ok())
            {
                Some(exponent) if exponent < 0 => (1, power(10, exponent.unsigned_abs() as usize)),
                Some(exponent) => (power(10, exponent.unsigned_abs() as usize), 1),
                None => (1, 1),
            }
        }
    }
}

fn power(base: i128, exponent: usize) -> i128 {
    base.saturating_pow(u32::try_from(exponent).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        Quantity(text.into())
    }

    fn asking(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> ResourceRequirements {
        let map = |entries: &[(&str, &str)]| {
            Some(
                entries
                    .iter()
                    .map(|(name, text)| ((*name).to_owned(), quantity(text)))
                    .collect::<BTreeMap<_, _>>(),
            )
            .filter(|map| !map.is_empty())
        };
        ResourceRequirements { claims: None, limits: map(limits), requests: map(requests) }
    }

    #[test]
    fn quantities_compare_by_nanos() {
        for (smaller, larger) in [
            ("250m", "1"),
            ("0.5", "501m"),
            ("1G", "1Gi"),
            ("999Ki", "1Mi"),
            ("1e3", "1001"),
            ("1500M", "1.5Gi"),
            ("-1", "0"),
            ("1n", "1u"),
        ] {
            assert!(nanos(&quantity(smaller)) < nanos(&quantity(larger)), "{smaller} < {larger}");
        }
        for (left, right) in [
            ("1000m", "1"),
            ("1Ki", "1024"),
            ("1e3", "1k"),
            ("+2", "2"),
            (".5", "500m"),
            ("1E", "1000P"),
        ] {
            assert_eq!(nanos(&quantity(left)), nanos(&quantity(right)), "{left} = {right}");
        }
    }

    #[test]
    fn the_largest_request_of_each_resource_stays() {
        let mut steps = [
            asking(&[("cpu", "250m"), ("memory", "2Gi")], &[]),
            asking(&[("cpu", "1")], &[("memory", "1Gi")]),
            asking(&[], &[]),
        ];
        keep_largest(&mut steps, &BTreeMap::from([("cpu".into(), quantity("10m"))]));
        assert_eq!(steps[0], asking(&[("cpu", "10m"), ("memory", "2Gi")], &[]));
        assert_eq!(steps[1], asking(&[("cpu", "1"), ("memory", "0")], &[("memory", "1Gi")]));
        assert_eq!(steps[2], asking(&[("cpu", "10m"), ("memory", "0")], &[]));
    }

    #[test]
    fn of_equal_requests_the_first_stays_and_extended_resources_are_left_alone() {
        let mut steps = [
            asking(&[("cpu", "1")], &[("example.com/gpu", "1")]),
            asking(&[("cpu", "1000m")], &[("example.com/gpu", "1")]),
        ];
        keep_largest(&mut steps, &BTreeMap::new());
        assert_eq!(steps[0], asking(&[("cpu", "1")], &[("example.com/gpu", "1")]));
        assert_eq!(steps[1], asking(&[("cpu", "0")], &[("example.com/gpu", "1")]));
    }

    #[test]
    fn requests_above_their_limits_are_named() {
        let resources =
            asking(&[("cpu", "2"), ("memory", "1Gi")], &[("cpu", "1500m"), ("memory", "1Gi")]);
        let found = above_limit(&resources);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].0, found[0].1.0.as_str(), found[0].2.0.as_str()),
            ("cpu", "2", "1500m")
        );
    }
}
