//! Reads the sources and fails on what the design forbids, saying where and what to do instead.
//!
//! Invariant: a rule is a function from one file to findings, and each is shown to fire on a bad example beside it.
//!
//! These are the rules that neither the compiler nor clippy knows: who may use whom, what may not be named in a pure room, how long a
//! file may be, which words do not belong here.

mod dependencies;
mod scan;

use std::fs;
use std::path::{Path, PathBuf};

use scan::{NamedPath, Source, tokens};

/// What each room may use of ours. A room that is not in here does not exist.
const ROOMS: [(&str, &[&str]); 22] = [
    ("slipway::api", &[]),
    ("slipway::plan", &["slipway::api", "slipway_step::protocol"]),
    (
        "slipway::cluster",
        &[
            "slipway::plan",
            "slipway::api",
            "slipway::working_copy",
            "slipway_step::oci",
            "slipway_step::protocol",
        ],
    ),
    (
        "slipway::local",
        &[
            "slipway::plan",
            "slipway::api",
            "slipway::working_copy",
            "slipway_step::oci",
            "slipway_step::protocol",
        ],
    ),
    ("slipway::working_copy", &["slipway_step::unpack"]),
    ("slipway::view", &["slipway::plan", "slipway::api"]),
    (
        "slipway::cli",
        &[
            "slipway::view",
            "slipway::local",
            "slipway::cluster",
            "slipway::working_copy",
            "slipway::plan",
            "slipway::api",
        ],
    ),
    ("slipway::main", &["slipway::cli"]),
    ("slipway_step::protocol", &[]),
    ("slipway_step::oci", &[]),
    ("slipway_step::unpack", &[]),
    ("slipway_step::listing", &[]),
    ("slipway_step::result_file", &[]),
    ("slipway_step::gate", ROLE),
    ("slipway_step::git", ROLE),
    ("slipway_step::hold", ROLE),
    ("slipway_step::bundle", ROLE),
    ("slipway_step::image", ROLE),
    ("slipway_step::waiter", ROLE),
    ("slipway_step::tar", ROLE),
    ("slipway_step::prepare", ROLE),
    (
        "slipway_step::main",
        &[
            "slipway_step::protocol",
            "slipway_step::gate",
            "slipway_step::git",
            "slipway_step::hold",
            "slipway_step::bundle",
            "slipway_step::image",
            "slipway_step::waiter",
            "slipway_step::prepare",
            "slipway_step::tar",
        ],
    ),
];

/// What the commands of `slipway-step` may use; not each other.
const ROLE: &[&str] = &[
    "slipway_step::oci",
    "slipway_step::protocol",
    "slipway_step::unpack",
    "slipway_step::listing",
    "slipway_step::result_file",
];

/// Rooms without clock, randomness and I/O.
const PURE: [&str; 4] =
    ["slipway::api", "slipway::plan", "slipway::view", "slipway_step::protocol"];

/// What reaches out of a pure room. Hash maps are here because their order is random.
const IMPURE: [&str; 22] = [
    "tokio",
    "futures_util",
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::hash::RandomState",
    "kube::Api",
    "kube::Client",
    "kube::client",
    "kube::runtime",
    "rand",
    "tempfile",
    "uuid",
];

const IMPURE_MACROS: [&str; 5] = ["dbg", "eprint", "eprintln", "print", "println"];

const MOST_LINES: usize = 500;
const WHY_LONG: &str = "Long because ";

const EMPTY_NAMES: [&str; 7] = ["common", "core", "helper", "helpers", "types", "util", "utils"];

fn wrong_arrows(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some(own) = module.get(..2).map(|module| module.join("::")) else {
        return Vec::new();
    };
    let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == own) else {
        return vec![format!(
            "{}: {own} is no room of the design; add it to the table of rooms here and there",
            source.at(1)
        )];
    };
    let wrong = |path: &NamedPath| -> Option<String> {
        let [package, room @ ..] = path.segments.as_slice() else { return None };
        if !["slipway", "slipway_step"].contains(&package.as_str()) {
            return None;
        }
        let Some(room) = room.first().filter(|room| !["*", "self"].contains(&room.as_str())) else {
            return Some(format!("{} takes all of {package}; name the room", source.at(path.line)));
        };
        let target = format!("{package}::{room}");
        let is_room = ROOMS.iter().any(|(room, _)| *room == target);
        // What stands in the root of a package belongs to all of its rooms.
        let is_own = target == own || (!is_room && *package == module[0]);
        (!is_own && !allowed.contains(&target.as_str())).then(|| {
            format!(
                "{}: {own} must not use {target}; it may use: {}",
                source.at(path.line),
                allowed.join(", ")
            )
        })
    };
    source.paths().iter().filter_map(wrong).collect()
}

