//! What git's output means: the reason and the message of a failure.
//!
//! Invariant: pure; a text that upstream classifies gets upstream's reason.
//!
//! Added where upstream's table plainly means a case and misses it: a repository that is not there in a `fatal:` line (plain
//! http), and a ref that is not there.

/// Why the repository could not be fetched, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The server refused user and password.
    AuthInvalidUserOrPass,
    /// The server asks for credentials and there are none.
    RemoteRepositoryPrivate,
    /// The server refused the key, or there is nothing to read.
    AuthInvalidKey,
    /// There is no such repository.
    RemoteRepositoryNotFound,
    /// There is no such revision.
    RevisionNotFound,
    /// A secret with half of the basic credentials.
    BasicAuthIncomplete,
    /// A key for a URL that is none of ssh.
    SshAuthUnexpected,
    /// A URL of ssh and no key.
    SshAuthExpected,
    /// A password for a URL that would carry it in clear.
    AuthUnexpectedHttp,
    /// Anything else.
    Unknown,
}

impl Reason {
    /// The word that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthInvalidUserOrPass => "GitAuthInvalidUserOrPass",
            Self::RemoteRepositoryPrivate => "GitRemoteRepositoryPrivate",
            Self::AuthInvalidKey => "GitAuthInvalidKey",
            Self::RemoteRepositoryNotFound => "GitRemoteRepositoryNotFound",
            Self::RevisionNotFound => "GitRevisionNotFound",
            Self::BasicAuthIncomplete => "GitBasicAuthIncomplete",
            Self::SshAuthUnexpected => "GitSSHAuthUnexpected",
            Self::SshAuthExpected => "GitSSHAuthExpected",
            Self::AuthUnexpectedHttp => "AuthUnexpectedHTTP",
            Self::Unknown => "GitError",
        }
    }

    /// The sentence for it; `None` where only git's own words help.
    pub fn message(self) -> Option<&'static str> {
        Some(match self {
            Self::AuthInvalidUserOrPass => {
                "Basic authentication has failed. Check your username or password. Note: GitHub requires a personal access token instead of your regular password."
            }
            Self::RemoteRepositoryPrivate | Self::RemoteRepositoryNotFound => {
                "The source repository does not exist, or you have insufficient permission to access it."
            }
            Self::AuthInvalidKey => {
                "The key is invalid for the specified target. Please make sure that the Git repository exists, you have sufficient permissions, and the key is in the right format."
            }
            Self::RevisionNotFound => {
                "The remote revision does not exist. Check your revision argument."
            }
            Self::BasicAuthIncomplete => {
                "Basic authentication needs both username and password, but the secret holds only one of them."
            }
            Self::SshAuthUnexpected => {
                "Credential/URL inconsistency: SSH credentials provided, but URL is not a SSH Git URL."
            }
            Self::SshAuthExpected => {
                "Credential/URL inconsistency: the URL is an SSH Git URL, but the secret holds no ssh-privatekey."
            }
            Self::AuthUnexpectedHttp => {
                "Credential/URL inconsistency: username and password are only sent to https URLs, because http carries them in clear."
            }
            Self::Unknown => return None,
        })
    }

    /// Whether another way to the same revision would meet the same refusal.
    pub(super) fn is_about_access(self) -> bool {
        matches!(
            self,
            Self::AuthInvalidUserOrPass
                | Self::RemoteRepositoryPrivate
                | Self::AuthInvalidKey
                | Self::RemoteRepositoryNotFound
        )
    }
}

/// The reason in what git printed.
pub(super) fn classify(output: &str) -> Reason {
    let lines: Vec<(String, String)> =
        split(output).map(|(prefix, text)| (prefix.to_lowercase(), text.to_lowercase())).collect();
    let first = |prefix: &str, reason_of: fn(&str) -> Option<Reason>| {
        lines.iter().filter(|line| line.0 == prefix).find_map(|line| reason_of(&line.1))
    };
    first("remote", reason_of_remote)
        .or_else(|| first("error", reason_of_error))
        .or_else(|| first("fatal", reason_of_fatal))
        .unwrap_or(Reason::Unknown)
}

fn reason_of_remote(text: &str) -> Option<Reason> {
    if is_refused_login(text) {
        return Some(Reason::AuthInvalidUserOrPass);
    }
    reason_of_error(text)
}

fn reason_of_error(text: &str) -> Option<Reason> {
    is_missing_repository(text).then_some(Reason::RemoteRepositoryNotFound)
}

fn reason_of_fatal(text: &str) -> Option<Reason> {
    if is_refused_login(text) {
        Some(Reason::AuthInvalidUserOrPass)
    } else if text.contains("terminal prompts disabled") {
        Some(Reason::RemoteRepositoryPrivate)
    } else if text.contains("could not read from remote") {
        Some(Reason::AuthInvalidKey)
    } else if text.contains("remote branch") && text.contains("not found")
        || text.contains("couldn't find remote ref")
    {
        Some(Reason::RevisionNotFound)
    } else {
        // Last: a branch may be called `repository`.
        reason_of_error(text)
    }
}

fn is_refused_login(text: &str) -> bool {
    text.contains("authentication failed for") || text.contains("invalid username or password")
}

/// As the expression `(repository|project) .* found`.
fn is_missing_repository(text: &str) -> bool {
    ["repository ", "project "]
        .iter()
        .any(|word| text.split_once(word).is_some_and(|(_, rest)| rest.contains(" found")))
}

