//! Keeps the webhook's certificate: in a Secret that all replicas share, in what this replica serves, and in what API servers trust.
//!
//! Invariant: every write says of which version it is meant: of several replicas that want the same, one writes and the others see it.
//! Invariant: nothing here waits for the lease. Where upstream's controller holds it, v1alpha1 has to be converted all the same.

use std::time::Duration;

use futures_util::stream::{BoxStream, SelectAll, select_all};
use futures_util::{FutureExt as _, StreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api, Client};

use super::super::error::{Asked as _, ClusterError};
use super::super::lease::within;
use super::callers::{Caller, Definition};
use super::rotation::Held;
use super::tls::{Serving, UnusableCertificate};
use super::{CONFIGURATION, SECRET, SERVICE};
use crate::Chain;
use crate::api::crd;

/// The entry of the Secret that holds all certificates.
const ENTRY: &str = "generations.json";
/// How often the time alone may change what is to be done.
const LOOK: Duration = Duration::from_mins(1);
/// How soon something is tried again that failed.
const RETRY: Duration = Duration::from_secs(5);
/// How long a request may take.
const LONGEST: Duration = Duration::from_secs(20);

/// Something that was seen.
enum Seen {
    Secret(Box<Option<Secret>>),
    /// The caller at this place of the list; nothing where there is none or it leads elsewhere.
    Caller(usize, Option<Caller>),
    /// A watch does not work.
    Trouble(watcher::Error),
}

/// Who keeps it.
#[expect(clippy::option_option, reason = "whether it was looked for, and whether it is there")]
pub struct Keeper {
    client: Client,
    namespace: String,
    serving: Serving,
    /// The Secret as it was seen last, once it was looked for.
    secret: Option<Option<Secret>>,
    /// The callers as they were seen last, once they were looked for: the definitions, then the configuration.
    callers: Vec<(String, Option<Option<Caller>>)>,
    /// What is served at the moment.
    served: Option<Timestamp>,
}

impl Keeper {
    pub fn new(client: Client, namespace: String, serving: Serving) -> Self {
        let definitions = crd::crds().into_iter().filter_map(|definition| definition.metadata.name);
        let callers = definitions.chain([CONFIGURATION.to_owned()]).map(|name| (name, None));
        let callers = callers.collect();
        Self { client, namespace, serving, secret: None, callers, served: None }
    }

