//! IMAP strings and the ENVELOPE of a message (RFC 3501 7.4.2, RFC 9051 7.5.2).

use super::address::{Address, Entry, addresses};
use super::header::{fields, unfold};
use crate::limits;

/// Writes an IMAP string: quoted where it can be, else a literal.
pub fn write_string(out: &mut Vec<u8>, value: &[u8]) {
    let quotable =
        value.len() < 1024 && value.iter().all(|b| (b' '..=b'~').contains(b) && *b != b'"' && *b != b'\\');
    if quotable {
        out.push(b'"');
        out.extend_from_slice(value);
        out.push(b'"');
    } else {
        out.extend_from_slice(format!("{{{}}}\r\n", value.len()).as_bytes());
        out.extend(value.iter().map(|b| if *b == 0 { b'?' } else { *b }));
    }
}

/// Writes an IMAP string or NIL.
pub fn write_nstring(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => write_string(out, value),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Writes the ENVELOPE of a message with this header.
pub fn write_envelope(out: &mut Vec<u8>, header: &[u8]) {
    const NAMES: [&str; 10] =
        ["date", "subject", "from", "sender", "reply-to", "to", "cc", "bcc", "in-reply-to", "message-id"];
    let mut values: [Option<&[u8]>; 10] = [None; 10];
    for field in fields(header).take(limits::HEADER_FIELDS_MAX) {
        if let Some(i) = NAMES.iter().position(|n| field.is(n)) {
            values[i].get_or_insert(field.value);
        }
    }
    out.push(b'(');
    for i in [0, 1] {
        write_nstring(out, values[i].map(unfold).as_deref());
        out.push(b' ');
    }
    for i in 2..8 {
        // An absent Sender or Reply-To is the From (RFC 3501 7.4.2).
        let value = if matches!(i, 3 | 4) { nonempty(values[i]).or(values[2]) } else { values[i] };
        write_addresses(out, value);
        out.push(b' ');
    }
    write_nstring(out, values[8].map(unfold).as_deref());
    out.push(b' ');
    write_nstring(out, values[9].map(unfold).as_deref());
    out.push(b')');
}

fn nonempty(value: Option<&[u8]>) -> Option<&[u8]> {
    value.filter(|v| v.iter().any(|b| !b.is_ascii_whitespace()))
}

fn write_addresses(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let list = value.map(addresses).unwrap_or_default();
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for entry in &list {
        match entry {
            Entry::Address(address) => write_address(out, address),
            Entry::GroupStart(name) => {
                out.extend_from_slice(b"(NIL NIL ");
                write_string(out, name);
                out.extend_from_slice(b" NIL)");
            }
            Entry::GroupEnd => out.extend_from_slice(b"(NIL NIL NIL NIL)"),
        }
    }
    out.push(b')');
}

fn write_address(out: &mut Vec<u8>, address: &Address) {
    out.push(b'(');
    write_nstring(out, address.name.as_deref());
    out.push(b' ');
    write_nstring(out, address.route.as_deref());
    out.push(b' ');
    write_string(out, &address.local);
    out.push(b' ');
    // NIL would read as the end of a group.
    write_string(out, &address.domain);
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3501_8_envelope_of_the_example() {
        let header = b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n\
Subject: IMAP4rev1 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n\
cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\nMessage-Id: <B27397-0100000@cac.washington.edu>\r\n\r\n";
        let mut out = Vec::new();
        write_envelope(&mut out, header);
        let gray = r#"(("Terry Gray" NIL "gray" "cac.washington.edu"))"#;
        let wanted = format!(
            r#"("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" {gray} {gray} {gray} ((NIL NIL "imap" "cac.washington.edu")) ((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL "<B27397-0100000@cac.washington.edu>")"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }

    #[test]
    fn quotes_and_eight_bits_become_literals() {
        let mut out = Vec::new();
        write_string(&mut out, "a\"ü".as_bytes());
        assert_eq!(out, "{4}\r\na\"ü".as_bytes());
    }
}
