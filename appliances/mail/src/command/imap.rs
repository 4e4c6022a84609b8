//! Another IMAP server as a source of messages: just enough of a client to read every mailbox (RFC 3501).

use super::files::Read as Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Silence of the server that is borne.
const PATIENCE: Duration = Duration::from_secs(120);
/// A line of an answer; literals are not counted.
const LINE_MAX: u64 = 1 << 20;
/// A literal: the largest message.
const LITERAL_MAX: usize = 256 << 20;
/// Messages asked for at once.
const AT_ONCE: u32 = 50;

/// Where to log in.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Host name.
    pub host: String,
    /// Port; 993 and others with TLS from the start.
    pub port: u16,
    /// STARTTLS instead of TLS from the start (143).
    pub starttls: bool,
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Certificates to trust beside the usual ones, as PEM.
    pub trust_pem: Vec<u8>,
}

/// A mailbox there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// As the server writes it (modified UTF-7).
    pub raw: String,
    /// Its name with `/` between levels, in UTF-8.
    pub name: String,
    /// `\Sent` and the like, when the server says so.
    pub special_use: String,
    /// Messages in it.
    pub messages: u32,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A session, logged in.
pub struct Session {
    stream: BufReader<Box<dyn Stream>>,
    tag: u32,
}

/// A line of an answer, its literals taken out: `{}` stands where each was.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    text: String,
    literals: Vec<Vec<u8>>,
}

impl Session {
    /// Connects, encrypts, logs in.
    pub fn open(source: &Source) -> io::Result<Session> {
        let tcp = TcpStream::connect((source.host.as_str(), source.port))?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        if !source.starttls {
            let mut session = Session::over(Box::new(encrypt(tcp, source)?));
            session.greeting()?;
            session.log_in(source)?;
            return Ok(session);
        }
        let mut plain = Session::over(Box::new(tcp.try_clone()?));
        plain.greeting()?;
        plain.ask("STARTTLS", |_| Ok(()))?;
        // RFC 3501 6.2.1: what came before the handshake does not count.
        drop(plain);
        let mut session = Session::over(Box::new(encrypt(tcp, source)?));
        session.log_in(source)?;
        Ok(session)
    }

    fn over(stream: Box<dyn Stream>) -> Session {
        Session { stream: BufReader::with_capacity(64 << 10, stream), tag: 0 }
    }

    fn greeting(&mut self) -> io::Result<()> {
        let line = self.line()?.text;
        match line.starts_with("* OK") {
            true => Ok(()),
            false => Err(io::Error::other(format!("the server says {line:?}"))),
        }
    }

    fn log_in(&mut self, source: &Source) -> io::Result<()> {
        use base64::Engine;
        let mut can_plain = false;
        self.ask("CAPABILITY", |line| {
            can_plain |= line.text.to_ascii_uppercase().contains("AUTH=PLAIN");
            Ok(())
        })?;
        if !can_plain {
            let words = format!("LOGIN {} {}", quoted(&source.user)?, quoted(&source.password)?);
            return self.ask(&words, |_| Ok(()));
        }
        let response = format!("\0{}\0{}", source.user, source.password);
        let response = base64::engine::general_purpose::STANDARD.encode(response);
        let tag = self.say("AUTHENTICATE PLAIN")?;
        loop {
            let line = self.line()?;
            if line.text.starts_with('+') {
                self.write(&format!("{response}\r\n"))?;
            } else if let Some(done) = ended(&tag, &line.text) {
                return done;
            }
        }
    }

    /// All mailboxes that hold messages, with how many.
    pub fn mailboxes(&mut self) -> io::Result<Vec<Mailbox>> {
        let mut found = Vec::new();
        self.ask("LIST \"\" \"*\"", |line| {
            found.extend(listed(line));
            Ok(())
        })?;
        for mailbox in &mut found {
            let command = format!("STATUS {} (MESSAGES)", quoted(&mailbox.raw)?);
            let asked = self.ask(&command, |line| {
                let count = line.text.rsplit_once("MESSAGES ").map(|(_, n)| n.trim_end_matches(')').trim());
                mailbox.messages = count.and_then(|n| n.parse().ok()).unwrap_or(mailbox.messages);
                Ok(())
            });
            if let Err(error) = asked {
                eprintln!("{}: {error}; it is left out", mailbox.name);
            }
        }
        found.retain(|m| m.messages > 0);
        Ok(found)
    }

