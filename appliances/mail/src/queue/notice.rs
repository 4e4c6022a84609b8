//! Delivery status notices (RFC 3461, 3462, 3464): failed, delayed, delivered.

use super::entry::{Entry, Waiting};
use crate::message::{fields, format_rfc5322, header_end};
use std::fmt::Write;

/// What a notice tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Given up.
    Failed,
    /// Still tried.
    Delayed,
    /// A host has it (and will not tell itself).
    Delivered,
}

/// Most of a message that a notice returns, in bytes.
const RETURNED_BYTES_MAX: usize = 100 << 10;

/// What a notice says of us.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
    /// How long a message is tried.
    pub days: u32,
    /// Makes boundary and Message-ID unique.
    pub tag: &'a str,
}

/// The notice for these recipients of a message, to its sender.
pub fn notice(
    kind: Kind,
    by: Writer<'_>,
    entry: &Entry,
    recipients: &[&Waiting],
    original: &[u8],
) -> Vec<u8> {
    let Writer { hostname, now_ms, days, tag } = by;
    let to = entry.from.as_deref().unwrap_or_default();
    let date = format_rfc5322((now_ms / 1000) as i64);
    let boundary = format!("=_nymote_{tag}");
    let (subject, action) = match kind {
        Kind::Failed => ("Your message could not be delivered", "failed"),
        Kind::Delayed => ("Your message is delayed", "delayed"),
        Kind::Delivered => ("Your message was delivered", "relayed"),
    };
    let mut out = String::new();
    let _ = write!(
        out,
        "From: Mail Delivery <postmaster@{hostname}>\r\nTo: <{to}>\r\nDate: {date}\r\nSubject: {subject}\r\n\
Message-ID: <{tag}@{hostname}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\"\r\n\r\n\
--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    );
    people(&mut out, kind, entry, recipients, days);
    let _ = write!(
        out,
        "\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; {hostname}\r\n"
    );
    if let Some(envid) = &entry.envid {
        let _ = write!(out, "Original-Envelope-Id: {}\r\n", line(envid));
    }
    let _ = write!(out, "Arrival-Date: {}\r\n", format_rfc5322((entry.created_ms / 1000) as i64));
    for r in recipients {
        out.push_str("\r\n");
        if let Some(orcpt) = &r.orcpt {
            let _ = write!(out, "Original-Recipient: {}\r\n", line(orcpt));
        }
        let status = if r.status.is_empty() { default_status(kind) } else { &r.status };
        let _ = write!(
            out,
            "Final-Recipient: {}\r\nAction: {action}\r\nStatus: {}\r\n",
            typed(&line(&r.to)),
            line(status)
        );
        if !r.host.is_empty() {
            let _ = write!(out, "Remote-MTA: dns; {}\r\n", line(&r.host));
        }
        if !r.answer.is_empty() {
            let _ = write!(out, "Diagnostic-Code: smtp; {}\r\n", line(&r.answer));
        }
        if kind == Kind::Delayed {
            let until = entry.created_ms / 1000 + u64::from(days) * 86_400;
            let _ = write!(out, "Will-Retry-Until: {}\r\n", format_rfc5322(until as i64));
        }
    }
    let header = &original[..header_end(original)];
    let full =
        kind == Kind::Failed && entry.ret.as_deref() == Some("FULL") && original.len() <= RETURNED_BYTES_MAX;
    let mut out = out.into_bytes();
    let (what, returned) = if full { ("message/rfc822", original) } else { ("text/rfc822-headers", header) };
    let encoding = if returned.is_ascii() { "" } else { "Content-Transfer-Encoding: 8bit\r\n" };
    out.extend_from_slice(format!("\r\n--{boundary}\r\nContent-Type: {what}\r\n{encoding}\r\n").as_bytes());
    if full {
        out.extend_from_slice(original);
    } else {
        let mut length = 0;
        for field in fields(header).filter(|f| !f.is("Bcc")) {
            length += field.raw.len();
            if length > RETURNED_BYTES_MAX {
                break;
            }
            out.extend_from_slice(field.raw);
        }
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

fn people(out: &mut String, kind: Kind, entry: &Entry, recipients: &[&Waiting], days: u32) {
    let subject = if entry.subject.is_empty() {
        "without a subject".into()
    } else {
        format!("\"{}\"", line(&entry.subject))
    };
    let _ = match kind {
        Kind::Failed => write!(out, "Your message {subject} could not be delivered to:\r\n\r\n"),
        Kind::Delayed => write!(
            out,
            "Your message {subject} could not be delivered yet. You need do nothing: it is tried\r\nfor {}. It waits for:\r\n\r\n",
            super::progress::in_days(days)
        ),
        Kind::Delivered => write!(out, "Your message {subject} was handed on for:\r\n\r\n"),
    };
    for r in recipients {
        let why = if r.answer.is_empty() { String::new() } else { format!("\r\n    {}", line(&r.answer)) };
        let _ = write!(out, "  {}{why}\r\n", line(&r.to));
    }
}

fn default_status(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "5.0.0",
        Kind::Delayed => "4.0.0",
        Kind::Delivered => "2.0.0",
    }
}

/// An address with its type; outside of ASCII as RFC 6533 section 3 writes it in 7 bits.
fn typed(address: &str) -> String {
    if address.is_ascii() {
        return format!("rfc822; {address}");
    }
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | '+' | '=');
    let xtext = |c: char| if plain(c) { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) };
    format!("utf-8; {}", address.chars().map(xtext).collect::<String>())
}

