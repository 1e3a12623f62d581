//! Gives every entry of a tar archive one time while it streams by.
//!
//! Invariant: only times change: names, modes, order, padding and what we do not know stay byte for byte.
//! Invariant: equal archives but for their times give equal archives, in pieces that do not depend on how they are read.
//! Invariant: memory does not grow with the archive; what must be held at once, the extended headers, is limited.
//!
//! Archives are not unpacked and packed again, because no library keeps all that another one wrote. Times are in four places: the
//! entry's own header, the access and change times that GNU and star add to it, and the records of POSIX extended headers. Those
//! records are dropped, since writers only make them for some times, such as those with a fraction of a second.

use std::io::{self, Read};
use std::ops::Range;

const BLOCK: usize = 512;
const PIECE: usize = 64 << 10;
/// Extended headers are held in memory; Go reads no longer ones either.
const LONGEST_EXTENSION: u64 = 1 << 20;

const SIZE: Range<usize> = 124..136;
const MODIFIED: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const KIND: usize = 156;
/// GNU's headers for what is too long for the next one; they are no entries.
const LONG_NAME: u8 = b'L';
const LONG_TARGET: u8 = b'K';
const MAGIC: Range<usize> = 257..265;
const GNU_TIMES: [Range<usize>; 2] = [345..357, 357..369];
const GNU_SPARSE_CONTINUES: usize = 482;
const STAR_TIMES: [Range<usize>; 2] = [476..488, 488..500];
const STAR_TRAILER: Range<usize> = 508..512;
/// In a block that continues the map of a sparse file.
const SPARSE_CONTINUES: usize = 504;

const TIME_RECORDS: [&[u8]; 4] = [b"mtime", b"atime", b"ctime", b"LIBARCHIVE.creationtime"];

/// Why an archive cannot be given another time.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// Its bytes cannot be read or unpacked.
    #[error("it cannot be unpacked")]
    Read(#[from] io::Error),
    /// It is no tar archive, or a broken one.
    #[error("its tar is corrupt at byte {at}: {problem}")]
    Corrupt {
        /// Where, in the unpacked layer.
        at: u64,
        /// What is wrong there.
        problem: &'static str,
    },
}

/// An archive with all times changed.
pub(super) struct Retimed<R> {
    content: R,
    seconds: i64,
    /// Where the next piece begins in the archive as it was.
    at: u64,
    next: Next,
    /// What an extended header said about the entry after it.
    size: Option<u64>,
    piece: Vec<u8>,
}

/// What comes next in the archive.
enum Next {
    Header,
    /// A block that may be followed by another one of its kind, and then bytes.
    SparseMap(u64),
    Bytes(u64),
    /// What stands behind the end.
    Rest,
}

/// Some bytes of the archive.
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether they are others than before.
    pub(super) is_changed: bool,
}

impl<R: Read> Retimed<R> {
    pub(super) fn new(content: R, seconds: i64) -> Self {
        let piece = Vec::with_capacity(PIECE);
        Self { content, seconds, at: 0, next: Next::Header, size: None, piece }
    }

