//! A run and its pods as they are now, however often the watch of them breaks.
//!
//! Invariant: what cannot pass by itself is an error; anything else is tried again and told once.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watched};
use kube::{Api, Error, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::follow::News;
use super::{Cluster, ClusterError};
use crate::api::BuildRun;
use crate::cluster::error::Asked as _;
use crate::plan::labels::RUN_LABEL;

/// So long a cluster may be out of reach.
pub const LONGEST_OUTAGE: Duration = Duration::from_mins(5);
/// What fails again so much later has worked meanwhile: tries are made at most half a minute apart, and each may take as long. Nobody
/// else tells of a watch that goes on, or of a log that is silent.
const RECOVERED: Duration = Duration::from_mins(2);

/// What is known of a run.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// As it was seen last.
    pub run: BuildRun,
    /// It is not there any more.
    pub is_deleted: bool,
    /// It is over, and its pods were looked at since: what has not started by now never will.
    pub is_final: bool,
    /// Its pods, by name, also those that have gone.
    pub pods: BTreeMap<String, SeenPod>,
}

/// A pod as it was seen last.
#[derive(Debug, Clone)]
pub struct SeenPod {
    pub pod: Pod,
    /// It is not there any more.
    pub is_gone: bool,
}

impl Observed {
    /// The run as it is now, with its pods.
    pub async fn now(cluster: &Cluster, name: &str) -> Result<Self, ClusterError> {
        let run: BuildRun = cluster.get(name).await?;
        let mut observed = Self { run, ..Self::default() };
        observed.take_pods(pods(cluster, name).await?);
        Ok(observed)
    }

    /// Nothing is to come of it.
    pub fn is_over(&self) -> bool {
        self.is_deleted || self.run.is_done()
    }

    /// Whether nothing runs any more.
    pub fn have_pods_ended(&self) -> bool {
        self.pods.values().all(|seen| {
            let phase = seen.pod.status.as_ref().and_then(|status| status.phase.as_deref());
            seen.is_gone || matches!(phase, Some("Succeeded" | "Failed"))
        })
    }

    /// All that there are now.
    pub fn take_pods(&mut self, pods: Vec<Pod>) {
        for seen in self.pods.values_mut() {
            seen.is_gone = true;
        }
        for pod in pods {
            self.take_pod(pod);
        }
    }

    fn take_pod(&mut self, pod: Pod) {
        // One of an earlier run of that name.
        if pod.metadata.creation_timestamp < self.run.metadata.creation_timestamp {
            return;
        }
        self.pods.insert(pod.name_any(), SeenPod { pod, is_gone: false });
    }

    fn take_run(&mut self, run: Option<BuildRun>) {
        match run {
            // Another one of that name is not the one that is followed.
            Some(run) if run.metadata.uid == self.run.metadata.uid => self.run = run,
            _ => self.is_deleted = true,
        }
    }

    /// Its pods, the oldest first.
    pub fn pods_in_order(&self) -> Vec<&SeenPod> {
        let mut pods: Vec<_> = self.pods.values().collect();
        pods.sort_by_key(|seen| {
            (seen.pod.metadata.creation_timestamp.clone(), seen.pod.name_any())
        });
        pods
    }
}

/// The pods of a run.
pub async fn pods(cluster: &Cluster, run: &str) -> Result<Vec<Pod>, ClusterError> {
    let api: Api<Pod> = cluster.api();
    let of_run = kube::api::ListParams::default().labels(&selector(run));
    let pods = api.list(&of_run).await;
    Ok(pods.asked(|| format!("list the pods in namespace {}", cluster.namespace))?.items)
}

fn selector(run: &str) -> String {
    format!("{RUN_LABEL}={run}")
}