/// One line, whatever a peer said.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(900).collect()
}

#[cfg(test)]
mod tests {
    use super::super::entry::RecipientState;
    use super::*;
    use crate::message::{first_value, parse};

    #[test]
    fn rfc3464_2_a_failure_has_three_parts_and_a_status_for_each_recipient() {
        let mut r = Waiting::new(
            &crate::smtp::Mailbox::parse("x@far.test").unwrap(),
            None,
            Some("rfc822;y@far.test".into()),
        );
        r.state = RecipientState::Failed;
        r.status = "5.1.1".into();
        r.answer = "550 5.1.1 nobody\r\nX-Injected: yes".into();
        r.host = "mx.far.test".into();
        let entry = Entry {
            id: "1".into(),
            created_ms: 0,
            from: Some("me@here.test".into()),
            user: String::new(),
            size: 0,
            smtputf8: false,
            ret: None,
            envid: Some("QQ".into()),
            subject: "Hello".into(),
            recipients: vec![r.clone()],
        };
        let original = b"Subject: Hello\r\nBcc: secret@x.test\r\n\r\nbody";
        let by = Writer { hostname: "mail.here.test", now_ms: 1000, days: 5, tag: "t1" };
        let raw = notice(Kind::Failed, by, &entry, &[&r], original);
        let tree = parse(&raw);
        let kinds: Vec<String> = tree.children.iter().map(|c| c.mime.subtype.clone()).collect();
        assert_eq!(kinds, ["plain", "delivery-status", "rfc822-headers"]);
        assert!(
            tree.mime.is("multipart", "report")
                && tree.mime.param("report-type").as_deref() == Some("delivery-status")
        );
        let text = String::from_utf8_lossy(&raw);
        assert!(text.contains("Final-Recipient: rfc822; x@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"));
        assert!(
            text.contains("Original-Recipient: rfc822;y@far.test\r\n")
                && text.contains("Original-Envelope-Id: QQ\r\n")
        );
        assert!(!text.contains("\r\nX-Injected") && !text.contains("secret@"));
        assert_eq!(typed("grün@x.test"), "utf-8; gr\\x{FC}n@x.test");
        assert_eq!(first_value(&raw, "Auto-Submitted").as_deref(), Some("auto-replied"));
    }
}
