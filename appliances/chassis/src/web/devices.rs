//! `/devices`: one password per device, made and revoked here; the browsers that are logged in; the person's own password.

use askama::Template;

use super::page::Page;
use super::qr;
use super::visitor::{Visitor, place_of, sentence};
use crate::accounts::{AccountError, Credential};
use crate::clock;
use crate::http::{Answer, Fault, Request, Response, Router, StatusCode, see_other};
use crate::run::Chassis;

#[derive(Template)]
#[template(path = "devices.html")]
struct DevicesBody<'a> {
    csrf: String,
    devices: Vec<Row<'a>>,
    sessions: Vec<Row<'a>>,
    problem: &'a str,
}

struct Row<'a> {
    id: &'a str,
    label: &'a str,
    made: String,
    last: String,
    here: bool,
}

#[derive(Template)]
#[template(path = "device_made.html")]
struct MadeBody<'a> {
    label: &'a str,
    user: &'a str,
    address: &'a str,
    password: &'a str,
    qr: String,
}

pub(super) fn routes(chassis: &Chassis) -> Router {
    let (list, add, revoke, password) = (chassis.clone(), chassis.clone(), chassis.clone(), chassis.clone());
    Router::new()
        .get("/devices", move |request| {
            let chassis = list.clone();
            async move {
                let visitor = chassis.require(&request).await?;
                show(&chassis, &visitor, "", StatusCode::OK)
            }
        })
        .post("/devices", move |request| {
            let chassis = add.clone();
            async move { make(&chassis, request).await }
        })
        .post("/devices/{id}/revoke", move |request| {
            let chassis = revoke.clone();
            async move { remove(&chassis, request).await }
        })
        .post("/devices/password", move |request| {
            let chassis = password.clone();
            async move { change_password(&chassis, request).await }
        })
}

fn show(chassis: &Chassis, visitor: &Visitor, problem: &str, status: StatusCode) -> Answer {
    let account = visitor.account();
    let row = |one| row(chassis, visitor, one);
    let body = DevicesBody {
        csrf: visitor.csrf(),
        devices: account.devices().map(row).collect(),
        sessions: account.sessions().map(row).collect(),
        problem,
    };
    let page = Page { active: "/devices", ..Page::titled("Devices") };
    let mut response: Response = chassis.page(Some(visitor), &page, &body)?;
    *response.status_mut() = status;
    Ok(response)
}

fn row<'a>(chassis: &Chassis, visitor: &'a Visitor, one: &'a Credential) -> Row<'a> {
    let now_ms = clock::now_ms();
    let last = match chassis.accounts().last_use(&visitor.account().user, Some(&one.id)) {
        Some(last) => {
            format!("{} from {} with {}", clock::in_words(last.at_ms, now_ms), place_of(last.from), last.with)
        }
        None => "not used since the last start".to_owned(),
    };
    Row {
        id: &one.id,
        label: &one.label,
        made: clock::in_words(one.created_ms, now_ms),
        last,
        here: visitor.login.credential.as_deref() == Some(&one.id),
    }
}

async fn make(chassis: &Chassis, mut request: Request) -> Answer {
    let visitor = chassis.require(&request).await?;
    let form = chassis.form(&mut request, &visitor).await?;
    let label = form.text("label");
    if label.is_empty() {
        return show(chassis, &visitor, "Give the device a name.", StatusCode::BAD_REQUEST);
    }
    let account = visitor.account();
    let (device, password) = match chassis.accounts().add_device(&account.user, label).await {
        Ok(made) => made,
        Err(error) => return show(chassis, &visitor, &sentence(&error), StatusCode::CONFLICT),
    };
    let body = MadeBody {
        label: &device.label,
        user: &account.user,
        address: &account.address,
        password: &password,
        qr: qr::svg(&password).unwrap_or_default(),
    };
    chassis.page(Some(&visitor), &Page { active: "/devices", ..Page::titled("New device") }, &body)
}

async fn remove(chassis: &Chassis, mut request: Request) -> Answer {
    let visitor = chassis.require(&request).await?;
    chassis.form(&mut request, &visitor).await?;
    match chassis.accounts().revoke(&visitor.account().user, request.matched("id")).await {
        Ok(()) | Err(AccountError::UnknownDevice(_)) => Ok(see_other("/devices")),
        Err(error) => Err(Fault::internal(error)),
    }
}

async fn change_password(chassis: &Chassis, mut request: Request) -> Answer {
    let visitor = chassis.require(&request).await?;
    let form = chassis.form(&mut request, &visitor).await?;
    let user = visitor.account().user.clone();
    let (old, new) = (form.get("old").unwrap_or_default(), form.get("new").unwrap_or_default());
    let known = chassis.accounts().login(&user, old, request.peer.ip(), &request.agent()).await;
    if !known.is_ok_and(|login| login.credential.is_none()) {
        return show(chassis, &visitor, "The old password is wrong.", StatusCode::FORBIDDEN);
    }
    match chassis.accounts().set_password(&user, new).await {
        Ok(()) => Ok(see_other("/login")),
        Err(error @ AccountError::BadPassword) => {
            show(chassis, &visitor, &sentence(&error), StatusCode::BAD_REQUEST)
        }
        Err(error) => Err(Fault::internal(error)),
    }
}
