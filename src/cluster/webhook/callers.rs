//! The objects that tell API servers where the webhook is and whom to trust: four definitions and one configuration.
//!
//! Invariant: an object that leads elsewhere, to upstream's webhook for one, is left alone.
//! Invariant: only the authorities are written; what else such an object says is its author's.

use std::borrow::Cow;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ByteString, ClusterResourceScope};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde_json::json;

use super::super::error::{Asked as _, ClusterError};
use super::SERVICE;

/// What is written is said to be by this manager.
const MANAGER: &str = "slipway-webhook";

/// A definition without its schemas, which are large.
#[derive(Debug, Clone, Deserialize)]
pub struct Definition {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: DefinitionSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct DefinitionSpec {
    conversion: Option<CustomResourceConversion>,
}

impl Resource for Definition {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        CustomResourceDefinition::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        CustomResourceDefinition::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        CustomResourceDefinition::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        CustomResourceDefinition::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What such an object says of the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    version: Option<String>,
    /// Names of the configuration's webhooks; a definition has one without a name.
    webhooks: Vec<String>,
    /// What each of them trusts, where it leads here.
    trusts: Vec<Option<ByteString>>,
}

impl Caller {
    /// Of a definition; nothing where it converts by other means.
    pub fn of_definition(definition: &Definition, namespace: &str) -> Option<Self> {
        let conversion = definition.spec.conversion.as_ref()?;
        let config = conversion.webhook.as_ref()?.client_config.as_ref()?;
        let service = config.service.as_ref()?;
        let is_ours = service.name == SERVICE && service.namespace == namespace;
        is_ours.then(|| Self {
            version: definition.metadata.resource_version.clone(),
            webhooks: Vec::new(),
            trusts: vec![config.ca_bundle.clone()],
        })
    }

    /// Of the configuration; nothing where none of its webhooks is this one.
    pub fn of_configuration(
        configuration: &ValidatingWebhookConfiguration,
        namespace: &str,
    ) -> Option<Self> {
        let is_ours = |config: &WebhookClientConfig| {
            let service = config.service.as_ref();
            service.is_some_and(|service| service.name == SERVICE && service.namespace == namespace)
        };
        let webhooks = configuration.webhooks.iter().flatten();
        let (webhooks, trusts): (Vec<_>, Vec<_>) = webhooks
            .filter(|webhook| is_ours(&webhook.client_config))
            .map(|webhook| (webhook.name.clone(), webhook.client_config.ca_bundle.clone()))
            .unzip();
        let version = configuration.metadata.resource_version.clone();
        (!webhooks.is_empty()).then_some(Self { version, webhooks, trusts })
    }

    /// Whether it names exactly these authorities.
    pub fn trusts(&self, authorities: &str) -> bool {
        let is_same = |trusted: &ByteString| trusted.0.as_slice() == authorities.as_bytes();
        self.trusts.iter().all(|trusted| trusted.as_ref().is_some_and(is_same))
    }

    /// Names these authorities in a definition.
    pub async fn tell_definition(
        &self,
        client: &Client,
        name: &str,
        authorities: &str,
    ) -> Result<Definition, ClusterError> {
        let trust = ByteString(authorities.as_bytes().to_vec());
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": self.version },
            "spec": { "conversion": { "webhook": { "clientConfig": { "caBundle": trust } } } },
        }));
        let api = Api::<Definition>::all(client.clone());
        let told = api.patch(name, &by_us(), &patch).await;
        told.asked(|| format!("patch CustomResourceDefinition {name}"))
    }

    /// Names these authorities in the configuration.
    pub async fn tell_configuration(
        &self,
        client: &Client,
        name: &str,
        authorities: &str,
    ) -> Result<ValidatingWebhookConfiguration, ClusterError> {
        let trust = ByteString(authorities.as_bytes().to_vec());
        let webhook =
            |name: &String| json!({ "name": name, "clientConfig": { "caBundle": trust } });
        // The list is merged by name.
        let patch = Patch::Strategic(json!({
            "metadata": { "resourceVersion": self.version },
            "webhooks": self.webhooks.iter().map(webhook).collect::<Vec<_>>(),
        }));
        let api = Api::<ValidatingWebhookConfiguration>::all(client.clone());
        let told = api.patch(name, &by_us(), &patch).await;
        told.asked(|| format!("patch ValidatingWebhookConfiguration {name}"))
    }
}

fn by_us() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn definition(conversion: &Value) -> Option<Caller> {
        let definition = json!({ "metadata": { "name": "builds.shipwright.io", "resourceVersion": "7" }, "spec": { "conversion": conversion } });
        Caller::of_definition(&serde_json::from_value(definition).unwrap(), "team")
    }

    fn to(service: &str, namespace: &str, bundle: &Value) -> Value {
        let mut config = json!({ "service": { "name": service, "namespace": namespace } });
        if !bundle.is_null() {
            config["caBundle"] = bundle.clone();
        }
        json!({ "strategy": "Webhook", "webhook": { "clientConfig": config, "conversionReviewVersions": ["v1"] } })
    }

    #[test]
    fn a_definition_that_leads_elsewhere_is_left_alone() {
        for conversion in [
            Value::Null,
            json!({ "strategy": "None" }),
            to("shp-build-webhook", "team", &Value::Null),
            to("slipway-webhook", "other", &Value::Null),
            json!({ "strategy": "Webhook", "webhook": { "clientConfig": { "url": "https://example.com" }, "conversionReviewVersions": ["v1"] } }),
        ] {
            assert_eq!(definition(&conversion), None, "{conversion}");
        }
        let bare = definition(&to("slipway-webhook", "team", &Value::Null)).unwrap();
        assert!(!bare.trusts("authority") && !bare.trusts(""));
        let told = definition(&to("slipway-webhook", "team", &json!("YXV0aG9yaXR5"))).unwrap();
        assert!(told.trusts("authority"));
        assert!(!told.trusts("authority and another"));
    }

    #[test]
    fn of_a_configuration_only_our_webhooks_count() {
        let webhook = |name: &str, service: &str, bundle: &str| {
            json!({
                "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": { "service": { "name": service, "namespace": "team" }, "caBundle": bundle },
            })
        };
        let of = |webhooks: Vec<Value>| {
            let configuration =
                json!({ "metadata": { "resourceVersion": "7" }, "webhooks": webhooks });
            let configuration = serde_json::from_value(configuration).unwrap();
            Caller::of_configuration(&configuration, "team")
        };
        assert_eq!(of(vec![webhook("a", "other", "YQ==")]), None);
        let caller =
            of(vec![webhook("a", "other", "Yg=="), webhook("b", SERVICE, "YQ==")]).unwrap();
        assert_eq!(caller.webhooks, ["b"]);
        assert!(caller.trusts("a") && !caller.trusts("b"));
    }
}
