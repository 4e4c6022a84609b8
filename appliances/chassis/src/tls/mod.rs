//! TLS by rustls with ring: who we say we are, and how it changes while we run.
//!
//! Until a real certificate is set, a leaf of the local authority is served; it names every host of the appliance,
//! `localhost` and the addresses that we listen on. A certificate set later is served for the names that it holds.

mod authority;

use std::net::IpAddr;
use std::sync::{Arc, RwLock};

pub use authority::{Authority, Leaf, new_key};
use rustls::ServerConfig;
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The PEM text has no certificate or no key in it.
    #[error("{what} is not a PEM {wanted}: {reason}")]
    Pem {
        /// Which file or field.
        what: String,
        /// `certificate` or `private key`.
        wanted: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// Key and certificate do not belong together, or rustls cannot use them.
    #[error("this certificate and key cannot be used together: {0}")]
    Unusable(#[from] rustls::Error),
    /// The local authority could not sign.
    #[error("the local certificate authority cannot sign: {0}")]
    Signing(#[from] rcgen::Error),
}

/// The certificates that an appliance serves. Clones share them: a change is seen by the next handshake.
#[derive(Debug, Clone)]
pub struct Tls {
    served: Arc<Served>,
    web: Arc<ServerConfig>,
    plain: Arc<ServerConfig>,
}

/// What a certificate says to those who know its key (RFC 6698).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The DNS names that it holds.
    pub names: Vec<String>,
    /// SHA-256 of its public key (SubjectPublicKeyInfo): the data of a TLSA record `3 1 1`.
    pub key_sha256: [u8; 32],
}

impl Shown {
    /// Reads a certificate.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Shown, TlsError> {
        let parsed = rustls::server::ParsedCertificate::try_from(certificate)?;
        let sum = ring::digest::digest(&ring::digest::SHA256, &parsed.subject_public_key_info());
        let mut key_sha256 = [0; 32];
        key_sha256.copy_from_slice(sum.as_ref());
        Ok(Shown { names: authority::names_of(certificate), key_sha256 })
    }

    /// Whether a client that asks for this name is shown the certificate, once it is set.
    pub fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| matches(pattern, name))
    }
}

#[derive(Debug, Default)]
struct Served {
    keys: RwLock<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    local: Option<Arc<CertifiedKey>>,
    given: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl Tls {
    /// Starts with the local authority's leaf.
    pub fn new(leaf: &Leaf) -> Result<Tls, TlsError> {
        let served = Arc::new(Served::default());
        let tls = Tls {
            web: Arc::new(server_config(&served, WEB_PROTOCOLS)?),
            plain: Arc::new(server_config(&served, &[])?),
            served,
        };
        tls.set_local(leaf)?;
        Ok(tls)
    }

    /// Serves another leaf of the local authority from now on.
    pub fn set_local(&self, leaf: &Leaf) -> Result<(), TlsError> {
        let key = certified("the local certificate", &leaf.certificate_pem, &leaf.key_pem)?;
        self.write().local = Some(key);
        Ok(())
    }

    /// Serves real certificates (PEM chain and key each) for the names that they hold. Replaces those set before; with an
    /// error nothing changes.
    pub fn set_given(&self, certificates: &[(String, String)]) -> Result<(), TlsError> {
        let mut given = Vec::new();
        for (certificate, key) in certificates {
            let key = certified("tls/certificate.pem", certificate, key)?;
            given.push((authority::names_of(key.end_entity_cert()?), key));
        }
        self.write().given = given;
        Ok(())
    }

    /// Whether a certificate and its key could be served; says what the certificate is.
    pub fn check(certificate: &str, key: &str) -> Result<Shown, TlsError> {
        let key = certified("tls/certificate.pem", certificate, key)?;
        Shown::of(key.end_entity_cert()?)
    }

    /// For HTTPS: ALPN offers HTTP/2 (where it is built in) and HTTP/1.1.
    pub fn web(&self) -> tokio_rustls::TlsAcceptor {
        self.web.clone().into()
    }

    /// For DNS over TLS: transfers want the protocol's name, `dot`, confirmed (RFC 9103 section 7.1).
    ///
    /// # Errors
    /// When rustls has no protocol version for it.
    pub fn dns(&self) -> Result<tokio_rustls::TlsAcceptor, TlsError> {
        Ok(Arc::new(server_config(&self.served, &[b"dot"])?).into())
    }

    /// For protocols without ALPN: SMTP, IMAP.
    pub fn plain(&self) -> tokio_rustls::TlsAcceptor {
        self.plain.clone().into()
    }

    /// What a client asking for `name` is shown.
    ///
    /// # Errors
    /// When there is no certificate at all, or it cannot be read.
    pub fn shown(&self, name: &str) -> Result<Shown, TlsError> {
        let key = self.served.pick(Some(name)).ok_or(rustls::Error::NoCertificatesPresented)?;
        Shown::of(key.end_entity_cert()?)
    }

    /// The certificate that a client asking for `name` is shown, in DER.
    pub fn shown_to(&self, name: Option<&str>) -> Option<CertificateDer<'static>> {
        let key = self.served.pick(name)?;
        key.end_entity_cert().ok().map(|certificate| certificate.clone().into_owned())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Keys> {
        self.served.keys.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Served {
    fn pick(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let keys = self.keys.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let given = name.and_then(|name| {
            let fits = |pattern: &String| matches(pattern, name);
            keys.given.iter().find(|(names, _)| names.iter().any(fits))
        });
        given.map(|(_, key)| key).or(keys.local.as_ref()).cloned()
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pick(hello.server_name())
    }
}

/// A certificate's name against a host name: equal, or a wildcard for the first label (RFC 6125 section 6.4.3).
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
        None => pattern.eq_ignore_ascii_case(name),
    }
}

fn server_config(served: &Arc<Served>, protocols: &[&[u8]]) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(served.clone());
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    Ok(config)
}

