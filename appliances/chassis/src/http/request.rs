//! A request as a handler sees it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, header};

use super::body::Leftover;
use super::{BodyError, Fault, Form, RequestBody, decode};
use crate::limits;

/// A request: head, body, and where it came from.
#[derive(Debug)]
pub struct Request {
    /// The method, WebDAV's included.
    pub method: Method,
    /// The fields of its head.
    pub headers: HeaderMap,
    /// What it carries.
    pub body: RequestBody,
    /// The other end of the connection.
    pub peer: SocketAddr,
    target: http::Uri,
    matched: Vec<(&'static str, String)>,
}

impl Request {
    pub(crate) fn from_hyper(
        request: hyper::Request<hyper::body::Incoming>,
        peer: SocketAddr,
        back: Leftover,
    ) -> Request {
        let (head, body) = request.into_parts();
        Request {
            method: head.method,
            headers: head.headers,
            body: RequestBody::network(body, back),
            peer,
            target: head.uri,
            matched: Vec::new(),
        }
    }

    /// A request made by hand, for tests of handlers without a socket.
    pub fn made(method: Method, target: &str, body: impl Into<Bytes>) -> Request {
        Request {
            method,
            headers: HeaderMap::new(),
            body: RequestBody::from(body.into()),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            target: target.parse().unwrap_or_default(),
            matched: Vec::new(),
        }
    }

    /// Whether its target is one that may be answered: hyper cuts a fragment off, which `watch` makes visible.
    pub(crate) fn has_target(&self) -> bool {
        super::watch::is_path(self.path())
    }

    /// The path as it was sent, percent-encoded.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The query as it was sent, without the question mark.
    pub fn query(&self) -> &str {
        self.target.query().unwrap_or_default()
    }

    /// The fields of the query.
    pub fn query_form(&self) -> Form {
        Form::parse(self.query().as_bytes())
    }

    /// A header field as text; `None` when it is missing or not ASCII.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The host (and port) that the client meant: HTTP/2's authority or the Host field.
    pub fn host(&self) -> Option<&str> {
        self.target.authority().map(|authority| authority.as_str()).or_else(|| self.header(header::HOST))
    }

    /// The part of the path that matched `{name}` or `{*name}` in the route, decoded. Empty when there is no such part.
    pub fn matched(&self, name: &str) -> &str {
        self.matched.iter().find(|(one, _)| *one == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn set_matched(&mut self, matched: Vec<(&'static str, String)>) {
        self.matched = matched;
    }

    /// Reads the whole body as a form.
    pub async fn form(&mut self) -> Result<Form, Fault> {
        let bytes = self.body.all(limits::FORM_BYTES_MAX).await?;
        Ok(Form::parse(&bytes))
    }

    /// Reads the whole body, at most `limit` bytes.
    pub async fn bytes(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        self.body.all(limit).await
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(one, _)| *one == name)
            .map(|(_, value)| value)
    }

    /// True when a person looks at the answer: a browser's navigation, not a program.
    pub fn wants_page(&self) -> bool {
        self.header(header::ACCEPT).is_some_and(|accept| accept.contains("text/html"))
    }

    /// The program behind the request, in words for a page: `Firefox on Linux`.
    pub fn agent(&self) -> String {
        agent_in_words(self.header(header::USER_AGENT).unwrap_or_default())
    }

    /// The segments of the path, decoded; `None` when one of them is a trick (`..`, an encoded slash, a NUL, no UTF-8).
    pub fn segments(&self) -> Option<Vec<String>> {
        self.path().trim_start_matches('/').split('/').map(segment).collect()
    }
}

/// One decoded segment, if it is a plain name.
pub(crate) fn segment(raw: &str) -> Option<String> {
    let text = String::from_utf8(decode(raw.as_bytes())).ok()?;
    let trick = text == ".." || text == "." || text.contains(['/', '\0']);
    (!trick).then_some(text)
}

/// What people call the program that sent this User-Agent.
pub fn agent_in_words(agent: &str) -> String {
    let known = |table: &[(&str, &'static str)]| {
        table.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    let program = known(PROGRAMS);
    match (program, known(SYSTEMS)) {
        (Some(program), Some(system)) => format!("{program} on {system}"),
        (Some(program), None) => program.to_owned(),
        (None, _) => {
            let first: String =
                agent.chars().take_while(|c| !c.is_whitespace() && !c.is_control()).take(40).collect();
            if first.is_empty() { "An unnamed program".to_owned() } else { first }
        }
    }
}

/// Marks in User-Agent, the most telling first: every browser also claims to be Mozilla and Safari.
const PROGRAMS: &[(&str, &str)] = &[
    ("Thunderbird/", "Thunderbird"),
    ("DAVx5", "DAVx5"),
    ("DAVdroid", "DAVx5"),
    ("dataaccessd", "Apple Calendar and Contacts"),
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("HeadlessChrome/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("git/", "git"),
    ("vdirsyncer", "vdirsyncer"),
];
const SYSTEMS: &[(&str, &str)] = &[
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("iOS/", "iOS"),
    ("Android", "Android"),
    ("Mac OS X", "macOS"),
    ("macOS", "macOS"),
    ("Windows", "Windows"),
    ("Linux", "Linux"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_tricks_have_no_segments() {
        for path in ["/a/../b", "/a/%2e%2e/b", "/a%2fb", "/a/%00", "/%ff", "/."] {
            assert_eq!(Request::made(Method::GET, path, "").segments(), None, "{path}");
        }
        let plain = Request::made(Method::GET, "/dav/al%20ice/", "").segments().unwrap();
        assert_eq!(plain, ["dav", "al ice", ""]);
    }

    #[test]
    fn cookies_are_found_among_others() {
        let mut request = Request::made(Method::GET, "/", "");
        request.headers.append(header::COOKIE, "a=1; nymote=xyz=; b=2".parse().unwrap());
        assert_eq!(request.cookie("nymote"), Some("xyz="));
        assert_eq!(request.cookie("mote"), None);
    }

    #[test]
    fn agents_read_like_people_say_them() {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
        assert_eq!(agent_in_words(firefox), "Firefox on Linux");
        assert_eq!(agent_in_words("khal/0.11 x"), "khal/0.11");
        assert_eq!(agent_in_words(""), "An unnamed program");
    }
}
