//! Why the source cannot be fetched from an image.

use std::io;
use std::path::PathBuf;

use crate::oci::{OciError, ParseError};
use crate::unpack::UnpackError;

/// Every failure of this command.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No image.
    #[error("--image must name the image that holds the source")]
    ImageMissing,
    /// The reference cannot be read.
    #[error("--image {image:?} is not an image reference")]
    Reference {
        /// The reference as given.
        image: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Nothing is fetched where the last step would fail.
    #[error(
        "registry {registry} does not delete images by the protocol of registries, only by an interface of its own; leave `prune` out of the source, or keep it in another registry"
    )]
    NoPrune {
        /// Host and port of the registry.
        registry: String,
    },
    /// The image or the registry.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// A layer cannot be unpacked.
    #[error("unpack layer {digest}")]
    Layer {
        /// Its digest.
        digest: String,
        /// What is wrong with it.
        #[source]
        source: UnpackError,
    },
    /// The folder cannot be used.
    #[error(transparent)]
    Target(UnpackError),
    /// A layer finds no place while it is unpacked.
    #[error(
        "keep a layer in {path:?}; the folder that TMPDIR names must have room for the largest one"
    )]
    Scratch {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was unpacked cannot be looked at.
    #[error("find the newest file in {path:?}")]
    Look {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A result cannot be written.
    #[error("write result {path:?}")]
    Result {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The runtime did not start.
    #[error("start the client")]
    Runtime(#[source] io::Error),
}
