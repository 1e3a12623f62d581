//! Runs `trivy`, which whoever provides the image of this step puts into it.
//!
//! Invariant: credentials are neither in its arguments nor in its environment, where they would go to every registry that it asks, the
//! one with its database as well; they lie in a file of this user's that names the one registry.
//! Invariant: its report goes to disk, and of what it says besides only the end is kept.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::{Place, Settings, Severity};

const PROGRAM: &str = "trivy";
/// It says so when its database could not be had, which may pass.
const NO_DATABASE: &str = "failed to download vulnerability DB";
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// How much of its log is searched for a reason to try again, in bytes.
const REMEMBERED: usize = 64 << 10;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum TrivyError {
    /// There is no such program.
    #[error(
        "the image of this step has no program \"trivy\", which output.vulnerabilityScan needs; let IMAGE_PROCESSING_CONTAINER_IMAGE name an image that has one, as base-images/README.md says, or set output.vulnerabilityScan.enabled to false"
    )]
    Missing,
    /// It does not start.
    #[error("start trivy")]
    Start(#[source] io::Error),
    /// What it says cannot be followed.
    #[error("read what trivy says")]
    Follow(#[source] io::Error),
    /// It ended with an error.
    #[error("trivy could not scan the image ({status}); it says above why")]
    Failed {
        /// How it ended.
        status: ExitStatus,
    },
    /// There is no room for its report or the credentials.
    #[error(
        "keep a file for trivy; this user must be able to write to the folder that TMPDIR names, and it must have room"
    )]
    Scratch(#[source] io::Error),
}

/// The report on the image; the file stands at its beginning.
pub(super) fn run(settings: &Settings, place: &Place<'_>) -> Result<File, TrivyError> {
    let arguments = arguments(settings, place);
    let login = login(place).map_err(TrivyError::Scratch)?;
    let login = login.as_ref().map(|folder| folder.path().as_os_str());
    let mut attempt = 1;
    loop {
        let mut report = tempfile::tempfile().map_err(TrivyError::Scratch)?;
        let (status, said) = run_once(&arguments, login, &report)?;
        if status.success() {
            report.rewind().map_err(TrivyError::Scratch)?;
            return Ok(report);
        }
        if attempt == ATTEMPTS || !contains(&said, NO_DATABASE) {
            return Err(TrivyError::Failed { status });
        }
        attempt += 1;
        eprintln!("trivy could not get its database, try {attempt} of {ATTEMPTS} follows");
        thread::sleep(PAUSE);
    }
}

/// What trivy is called with, in upstream's order.
fn arguments(settings: &Settings, place: &Place<'_>) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["image", "--quiet", "--disable-telemetry", "--skip-version-check", "--format", "json"]
            .map(String::from)
            .into();
    match place {
        Place::Here(path) => {
            arguments.extend(["--input".to_owned(), path.display().to_string()]);
        }
        Place::InRegistry { image, insecure, .. } => {
            arguments.push((*image).to_owned());
            arguments.extend(insecure.then(|| "--insecure".to_owned()));
        }
    }
    let wanted = settings.ignore.severity.map(|severity| match severity {
        Severity::Low => "MEDIUM,HIGH,CRITICAL",
        Severity::Medium => "HIGH,CRITICAL",
        Severity::High => "CRITICAL",
    });
    if let Some(wanted) = wanted {
        arguments.extend(["--severity".to_owned(), wanted.to_owned()]);
    }
    arguments.extend(settings.ignore.unfixed.then(|| "--ignore-unfixed".to_owned()));
    arguments
}

/// A folder with a docker configuration, for an image that not everybody may read.
fn login(place: &Place<'_>) -> io::Result<Option<TempDir>> {
    let Place::InRegistry { registry, credentials, .. } = place else { return Ok(None) };
    let Some(config) = credentials.to_docker_config(registry) else { return Ok(None) };
    let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir()?;
    let path = folder.path().join("config.json");
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(&config)?;
    Ok(Some(folder))
}

fn run_once(
    arguments: &[String],
    login: Option<&OsStr>,
    report: &File,
) -> Result<(ExitStatus, Vec<u8>), TrivyError> {
    let report = report.try_clone().map_err(TrivyError::Scratch)?;
    let mut command = Command::new(PROGRAM);
    command.args(arguments).envs(login.map(|folder| ("DOCKER_CONFIG", folder)));
    command.stdin(Stdio::null()).stdout(report).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => TrivyError::Missing,
        _ => TrivyError::Start(source),
    })?;
    let said = follow(&mut child).map_err(TrivyError::Follow)?;
    let status = child.wait().map_err(TrivyError::Follow)?;
    Ok((status, said))
}

/// Passes on what it says, and returns the end of it.
fn follow(child: &mut Child) -> io::Result<Vec<u8>> {
    let Some(mut log) = child.stderr.take() else { return Ok(Vec::new()) };
    let mut buffer = [0; 8 << 10];
    let mut end = VecDeque::new();
    loop {
        let piece = match log.read(&mut buffer) {
            Ok(0) => return Ok(end.into()),
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // A log that nobody takes any more must not end the step.
        let _ = io::stderr().write_all(piece);
        end.extend(piece);
        end.drain(..end.len().saturating_sub(REMEMBERED));
    }
}

fn contains(text: &[u8], words: &str) -> bool {
    text.windows(words.len()).any(|window| window == words.as_bytes())
}
