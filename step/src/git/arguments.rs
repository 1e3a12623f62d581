//! The command lines for git.
//!
//! Invariant: pure; whatever a user wrote follows a `=` or a `--`, so it is never taken for a flag.

use crate::protocol::GitCommand;

/// A revision by the way that leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Revision {
    /// A branch or a tag.
    Name(String),
    /// A full reference: `refs/pull/1/head`.
    Ref(String),
    /// 7 to 40 (or 64) lower-case hexadecimal digits.
    Commit(String),
}

impl Revision {
    /// `None` for a blank one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let name = text.to_owned();
        Some(if is_commit_id(text) {
            Self::Commit(name)
        } else if text.starts_with("refs/") && is_ref_name(text) {
            Self::Ref(name)
        } else {
            Self::Name(name)
        })
    }
}

fn is_commit_id(text: &str) -> bool {
    let hexadecimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    hexadecimal && (matches!(text.len(), 7..=40) || is_full_id(text))
}

/// Whether a commit id is not abbreviated, in SHA-1 or SHA-256.
pub(super) fn is_full_id(id: &str) -> bool {
    matches!(id.len(), 40 | 64)
}

/// Whether git fetches it as one name: anything else would be a pattern, a mapping or an exclusion.
pub(super) fn is_ref_name(text: &str) -> bool {
    !text.starts_with(['-', '+', '/'])
        && !text.contains("..")
        && !text.contains(|character: char| {
            character.is_whitespace() || character.is_control() || "~^:?*[\\".contains(character)
        })
}

/// Options before the subcommand, the same in every call: submodules and LFS need the credentials as well.
pub(super) fn options<'a>(target: &str, settings: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut options = vec!["-c".to_owned(), format!("safe.directory={target}")];
    for setting in settings {
        options.extend(["-c".to_owned(), setting.clone()]);
    }
    options
}

/// One working copy: what of which repository, and where.
#[derive(Debug)]
pub(super) struct Checkout {
    url: String,
    target: String,
    depth: u32,
    verbose: bool,
    pub(super) revision: Option<Revision>,
}

impl Checkout {
    /// `target` is the real path of the command's.
    pub(super) fn new(command: &GitCommand, target: &str) -> Self {
        Self {
            url: command.url.clone(),
            target: target.to_owned(),
            depth: command.depth.unwrap_or(1),
            verbose: command.verbose,
            revision: command.revision.as_deref().and_then(Revision::parse),
        }
    }

    /// The default branch, or a branch or a tag.
    pub(super) fn clone_branch(&self, name: Option<&str>) -> Vec<String> {
        let mut line = vec!["clone".to_owned()];
        line.extend(self.quiet());
        line.extend(["--no-tags".to_owned(), "--single-branch".to_owned()]);
        line.extend(name.map(|name| format!("--branch={name}")));
        line.extend(self.depth());
        line.extend(["--".to_owned(), self.url.clone(), self.target.clone()]);
        line
    }

    /// An empty repository, for what `git clone` cannot name.
    pub(super) fn init(&self) -> Vec<String> {
        ["init", "--quiet", "--initial-branch=main", "--", &self.target].map(String::from).into()
    }

    pub(super) fn add_remote(&self) -> Vec<String> {
        self.inside(&["remote", "add", "--", "origin", &self.url])
    }

    /// One reference or one commit.
    pub(super) fn fetch(&self, name: &str) -> Vec<String> {
        let mut line = self.inside(&["fetch"]);
        line.extend(self.quiet());
        line.push("--no-tags".to_owned());
        line.extend(self.depth());
        line.extend(["--", "origin", name].map(String::from));
        line
    }