#[test]
fn rooms_use_only_what_the_design_allows() {
    assert_tidy(wrong_arrows);
}

#[test]
fn a_wrong_arrow_is_found() {
    for (path, text) in [
        ("src/api/build.rs", "use crate::plan::Loaded;"),
        ("src/api/mod.rs", "use super::{plan};"),
        ("src/api/build.rs", "use slipway_step::protocol::GitCommand;"),
        ("src/plan/pod.rs", "fn f() { crate::local::read() }"),
        ("src/plan/pod.rs", "use crate::{api, cluster};"),
        ("src/plan/pod.rs", "use slipway_step::oci::Registry;"),
        ("src/plan/pod.rs", "use slipway_step::describe;"),
        ("src/plan/validate/mod.rs", "use super::super::cli;"),
        ("src/cluster/load.rs", "use crate::local::Files;"),
        ("src/local/load.rs", "use crate::cluster::apply;"),
        ("src/view/page.rs", "use crate::cli::Exit;"),
        ("src/view/page.rs", "use crate as all;"),
        ("src/view/page.rs", "use crate::*;"),
        ("step/src/protocol/git.rs", "use crate::oci::Reference;"),
        ("step/src/oci/blob.rs", "use crate::protocol::PROGRAM;"),
        ("step/src/gate/mod.rs", "use crate::git;"),
        ("step/src/git/mod.rs", "use super::gate::log;"),
        ("src/main.rs", "use slipway::plan::Loaded;"),
        ("src/tekton/mod.rs", ""),
    ] {
        assert_fires(wrong_arrows, path, text);
    }
    for (path, text) in [
        (
            "src/plan/pod.rs",
            "use crate::api::Build; use slipway_step::protocol::{self, GitCommand}; use super::step::Origin;",
        ),
        ("src/plan/pod.rs", "#[cfg(test)] mod tests { use crate::local::read; }"),
        ("src/cli/render.rs", "use crate::{local, plan, view}; // crate::nothing::*"),
        ("step/src/git/mod.rs", "use crate::protocol::GitCommand; fn f() { crate::describe(); }"),
        ("src/lib.rs", "pub mod api;"),
        ("src/main.rs", "fn main() { slipway::cli::main() }"),
    ] {
        assert_quiet(wrong_arrows, path, text);
    }
}

fn impurities(source: &Source) -> Vec<String> {
    let Some(own) = source.module().and_then(|module| Some(module.get(..2)?.join("::"))) else {
        return Vec::new();
    };
    if !PURE.contains(&own.as_str()) {
        return Vec::new();
    }
    let say = |line: usize, what: &str| {
        format!(
            "{}: {what} in the pure room {own}; take what it yields as an argument, or move this to a room with I/O",
            source.at(line)
        )
    };
    let mut found: Vec<_> = source
        .paths()
        .iter()
        .filter_map(|path| {
            let is_clock =
                path.segments.len() > 1 && path.segments.last().is_some_and(|last| last == "now");
            let reached = IMPURE.iter().find(|name| path.reaches(name)).copied();
            reached.or(is_clock.then_some("the clock")).map(|what| say(path.line, what))
        })
        .collect();
    let all = tokens(&source.product);
    for (at, token) in all.iter().enumerate() {
        let is_macro = all.get(at + 1).is_some_and(|next| next.text == "!");
        if ["async", "await"].contains(&token.text)
            || (is_macro && IMPURE_MACROS.contains(&token.text))
        {
            found.push(say(token.line, token.text));
        }
    }
    found
}

#[test]
fn pure_rooms_are_pure() {
    assert_tidy(impurities);
}

