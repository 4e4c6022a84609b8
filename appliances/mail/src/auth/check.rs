//! Verdicts about a message that came from outside.

use super::results::Results;
use super::{Keys, records};
use crate::queue::Router;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, AuthenticationResults, DkimResult, DmarcOutput, DmarcResult, MessageAuthenticator,
    SpfResult,
};
use std::net::IpAddr;
use std::time::Duration;

/// Time for all lookups of one message; what is not known by then counts as unknown.
const CHECK_TIME: Duration = Duration::from_secs(20);

/// Checks messages.
pub struct Checker {
    authenticator: Option<MessageAuthenticator>,
}

/// What is known of a message.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The Authentication-Results field with its line end (RFC 8601).
    pub header: String,
    /// The domain of From.
    pub domain: String,
    /// DMARC failed, and the domain wants that refused.
    pub dmarc_rejects: bool,
    /// DMARC failed, and the domain wants that put aside.
    pub dmarc_quarantines: bool,
    /// The ARC fields to put before the message when it is forwarded; empty when it was not asked for or cannot be.
    pub seal: String,
}

/// From whom a message came, as SMTP knows it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The client's address.
    pub ip: IpAddr,
    /// What it called itself.
    pub helo: &'a str,
    /// MAIL FROM; empty for `<>`.
    pub sender: &'a str,
}

impl Checker {
    /// A checker that asks the same DNS servers as the queue.
    pub fn new(router: &Router) -> Checker {
        Checker { authenticator: router.resolver().cloned().map(MessageAuthenticator) }
    }

    /// Checks a message. `hostname` is ours; `seal_with` asks for an ARC seal by these keys.
    pub async fn check(
        &self,
        raw: &[u8],
        source: Source<'_>,
        hostname: &str,
        seal_with: Option<&Keys>,
    ) -> Verdict {
        let none = |domain: String| Verdict {
            header: format!("Authentication-Results: {hostname}; none\r\n"),
            domain,
            dmarc_rejects: false,
            dmarc_quarantines: false,
            seal: String::new(),
        };
        let Some(authenticator) = &self.authenticator else { return none(String::new()) };
        let Some(message) = AuthenticatedMessage::parse(raw) else { return none(String::new()) };
        let checked = all(authenticator, &message, source, hostname, seal_with);
        match tokio::time::timeout(CHECK_TIME, checked).await {
            Ok(verdict) => verdict,
            Err(_) => none(message.from().to_owned()),
        }
    }
}

async fn all(
    authenticator: &MessageAuthenticator,
    message: &AuthenticatedMessage<'_>,
    source: Source<'_>,
    hostname: &str,
    seal_with: Option<&Keys>,
) -> Verdict {
    let Source { ip, helo, sender } = source;
    let resolver = &authenticator.0;
    let mut of_helo = authenticator.verify_spf(SpfParameters::verify_ehlo(ip, helo, hostname)).await;
    if of_helo.result() != SpfResult::None && records::spf_is_broken(resolver, helo).await {
        of_helo = of_helo.with_result(SpfResult::PermError);
    }
    // RFC 7208 2.4: a message without a sender is checked as from the postmaster of what the client calls itself.
    let postmaster = format!("postmaster@{helo}");
    let sender_or_helo = if sender.is_empty() { postmaster.as_str() } else { sender };
    let mut of_sender =
        authenticator.verify_spf(SpfParameters::verify_mail_from(ip, helo, hostname, sender_or_helo)).await;
    let sender_domain = sender_or_helo.rsplit_once('@').map_or(helo, |(_, d)| d);
    if of_sender.result() != SpfResult::None && records::spf_is_broken(resolver, sender_domain).await {
        of_sender = of_sender.with_result(SpfResult::PermError);
    }
    let dkim = authenticator.verify_dkim(message).await;
    let mut faults = Vec::with_capacity(dkim.len());
    for one in &dkim {
        faults.push(match (one.result(), one.signature()) {
            (DkimResult::Pass, Some(signature)) => records::signature_fault(resolver, signature).await,
            (_, Some(signature)) if !signature.h.iter().any(|h| h.eq_ignore_ascii_case("from")) => {
                Some("From is not signed (RFC 6376 5.4)")
            }
            _ => None,
        });
    }
    // What does not count cannot vouch for the sender either.
    let counting: Vec<_> =
        dkim.iter().zip(&faults).filter(|(_, fault)| fault.is_none()).map(|(one, _)| one.clone()).collect();
    let arc = authenticator.verify_arc(message).await;
    let mut dmarc =
        authenticator.verify_dmarc(DmarcParameters::new(message, &counting, sender_domain, &of_sender)).await;
    if records::dmarc_is_twofold(resolver, dmarc.domain()).await {
        dmarc = DmarcOutput::default().with_domain(dmarc.domain());
    }
    let results = Results::new(hostname).spf(of_helo.result(), "helo", helo);
    let results =
        if sender.is_empty() { results } else { results.spf(of_sender.result(), "mailfrom", sender) };
    let results = results.dkim(&dkim, &faults).arc(&arc, ip).dmarc(&dmarc);
    let seal = seal_with.map_or_else(String::new, |keys| {
        let inner = AuthenticationResults::new(hostname)
            .with_spf_mailfrom_result(&of_sender, ip, sender_or_helo, helo)
            .with_dkim_results(&dkim, message.from())
            .with_arc_result(&arc, ip)
            .with_dmarc_result(&dmarc);
        keys.seal(message, &inner, &arc)
    });
    // RFC 7489 6.6.2: one of the two in alignment is enough; a failed lookup is no failure.
    let passed = *dmarc.dkim_result() == DmarcResult::Pass || *dmarc.spf_result() == DmarcResult::Pass;
    let unknown = matches!(dmarc.dkim_result(), DmarcResult::TempError(_))
        || matches!(dmarc.spf_result(), DmarcResult::TempError(_));
    let failed = !passed && !unknown;
    Verdict {
        header: results.field(),
        domain: dmarc.domain().to_owned(),
        dmarc_rejects: failed && dmarc.policy() == Policy::Reject,
        dmarc_quarantines: failed && dmarc.policy() == Policy::Quarantine,
        seal,
    }
}