    /// The next bytes; nothing at the end of the content.
    pub(super) fn next(&mut self) -> Result<Option<Piece<'_>>, TarError> {
        let start = self.at;
        let is_changed = match self.next {
            Next::Header => self.header(start)?,
            Next::SparseMap(size) => {
                self.take(BLOCK as u64)?;
                let continues = self.piece.get(SPARSE_CONTINUES).is_some_and(|byte| *byte != 0);
                self.next = if continues { Next::SparseMap(size) } else { bytes(size) };
                false
            }
            Next::Bytes(left) => {
                let count = left.min(PIECE as u64);
                self.take(count)?;
                self.next = bytes(left - count);
                false
            }
            Next::Rest => {
                self.read(PIECE as u64)?;
                false
            }
        };
        // A header that is left out is a change without bytes.
        if self.piece.is_empty() && !is_changed {
            return Ok(None);
        }
        Ok(Some(Piece { bytes: &self.piece, is_changed }))
    }

    fn header(&mut self, start: u64) -> Result<bool, TarError> {
        let corrupt = |problem| TarError::Corrupt { at: start, problem };
        self.read(BLOCK as u64)?;
        if self.piece.is_empty() {
            return Ok(false);
        }
        let mut header: [u8; BLOCK] =
            (*self.piece).try_into().map_err(|_| corrupt("it ends in the middle of a header"))?;
        if header == [0; BLOCK] {
            self.next = Next::Rest;
            return Ok(false);
        }
        if !is_signed(&header) {
            return Err(corrupt("the checksum of a header is wrong"));
        }
        let kind = header[KIND];
        let is_changed = set_times(&mut header, self.seconds)
            .ok_or_else(|| corrupt("a time of an entry is no number"))?;
        let size = number(&header[SIZE])
            .and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| corrupt("the size of an entry is no number"))?;
        if matches!(kind, b'x' | b'g') {
            if size > LONGEST_EXTENSION {
                return Err(corrupt("an extended header has more than 1 MiB"));
            }
            return Ok(self.extension(&mut header, size, &corrupt)? || is_changed);
        }
        let is_name = matches!(kind, LONG_NAME | LONG_TARGET);
        let recorded = if is_name { None } else { self.size.take() };
        let size = match kind {
            // Links, devices, folders and pipes have no content, whatever their size says.
            b'1'..=b'6' => 0,
            _ => recorded.unwrap_or(size),
        };
        let padded = size
            .checked_next_multiple_of(BLOCK as u64)
            .ok_or_else(|| corrupt("an entry is too large"))?;
        let has_map = kind == b'S' && header[GNU_SPARSE_CONTINUES] != 0;
        self.next = if has_map { Next::SparseMap(padded) } else { bytes(padded) };
        self.piece.copy_from_slice(&header);
        Ok(is_changed)
    }

    /// Reads the records behind an extended header and puts the header before them, if any but times are there.
    fn extension(
        &mut self,
        header: &mut [u8; BLOCK],
        size: u64,
        corrupt: &impl Fn(&'static str) -> TarError,
    ) -> Result<bool, TarError> {
        self.take(size.next_multiple_of(BLOCK as u64))?;
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let records = self
            .piece
            .get(..length)
            .and_then(Records::read)
            .ok_or_else(|| corrupt("the records of an extended header are wrong"))?;
        if header[KIND] == b'x' {
            self.size = records.size;
        }
        if records.is_changed && records.bytes.is_empty() {
            self.piece.clear();
            return Ok(true);
        }
        if records.is_changed {
            let length = i64::try_from(records.bytes.len()).unwrap_or(i64::MAX);
            header[SIZE].copy_from_slice(&field(length));
            sign(header);
            self.piece = records.bytes;
            self.piece.resize(self.piece.len().next_multiple_of(BLOCK), 0);
        }
        self.piece.splice(..0, *header);
        Ok(records.is_changed)
    }

    /// As many bytes as there are, up to a number.
    fn read(&mut self, count: u64) -> io::Result<()> {
        self.piece.clear();
        self.content.by_ref().take(count).read_to_end(&mut self.piece)?;
        self.at += self.piece.len() as u64;
        Ok(())
    }

    fn take(&mut self, count: u64) -> Result<(), TarError> {
        self.read(count)?;
        if (self.piece.len() as u64) < count {
            let problem = "it ends in the middle of an entry";
            return Err(TarError::Corrupt { at: self.at, problem });
        }
        Ok(())
    }
}

fn bytes(left: u64) -> Next {
    if left == 0 { Next::Header } else { Next::Bytes(left) }
}

/// What an extended header says.
struct Records {
    bytes: Vec<u8>,
    is_changed: bool,
    /// The size of the entry that follows.
    size: Option<u64>,
}

impl Records {
    /// Reads `LENGTH KEY=VALUE\n` again and again and leaves the times out.
    fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut records = Self { bytes: Vec::new(), is_changed: false, size: None };
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
            let (record, rest) = bytes.split_at_checked(length)?;
            let text = record.get(space + 1..)?.strip_suffix(b"\n")?;
            let equals = text.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&text[..equals], &text[equals + 1..]);
            if TIME_RECORDS.contains(&key) {
                records.is_changed = true;
            } else {
                records.bytes.extend(record);
            }
            if key == b"size" {
                records.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?);
            }
            bytes = rest;
        }
        Some(records)
    }
}

