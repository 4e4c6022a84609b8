//! What a panic needs to know about each function's frame, cut down to what a panic asks.
//!
//! The compiler describes the frame at every instruction, as a debugger or a signal would want it. On a machine only a panic and
//! a list of callers walk the stack, and they meet functions in the midst of calls alone. So of `.eh_frame` (DWARF 5, 6.4, as
//! the System V ABI stores it) stay the rows that hold at a call, and nothing of functions that call none. What is left goes with
//! the clean-ups of `.gcc_except_table` into columns ([`tables`]), of which the kernel makes an entry when the unwinder asks. An
//! entry with a rule or code that is not understood keeps its rules; a section that is not, all that it has.

use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions};

use super::cfa::{Program, Row, write_advance, write_row};
use super::elf::{self, number, section};
use super::tables::{self, Function, joined, sites};

/// A common part, which entries refer to.
struct Common {
    /// What is written of it: the length and what follows, with entries' addresses as such.
    bytes: Vec<u8>,
    /// Where it lies in the old section.
    old: usize,
    /// Entries have data of their own behind the range (augmentation `z`), which is a table of clean-ups (`L`).
    augmented: bool,
    data_factor: i64,
    /// The frame at a function's first instruction.
    first: Row,
}

/// A function's entry.
struct Entry {
    common: usize,
    start: u32,
    bytes: u32,
    augmentation: Vec<u8>,
    program: Vec<u8>,
}

/// Cuts down a program's tables where they are; what is left over becomes zero, and no memory when it is the last of the program.
/// Says whether it did.
pub fn cut(program: &mut [u8]) -> bool {
    let Some(cut) = cut_tables(program) else { return false };
    let end = cut.file.start + cut.bytes.len();
    program[cut.file.start..end].copy_from_slice(&cut.bytes);
    program[end..cut.file.end].fill(0);
    program[cut.cleanups].fill(0);
    elf::shorten_segment(program, cut.file.start, cut.bytes.len());
    true
}

/// What is to be written.
struct Cut {
    /// Where there was the search table, and the entries behind it.
    file: Range<usize>,
    /// What comes there.
    bytes: Vec<u8>,
    /// Where there were clean-ups.
    cleanups: Range<usize>,
}

fn cut_tables(program: &[u8]) -> Option<Cut> {
    let frames = section(program, ".eh_frame")?;
    let table = section(program, ".eh_frame_hdr")?;
    let text = section(program, ".text")?;
    let cleanups = section(program, ".gcc_except_table")?;
    let code = |start: u32, bytes: u32| program.get(text.at(start.into())?..)?.get(..bytes as usize);
    let (commons, mut entries) = read(&program[frames.file.clone()], frames.address)?;
    entries.retain_mut(|entry| {
        code(entry.start, entry.bytes).is_none_or(|code| shorten(entry, code, &commons[entry.common]))
    });
    entries.sort_by_key(|entry| entry.start);
    let functions = entries.iter().map(|entry| {
        let sites = match entry.augmentation.first_chunk().map(|address| u32::from_le_bytes(*address)) {
            None | Some(0) => None,
            Some(address) => {
                let sites = sites(&program[cleanups.at(address.into())?..cleanups.file.end])?;
                let calls = code(entry.start, entry.bytes).and_then(calls);
                Some(calls.and_then(|calls| joined(&sites, &calls)).unwrap_or(sites))
            }
        };
        let Entry { common, start, bytes, ref program, .. } = *entry;
        Some(Function { start, bytes, common, program, sites })
    });
    let functions = functions.collect::<Option<Vec<_>>>()?;
    let commons: Vec<_> = commons.iter().map(|common| common.bytes.clone()).collect();
    // A version that no linker writes, and behind it how far ours are from there.
    let mut bytes = vec![VERSION, 0, 0, 0, 4, 0, 0, 0];
    bytes.extend(tables::write(&commons, &functions)?);
    let file = table.file.start..frames.file.end;
    let adjacent = (table.file.end..table.file.end + 16).contains(&frames.file.start);
    (adjacent && bytes.len() <= file.len()).then_some(Cut { file, bytes, cleanups: cleanups.file })
}

/// Encodings of pointers (`DW_EH_PE_…`): four bytes, as they are; signed and relative to their own place.
const ABSOLUTE: u8 = 0x03;
const FROM_PLACE: u8 = 0x1b;
/// A linker writes 1.
const VERSION: u8 = 2;

