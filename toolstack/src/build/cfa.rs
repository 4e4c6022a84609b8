//! The rules by which a caller's frame is found, as `.eh_frame` writes them (DWARF 5, 6.4.2): read into rows, and written.

use std::collections::BTreeMap;

/// How a caller's frame is found from a place on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The register, and what is added to it to have the frame's address.
    frame: (u64, u64),
    /// Registers that were saved, and where: the distance from the frame's address.
    saved: BTreeMap<u64, i64>,
    /// Bytes of arguments that are on the stack (`DW_CFA_GNU_args_size`).
    arguments: u64,
}

const ADVANCE: u8 = 1 << 6;
const OFFSET: u8 = 2 << 6;
const RESTORE: u8 = 3 << 6;
const NOTHING: u8 = 0x00;
const ADVANCE_1: u8 = 0x02;
const ADVANCE_2: u8 = 0x03;
const ADVANCE_4: u8 = 0x04;
const REMEMBER: u8 = 0x0a;
const RECALL: u8 = 0x0b;
const FRAME: u8 = 0x0c;
const FRAME_REGISTER: u8 = 0x0d;
const FRAME_OFFSET: u8 = 0x0e;
const ARGUMENTS: u8 = 0x2e;
/// The low bits of the three that hold an operand in their own byte.
const OPERAND: u8 = 0x3f;

/// Bytes that are read from front to back.
#[derive(Debug, Clone)]
pub struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Program(bytes)
    }

    /// How many bytes were not read.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An unsigned LEB128 number.
    pub fn unsigned(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte < 0x80 {
                return Some(value);
            }
        }
    }

    /// A signed LEB128 number.
    pub fn signed(&mut self) -> Option<i64> {
        let before = self.0;
        let value = self.unsigned()?;
        let bytes = before.len() - self.0.len();
        let unused = 64_u32.checked_sub(7 * bytes as u32)?;
        Some((value << unused).cast_signed() >> unused)
    }

    fn fixed(&mut self, bytes: usize) -> Option<usize> {
        (0..bytes).try_fold(0, |value, index| Some(value | usize::from(self.byte()?) << (8 * index)))
    }

    /// The rows, each with the distance from the function's start from which on it holds; `None` when there is a rule other
    /// than those that compilers write for ordinary functions.
    pub fn rows(mut self, factor: i64, first: &Row) -> Option<Vec<(usize, Row)>> {
        let (mut rows, mut place, mut row, mut remembered) = (Vec::new(), 0_usize, first.clone(), Vec::new());
        while let Some(what) = self.byte() {
            let advance = match what {
                _ if what & !OPERAND == ADVANCE => usize::from(what & OPERAND),
                ADVANCE_1 => self.fixed(1)?,
                ADVANCE_2 => self.fixed(2)?,
                ADVANCE_4 => self.fixed(4)?,
                _ => {
                    self.rule(what, factor, first, &mut row, &mut remembered)?;
                    continue;
                }
            };
            rows.push((place, row.clone()));
            place = place.checked_add(advance)?;
        }
        rows.push((place, row));
        Some(rows)
    }

    fn rule(
        &mut self,
        what: u8,
        factor: i64,
        first: &Row,
        row: &mut Row,
        remembered: &mut Vec<Row>,
    ) -> Option<()> {
        let register = u64::from(what & OPERAND);
        match what {
            NOTHING => {}
            FRAME => row.frame = (self.unsigned()?, self.unsigned()?),
            FRAME_REGISTER => row.frame.0 = self.unsigned()?,
            FRAME_OFFSET => row.frame.1 = self.unsigned()?,
            ARGUMENTS => row.arguments = self.unsigned()?,
            REMEMBER => remembered.push(row.clone()),
            // The bytes of arguments are no part of what is remembered (GCC's execute_cfa_program).
            RECALL => *row = Row { arguments: row.arguments, ..remembered.pop()? },
            _ if what & !OPERAND == OFFSET => {
                row.saved.insert(register, i64::try_from(self.unsigned()?).ok()?.checked_mul(factor)?);
            }
            _ if what & !OPERAND == RESTORE => match first.saved.get(&register) {
                Some(place) => drop(row.saved.insert(register, *place)),
                None => drop(row.saved.remove(&register)),
            },
            _ => return None,
        }
        Some(())
    }
}

/// Writes what makes one row of another; `None` when the rules above cannot say it.
pub fn write_row(from: &Row, to: &Row, factor: i64, program: &mut Vec<u8>) -> Option<()> {
    if from.frame.0 != to.frame.0 {
        program.push(FRAME);
        write_unsigned(to.frame.0, program);
        write_unsigned(to.frame.1, program);
    } else if from.frame.1 != to.frame.1 {
        program.push(FRAME_OFFSET);
        write_unsigned(to.frame.1, program);
    }
    if from.arguments != to.arguments {
        program.push(ARGUMENTS);
        write_unsigned(to.arguments, program);
    }
    for (register, place) in
        to.saved.iter().filter(|(register, place)| from.saved.get(register) != Some(place))
    {
        program.push(OFFSET | u8::try_from(*register).ok().filter(|register| *register <= OPERAND)?);
        write_unsigned(u64::try_from(place.checked_div(factor)?).ok()?, program);
    }
    for register in from.saved.keys().filter(|register| !to.saved.contains_key(register)) {
        program.push(RESTORE | u8::try_from(*register).ok().filter(|register| *register <= OPERAND)?);
    }
    Some(())
}

/// Writes that what follows holds some bytes further on.
pub fn write_advance(bytes: usize, program: &mut Vec<u8>) -> Option<()> {
    match bytes {
        0 => {}
        1..0x40 => program.push(ADVANCE | bytes as u8),
        0x40..0x100 => program.extend_from_slice(&[ADVANCE_1, bytes as u8]),
        0x100..0x1_0000 => {
            program.push(ADVANCE_2);
            program.extend_from_slice(&(bytes as u16).to_le_bytes());
        }
        _ => {
            program.push(ADVANCE_4);
            program.extend_from_slice(&u32::try_from(bytes).ok()?.to_le_bytes());
        }
    }
    Some(())
}

/// Writes an unsigned LEB128 number.
pub fn write_unsigned(mut value: u64, program: &mut Vec<u8>) {
    while value >= 0x80 {
        program.push(value as u8 | 0x80);
        value >>= 7;
    }
    program.push(value as u8);
}