/// Sets the times of a header; whether one was another, or nothing where one cannot be read.
fn set_times(header: &mut [u8; BLOCK], seconds: i64) -> Option<bool> {
    let is_entry = !matches!(header[KIND], b'x' | b'g' | LONG_NAME | LONG_TARGET);
    let more: &[Range<usize>] = match &header[MAGIC] {
        b"ustar  \0" => &GNU_TIMES,
        b"ustar\x0000" if header[STAR_TRAILER] == *b"tar\0" => &STAR_TIMES,
        _ => &[],
    };
    let mut is_changed = false;
    for place in std::iter::once(&MODIFIED).chain(more) {
        let found = number(&header[place.clone()])?;
        // Many writers leave it out where it says nothing: in headers of names and records, and in the times that GNU adds.
        let may_be_none = !is_entry || place != &MODIFIED;
        if found != seconds && !(may_be_none && found == 0) {
            header[place.clone()].copy_from_slice(&field(seconds));
            is_changed = true;
        }
    }
    if is_changed {
        sign(header);
    }
    Some(is_changed)
}

/// A number in octal digits or, with the first bit set, in binary; nothing is 0.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        // The second bit is the sign.
        let sign = if field[0] & 0x40 == 0 { 0 } else { -1_i64 };
        let first = (sign << 7) | i64::from(field[0] & 0x7f);
        return field[1..]
            .iter()
            .try_fold(first, |number, byte| Some(number.checked_mul(256)? | i64::from(*byte)));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    // Some writers leave what was there before behind the end of the text.
    let text = text.split('\0').next().unwrap_or_default().trim_end();
    if text.is_empty() { Some(0) } else { i64::from_str_radix(text, 8).ok() }
}

/// Twelve bytes that say a number, in octal digits where these are enough.
fn field(number: i64) -> [u8; 12] {
    let mut field = [if number < 0 { 0xff } else { 0 }; 12];
    if (0..1 << 33).contains(&number) {
        field.copy_from_slice(format!("{number:011o}\0").as_bytes());
    } else {
        field[4..].copy_from_slice(&number.to_be_bytes());
        field[0] |= 0x80;
    }
    field
}

/// The sum of all bytes, with blanks for the sum itself.
fn checksum(header: &[u8; BLOCK], value: fn(u8) -> i64) -> i64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| value(*byte)).sum::<i64>();
    sum(header) - sum(&header[CHECKSUM]) + 8 * value(b' ')
}

/// Whether the checksum is right; old writers took bytes for numbers with a sign.
fn is_signed(header: &[u8; BLOCK]) -> bool {
    let found = number(&header[CHECKSUM]);
    found == Some(checksum(header, i64::from))
        || found == Some(checksum(header, |byte| i64::from(byte.cast_signed())))
}

