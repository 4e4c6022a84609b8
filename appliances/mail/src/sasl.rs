//! SASL for SMTP and IMAP: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 (RFC 7677), against the accounts of the chassis.

use chassis::accounts::{Accounts, Login, LoginError, ScramLogin};
use std::net::IpAddr;

/// The mechanisms, the best first.
pub const MECHANISMS: [&str; 3] = ["SCRAM-SHA-256", "PLAIN", "LOGIN"];

/// What comes next in an exchange.
#[derive(Debug)]
pub enum Next {
    /// Send this and wait for the response.
    Challenge(Vec<u8>),
    /// The client is who it says.
    Done(Login),
    /// It is not.
    Failed,
    /// Try later: too many failures or too many at once.
    Later,
}

/// An exchange under way.
#[derive(Debug)]
pub struct Exchange {
    accounts: Accounts,
    from: IpAddr,
    with: &'static str,
    state: State,
}

#[derive(Debug)]
enum State {
    Plain,
    LoginUser,
    LoginPassword(String),
    ScramFirst,
    ScramFinal(Box<ScramLogin>),
    ScramEnd(Box<Login>),
    Ended,
}

impl Exchange {
    /// Begins; `None` for a mechanism that is not offered. `with` is the protocol's name.
    pub fn new(accounts: &Accounts, mechanism: &str, from: IpAddr, with: &'static str) -> Option<Exchange> {
        let state = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => State::Plain,
            "LOGIN" => State::LoginUser,
            "SCRAM-SHA-256" => State::ScramFirst,
            _ => return None,
        };
        Some(Exchange { accounts: accounts.clone(), from, with, state })
    }

    /// The first step, with the initial response when there is one.
    pub async fn start(&mut self, initial: Option<Vec<u8>>) -> Next {
        match (initial, &self.state) {
            (Some(response), _) => self.respond(response).await,
            (None, State::LoginUser) => Next::Challenge(b"Username:".to_vec()),
            (None, _) => Next::Challenge(Vec::new()),
        }
    }

    /// The client's response.
    pub async fn respond(&mut self, response: Vec<u8>) -> Next {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Plain => self.plain(&response).await,
            State::LoginUser => {
                let Ok(user) = String::from_utf8(response) else { return Next::Failed };
                self.state = State::LoginPassword(user);
                Next::Challenge(b"Password:".to_vec())
            }
            State::LoginPassword(user) => match String::from_utf8(response) {
                Ok(password) => self.password(&user, &password).await,
                Err(_) => Next::Failed,
            },
            State::ScramFirst => {
                let begun =
                    String::from_utf8(response).ok().map(|t| self.accounts.scram(&t, self.from, self.with));
                match begun {
                    Some(Ok(scram)) => {
                        let first = scram.server_first().as_bytes().to_vec();
                        self.state = State::ScramFinal(Box::new(scram));
                        Next::Challenge(first)
                    }
                    Some(Err(error)) => refused(&error),
                    None => Next::Failed,
                }
            }
            State::ScramFinal(scram) => {
                let Ok(text) = String::from_utf8(response) else { return Next::Failed };
                match scram.finish(&text).await {
                    Ok((login, server_last)) => {
                        self.state = State::ScramEnd(Box::new(login));
                        Next::Challenge(server_last.into_bytes())
                    }
                    Err(error) => refused(&error),
                }
            }
            // The client acknowledges the server's proof with an empty response.
            State::ScramEnd(login) => Next::Done(*login),
            State::Ended => Next::Failed,
        }
    }

    async fn plain(&self, response: &[u8]) -> Next {
        let mut parts = response.split(|b| *b == 0).map(std::str::from_utf8);
        let (Some(Ok(authzid)), Some(Ok(user)), Some(Ok(password)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Next::Failed;
        };
        if !authzid.is_empty() && !authzid.eq_ignore_ascii_case(user) {
            return Next::Failed;
        }
        self.password(user, password).await
    }

    async fn password(&self, user: &str, password: &str) -> Next {
        match self.accounts.login(user, password, self.from, self.with).await {
            Ok(login) => Next::Done(login),
            Err(error) => refused(&error),
        }
    }
}

fn refused(error: &LoginError) -> Next {
    match error {
        LoginError::Wrong | LoginError::Scram(_) => Next::Failed,
        LoginError::Throttled(_) | LoginError::Busy => Next::Later,
    }
}
