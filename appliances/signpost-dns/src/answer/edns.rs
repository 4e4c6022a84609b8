//! The OPT record of a reply (RFC 6891), server cookies (RFC 7873, RFC 9018), NSID, keepalive.

use std::net::IpAddr;

use crate::limits::{MESSAGE_OCTETS_MAX, PADDED_BLOCK_OCTETS, TCP_IDLE, UDP_OCTETS_EDNS};
use crate::query::Edns;

/// What a reply's OPT says; built on the stack.
pub struct Opt {
    octets: [u8; 160],
    length: usize,
}

impl Opt {
    /// No OPT: the asker sent none.
    pub const NONE: Opt = Opt { octets: [0; 160], length: 0 };

    /// The OPT for a request's.
    pub fn new(edns: &Edns<'_>, rcode: u16, cookie: Option<&[u8; 24]>, nsid: &[u8], stream: bool) -> Opt {
        let mut opt = Opt::NONE;
        opt.push(&[0, 0, 41]);
        opt.push(&(UDP_OCTETS_EDNS as u16).to_be_bytes());
        opt.push(&[(rcode >> 4) as u8, 0, if edns.dnssec { 0x80 } else { 0 }, 0, 0, 0]);
        if let Some(cookie) = cookie {
            opt.option(10, cookie);
        }
        if edns.nsid && !nsid.is_empty() {
            opt.option(3, &nsid[..nsid.len().min(64)]);
        }
        if edns.keepalive && stream {
            opt.option(11, &((TCP_IDLE.as_millis() / 100) as u16).to_be_bytes());
        }
        let length = (opt.length - 11) as u16;
        opt.octets[9..11].copy_from_slice(&length.to_be_bytes());
        opt
    }

    fn push(&mut self, octets: &[u8]) {
        self.octets[self.length..self.length + octets.len()].copy_from_slice(octets);
        self.length += octets.len();
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.push(&code.to_be_bytes());
        self.push(&(value.len() as u16).to_be_bytes());
        self.push(value);
    }

    /// The record.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// Pads a reply whose last record is its OPT to whole blocks (RFC 7830 section 4), so that its length tells nobody on the
/// way what was asked.
pub fn pad(out: &mut Vec<u8>, opt_octets: usize) {
    let padded = (out.len() + 4).next_multiple_of(PADDED_BLOCK_OCTETS);
    let length_at = out.len() - opt_octets + 9;
    if opt_octets < 11 || padded > MESSAGE_OCTETS_MAX {
        return;
    }
    let zeros = (padded - out.len() - 4) as u16;
    out.extend_from_slice(&12u16.to_be_bytes());
    out.extend_from_slice(&zeros.to_be_bytes());
    out.resize(padded, 0);
    let data = (opt_octets - 11) as u16 + 4 + zeros;
    out[length_at..length_at + 2].copy_from_slice(&data.to_be_bytes());
}

/// The secret behind server cookies.
pub struct CookieJar {
    secret: [u8; 16],
}

/// What a request's cookie is worth.
pub struct Cookie {
    /// Whether it holds a server cookie that we gave to this address within the last hour.
    pub known: bool,
    /// The cookie to send back.
    pub fresh: [u8; 24],
}

impl CookieJar {
    /// Cookies under this secret; servers that share an address share it.
    pub fn new(secret: [u8; 16]) -> CookieJar {
        CookieJar { secret }
    }

    /// Judges the cookie option of a request (RFC 9018 section 4): valid for an hour, five minutes into the future.
    pub fn judge(&self, option: &[u8], asker: IpAddr, now_s: u32) -> Cookie {
        let mut client = [0; 8];
        client.copy_from_slice(&option[..8]);
        let given = option.get(8..).filter(|server| server.len() == 16 && server[0] == 1);
        let time = given.map(|server| u32::from_be_bytes([server[4], server[5], server[6], server[7]]));
        let age = time.map(|time| now_s.wrapping_sub(time) as i32);
        let known = match (given, time, age) {
            (Some(server), Some(time), Some(-300..=3600)) => {
                server[..] == self.make(&client, asker, time)[8..]
            }
            _ => false,
        };
        // A cookie younger than half an hour goes back as it is.
        let time = time.filter(|_| known && age.is_some_and(|age| age < 1800)).unwrap_or(now_s);
        Cookie { known, fresh: self.make(&client, asker, time) }
    }

    fn make(&self, client: &[u8; 8], asker: IpAddr, time: u32) -> [u8; 24] {
        let mut cookie = [0; 24];
        cookie[..8].copy_from_slice(client);
        cookie[8] = 1;
        cookie[12..16].copy_from_slice(&time.to_be_bytes());
        let mut input = [0; 32];
        input[..16].copy_from_slice(&cookie[..16]);
        let length = match asker {
            IpAddr::V4(address) => {
                input[16..20].copy_from_slice(&address.octets());
                20
            }
            IpAddr::V6(address) => {
                input[16..32].copy_from_slice(&address.octets());
                32
            }
        };
        cookie[16..].copy_from_slice(&siphash24(&self.secret, &input[..length]).to_le_bytes());
        cookie
    }
}

/// SipHash-2-4 (Aumasson and Bernstein 2012), which RFC 9018 section 4.4 names.
fn siphash24(key: &[u8; 16], input: &[u8]) -> u64 {
    let half = |from: usize| key[from..].first_chunk().map_or(0, |octets| u64::from_le_bytes(*octets));
    let (k0, k1) = (half(0), half(8));
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    fn round(v: &mut [u64; 4]) {
        v[0] = v[0].wrapping_add(v[1]);
        v[2] = v[2].wrapping_add(v[3]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[1]);
        v[0] = v[0].wrapping_add(v[3]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].rotate_left(32);
    }
    let (words, rest) = input.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = input.len() as u8;
    for word in words.iter().chain([&last]) {
        let word = u64::from_le_bytes(*word);
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xFF;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9018_appendix_a_1() {
        let secret = *b"\xe5\xe9\x73\xe5\xa6\xb2\xa4\x3f\x48\xe7\xdc\x84\x9e\x37\xbf\xcf";
        let jar = CookieJar::new(secret);
        let client = *b"\x24\x64\xc4\xab\xcf\x10\xc9\x57";
        let cookie = jar.make(&client, IpAddr::from([198, 51, 100, 100]), 1_559_731_985);
        assert_eq!(cookie[8..], *b"\x01\0\0\0\x5c\xf7\x9f\x11\x1f\x81\x30\xc3\xee\xe2\x94\x80");
        assert!(jar.judge(&cookie, IpAddr::from([198, 51, 100, 100]), 1_559_731_986).known);
        assert!(!jar.judge(&cookie, IpAddr::from([198, 51, 100, 101]), 1_559_731_986).known);
        assert!(!jar.judge(&cookie, IpAddr::from([198, 51, 100, 100]), 1_559_735_986).known);
    }
}
