//! Service parameters of SVCB and HTTPS (RFC 9460).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::BASE64;

use super::text::{escape_into, unescape_all};
use crate::name::Malformed;

const KEYS: [&str; 9] =
    ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];

/// Checks parameters in wire form: keys strictly rising, lengths right (RFC 9460 section 2.2).
///
/// # Errors
/// `Malformed::Data`.
pub fn check(mut rest: &[u8]) -> Result<(), Malformed> {
    let mut last = -1i32;
    while !rest.is_empty() {
        let (key, value, tail) = split(rest).ok_or(Malformed::Data)?;
        let fits = match key {
            0 => !value.is_empty() && value.len().is_multiple_of(2),
            1 => list(value).is_some_and(|all| !all.is_empty() && all.iter().all(|one| !one.is_empty())),
            2 | 8 => value.is_empty(),
            3 => value.len() == 2,
            4 => !value.is_empty() && value.len().is_multiple_of(4),
            6 => !value.is_empty() && value.len().is_multiple_of(16),
            _ => true,
        };
        if i32::from(key) <= last || !fits {
            return Err(Malformed::Data);
        }
        last = i32::from(key);
        rest = tail;
    }
    Ok(())
}

fn split(rest: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let [k0, k1, l0, l1, tail @ ..] = rest else { return None };
    let octets = u16::from_be_bytes([*l0, *l1]) as usize;
    Some((u16::from_be_bytes([*k0, *k1]), tail.get(..octets)?, &tail[octets..]))
}

fn list(mut value: &[u8]) -> Option<Vec<&[u8]>> {
    let mut all = Vec::new();
    while let Some(&octets) = value.first() {
        all.push(value.get(1..=octets as usize)?);
        value = &value[1 + octets as usize..];
    }
    Some(all)
}

fn key_number(text: &str) -> Option<u16> {
    match KEYS.iter().position(|one| *one == text) {
        Some(at) => Some(at as u16),
        None => text.strip_prefix("key")?.parse().ok(),
    }
}

fn key_text(key: u16) -> String {
    KEYS.get(key as usize).map_or_else(|| format!("key{key}"), ToString::to_string)
}

/// Parameters as text, each with a space before it.
pub fn to_text(mut rest: &[u8]) -> String {
    let mut out = String::new();
    while let Some((key, value, tail)) = split(rest) {
        let _ = write!(out, " {}", key_text(key));
        let commas = |all: Vec<String>| all.join(",");
        let text = match key {
            0 => commas(value.chunks(2).map(|k| key_text(u16::from_be_bytes([k[0], k[1]]))).collect()),
            3 => u16::from_be_bytes([value[0], value[1]]).to_string(),
            4 => {
                commas(value.as_chunks().0.iter().map(|a: &[u8; 4]| Ipv4Addr::from(*a).to_string()).collect())
            }
            6 => commas(
                value.as_chunks().0.iter().map(|a: &[u8; 16]| Ipv6Addr::from(*a).to_string()).collect(),
            ),
            5 => BASE64.encode(value),
            1 => commas(list(value).unwrap_or_default().into_iter().map(alpn_text).collect()),
            _ => {
                let mut text = String::new();
                escape_into(&mut text, value);
                text
            }
        };
        match (value.is_empty(), key) {
            (true, _) => {}
            (_, 1 | 7 | 9..) => {
                let _ = write!(out, "=\"{text}\"");
            }
            _ => {
                let _ = write!(out, "={text}");
            }
        }
        rest = tail;
    }
    out
}

/// One ALPN id: commas and backslashes escaped for the list, then for the character string.
fn alpn_text(id: &[u8]) -> String {
    let mut listed = Vec::new();
    for &octet in id {
        if matches!(octet, b',' | b'\\') {
            listed.push(b'\\');
        }
        listed.push(octet);
    }
    let mut out = String::new();
    escape_into(&mut out, &listed);
    out
}

/// Parameters from their words (`alpn=h2,h3`), sorted by key.
///
/// # Errors
/// A sentence that names the word.
pub fn from_text(words: &[String]) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = key_number(key).ok_or_else(|| format!("unknown service parameter {key:?}"))?;
        all.push((number, value_from_text(number, value).ok_or_else(|| format!("bad value in {word:?}"))?));
    }
    all.sort();
    let mut out = Vec::new();
    for (key, value) in all {
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(&value);
    }
    check(&out).map_err(|_| "service parameters repeat or do not fit their keys".to_string())?;
    Ok(out)
}

fn value_from_text(key: u16, value: &str) -> Option<Vec<u8>> {
    let each = |one: fn(&str) -> Option<Vec<u8>>| {
        value.split(',').map(one).collect::<Option<Vec<_>>>().map(|all| all.concat())
    };
    match key {
        0 => each(|word| key_number(word).map(|n| n.to_be_bytes().to_vec())),
        3 => value.parse::<u16>().ok().map(|port| port.to_be_bytes().to_vec()),
        4 => each(|word| word.parse::<Ipv4Addr>().ok().map(|a| a.octets().to_vec())),
        6 => each(|word| word.parse::<Ipv6Addr>().ok().map(|a| a.octets().to_vec())),
        5 => BASE64.decode(value.as_bytes()).ok(),
        1 => alpn_from_text(&unescape_all(value)?),
        2 | 8 => value.is_empty().then(Vec::new),
        _ => unescape_all(value),
    }
}

fn alpn_from_text(listed: &[u8]) -> Option<Vec<u8>> {
    let (mut ids, mut escaped) = (vec![Vec::new()], false);
    for &octet in listed {
        match octet {
            b'\\' if !escaped => escaped = true,
            b',' if !escaped => ids.push(Vec::new()),
            other => {
                ids.last_mut()?.push(other);
                escaped = false;
            }
        }
    }
    let mut out = Vec::new();
    for id in ids {
        out.push(u8::try_from(id.len()).ok()?);
        out.extend_from_slice(&id);
    }
    Some(out)
}
