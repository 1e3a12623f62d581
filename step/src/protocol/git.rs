//! `slipway-step git`: the source step of a Git source.

use super::args::Args;

/// What to clone, where to, and where to write what was found.
#[expect(clippy::struct_excessive_bools, reason = "upstream's helper has these four switches")]
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct GitCommand {
    /// URL of the repository: https, http, ssh, git@host:path or file
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub url: String,
    /// Folder that receives the working copy
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub target: String,
    /// File for the id of the commit
    #[arg(long, value_name = "FILE")]
    pub result_file_commit_sha: Option<String>,
    /// File for the name of the commit's author
    #[arg(long, value_name = "FILE")]
    pub result_file_commit_author: Option<String>,
    /// File for the name of the default branch, written only where no revision is given
    #[arg(long, value_name = "FILE")]
    pub result_file_branch_name: Option<String>,
    /// File for the message of a failure
    #[arg(long, value_name = "FILE")]
    pub result_file_error_message: Option<String>,
    /// File for the reason of a failure
    #[arg(long, value_name = "FILE")]
    pub result_file_error_reason: Option<String>,
    /// File for the time of the commit, in seconds since 1970
    #[arg(long, value_name = "FILE")]
    pub result_file_source_timestamp: Option<String>,
    /// Branch, tag, commit id (short or full) or ref; the default branch if unset
    #[arg(long, allow_hyphen_values = true)]
    pub revision: Option<String>,
    /// Number of commits to fetch; 0 fetches the whole history
    #[arg(long)]
    pub depth: Option<u32>,
    /// Rewrite https URLs to ssh, so that a key serves for submodules with https URLs
    #[arg(long)]
    pub git_url_rewrite: bool,
    /// Folder of the mounted secret: ssh-privatekey with known_hosts, or username and password
    #[arg(long, value_name = "DIR")]
    pub secret_path: Option<String>,
    /// List what was fetched
    #[arg(long)]
    pub show_listing: bool,
    /// Do not look for ssh, git and git-lfs first
    #[arg(long)]
    pub skip_validation: bool,
    /// Log more
    #[arg(long)]
    pub verbose: bool,
}

impl GitCommand {
    /// The arguments behind the program's name, in upstream's order.
    pub fn to_args(&self) -> Vec<String> {
        Args::new("git")
            .value("url", &self.url)
            .value("target", &self.target)
            .optional("result-file-commit-sha", self.result_file_commit_sha.as_deref())
            .optional("result-file-commit-author", self.result_file_commit_author.as_deref())
            .optional("result-file-branch-name", self.result_file_branch_name.as_deref())
            .optional("result-file-error-message", self.result_file_error_message.as_deref())
            .optional("result-file-error-reason", self.result_file_error_reason.as_deref())
            .optional("result-file-source-timestamp", self.result_file_source_timestamp.as_deref())
            .optional("revision", self.revision.as_deref())
            .optional("depth", self.depth.map(|depth| depth.to_string()))
            .switch("git-url-rewrite", self.git_url_rewrite)
            .optional("secret-path", self.secret_path.as_deref())
            .switch("show-listing", self.show_listing)
            .switch("skip-validation", self.skip_validation)
            .switch("verbose", self.verbose)
            .done()
    }
}
