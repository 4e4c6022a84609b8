//! What went wrong with a request, in the words that its sender is shown.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{BodyError, Response, reply};

/// An answer that is not what was asked for: status, what happened, and what to do about it.
#[derive(Debug)]
pub struct Fault {
    /// The status of the answer.
    pub status: StatusCode,
    /// What happened, as a sentence.
    pub what: String,
    /// What the reader can do, as a sentence; may be empty.
    pub advice: String,
    /// Fields that the answer carries.
    pub headers: Box<HeaderMap>,
    /// A finished answer of another type (an XML body of WebDAV), instead of the shell's.
    pub response: Option<Box<Response>>,
}

impl Fault {
    /// A fault in words.
    pub fn new(status: StatusCode, what: impl Into<String>) -> Fault {
        Fault { status, what: what.into(), advice: String::new(), headers: Box::default(), response: None }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(what: impl Into<String>) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, what)
    }

    /// 403: not for this account.
    pub fn forbidden(what: impl Into<String>) -> Fault {
        Fault::new(StatusCode::FORBIDDEN, what)
    }

    /// 404.
    pub fn not_found() -> Fault {
        Fault::new(StatusCode::NOT_FOUND, "There is nothing at this address.")
            .advise("It may have been moved or deleted; go back to the start page.")
    }

    /// 500: ours. The cause goes to the log, not to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Fault {
        tracing::error!(%cause, "a request failed");
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side.")
            .advise("Nothing was changed. The log of this appliance says what it was.")
    }

    /// 503 with Retry-After.
    pub fn busy(seconds: u64) -> Fault {
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, "Too much is going on at the moment.")
            .advise("Try again in a few seconds.")
            .with(header::RETRY_AFTER, &seconds.to_string())
    }

    /// Adds what the reader can do.
    pub fn advise(mut self, advice: impl Into<String>) -> Fault {
        self.advice = advice.into();
        self
    }

    /// Adds a field to the answer.
    pub fn with(mut self, name: HeaderName, value: &str) -> Fault {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// For programs: the words as plain text.
    pub fn into_text(self) -> Response {
        if let Some(response) = self.response {
            return *response;
        }
        let text = if self.advice.is_empty() { self.what } else { format!("{} {}", self.what, self.advice) };
        let mut response = reply(self.status, "text/plain; charset=utf-8", format!("{text}\n"));
        response.headers_mut().extend(*self.headers);
        response
    }
}

impl From<Response> for Fault {
    /// A finished answer that ends the handler early.
    fn from(response: Response) -> Fault {
        let mut fault = Fault::new(response.status(), "");
        fault.response = Some(Box::new(response));
        fault
    }
}

impl From<BodyError> for Fault {
    fn from(error: BodyError) -> Fault {
        let status = match error {
            BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Slow => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        };
        Fault::new(status, format!("{error}."))
    }
}
