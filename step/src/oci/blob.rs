//! A config or layer: what it is called, how long it is, and where its bytes come from.
//!
//! Invariant: digest and size are known before the first byte is sent, so that a registry that has it is never sent it again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::OciError;

/// Content that a manifest names by digest.
#[derive(Debug, Clone)]
pub struct Blob {
    /// `sha256:…` of the bytes as they are pushed.
    pub digest: String,
    /// Bytes as they are pushed.
    pub size: u64,
    /// Where they are.
    pub content: Content,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub enum Content {
    /// In a file, or in a part of one.
    Part(Part),
    /// In a part of a file that is compressed on its way out.
    Gzip(Part),
    /// Here; only for what is small, such as a changed config.
    Bytes(Vec<u8>),
    /// In the repository already.
    Remote,
}

/// A stretch of a file.
#[derive(Debug, Clone)]
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

impl Blob {
    /// Reads the bytes and compares their digest.
    pub(super) fn verify(&self) -> Result<(), OciError> {
        let what = format!("blob {}", self.digest);
        let found = self.content.open().and_then(|content| Hashing::new(content).finish());
        match found {
            Ok((found, _)) if found == self.digest => Ok(()),
            Ok((found, _)) => {
                Err(OciError::WrongDigest { what, expected: self.digest.clone(), found })
            }
            Err(source) => Err(OciError::ReadBlob { what, source }),
        }
    }
}

/// Opens a file that ends: waits for nobody at a pipe and reads no device.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}

impl Part {
    /// Its bytes from the beginning.
    pub fn open(&self) -> io::Result<io::Take<File>> {
        let mut file = open_regular(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.length))
    }
}

impl Content {
    /// The bytes as they are pushed, from the beginning; nothing for what is in the repository already.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Part(part) => Box::new(part.open()?),
            Self::Gzip(part) => Box::new(Compress::new(part.open()?)),
            Self::Bytes(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            Self::Remote => Box::new(io::empty()),
        })
    }
}

/// Compresses what it reads.
///
/// Invariant: equal content gives equal bytes, however they are read. Encoders may emit other bytes for other sizes of their
/// buffers, so this one is fed in pieces of one size and its output is buffered here.
pub(super) struct Compress<R> {
    content: R,
    piece: Vec<u8>,
    /// Gone after the end of the content.
    encoder: Option<GzEncoder<Vec<u8>>>,
    output: io::Cursor<Vec<u8>>,
}

const PIECE: usize = 64 << 10;

impl<R: Read> Compress<R> {
    pub(super) fn new(content: R) -> Self {
        Self {
            content,
            piece: Vec::with_capacity(PIECE),
            encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())),
            output: io::Cursor::default(),
        }
    }

    fn compress_piece(&mut self, mut encoder: GzEncoder<Vec<u8>>) -> io::Result<()> {
        self.piece.clear();
        self.content.by_ref().take(PIECE as u64).read_to_end(&mut self.piece)?;
        let output = if self.piece.is_empty() {
            encoder.finish()?
        } else {
            encoder.write_all(&self.piece)?;
            let output = std::mem::take(encoder.get_mut());
            self.encoder = Some(encoder);
            output
        };
        self.output = io::Cursor::new(output);
        Ok(())
    }
}

impl<R: Read> Read for Compress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.output.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.encoder.take() {
                Some(encoder) => self.compress_piece(encoder)?,
                None => return Ok(0),
            }
        }
    }
}

/// The digest of something small.
pub fn digest_of(bytes: &[u8]) -> String {
    written(&Sha256::digest(bytes))
}

pub(super) fn written(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |digest, byte| format!("{digest}{byte:02x}"))
}

/// Reads through to what is below and remembers digest and length.
pub(super) struct Hashing<R> {
    content: R,
    hash: Sha256,
    length: u64,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(content: R) -> Self {
        Self { content, hash: Sha256::new(), length: 0 }
    }

    /// What is read.
    pub(super) fn below(&self) -> &R {
        &self.content
    }

    /// Digest and length of everything, after reading what is left.
    pub(super) fn finish(mut self) -> io::Result<(String, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((written(&self.hash.finalize()), self.length))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_does_not_depend_on_how_it_is_read() {
        let mut content: Vec<u8> = (0..500_000_u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        // A part that does not compress is where encoders look at the room that they have.
        content.extend((0..300_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]));
        let mut whole = Vec::new();
        Compress::new(&content[..]).read_to_end(&mut whole).unwrap();
        for size in [1000, 8192, 131_072] {
            let mut reader = Compress::new(&content[..]);
            let mut pieces = Vec::new();
            while (&mut reader).take(size).read_to_end(&mut pieces).unwrap() > 0 {}
            assert!(pieces == whole, "read in pieces of {size}");
        }
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&whole[..]).read_to_end(&mut plain).unwrap();
        assert!(plain == content);
    }
}
