//! Lists what was fetched, for people who look for a file.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The environment variable counts, where it is set, and the flag otherwise.
pub(crate) fn is_wanted(variable: Option<&OsStr>, flag: bool) -> bool {
    match variable {
        Some(value) => ["1", "t", "T", "true", "True", "TRUE"].iter().any(|yes| value == *yes),
        None => flag,
    }
}

/// Prints mode, links, owner, size and path of everything below the folder; a failure is told, not returned.
pub(crate) fn print(folder: &Path) {
    let mut lines = Vec::new();
    if let Err(error) = list(folder, folder, &mut lines) {
        lines.push(format!("listing {} ends here: {error}", folder.display()));
    }
    for line in lines {
        eprintln!("{line}");
    }
}

fn list(root: &Path, folder: &Path, lines: &mut Vec<String>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let metadata = entry.metadata()?;
        let path = entry.path();
        let is_git = entry.file_name() == ".git" && metadata.is_dir();
        let size = if is_git { total_size(&path)? } else { metadata.len() };
        lines.push(format!(
            "{:06o} {:>3} {:>6} {:>6} {size:>10} {}",
            metadata.mode(),
            metadata.nlink(),
            metadata.uid(),
            metadata.gid(),
            path.strip_prefix(root).unwrap_or(&path).display(),
        ));
        if metadata.is_dir() && !is_git {
            list(root, &path, lines)?;
        }
    }
    Ok(())
}

fn total_size(folder: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() { total_size(&entry.path())? } else { metadata.len() };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, false, false)]
    #[case(None, true, true)]
    #[case(Some("true"), false, true)]
    #[case(Some("false"), true, false)]
    #[case(Some("yes"), true, false)]
    #[case(Some(""), true, false)]
    fn who_wants_it(#[case] variable: Option<&str>, #[case] flag: bool, #[case] expected: bool) {
        assert_eq!(is_wanted(variable.map(OsStr::new), flag), expected);
    }

    #[test]
    fn the_repository_is_one_line_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(".git/objects")).unwrap();
        fs::write(folder.path().join(".git/objects/pack"), "12345").unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/a"), "123").unwrap();
        std::os::unix::fs::symlink(".", folder.path().join("src/loop")).unwrap();
        let mut lines = Vec::new();
        list(folder.path(), folder.path(), &mut lines).unwrap();
        let tails: Vec<&str> = lines.iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(tails, [".git", "src", "src/a", "src/loop"]);
        assert!(lines[0].contains(" 5 .git"), "{}", lines[0]);
        assert!(lines[2].contains(" 3 src/a"), "{}", lines[2]);
    }
}
