//! STARTTLS (RFC 3207) and AUTH (RFC 4954).

use super::{Session, State, Step};
use crate::smtp::reply::Reply;

impl Session {
    pub(super) fn starttls(&mut self) {
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

    pub(super) fn auth(&mut self, mechanism: String, initial: Option<String>) -> Option<Step> {
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

    pub(super) fn sasl_line(&mut self, line: &[u8]) -> Option<Step> {
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

fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
