//! Verdicts about a message that came from outside.

use crate::queue::Router;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{AuthenticatedMessage, AuthenticationResults, DmarcResult, MessageAuthenticator};
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
}

impl Checker {
    /// A checker that asks the same DNS servers as the queue.
    pub fn new(router: &Router) -> Checker {
        Checker { authenticator: router.resolver().cloned().map(MessageAuthenticator) }
    }

    /// Checks a message from `ip`, which called itself `helo` and gave `sender` (empty for `<>`).
    pub async fn check(&self, raw: &[u8], ip: IpAddr, helo: &str, hostname: &str, sender: &str) -> Verdict {
        let none = |domain: String| Verdict {
            header: format!("Authentication-Results: {hostname}; none\r\n"),
            domain,
            dmarc_rejects: false,
            dmarc_quarantines: false,
        };
        let Some(authenticator) = &self.authenticator else { return none(String::new()) };
        let Some(message) = AuthenticatedMessage::parse(raw) else { return none(String::new()) };
        let checked = Self::all(authenticator, &message, ip, helo, hostname, sender);
        match tokio::time::timeout(CHECK_TIME, checked).await {
            Ok(verdict) => verdict,
            Err(_) => none(message.from().to_owned()),
        }
    }

    async fn all(
        authenticator: &MessageAuthenticator,
        message: &AuthenticatedMessage<'_>,
        ip: IpAddr,
        helo: &str,
        hostname: &str,
        sender: &str,
    ) -> Verdict {
        let of_helo = authenticator.verify_spf(SpfParameters::verify_ehlo(ip, helo, hostname)).await;
        let postmaster = format!("postmaster@{helo}");
        let sender_or_helo = if sender.is_empty() { postmaster.as_str() } else { sender };
        let of_sender = authenticator
            .verify_spf(SpfParameters::verify_mail_from(ip, helo, hostname, sender_or_helo))
            .await;
        let dkim = authenticator.verify_dkim(message).await;
        let arc = authenticator.verify_arc(message).await;
        let sender_domain = sender_or_helo.rsplit_once('@').map_or(helo, |(_, d)| d);
        let dmarc =
            authenticator.verify_dmarc(DmarcParameters::new(message, &dkim, sender_domain, &of_sender)).await;
        let results = AuthenticationResults::new(hostname)
            .with_spf_ehlo_result(&of_helo, ip, helo)
            .with_spf_mailfrom_result(&of_sender, ip, sender_or_helo, helo)
            .with_dkim_results(&dkim, message.from())
            .with_arc_result(&arc, ip)
            .with_dmarc_result(&dmarc);
        // RFC 7489 6.6.2: one of the two in alignment is enough; a failed lookup is no failure.
        let passed = *dmarc.dkim_result() == DmarcResult::Pass || *dmarc.spf_result() == DmarcResult::Pass;
        let unknown = matches!(dmarc.dkim_result(), DmarcResult::TempError(_))
            || matches!(dmarc.spf_result(), DmarcResult::TempError(_));
        let failed = !passed && !unknown;
        Verdict {
            header: results.to_header(),
            domain: dmarc.domain().to_owned(),
            dmarc_rejects: failed && dmarc.policy() == Policy::Reject,
            dmarc_quarantines: failed && dmarc.policy() == Policy::Quarantine,
        }
    }
}
