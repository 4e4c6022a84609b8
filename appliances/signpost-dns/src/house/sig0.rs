//! Requests signed with a key that stands in the zone (SIG(0), RFC 2931): a name changes what is its own.

use super::House;
use crate::dnssec::key;
use crate::limits::TSIG_FUDGE_S;
use crate::name::Name;
use crate::query::Query;
use crate::record::RecordType;
use crate::tsig::{RequestId, request_id};

impl House {
    /// The name whose KEY record verifies the SIG record at `at` of an update, and the request's name.
    pub(super) fn sig0(&self, message: &[u8], at: usize, query: &Query<'_>) -> Option<(Name, RequestId)> {
        let mut here = at;
        Name::from_message(message, &mut here).ok().filter(Name::is_root)?;
        let fixed = message.get(here..here + 10)?;
        let data = message.get(here + 10..)?;
        // Type SIG; it covers type 0, the message.
        if fixed[..2] != [0, 24]
            || data.len() != usize::from(u16::from_be_bytes([fixed[8], fixed[9]]))
            || data.get(..2)? != [0, 0]
        {
            return None;
        }
        let number =
            |from: usize| data.get(from..from + 4)?.first_chunk().map(|octets| u32::from_be_bytes(*octets));
        let (expiration, inception) = (number(8)?, number(12)?);
        let now = crate::serve::now_s();
        let fudge = i32::from(TSIG_FUDGE_S as i16);
        // A recorded update must not live long, whatever its signer wrote.
        let fresh = (now.wrapping_sub(inception) as i32) >= -fudge
            && (now.wrapping_sub(inception) as i32) <= 2 * fudge
            && (expiration.wrapping_sub(now) as i32) >= -fudge;
        let tag = u16::from_be_bytes([*data.get(16)?, *data.get(17)?]);
        let mut behind = 18;
        let signer = Name::from_message(data, &mut behind).ok().filter(|_| fresh)?;
        let keeper = self.keeper(&Name::from_octets(query.lower()).ok()?)?;
        let zone = keeper.served();
        let keys = zone.node(&signer)?.get(RecordType::KEY)?;
        let mut signed = data[..behind].to_vec();
        signed.extend_from_slice(&message[..at]);
        let additional = behind + 10;
        let count = u16::from_be_bytes([signed[additional], signed[additional + 1]]).wrapping_sub(1);
        signed[additional..additional + 2].copy_from_slice(&count.to_be_bytes());
        let verifies = |one: &Vec<u8>| {
            key::key_tag(one) == tag
                && one.get(3) == data.get(2)
                && key::verify(one, &signed, &data[behind..])
        };
        let id = request_id(u64::from(inception), &data[behind..]);
        keys.datas(&zone.origin).any(|one| verifies(&one)).then_some((signer, id))
    }
}
