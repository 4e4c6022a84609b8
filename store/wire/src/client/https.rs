//! HTTP and HTTPS for the client: ureq, with rustls and ring.

use std::io::Read;
use std::time::Duration;

use ureq::ResponseExt;
use ureq::config::RedirectAuthHeaders;

use super::{Answer, ClientError, Transport};

/// Requests to one repository's address.
pub struct HttpTransport {
    agent: ureq::Agent,
    /// Without a slash at its end, and without name and password.
    base: String,
    authorization: Option<String>,
}

impl HttpTransport {
    /// For an address `http(s)://[name[:password]@]host[:port]/path`.
    pub fn new(address: &str) -> Result<HttpTransport, ClientError> {
        HttpTransport::trusting(address, &[])
    }

    /// The same; where certificates are given (PEM), the server's must lead to one of them and not to the usual ones.
    pub fn trusting(address: &str, certificates: &[u8]) -> Result<HttpTransport, ClientError> {
        let bad = || ClientError::Address(address.to_owned());
        let (scheme, rest) = address.split_once("://").ok_or_else(bad)?;
        if scheme != "http" && scheme != "https" {
            return Err(bad());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        if host.is_empty() {
            return Err(bad());
        }
        let base = format!("{scheme}://{host}/{}", path.trim_end_matches('/'));
        let roots: Vec<_> = ureq::tls::parse_pem(certificates)
            .filter_map(|item| match item {
                Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        let tls = match roots.is_empty() {
            true => ureq::tls::TlsConfig::default(),
            false => ureq::tls::TlsConfig::builder().root_certs(roots.into()).build(),
        };
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(30)))
            // A host may count objects for long before it says anything; once it talks it must not fall silent.
            .timeout_recv_response(Some(Duration::from_secs(600)))
            .timeout_per_read(Some(Duration::from_secs(600)))
            .timeout_per_write(Some(Duration::from_secs(120)))
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("git/2.0 (nymote ", env!("CARGO_PKG_VERSION"), ")"))
            .build()
            .new_agent();
        let mut transport =
            HttpTransport { agent, base: base.trim_end_matches('/').to_owned(), authorization: None };
        if let Some(login) = login {
            let (name, password) = login.split_once(':').unwrap_or((login, ""));
            transport.log_in(&percent_decode(name), &percent_decode(password));
        }
        Ok(transport)
    }

    /// Sends this name and password with every request.
    pub fn log_in(&mut self, name: &str, password: &str) {
        self.authorization = Some(format!("Basic {}", base64(format!("{name}:{password}").as_bytes())));
    }

    /// Where the first request was redirected to, the others go at once, as Git does (`http.followRedirects=initial`).
    fn follow(&mut self, uri: &str, path: &str) {
        let Some(base) = uri.strip_suffix(path).filter(|base| *base != self.base) else { return };
        // A name and a password are for the host that they were given for.
        let host = |address: &str| address.split('/').nth(2).unwrap_or_default().to_owned();
        if host(base) != host(&self.base) || (self.base.starts_with("https:") && !base.starts_with("https:"))
        {
            self.authorization = None;
        }
        self.base = base.to_owned();
    }

    fn answer(
        &self,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer, ClientError> {
        let response = sent.map_err(|error| {
            let host = self.base.split('/').nth(2).unwrap_or(&self.base).to_owned();
            ClientError::Unreachable { host, why: error.to_string() }
        })?;
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("").to_owned();
        let status = response.status().as_u16();
        Ok(Answer { status, content_type, body: Box::new(response.into_body().into_reader()) })
    }
}

impl Transport for HttpTransport {
    fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, ClientError> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let sent = request.call();
        if let Ok(response) = &sent {
            self.follow(&response.get_uri().to_string(), path);
        }
        self.answer(sent)
    }

    fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &mut dyn Read,
    ) -> Result<Answer, ClientError> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut body = body;
        self.answer(request.send(ureq::SendBody::from_reader(&mut body)))
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digit = |offset: usize| bytes.get(at + offset).and_then(|byte| (*byte as char).to_digit(16));
        match (bytes[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// RFC 4648 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63] as char;
            out.push(if place <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4648_10_test_vectors() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn addresses() {
        let transport = HttpTransport::new("https://me:p%40ss@example.org:8443/a/b.git/").unwrap();
        assert_eq!(transport.base, "https://example.org:8443/a/b.git");
        assert_eq!(transport.authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        for bad in ["git@host:repo", "ssh://host/x", "https://", "file:///x"] {
            assert!(HttpTransport::new(bad).is_err(), "{bad}");
        }
    }
}
