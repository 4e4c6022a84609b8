//! The form in which a machine's image keeps its unwind tables: columns of small numbers, which pack to half of what
//! `.eh_frame` and `.gcc_except_table` do, and of which a line more in one crate moves little. The kernel makes one function's
//! entry of them when the unwinder asks (kernel/src/unwinding.rs, where the form is described).

use super::cfa::{Program, write_unsigned};

/// Functions in a group; the groups' heads are searched, and a group is read from its beginning.
const GROUP: usize = 128;
/// The columns.
const COLUMNS: usize = 8;
/// Longest table of clean-ups that the kernel makes room for.
const CLEANUPS_BYTES_MAX: usize = 11 << 10;

/// Bytes of a call site as the unwinder reads it, in a function of less than 2 MiB.
const SITE_BYTES_MAX: usize = 10;

/// One function, as the tables tell of it.
pub struct Function<'a> {
    /// Its first instruction's address.
    pub start: u32,
    /// Its length.
    pub bytes: u32,
    /// Which common part it has.
    pub common: usize,
    /// The rules of its frame.
    pub program: &'a [u8],
    /// Its call sites, if it has clean-ups.
    pub sites: Option<Vec<Site>>,
}

/// What a panic finds in a stretch of a function: all distances are from the function's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    start: u64,
    bytes: u64,
    /// Where the clean-up is, or 0 for none.
    pad: u64,
    /// 0 for a clean-up, else something that catches.
    action: u64,
}

impl Site {
    fn end(&self) -> u64 {
        self.start + self.bytes
    }
}

/// Reads a function's clean-ups as rustc writes them (Itanium C++ ABI, exception handling tables): from the function's start,
/// numbers in LEB128. What follows the call sites nobody asks for: Rust's panics have no types.
pub fn sites(table: &[u8]) -> Option<Vec<Site>> {
    const OMITTED: u8 = 0xff;
    const UNSIGNED: u8 = 0x01;
    let [OMITTED, types, rest @ ..] = table else { return None };
    let mut rest = Program::new(rest);
    if *types != OMITTED {
        rest.unsigned()?;
    }
    if rest.byte()? != UNSIGNED {
        return None;
    }
    let bytes = usize::try_from(rest.unsigned()?).ok()?;
    let end = rest.left().checked_sub(bytes)?;
    let mut sites = Vec::new();
    while rest.left() > end {
        let [start, bytes, pad, action] =
            [rest.unsigned()?, rest.unsigned()?, rest.unsigned()?, rest.unsigned()?];
        sites.push(Site { start, bytes, pad, action });
    }
    (rest.left() == end).then_some(sites)
}

/// The same for whoever asks at a call: a call site begins where the one before ends, unless another call is between them, ends
/// with its last call, and is one with its neighbour of the same clean-up. Calls are told by where they return to.
pub fn joined(sites: &[Site], calls: &[usize]) -> Option<Vec<Site>> {
    let mut joined: Vec<Site> = Vec::new();
    for site in sites {
        let end = joined.last().map_or(0, Site::end);
        let up_to =
            |place: u64| calls.iter().map(|call| *call as u64).take_while(move |call| *call <= place).last();
        let (before, last) = (up_to(site.start).unwrap_or(0), up_to(site.end()).unwrap_or(0));
        let start = before.max(end);
        if last <= start {
            continue;
        }
        match joined.last_mut() {
            Some(one) if start == end && (one.pad, one.action) == (site.pad, site.action) => {
                one.bytes = last - one.start
            }
            _ => joined.push(Site { start, bytes: last - start, ..*site }),
        }
    }
    let at = |sites: &[Site], call: u64| {
        let site = sites.iter().find(|site| site.start < call && call <= site.end())?;
        Some((site.pad, site.action))
    };
    calls.iter().all(|call| at(sites, *call as u64) == at(&joined, *call as u64)).then_some(joined)
}