fn read(section: &[u8], address: u64) -> Option<(Vec<Common>, Vec<Entry>)> {
    let (mut commons, mut entries) = (Vec::<Common>::new(), Vec::new());
    let mut at = 0;
    while let Some(length) = number(section, at).filter(|length| *length != 0) {
        let body = section.get(at + 4..at + 4 + length as usize)?;
        match number(body, 0)? as usize {
            0 => commons.push(read_common(section.get(at..at + 4 + body.len())?, at)?),
            back => {
                let old = (at + 4).checked_sub(back)?;
                let common = commons.iter().position(|common| common.old == old)?;
                let distance = number(body, 4)?.cast_signed();
                let start = (address + at as u64 + 8).checked_add_signed(distance.into())?;
                entries.push(read_entry(common, u32::try_from(start).ok()?, body, &commons[common])?);
            }
        }
        at += 4 + length as usize;
    }
    Some((commons, entries))
}

/// A common part of version 1 whose entries hold distances; its own pointer, if any, must be an address already.
fn read_common(bytes: &[u8], old: usize) -> Option<Common> {
    let mut written = bytes.to_vec();
    let name = bytes.get(9..)?.split(|byte| *byte == 0).next()?;
    let mut rest = Program::new(bytes.get(9 + name.len() + 1..)?);
    let (code_factor, data_factor, _caller) = (rest.unsigned()?, rest.signed()?, rest.unsigned()?);
    if bytes[8] != 1 || code_factor != 1 || name.first() != Some(&b'z') {
        return None;
    }
    let augmentation = usize::try_from(rest.unsigned()?).ok()?;
    let mut place = bytes.len() - rest.left();
    let program = bytes.get(place + augmentation..)?;
    for letter in &name[1..] {
        let encoding = written.get_mut(place)?;
        place += match (letter, *encoding) {
            (b'P', ABSOLUTE) => 5,
            (b'L', ABSOLUTE) => 1,
            (b'R', FROM_PLACE) => {
                *encoding = ABSOLUTE;
                1
            }
            _ => return None,
        };
    }
    let first = Program::new(program).rows(data_factor, &Row::default())?.pop()?.1;
    Some(Common { bytes: written, old, augmented: name.contains(&b'L'), data_factor, first })
}

fn read_entry(common: usize, start: u32, body: &[u8], of: &Common) -> Option<Entry> {
    let bytes = number(body, 8)?;
    let mut rest = Program::new(body.get(12..)?);
    let length = usize::try_from(rest.unsigned()?).ok()?;
    let (augmentation, program) = body[body.len() - rest.left()..].split_at_checked(length)?;
    (length == if of.augmented { 4 } else { 0 }).then(|| Entry {
        common,
        start,
        bytes,
        augmentation: augmentation.to_vec(),
        program: program.to_vec(),
    })
}

/// Leaves the rows of an entry that hold at calls; says whether there are any.
fn shorten(entry: &mut Entry, code: &[u8], common: &Common) -> bool {
    let Some(calls) = calls(code) else { return true };
    if calls.is_empty() {
        return false;
    }
    if let Some(program) = shortened(&entry.program, &calls, common) {
        entry.program = program;
    }
    true
}

fn shortened(old: &[u8], calls: &[usize], common: &Common) -> Option<Vec<u8>> {
    let rows = Program::new(old).rows(common.data_factor, &common.first)?;
    let wanted = |call: usize| rows.iter().rev().find(|(from, _)| *from < call).map(|(_, row)| row);
    let (mut program, mut row, mut written_to, mut call_before) = (Vec::new(), &common.first, 0, 0);
    for call in calls {
        let next = wanted(*call)?;
        if next != row {
            if call_before != 0 {
                write_advance(call_before - written_to, &mut program)?;
                written_to = call_before;
            }
            write_row(row, next, common.data_factor, &mut program)?;
            row = next;
        }
        call_before = *call;
    }
    // What was written says what was read, or is not used.
    let again = Program::new(&program).rows(common.data_factor, &common.first)?;
    let same =
        |call: &usize| again.iter().rev().find(|(from, _)| from < call).map(|(_, row)| row) == wanted(*call);
    calls.iter().all(same).then_some(program)
}

