//! A repository in a registry: what is there, and pushing to it.
//!
//! Invariant: a manifest is pushed after everything that it names, so nobody ever pulls half an image.
//! Invariant: what the registry says it stored is compared with what was meant.
//! Invariant: a layer is taken from another repository only where we hold its bytes: the credentials may reach further than who made
//! the image.
//! Invariant: credentials go only to the scheme, host and port of the registry, whatever its answers name.
//!
//! This speaks the distribution protocol itself, because `oci-client` aborts where an image has no CA bundle, even for a registry
//! without TLS, cannot refuse plain HTTP, and hides why a token was refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use oci_spec::distribution::Reference;
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode, Url, header};

use super::OciError;
use super::blob::{Blob, Content};
use super::credentials::Credentials;
use super::login::{self, Authorization, Challenge, Login};
use super::manifest::Manifest;
use super::transport::{
    ContentError, Failure, PATIENCE, Progress, Say, Scheme, Trouble, answer_of, client,
    is_unauthorized, retry,
};

/// Uploads at the same time; registries slow down those who open more.
const UPLOADS: usize = 4;
const CHUNK: usize = 128 << 10;
/// Chunks that are read ahead while the connection is busy.
const READ_AHEAD: usize = 2;
/// How often one request may be led on to another server.
const DETOURS: usize = 5;
const CONTENT_DIGEST: &str = "docker-content-digest";

/// What somebody means to do in a repository: issuers of tokens may refuse more than they grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Pull,
    /// Read it and delete from it.
    Prune,
    /// Read it and write to it.
    Push,
}

impl Access {
    fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Prune => "pull,delete",
            Self::Push => "pull,push",
        }
    }

    /// How the secret is called that grants it, and what to look at in it.
    fn secret(self) -> &'static str {
        match self {
            Self::Pull => "the pull secret: its user, its password and what it may read",
            Self::Prune => {
                "the pull secret: its user, its password and what it may read and delete"
            }
            Self::Push => "the push secret: its user, its password and what it may write",
        }
    }
}

/// One repository, and the reference in it that the user named.
pub struct Registry {
    client: Client,
    scheme: Scheme,
    image: Reference,
    credentials: Credentials,
    access: Access,
    authorization: Mutex<Option<Authorization>>,
    /// Other repositories of this registry that have layers which need not be sent.
    bases: Mutex<BTreeSet<String>>,
    /// Of all uploads together: while one moves, the registry lives.
    progress: Progress,
    say: Say,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Registry").field("image", &self.image).finish_non_exhaustive()
    }
}

impl Registry {
    /// To push; otherwise as [`Registry::connect_for`].
    pub async fn connect(
        image: Reference,
        credentials: Credentials,
        insecure: bool,
        say: Say,
    ) -> Result<Self, OciError> {
        Self::connect_for(Access::Push, image, credentials, insecure, say).await
    }

    /// Finds out how the registry is spoken to and logs in; insecure means TLS with any certificate or else plain HTTP.
    /// What is tried again is said to whoever keeps the log.
    pub async fn connect_for(
        access: Access,
        image: Reference,
        credentials: Credentials,
        insecure: bool,
        say: Say,
    ) -> Result<Self, OciError> {
        let with = |scheme| {
            let registry = image.resolve_registry().to_owned();
            let client = client(scheme).map_err(|source| OciError::Client { registry, source })?;
            Ok(Self {
                client,
                scheme,
                image: image.clone(),
                credentials: credentials.clone(),
                access,
                authorization: Mutex::new(None),
                bases: Mutex::default(),
                progress: Progress::default(),
                say,
            })
        };
        if !insecure {
            let registry: Self = with(Scheme::Https)?;
            retry(say, async || registry.log_in().await)
                .await
                .map_err(|failure| registry.explain("log in", failure))?;
            return Ok(registry);
        }
        let unverified = with(Scheme::UnverifiedHttps)?;
        let plain = with(Scheme::Http)?;
        let speaks_tls = retry(say, async || match unverified.log_in().await {
            Err(failure @ Failure::Request { .. }) => match plain.log_in().await {
                // So answers who speaks TLS after all, and only was not there for a moment.
                Err(Failure::Answer { status: 400, .. }) if failure.may_pass() => Err(failure),
                outcome => outcome.map(|()| false),
            },
            outcome => outcome.map(|()| true),
        });
        match speaks_tls.await {
            Ok(true) => Ok(unverified),
            Ok(false) => Ok(plain),
            Err(failure) => Err(plain.explain("log in", failure)),
        }
    }