    /// Keeps it for as long as it is awaited.
    pub async fn keep(mut self) {
        let mut seen = self.watch();
        let mut retry = RETRY;
        loop {
            let wait = match Box::pin(self.step(Timestamp::now())).await {
                Ok(()) => {
                    retry = RETRY;
                    LOOK
                }
                // Another replica was faster, and what it did will be seen.
                Err(error) if error.is_conflict() || error.is_gone() => RETRY,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "cannot keep the webhook's certificate; trying again");
                    retry = (retry * 2).min(LOOK);
                    retry
                }
            };
            if let Ok(Some(event)) = tokio::time::timeout(wait, seen.next()).await {
                self.note(event);
            }
            // What came together is looked at together.
            while let Some(Some(event)) = seen.next().now_or_never() {
                self.note(event);
            }
        }
    }

    fn watch(&self) -> SelectAll<BoxStream<'static, Seen>> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let secret = watch_object(secrets, SECRET).default_backoff();
        let secret = secret
            .map(|seen| seen.map_or_else(Seen::Trouble, |secret| Seen::Secret(Box::new(secret))));
        let mut streams = vec![secret.boxed()];
        let last = self.callers.len() - 1;
        for (place, (name, _)) in self.callers.iter().enumerate() {
            let namespace = self.namespace.clone();
            streams.push(if place == last {
                let api = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
                let caller = move |seen: Option<_>| Caller::of_configuration(&seen?, &namespace);
                let watch = watch_object(api, name).default_backoff();
                watch.map(move |seen| caller_seen(place, seen.map(&caller))).boxed()
            } else {
                let api = Api::<Definition>::all(self.client.clone());
                let caller = move |seen: Option<_>| Caller::of_definition(&seen?, &namespace);
                let watch = watch_object(api, name).default_backoff();
                watch.map(move |seen| caller_seen(place, seen.map(&caller))).boxed()
            });
        }
        select_all(streams)
    }

    fn note(&mut self, seen: Seen) {
        match seen {
            Seen::Secret(secret) => self.secret = Some(*secret),
            Seen::Caller(place, caller) => self.callers[place].1 = Some(caller),
            Seen::Trouble(error) => {
                tracing::warn!(error = %Chain(&error), "cannot watch what the webhook's certificate is about; trying again");
            }
        }
    }

    /// Does what the Secret, the callers and the time ask for.
    async fn step(&mut self, now: Timestamp) -> Result<(), ClusterError> {
        let Some(secret) = &self.secret else { return Ok(()) };
        let mut held = secret.as_ref().and_then(read).unwrap_or_default();
        if let Err(error) = self.serve(&held, now) {
            tracing::warn!(error = %Chain(&error), "the webhook's certificates are made anew");
            held = Held::default();
        }
        let authorities = held.authorities();
        let trusted = self.callers.iter().all(|(_, seen)| {
            let caller = seen.as_ref();
            caller.is_some_and(|caller| {
                caller.as_ref().is_none_or(|caller| caller.trusts(&authorities))
            })
        });
        let names = self.names();
        let next = held.next(trusted, &names, now).map_err(ClusterError::Certificate)?;
        if let Some(next) = next {
            let written = within(LONGEST, self.write(&next)).await?;
            self.secret = Some(Some(written));
            self.serve(&next, now).map_err(ClusterError::UnusableCertificate)?;
            // Callers are told of what is in the Secret, and of nothing that another replica has overtaken.
            return Box::pin(self.tell(&next.authorities())).await;
        }
        self.tell(&authorities).await
    }

    /// The names by which API servers call the Service.
    fn names(&self) -> Vec<String> {
        let namespace = &self.namespace;
        vec![
            format!("{SERVICE}.{namespace}.svc"),
            format!("{SERVICE}.{namespace}.svc.cluster.local"),
        ]
    }

    fn serve(&mut self, held: &Held, now: Timestamp) -> Result<(), UnusableCertificate> {
        let Some(generation) = held.served(now) else { return Ok(()) };
        if self.served != Some(generation.made) {
            self.serving.set(generation)?;
            self.served = Some(generation.made);
            tracing::info!(made = %generation.made, until = %generation.until, "the webhook serves this certificate");
        }
        Ok(())
    }

    async fn write(&self, held: &Held) -> Result<Secret, ClusterError> {
        let text = serde_json::to_vec(held).map_err(ClusterError::Encode)?;
        let known = self.secret.iter().flatten().next();
        let labels = [("app.kubernetes.io/name".to_owned(), SERVICE.to_owned())];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.into()),
                labels: Some(labels.into()),
                resource_version: known.and_then(|known| known.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            data: Some([(ENTRY.to_owned(), ByteString(text))].into()),
            ..Secret::default()
        };
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let params = PostParams::default();
        if known.is_some() {
            let written = api.replace(SECRET, &params, &secret).await;
            return written.asked(|| format!("update Secret {SECRET}"));
        }
        api.create(&params, &secret).await.asked(|| format!("create Secret {SECRET}"))
    }

    /// Names the authorities wherever others are named.
    async fn tell(&mut self, authorities: &str) -> Result<(), ClusterError> {
        let last = self.callers.len() - 1;
        let (client, namespace) = (&self.client, &self.namespace);
        let mut outcome = Ok(());
        for (place, (name, seen)) in self.callers.iter_mut().enumerate() {
            let Some(Some(caller)) = seen else { continue };
            if caller.trusts(authorities) {
                continue;
            }
            let told = if place == last {
                let told = caller.tell_configuration(client, name, authorities);
                let told = within(LONGEST, told).await;
                told.map(|told| Caller::of_configuration(&told, namespace))
            } else {
                let told = caller.tell_definition(client, name, authorities);
                let told = within(LONGEST, told).await;
                told.map(|told| Caller::of_definition(&told, namespace))
            };
            match told {
                Ok(told) => {
                    tracing::info!(name, "updated caBundle");
                    *seen = Some(told);
                }
                // The others can be told all the same.
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
}

fn caller_seen(place: usize, seen: Result<Option<Caller>, watcher::Error>) -> Seen {
    seen.map_or_else(Seen::Trouble, |caller| Seen::Caller(place, caller))
}

/// What the Secret holds; nothing where that cannot be read, so that it is made anew.
fn read(secret: &Secret) -> Option<Held> {
    let text = secret.data.as_ref()?.get(ENTRY)?;
    let held = serde_json::from_slice(&text.0);
    if held.is_err() {
        tracing::warn!(
            "the webhook's Secret {SECRET} holds no certificates that can be read; they are made anew"
        );
    }
    held.ok()
}
