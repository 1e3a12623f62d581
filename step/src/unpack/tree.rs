//! The folder that is unpacked into.
//!
//! Invariant: nothing is reached but by one open folder after another, and never through a symbolic link: whatever an archive holds, it
//! cannot touch what lies outside.
//! Invariant: nothing is written through what was there before: it is removed first, so no hard link shares the new content.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, chmodat, fchmod, futimens,
    linkat, mkdirat, openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::UnpackError;
use super::name::{Place, refused, shown};

/// Folders that the archive does not name; the umask takes from it.
const FOLDER: Mode = Mode::from_raw_mode(0o755);
/// The owner can always go on working in a folder.
const OWNER: u32 = 0o700;
const FOLDER_FLAGS: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open folder and what is known of it.
pub(super) struct Tree {
    root: OwnedFd,
    /// The folder that was used last: archives go through theirs one by one.
    last: Option<(Vec<Vec<u8>>, OwnedFd)>,
}

/// How the bits of an archive become those of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bits {
    /// As they are.
    Exact(u32),
    /// Without those of the umask.
    Masked(u32),
}

impl Tree {
    /// Opens the folder and makes it if need be; it may be a symbolic link.
    pub(super) fn open(path: &Path) -> Result<Self, UnpackError> {
        let target = |source| UnpackError::Target { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(target)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(|error| target(error.into()))?;
        Ok(Self { root, last: None })
    }

    /// Makes a folder, or changes the bits of one that is there.
    pub(super) fn folder(&mut self, place: &Place, bits: Bits) -> Result<(), UnpackError> {
        let Some((parent, name)) = place.split() else { return Ok(()) };
        let failed = |error| failed("make a folder", place, error);
        if self.kind(place)?.is_some_and(|kind| !kind.is_dir()) {
            self.remove(place)?;
        }
        let (Bits::Exact(wanted) | Bits::Masked(wanted)) = bits;
        let mode = Mode::from_raw_mode(wanted | OWNER);
        let parent = self.parent(parent, place)?;
        match mkdirat(parent, name, mode) {
            Ok(()) | Err(Errno::EXIST) if matches!(bits, Bits::Masked(_)) => Ok(()),
            Err(error) if error != Errno::EXIST => Err(failed(error)),
            _ => chmodat(parent, name, mode, AtFlags::empty()).map_err(failed),
        }
    }

    /// A new empty file, instead of whatever is there.
    pub(super) fn file(&mut self, place: &Place, bits: Bits) -> Result<File, UnpackError> {
        let (parent, name) = place.split().ok_or_else(|| root_refused("a file"))?;
        let failed = |error| failed("make a file", place, error);
        self.remove(place)?;
        let (Bits::Exact(wanted) | Bits::Masked(wanted)) = bits;
        let mode = Mode::from_raw_mode(wanted);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(self.parent(parent, place)?, name, flags, mode).map_err(failed)?;
        if matches!(bits, Bits::Exact(_)) {
            fchmod(&file, mode).map_err(failed)?;
        }
        Ok(file.into())
    }

    /// A symbolic link, instead of whatever is there.
    pub(super) fn symbolic_link(
        &mut self,
        place: &Place,
        target: &[u8],
    ) -> Result<(), UnpackError> {
        let (parent, name) = place.split().ok_or_else(|| root_refused("a symbolic link"))?;
        self.remove(place)?;
        symlinkat(target, self.parent(parent, place)?, name)
            .map_err(|error| failed("make a symbolic link", place, error))
    }

    /// Another name of a file, instead of whatever is there.
    pub(super) fn hard_link(&mut self, place: &Place, to: &Place) -> Result<(), UnpackError> {
        let (parent, name) = place.split().ok_or_else(|| root_refused("a hard link"))?;
        let refuse = |problem: &str| {
            let whole = place.names.join(&b'/');
            let target = shown(&to.names.join(&b'/'));
            refused(&whole, format!("it is a hard link to {target:?}, {problem}"))
        };
        if place == to {
            return Err(refuse("which is itself"));
        }
        match self.kind(to)? {
            Some(FileType::RegularFile) => {}
            Some(_) => return Err(refuse("which is no regular file")),
            None => return Err(refuse("which is not in the archive before it")),
        }
        self.remove(place)?;
        let failed = |error| failed("make a hard link", place, error);
        let (to_parent, to_name) = to.split().ok_or_else(|| refuse("which is no regular file"))?;
        let to_parent = self.parent(to_parent, place)?.try_clone_to_owned();
        let to_parent =
            to_parent.map_err(|source| write_failed("make a hard link", place, source))?;
        linkat(to_parent, to_name, self.parent(parent, place)?, name, AtFlags::empty())
            .map_err(failed)
    }

    /// What is there, if anything is; links are not followed.
    pub(super) fn kind(&mut self, place: &Place) -> Result<Option<FileType>, UnpackError> {
        let Some((parent, name)) = place.split() else { return Ok(Some(FileType::Directory)) };
        let Some(parent) = self.find(parent, place)? else { return Ok(None) };
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed("look for what is there", place, error)),
        }
    }

    /// Removes what is there, with all that is in it.
    pub(super) fn remove(&mut self, place: &Place) -> Result<(), UnpackError> {
        let failed = |error| failed("remove what was there", place, error);
        let Some((parent, name)) = place.split() else { return Ok(()) };
        match self.kind(place)? {
            None => Ok(()),
            Some(kind) => {
                let Some(found) = self.find(parent, place)? else { return Ok(()) };
                if kind.is_dir() {
                    remove_folder(found, name).map_err(failed)
                } else {
                    unlinkat(found, name, AtFlags::empty()).map_err(failed)
                }
            }
        }
    }

    /// The names in a folder; none where there is no folder.
    pub(super) fn names_in(&mut self, place: &Place) -> Result<Vec<Vec<u8>>, UnpackError> {
        let failed = |error| failed("look for what is there", place, error);
        if self.kind(place)? != Some(FileType::Directory) {
            return Ok(Vec::new());
        }
        let Some((parent, name)) = place.split() else {
            return read(self.root.as_fd(), b".").map(|(_, names)| names).map_err(failed);
        };
        let Some(found) = self.find(parent, place)? else { return Ok(Vec::new()) };
        read(found, name).map(|(_, names)| names).map_err(failed)
    }

    /// The folder of an entry; it is made if need be.
    fn parent(&mut self, names: &[Vec<u8>], of: &Place) -> Result<BorrowedFd<'_>, UnpackError> {
        self.walk(names, of, true)?;
        Ok(self.reached())
    }

    /// The folder of an entry, if there is one.
    fn find(
        &mut self,
        names: &[Vec<u8>],
        of: &Place,
    ) -> Result<Option<BorrowedFd<'_>>, UnpackError> {
        Ok(self.walk(names, of, false)?.then(|| self.reached()))
    }

    fn reached(&self) -> BorrowedFd<'_> {
        self.last.as_ref().map_or(self.root.as_fd(), |(_, folder)| folder.as_fd())
    }

    /// Opens the folders one after another; whether all are there.
    fn walk(&mut self, names: &[Vec<u8>], of: &Place, make: bool) -> Result<bool, UnpackError> {
        if self.last.as_ref().is_some_and(|(last, _)| last == names) {
            return Ok(true);
        }
        self.last = None;
        let mut reached: Option<OwnedFd> = None;
        for (index, name) in names.iter().enumerate() {
            let folder = reached.as_ref().map_or(self.root.as_fd(), |folder| folder.as_fd());
            let open = || openat(folder, name.as_slice(), FOLDER_FLAGS, Mode::empty());
            let opened = match open() {
                Err(Errno::NOENT) if !make => return Ok(false),
                Err(Errno::NOENT) => {
                    mkdirat(folder, name.as_slice(), FOLDER)
                        .map_err(|error| failed("make a folder", of, error))?;
                    open()
                }
                opened => opened,
            };
            reached = Some(opened.map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => {
                    let before = shown(&names[..=index].join(&b'/'));
                    let whole = of.names.join(&b'/');
                    refused(
                        &whole,
                        format!("it lies in {before:?}, which is no folder but a file or a link"),
                    )
                }
                error => failed("open its folder", of, error),
            })?);
        }
        self.last = reached.map(|folder| (names.to_vec(), folder));
        Ok(true)
    }
}

/// Gives a file that was written its time.
pub(super) fn set_time(file: &File, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Ok(futimens(file, &Timestamps { last_access: time, last_modification: time })?)
}

/// A folder and the names in it.
fn read(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(OwnedFd, Vec<Vec<u8>>), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(parent, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(&*name, b"." | b"..") {
            names.push(name);
        }
    }
    Ok((folder, names))
}

fn remove_folder(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let (folder, inside) = read(parent, name)?;
    for name in &inside {
        match unlinkat(&folder, name.as_slice(), AtFlags::empty()) {
            // Which of them a folder gives is the file system's to say.
            Err(Errno::ISDIR | Errno::PERM) => remove_folder(folder.as_fd(), name)?,
            outcome => outcome?,
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn failed(action: &'static str, place: &Place, error: Errno) -> UnpackError {
    write_failed(action, place, error.into())
}

fn write_failed(action: &'static str, place: &Place, source: io::Error) -> UnpackError {
    UnpackError::Write { action, name: shown(&place.names.join(&b'/')), source }
}

fn root_refused(what: &str) -> UnpackError {
    refused(b"/", format!("it is {what} where the folder of the source itself is"))
}
