//! Answers a registry's challenge: HTTP basic, or a token from who issues them.
//!
//! Invariant: credentials go only to the registry itself and to the issuer that it names.

use std::fmt;

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Url};
use serde::Deserialize;

use super::error::DOCUMENT_LIMIT;
use super::transport::{Failure, read_document, send};

/// How we say who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Not at all.
    Anonymous,
    /// User and password.
    Basic {
        /// The user.
        username: String,
        /// The password, or what the registry takes for one.
        password: String,
    },
    /// A token that buys tokens.
    Identity(String),
    /// A token that the registry itself takes.
    Token(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic(…)",
            Self::Identity(_) => "Identity(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}

/// What a request to the registry carries.
#[derive(Clone)]
pub(super) enum Authorization {
    Basic { username: String, password: String },
    Bearer(String),
}

/// What a 401 asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The first challenge that we can answer.
    pub(super) fn find(headers: &HeaderMap) -> Option<Self> {
        headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|header: &HeaderValue| header.to_str().ok())
            .find_map(parse)
    }
}

/// `Bearer realm="https://…",service="…"`.
fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = rest;
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_once(',').unwrap_or((value, "")),
        };
        match name.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.trim().to_owned()),
            "service" => service = Some(value.trim().to_owned()),
            _ => {}
        }
        rest = after;
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

/// Both names are in use for the same thing.
#[derive(Deserialize)]
struct Issued {
    token: Option<String>,
    access_token: Option<String>,
}

/// What to send from now on.
pub(super) async fn answer(
    client: &Client,
    login: &Login,
    challenge: &Challenge,
    scopes: &[String],
) -> Result<Authorization, Failure> {
    match (challenge, login) {
        (_, Login::Token(token)) => Ok(Authorization::Bearer(token.clone())),
        (Challenge::Basic, Login::Basic { username, password }) => {
            Ok(Authorization::Basic { username: username.clone(), password: password.clone() })
        }
        (Challenge::Basic, Login::Anonymous) => Err(Failure::Anonymous),
        (Challenge::Basic, Login::Identity(_)) => Err(Failure::Nonsense(
            "it wants a user and password instead of an identity token".into(),
        )),
        (Challenge::Bearer { realm, service }, login) => {
            fetch_token(client, login, realm, service.as_deref(), scopes).await
        }
    }
}

async fn fetch_token(
    client: &Client,
    login: &Login,
    realm: &str,
    service: Option<&str>,
    scopes: &[String],
) -> Result<Authorization, Failure> {
    let mut url = Url::parse(realm)
        .map_err(|_| Failure::Nonsense(format!("its realm {realm:?} is not an address")))?;
    let request = match login {
        Login::Identity(token) => {
            let mut form = url.clone();
            form.set_query(None);
            form.query_pairs_mut()
                .extend_pairs([("grant_type", "refresh_token"), ("refresh_token", token)])
                .extend_pairs([("client_id", "slipway"), ("scope", &scopes.join(" "))])
                .extend_pairs(service.map(|service| ("service", service)));
            client
                .post(url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form.query().unwrap_or_default().to_owned())
        }
        Login::Anonymous | Login::Basic { .. } | Login::Token(_) => {
            url.query_pairs_mut()
                .extend_pairs(scopes.iter().map(|scope| ("scope", scope)))
                .extend_pairs(service.map(|service| ("service", service)));
            let request = client.get(url);
            match login {
                Login::Basic { username, password } => request.basic_auth(username, Some(password)),
                _ => request,
            }
        }
    };
    let body = read_document(send(request).await?, DOCUMENT_LIMIT).await?;
    let nonsense = || Failure::Nonsense("its issuer of tokens did not send one".to_owned());
    let issued: Issued = serde_json::from_slice(&body).map_err(|_| nonsense())?;
    let token = issued.token.or(issued.access_token).filter(|token| !token.is_empty());
    Ok(Authorization::Bearer(token.ok_or_else(nonsense)?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn bearer(realm: &str, service: &str) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: Some(service.into()) }
    }

    #[rstest]
    #[case("Basic realm=\"x, y\"", Some(Challenge::Basic))]
    #[case("basic", Some(Challenge::Basic))]
    #[case("Negotiate", None)]
    #[case(
        "Bearer realm=\"https://a/t?x=1\",service=\"s\",scope=\"repository:a,b:pull\"",
        Some(bearer("https://a/t?x=1", "s"))
    )]
    #[case("bearer service=s , realm=https://a", Some(bearer("https://a", "s")))]
    #[case("Bearer service=\"s\"", None)]
    #[case("Bearer realm=\"https://a", None)]
    fn a_challenge_is_read(#[case] header: &str, #[case] expected: Option<Challenge>) {
        assert_eq!(parse(header), expected);
    }

    #[test]
    fn the_first_known_challenge_counts() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate"));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"r\""));
        assert_eq!(Challenge::find(&headers), Some(Challenge::Basic));
    }

    #[test]
    fn a_login_is_never_printed() {
        let login = Login::Basic { username: "user".into(), password: "secret".into() };
        assert_eq!(format!("{login:?}"), "Basic(…)");
    }
}
