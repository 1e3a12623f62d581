//! Pods as YAML that people can read: what fits on a line stands on one.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Outcome;

const WIDTH: usize = 110;

/// A snapshot.
pub fn outcome(outcome: &Outcome) -> String {
    let mut out = String::new();
    for note in &outcome.notes {
        writeln!(out, "# {note}").unwrap();
    }
    match &outcome.expansion {
        Ok(expansion) => {
            if let Some(account) = &expansion.service_account {
                members(&mut out, &json!(account), 0);
                out.push_str("---\n");
            }
            members(&mut out, &json!(expansion.pod), 0);
        }
        Err(lines) => lines.iter().for_each(|line| writeln!(out, "{line}").unwrap()),
    }
    // A new version is no change of a pod.
    out.replace(concat!("step:", env!("CARGO_PKG_VERSION")), "step:VERSION")
}

fn members(out: &mut String, value: &Value, depth: usize) {
    for (key, value) in value.as_object().unwrap() {
        write!(out, "{}{key}:", "  ".repeat(depth)).unwrap();
        behind(out, value, depth);
    }
}

/// A value behind its key.
fn behind(out: &mut String, value: &Value, depth: usize) {
    let line = value.to_string();
    let indent = "  ".repeat(depth + 1);
    match value {
        Value::Object(map)
            if !map.is_empty() && depth < 2 || line.len() > WIDTH && value.is_object() =>
        {
            out.push('\n');
            members(out, value, depth + 1);
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object()) && line.len() > WIDTH => {
            out.push_str(" [\n");
            wrapped(out, items, &indent);
            writeln!(out, "{}]", "  ".repeat(depth)).unwrap();
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            out.push('\n');
            for item in items {
                let line = item.to_string();
                if line.len() <= WIDTH {
                    writeln!(out, "{indent}- {line}").unwrap();
                } else {
                    writeln!(out, "{indent}-").unwrap();
                    members(out, item, depth + 2);
                }
            }
        }
        _ => writeln!(out, " {line}").unwrap(),
    }
}

/// As many items on a line as fit.
fn wrapped(out: &mut String, items: &[Value], indent: &str) {
    let mut line = String::new();
    for item in items {
        let item = item.to_string();
        if !line.is_empty() && line.len() + item.len() > WIDTH {
            writeln!(out, "{indent}{}", line.trim_end()).unwrap();
            line.clear();
        }
        write!(line, "{item}, ").unwrap();
    }
    writeln!(out, "{indent}{}", line.trim_end()).unwrap();
}