#[test]
fn an_impurity_is_found() {
    for text in IMPURE.map(|name| format!("use {name};")) {
        assert_fires(impurities, "src/plan/pod.rs", &text);
    }
    for text in IMPURE_MACROS.map(|name| format!("fn f() {{ {name}!(\"\"); }}")) {
        assert_fires(impurities, "src/plan/pod.rs", &text);
    }
    for text in [
        "async fn f() {}",
        "fn f() { g().await }",
        "use std::{collections::BTreeMap, fs::{self, File}};",
        "use std::*;",
        "fn f() { std::env::var(\"A\") }",
        "use jiff::Timestamp; fn f() { Timestamp::now() }",
        "use kube::{Client, Resource};",
    ] {
        for path in [
            "src/api/build.rs",
            "src/plan/validate/mod.rs",
            "src/view/page.rs",
            "step/src/protocol/git.rs",
        ] {
            assert_fires(impurities, path, text);
        }
        assert_quiet(impurities, "src/cluster/load.rs", text);
        assert_quiet(
            impurities,
            "src/plan/pod.rs",
            &format!("#[cfg(test)]\nmod tests {{ {text} }}"),
        );
    }
    assert_quiet(
        impurities,
        "src/plan/pod.rs",
        "use std::{collections::BTreeMap, fmt}; use kube::Resource; // std::fs, async",
    );
}

/// Comments, empty lines and code for tests only do not count: a file is as long as what must be read to change it.
fn long_files(source: &Source) -> Vec<String> {
    let lines = source.lines_of_code();
    let header = source.text.lines().take_while(|line| line.starts_with("//!"));
    if lines <= MOST_LINES || header.into_iter().any(|line| line.contains(WHY_LONG)) {
        return Vec::new();
    }
    vec![format!(
        "{} has {lines} lines of code, more than {MOST_LINES}; split it, or say in its header \"{WHY_LONG}…\"",
        source.path
    )]
}

#[test]
fn files_are_short_or_say_why_not() {
    assert_tidy(long_files);
}

#[test]
fn a_long_file_is_found() {
    let long = "fn f() {}\n".repeat(MOST_LINES + 1);
    assert_fires(long_files, "src/plan/pod.rs", &long);
    assert_fires(
        long_files,
        "src/plan/pod.rs",
        &format!("//! Everything.\n{long}// Long because of this.\n"),
    );
    assert_quiet(
        long_files,
        "src/plan/pod.rs",
        &format!("//! Everything.\n//!\n//! Long because it is one table.\n{long}"),
    );
    assert_quiet(long_files, "src/plan/pod.rs", &"fn f() {}\n\n// why\n".repeat(MOST_LINES));
    assert_quiet(
        long_files,
        "src/plan/pod.rs",
        &format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n"),
    );
}

fn empty_names(source: &Source) -> Vec<String> {
    let mut names: Vec<_> =
        source.path.trim_end_matches(".rs").split('/').map(|name| (1, name)).collect();
    names.extend(
        tokens(&source.code)
            .windows(2)
            .filter(|two| two[0].text == "mod")
            .map(|two| (two[1].line, two[1].text)),
    );
    names.retain(|(_, name)| EMPTY_NAMES.contains(name));
    names
        .into_iter()
        .map(|(line, name)| {
            format!(
                "{}: a module {name:?} says nothing; name it after what it holds",
                source.at(line)
            )
        })
        .collect()
}

#[test]
fn modules_have_names_that_say_something() {
    assert_tidy(empty_names);
}

#[test]
fn a_name_that_says_nothing_is_found() {
    for name in EMPTY_NAMES {
        assert_fires(empty_names, &format!("src/plan/{name}.rs"), "");
        assert_fires(empty_names, &format!("src/{name}/mod.rs"), "");
        assert_fires(empty_names, "src/plan/mod.rs", &format!("pub(crate) mod {name} {{}}"));
    }
    assert_quiet(
        empty_names,
        "src/plan/typesetting.rs",
        "mod commons; use core::fmt; // mod utils;",
    );
}

fn silenced_lints(source: &Source) -> Vec<String> {
    let all = tokens(&source.code);
    let mut found = Vec::new();
    for at in
        (1..all.len()).filter(|at| all[*at].text == "[" && ["#", "!"].contains(&all[at - 1].text))
    {
        let attribute: Vec<_> =
            all[at..].iter().map(|token| token.text).take_while(|text| *text != "]").collect();
        let has = |name: &str| attribute.windows(2).any(|two| two == [name, "("]);
        if has("allow") {
            found.push(format!(
                "{}: allow outlives its cause; write #[expect(…, reason = \"…\")]",
                source.at(all[at].line)
            ));
        } else if has("expect") && !attribute.contains(&"reason") {
            found.push(format!(
                "{}: expect says no reason; add reason = \"…\"",
                source.at(all[at].line)
            ));
        }
    }
    found
}

#[test]
fn lints_are_expected_with_a_reason() {
    assert_tidy(silenced_lints);
}

