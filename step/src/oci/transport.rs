//! HTTP to a registry: TLS, what an answer means, and what is tried again.
//!
//! Invariant: without `--insecure` nothing travels over plain HTTP, wherever the registry's answers lead.
//! Invariant: only what may pass by itself is tried again: 429, 5xx and broken connections; never 401 or 403.
//! Invariant: whoever accepts a connection and then says nothing is given up; an upload may take as long as it likes while it moves.
//!
//! Proxies are taken from the environment as curl and Go do it; names are resolved by hickory, because a static program has no NSS.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode, header};

use super::error::causes;

/// What registries see in their logs.
const USER_AGENT: &str = concat!("slipway/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const HOSTS: &str = "/etc/hosts";
const RESOLVER_CONFIGURATION: &str = "/etc/resolv.conf";
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A registry may ask for more patience, but not for all of the build's time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const SHOWN_ANSWER: usize = 300;
/// Registries over slow storage may think for minutes about the end of a large layer.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);

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

impl Scheme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Https | Self::UnverifiedHttps => "https",
            Self::Http => "http",
        }
    }
}

/// A client for one way of speaking; fails where no roots of trust are found to verify certificates with.
pub(super) fn client(scheme: Scheme) -> Result<Client, reqwest::Error> {
    builder()
        .https_only(scheme == Scheme::Https)
        .redirect(Policy::custom(within_origin))
        .tls_danger_accept_invalid_certs(scheme != Scheme::Https)
        .build()
}

/// A client for servers that are no registries, over HTTP with TLS or without; it goes where they lead it. Names, proxies and roots of
/// trust are those of registries.
pub fn web_client(longest: Duration) -> Result<Client, reqwest::Error> {
    builder().timeout(longest).build()
}

fn builder() -> ClientBuilder {
    static PROVIDER: Once = Once::new();
    // An error means that somebody installed a provider before, which serves as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let builder = Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_TIMEOUT);
    // As every other program reads it: a name that stands here is asked of no server, whatever family its addresses are of.
    let hosts = fs::read_to_string(HOSTS).unwrap_or_default();
    let builder = addresses(&hosts)
        .into_iter()
        .fold(builder, |builder, (name, found)| builder.resolve_to_addrs(&name, &found));
    // Without a configuration hickory would ask public servers for the names of private registries.
    let resolves = Path::new(RESOLVER_CONFIGURATION).exists();
    if resolves { builder } else { builder.no_hickory_dns() }
}

/// Names and their addresses in a hosts file. Port 0 leaves the port to the URL.
fn addresses(hosts: &str) -> BTreeMap<String, Vec<SocketAddr>> {
    let mut found: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        for name in words {
            found.entry(name.to_lowercase()).or_default().push((address, 0).into());
        }
    }
    found
}

/// Whoever sends a request must know where it goes, because the client would take all but the best known headers along.
fn within_origin(attempt: Attempt<'_>) -> Action {
    let same = attempt.previous().last().is_some_and(|url| url.origin() == attempt.url().origin());
    if same { Policy::default().redirect(attempt) } else { attempt.stop() }
}

/// Why a request did not lead to what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The registry, or who issues its tokens, answered with something else.
    #[error("{text}")]
    Answer { status: u16, text: String, retry_after: Option<Duration> },
    /// No user and password, and the registry wants some.
    #[error("it wants a user and password, and none are given")]
    Anonymous,
    /// There was no answer, or it broke off. The error has no address: an upload's may hold a signature.
    #[error("no answer")]
    Request { trouble: Trouble, source: reqwest::Error },
    /// Nothing moved for too long.
    #[error("no answer for {} s", PATIENCE.as_secs())]
    Silence,
    /// What is fetched could not be stored.
    #[error("write {path:?}")]
    Write { path: PathBuf, source: std::io::Error },
    /// What is sent could not be read.
    #[error(transparent)]
    Content(#[from] std::io::Error),
    /// The answer makes no sense.
    #[error("{0}")]
    Nonsense(String),
}

/// A read error inside a request's body, to tell it from a broken connection.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct ContentError(#[from] pub(super) std::io::Error);

/// What a failure without an answer comes down to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Plain HTTP was refused; scheme, host and port.
    PlainHttp(String),
    /// The other end does not speak TLS.
    NotTls,
    /// Its certificate cannot be verified.
    Untrusted,
    /// Our own file.
    Content,
    /// No connection, or a broken one.
    Broken,
}

impl Trouble {
    fn of(error: &reqwest::Error) -> Self {
        for cause in causes(error) {
            if cause.is::<ContentError>() {
                return Self::Content;
            }
            match cause.downcast_ref::<rustls::Error>() {
                Some(rustls::Error::InvalidMessage(_)) => return Self::NotTls,
                Some(rustls::Error::InvalidCertificate(_)) => return Self::Untrusted,
                _ => {}
            }
        }
        match error.url() {
            Some(url) if (error.is_builder() || error.is_redirect()) && url.scheme() == "http" => {
                Self::PlainHttp(format!("http://{}", url.authority()))
            }
            _ => Self::Broken,
        }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Request { trouble: Trouble::of(&error), source: error.without_url() }
    }
}

impl Failure {
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Answer { status, .. } => *status == 429 || (500..600).contains(status),
            Self::Request { trouble, .. } => *trouble == Trouble::Broken,
            Self::Anonymous
            | Self::Content(_)
            | Self::Nonsense(_)
            | Self::Silence
            | Self::Write { .. } => false,
        }
    }

    fn retry_after(&self) -> Duration {
        match self {
            Self::Answer { retry_after: Some(pause), .. } => *pause,
            _ => Duration::ZERO,
        }
    }

    /// An answer that is not what was asked for, in one line.
    pub(super) async fn of_answer(response: Response) -> Self {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|pause| parse_pause(pause.to_str().ok()?, Timestamp::now()));
        let words = shown_answer(response).await;
        let text = if words.is_empty() { status.to_string() } else { format!("{status}: {words}") };
        Self::Answer { status: status.as_u16(), text, retry_after }
    }
}

