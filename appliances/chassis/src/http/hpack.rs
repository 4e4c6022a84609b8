//! The paths in an HTTP/2 client's frames (RFC 9113 section 4) before hyper sees them: a fragment is made visible.
//!
//! `#` in `:path` becomes `>`, which no path may hold: h2 then treats the request as malformed (RFC 9113 section 8.1.1), and
//! nothing is done. The two have the same length in both forms of a string, and in Huffman's they differ in their last bit
//! alone, so that one byte is changed in place and lengths and tables stay what the client and h2 think that they are.
//!
//! Of header compression (RFC 7541) only that is followed which tells whether a string is the value of `:path`. What is
//! malformed ends the watch: h2 ends the connection for it.

use std::collections::VecDeque;

/// Where a connection's bytes are within its frames.
#[derive(Debug)]
pub(super) struct Frames {
    at: At,
    fields: Fields,
}

#[derive(Debug, Clone, Copy)]
enum At {
    /// The client's preface: this many bytes are left.
    Preface(usize),
    /// A frame's head, as far as it has come.
    Head([u8; 9], usize),
    /// The bytes of a frame that come before its fragment of a header block: padding's length, priority.
    Before { left: usize, frame: Frame },
    /// A fragment of a header block, of this many bytes; then padding.
    Block { left: usize, padding: usize },
    /// Bytes of no concern.
    Rest(usize),
    /// The peer does not speak the protocol.
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    length: usize,
    padded: bool,
    padding: usize,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames { at: At::Preface(PREFACE_BYTES), fields: Fields::default() }
    }
}

impl Frames {
    /// Passes bytes, in which the paths' `#` are replaced.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &mut bytes[at..];
            at += match self.at {
                At::Preface(left) => skip(&mut self.at, left, rest.len(), At::Preface),
                At::Rest(left) => skip(&mut self.at, left, rest.len(), At::Rest),
                At::Head(head, have) => self.head(head, have, rest[0]),
                At::Before { left, frame } => self.before(left, frame, rest[0]),
                At::Block { left, padding } => self.block(left, padding, rest),
                At::Lost => return,
            };
        }
    }

    fn head(&mut self, mut head: [u8; 9], have: usize, byte: u8) -> usize {
        head[have] = byte;
        if have + 1 < head.len() {
            self.at = At::Head(head, have + 1);
            return 1;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let (padded, priority) = (flags & PADDED != 0, flags & PRIORITY != 0);
        self.at = match kind {
            HEADERS => {
                let left = usize::from(padded) + if priority { PRIORITY_BYTES } else { 0 };
                let frame = Frame { length, padded, padding: 0 };
                if left > length { At::Lost } else { before_or_block(left, frame) }
            }
            CONTINUATION => before_or_block(0, Frame { length, padded: false, padding: 0 }),
            _ => rest_or_head(length),
        };
        1
    }

    fn before(&mut self, left: usize, mut frame: Frame, byte: u8) -> usize {
        if std::mem::take(&mut frame.padded) {
            frame.padding = usize::from(byte);
        }
        frame.length -= 1; // `left` was not more than it
        self.at = before_or_block(left - 1, frame);
        1
    }

    fn block(&mut self, left: usize, padding: usize, bytes: &mut [u8]) -> usize {
        let taken = left.min(bytes.len());
        let good = bytes[..taken].iter_mut().all(|byte| self.fields.pass(byte).is_some());
        self.at = match (good, left - taken) {
            (false, _) => At::Lost,
            (true, 0) => rest_or_head(padding),
            (true, left) => At::Block { left, padding },
        };
        taken
    }
}

fn skip(at: &mut At, left: usize, there: usize, still: fn(usize) -> At) -> usize {
    let taken = left.min(there);
    *at = if taken == left { At::Head([0; 9], 0) } else { still(left - taken) };
    taken
}

fn rest_or_head(length: usize) -> At {
    if length == 0 { At::Head([0; 9], 0) } else { At::Rest(length) }
}

fn before_or_block(left: usize, frame: Frame) -> At {
    match (left, frame.length.checked_sub(frame.padding)) {
        (1.., _) => At::Before { left, frame },
        (0, Some(0)) => rest_or_head(frame.padding),
        (0, Some(block)) => At::Block { left: block, padding: frame.padding },
        (0, None) => At::Lost,
    }
}

