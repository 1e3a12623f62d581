//! Tells what a run prints and how it goes on, until it ends.
//!
//! Invariant: the lines of one step come in their order, and those of a step before those of the next one.
//! Invariant: nothing waits for ever for a pod whose run has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::log_stream::{ContainerLog, PAUSE, Stopped};
use super::observed::{Observed, Outage, observe, pods};
use super::{Cluster, ClusterError};
use crate::api::{BuildRun, UNKNOWN, reasons};
use crate::plan::{is_step, step_name};

/// After the end of a run its pod has so long to end as well.
const LONGEST_END: Duration = Duration::from_secs(30);

/// What is wanted of a run.
#[derive(Debug, Clone)]
pub struct Following {
    /// Name of the run.
    pub run: String,
    /// Only these steps; all where there are none.
    pub steps: Vec<String>,
    /// Until the run ends; else what there is now.
    pub follow: bool,
}

/// One piece of news of a run.
#[derive(Debug)]
pub enum News {
    /// Something that the user should know and that changes nothing.
    Note(String),
    /// A line that a container printed, without its end. It may hold any bytes.
    Line {
        /// The container, such as `step-build`.
        container: String,
        /// The bytes.
        text: Vec<u8>,
    },
    /// A pod of the run as it is now. Lines of another one follow only once it was told of.
    Pod(Box<Pod>),
}

/// A run at the end of a look at it.
#[derive(Debug, Clone)]
pub struct Ended {
    /// As it was seen last.
    pub run: BuildRun,
    /// It was deleted meanwhile.
    pub is_deleted: bool,
    /// Its newest pod, as it was seen last.
    pub pod: Option<Pod>,
}

/// Tells `news` of a run; nothing more once nobody listens any more.
pub async fn follow(
    cluster: &Cluster,
    following: &Following,
    news: &mpsc::Sender<News>,
) -> Result<Ended, ClusterError> {
    let observed = Observed::now(cluster, &following.run).await?;
    follow_on(cluster, following, news, &watch::Sender::new(observed)).await
}

/// The same, from what was seen of the run, and for others who want to see what happens to it.
pub(super) async fn follow_on(
    cluster: &Cluster,
    following: &Following,
    news: &mpsc::Sender<News>,
    sender: &watch::Sender<Observed>,
) -> Result<Ended, ClusterError> {
    let follower = Follower { cluster, following, news, observed: sender.subscribe() };
    if following.follow {
        follower.until_the_end(sender).await?;
    } else {
        follower.print().await?;
    }
    let observed = sender.borrow();
    let pod = observed.pods_in_order().last().map(|seen| seen.pod.clone());
    Ok(Ended { run: observed.run.clone(), is_deleted: observed.is_deleted, pod })
}

/// Why a run does not go on, where it says so.
fn waits_for(run: &BuildRun) -> Option<String> {
    let condition = run.succeeded().filter(|condition| condition.status == UNKNOWN)?;
    let is_usual = condition.reason == reasons::RUNNING || condition.message == reasons::PENDING;
    (!is_usual).then(|| format!("{}: {}", condition.reason, condition.message))
}

struct Follower<'a> {
    cluster: &'a Cluster,
    following: &'a Following,
    news: &'a mpsc::Sender<News>,
    observed: watch::Receiver<Observed>,
}

