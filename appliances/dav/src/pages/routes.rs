//! What both appliances are made of: their life, and routes whose handlers take the site.

use chassis::http::{Answer, Request, Router};
use chassis::web::Asset;
use chassis::{Chassis, Failure};

use super::About;
use crate::http::Site;

/// Routes of one site.
pub struct Routes {
    site: Site,
    router: Router,
}

impl Routes {
    /// None yet.
    pub fn of(site: &Site) -> Routes {
        Routes { site: site.clone(), router: Router::new() }
    }

    /// Answers GET and HEAD.
    pub fn get<R>(mut self, pattern: &'static str, handler: fn(Site, Request) -> R) -> Routes
    where
        R: Future<Output = Answer> + Send + 'static,
    {
        let site = self.site.clone();
        self.router = self.router.get(pattern, move |request| handler(site.clone(), request));
        self
    }

    /// Answers POST.
    pub fn post<R>(mut self, pattern: &'static str, handler: fn(Site, Request) -> R) -> Routes
    where
        R: Future<Output = Answer> + Send + 'static,
    {
        let site = self.site.clone();
        self.router = self.router.post(pattern, move |request| handler(site.clone(), request));
        self
    }

    /// The routes.
    pub fn done(self) -> Router {
        self.router
    }
}

/// The life of contacts or calendar: serves WebDAV, the shared pages and its own, answers commands, ends when it is told to.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn life(
    chassis: Chassis,
    about: &'static About,
    own: fn(&Site) -> Router,
    styles: &'static [Asset],
) -> Result<(), Failure> {
    let site = Site::new(&chassis);
    let pages = own(&site).and(super::routes(&site, about));
    let routes = pages.and(site.routes()).and(Asset::routes(SHARED)).and(Asset::routes(styles));
    chassis.http(routes).await?;
    crate::commands::register(&site);
    chassis.ready();
    chassis.stopping().await;
    Ok(())
}

static SHARED: &[Asset] = &[Asset {
    name: "dav.css",
    kind: "text/css; charset=utf-8",
    bytes: include_bytes!("../../assets/dav.css"),
}];
