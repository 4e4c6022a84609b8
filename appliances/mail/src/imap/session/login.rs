//! Before and at the login (RFC 3501 6.2, RFC 4422, 4616, 4959, 7677).

use super::{Done, Session, User};
use crate::imap::grammar::Body;
use crate::limits;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chassis::accounts::{Login, LoginError, ScramLogin};
use std::io;

/// An AUTHENTICATE that waits for the client's next line.
pub(super) enum Exchange {
    /// For PLAIN's one response.
    Plain,
    /// For the name, in LOGIN.
    LoginName,
    /// For the password, in LOGIN.
    LoginPassword(String),
    /// For SCRAM's first message.
    ScramFirst,
    /// For SCRAM's second message.
    ScramFinal(Box<ScramLogin>),
    /// For the empty line after SCRAM's last message.
    ScramDone(Box<Login>),
}

impl Session {
    /// Commands that may come before a login; nothing where an exchange has begun.
    pub(super) async fn before_login(&mut self, tag: &str, body: Body<'_>) -> io::Result<Option<Done>> {
        if !matches!(body, Body::Login { .. } | Body::Authenticate { .. }) {
            return Ok(Some(Done::Bad("log in first".into())));
        }
        if !self.may_send_password() {
            let why = "[PRIVACYREQUIRED] passwords are taken only after STARTTLS, or on the port with TLS";
            return Ok(Some(Done::No(why.into())));
        }
        match body {
            Body::Login { user, password } => {
                let password = String::from_utf8(password).unwrap_or_default();
                Ok(Some(self.check(&user, &password).await?))
            }
            Body::Authenticate { mechanism, initial } => {
                let exchange = match mechanism.as_str() {
                    "PLAIN" => Exchange::Plain,
                    "LOGIN" => Exchange::LoginName,
                    "SCRAM-SHA-256" => Exchange::ScramFirst,
                    _ => {
                        return Ok(Some(Done::No(
                            "[CANNOT] PLAIN, LOGIN and SCRAM-SHA-256 are known".into(),
                        )));
                    }
                };
                match initial {
                    // `=` is an empty initial response (RFC 4959 3).
                    Some(initial) if initial == b"=" => self.go_on(tag, exchange, b"").await,
                    Some(initial) => self.go_on(tag, exchange, &initial).await,
                    None => {
                        let ask = if matches!(exchange, Exchange::LoginName) { "Username:" } else { "" };
                        self.ask(tag, ask, exchange).await
                    }
                }
            }
            _ => Ok(None),
        }
    }

    /// Takes the client's next line of an exchange; nothing where another is waited for.
    pub(super) async fn go_on(
        &mut self,
        tag: &str,
        exchange: Exchange,
        line: &[u8],
    ) -> io::Result<Option<Done>> {
        if line == b"*" {
            return Ok(Some(Done::Bad("AUTHENTICATE was cancelled".into())));
        }
        let Some(said) = STANDARD.decode(line).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return Ok(Some(Done::Bad("that is no base64 of a UTF-8 text".into())));
        };
        match exchange {
            Exchange::Plain => {
                let mut words = said.split('\0');
                let (Some(acting), Some(user), Some(password), None) =
                    (words.next(), words.next(), words.next(), words.next())
                else {
                    return Ok(Some(Done::Bad("PLAIN has three parts (RFC 4616)".into())));
                };
                if !acting.is_empty() && !acting.eq_ignore_ascii_case(user) {
                    return Ok(Some(Done::No("[AUTHORIZATIONFAILED] you cannot act for another".into())));
                }
                self.check(user, password).await.map(Some)
            }
            Exchange::LoginName => self.ask(tag, "Password:", Exchange::LoginPassword(said)).await,
            Exchange::LoginPassword(user) => self.check(&user, &said).await.map(Some),
            Exchange::ScramFirst => match self.context.accounts.scram(&said, self.peer, "imap") {
                Ok(scram) => {
                    let challenge = scram.server_first().to_owned();
                    self.ask(tag, &challenge, Exchange::ScramFinal(Box::new(scram))).await
                }
                Err(error) => self.not_admitted(&error).await.map(Some),
            },
            Exchange::ScramFinal(scram) => match scram.finish(&said).await {
                Ok((login, last)) => self.ask(tag, &last, Exchange::ScramDone(Box::new(login))).await,
                Err(error) => self.not_admitted(&error).await.map(Some),
            },
            Exchange::ScramDone(login) => self.admit(*login).await.map(Some),
        }
    }

    async fn ask(&mut self, tag: &str, challenge: &str, exchange: Exchange) -> io::Result<Option<Done>> {
        self.output.line(format_args!("+ {}", STANDARD.encode(challenge)));
        self.output.send().await?;
        self.exchange = Some((tag.to_owned(), exchange));
        Ok(None)
    }

    async fn check(&mut self, user: &str, password: &str) -> io::Result<Done> {
        let accounts = self.context.accounts.clone();
        match accounts.login(user, password, self.peer, "imap").await {
            Ok(login) => self.admit(login).await,
            Err(error) => self.not_admitted(&error).await,
        }
    }

    async fn admit(&mut self, login: Login) -> io::Result<Done> {
        match self.context.mailboxes.account(&login.account.user).await {
            Ok(account) => {
                let changes = account.changes();
                self.user = Some(User { account, changes });
                let capability = self.capability();
                Ok(Done::Ok(format!("[CAPABILITY {capability}] welcome")))
            }
            Err(error) => Ok(super::refused(&error)),
        }
    }

    async fn not_admitted(&mut self, error: &LoginError) -> io::Result<Done> {
        self.failures += limits::IMAP_FAILURES_MAX / limits::AUTH_TRIES_MAX;
        Ok(match error {
            LoginError::Wrong => Done::No(format!("[AUTHENTICATIONFAILED] {error}")),
            LoginError::Scram(_) => Done::Bad(error.to_string()),
            LoginError::Throttled(_) => Done::No(format!("[LIMIT] {error}")),
            LoginError::Busy => Done::No(format!("[UNAVAILABLE] {error}")),
        })
    }
}
