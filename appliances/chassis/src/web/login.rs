//! Logging in and out of the pages.

use askama::Template;

use super::page::Page;
use super::visitor::{safe_next, same_origin, sentence};
use crate::accounts::LoginError;
use crate::http::{Answer, Fault, HeaderValue, Request, Router, StatusCode, header, see_other};
use crate::limits;
use crate::run::Chassis;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginBody<'a> {
    title: &'a str,
    domain: &'a str,
    user: &'a str,
    next: &'a str,
    problem: &'a str,
}

pub(super) fn routes(chassis: &Chassis) -> Router {
    let (form, login, logout) = (chassis.clone(), chassis.clone(), chassis.clone());
    Router::new()
        .get("/login", move |request| {
            let chassis = form.clone();
            async move { show(&chassis, &request) }
        })
        .post("/login", move |request| {
            let chassis = login.clone();
            async move { enter(&chassis, request).await }
        })
        .post("/logout", move |request| {
            let chassis = logout.clone();
            async move { leave(&chassis, request).await }
        })
}

fn show(chassis: &Chassis, request: &Request) -> Answer {
    let query = request.query_form();
    let next = safe_next(query.text("next"));
    if chassis.visitor(request).is_some() {
        return Ok(see_other(next));
    }
    body(chassis, "", next, "", StatusCode::OK)
}

fn body(chassis: &Chassis, user: &str, next: &str, problem: &str, status: StatusCode) -> Answer {
    let body = LoginBody { title: chassis.identity().title, domain: chassis.domain(), user, next, problem };
    let mut response = chassis.page(None, &Page::titled("Log in"), &body)?;
    *response.status_mut() = status;
    Ok(response)
}

async fn enter(chassis: &Chassis, mut request: Request) -> Answer {
    same_origin(&request)?;
    let form = request.form().await?;
    let (user, next) = (form.text("user"), safe_next(form.text("next")).to_owned());
    let password = form.get("password").unwrap_or_default();
    let agent = request.agent();
    match chassis.accounts().login(user, password, request.peer.ip(), &agent).await {
        Ok(login) => {
            let token = chassis.accounts().open_session(&login, &agent).await.map_err(Fault::internal)?;
            let mut response = see_other(&next);
            let seconds = limits::SESSION_TIME.as_secs();
            set_cookie(&mut response, &format!("{}={token}; Max-Age={seconds}", chassis.cookie_name()));
            Ok(response)
        }
        Err(error @ LoginError::Throttled(_)) => {
            body(chassis, user, &next, &sentence(&error), StatusCode::TOO_MANY_REQUESTS)
        }
        Err(error @ LoginError::Busy) => {
            body(chassis, user, &next, &sentence(&error), StatusCode::SERVICE_UNAVAILABLE)
        }
        Err(error) => body(chassis, user, &next, &sentence(&error), StatusCode::UNAUTHORIZED),
    }
}

async fn leave(chassis: &Chassis, mut request: Request) -> Answer {
    let Some(visitor) = chassis.visitor(&request) else { return Ok(see_other("/login")) };
    chassis.form(&mut request, &visitor).await?;
    if let Some(id) = &visitor.login.credential {
        chassis.accounts().revoke(&visitor.account().user, id).await.map_err(Fault::internal)?;
    }
    let mut response = see_other("/login");
    set_cookie(&mut response, &format!("{}=; Max-Age=0", chassis.cookie_name()));
    Ok(response)
}

fn set_cookie(response: &mut crate::http::Response, pair: &str) {
    let cookie = format!("{pair}; Path=/; Secure; HttpOnly; SameSite=Lax");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}