    /// Reads every message of a mailbox, in order; nothing there is changed.
    pub fn read(
        &mut self,
        mailbox: &Mailbox,
        mut each: impl FnMut(Message) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut exists = 0;
        self.ask(&format!("EXAMINE {}", quoted(&mailbox.raw)?), |line| {
            let count = line.text.strip_prefix("* ").and_then(|t| t.strip_suffix(" EXISTS"));
            exists = count.and_then(|n| n.parse().ok()).unwrap_or(exists);
            Ok(())
        })?;
        let mut from = 1u32;
        while from <= exists {
            let to = (from + AT_ONCE - 1).min(exists);
            self.ask(&format!("FETCH {from}:{to} (FLAGS INTERNALDATE BODY.PEEK[])"), |line| {
                fetched(line).map_or(Ok(()), &mut each)
            })?;
            from = to + 1;
        }
        Ok(())
    }

    /// Sends a command; `each` gets the untagged lines. An answer other than OK is an error.
    fn ask(&mut self, command: &str, mut each: impl FnMut(&Line) -> io::Result<()>) -> io::Result<()> {
        let tag = self.say(command)?;
        loop {
            let line = self.line()?;
            match ended(&tag, &line.text) {
                Some(done) => return done,
                None => each(&line)?,
            }
        }
    }

    fn say(&mut self, command: &str) -> io::Result<String> {
        self.tag += 1;
        let tag = format!("n{}", self.tag);
        self.write(&format!("{tag} {command}\r\n"))?;
        Ok(tag)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())?;
        self.stream.get_mut().flush()
    }

    /// A whole line with its literals.
    fn line(&mut self) -> io::Result<Line> {
        let mut line = Line::default();
        loop {
            let mut piece = Vec::new();
            (&mut self.stream).take(LINE_MAX).read_until(b'\n', &mut piece)?;
            if !piece.ends_with(b"\n") {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            let text = String::from_utf8_lossy(&piece);
            let text = text.trim_end_matches(['\r', '\n']);
            let literal = text.rsplit_once('{').and_then(|(before, size)| {
                Some((before, size.strip_suffix('}')?.trim_end_matches('+').parse::<usize>().ok()?))
            });
            let Some((before, size)) = literal else {
                line.text.push_str(text);
                return Ok(line);
            };
            if size > LITERAL_MAX {
                return Err(io::Error::other(format!("a message of {size} bytes is too large")));
            }
            line.text.push_str(before);
            line.text.push_str("{}");
            let mut bytes = vec![0; size];
            self.stream.read_exact(&mut bytes)?;
            line.literals.push(bytes);
        }
    }
}

fn encrypt(
    tcp: TcpStream,
    source: &Source,
) -> io::Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_slice_iter(&source.trust_pem) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(source.host.clone()).map_err(io::Error::other)?;
    let connection = rustls::ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(rustls::StreamOwned::new(connection, tcp))
}

/// The end of a command, when the line is it.
fn ended(tag: &str, text: &str) -> Option<io::Result<()>> {
    let rest = text.strip_prefix(tag)?.strip_prefix(' ')?;
    Some(match rest.to_ascii_uppercase().starts_with("OK") {
        true => Ok(()),
        false => Err(io::Error::other(format!("the server answers {rest:?}"))),
    })
}