/// Where a function's calls return to, as distances from its start, in order; `None` when its code is not understood.
fn calls(code: &[u8]) -> Option<Vec<usize>> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut calls = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        match instruction.code() {
            Code::INVALID => return None,
            code if code.is_call_near() || code.is_call_near_indirect() => calls.push(decoder.position()),
            code if code.is_call_far() || code.is_call_far_indirect() => return None,
            Code::Syscall | Code::Int_imm8 => return None,
            _ => {}
        }
    }
    Some(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: u32 = 0x40_0000;
    const FRAMES: u32 = 0x30_0000;
    /// `push rbx; call …; pop rbx; ret`, then `ret`, then what is no instruction.
    const CODE: [u8; 10] = [0x53, 0xe8, 1, 2, 3, 4, 0x5b, 0xc3, 0xc3, 0x06];
    /// Version 1, `zR`: distances; the frame is at RSP + 8, the caller's address below it.
    const COMMON: &[u8] = b"\x14\0\0\0\0\0\0\0\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01\0\0";
    /// Behind the push the frame is at RSP + 16 and RBX below the caller's address; behind the pop it is at RSP + 8 again.
    const ROWS: [u8; 8] = [0x41, 0x0e, 16, 0x83, 2, 0x46, 0x0e, 8];

    fn entry(frames: &mut Vec<u8>, start: u32, bytes: u32, program: &[u8]) {
        let at = frames.len() as u32;
        let from_place = (TEXT + start).wrapping_sub(FRAMES + at + 8);
        for number in [13 + program.len() as u32, at + 4, from_place, bytes] {
            frames.extend_from_slice(&number.to_le_bytes());
        }
        frames.push(0);
        frames.extend_from_slice(program);
    }

    /// A program of four sections and the one of their names.
    fn program(frames: &[u8]) -> Vec<u8> {
        let names = b".text\0.eh_frame\0.eh_frame_hdr\0.gcc_except_table\0.shstrtab\0";
        let sections: [(u32, u32, &[u8]); 5] = [
            (0, TEXT, &CODE),
            (16, FRAMES - 40, &[7; 40]),
            (6, FRAMES, frames),
            (30, 0x20_1000, &[7; 4]),
            (48, 0, names),
        ];
        let mut all = vec![0; 64];
        all[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut headers = Vec::new();
        for (name, address, bytes) in sections {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&u32::to_le_bytes(name));
            header[16..20].copy_from_slice(&address.to_le_bytes());
            header[24..28].copy_from_slice(&(all.len() as u32).to_le_bytes());
            header[32..36].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
            all.extend_from_slice(bytes);
            headers.extend_from_slice(&header);
        }
        let table = (all.len() as u64).to_le_bytes();
        all[0x28..0x30].copy_from_slice(&table);
        (all[0x3a], all[0x3c], all[0x3e]) = (64, 5, 4);
        [all, headers].concat()
    }

    /// What comes of the search table and the entries, and of the clean-ups.
    fn cut_frames(frames: &[u8]) -> Option<[Vec<u8>; 2]> {
        let mut program = program(frames);
        let before = program.clone();
        let done = cut(&mut program);
        assert!(done || program == before);
        let file = |name| section(&program, name).unwrap().file;
        let tables = file(".eh_frame_hdr").start..file(".eh_frame").end;
        done.then(|| [tables, file(".gcc_except_table")].map(|file| program[file].to_vec()))
    }

    /// What is to be left of one entry.
    fn wanted(start: u32, bytes: u32, program: &[u8]) -> Vec<u8> {
        let mut common = COMMON.to_vec();
        common[16] = ABSOLUTE;
        let function = Function { start: TEXT + start, bytes, common: 0, program, sites: None };
        [vec![VERSION, 0, 0, 0, 4, 0, 0, 0], tables::write(&[common], &[function]).unwrap()].concat()
    }

    #[test]
    fn the_row_of_a_call_stays_and_what_calls_none_goes() {
        let mut frames = COMMON.to_vec();
        entry(&mut frames, 8, 1, &[]);
        entry(&mut frames, 0, 8, &ROWS);
        frames.extend_from_slice(&[0; 128]);
        let [cut, cleanups] = cut_frames(&frames).unwrap();
        let wanted = wanted(0, 8, &[0x0e, 16, 0x83, 2]);
        assert_eq!((&cut[..wanted.len()], cut.len()), (&wanted[..], 40 + frames.len()));
        assert!(cut[wanted.len()..].iter().chain(&cleanups).all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_not_understood_stays() {
        // A rule that computes (DW_CFA_val_expression), and code that is none.
        for (start, bytes, rules) in [(0, 8, &[0x16, 3, 1, 0x50][..]), (9, 1, &ROWS)] {
            let mut frames = COMMON.to_vec();
            entry(&mut frames, start, bytes, rules);
            frames.extend_from_slice(&[0; 128]);
            let [cut, ..] = cut_frames(&frames).unwrap();
            assert!(cut.starts_with(&wanted(start, bytes, rules)));
        }
        let mut unknown = COMMON.to_vec();
        unknown[10] = b'S';
        entry(&mut unknown, 0, 8, &ROWS);
        unknown.extend_from_slice(&[0; 128]);
        assert!(cut_frames(&unknown).is_none());
    }
}
