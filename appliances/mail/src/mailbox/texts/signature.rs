//! What a message's text leaves in the index: one bit for each three bytes that follow each other in it.
//!
//! A text can only be in a message that has the bits of all its trigrams, so a search looks at those alone; what the bits
//! let through is read and decides. Short messages get 4,096 bits, long ones 32,768: with about a third of the bits set,
//! a word of eight letters lets one stranger in a thousand through.

use crate::message;

/// Bits that a text needs: places in the wide signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle(Vec<u16>);

/// Which signature a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 4,096 bits.
    Narrow,
    /// 32,768 bits.
    Wide,
}

/// The signature of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// How many bits it has.
    pub width: Width,
    /// The bits.
    pub bits: Vec<u64>,
}

impl Width {
    /// Both.
    pub const ALL: [Width; 2] = [Width::Narrow, Width::Wide];

    /// Number of bits.
    pub fn bits(self) -> usize {
        match self {
            Width::Narrow => 1 << 12,
            Width::Wide => 1 << 15,
        }
    }

    /// Its letter in keys.
    pub fn letter(self) -> u8 {
        match self {
            Width::Narrow => b'n',
            Width::Wide => b'w',
        }
    }
}

impl Needle {
    /// What a text in lower case needs; nothing where it is too short to need anything.
    pub fn of(text: &str) -> Option<Needle> {
        let mut places: Vec<u16> = trigrams(text.as_bytes()).collect();
        places.sort_unstable();
        places.dedup();
        (!places.is_empty()).then_some(Needle(places))
    }

    /// Its places in a signature of that width, sorted.
    pub fn places(&self, width: Width) -> Vec<usize> {
        let mut places: Vec<usize> = self.0.iter().map(|place| usize::from(*place) % width.bits()).collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl Signature {
    /// The signature of a message: of every text that SEARCH looks at, in lower case.
    pub fn of(raw: &[u8]) -> Signature {
        let mut wide = vec![0u64; Width::Wide.bits() / 64];
        let mut set = |place: u16| wide[usize::from(place) / 64] |= 1 << (place % 64);
        let mut add = |text: &str| match text.is_ascii() {
            // Without a copy in lower case: a text may have megabytes.
            true => lower_trigrams(text.as_bytes()).for_each(&mut set),
            false => trigrams(text.to_lowercase().as_bytes()).for_each(&mut set),
        };
        message::each_search_text(raw, &mut add);
        let set: u32 = wide.iter().map(|word| word.count_ones()).sum();
        if set > NARROW_SET_MAX {
            return Signature { width: Width::Wide, bits: wide };
        }
        let mut bits = vec![0u64; Width::Narrow.bits() / 64];
        let words = bits.len();
        wide.iter().enumerate().for_each(|(at, word)| bits[at % words] |= word);
        Signature { width: Width::Narrow, bits }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.bits.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// From bytes; nothing where they are of another width.
    pub fn decode(width: Width, bytes: &[u8]) -> Option<Signature> {
        let words = bytes.chunks_exact(8).map(|b| b.try_into().map_or(0, u64::from_le_bytes));
        (bytes.len() * 8 == width.bits()).then(|| Signature { width, bits: words.collect() })
    }

    /// Whether it has all of these places.
    pub fn has(&self, places: &[usize]) -> bool {
        places.iter().all(|place| self.bits[place / 64] >> (place % 64) & 1 == 1)
    }
}

fn trigrams(text: &[u8]) -> impl Iterator<Item = u16> {
    text.windows(3).map(|three| place([three[0], three[1], three[2]]))
}

/// Of ASCII, in lower case.
fn lower_trigrams(text: &[u8]) -> impl Iterator<Item = u16> {
    text.windows(3).map(|three| place([three[0], three[1], three[2]].map(|b| b.to_ascii_lowercase())))
}

fn place(three: [u8; 3]) -> u16 {
    let number = u32::from(three[0]) | u32::from(three[1]) << 8 | u32::from(three[2]) << 16;
    (number.wrapping_mul(0x9e37_79b1) >> 17) as u16
}

/// Bits of the wide signature up to which a message is given the narrow one.
const NARROW_SET_MAX: u32 = 1_800;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_messages_have_wide_signatures() {
        let text: String = (0..20_000u32).map(|n| format!("{:x} ", n.wrapping_mul(2_654_435_761))).collect();
        assert_eq!(Signature::of(format!("Subject: x\r\n\r\n{text}").as_bytes()).width, Width::Wide);
        let short = Signature::of(b"Subject: x\r\n\r\nhello\r\n");
        assert_eq!(short.width, Width::Narrow);
        assert_eq!(Signature::decode(Width::Narrow, &short.encode()), Some(short));
    }

    /// Found by fuzzing: a search saw a line end behind each text, and the signature did not.
    #[test]
    fn the_signature_has_every_trigram_that_a_search_sees() {
        for raw in
            [b"\n\x7f\xbf".as_slice(), b"A: b\r\nC:\xff=?utf-8?q?d=FFe?=\r\n\r\n\xbf\xbf x\xe9 \xf0\x9f"]
        {
            let signature = Signature::of(raw);
            let mut texts = message::lower_texts(raw);
            message::each_search_text(raw, |text| texts.push(text.to_lowercase()));
            for text in texts {
                let needle = Needle::of(&text);
                assert!(
                    needle.is_none_or(|needle| signature.has(&needle.places(signature.width))),
                    "{text:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_text_that_is_there_is_let_through(before in "\\PC{0,200}", text in "\\PC{1,30}", after in "\\PC{0,2000}") {
            let raw = format!("Subject: hi\r\n\r\n{before}{text}{after}\r\n");
            let signature = Signature::of(raw.as_bytes());
            let wanted = text.to_lowercase();
            prop_assume!(message::lower_texts(raw.as_bytes()).iter().any(|text| text.contains(&wanted)));
            if let Some(needle) = Needle::of(&wanted) {
                prop_assert!(signature.has(&needle.places(signature.width)));
            }
        }
    }
}
