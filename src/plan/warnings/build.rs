//! Warnings about Builds and BuildRuns.

use super::{Warning, reasons, variables};
use crate::api::{Build, BuildRun, BuildSpec, GitSource};

/// Annotations that once meant something.
const WITHOUT_EFFECT: [(&str, &str); 2] = [
    ("build.shipwright.io/referenced.secret", "remove it"),
    ("build.shipwright.io/build-run-deletion", "write spec.retention.atBuildDeletion instead"),
];

/// What to think about in a Build.
pub fn build_warnings(build: &Build) -> Vec<Warning> {
    let annotations = build.metadata.annotations.iter().flatten();
    let mut found: Vec<Warning> = annotations
        .filter_map(|(key, _)| WITHOUT_EFFECT.iter().find(|(known, _)| known == key))
        .map(|(key, instead)| {
            let field = format!("metadata.annotations[{key}]");
            Warning::new(
                field,
                reasons::NO_EFFECT,
                format!("the annotation has no effect; {instead}"),
            )
        })
        .collect();
    found.extend(spec_warnings(&build.spec, "spec"));
    found
}

/// What to think about in a BuildRun, and in the Build that it may embed.
pub fn buildrun_warnings(buildrun: &BuildRun) -> Vec<Warning> {
    let embedded = buildrun.spec.build.spec.as_ref();
    let mut found: Vec<Warning> =
        embedded.into_iter().flat_map(|spec| spec_warnings(spec, "spec.build.spec")).collect();
    found.extend(variables(&buildrun.spec.env, "spec.env"));
    found
}

fn spec_warnings(spec: &BuildSpec, base: &str) -> Vec<Warning> {
    let source = spec.source.as_ref().filter(|source| source.type_ == "Git");
    let mut found = Vec::new();
    if let Some(git) = source.and_then(|source| source.git.as_ref()) {
        found.extend(git_warnings(git, &format!("{base}.source.git")));
    }
    found.extend(variables(&spec.env, &format!("{base}.env")));
    found
}

/// URL and Secret must fit. The URL itself is not repeated: it may hold a password.
fn git_warnings(git: &GitSource, base: &str) -> Vec<Warning> {
    let mut found = Vec::new();
    let (scheme, rest) = git.url.split_once("://").unwrap_or(("", &git.url));
    let host = rest.split('/').next().unwrap_or_default();
    let user = host.rsplit_once('@').map(|(user, _)| user);
    if !scheme.is_empty() && user.is_some_and(is_secret) {
        found.push(Warning::new(
            format!("{base}.url"),
            reasons::CREDENTIALS_IN_URL,
            "the URL holds credentials, which everybody who may read the object can see; put them into a Secret and name it in cloneSecret",
        ));
    }
    if scheme == "http" && git.clone_secret.is_some() {
        found.push(Warning::new(
            format!("{base}.url"),
            reasons::CLONE_SECRET_UNENCRYPTED,
            "no Secret is sent over http, so that runs cannot fetch the source (AuthUnexpectedHTTP); write https",
        ));
    }
    let is_ssh = scheme == "ssh" || (scheme.is_empty() && user.is_some() && host.contains(':'));
    if is_ssh && git.clone_secret.is_none() {
        found.push(Warning::new(
            format!("{base}.cloneSecret"),
            reasons::CLONE_SECRET_MISSING,
            "runs cannot fetch the source over ssh without a key; name a Secret of type kubernetes.io/ssh-auth",
        ));
    }
    found
}

/// Whether what stands in front of a host tells more than a user's name: a password, or a token in the name's stead.
fn is_secret(user: &str) -> bool {
    const TOKENS: [&str; 7] = ["ghp_", "gho_", "ghr_", "ghs_", "ghu_", "github_pat_", "glpat-"];
    user.split_once(':').is_some_and(|(_, password)| !password.is_empty())
        || TOKENS.iter().any(|prefix| user.starts_with(prefix))
}
