//! `slipway-step image-processing`: pushes what a strategy left in the output folder, or changes what it pushed.
//!
//! Invariant: a flag that is not supported ends the step; it is never passed over.
//! Invariant: results are written after the push, each by a temporary file and a rename, because another user may have left one.

mod mutate;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::given;
use crate::oci::{self, Credentials, Manifest, OciError, Reference, Registry};
use crate::protocol::ImageCommand;
use mutate::{Additions, mutate};

/// The exit code of a command without `--image`.
const NO_IMAGE: u8 = 100;

/// Why the image could not be processed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference cannot be read.
    #[error("--image {image:?} is not an image reference")]
    Reference {
        /// The reference as given.
        image: String,
        /// What is wrong with it.
        #[source]
        source: oci::ParseError,
    },
    /// Two times were given.
    #[error("--image-timestamp and --image-timestamp-file exclude each other")]
    TwoTimestamps,
    /// An annotation or label without a value.
    #[error("{flag} {pair:?} is not KEY=VALUE")]
    NotAPair {
        /// The flag.
        flag: &'static str,
        /// Its value.
        pair: String,
    },
    /// A flag that this version does not know how to honour.
    #[error("{flag} is not supported by this version of slipway-step")]
    Unsupported {
        /// The flag.
        flag: &'static str,
    },
    /// The image or the registry.
    #[error(transparent)]
    Oci(#[from] OciError),
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

/// Processes the image; 0, 1 or 100.
pub fn run(command: &ImageCommand) -> ExitCode {
    if command.image.is_empty() {
        eprintln!("--image must name the image to push");
        return ExitCode::from(NO_IMAGE);
    }
    crate::exit_code(process(command))
}

fn process(command: &ImageCommand) -> Result<(), ImageError> {
    let timestamp = given(command.image_timestamp.as_deref());
    if timestamp.is_some() && given(command.image_timestamp_file.as_deref()).is_some() {
        return Err(ImageError::TwoTimestamps);
    }
    if let Some(flag) = unsupported_flag(command) {
        return Err(ImageError::Unsupported { flag });
    }
    let image: Reference = command
        .image
        .parse()
        .map_err(|source| ImageError::Reference { image: command.image.clone(), source })?;
    let credentials = match given(command.secret_path.as_deref()) {
        Some(path) => oci::find_credentials(Path::new(path), image.resolve_registry())?,
        None => Credentials::anonymous(),
    };
    let additions = Additions {
        annotations: parse_pairs("--annotation", &command.annotations)?,
        labels: parse_pairs("--label", &command.labels)?,
    };
    let local = given(command.push.as_deref()).map(|dir| oci::load(Path::new(dir))).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ImageError::Runtime)?;
    let manifest = runtime.block_on(async {
        let registry = Registry::connect(image, credentials, command.insecure).await?;
        let mut manifest = match local {
            Some(manifest) => manifest,
            None => registry.load().await?,
        };
        mutate(&mut manifest, &additions)?;
        registry.push(&manifest).await?;
        Ok::<_, OciError>(manifest)
    })?;
    write_results(command, &manifest)
}

fn parse_pairs(
    flag: &'static str,
    pairs: &[String],
) -> Result<BTreeMap<String, String>, ImageError> {
    let split = |pair: &String| match pair.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(ImageError::NotAPair { flag, pair: pair.clone() }),
    };
    pairs.iter().map(split).collect()
}

fn unsupported_flag(command: &ImageCommand) -> Option<&'static str> {
    let flags = [
        ("--vuln-settings", &command.vuln_settings),
        ("--image-timestamp", &command.image_timestamp),
        ("--image-timestamp-file", &command.image_timestamp_file),
    ];
    flags.into_iter().find(|(_, value)| given(value.as_deref()).is_some()).map(|(flag, _)| flag)
}

fn write_results(command: &ImageCommand, manifest: &Manifest) -> Result<(), ImageError> {
    let digest = manifest.digest();
    eprintln!("image digest {digest}");
    if let Some(path) = given(command.result_file_image_digest.as_deref()) {
        write_result(Path::new(path), &digest)?;
    }
    if let Some(path) = given(command.result_file_image_size.as_deref())
        && let Some(size) = manifest.image_size()?
    {
        write_result(Path::new(path), &size.to_string())?;
    }
    Ok(())
}

fn write_result(path: &Path, content: &str) -> Result<(), ImageError> {
    let write = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(content.as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source: io::Error| ImageError::Result { path: path.to_owned(), source })
}
