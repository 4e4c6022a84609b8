//! Mail from our users (RFC 6409): sender checked, header completed, signed, copied to Sent.

use super::post::{Parcel, Post};
use super::receive::{Came, end_header, received};
use crate::message::{Entry, addresses, fields, format_rfc5322, header_end};
use crate::queue::Waiting;
use crate::smtp::{Envelope, Mailbox, Reply};
use crate::trace::message_id;
use chassis::clock::now_ms;

/// May this user send as this address? An empty sender is for servers, not for people.
pub fn sender(post: &Post, user: Option<&str>, from: Option<&Mailbox>) -> Result<(), Reply> {
    let Some(user) = user else { return Err(Reply::new(530, "5.7.0", "AUTH first")) };
    match from {
        None => Ok(()),
        Some(from) if post.directory(|d| d.may_send_as(user, from)) => Ok(()),
        Some(from) => Err(Reply::new(553, "5.7.1", format!("{from} is not an address of yours"))),
    }
}

/// Takes a message; the answer comes after the flush of queue, mailboxes and Sent.
pub async fn message(
    post: &Post,
    user: &str,
    came: &Came<'_>,
    envelope: &Envelope,
    mut raw: Vec<u8>,
) -> Result<String, Reply> {
    end_header(&mut raw);
    let address = post.chassis.accounts().find(user).map(|a| a.address.clone()).unwrap_or_default();
    header_from(post, user, &raw)?;
    let id = chassis::accounts::new_token::<9>();
    let completed = complete(&raw, &address, &post.hostname(), &id);
    drop(raw);
    let trace = received(&Came { helo: "client", ip: came.ip, ..*came }, envelope, &post.hostname(), &id);
    // Received is not signed: the signatures hold with it between.
    let signed = [post.keys.signatures(&completed).as_slice(), trace.as_bytes(), &completed].concat();
    let (bytes, message_id) = (signed.len(), message_id(&completed));
    let from = envelope.from.as_ref().map(Mailbox::to_string);
    send(post, user, from, envelope, signed, completed).await.map_err(|error| {
        tracing::warn!(user, %error, "a message was not taken");
        error.reply()
    })?;
    post.trace.note(&[&id, &message_id], format!("submitted by {user} from {}", came.ip));
    tracing::info!(id, user, to = envelope.recipients.len(), bytes, "submitted");
    Ok(format!("{id} is on its way"))
}

async fn send(
    post: &Post,
    user: &str,
    from: Option<String>,
    envelope: &Envelope,
    signed: Vec<u8>,
    own: Vec<u8>,
) -> Result<(), super::PostError> {
    let recipients: Vec<Waiting> =
        envelope.recipients.iter().map(|r| Waiting::new(&r.to, r.notify, r.orcpt.clone())).collect();
    let parcel = Parcel {
        from,
        user,
        recipients: &recipients,
        raw: signed,
        smtputf8: envelope.smtputf8,
        ret: envelope.ret,
        envid: envelope.envid.as_deref(),
        ..Parcel::default()
    };
    post.route(parcel).await?;
    if post.settings().copy_to_sent {
        let sent =
            post.mailboxes.account(user).await?.state().special("\\Sent").map(|(name, _)| name.clone());
        if let Some(sent) = sent {
            post.deliver(user, &sent, own, &["\\Seen"]).await?;
        }
    }
    Ok(())
}

/// Sends a message that was written here (webmail): completed, signed, copied to Sent.
pub async fn send_own(
    post: &Post,
    user: &str,
    address: &str,
    to: &[Mailbox],
    raw: Vec<u8>,
) -> Result<(), super::PostError> {
    let id = chassis::accounts::new_token::<9>();
    let completed = complete(&raw, address, &post.hostname(), &id);
    let signed = post.keys.sign(&completed);
    let recipients =
        to.iter().map(|to| crate::smtp::Recipient { to: to.clone(), notify: None, orcpt: None }).collect();
    let envelope = Envelope {
        from: None,
        recipients,
        size: None,
        eight_bit: false,
        smtputf8: false,
        ret: None,
        envid: None,
    };
    post.trace.note(&[&id, &message_id(&signed)], format!("written in the webmail by {user}"));
    send(post, user, Some(address.to_owned()), &envelope, signed, completed).await
}

/// The From of the header must be the user's too.
fn header_from(post: &Post, user: &str, raw: &[u8]) -> Result<(), Reply> {
    let froms: Vec<_> = fields(&raw[..header_end(raw)]).filter(|f| f.is("From")).collect();
    if froms.len() > 1 {
        return Err(Reply::new(550, "5.6.0", "the message has more than one From field"));
    }
    let Some(from) = froms.first() else { return Ok(()) };
    for entry in addresses(from.value) {
        let Entry::Address(address) = entry else { continue };
        let theirs =
            Mailbox::parse(&address.spec()).is_ok_and(|m| post.directory(|d| d.may_send_as(user, &m)));
        if !theirs {
            return Err(Reply::new(
                550,
                "5.7.1",
                format!("{} in From is not an address of yours", address.spec()),
            ));
        }
    }
    Ok(())
}

/// Adds From, Date and Message-ID where they are missing, removes Bcc (RFC 6409 8).
pub fn complete(raw: &[u8], address: &str, hostname: &str, id: &str) -> Vec<u8> {
    let end = header_end(raw);
    let header = &raw[..end];
    let has = |name: &str| fields(header).any(|f| f.is(name));
    let mut out = Vec::with_capacity(raw.len() + 200);
    if !has("From") {
        out.extend_from_slice(format!("From: <{address}>\r\n").as_bytes());
    }
    if !has("Date") {
        out.extend_from_slice(format!("Date: {}\r\n", format_rfc5322((now_ms() / 1000) as i64)).as_bytes());
    }
    if !has("Message-ID") {
        out.extend_from_slice(format!("Message-ID: <{id}@{hostname}>\r\n").as_bytes());
    }
    let mut any = false;
    for field in fields(header) {
        any = true;
        if !field.is("Bcc") && !field.is("Return-Path") {
            out.extend_from_slice(field.raw);
        }
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    // Text without any header field is all body.
    out.extend_from_slice(if any || header == b"\r\n" { &raw[end..] } else { raw });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6409_8_missing_fields_are_added_and_bcc_removed() {
        let out = complete(b"Subject: x\r\nBcc: a@b\r\n c@d\r\n\r\nbody", "me@here.test", "h", "i");
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("From: <me@here.test>\r\nDate: ") && text.contains("\r\nMessage-ID: <i@h>\r\n")
        );
        assert!(text.ends_with("Subject: x\r\n\r\nbody") && !text.contains("Bcc"));
        let kept = b"From: me@here.test\r\nDate: x\r\nMessage-ID: <1@2>\r\n\r\nbody\r\n";
        assert_eq!(complete(kept, "", "h", "i"), kept);
        assert!(complete(b"just text", "me@here.test", "h", "i").ends_with(b"\r\n\r\njust text"));
    }
}