/// `Retry-After` in either of its forms: seconds, or a date, which may have passed.
fn parse_pause(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
}

/// That bytes are still being sent.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(super) fn report(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// What a future comes to, unless for too long neither it nor anything reported here moves.
    async fn guard<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        let mut future = pin!(future);
        loop {
            let before = self.0.load(Ordering::Relaxed);
            if let Ok(outcome) = tokio::time::timeout(PATIENCE, &mut future).await {
                return Ok(outcome);
            }
            if self.0.load(Ordering::Relaxed) == before {
                return Err(Failure::Silence);
            }
        }
    }
}

/// Sends a request and waits for the head of its answer.
pub(super) async fn answer_of(
    request: RequestBuilder,
    progress: &Progress,
) -> Result<Response, Failure> {
    Ok(progress.guard(request.send()).await??)
}

/// More of an answer's body; nothing at its end.
pub(super) async fn next_chunk(
    response: &mut Response,
) -> Result<Option<impl Deref<Target = [u8]> + use<>>, Failure> {
    Ok(Progress::default().guard(response.chunk()).await??)
}

/// Sends a request; an answer that is no success is a failure.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, Failure> {
    let response = answer_of(request, &Progress::default()).await?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(Failure::of_answer(response).await)
}

/// A document of the registry; whether it is too large is found out before it is all there.
pub(super) async fn read_document(mut response: Response, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = next_chunk(&mut response).await? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > limit {
            return Err(Failure::Nonsense(format!(
                "it sent a document of more than {limit} bytes"
            )));
        }
    }
    Ok(body)
}

/// The first part of the body; an answer that breaks off is shown as far as it came.
async fn shown_answer(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < 16 * SHOWN_ANSWER {
        match next_chunk(&mut response).await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    answer(&String::from_utf8_lossy(&body))
}

/// The registry's own words, without the JSON around them.
fn answer(body: &str) -> String {
    let document: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let messages: Vec<_> = document["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .chain([&document])
        .filter_map(|error| error["message"].as_str().or(error["code"].as_str()))
        .collect();
    one_line(&if messages.is_empty() { body.to_owned() } else { messages.join(", ") })
}

fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").chars().take(SHOWN_ANSWER).collect()
}

/// Takes a line about what is tried again.
pub type Say = fn(&str);

/// Tries again, with growing pauses, what may pass by itself, and says so.
pub(super) async fn retry<T>(
    say: Say,
    attempt: impl AsyncFn() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(failure) if failure.may_pass() => {
                let pause_now = pause.max(failure.retry_after()).min(LONGEST_PAUSE);
                say(&format!("{}; trying again in {pause_now:?}", crate::describe(&failure)));
                tokio::time::sleep(pause_now).await;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
    attempt().await
}

pub(super) fn is_unauthorized(response: &Response) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::TcpListener;

    use rstest::rstest;

    use super::*;

    #[test]
    fn a_hosts_file_gives_every_name_its_addresses() {
        let found = addresses(
            "# comment\n127.0.0.1 localhost\n::1\tlocalhost Local6 # both\n10.0.0.1 registry.test\nnonsense x\n",
        );
        let of = |name: &str| found[name].iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("localhost"), ["127.0.0.1:0", "[::1]:0"]);
        assert_eq!(of("local6"), ["[::1]:0"]);
        assert_eq!(of("registry.test"), ["10.0.0.1:0"]);
        assert_eq!(found.len(), 3);
    }

    #[rstest]
    #[case("7", Some(7))]
    #[case(" 0 ", Some(0))]
    #[case("Tue, 14 Nov 2023 22:13:25 GMT", Some(5))]
    #[case("Tue, 14 Nov 2023 22:13:10 GMT", Some(0))]
    #[case("soon", None)]
    #[case("-1", None)]
    fn a_pause_is_seconds_or_a_date(#[case] text: &str, #[case] seconds: Option<u64>) {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(parse_pause(text, now), seconds.map(Duration::from_secs));
    }

    /// Runs on a clock that jumps ahead whenever everybody waits.
    fn at_once<T>(future: impl Future<Output = T>) -> T {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn a_server_that_never_answers_is_given_up() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v2/", server.local_addr().unwrap());
        let outcome = at_once(async {
            // The clock may not jump over connecting.
            tokio::time::resume();
            let request = client(Scheme::Http).unwrap().get(url);
            let sending = send(request);
            let mut sending = pin!(sending);
            let connected = tokio::task::spawn_blocking(move || server.accept().unwrap());
            let connection = tokio::select! {
                connection = connected => connection.unwrap(),
                _ = &mut sending => panic!("there was an answer"),
            };
            tokio::time::pause();
            let begin = tokio::time::Instant::now();
            let outcome = sending.await;
            drop(connection);
            (outcome, begin.elapsed())
        });
        assert!(matches!(outcome.0, Err(Failure::Silence)), "{:?}", outcome.0);
        assert!(outcome.1 <= PATIENCE + Duration::from_secs(1));
        assert!(!Failure::Silence.may_pass());
    }

    #[test]
    fn an_upload_may_be_slow_while_it_moves() {
        at_once(async {
            let progress = Progress::default();
            let slow = async {
                for _ in 0..20 {
                    tokio::time::sleep(PATIENCE * 9 / 10).await;
                    progress.report();
                }
            };
            progress.guard(slow).await.unwrap();
            let stuck = progress.guard(pending::<()>()).await;
            assert!(matches!(stuck, Err(Failure::Silence)));
        });
    }
}
