//! `tar`, as clients call it in the source step to upload a working copy: it unpacks what it reads.
//!
//! Invariant: what is unpacked stays in the folder and belongs to the user of the step, whatever the command line says.
//!
//! This name stands before the image's own tar, which does all that this one does not: what an image is made of, such as packages,
//! needs it, and so does who copies files out of a step.

use std::env;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::unpack::{Permissions, Times, UnpackError, Unpacker, Whiteouts};

/// Where the image has its own, if it has one.
const OTHER: &str = "/bin/tar";

/// Why nothing, or not all, was unpacked.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// An option that means something else than to unpack.
    #[error(
        "tar: {argument:?} is not supported, and there is no {OTHER} that could do it; this one only unpacks what it reads: tar -xf - -C FOLDER (with -v, -m, -p, -o, --no-same-owner or --no-same-permissions)"
    )]
    Unsupported {
        /// The option or operand.
        argument: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Unpacking itself.
    #[error("tar")]
    Unpack(#[from] UnpackError),
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    target: PathBuf,
    permissions: Permissions,
    times: Times,
    lists: bool,
}

/// Unpacks standard input: 0 or 1.
pub fn run(arguments: &[String]) -> ExitCode {
    crate::exit_code(unpack(arguments))
}

fn unpack(arguments: &[String]) -> Result<(), TarError> {
    let wanted = match parse(arguments) {
        Ok(wanted) => wanted,
        Err(argument) => {
            return Err(TarError::Unsupported { argument, source: become_other(arguments) });
        }
    };
    let mut unpacker = Unpacker::open(&wanted.target, wanted.permissions, wanted.times)?;
    let tell = |name: &[u8]| {
        if wanted.lists {
            eprintln!("{}", String::from_utf8_lossy(name));
        }
    };
    let mut rest = unpacker.unpack(io::stdin().lock(), Whiteouts::AreFiles, tell)?;
    // Whoever sends it is not told that nobody listens any more.
    io::copy(&mut rest, &mut io::sink()).map_err(UnpackError::Read)?;
    Ok(())
}

/// Lets the image's own program do it; this comes back only when there is none.
fn become_other(arguments: &[String]) -> io::Error {
    let this = env::current_exe().and_then(fs::canonicalize);
    match (fs::canonicalize(OTHER), this) {
        (Ok(other), Ok(this)) if other == this => io::ErrorKind::NotFound.into(),
        (Err(error), _) | (_, Err(error)) => error,
        _ => Command::new(Path::new(OTHER)).args(arguments).exec(),
    }
}

/// Reads GNU's forms of options; the error is the one that cannot be honoured.
fn parse(arguments: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        target: PathBuf::from("."),
        permissions: Permissions::Masked,
        times: Times::Kept,
        lists: false,
    };
    let (mut unpacks, mut rest) = (false, arguments.iter());
    let mut is_first = true;
    while let Some(argument) = rest.next() {
        let refuse = || argument.clone();
        // The first word may be options without a dash.
        let letters = match argument.strip_prefix('-') {
            Some(long) if long.starts_with('-') => {
                match long {
                    "-extract" | "-get" => unpacks = true,
                    "-verbose" => wanted.lists = true,
                    "-same-permissions" | "-preserve-permissions" => {
                        wanted.permissions = Permissions::Exact;
                    }
                    "-no-same-permissions" => wanted.permissions = Permissions::Masked,
                    "-touch" => wanted.times = Times::Now,
                    "-no-same-owner" | "-file=-" => {}
                    _ => match long.strip_prefix("-directory=") {
                        Some(folder) => wanted.target.push(folder),
                        None => return Err(refuse()),
                    },
                }
                is_first = false;
                continue;
            }
            Some(letters) => letters,
            None if is_first => argument,
            None => return Err(refuse()),
        };
        is_first = false;
        for letter in letters.chars() {
            match letter {
                'x' => unpacks = true,
                'v' => wanted.lists = true,
                'p' => wanted.permissions = Permissions::Exact,
                'm' => wanted.times = Times::Now,
                'o' => {}
                'f' if rest.next().is_some_and(|file| file == "-") => {}
                'C' => wanted.target.push(rest.next().ok_or_else(refuse)?),
                _ => return Err(refuse()),
            }
        }
    }
    if unpacks { Ok(wanted) } else { Err(arguments.join(" ")) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parsed(line: &str) -> Result<Wanted, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[rstest]
    #[case::of_newer_clients(
        "--no-same-permissions --no-same-owner -xvf - -C /workspace/source",
        true,
        Permissions::Masked,
        Times::Kept
    )]
    #[case::of_older_clients("xfv - -C /workspace/source", true, Permissions::Masked, Times::Kept)]
    #[case::of_kubectl("-xmf - -C /workspace/source", false, Permissions::Masked, Times::Now)]
    #[case::with_modes(
        "-xpf - --directory=/workspace/source",
        false,
        Permissions::Exact,
        Times::Kept
    )]
    #[case::in_words(
        "--extract --file=- --same-permissions --touch -C /workspace/source",
        false,
        Permissions::Exact,
        Times::Now
    )]
    fn clients_are_understood(
        #[case] line: &str,
        #[case] lists: bool,
        #[case] permissions: Permissions,
        #[case] times: Times,
    ) {
        let target = PathBuf::from("/workspace/source");
        assert_eq!(parsed(line), Ok(Wanted { target, permissions, times, lists }));
    }

    #[rstest]
    #[case("-cf - .", "-cf")]
    #[case("-xf archive.tar", "-xf")]
    #[case("-xzf -", "-xzf")]
    #[case("-xf - name", "name")]
    #[case("-xf - --strip-components=1", "--strip-components=1")]
    #[case("-xf - -C", "-C")]
    #[case("-f -", "-f -")]
    fn what_it_does_not_do_is_refused(#[case] line: &str, #[case] argument: &str) {
        assert_eq!(parsed(line), Err(argument.to_owned()));
    }
}
