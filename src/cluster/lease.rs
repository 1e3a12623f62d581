//! One leader among all replicas, ours and upstream's: whoever holds the lease acts.
//!
//! Invariant: nothing is written on behalf of a lease that may have ended: what writes goes through [`Leadership::act`], which stops
//! before anybody else may take the lease over, also in a process that stood still in between.
//!
//! The same fields and times as Kubernetes' own leader election, so that an installed upstream controller and this one respect each
//! other. A library would tell who leads, but not until when.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

use super::error::{Asked as _, ClusterError};
use crate::Chain;

/// How long a lease lasts, and how it is kept.
#[derive(Debug, Clone)]
pub struct Election {
    /// Namespace of the lease.
    pub namespace: String,
    /// Who this replica is.
    pub identity: String,
    /// Others may take it so long after it was renewed last.
    pub duration: Duration,
    /// Whoever could not renew it for so long stops acting.
    pub renew_deadline: Duration,
    /// Between two tries.
    pub retry_period: Duration,
}

/// Name of the lease: upstream's.
pub const LEASE: &str = "shipwright-build-controller-lock";

/// Until when this replica may act.
#[derive(Debug, Clone, Default)]
pub struct Leadership(Arc<Mutex<Option<Instant>>>);

impl Leadership {
    /// Does what only the leader may do. It is dropped as soon as this replica may not act any more: a request that still waits for a
    /// connection is never sent. The clock is asked each time before it goes on, because timers of a process that was stopped are late.
    pub async fn act<T>(&self, request: impl Future<Output = T>) -> Result<T, ClusterError> {
        let mut request = pin!(request);
        loop {
            let until = self.check()?;
            let going_on = std::future::poll_fn(|cx| match self.check() {
                Ok(_) => request.as_mut().poll(cx).map(Ok),
                Err(error) => Poll::Ready(Err(error)),
            });
            // Renewed meanwhile, it goes on.
            if let Ok(done) = tokio::time::timeout_at(until.into(), going_on).await {
                return done;
            }
        }
    }

    /// Until when this replica may act; an error where it may not any more.
    fn check(&self) -> Result<Instant, ClusterError> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| Instant::now() < *until).ok_or(ClusterError::NotLeading)
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// Whether the API server answers about the lease.
#[derive(Debug, Clone)]
pub struct Contact {
    last: Arc<Mutex<Option<Instant>>>,
    longest: Duration,
}

impl Contact {
    fn new(longest: Duration) -> Self {
        Self { last: Arc::default(), longest }
    }

    fn made(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it did for no longer ago than a lease lasts.
    pub fn is_recent(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < self.longest)
    }
}

/// A candidate for the lease.
pub struct Candidate {
    api: Api<Lease>,
    election: Election,
    leadership: Leadership,
    contact: Contact,
    /// What was seen last of somebody else's lease, and when.
    seen: Option<(Option<String>, Instant)>,
    /// Whom the log named last as the one that has it.
    told: String,
}

impl Candidate {
    pub fn new(client: Client, election: Election, leadership: Leadership) -> Self {
        let api = Api::namespaced(client, &election.namespace);
        let contact = Contact::new(election.duration);
        Self { api, election, leadership, contact, seen: None, told: String::new() }
    }

    /// Whether the API server answers this candidate.
    pub fn contact(&self) -> Contact {
        self.contact.clone()
    }

