//! A working copy in pieces, as fast as somebody takes them.
//!
//! Invariant: memory does not grow with the working copy.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::{SourceError, pack};

/// Pieces that may wait for the other end.
pub const WAITING: usize = 16;
/// Bytes of a piece.
const PIECE: usize = 64 << 10;

/// The packing that goes on.
#[derive(Debug)]
pub struct Packing(JoinHandle<Result<Vec<PathBuf>, SourceError>>);

impl Packing {
    /// Its end: what no archive holds, or why there is none.
    pub async fn end(self) -> Result<Vec<PathBuf>, SourceError> {
        self.0.await.unwrap_or_else(|error| Err(SourceError::Write(error.into())))
    }
}

/// Packs a working copy on a thread of its own, as [`pack`] does.
pub fn stream(directory: &Path, uid: u32, gid: u32) -> (Receiver<Bytes>, Packing) {
    let (mut writer, receiver) = pieces();
    let directory = directory.to_owned();
    let packing = tokio::task::spawn_blocking(move || {
        let left_out = pack(&directory, uid, gid, &mut writer)?;
        writer.flush().map_err(SourceError::Write)?;
        Ok(left_out)
    });
    (receiver, Packing(packing))
}

/// What is written on a thread that may wait comes out in pieces. Writing fails once nobody takes them any more.
pub fn pieces() -> (io::BufWriter<Pieces>, Receiver<Bytes>) {
    let (sender, receiver) = channel(WAITING);
    (io::BufWriter::with_capacity(PIECE, Pieces { sender }), receiver)
}

/// The end of a channel as a writer.
#[derive(Debug)]
pub struct Pieces {
    sender: Sender<Bytes>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.sender.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
