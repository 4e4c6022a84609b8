//! The local certificate authority: what a household trusts until it has a real certificate.
//!
//! Its certificate is constrained to the household's own domain and `localhost` (RFC 5280 section 4.2.1.10), so that a
//! phone that trusts it does not have to trust its owner with the rest of the world.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::TlsError;
use crate::clock::{self, Civil};

/// A certificate authority with its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Authority {
    /// The domain that it may sign for.
    pub domain: String,
    /// Its certificate: what clients import.
    pub certificate_pem: String,
    /// Its private key (PKCS #8). Never leaves the machine.
    pub key_pem: String,
}

/// A certificate of an appliance with its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Leaf {
    /// The certificate alone; the authority is in the client's hands already.
    pub certificate_pem: String,
    /// Its private key (PKCS #8).
    pub key_pem: String,
    /// When it ends, in milliseconds since 1970.
    pub ends_ms: u64,
}

impl Authority {
    /// Makes a new authority for a domain, with a P-256 key.
    pub fn create(domain: &str) -> Result<Authority, TlsError> {
        let key = KeyPair::generate()?;
        let certificate = params(domain).self_signed(&key)?;
        Ok(Authority {
            domain: domain.to_owned(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Signs a leaf with a new key for these names and addresses. Ends after `LEAF_DAYS`.
    pub fn issue(&self, names: &[String], addresses: &[IpAddr]) -> Result<Leaf, TlsError> {
        self.issue_for(&new_key()?, names, addresses)
    }

    /// The same with a key that is there already, in PEM: for whom others know by its key.
    pub fn issue_for(&self, key_pem: &str, names: &[String], addresses: &[IpAddr]) -> Result<Leaf, TlsError> {
        let issuer = Issuer::new(params(&self.domain), KeyPair::from_pem(&self.key_pem)?);
        let key = KeyPair::from_pem(key_pem)?;
        let mut leaf = CertificateParams::new(names.to_vec())?;
        leaf.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        leaf.distinguished_name = DistinguishedName::new();
        leaf.distinguished_name.push(DnType::CommonName, names.first().map_or("nymote", String::as_str));
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let day = |at_ms| {
            let civil = Civil::of(at_ms);
            date_time_ymd(civil.year as i32, civil.month as u8, civil.day as u8)
        };
        let now_ms = clock::now_ms();
        let ends_ms = now_ms + LEAF_DAYS * DAY_MS;
        leaf.not_before = day(now_ms.saturating_sub(DAY_MS)); // clocks of phones differ
        leaf.not_after = day(ends_ms);
        let certificate = leaf.signed_by(&key, &issuer)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), ends_ms })
    }
}

/// A new private key for a leaf (P-256, PKCS #8 in PEM).
pub fn new_key() -> Result<String, TlsError> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// The authority's own parameters: a function of the domain alone, because they are needed again for each leaf.
fn params(domain: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "nymote");
    params.distinguished_name.push(DnType::CommonName, format!("nymote at {domain}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName(domain.to_owned()),
            GeneralSubtree::DnsName("localhost".to_owned()),
        ],
        excluded_subtrees: Vec::new(),
    });
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2046, 1, 1);
    params
}

/// The DNS names in a certificate's subject alternative names (RFC 5280 section 4.2.1.6), found by walking its DER.
pub fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    const SUBJECT_ALT_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x11];
    const CRITICAL: &[u8] = &[0x01, 0x01, 0xff];
    let der: &[u8] = certificate;
    let Some(at) = der.windows(SUBJECT_ALT_NAME.len()).position(|window| window == SUBJECT_ALT_NAME) else {
        return Vec::new();
    };
    let rest = &der[at + SUBJECT_ALT_NAME.len()..];
    let rest = rest.strip_prefix(CRITICAL).unwrap_or(rest);
    let names =
        element(rest).and_then(|(_, octets, _)| element(octets)).map_or(&[][..], |(_, names, _)| names);
    let mut names = names;
    let mut found = Vec::new();
    while let Some((tag, value, rest)) = element(names) {
        if tag == DNS_NAME {
            found.extend(std::str::from_utf8(value).map(str::to_owned));
        }
        names = rest;
    }
    found
}

/// One DER element: tag, content, what follows. `None` at the end and for anything that is not well formed.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((*tag, value, rest))
}

/// `[2] IA5String` in GeneralName.
const DNS_NAME: u8 = 0x82;
/// Apple refuses leaves of more than 825 days, also below an authority that its owner imported.
const LEAF_DAYS: u64 = 390;
const DAY_MS: u64 = 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn rfc5280_4_2_1_6_names_are_read_back() {
        let authority = Authority::create("example.org").unwrap();
        let names: Vec<String> = (0..40).map(|n| format!("host{n}.example.org")).collect();
        let leaf = authority.issue(&names, &["192.0.2.1".parse().unwrap()]).unwrap();
        let der = CertificateDer::from_pem_slice(leaf.certificate_pem.as_bytes()).unwrap();
        assert_eq!(names_of(&der), names);
    }

    #[test]
    fn truncated_der_gives_no_names_and_no_panic() {
        let authority = Authority::create("example.org").unwrap();
        let leaf = authority.issue(&["a.example.org".into()], &[]).unwrap();
        let der = CertificateDer::from_pem_slice(leaf.certificate_pem.as_bytes()).unwrap();
        for length in 0..der.len() {
            names_of(&CertificateDer::from(&der[..length]));
        }
    }
}
