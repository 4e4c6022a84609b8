//! The WebDAV server without a socket: a request in, a response out. RFC 4918 classes 1 and 3, with CalDAV and CardDAV.

mod conditions;
mod export;
mod fault;
mod make;
mod media;
mod object;
mod offline;
mod parting;
mod principals;
mod properties;
mod propfind;
mod proppatch;
mod query;
mod report;
pub mod stream;
mod subject;
mod sync;
mod transfer;

pub use export::{export_book, export_calendar};
pub use fault::Fault;
pub use object::thing;
pub use offline::{Refused, refused_branch};
pub use propfind::zone_of_text;
pub use subject::{Access, At, Subject, mount_name};

use std::pin::Pin;

use bytes::Bytes;

use crate::household::{Caller, Household};
use crate::path::Place;

/// A request, its body already read.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target as it was sent: path and query.
    pub target: String,
    /// Fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

/// An answer.
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Fields.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

/// A body.
pub enum Body {
    /// In one piece.
    Whole(Bytes),
    /// Made while it is sent.
    Stream(Box<dyn Iterator<Item = String> + Send>),
}

/// The server over the trees of a household.
#[derive(Clone)]
pub struct Service {
    /// The trees.
    pub household: Household,
    /// The domain, for calendar user addresses.
    pub domain: String,
}

/// What OPTIONS says is possible.
const ALLOW: &str =
    "OPTIONS, GET, HEAD, POST, PUT, DELETE, COPY, MOVE, MKCOL, MKCALENDAR, PROPFIND, PROPPATCH, REPORT";
/// The classes of RFC 4918, 3744, 4791, 7809, 6352, 5689, 5995 that are served.
const CLASSES: &str =
    "1, 3, access-control, calendar-access, calendar-no-timezone, addressbook, extended-mkcol, add-member";

impl Request {
    /// A request made by hand.
    pub fn new(method: &str, target: &str, fields: &[(&str, &str)], body: impl Into<Bytes>) -> Request {
        let fields =
            fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_string())).collect();
        Request {
            method: method.into(),
            target: target.into(),
            fields,
            body: body.into(),
            now_ms: 1_700_000_000_000,
        }
    }

    /// The first field of that name (lower case).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// All fields of that name (lower case).
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Whether the answer may take long: a report, or a listing of a collection.
    pub fn is_long(&self) -> bool {
        match self.method.as_str() {
            "REPORT" => true,
            "PROPFIND" => self.get("depth") != Some("0"),
            "GET" | "HEAD" => self.target.ends_with('/'),
            _ => false,
        }
    }

    /// Seconds since 1970.
    pub fn now(&self) -> i64 {
        (self.now_ms / 1000) as i64
    }

    /// The media type of the body without parameters, in lower case.
    fn media_type(&self) -> Option<String> {
        let kind = self.get("content-type")?;
        Some(kind.split(';').next().unwrap_or(kind).trim().to_ascii_lowercase())
    }

    /// The body as XML, whatever it is said to be. What is none is 400; a new collection's body of a type that is not
    /// known is 415 (RFC 4918 section 9.3).
    fn xml_body(&self) -> Result<Option<crate::xml::read::Element>, Fault> {
        if self.body.is_empty() {
            return Ok(None);
        }
        let said_xml = self.media_type().is_none_or(|kind| kind.ends_with("/xml") || kind.ends_with("+xml"));
        match crate::xml::read::read(&self.body) {
            Err(_) if !said_xml && self.method.starts_with("MK") => {
                Err(Fault::new(415, "a body here is XML or not there"))
            }
            read => Ok(Some(read?)),
        }
    }
}

impl Response {
    /// An empty answer.
    pub fn new(status: u16) -> Response {
        Response { status, fields: Vec::new(), body: Body::Whole(Bytes::new()) }
    }

    /// Says which preferences were followed (RFC 7240 section 3).
    fn applied(&mut self, preferences: &[(bool, &str)]) {
        let said: Vec<&str> = preferences.iter().filter(|(yes, _)| *yes).map(|(_, name)| *name).collect();
        if !said.is_empty() {
            self.header("preference-applied", said.join(", ")).header("vary", "Prefer");
        }
    }

