//! `slipway-step git`: fetches a Git repository by means of the git program.
//!
//! Invariant: argument lists and the reading of git's output are pure and tested alone; only `program`, `credentials`
//! and `results` do I/O.
//! Invariant: results come from git's standard output alone, so a warning never ends up in one.
//! Invariant: neither the log nor an error holds a password, a key or what a URL has before its `@`.
//!
//! There is no library here: submodules, LFS, ssh and credential helpers work in git as users know them and nowhere else.

mod arguments;
mod classify;
mod credentials;
mod error;
mod program;
mod redact;
mod results;
mod url;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

pub use classify::Reason;
pub use error::GitError;

use crate::listing;
use crate::protocol::GitCommand;
use arguments::{Checkout, Revision};
use credentials::Credentials;
use program::Git;
use redact::Redactor;

/// Fetches the repository; the exit code is git's own, or one of upstream's (100, 101, 110, 120), or 1.
pub fn run(command: &GitCommand) -> ExitCode {
    match fetch(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", crate::describe(&error));
            if let Err(error) = results::write_failure(command, &error) {
                eprintln!("{}", crate::describe(&error));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn fetch(command: &GitCommand) -> Result<(), GitError> {
    if !command.skip_validation {
        program::validate_tools()?;
    }
    if command.url.is_empty() {
        return Err(GitError::UrlMissing);
    }
    if command.target.is_empty() {
        return Err(GitError::TargetMissing);
    }
    if redact::holds_password(&command.url) {
        eprintln!(
            "there is a password in the URL: put it into a clone secret, so that fewer can read it"
        );
    }
    let credentials = match crate::given(command.secret_path.as_deref()) {
        Some(folder) => {
            Credentials::load(Path::new(folder), &command.url, command.git_url_rewrite)?
        }
        None => Credentials::none(),
    };
    let target = prepare_target(&command.target)?;
    let mut redactor = Redactor::for_url(&command.url);
    credentials.secrets().for_each(|secret| redactor.hide(secret));
    let git = Git::new(arguments::options(&target, credentials.settings()), redactor);
    let checkout = Checkout::new(command, &target);

    check_out(&git, &checkout)?;
    git.run(&checkout.submodules())?;
    results::write(command, &git, &checkout)?;
    if listing::is_wanted(std::env::var_os("GIT_SHOW_LISTING").as_deref(), command.show_listing) {
        listing::print(Path::new(&target));
    }
    Ok(())
}

/// Makes the folder and finds its real path: git compares `safe.directory` with that, letter by letter.
fn prepare_target(target: &str) -> Result<String, GitError> {
    let unusable = |source| GitError::TargetUnusable { target: target.to_owned(), source };
    fs::create_dir_all(target).map_err(unusable)?;
    let real = fs::canonicalize(target).map_err(unusable)?;
    // `git clone` looks itself, `git init` does not.
    if fs::read_dir(&real).map_err(unusable)?.next().is_some() {
        return Err(GitError::TargetNotEmpty { target: target.to_owned() });
    }
    Ok(real.display().to_string())
}

fn check_out(git: &Git, checkout: &Checkout) -> Result<(), GitError> {
    match &checkout.revision {
        None => git.run(&checkout.clone_branch(None)).map(drop),
        Some(Revision::Name(name)) => check_out_name(git, checkout, name),
        Some(Revision::Ref(name)) => {
            begin(git, checkout)?;
            git.run(&checkout.fetch(name))?;
            git.run(&checkout.detach("FETCH_HEAD")).map(drop)
        }
        Some(Revision::Commit(id)) => check_out_commit(git, checkout, id),
    }
}

/// A branch or tag; else what `git fetch` takes the name for, such as `pull/1/head`.
fn check_out_name(git: &Git, checkout: &Checkout, name: &str) -> Result<(), GitError> {
    let Err(unknown) = git.run(&checkout.clone_branch(Some(name))) else {
        return Ok(());
    };
    if unknown.reason() != Reason::RevisionNotFound || !arguments::is_ref_name(name) {
        return Err(unknown);
    }
    begin(git, checkout)?;
    git.run(&checkout.fetch(name)).map_err(|_| unknown)?;
    git.run(&checkout.detach("FETCH_HEAD")).map(drop)
}

/// A commit id: alone where it is full and the server hands it out, else out of the whole history.
fn check_out_commit(git: &Git, checkout: &Checkout, id: &str) -> Result<(), GitError> {
    begin(git, checkout)?;
    if arguments::is_full_id(id) {
        match git.run(&checkout.fetch(id)) {
            Ok(_) => return git.run(&checkout.detach("FETCH_HEAD")).map(drop),
            Err(error) if error.reason().is_about_access() => return Err(error),
            Err(_) => {
                eprintln!("the server does not hand out {id} alone: fetching the whole history");
            }
        }
    }
    git.run(&checkout.fetch_everything())?;
    let commit = git
        .run(&checkout.resolve(id))
        // A branch whose name looks like an id.
        .or_else(|_| git.run(&checkout.resolve(&format!("refs/remotes/origin/{id}"))))
        .map_err(GitError::into_revision_not_found)?;
    git.run(&checkout.detach(commit.trim())).map(drop)
}

fn begin(git: &Git, checkout: &Checkout) -> Result<(), GitError> {
    git.run(&checkout.init())?;
    git.run(&checkout.add_remote()).map(drop)
}
