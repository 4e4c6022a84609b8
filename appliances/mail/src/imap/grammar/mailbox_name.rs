//! Modified UTF-7, in which IMAP4rev1 writes mailbox names (RFC 3501 5.1.3).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// The UTF-8 form, or nothing where `raw` is no modified UTF-7. Bits left over at the end of a run must be zero, so
/// that no two spellings name one mailbox.
pub fn decode_utf7(raw: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'&' => {
                let end = rest.iter().position(|b| *b == b'-')?;
                match &rest[..end] {
                    [] => out.push('&'),
                    run => decode_run(run, &mut out)?,
                }
                rest = &rest[end + 1..];
            }
            b' '..=b'~' => out.push(char::from(byte)),
            _ => return None,
        }
    }
    Some(out)
}

fn decode_run(run: &[u8], out: &mut String) -> Option<()> {
    let (mut bits, mut have) = (0u32, 0u32);
    let mut units = Vec::new();
    for byte in run {
        bits = (bits << 6) | ALPHABET.iter().position(|a| a == byte)? as u32;
        have += 6;
        if have >= 16 {
            have -= 16;
            units.push((bits >> have) as u16);
            bits &= (1 << have) - 1;
        }
    }
    if have >= 6 || bits != 0 || units.is_empty() {
        return None;
    }
    for unit in char::decode_utf16(units) {
        let c = unit.ok()?;
        if (' '..='~').contains(&c) {
            return None; // printable ASCII stands for itself
        }
        out.push(c);
    }
    Some(())
}

/// Writes `name` in modified UTF-7.
pub fn encode_utf7(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut run: Vec<u16> = Vec::new();
    for c in name.chars() {
        if (' '..='~').contains(&c) {
            encode_run(&mut run, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            run.extend(c.encode_utf16(&mut [0; 2]).iter());
        }
    }
    encode_run(&mut run, &mut out);
    out
}

fn encode_run(run: &mut Vec<u16>, out: &mut String) {
    if run.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut have) = (0u32, 0u32);
    for unit in run.drain(..) {
        bits = (bits << 16) | u32::from(unit);
        have += 16;
        while have >= 6 {
            have -= 6;
            out.push(char::from(ALPHABET[(bits >> have) as usize & 63]));
        }
        bits &= (1 << have) - 1;
    }
    if have > 0 {
        out.push(char::from(ALPHABET[(bits << (6 - have)) as usize & 63]));
    }
    out.push('-');
}
