//! Reading a command's bytes: atoms, strings, literals, numbers, lists.

use super::mailbox_name::decode_utf7;

/// What is wrong with a command, in words for the BAD response.
pub(super) type Fault = &'static str;
/// The result of every reader.
pub(super) type Parsed<T> = Result<T, Fault>;

/// A place in a command. Readers move it forward only when they succeed or when the command is lost anyway.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Mailbox names are UTF-8, not modified UTF-7 (after ENABLE UTF8=ACCEPT or IMAP4rev2).
    pub utf8: bool,
    /// What the texts of a SEARCH are written in.
    pub charset: &'static encoding_rs::Encoding,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], utf8: bool) -> Cursor<'a> {
        Cursor { bytes, at: 0, utf8, charset: encoding_rs::UTF_8 }
    }

    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub fn at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Moves over `byte` if it is next.
    pub fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Moves over `word` if it is next, in any case of letters.
    pub fn eat_word(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let there = self.bytes.get(self.at..end).is_some_and(|b| b.eq_ignore_ascii_case(word.as_bytes()));
        if there {
            self.at = end;
        }
        there
    }

    pub fn expect(&mut self, byte: u8, fault: Fault) -> Parsed<()> {
        if self.eat(byte) { Ok(()) } else { Err(fault) }
    }

    pub fn space(&mut self) -> Parsed<()> {
        self.expect(b' ', "a space is missing")
    }

    /// The command must end here.
    pub fn end(&self) -> Parsed<()> {
        if self.at_end() { Ok(()) } else { Err("there is something after the end of the command") }
    }

    pub fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|b| !wanted(*b)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// `atom` in upper case.
    pub fn keyword(&mut self) -> Parsed<String> {
        let atom = self.take_while(is_atom_char);
        if atom.is_empty() { Err("a word is missing") } else { Ok(text(atom).to_ascii_uppercase()) }
    }

    /// `astring`: an atom (with `]`), a quoted string or a literal.
    pub fn astring(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b'"' | b'{' | b'~') => self.string(),
            _ => {
                let atom = self.take_while(|b| is_atom_char(b) || b == b']');
                if atom.is_empty() { Err("a string is missing") } else { Ok(atom.to_vec()) }
            }
        }
    }

    /// `astring` that must be UTF-8.
    pub fn astring_text(&mut self) -> Parsed<String> {
        String::from_utf8(self.astring()?).map_err(|_| "a string is not UTF-8")
    }

    /// `string`: quoted or a literal.
    pub fn string(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{' | b'~') => self.literal().map(|(bytes, _)| bytes.to_vec()),
            _ => Err("a quoted string or a literal is missing"),
        }
    }

    /// `nstring`.
    pub fn nstring(&mut self) -> Parsed<Option<Vec<u8>>> {
        if self.eat_word("NIL") { Ok(None) } else { self.string().map(Some) }
    }

    fn quoted(&mut self) -> Parsed<Vec<u8>> {
        self.expect(b'"', "a quote is missing")?;
        let mut out = Vec::new();
        loop {
            match self.peek().ok_or("a quoted string does not end")? {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => {
                    self.at += 1;
                    let escaped = self.peek().filter(|b| matches!(b, b'"' | b'\\'));
                    out.push(
                        escaped
                            .ok_or("a backslash stands before something else than a quote or a backslash")?,
                    );
                    self.at += 1;
                }
                0 | b'\r' | b'\n' => return Err("a quoted string holds a line end or NUL"),
                byte => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// A literal and whether it was a `~{…}` literal8 (RFC 3516). The framer has made sure that it is whole.
    pub fn literal(&mut self) -> Parsed<(&'a [u8], bool)> {
        let binary = self.eat(b'~');
        self.expect(b'{', "a literal is missing")?;
        let len = self.number64()? as usize;
        self.eat(b'+');
        self.expect(b'}', "a literal's length does not end")?;
        self.expect(b'\r', "a literal does not begin on a new line")?;
        self.expect(b'\n', "a literal does not begin on a new line")?;
        let end =
            self.at.checked_add(len).filter(|e| *e <= self.bytes.len()).ok_or("a literal is cut short")?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        if !binary && memchr::memchr(0, bytes).is_some() {
            return Err("a literal holds NUL; only ~{…} may");
        }
        Ok((bytes, binary))
    }

    /// A mailbox name: UTF-8 inside, INBOX in upper case in any of its cases.
    pub fn mailbox(&mut self) -> Parsed<String> {
        let raw = self.astring()?;
        self.mailbox_text(raw)
    }

    /// A name or pattern from its bytes.
    pub fn mailbox_text(&self, raw: Vec<u8>) -> Parsed<String> {
        let ascii = raw.is_ascii();
        let name = if !ascii || self.utf8 {
            String::from_utf8(raw).map_err(|_| "a mailbox name is not UTF-8")?
        } else {
            decode_utf7(&raw).ok_or("a mailbox name is no modified UTF-7 (RFC 3501 5.1.3)")?
        };
        Ok(if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name })
    }

    pub fn number(&mut self) -> Parsed<u32> {
        u32::try_from(self.number64()?).map_err(|_| "a number is too large")
    }

    pub fn number64(&mut self) -> Parsed<u64> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        text(digits).parse().map_err(|_| "a number is missing or too large")
    }

    pub fn nz_number(&mut self) -> Parsed<u32> {
        match self.number()? {
            0 => Err("zero is no message number"),
            n => Ok(n),
        }
    }

    /// `( one one … )`, at least one unless `may_be_empty`.
    pub fn list<T>(
        &mut self,
        may_be_empty: bool,
        mut one: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.expect(b'(', "a list is missing")?;
        let mut all = Vec::new();
        if may_be_empty && self.eat(b')') {
            return Ok(all);
        }
        loop {
            all.push(one(self)?);
            if self.eat(b')') {
                return Ok(all);
            }
            self.expect(b' ', "a list does not end")?;
        }
    }

    /// A flag or keyword as written (RFC 3501 9 `flag`).
    pub fn flag(&mut self) -> Parsed<String> {
        let system = self.eat(b'\\');
        let atom = self.take_while(is_atom_char);
        if atom.is_empty() {
            return Err("a flag is missing");
        }
        if atom.len() > FLAG_LENGTH_MAX {
            return Err("a flag is too long");
        }
        Ok(format!("{}{}", if system { "\\" } else { "" }, text(atom)))
    }
}

/// ATOM-CHAR of RFC 3501 9; bytes above 127 pass, since UTF8=ACCEPT allows them and old clients send them.
pub(super) fn is_atom_char(byte: u8) -> bool {
    byte > b' ' && byte != 127 && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// Bytes that are known to be nearly ASCII, as text.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A keyword is a word, not a text.
const FLAG_LENGTH_MAX: usize = 200;
