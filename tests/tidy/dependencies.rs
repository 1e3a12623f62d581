//! What the design asks of dependencies: each is explained, none is banned, all may be used under a licence we accept.
//!
//! Invariant: `deny.toml` is the only list; what `cargo deny check bans licenses sources` finds with it is found here as well, except for
//! packages that only other systems build.
//!
//! Machines that run the tests need not have cargo-deny, which takes longer to compile than all of this repository.

use std::process::Command;

use serde_json::Value;

use super::read;

/// A dependency that is inherited from the workspace is explained there.
fn unexplained_dependencies(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_list = false;
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let is_comment = |at: Option<usize>| {
        at.and_then(|at| lines.get(at)).is_some_and(|line| line.starts_with('#'))
    };
    for (at, line) in lines.iter().enumerate() {
        let section = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        let entry = match section {
            Some(section) => {
                in_list = section.ends_with("dependencies");
                section.split_once("dependencies.").map(|(_, name)| name)
            }
            None => line
                .split_once('=')
                .filter(|_| in_list && !line.starts_with('#'))
                .map(|(name, _)| name.trim()),
        };
        let Some(name) = entry.filter(|_| !line.contains("workspace = true")) else { continue };
        let explained =
            is_comment(at.checked_sub(1)) || (section.is_some() && is_comment(Some(at + 1)));
        if !explained {
            found.push(format!("{path}:{}: the dependency {name} has no comment above it; say in one line why it is needed", at + 1));
        }
    }
    found
}

#[test]
fn dependencies_are_explained() {
    for path in ["Cargo.toml", "step/Cargo.toml"] {
        let found = unexplained_dependencies(path, &read(path));
        assert!(found.is_empty(), "\n{}", found.join("\n"));
    }
}

#[test]
fn an_unexplained_dependency_is_found() {
    for text in [
        "[dependencies]\nserde = \"1\"\n",
        "[dependencies]\n# Why.\nserde = \"1\"\nserde_json = \"1\"\n",
        "[workspace.dependencies]\nserde = \"1\"\n",
        "[dev-dependencies.serde]\nversion = \"1\"\n",
        "[target.'cfg(unix)'.dependencies]\nserde = { version = \"1\" }\n",
    ] {
        assert_ne!(unexplained_dependencies("Cargo.toml", text), Vec::<String>::new(), "{text}");
    }
    for text in [
        "[package]\nname = \"a\"\n[dependencies]\n# Why.\nserde = \"1\"\nclap = { workspace = true }\n[lints]\nworkspace = true\n",
        "[dependencies.serde]\n# Why.\nversion = \"1\"\nfeatures = []\n",
    ] {
        assert_eq!(unexplained_dependencies("Cargo.toml", text), Vec::<String>::new(), "{text}");
    }
}

fn banned_packages(lock: &str, deny: &str) -> Vec<String> {
    let value = |line: &str, key: &str| {
        line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"').map(String::from)
    };
    let banned: Vec<_> =
        deny.split("crate = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(!banned.is_empty(), "deny.toml names no crate: has its form changed?");
    let mut found = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        let of = |key| package.lines().find_map(|line| value(line, key));
        let name = of("name").unwrap_or_default();
        if banned.contains(&name.as_str()) {
            found.push(format!("Cargo.lock: {name} is banned by deny.toml; cargo tree --invert {name} tells who brings it"));
        }
        if of("source").is_some_and(|source| !source.starts_with("registry+")) {
            found.push(format!(
                "Cargo.lock: {name} does not come from a registry; deny.toml allows nothing else"
            ));
        }
    }
    found
}

#[test]
fn no_banned_package_is_locked() {
    let found = banned_packages(&read("Cargo.lock"), &read("deny.toml"));
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_banned_package_is_found() {
    let package = |name: &str, source: &str| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"{source}\"\n")
    };
    let deny = read("deny.toml");
    assert_eq!(
        banned_packages(&package("openssl-sys", "registry+https://example.com"), &deny).len(),
        1
    );
    assert_eq!(
        banned_packages(&package("serde", "git+https://example.com/serde#1"), &deny).len(),
        1
    );
    assert_eq!(
        banned_packages(&package("openssl-probe", "registry+https://example.com"), &deny),
        Vec::<String>::new()
    );
}

/// Names in a list of `deny.toml`.
fn listed(deny: &str, key: &str) -> Vec<String> {
    let list = deny
        .split_once(&format!("\n{key} = ["))
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("", |(list, _)| list);
    list.split('"').skip(1).step_by(2).map(String::from).collect()
}

/// Whether a licence expression can be met with the allowed licences.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    // Before expressions were standardized a slash meant OR.
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = text.split_whitespace().collect();
    let mut at = 0;
    let met = any_of(&words, &mut at, allowed);
    met && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, allowed);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let first = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if first == "(" {
        let met = any_of(words, at, allowed);
        *at += 1;
        return met;
    }
    let mut name = first.to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).copied().unwrap_or_default());
        *at += 2;
    }
    allowed.contains(&name)
}

fn forbidden_licences(metadata: &Value, allowed: &[String]) -> Vec<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text =
        |package: &Value, field: &str| package[field].as_str().unwrap_or_default().to_owned();
    let forbidden =
        packages.iter().filter(|package| !is_allowed(&text(package, "license"), allowed));
    forbidden
        .map(|package| {
            format!(
                "{} {} has the licence {}, which deny.toml does not allow",
                text(package, "name"),
                text(package, "version"),
                package["license"]
            )
        })
        .collect()
}

#[test]
fn licences_are_allowed() {
    // Packages for other systems need not be on this machine.
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
    let rustc = String::from_utf8(rustc).expect("text");
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
            "--filter-platform",
            host,
            "--manifest-path",
        ])
        .arg(super::root().join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        metadata["packages"].as_array().is_some_and(|packages| packages.len() > 50),
        "cargo names few packages"
    );
    let found = forbidden_licences(&metadata, &listed(&read("deny.toml"), "allow"));
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_forbidden_licence_is_found() {
    let allowed =
        ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].map(String::from);
    for expression in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "GPL-3.0 AND BSD-4-Clause OR MIT",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(is_allowed(expression, &allowed), "{expression}");
    }
    for expression in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "GPL-3.0 OR MIT AND AGPL-3.0",
        "(MIT OR GPL-3.0) AND AGPL-3.0",
        "MIT WITH LLVM-exception",
        "MIT GPL-3.0",
    ] {
        assert!(!is_allowed(expression, &allowed), "{expression}");
    }
    let metadata = serde_json::json!({ "packages": [{ "name": "a", "version": "1.0.0", "license": null }, { "name": "b", "license": "MIT" }] });
    assert_eq!(forbidden_licences(&metadata, &allowed).len(), 1);
    assert!(listed(&read("deny.toml"), "allow").contains(&"MIT".into()));
}
