//! The field Authentication-Results (RFC 8601), written from what was found.

use mail_auth::dkim::DkimError;
use mail_auth::dmarc::Policy;
use mail_auth::{ArcOutput, DkimOutput, DkimResult, DmarcOutput, DmarcResult, Error, SpfResult};
use std::fmt::Write;
use std::net::IpAddr;

/// The field under construction: results in the order in which they are added.
pub(super) struct Results(String);

impl Results {
    /// Begins with the name of the server that vouches for what follows.
    pub fn new(hostname: &str) -> Results {
        Results(format!("Authentication-Results: {hostname}"))
    }

    /// SPF of an identity: `helo` or `mailfrom`.
    pub fn spf(mut self, result: SpfResult, identity: &str, value: &str) -> Results {
        let word = match result {
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::Neutral => "neutral",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
            SpfResult::None => "none",
        };
        let _ = write!(self.0, ";\r\n\tspf={word} smtp.{identity}={}", pvalue(value));
        self
    }

    /// DKIM: each signature with its result, or `none`.
    /// `faults` are reasons of ours why a signature that verifies does not count.
    pub fn dkim(mut self, signatures: &[DkimOutput<'_>], faults: &[Option<&str>]) -> Results {
        if signatures.is_empty() {
            self.0.push_str(";\r\n\tdkim=none");
        }
        for (one, fault) in signatures.iter().zip(faults) {
            match fault {
                Some(why) => self.word("dkim", "permerror", Some(why)),
                None => self.result("dkim", one.result()),
            }
            let Some(signature) = one.signature() else { continue };
            let _ = write!(self.0, " header.d={} header.s={}", pvalue(&signature.d), pvalue(&signature.s));
            if !signature.i.is_empty() {
                let _ = write!(self.0, " header.i={}", pvalue(&signature.i));
            }
            if signature.b.len() >= 6 {
                use base64::Engine;
                let start = base64::engine::general_purpose::STANDARD.encode(&signature.b[..6]);
                let _ = write!(self.0, " header.b={}", pvalue(&start));
            }
        }
        self
    }

    /// ARC: the chain as a whole (RFC 8617 section 4.1).
    pub fn arc(mut self, arc: &ArcOutput<'_>, ip: IpAddr) -> Results {
        match arc.result() {
            // RFC 8617 4.4: a chain passes, fails, or is not there.
            DkimResult::PermError(why) | DkimResult::Neutral(why) => {
                self.word("arc", "fail", Some(&why.to_string()));
            }
            result => self.result("arc", result),
        }
        if *arc.result() != DkimResult::None {
            let _ = write!(self.0, " smtp.remote-ip={}", pvalue(&ip.to_string()));
        }
        self
    }

    /// DMARC, with the policy that its domain publishes.
    pub fn dmarc(mut self, dmarc: &DmarcOutput) -> Results {
        let (word, why) = match dmarc.result() {
            DmarcResult::Pass => ("pass", None),
            DmarcResult::Fail(why) => ("fail", Some(why)),
            DmarcResult::TempError(why) => ("temperror", Some(why)),
            DmarcResult::PermError(why) => ("permerror", Some(why)),
            DmarcResult::None => ("none", None),
        };
        let _ = write!(self.0, ";\r\n\tdmarc={word}");
        if let Some(why) = why {
            let _ = write!(self.0, " reason={}", quoted(&why.to_string()));
        }
        if !dmarc.domain().is_empty() {
            let _ = write!(self.0, " header.from={}", pvalue(dmarc.domain()));
        }
        if matches!(word, "none" | "temperror") {
            return self;
        }
        let policy = match dmarc.policy() {
            Policy::Reject => "reject",
            Policy::Quarantine => "quarantine",
            Policy::None => "none",
            Policy::Unspecified => return self,
        };
        let _ = write!(self.0, " policy.dmarc={policy}");
        self
    }

    /// The whole field with its line end.
    pub fn field(self) -> String {
        self.0 + "\r\n"
    }

    fn result(&mut self, method: &str, result: &DkimResult) {
        let (word, why) = match result {
            DkimResult::Pass => ("pass", None),
            // RFC 8601 2.7.1: what was read and did not verify is a failure, not neutral.
            DkimResult::Neutral(why) if did_not_verify(why) => ("fail", Some(why)),
            DkimResult::Neutral(why) => ("neutral", Some(why)),
            DkimResult::Fail(why) => ("fail", Some(why)),
            DkimResult::PermError(why) => ("permerror", Some(why)),
            DkimResult::TempError(why) => ("temperror", Some(why)),
            DkimResult::None => ("none", None),
        };
        self.word(method, word, why.map(ToString::to_string).as_deref());
    }

    fn word(&mut self, method: &str, word: &str, why: Option<&str>) {
        let _ = write!(self.0, ";\r\n\t{method}={word}");
        if let Some(why) = why {
            let _ = write!(self.0, " reason={}", quoted(why));
        }
    }
}

fn did_not_verify(why: &Error) -> bool {
    use mail_auth::arc::ArcError;
    matches!(
        why,
        Error::Dkim(
            DkimError::FailedBodyHashMatch | DkimError::SignatureExpired | DkimError::FailedAuidMatch
        ) | Error::Arc(_)
    ) && !matches!(why, Error::Arc(ArcError::SignatureLength))
}

/// A value as it is where the grammar lets it, else quoted (RFC 8601 2.2: `pvalue`).
fn pvalue(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._@+=/:".contains(c);
    let token = !value.is_empty() && value.chars().all(|c| plain(c) && c != '=' && c != '/' && c != ':');
    if token { value.to_owned() } else { quoted(value) }
}

/// A quoted string; control characters become spaces, so that nothing can be added to the field from outside.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().take(300) {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8601_2_2_values_are_tokens_or_quoted_and_end_no_line() {
        assert_eq!(pvalue("anna@home.test"), "anna@home.test");
        assert_eq!(pvalue("a b\"@x"), "\"a b\\\"@x\"");
        let field = Results::new("mx").spf(SpfResult::Pass, "mailfrom", "x\r\nBcc: y").field();
        assert_eq!(field, "Authentication-Results: mx;\r\n\tspf=pass smtp.mailfrom=\"x  Bcc: y\"\r\n");
    }
}