/// Where a connection's header blocks are within their fields (RFC 7541 section 6), and what of the dynamic table is needed.
#[derive(Debug)]
struct Fields {
    place: Place,
    /// Newest first: whether an entry's name is `:path`, the length of its name, the size of the entry.
    table: VecDeque<(bool, usize, usize)>,
    size: usize,
    size_max: usize,
    /// The field under way: it goes into the table; its name is `:path`; the length of its name.
    indexed: bool,
    is_path: bool,
    name_length: usize,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// The first byte of a field.
    Start,
    /// The later bytes of a number: its value so far, the shift of the next seven bits, what it is.
    Number(usize, u32, Meaning),
    /// The first byte of a string.
    Length(Part),
    /// Within a string.
    String(Part, Text),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A whole field of a table.
    Field,
    /// A name of a table; 0: the name follows as a string.
    Name,
    TableSize,
    /// The length of a string, in Huffman's form or not.
    Length(Part, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Name,
    Value,
}

#[derive(Debug, Clone, Copy)]
struct Text {
    left: usize,
    huffman: bool,
    /// Octets so far, and whether they are the beginning of `:path`.
    octets: usize,
    fits: bool,
    code: u32,
    bits: usize,
}

impl Default for Fields {
    fn default() -> Fields {
        Fields {
            place: Place::Start,
            table: VecDeque::new(),
            size: 0,
            size_max: TABLE_BYTES_MAX,
            indexed: false,
            is_path: false,
            name_length: 0,
        }
    }
}

impl Fields {
    /// Passes one byte of a header block; `None`: it is none.
    fn pass(&mut self, byte: &mut u8) -> Option<()> {
        match self.place {
            Place::Start => self.start(*byte),
            Place::Number(value, shift, meaning) => {
                let value = value.checked_add(usize::from(*byte & 0x7f).checked_shl(shift)?)?;
                if value > NUMBER_MAX || shift > 21 {
                    return None;
                }
                if *byte & 0x80 == 0 {
                    return self.number(value, meaning);
                }
                self.place = Place::Number(value, shift + 7, meaning);
                Some(())
            }
            Place::Length(part) => self.prefix(*byte, 7, Meaning::Length(part, *byte & 0x80 != 0)),
            Place::String(part, text) => self.text(part, text, byte),
        }
    }

    /// RFC 7541 section 6: the first bits say what kind of field it is.
    fn start(&mut self, byte: u8) -> Option<()> {
        self.indexed = byte & 0xc0 == 0x40;
        match byte {
            0x80.. => self.prefix(byte, 7, Meaning::Field),
            0x40.. => self.prefix(byte, 6, Meaning::Name),
            0x20.. => self.prefix(byte, 5, Meaning::TableSize),
            _ => self.prefix(byte, 4, Meaning::Name),
        }
    }

    /// RFC 7541 section 5.1: a number begins in the last bits of a byte.
    fn prefix(&mut self, byte: u8, bits: u32, meaning: Meaning) -> Option<()> {
        let mask = (1 << bits) - 1;
        if byte & mask < mask {
            return self.number(usize::from(byte & mask), meaning);
        }
        self.place = Place::Number(usize::from(mask), 0, meaning);
        Some(())
    }

    fn number(&mut self, value: usize, meaning: Meaning) -> Option<()> {
        self.place = match meaning {
            Meaning::Field => Place::Start,
            Meaning::TableSize => {
                self.size_max = value.min(TABLE_BYTES_MAX);
                self.evict(0);
                Place::Start
            }
            Meaning::Name if value == 0 => Place::Length(Part::Name),
            Meaning::Name => {
                (self.is_path, self.name_length) = self.name_at(value)?;
                Place::Length(Part::Value)
            }
            Meaning::Length(part, huffman) => {
                let text = Text { left: value, huffman, octets: 0, fits: true, code: 0, bits: 0 };
                if value == 0 {
                    return self.end_of_text(part, text);
                }
                Place::String(part, text)
            }
        };
        Some(())
    }

    fn name_at(&self, index: usize) -> Option<(bool, usize)> {
        match STATIC_NAME_LENGTHS.get(index - 1) {
            Some(length) => Some((STATIC_PATHS.contains(&index), usize::from(*length))),
            None => {
                let (is_path, length, _) = self.table.get(index - 1 - STATIC_NAME_LENGTHS.len())?;
                Some((*is_path, *length))
            }
        }
    }