    /// Comes back once this replica leads.
    pub async fn lead(&mut self) {
        loop {
            match within(self.longest(), self.attempt()).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(error = %Chain(&error), "cannot take the lease"),
            }
            tokio::time::sleep(self.election.retry_period).await;
        }
    }

    /// Comes back once this replica leads no more.
    pub async fn hold(&mut self) {
        while self.leadership.check().is_ok() {
            tokio::time::sleep(self.election.retry_period).await;
            match within(self.longest(), self.attempt()).await {
                Ok(true) => {}
                Ok(false) => self.leadership.set(None),
                Err(error) => tracing::warn!(error = %Chain(&error), "cannot renew the lease"),
            }
        }
    }

    /// Gives it to whoever comes next, so that nobody has to wait for its end.
    pub async fn release(&mut self) -> Result<(), ClusterError> {
        self.leadership.check()?;
        self.leadership.set(None);
        let given = async {
            loop {
                match self.give_away().await {
                    // The last renewal was still on its way.
                    Err(error) if error.is_conflict() => {}
                    outcome => return outcome,
                }
            }
        };
        within(self.longest(), given).await
    }

    async fn give_away(&self) -> Result<(), ClusterError> {
        let Some(mut lease) =
            self.api.get_opt(LEASE).await.asked(|| format!("get Lease {LEASE}"))?
        else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() == Some(&self.election.identity) {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            self.replace(&lease).await?;
        }
        Ok(())
    }

    /// A connection whose other end is gone is given up while there is time for another one.
    fn longest(&self) -> Duration {
        self.election.renew_deadline / 2
    }

    /// Takes or renews the lease where nobody else has it.
    async fn attempt(&mut self) -> Result<bool, ClusterError> {
        let began = Instant::now();
        let known = self.api.get_opt(LEASE).await.asked(|| format!("get Lease {LEASE}"))?;
        self.contact.made();
        let now = MicroTime(Timestamp::now());
        let mut lease = known.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
            spec: None,
        });
        let is_new = lease.metadata.resource_version.is_none();
        let spec = lease.spec.get_or_insert_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let is_mine = holder == self.election.identity;
        if !is_mine
            && !holder.is_empty()
            && !self.has_ended(spec, lease.metadata.resource_version.clone())
        {
            if self.told != holder {
                tracing::info!(holder, "somebody else holds the lease: this replica waits for it");
                self.told = holder;
            }
            return Ok(false);
        }
        if !is_mine {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + i32::from(!is_new));
        }
        spec.holder_identity = Some(self.election.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.election.duration.as_secs()).ok();
        spec.renew_time = Some(now);
        if is_new {
            let created = self.api.create(&PostParams::default(), &lease).await;
            created.asked(|| format!("create Lease {LEASE}"))?;
        } else {
            self.replace(&lease).await?;
        }
        self.leadership.set(Some(began + self.election.renew_deadline));
        Ok(true)
    }

    /// By this replica's clock alone: clocks of machines differ.
    fn has_ended(&mut self, spec: &LeaseSpec, version: Option<String>) -> bool {
        let lasts = spec.lease_duration_seconds.and_then(|seconds| seconds.try_into().ok());
        let lasts = lasts.map_or(self.election.duration, Duration::from_secs);
        match &self.seen {
            Some((known, since)) if *known == version => since.elapsed() > lasts,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    async fn replace(&self, lease: &Lease) -> Result<(), ClusterError> {
        // It carries the version that it was read in: of two candidates one fails.
        let replaced = self.api.replace(LEASE, &PostParams::default(), lease).await;
        replaced.asked(|| format!("update Lease {LEASE}")).map(drop)
    }
}

/// What a request comes to, or an error once it takes longer.
pub async fn within<T>(
    longest: Duration,
    request: impl Future<Output = Result<T, ClusterError>>,
) -> Result<T, ClusterError> {
    let done = tokio::time::timeout(longest, request).await;
    done.unwrap_or(Err(ClusterError::Silent { longest }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn leading(left: Duration) -> Leadership {
        let leadership = Leadership::default();
        leadership.set(Some(Instant::now() + left));
        leadership
    }

    #[tokio::test]
    async fn a_request_is_not_begun_without_the_lease() {
        let begun = AtomicU32::new(0);
        let request = async || begun.fetch_add(1, Ordering::Relaxed);
        let never = Leadership::default();
        assert!(matches!(never.act(request()).await, Err(ClusterError::NotLeading)));
        let over = leading(Duration::ZERO);
        assert!(matches!(over.act(request()).await, Err(ClusterError::NotLeading)));
        assert_eq!(begun.load(Ordering::Relaxed), 0);
        assert!(leading(Duration::from_mins(1)).act(request()).await.is_ok());
    }

    #[tokio::test]
    async fn a_request_that_waits_is_dropped_with_the_lease() {
        let leadership = leading(SOON);
        let done = leadership.act(std::future::pending::<()>()).await;
        assert!(matches!(done, Err(ClusterError::NotLeading)));
    }

    #[tokio::test]
    async fn a_process_that_stood_still_does_not_go_on() {
        let leadership = leading(SOON);
        let sent = AtomicU32::new(0);
        let request = async {
            tokio::task::yield_now().await;
            sent.fetch_add(1, Ordering::Relaxed);
        };
        // Stopped between the first half of the request and the second one; no timer has a turn.
        let stopped = async { std::thread::sleep(SOON * 2) };
        let (done, ()) = futures_util::join!(leadership.act(request), stopped);
        assert!(matches!(done, Err(ClusterError::NotLeading)), "{}", sent.load(Ordering::Relaxed));
        assert_eq!(sent.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_request_goes_on_under_a_renewed_lease() {
        // Long enough for a machine that stands still at the wrong moment.
        let short = Duration::from_secs(2);
        let leadership = leading(short);
        let renewed = leadership.clone();
        let request = async {
            renewed.set(Some(Instant::now() + Duration::from_mins(1)));
            tokio::time::sleep(short + SOON).await;
        };
        assert!(leadership.act(request).await.is_ok());
    }
}