impl Follower<'_> {
    async fn print(&self) -> Result<(), ClusterError> {
        let pods = self.observed.borrow().pods_in_order().into_iter().cloned().collect::<Vec<_>>();
        for seen in pods {
            let name = seen.pod.name_any();
            let (turns, others) = self.containers(&seen.pod)?;
            if self.tell(News::Pod(Box::new(seen.pod))).await.is_err() {
                return Ok(());
            }
            for container in turns.iter().chain(&others) {
                match self.log(&name, container).print().await {
                    Err(Stopped::Unheard) => return Ok(()),
                    Err(Stopped::Failed(error)) => return Err(error),
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    async fn until_the_end(&self, sender: &watch::Sender<Observed>) -> Result<(), ClusterError> {
        let watching = observe(self.cluster, &self.following.run, sender, self.news);
        tokio::pin!(watching);
        let mut observed = self.observed.clone();
        observed.mark_changed();
        let mut known = BTreeMap::new();
        let mut told = String::new();
        // All there will be is known, and its logs are under way.
        let mut is_final = false;
        let mut logs = FuturesUnordered::new();
        // Far away until the run has ended.
        let end = tokio::time::sleep(Duration::from_hours(24 * 365));
        tokio::pin!(end);
        loop {
            if is_final && logs.is_empty() {
                return Ok(());
            }
            tokio::select! {
                error = &mut watching => return Err(error),
                Some(ended) = logs.next(), if !logs.is_empty() => match ended {
                    Err(Stopped::Unheard) => return Ok(()),
                    Err(Stopped::Failed(error)) => return Err(error),
                    Ok(()) => {}
                },
                // The logs of what has ended come to an end themselves, however long they are.
                () = &mut end, if !observed.borrow().have_pods_ended() => {
                    let text = "the run has ended and its pod has not; the end of its log may be missing";
                    drop(self.tell(News::Note(text.into())).await);
                    return Ok(());
                }
                _ = observed.changed() => {
                    let now = observed.borrow_and_update().clone();
                    if now.is_over() && !now.is_final {
                        self.look_once_more(sender).await?;
                        end.as_mut().reset(Instant::now() + LONGEST_END);
                        continue;
                    }
                    is_final = now.is_final;
                    if let Some(note) = waits_for(&now.run).filter(|note| *note != told) {
                        drop(self.tell(News::Note(note.clone())).await);
                        told = note;
                    }
                    for seen in now.pods_in_order() {
                        let name = seen.pod.name_any();
                        let is_new = !known.contains_key(&name);
                        if is_new && seen.is_gone {
                            continue;
                        }
                        if is_new && !known.is_empty() {
                            let text = format!("the run goes on in another pod, {name}");
                            drop(self.tell(News::Note(text)).await);
                        }
                        let version = seen.pod.resource_version();
                        if known.insert(name.clone(), version.clone()) == Some(version) {
                            continue;
                        }
                        if self.tell(News::Pod(Box::new(seen.pod.clone()))).await.is_err() {
                            return Ok(());
                        }
                        if is_new {
                            logs.push(self.logs(name, self.containers(&seen.pod)?));
                        }
                    }
                }
            }
        }
    }

    /// The watch of the pods may be behind that of the run.
    async fn look_once_more(&self, sender: &watch::Sender<Observed>) -> Result<(), ClusterError> {
        let mut outage = Outage::default();
        let pods = loop {
            match pods(self.cluster, &self.following.run).await {
                Ok(pods) => break pods,
                // Whoever has seen the run end is not let down by the next broken connection.
                Err(ClusterError::Request { .. }) if outage.go_on(Instant::now()).is_some() => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
        sender.send_modify(|observed| {
            observed.take_pods(pods);
            observed.is_final = true;
        });
        Ok(())
    }

    /// Everything that a pod prints: each step when it is its turn, and what runs beside them. It ends with the pod.
    async fn logs(
        &self,
        pod: String,
        (turns, others): (Vec<String>, Vec<String>),
    ) -> Result<(), Stopped> {
        let steps = async {
            for container in &turns {
                self.log(&pod, container).follow().await?;
            }
            Ok(())
        };
        let others = join_all(others.iter().map(|container| self.log(&pod, container).follow()));
        let others = async { others.await.into_iter().collect::<Result<Vec<()>, _>>().map(drop) };
        tokio::try_join!(steps, others).map(drop)
    }

    fn log<'a>(&'a self, pod: &'a str, container: &'a str) -> ContainerLog<'a> {
        ContainerLog {
            cluster: self.cluster,
            pod,
            container,
            observed: self.observed.clone(),
            news: self.news,
        }
    }

    /// The wanted containers: those that run one after another, in their order, and those that run beside them.
    fn containers(&self, pod: &Pod) -> Result<(Vec<String>, Vec<String>), ClusterError> {
        let spec = pod.spec.clone().unwrap_or_default();
        let before = spec.init_containers.unwrap_or_default();
        let is_beside =
            |container: &Container| container.restart_policy.as_deref() == Some("Always");
        let (beside, first): (Vec<_>, Vec<_>) = before.into_iter().partition(is_beside);
        let (steps, others): (Vec<_>, Vec<_>) =
            spec.containers.into_iter().partition(|container| is_step(&container.name));
        let wanted = &self.following.steps;
        let is_wanted = |name: &str| {
            wanted.is_empty()
                || wanted.iter().any(|wanted| wanted == step_name(name) || wanted == name)
        };
        let names = |containers: Vec<Container>| {
            containers.into_iter().map(|container| container.name).collect::<Vec<_>>()
        };
        let (first, steps) = (names(first), names(steps));
        let beside = [names(beside), names(others)].concat();
        let turns = [first, steps].concat();
        let all = || turns.iter().chain(&beside);
        let is_there =
            |step: &&String| all().any(|name| name == *step || step_name(name) == step.as_str());
        if let Some(unknown) = wanted.iter().find(|step| !is_there(step)) {
            let known = all().map(|name| step_name(name).to_owned());
            return Err(ClusterError::NoStep {
                step: unknown.clone(),
                run: self.following.run.clone(),
                known: known.collect(),
            });
        }
        let keep = |names: Vec<String>| names.into_iter().filter(|name| is_wanted(name)).collect();
        Ok((keep(turns), keep(beside)))
    }

    async fn tell(&self, news: News) -> Result<(), Stopped> {
        self.news.send(news).await.map_err(|_| Stopped::Unheard)
    }
}
