//! `slipway-step bundle`: the source step of an OCI artifact.

use super::args::Args;

/// How long an image is waited for, in seconds: about as long as `waiter` waits for an upload.
pub const DEFAULT_WAIT: u64 = 60;

/// Which image to unpack and where to.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct BundleCommand {
    /// Reference of the image that holds the source
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub image: String,
    /// Folder that receives the files
    #[arg(long, default_value = "/workspace/source", allow_hyphen_values = true)]
    pub target: String,
    /// File for the digest of the image
    #[arg(long, value_name = "FILE")]
    pub result_file_image_digest: Option<String>,
    /// File for the time of the newest file, in seconds since 1970
    #[arg(long, value_name = "FILE")]
    pub result_file_source_timestamp: Option<String>,
    /// Folder of the mounted secret with `.dockerconfigjson`
    #[arg(long, value_name = "DIR")]
    pub secret_path: Option<String>,
    /// Delete the image from the registry once it is unpacked
    #[arg(long)]
    pub prune: bool,
    /// List what was fetched
    #[arg(long)]
    pub show_listing: bool,
    /// How long to wait for an image that is not there yet
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_WAIT)]
    pub wait: u64,
}

impl BundleCommand {
    /// The arguments behind the program's name, in upstream's order.
    pub fn to_args(&self) -> Vec<String> {
        Args::new("bundle")
            .value("image", &self.image)
            .value("target", &self.target)
            .optional("result-file-image-digest", self.result_file_image_digest.as_deref())
            .optional("result-file-source-timestamp", self.result_file_source_timestamp.as_deref())
            .optional("secret-path", self.secret_path.as_deref())
            .switch("prune", self.prune)
            .switch("show-listing", self.show_listing)
            .optional("wait", (self.wait != DEFAULT_WAIT).then(|| self.wait.to_string()))
            .done()
    }
}
