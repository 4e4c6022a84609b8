//! The server's session: bytes in, replies and questions out.
//!
//! The caller feeds bytes with `receive`, calls `step` until it says `NeedInput`, sends what `take_output` gives, and
//! answers each question before it steps again. The session holds no more than one command line or one read of data.

use super::address::Mailbox;
use super::command::{Command, Notify, Ret, parse};
use super::data::DataDecoder;
use super::reply::Reply;
use crate::limits;

/// Which door the client came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Port 25: mail for us, from anybody.
    Mx,
    /// Ports 587 and 465: mail from our users (RFC 6409).
    Submission,
}

/// What does not change during a session.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our name, in the greeting.
    pub hostname: String,
    /// Which door.
    pub mode: Mode,
    /// Largest message, in bytes.
    pub message_bytes_max: usize,
    /// Whether STARTTLS can be done.
    pub tls_available: bool,
    /// SASL mechanisms, in the order of preference; empty when AUTH is not offered at this door.
    pub mechanisms: Vec<&'static str>,
}

/// One accepted recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address as given.
    pub to: Mailbox,
    /// NOTIFY, when given.
    pub notify: Option<Notify>,
    /// ORCPT, when given.
    pub orcpt: Option<String>,
}

/// A transaction: everything but the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `None` for `<>`.
    pub from: Option<Mailbox>,
    /// Accepted recipients, in order.
    pub recipients: Vec<Recipient>,
    /// SIZE as announced.
    pub size: Option<u64>,
    /// BODY=8BITMIME.
    pub eight_bit: bool,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID.
    pub envid: Option<String>,
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send the output, then read.
    NeedInput,
    /// May this sender send? Answer with `sender`.
    Sender(Option<Mailbox>),
    /// Is this a recipient? Answer with `recipient`.
    Recipient(Mailbox),
    /// A piece of the message's text, in order.
    Body(Vec<u8>),
    /// The text is complete. Answer with `message` when it is safe.
    Message,
    /// Forget the pieces of text that came: the transaction failed.
    Abandon,
    /// Send the output, discard everything read so far, do the handshake, then call `tls_started`.
    StartTls,
    /// A SASL exchange begins: the mechanism and the initial response, decoded. Answer with `sasl`.
    SaslStart(String, Option<Vec<u8>>),
    /// The client's next SASL response, decoded. Answer with `sasl`.
    SaslResponse(Vec<u8>),
    /// Send the output and close.
    Close,
}

/// The caller's answer in a SASL exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslAnswer {
    /// Go on with this challenge.
    Challenge(Vec<u8>),
    /// The client is this account.
    Success(String),
    /// It is not.
    Failure,
    /// Nobody can be checked now.
    Unavailable,
}

#[derive(Debug)]
enum State {
    Command,
    AskedSender(Envelope),
    AskedRecipient(Recipient),
    Data { decoder: DataDecoder, bytes: usize },
    Bdat { remaining: u64, last: bool },
    AskedMessage,
    Sasl,
    AskedSasl,
    AskedTls,
    Closed,
}

/// A session of the server.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    state: State,
    input: Vec<u8>,
    out: Vec<u8>,
    helo: Option<String>,
    esmtp: bool,
    tls: bool,
    user: Option<String>,
    envelope: Option<Envelope>,
    chunked: Option<Chunks>,
    skipping_line: bool,
    errors: u32,
    idle_commands: u32,
    auth_failures: u32,
}

/// A message that comes by BDAT.
#[derive(Debug, Default, Clone, Copy)]
struct Chunks {
    bytes: usize,
    after_cr: bool,
    bare: bool,
}

impl Session {
    /// A new session; its greeting is in the output. `tls` for a connection that is encrypted from the start.
    pub fn new(settings: Settings, tls: bool) -> Session {
        let mut session = Session {
            state: State::Command,
            input: Vec::new(),
            out: Vec::new(),
            helo: None,
            esmtp: false,
            tls,
            user: None,
            envelope: None,
            chunked: None,
            skipping_line: false,
            errors: 0,
            idle_commands: 0,
            auth_failures: 0,
            settings,
        };
        let greeting = format!("{} ESMTP nymote", session.settings.hostname);
        session.reply(220, "", &greeting);
        session
    }

    /// Adds bytes from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The bytes to send, taken.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// The transaction under way.
    pub fn envelope(&self) -> Option<&Envelope> {
        self.envelope.as_ref()
    }

