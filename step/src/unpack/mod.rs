//! Unpacks tar archives that somebody else made into the folder of the source.
//!
//! Invariant: nothing outside of the folder is ever written, read or linked to; what would be is refused with the entry's name.
//! Invariant: files belong to who runs this; neither owners nor set-id bits are taken from an archive.
//! Invariant: memory does not grow with the archive, nor does a file of zeros take room on the disk.

mod entries;
mod error;
mod name;
mod tree;

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

pub use error::UnpackError;
pub use name::check_target;

use entries::{Entries, Entry, Kind};
use name::{Place, refused};
use tree::{Bits, Tree, set_time};

/// What a layer does to those below it instead of adding a file.
const WHITEOUT: &[u8] = b".wh.";
/// Hides all that the layers below have in the folder.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Of other files that only concern who made the layer.
const PRIVATE: &[u8] = b".wh..wh.";
const PERMISSIONS: u32 = 0o777;
/// Zeros of this length and place become a hole.
const PIECE: usize = 64 << 10;

/// A folder that archives are unpacked into, one over the other.
pub struct Unpacker {
    tree: Tree,
    permissions: Permissions,
    times: Times,
    has_told_absolute: bool,
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

/// What becomes of the permissions in an archive. The owner of a folder can always use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permissions {
    /// They are taken as they are.
    Exact,
    /// The umask takes from them.
    Masked,
    /// The umask takes from those of files only; this is what upstream does to an artifact.
    FilesMasked,
}

/// What becomes of the times of files in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// They are taken.
    Kept,
    /// A file is as old as its copy.
    Now,
}

/// What names that begin with `.wh.` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// Nothing special.
    AreFiles,
    /// They are marks for the layers below, which [`Unpacker::hide`] has met.
    AreMarks,
}

impl Unpacker {
    /// Opens the folder and makes it if need be.
    pub fn open(
        target: &Path,
        permissions: Permissions,
        times: Times,
    ) -> Result<Self, UnpackError> {
        let tree = Tree::open(target)?;
        Ok(Self { tree, permissions, times, has_told_absolute: false })
    }

    /// Unpacks an archive and lets somebody know each name; says where the archive stopped being read.
    pub fn unpack<R: Read>(
        &mut self,
        archive: R,
        whiteouts: Whiteouts,
        mut tell: impl FnMut(&[u8]),
    ) -> Result<R, UnpackError> {
        let mut entries = Entries::new(archive);
        let mut piece = vec![0; PIECE];
        while let Some(entry) = entries.next()? {
            let place = self.place(&entry)?;
            if whiteouts == Whiteouts::AreMarks && mark(&place).is_some() {
                continue;
            }
            tell(&entry.name);
            self.write(&entry, &place, &mut entries, &mut piece)?;
        }
        Ok(entries.into_rest())
    }

    /// Removes what a layer hides of those below. It must be asked before the layer is unpacked, because such marks may stand anywhere
    /// in it and do not concern its own entries.
    pub fn hide(&mut self, layer: impl Read) -> Result<(), UnpackError> {
        let mut entries = Entries::new(layer);
        while let Some(entry) = entries.next()? {
            let mut place = self.place(&entry)?;
            let Some(mark) = mark(&place) else { continue };
            place.names.pop();
            match mark {
                Mark::Opaque => {
                    for name in self.tree.names_in(&place)? {
                        let mut inside = place.clone();
                        inside.names.push(name);
                        self.tree.remove(&inside)?;
                    }
                }
                Mark::Hidden(name) if matches!(&*name, b"" | b"." | b"..") => {
                    return Err(refused(&entry.name, "it hides a name that nothing can have"));
                }
                Mark::Hidden(name) => {
                    place.names.push(name);
                    self.tree.remove(&place)?;
                }
                Mark::Private => {}
            }
        }
        Ok(())
    }

    fn place(&mut self, entry: &Entry) -> Result<Place, UnpackError> {
        let place = Place::of(&entry.name).map_err(|problem| refused(&entry.name, problem))?;
        if place.was_absolute && !self.has_told_absolute {
            self.has_told_absolute = true;
            let name = name::shown(&entry.name);
            eprintln!(
                "names begin with \"/\", such as {name:?}: they are taken from the folder of the source on"
            );
        }
        Ok(place)
    }

    fn write(
        &mut self,
        entry: &Entry,
        place: &Place,
        content: &mut impl Read,
        piece: &mut [u8],
    ) -> Result<(), UnpackError> {
        let refuse = |problem: String| refused(&entry.name, problem);
        let bits = match (self.permissions, entry.kind) {
            (Permissions::Exact, _) | (Permissions::FilesMasked, Kind::Directory) => Bits::Exact,
            (Permissions::Masked | Permissions::FilesMasked, _) => Bits::Masked,
        };
        let bits = bits(entry.mode & PERMISSIONS);
        match entry.kind {
            Kind::Directory => self.tree.folder(place, bits),
            Kind::File => {
                let file = self.tree.file(place, bits)?;
                let failed = |source| UnpackError::Write {
                    action: "write a file",
                    name: name::shown(&entry.name),
                    source,
                };
                let file = copy(content, file, piece, failed)?;
                match self.times {
                    Times::Kept => set_time(&file, entry.modified).map_err(failed),
                    Times::Now => Ok(()),
                }
            }
            Kind::SymbolicLink => {
                check_target(&entry.target, place.names.len().saturating_sub(1)).map_err(refuse)?;
                self.tree.symbolic_link(place, &entry.target)
            }
            Kind::HardLink => {
                let to = Place::of(&entry.target).map_err(|problem| {
                    let target = name::shown(&entry.target);
                    refuse(format!("it is a hard link to {target:?}: {problem}"))
                })?;
                self.tree.hard_link(place, &to)
            }
            Kind::Sparse => Err(refuse(
                "it is a sparse file; pack the source without tar's --sparse".to_owned(),
            )),
            Kind::Other(what) => Err(refuse(format!(
                "it is {what}; a source may hold folders, files and links within it"
            ))),
        }
    }
}

/// What a layer's entry says about the layers below.
enum Mark {
    Hidden(Vec<u8>),
    Opaque,
    Private,
}

fn mark(place: &Place) -> Option<Mark> {
    let (_, name) = place.split()?;
    let hidden = name.strip_prefix(WHITEOUT)?;
    Some(match name {
        OPAQUE => Mark::Opaque,
        name if name.starts_with(PRIVATE) => Mark::Private,
        _ => Mark::Hidden(hidden.to_vec()),
    })
}

/// Writes the content and leaves holes where there are only zeros.
fn copy(
    content: &mut impl Read,
    mut file: File,
    piece: &mut [u8],
    failed: impl Fn(io::Error) -> UnpackError,
) -> Result<File, UnpackError> {
    static ZEROS: [u8; PIECE] = [0; PIECE];
    let mut length = 0;
    loop {
        let filled = fill(content, piece)?;
        let bytes = &piece[..filled];
        if bytes.is_empty() {
            break;
        }
        let written = if bytes == &ZEROS[..filled] {
            file.seek(SeekFrom::Current(i64::try_from(filled).unwrap_or(i64::MAX))).map(drop)
        } else {
            file.write_all(bytes)
        };
        written.map_err(&failed)?;
        length += filled as u64;
    }
    file.set_len(length).map_err(&failed)?;
    Ok(file)
}

/// As many bytes as there are, up to the length of the buffer.
fn fill(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
