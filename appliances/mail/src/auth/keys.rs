//! DKIM keys of the household and signatures with them (RFC 6376, Ed25519 by RFC 8463).
//!
//! The keys are made at the first start and kept on the `config` branch, which no clone serves. RSA takes a moment to
//! make: until it is there only Ed25519 signs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::aside::{NoThread, on_thread};
use chassis::config::{Change, ConfigFiles};
use chassis::{Chassis, Failure};
use mail_auth::arc::ArcSealer;
use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256, SigningKey};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::generate::DkimKeyPair;
use mail_auth::dkim::{Canonicalization, DkimSigner, Done};
use mail_auth::{ArcOutput, AuthenticatedMessage, AuthenticationResults};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer};
use std::sync::{Arc, RwLock};
use std::time::Duration;

const ED25519_FILE: &str = "dkim/ed25519.key";
const RSA_FILE: &str = "dkim/rsa.key";
/// Selectors: `ed25519._domainkey.DOMAIN` and `rsa._domainkey.DOMAIN`.
const SELECTORS: [&str; 2] = ["ed25519", "rsa"];
const RSA_BITS: usize = 2048;
/// When a thread is asked for again.
const NO_THREAD_TIME: Duration = Duration::from_secs(10);
/// Fields that are signed, those that must not be added later named once more than they occur (RFC 6376 5.4).
const SIGNED: [&str; 18] = [
    "From",
    "From",
    "To",
    "Cc",
    "Subject",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Sender",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];

/// Fields that an ARC seal covers: what people see, and the signatures that came with it (RFC 8617 section 4.1.2).
const SEALED: [&str; 12] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "DKIM-Signature",
];

/// The keys. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    domain: String,
    signers: Arc<RwLock<Signers>>,
}

#[derive(Default)]
struct Signers {
    ed25519: Option<(DkimSigner<Ed25519Key, Done>, String)>,
    rsa: Option<(DkimSigner<RsaKey<Sha256>, Done>, String)>,
    /// ARC knows RSA alone (RFC 8617 section 4.1.2).
    arc: Option<ArcSealer<RsaKey<Sha256>, Done>>,
    /// What other keys of this server are derived from.
    secret: Vec<u8>,
}

impl Keys {
    /// Reads the keys, or makes them.
    pub async fn open(chassis: &Chassis) -> Result<Keys, Failure> {
        let files = chassis.config_files().clone();
        let keys = Keys { domain: chassis.domain().to_owned(), signers: Arc::default() };
        let ed25519 = match read(&files, ED25519_FILE)? {
            Some(der) => der,
            None => {
                let pair = DkimKeyPair::generate_ed25519().map_err(|e| e.to_string())?;
                keep(&files, ED25519_FILE, pair.private_key()).await?;
                pair.private_key().to_vec()
            }
        };
        keys.set_ed25519(&ed25519)?;
        match read(&files, RSA_FILE)? {
            Some(der) => keys.set_rsa(&der)?,
            None => drop(tokio::spawn(make_rsa(keys.clone(), files))),
        }
        Ok(keys)
    }

    /// The signatures of a message, one of each key, to put before it or before what is put before it.
    pub fn signatures(&self, raw: &[u8]) -> Vec<u8> {
        let signers = self.signers.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut out = Vec::with_capacity(1024);
        if let Some((signer, _)) = &signers.rsa {
            push(&mut out, signer.sign(raw).map(|s| s.to_header()));
        }
        if let Some((signer, _)) = &signers.ed25519 {
            push(&mut out, signer.sign(raw).map(|s| s.to_header()));
        }
        out
    }

    /// The message with its signatures.
    pub fn sign(&self, raw: &[u8]) -> Vec<u8> {
        [self.signatures(raw).as_slice(), raw].concat()
    }

    /// The same for a message whose octets were changed: the signatures of this domain at its start go.
    pub fn sign_anew(&self, raw: &[u8]) -> Vec<u8> {
        let ours = format!("d={};", self.domain);
        let mut rest = raw;
        while let Some(first) = crate::message::fields(rest).next() {
            let value = String::from_utf8_lossy(first.value);
            if !first.is("DKIM-Signature") || !value.contains(&ours) {
                break;
            }
            rest = &rest[first.raw.len()..];
        }
        self.sign(rest)
    }

    /// The three ARC fields for a message that is forwarded; empty where the chain must not go on, or there is no key yet.
    pub fn seal(
        &self,
        message: &AuthenticatedMessage<'_>,
        results: &AuthenticationResults<'_>,
        arc: &ArcOutput<'_>,
    ) -> String {
        let signers = self.signers.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(sealer) = signers.arc.as_ref().filter(|_| arc.can_be_sealed()) else { return String::new() };
        match sealer.seal(message, results, arc) {
            Ok(set) => set.to_header(),
            Err(error) => {
                tracing::error!(%error, "a forwarded message could not be sealed");
                String::new()
            }
        }
    }

    /// A secret of this server, the same at each start.
    pub fn secret(&self) -> Vec<u8> {
        self.signers.read().unwrap_or_else(|poisoned| poisoned.into_inner()).secret.clone()
    }

