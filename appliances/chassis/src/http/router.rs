//! From method and path to a handler. Routes are few, so they are tried in the order of how much they say.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::{Method, StatusCode, header};

use super::request::segment;
use super::{Answer, Fault, Request};

/// A handler behind a route.
pub type Handler = Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// Routes and their handlers.
///
/// A pattern is a path whose segments may be `{name}` (one segment) and whose last may be `{*name}` (the rest, may be
/// empty). Literal segments win over names, and names over the rest, segment by segment.
#[derive(Clone, Default)]
pub struct Router {
    routes: Vec<Route>,
}

#[derive(Clone)]
struct Route {
    method: Option<Method>,
    pattern: Vec<Part>,
    handler: Handler,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Literal(&'static str),
    One(&'static str),
    Rest(&'static str),
}

impl Router {
    /// No routes.
    pub fn new() -> Router {
        Router::default()
    }

    /// Answers GET and HEAD.
    pub fn get<F, R>(self, pattern: &'static str, handler: F) -> Router
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        self.method(Method::GET, pattern, handler)
    }

    /// Answers POST.
    pub fn post<F, R>(self, pattern: &'static str, handler: F) -> Router
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        self.method(Method::POST, pattern, handler)
    }

    /// Answers one method.
    pub fn method<F, R>(mut self, method: Method, pattern: &'static str, handler: F) -> Router
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        self.add(Some(method), pattern, handler);
        self
    }

    /// Answers every method, known and unknown: WebDAV, smart HTTP.
    pub fn any<F, R>(mut self, pattern: &'static str, handler: F) -> Router
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        self.add(None, pattern, handler);
        self
    }

    /// Adds the routes of another; of equal ones, those that were here first win.
    pub fn and(mut self, other: Router) -> Router {
        self.routes.extend(other.routes);
        self.order();
        self
    }

    fn add<F, R>(&mut self, method: Option<Method>, pattern: &'static str, handler: F)
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        self.routes.push(Route { method, pattern: parts(pattern), handler });
        self.order();
    }

    fn order(&mut self) {
        self.routes.sort_by(|a, b| a.pattern.cmp(&b.pattern)); // stable: the first of equals stays first
    }

    /// Finds the handler and calls it. 404 when no path fits, 405 with Allow when only the method does not.
    pub async fn answer(&self, mut request: Request) -> Answer {
        // A segment that is a trick is `None`, and fits nothing.
        let segments: Vec<Option<String>> =
            request.path().trim_start_matches('/').split('/').map(segment).collect();
        let mut allowed: Vec<&str> = Vec::new();
        for route in &self.routes {
            let Some(matched) = matched(&route.pattern, &segments) else { continue };
            // `*` is the server as a whole, and no path (RFC 9112 section 3.2.4).
            if (route.pattern == [Part::Literal("*")]) != (request.path() == "*") {
                continue;
            }
            let head_as_get = request.method == Method::HEAD && route.method == Some(Method::GET);
            match &route.method {
                Some(method) if *method != request.method && !head_as_get => allowed.push(method.as_str()),
                _ => {
                    request.set_matched(matched);
                    return (route.handler)(request).await;
                }
            }
        }
        if allowed.is_empty() {
            return Err(Fault::not_found());
        }
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        let what = format!("{} is not possible here.", request.method);
        Err(Fault::new(StatusCode::METHOD_NOT_ALLOWED, what).with(header::ALLOW, &allowed.join(", ")))
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Router with {} routes", self.routes.len())
    }
}

fn parts(pattern: &'static str) -> Vec<Part> {
    let part = |text: &'static str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) => name.strip_prefix('*').map_or(Part::One(name), Part::Rest),
        None => Part::Literal(text),
    };
    pattern.trim_start_matches('/').split('/').map(part).collect()
}

fn matched(pattern: &[Part], segments: &[Option<String>]) -> Option<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    let mut rest = segments;
    for part in pattern {
        match part {
            // `/dav` fits `/dav/{*rest}` too: the rest is empty.
            Part::Rest(name) => {
                let decoded: Option<Vec<&str>> = rest.iter().map(Option::as_deref).collect();
                found.push((*name, decoded?.join("/")));
                return Some(found);
            }
            Part::Literal(literal) => {
                let (first, after) = rest.split_first()?;
                if first.as_deref()? != *literal {
                    return None;
                }
                rest = after;
            }
            Part::One(name) => {
                let (first, after) = rest.split_first()?;
                let value = first.as_deref()?;
                if value.is_empty() {
                    return None;
                }
                found.push((*name, value.to_owned()));
                rest = after;
            }
        }
    }
    rest.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reply;

    fn says(text: &'static str) -> impl Fn(Request) -> std::future::Ready<Answer> {
        move |request| {
            let (id, rest) = (request.matched("id").to_owned(), request.matched("rest").to_owned());
            std::future::ready(Ok(reply(StatusCode::OK, "text/plain", format!("{text} {id} {rest}"))))
        }
    }

    fn router() -> Router {
        Router::new()
            .get("/", says("start"))
            .any("/dav/{*rest}", says("dav"))
            .get("/event/{id}", says("event"))
            .post("/event/{id}", says("post"))
            .get("/event/new", says("new"))
            .method(Method::OPTIONS, "*", says("all"))
            .get("/{id}", says("one"))
    }

    async fn ask(method: &str, path: &str) -> Result<String, (u16, String)> {
        let request = Request::made(method.parse().unwrap(), path, "");
        match router().answer(request).await {
            Ok(response) => Ok(String::from_utf8_lossy(response.body().whole().unwrap()).trim().to_owned()),
            Err(fault) => {
                let allow = fault.headers.get(header::ALLOW).map(|value| value.to_str().unwrap().to_owned());
                Err((fault.status.as_u16(), allow.unwrap_or_default()))
            }
        }
    }

    #[tokio::test]
    async fn literal_wins_over_name_and_name_over_rest() {
        assert_eq!(ask("GET", "/event/new").await.unwrap(), "new");
        assert_eq!(ask("GET", "/event/a%20b").await.unwrap(), "event a b");
        assert_eq!(ask("PROPFIND", "/dav/x/y/").await.unwrap(), "dav  x/y/");
        assert_eq!(ask("OPTIONS", "/dav").await.unwrap(), "dav");
        assert_eq!(ask("HEAD", "/").await.unwrap(), "start");
    }

    #[tokio::test]
    async fn rfc9110_15_5_6_method_not_allowed_names_those_that_are() {
        assert_eq!(ask("DELETE", "/event/7").await.unwrap_err(), (405, "GET, POST, HEAD".into()));
        assert_eq!(ask("GET", "/none/here").await.unwrap_err().0, 404);
    }

    #[tokio::test]
    async fn rfc9110_9_3_7_an_asterisk_is_the_server_and_no_path() {
        assert_eq!(ask("OPTIONS", "*").await.unwrap(), "all");
        assert_eq!(ask("GET", "/*").await.unwrap(), "one *");
        assert_eq!(ask("OPTIONS", "/*").await.unwrap_err(), (405, "GET, HEAD".into()));
        assert_eq!(ask("GET", "*").await.unwrap_err(), (405, "OPTIONS".into()));
    }

    #[tokio::test]
    async fn tricks_reach_no_handler() {
        assert_eq!(ask("GET", "/dav/%2e%2e/x").await.unwrap_err().0, 404);
        assert_eq!(ask("GET", "/event/a%2Fb").await.unwrap_err().0, 404);
    }
}
