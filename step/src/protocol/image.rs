//! `slipway-step image-processing`: what happens to the image after the strategy.

use super::args::Args;

/// What to change in the image and where to push it.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ImageCommand {
    /// Folder with an OCI layout or one docker archive to push; without it the image is in the registry already
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub push: Option<String>,
    /// Write the image into this file, for `docker load` and `podman load`, instead of pushing it
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub save: Option<String>,
    /// Annotation for the image, as KEY=VALUE
    #[arg(long = "annotation", value_name = "KEY=VALUE", allow_hyphen_values = true)]
    pub annotations: Vec<String>,
    /// Label for the image, as KEY=VALUE
    #[arg(long = "label", value_name = "KEY=VALUE", allow_hyphen_values = true)]
    pub labels: Vec<String>,
    /// Settings of the vulnerability scan, as the JSON of `output.vulnerabilityScan`
    #[arg(long, value_name = "JSON")]
    pub vuln_settings: Option<String>,
    /// How many vulnerabilities are reported at most
    #[arg(long, value_name = "NUMBER")]
    pub vuln_count_limit: Option<u32>,
    /// Time for the image and its layers, in seconds since 1970
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub image_timestamp: Option<String>,
    /// File that holds the time for the image and its layers
    #[arg(long, value_name = "FILE")]
    pub image_timestamp_file: Option<String>,
    /// Reference to push to
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub image: String,
    /// Allow plain HTTP, and TLS that cannot be verified
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub insecure: bool,
    /// File for the digest of what was pushed
    #[arg(long, value_name = "FILE")]
    pub result_file_image_digest: Option<String>,
    /// File for the size of what was pushed, in bytes
    #[arg(long, value_name = "FILE")]
    pub result_file_image_size: Option<String>,
    /// File for the vulnerabilities that were found
    #[arg(long, value_name = "FILE")]
    pub result_file_image_vulnerabilities: Option<String>,
    /// Folder of the mounted secret with `.dockerconfigjson`, or the file itself
    #[arg(long, value_name = "PATH")]
    pub secret_path: Option<String>,
}

impl ImageCommand {
    /// The arguments behind the program's name, in upstream's order; what upstream does not know comes last.
    pub fn to_args(&self) -> Vec<String> {
        Args::new("image-processing")
            .optional("push", self.push.as_deref())
            .each("annotation", self.annotations.iter().cloned())
            .each("label", self.labels.iter().cloned())
            .optional("vuln-settings", self.vuln_settings.as_deref())
            .optional("vuln-count-limit", self.vuln_count_limit.map(|limit| limit.to_string()))
            .optional("image-timestamp", self.image_timestamp.as_deref())
            .optional("image-timestamp-file", self.image_timestamp_file.as_deref())
            .value("image", &self.image)
            .joined("insecure", self.insecure)
            .optional("result-file-image-digest", self.result_file_image_digest.as_deref())
            .optional("result-file-image-size", self.result_file_image_size.as_deref())
            .optional(
                "result-file-image-vulnerabilities",
                self.result_file_image_vulnerabilities.as_deref(),
            )
            .optional("secret-path", self.secret_path.as_deref())
            .optional("save", self.save.as_deref())
            .done()
    }
}
