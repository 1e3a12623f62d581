//! Finds `$(…)` references in a text.
//!
//! Invariant: a text is read once from left to right; what was found is never read again, so a value cannot make a reference.
//! Invariant: takes time in proportion to the text, whatever stands in it.
//!
//! What the runtime or a shell understands by `$(…)` (`$(HOME)`, `$(cat file)`) is not a reference of ours and is left alone.

/// Which part of a parameter a reference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `$(params.x)`: the string, or the whole array
    Whole,
    /// `$(params.x[*])`: the whole array
    All,
    /// `$(params.x[3])`: one item, counted from 0
    Item(usize),
}

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// A parameter, in dot, bracket or legacy `inputs.` form.
    Param { name: &'a str, part: Part },
    /// `$(results.x.path)`, in dot or bracket form.
    ResultPath { name: &'a str },
    /// Anything else below a prefix that Shipwright knows: `context.taskRun.name`, `workspaces.source.path` …
    Named(&'a str),
    /// A parameter reference with another one inside, which no pass can mean.
    Nested,
}

/// One reference and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The whole text of it, `$(` and `)` included.
    pub text: &'a str,
    /// Where it begins, in bytes.
    pub start: usize,
    /// What it means.
    pub target: Target<'a>,
}

impl Reference<'_> {
    /// Where the text goes on behind it, in bytes.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// Prefixes of what the later passes replace.
const NAMED_PREFIXES: [&str; 4] = ["context.", "workspaces.", "steps.", "credentials."];

/// All references in a text, in order and without overlap.
pub fn references(text: &str) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = text.get(from..).and_then(|rest| rest.find("$(")).map(|at| from + at) {
        match parse(text, start) {
            Some(reference) => {
                from = reference.end();
                found.push(reference);
            }
            None => from = start + 2,
        }
    }
    found
}

/// The text with each reference replaced by what `value` says; those for which it says nothing stay as they are.
pub fn replace(text: &str, value: impl Fn(&Reference<'_>) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for reference in references(text) {
        if let Some(value) = value(&reference) {
            out.push_str(&text[from..reference.start]);
            out.push_str(&value);
            from = reference.end();
        }
    }
    out.push_str(&text[from..]);
    out
}

/// How long [`replace`] would make the text, for values of these lengths, in bytes; saturates.
pub fn replaced_length(text: &str, length: impl Fn(&Reference<'_>) -> Option<usize>) -> usize {
    references(text).iter().fold(text.len(), |whole, reference| match length(reference) {
        Some(length) => (whole - reference.text.len()).saturating_add(length),
        None => whole,
    })
}

fn parse(text: &str, start: usize) -> Option<Reference<'_>> {
    let body = &text[start + 2..];
    let (target, length) =
        parse_param(body).or_else(|| parse_result(body)).or_else(|| parse_named(body))?;
    Some(Reference { text: &text[start..start + 2 + length], start, target })
}

/// The target and how many bytes of the body it takes, the closing parenthesis included.
fn parse_param(body: &str) -> Option<(Target<'_>, usize)> {
    let rest = body.strip_prefix("inputs.").unwrap_or(body).strip_prefix("params")?;
    let Some((name, rest)) = parse_name(rest) else { return nested(body, rest) };
    let (part, rest) = parse_part(rest).unwrap_or((Part::Whole, rest));
    match rest.strip_prefix(')') {
        Some(rest) => Some((Target::Param { name, part }, body.len() - rest.len())),
        None => nested(body, rest),
    }
}

/// `[*]` or `[3]`.
fn parse_part(rest: &str) -> Option<(Part, &str)> {
    let rest = rest.strip_prefix('[')?;
    if let Some(rest) = rest.strip_prefix("*]") {
        return Some((Part::All, rest));
    }
    let (index, rest) = split(rest, |c| c.is_ascii_digit())?;
    // An index that no machine can count to is out of every list's range.
    Some((Part::Item(index.parse().unwrap_or(usize::MAX)), rest.strip_prefix(']')?))
}

/// `.NAME`, `["NAME"]` or `['NAME']`.
fn parse_name(rest: &str) -> Option<(&str, &str)> {
    for (open, close) in [("[\"", "\"]"), ("['", "']"), (".", "")] {
        if let Some(rest) = rest.strip_prefix(open) {
            let (name, rest) = split(rest, is_name_character)?;
            return Some((name, rest.strip_prefix(close)?));
        }
    }
    None
}

