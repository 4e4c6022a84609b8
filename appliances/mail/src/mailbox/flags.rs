//! Flags and keywords as bits, with the keywords' names in a table of the account.

use crate::limits;

/// The flags of a message: the five system flags and keywords by their place in [`Keywords`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u64);

impl Flags {
    /// \Answered.
    pub const ANSWERED: Flags = Flags(1);
    /// \Flagged.
    pub const FLAGGED: Flags = Flags(1 << 1);
    /// \Deleted.
    pub const DELETED: Flags = Flags(1 << 2);
    /// \Seen.
    pub const SEEN: Flags = Flags(1 << 3);
    /// \Draft.
    pub const DRAFT: Flags = Flags(1 << 4);

    /// Whether all of `other` are set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// With `other` set.
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// With `other` taken away.
    pub fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Three-way merge of sets: what either side added is there, what either side took away is not.
    pub fn merge(base: Flags, ours: Flags, theirs: Flags) -> Flags {
        let added = (ours.0 | theirs.0) & !base.0;
        Flags(base.0 & ours.0 & theirs.0 | added)
    }
}

/// The names of the keywords that an account uses, each with its bit. Names only ever come; they are few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keywords {
    names: Vec<String>,
}

/// An account uses as many different keywords as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account has {} different keywords; no more can be added", limits::KEYWORDS_MAX)]
pub struct TooManyKeywords;

impl Keywords {
    /// The names, in order of their bits.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The bit of a flag, if it is a system flag or a keyword that is in use.
    pub fn find(&self, flag: &str) -> Option<Flags> {
        if let Some(at) = SYSTEM.iter().position(|s| s.eq_ignore_ascii_case(flag)) {
            return Some(Flags(1 << at));
        }
        let at = self.names.iter().position(|name| name.eq_ignore_ascii_case(flag))?;
        Some(Flags(1 << (SYSTEM.len() + at)))
    }

    /// The bit of a flag; a keyword that is new gets one. `\Recent` and unknown system flags have none: `Flags(0)`.
    pub fn intern(&mut self, flag: &str) -> Result<Flags, TooManyKeywords> {
        if let Some(found) = self.find(flag) {
            return Ok(found);
        }
        if flag.starts_with('\\') {
            return Ok(Flags(0));
        }
        if self.names.len() >= limits::KEYWORDS_MAX {
            return Err(TooManyKeywords);
        }
        self.names.push(flag.to_owned());
        Ok(Flags(1 << (SYSTEM.len() + self.names.len() - 1)))
    }

    /// The bits of several flags.
    pub fn intern_all<S: AsRef<str>>(&mut self, flags: &[S]) -> Result<Flags, TooManyKeywords> {
        flags.iter().try_fold(Flags(0), |all, flag| Ok(all.with(self.intern(flag.as_ref())?)))
    }

    /// Writes the flags with spaces between them, as IMAP and the flag files show them.
    pub fn write(&self, flags: Flags, out: &mut String) {
        let mut rest = flags.0;
        let mut first = true;
        while rest != 0 {
            let bit = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let name = match bit.checked_sub(SYSTEM.len()) {
                None => SYSTEM[bit],
                Some(at) => self.names.get(at).map_or("", String::as_str),
            };
            if !std::mem::take(&mut first) {
                out.push(' ');
            }
            out.push_str(name);
        }
    }

    /// The flags with spaces between them.
    pub fn text(&self, flags: Flags) -> String {
        let mut out = String::new();
        self.write(flags, &mut out);
        out
    }
}

/// System flags in the order of their bits (RFC 3501 2.3.2).
pub const SYSTEM: [&str; 5] = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keywords_get_bits_and_keep_the_case_of_the_first() {
        let mut keywords = Keywords::default();
        let both = keywords.intern_all(&["\\seen", "$Junk"]).unwrap();
        assert_eq!(keywords.text(both), "\\Seen $Junk");
        assert_eq!(keywords.intern("$JUNK"), Ok(both.without(Flags::SEEN)));
        assert_eq!(keywords.intern("\\Recent"), Ok(Flags(0)));
        assert!((0..100).any(|n| keywords.intern(&format!("k{n}")) == Err(TooManyKeywords)));
    }

    proptest! {
        #[test]
        fn merging_flags_obeys_the_laws(base: u64, x: u64, y: u64) {
            let (b, x, y) = (Flags(base), Flags(x), Flags(y));
            prop_assert_eq!(Flags::merge(b, b, x), x);
            prop_assert_eq!(Flags::merge(b, x, x), x);
            prop_assert_eq!(Flags::merge(b, x, y), Flags::merge(b, y, x));
        }
    }
}