    /// The TXT records that publish the keys: name and value.
    pub fn records(&self) -> Vec<(String, String)> {
        let signers = self.signers.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let name = |i: usize| format!("{}._domainkey.{}", SELECTORS[i], self.domain);
        let ed25519 =
            signers.ed25519.iter().map(|(_, key)| (name(0), format!("v=DKIM1; k=ed25519; p={key}")));
        let rsa = signers.rsa.iter().map(|(_, key)| (name(1), format!("v=DKIM1; k=rsa; p={key}")));
        ed25519.chain(rsa).collect()
    }

    fn set_ed25519(&self, der: &[u8]) -> Result<(), Failure> {
        let key = Ed25519Key::from_pkcs8_der(der).map_err(|e| format!("{ED25519_FILE}: {e}"))?;
        let public = STANDARD.encode(key.public_key());
        let signer = self.signer(key, SELECTORS[0]);
        let mut signers = self.write();
        signers.ed25519 = Some((signer, public));
        signers.secret = der.to_vec();
        Ok(())
    }

    fn set_rsa(&self, der: &[u8]) -> Result<(), Failure> {
        let read = || {
            let key = PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der.to_vec()));
            RsaKey::<Sha256>::from_key_der(key).map_err(|e| format!("{RSA_FILE}: {e}"))
        };
        let key = read()?;
        let public = STANDARD.encode(spki(&key.public_key()));
        let signer = self.signer(key, SELECTORS[1]);
        let sealer = ArcSealer::from_key(read()?)
            .domain(self.domain.clone())
            .selector(SELECTORS[1])
            .headers(SEALED)
            .header_canonicalization(Canonicalization::Relaxed)
            .body_canonicalization(Canonicalization::Relaxed);
        let mut signers = self.write();
        signers.rsa = Some((signer, public));
        signers.arc = Some(sealer);
        Ok(())
    }

    fn signer<K: SigningKey>(&self, key: K, selector: &str) -> DkimSigner<K, Done> {
        DkimSigner::from_key(key)
            .domain(self.domain.clone())
            .selector(selector)
            .headers(SIGNED)
            .header_canonicalization(Canonicalization::Relaxed)
            .body_canonicalization(Canonicalization::Relaxed)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Signers> {
        self.signers.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A signature, when it could be made; mail goes out unsigned rather than not at all.
fn push(out: &mut Vec<u8>, signature: mail_auth::Result<String>) {
    match signature {
        Ok(header) => out.extend_from_slice(header.as_bytes()),
        Err(error) => tracing::error!(%error, "a message could not be signed"),
    }
}

async fn make_rsa(keys: Keys, files: ConfigFiles) {
    // Seconds of work: it waits until there is memory for a thread.
    let making = loop {
        match on_thread(|| DkimKeyPair::generate_rsa(RSA_BITS)) {
            Ok(making) => break making,
            Err(NoThread) => tokio::time::sleep(NO_THREAD_TIME).await,
        }
    };
    let pair = match making.await {
        Some(Ok(pair)) => pair,
        _ => return tracing::error!("no RSA key for DKIM could be made; mail is signed with Ed25519 alone"),
    };
    let kept = match keep(&files, RSA_FILE, pair.private_key()).await {
        Ok(()) => keys.set_rsa(pair.private_key()),
        Err(error) => Err(error),
    };
    match kept {
        Ok(()) => tracing::info!("the RSA key for DKIM is made"),
        Err(error) => tracing::error!(%error, "the RSA key for DKIM could not be kept"),
    }
}

fn read(files: &ConfigFiles, path: &str) -> Result<Option<Vec<u8>>, Failure> {
    let Some(text) = files.read(path)? else { return Ok(None) };
    let decoded =
        STANDARD.decode(text.trim_ascii()).map_err(|e| format!("{path} on the config branch: {e}"))?;
    Ok(Some(decoded))
}

async fn keep(files: &ConfigFiles, path: &str, der: &[u8]) -> Result<(), Failure> {
    let text = format!("{}\n", STANDARD.encode(der));
    Ok(files.commit("mail", "A key for DKIM", vec![Change::put(path, text)]).await?)
}

/// A PKCS#1 public key as SubjectPublicKeyInfo, which DKIM's `p=` wants (RFC 6376 3.6.1).
fn spki(pkcs1: &[u8]) -> Vec<u8> {
    const RSA_ENCRYPTION: [u8; 15] =
        [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let mut bits = vec![0x03];
    der_length(pkcs1.len() + 1, &mut bits);
    bits.push(0);
    bits.extend_from_slice(pkcs1);
    let mut out = vec![0x30];
    der_length(RSA_ENCRYPTION.len() + bits.len(), &mut out);
    out.extend_from_slice(&RSA_ENCRYPTION);
    out.extend_from_slice(&bits);
    out
}

fn der_length(length: usize, out: &mut Vec<u8>) {
    match length {
        0..128 => out.push(length as u8),
        128..256 => out.extend_from_slice(&[0x81, length as u8]),
        _ => out.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]),
    }
}
