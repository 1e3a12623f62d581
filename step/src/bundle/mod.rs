//! `slipway-step bundle`: fetches source that is packed in an image, layer by layer.
//!
//! Invariant: whatever the image holds stays within the target; what would not ends the step.
//! Invariant: memory does not grow with the image: a layer lies on disk as it was sent and is unpacked from there.
//! Invariant: the image is deleted only once everything of it is there and the results are written.
//!
//! No reference to a source says whether its registry has TLS, so any certificate and plain HTTP are accepted, as upstream does.

mod error;

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub use error::BundleError;

use crate::oci::{
    self, Access, Blob, Compression, Credentials, Layer, OciError, Pulled, Reference, Registry,
};
use crate::protocol::BundleCommand;
use crate::unpack::{Permissions, Times, UnpackError, Unpacker, Whiteouts};
use crate::{given, listing, result_file};

/// The environment variable that asks for a list of what was fetched.
const SHOW_LISTING: &str = "BUNDLE_SHOW_LISTING";

/// Fetches the source: 0 or 1.
pub fn run(command: &BundleCommand) -> ExitCode {
    crate::exit_code(fetch(command))
}

fn fetch(command: &BundleCommand) -> Result<(), BundleError> {
    if command.image.is_empty() {
        return Err(BundleError::ImageMissing);
    }
    let image: Reference = command
        .image
        .parse()
        .map_err(|source| BundleError::Reference { image: command.image.clone(), source })?;
    if command.prune && !oci::deletes_by_protocol(image.resolve_registry()) {
        return Err(BundleError::NoPrune { registry: image.resolve_registry().to_owned() });
    }
    let credentials = match given(command.secret_path.as_deref()) {
        Some(path) => oci::find_credentials(Path::new(path), image.resolve_registry())?,
        None => Credentials::anonymous(),
    };
    let target = Path::new(&command.target);
    let mut unpacker = Unpacker::open(target, Permissions::FilesMasked, Times::Kept)
        .map_err(BundleError::Target)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BundleError::Runtime)?;
    let access = if command.prune { Access::Prune } else { Access::Pull };
    let say = |line: &str| eprintln!("{line}");
    let registry =
        runtime.block_on(Registry::connect_for(access, image, credentials, true, say))?;
    let image = runtime.block_on(registry.pull(Duration::from_secs(command.wait)))?;
    eprintln!("image digest {}", image.digest());
    unpack(&image, &mut unpacker, |blob, path| runtime.block_on(registry.fetch(blob, path)))?;
    if listing::is_wanted(env::var_os(SHOW_LISTING).as_deref(), command.show_listing) {
        listing::print(target);
    }
    write_results(command, &image)?;
    if command.prune {
        runtime.block_on(registry.delete(&image.digests))?;
    }
    Ok(())
}

/// Unpacks all layers, the lowest first.
fn unpack(
    image: &Pulled,
    unpacker: &mut Unpacker,
    fetch: impl Fn(&Blob, &Path) -> Result<Blob, OciError>,
) -> Result<(), BundleError> {
    let folder = env::temp_dir();
    let file = tempfile::NamedTempFile::new_in(&folder)
        .map_err(|source| BundleError::Scratch { path: folder, source })?;
    for (index, (blob, diff_id)) in image.layers.iter().enumerate() {
        let blob = fetch(blob, file.path())?;
        eprintln!("unpacking {} of {} bytes", blob.digest, blob.size);
        let compression = compression(file.path())?;
        let layer = Layer { blob: &blob, compression, diff_id: diff_id.as_deref() };
        let failed = |source| BundleError::Layer { digest: blob.digest.clone(), source };
        let lets = |action: &mut dyn FnMut(&mut dyn Read) -> Result<(), UnpackError>| {
            layer.read(|content| action(content).map(|()| true).map_err(failed))
        };
        // There is nothing below the lowest one.
        if index > 0 {
            lets(&mut |content| unpacker.hide(content))?;
        }
        lets(&mut |content| unpacker.unpack(content, Whiteouts::AreMarks, |_| {}).map(drop))?;
    }
    Ok(())
}

fn compression(path: &Path) -> Result<Compression, BundleError> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(4).read_to_end(&mut start))
        .map_err(|source| BundleError::Scratch { path: path.to_owned(), source })?;
    Ok(Compression::of_bytes(&start))
}

fn write_results(command: &BundleCommand, image: &Pulled) -> Result<(), BundleError> {
    let write = |file: Option<&str>, value: &str| {
        let Some(path) = given(file).map(Path::new) else { return Ok(()) };
        result_file::replace(path, value)
            .map_err(|source| BundleError::Result { path: path.to_owned(), source })
    };
    write(command.result_file_image_digest.as_deref(), image.digest())?;
    let target = Path::new(&command.target);
    let newest =
        newest(target).map_err(|source| BundleError::Look { path: target.to_owned(), source })?;
    match newest {
        Some(seconds) => {
            write(command.result_file_source_timestamp.as_deref(), &seconds.to_string())
        }
        None => Ok(()),
    }
}

/// When the newest regular file was changed, in seconds since 1970.
fn newest(folder: &Path) -> io::Result<Option<i64>> {
    let mut newest = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let found = if metadata.is_dir() {
            self::newest(&entry.path())?
        } else {
            metadata.is_file().then(|| metadata.mtime())
        };
        newest = newest.max(found);
    }
    Ok(newest)
}