    fn text(&mut self, part: Part, mut text: Text, byte: &mut u8) -> Option<()> {
        let watched = part == Part::Value && self.is_path;
        if text.huffman {
            for bit in (0..8).rev() {
                text.code = text.code << 1 | u32::from(*byte >> bit & 1);
                text.bits += 1;
                let Some(octet) = HUFFMAN.octet(text.code, text.bits) else { continue };
                text.octet(octet);
                if watched && octet == b'#' {
                    *byte |= 1 << bit; // the last bit of the code of `#` is 0, of `>` 1
                }
            }
            if text.bits > HUFFMAN_BITS_MAX {
                return None;
            }
        } else {
            text.octet(*byte);
            if watched && *byte == b'#' {
                *byte = b'>';
            }
        }
        text.left -= 1;
        if text.left == 0 {
            return self.end_of_text(part, text);
        }
        self.place = Place::String(part, text);
        Some(())
    }

    fn end_of_text(&mut self, part: Part, text: Text) -> Option<()> {
        if part == Part::Name {
            (self.is_path, self.name_length) = (text.fits && text.octets == PATH.len(), text.octets);
            self.place = Place::Length(Part::Value);
            return Some(());
        }
        if self.indexed {
            let size = self.name_length + text.octets + ENTRY_BYTES;
            self.evict(size);
            if size <= self.size_max {
                self.table.push_front((self.is_path, self.name_length, size));
                self.size += size;
            }
        }
        self.place = Place::Start;
        Some(())
    }

    /// RFC 7541 section 4: the oldest entries make room.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.size_max {
            let Some((_, _, size)) = self.table.pop_back() else { return };
            self.size -= size;
        }
    }
}

impl Text {
    fn octet(&mut self, octet: u8) {
        self.fits &= PATH.get(self.octets) == Some(&octet);
        self.octets += 1;
        (self.code, self.bits) = (0, 0);
    }
}

/// The canonical Huffman code of RFC 7541 appendix B: sorted by length, then by octet.
struct Huffman {
    octets: [u8; 256],
    /// For each length: the first code, how many there are, and the place of the first in `octets`.
    lengths: [(u32, u32, usize); HUFFMAN_BITS_MAX + 1],
}

impl Huffman {
    const fn made() -> Huffman {
        let mut made = Huffman { octets: [0; 256], lengths: [(0, 0, 0); HUFFMAN_BITS_MAX + 1] };
        let (mut code, mut place, mut length) = (0u32, 0, 1);
        while length <= HUFFMAN_BITS_MAX {
            code <<= 1;
            let (first, begin, mut octet) = (code, place, 0);
            while octet < 256 {
                if CODE_LENGTHS[octet] as usize == length {
                    made.octets[place] = octet as u8;
                    place += 1;
                    code += 1;
                }
                octet += 1;
            }
            made.lengths[length] = (first, code - first, begin);
            length += 1;
        }
        made
    }

    fn octet(&self, code: u32, bits: usize) -> Option<u8> {
        let (first, count, place) = *self.lengths.get(bits)?;
        let within = code.checked_sub(first).filter(|within| *within < count)?;
        Some(self.octets[place + within as usize])
    }
}

static HUFFMAN: Huffman = Huffman::made();

