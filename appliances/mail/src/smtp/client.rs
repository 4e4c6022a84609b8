//! The client's session: one message to the recipients of one host, a result for each of them.
//!
//! The caller sends what `take_output` gives, feeds replies with `receive`, and steps until `Done`. With PIPELINING the
//! envelope and DATA go in one write (RFC 2920). A message is never sent with a bare CR or LF (`data::stuff`).

use super::address::Mailbox;
use super::command::{Notify, Ret};
use super::data::stuff;
use super::reply::{Reply, ReplyReader};

/// A message to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// `None` for `<>`.
    pub from: Option<Mailbox>,
    /// Recipients that this host takes.
    pub recipients: Vec<OutgoingRecipient>,
    /// The text.
    pub message: std::sync::Arc<Vec<u8>>,
    /// The text for hosts without 8BITMIME, where the text has octets above 127 and can be converted.
    pub seven_bit: Option<std::sync::Arc<Vec<u8>>>,
    /// Whether the sender asked for SMTPUTF8: a header outside of ASCII needs it then (RFC 6531 3.2).
    pub smtputf8: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID.
    pub envid: Option<String>,
}

/// One recipient of an outgoing message.
#[derive(Debug, Clone)]
pub struct OutgoingRecipient {
    /// The address.
    pub to: Mailbox,
    /// NOTIFY, when it was given.
    pub notify: Option<Notify>,
    /// ORCPT, when it was given.
    pub orcpt: Option<String>,
}

/// User and password for a smart host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

/// What happened to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The host has it; its reply.
    Delivered(Reply),
    /// The host (or we, for it) said no: 4xx to be tried again, 5xx for good.
    Refused(Reply),
    /// The host takes nothing now, whoever it is for: the next host may. Its reply.
    Unavailable(Reply),
    /// No answer was seen. `after_data` when the text was sent: trying again may make a duplicate.
    Broken {
        /// What went wrong.
        why: String,
        /// Whether end-of-data had been sent.
        after_data: bool,
    },
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientStep {
    /// Send the output, then read.
    NeedInput,
    /// Send the output, do the handshake, then call `tls_started`.
    StartTls,
    /// Everything is known; send the output and close.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    Auth,
    Envelope { mail: bool, next: usize },
    Data,
    Final,
    Done,
}

/// What the host offers.
#[derive(Debug, Default, Clone)]
struct Offer {
    pipelining: bool,
    starttls: bool,
    smtputf8: bool,
    eight_bit: bool,
    dsn: bool,
    size: Option<u64>,
    mechanisms: Vec<String>,
}

/// A session of the client.
#[derive(Debug)]
pub struct Client {
    hostname: String,
    outgoing: Outgoing,
    credentials: Option<Credentials>,
    want_tls: bool,
    tls: bool,
    state: State,
    offer: Offer,
    reader: ReplyReader,
    out: Vec<u8>,
    outcomes: Vec<Option<Outcome>>,
    /// With pipelining DATA is on its way before the recipients are known.
    data_sent: bool,
    text_sent: bool,
    login_step: u8,
}

impl Client {
    /// A session that says EHLO `hostname`. `want_tls` uses STARTTLS where offered; `tls` is for a connection that is
    /// encrypted already. Credentials are only ever sent over TLS.
    pub fn new(
        hostname: &str,
        outgoing: Outgoing,
        credentials: Option<Credentials>,
        want_tls: bool,
        tls: bool,
    ) -> Client {
        Client {
            hostname: hostname.into(),
            outcomes: vec![None; outgoing.recipients.len()],
            outgoing,
            credentials,
            want_tls,
            tls,
            state: State::Greeting,
            offer: Offer::default(),
            reader: ReplyReader::default(),
            out: Vec::new(),
            data_sent: false,
            text_sent: false,
            login_step: 0,
        }
    }

    /// Adds bytes from the host.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// The bytes to send, taken.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Whether TLS was on at the end.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether the text has been sent and its reply has not come: the time to wait is longer then (RFC 5321 4.5.3.2).
    pub fn awaits_final(&self) -> bool {
        self.state == State::Final
    }

