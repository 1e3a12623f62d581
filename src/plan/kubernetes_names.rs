//! Kubernetes' rules for names and labels, with the API server's own words.
//!
//! Invariant: each function returns every rule that a value breaks; an empty list means valid.

/// Longest label value, name part of a qualified name, or DNS label, in bytes.
const MAX_LABEL: usize = 63;
/// Longest DNS subdomain, in bytes.
const MAX_SUBDOMAIN: usize = 253;

const QUALIFIED_NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const DNS_LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut broken = too_long(value, MAX_LABEL);
    if !value.is_empty() && !is_edged(value, is_name_byte) {
        broken.push(LABEL_VALUE_RULE.into());
    }
    broken
}

/// Key of a label or annotation: a name with an optional DNS subdomain before a slash.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let name = match value.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            let rules = if prefix.is_empty() {
                vec!["must be non-empty".into()]
            } else {
                dns_subdomain(prefix)
            };
            broken.extend(rules.into_iter().map(|rule| format!("prefix part {rule}")));
            name
        }
        _ => {
            return vec![format!(
                "a qualified name {QUALIFIED_NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        broken.push("name part must be non-empty".into());
    }
    broken.extend(too_long(name, MAX_LABEL).into_iter().map(|rule| format!("name part {rule}")));
    if !is_edged(name, is_name_byte) {
        broken.push(format!("name part {QUALIFIED_NAME_RULE}"));
    }
    broken
}

/// Name of a container, volume or namespace.
pub fn dns_label(value: &str) -> Vec<String> {
    let mut broken = too_long(value, MAX_LABEL);
    if !is_dns_label(value) {
        broken.push(if is_dns_subdomain(value) {
            "must not contain dots".into()
        } else {
            DNS_LABEL_RULE.into()
        });
    }
    broken
}

/// Name of most objects.
pub fn dns_subdomain(value: &str) -> Vec<String> {
    let mut broken = too_long(value, MAX_SUBDOMAIN);
    if !is_dns_subdomain(value) {
        broken.push(DNS_SUBDOMAIN_RULE.into());
    }
    broken
}

fn too_long(value: &str, limit: usize) -> Vec<String> {
    if value.len() > limit {
        vec![format!("must be no more than {limit} bytes")]
    } else {
        Vec::new()
    }
}

fn is_dns_label(value: &str) -> bool {
    is_edged(value, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_dns_subdomain(value: &str) -> bool {
    value.split('.').all(is_dns_label)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Not empty, made of allowed bytes, and alphanumeric at both ends.
fn is_edged(value: &str, allowed: impl Fn(u8) -> bool) -> bool {
    let bytes = value.as_bytes();
    bytes.iter().all(|byte| allowed(*byte))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values() {
        for valid in ["", "a", "A.b_c-1", &"x".repeat(63)] {
            assert_eq!(label_value(valid), Vec::<String>::new(), "{valid}");
        }
        assert_eq!(label_value(&"x".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(label_value("-a"), [LABEL_VALUE_RULE]);
        assert_eq!(label_value(&format!("{}!", "x".repeat(64))).len(), 2);
    }

    #[test]
    fn qualified_names() {
        for valid in ["a", "kubernetes.io/os", "example.com/My_Name.1"] {
            assert_eq!(qualified_name(valid), Vec::<String>::new(), "{valid}");
        }
        assert_eq!(
            qualified_name(""),
            ["name part must be non-empty".to_owned(), format!("name part {QUALIFIED_NAME_RULE}")]
        );
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("A/a"), [format!("prefix part {DNS_SUBDOMAIN_RULE}")]);
        assert!(qualified_name("a/b/c")[0].starts_with("a qualified name must consist"));
    }

    #[test]
    fn dns_names() {
        assert_eq!(dns_label("step-1"), Vec::<String>::new());
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns_label(""), [DNS_LABEL_RULE]);
        assert_eq!(dns_subdomain("a.b-c.d1"), Vec::<String>::new());
        assert_eq!(dns_subdomain("a..b"), [DNS_SUBDOMAIN_RULE]);
        assert_eq!(dns_subdomain(&"a".repeat(254)), ["must be no more than 253 bytes"]);
    }
}
