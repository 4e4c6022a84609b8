//! Why a request is refused, and what the client is told: a status, and the precondition's element (RFC 4918 section 16).

use crate::calendar::series::Bound;
use crate::household::summary::BadObject;
use crate::path::BadPath;
use crate::server::{Body, Response};
use crate::text_match::BadFilter;
use crate::xml::read::BadXml;
use crate::xml::write::Writer;

/// A refusal.
#[derive(Debug)]
pub struct Fault {
    /// HTTP status.
    pub status: u16,
    /// The precondition, as an element with a prefix of the answer's root: `C:no-uid-conflict`.
    pub condition: Option<&'static str>,
    /// What stands inside the condition's element, as XML.
    pub inside: String,
    /// The cause in words.
    pub why: String,
}

impl Fault {
    /// A status and a reason.
    pub fn new(status: u16, why: impl Into<String>) -> Fault {
        Fault { status, condition: None, inside: String::new(), why: why.into() }
    }

    /// A precondition that is not met.
    pub fn condition(status: u16, condition: &'static str, why: impl Into<String>) -> Fault {
        Fault { condition: Some(condition), ..Fault::new(status, why) }
    }

    /// With a href in the condition's element.
    pub fn with_href(mut self, href: &str) -> Fault {
        let mut writer = Writer::default();
        writer.href(href);
        self.inside = writer.out;
        self
    }

    /// 404.
    pub fn not_found() -> Fault {
        Fault::new(404, "there is nothing at this address")
    }

    /// 403 for what belongs to somebody else.
    pub fn not_yours() -> Fault {
        Fault::condition(403, "D:need-privileges", "this belongs to somebody else")
    }

    /// A bad object, for a calendar or a book.
    pub fn object(bad: &BadObject, in_calendar: bool) -> Fault {
        let condition = match (bad, in_calendar) {
            (BadObject::Data(_), true) => "C:valid-calendar-data",
            (BadObject::Resource(_), true) => "C:valid-calendar-object-resource",
            (BadObject::Component(_), true) => "C:supported-calendar-component",
            (BadObject::Instances, true) => "C:max-instances",
            (BadObject::Attendees, true) => "C:max-attendees-per-instance",
            (BadObject::TooLarge, true) => "C:max-resource-size",
            (BadObject::TooLarge, false) => "R:max-resource-size",
            (_, false) => "R:valid-address-data",
        };
        Fault::condition(403, condition, bad.to_string())
    }

    /// A bad filter, for a calendar or a book.
    pub fn filter(bad: &BadFilter, in_calendar: bool) -> Fault {
        let condition = match (bad, in_calendar) {
            (BadFilter::Invalid(_), true) => "C:valid-filter",
            (BadFilter::Invalid(_), false) => "R:supported-filter",
            (BadFilter::Unsupported(_), true) => "C:supported-calendar-data",
            (BadFilter::Unsupported(_), false) => "R:supported-address-data",
            (BadFilter::Collation(_), true) => "C:supported-collation",
            (BadFilter::Collation(_), false) => "R:supported-collation",
        };
        Fault::condition(403, condition, bad.to_string())
    }

    /// The answer.
    pub fn into_response(self) -> Response {
        let mut response = match self.condition {
            None => {
                let mut response = Response::new(self.status);
                response.header("content-type", "text/plain; charset=utf-8");
                response.body = Body::Whole(format!("{}\n", self.why).into());
                response
            }
            Some(condition) => {
                let mut writer = Writer::document("D:error");
                writer.raw("<").raw(condition).raw(">").raw(&self.inside).raw("</").raw(condition).raw(">");
                writer
                    .raw("<n:message xmlns:n=\"urn:nymote\">")
                    .text(&self.why)
                    .raw("</n:message></D:error>");
                let mut response = Response::new(self.status);
                response.header("content-type", "application/xml; charset=utf-8");
                response.body = Body::Whole(writer.out.into());
                response
            }
        };
        if self.status == 503 {
            response.header("retry-after", "5");
        }
        response
    }
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Fault {
        use store::Error::*;
        let status = match &error {
            Full { .. } => return Fault::condition(507, "D:sufficient-disk-space", error.to_string()),
            ReadOnly { .. } | Closed => 503,
            Stale { .. } | RefMoved { .. } => 503,
            BadPath { .. } | BadName { .. } => 403,
            TooLarge { .. } => 413,
            WrongKind { .. } | Exists { .. } => 409,
            _ => 500,
        };
        Fault::new(status, error.to_string())
    }
}

impl From<BadXml> for Fault {
    fn from(error: BadXml) -> Fault {
        match error {
            BadXml::Dtd => Fault::condition(403, "D:no-external-entities", error.to_string()),
            BadXml::TooLarge => Fault::new(413, error.to_string()),
            BadXml::Malformed(_) => Fault::new(400, error.to_string()),
        }
    }
}

impl From<BadPath> for Fault {
    fn from(error: BadPath) -> Fault {
        Fault::new(if error == BadPath::Malformed { 400 } else { 404 }, error.to_string())
    }
}

impl From<Bound> for Fault {
    fn from(error: Bound) -> Fault {
        Fault::condition(403, "D:number-of-matches-within-limits", error.to_string())
    }
}
