//! How the webhook speaks TLS, and with which certificate.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring::{self, cipher_suite, sign};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};

use super::generation::Generation;

/// What may be spoken.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Versions, newest first.
    versions: &'static [&'static SupportedProtocolVersion],
    /// Cipher suites of TLS 1.2; without any, all that are safe. Those of TLS 1.3 cannot be chosen, as in Go.
    suites: Vec<SupportedCipherSuite>,
}

const FROM_12: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const FROM_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// By the names that Go has for them.
const SUITES: [(&str, SupportedCipherSuite); 8] = [
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];
/// The certificate's key is of that kind, so no other suite of TLS 1.2 can be used.
const USABLE: &str = "TLS_ECDHE_ECDSA_";

impl Default for TlsSettings {
    fn default() -> Self {
        Self { versions: FROM_12, suites: Vec::new() }
    }
}

impl TlsSettings {
    /// Nothing older than this version, such as `VersionTLS13`. Nothing before 1.2 is spoken in any case.
    pub fn set_min_version(&mut self, text: &str) -> Result<(), String> {
        self.versions = match text {
            "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => FROM_12,
            "VersionTLS13" => FROM_13,
            _ => {
                return Err(format!(
                    "{text:?} is none of VersionTLS10, VersionTLS11, VersionTLS12 and VersionTLS13"
                ));
            }
        };
        Ok(())
    }

    /// Nothing but these cipher suites of TLS 1.2, with commas between.
    pub fn set_cipher_suites(&mut self, text: &str) -> Result<(), String> {
        let names: Vec<&str> =
            text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let suite = |name: &str| SUITES.iter().find(|(known, _)| *known == name);
        let unknown: Vec<&str> =
            names.iter().copied().filter(|name| suite(name).is_none()).collect();
        let all: Vec<&str> = SUITES.iter().map(|(name, _)| *name).collect();
        if !unknown.is_empty() {
            return Err(format!(
                "{} cannot be used; only {} can",
                unknown.join(", "),
                all.join(", ")
            ));
        }
        if self.versions == FROM_12 && !names.iter().any(|name| name.starts_with(USABLE)) {
            return Err(format!(
                "the webhook's key is an elliptic curve's: one of the suites must begin with {USABLE}"
            ));
        }
        self.suites =
            names.iter().filter_map(|name| suite(name)).map(|(_, suite)| *suite).collect();
        Ok(())
    }

    /// Whether suites were chosen that can never be used.
    pub fn ignores_suites(&self) -> bool {
        self.versions == FROM_13 && !self.suites.is_empty()
    }

    /// A server that speaks so, with whatever certificate is the one to serve at the time.
    pub fn server(&self, serving: Serving) -> Result<ServerConfig, rustls::Error> {
        let mut provider = ring::default_provider();
        if !self.suites.is_empty() {
            let is_wanted = |suite: &SupportedCipherSuite| {
                suite.tls13().is_some() || self.suites.contains(suite)
            };
            provider.cipher_suites.retain(is_wanted);
        }
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(self.versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(serving));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// The certificate that is served, once there is one.
#[derive(Debug, Clone, Default)]
pub struct Serving(Arc<RwLock<Option<Arc<CertifiedKey>>>>);

impl Serving {
    /// From now on this one.
    pub fn set(&self, generation: &Generation) -> Result<(), UnusableCertificate> {
        let chain = CertificateDer::pem_slice_iter(generation.certificate.as_bytes());
        let chain = chain.collect::<Result<_, _>>().map_err(UnusableCertificate::Pem)?;
        let key = PrivateKeyDer::from_pem_slice(generation.key.as_bytes());
        let key = key.map_err(UnusableCertificate::Pem)?;
        let key = sign::any_supported_type(&key).map_err(UnusableCertificate::Key)?;
        let certificate = CertifiedKey::new(chain, key);
        certificate.keys_match().map_err(UnusableCertificate::Key)?;
        let mut serving = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *serving = Some(Arc::new(certificate));
        Ok(())
    }

    /// Whether anybody can be answered.
    pub fn is_ready(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the Secret holds is no certificate with its key. Neither is repeated.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCertificate {
    /// Not even text of that form.
    #[error("the webhook's certificate cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The key cannot be used, or is another certificate's.
    #[error("the webhook's key cannot be used with its certificate")]
    Key(#[source] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_the_names_of_go() {
        let mut settings = TlsSettings::default();
        for (name, versions) in [
            ("VersionTLS10", FROM_12),
            ("VersionTLS11", FROM_12),
            ("VersionTLS12", FROM_12),
            ("VersionTLS13", FROM_13),
        ] {
            settings.set_min_version(name).unwrap();
            assert_eq!(settings.versions, versions);
        }
        settings.set_min_version("1.2").unwrap_err();
    }

    #[test]
    fn only_suites_that_can_be_used_are_taken() {
        let mut settings = TlsSettings::default();
        settings
            .set_cipher_suites(
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
            )
            .unwrap();
        assert_eq!(settings.suites.len(), 2);
        assert!(!settings.ignores_suites());
        let offered = settings.server(Serving::default()).unwrap();
        let offered = &offered.crypto_provider().cipher_suites;
        assert_eq!(offered.iter().filter(|suite| suite.tls13().is_none()).count(), 2);
        assert_eq!(offered.iter().filter(|suite| suite.tls13().is_some()).count(), 3);

        let old = settings.set_cipher_suites("TLS_RSA_WITH_AES_128_CBC_SHA,X").unwrap_err();
        assert!(old.starts_with("TLS_RSA_WITH_AES_128_CBC_SHA, X cannot be used; only "), "{old}");
        settings.set_cipher_suites("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256").unwrap_err();
        settings.set_min_version("VersionTLS13").unwrap();
        settings.set_cipher_suites("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256").unwrap();
        assert!(settings.ignores_suites());
    }
}
