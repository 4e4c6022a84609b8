//! The server on the chassis: its routes, who asks, and answers that are sent while they are made.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use chassis::Chassis;
use chassis::aside::{aside, on_thread};
use chassis::http::{
    Answer, Body as HttpBody, Fault, HeaderName, HeaderValue, Method, Request as HttpRequest, Router,
    StatusCode,
};

use crate::activity::Activity;
use crate::household::{Caller, Household};
use crate::limits::{FILE_BYTES_MAX, LONG_AT_ONCE, OBJECT_BYTES_MAX, XML_BODY_BYTES_MAX};
use crate::pages::Imports;
use crate::server::{Body, Request, Response, Service};

/// What the pages and the WebDAV routes of an appliance share.
#[derive(Clone)]
pub struct Site {
    /// The chassis.
    pub chassis: Chassis,
    /// The WebDAV server.
    pub service: Service,
    /// Who read what, for the activity page.
    pub activity: Arc<Activity>,
    /// Files that are taken in.
    pub imports: Arc<Imports>,
}

impl Site {
    /// Over the chassis's store.
    pub fn new(chassis: &Chassis) -> Site {
        let accounts = chassis.accounts().clone();
        let names = move || accounts.all().iter().map(|account| account.user.clone()).collect();
        let household = Household::new(chassis.store().clone(), names);
        let service = Service { household, domain: chassis.domain().to_string() };
        Site { chassis: chassis.clone(), service, activity: Arc::default(), imports: Arc::default() }
    }

    /// The trees.
    pub fn household(&self) -> &Household {
        &self.service.household
    }

    /// Routes of WebDAV: the trees, principals, discovery from the root, public links.
    pub fn routes(&self) -> Router {
        let mut router = Router::new();
        for pattern in ["/dav/{*rest}", "/principals/{*rest}"] {
            let site = self.clone();
            router = router.any(pattern, move |request| {
                let site = site.clone();
                async move { site.dav(request).await }
            });
        }
        for name in ["PROPFIND", "OPTIONS", "REPORT"] {
            let site = self.clone();
            let Ok(method) = Method::from_bytes(name.as_bytes()) else { continue };
            router = router.method(method, "/", move |request| {
                let site = site.clone();
                async move { site.dav(request).await }
            });
        }
        router = router.method(Method::OPTIONS, "*", |_| async { to_http(crate::server::options()) });
        for pattern in ["/.well-known/caldav", "/.well-known/carddav"] {
            router = router.any(pattern, |_| async { to_http(crate::server::well_known()) });
        }
        for pattern in ["/calendar.git/{*rest}", "/contacts.git/{*rest}"] {
            let site = self.clone();
            router = router.any(pattern, move |request| {
                let site = site.clone();
                async move { crate::git::answer(&site, request).await }
            });
        }
        let site = self.clone();
        router.get("/public/{link}", move |request| {
            let site = site.clone();
            async move { site.public(&request) }
        })
    }

    async fn dav(&self, request: HttpRequest) -> Answer {
        let visitor = self.chassis.require(&request).await?;
        // A browser's cookie may read; what changes something carries the name and password itself, so that no other
        // site can make a browser do it.
        let reads = matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "PROPFIND" | "REPORT");
        if !reads && request.header("authorization").is_none() {
            return Err(Fault::new(
                StatusCode::UNAUTHORIZED,
                "Send the name and the password with the request.",
            )
            .with(chassis::http::header::WWW_AUTHENTICATE, "Basic realm=\"nymote\", charset=\"UTF-8\""));
        }
        let caller = Caller {
            account: visitor.account().user.clone(),
            device: visitor.login.device().to_string(),
            program: request.agent(),
        };
        let request = read_request(request).await?;
        let asked = Arc::new((caller, request));
        let response = match asked.1.is_long() {
            false => self.service.answer(&asked.0, &asked.1).await,
            true => self.long(&asked).await?,
        };
        self.activity.saw(&asked.0, &asked.1, response.status);
        to_http(response)
    }

    /// Answers on a thread of its own, a few at once; without memory for one, where everything else waits meanwhile.
    async fn long(&self, asked: &Arc<(Caller, Request)>) -> Result<Response, Fault> {
        let _place = PLACES.acquire().await.map_err(Fault::internal)?;
        let (service, runtime, there) = (self.service.clone(), Handle::current(), asked.clone());
        let begun = on_thread(move || runtime.block_on(service.answer(&there.0, &there.1)));
        match begun {
            Ok(answering) => answering.await.ok_or_else(|| Fault::internal("a long answer broke off")),
            Err(_) => Ok(self.service.answer(&asked.0, &asked.1).await),
        }
    }

    /// A calendar's public link: `/public/SECRET.ics`, read-only, for whoever knows it.
    fn public(&self, request: &HttpRequest) -> Answer {
        let link = request.matched("link");
        let secret = link.strip_suffix(".ics").or_else(|| link.strip_suffix(".vcf")).unwrap_or(link);
        match self.service.public_link(secret) {
            Some(response) => to_http(response),
            None => Err(Fault::not_found()),
        }
    }
}

async fn read_request(mut request: HttpRequest) -> Result<Request, Fault> {
    let method = request.method.as_str().to_string();
    let limit = match method.as_str() {
        "PUT" => FILE_BYTES_MAX,
        "POST" => OBJECT_BYTES_MAX,
        _ => XML_BODY_BYTES_MAX,
    };
    let body = request.bytes(limit).await?;
    let target = match request.query() {
        "" => request.path().to_string(),
        query => format!("{}?{query}", request.path()),
    };
    let fields = request.headers.iter().map(|(name, value)| {
        (name.as_str().to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let mut fields: Vec<(String, String)> = fields.collect();
    if !fields.iter().any(|(name, _)| name == "host")
        && let Some(host) = request.host()
    {
        fields.push(("host".into(), host.to_string()));
    }
    Ok(Request { method, target, fields, body, now_ms: chassis::clock::now_ms() })
}

/// An answer of the server as one of the chassis.
pub fn to_http(response: Response) -> Answer {
    let status = StatusCode::from_u16(response.status).map_err(Fault::internal)?;
    let body = match response.body {
        Body::Whole(bytes) => HttpBody::from(bytes),
        Body::Stream(pieces) => streamed(pieces),
    };
    let mut answer = chassis::http::Response::new(body);
    *answer.status_mut() = status;
    for (name, value) in response.fields {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
        {
            answer.headers_mut().insert(name, value);
        }
    }
    Ok(answer)
}

/// Pieces are made one by one as the client takes them, away from the threads on which other requests are answered.
fn streamed(mut pieces: Box<dyn Iterator<Item = String> + Send>) -> HttpBody {
    let (sender, body) = HttpBody::stream(None);
    tokio::spawn(async move {
        loop {
            let made = in_turn(move || {
                let piece = pieces.next();
                (pieces, piece)
            });
            match made.await {
                Some((rest, Some(piece))) => {
                    pieces = rest;
                    if !piece.is_empty() && sender.send(piece).await.is_err() {
                        return;
                    }
                }
                Some((_, None)) => return,
                None => return sender.fail(std::io::Error::other("the answer could not be made")).await,
            }
        }
    });
    body
}

/// Does long work beside the runtime, a few at once; what is short goes on meanwhile.
async fn in_turn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let _place = PLACES.acquire().await.ok()?;
    aside(work).await
}

/// Long work that may be under way at once.
static PLACES: Semaphore = Semaphore::const_new(LONG_AT_ONCE);
