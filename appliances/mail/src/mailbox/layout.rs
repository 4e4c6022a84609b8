//! How a mailbox is written down: readable files, few of which change at a time.
//!
//! Message 1234567 is `0123/45/01234567.20261121T035609Z.5120.88.a8f3c2d1.eml`: its UID, INTERNALDATE, size in bytes,
//! the mod-sequence at which it came, and the first digits of its blob's id, by which two messages that two servers
//! gave one UID while apart do not collide (`settle` gives them others). No directory has more than a hundred messages
//! or ten thousand directories, so adding a message to a million rewrites three small directories. Flags stand in `0123/45/flags`, a line for each
//! message that has any or whose flags were changed since it came. What the mailbox knows of itself is in `mailbox`.

use super::flags::{Flags, Keywords};
use crate::message;

/// What a message's file name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileName {
    /// UID.
    pub uid: u32,
    /// INTERNALDATE in seconds since 1970.
    pub date: i64,
    /// Size of the message in bytes.
    pub size: u32,
    /// Mod-sequence at which the message came.
    pub modseq: u64,
    /// The first bytes of the id of the message's blob.
    pub mark: [u8; 4],
}

impl FileName {
    /// `0123/45/01234567.20261121T035609Z.5120.88.a8f3c2d1.eml`.
    pub fn path(&self) -> String {
        let (y, mo, d, h, mi, s) = message::civil(self.date);
        format!(
            "{}/{:08}.{y:04}{mo:02}{d:02}T{h:02}{mi:02}{s:02}Z.{}.{}.{:08x}.eml",
            bucket(self.uid),
            self.uid,
            self.size,
            self.modseq,
            u32::from_be_bytes(self.mark)
        )
    }

    /// Reads the last component of a path; nothing where it is no message.
    pub fn parse(name: &str) -> Option<FileName> {
        let mut words = name.strip_suffix(".eml")?.split('.');
        let (uid, date, size, modseq) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (mark, None) = (words.next()?, words.next()) else { return None };
        let parsed = FileName {
            uid: uid.parse().ok()?,
            date: parse_date(date)?,
            size: size.parse().ok()?,
            modseq: modseq.parse().ok()?,
            mark: u32::from_str_radix(mark, 16).ok()?.to_be_bytes(),
        };
        // One message, one name.
        (parsed.uid > 0 && parsed.path().rsplit('/').next() == Some(name)).then_some(parsed)
    }
}

fn parse_date(text: &str) -> Option<i64> {
    let digits: Vec<u32> = text.bytes().filter(u8::is_ascii_digit).map(|b| u32::from(b - b'0')).collect();
    if text.len() < 16 || digits.len() != text.len() - 2 || digits.len() > 16 {
        return None;
    }
    let (year, rest) = digits.split_at(digits.len() - 10);
    let number = |digits: &[u32]| digits.iter().fold(0, |n, d| n * 10 + d);
    let field = |at: usize| number(&rest[at..at + 2]);
    Some(message::unix_from_civil(i64::from(number(year)), field(0), field(2), field(4), field(6), field(8)))
}

/// The directory of a UID's message: `0123/45`.
pub fn bucket(uid: u32) -> String {
    format!("{:04}/{:02}", uid / 10_000, uid / 100 % 100)
}

/// The number of the bucket that a path below a mailbox's own directory lies in: 12345 for `0123/45/…`.
pub fn bucket_of(path: &str) -> Option<u32> {
    let (thousands, rest) = path.split_once('/')?;
    let hundreds = rest.split('/').next()?;
    let number = thousands.parse::<u32>().ok()?.checked_mul(100)?.checked_add(hundreds.parse().ok()?)?;
    // One bucket, one name.
    let first = number.checked_mul(100)?;
    (bucket(first) == format!("{thousands}/{hundreds}")).then_some(number)
}

/// The file of the flags beside a UID's message.
pub fn flags_file(uid: u32) -> String {
    format!("{}/flags", bucket(uid))
}

/// A line of a flags file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagsLine {
    /// UID.
    pub uid: u32,
    /// Mod-sequence of the last change of the flags.
    pub modseq: u64,
    /// The flags.
    pub flags: Flags,
}

/// Writes a flags file: `01234567 90 \Seen $Forwarded`, in order of UIDs.
pub fn write_flags(lines: impl IntoIterator<Item = FlagsLine>, keywords: &Keywords) -> String {
    let mut out = String::new();
    for line in lines {
        out.push_str(&format!("{:08} {}", line.uid, line.modseq));
        if line.flags != Flags(0) {
            out.push(' ');
            keywords.write(line.flags, &mut out);
        }
        out.push('\n');
    }
    out
}

/// Reads a flags file. Lines that are none are passed over, and so are words that are no keyword of the account: people
/// may edit these files.
pub fn read_flags(text: &[u8], keywords: &Keywords) -> Vec<FlagsLine> {
    let text = String::from_utf8_lossy(text);
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(Ok(uid)), Some(Ok(modseq))) = (words.next().map(str::parse), words.next().map(str::parse))
        else {
            continue;
        };
        let flags = words.filter_map(|word| keywords.find(word)).fold(Flags(0), Flags::with);
        lines.push(FlagsLine { uid, modseq, flags });
    }
    lines
}

