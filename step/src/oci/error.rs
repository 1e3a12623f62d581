//! What can go wrong with an image on disk or in a registry, and what to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Larger manifests are refused by registries, and larger configs are no configs; in bytes.
pub(super) const DOCUMENT_LIMIT: u64 = 4 << 20;

/// Every failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// A file or folder cannot be read.
    #[error("read {path:?}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that should hold JSON does not.
    #[error("{what} is not valid JSON of its kind")]
    Json {
        /// The document, with its path.
        what: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// JSON of another shape than its kind has.
    #[error("{what} cannot be used: {problem}")]
    Malformed {
        /// The document.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The bytes of something that is known by its digest cannot be read.
    #[error("read {what}")]
    ReadBlob {
        /// What it is, with its digest.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A layer of a kind that cannot be changed.
    #[error(
        "a layer of media type {media_type:?} cannot get another time; push the image without output.timestamp, or with layers packed by gzip, zstd or not at all"
    )]
    Packed {
        /// The media type.
        media_type: String,
    },
    /// There is no room for what must be kept for a while, or for the result.
    #[error("write {path:?}; this user must be able to write there, and it must have room")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A manifest or config is larger than any registry takes.
    #[error("{what} has {size} bytes; a manifest or config may have at most {limit}")]
    TooLarge {
        /// The document, with its path.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// What is allowed, in bytes.
        limit: u64,
    },
    /// An OCI layout whose index names no image.
    #[error("{path:?} names no image; did the strategy finish writing its OCI layout?")]
    EmptyIndex {
        /// The `index.json`.
        path: PathBuf,
    },
    /// Something else than an image or an index where one of them is needed.
    #[error("{what} has media type {media_type:?}, which is neither an image nor an index")]
    NotAnImage {
        /// The document.
        what: String,
        /// Its media type.
        media_type: String,
    },
    /// A file whose length is not what its descriptor says.
    #[error("{path:?} has {found} bytes instead of {expected}; was it cut while it was written?")]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Bytes named by the descriptor.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// Content that is not what its digest says.
    #[error("{what} has digest {found} instead of {expected}")]
    WrongDigest {
        /// The content.
        what: String,
        /// The digest under which it is named.
        expected: String,
        /// The digest that it has.
        found: String,
    },
    /// The output folder is empty.
    #[error(
        "{dir:?} is empty; the strategy must leave an OCI layout or one docker archive in $(params.shp-output-directory)"
    )]
    NoOutput {
        /// The folder.
        dir: PathBuf,
    },
    /// The output folder holds several things and no OCI layout.
    #[error("{dir:?} holds neither an index.json nor exactly one docker archive: {names}")]
    SeveralOutputs {
        /// The folder.
        dir: PathBuf,
        /// The first names in it.
        names: String,
    },
    /// The only file is not a tar archive as `docker save` writes it.
    #[error("{path:?} is not a docker archive: {problem}")]
    NotAnArchive {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
    /// A docker configuration cannot be used.
    #[error("{path:?} cannot be used as registry credentials: {problem}")]
    Secret {
        /// The `.dockerconfigjson`.
        path: PathBuf,
        /// What is wrong with it; never a value from it.
        problem: String,
    },
    /// The docker configuration has no entry for the registry; upstream's words.
    #[error(
        "failed to find registry credentials for {registry}, available configurations: {available}"
    )]
    NoCredentials {
        /// Host and port of the registry.
        registry: String,
        /// The registries that the configuration names, or `none`.
        available: String,
    },
    /// No client can be made: nearly always the roots of trust are missing.
    #[error(
        "prepare TLS for registry {registry}; the image of this step needs a CA bundle such as /etc/ssl/certs/ca-certificates.crt, or SSL_CERT_FILE must name one"
    )]
    Client {
        /// Host and port of the registry.
        registry: String,
        /// What the client said.
        #[source]
        source: reqwest::Error,
    },
    /// The registry knows us too little: 401, 403 or a refused token.
    #[error("registry {registry} refused to {action} for {image} ({answer}); check {secret}")]
    Denied {
        /// Host and port of the registry.
        registry: String,
        /// The whole reference.
        image: String,
        /// What was asked.
        action: String,
        /// The answer in one line.
        answer: String,
        /// What to look at.
        secret: &'static str,
    },
    /// Nobody has pushed it, or not in time.
    #[error(
        "there is no image {image} ({answer}), and none came within {seconds} s; check its name, or push it first"
    )]
    NoImage {
        /// The whole reference.
        image: String,
        /// How long it was waited for.
        seconds: u64,
        /// The answer in one line.
        answer: String,
    },
    /// An index without an image that fits.
    #[error("{what} has no image for {wanted}; it has {there}: name one of them by its digest")]
    NoPlatform {
        /// The index.
        what: String,
        /// System and processor.
        wanted: String,
        /// What it has instead.
        there: String,
    },
    /// The registry deletes nothing.
    #[error(
        "registry {registry} does not delete images ({answer}); allow it there, or leave `prune` out of the source"
    )]
    NoDeletion {
        /// Host and port of the registry.
        registry: String,
        /// The answer in one line.
        answer: String,
    },
    /// The registry answered with an error.
    #[error("registry {registry} failed to {action} for {image} ({answer})")]
    Answer {
        /// Host and port of the registry.
        registry: String,
        /// The whole reference.
        image: String,
        /// What was asked.
        action: String,
        /// The answer in one line.
        answer: String,
        /// It is of a kind that passes by itself.
        may_pass: bool,
    },
    /// Something led to plain HTTP without `--insecure`.
    #[error(
        "the http protocol is not allowed: registry {registry} leads to {url}; set output.insecure to push without TLS"
    )]
    PlainHttp {
        /// Host and port of the registry.
        registry: String,
        /// Scheme, host and port that were refused.
        url: String,
    },
    /// The registry's port does not speak TLS.
    #[error(
        "registry {registry} does not speak TLS, and the http protocol is not allowed; set output.insecure to push without TLS"
    )]
    NotTls {
        /// Host and port of the registry.
        registry: String,
        /// What the client said.
        #[source]
        source: reqwest::Error,
    },
    /// The registry's certificate cannot be verified.
    #[error(
        "the certificate of registry {registry} cannot be verified; add its CA to the bundle of this step's image, or set output.insecure"
    )]
    Untrusted {
        /// Host and port of the registry.
        registry: String,
        /// What the client said.
        #[source]
        source: reqwest::Error,
    },
    /// What is pushed could not be read while it was sent.
    #[error("cannot {action} for {image}: its content cannot be read")]
    Content {
        /// The whole reference.
        image: String,
        /// What was asked.
        action: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A connection, but nothing comes over it.
    #[error(
        "registry {registry} did not {action} for {image}: nothing moved for {} s, so it hangs, or something between; try again when it answers",
        patience.as_secs()
    )]
    Silent {
        /// Host and port of the registry.
        registry: String,
        /// The whole reference.
        image: String,
        /// What was asked.
        action: String,
        /// How long we waited.
        patience: Duration,
    },
    /// No answer: name, route, connection.
    #[error("cannot {action} for {image} at registry {registry}")]
    Unreachable {
        /// Host and port of the registry.
        registry: String,
        /// The whole reference.
        image: String,
        /// What was asked.
        action: String,
        /// What the client said.
        #[source]
        source: reqwest::Error,
    },
}

impl OciError {
    /// Whether it may go away without anybody's doing.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Answer { may_pass, .. } => *may_pass,
            Self::Silent { .. } | Self::Unreachable { .. } => true,
            _ => false,
        }
    }

    /// Manifests and configs are held in memory, so they must not be large.
    pub(crate) fn check_document_size(what: &str, size: u64) -> Result<(), Self> {
        let limit = DOCUMENT_LIMIT;
        if size > limit {
            return Err(Self::TooLarge { what: what.to_owned(), size, limit });
        }
        Ok(())
    }
}

/// An error and everything that caused it. `io::Error` hides the error that it wraps from `source`, so it is asked itself.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
