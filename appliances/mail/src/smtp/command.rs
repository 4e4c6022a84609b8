//! The grammar of SMTP commands. A line comes without its CRLF.

use super::address::{Mailbox, PathError, parse_path};
use super::reply::Reply;

/// What DSN the sender wants of a recipient (RFC 3461 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notify {
    /// Tell of delivery.
    pub success: bool,
    /// Tell of failure.
    pub failure: bool,
    /// Tell of delay.
    pub delay: bool,
}

impl Default for Notify {
    fn default() -> Self {
        Notify { success: false, failure: true, delay: true }
    }
}

/// How much of the message a DSN returns (RFC 3461 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `HELO name`.
    Helo(String),
    /// `EHLO name`.
    Ehlo(String),
    /// `MAIL FROM:<…>`.
    Mail {
        /// `None` for `<>`.
        from: Option<Mailbox>,
        /// SIZE, RFC 1870.
        size: Option<u64>,
        /// BODY=8BITMIME, RFC 6152.
        eight_bit: bool,
        /// SMTPUTF8, RFC 6531.
        smtputf8: bool,
        /// RET, RFC 3461.
        ret: Option<Ret>,
        /// ENVID decoded, RFC 3461.
        envid: Option<String>,
    },
    /// `RCPT TO:<…>`.
    Rcpt {
        /// The recipient.
        to: Mailbox,
        /// NOTIFY.
        notify: Option<Notify>,
        /// ORCPT as given, `type;xtext`.
        orcpt: Option<String>,
    },
    /// `DATA`.
    Data,
    /// `BDAT size [LAST]`, RFC 3030.
    Bdat {
        /// Bytes that follow.
        size: u64,
        /// Whether they end the message.
        last: bool,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`.
    Noop,
    /// `QUIT`.
    Quit,
    /// `VRFY`.
    Vrfy,
    /// `EXPN`.
    Expn,
    /// `HELP`.
    Help,
    /// `STARTTLS`.
    StartTls,
    /// `AUTH mechanism [initial]`.
    Auth {
        /// In upper case.
        mechanism: String,
        /// Base64, or `=` for an empty one.
        initial: Option<String>,
    },
}

/// Reads a command, or gives the reply that refuses it. `smtputf8_given` says whether MAIL had SMTPUTF8.
pub fn parse(line: &[u8], smtputf8_given: bool) -> Result<Command, Reply> {
    if line.iter().any(|b| *b < b' ' || *b == 127) {
        return Err(Reply::new(500, "5.5.2", "control characters do not belong into a command"));
    }
    let (verb, rest) = match memchr::memchr(b' ', line) {
        Some(space) => (&line[..space], line[space + 1..].trim_ascii()),
        None => (line, &b""[..]),
    };
    let no_argument = |command| match rest.is_empty() {
        true => Ok(command),
        false => Err(syntax("this command takes no argument")),
    };
    match verb.to_ascii_uppercase().as_slice() {
        b"HELO" => Ok(Command::Helo(helo_name(rest)?)),
        b"EHLO" => Ok(Command::Ehlo(helo_name(rest)?)),
        b"MAIL" => mail(rest),
        b"RCPT" => rcpt(rest, smtputf8_given),
        b"DATA" => no_argument(Command::Data),
        b"BDAT" => bdat(rest),
        b"RSET" => no_argument(Command::Rset),
        b"QUIT" => no_argument(Command::Quit),
        b"STARTTLS" => no_argument(Command::StartTls),
        b"NOOP" => Ok(Command::Noop),
        b"VRFY" if !rest.is_empty() => Ok(Command::Vrfy),
        b"VRFY" => Err(syntax("VRFY wants a name")),
        b"EXPN" => Ok(Command::Expn),
        b"HELP" => Ok(Command::Help),
        b"AUTH" => auth(rest),
        _ => Err(Reply::new(500, "5.5.2", "unknown command")),
    }
}

fn syntax(text: &str) -> Reply {
    Reply::new(501, "5.5.4", text)
}

fn helo_name(rest: &[u8]) -> Result<String, Reply> {
    let name = String::from_utf8(rest.to_vec()).map_err(|_| syntax("the name is not UTF-8"))?;
    let allowed = |c: char| c.is_alphanumeric() || "-._:[]".contains(c);
    if name.is_empty() || name.len() > 255 || !name.chars().all(allowed) {
        return Err(syntax("say your host name or [address]"));
    }
    Ok(name)
}

/// Removes `FROM:` or `TO:`; one space after the colon is forgiven, as every server does.
fn after_keyword<'a>(rest: &'a [u8], keyword: &str) -> Result<&'a [u8], Reply> {
    let matches = rest.get(..keyword.len()).is_some_and(|k| k.eq_ignore_ascii_case(keyword.as_bytes()));
    if !matches {
        return Err(syntax(&format!("expected {keyword}<address>")));
    }
    Ok(rest[keyword.len()..].trim_ascii_start())
}

fn path_reply(error: PathError, status: &str) -> Reply {
    match error {
        PathError::Syntax => Reply::new(501, status, error.to_string()),
        PathError::TooLong => Reply::new(501, status, error.to_string()),
        PathError::NotUtf8 => Reply::new(553, "5.6.7", error.to_string()),
    }
}

fn needs_smtputf8(mailbox: &Option<Mailbox>) -> Result<(), Reply> {
    match mailbox.as_ref().is_some_and(Mailbox::is_international) {
        true => Err(Reply::new(553, "5.6.7", "an address outside of ASCII needs SMTPUTF8")),
        false => Ok(()),
    }
}

/// `KEY=value` parameters after a path. Each may be given once.
fn params(rest: &[u8]) -> Result<Vec<(String, Option<String>)>, Reply> {
    if !rest.is_empty() && rest[0] != b' ' {
        return Err(syntax("expected a space after the address"));
    }
    let text = std::str::from_utf8(rest).map_err(|_| syntax("a parameter is not UTF-8"))?;
    let mut out: Vec<(String, Option<String>)> = Vec::new();
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (word, None),
        };
        let key = key.to_ascii_uppercase();
        if out.iter().any(|(k, _)| *k == key) {
            return Err(syntax(&format!("{key} was given twice")));
        }
        out.push((key, value));
    }
    Ok(out)
}

fn mail(rest: &[u8]) -> Result<Command, Reply> {
    let rest = after_keyword(rest, "FROM:")?;
    let (from, after) = parse_path(rest).map_err(|e| path_reply(e, "5.1.7"))?;
    let (mut size, mut eight_bit, mut smtputf8, mut ret, mut envid) = (None, false, false, None, None);
    for (key, value) in params(after)? {
        match (key.as_str(), value) {
            ("SIZE", Some(v)) if v.len() <= 20 => {
                size = Some(v.parse().map_err(|_| syntax("SIZE wants a number of bytes"))?);
            }
            ("BODY", Some(v)) if v.eq_ignore_ascii_case("8BITMIME") => eight_bit = true,
            ("BODY", Some(v)) if v.eq_ignore_ascii_case("7BIT") => {}
            ("SMTPUTF8", None) => smtputf8 = true,
            ("RET", Some(v)) if v.eq_ignore_ascii_case("FULL") => ret = Some(Ret::Full),
            ("RET", Some(v)) if v.eq_ignore_ascii_case("HDRS") => ret = Some(Ret::Headers),
            ("ENVID", Some(v)) if v.len() <= 100 => envid = Some(xtext(&v)?),
            ("AUTH", Some(_)) => {}
            ("SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH", _) => {
                return Err(syntax(&format!("the value of {key} is not understood")));
            }
            _ => return Err(Reply::new(555, "5.5.4", format!("parameter {key} is not known"))),
        }
    }
    if !smtputf8 {
        needs_smtputf8(&from)?;
    }
    Ok(Command::Mail { from, size, eight_bit, smtputf8, ret, envid })
}

fn rcpt(rest: &[u8], smtputf8_given: bool) -> Result<Command, Reply> {
    let rest = after_keyword(rest, "TO:")?;
    let (to, after) = parse_path(rest).map_err(|e| path_reply(e, "5.1.3"))?;
    if !smtputf8_given {
        needs_smtputf8(&to)?;
    }
    let to = to.ok_or_else(|| Reply::new(501, "5.1.3", "<> is no recipient"))?;
    let (mut notify, mut orcpt) = (None, None);
    for (key, value) in params(after)? {
        match (key.as_str(), value) {
            ("NOTIFY", Some(v)) => notify = Some(notify_value(&v)?),
            ("ORCPT", Some(v)) if v.len() <= 500 => {
                let (kind, address) = v.split_once(';').ok_or_else(|| syntax("ORCPT wants type;address"))?;
                xtext(address)?;
                if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                    return Err(syntax("ORCPT wants type;address"));
                }
                orcpt = Some(v);
            }
            ("NOTIFY" | "ORCPT", _) => return Err(syntax(&format!("the value of {key} is not understood"))),
            _ => return Err(Reply::new(555, "5.5.4", format!("parameter {key} is not known"))),
        }
    }
    Ok(Command::Rcpt { to, notify, orcpt })
}

fn notify_value(value: &str) -> Result<Notify, Reply> {
    let mut notify = Notify { success: false, failure: false, delay: false };
    let words: Vec<String> = value.split(',').map(str::to_ascii_uppercase).collect();
    if words == ["NEVER"] {
        return Ok(notify);
    }
    for word in &words {
        match word.as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return Err(syntax("NOTIFY wants NEVER or SUCCESS, FAILURE, DELAY")),
        }
    }
    Ok(notify)
}

fn bdat(rest: &[u8]) -> Result<Command, Reply> {
    let text = std::str::from_utf8(rest).unwrap_or_default();
    let mut words = text.split(' ').filter(|w| !w.is_empty());
    let size = words.next().filter(|w| w.len() <= 18 && w.bytes().all(|b| b.is_ascii_digit()));
    let size = size.and_then(|w| w.parse().ok()).ok_or_else(|| syntax("BDAT wants a number of bytes"))?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(syntax("after the size only LAST may follow")),
    };
    match words.next() {
        None => Ok(Command::Bdat { size, last }),
        Some(_) => Err(syntax("nothing may follow LAST")),
    }
}

fn auth(rest: &[u8]) -> Result<Command, Reply> {
    let text = std::str::from_utf8(rest).map_err(|_| syntax("AUTH wants a mechanism"))?;
    let mut words = text.split(' ').filter(|w| !w.is_empty());
    let mechanism = words.next().ok_or_else(|| syntax("AUTH wants a mechanism"))?.to_ascii_uppercase();
    let initial = words.next().map(str::to_owned);
    match words.next() {
        None => Ok(Command::Auth { mechanism, initial }),
        Some(_) => Err(syntax("AUTH takes a mechanism and one response")),
    }
}

/// Decodes xtext (RFC 3461 4): `+XX` stands for a byte.
fn xtext(value: &str) -> Result<String, Reply> {
    let bad = || syntax("the value is no xtext");
    let mut out = Vec::new();
    let mut bytes = value.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => {
                let digits = [bytes.next().ok_or_else(bad)?, bytes.next().ok_or_else(bad)?];
                let digits = std::str::from_utf8(&digits).map_err(|_| bad())?;
                out.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
            }
            b'=' => return Err(bad()),
            _ => out.push(b),
        }
    }
    String::from_utf8(out).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5321_4_1_1_commands_in_any_case() {
        assert_eq!(parse(b"ehlo [127.0.0.1]", false), Ok(Command::Ehlo("[127.0.0.1]".into())));
        assert_eq!(parse(b"Data", false), Ok(Command::Data));
        assert_eq!(parse(b"noop anything", false), Ok(Command::Noop));
        assert_eq!(parse(b"EHLO", false).unwrap_err().code, 501);
        assert_eq!(parse(b"DATA now", false).unwrap_err().code, 501);
        assert_eq!(parse(b"WIZ", false).unwrap_err().code, 500);
        assert_eq!(parse(b"MAIL TO:<a@b>", false).unwrap_err().code, 501);
        assert_eq!(parse(b"MAIL FROM:<a@b>SIZE=1", false).unwrap_err().code, 501);
        assert_eq!(parse(b"MAIL FROM:<a@b> XYZ=1", false).unwrap_err().code, 555);
        assert_eq!(parse(b"RCPT TO:<>", false).unwrap_err().code, 501);
    }

    #[test]
    fn rfc6531_3_5_utf8_addresses_need_smtputf8() {
        let refused = parse("MAIL FROM:<grün@x.test>".as_bytes(), false).unwrap_err();
        assert_eq!((refused.code, refused.enhanced.as_str()), (553, "5.6.7"));
        assert!(parse("MAIL FROM:<grün@x.test> SMTPUTF8".as_bytes(), false).is_ok());
        assert_eq!(parse("RCPT TO:<grün@x.test>".as_bytes(), false).unwrap_err().code, 553);
        assert!(parse("RCPT TO:<grün@x.test>".as_bytes(), true).is_ok());
    }

    #[test]
    fn rfc3461_4_parameters() {
        let mail = parse(b"MAIL FROM:<a@b.test> RET=HDRS ENVID=QQ+2B1 SIZE=10 BODY=8BITMIME", false).unwrap();
        let Command::Mail { ret, envid, size, eight_bit, .. } = mail else { panic!() };
        assert_eq!(
            (ret, envid.as_deref(), size, eight_bit),
            (Some(Ret::Headers), Some("QQ+1"), Some(10), true)
        );
        let rcpt = parse(b"RCPT TO:<a@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b", false).unwrap();
        let Command::Rcpt { notify, orcpt, .. } = rcpt else { panic!() };
        assert_eq!(notify, Some(Notify { success: true, failure: false, delay: true }));
        assert_eq!(orcpt.as_deref(), Some("rfc822;a@b"));
        for bad in ["RET=SOME", "ENVID=a+Z", "RET=FULL RET=FULL", "SIZE=x", "BODY=BINARYMIME"] {
            assert_eq!(
                parse(format!("MAIL FROM:<> {bad}").as_bytes(), false).unwrap_err().code,
                501,
                "{bad}"
            );
        }
        assert_eq!(parse(b"RCPT TO:<a@b> NOTIFY=NEVER,DELAY", false).unwrap_err().code, 501);
    }

    #[test]
    fn rfc3030_2_bdat() {
        assert_eq!(parse(b"BDAT 86 LAST", false), Ok(Command::Bdat { size: 86, last: true }));
        for bad in ["BDAT", "BDAT -1", "BDAT 1 FIRST", "BDAT 1 LAST x", "BDAT 99999999999999999999"] {
            assert_eq!(parse(bad.as_bytes(), false).unwrap_err().code, 501, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_or_refused(verb in "(MAIL FROM:|RCPT TO:|EHLO |AUTH |BDAT |)", rest in proptest::collection::vec(0u8..255, 0..60)) {
            let _ = parse(&[verb.as_bytes(), &rest].concat(), true);
        }
    }
}