/// `* LIST (\HasNoChildren \Sent) "/" "Sent Items"`.
fn listed(line: &Line) -> Option<Mailbox> {
    let rest = line.text.strip_prefix("* LIST (")?;
    let (flags, rest) = rest.split_once(") ")?;
    let flag = |name: &str| flags.split(' ').any(|f| f.eq_ignore_ascii_case(name));
    if flag("\\Noselect") || flag("\\NonExistent") {
        return None;
    }
    let (separator, name) = astring(rest)?;
    let raw = match name.trim_start() {
        "{}" => String::from_utf8_lossy(line.literals.first()?).into_owned(),
        other => astring(other)?.0,
    };
    let uses = ["\\Drafts", "\\Sent", "\\Archive", "\\Junk", "\\Trash"];
    let special_use = uses.iter().find(|u| flag(u)).map_or(String::new(), |u| (*u).to_owned());
    let mut name = crate::imap::grammar::decode_utf7(raw.as_bytes()).unwrap_or_else(|| raw.clone());
    if separator != "NIL" && separator != "/" && !separator.is_empty() {
        name = name.replace('/', "_").replace(&separator, "/");
    }
    Some(Mailbox { name, raw, special_use, messages: 0 })
}

/// A quoted string or an atom at the start, and what follows.
fn astring(text: &str) -> Option<(String, &str)> {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find(' ').unwrap_or(text.len());
        return Some((text[..end].to_owned(), text[end..].trim_start()));
    };
    let mut out = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, inner[at + 1..].trim_start())),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

/// A string that is sent: quoted; what cannot be quoted is an error.
fn quoted(text: &str) -> io::Result<String> {
    if text.chars().any(|c| c.is_control()) {
        return Err(io::Error::other("a name or password has a control character"));
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// `* 12 FETCH (FLAGS (\Seen) INTERNALDATE "17-Jul-1996 02:44:25 -0700" BODY[] {})`, its items in any order.
fn fetched(line: &Line) -> Option<Message> {
    let (_, items) = line.text.strip_prefix("* ")?.split_once(" FETCH (")?;
    let raw = line.literals.first()?.clone();
    let after = |name: &str| items.find(name).map(|at| &items[at + name.len()..]);
    let flags = after("FLAGS (").and_then(|t| t.split_once(')')).map_or("", |(f, _)| f);
    let flags = flags.split(' ').filter(|f| !f.is_empty() && !f.eq_ignore_ascii_case("\\Recent"));
    let date = after("INTERNALDATE \"").and_then(|t| t.split_once('"')).and_then(|(d, _)| internal_date(d));
    Some(Message { raw, flags: flags.map(str::to_owned).collect(), date })
}

/// `17-Jul-1996 02:44:25 -0700`.
fn internal_date(text: &str) -> Option<i64> {
    let as_header = text.trim().replacen('-', " ", 2);
    crate::message::parse_rfc5322(as_header.as_bytes()).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, literals: &[&[u8]]) -> Line {
        Line { text: text.into(), literals: literals.iter().map(|l| l.to_vec()).collect() }
    }

    #[test]
    fn rfc3501_7_2_2_mailboxes_are_read_with_any_separator() {
        let sent =
            listed(&line("* LIST (\\HasNoChildren \\Sent) \".\" \"INBOX.Sent &- more\"", &[])).unwrap();
        assert_eq!((sent.name.as_str(), sent.special_use.as_str()), ("INBOX/Sent & more", "\\Sent"));
        assert_eq!(listed(&line("* LIST () \"/\" {}", &[b"Gr&APw-n"])).unwrap().name, "Grün");
        assert_eq!(listed(&line("* LIST () NIL INBOX", &[])).unwrap().name, "INBOX");
        assert!(listed(&line("* LIST (\\Noselect) \"/\" x", &[])).is_none());
    }

    #[test]
    fn rfc3501_7_4_2_a_message_with_flags_and_date() {
        let text = "* 12 FETCH (UID 5 FLAGS (\\Seen $Work \\Recent) INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" BODY[] {})";
        let message = fetched(&line(text, &[b"Subject: x\r\n\r\n"])).unwrap();
        assert_eq!(message.flags, ["\\Seen", "$Work"]);
        assert_eq!(message.date, Some(837_596_665));
        assert!(fetched(&line("* 3 EXPUNGE", &[])).is_none());
    }

    #[test]
    fn what_is_sent_is_quoted() {
        assert_eq!(quoted("a\"b\\").unwrap(), "\"a\\\"b\\\\\"");
        assert!(quoted("a\r\nb").is_err());
    }
}
