//! Who looks at a page, and whether a form was really sent from one of ours.

use std::net::IpAddr;

use ring::hmac;

use crate::accounts::{self, Account, Login, LoginError};
use crate::http::{Fault, Form, Method, Request, StatusCode, encode, header, see_other};
use crate::run::Chassis;

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// Who.
    pub login: Login,
    /// The session's cookie, when there is one (not with HTTP Basic).
    token: Option<String>,
}

impl Visitor {
    /// The account.
    pub fn account(&self) -> &Account {
        &self.login.account
    }

    /// What a form must carry in the field `csrf`; belongs to this session alone. Masked anew each time, so that the
    /// length of a compressed page tells nothing about it. Empty without a session: HTTP Basic needs none.
    pub fn csrf(&self) -> String {
        let Some(secret) = self.csrf_secret() else { return String::new() };
        let mask = accounts::random::<16>();
        let masked = secret.iter().zip(mask).map(|(secret, mask)| secret ^ mask);
        mask.into_iter().chain(masked).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a form's field `csrf` is one that we gave to this session.
    pub fn gave(&self, csrf: &str) -> bool {
        let Some(secret) = self.csrf_secret() else { return true };
        let nibble = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
        let byte = |pair: &[u8]| Some(nibble(pair[0])? << 4 | nibble(pair[1])?);
        if csrf.len() != 64 {
            return false;
        }
        let bytes: Option<Vec<u8>> = csrf.as_bytes().chunks_exact(2).map(byte).collect();
        bytes.is_some_and(|bytes| {
            let (mask, masked) = bytes.split_at(16);
            let given: Vec<u8> = mask.iter().zip(masked).map(|(mask, masked)| mask ^ masked).collect();
            accounts::equal(&given, &secret)
        })
    }

    fn csrf_secret(&self) -> Option<[u8; 16]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.token.as_deref()?.as_bytes());
        hmac::sign(&key, b"csrf").as_ref()[..16].try_into().ok()
    }
}

impl Chassis {
    /// Who looks, if they are logged in by a session's cookie.
    pub fn visitor(&self, request: &Request) -> Option<Visitor> {
        let token = request.cookie(&self.cookie_name())?;
        let login = self.accounts().session(token, request.peer.ip(), &request.agent())?;
        Some(Visitor { login, token: Some(token.to_owned()) })
    }

    /// Who asks: by cookie or by HTTP Basic. Otherwise a fault that a handler returns as it is: to the login page for a
    /// browser's navigation, 401 with a challenge for a program.
    pub async fn require(&self, request: &Request) -> Result<Visitor, Fault> {
        if let Some(authorization) = request.header(header::AUTHORIZATION) {
            let from = request.peer.ip();
            let login = self.accounts().login_basic(authorization, from, &request.agent()).await;
            return login.map(|login| Visitor { login, token: None }).map_err(|error| self.refused(error));
        }
        if let Some(visitor) = self.visitor(request) {
            return Ok(visitor);
        }
        if request.wants_page() && request.method == Method::GET {
            let target = match request.query() {
                "" => request.path().to_owned(),
                query => format!("{}?{query}", request.path()),
            };
            return Err(see_other(&format!("/login?next={}", encode(&target))).into());
        }
        Err(self.refused(LoginError::Wrong))
    }

    /// Reads a form that changes something, and makes sure that it came from one of our own pages.
    pub async fn form(&self, request: &mut Request, visitor: &Visitor) -> Result<Form, Fault> {
        same_origin(request)?;
        let form = request.form().await?;
        if !visitor.gave(form.text("csrf")) {
            return Err(Fault::forbidden("This form is from another session.")
                .advise("Go back, reload the page and send it again."));
        }
        Ok(form)
    }

    /// The name of the session's cookie. Cookies do not know ports: the appliances of a household on one host share it,
    /// and so a login on one is a login on all; another household on the same host has another.
    pub(super) fn cookie_name(&self) -> String {
        let household = accounts::fingerprint(&self.authority_pem());
        format!("__Host-nymote-{}", &household[..8])
    }

    fn refused(&self, error: LoginError) -> Fault {
        match error {
            LoginError::Throttled(wait) => Fault::new(StatusCode::TOO_MANY_REQUESTS, sentence(&error))
                .with(header::RETRY_AFTER, &(wait.as_secs() + 1).to_string()),
            LoginError::Busy => Fault::busy(2),
            LoginError::Wrong | LoginError::Scram(_) => Fault::new(StatusCode::UNAUTHORIZED, "Log in first.")
                .advise("The password is your own or the one of this device.")
                .with(header::WWW_AUTHENTICATE, "Basic realm=\"nymote\", charset=\"UTF-8\""),
        }
    }
}

/// An error's text as a sentence of a page.
pub(super) fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first: String = letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// A browser says where a form comes from; what does not say it is no browser.
pub(super) fn same_origin(request: &Request) -> Result<(), Fault> {
    let foreign = || Fault::forbidden("This form was sent from another site.");
    if let Some(site) = request.header("sec-fetch-site")
        && !matches!(site, "same-origin" | "none")
    {
        return Err(foreign());
    }
    let Some(origin) = request.header(header::ORIGIN) else { return Ok(()) };
    let ours = request.host().is_some_and(|host| origin.strip_prefix("https://") == Some(host));
    if ours { Ok(()) } else { Err(foreign()) }
}

/// Where a login may lead: a path of our own, nothing that a browser reads as another host.
pub(super) fn safe_next(next: &str) -> &str {
    let own = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n']);
    if own { next } else { "/" }
}

/// An address as a page shows it.
pub(super) fn place_of(address: IpAddr) -> String {
    if address.is_loopback() { "this machine".to_owned() } else { address.to_canonical().to_string() }
}