const PATH: &[u8] = b":path";
const PREFACE_BYTES: usize = 24;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;
/// What h2 lets a client's table grow to (SETTINGS_HEADER_TABLE_SIZE is not sent: RFC 9113 section 6.5.2).
const TABLE_BYTES_MAX: usize = 4096;
/// RFC 7541 section 4.1.
const ENTRY_BYTES: usize = 32;
/// Far above any length in a head.
const NUMBER_MAX: usize = 1 << 24;
const HUFFMAN_BITS_MAX: usize = 30;
/// The places of `:path` in the static table.
const STATIC_PATHS: [usize; 2] = [4, 5];
/// The lengths of the names in the static table (RFC 7541 appendix A).
#[rustfmt::skip]
const STATIC_NAME_LENGTHS: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6,
    4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
];
/// The lengths of the octets' codes in bits (RFC 7541 appendix B).
#[rustfmt::skip]
const CODE_LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn huffman(text: &[u8]) -> Vec<u8> {
        let (mut bits, mut count, mut out) = (0u64, 0, Vec::new());
        for octet in text {
            let length = CODE_LENGTHS[usize::from(*octet)] as usize;
            let (first, _, begin) = HUFFMAN.lengths[length];
            let place = HUFFMAN.octets[begin..].iter().position(|one| one == octet).unwrap();
            bits = bits << length | u64::from(first + place as u32);
            count += length;
            while count >= 8 {
                count -= 8;
                out.push((bits >> count) as u8);
            }
        }
        if count > 0 {
            out.push((bits << (8 - count)) as u8 | (0xff >> count));
        }
        out
    }

    fn string(text: &[u8], packed: bool) -> Vec<u8> {
        let text = if packed { huffman(text) } else { text.to_vec() };
        [&[text.len() as u8 | if packed { 0x80 } else { 0 }][..], &text].concat()
    }

    /// The payload of the one frame after it passed, by pieces of this size.
    fn passed(payload: &[u8], kind: u8, flags: u8, size: usize) -> Vec<u8> {
        let mut all = [&[b'P'; PREFACE_BYTES][..], &frame(kind, flags, payload)].concat();
        let mut frames = Frames::default();
        all.chunks_mut(size).for_each(|piece| frames.pass(piece));
        all.split_off(PREFACE_BYTES + 9)
    }

    #[test]
    fn rfc7541_c_4_1_huffman_of_the_example() {
        assert_eq!(
            huffman(b"www.example.com"),
            [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]
        );
    }

    #[test]
    fn fragments_are_marked_in_paths_alone_whatever_their_form() {
        for packed in [false, true] {
            let value = |text: &[u8]| string(text, packed);
            let block = |path: &[u8]| {
                let cookie = [&[0x40 | 32][..], &value(b"a=#1")].concat(); // the name of a table, into the table
                let named = [&[0x40][..], &string(b":path", packed), &value(path)].concat(); // a name of its own
                let again = [&[0x40 | 62][..], &value(path)].concat(); // the name of the newest entry: `:path`
                let never = [&[0x10 | 4][..], &value(path)].concat();
                [&[0x82, 0x87][..], &cookie, &named, &again, &never, &[0x80 | 62]].concat()
            };
            let (sent, wanted) = (block(b"/a/#b?c#"), block(b"/a/>b?c>"));
            for size in 1..sent.len() + 10 {
                assert_eq!(passed(&sent, HEADERS, 4, size), wanted, "{packed} {size}");
            }
            let padded = [&[3, 0, 0, 0, 0, 9][..], &sent, &[b'#'; 3]].concat();
            let padded_wanted = [&[3, 0, 0, 0, 0, 9][..], &wanted, &[b'#'; 3]].concat();
            assert_eq!(passed(&padded, HEADERS, 4 | PADDED | PRIORITY, 5), padded_wanted);
            assert_eq!(passed(b"DATA #", 0, 0, 3), b"DATA #");
        }
    }

    #[test]
    fn a_block_goes_on_in_its_continuation() {
        let block = [&[0x04][..], &string(b"/x#y", true)].concat();
        let (first, second) = block.split_at(3);
        let frames = [frame(HEADERS, 0, first), frame(CONTINUATION, 4, second)].concat();
        let mut all = [&[0; PREFACE_BYTES][..], &frames].concat();
        Frames::default().pass(&mut all);
        let wanted = [&[0x04][..], &string(b"/x>y", true)].concat();
        assert!(all.ends_with(&wanted[3..]));
    }

    #[test]
    fn rfc7541_4_4_an_entry_larger_than_the_table_empties_it() {
        let mut fields = Fields::default();
        let mut pass = |bytes: &[u8]| {
            bytes.iter().for_each(|byte| fields.pass(&mut byte.clone()).unwrap());
            (fields.table.len(), fields.size)
        };
        assert_eq!(pass(&[&[0x44][..], &string(b"/abc", false)].concat()), (1, 5 + 4 + 32));
        assert_eq!(pass(&[0x3f, 0x0a]), (1, 41)); // a table of 41
        assert_eq!(pass(&[&[0x44][..], &string(b"/abcd", false)].concat()), (0, 0));
    }

    proptest! {
        #[test]
        fn anything_passes_with_its_length(bytes: Vec<u8>, size in 1usize..64) {
            let mut all = [&[0; PREFACE_BYTES][..], &bytes].concat();
            let mut frames = Frames::default();
            all.chunks_mut(size).for_each(|piece| frames.pass(piece));
            prop_assert!(frames.fields.size <= TABLE_BYTES_MAX);
            prop_assert_eq!(all.len(), bytes.len() + PREFACE_BYTES);
        }

        #[test]
        fn any_header_block_passes(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            passed(&block, HEADERS, 4, 64);
        }
    }
}