    /// One outcome a recipient, in order. Recipients without an answer are `Broken` for the reason given.
    pub fn outcomes(self, why: &str) -> Vec<Outcome> {
        let after_data = self.text_sent;
        let broken = || Outcome::Broken { why: why.to_owned(), after_data };
        self.outcomes.into_iter().map(|o| o.unwrap_or_else(broken)).collect()
    }

    /// Whether the host tells of success itself (RFC 3461 5.2.2): it offers DSN, and got NOTIFY.
    pub fn passes_dsn_on(&self) -> bool {
        self.offer.dsn
    }

    /// The handshake is done: the session starts anew.
    pub fn tls_started(&mut self) {
        self.reader.clear();
        self.tls = true;
        self.ehlo();
    }

    /// The next thing to do.
    pub fn step(&mut self) -> ClientStep {
        loop {
            match self.state {
                State::Done => return ClientStep::Done,
                State::Handshake => return ClientStep::StartTls,
                _ => {}
            }
            match self.reader.next_reply() {
                Ok(Some(reply)) => self.reply(reply),
                Ok(None) => return ClientStep::NeedInput,
                Err(why) => {
                    let after_data = self.text_sent;
                    self.settle(|| Outcome::Broken { why: why.clone(), after_data });
                    self.state = State::Done;
                }
            }
        }
    }

    fn reply(&mut self, reply: Reply) {
        if reply.code == 421 && self.state != State::Final {
            // The host closes, at whatever stage (RFC 5321 3.8).
            self.settle(|| Outcome::Unavailable(reply.clone()));
            self.state = State::Done;
            return;
        }
        match self.state {
            State::Greeting if reply.code == 220 => self.ehlo(),
            State::Ehlo if reply.code == 250 => {
                self.offer = Offer::read(&reply);
                self.after_ehlo();
            }
            State::Ehlo if reply.code >= 500 => {
                self.say(&format!("HELO {}", self.hostname.clone()));
                self.state = State::Helo;
            }
            State::Helo if reply.code == 250 => self.after_ehlo(),
            State::StartTls if reply.code == 220 => self.state = State::Handshake,
            // Offered and refused: go on in the clear, as without the offer; a password waits for TLS all the same.
            State::StartTls => {
                self.want_tls = false;
                self.after_ehlo();
            }
            State::Auth => self.auth_reply(reply),
            State::Envelope { mail, next } => self.envelope_reply(reply, mail, next),
            State::Data => self.data_reply(reply),
            State::Final => {
                let outcome = match reply.is_done() {
                    true => Outcome::Delivered(reply),
                    false => Outcome::Refused(unexpected(&reply)),
                };
                self.settle(|| outcome.clone());
                self.finish();
            }
            _ => self.unavailable(reply),
        }
    }

    fn ehlo(&mut self) {
        self.say(&format!("EHLO {}", self.hostname.clone()));
        self.state = State::Ehlo;
    }

    fn after_ehlo(&mut self) {
        if self.want_tls && self.offer.starttls && !self.tls {
            self.say("STARTTLS");
            self.state = State::StartTls;
        } else if self.credentials.is_some() {
            self.auth();
        } else {
            self.envelope();
        }
    }

    fn auth(&mut self) {
        use base64::Engine;
        let Some(credentials) = self.credentials.clone() else { return };
        let offers = |m: &str| self.offer.mechanisms.iter().any(|o| o == m);
        if !self.tls {
            return self.unavailable(Reply::new(
                454,
                "4.7.10",
                "the smart host offers no TLS, the password stays here",
            ));
        }
        if offers("PLAIN") {
            let plain = format!("\0{}\0{}", credentials.user, credentials.password);
            self.say(&format!("AUTH PLAIN {}", base64::engine::general_purpose::STANDARD.encode(plain)));
        } else if offers("LOGIN") {
            self.login_step = 1;
            self.say("AUTH LOGIN");
        } else {
            return self.unavailable(Reply::new(
                454,
                "4.7.4",
                "the smart host offers neither AUTH PLAIN nor LOGIN",
            ));
        }
        self.state = State::Auth;
    }

