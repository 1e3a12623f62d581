//! Result files: what was fetched, or why it was not.

use std::path::Path;

use super::arguments::Checkout;
use super::error::GitError;
use super::program::Git;
use crate::given;
use crate::protocol::GitCommand;
use crate::result_file;

/// Asks git for what the command wants to know and writes it.
pub(super) fn write(command: &GitCommand, git: &Git, checkout: &Checkout) -> Result<(), GitError> {
    let commit_files = [
        given(command.result_file_commit_sha.as_deref()),
        given(command.result_file_commit_author.as_deref()),
        given(command.result_file_source_timestamp.as_deref()),
    ];
    if commit_files.iter().any(Option::is_some) {
        let commit = git.run(&checkout.describe())?;
        for (file, value) in commit_files.into_iter().zip(commit.lines()) {
            file.map_or(Ok(()), |file| write_one(file, value))?;
        }
    }
    if let Some(file) = given(command.result_file_branch_name.as_deref())
        && checkout.revision.is_none()
    {
        write_one(file, git.run(&checkout.branch_name())?.trim_end())?;
    }
    Ok(())
}

/// Reason and message, only where both files are named.
pub(super) fn write_failure(command: &GitCommand, failure: &GitError) -> Result<(), GitError> {
    if let Some(message) = given(command.result_file_error_message.as_deref())
        && let Some(reason) = given(command.result_file_error_reason.as_deref())
    {
        write_one(message, &failure.message())?;
        write_one(reason, failure.reason().as_str())?;
    }
    Ok(())
}

fn write_one(path: &str, value: &str) -> Result<(), GitError> {
    result_file::replace(Path::new(path), value)
        .map_err(|source| GitError::Result { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_failure_needs_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(folder.path().join(name).display().to_string());
        let mut command =
            GitCommand { result_file_error_message: path("message"), ..GitCommand::default() };
        write_failure(&command, &GitError::UrlMissing).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        command.result_file_error_reason = path("reason");
        write_failure(&command, &GitError::UrlMissing).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("reason")).unwrap(), "GitError");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = write_one("/nowhere/result", "x").unwrap_err();
        assert!(error.to_string().contains("/nowhere/result"), "{error}");
    }
}
