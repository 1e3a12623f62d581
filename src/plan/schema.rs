//! Checks an object of ours against the schema of its kind, as the API server does, without one.
//!
//! Invariant: every problem is found, in the order of the schema, depth first; what the API server accepts passes.
//! (A value of the wrong type is one problem here; the API server adds more words about the same value.)
//!
//! The messages are the API server's own, so that people can search for them and know them already.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Number, Value, json};

use super::formats::{is_date_time, is_duration, is_quantity};
use super::kubernetes_names::{dns_label, dns_subdomain, label_value, qualified_name};
use crate::api::kind::integer;
use crate::api::structural::QUANTITY_PATTERN;
use crate::api::{ClusterBuildStrategy, MAX_ANNOTATIONS, Version, crd};

/// What is wrong with an object, and what it holds that nobody reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why the API server would refuse the object.
    pub problems: Vec<Problem>,
    /// Paths of fields that the kind does not have. The API server drops them; `kubectl` refuses them by default.
    pub unknown: Vec<String>,
}

/// One reason to refuse an object; prints as `path: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, such as `spec.steps[0].resources.limits.cpu`.
    pub path: String,
    /// What is wrong with it, such as `Required value`.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// Checks an object; `None` if it is of no kind and version of ours.
pub fn check(object: &Value) -> Option<Findings> {
    let members = object.as_object()?;
    let version = Version::of(object["apiVersion"].as_str()?)?;
    let kind = object["kind"].as_str()?;
    let schema = crd::schema(version, kind)?;
    let mut findings = Findings::default();
    check_metadata(kind, object.get("metadata"), &mut findings);
    check_members(schema, members, "", &mut findings);
    // Whoever creates an object cannot set its status: the API server drops it unread.
    findings.problems.retain(|problem| !is_status(&problem.path));
    Some(findings)
}

fn is_status(path: &str) -> bool {
    path == "status" || path.starts_with("status.")
}

impl Findings {
    fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), message: message.into() });
    }

    fn invalid(&mut self, path: &str, value: &str, rule: impl fmt::Display) {
        self.refuse(path, format!("Invalid value: {value}: {rule}"));
    }
}

fn check_value(schema: &JSONSchemaProps, value: &Value, path: &str, findings: &mut Findings) {
    if schema.format.is_some() && schema.type_.as_deref() == Some("string") {
        return check_format(schema, value, path, findings);
    }
    let expected: &[&str] = match &schema.type_ {
        _ if schema.x_kubernetes_int_or_string == Some(true) => &["integer", "string"],
        Some(name) => &[name.as_str()],
        None => return,
    };
    let found = type_of(value);
    let is_integer = value.as_number().is_some_and(|number| integer(number).is_some());
    if !(expected.contains(&found) || is_integer && expected.contains(&"integer")) {
        let rule = format!("{path} in body must be of type {}: \"{found}\"", expected.join(","));
        return findings.invalid(path, &quoted(found), rule);
    }
    match value {
        Value::String(text) => check_text(schema, text, path, findings),
        Value::Number(number) => check_number(schema, number, path, findings),
        Value::Array(items) => check_items(schema, items, path, findings),
        Value::Object(members) => check_members(schema, members, path, findings),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_members(
    schema: &JSONSchemaProps,
    members: &Map<String, Value>,
    path: &str,
    findings: &mut Findings,
) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let known = schema.properties.as_ref();
    for (name, member) in known.into_iter().flatten() {
        let path = below(name);
        match members.get(name).filter(|value| !value.is_null()) {
            Some(value) => check_value(member, value, &path, findings),
            None if schema.required.iter().flatten().any(|required| required == name) => {
                findings.refuse(&path, "Required value");
            }
            None => {}
        }
    }
    let others =
        members.iter().filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name)));
    for (name, value) in others {
        let path = below(name);
        match &schema.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(_)) if value.is_null() => {}
            Some(JSONSchemaPropsOrBool::Schema(values)) => {
                check_value(values, value, &path, findings);
            }
            _ if schema.x_kubernetes_preserve_unknown_fields == Some(true) => {}
            _ => findings.unknown.push(path),
        }
    }
}

fn check_items(schema: &JSONSchemaProps, items: &[Value], path: &str, findings: &mut Findings) {
    if let Some(least) =
        schema.min_items.filter(|least| items.len() < usize::try_from(*least).unwrap_or(0))
    {
        let rule = format!("{path} in body should have at least {least} items");
        findings.invalid(path, &items.len().to_string(), rule);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            check_value(schema, item, &format!("{path}[{index}]"), findings);
        }
    }
    if schema.x_kubernetes_list_type.as_deref() == Some("map") {
        let keys = schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default();
        check_duplicates(keys, items, path, findings);
    }
}

