//! A working copy on its way to the source step, and an image on its way to the engine.
//!
//! Invariant: both are streamed; memory does not grow with them.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, ImportImageOptions, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _, TryStreamExt as _, unfold};
use slipway_step::protocol::{BIN_PATH, WAITER_LOCK_FILE};
use tokio::sync::mpsc::{Receiver, channel};

use super::engine::Engine;
use super::error::{Asked as _, LocalError, is_absent, status_code};
use super::sandbox::Sandbox;
use crate::working_copy;

/// How soon a waiter that has not begun to wait is told again.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends a directory's content into a directory of the sandbox, as files of the step's user. Returns what no archive can hold.
pub async fn source(
    engine: &Engine,
    sandbox: &Sandbox,
    target: &str,
    directory: &Path,
    owner: (Option<i64>, Option<i64>),
) -> Result<Vec<PathBuf>, LocalError> {
    let id = |id: Option<i64>| id.and_then(|id| id.try_into().ok()).unwrap_or(0);
    let (uid, gid) = (id(owner.0), id(owner.1));
    let (receiver, packing) = working_copy::stream(directory, uid, gid);
    let body = bollard::body_stream(received(receiver));
    let options = UploadToContainerOptionsBuilder::new().path(target).build();
    let sent = engine.docker.upload_to_container(&sandbox.id, Some(options), body).await;
    // What could not be read says more than that the archive broke off.
    let left_out = packing.end().await.map_err(LocalError::Source)?;
    sent.asked(|| format!("take the source {}", directory.display()))?;
    Ok(left_out)
}

/// Tells the waiter that the source is there, as soon as it waits.
pub async fn done(engine: &Engine, id: &str) -> Result<(), LocalError> {
    let lock_file = format!("--lock-file={WAITER_LOCK_FILE}");
    let words: Vec<String> =
        [BIN_PATH, "waiter", "done", &lock_file].into_iter().map(String::from).collect();
    loop {
        let config = ExecConfig {
            cmd: Some(words.clone()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let outcome = async {
            let exec = engine.docker.create_exec(id, config).await?;
            let started = engine.docker.start_exec(&exec.id, None::<StartExecOptions>).await?;
            if let StartExecResults::Attached { mut output, .. } = started {
                while output.next().await.is_some() {}
            }
            engine.docker.inspect_exec(&exec.id).await
        };
        let inspected = match outcome.await {
            // A container that has ended tells why by itself.
            Err(error) if is_absent(&error) || status_code(&error) == Some(409) => return Ok(()),
            outcome => outcome.asked(|| "tell the source step that the source is there".into())?,
        };
        if inspected.exit_code == Some(0) && inspected.running != Some(true) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Puts an image archive that a step has left into the engine.
pub async fn load(engine: &Engine, sandbox: &Sandbox, path: &str) -> Result<(), LocalError> {
    let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
    let mut download = engine.docker.download_from_container(&sandbox.id, Some(options));
    let (sender, packed) = channel(working_copy::WAITING);
    let (mut unpacked_writer, unpacked) = working_copy::pieces();
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut archive = tar::Archive::new(Received { receiver: packed, rest: Bytes::new() });
        let mut entry =
            archive.entries()?.next().ok_or_else(|| io::Error::other("the archive is empty"))??;
        io::copy(&mut entry, &mut unpacked_writer)?;
        unpacked_writer.flush()
    });
    let downloading = async {
        while let Some(piece) = download.try_next().await? {
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        drop(sender);
        Ok(())
    };
    let importing = async {
        let stream = received(unpacked).map(Ok::<_, io::Error>);
        let mut answers =
            engine.docker.import_image_stream(ImportImageOptions::default(), stream, None);
        while answers.try_next().await?.is_some() {}
        Ok(())
    };
    let (downloaded, imported) = futures_util::join!(downloading, importing);
    let failed = |source| LocalError::Archive { what: "the image".into(), source };
    let unpacked = unpacking.await.map_err(io::Error::other).map_err(failed)?;
    downloaded.asked(|| "read the image from its volume".into())?;
    unpacked.map_err(failed)?;
    imported.asked(|| "load the image".into())
}

/// Reads from a channel.
struct Received {
    receiver: Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.receiver.blocking_recv().unwrap_or_default();
        }
        let size = buffer.len().min(self.rest.len());
        buffer[..size].copy_from_slice(&self.rest.split_to(size));
        Ok(size)
    }
}

fn received(receiver: Receiver<Bytes>) -> impl Stream<Item = Bytes> + Send + 'static {
    unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
}