/// Writes the tables of functions that are sorted by address; `None` when one is of a kind that the form does not know.
pub fn write(commons: &[Vec<u8>], functions: &[Function<'_>]) -> Option<Vec<u8>> {
    let mut columns: [Vec<u8>; COLUMNS] = Default::default();
    let (mut groups, mut end) = (Vec::new(), 0);
    for (index, function) in functions.iter().enumerate() {
        if index % GROUP == 0 {
            end = function.start;
            groups.push((function.start, columns.each_ref().map(Vec::len)));
        }
        let [gaps, lengths, kinds, programs, ..] = &mut columns;
        write_unsigned(function.start.checked_sub(end)?.into(), gaps);
        write_unsigned(function.bytes.into(), lengths);
        end = function.start.checked_add(function.bytes)?;
        let sites = function.sites.as_ref().map_or(0, |sites| sites.len() + 1);
        write_unsigned((sites * commons.len() + function.common) as u64, kinds);
        write_unsigned(function.program.len() as u64, programs);
        programs.extend_from_slice(function.program);
        write_sites(function.sites.as_deref().unwrap_or_default(), &mut columns)?;
    }
    let groups_at = 4 * (4 + COLUMNS);
    let commons_at = groups_at + 4 * (1 + COLUMNS) * groups.len();
    let mut place = commons_at + commons.iter().map(|common| 1 + common.len()).sum::<usize>();
    let places = columns.each_ref().map(|column| {
        place += column.len();
        place - column.len()
    });
    let mut bytes = Vec::new();
    let mut put = |number: usize| bytes.extend_from_slice(&(number as u32).to_le_bytes());
    [place, functions.len(), commons.len(), commons_at].into_iter().chain(places).for_each(&mut put);
    for (start, offsets) in groups {
        put(start as usize);
        places.iter().zip(offsets).for_each(|(place, offset)| put(place + offset));
    }
    for common in commons {
        bytes.push(u8::try_from(common.len()).ok()?);
        bytes.extend_from_slice(common);
    }
    columns.iter().for_each(|column| bytes.extend_from_slice(column));
    Some(bytes)
}

fn write_sites(sites: &[Site], columns: &mut [Vec<u8>; COLUMNS]) -> Option<()> {
    let [.., gaps, lengths, pads, actions] = columns;
    let (mut end, mut pad) = (0, 0_u64);
    for site in sites {
        write_unsigned(site.start.checked_sub(end)?, gaps);
        write_unsigned(site.bytes, lengths);
        end = site.start + site.bytes;
        // 0 is none; then how far from the one before, the sign in the lowest bit.
        let distance = site.pad.cast_signed() - pad.cast_signed();
        write_unsigned(
            if site.pad == 0 { 0 } else { ((distance << 1) ^ (distance >> 63)).cast_unsigned() + 1 },
            pads,
        );
        pad = if site.pad == 0 { pad } else { site.pad };
        actions.push(u8::try_from(site.action.min(1)).ok()?);
    }
    (end < 2 << 20 && SITE_BYTES_MAX * sites.len() <= CLEANUPS_BYTES_MAX).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three call sites: a clean-up, none, and something that catches before the first's; then what follows them.
    const CLEANUPS: &[u8] =
        b"\xff\x9b\x19\x01\x0d\x00\x05\x20\x00\x05\x03\x00\x00\x0a\xc8\x01\x1e\x01\x01\x00\0\0\0\0";

    /// The same bytes are read by kernel/src/unwinding.rs's test.
    const WRITTEN: &[u8] = b"\x88\0\0\0\x02\0\0\0\x02\0\0\0\x54\0\0\0\
        \x6e\0\0\0\x70\0\0\0\x73\0\0\0\x75\0\0\0\x7b\0\0\0\x7e\0\0\0\x82\0\0\0\x85\0\0\0\
        \0\x10\x40\0\x6e\0\0\0\x70\0\0\0\x73\0\0\0\x75\0\0\0\x7b\0\0\0\x7e\0\0\0\x82\0\0\0\x85\0\0\0\
        \x0c12345678vzR\0\x0c12345678vzL\0\
        \x00\x04\xac\x02\x07\x09\x00\x04\x0e\x10\x83\x02\x00\x00\x00\x02\x05\x03\xc8\x01\x41\x00\x04\x00\x00\x01";

    #[test]
    fn call_sites_are_read_up_to_their_end() {
        let site = |start, bytes, pad, action| Site { start, bytes, pad, action };
        assert_eq!(sites(CLEANUPS).unwrap(), [site(0, 5, 0x20, 0), site(5, 3, 0, 0), site(10, 200, 0x1e, 1)]);
        assert_eq!(sites(&CLEANUPS[..12]), None);
        assert_eq!(sites(b"\xff\xff\x03\x00"), None);
    }

    #[test]
    fn call_sites_reach_from_call_to_call() {
        let site = |start, bytes, pad, action| Site { start, bytes, pad, action };
        let old = [site(3, 5, 0x20, 0), site(10, 6, 0x20, 0), site(20, 9, 0, 0), site(30, 5, 0x20, 1)];
        // Without a call between them the first two are one; what no call returns into goes; a call of none stays out.
        assert_eq!(joined(&old, &[8, 15, 33]).unwrap(), [site(0, 15, 0x20, 0), site(15, 18, 0x20, 1)]);
        assert_eq!(
            joined(&old, &[8, 9, 15, 33]).unwrap(),
            [site(0, 8, 0x20, 0), site(9, 6, 0x20, 0), site(15, 18, 0x20, 1)]
        );
        // Whoever overlaps is not told apart by order alone.
        assert_eq!(
            joined(&[site(0, 9, 1, 0), site(5, 4, 2, 0), site(7, 1, 3, 0)], &[6, 8]),
            Some(vec![site(0, 8, 1, 0)])
        );
    }

    #[test]
    fn functions_become_columns() {
        let function =
            |start, bytes, common, program, sites| Function { start, bytes, common, program, sites };
        let first = function(0x40_1000, 300, 1, &[0x0e, 16, 0x83, 2][..], sites(CLEANUPS));
        let second = function(0x40_1130, 7, 0, &[], None);
        let written =
            write(&[b"12345678vzR\0".to_vec(), b"12345678vzL\0".to_vec()], &[first, second]).unwrap();
        assert_eq!(written, WRITTEN);
    }
}
