//! HTTP/1.1 and HTTP/2 over TLS: a router by method and path that lets WebDAV through, bounded bodies, time-outs.
//!
//! A handler takes a [`Request`] and returns a [`Response`] or a [`Fault`]; the web shell turns a fault into a page that
//! says what happened and what to do, or into plain text for a program.

mod body;
mod compress;
mod fault;
mod form;
#[cfg(feature = "http2")]
mod hpack;
mod look;
mod request;
mod router;
mod server;
mod watch;

pub use body::{Body, BodyError, BodySender, RequestBody};
pub(crate) use compress::{accepts_gzip, compressed, gzip};
pub use fault::Fault;
pub use form::{Form, decode, encode};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use request::Request;
pub use router::{Handler, Router};
pub(crate) use server::serve;

/// What a handler answers.
pub type Response = http::Response<Body>;
/// What a handler returns.
pub type Answer = Result<Response, Fault>;

/// An answer of this type and content.
pub fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An empty answer.
pub fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// `303 See Other`: what a form's POST ends with, so that reloading does not send it again.
pub fn see_other(path: &str) -> Response {
    let mut response = status(StatusCode::SEE_OTHER);
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    response
}
