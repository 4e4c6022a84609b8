//! Git's deltas (gitformat-pack): copy pieces of a base, insert new bytes.

/// A delta that does not fit its base, or is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It ends inside its header or an instruction.
    #[error("the delta is cut short")]
    Truncated,
    /// It was made for a base of another size.
    #[error("the delta is for a base of {wanted_bytes} bytes, this one has {found_bytes}")]
    WrongBase {
        /// What the delta says.
        wanted_bytes: u64,
        /// What is there.
        found_bytes: u64,
    },
    /// Its result would be larger than allowed.
    #[error("the delta makes {size_bytes} bytes, more than the {max_bytes} allowed")]
    TooLarge {
        /// What the delta says.
        size_bytes: u64,
        /// What is allowed.
        max_bytes: u64,
    },
    /// It copies what the base does not have, or uses the reserved instruction.
    #[error("the delta has an instruction that cannot be followed")]
    BadInstruction,
    /// The instructions make less or more than the header says.
    #[error("the delta makes another size than it says")]
    WrongResult,
}

/// What a delta says of itself, before anything is allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaHeader {
    /// Size of the base that it was made for.
    pub base_bytes: u64,
    /// Size of what it makes.
    pub result_bytes: u64,
}

/// Reads the two sizes; what is left are the instructions.
pub fn header(delta: &[u8]) -> Result<(DeltaHeader, &[u8]), DeltaError> {
    let (base_bytes, rest) = size(delta)?;
    let (result_bytes, rest) = size(rest)?;
    Ok((DeltaHeader { base_bytes, result_bytes }, rest))
}

/// Makes the result. Nothing is allocated for one that would exceed `max_bytes`.
pub fn apply(base: &[u8], delta: &[u8], max_bytes: u64) -> Result<Vec<u8>, DeltaError> {
    let (sizes, mut rest) = header(delta)?;
    if sizes.base_bytes != base.len() as u64 {
        return Err(DeltaError::WrongBase { wanted_bytes: sizes.base_bytes, found_bytes: base.len() as u64 });
    }
    if sizes.result_bytes > max_bytes {
        return Err(DeltaError::TooLarge { size_bytes: sizes.result_bytes, max_bytes });
    }
    let wanted = sizes.result_bytes as usize;
    let mut out = Vec::with_capacity(wanted);
    while !rest.is_empty() {
        let told = instruction(rest)?.ok_or(DeltaError::Truncated)?;
        rest = &rest[told.len_of(rest[0])..];
        let piece = match told {
            Instruction::Copy(offset, len) => {
                let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
                end.and_then(|end| base.get(offset as usize..end)).ok_or(DeltaError::BadInstruction)?
            }
            Instruction::Insert(len) => {
                let (piece, after) = rest.split_at_checked(len).ok_or(DeltaError::Truncated)?;
                rest = after;
                piece
            }
        };
        if piece.len() > wanted - out.len() {
            return Err(DeltaError::WrongResult);
        }
        out.extend_from_slice(piece);
    }
    if out.len() == wanted { Ok(out) } else { Err(DeltaError::WrongResult) }
}

/// What to do next.
pub(crate) enum Instruction {
    /// So many bytes of the base, from an offset on.
    Copy(u64, u64),
    /// So many bytes of the delta, which come next.
    Insert(usize),
}

impl Instruction {
    /// Bytes of the instruction itself, which begins with this one.
    fn len_of(&self, first: u8) -> usize {
        match self {
            Instruction::Copy(..) => 1 + (first & 0x7f).count_ones() as usize,
            Instruction::Insert(_) => 1,
        }
    }
}

/// Reads an instruction; `None` when it is not there as a whole.
pub(crate) fn instruction(bytes: &[u8]) -> Result<Option<Instruction>, DeltaError> {
    let Some((first, operands)) = bytes.split_first() else { return Ok(None) };
    let first = *first;
    match first {
        0 => return Err(DeltaError::BadInstruction),
        1..=0x7f => return Ok(Some(Instruction::Insert(usize::from(first)))),
        _ => {}
    }
    if operands.len() < (first & 0x7f).count_ones() as usize {
        return Ok(None);
    }
    let mut operands = operands.iter();
    let mut number = |bits: u8, count: u32| {
        let places = (0..count).filter(|place| bits & (1 << place) != 0);
        places.zip(&mut operands).map(|(place, byte)| u64::from(*byte) << (8 * place)).sum::<u64>()
    };
    let offset = number(first & 0x0f, 4);
    let len = number((first >> 4) & 0x07, 3);
    Ok(Some(Instruction::Copy(offset, if len == 0 { 0x10000 } else { len })))
}

/// Seven bits a byte, the lowest first.
fn size(bytes: &[u8]) -> Result<(u64, &[u8]), DeltaError> {
    let mut value = 0u64;
    for (place, byte) in bytes.iter().enumerate() {
        let bits = (*byte & 0x7f) as u64;
        if place > 8 {
            return Err(DeltaError::Truncated);
        }
        value |= bits << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[place + 1..]));
        }
    }
    Err(DeltaError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn copies_and_inserts() {
        // base 10 bytes, result 7: copy 3 from offset 2, insert "ab", copy 2 from 0.
        let delta = [10, 7, 0x91, 2, 3, 2, b'a', b'b', 0x90, 2];
        assert_eq!(apply(b"0123456789", &delta, 100).unwrap(), b"234ab01");
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_allocated() {
        let delta = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x90, 0];
        assert!(matches!(apply(b"x", &delta, 1 << 20), Err(DeltaError::TooLarge { .. })));
    }

    #[test]
    fn lies_are_refused() {
        assert_eq!(apply(b"ab", &[2, 1, 0], 9), Err(DeltaError::BadInstruction));
        assert_eq!(apply(b"ab", &[2, 3, 0x91, 1, 3], 9), Err(DeltaError::BadInstruction));
        assert_eq!(apply(b"ab", &[2, 1, 0x90, 2], 9), Err(DeltaError::WrongResult));
        assert_eq!(apply(b"ab", &[2, 3, 0x90, 2], 9), Err(DeltaError::WrongResult));
        assert_eq!(apply(b"ab", &[2, 3, 3, b'a'], 9), Err(DeltaError::Truncated));
        assert!(matches!(apply(b"ab", &[3, 3], 9), Err(DeltaError::WrongBase { .. })));
    }

    proptest! {
        #[test]
        fn any_delta_is_bounded(base in proptest::collection::vec(any::<u8>(), 0..50), delta in proptest::collection::vec(any::<u8>(), 0..50)) {
            if let Ok(result) = apply(&base, &delta, 1000) {
                prop_assert!(result.len() <= 1000);
            }
        }
    }
}