/// The characters at the start that belong, at least one, and the rest.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> Option<(&str, &str)> {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// `$(params.a$(params.b))`: from the outer opening to the inner one.
fn nested<'a>(body: &'a str, rest: &'a str) -> Option<(Target<'a>, usize)> {
    let rest = rest
        .trim_start_matches(|c: char| is_name_character(c) || matches!(c, '[' | ']' | '"' | '\''));
    rest.starts_with("$(").then(|| (Target::Nested, body.len() - rest.len()))
}

fn parse_result(body: &str) -> Option<(Target<'_>, usize)> {
    let rest = body.strip_prefix("results")?;
    let (name, rest) = if rest.starts_with('.') {
        let (name, rest) = parse_name(rest)?;
        (name.strip_suffix(".path")?, rest)
    } else {
        let (name, rest) = parse_name(rest)?;
        (name, rest.strip_prefix(".path")?)
    };
    let rest = rest.strip_prefix(')')?;
    Some((Target::ResultPath { name }, body.len() - rest.len()))
}

fn parse_named(body: &str) -> Option<(Target<'_>, usize)> {
    NAMED_PREFIXES.iter().find(|prefix| body.starts_with(**prefix))?;
    let (name, rest) = split(body, is_name_character)?;
    rest.starts_with(')').then_some((Target::Named(name), name.len() + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn param(name: &str, part: Part) -> Target<'_> {
        Target::Param { name, part }
    }

    #[test]
    fn every_form_of_a_reference_is_read() {
        for (text, target) in [
            ("$(params.a)", param("a", Part::Whole)),
            ("$(params.a-b_c)", param("a-b_c", Part::Whole)),
            ("$(params.a.b)", param("a.b", Part::Whole)),
            ("$(params[\"a.b\"])", param("a.b", Part::Whole)),
            ("$(params['a'])", param("a", Part::Whole)),
            ("$(inputs.params.a)", param("a", Part::Whole)),
            ("$(params.a[*])", param("a", Part::All)),
            ("$(params['a'][*])", param("a", Part::All)),
            ("$(params.a[12])", param("a", Part::Item(12))),
            ("$(results.shp-image-digest.path)", Target::ResultPath { name: "shp-image-digest" }),
            ("$(results['x'].path)", Target::ResultPath { name: "x" }),
            ("$(results[\"x\"].path)", Target::ResultPath { name: "x" }),
            ("$(context.taskRun.name)", Target::Named("context.taskRun.name")),
            ("$(workspaces.source.path)", Target::Named("workspaces.source.path")),
            ("$(credentials.path)", Target::Named("credentials.path")),
        ] {
            let found = references(text);
            assert_eq!(found, [Reference { text, start: 0, target }], "{text}");
        }
    }

    #[test]
    fn what_a_shell_or_the_runtime_means_is_left_alone() {
        for text in [
            "$(HOME)",
            "$(cat params.x)",
            "$(params.sh --all)",
            "$(params)",
            "$(params.)",
            "$params.a",
            "$(params.a",
            "$()",
            "$(results.x)",
        ] {
            assert_eq!(references(text), [], "{text}");
        }
    }

    #[test]
    fn a_reference_in_a_reference_is_seen_as_such() {
        let found = references("$(params.a$(params.b))");
        assert_eq!(found[0].target, Target::Nested);
        assert_eq!(found[1].target, param("b", Part::Whole));
    }

    #[test]
    fn replacing_is_one_simultaneous_pass() {
        let out =
            replace("$(params.a)-$(params.b)-$(params.c)", |reference| match reference.text {
                "$(params.a)" => Some("$(params.b)".into()),
                "$(params.b)" => Some("B".into()),
                _ => None,
            });
        assert_eq!(out, "$(params.b)-B-$(params.c)");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_nothing_else_changes(text in "\\PC*|([$(){}\\[\\]a.\"'*]|params|results|path|[0-9]){0,30}") {
            prop_assert_eq!(replace(&text, |_| None), text.clone());
            let mut end = 0;
            for reference in references(&text) {
                prop_assert!(reference.start >= end);
                prop_assert_eq!(&text[reference.start..reference.end()], reference.text);
                end = reference.end();
            }
        }

        #[test]
        fn a_value_is_never_read_again(value in "\\PC*") {
            let hostile = format!("{value}$(params.a)$(results.a.path)");
            prop_assert_eq!(replace("x$(params.a)y", |_| Some(hostile.clone())), format!("x{hostile}y"));
        }
    }
}