/// Keeps `observed` as the cluster has it, until that cannot be done.
pub async fn observe(
    cluster: &Cluster,
    name: &str,
    observed: &watch::Sender<Observed>,
    news: &mpsc::Sender<News>,
) -> ClusterError {
    let of_run = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let of_pods = watcher::Config::default().labels(&selector(name));
    let mut runs = watched(cluster.api::<BuildRun>(), of_run).default_backoff().boxed();
    let mut pods = watched(cluster.api::<Pod>(), of_pods).default_backoff().boxed();
    let (mut run_outage, mut pod_outage) = (Outage::default(), Outage::default());
    let (mut listed_run, mut listed_pods) = (None, Vec::new());
    // Neither of the streams ends.
    loop {
        let failed = tokio::select! {
            Some(event) = runs.next() => match event {
                Ok(event) => {
                    run_outage.end();
                    take_run(event, &mut listed_run, observed);
                    continue;
                }
                Err(error) => run_outage.failed(error, "BuildRun"),
            },
            Some(event) = pods.next() => match event {
                Ok(event) => {
                    pod_outage.end();
                    take_pods(event, &mut listed_pods, observed);
                    continue;
                }
                Err(error) => pod_outage.failed(error, "Pods"),
            },
        };
        match failed {
            Ok(None) => {}
            // Whoever does not listen any more ends this.
            Ok(Some(note)) => drop(news.send(News::Note(note)).await),
            Err(error) => return error,
        }
    }
}

fn take_run(
    event: Event<BuildRun>,
    listed: &mut Option<BuildRun>,
    observed: &watch::Sender<Observed>,
) {
    match event {
        Event::Init => *listed = None,
        Event::InitApply(run) => *listed = Some(run),
        Event::InitDone => observed.send_modify(|observed| observed.take_run(listed.take())),
        Event::Apply(run) => observed.send_modify(|observed| observed.take_run(Some(run))),
        Event::Delete(_) => observed.send_modify(|observed| observed.take_run(None)),
    }
}

fn take_pods(event: Event<Pod>, listed: &mut Vec<Pod>, observed: &watch::Sender<Observed>) {
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(pod) => listed.push(pod),
        Event::InitDone => {
            observed.send_modify(|observed| observed.take_pods(std::mem::take(listed)));
        }
        Event::Apply(pod) => observed.send_modify(|observed| observed.take_pod(pod)),
        Event::Delete(pod) => observed.send_modify(|observed| {
            let name = pod.name_any();
            observed.pods.insert(name, SeenPod { pod, is_gone: true });
        }),
    }
}

/// How long something has been out of reach.
#[derive(Debug, Default)]
pub struct Outage {
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Outage {
    /// It is there again.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// Whether this failure is the first one; nothing where it has lasted too long.
    pub fn go_on(&mut self, now: Instant) -> Option<bool> {
        if self.last.replace(now).is_some_and(|last| now - last > RECOVERED) {
            self.since = None;
        }
        let is_first = self.since.is_none();
        let since = *self.since.get_or_insert(now);
        (now - since < LONGEST_OUTAGE).then_some(is_first)
    }

    /// What to tell of a watch that broke.
    fn failed(
        &mut self,
        error: watcher::Error,
        what: &str,
    ) -> Result<Option<String>, ClusterError> {
        let source = match error {
            watcher::Error::InitialListFailed(source)
            | watcher::Error::WatchStartFailed(source)
            | watcher::Error::WatchFailed(source) => source,
            // What was watched is too old: it is listed anew.
            watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => return Ok(None),
        };
        if is_final(&source) {
            return Err(ClusterError::of(format!("watch {what}"), source));
        }
        match self.go_on(Instant::now()) {
            Some(true) => Ok(Some(format!("the watch of {what} broke ({source}); trying again"))),
            Some(false) => Ok(None),
            None => Err(ClusterError::of(format!("watch {what}"), source)),
        }
    }
}

/// Whether it is no use to ask again.
pub fn is_final(error: &Error) -> bool {
    matches!(error, Error::Api(response) if [400, 401, 403, 404, 405].contains(&response.code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_all_the_time_ends_and_what_fails_now_and_then_goes_on() {
        let mut now = Instant::now();
        let mut outage = Outage::default();
        assert_eq!(outage.go_on(now), Some(true));
        for _ in 0..9 {
            now += Duration::from_secs(30);
            assert_eq!(outage.go_on(now), Some(false));
        }
        now += Duration::from_secs(30);
        assert_eq!(outage.go_on(now), None);

        let mut outage = Outage::default();
        for _ in 0..3 {
            assert_eq!(outage.go_on(now), Some(true));
            now += Duration::from_secs(1);
            assert_eq!(outage.go_on(now), Some(false));
            // No word of a watch that has recovered.
            now += Duration::from_mins(6);
        }
        assert_eq!(outage.go_on(now), Some(true));
        outage.end();
        assert_eq!(outage.go_on(now), Some(true));
    }
}
