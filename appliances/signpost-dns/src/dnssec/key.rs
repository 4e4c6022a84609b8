//! Keys of a zone: ECDSA P-256 (RFC 6605) and Ed25519 (RFC 8080).

use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

use crate::name::Name;
use crate::record::{RecordType, data};
use crate::zone::Rrset;

/// An algorithm (IANA "DNS Security Algorithm Numbers").
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// 13, ECDSA P-256 with SHA-256.
    EcdsaP256,
    /// 15, Ed25519.
    Ed25519,
}

impl Algorithm {
    /// The number.
    pub fn number(self) -> u8 {
        match self {
            Algorithm::EcdsaP256 => 13,
            Algorithm::Ed25519 => 15,
        }
    }
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key pair with its place in the zone.
pub struct ZoneKey {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Flags of the DNSKEY: 257 signs the keys, 256 the rest; a 257 alone signs all.
    pub flags: u16,
    /// The key tag (RFC 4034 appendix B).
    pub tag: u16,
    pair: Pair,
    public: Vec<u8>,
    random: SystemRandom,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the private key is damaged or of another algorithm")]
pub struct KeyFault;

impl ZoneKey {
    /// A new private key as PKCS #8.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Vec<u8>, KeyFault> {
        let random = SystemRandom::new();
        let document = match algorithm {
            Algorithm::EcdsaP256 => {
                EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            }
            Algorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random),
        };
        document.map(|octets| octets.as_ref().to_vec()).map_err(|_| KeyFault)
    }

    /// A key from its PKCS #8 form.
    ///
    /// # Errors
    /// `KeyFault`.
    pub fn from_pkcs8(algorithm: Algorithm, flags: u16, pkcs8: &[u8]) -> Result<ZoneKey, KeyFault> {
        let random = SystemRandom::new();
        let (pair, public) = match algorithm {
            Algorithm::EcdsaP256 => {
                let how = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_pkcs8(how, pkcs8, &random).map_err(|_| KeyFault)?;
                // The wire form is the point without its leading 4 (RFC 6605 section 4).
                let public = pair.public_key().as_ref()[1..].to_vec();
                (Pair::Ecdsa(pair), public)
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyFault)?;
                let public = pair.public_key().as_ref().to_vec();
                (Pair::Ed25519(pair), public)
            }
        };
        let mut key = ZoneKey { algorithm, flags, tag: 0, pair, public, random };
        key.tag = key_tag(&key.dnskey());
        Ok(key)
    }

    /// The DNSKEY's data.
    pub fn dnskey(&self) -> Vec<u8> {
        let mut data = self.flags.to_be_bytes().to_vec();
        data.extend_from_slice(&[3, self.algorithm.number()]);
        data.extend_from_slice(&self.public);
        data
    }

    /// The DS data with SHA-256 (RFC 4509).
    pub fn ds(&self, origin: &Name) -> Vec<u8> {
        let input = [origin.lower().octets(), &self.dnskey()].concat();
        let digest = ring::digest::digest(&ring::digest::SHA256, &input);
        [&self.tag.to_be_bytes()[..], &[self.algorithm.number(), 2], digest.as_ref()].concat()
    }

    /// The DS data that a parent may hold for this key: SHA-256 and SHA-384 (RFC 8624 section 3.3).
    pub fn all_ds(&self, origin: &Name) -> [Vec<u8>; 2] {
        let input = [origin.lower().octets(), &self.dnskey()].concat();
        let digest = ring::digest::digest(&ring::digest::SHA384, &input);
        let longer = [&self.tag.to_be_bytes()[..], &[self.algorithm.number(), 4], digest.as_ref()].concat();
        [self.ds(origin), longer]
    }

    fn sign(&self, input: &[u8]) -> Vec<u8> {
        match &self.pair {
            // Signing fails only without randomness; an empty signature is found invalid by all, and by our own check.
            Pair::Ecdsa(pair) => {
                pair.sign(&self.random, input).map(|one| one.as_ref().to_vec()).unwrap_or_default()
            }
            Pair::Ed25519(pair) => pair.sign(input).as_ref().to_vec(),
        }
    }

    /// The data of the RRSIG over an RRset (RFC 4034 section 3.1.8.1).
    pub fn rrsig(
        &self,
        origin: &Name,
        owner: &Name,
        set: &Rrset,
        inception: u32,
        expiration: u32,
    ) -> Vec<u8> {
        let labels = owner.label_count() - usize::from(owner.is_wildcard());
        let mut data = set.rtype.0.to_be_bytes().to_vec();
        data.extend_from_slice(&[self.algorithm.number(), labels as u8]);
        for number in [set.ttl, expiration, inception] {
            data.extend_from_slice(&number.to_be_bytes());
        }
        data.extend_from_slice(&self.tag.to_be_bytes());
        data.extend_from_slice(origin.lower().octets());
        let mut input = data.clone();
        let owner = owner.lower();
        for one in set.datas(origin) {
            let canonical = data::canonical(set.rtype, &one);
            input.extend_from_slice(owner.octets());
            input.extend_from_slice(&set.rtype.0.to_be_bytes());
            input.extend_from_slice(&crate::record::CLASS_IN.to_be_bytes());
            input.extend_from_slice(&set.ttl.to_be_bytes());
            input.extend_from_slice(&(canonical.len() as u16).to_be_bytes());
            input.extend_from_slice(&canonical);
        }
        data.extend_from_slice(&self.sign(&input));
        data
    }
}

/// The key tag of a DNSKEY's data (RFC 4034 appendix B).
pub fn key_tag(dnskey: &[u8]) -> u16 {
    let sum = dnskey.iter().enumerate().fold(0u32, |sum, (at, &octet)| {
        sum + if at % 2 == 0 { u32::from(octet) << 8 } else { u32::from(octet) }
    });
    (sum + (sum >> 16 & 0xFFFF)) as u16
}

/// Verifies a signature with the data of a DNSKEY or KEY record, for SIG(0) (RFC 2931).
pub fn verify(dnskey: &[u8], input: &[u8], given: &[u8]) -> bool {
    let Some((head, public)) = dnskey.split_at_checked(4) else { return false };
    match head[3] {
        13 => {
            let point = [&[4], public].concat();
            let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
            key.verify(input, given).is_ok()
        }
        15 => signature::UnparsedPublicKey::new(&signature::ED25519, public).verify(input, given).is_ok(),
        _ => false,
    }
}

/// The end of a signature's validity, from an RRSIG's data.
pub fn expiration(rrsig: &[u8]) -> u32 {
    rrsig.get(8..12).and_then(|octets| octets.first_chunk()).map_or(0, |octets| u32::from_be_bytes(*octets))
}

/// Whether the type's RRset at a zone's apex is signed by the keys that sign keys.
pub fn is_key_material(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::DNSKEY | RecordType::CDS | RecordType::CDNSKEY)
}
