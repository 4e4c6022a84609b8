//! Command lines: cut out of the input, read, answered or turned into a question.

use super::text::too_big;
use super::{Envelope, Mode, Recipient, Session, State, Step};
use crate::limits;
use crate::smtp::command::{Command, parse};
use crate::smtp::reply::Reply;

impl Session {
    /// One line of input, when there is one.
    pub(super) fn line_step(&mut self) -> Option<Step> {
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
        // A bare LF ends a command as well (decision 0412). A CR in its midst is refused by the grammar.
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
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
}

/// A browser that was tricked into talking to us (cross-protocol attacks).
fn is_http(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 5] = [b"GET ", b"POST ", b"PUT ", b"CONNECT ", b"OPTIONS "];
    METHODS.iter().any(|m| line.starts_with(m)) || line.starts_with(b"Host:")
}
