//! The server's session: bytes in, replies and questions out.
//!
//! The caller feeds bytes with `receive`, calls `step` until it says `NeedInput`, sends what `take_output` gives, and
//! answers each question before it steps again. The session holds no more than one command line or one read of data.

mod commands;
mod secure;
mod text;

use super::address::Mailbox;
use super::command::{Notify, Ret};
use super::data::DataDecoder;
use super::reply::Reply;
use crate::limits;
use text::Chunks;

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
}

#[cfg(test)]
mod tests;
