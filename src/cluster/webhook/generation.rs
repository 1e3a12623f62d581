//! A certificate for the webhook, together with the authority that signed it.
//!
//! Invariant: an authority signs one certificate, and its key is gone with the call that made it: whoever reads the Secret can serve in
//! the webhook's name until the certificate ends, and can make no other certificate that the API server would trust.

use std::fmt;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde::{Deserialize, Serialize};

/// How long a certificate and its authority are valid.
pub const LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Clocks differ: certificates are valid so long before they were made.
const SKEW: SignedDuration = SignedDuration::from_hours(1);

/// One certificate and its authority.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Certificate of the authority, as PEM.
    pub authority: String,
    /// The certificate that is served, as PEM.
    pub certificate: String,
    /// Its private key, as PEM.
    pub key: String,
    /// When it was made.
    pub made: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Since when everybody who calls the webhook trusts the authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<Timestamp>,
}

/// Without the key.
impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made, until, trusted, .. } = self;
        f.debug_struct("Generation")
            .field("made", made)
            .field("until", until)
            .field("trusted", trusted)
            .finish_non_exhaustive()
    }
}

impl Generation {
    /// A new one for a server that is called by these names.
    pub fn make(names: &[String], now: Timestamp) -> Result<Self, rcgen::Error> {
        let until = now + LIFE;
        let mut authority = params(Vec::new(), &format!("slipway webhook authority {now}"), now)?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let mut served = params(names.to_vec(), "slipway webhook", now)?;
        served.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        served.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        served.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = served.signed_by(&key, &issuer)?;
        Ok(Self {
            authority: authority_certificate.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            made: now,
            until,
            trusted: None,
        })
    }
}

fn params(
    names: Vec<String>,
    common_name: &str,
    now: Timestamp,
) -> Result<CertificateParams, rcgen::Error> {
    let epoch = date_time_ymd(1970, 1, 1);
    let seconds = |at: Timestamp| Duration::from_secs(at.as_second().unsigned_abs());
    let mut params = CertificateParams::new(names)?;
    params.not_before = epoch + seconds(now - SKEW);
    params.not_after = epoch + seconds(now + LIFE);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}
