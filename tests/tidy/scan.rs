//! Reads a Rust file just far enough for rules: what is code, which part of it is a test, which paths it names.
//!
//! Invariant: every text keeps its line numbers; what does not count is overwritten, never removed.
//!
//! A light scanner instead of a parser: the rules ask only for names, and a dependency that parses Rust would be the largest of all.

/// A Rust file as the rules see it.
#[derive(Debug)]
pub struct Source {
    /// Path from the root of the repository.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// Comments are spaces, the content of literals is quotes.
    pub code: String,
    /// `code` without what is compiled for tests only.
    pub product: String,
    /// Modules in files of their own that are compiled for tests only.
    pub test_modules: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = without_comments(text);
        let (product, test_modules) = without_tests(&code);
        Self { path: path.into(), text: text.into(), code, product, test_modules }
    }

    /// The place of a finding, for people and editors.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    /// This file's module, beginning with its package: `src/plan/pod.rs` is `slipway::plan::pod`. A test of its own has none.
    pub fn module(&self) -> Option<Vec<String>> {
        let (package, rest) = match self.path.strip_prefix("step/src/") {
            Some(rest) => ("slipway_step", rest),
            None => ("slipway", self.path.strip_prefix("src/")?),
        };
        let mut module = vec![package.to_owned()];
        module.extend(
            rest.strip_suffix(".rs")?
                .split('/')
                .filter(|part| !["lib", "mod"].contains(part))
                .map(String::from),
        );
        Some(module)
    }

    /// Every path that the product names, written out from the package on where it is one of ours.
    pub fn paths(&self) -> Vec<NamedPath> {
        let module = self.module().unwrap_or_default();
        paths(&self.product).into_iter().map(|path| path.resolved(&module)).collect()
    }

    /// Lines with code in them; comments, empty lines and tests are none.
    pub fn lines_of_code(&self) -> usize {
        self.product.lines().filter(|line| !line.trim().is_empty()).count()
    }
}

/// A path in the code, such as `std::fs::read` or one branch of a `use` tree.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedPath {
    pub line: usize,
    pub segments: Vec<String>,
}

impl NamedPath {
    fn resolved(self, module: &[String]) -> Self {
        let line = self.line;
        let mut rest = self.segments.as_slice();
        let mut base = match rest.first().map(String::as_str) {
            Some("crate") => module.iter().take(1).cloned().collect(),
            Some("self" | "super") => module.to_vec(),
            _ => return self,
        };
        while let Some(first @ ("crate" | "self" | "super")) = rest.first().map(String::as_str) {
            if first == "super" {
                base.pop();
            }
            rest = &rest[1..];
        }
        base.extend(rest.iter().cloned());
        Self { line, segments: base }
    }

    /// Whether the path is `name` or leads into it; a `*` stands for everything below.
    pub fn reaches(&self, name: &str) -> bool {
        let name: Vec<&str> = name.split("::").collect();
        let common =
            self.segments.iter().zip(&name).take_while(|(segment, part)| segment == part).count();
        common == name.len() || self.segments.get(common).is_some_and(|segment| segment == "*")
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Token<'code> {
    pub line: usize,
    pub text: &'code str,
}

impl Token<'_> {
    pub fn is_name(self) -> bool {
        self.text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
    }
}

/// Names, `::` and single signs of a text without comments.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("::") {
            2
        } else if is_name_part(first) {
            rest.find(|next| !is_name_part(next)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (text, after) = rest.split_at(length);
        if first == '\n' {
            line += 1;
        } else if !first.is_whitespace() {
            tokens.push(Token { line, text });
        }
        rest = after;
    }
    tokens
}

fn is_name_part(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '_'
}

