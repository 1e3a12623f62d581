//! `slipway-step image-processing`: pushes what a strategy left in the output folder, or changes what it pushed.
//!
//! Invariant: what a scan must not find is never pushed from here.
//! Invariant: digest and size are written after the push, each by a temporary file and a rename, because another user may have left one.

mod layers;
mod mutate;
mod scan;
mod tar_times;
mod time;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::given;
use crate::oci::{self, Credentials, Manifest, OciError, Reference, Registry};
use crate::protocol::ImageCommand;
use crate::result_file;
use layers::Layers;
use mutate::{Changes, mutate};
use scan::{Place, ReportError, TrivyError};
use tar_times::TarError;

/// The exit code of a command without `--image`.
const NO_IMAGE: u8 = 100;
/// The exit code where findings of a scan are not to be borne; a plan makes the reason `VulnerabilitiesFound` of it.
const VULNERABLE: u8 = 22;

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
    /// The time is none.
    #[error(
        "{from} is {text:?} instead of whole seconds since 1970, in the years 0 to 9999; was it written by an earlier step?"
    )]
    Timestamp {
        /// The flag, and the file that it names.
        from: String,
        /// What is there.
        text: String,
    },
    /// The file with the time cannot be read.
    #[error(
        "read the time from --image-timestamp-file {path:?}; did the step that fetches the source leave it?"
    )]
    TimestampFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A layer is not what its media type says.
    #[error("layer {digest} cannot get another time")]
    Layer {
        /// Its digest.
        digest: String,
        /// What is wrong with it.
        #[source]
        source: TarError,
    },
    /// Changed layers find no place.
    #[error(
        "write a changed layer to {path:?}; the folder that TMPDIR names must have room for every changed layer"
    )]
    Scratch {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is nothing that could be saved without asking a registry.
    #[error(
        "--save needs --push: it saves what a strategy left in a folder, not what is in a registry"
    )]
    SaveWithoutPush,
    /// An annotation or label without a value.
    #[error("{flag} {pair:?} is not KEY=VALUE")]
    NotAPair {
        /// The flag.
        flag: &'static str,
        /// Its value.
        pair: String,
    },
    /// What to scan for cannot be read.
    #[error("--vuln-settings is not the JSON of output.vulnerabilityScan")]
    ScanSettings {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// There is no report of a scan.
    #[error(transparent)]
    Scan(#[from] TrivyError),
    /// The report of a scan is of no use.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The image may not go on with what was found in it.
    #[error(
        "the image has {count} of the vulnerabilities that output.vulnerabilityScan.failOnFinding refuses; {outcome}"
    )]
    Vulnerable {
        /// How many.
        count: usize,
        /// Where the image is now.
        outcome: &'static str,
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

impl ImageError {
    fn exit_code(&self) -> u8 {
        if matches!(self, Self::Vulnerable { .. }) { VULNERABLE } else { 1 }
    }
}

/// Processes the image; 0, 1, 22 or 100.
pub fn run(command: &ImageCommand) -> ExitCode {
    if command.image.is_empty() {
        eprintln!("--image must name the image to push");
        return ExitCode::from(NO_IMAGE);
    }
    match process(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", crate::describe(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn process(command: &ImageCommand) -> Result<(), ImageError> {
    let settings = scan::parse(command)?;
    let changes = Changes {
        annotations: parse_pairs("--annotation", &command.annotations)?,
        labels: parse_pairs("--label", &command.labels)?,
        time: time::find(command)?,
    };
    let image: Reference = command
        .image
        .parse()
        .map_err(|source| ImageError::Reference { image: command.image.clone(), source })?;
    let scan = |place: &Place<'_>| match &settings {
        Some(settings) => search(command, settings, place),
        None => Ok(()),
    };
    let local = |dir: &str| {
        let dir = Path::new(dir);
        let manifest = oci::load(dir)?;
        scan(&Place::Here(oci::find(dir)?))?;
        Ok::<_, ImageError>(manifest)
    };
    let push = given(command.push.as_deref());
    if let Some(file) = given(command.save.as_deref()) {
        let mut manifest = local(push.ok_or(ImageError::SaveWithoutPush)?)?;
        // Everything is here, so nothing is ever fetched.
        let mut layers = Layers::new(&|blob, _| Ok(blob.clone()));
        mutate(&mut manifest, &changes, &mut layers)?;
        oci::save(&manifest, &image, Path::new(file))?;
        return write_results(command, &manifest);
    }
    let credentials = match given(command.secret_path.as_deref()) {
        Some(path) => oci::find_credentials(Path::new(path), image.resolve_registry())?,
        None => Credentials::anonymous(),
    };
    let local = push.map(local).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ImageError::Runtime)?;
    let say = |line: &str| eprintln!("{line}");
    let registry = Registry::connect(image.clone(), credentials.clone(), command.insecure, say);
    let registry = runtime.block_on(registry)?;
    let mut manifest = if let Some(manifest) = local {
        manifest
    } else {
        let manifest = runtime.block_on(registry.load())?;
        scan(&Place::InRegistry {
            image: &command.image,
            registry: image.resolve_registry(),
            credentials: &credentials,
            insecure: command.insecure,
        })?;
        manifest
    };
    let fetch = |blob: &oci::Blob, path: &Path| runtime.block_on(registry.fetch(blob, path));
    let mut layers = Layers::new(&fetch);
    mutate(&mut manifest, &changes, &mut layers)?;
    runtime.block_on(registry.push(&manifest))?;
    write_results(command, &manifest)
}

/// Looks for vulnerabilities, tells them, and ends the step for them where that is wanted.
fn search(
    command: &ImageCommand,
    settings: &scan::Settings,
    place: &Place<'_>,
) -> Result<(), ImageError> {
    let findings = scan::search(settings, command.vuln_count_limit, place)?;
    if let Some(path) = given(command.result_file_image_vulnerabilities.as_deref()) {
        write_result(Path::new(path), &findings.to_result())?;
    }
    let outcome = match place {
        Place::Here(_) => "nothing was pushed",
        Place::InRegistry { .. } => "the strategy has pushed it already, and nothing was changed",
    };
    match findings.count() {
        count if count > 0 && settings.fail_on_finding => {
            Err(ImageError::Vulnerable { count, outcome })
        }
        _ => Ok(()),
    }
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
    result_file::replace(path, content)
        .map_err(|source| ImageError::Result { path: path.to_owned(), source })
}
