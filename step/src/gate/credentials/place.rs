//! Files with credentials, written whole or not at all.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::{CredentialError, or_line};

/// A file below `/tekton/creds` and `$HOME`.
pub(super) struct CredentialFile {
    pub(super) path: String,
    pub(super) text: String,
}

/// Writes the files below a folder; where none can be written, that is said once.
pub(super) fn write(files: &[CredentialFile], below: &Path, lines: &mut Vec<String>) {
    let mut refused = Vec::new();
    for file in files {
        let path = below.join(&file.path);
        let written = replace(&path, &file.text)
            .map_err(|source| CredentialError::Write { path: path.display().to_string(), source });
        or_line(written, &mut refused);
    }
    if refused.len() == files.len() {
        refused.truncate(1);
    }
    lines.append(&mut refused);
}

/// Over a file of another user's too, where the folder allows it: steps with different users may share `$HOME`.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Made with 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}
