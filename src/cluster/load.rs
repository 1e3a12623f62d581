//! Fetches everything that one run depends on.
//!
//! Invariant: what is not there is data; only what cannot be asked is an error.
//! Invariant: of Secrets and ConfigMaps nothing is kept but what `plan` may know.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream, try_join};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Namespace, Secret, ServiceAccount};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::build::run_of;
use super::error::{Asked as _, ClusterError};
use super::reads::Reads;
use crate::api::{
    Build, BuildRun, BuildSpec, BuildStrategy, ClusterBuildStrategy, Strategy, StrategyRef,
};
use crate::plan::pod_security::{ENFORCE_LABEL, Level};
use crate::plan::{
    Loaded, NamespaceFacts, Presence, References, Roots, SecretFacts, larger, references,
};

/// Objects of one kind that are asked for at once, on behalf of one that names them.
const AT_ONCE: usize = 16;

/// What is looked up beside objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// What images run of which a step says no command.
    Images,
    /// Nothing.
    Nothing,
}

/// A kind that is known when this is compiled.
trait Kind:
    Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

/// Reads objects of one cluster.
#[derive(Clone)]
pub struct Loader {
    pub client: Client,
    /// Registries that are asked about images without TLS, or with any certificate.
    pub insecure_registries: Vec<String>,
    /// Reads that are under way.
    pub reads: Reads,
}

impl Loader {
    /// Reads what was there when something came, or later.
    pub fn since(&self, since: Option<Instant>) -> Self {
        Self { reads: self.reads.since(since), ..self.clone() }
    }

    /// Everything that a run names.
    pub async fn run(&self, buildrun: &BuildRun, lookup: Lookup) -> Result<Loaded, ClusterError> {
        let roots = self.roots(buildrun).await?;
        self.rest(&buildrun.namespace().unwrap_or_default(), roots, lookup).await
    }

    /// Everything that a Build names, be it stored or not.
    pub async fn build_as_given(&self, build: &Build) -> Result<Loaded, ClusterError> {
        let namespace = build.namespace().unwrap_or_default();
        let strategy = self.strategy_of(&namespace, Some(&build.spec)).await?;
        let roots = Roots {
            buildrun: run_of(build),
            build: Some(Presence::Found(build.clone())),
            strategy,
        };
        self.rest(&namespace, roots, Lookup::Nothing).await
    }

    /// The run, its Build and its strategy.
    pub async fn roots(&self, buildrun: &BuildRun) -> Result<Roots, ClusterError> {
        let namespace = buildrun.namespace().unwrap_or_default();
        let build = match (&buildrun.spec.build.name, &buildrun.spec.build.spec) {
            (Some(name), None) => Some(self.build(&namespace, name).await?),
            _ => None,
        };
        let spec = buildrun.spec.build.spec.as_ref();
        let spec = spec.or(build.as_ref().and_then(Presence::found).map(|build| &build.spec));
        let strategy = self.strategy_of(&namespace, spec).await?;
        Ok(Roots { buildrun: buildrun.clone(), build, strategy })
    }