    /// All branches and tags with their whole history: an abbreviated id means nothing to a server.
    pub(super) fn fetch_everything(&self) -> Vec<String> {
        let mut line = self.inside(&["fetch"]);
        line.extend(self.quiet());
        let everything =
            ["--", "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
        line.extend(everything.map(String::from));
        line
    }

    pub(super) fn resolve(&self, name: &str) -> Vec<String> {
        self.inside(&["rev-parse", "--verify", "--end-of-options", &format!("{name}^{{commit}}")])
    }

    pub(super) fn detach(&self, commit: &str) -> Vec<String> {
        self.inside(&["checkout", "--quiet", "--detach", commit])
    }

    pub(super) fn submodules(&self) -> Vec<String> {
        let mut line = self.inside(&["submodule"]);
        line.extend(self.quiet());
        line.extend(["update", "--init", "--recursive"].map(String::from));
        line.extend(self.depth());
        line
    }

    /// Id, author's name and time of the commit, a line each.
    pub(super) fn describe(&self) -> Vec<String> {
        self.inside(&["log", "-1", "--no-show-signature", "--format=%H%n%an%n%ct"])
    }

    pub(super) fn branch_name(&self) -> Vec<String> {
        self.inside(&["rev-parse", "--abbrev-ref", "HEAD"])
    }

    fn inside(&self, line: &[&str]) -> Vec<String> {
        ["-C", &self.target].iter().chain(line).map(ToString::to_string).collect()
    }

    fn quiet(&self) -> Option<String> {
        (!self.verbose).then(|| "--quiet".to_owned())
    }

    fn depth(&self) -> Option<String> {
        (self.depth > 0).then(|| format!("--depth={}", self.depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn checkout(depth: Option<u32>, verbose: bool) -> Checkout {
        let command =
            GitCommand { url: "https://h/r".into(), depth, verbose, ..GitCommand::default() };
        Checkout::new(&command, "/w")
    }

    #[rstest]
    #[case("", None)]
    #[case(" \n", None)]
    #[case("main", Some(Revision::Name("main".into())))]
    #[case(" v1.0\n", Some(Revision::Name("v1.0".into())))]
    #[case("abcdef", Some(Revision::Name("abcdef".into())))]
    #[case("abcdef1", Some(Revision::Commit("abcdef1".into())))]
    #[case("ABCDEF1", Some(Revision::Name("ABCDEF1".into())))]
    #[case("abcdefg", Some(Revision::Name("abcdefg".into())))]
    #[case("refs/pull/1/head", Some(Revision::Ref("refs/pull/1/head".into())))]
    #[case("refs/heads/*", Some(Revision::Name("refs/heads/*".into())))]
    #[case("refs/heads/a:refs/heads/b", Some(Revision::Name("refs/heads/a:refs/heads/b".into())))]
    #[case("pull/1/head", Some(Revision::Name("pull/1/head".into())))]
    fn revisions(#[case] text: &str, #[case] expected: Option<Revision>) {
        assert_eq!(Revision::parse(text), expected);
    }

    #[rstest]
    #[case(39, true)]
    #[case(40, true)]
    #[case(41, false)]
    #[case(64, true)]
    #[case(65, false)]
    fn lengths_of_commit_ids(#[case] length: usize, #[case] is_commit: bool) {
        let revision = Revision::parse(&"a".repeat(length));
        assert_eq!(matches!(revision, Some(Revision::Commit(_))), is_commit);
    }

    #[rstest]
    #[case(None, None, "clone --quiet --no-tags --single-branch --depth=1 -- https://h/r /w")]
    #[case(Some(0), None, "clone --quiet --no-tags --single-branch -- https://h/r /w")]
    #[case(
        Some(3),
        Some("v1"),
        "clone --quiet --no-tags --single-branch --branch=v1 --depth=3 -- https://h/r /w"
    )]
    fn clones(#[case] depth: Option<u32>, #[case] name: Option<&str>, #[case] expected: &str) {
        assert_eq!(checkout(depth, false).clone_branch(name).join(" "), expected);
    }

    #[test]
    fn the_other_command_lines() {
        let one = checkout(None, false);
        assert_eq!(one.init().join(" "), "init --quiet --initial-branch=main -- /w");
        assert_eq!(one.add_remote().join(" "), "-C /w remote add -- origin https://h/r");
        assert_eq!(
            one.fetch("refs/pull/1/head").join(" "),
            "-C /w fetch --quiet --no-tags --depth=1 -- origin refs/pull/1/head"
        );
        assert_eq!(
            one.fetch_everything().join(" "),
            "-C /w fetch --quiet -- origin +refs/heads/*:refs/remotes/origin/* +refs/tags/*:refs/tags/*"
        );
        assert_eq!(
            one.resolve("abcdef1").join(" "),
            "-C /w rev-parse --verify --end-of-options abcdef1^{commit}"
        );
        assert_eq!(
            one.submodules().join(" "),
            "-C /w submodule --quiet update --init --recursive --depth=1"
        );
        assert_eq!(
            checkout(Some(0), true).submodules().join(" "),
            "-C /w submodule update --init --recursive"
        );
    }

    #[test]
    fn options_come_before_the_subcommand() {
        let settings = ["credential.helper=".to_owned(), "core.sshCommand=ssh".to_owned()];
        assert_eq!(
            options("/w", settings.iter()).join(" "),
            "-c safe.directory=/w -c credential.helper= -c core.sshCommand=ssh"
        );
    }

    proptest! {
        #[test]
        fn what_users_write_is_never_a_flag(text in "\\PC{1,30}") {
            let command = GitCommand { url: text.clone(), revision: Some(text), ..GitCommand::default() };
            let checkout = Checkout::new(&command, "/w");
            let mut lines = vec![checkout.add_remote()];
            match &checkout.revision {
                Some(Revision::Name(name)) => lines.push(checkout.clone_branch(Some(name))),
                Some(Revision::Ref(name) | Revision::Commit(name)) => lines.push(checkout.fetch(name)),
                None => {}
            }
            for line in lines {
                let end = line.iter().position(|word| word == "--").unwrap();
                for word in &line[..end] {
                    let own = ["-C", "/w", "remote", "add", "clone", "fetch", "--quiet", "--no-tags",
                        "--single-branch", "--depth=1"].contains(&word.as_str());
                    prop_assert!(own || word.starts_with("--branch="), "{word}");
                }
            }
        }
    }
}