/// What a mailbox knows of itself: the file `mailbox`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// UIDVALIDITY: seconds since 1970 when it was made, always above those before.
    pub uid_validity: u32,
    /// The UID that the next message gets; UIDs below it are never given out again.
    pub uid_next: u32,
    /// HIGHESTMODSEQ.
    pub modseq: u64,
    /// MAILBOXID (RFC 8474): stays through renames.
    pub id: String,
    /// Special use like `\Sent`, or empty.
    pub special_use: String,
    /// How many messages.
    pub messages: u32,
    /// How many without \Seen.
    pub unseen: u32,
    /// How many with \Deleted.
    pub deleted: u32,
    /// Bytes of all messages.
    pub bytes: u64,
}

impl About {
    /// Writes the file, a line a fact.
    pub fn write(&self) -> String {
        format!(
            "uid-validity {}\nuid-next {}\nmodseq {}\nid {}\nspecial-use {}\nmessages {}\nunseen {}\ndeleted {}\nbytes {}\n",
            self.uid_validity,
            self.uid_next,
            self.modseq,
            self.id,
            if self.special_use.is_empty() { "-" } else { &self.special_use },
            self.messages,
            self.unseen,
            self.deleted,
            self.bytes
        )
    }

    /// Reads the file; nothing where UIDVALIDITY or UIDNEXT is missing.
    pub fn parse(text: &[u8]) -> Option<About> {
        let text = std::str::from_utf8(text).ok()?;
        let find = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ').map(str::trim))
                .filter(|v| *v != "-")
        };
        Some(About {
            uid_validity: find("uid-validity")?.parse().ok()?,
            uid_next: find("uid-next")?.parse().ok().filter(|n| *n > 0)?,
            modseq: find("modseq").and_then(|v| v.parse().ok()).unwrap_or(1),
            id: find("id").unwrap_or_default().to_owned(),
            special_use: find("special-use").unwrap_or_default().to_owned(),
            messages: find("messages").and_then(|v| v.parse().ok()).unwrap_or(0),
            unseen: find("unseen").and_then(|v| v.parse().ok()).unwrap_or(0),
            deleted: find("deleted").and_then(|v| v.parse().ok()).unwrap_or(0),
            bytes: find("bytes").and_then(|v| v.parse().ok()).unwrap_or(0),
        })
    }
}

/// The file [`About`].
pub const ABOUT: &str = "mailbox";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_has_one_name() {
        let name = FileName {
            uid: 1_234_567,
            date: 1_795_233_369,
            size: 5_120,
            modseq: 88,
            mark: [0xa8, 0xf3, 0xc2, 0xd1],
        };
        assert_eq!(name.path(), "0123/45/01234567.20261121T035609Z.5120.88.a8f3c2d1.eml");
        assert_eq!(FileName::parse("01234567.20261121T035609Z.5120.88.a8f3c2d1.eml"), Some(name));
        for bad in [
            "1234567.20261121T035609Z.5120.88.a8f3c2d1.eml",
            "01234567.20261121T035609Z.5120.88.eml",
            "x.eml",
            "00000000.20261121T035609Z.1.1.a8f3c2d1.eml",
            "01234567.20261321T035609Z.5120.88.a8f3c2d1.eml",
            "01234567.é0261121T03560Z.5120.88.a8f3c2d1.eml",
            "01234567.20261121T035609Z.5120.88.A8f3c2d1.eml",
        ] {
            assert_eq!(FileName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn buckets_are_read_from_paths() {
        assert_eq!(bucket_of("0123/45/flags"), Some(12_345));
        assert_eq!(bucket_of("429496/72"), Some(42_949_672));
        for other in ["mailbox", "0123/flags", "123/45/x", "0123/5/x", "999999/99/x"] {
            assert_eq!(bucket_of(other), None, "{other}");
        }
        assert_eq!(
            bucket_of(&FileName { uid: u32::MAX, date: 0, size: 0, modseq: 0, mark: [0; 4] }.path()),
            Some(42_949_672)
        );
    }

    #[test]
    fn flags_files_come_back() {
        let mut keywords = Keywords::default();
        keywords.intern("$Junk").unwrap();
        let text = b"00000007 3 \\Seen $Junk nobodys\n00000009 12\nnonsense\n";
        let lines = read_flags(text, &keywords);
        assert_eq!(write_flags(lines, &keywords), "00000007 3 \\Seen $Junk\n00000009 12\n");
    }

    #[test]
    fn what_a_mailbox_knows_comes_back() {
        let about = About {
            uid_validity: 5,
            uid_next: 9,
            modseq: 4,
            id: "x".into(),
            special_use: String::new(),
            messages: 1,
            unseen: 1,
            deleted: 0,
            bytes: 7,
        };
        assert_eq!(About::parse(about.write().as_bytes()), Some(about));
        assert_eq!(About::parse(b"uid-next 0\nuid-validity 3\n"), None);
    }

    proptest! {
        #[test]
        fn every_file_name_comes_back(uid in 1u32.., date in 0i64..250_000_000_000, size: u32, modseq: u64, mark: [u8; 4]) {
            let name = FileName { uid, date, size, modseq, mark };
            let path = name.path();
            prop_assert_eq!(FileName::parse(path.rsplit('/').next().unwrap()), Some(name));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,40}") {
            let _ = FileName::parse(&text);
            let _ = FileName::parse(&format!("{text}.eml"));
            let _ = About::parse(text.as_bytes());
            let _ = read_flags(text.as_bytes(), &Keywords::default());
        }
    }
}