#[test]
fn a_silenced_lint_is_found() {
    for text in [
        "#[allow(dead_code)] fn f() {}",
        "#![allow(clippy::panic, reason = \"tests\")]",
        "#[cfg_attr(test, allow(dead_code))] fn f() {}",
        "# [ allow (dead_code) ] fn f() {}",
        "#[cfg(test)] mod tests { #[allow(dead_code)] fn f() {} }",
        "#[expect(dead_code)] fn f() {}",
    ] {
        assert_fires(silenced_lints, "src/plan/pod.rs", text);
    }
    assert_quiet(
        silenced_lints,
        "src/plan/pod.rs",
        "#[expect(dead_code, reason = \"used by [x]\")] fn allow() { allow() } // #[allow(x)]",
    );
}

/// Paths of one person's machine and hosts of package registries: neither means anything to the next reader.
const FOREIGN_WORDS: [&str; 10] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/."),
    concat!("/ho", "me/"),
    concat!("/tmp/br", "ief"),
    concat!("crates", ".io"),
    concat!("proxy.golang", ".org"),
    concat!("sum.golang", ".org"),
    concat!("deb.debian", ".org"),
    concat!("archive.ubuntu", ".com"),
    concat!("static.rust-lang", ".org"),
];

fn foreign_words(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for word in FOREIGN_WORDS {
            // Within a longer path or name it is something else.
            let joined = |before: &str| {
                before.ends_with(|last: char| last.is_ascii_alphanumeric() || "_-})".contains(last))
            };
            if line.match_indices(word).any(|(start, _)| !joined(&line[..start])) {
                found.push(format!("{path}:{}: {word} does not belong in the repository", at + 1));
            }
        }
    }
    found
}

#[test]
fn no_foreign_word_is_in_the_repository() {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    let mut found = Vec::new();
    // Written by cargo, which names the registry in it.
    for path in files.iter().filter(|path| path.as_str() != "Cargo.lock") {
        let content = fs::read(root().join(path)).expect("reads");
        // Programs that a build left here are none of our texts.
        if let Ok(text) = String::from_utf8(content) {
            found.extend(foreign_words(path, &text));
        }
    }
    assert!(files.len() > 50, "only {} files found", files.len());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_foreign_word_is_found() {
    for word in FOREIGN_WORDS {
        assert_ne!(
            foreign_words("README.md", &format!("see {word}x")),
            Vec::<String>::new(),
            "{word}"
        );
        assert_eq!(
            foreign_words("README.md", &format!("see x{word}x")),
            Vec::<String>::new(),
            "{word}"
        );
    }
}

/// Findings of a rule in all of the repository's Rust files.
fn assert_tidy(rule: fn(&Source) -> Vec<String>) {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    files.retain(|path| Path::new(path).extension().is_some_and(|ending| ending == "rs"));
    let mut sources: Vec<_> = files.iter().map(|path| Source::new(path, &read(path))).collect();
    assert!(
        sources.iter().any(|source| source.path == "src/plan/mod.rs"),
        "the sources are not where they were"
    );
    let tests: Vec<_> = sources.iter().flat_map(files_for_tests_only).collect();
    for source in sources.iter_mut().filter(|source| tests.contains(&source.path)) {
        source.product.clear();
    }
    let found: Vec<_> = sources.iter().flat_map(rule).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Where the modules lie that a file declares for tests only.
fn files_for_tests_only(source: &Source) -> Vec<String> {
    let (directory, name) = source.path.rsplit_once('/').unwrap_or_default();
    let inside = match name {
        "mod.rs" | "lib.rs" | "main.rs" => directory.to_owned(),
        _ => source.path.trim_end_matches(".rs").to_owned(),
    };
    source
        .test_modules
        .iter()
        .flat_map(|module| [format!("{inside}/{module}.rs"), format!("{inside}/{module}/mod.rs")])
        .collect()
}

/// All files below a directory, but for what git keeps and cargo builds.
fn collect(directory: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let relative =
            path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        if path.is_dir() && ![".git", "target"].contains(&relative.as_str()) {
            collect(&path, files);
        } else if path.is_file() && relative != ".git" {
            files.push(relative);
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn assert_fires(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) {
    assert_ne!(rule(&Source::new(path, text)), Vec::<String>::new(), "{path}: {text}");
}

fn assert_quiet(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) {
    assert_eq!(rule(&Source::new(path, text)), Vec::<String>::new(), "{path}: {text}");
}
