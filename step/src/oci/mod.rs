//! Images on disk and in registries: read from an OCI layout, a docker archive or a registry, and pushed.
//!
//! Invariant: bytes that somebody else wrote are pushed as they are; only what `image` changes gets a new digest.
//! Invariant: a layer is never held in memory, whatever its size; it is streamed from its file in small pieces.
//! Invariant: no credential is in an error or in the log.

mod archive;
mod blob;
mod credentials;
mod error;
mod layer;
mod layout;
mod load;
mod login;
mod manifest;
mod platform;
mod pull;
mod registry;
mod save;
mod transport;

pub use blob::{Blob, Content, digest_of};
pub use credentials::{Credentials, find as find_credentials, find_in as find_credentials_in};
pub use error::OciError;
pub use layer::{Compression, Layer, Packing};
pub use login::Login;
pub use manifest::Manifest;
pub use oci_spec::distribution::{ParseError, Reference};
pub use pull::Pulled;
pub use registry::{Access, Registry};
pub use save::save;
pub use transport::{Say, web_client};

use std::path::{Path, PathBuf};

/// The image that a strategy left in a folder: an OCI layout, or one docker archive of any name.
pub fn load(dir: &Path) -> Result<Manifest, OciError> {
    if is_layout(dir) { layout::load(dir) } else { archive::load(dir) }
}

/// What another program is to read there: the folder of an OCI layout, or the docker archive.
pub fn find(dir: &Path) -> Result<PathBuf, OciError> {
    if is_layout(dir) { Ok(dir.to_owned()) } else { archive::only_file(dir) }
}

/// Whether images of a registry can be deleted as the protocol of registries has it. Docker Hub and IBM Cloud want calls of their own.
pub fn deletes_by_protocol(registry: &str) -> bool {
    let is_of = |domain: &str| {
        registry.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !["docker.io", "registry.hub.docker.com", "icr.io"].into_iter().any(is_of)
}

fn is_layout(dir: &Path) -> bool {
    dir.join(layout::INDEX).exists()
}