/// What git said, without the rest of the output: lines with a colon and something behind it.
pub(super) fn essence(output: &str, exit_code: u8) -> String {
    let output = format!("{} (exit code {exit_code})", output.trim_end());
    let lines: Vec<String> =
        split(&output).map(|(prefix, text)| format!("{prefix}: {text}")).collect();
    if lines.is_empty() { output } else { lines.join("\n") }
}

fn split(output: &str) -> impl Iterator<Item = (&str, &str)> {
    output
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(_, text)| !text.trim().is_empty())
}

/// A message of at most 300 bytes: results share little room.
pub(super) fn shorten(message: &str) -> String {
    if message.len() <= 300 {
        return message.trim().to_owned();
    }
    let cut = message.floor_char_boundary(297);
    format!("{}...", &message[..cut]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::password(
        "remote: Invalid username or password.\nfatal: Authentication failed for 'https://h/x/'",
        Reason::AuthInvalidUserOrPass
    )]
    #[case::password_without_remote(
        "fatal: Authentication failed for 'https://h/x/'",
        Reason::AuthInvalidUserOrPass
    )]
    #[case::gitlab_password(
        "remote: HTTP Basic: Access denied.\nfatal: Authentication failed for 'https://h/x/'",
        Reason::AuthInvalidUserOrPass
    )]
    #[case::prompt(
        "fatal: could not read Username for 'https://h': terminal prompts disabled",
        Reason::RemoteRepositoryPrivate
    )]
    #[case::key(
        "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights",
        Reason::AuthInvalidKey
    )]
    #[case::not_a_repository(
        "fatal: '/x' does not appear to be a git repository\nfatal: Could not read from remote repository.",
        Reason::AuthInvalidKey
    )]
    #[case::github_over_ssh(
        "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
        Reason::RemoteRepositoryNotFound
    )]
    #[case::gitlab_over_ssh(
        "remote: ERROR: The project you were looking for could not be found or you don't have permission to view it.\nfatal: Could not read from remote repository.",
        Reason::RemoteRepositoryNotFound
    )]
    #[case::github_over_https(
        "remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found",
        Reason::RemoteRepositoryNotFound
    )]
    #[case::http_404("fatal: repository 'http://h/x/' not found", Reason::RemoteRepositoryNotFound)]
    #[case::branch(
        "fatal: Remote branch nope not found in upstream origin",
        Reason::RevisionNotFound
    )]
    #[case::branch_called_repository(
        "fatal: Remote branch repository not found in upstream origin",
        Reason::RevisionNotFound
    )]
    #[case::reference("fatal: couldn't find remote ref refs/pull/9/head", Reason::RevisionNotFound)]
    #[case::remote_comes_first(
        "fatal: Remote branch x not found in upstream origin\nremote: Repository not found.",
        Reason::RemoteRepositoryNotFound
    )]
    #[case::error_before_fatal(
        "fatal: Authentication failed for 'x'\nerror: project x not found",
        Reason::RemoteRepositoryNotFound
    )]
    #[case::upper_case("FATAL: AUTHENTICATION FAILED FOR 'x'", Reason::AuthInvalidUserOrPass)]
    #[case::other_prefix("warning: Authentication failed for 'x'", Reason::Unknown)]
    #[case::not_in_error_lines("error: Authentication failed for 'x'", Reason::Unknown)]
    #[case::not_in_remote_lines("remote: terminal prompts disabled", Reason::Unknown)]
    #[case::found_nothing("error: repository found", Reason::Unknown)]
    #[case::missing_commit_of_a_submodule(
        "fatal: remote error: upload-pack: not our ref 1111\nfatal: Fetched in submodule path 'x', but it did not contain 1111.",
        Reason::Unknown
    )]
    #[case::name_resolution(
        "fatal: unable to access 'https://h/': Could not resolve host: h",
        Reason::Unknown
    )]
    #[case::empty("", Reason::Unknown)]
    fn reasons(#[case] output: &str, #[case] expected: Reason) {
        assert_eq!(classify(output), expected);
    }

    #[rstest]
    #[case(
        "hint: do this\nnoise\nfatal: no space left\n",
        128,
        "hint:  do this\nfatal:  no space left (exit code 128)"
    )]
    #[case("nothing with a colon\n", 1, "nothing with a colon (exit code 1)")]
    #[case("only a prefix:\nfatal: x", 1, "fatal:  x (exit code 1)")]
    #[case("", 137, "(exit code 137)")]
    fn essences(#[case] output: &str, #[case] exit_code: u8, #[case] expected: &str) {
        assert_eq!(essence(output, exit_code).trim(), expected);
    }

    #[rstest]
    #[case(300, 300)]
    #[case(301, 300)]
    #[case(9000, 300)]
    fn long_messages_are_cut(#[case] length: usize, #[case] expected: usize) {
        let short = shorten(&"x".repeat(length));
        assert_eq!(short.len(), expected);
        assert_eq!(short.ends_with("..."), length > 300);
    }

    #[test]
    fn every_sentence_fits_uncut_and_only_the_unknown_has_none() {
        for reason in [
            Reason::AuthInvalidUserOrPass,
            Reason::RemoteRepositoryPrivate,
            Reason::AuthInvalidKey,
            Reason::RemoteRepositoryNotFound,
            Reason::RevisionNotFound,
            Reason::BasicAuthIncomplete,
            Reason::SshAuthUnexpected,
            Reason::SshAuthExpected,
            Reason::AuthUnexpectedHttp,
        ] {
            let message = reason.message().unwrap();
            assert_eq!(shorten(message), message);
        }
        assert_eq!(Reason::Unknown.message(), None);
    }

    proptest! {
        #[test]
        fn cutting_never_splits_a_character(message in "\\PC{0,400}") {
            prop_assert!(shorten(&message).len() <= 300);
        }
    }
}
