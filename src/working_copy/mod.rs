//! The user's working copy as a tar stream, for a run that takes its source from this machine: here, or on a cluster.
//!
//! Invariant: memory does not grow with the working copy or its files.
//! Invariant: nothing outside the directory is read: links are packed as links.
//!
//! Everything goes along, also `.git` and what starts with a dot, except what a `.shpignore` names: that is the file by which `shp`
//! leaves things out. A `.gitignore` has no say, because builds may well need what is not committed.

mod stream;

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use ignore::{DirEntry, Walk, WalkBuilder};
use slipway_step::unpack::check_target;
use tar::{Builder, EntryType, Header};

pub use stream::{Packing, Pieces, WAITING, pieces, stream};

/// Name of the files that say what stays here.
const IGNORE_FILE: &str = ".shpignore";
/// What is left of a file's mode: others may read, nobody but the owner may write.
const MODES: u32 = 0o755;

/// Bytes of a block of an archive: a header takes one, content as many as it needs.
const BLOCK: u64 = 512;

/// Why a working copy cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The directory is none.
    #[error("{path} is no directory")]
    NoDirectory {
        /// What was given.
        path: PathBuf,
    },
    /// The directory cannot be walked.
    #[error(
        "cannot list {path}; make all its directories readable, or name those in a {IGNORE_FILE}"
    )]
    List {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: ignore::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}; make it readable, or name it in a {IGNORE_FILE}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody writes to a file while it is packed.
    #[error("{path} became shorter while it was read; run again when nobody writes to it")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A line of an ignore file says nothing.
    #[error("{path} cannot be understood; write its lines as those of a .gitignore")]
    Ignore {
        /// The ignore file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ignore::Error,
    },
    /// A symbolic link that leads elsewhere where it is unpacked.
    #[error("{path} cannot be unpacked: {why}; if it is not needed, name it in a {IGNORE_FILE}")]
    Link {
        /// The link.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The other side took no more.
    #[error("the working copy could not be sent; try again")]
    Write(#[source] io::Error),
}

/// Writes the working copy to `sink`, all of it owned by `uid` and `gid`, in the order of names. Returns what no archive holds: the
/// paths of sockets, pipes and devices, which stay here. Blocks.
pub fn pack(
    directory: &Path,
    uid: u32,
    gid: u32,
    sink: impl Write,
) -> Result<Vec<PathBuf>, SourceError> {
    if !directory.is_dir() {
        return Err(SourceError::NoDirectory { path: directory.to_owned() });
    }
    let mut archive = Archive { builder: Builder::new(sink), uid, gid };
    let mut left_out = Vec::new();
    for entry in walk(directory) {
        let listing = |source| SourceError::List { path: directory.to_owned(), source };
        let entry = entry.map_err(listing)?;
        if let Some(fault) = ignore_fault(&entry) {
            return Err(fault);
        }
        let path = entry.path();
        let Some(name) =
            path.strip_prefix(directory).ok().filter(|name| !name.as_os_str().is_empty())
        else {
            continue;
        };
        let metadata = fs::symlink_metadata(path)
            .map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            archive.directory(name, &metadata)?;
        } else if kind.is_symlink() {
            archive.link(path, name, &metadata)?;
        } else if kind.is_file() {
            archive.file(path, name)?;
        } else {
            debug_assert!(
                kind.is_socket()
                    || kind.is_fifo()
                    || kind.is_block_device()
                    || kind.is_char_device()
            );
            left_out.push(name.to_owned());
        }
    }
    archive
        .builder
        .into_inner()
        .map_err(SourceError::Write)?
        .flush()
        .map_err(SourceError::Write)?;
    Ok(left_out)
}

/// How much a working copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Files and links.
    pub files: u64,
    /// Bytes of the archive, nearly: long names take some more.
    pub bytes: u64,
}

/// Looks at a working copy without reading its files; what cannot be looked at shows once it is packed.
pub fn extent(directory: &Path) -> Extent {
    let mut extent = Extent::default();
    for entry in walk(directory).flatten().filter(|entry| entry.depth() > 0) {
        let Ok(metadata) = entry.metadata() else { continue };
        let kind = metadata.file_type();
        extent.files += u64::from(kind.is_file() || kind.is_symlink());
        let content = if kind.is_file() { metadata.len().div_ceil(BLOCK) } else { 0 };
        extent.bytes += BLOCK * (1 + content);
    }
    extent
}

/// What is wrong with the ignore files of a working copy; whatever else is, shows once it is packed.
pub fn ignore_faults(directory: &Path) -> Vec<SourceError> {
    let faults = walk(directory).flatten().filter_map(|entry| ignore_fault(&entry));
    faults.collect()
}

/// The links of a working copy that a cluster does not unpack.
pub fn link_faults(directory: &Path) -> Vec<SourceError> {
    let links = walk(directory).flatten().filter(|entry| {
        // The directory itself may be one.
        entry.depth() > 0 && entry.file_type().is_some_and(|kind| kind.is_symlink())
    });
    let fault = |entry: DirEntry| {
        let (path, depth) = (entry.path().to_owned(), entry.depth() - 1);
        let target = fs::read_link(&path).ok()?;
        let why = check_target(target.as_os_str().as_bytes(), depth).err()?;
        Some(SourceError::Link { path, why })
    };
    links.filter_map(fault).collect()
}

