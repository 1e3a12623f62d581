//! Takes secrets out of everything that is printed or reported.
//!
//! Invariant: pure; rather too much is hidden than too little.
//!
//! All that a URL has before its `@` goes, the user too: with several hosts a token stands in the user's place. Only the bare
//! user of an ssh URL is no secret.

use std::ops::Range;

const HIDDEN: &str = "xxxxx";

/// Knows the secrets of one run.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    /// Hides the password in the URL itself, wherever it turns up.
    pub(super) fn for_url(url: &str) -> Self {
        let mut redactor = Self::default();
        if let Some(login) = find_login(url).map(|place| &url[place])
            && let Some((_, password)) = login.split_once(':')
        {
            redactor.hide(login);
            redactor.hide(password);
        }
        redactor
    }

    /// Hides one more text.
    pub(super) fn hide(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.secrets.push(secret.to_owned());
            // A secret may be part of another.
            self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// The text without secrets.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), HIDDEN);
        }
        redact_urls(&text)
    }
}

/// Whether there is a password in the URL itself.
pub(super) fn holds_password(url: &str) -> bool {
    find_login(url).is_some_and(|place| url[place].contains(':'))
}

fn redact_urls(text: &str) -> String {
    let mut result = String::new();
    for word in text.split_inclusive(|character: char| {
        character.is_whitespace() || "'\"`<>".contains(character)
    }) {
        match find_login(word) {
            Some(place) => {
                result.push_str(&word[..place.start]);
                result.push_str(HIDDEN);
                result.push_str(&word[place.end..]);
            }
            None => result.push_str(word),
        }
    }
    result
}

/// Where in a word stands what is before the `@` of a URL.
fn find_login(word: &str) -> Option<Range<usize>> {
    word.match_indices("://").find_map(|(index, separator)| {
        let start = index + separator.len();
        let length = login_length(&word[start..], word[..index].ends_with("ssh"))?;
        Some(start..start + length)
    })
}

/// `rest` is what follows `scheme://`. The last `@` counts: an unescaped one may be part of the password.
fn login_length(rest: &str, is_ssh: bool) -> Option<usize> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user, _)) = authority.split_once('@') {
        return if is_ssh && !user.contains(':') { None } else { rest.rfind('@') };
    }
    // A password with a slash in it is wrong, but still a secret; `host`, `host:port` and `[::1]` are none.
    let behind_brackets = match authority.split_once(']') {
        Some((address, rest)) if address.starts_with('[') => rest,
        _ => authority,
    };
    let (_, port) = behind_brackets.split_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port { None } else { rest.rfind('@') }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://user:pw@host/a", "https://xxxxx@host/a")]
    #[case("https://token@host/a", "https://xxxxx@host/a")]
    #[case("'HTTPS://u:p@h/a': no", "'HTTPS://xxxxx@h/a': no")]
    #[case("https://u:p/w@h/a", "https://xxxxx@h/a")]
    #[case("https://u:p@w@h/a", "https://xxxxx@h/a")]
    #[case("x=https://h/,https://u:p@h/", "x=https://h/,https://xxxxx@h/")]
    #[case("ssh://git@host:22/a", "ssh://git@host:22/a")]
    #[case("ssh://git:pw@host/a", "ssh://xxxxx@host/a")]
    #[case("git@host:a", "git@host:a")]
    #[case("https://host:8443/a@v1", "https://host:8443/a@v1")]
    #[case("https://[::1]:443/a@v1", "https://[::1]:443/a@v1")]
    #[case("https://[::1]/a@v1", "https://[::1]/a@v1")]
    #[case("Zoë <zoe@example.com>", "Zoë <zoe@example.com>")]
    fn urls(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(Redactor::default().redact(text), expected);
    }

    #[rstest]
    #[case("https://u:p@h/", true)]
    #[case("https://organization@dev.azure.com/", false)]
    #[case("ssh://git@h/", false)]
    fn passwords_in_urls(#[case] url: &str, #[case] expected: bool) {
        assert_eq!(holds_password(url), expected);
    }

    #[test]
    fn the_longer_secret_goes_first() {
        let mut redactor = Redactor::default();
        redactor.hide("pass");
        redactor.hide("password");
        redactor.hide("");
        assert_eq!(redactor.redact("a password, a pass"), "a xxxxx, a xxxxx");
    }

    proptest! {
        #[test]
        fn no_password_of_the_url_survives(
            user in "[a-z%-]{0,8}",
            password in "S3[!-~]{4,20}",
            before in "[ -~]{0,20}",
            after in "[ -~]{0,20}",
        ) {
            let url = format!("https://{user}:{password}@host/path");
            let text = format!("{before} {url} {after} {password}{after}");
            let redacted = Redactor::for_url(&url).redact(&text);
            prop_assert!(!redacted.contains(&password), "{redacted}");
        }

        #[test]
        fn no_token_of_any_url_survives(token in "T0[A-Za-z0-9_.~%+-]{4,30}", before in "[ -~]{0,20}") {
            let text = format!("{before} 'https://{token}@host/x': {before}");
            prop_assert!(!Redactor::default().redact(&text).contains(&token));
        }

        #[test]
        fn any_text_will_do(text in "\\PC{0,60}") {
            Redactor::for_url(&text).redact(&text);
        }
    }
}