    fn auth_reply(&mut self, reply: Reply) {
        use base64::Engine;
        let Some(credentials) = self.credentials.clone() else { return };
        match (reply.code, self.login_step) {
            (235, _) => self.envelope(),
            (334, 1 | 2) => {
                let word = if self.login_step == 1 { credentials.user } else { credentials.password };
                self.login_step += 1;
                self.say(&base64::engine::general_purpose::STANDARD.encode(word));
            }
            // A wrong password is the owner's to repair: the mail waits.
            _ => self.unavailable(Reply::new(
                454,
                "4.7.8",
                format!("the smart host refused the password: {reply}"),
            )),
        }
    }

    /// MAIL, RCPT and, with PIPELINING, DATA.
    fn envelope(&mut self) {
        if !self.offer.eight_bit && !self.outgoing.message.is_ascii() {
            match self.outgoing.seven_bit.take() {
                Some(text) => self.outgoing.message = text,
                None => {
                    let why = "the host takes no 8-bit text, and this message cannot be converted";
                    return self.give_up(Reply::new(554, "5.6.3", why));
                }
            }
        }
        let size = self.outgoing.message.len() as u64;
        if let Some(max) = self.offer.size.filter(|max| *max > 0 && *max < size) {
            let why = format!("the host takes messages up to {max} bytes");
            return self.give_up(Reply::new(552, "5.3.4", why));
        }
        if !self.offer.smtputf8 {
            self.refuse_international();
        }
        let Some(first) = self.next_recipient(0) else { return self.finish() };
        let mail = self.mail_command(size);
        self.say(&mail);
        self.state = State::Envelope { mail: false, next: first };
        if self.offer.pipelining {
            let mut at = Some(first);
            while let Some(i) = at {
                let rcpt = self.rcpt_command(i);
                self.say(&rcpt);
                at = self.next_recipient(i + 1);
            }
            self.say("DATA");
            self.data_sent = true;
        }
    }

    /// RFC 6531 3.2: what needs SMTPUTF8 goes back where the host does not offer it.
    fn refuse_international(&mut self) {
        let refuse = |what: &str| {
            Outcome::Refused(Reply::new(
                553,
                "5.6.7",
                format!("the host does not take {what} outside of ASCII"),
            ))
        };
        let text = &self.outgoing.message;
        let header = text[..crate::message::header_end(text)].is_ascii();
        if self.outgoing.from.as_ref().is_some_and(Mailbox::is_international) {
            self.settle(|| refuse("addresses"));
        } else if self.outgoing.smtputf8 && !header {
            self.settle(|| refuse("headers"));
        }
        for (i, recipient) in self.outgoing.recipients.iter().enumerate() {
            if recipient.to.is_international() {
                self.outcomes[i].get_or_insert_with(|| refuse("addresses"));
            }
        }
    }

    fn next_recipient(&self, from: usize) -> Option<usize> {
        (from..self.outcomes.len()).find(|i| self.outcomes[*i].is_none())
    }

    fn mail_command(&self, size: u64) -> String {
        let from = self.outgoing.from.as_ref().map(Mailbox::to_string).unwrap_or_default();
        let mut line = format!("MAIL FROM:<{from}>");
        if self.offer.size.is_some() {
            line += &format!(" SIZE={size}");
        }
        let text = &self.outgoing.message;
        if self.offer.eight_bit && !text.is_ascii() {
            line += " BODY=8BITMIME";
        }
        let header = &text[..crate::message::header_end(text)];
        let addresses = self.outgoing.recipients.iter().map(|r| &r.to).chain(&self.outgoing.from);
        if self.offer.smtputf8 && (!header.is_ascii() || addresses.into_iter().any(Mailbox::is_international))
        {
            line += " SMTPUTF8";
        }
        if self.offer.dsn {
            match self.outgoing.ret {
                Some(Ret::Full) => line += " RET=FULL",
                Some(Ret::Headers) => line += " RET=HDRS",
                None => {}
            }
            if let Some(envid) = &self.outgoing.envid {
                line += &format!(" ENVID={}", xtext(envid));
            }
        }
        line
    }

