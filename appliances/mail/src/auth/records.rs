//! What mail-auth does not look for in the records of a domain: more than one of them, mechanisms that are none, keys that are
//! not for mail. A domain that publishes these did not mean what the first record says.

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};
use mail_auth::common::crypto::Algorithm;
use mail_auth::dkim::Signature;

/// Texts of one name that are looked at.
const TEXTS_MAX: usize = 20;

/// The TXT records of a name; nothing where there are none or DNS fails (which mail-auth has noticed then).
async fn texts(resolver: &TokioResolver, name: &str) -> Vec<String> {
    let Ok(answer) = resolver.lookup(format!("{}.", name.trim_end_matches('.')), RecordType::TXT).await
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for record in answer.answers().iter().take(TEXTS_MAX) {
        if let RData::TXT(txt) = &record.data {
            found.push(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned());
        }
    }
    found
}

/// Whether a domain's SPF is a permanent error whatever follows: two records (RFC 7208 4.5), or a mechanism that does not
/// exist (4.6).
pub(super) async fn spf_is_broken(resolver: &TokioResolver, domain: &str) -> bool {
    let records: Vec<String> = texts(resolver, domain).await.into_iter().filter(|t| is_spf(t)).collect();
    records.len() > 1 || records.iter().any(|record| has_unknown_mechanism(record))
}

fn is_spf(text: &str) -> bool {
    let mut words = text.split(' ');
    words.next().is_some_and(|version| version.eq_ignore_ascii_case("v=spf1"))
}

fn has_unknown_mechanism(record: &str) -> bool {
    const MECHANISMS: [&str; 8] = ["all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"];
    record.split(' ').skip(1).filter(|term| !term.is_empty()).any(|term| {
        let bare = term.trim_start_matches(['+', '-', '~', '?']);
        let name = bare.split([':', '/', '=']).next().unwrap_or_default();
        let is_modifier = bare[name.len()..].starts_with('=');
        !is_modifier && !MECHANISMS.iter().any(|m| m.eq_ignore_ascii_case(name))
    })
}

/// Whether a domain has more than one DMARC record: then it has none (RFC 7489 6.6.3).
pub(super) async fn dmarc_is_twofold(resolver: &TokioResolver, domain: &str) -> bool {
    let of_dmarc = |text: &String| text.trim_start().to_ascii_lowercase().starts_with("v=dmarc1");
    texts(resolver, &format!("_dmarc.{domain}")).await.iter().filter(|t| of_dmarc(t)).count() > 1
}

/// Why a signature that verifies does not count, if it does not.
pub(super) async fn signature_fault(resolver: &TokioResolver, signature: &Signature) -> Option<&'static str> {
    if signature.a == Algorithm::RsaSha1 {
        return Some("rsa-sha1 is too weak (RFC 8301)");
    }
    // An RSA signature is as long as its key.
    if signature.a == Algorithm::RsaSha256 && signature.b.len() < 128 {
        return Some("an RSA key below 1024 bits is too weak (RFC 8301)");
    }
    let name = format!("{}._domainkey.{}", signature.s, signature.d);
    let record = texts(resolver, &name).await.into_iter().next()?;
    let tag = |wanted: &str| {
        let pairs = record.split(';').filter_map(|pair| pair.split_once('='));
        let found = pairs.map(|(k, v)| (k.trim(), v.trim())).find(|(k, _)| *k == wanted);
        found.map(|(_, v)| v.to_ascii_lowercase())
    };
    let lists = |value: String, any: &[&str]| value.split(':').any(|word| any.contains(&word.trim()));
    if tag("s").is_some_and(|services| !lists(services, &["*", "email"])) {
        return Some("the key is not for mail");
    }
    if tag("h").is_some_and(|hashes| !lists(hashes, &["sha256"])) {
        return Some("the key is not for this hash");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7208_4_6_mechanisms_that_are_none() {
        for good in ["v=spf1 -all", "v=spf1  +a/24 mx:x.test ~ALL redirect=y exp=z foo=bar", "v=spf1"] {
            assert!(is_spf(good) && !has_unknown_mechanism(good), "{good}");
        }
        for bad in ["v=spf1 foo:bar -all", "v=spf1 ipv4:1.2.3.4", "v=spf1 -", "v=spf1 include;x"] {
            assert!(has_unknown_mechanism(bad), "{bad}");
        }
        assert!(!is_spf("v=spf10 -all") && !is_spf("spf2.0/pra"));
    }
}
