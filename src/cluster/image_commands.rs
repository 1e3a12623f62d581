//! What images run of themselves: for steps that say no command.
//!
//! Invariant: asked with the credentials that the kubelet would pull with, and with no others.
//! Invariant: what may pass by itself is an error, which is tried again; an image that cannot be asked about for any other reason is
//! absent, and the run is refused with that reason.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use serde_json::Value;
use slipway_step::oci::{Access, Credentials, OciError, Reference, Registry, find_credentials_in};

use super::error::{Asked as _, ClusterError};
use super::load::Loader;
use crate::Chain;
use crate::plan::{ImageCommand, Presence};

/// How long a registry may take, with all that is asked again.
const PATIENCE: Duration = Duration::from_secs(15);
const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// What is known of images' programs, and why the others are not known, by image.
type Known = (BTreeMap<String, Presence<ImageCommand>>, BTreeMap<String, String>);

/// Why an image's program is not known.
struct Problem {
    why: String,
    may_pass: bool,
}

impl Loader {
    /// The programs of images.
    pub(super) async fn image_commands(
        &self,
        namespace: &str,
        images: impl IntoIterator<Item = String>,
        account: Option<&ServiceAccount>,
    ) -> Result<Known, ClusterError> {
        let (mut found, mut problems) = Known::default();
        let mut images = images.into_iter().peekable();
        if images.peek().is_none() {
            return Ok((found, problems));
        }
        let configs = self.pull_secrets(namespace, account).await?;
        for image in images {
            let ask = async {
                match self.image_command(&image, &configs).await {
                    Err(Problem { why, may_pass: true }) => Err(why),
                    answer => Ok(answer.map_err(|problem| problem.why)),
                }
            };
            // Registries count who pulls: runs with the same credentials share the answer.
            let name = account.and_then(|account| account.metadata.name.as_deref());
            let asked = format!("{image} {}", name.unwrap_or_default());
            let command = match self.reads.share(namespace, &asked, ask).await {
                Ok(Ok(command)) => Presence::Found(command),
                Ok(Err(why)) => {
                    problems.insert(image.clone(), why);
                    Presence::Absent
                }
                Err(why) => return Err(ClusterError::Registry { image, why }),
            };
            found.insert(image, command);
        }
        Ok((found, problems))
    }

    /// The docker configurations that a pod of this account is pulled with.
    async fn pull_secrets(
        &self,
        namespace: &str,
        account: Option<&ServiceAccount>,
    ) -> Result<Vec<ByteString>, ClusterError> {
        let secrets = kube::Api::<Secret>::namespaced(self.client.clone(), namespace);
        let named = account.iter().flat_map(|account| account.image_pull_secrets.iter().flatten());
        let mut configs = Vec::new();
        for name in named.map(|secret| secret.name.as_str()).filter(|name| !name.is_empty()) {
            let secret = secrets.get_opt(name).await.asked(|| format!("get Secret {name}"))?;
            let data = secret.and_then(|secret| secret.data).unwrap_or_default();
            configs.extend(data.get(DOCKER_CONFIG).cloned());
        }
        Ok(configs)
    }

    async fn image_command(
        &self,
        image: &str,
        configs: &[ByteString],
    ) -> Result<ImageCommand, Problem> {
        let lasting = |why: String| Problem { why, may_pass: false };
        let reference: Reference = image.parse().map_err(|error| lasting(format!("{error}")))?;
        let registry = reference.resolve_registry();
        // A configuration that cannot be read names no registry; another one may.
        let known =
            configs.iter().find_map(|config| find_credentials_in(&config.0, registry).ok()?);
        let credentials = known.unwrap_or_else(Credentials::anonymous);
        let is_insecure = self.insecure_registries.iter().any(|insecure| insecure == registry);
        // What asks a registry stays on one thread.
        let runtime = tokio::runtime::Handle::current();
        let span = tracing::Span::current();
        let say = |line: &str| tracing::debug!(line, "a registry is asked again");
        let asked = tokio::task::spawn_blocking(move || {
            let _entered = span.enter();
            let asked = async {
                Registry::connect_for(Access::Pull, reference, credentials, is_insecure, say)
                    .await?
                    .config()
                    .await
            };
            runtime.block_on(tokio::time::timeout(PATIENCE, asked))
        });
        let config = asked.await.map_err(|error| lasting(error.to_string()))?;
        let config = config.map_err(|_| Problem {
            why: format!("no answer in {} s", PATIENCE.as_secs()),
            may_pass: true,
        })?;
        let config = config
            .map_err(|error| Problem { why: cause(&error), may_pass: error.may_pass() })?
            .ok_or_else(|| lasting("it has no configuration for Linux".into()))?;
        let config: Value =
            serde_json::from_slice(&config).map_err(|error| lasting(error.to_string()))?;
        let words = |key: &str| -> Vec<String> {
            let words = config["config"][key].as_array().into_iter().flatten();
            words.filter_map(|word| word.as_str().map(String::from)).collect()
        };
        Ok(ImageCommand { entrypoint: words("Entrypoint"), cmd: words("Cmd") })
    }
}

/// What a registry said, and what to do about it, which is not the same here as for a push.
fn cause(error: &OciError) -> String {
    match error {
        OciError::Denied { registry, answer, .. } => format!(
            "registry {registry} refuses it ({answer}); the run's service account needs an imagePullSecret for it"
        ),
        OciError::PlainHttp { registry, .. } | OciError::NotTls { registry, .. } => format!(
            "registry {registry} does not speak TLS, and is no insecure registry in the controller's settings"
        ),
        OciError::Untrusted { registry, .. } => {
            format!("the certificate of registry {registry} cannot be verified")
        }
        error => Chain(error).to_string(),
    }
}
