//! SCRAM-SHA-256 on the server's side (RFC 5802, RFC 7677): messages in, messages out.
//!
//! All passwords of an account share one salt, so that one exchange can be for any of them: the proof is checked against
//! each. Channel binding is not offered ("n" and "y" flags are taken, "p" is refused).

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use super::secret;
use crate::limits;

/// What the server keeps of a password: it can check a proof with it, and prove that it is the server.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScramKeys {
    /// SHA-256 of the client's key, in base64.
    pub stored: String,
    /// The server's key, in base64.
    pub server: String,
}

impl ScramKeys {
    /// Derives the keys of a password as it is given.
    pub fn derive(password: &str, salt: &[u8]) -> ScramKeys {
        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(limits::SCRAM_ROUNDS).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), &mut salted);
        let client_key = sign(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, client_key.as_ref());
        let server = sign(&salted, b"Server Key");
        ScramKeys { stored: STANDARD.encode(stored), server: STANDARD.encode(server) }
    }
}

/// Why an exchange ends without a login.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScramError {
    /// The client's message is not what RFC 5802 section 7 says.
    #[error("not a SCRAM message: {0}")]
    Malformed(&'static str),
    /// The client wants channel binding, which is not offered.
    #[error("channel binding is not offered")]
    ChannelBinding,
    /// The proof fits none of the passwords.
    #[error("the proof is wrong")]
    Wrong,
}

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    /// Who wants to log in (`=2C` and `=3D` undone).
    pub user: String,
    /// Whom to act as; empty for oneself.
    pub authzid: String,
    gs2: String,
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// Reads `n,,n=user,r=nonce`.
    pub fn parse(message: &str) -> Result<ClientFirst, ScramError> {
        let malformed = ScramError::Malformed;
        let mut parts = message.splitn(3, ',');
        let (flag, authzid) =
            (parts.next().unwrap_or_default(), parts.next().ok_or(malformed("no GS2 header"))?);
        let bare = parts.next().ok_or(malformed("no message after the GS2 header"))?;
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(malformed("unknown GS2 flag")),
        }
        let mut fields = bare.split(',');
        let user =
            fields.next().and_then(|field| field.strip_prefix("n=")).ok_or(malformed("no user name"))?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(malformed("no nonce"))?;
        if nonce.is_empty() || nonce.len() > 256 || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed("a strange nonce"));
        }
        let authzid = match authzid.strip_prefix("a=") {
            Some(name) => unescape(name)?,
            None if authzid.is_empty() => String::new(),
            None => return Err(malformed("a strange authorisation identity")),
        };
        Ok(ClientFirst {
            user: unescape(user)?,
            authzid,
            gs2: message[..message.len() - bare.len()].to_owned(),
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
        })
    }
}

/// An exchange between the server's first message and the client's last.
#[derive(Debug, Clone)]
pub struct Exchange {
    first: ClientFirst,
    nonce: String,
    server_first: String,
}

impl Exchange {
    /// The server's first message, with this salt and a nonce that `random` extends.
    pub fn begin(first: ClientFirst, salt: &[u8], random: &str) -> Exchange {
        let nonce = format!("{}{random}", first.nonce);
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(salt), limits::SCRAM_ROUNDS);
        Exchange { first, nonce, server_first }
    }

    /// What to send to the client.
    pub fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Checks the client's last message against each candidate; gives the candidate's place and the server's last message.
    /// Every candidate is tried, so that the time does not tell which one fitted.
    pub fn finish(&self, message: &str, candidates: &[ScramKeys]) -> Result<(usize, String), ScramError> {
        let malformed = ScramError::Malformed;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(malformed("no proof"))?;
        let proof = STANDARD.decode(proof).map_err(|_| malformed("the proof is not base64"))?;
        let mut fields = without_proof.split(',');
        let binding =
            fields.next().and_then(|field| field.strip_prefix("c=")).ok_or(malformed("no binding"))?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(malformed("no nonce"))?;
        if STANDARD.encode(&self.first.gs2) != binding
            || !secret::equal(nonce.as_bytes(), self.nonce.as_bytes())
        {
            return Err(ScramError::Wrong);
        }
        let auth_message = format!("{},{},{without_proof}", self.first.bare, self.server_first);
        let mut found = None;
        for (place, keys) in candidates.iter().enumerate() {
            if let Some(answer) = checked(keys, &proof, auth_message.as_bytes()) {
                found = found.or(Some((place, answer)));
            }
        }
        found.ok_or(ScramError::Wrong)
    }
}

fn checked(keys: &ScramKeys, proof: &[u8], auth_message: &[u8]) -> Option<String> {
    let stored = STANDARD.decode(&keys.stored).ok()?;
    let signature = sign(&stored, auth_message);
    if proof.len() != signature.as_ref().len() {
        return None;
    }
    let client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    let again = digest::digest(&digest::SHA256, &client_key);
    let server = sign(&STANDARD.decode(&keys.server).ok()?, auth_message);
    secret::equal(again.as_ref(), &stored).then(|| format!("v={}", STANDARD.encode(server)))
}

fn sign(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

fn unescape(name: &str) -> Result<String, ScramError> {
    let mut plain = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('=') {
        plain.push_str(before);
        plain.push(match after.get(..2) {
            Some("2C") => ',',
            Some("3D") => '=',
            _ => return Err(ScramError::Malformed("a strange escape in the user name")),
        });
        rest = &after[2..];
    }
    plain.push_str(rest);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7677_3_example_exchange() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive("pencil", &salt);
        let first = ClientFirst::parse("n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(first.user, "user");
        let exchange = Exchange::begin(first, &salt, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(
            exchange.server_first(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let other = ScramKeys::derive("pen", &salt);
        let (place, answer) = exchange.finish(last, &[other.clone(), keys]).unwrap();
        assert_eq!((place, answer.as_str()), (1, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert_eq!(exchange.finish(last, &[other]), Err(ScramError::Wrong));
    }

    #[test]
    fn rfc5802_7_malformed_messages() {
        for bad in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,r=x",
            "n,,n=u",
            "n,,n=u,r=",
            "x,,n=u,r=a",
            "n,b,n=u,r=a",
            "n,,n=a=2,r=x",
        ] {
            assert!(matches!(ClientFirst::parse(bad), Err(ScramError::Malformed(_))), "{bad}");
        }
        assert_eq!(ClientFirst::parse("p=tls-unique,,n=u,r=a"), Err(ScramError::ChannelBinding));
        assert_eq!(ClientFirst::parse("y,a=x=2Cy,n=a=3Db,r=a").unwrap().user, "a=b");
    }
}