    fn rcpt_command(&self, i: usize) -> String {
        let recipient = &self.outgoing.recipients[i];
        let mut line = format!("RCPT TO:<{}>", recipient.to);
        if self.offer.dsn {
            if let Some(notify) = recipient.notify {
                line += &format!(" NOTIFY={}", notify_words(notify));
            }
            if let Some(orcpt) = &recipient.orcpt {
                line += &format!(" ORCPT={orcpt}");
            }
        }
        line
    }

    fn envelope_reply(&mut self, reply: Reply, mail: bool, next: usize) {
        if !mail {
            if !reply.is_done() {
                self.settle(|| Outcome::Refused(unexpected(&reply)));
                // With pipelining the replies to RCPT and DATA still come; QUIT after them is enough.
                return self.finish();
            }
            self.state = State::Envelope { mail: true, next };
            if !self.offer.pipelining {
                let rcpt = self.rcpt_command(next);
                self.say(&rcpt);
            }
            return;
        }
        if !reply.is_done() {
            self.outcomes[next] = Some(Outcome::Refused(unexpected(&reply)));
        }
        match self.next_recipient(next + 1) {
            Some(following) => {
                self.state = State::Envelope { mail: true, next: following };
                if !self.offer.pipelining {
                    let rcpt = self.rcpt_command(following);
                    self.say(&rcpt);
                }
            }
            None if self.data_sent => self.state = State::Data,
            None if self.next_recipient(0).is_some() => {
                self.say("DATA");
                self.state = State::Data;
            }
            None => self.finish(),
        }
    }

    fn data_reply(&mut self, reply: Reply) {
        let wanted = self.next_recipient(0).is_some();
        if reply.code != 354 {
            self.settle(|| Outcome::Refused(reply.clone()));
            return self.finish();
        }
        if wanted {
            stuff(&self.outgoing.message, &mut self.out);
            self.text_sent = true;
            self.state = State::Final;
        } else {
            // A host that says 354 although it refused every recipient gets nothing (RFC 2920 3.1).
            self.out.extend_from_slice(b".\r\n");
            self.finish();
        }
    }

    /// Every recipient without an outcome gets this one.
    fn settle(&mut self, outcome: impl Fn() -> Outcome) {
        for slot in &mut self.outcomes {
            slot.get_or_insert_with(&outcome);
        }
    }

    /// The host refuses the session, not a message: another one may take it.
    fn unavailable(&mut self, reply: Reply) {
        self.settle(|| Outcome::Unavailable(unexpected(&reply)));
        self.finish();
    }

    fn give_up(&mut self, reply: Reply) {
        let reply = unexpected(&reply);
        self.settle(|| Outcome::Refused(reply.clone()));
        self.finish();
    }

    fn finish(&mut self) {
        self.say("QUIT");
        self.state = State::Done;
    }

    fn say(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}

/// A strange positive reply where another was wanted is no answer to rely on.
fn unexpected(reply: &Reply) -> Reply {
    match reply.is_positive() {
        true => Reply::new(451, "4.5.0", format!("unexpected reply: {reply}")),
        false => reply.clone(),
    }
}

impl Offer {
    fn read(reply: &Reply) -> Offer {
        let mut offer = Offer::default();
        for line in reply.lines.iter().skip(1) {
            let upper = line.to_ascii_uppercase();
            let mut words = upper.split_ascii_whitespace();
            match words.next().unwrap_or_default() {
                "PIPELINING" => offer.pipelining = true,
                "STARTTLS" => offer.starttls = true,
                "SMTPUTF8" => offer.smtputf8 = true,
                "8BITMIME" => offer.eight_bit = true,
                "DSN" => offer.dsn = true,
                "SIZE" => offer.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
                "AUTH" => offer.mechanisms = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        offer
    }
}

fn notify_words(notify: Notify) -> String {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let chosen: Vec<&str> = words.iter().filter(|w| w.0).map(|w| w.1).collect();
    if chosen.is_empty() { "NEVER".into() } else { chosen.join(",") }
}

fn xtext(value: &str) -> String {
    let plain = |b: u8| (b'!'..=b'~').contains(&b) && b != b'+' && b != b'=';
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("+{b:02X}") }).collect()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