    /// An answer in XML.
    fn xml(status: u16, body: Body) -> Response {
        let mut response = Response::new(status);
        response.header("content-type", "application/xml; charset=utf-8");
        response.body = body;
        response
    }

    /// Adds a field.
    pub fn header(&mut self, name: &'static str, value: impl Into<String>) -> &mut Response {
        self.fields.push((name, value.into()));
        self
    }

    /// The body in one piece; for tests and small answers.
    pub fn into_bytes(self) -> Bytes {
        match self.body {
            Body::Whole(bytes) => bytes,
            Body::Stream(pieces) => pieces.collect::<String>().into(),
        }
    }

    /// The body's pieces, made as they are asked for.
    pub fn into_pieces(self) -> Box<dyn Iterator<Item = String> + Send> {
        match self.body {
            Body::Whole(bytes) => Box::new(std::iter::once(String::from_utf8_lossy(&bytes).into_owned())),
            Body::Stream(pieces) => pieces,
        }
    }

    /// Why it is a refusal, for people.
    pub fn words(self) -> String {
        if self.status == 412 {
            return "somebody changed it meanwhile; go back, reload, and make your change again".into();
        }
        let text = String::from_utf8_lossy(&self.into_bytes()).into_owned();
        let message =
            text.split("<n:message xmlns:n=\"urn:nymote\">").nth(1).and_then(|t| t.split('<').next());
        message.unwrap_or(&text).trim().to_string()
    }
}

impl Service {
    /// Answers a request of somebody who has logged in. Boxed: an async function is compiled anew into every crate that awaits
    /// it, and this one is the whole server.
    pub fn answer<'a>(
        &'a self,
        caller: &'a Caller,
        request: &'a Request,
    ) -> Pin<Box<dyn Future<Output = Response> + Send + 'a>> {
        Box::pin(self.answered(caller, request))
    }

    async fn answered(&self, caller: &Caller, request: &Request) -> Response {
        let answered = match self.household.prepare(&caller.account).await {
            Ok(()) => self.dispatch(caller, request).await,
            Err(error) => Err(error.into()),
        };
        let mut response = answered.unwrap_or_else(Fault::into_response);
        response.header("dav", CLASSES);
        if request.method == "HEAD" {
            if let Body::Whole(bytes) = &response.body {
                let length = bytes.len().to_string();
                response.header("content-length", length);
            }
            response.body = Body::Whole(Bytes::new());
        }
        response
    }

    async fn dispatch(&self, caller: &Caller, request: &Request) -> Result<Response, Fault> {
        let place = Place::parse(&request.target)?;
        if place == Place::WellKnown {
            return Ok(well_known());
        }
        match request.method.as_str() {
            "OPTIONS" => Ok(allowing()),
            "PROPFIND" => self.propfind(caller, request, &place),
            "REPORT" => self.report(caller, request, &place),
            "GET" | "HEAD" => self.get(caller, request, &place),
            "PUT" => self.put(caller, request, &place).await,
            "POST" => self.post(caller, request, &place).await,
            "DELETE" => self.delete(caller, request, &place).await,
            "PROPPATCH" => self.proppatch(caller, request, &place).await,
            "MKCOL" | "MKCALENDAR" => self.make(caller, request, &place).await,
            "COPY" | "MOVE" => self.transfer(caller, request, &place).await,
            _ => {
                let mut response =
                    Fault::new(405, format!("{} is not served", request.method)).into_response();
                response.header("allow", ALLOW);
                Ok(response)
            }
        }
    }
}

fn allowing() -> Response {
    let mut response = Response::new(200);
    response.header("allow", ALLOW);
    response
}

/// OPTIONS of the server as a whole, `OPTIONS *` (RFC 9110 section 9.3.7).
pub fn options() -> Response {
    let mut response = allowing();
    response.header("dav", CLASSES);
    response
}

/// RFC 6764: the service's root.
pub fn well_known() -> Response {
    let mut response = Response::new(301);
    response.header("location", "/dav/");
    response.header("cache-control", format!("max-age={}", crate::limits::WELL_KNOWN_MAX_AGE.as_secs()));
    response
}

#[cfg(test)]
mod offline_tests;
#[cfg(test)]
mod tests;
