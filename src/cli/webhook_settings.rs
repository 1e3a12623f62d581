//! The webhook's settings, by flag and by variable. Upstream's have no variables.

use std::net::SocketAddr;

use clap::Args;

use super::controller_values::Problems;
use crate::cluster::{TlsSettings, WebhookSettings};

/// Where and how the webhook is served.
#[derive(Debug, Args)]
pub struct WebhookArguments {
    /// Namespace of the webhook's Service and Secret; if unset, the webhook is not served (the default outside a cluster)
    #[arg(long, env = "WEBHOOK_NAMESPACE", value_name = "NAMESPACE")]
    webhook_namespace: Option<String>,
    /// Address of the webhook; by default 0.0.0.0:8443
    #[arg(long, env = "WEBHOOK_ADDRESS", value_name = "ADDRESS")]
    webhook_address: Option<String>,
    /// Whether to reject invalid objects when they are applied; if false, problems are reported in their status only
    #[arg(long, env = "ADMISSION_ENABLED", value_name = "BOOL")]
    admission_enabled: Option<String>,
    /// Oldest version of TLS that the webhook speaks: VersionTLS12, the default and the oldest of all, or VersionTLS13
    #[arg(long, env = "TLS_MIN_VERSION", value_name = "VERSION")]
    tls_min_version: Option<String>,
    /// Cipher suites of TLS 1.2 that the webhook speaks, by Go's names with commas between; by default all that are safe
    #[arg(long, env = "TLS_CIPHER_SUITES", value_name = "NAMES")]
    tls_cipher_suites: Option<String>,
}

impl WebhookArguments {
    /// How the webhook is served; nothing where it is not.
    pub fn webhook(&self, problems: &mut Problems) -> Option<WebhookSettings> {
        let address = problems.read("WEBHOOK_ADDRESS", self.webhook_address.as_ref(), |text| {
            text.parse()
                .map_err(|_| format!("{text:?} is no address with a port, such as 0.0.0.0:8443"))
        });
        let admission = problems.read(
            "ADMISSION_ENABLED",
            self.admission_enabled.as_ref(),
            |word| match word {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(format!("{word:?} is neither true nor false")),
            },
        );
        let mut tls = TlsSettings::default();
        let version = self.tls_min_version.as_ref();
        problems.read("TLS_MIN_VERSION", version, |text| tls.set_min_version(text));
        let suites = self.tls_cipher_suites.as_ref();
        problems.read("TLS_CIPHER_SUITES", suites, |text| tls.set_cipher_suites(text));
        let namespace = self.webhook_namespace.as_deref().map(str::trim);
        let namespace = namespace.filter(|namespace| !namespace.is_empty())?.to_owned();
        Some(WebhookSettings {
            namespace,
            address: address.unwrap_or(SocketAddr::from(([0; 4], 8443))),
            tls,
            admission: admission.unwrap_or(true),
        })
    }
}