    /// A Build of that name.
    pub async fn build(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Presence<Build>, ClusterError> {
        Ok(present(self.readable(Build::KIND, namespace, name).await?))
    }

    async fn strategy_of(
        &self,
        namespace: &str,
        spec: Option<&BuildSpec>,
    ) -> Result<Option<Presence<Strategy>>, ClusterError> {
        let Some(StrategyRef { name, kind, .. }) = spec.map(|spec| &spec.strategy) else {
            return Ok(None);
        };
        Ok(match kind.as_deref().unwrap_or(BuildStrategy::KIND) {
            BuildStrategy::KIND => {
                let found = self.readable::<BuildStrategy>(BuildStrategy::KIND, namespace, name);
                Some(
                    found.await?.map_or(Presence::Absent, |found| {
                        Presence::Found(Strategy::Namespaced(found))
                    }),
                )
            }
            ClusterBuildStrategy::KIND => {
                let api = Api::<DeserializeGuard<ClusterBuildStrategy>>::all(self.client.clone());
                let found = self.get(&api, ClusterBuildStrategy::KIND, "", name).await?;
                Some(
                    found.map_or(Presence::Absent, |found| {
                        Presence::Found(Strategy::Cluster(found))
                    }),
                )
            }
            // Its name is judged without it.
            _ => None,
        })
    }

    async fn readable<K>(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<K>, ClusterError>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope>,
    {
        let api = Api::<DeserializeGuard<K>>::namespaced(self.client.clone(), namespace);
        self.get(&api, kind, namespace, name).await
    }

    async fn get<K>(
        &self,
        api: &Api<DeserializeGuard<K>>,
        kind: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<K>, ClusterError>
    where
        K: Kind,
    {
        let found = self.reads.share(namespace, name, api.get_opt(name)).await;
        let found = found.asked(|| format!("get {kind} {name}"))?;
        found
            .map(|DeserializeGuard(read)| {
                read.map_err(|invalid| ClusterError::Unreadable {
                    kind,
                    name: name.into(),
                    message: invalid.error,
                })
            })
            .transpose()
    }

    async fn rest(
        &self,
        namespace: &str,
        roots: Roots,
        lookup: Lookup,
    ) -> Result<Loaded, ClusterError> {
        let References { secrets, config_maps, service_accounts, images, .. } = references(&roots);
        let tried = service_accounts.clone();
        let accounts = self.named(namespace, service_accounts, |account: ServiceAccount| account);
        let maps = self.named(namespace, config_maps, |_: ConfigMap| ());
        let (service_accounts, config_maps, namespace_facts) =
            try_join!(accounts, maps, self.namespace(namespace))?;
        let mut secrets = secrets;
        for account in service_accounts.values().filter_map(Presence::found) {
            let listed = account.secrets.iter().flatten().filter_map(|secret| secret.name.clone());
            secrets.extend(listed.filter(|name| !name.is_empty()));
        }
        let secrets = self.named(namespace, secrets, |secret: Secret| SecretFacts {
            type_: secret.type_,
            annotations: secret.metadata.annotations.unwrap_or_default(),
        });
        let (image_commands, image_problems) = match lookup {
            Lookup::Images => {
                let account = tried.iter().find_map(|name| service_accounts.get(name)?.found());
                self.image_commands(namespace, images, account).await?
            }
            Lookup::Nothing => {
                let assumed = images.into_iter().map(|image| (image, Presence::Assumed));
                (assumed.collect(), BTreeMap::new())
            }
        };
        Ok(Loaded {
            secrets: secrets.await?,
            config_maps,
            service_accounts,
            image_commands,
            image_problems,
            namespace: namespace_facts,
            roots,
        })
    }

    /// Objects of one kind by name, and what is to be known of them.
    async fn named<K, T>(
        &self,
        namespace: &str,
        names: impl IntoIterator<Item = String>,
        facts: impl Fn(K) -> T,
    ) -> Result<BTreeMap<String, Presence<T>>, ClusterError>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope>,
        T: Clone + Send + Sync + 'static,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let kind = K::kind(&());
        let fetched = names.into_iter().map(async |name| {
            // No object is called so.
            if name.is_empty() {
                return Ok((name, Presence::Absent));
            }
            let read = async { Ok(present(api.get_opt(&name).await?.map(&facts))) };
            let found = self.reads.share(namespace, &name, read).await;
            let found = found.asked(|| format!("get {kind} {name}"))?;
            Ok::<_, ClusterError>((name, found))
        });
        stream::iter(fetched).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn namespace(&self, name: &str) -> Result<NamespaceFacts, ClusterError> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let ranges = Api::<LimitRange>::namespaced(self.client.clone(), name);
        let everything = ListParams::default();
        let (namespace, ranges) = futures_util::join!(
            self.reads.share("", name, namespaces.get_metadata_opt(name)),
            self.reads.share(name, "", ranges.list(&everything)),
        );
        let namespace = namespace.asked(|| format!("get Namespace {name}"))?;
        let ranges = ranges.asked(|| "list LimitRanges".into())?;
        let enforces = namespace
            .as_ref()
            .and_then(|namespace| Level::of_word(namespace.labels().get(ENFORCE_LABEL)?));
        let mut minimum_requests = BTreeMap::new();
        let limits =
            ranges.items.into_iter().filter_map(|range| range.spec).flat_map(|spec| spec.limits);
        for limit in limits.filter(|limit| limit.type_ == "Container") {
            for (resource, least) in limit.min.into_iter().flatten() {
                let known = minimum_requests.remove(&resource);
                minimum_requests.insert(
                    resource,
                    match known {
                        Some(known) => larger(known, least),
                        None => least,
                    },
                );
            }
        }
        Ok(NamespaceFacts { enforces, minimum_requests })
    }
}

fn present<T>(found: Option<T>) -> Presence<T> {
    found.map_or(Presence::Absent, Presence::Found)
}
