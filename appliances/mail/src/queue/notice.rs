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

/// The notice for these recipients of a message, to its sender. `tag` makes boundary and Message-ID unique.
pub fn notice(
    kind: Kind,
    hostname: &str,
    entry: &Entry,
    recipients: &[&Waiting],
    original: &[u8],
    now_ms: u64,
    tag: &str,
) -> Vec<u8> {
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
    people(&mut out, kind, entry, recipients);
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
            "Final-Recipient: rfc822; {}\r\nAction: {action}\r\nStatus: {}\r\n",
            line(&r.to),
            line(status)
        );
        if !r.host.is_empty() {
            let _ = write!(out, "Remote-MTA: dns; {}\r\n", line(&r.host));
        }
        if !r.answer.is_empty() {
            let _ = write!(out, "Diagnostic-Code: smtp; {}\r\n", line(&r.answer));
        }
        if kind == Kind::Delayed {
            let until = entry.created_ms / 1000 + 5 * 86_400;
            let _ = write!(out, "Will-Retry-Until: {}\r\n", format_rfc5322(until as i64));
        }
    }
    let header = &original[..header_end(original)];
    let full =
        kind == Kind::Failed && entry.ret.as_deref() == Some("FULL") && original.len() <= RETURNED_BYTES_MAX;
    let mut out = out.into_bytes();
    if full {
        out.extend_from_slice(format!("\r\n--{boundary}\r\nContent-Type: message/rfc822\r\n\r\n").as_bytes());
        out.extend_from_slice(original);
    } else {
        out.extend_from_slice(
            format!("\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n").as_bytes(),
        );
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

fn people(out: &mut String, kind: Kind, entry: &Entry, recipients: &[&Waiting]) {
    let subject = if entry.subject.is_empty() {
        "without a subject".into()
    } else {
        format!("\"{}\"", line(&entry.subject))
    };
    let _ = match kind {
        Kind::Failed => write!(out, "Your message {subject} could not be delivered to:\r\n\r\n"),
        Kind::Delayed => write!(
            out,
            "Your message {subject} could not be delivered yet. You need do nothing: it is tried\r\nfor five days. It waits for:\r\n\r\n"
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
            ret: None,
            envid: Some("QQ".into()),
            subject: "Hello".into(),
            recipients: vec![r.clone()],
        };
        let original = b"Subject: Hello\r\nBcc: secret@x.test\r\n\r\nbody";
        let raw = notice(Kind::Failed, "mail.here.test", &entry, &[&r], original, 1000, "t1");
        let tree = parse(&raw);
        let kinds: Vec<String> = tree.children.iter().map(|c| c.mime.subtype.clone()).collect();
        assert_eq!(kinds, ["plain", "delivery-status", "rfc822-headers"]);
        assert!(
            tree.mime.is("multipart", "report") && tree.mime.param("report-type") == Some("delivery-status")
        );
        let text = String::from_utf8_lossy(&raw);
        assert!(text.contains("Final-Recipient: rfc822; x@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"));
        assert!(
            text.contains("Original-Recipient: rfc822;y@far.test\r\n")
                && text.contains("Original-Envelope-Id: QQ\r\n")
        );
        assert!(!text.contains("\r\nX-Injected") && !text.contains("secret@"));
        assert_eq!(first_value(&raw, "Auto-Submitted").as_deref(), Some("auto-replied"));
    }
}
