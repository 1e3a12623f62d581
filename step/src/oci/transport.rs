//! How a registry is reached: TLS, proxies, and what an error of the client means.
//!
//! Invariant: without `--insecure` nothing travels over plain HTTP, wherever the registry's answers lead.
//! Invariant: only what may pass by itself is tried again: 429, 5xx and broken connections; never 401 or 403.

use std::net::IpAddr;
use std::sync::Once;
use std::time::Duration;

use oci_client::Client;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};

use super::error::causes;

/// What registries see in their logs.
const USER_AGENT: &str = concat!("slipway/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The client has no switch for "https only", but a proxy for plain HTTP where nothing can listen is one.
const NOWHERE: &str = "http://127.0.0.1:0";
const SHOWN_ANSWER: usize = 300;

/// How the registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// TLS, verified with the roots of the system.
    Https,
    /// TLS with any certificate.
    UnverifiedHttps,
    /// No TLS.
    Http,
}

/// A client for one way of speaking to a host; fails where no roots of trust are found.
pub(super) fn client(scheme: Scheme, registry: &str) -> Result<Client, OciDistributionError> {
    static PROVIDER: Once = Once::new();
    // An error means that somebody installed a provider before, which serves as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let proxy = |name| from_environment(name).filter(|_| !bypasses_proxy(registry));
    Client::try_from(ClientConfig {
        protocol: match scheme {
            Scheme::Https | Scheme::UnverifiedHttps => ClientProtocol::Https,
            Scheme::Http => ClientProtocol::Http,
        },
        accept_invalid_certificates: scheme != Scheme::Https,
        // Chunks would need a request for each 4 MiB; one request streams as well.
        use_monolithic_push: true,
        connect_timeout: Some(CONNECT_TIMEOUT),
        user_agent: USER_AGENT,
        https_proxy: proxy("HTTPS_PROXY"),
        http_proxy: match scheme {
            Scheme::Https => Some(NOWHERE.to_owned()),
            Scheme::UnverifiedHttps | Scheme::Http => proxy("HTTP_PROXY"),
        },
        ..ClientConfig::default()
    })
}

fn from_environment(name: &str) -> Option<String> {
    [name.to_owned(), name.to_lowercase()]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty())
}

/// The client would apply `NO_PROXY` to the refusal of plain HTTP too, so it is applied here.
fn bypasses_proxy(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    is_excepted(host, &from_environment("NO_PROXY").unwrap_or_default())
}

/// The rules of `NO_PROXY` as Go has them: names with their subdomains, addresses, networks, `*`; loopback always.
fn is_excepted(host: &str, exceptions: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    exceptions.split(',').map(str::trim).filter(|exception| !exception.is_empty()).any(
        |exception| {
            if exception == "*" {
                return true;
            }
            match address {
                Some(address) => is_within(address, exception),
                None if exception.starts_with('.') => host.ends_with(exception),
                None => host == exception || host.ends_with(&format!(".{exception}")),
            }
        },
    )
}

fn is_within(address: IpAddr, network: &str) -> bool {
    let Some((base, bits)) = network.split_once('/') else {
        return network.parse() == Ok(address);
    };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(base)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        _ => false,
    }
}

/// What an error of the client comes down to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// 401, 403 or a refused token, with the answer in one line.
    Denied(String),
    /// Another answer of the registry.
    Answer { status: u16, text: String },
    /// Plain HTTP was refused; scheme, host and port.
    PlainHttp(String),
    /// The other end does not speak TLS.
    NotTls,
    /// Its certificate cannot be verified.
    Untrusted,
    /// Our own file could not be read while it was sent.
    LocalFile,
    /// No connection, or a broken one.
    Broken,
    /// An answer that makes no sense.
    Nonsense,
}

impl Meaning {
    pub(super) fn of(error: &OciDistributionError, scheme: Scheme) -> Self {
        use OciDistributionError as E;
        match error {
            E::AuthenticationFailure(reason) => Self::Denied(one_line(reason)),
            E::UnauthorizedError { .. } => Self::Denied("401".to_owned()),
            E::ServerError { code, message, .. } => Self::of_status(*code, message),
            E::RegistryError { envelope, .. } => {
                let status = envelope.errors.first().map_or(400, |error| match error.code {
                    OciErrorCode::Unauthorized => 401,
                    OciErrorCode::Denied => 403,
                    OciErrorCode::Toomanyrequests => 429,
                    OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound => 404,
                    _ => 400,
                });
                let text: Vec<_> =
                    envelope.errors.iter().map(|error| error.message.as_str()).collect();
                Self::of_status(status, &text.join(", "))
            }
            E::RequestError(request) => match (request.status(), request.url()) {
                (Some(status), _) => Self::of_status(status.as_u16(), ""),
                (None, Some(url)) if scheme == Scheme::Https && url.scheme() == "http" => {
                    Self::PlainHttp(format!("http://{}", url.authority()))
                }
                (None, _) => Self::of_connection(error),
            },
            E::IoError(_) => Self::LocalFile,
            _ => Self::Nonsense,
        }
    }

    fn of_status(status: u16, body: &str) -> Self {
        let answer = answer(body);
        let text =
            if answer.is_empty() { status.to_string() } else { format!("{status}: {answer}") };
        match status {
            401 | 403 => Self::Denied(text),
            status => Self::Answer { status, text },
        }
    }

    /// What went wrong below HTTP.
    fn of_connection(error: &OciDistributionError) -> Self {
        for cause in causes(error).skip(1) {
            if cause.downcast_ref::<OciDistributionError>().is_some() {
                return Self::LocalFile;
            }
            match cause.downcast_ref::<rustls::Error>() {
                Some(rustls::Error::InvalidMessage(_)) => return Self::NotTls,
                Some(rustls::Error::InvalidCertificate(_)) => return Self::Untrusted,
                _ => {}
            }
        }
        Self::Broken
    }

    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Answer { status, .. } => *status == 429 || (500..600).contains(status),
            Self::Broken => true,
            _ => false,
        }
    }
}

/// The registry's own words, without the JSON around them.
fn answer(body: &str) -> String {
    let Ok(envelope) = serde_json::from_str::<serde_json::Value>(body) else {
        return one_line(body);
    };
    let messages: Vec<_> = envelope["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| error["message"].as_str().or(error["code"].as_str()))
        .collect();
    if messages.is_empty() { one_line(body) } else { one_line(&messages.join(", ")) }
}

fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").chars().take(SHOWN_ANSWER).collect()
}