/// All paths of a text without comments.
pub fn paths(code: &str) -> Vec<NamedPath> {
    let tokens = tokens(code);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let imported = at > 0
            && ["use", "crate"].contains(&text(at - 1))
            && (tokens[at].is_name() || text(at) == "{");
        let begins = imported || (tokens[at].is_name() && text(at + 1) == "::");
        at = if begins { tree(&tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Reads one path, or a tree of them, and tells where it ends.
fn tree(
    tokens: &[Token<'_>],
    start: usize,
    prefix: &[String],
    found: &mut Vec<NamedPath>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut segments = prefix.to_vec();
    let mut at = start;
    loop {
        match text(at) {
            "{" => {
                at += 1;
                while !["}", ""].contains(&text(at)) {
                    at = if text(at) == "," {
                        at + 1
                    } else {
                        tree(tokens, at, &segments, found).max(at + 1)
                    };
                }
                return at + 1;
            }
            part if part == "*" || tokens.get(at).is_some_and(|token| token.is_name()) => {
                segments.push(part.into());
            }
            _ => break,
        }
        at += 1;
        if text(at) != "::" {
            break;
        }
        at += 1;
    }
    if text(at) == "as" {
        at += 2;
    }
    if segments.len() > prefix.len() {
        found.push(NamedPath { line: tokens[start].line, segments });
    }
    at
}

/// Comments become spaces, the content of strings and characters becomes quotes.
pub fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_name = code.ends_with(is_name_part);
        let (length, filler) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), ' ')
        } else if rest.starts_with("/*") {
            (block_comment(rest), ' ')
        } else if let Some(length) = literal(rest, after_name) {
            (length, '"')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let (covered, after) = rest.split_at(length);
        code.extend(covered.chars().map(|sign| if sign == '\n' { sign } else { filler }));
        rest = after;
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let step = if text[at..].starts_with("/*") {
            depth += 1;
            2
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            2
        } else {
            text[at..].chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string or character with which the text begins.
fn literal(text: &str, after_name: bool) -> Option<usize> {
    let start = if after_name {
        0
    } else {
        text.find(|sign| !['b', 'c', 'r'].contains(&sign)).filter(|start| *start <= 2)?
    };
    let body = &text[start..];
    if text[..start].ends_with('r') {
        let hashes = body.find(|sign| sign != '#')?;
        let inside = body[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", &body[..hashes]);
        return Some(
            text.len() - inside.len() + inside.find(&end).map_or(inside.len(), |at| at + end.len()),
        );
    }
    if let Some(inside) = body.strip_prefix('"') {
        return Some(text.len() - inside.len() + closing(inside, '"'));
    }
    let inside = body.strip_prefix('\'')?;
    let mut signs = inside.chars();
    let escaped = signs.next() == Some('\\');
    // Otherwise it is a lifetime.
    (escaped || signs.next() == Some('\''))
        .then(|| text.len() - inside.len() + closing(inside, '\''))
}

/// Where the text behind the closing quote begins.
fn closing(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, sign) in inside.char_indices() {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if sign == quote => return at + 1,
            _ => {}
        }
    }
    inside.len()
}

/// Overwrites each item that is compiled for tests only, and names those that are modules in files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let mut product = String::with_capacity(code.len());
    let mut modules = Vec::new();
    let mut rest = code;
    if code.contains("#![cfg(test)]") {
        return (blank(code), modules);
    }
    while let Some(at) = rest.find(MARK) {
        let length = MARK.len() + item(&rest[at + MARK.len()..]);
        let item = &rest[at..at + length];
        let names = tokens(item);
        let declared =
            names.windows(3).find(|three| three[0].text == "mod" && three[2].text == ";");
        modules.extend(declared.map(|three| three[1].text.to_owned()));
        product.push_str(&rest[..at]);
        product.push_str(&blank(item));
        rest = &rest[at + length..];
    }
    product.push_str(rest);
    (product, modules)
}

/// The length of the item with which the text begins: up to a semicolon or a closing brace outside of all other brackets.
fn item(text: &str) -> usize {
    let mut depth = 0;
    for (at, sign) in text.char_indices() {
        match sign {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && ['}', ';'].contains(&sign) {
            return at + 1;
        }
    }
    text.len()
}

fn blank(text: &str) -> String {
    text.chars().map(|sign| if sign == '\n' { sign } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Source, paths, without_comments};

    fn named(path: &str, text: &str) -> Vec<String> {
        Source::new(path, text).paths().into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn comments_and_literals_hold_no_names() {
        for text in [
            "// std::fs",
            "/* std::fs /* std::fs */ std::fs */",
            "\"std::fs \\\" std::fs\"",
            "r#\"std::fs \" std::fs\"#",
            "b\"std::fs\"",
            "br\"std::fs\\\"",
            "f('\"'); // std::fs",
            "f('\\''); // std::fs",
        ] {
            assert_eq!(paths(&without_comments(text)), [], "{text}");
        }
        for text in [
            "fn f<'a>(b: &'a str) { std::fs::read(b) }",
            "f('\"'); std::fs::read('\"')",
            "r\"\\\"; std::fs::read(\"\")",
        ] {
            assert!(
                paths(&without_comments(text)).iter().any(|path| path.reaches("std::fs")),
                "{text}"
            );
        }
    }

    #[test]
    fn lines_stay() {
        let text = "a\n/* b\n c */ d\n\"e\nf\" g";
        assert_eq!(without_comments(text).lines().count(), text.lines().count());
        assert_eq!(
            paths("\n\nuse a::{\nb,\nc};").iter().map(|path| path.line).collect::<Vec<_>>(),
            [4, 5]
        );
    }

    #[test]
    fn trees_are_written_out() {
        assert_eq!(
            named(
                "src/plan/validate/mod.rs",
                "use crate::{api::{self as kinds, Build}, plan}; use super::{pod::*, super::cli}; use self::build::x;"
            ),
            [
                "slipway::api::self",
                "slipway::api::Build",
                "slipway::plan",
                "slipway::plan::pod::*",
                "slipway::cli",
                "slipway::plan::validate::build::x",
            ]
        );
        assert_eq!(
            named("src/a.rs", "use tokio; use {std::fs, b}; let x = crate::c::d::<e::F>();"),
            ["tokio", "std::fs", "b", "slipway::c::d", "e::F"]
        );
    }

    #[test]
    fn tests_are_no_product() {
        let source = Source::new(
            "src/a.rs",
            "use a::b;\n#[cfg(test)]\nmod round_trip;\n#[cfg(test)]\n#[derive(Debug)]\nstruct S { x: c::D }\nuse e::f;\n#[cfg(test)]\nmod tests { fn g() { h::i() } }\n",
        );
        assert_eq!(
            source.paths().iter().map(|path| path.segments.join("::")).collect::<Vec<_>>(),
            ["a::b", "e::f"]
        );
        assert_eq!(source.test_modules, ["round_trip"]);
        assert_eq!(source.lines_of_code(), 2);
    }
}