    /// Asks what every registry answers, to meet its challenge once and not in each upload.
    async fn log_in(&self) -> Result<(), Failure> {
        match self.request(|| Ok(self.client.get(self.url("")?))).await {
            // Some answer only below a repository's name; what matters is that they did.
            Err(Failure::Answer { status: 404, .. }) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Pushes an image or index with everything that hangs on it, and says on standard error what was sent.
    pub async fn push(&self, manifest: &Manifest) -> Result<(), OciError> {
        let manifests = manifest.all_manifests();
        let mut bases = BTreeMap::new();
        for manifest in &manifests {
            if let Some(base) = manifest.base().and_then(|base| self.elsewhere(&base)) {
                bases.extend(manifest.blobs.iter().map(|blob| (&*blob.digest, base.clone())));
            }
        }
        *lock(&self.bases) = bases.values().cloned().collect();
        stream::iter(manifest.all_blobs())
            .map(|blob| self.push_blob(blob, bases.get(&*blob.digest).map(String::as_str)))
            .buffer_unordered(UPLOADS)
            .try_collect::<()>()
            .await?;
        for child in manifests.into_iter().filter(|child| !std::ptr::eq(*child, manifest)) {
            self.push_manifest(child, &child.digest()).await?;
        }
        self.push_manifest(manifest, self.target()).await
    }

    /// A digest wins over a tag, as everywhere.
    pub(super) fn target(&self) -> &str {
        self.image.digest().or(self.image.tag()).unwrap_or("latest")
    }

    /// The repository of another image, if it is in this registry but not where we push to.
    fn elsewhere(&self, other: &Reference) -> Option<String> {
        let same = |part: fn(&Reference) -> &str| part(other) == part(&self.image);
        (same(Reference::resolve_registry) && !same(Reference::repository))
            .then(|| other.repository().to_owned())
    }

    async fn push_blob(&self, blob: &Blob, base: Option<&str>) -> Result<(), OciError> {
        if matches!(blob.content, Content::Remote) {
            return Ok(());
        }
        let digest = &blob.digest;
        let exists = retry(self.say, async || self.has_blob(digest).await)
            .await
            .map_err(|failure| self.explain(&format!("look for blob {digest}"), failure))?;
        let outcome = if exists {
            "exists"
        } else {
            if base.is_some() {
                let blob = blob.clone();
                let verified = tokio::task::spawn_blocking(move || blob.verify()).await;
                verified.map_err(|error| {
                    self.explain("check a blob", io::Error::from(error).into())
                })??;
            }
            retry(self.say, async || self.send_blob(blob, base).await)
                .await
                .map_err(|failure| self.explain(&format!("take blob {digest}"), failure))?
        };
        report(outcome, digest, blob.size);
        Ok(())
    }

    async fn has_blob(&self, digest: &str) -> Result<bool, Failure> {
        match self.request(|| Ok(self.client.head(self.url(&format!("blobs/{digest}"))?))).await {
            Ok(_) => Ok(true),
            Err(Failure::Answer { status: 404, .. }) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Sends a blob, or has it taken from the repository of the base, which may not have it or not be ours to read.
    async fn send_blob(&self, blob: &Blob, base: Option<&str>) -> Result<&'static str, Failure> {
        let begin = |base: Option<&str>| {
            let mut url = self.url("blobs/uploads/")?;
            if let Some(base) = base {
                url.query_pairs_mut().append_pair("mount", &blob.digest).append_pair("from", base);
            }
            Ok(self.client.post(url).header(header::CONTENT_LENGTH, 0))
        };
        let base = base.filter(|base| lock(&self.bases).contains(*base));
        let session = match self.request(|| begin(base)).await {
            Ok(answer) if base.is_some() && answer.status() == StatusCode::CREATED => {
                return Ok("mounted");
            }
            Err(Failure::Answer { status: 400..=428, .. }) if base.is_some() => {
                // Neither asked again nor part of the next token, which may be refused for it.
                lock(&self.bases).clear();
                self.request(|| begin(None)).await?
            }
            outcome => outcome?,
        };
        let location = session
            .headers()
            .get(header::LOCATION)
            .and_then(|location| session.url().join(location.to_str().ok()?).ok());
        let mut location = location
            .ok_or_else(|| Failure::Nonsense("it did not say where to upload".to_owned()))?;
        location.query_pairs_mut().append_pair("digest", &blob.digest);
        let upload = || {
            Ok(self
                .client
                .put(location.clone())
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, blob.size)
                .body(stream_of(&blob.content, &self.progress)?))
        };
        self.request(upload).await.map(|_| "pushed")
    }

    async fn push_manifest(&self, manifest: &Manifest, target: &str) -> Result<(), OciError> {
        let expected = manifest.digest();
        let what = format!("manifest {expected}");
        let put = || {
            Ok(self
                .client
                .put(self.url(&format!("manifests/{target}"))?)
                .header(header::CONTENT_TYPE, &manifest.media_type)
                .body(manifest.bytes.clone()))
        };
        let answer = retry(self.say, async || self.request(put).await)
            .await
            .map_err(|failure| self.explain(&format!("take {what}"), failure))?;
        match answer.headers().get(CONTENT_DIGEST).and_then(|digest| digest.to_str().ok()) {
            Some(found) if found != expected => {
                let found = found.to_owned();
                Err(OciError::WrongDigest { what: self.image.to_string(), expected, found })
            }
            _ => {
                report("pushed", &expected, manifest.bytes.len() as u64);
                Ok(())
            }
        }
    }

    /// An address below the repository; without a path the one of the registry as a whole.
    pub(super) fn url(&self, path: &str) -> Result<Url, Failure> {
        let (scheme, host) = (self.scheme.name(), self.image.resolve_registry());
        let url = match path {
            "" => format!("{scheme}://{host}/v2/"),
            path => format!("{scheme}://{host}/v2/{}/{path}", self.image.repository()),
        };
        Url::parse(&url)
            .map_err(|error| Failure::Nonsense(format!("{url:?} is no address: {error}")))
    }

    /// Sends a request with what we are allowed to say of ourselves, and meets a challenge of the registry's own once.
    pub(super) async fn request(
        &self,
        make: impl Fn() -> Result<RequestBuilder, Failure>,
    ) -> Result<Response, Failure> {
        let (mut response, authorized) = self.send_on(&make).await?;
        if is_unauthorized(&response)
            && self.is_ours(response.url())?
            && let Some(challenge) = Challenge::find(response.headers())
        {
            let repeats_refusal = authorized
                && (challenge == Challenge::Basic
                    || matches!(self.credentials.login, Login::Token(_)));
            if !repeats_refusal {
                self.meet(&challenge).await?;
                (response, _) = self.send_on(&make).await?;
            }
        }
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(Failure::of_answer(response).await)
        }
    }

    /// Sends a request to where the registry leads it, and says whether the last one carried credentials. The client follows to
    /// addresses of the same origin; to any other one a request is made anew, without what only the registry may know.
    async fn send_on(
        &self,
        make: impl Fn() -> Result<RequestBuilder, Failure>,
    ) -> Result<(Response, bool), Failure> {
        let mut target = None;
        for _ in 0..=DETOURS {
            let (request, authorized) = self.authorize(make()?, target.take())?;
            let response = answer_of(request, &self.progress).await?;
            match detour(&response) {
                Some(elsewhere) => target = Some(elsewhere),
                None => return Ok((response, authorized)),
            }
        }
        Err(Failure::Nonsense(format!("it led on to another server more than {DETOURS} times")))
    }

    fn is_ours(&self, url: &Url) -> Result<bool, Failure> {
        Ok(url.origin() == self.url("")?.origin())
    }

    async fn meet(&self, challenge: &Challenge) -> Result<(), Failure> {
        let ask = async |scopes: &[String]| {
            login::answer(&self.client, &self.credentials.login, challenge, scopes).await
        };
        let actions = self.access.actions();
        let mut scopes = vec![format!("repository:{}:{actions}", self.image.repository())];
        scopes.extend(lock(&self.bases).iter().map(|base| format!("repository:{base}:pull")));
        let authorization = match ask(&scopes).await {
            // Some refuse the whole for the part that we can do without.
            Err(Failure::Answer { status: 400..=428, .. }) if scopes.len() > 1 => {
                lock(&self.bases).clear();
                ask(&scopes[..1]).await?
            }
            outcome => outcome?,
        };
        *lock(&self.authorization) = Some(authorization);
        Ok(())
    }

    /// The request, to another address if there is one, with credentials if it goes to the registry itself.
    fn authorize(
        &self,
        request: RequestBuilder,
        target: Option<Url>,
    ) -> Result<(RequestBuilder, bool), Failure> {
        let (client, request) = request.build_split();
        let mut request = request?;
        if let Some(target) = target {
            *request.url_mut() = target;
        }
        let is_ours = self.is_ours(request.url())?;
        let mut builder = RequestBuilder::from_parts(client, request);
        if !is_ours {
            return Ok((builder, false));
        }
        for (name, value) in &self.credentials.headers {
            builder = builder.header(name, value);
        }
        let authorization = lock(&self.authorization).clone();
        Ok(match authorization {
            Some(Authorization::Basic { username, password }) => {
                (builder.basic_auth(username, Some(password)), true)
            }
            Some(Authorization::Bearer(token)) => (builder.bearer_auth(token), true),
            None => (builder, false),
        })
    }

    pub(super) fn image(&self) -> &Reference {
        &self.image
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn say(&self) -> Say {
        self.say
    }

    pub(super) fn explain(&self, action: &str, failure: Failure) -> OciError {
        let registry = self.image.resolve_registry().to_owned();
        let (image, action) = (self.image.to_string(), action.to_owned());
        let may_pass = failure.may_pass();
        match failure {
            Failure::Answer { status: 401 | 403, text: answer, .. } => {
                OciError::Denied { registry, image, action, answer, secret: self.access.secret() }
            }
            Failure::Anonymous => {
                let (answer, secret) = (failure.to_string(), self.access.secret());
                OciError::Denied { registry, image, action, answer, secret }
            }
            Failure::Answer { text: answer, .. } | Failure::Nonsense(answer) => {
                OciError::Answer { registry, image, action, answer, may_pass }
            }
            Failure::Content(source) => OciError::Content { image, action, source },
            Failure::Write { path, source } => OciError::Write { path, source },
            Failure::Silence => OciError::Silent { registry, image, action, patience: PATIENCE },
            Failure::Request { trouble, source } => match trouble {
                Trouble::PlainHttp(url) => OciError::PlainHttp { registry, url },
                Trouble::NotTls => OciError::NotTls { registry, source },
                Trouble::Untrusted => OciError::Untrusted { registry, source },
                Trouble::Content | Trouble::Broken => {
                    OciError::Unreachable { registry, image, action, source }
                }
            },
        }
    }
}

/// Nothing is ever half done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where an answer leads, if it leads away.
fn detour(response: &Response) -> Option<Url> {
    if !response.status().is_redirection() {
        return None;
    }
    response.url().join(response.headers().get(header::LOCATION)?.to_str().ok()?).ok()
}

/// The bytes of a blob in small pieces, read by a thread of their own and never far ahead of the connection.
fn stream_of(content: &Content, progress: &Progress) -> Result<Body, Failure> {
    let mut content = content.open()?;
    let (sender, receiver) = tokio::sync::mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = content.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
            let last = !matches!(read, Ok(count) if count > 0);
            let chunk = read.map(|_| chunk).map_err(ContentError);
            // Nobody receives any more when the request has ended early.
            if sender.blocking_send(chunk).is_err() || last {
                return;
            }
        }
    });
    let chunks = stream::unfold((receiver, progress.clone()), async |(mut receiver, progress)| {
        let chunk = receiver.recv().await?;
        progress.report();
        Some((chunk, (receiver, progress)))
    });
    Ok(Body::wrap_stream(Box::pin(chunks)))
}

/// One line for people.
fn report(what: &str, digest: &str, size: u64) {
    let short: String = digest.chars().take("sha256:".len() + 12).collect();
    eprintln!("{what} {short} {size} bytes");
}
