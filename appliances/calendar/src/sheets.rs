//! Style sheets that are made: pages carry no inline styles, so that places in the grid and colours of calendars are classes.

use std::fmt::Write;

use chassis::http::{Answer, HeaderValue, Request, StatusCode, header, reply};
use dav::agenda::{calendars, colour};
use dav::http::Site;
use dav::pages::broken;

const CSS: &str = "text/css; charset=utf-8";

/// Rows of the day's quarters of an hour, lanes of events that overlap, the order of days on a narrow page.
pub async fn grid(_: Site, _: Request) -> Answer {
    let mut out = String::new();
    for row in 1..=97 {
        let _ = write!(out, ".r{row}{{grid-row-start:{row}}}.e{row}{{grid-row-end:{row}}}");
    }
    for lane in 1..=12 {
        let _ = write!(out, ".k{lane}{{grid-column-start:{lane}}}.w{lane}{{grid-column-end:span {lane}}}");
    }
    out.push_str("@media (max-width:45rem){");
    (0..7).for_each(|day| {
        let _ = write!(out, ".grid.seven>.d{day}{{order:{day}}}");
    });
    out.push('}');
    let mut response = reply(StatusCode::OK, CSS, out);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    Ok(response)
}

/// The colours of the calendars that the visitor sees, in the order of [`calendars`].
pub async fn colours(site: Site, request: Request) -> Answer {
    let mut out = String::new();
    if let Some(visitor) = site.chassis.visitor(&request) {
        let all = calendars(site.household(), &visitor.account().user).map_err(broken)?;
        for (place, (_, _, collection)) in all.iter().enumerate() {
            let _ = write!(out, ".of{place}{{--own:{}}}", colour(collection));
        }
    }
    let mut response = reply(StatusCode::OK, CSS, out);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    Ok(response)
}