fn ignore_fault(entry: &DirEntry) -> Option<SourceError> {
    let source = entry.error()?.clone();
    Some(SourceError::Ignore { path: entry.path().join(IGNORE_FILE), source })
}

fn walk(directory: &Path) -> Walk {
    WalkBuilder::new(directory)
        .standard_filters(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .sort_by_file_name(Ord::cmp)
        .build()
}

struct Archive<Sink: Write> {
    builder: Builder<Sink>,
    uid: u32,
    gid: u32,
}

impl<Sink: Write> Archive<Sink> {
    fn directory(&mut self, name: &Path, metadata: &Metadata) -> Result<(), SourceError> {
        let mut header = self.header(EntryType::Directory, metadata);
        // Without the owner's own bits nobody could fill it.
        header.set_mode(metadata.mode() & MODES | 0o700);
        self.builder.append_data(&mut header, name, io::empty()).map_err(SourceError::Write)
    }

    fn link(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<(), SourceError> {
        let target = fs::read_link(path)
            .map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
        let mut header = self.header(EntryType::Symlink, metadata);
        header.set_mode(0o777);
        self.builder.append_link(&mut header, name, target).map_err(SourceError::Write)
    }

    fn file(&mut self, path: &Path, name: &Path) -> Result<(), SourceError> {
        let unreadable = |source| SourceError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        // Of the open file: the one on the path may be another by now.
        let metadata = file.metadata().map_err(unreadable)?;
        let mut header = self.header(EntryType::Regular, &metadata);
        header.set_size(metadata.len());
        let mut content = Counted { source: file.take(metadata.len()), count: 0, failed: false };
        let written = self.builder.append_data(&mut header, name, &mut content);
        match written {
            Err(source) if content.failed => Err(unreadable(source)),
            Err(source) => Err(SourceError::Write(source)),
            Ok(()) if content.count < metadata.len() => {
                Err(SourceError::Changed { path: path.to_owned() })
            }
            Ok(()) => Ok(()),
        }
    }

    fn header(&self, kind: EntryType, metadata: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(metadata.mode() & MODES);
        header.set_uid(self.uid.into());
        header.set_gid(self.gid.into());
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
        header.set_size(0);
        header
    }
}

/// Tells a file that cannot be read from a sink that takes no more, and a whole file from half a one.
struct Counted<Source> {
    source: Source,
    count: u64,
    failed: bool,
}

impl<Source: io::Read> io::Read for Counted<Source> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = self.source.read(buffer);
        match &outcome {
            Ok(count) => self.count += *count as u64,
            Err(error) => self.failed |= error.kind() != io::ErrorKind::Interrupted,
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;

    fn directory(files: &[(&str, &str)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn packed(directory: &Path) -> (Vec<u8>, Vec<PathBuf>) {
        let mut archive = Vec::new();
        let left_out = pack(directory, 1000, 2000, &mut archive).unwrap();
        (archive, left_out)
    }

    fn names(directory: &Path) -> Vec<String> {
        let (archive, _) = packed(directory);
        let mut archive = tar::Archive::new(&archive[..]);
        let name = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            entry.unwrap().path().unwrap().display().to_string()
        };
        archive.entries().unwrap().map(name).collect()
    }

    #[test]
    fn everything_goes_along_in_the_order_of_names() {
        let directory = directory(&[
            (".git/HEAD", "ref"),
            (".gitignore", "*.log"),
            ("a.log", "kept"),
            ("b/.hidden", ""),
            ("b/c/d", ""),
        ]);
        fs::create_dir(directory.path().join("empty")).unwrap();
        let expected = [
            ".git/",
            ".git/HEAD",
            ".gitignore",
            "a.log",
            "b/",
            "b/.hidden",
            "b/c/",
            "b/c/d",
            "empty/",
        ];
        let expected: Vec<_> = expected.iter().map(|name| name.trim_end_matches('/')).collect();
        let found = names(directory.path());
        let found: Vec<_> = found.iter().map(|name| name.trim_end_matches('/')).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_ignore_file_keeps_things_here() {
        let directory = directory(&[
            (".shpignore", "*.log\n/target\n!keep.log\nb/\n"),
            ("a.log", ""),
            ("keep.log", ""),
            ("target/x", ""),
            ("c/target/x", ""),
            ("c/.shpignore", "y\n"),
            ("c/y", ""),
            ("b/z", ""),
        ]);
        let found = names(directory.path());
        let found: Vec<_> = found.iter().map(|name| name.trim_end_matches('/')).collect();
        assert_eq!(
            found,
            [".shpignore", "c", "c/.shpignore", "c/target", "c/target/x", "keep.log"]
        );
    }

    #[test]
    fn owners_modes_times_and_content_are_as_they_will_be_unpacked() {
        let directory = directory(&[("run", "#!"), ("shared", "x")]);
        let set = |name: &str, mode: u32| {
            let path = directory.path().join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set("run", 0o4775);
        set("shared", 0o666);
        fs::create_dir(directory.path().join("closed")).unwrap();
        set("closed", 0o500);
        let (archive, _) = packed(directory.path());
        let mut archive = tar::Archive::new(&archive[..]);
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (1000, 2000));
            let name = entry.path().unwrap().display().to_string();
            let on_disk = fs::metadata(directory.path().join(&name)).unwrap();
            assert_eq!(i64::try_from(header.mtime().unwrap()).unwrap(), on_disk.mtime());
            found.insert(name.trim_end_matches('/').to_owned(), (header.mode().unwrap(), text));
        }
        let expected = [("closed", 0o700, ""), ("run", 0o755, "#!"), ("shared", 0o644, "x")];
        let expected = expected.map(|(name, mode, text)| (name.into(), (mode, text.into())));
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn links_stay_links_and_sockets_stay_here() {
        let long = "x/".repeat(150);
        let directory = directory(&[(&format!("{long}y"), "deep")]);
        symlink("/etc/passwd", directory.path().join("out")).unwrap();
        symlink(&long, directory.path().join("long")).unwrap();
        symlink("nowhere", directory.path().join("dangling")).unwrap();
        let _socket = UnixListener::bind(directory.path().join("socket")).unwrap();
        let (archive, left_out) = packed(directory.path());
        assert_eq!(left_out, [Path::new("socket")]);
        let mut archive = tar::Archive::new(&archive[..]);
        let mut links = BTreeMap::new();
        let mut files = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            match entry.header().entry_type() {
                EntryType::Symlink => {
                    links.insert(name, entry.link_name().unwrap().unwrap().display().to_string());
                }
                EntryType::Regular => files.push(name),
                _ => {}
            }
        }
        assert_eq!(files, [format!("{long}y")]);
        let expected = [("dangling", "nowhere"), ("long", long.as_str()), ("out", "/etc/passwd")];
        assert_eq!(links, expected.map(|(name, target)| (name.into(), target.into())).into());
    }

    #[test]
    fn the_extent_is_that_of_the_archive() {
        let directory = directory(&[("a", "text"), ("b/c", ""), (".shpignore", "d\n"), ("d", "x")]);
        fs::write(directory.path().join("e"), vec![0; 1025]).unwrap();
        symlink("a", directory.path().join("link")).unwrap();
        let found = extent(directory.path());
        let (archive, _) = packed(directory.path());
        // Two empty blocks end an archive.
        let length = archive.len() as u64 - 2 * BLOCK;
        assert_eq!(found, Extent { files: 5, bytes: length });
    }

    #[test]
    fn large_ids_fit() {
        let directory = directory(&[("a", "")]);
        let mut archive = Vec::new();
        pack(directory.path(), 2_147_483_647, 3_000_000, &mut archive).unwrap();
        let mut archive = tar::Archive::new(&archive[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        let ids = (entry.header().uid().unwrap(), entry.header().gid().unwrap());
        assert_eq!(ids, (2_147_483_647, 3_000_000));
    }

    #[test]
    fn a_sink_that_takes_no_more_is_told_from_a_file_that_cannot_be_read() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let directory = directory(&[("a", "text")]);
        let error = pack(directory.path(), 0, 0, Closed).unwrap_err();
        assert!(matches!(error, SourceError::Write(_)), "{error:?}");
        let file = directory.path().join("a");
        let error = pack(&file, 0, 0, io::sink()).unwrap_err();
        assert!(matches!(error, SourceError::NoDirectory { .. }), "{error:?}");
    }

    #[test]
    fn a_file_that_becomes_shorter_is_told() {
        /// Cuts the file as soon as its header is out.
        struct Cutting(PathBuf);
        impl Write for Cutting {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                fs::write(&self.0, "")?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let directory = directory(&[("a", &"x".repeat(1 << 20))]);
        let sink = Cutting(directory.path().join("a"));
        let error = pack(directory.path(), 0, 0, sink).unwrap_err();
        assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
    }

    #[test]
    fn an_ignore_file_that_says_nothing_is_told() {
        let directory = directory(&[(".shpignore", "a{b\n"), ("x", "")]);
        let error = pack(directory.path(), 0, 0, io::sink()).unwrap_err();
        assert!(matches!(error, SourceError::Ignore { .. }), "{error:?}");
    }

    #[test]
    fn every_ignore_file_is_judged_before_anything_is_packed() {
        let directory = directory(&[
            (".shpignore", "x\n"),
            ("a/.shpignore", "ok\na{b\n"),
            ("b/.shpignore", "{z\n"),
        ]);
        let faults = ignore_faults(directory.path());
        let faults: Vec<_> = faults.iter().map(|fault| crate::Chain(fault).to_string()).collect();
        let [first, second] = &faults[..] else { panic!("{faults:?}") };
        assert!(first.contains("a/.shpignore") && first.contains("line 2"), "{first}");
        assert!(second.contains("b/.shpignore") && second.contains("line 1"), "{second}");
    }
}