fn sign(header: &mut [u8; BLOCK]) {
    let text = format!("{:06o}\0 ", checksum(header, i64::from));
    header[CHECKSUM].copy_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use rstest::rstest;

    use super::*;

    const TIME: i64 = 1_700_000_000;

    /// The archive with other times, and whether it is another one.
    fn retime(archive: &[u8], seconds: i64) -> Result<(Vec<u8>, bool), TarError> {
        let mut retimed = Retimed::new(archive, seconds);
        let (mut bytes, mut is_changed) = (Vec::new(), false);
        while let Some(piece) = retimed.next()? {
            bytes.extend_from_slice(piece.bytes);
            is_changed |= piece.is_changed;
        }
        Ok((bytes, is_changed))
    }

    /// What GNU tar makes of a folder with everything that a layer may hold.
    fn made_by_tar(format: &[&str]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "cd {} && mkdir d && echo hello >d/file && ln d/file d/hard && ln -s file d/soft && mkfifo d/pipe \
             && truncate -s 3M d/sparse && echo x >>d/sparse && head -c 100000 /dev/zero >d/bytes && touch d/empty \
             && long=$(printf %0150d 7) && echo long >d/$long && ln -s $long$long d/link",
            dir.path().display()
        );
        assert!(Command::new("sh").args(["-ec", &script]).status().unwrap().success());
        let made = Command::new("tar")
            .args(["--create", "--sort=name", "--directory"])
            .arg(dir.path())
            .args(format)
            .arg("d")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        made.stdout
    }

    fn listed(archive: &[u8], with_times: bool) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), archive).unwrap();
        let listed = Command::new("tar")
            .args(["--list", "--verbose", "--full-time", "--utc", "--numeric-owner", "--file"])
            .arg(file.path())
            .output()
            .unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let text = String::from_utf8(listed.stdout).unwrap();
        let line = |line: &str| {
            let mut words: Vec<_> = line.split_whitespace().collect();
            if !with_times {
                words.drain(3..5);
            }
            words.join(" ") + "\n"
        };
        text.lines().map(line).collect()
    }

    #[rstest]
    #[case::gnu(&["--format=gnu", "--sparse"])]
    #[case::gnu_with_more_times(&["--format=gnu", "--incremental"])]
    #[case::posix(&["--format=posix"])]
    #[case::posix_global(&["--format=posix", "--pax-option=globexthdr.name=g,comment=x,mtime=1234567890.5"])]
    #[case::posix_sparse(&["--format=posix", "--sparse"])]
    #[case::posix_sparse_of_old(&["--format=posix", "--sparse", "--sparse-version=0.1"])]
    fn only_times_change(#[case] format: &[&str]) {
        let archive = made_by_tar(format);
        let (first, is_changed) = retime(&archive, TIME).unwrap();
        assert!(is_changed);
        assert_eq!(listed(&first, false), listed(&archive, false));
        let times = listed(&first, true);
        assert_eq!(times.lines().count(), 10, "{times}");
        assert!(times.lines().all(|line| line.contains(" 2023-11-14 22:13:20 ")), "{times}");
        // Once more with the same time, and with another one and back.
        let (again, is_changed) = retime(&first, TIME).unwrap();
        assert!(!is_changed && again == first);
        let (other, is_changed) = retime(&first, TIME + 1).unwrap();
        assert!(is_changed && retime(&other, TIME).unwrap().0 == first);
    }

    #[test]
    fn no_time_of_the_first_build_is_left() {
        let whole_in_header = &["--format=posix", "--pax-option=delete=atime,delete=ctime"];
        for format in [&["--format=posix"][..], whole_in_header, &["--format=gnu", "--incremental"]]
        {
            let times = ["--mtime=@1.5", "--mtime=@1500000000.25", "--mtime=@1500000000"];
            let [one, other, whole] = times.map(|time| {
                // The zeros at the end would fill up what a header leaves.
                let archive = made_by_tar(&[format, &["--blocking-factor=1", time]].concat());
                retime(&archive, TIME).unwrap().0
            });
            assert!(one == other && one == whole, "{format:?}");
        }
    }

    #[test]
    fn a_record_of_the_right_time_is_a_change_too() {
        let entry = signed(header(b'0', &field(0)));
        let entry = retime(&entry, TIME).unwrap().0;
        let mut archive = signed(header(b'x', &field(20)));
        archive.extend(b"20 mtime=1700000000\n");
        archive.resize(2 * BLOCK, 0);
        archive.extend(&entry);
        assert_eq!(retime(&archive, TIME).unwrap(), (entry.clone(), true));
        assert_eq!(retime(&entry, TIME).unwrap(), (entry, false));
    }

    #[rstest]
    #[case(0)]
    #[case(-1)]
    #[case((1 << 33) - 1)]
    #[case(1 << 33)]
    #[case(253_402_300_799)]
    #[case(-62_167_219_200)]
    fn every_time_can_be_written(#[case] seconds: i64) {
        assert_eq!(number(&field(seconds)), Some(seconds));
        let (bytes, _) = retime(&made_by_tar(&["--format=gnu"]), seconds).unwrap();
        assert!(!retime(&bytes, seconds).unwrap().1);
        let mut archive = tar::Archive::new(&*bytes);
        let first = archive.entries().unwrap().next().unwrap().unwrap();
        if let Ok(seconds) = u64::try_from(seconds) {
            assert_eq!(first.header().mtime().unwrap(), seconds);
        }
    }

    fn kind() -> impl Strategy<Value = u8> {
        prop_oneof![9 => select(b"xgLKSD0125\0"), 1 => any::<u8>()]
    }

    fn number_field() -> impl Strategy<Value = [u8; 12]> {
        prop_oneof![9 => (0..1200_i64).prop_map(field), 1 => any::<[u8; 12]>()]
    }

    /// Bytes, or what may stand in an extended header.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let records = "([0-9]{1,2} (mtime|size)=[0-9]{0,9}\n){0,4}";
        prop_oneof![
            vec(any::<u8>(), 0..600),
            records.prop_map(|text| {
                let mut bytes = text.into_bytes();
                bytes.resize(BLOCK, 0);
                bytes
            }),
            Just(vec![0; BLOCK]),
            Just([&b"20 mtime=1700000001\n"[..], &[0; 492]].concat()),
        ]
    }

    proptest! {
        #[test]
        fn no_archive_ends_the_program(
            entries in vec((kind(), number_field(), number_field(), content()), 0..6),
            seconds in any::<i64>(),
        ) {
            let mut archive = Vec::new();
            for (kind, size, time, content) in entries {
                let mut block = header(kind, &size);
                block[MODIFIED].copy_from_slice(&time);
                archive.extend(signed(block));
                archive.extend(content);
            }
            if let Ok((bytes, _)) = retime(&archive, seconds) {
                prop_assert!(!retime(&bytes, seconds).unwrap().1);
            }
        }
    }

    /// A header without a checksum.
    fn header(kind: u8, size: &[u8; 12]) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        header[0] = b'n';
        header[SIZE].copy_from_slice(size);
        header[KIND] = kind;
        header
    }

    fn signed(mut header: [u8; BLOCK]) -> Vec<u8> {
        sign(&mut header);
        header.to_vec()
    }

    #[rstest]
    #[case::of_the_entry(&[])]
    #[case::although_its_name_is_long(&[LONG_NAME])]
    #[case::although_its_target_is_long(&[LONG_TARGET, LONG_NAME])]
    fn a_large_size_in_a_record_counts(#[case] between: &[u8]) {
        let mut archive = signed(header(b'x', &field(12)));
        archive.extend(b"12 size=513\n");
        archive.resize(2 * BLOCK, 0);
        for kind in between {
            archive.extend(signed(header(*kind, &field(5))));
            archive.extend([b'n'; BLOCK]);
        }
        let entry = archive.len();
        archive.extend(signed(header(b'0', &field(0))));
        // Content that looks like the end of the archive, and then like an entry.
        archive.resize(entry + 2 * BLOCK, 0);
        archive.extend([7; BLOCK]);
        archive.extend(signed(header(b'5', &field(512))));
        let (bytes, _) = retime(&archive, TIME).unwrap();
        assert_eq!(bytes.len(), archive.len());
        assert_eq!(number(&bytes[entry + 3 * BLOCK..][MODIFIED]), Some(TIME));
        assert_eq!(bytes[entry + 2 * BLOCK..][..BLOCK], [7; BLOCK]);
    }

    #[rstest]
    #[case::no_tar(vec![1; 1024], 0, "the checksum of a header is wrong")]
    #[case::cut_header(vec![1; 500], 0, "it ends in the middle of a header")]
    #[case::cut_entry(signed(header(b'0', &field(512))), 512, "it ends in the middle of an entry")]
    #[case::cut_record(signed(header(b'x', &field(512))), 512, "it ends in the middle of an entry")]
    #[case::size(signed(header(b'0', b"0000000000a\0")), 0, "the size of an entry is no number")]
    #[case::negative_size(signed(header(b'0', &field(-1))), 0, "the size of an entry is no number")]
    #[case::huge(signed(header(b'0', &field(i64::MAX))), 512, "it ends in the middle of an entry")]
    #[case::bomb(signed(header(b'x', &field(1 << 30))), 0, "an extended header has more than 1 MiB")]
    #[case::record([&signed(header(b'x', &field(5)))[..], &[b'9'; 512]].concat(), 0, "the records of an extended header are wrong")]
    fn what_is_corrupt_is_refused(
        #[case] archive: Vec<u8>,
        #[case] at: u64,
        #[case] expected: &str,
    ) {
        let error = retime(&archive, TIME).unwrap_err().to_string();
        assert_eq!(error, format!("its tar is corrupt at byte {at}: {expected}"));
    }
}