/// Every key that comes more than once is one problem, at its second appearance.
fn check_duplicates(keys: &[String], items: &[Value], path: &str, findings: &mut Findings) {
    let mut appearances: BTreeMap<String, usize> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let Some(item) = item.as_object() else { continue };
        let key: Map<_, _> = keys
            .iter()
            .filter_map(|key| item.get_key_value(key))
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let key = Value::Object(key).to_string();
        match appearances.entry(key) {
            Entry::Vacant(entry) => _ = entry.insert(1),
            Entry::Occupied(mut entry) => {
                if *entry.get() == 1 {
                    findings.refuse(
                        &format!("{path}[{index}]"),
                        format!("Duplicate value: {}", entry.key()),
                    );
                }
                *entry.get_mut() += 1;
            }
        }
    }
}

fn check_text(schema: &JSONSchemaProps, text: &str, path: &str, findings: &mut Findings) {
    if let Some(words) = &schema.enum_
        && !words.iter().any(|word| word.0 == text)
    {
        let words: Vec<_> = words.iter().map(|word| word.0.to_string()).collect();
        let words = words.join(", ");
        findings.refuse(
            path,
            format!("Unsupported value: {}: supported values: {words}", quoted(text)),
        );
    }
    if let Some(pattern) = &schema.pattern
        && !(pattern == QUANTITY_PATTERN && is_quantity(text))
    {
        let rule = format!("{path} in body should match '{pattern}'");
        findings.invalid(path, &quoted(text), rule);
    }
}

fn check_number(schema: &JSONSchemaProps, number: &Number, path: &str, findings: &mut Findings) {
    let (Some(integer), Some(float)) = (integer(number), number.as_f64()) else { return };
    let limits = [
        (schema.minimum.filter(|least| float < *least), "greater"),
        (schema.maximum.filter(|most| float > *most), "less"),
    ];
    for (limit, direction) in limits {
        if let Some(limit) = limit {
            let rule = format!("{path} in body should be {direction} than or equal to {limit}");
            findings.invalid(path, &integer.to_string(), rule);
        }
    }
}

fn check_format(schema: &JSONSchemaProps, value: &Value, path: &str, findings: &mut Findings) {
    let format = schema.format.as_deref().unwrap_or_default();
    let shown = match value {
        Value::String(text) => {
            let valid = match format {
                "duration" => is_duration(text),
                "date-time" => is_date_time(text),
                _ => true,
            };
            if valid {
                return;
            }
            text
        }
        // What the API server shows in place of a value of the wrong type.
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        _ => "",
    };
    let shown = quoted(shown);
    findings.invalid(path, &shown, format!("{path} in body must be of type {format}: {shown}"));
}

