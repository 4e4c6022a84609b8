//! Sender rewriting: mail that is forwarded to another host goes out with a sender of ours, so that SPF holds there,
//! and a failure notice to that sender finds its way back (SRS0 and SRS1, as libsrs2 and postsrsd write them).
//!
//! `SRS0=HHHHHH=TT=their.domain=local@our.domain`: a keyed hash, the day, whom it stands for. Nobody else can make one,
//! and it is good for three weeks, so it opens no relay.

use crate::smtp::Mailbox;
use ring::hmac;

/// Days that a rewritten sender is answered to.
const GOOD_DAYS: u64 = 21;
/// Characters of the hash: 30 bits.
const HASH_CHARS: usize = 6;
/// Base 32 of RFC 4648 in small letters: local parts lose their case on the way.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Rewrites senders, and finds those behind rewritten ones.
pub struct Rewriter(hmac::Key);

impl Rewriter {
    /// With a key derived from a secret of this server.
    pub fn new(secret: &[u8]) -> Rewriter {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&root, b"nymote sender rewriting");
        Rewriter(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The sender that a forwarded message gets; as it is where the new one would be too long for a local part.
    pub fn rewrite(&self, from: &Mailbox, our_domain: &str, now_ms: u64) -> Mailbox {
        let lower = from.local.to_ascii_lowercase();
        let local = if lower.starts_with("srs0=") || lower.starts_with("srs0+") || lower.starts_with("srs0-")
        {
            // Another forwarder's: its host comes to ours, the rest stays for that host to read.
            let rest = &from.local[4..];
            format!("SRS1={}={}={rest}", self.hash(&[&from.domain, rest]), from.domain)
        } else if let Some((host, rest)) = lower.starts_with("srs1=").then(|| srs1(&from.local)).flatten() {
            format!("SRS1={}={host}={rest}", self.hash(&[host, rest]))
        } else {
            let day = day_chars(now_ms / 86_400_000);
            let hash = self.hash(&[&day, &from.domain, &from.local]);
            format!("SRS0={hash}={day}={}={}", from.domain, from.local)
        };
        if local.len() > crate::limits::LOCAL_PART_MAX {
            return from.clone();
        }
        Mailbox { local, domain: our_domain.to_owned() }
    }

    /// Whom a rewritten sender stands for; nothing where it is none of ours, or too old.
    pub fn recover(&self, local: &str, now_ms: u64) -> Option<Mailbox> {
        let lower = local.to_ascii_lowercase();
        if let Some((hash, _)) = lower.strip_prefix("srs1=").and_then(|rest| rest.split_once('=')) {
            let (host, rest) = srs1(local)?;
            let good = self.hash(&[host, rest]).eq_ignore_ascii_case(hash);
            return good.then(|| Mailbox { local: format!("SRS0{rest}"), domain: host.to_owned() });
        }
        let rest = &local[local.len() - lower.strip_prefix("srs0=")?.len()..];
        let mut words = rest.splitn(4, '=');
        let (hash, day, domain, local) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let day = day.to_ascii_lowercase();
        // The case of the local part may be lost on the way; the hash is made over small letters.
        let good = self.hash(&[&day, domain, local]).eq_ignore_ascii_case(hash);
        let then = day_number(&day)?;
        let age = (now_ms / 86_400_000 % 1024 + 1024 - then) % 1024;
        (good && age <= GOOD_DAYS && !domain.is_empty() && !local.is_empty())
            .then(|| Mailbox { local: local.to_owned(), domain: domain.to_ascii_lowercase() })
    }

    fn hash(&self, words: &[&str]) -> String {
        let text = words.join("=").to_lowercase();
        let tag = hmac::sign(&self.0, text.as_bytes());
        tag.as_ref().iter().take(HASH_CHARS).map(|b| char::from(DIGITS[usize::from(b & 31)])).collect()
    }
}

/// The host and the rest of `SRS1=hash=host=rest`.
fn srs1(local: &str) -> Option<(&str, &str)> {
    let mut words = local.splitn(4, '=');
    let (_, _, host, rest) = (words.next()?, words.next()?, words.next()?, words.next()?);
    (!host.is_empty() && !rest.is_empty()).then_some((host, rest))
}

fn day_chars(day: u64) -> String {
    let digit = |n: u64| char::from(DIGITS[(n & 31) as usize]);
    [digit(day >> 5), digit(day)].iter().collect()
}

fn day_number(text: &str) -> Option<u64> {
    let digit = |b: u8| DIGITS.iter().position(|d| *d == b).map(|n| n as u64);
    match text.as_bytes() {
        [high, low] => Some(digit(*high)? << 5 | digit(*low)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    #[test]
    fn a_rewritten_sender_leads_back_for_three_weeks_and_only_with_our_hash() {
        let rewriter = Rewriter::new(b"secret");
        let sender = mailbox("Ann=x.y@Far.test");
        let ours = rewriter.rewrite(&sender, "home.test", NOW);
        assert!(ours.local.starts_with("SRS0=") && ours.domain == "home.test", "{ours}");
        assert_eq!(rewriter.recover(&ours.local, NOW).unwrap().to_string(), "Ann=x.y@far.test");
        assert!(rewriter.recover(&ours.local.to_lowercase(), NOW + 20 * 86_400_000).is_some());
        assert!(rewriter.recover(&ours.local, NOW + 23 * 86_400_000).is_none());
        assert!(Rewriter::new(b"other").recover(&ours.local, NOW).is_none());
        assert!(rewriter.recover(&ours.local.replace("Ann", "Bob"), NOW).is_none());
        for nonsense in ["srs0=", "srs0=a=b=c", "SRS1=", "SRS1=x=y=", "srs0=é=é=é=é", "anna"] {
            assert!(rewriter.recover(nonsense, NOW).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn a_chain_of_forwarders_stays_short() {
        let (first, second, third) = (Rewriter::new(b"1"), Rewriter::new(b"2"), Rewriter::new(b"3"));
        let sender = mailbox("ann@far.test");
        let one = first.rewrite(&sender, "one.test", NOW);
        let two = second.rewrite(&one, "two.test", NOW);
        let three = third.rewrite(&two, "three.test", NOW);
        assert!(two.local.starts_with("SRS1=") && three.local.len() == two.local.len(), "{two} {three}");
        // A notice goes from the third straight to the first, which knows the sender.
        let back = third.recover(&three.local, NOW).unwrap();
        assert_eq!(back.domain, "one.test");
        assert_eq!(first.recover(&back.local, NOW), Some(sender));
    }
}
