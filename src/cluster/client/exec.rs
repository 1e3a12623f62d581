//! Programs that are run beside a step, in its container.
//!
//! Invariant: of what a program says only the beginning is kept.

use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc::Receiver;

use super::{Cluster, ClusterError};

/// Bytes on their way to the connection.
const BUFFER: usize = 64 << 10;
/// So long what a program said last may be on its way once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// As much of standard error is kept.
const MOST_WORDS: usize = 4 << 10;
const EXIT_CODE: &str = "ExitCode";

/// A container of a pod.
#[derive(Debug, Clone, Copy)]
pub struct In<'a> {
    pub pod: &'a str,
    pub container: &'a str,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Nothing where it could not be started.
    pub code: Option<i32>,
    /// What it said on standard error, or what the node says of it.
    pub words: String,
}

impl Cluster {
    /// Runs a program to its end; `told` hears how many bytes of its input were sent.
    pub(super) async fn exec(
        &self,
        at: In<'_>,
        words: &[&str],
        input: Option<Receiver<Bytes>>,
        mut told: impl FnMut(usize),
    ) -> Result<Outcome, ClusterError> {
        let program = words.first().copied().unwrap_or_default();
        let what = || format!("run {program} in {} of pod {}", at.container, at.pod);
        let parameters = AttachParams {
            container: Some(at.container.to_owned()),
            stdin: input.is_some(),
            stdout: true,
            stderr: true,
            max_stdin_buf_size: Some(BUFFER),
            ..AttachParams::default()
        };
        let api: Api<Pod> = Api::namespaced(self.unhurried.clone(), &self.namespace);
        let attached = api.exec(at.pod, words.iter().copied(), &parameters).await;
        let mut attached = attached.map_err(|error| self.asked(what(), error))?;
        let status = attached.take_status();
        let (stdin, stdout, stderr) = (attached.stdin(), attached.stdout(), attached.stderr());
        let (mut said, mut printed, mut sent) = (Vec::new(), Vec::new(), Ok(()));
        let ended = {
            let status = async move {
                match status {
                    Some(status) => status.await,
                    None => None,
                }
            };
            let talk = async {
                let pass_on = async { sent = send(stdin, input, &mut told).await };
                futures_util::join!(keep(stderr, &mut said), keep(stdout, &mut printed), pass_on);
            };
            tokio::pin!(talk, status);
            // A program that has ended reads no more, and a connection that broke ends none of its streams.
            tokio::select! {
                ended = &mut status => {
                    drop(tokio::time::timeout(LAST_WORDS, &mut talk).await);
                    ended
                }
                () = &mut talk => status.await,
            }
        };
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        // How the program ended says more than that it took no more.
        match (ended, sent) {
            (Some(status), _) => Ok(outcome(&status, said)),
            (None, Err(source)) => Err(ClusterError::Broken { what: what(), source }),
            (None, Ok(())) => {
                let source = std::io::ErrorKind::UnexpectedEof.into();
                Err(ClusterError::Broken { what: what(), source })
            }
        }
    }
}

async fn send(
    stdin: Option<impl AsyncWrite + Unpin>,
    input: Option<Receiver<Bytes>>,
    told: &mut impl FnMut(usize),
) -> std::io::Result<()> {
    let (Some(mut stdin), Some(mut input)) = (stdin, input) else { return Ok(()) };
    while let Some(piece) = input.recv().await {
        stdin.write_all(&piece).await?;
        told(piece.len());
    }
    stdin.shutdown().await
}

/// Reads to the end and keeps the beginning.
async fn keep(source: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut source) = source else { return };
    let mut buffer = vec![0; MOST_WORDS];
    while let Ok(count @ 1..) = source.read(&mut buffer).await {
        let room = MOST_WORDS.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
}

fn outcome(status: &Status, said: String) -> Outcome {
    let is_success = status.status.as_deref() == Some("Success");
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = causes.into_iter().find(|cause| cause.reason.as_deref() == Some(EXIT_CODE));
    let code = code.and_then(|cause| cause.message.as_deref()?.parse().ok());
    let words = if said.is_empty() { status.message.clone().unwrap_or_default() } else { said };
    Outcome { code: if is_success { Some(0) } else { code }, words }
}
