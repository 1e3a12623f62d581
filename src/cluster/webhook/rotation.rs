//! Which certificate is served when, and when a new one is made.
//!
//! Invariant: what is served is signed by an authority that everybody who calls the webhook has been told of, unless there is no other.
//! Invariant: the Secret and the time decide, so all replicas come to the same.
//!
//! Of the Secret and the objects that name the authorities nobody writes both at once, and an API server hears of a change a moment later.
//! So a new certificate is made long before the old one ends, its authority is told to everybody, and only then it is served.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::generation::Generation;

/// So long before a certificate ends, the next one is made.
const RENEW: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long every API server may take to hear of a new authority.
const SETTLE: SignedDuration = SignedDuration::from_mins(10);

/// What the Secret holds, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    generations: Vec<Generation>,
}

impl Held {
    /// All authorities as PEM: one of them has signed whatever any replica serves.
    pub fn authorities(&self) -> String {
        self.generations.iter().map(|generation| generation.authority.as_str()).collect()
    }

    /// The newest that everybody trusts; without any, the one that they will be told of first.
    pub fn served(&self, now: Timestamp) -> Option<&Generation> {
        let is_settled = |generation: &&Generation| {
            generation.trusted.is_some_and(|since| since + SETTLE <= now)
        };
        self.generations.iter().rev().find(is_settled).or(self.generations.first())
    }

    /// What the Secret should hold from now on, where that differs. `trusted` says whether everybody who calls the webhook has been told
    /// of all authorities.
    pub fn next(
        &self,
        trusted: bool,
        names: &[String],
        now: Timestamp,
    ) -> Result<Option<Self>, rcgen::Error> {
        let mut next = self.clone();
        next.generations.retain(|generation| generation.until > now);
        if trusted {
            for generation in &mut next.generations {
                generation.trusted.get_or_insert(now);
            }
        }
        let newest = next.generations.last();
        if newest.is_none_or(|newest| newest.until - RENEW <= now) {
            next.generations.push(Generation::make(names, now)?);
        }
        Ok((next != *self).then_some(next))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::super::generation::LIFE;
    use super::*;

    const NAME: &str = "slipway-webhook.shipwright-build.svc";

    fn names() -> Vec<String> {
        vec![NAME.into()]
    }

    fn begin() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    /// Whether somebody who trusts these authorities takes the certificate.
    fn accepts(
        authorities: &str,
        served: &Generation,
        now: Timestamp,
    ) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let certificate = CertificateDer::from_pem_slice(served.certificate.as_bytes()).unwrap();
        let now = Duration::from_secs(now.as_second().unsigned_abs());
        let name = ServerName::try_from(NAME).unwrap();
        let now = UnixTime::since_unix_epoch(now);
        verifier.verify_server_cert(&certificate, &[], &name, &[], now).map(drop)
    }

    /// Two years, step by step: callers hear of authorities late, and one replica hears of the Secret late.
    #[test]
    fn whoever_calls_always_trusts_what_any_replica_serves() {
        let step = SignedDuration::from_mins(20);
        let mut held = Held::default().next(false, &names(), begin()).unwrap().unwrap();
        let mut told = held.authorities();
        let mut late = held.clone();
        let mut served = std::collections::BTreeSet::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut now = begin();
        for step_number in 0..(2 * 365 * 24 * 3) {
            for replica in [&held, &late] {
                let certificate = replica.served(now).unwrap();
                served.insert(certificate.made);
                // Looking costs a signature: each pair once a day.
                let day = now.as_second() / (24 * 60 * 60);
                if seen.insert((day, told.clone(), certificate.made)) {
                    accepts(&told, certificate, now).unwrap_or_else(|error| {
                        panic!("at {now}, {certificate:?} is refused: {error}")
                    });
                }
            }
            late = held.clone();
            let is_told = told == held.authorities();
            if let Some(next) = held.next(is_told, &names(), now).unwrap() {
                held = next;
            } else if step_number % 7 == 0 {
                told = held.authorities();
            }
            now += step;
        }
        assert_eq!(served.len(), 13, "a certificate each sixty days");
        assert!(held.generations.len() <= 2, "{held:?}");
    }

    #[test]
    fn an_authority_that_callers_were_not_told_of_is_not_used() {
        let first = Held::default().next(false, &names(), begin()).unwrap().unwrap();
        let first = first.next(true, &names(), begin()).unwrap().unwrap();
        let later = begin() + LIFE - RENEW;
        let second = first.next(true, &names(), later).unwrap().unwrap();
        assert_eq!(second.generations.len(), 2);
        assert_eq!(second.served(later + SETTLE), first.served(begin()));
        assert_eq!(second.next(false, &names(), later + SETTLE).unwrap(), None);

        let told = second.next(true, &names(), later).unwrap().unwrap();
        assert_eq!(told.served(later), first.served(begin()), "not everybody has heard of it");
        assert_eq!(told.served(later + SETTLE), told.generations.last());

        // Nothing else is left at last.
        let end = begin() + LIFE;
        let last = second.next(false, &names(), end).unwrap().unwrap();
        assert_eq!(last.served(end), second.generations.last());
    }

    #[test]
    fn a_certificate_is_for_its_names_and_its_time_alone() {
        let held = Held::default().next(false, &names(), begin()).unwrap().unwrap();
        let served = held.served(begin()).unwrap();
        accepts(&held.authorities(), served, begin()).unwrap();
        accepts(&held.authorities(), served, begin() + LIFE + SignedDuration::from_secs(1))
            .unwrap_err();
        let other = Held::default().next(false, &names(), begin()).unwrap().unwrap();
        accepts(&other.authorities(), served, begin()).unwrap_err();
        let other = Generation::make(&["slipway-webhook.team.svc".into()], begin()).unwrap();
        accepts(&other.authority, &other, begin()).unwrap_err();
    }

    #[test]
    fn no_key_is_printed() {
        let held = Held::default().next(false, &names(), begin()).unwrap().unwrap();
        let printed = format!("{held:?}");
        assert!(printed.contains("until: 2027-02-19"), "{printed}");
        assert!(!printed.contains("PRIVATE") && !printed.contains("BEGIN"), "{printed}");
    }
}