fn check_metadata(kind: &str, metadata: Option<&Value>, findings: &mut Findings) {
    let text = |key: &str| metadata.and_then(|metadata| metadata[key].as_str()).unwrap_or_default();
    let mut all = |path: &str, value: &str, rules: Vec<String>| {
        for rule in rules {
            findings.invalid(path, &quoted(value), rule);
        }
    };
    let (name, prefix, namespace) = (text("name"), text("generateName"), text("namespace"));
    if !prefix.is_empty() {
        // The API server appends letters and digits: a dash or dot at the end is in the middle then.
        all("metadata.generateName", prefix, dns_subdomain(&format!("{prefix}x")));
    }
    if !name.is_empty() {
        all("metadata.name", name, dns_subdomain(name));
    }
    // Of a cluster-wide object the API server passes over the namespace.
    if !namespace.is_empty() && kind != ClusterBuildStrategy::KIND {
        all("metadata.namespace", namespace, dns_label(namespace));
    }
    let map =
        |key: &str| metadata.and_then(|metadata| metadata[key].as_object()).into_iter().flatten();
    for (key, value) in map("labels") {
        all("metadata.labels", key, qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        all("metadata.labels", value, label_value(value));
    }
    let mut size = 0;
    for (key, value) in map("annotations") {
        all("metadata.annotations", key, qualified_name(&key.to_lowercase()));
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > MAX_ANNOTATIONS {
        findings.refuse(
            "metadata.annotations",
            format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes"),
        );
    }
    let nothing =
        |key: &str| metadata.is_none_or(|metadata| metadata[key].is_null() || metadata[key] == "");
    if nothing("name") && nothing("generateName") {
        findings.refuse("metadata.name", "Required value: name or generateName is required");
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Text in quotation marks, with escapes.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::API_VERSION;

    fn build(spec: &Value) -> Value {
        let mut whole = json!({"strategy": {"name": "s"}, "output": {"image": "i"}});
        for (name, value) in spec.as_object().expect("an object") {
            whole[name] = value.clone();
        }
        json!({"apiVersion": API_VERSION, "kind": "Build", "metadata": {"name": "b"}, "spec": whole})
    }

    fn strategy(spec: &Value) -> Value {
        json!({"apiVersion": API_VERSION, "kind": "BuildStrategy", "metadata": {"name": "s"}, "spec": spec})
    }

    fn with_metadata(kind: &str, metadata: &Value) -> Value {
        let mut object = build(&json!({}));
        object["kind"] = kind.into();
        object["metadata"] = metadata.clone();
        if kind == "ClusterBuildStrategy" {
            object["spec"] = json!({"steps": []});
        }
        object
    }

    fn problems(object: &Value) -> Vec<String> {
        let findings = check(object).expect("a kind of ours");
        assert_eq!(findings.unknown, Vec::<String>::new());
        findings.problems.iter().map(ToString::to_string).collect()
    }

    // The expected texts are what an API server of Kubernetes 1.34 answers.
    #[rstest]
    #[case(json!({"output": null}), &["spec.output: Required value"])]
    #[case(json!({"output": {}, "strategy": null}),
        &["spec.output.image: Required value", "spec.strategy: Required value"])]
    #[case(json!({"strategy": "x"}),
        &[r#"spec.strategy: Invalid value: "string": spec.strategy in body must be of type object: "string""#])]
    #[case(json!({"output": {"image": "i", "vulnerabilityScan": {"ignore": {"severity": "x"}}}}),
        &[r#"spec.output.vulnerabilityScan.ignore.severity: Unsupported value: "x": supported values: "low", "medium", "high""#])]
    #[case(json!({"retention": {"failedLimit": 0, "succeededLimit": 10001}}),
        &["spec.retention.failedLimit: Invalid value: 0: spec.retention.failedLimit in body should be greater than or equal to 1",
          "spec.retention.succeededLimit: Invalid value: 10001: spec.retention.succeededLimit in body should be less than or equal to 10000"])]
    #[case(json!({"retention": {"failedLimit": 1, "succeededLimit": 10000.0}}), &[])]
    #[case(json!({"retention": {"failedLimit": 1.5}}),
        &[r#"spec.retention.failedLimit: Invalid value: "number": spec.retention.failedLimit in body must be of type integer: "number""#])]
    #[case(json!({"timeout": 600}),
        &[r#"spec.timeout: Invalid value: "int64": spec.timeout in body must be of type duration: "int64""#])]
    #[case(json!({"timeout": "1x"}),
        &[r#"spec.timeout: Invalid value: "1x": spec.timeout in body must be of type duration: "1x""#])]
    #[case(json!({"trigger": {"when": [{"name": "n", "github": {"events": []}}]}}),
        &["spec.trigger.when[0].github.events: Invalid value: 0: spec.trigger.when[0].github.events in body should have at least 1 items",
          "spec.trigger.when[0].type: Required value"])]
    #[case(json!({"nodeSelector": {"a": 1, "b": null}}),
        &[r#"spec.nodeSelector.a: Invalid value: "integer": spec.nodeSelector.a in body must be of type string: "integer""#])]
    #[case(json!({"env": [null, {"name": null, "value": "v"}]}),
        &[r#"spec.env[0]: Invalid value: "null": spec.env[0] in body must be of type object: "null""#,
          "spec.env[1].name: Required value"])]
    #[case(json!({"output": {"image": "i", "platforms": [{"os": "l", "arch": "a"}, {"os": "l", "arch": "a"}, {"os": "l", "arch": "a"}]}}),
        &[r#"spec.output.platforms[1]: Duplicate value: {"arch":"a","os":"l"}"#])]
    #[case(json!({"env": [{"name": "a"}, {"name": "a"}]}), &[])]
    fn builds(#[case] spec: Value, #[case] expected: &[&str]) {
        assert_eq!(problems(&build(&spec)), expected);
    }

    #[rstest]
    #[case(json!({}), &["spec.steps: Required value"])]
    #[case(json!({"steps": [{"name": "a"}, {"name": "a"}, {"image": "x"}]}),
        &["spec.steps[2].name: Required value", r#"spec.steps[1]: Duplicate value: {"name":"a"}"#])]
    #[case(json!({"steps": [], "securityContext": {"runAsUser": "0"}}),
        &["spec.securityContext.runAsGroup: Required value",
          r#"spec.securityContext.runAsUser: Invalid value: "string": spec.securityContext.runAsUser in body must be of type integer: "string""#])]
    #[case(json!({"steps": [], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": true}}]}),
        &[r#"spec.volumes[0].emptyDir.sizeLimit: Invalid value: "boolean": spec.volumes[0].emptyDir.sizeLimit in body must be of type integer,string: "boolean""#])]
    fn strategies(#[case] spec: Value, #[case] expected: &[&str]) {
        assert_eq!(problems(&strategy(&spec)), expected);
    }

    #[test]
    fn quantities() {
        let with = |quantity: Value| {
            let resources = json!({"limits": {"cpu": quantity}});
            problems(&strategy(&json!({"steps": [{"name": "a", "resources": resources}]})))
        };
        assert_eq!(with(json!("250m")), Vec::<String>::new());
        assert_eq!(with(json!(-2)), Vec::<String>::new());
        let path = "spec.steps[0].resources.limits.cpu";
        assert_eq!(
            with(json!("1 Gi")),
            [format!(
                "{path}: Invalid value: \"1 Gi\": {path} in body should match '{QUANTITY_PATTERN}'"
            )]
        );
    }

    #[rstest]
    #[case("Build", json!({"name": "a.b-c", "namespace": "n", "creationTimestamp": null, "labels": {"a/b": "c"}}), &[])]
    #[case("Build", json!({"generateName": "app-"}), &[])]
    #[case("Build", json!({"name": ""}), &["metadata.name: Required value: name or generateName is required"])]
    #[case("Build", json!({"name": "A"}), &[r#"metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must"#])]
    #[case("Build", json!({"generateName": "A-"}), &[r#"metadata.generateName: Invalid value: "A-": a lowercase RFC 1123"#])]
    #[case("Build", json!({"name": "a", "namespace": "x.y"}), &[r#"metadata.namespace: Invalid value: "x.y": must not contain dots"#])]
    #[case("Build", json!({"name": "a", "labels": {"k": "-"}, "annotations": {"a b": ""}}),
        &[r#"metadata.labels: Invalid value: "-": a valid label must"#,
          r#"metadata.annotations: Invalid value: "a b": name part must consist"#])]
    #[case("Build", json!({"name": "a", "annotations": {"X/y": "x".repeat(MAX_ANNOTATIONS)}}),
        &["metadata.annotations: Too long: may not be more than 262144 bytes"])]
    #[case("Build", json!({"name": 5, "labels": {"x": 5}}),
        &[r#"metadata.labels.x: Invalid value: "integer": metadata.labels.x in body must be of type string: "integer""#,
          r#"metadata.name: Invalid value: "integer": metadata.name in body must be of type string: "integer""#])]
    #[case("ClusterBuildStrategy", json!({"name": "s", "namespace": "X"}), &[])]
    fn names_and_labels(#[case] kind: &str, #[case] metadata: Value, #[case] beginnings: &[&str]) {
        let found = problems(&with_metadata(kind, &metadata));
        assert_eq!(found.len(), beginnings.len(), "{found:?}");
        for (found, beginning) in found.iter().zip(beginnings) {
            assert!(found.starts_with(beginning), "{found}");
        }
    }

    #[test]
    fn unknown_fields_are_no_problems() {
        let mut object = build(&json!({
            "foo": null,
            "env": [{"name": "a", "bar": {"x": 1}}],
            "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {}}, "spec": {}}}}],
        }));
        object["extra"] = json!(1);
        object["metadata"]["foo"] = json!(1);
        object["metadata"]["managedFields"] = json!([{"manager": "m", "fieldsV1": {"f:spec": {}}}]);
        let findings = check(&object).expect("a kind of ours");
        assert_eq!(findings.problems, []);
        assert_eq!(
            findings.unknown,
            [
                "metadata.foo",
                "spec.env[0].bar",
                "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.labels",
                "spec.foo",
                "extra"
            ]
        );
    }

    #[test]
    fn a_status_is_not_judged() {
        let mut object = build(&json!({}));
        object["status"] = json!({"registered": 5, "foo": 1});
        let findings = check(&object).expect("a kind of ours");
        assert_eq!((findings.problems, findings.unknown), (vec![], vec!["status.foo".to_owned()]));
        object["status"] = json!("x");
        assert_eq!(problems(&object), Vec::<String>::new());
    }

    #[test]
    fn only_kinds_of_ours_are_checked() {
        for foreign in [
            json!("text"),
            json!({"apiVersion": "v1", "kind": "Build"}),
            json!({"apiVersion": API_VERSION, "kind": "Other"}),
        ] {
            assert_eq!(check(&foreign), None);
        }
        let bare =
            json!({"apiVersion": API_VERSION, "kind": "BuildStrategy", "metadata": {"name": "s"}});
        assert_eq!(problems(&bare), Vec::<String>::new());
    }

    #[test]
    fn the_quantity_is_the_only_pattern() {
        fn visit(schema: &JSONSchemaProps) {
            assert!(schema.pattern.as_ref().is_none_or(|pattern| pattern == QUANTITY_PATTERN));
            schema.properties.iter().flat_map(BTreeMap::values).for_each(visit);
            if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
                visit(items);
            }
            if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
                visit(values);
            }
        }
        for kind in ["Build", "BuildRun", "BuildStrategy", "ClusterBuildStrategy"] {
            for version in [Version::V1alpha1, Version::V1beta1] {
                visit(crd::schema(version, kind).expect("a schema"));
            }
        }
    }
}