    /// The account that authenticated.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The name the client gave, and the protocol word for Received (RFC 3848, RFC 6531 4.3).
    pub fn helo(&self) -> (&str, String) {
        let utf8 = self.envelope.as_ref().is_some_and(|e| e.smtputf8);
        let mut word = String::from(if utf8 {
            "UTF8SMTP"
        } else if self.esmtp {
            "ESMTP"
        } else {
            "SMTP"
        });
        if self.esmtp && self.tls {
            word.push('S');
        }
        if self.esmtp && self.user.is_some() {
            word.push('A');
        }
        (self.helo.as_deref().unwrap_or("unknown"), word)
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether a message's text is being received.
    pub fn in_data(&self) -> bool {
        matches!(self.state, State::Data { .. } | State::Bdat { .. })
    }

    /// Ends the session with a last reply, for a time-out or a stop (421).
    pub fn end(&mut self, text: &str) {
        self.reply(421, "4.4.2", text);
        self.state = State::Closed;
    }

    /// The next thing to do.
    pub fn step(&mut self) -> Step {
        loop {
            let step = match &mut self.state {
                State::Closed => Some(Step::Close),
                State::Command | State::Sasl => self.line_step(),
                State::Data { .. } => self.data_step(),
                State::Bdat { .. } => self.bdat_step(),
                State::AskedTls => Some(Step::StartTls),
                State::AskedSender(_) | State::AskedRecipient(_) | State::AskedMessage | State::AskedSasl => {
                    Some(Step::NeedInput)
                }
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Answers `Step::Sender`.
    pub fn sender(&mut self, verdict: Result<(), Reply>) {
        let State::AskedSender(envelope) = std::mem::replace(&mut self.state, State::Command) else { return };
        match verdict {
            Ok(()) => {
                self.envelope = Some(envelope);
                self.reply(250, "2.1.0", "sender ok");
            }
            Err(reply) => self.refuse(&reply),
        }
    }

    /// Answers `Step::Recipient`.
    pub fn recipient(&mut self, verdict: Result<(), Reply>) {
        let State::AskedRecipient(recipient) = std::mem::replace(&mut self.state, State::Command) else {
            return;
        };
        match (verdict, &mut self.envelope) {
            (Ok(()), Some(envelope)) => {
                envelope.recipients.push(recipient);
                self.reply(250, "2.1.5", "recipient ok");
            }
            (Err(reply), _) => self.refuse(&reply),
            (Ok(()), None) => self.reply(503, "5.5.1", "MAIL first"),
        }
    }

    /// Answers `Step::Message`; the transaction is over either way.
    pub fn message(&mut self, verdict: Result<String, Reply>) {
        self.state = State::Command;
        self.reset();
        match verdict {
            Ok(text) => {
                self.idle_commands = 0;
                self.reply(250, "2.0.0", &text);
            }
            Err(reply) => self.refuse(&reply),
        }
    }

    /// Answers `Step::StartTls`: the session starts anew (RFC 3207 4.2), nothing read before counts.
    pub fn tls_started(&mut self) {
        self.input.clear();
        self.state = State::Command;
        self.helo = None;
        self.user = None;
        self.tls = true;
        self.reset();
    }

    /// Answers `Step::SaslStart` and `Step::SaslResponse`.
    pub fn sasl(&mut self, answer: SaslAnswer) {
        use base64::Engine;
        self.state = State::Command;
        match answer {
            SaslAnswer::Challenge(challenge) => {
                self.state = State::Sasl;
                self.reply(334, "", &base64::engine::general_purpose::STANDARD.encode(challenge));
            }
            SaslAnswer::Success(user) => {
                self.user = Some(user);
                self.reply(235, "2.7.0", "welcome");
            }
            SaslAnswer::Failure => {
                self.auth_failures += 1;
                self.refuse(&Reply::new(535, "5.7.8", "user name or password is wrong"));
                if self.auth_failures >= limits::AUTH_TRIES_MAX {
                    self.end("too many failed tries");
                }
            }
            SaslAnswer::Unavailable => self.reply(454, "4.7.0", "accounts cannot be checked now, try again"),
        }
    }

    fn reply(&mut self, code: u16, enhanced: &str, text: &str) {
        Reply::new(code, enhanced, text).write(&mut self.out);
    }

    fn refuse(&mut self, reply: &Reply) {
        reply.write(&mut self.out);
        self.errors += 1;
        if reply.code == 421 {
            self.state = State::Closed;
        } else if self.errors >= limits::SMTP_ERRORS_MAX {
            self.end("too many errors");
        }
    }

    fn reset(&mut self) {
        self.envelope = None;
        self.chunked = None;
    }

    /// One line of input, when there is one.
    fn line_step(&mut self) -> Option<Step> {
        let in_sasl = matches!(self.state, State::Sasl);
        let max = if in_sasl { limits::SMTP_AUTH_LINE_MAX } else { limits::SMTP_COMMAND_MAX };
        let Some(nl) = memchr::memchr(b'\n', &self.input) else {
            if self.input.len() > max && !self.skipping_line {
                self.skipping_line = true;
                self.refuse(&Reply::new(500, "5.5.2", "the line is too long"));
            }
            if self.skipping_line {
                // The last byte may be the CR of the line end.
                self.input.clear();
            }
            return Some(if matches!(self.state, State::Closed) { Step::Close } else { Step::NeedInput });
        };
        let line: Vec<u8> = self.input.drain(..=nl).collect();
        if std::mem::take(&mut self.skipping_line) {
            self.state = State::Command;
            return None;
        }
        if line.len() > max {
            self.state = State::Command;
            self.refuse(&Reply::new(500, "5.5.2", "the line is too long"));
            return None;
        }
        let Some(line) = line.strip_suffix(b"\r\n") else {
            self.state = State::Command;
            self.refuse(&Reply::new(500, "5.5.2", "a line ends with CRLF"));
            return None;
        };
        if in_sasl {
            return self.sasl_line(line);
        }
        if is_http(line) {
            self.reply(421, "5.7.0", "this is no web server");
            self.state = State::Closed;
            return None;
        }
        let smtputf8 = self.envelope.as_ref().is_some_and(|e| e.smtputf8);
        match parse(line, smtputf8) {
            Ok(command) => self.command(command),
            Err(reply) => {
                self.refuse(&reply);
                None
            }
        }
    }

    fn command(&mut self, command: Command) -> Option<Step> {
        let brings_forward = matches!(
            command,
            Command::Mail { .. } | Command::Rcpt { .. } | Command::Data | Command::Bdat { .. }
        );
        if !brings_forward {
            self.idle_commands += 1;
            if self.idle_commands > limits::SMTP_IDLE_COMMANDS_MAX {
                self.end("too many commands without mail");
                return None;
            }
        }
        match command {
            Command::Helo(name) => self.greet(name, false),
            Command::Ehlo(name) => self.greet(name, true),
            Command::Mail { from, size, eight_bit, smtputf8, ret, envid } => {
                let recipients = Vec::new();
                return self.mail(Envelope { from, recipients, size, eight_bit, smtputf8, ret, envid });
            }
            Command::Rcpt { to, notify, orcpt } => return self.rcpt(Recipient { to, notify, orcpt }),
            Command::Data => self.data(),
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::Rset => {
                let had_text = self.chunked.is_some();
                self.reset();
                self.reply(250, "2.0.0", "forgotten");
                return had_text.then_some(Step::Abandon);
            }
            Command::Noop => self.reply(250, "2.0.0", "ok"),
            Command::Quit => {
                self.reply(221, "2.0.0", "bye");
                self.state = State::Closed;
            }
            Command::Vrfy => self.reply(252, "2.1.5", "send mail and see"),
            Command::Expn => self.reply(502, "5.5.1", "lists are not shown"),
            Command::Help => self.reply(214, "2.0.0", "RFC 5321"),
            Command::StartTls => self.starttls(),
            Command::Auth { mechanism, initial } => return self.auth(mechanism, initial),
        }
        None
    }

    fn greet(&mut self, name: String, esmtp: bool) {
        self.reset();
        self.helo = Some(name);
        self.esmtp = esmtp;
        let hostname = self.settings.hostname.clone();
        if !esmtp {
            self.reply(250, "", &hostname);
            return;
        }
        let mut lines = vec![
            hostname,
            "PIPELINING".into(),
            format!("SIZE {}", self.settings.message_bytes_max),
            "8BITMIME".into(),
            "SMTPUTF8".into(),
            "CHUNKING".into(),
            "ENHANCEDSTATUSCODES".into(),
            "DSN".into(),
        ];
        if self.settings.tls_available && !self.tls {
            lines.push("STARTTLS".into());
        }
        if self.tls && !self.settings.mechanisms.is_empty() {
            lines.push(format!("AUTH {}", self.settings.mechanisms.join(" ")));
        }
        Reply { code: 250, enhanced: String::new(), lines }.write(&mut self.out);
    }

    fn mail(&mut self, envelope: Envelope) -> Option<Step> {
        let refused = if self.helo.is_none() {
            Some(Reply::new(503, "5.5.1", "EHLO first"))
        } else if self.settings.mode == Mode::Submission && !self.tls && self.settings.tls_available {
            Some(Reply::new(530, "5.7.0", "STARTTLS first"))
        } else if self.settings.mode == Mode::Submission && self.user.is_none() {
            Some(Reply::new(530, "5.7.0", "AUTH first"))
        } else if self.envelope.is_some() {
            Some(Reply::new(503, "5.5.1", "a transaction is under way, RSET ends it"))
        } else if envelope.size.is_some_and(|s| s > self.settings.message_bytes_max as u64) {
            Some(too_big(self.settings.message_bytes_max))
        } else {
            None
        };
        match refused {
            Some(reply) => {
                self.refuse(&reply);
                None
            }
            None => {
                let step = Step::Sender(envelope.from.clone());
                self.state = State::AskedSender(envelope);
                Some(step)
            }
        }
    }

    fn rcpt(&mut self, recipient: Recipient) -> Option<Step> {
        let refused = match &self.envelope {
            None => Some(Reply::new(503, "5.5.1", "MAIL first")),
            Some(_) if self.chunked.is_some() => Some(Reply::new(503, "5.5.1", "the text has begun")),
            Some(e) if e.recipients.len() >= limits::SMTP_RECIPIENTS_MAX => {
                Some(Reply::new(452, "4.5.3", "too many recipients, send the rest in another transaction"))
            }
            Some(_) => None,
        };
        if let Some(reply) = refused {
            self.refuse(&reply);
            return None;
        }
        let step = Step::Recipient(recipient.to.clone());
        self.state = State::AskedRecipient(recipient);
        Some(step)
    }

    /// Whether the text may come, else the reply that says why not.
    fn text_allowed(&self) -> Result<(), Reply> {
        match &self.envelope {
            None => Err(Reply::new(503, "5.5.1", "MAIL first")),
            Some(e) if e.recipients.is_empty() => Err(Reply::new(554, "5.5.1", "no valid recipients")),
            Some(_) => Ok(()),
        }
    }

    fn data(&mut self) {
        if self.chunked.is_some() {
            self.refuse(&Reply::new(503, "5.5.1", "DATA cannot follow BDAT"));
            return;
        }
        match self.text_allowed() {
            Ok(()) => {
                self.reply(354, "", "go ahead, end with <CRLF>.<CRLF>");
                self.state = State::Data { decoder: DataDecoder::default(), bytes: 0 };
            }
            Err(reply) => self.refuse(&reply),
        }
    }

    fn data_step(&mut self) -> Option<Step> {
        let State::Data { decoder, bytes } = &mut self.state else { return None };
        if self.input.is_empty() && !decoder.is_ended() {
            return Some(Step::NeedInput);
        }
        let mut text = Vec::with_capacity(self.input.len());
        let (used, done) = decoder.decode(&self.input, &mut text);
        self.input.drain(..used);
        *bytes = bytes.saturating_add(text.len());
        let (bytes, bare) = (*bytes, decoder.has_bare_line_end());
        let max = self.settings.message_bytes_max;
        if done && bytes <= max && !bare && !text.is_empty() {
            // The last piece first; the next step finds the decoder at its end.
            return Some(Step::Body(text));
        }
        if !done {
            let keep = bytes <= max && !bare && !text.is_empty();
            return keep.then_some(Step::Body(text));
        }
        self.finish_text(bytes, bare)
    }

    fn bdat(&mut self, size: u64, last: bool) {
        // The bytes follow whatever we think of them (RFC 3030 2): a refused chunk is read and forgotten.
        match self.text_allowed() {
            Ok(()) => {
                self.chunked.get_or_insert_default();
            }
            Err(reply) => {
                self.reset();
                self.refuse(&reply);
            }
        }
        if !matches!(self.state, State::Closed) {
            self.state = State::Bdat { remaining: size, last };
        }
    }

    fn bdat_step(&mut self) -> Option<Step> {
        let State::Bdat { remaining, last } = &mut self.state else { return None };
        if *remaining > 0 {
            if self.input.is_empty() {
                return Some(Step::NeedInput);
            }
            let take = usize::try_from(*remaining).unwrap_or(usize::MAX).min(self.input.len());
            let text: Vec<u8> = self.input.drain(..take).collect();
            *remaining -= take as u64;
            let chunks = self.chunked.as_mut()?;
            chunks.add(&text);
            let keep = chunks.bytes <= self.settings.message_bytes_max && !chunks.bare;
            return keep.then_some(Step::Body(text));
        }
        let last = *last;
        self.state = State::Command;
        // No chunks: refused before, the reply was given.
        let chunks = self.chunked?;
        if last {
            return self.finish_text(chunks.bytes, chunks.bare || chunks.after_cr);
        }
        if chunks.bytes > self.settings.message_bytes_max {
            self.reset();
            self.refuse(&too_big(self.settings.message_bytes_max));
            return Some(Step::Abandon);
        }
        self.reply(250, "2.0.0", &format!("{} bytes so far", chunks.bytes));
        None
    }

    fn finish_text(&mut self, bytes: usize, bare: bool) -> Option<Step> {
        let reply = if bytes > self.settings.message_bytes_max {
            too_big(self.settings.message_bytes_max)
        } else if bare {
            Reply::new(
                550,
                "5.6.11",
                "a CR or LF stands alone in the message; lines end with CRLF (RFC 5321 2.3.8)",
            )
        } else {
            self.state = State::AskedMessage;
            return Some(Step::Message);
        };
        self.state = State::Command;
        self.reset();
        self.refuse(&reply);
        Some(Step::Abandon)
    }

    fn starttls(&mut self) {
        if self.tls {
            self.refuse(&Reply::new(503, "5.5.1", "TLS is on"));
        } else if !self.settings.tls_available {
            self.refuse(&Reply::new(454, "4.7.0", "TLS is not available now"));
        } else {
            self.reply(220, "2.0.0", "begin");
            self.input.clear();
            self.state = State::AskedTls;
        }
    }

    fn auth(&mut self, mechanism: String, initial: Option<String>) -> Option<Step> {
        let refused = if self.settings.mechanisms.is_empty() {
            Some(Reply::new(502, "5.5.1", "AUTH is not offered here"))
        } else if !self.tls {
            Some(Reply::new(538, "5.7.11", "STARTTLS first: a password must not be sent in the clear"))
        } else if self.user.is_some() || self.envelope.is_some() || !self.esmtp {
            Some(Reply::new(503, "5.5.1", "AUTH comes once, after EHLO and before MAIL"))
        } else if !self.settings.mechanisms.iter().any(|m| **m == mechanism) {
            Some(Reply::new(504, "5.5.4", "that mechanism is not offered"))
        } else {
            None
        };
        if let Some(reply) = refused {
            self.refuse(&reply);
            return None;
        }
        let initial = match initial.as_deref() {
            None => None,
            Some("=") => Some(Vec::new()),
            Some(text) => match decode_base64(text.as_bytes()) {
                Some(bytes) => Some(bytes),
                None => {
                    self.refuse(&Reply::new(501, "5.5.2", "the response is not base64"));
                    return None;
                }
            },
        };
        self.state = State::AskedSasl;
        Some(Step::SaslStart(mechanism, initial))
    }

    fn sasl_line(&mut self, line: &[u8]) -> Option<Step> {
        self.state = State::Command;
        if line == b"*" {
            self.refuse(&Reply::new(501, "5.7.0", "authentication cancelled"));
            return None;
        }
        match decode_base64(line) {
            Some(bytes) => {
                self.state = State::AskedSasl;
                Some(Step::SaslResponse(bytes))
            }
            None => {
                self.refuse(&Reply::new(501, "5.5.2", "the response is not base64"));
                None
            }
        }
    }
}

impl Chunks {
    fn add(&mut self, text: &[u8]) {
        self.bytes = self.bytes.saturating_add(text.len());
        let mut rest = text;
        if std::mem::take(&mut self.after_cr) {
            match rest.strip_prefix(b"\n") {
                Some(after) => rest = after,
                None if rest.is_empty() => self.after_cr = true,
                None => self.bare = true,
            }
        }
        if let Some(before) = rest.strip_suffix(b"\r") {
            self.after_cr = true;
            rest = before;
        }
        self.bare |= super::data::has_bare_line_end(rest);
    }
}

fn too_big(max: usize) -> Reply {
    Reply::new(552, "5.3.4", format!("the message is larger than {max} bytes"))
}

fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// A browser that was tricked into talking to us (cross-protocol attacks).
fn is_http(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 5] = [b"GET ", b"POST ", b"PUT ", b"CONNECT ", b"OPTIONS "];
    METHODS.iter().any(|m| line.starts_with(m)) || line.starts_with(b"Host:")
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