fn certified(what: &str, certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, TlsError> {
    let pem = |wanted, reason: &dyn std::fmt::Display| TlsError::Pem {
        what: what.to_owned(),
        wanted,
        reason: reason.to_string(),
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| pem("certificate", &error))?;
    if chain.is_empty() {
        return Err(pem("certificate", &"there is none in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| pem("private key", &error))?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider::default_provider())?))
}

/// The names that a certificate of an appliance must hold: the domain, its hosts, `localhost`, and the addresses.
pub fn names_and_addresses(domain: &str, labels: &[&str], bind: &[IpAddr]) -> (Vec<String>, Vec<IpAddr>) {
    let mut names = vec![domain.to_owned(), "localhost".to_owned()];
    names.extend(labels.iter().map(|label| format!("{label}.{domain}")));
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()];
    for address in bind {
        if !address.is_unspecified() && !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    (names, addresses)
}

#[cfg(feature = "http2")]
const WEB_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];
#[cfg(not(feature = "http2"))]
const WEB_PROTOCOLS: &[&[u8]] = &[b"http/1.1"];
/// Sessions kept for resumption, about 200 bytes each.
const SESSIONS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6125_6_4_3_wildcard_covers_one_label() {
        assert!(matches("*.example.org", "imap.example.org"));
        assert!(!matches("*.example.org", "a.imap.example.org"));
        assert!(!matches("*.example.org", "example.org"));
        assert!(matches("Example.org", "example.ORG"));
    }

    #[test]
    fn rfc6698_the_digest_is_that_of_the_key_not_of_the_certificate() {
        let authority = Authority::create("example.org").unwrap();
        let (key, names) = (new_key().unwrap(), ["mail.example.org".to_owned()]);
        let one = authority.issue_for(&key, &names, &[]).unwrap();
        let two = authority.issue_for(&key, &["*.example.org".into()], &[]).unwrap();
        let other = authority.issue(&names, &[]).unwrap();
        let shown = |leaf: &Leaf| Tls::check(&leaf.certificate_pem, &leaf.key_pem).unwrap();
        assert_ne!(one.certificate_pem, two.certificate_pem);
        assert_eq!(shown(&one).key_sha256, shown(&two).key_sha256);
        assert_ne!(shown(&one).key_sha256, shown(&other).key_sha256);
        assert!(shown(&two).is_for("mail.example.org") && !shown(&one).is_for("example.org"));
        assert_eq!(Tls::new(&one).unwrap().shown("mail.example.org").unwrap(), shown(&one));
    }

    #[test]
    fn given_certificate_is_served_for_its_names_only() {
        let authority = Authority::create("example.org").unwrap();
        let local = authority.issue(&["example.org".into()], &[]).unwrap();
        let real = authority.issue(&["mail.example.org".into(), "*.web.example.org".into()], &[]).unwrap();
        let tls = Tls::new(&local).unwrap();
        let before = tls.shown_to(Some("mail.example.org"));
        tls.set_given(&[(real.certificate_pem.clone(), real.key_pem.clone())]).unwrap();
        assert_ne!(tls.shown_to(Some("mail.example.org")), before);
        assert_ne!(tls.shown_to(Some("x.web.example.org")), before);
        assert_eq!(tls.shown_to(Some("example.org")), before);
        assert_eq!(tls.shown_to(None), before);
        tls.set_given(&[("nonsense".into(), real.key_pem)]).unwrap_err();
        assert_ne!(tls.shown_to(Some("mail.example.org")), before);
    }
}
