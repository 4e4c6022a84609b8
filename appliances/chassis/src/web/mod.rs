//! The web shell: the frame around every page, logging in and out, devices, and errors in words.
//!
//! An appliance gives routes and fragments of HTML; the shell gives everything around them. It needs no JavaScript.

mod assets;
mod devices;
mod login;
mod page;
mod qr;
mod visitor;

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

pub use assets::Asset;
pub use page::{Activity, NavItem, Page};
pub use qr::svg as qr_svg;
pub use visitor::Visitor;

use crate::http::{
    Answer, Body, Fault, HeaderName, HeaderValue, Method, Request, Response, Router, StatusCode,
    accepts_gzip, compressed, header, reply,
};
use crate::metrics::Number;
use crate::run::Chassis;

/// Routes, and what stands around their answers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    chassis: Chassis,
    router: Router,
    /// Answers by class of status, from 1xx to 5xx.
    answered: [Number; 5],
}

impl Shell {
    pub(crate) fn new(chassis: Chassis, routes: Router) -> Shell {
        let router = routes.and(own_routes(&chassis));
        let help = "HTTP requests answered, by class of status.";
        let answered = ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .map(|class| chassis.metrics().counter("nymote_http_requests_total", help, &[("status", class)]));
        Shell(Arc::new(Inner { chassis, router, answered }))
    }

    /// Answers a request: the route's answer or a fault in words, with the fields that keep a browser safe.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let started = Instant::now();
        let chassis = &self.0.chassis;
        let (method, path, peer) = (request.method.clone(), request.path().to_owned(), request.peer);
        let (page, gzip) = (request.wants_page(), accepts_gzip(&request.headers));
        let reader = page.then(|| chassis.visitor(&request)).flatten();
        let mut response = match self.route(request).await {
            Ok(response) => response,
            Err(fault) if page && fault.response.is_none() => page::fault(chassis, reader.as_ref(), fault),
            Err(fault) => fault.into_text(),
        };
        harden(&mut response);
        let mut response = compressed(response, gzip).await;
        if method == Method::HEAD {
            without_body(&mut response);
        }
        let status = response.status().as_u16();
        self.0.answered[usize::from(status / 100).clamp(1, 5) - 1].increment();
        let elapsed_ms = started.elapsed().as_millis() as u64;
        tracing::debug!(%method, path, %peer, status, elapsed_ms, "request");
        response
    }

    async fn route(&self, request: Request) -> Answer {
        if request.has_target() {
            return self.0.router.answer(request).await;
        }
        Err(Fault::bad_request("The address holds a fragment (#) or a quotation mark.")
            .advise("Nothing was done. Write them as %23 and %22 (RFC 3986)."))
    }
}

fn own_routes(chassis: &Chassis) -> Router {
    let (health, metrics, authority) = (chassis.clone(), chassis.clone(), chassis.clone());
    Router::new()
        .method(Method::OPTIONS, "*", |_| {
            let response = http::Response::builder().header(header::ALLOW, "OPTIONS, GET, HEAD, POST");
            ready(response.body(Body::empty()).map_err(Fault::internal))
        })
        .get("/healthz", move |_| ready(healthz(&health)))
        .get("/metrics", move |request| {
            let chassis = metrics.clone();
            async move { numbers(chassis, request).await }
        })
        .get("/ca.pem", move |_| {
            let pem = authority.authority_pem();
            ready(Ok(reply(StatusCode::OK, "application/x-x509-ca-cert", pem)))
        })
        .and(assets::routes())
        .and(login::routes(chassis))
        .and(devices::routes(chassis))
        .and(page::start_route(chassis))
}

fn ready(answer: Answer) -> std::future::Ready<Answer> {
    std::future::ready(answer)
}

/// Whether this appliance can do its work, for watchers and load balancers: 200, or 503 while it stops. With a full disk it
/// still answers what is asked; `full` says so.
fn healthz(chassis: &Chassis) -> Answer {
    let stopping = chassis.stop().is_asked();
    let status = if stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let text = json!({"appliance": chassis.identity().name, "healthy": !stopping, "full": chassis.store().is_full()}).to_string();
    Ok(reply(status, "application/json", text + "\n"))
}

/// The numbers tell how many mails a household gets: for its administrators only.
async fn numbers(chassis: Chassis, request: Request) -> Answer {
    let visitor = chassis.require(&request).await?;
    if !visitor.account().admin {
        return Err(Fault::forbidden("The metrics are for administrators."));
    }
    Ok(reply(StatusCode::OK, "text/plain; version=0.0.4", chassis.metrics().text()))
}

/// HEAD: the fields of the answer that GET would get, and no body (RFC 9110 section 9.3.2). HTTP/2 clients take one for a
/// breach of the protocol.
fn without_body(response: &mut Response) {
    let length = http_body::Body::size_hint(response.body()).exact().filter(|length| *length > 0);
    if let Some(length) = length {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
}

/// Fields that every answer carries, unless the handler set them itself.
fn harden(response: &mut Response) {
    for (name, value) in SAFE {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Nothing from elsewhere, no inline script or style, no frames around us.
const SAFE: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

#[cfg(test)]
mod tests;
