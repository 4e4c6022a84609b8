//! Mail from outside: who may be written to, what is checked, what is added, where it goes.

use super::post::{Parcel, Post};
use crate::auth::Source;
use crate::limits;
use crate::message::{fields, format_rfc5322, header_break, header_end};
use crate::queue::Waiting;
use crate::smtp::{Envelope, Mailbox, Reply};
use crate::trace::message_id;
use chassis::clock::now_ms;
use std::net::IpAddr;

/// How a message came.
pub struct Came<'a> {
    /// From where.
    pub ip: IpAddr,
    /// What the client called itself.
    pub helo: &'a str,
    /// The protocol word for Received.
    pub protocol: &'a str,
    /// Whether it came encrypted.
    pub tls: bool,
}

/// May this client send now?
pub fn sender(post: &Post, ip: IpAddr) -> Result<(), Reply> {
    let settings = post.settings();
    if ip.is_loopback() && !settings.limit_loopback {
        return Ok(());
    }
    // One address its share, the network around it four of them: a spammer has many addresses side by side.
    let (own, around) = (settings.messages_per_hour, settings.messages_per_hour.saturating_mul(4));
    let now = now_ms();
    let within = post.rates.take(chassis::listen::network(ip), own, now)
        && post.networks.take(super::rate::wider(ip), around, now);
    match within {
        true => Ok(()),
        false => Err(Reply::new(450, "4.7.1", "too much mail from your network, try again later")),
    }
}

/// Is this a recipient? Who has logged in may write to anybody.
pub fn recipient(post: &Post, to: &Mailbox, logged_in: bool) -> Result<(), Reply> {
    post.directory(|directory| {
        if !directory.is_ours(&to.domain) {
            return match logged_in {
                true => Ok(()),
                false => Err(Reply::new(550, "5.7.1", "we do not relay; log in on port 587 or 465 to send")),
            };
        }
        match directory.targets(to).is_empty() {
            true => Err(Reply::new(550, "5.1.1", "there is nobody of that name here")),
            false => Ok(()),
        }
    })
}

/// Takes a message; the answer comes after the flush.
pub async fn message(
    post: &Post,
    came: &Came<'_>,
    envelope: &Envelope,
    mut raw: Vec<u8>,
) -> Result<String, Reply> {
    end_header(&mut raw);
    if received_count(&raw) > limits::RECEIVED_MAX {
        return Err(Reply::new(554, "5.4.6", "the message has been through too many hosts: a loop"));
    }
    let hostname = post.hostname();
    let settings = post.settings();
    let recipients: Vec<Waiting> =
        envelope.recipients.iter().map(|r| Waiting::new(&r.to, r.notify, r.orcpt.clone())).collect();
    let (mut junk, mut seal) = (false, String::new());
    let mut results = format!("Authentication-Results: {hostname}; none\r\n");
    if !came.ip.is_loopback() || settings.limit_loopback {
        let sender = envelope.from.as_ref().map(Mailbox::to_string).unwrap_or_default();
        let source = Source { ip: came.ip, helo: came.helo, sender: &sender };
        let keys = post.goes_on(&recipients).then_some(&post.keys);
        let verdict = post.checker().check(&raw, source, &hostname, keys).await;
        if verdict.dmarc_rejects && settings.obey_dmarc_reject {
            return Err(Reply::new(
                550,
                "5.7.1",
                format!("the policy of {} refuses this message (DMARC)", verdict.domain),
            ));
        }
        junk = verdict.dmarc_rejects || verdict.dmarc_quarantines;
        (results, seal) = (verdict.header, verdict.seal);
    }
    let id = chassis::accounts::new_token::<9>();
    let mut text = Vec::with_capacity(raw.len() + 512);
    text.extend_from_slice(results.as_bytes());
    text.extend_from_slice(received(came, envelope, &hostname, &id).as_bytes());
    without_forged_results(&raw, &hostname, &mut text);
    drop(raw);
    let (bytes, message_id) = (text.len(), message_id(&text));
    let from = envelope.from.as_ref().map(Mailbox::to_string);
    let parcel = Parcel {
        from: from.clone(),
        recipients: &recipients,
        raw: text,
        junk,
        smtputf8: envelope.smtputf8,
        ret: envelope.ret,
        envid: envelope.envid.as_deref(),
        seal: &seal,
        ..Parcel::default()
    };
    match post.route(parcel).await {
        Ok(_) => {
            let what = format!(
                "received from {} for {} recipients{}",
                came.ip,
                recipients.len(),
                if junk { ", to Junk" } else { "" }
            );
            post.trace.note(&[&id, &message_id], what);
            tracing::info!(id, from, to = recipients.len(), bytes, ip = %came.ip, junk, "received");
            Ok(format!("{id} is safe"))
        }
        Err(error) => {
            tracing::warn!(id, %error, "a message was not taken");
            Err(error.reply())
        }
    }
}

/// The trace field (RFC 5321 4.4). The recipient is named only when there is one: others must not learn of each other.
pub fn received(came: &Came<'_>, envelope: &Envelope, hostname: &str, id: &str) -> String {
    let for_whom = match envelope.recipients.as_slice() {
        [one] if one.to.to_string().is_ascii() => format!("\r\n\tfor <{}>", one.to),
        _ => String::new(),
    };
    let ip = match came.ip {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    };
    let tls = if came.tls { " (TLS)" } else { "" };
    let date = format_rfc5322((now_ms() / 1000) as i64);
    let (helo, protocol) = (came.helo, came.protocol);
    format!(
        "Received: from {helo} ({ip})\r\n\tby {hostname} (nymote) with {protocol}{tls} id {id}{for_whom};\r\n\t{date}\r\n"
    )
}

/// Text that follows the header without a blank line, or is all there is, becomes the body: behind the fields that we put
/// before it nobody would see it.
pub fn end_header(raw: &mut Vec<u8>) {
    if let Some(at) = header_break(raw) {
        raw.splice(at..at, *b"\r\n");
    }
}

fn received_count(raw: &[u8]) -> usize {
    fields(raw).take(limits::HEADER_FIELDS_MAX).filter(|f| f.is("Received")).count()
}

/// Results that claim to be ours are lies when they come from outside (RFC 8601 5).
fn without_forged_results(raw: &[u8], hostname: &str, out: &mut Vec<u8>) {
    let end = header_end(raw);
    let forged = |f: &crate::message::Field<'_>| {
        f.is("Authentication-Results")
            && crate::message::unfold(f.value)
                .split(|b| matches!(b, b';' | b' ' | b'\t'))
                .find(|w| !w.is_empty())
                .is_some_and(|w| w.eq_ignore_ascii_case(hostname.as_bytes()))
    };
    let mut at = 0;
    for field in fields(&raw[..end]).filter(forged) {
        let start = field.raw.as_ptr() as usize - raw.as_ptr() as usize;
        out.extend_from_slice(&raw[at..start]);
        at = start + field.raw.len();
    }
    out.extend_from_slice(&raw[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8601_5_results_in_our_name_are_removed_and_others_kept() {
        let raw = b"A: b\r\nAuthentication-Results: mx.here;\r\n dkim=pass\r\nAuthentication-Results: other; spf=pass\r\n\r\nAuthentication-Results: mx.here\r\n";
        let mut out = Vec::new();
        without_forged_results(raw, "MX.here", &mut out);
        assert_eq!(
            out,
            b"A: b\r\nAuthentication-Results: other; spf=pass\r\n\r\nAuthentication-Results: mx.here\r\n"
        );
    }
}
