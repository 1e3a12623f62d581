//! Secrets that do not fit the URL: refused before anything is sent anywhere.

use rstest::rstest;

use super::fixture::{Origin, Step};

const HALF: &str =
    "Basic authentication needs both username and password, but the secret holds only one of them.";
const KEY_UNEXPECTED: &str =
    "Credential/URL inconsistency: SSH credentials provided, but URL is not a SSH Git URL.";
const KEY_EXPECTED: &str = "Credential/URL inconsistency: the URL is an SSH Git URL, but the secret holds no ssh-privatekey.";
const HTTP: &str = "Credential/URL inconsistency: username and password are only sent to https URLs, because http carries them in clear.";
const UNSUPPORTED: &str = "unsupported type of credentials: the secret needs ssh-privatekey for an ssh URL, or username and password for an https URL";

const USERNAME: (&str, &str) = ("username", "me");
const PASSWORD: (&str, &str) = ("password", "S3cret");
const KEY: (&str, &str) = ("ssh-privatekey", "S3cret");

#[rstest]
#[case("https://127.0.0.1:1/a", &[USERNAME], "GitBasicAuthIncomplete", HALF)]
#[case("https://127.0.0.1:1/a", &[PASSWORD], "GitBasicAuthIncomplete", HALF)]
#[case("https://127.0.0.1:1/a", &[KEY], "GitSSHAuthUnexpected", KEY_UNEXPECTED)]
#[case("http://127.0.0.1:1/a", &[KEY, USERNAME, PASSWORD], "GitSSHAuthUnexpected", KEY_UNEXPECTED)]
#[case("git@127.0.0.1:a", &[USERNAME, PASSWORD], "GitSSHAuthExpected", KEY_EXPECTED)]
#[case("ssh://git@127.0.0.1:1/a", &[], "GitSSHAuthExpected", KEY_EXPECTED)]
#[case("http://127.0.0.1:1/a", &[USERNAME, PASSWORD], "AuthUnexpectedHTTP", HTTP)]
#[case("https://127.0.0.1:1/a", &[("token", "S3cret")], "GitError", UNSUPPORTED)]
#[case("file:///a", &[USERNAME, PASSWORD], "GitError", UNSUPPORTED)]
fn mismatches(
    #[case] url: &str,
    #[case] secret: &[(&str, &str)],
    #[case] reason: &str,
    #[case] message: &str,
) {
    let outcome = Step::new(url).secret(secret).run().hides("S3cret");
    let outcome = outcome.failed(110, reason, message);
    assert!(!outcome.source().exists(), "nothing was begun");
}

#[test]
fn without_a_secret_path_nothing_is_looked_at() {
    let origin = Origin::new();
    Step::new(&origin.url()).argument("--secret-path=").run().succeeded();
}
