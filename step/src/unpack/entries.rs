//! Reads a tar archive entry by entry.
//!
//! Invariant: memory does not grow with the archive or anything in it: names and extended headers are limited.
//! Invariant: what the archive says is passed on and not judged here, but for what cannot be read at all.
//!
//! The library reads headers; framing is done here, because the library holds a long name of any length in memory, and reads
//! neither sizes beyond 8 GiB nor says which entries are sparse.

use std::io::{self, Read};

use tar::Header;

use super::UnpackError;

const BLOCK: u64 = 512;
/// Go reads no longer ones either.
const LONGEST_EXTENSION: u64 = 1 << 20;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    SymbolicLink,
    HardLink,
    /// A file with holes that the archive only describes.
    Sparse,
    /// Something that no source holds, in words.
    Other(&'static str),
}

/// One entry of an archive, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// As it stands in the archive.
    pub(super) name: Vec<u8>,
    /// What a link points to.
    pub(super) target: Vec<u8>,
    /// All bits that the archive gives.
    pub(super) mode: u32,
    /// In seconds since 1970.
    pub(super) modified: i64,
}

/// An archive that is being read. Reading from it reads the content of the entry that came last.
pub(super) struct Entries<R> {
    content: R,
    at: u64,
    /// Bytes of the entry that were not read yet.
    left: u64,
    padding: u64,
}

/// What extended headers say about the entry after them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<i64>,
    is_sparse: bool,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(content: R) -> Self {
        Self { content, at: 0, left: 0, padding: 0 }
    }

    /// The next entry; what was not read of the one before is skipped. Nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        self.skip()?;
        let mut extension = Extension::default();
        loop {
            let start = self.at;
            let corrupt = |problem| UnpackError::Corrupt { at: start, problem };
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.as_bytes()[156];
            let size = header.entry_size().map_err(|_| corrupt("a size is no number"))?;
            match kind {
                b'L' | b'K' => {
                    let mut text = self.extension(size)?;
                    // Its end is marked as in C.
                    text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
                    let place =
                        if kind == b'L' { &mut extension.name } else { &mut extension.target };
                    *place = Some(text);
                }
                b'x' => {
                    let records = self.extension(size)?;
                    extension
                        .read(&records)
                        .ok_or_else(|| corrupt("the records of an extended header are wrong"))?;
                }
                // Says something about all that follow, such as the commit; nothing that a source needs.
                b'g' => drop(self.extension(size)?),
                _ => return self.begin(&header, size, extension).map(Some),
            }
        }
    }

    fn begin(
        &mut self,
        header: &Header,
        size: u64,
        extension: Extension,
    ) -> Result<Entry, UnpackError> {
        let corrupt = |problem| UnpackError::Corrupt { at: self.at, problem };
        let name = extension.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let target = extension
            .target
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        let kind = match header.as_bytes()[156] {
            _ if extension.is_sparse => Kind::Sparse,
            // Older writers had no folders.
            b'0' | 0 | b'7' if name.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::SymbolicLink,
            b'3' => Kind::Other("a character device"),
            b'4' => Kind::Other("a block device"),
            b'5' => Kind::Directory,
            b'6' => Kind::Other("a named pipe"),
            b'S' => Kind::Sparse,
            _ => Kind::Other("an entry of a kind that is not known"),
        };
        // Links, devices, folders and pipes have no content, whatever their size says.
        let has_content = !matches!(header.as_bytes()[156], b'1'..=b'6');
        self.left = if has_content { extension.size.unwrap_or(size) } else { 0 };
        self.padding = self.left.next_multiple_of(BLOCK) - self.left;
        Ok(Entry {
            kind,
            name,
            target,
            mode: header.mode().map_err(|_| corrupt("a mode is no number"))?,
            modified: match extension.modified {
                Some(modified) => modified,
                None => header
                    .mtime()
                    .ok()
                    .and_then(|seconds| i64::try_from(seconds).ok())
                    .ok_or_else(|| corrupt("a time is no number"))?,
            },
        })
    }

    /// The next header; nothing where the archive ends, be it by its mark or without one.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut block = Vec::with_capacity(512);
        let count = self.content.by_ref().take(BLOCK).read_to_end(&mut block)?;
        if block == [0; 512] {
            // The mark has two blocks; what else stands behind one would be left out.
            block.clear();
            self.content.by_ref().take(BLOCK).read_to_end(&mut block)?;
            if block.iter().any(|byte| *byte != 0) {
                let problem = "a block of zeros stands before further entries";
                return Err(UnpackError::Corrupt { at: self.at, problem });
            }
            return Ok(None);
        }
        let corrupt = |problem| UnpackError::Corrupt { at: self.at, problem };
        if count == 0 {
            return Ok(None);
        }
        if (count as u64) < BLOCK {
            return Err(corrupt("it ends in the middle of a header"));
        }
        let header = Header::from_byte_slice(&block);
        let sum = |value: fn(u8) -> i64| {
            let counted = |index| if CHECKSUM.contains(&index) { b' ' } else { block[index] };
            (0..block.len()).map(|index| value(counted(index))).sum::<i64>()
        };
        let expected = header.cksum().map_or(-1, i64::from);
        // Old writers took bytes for numbers with a sign.
        if expected != sum(i64::from) && expected != sum(|byte| byte.cast_signed().into()) {
            return Err(corrupt("it is no tar archive, or a header of it is broken"));
        }
        self.at += BLOCK;
        Ok(Some(header.clone()))
    }

    /// The content of an extended header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > LONGEST_EXTENSION {
            let problem = "an extended header or a long name has more than 1 MiB";
            return Err(UnpackError::Corrupt { at: self.at, problem });
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        self.skip()?;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), UnpackError> {
        let rest = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut self.content.by_ref().take(rest), &mut io::sink())?;
        self.at += skipped;
        (self.left, self.padding) = (0, 0);
        if skipped < rest {
            let problem = "it ends in the middle of an entry";
            return Err(UnpackError::Corrupt { at: self.at, problem });
        }
        Ok(())
    }

    /// What stands behind the archive's end.
    pub(super) fn into_rest(self) -> R {
        self.content
    }
}

impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.by_ref().take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            let text = "it ends in the middle of an entry";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.left -= count as u64;
        self.at += count as u64;
        Ok(count)
    }
}

impl Extension {
    /// Reads `LENGTH KEY=VALUE\n` again and again.
    fn read(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ')?;
            let length: usize = text(&bytes[..space])?.parse().ok()?;
            let (record, rest) = bytes.split_at_checked(length)?;
            let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.size = Some(text(value)?.parse().ok()?),
                b"mtime" => self.modified = Some(whole_seconds(text(value)?)?),
                _ if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
                _ => {}
            }
            bytes = rest;
        }
        Some(())
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The second in which a time with a fraction lies.
fn whole_seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let is_before = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    Some(if is_before { seconds.checked_sub(1)? } else { seconds })
}
