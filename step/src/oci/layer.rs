//! Unpacks layers and checks them, and packs changed ones as they were packed.
//!
//! Invariant: a layer that was read to its end has the digest by which its manifest names it and the one by which its config does.
//! Invariant: what a layer unpacks to is never held, and neither it nor a compressor's window may grow without limit.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression as Level;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::OciError;
use super::blob::{Blob, Content, Hashing, Part, written};

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// What zstd's own program unpacks without being asked to, and what its highest level needs; as a power of two, 128 MiB.
const LARGEST_WINDOW: u32 = 27;
/// What the library says of a larger one.
const TOO_LARGE_A_WINDOW: &str = "Frame requires too much memory for decoding";
/// No image has such a layer; a few megabytes can unpack to it.
const LARGEST_LAYER: u64 = 256 << 30;
const BUFFER: usize = 128 << 10;

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As most builders do it.
    Gzip,
    /// Smaller and faster, where somebody asked for it.
    Zstd,
}

impl Compression {
    /// What the media type of a layer says; nothing for what is no tar archive, or may not be passed on.
    pub fn of(media_type: &str) -> Result<Option<Self>, OciError> {
        let suffix = [OCI_LAYER, DOCKER_LAYER].iter().find_map(|tar| media_type.strip_prefix(tar));
        match suffix {
            None => Ok(None),
            Some("") => Ok(Some(Self::None)),
            Some("+gzip" | ".gzip") => Ok(Some(Self::Gzip)),
            Some("+zstd" | ".zstd") => Ok(Some(Self::Zstd)),
            Some(_) => Err(OciError::Packed { media_type: media_type.to_owned() }),
        }
    }
}

impl Compression {
    /// What the first bytes of a layer say, whatever its media type.
    pub fn of_bytes(start: &[u8]) -> Self {
        const GZIP: [u8; 2] = [0x1f, 0x8b];
        const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
        match start {
            start if start.starts_with(&GZIP) => Self::Gzip,
            start if start.starts_with(&ZSTD) => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// A layer and what it must be.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Its bytes.
    pub blob: &'a Blob,
    /// How they are packed.
    pub compression: Compression,
    /// The digest of what they unpack to, where the image has a config that says so.
    pub diff_id: Option<&'a str>,
}

impl Layer<'_> {
    /// Lets somebody read the unpacked layer. Who reads it to its end (and says so by `true`) can be sure of its digests.
    pub fn read<E: From<OciError>>(
        &self,
        reader: impl FnOnce(&mut dyn Read) -> Result<bool, E>,
    ) -> Result<(), E> {
        let what = format!("layer {}", self.blob.digest);
        let read = |source| OciError::ReadBlob { what: what.clone(), source };
        // What is packed only on its way out has its digest from the content that is read here.
        let is_plain =
            self.compression == Compression::None || matches!(self.blob.content, Content::Gzip(_));
        let content = match &self.blob.content {
            Content::Gzip(part) => Box::new(part.open().map_err(read)?),
            content => content.open().map_err(read)?,
        };
        let mut packed = Hashing::new(content);
        let buffered = BufReader::with_capacity(BUFFER, &mut packed);
        let unpacked: Box<dyn Read + '_> = match self.compression {
            _ if is_plain => Box::new(buffered),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(buffered).map_err(read)?;
                decoder.window_log_max(LARGEST_WINDOW).map_err(read)?;
                Box::new(Explained(decoder))
            }
            Compression::Gzip | Compression::None => Box::new(MultiGzDecoder::new(buffered)),
        };
        let mut unpacked = Hashing::new(Limited { content: unpacked, left: LARGEST_LAYER });
        if !reader(&mut unpacked)? {
            return Ok(());
        }
        let check = |what: &str, expected: &str, found: String| {
            let (what, expected) = (what.to_owned(), expected.to_owned());
            if found == expected {
                Ok(())
            } else {
                Err(E::from(OciError::WrongDigest { what, expected, found }))
            }
        };
        let (diff_id, _) = unpacked.finish().map_err(read)?;
        if !matches!(self.blob.content, Content::Gzip(_)) {
            check(&what, &self.blob.digest, packed.finish().map_err(read)?.0)?;
        }
        match self.diff_id {
            Some(expected) => check(&format!("what {what} unpacks to"), expected, diff_id),
            None => Ok(()),
        }
    }
}

/// Says what to do about a window that is too large.
struct Explained<R>(R);

impl<R: Read> Read for Explained<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            if error.to_string() != TOO_LARGE_A_WINDOW {
                return error;
            }
            let text = "its zstd window is larger than 128 MiB; pack the layer without zstd's --long, or push the image without output.timestamp";
            io::Error::new(io::ErrorKind::Unsupported, text)
        })
    }
}

/// Fails where there is more than expected.
struct Limited<R> {
    content: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "it unpacks to more than 256 GiB")
        })?;
        Ok(count)
    }
}

/// A layer that is being written to a file.
pub struct Packing {
    path: PathBuf,
    unpacked: Sha256,
    packer: Packer,
}

enum Packer {
    Plain(HashingFile),
    Gzip(GzEncoder<HashingFile>),
    Zstd(zstd::Encoder<'static, HashingFile>),
}

impl std::fmt::Debug for Packing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Packing").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Packing {
    /// Begins a file.
    pub fn new(path: &Path, compression: Compression) -> io::Result<Self> {
        let file = HashingFile { file: File::create_new(path)?, hash: Sha256::new(), length: 0 };
        let packer = match compression {
            Compression::None => Packer::Plain(file),
            Compression::Gzip => Packer::Gzip(GzEncoder::new(file, Level::fast())),
            Compression::Zstd => {
                Packer::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?)
            }
        };
        Ok(Self { path: path.to_owned(), unpacked: Sha256::new(), packer })
    }

    /// Adds unpacked bytes. What comes out may depend on how they are cut.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unpacked.update(bytes);
        match &mut self.packer {
            Packer::Plain(file) => file.write_all(bytes),
            Packer::Gzip(encoder) => encoder.write_all(bytes),
            Packer::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    /// The layer, and the digest of what it unpacks to.
    pub fn finish(self) -> io::Result<(Blob, String)> {
        let file = match self.packer {
            Packer::Plain(file) => file,
            Packer::Gzip(encoder) => encoder.finish()?,
            Packer::Zstd(encoder) => encoder.finish()?,
        };
        let size = file.length;
        let blob = Blob {
            digest: written(&file.hash.finalize()),
            size,
            content: Content::Part(Part { path: self.path, offset: 0, length: size }),
        };
        Ok((blob, written(&self.unpacked.finalize())))
    }
}

struct HashingFile {
    file: File,
    hash: Sha256,
    length: u64,
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
