//! The pages of people: names and devices, what happened, what the registrar must be told.

use std::sync::Arc;

use askama::Template;
use chassis::http::{Answer, Fault, Request, Router, StatusCode, see_other};
use chassis::web::{NavItem, Page, Visitor};
use chassis::{Chassis, clock};

use crate::house::{House, signer_of, zone_settings};
use crate::keeper::files;
use crate::record::{RecordType, text};
use crate::settings::{Device, named};

const NAV: &[NavItem] =
    &[NavItem { path: "/names", title: "Names" }, NavItem { path: "/zones", title: "Zones" }];
/// Changes that the zones' page lists.
const HISTORY_SHOWN: usize = 30;

struct DeviceRow {
    name: String,
    host: String,
    addresses: String,
    seen: String,
    how: String,
}

#[derive(Template)]
#[template(path = "names.html")]
struct NamesBody {
    csrf: String,
    rows: Vec<DeviceRow>,
    zones: Vec<String>,
    problem: String,
}

#[derive(Template)]
#[template(path = "added.html")]
struct AddedBody {
    name: String,
    host: String,
    password: String,
    server: String,
}

struct ZoneRow {
    origin: String,
    serial: u32,
    names: usize,
    trouble: String,
    registrar: Vec<String>,
    history: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "zones.html")]
struct ZonesBody {
    zones: Vec<ZoneRow>,
}

/// The routes.
pub fn routes(chassis: &Chassis, house: &Arc<House>) -> Router {
    type Page = fn(Chassis, Arc<House>, Request) -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>;
    let with = |page: Page| {
        let (chassis, house) = (chassis.clone(), house.clone());
        move |request: Request| page(chassis.clone(), house.clone(), request)
    };
    Router::new()
        .get("/", with(|_, _, _| Box::pin(async { Ok(see_other("/names")) })))
        .get(
            "/names",
            with(|chassis, house, request| {
                Box::pin(async move {
                    let visitor = chassis.require(&request).await?;
                    names(&chassis, &house, &visitor, String::new())
                })
            }),
        )
        .post("/names", with(|chassis, house, request| Box::pin(add(chassis, house, request))))
        .post("/names/revoke", with(|chassis, house, request| Box::pin(revoke(chassis, house, request))))
        .get("/zones", with(|chassis, house, request| Box::pin(zones(chassis, house, request))))
}

fn names(chassis: &Chassis, house: &House, visitor: &Visitor, problem: String) -> Answer {
    let settings = house.settings();
    let row = |(name, device): (&String, &Device)| DeviceRow {
        name: name.clone(),
        host: device.host.clone(),
        addresses: addresses(house, device),
        seen: match device.seen {
            0 => "not yet".to_string(),
            seen => clock::in_words(seen * 1000, clock::now_ms()),
        },
        how: device.how.clone(),
    };
    let body = NamesBody {
        csrf: visitor.csrf(),
        rows: settings.devices.iter().map(row).collect(),
        zones: house
            .keepers()
            .iter()
            .map(|keeper| keeper.origin.to_string().trim_end_matches('.').to_string())
            .collect(),
        problem,
    };
    chassis.page(Some(visitor), &Page { nav: NAV, active: "/names", ..Page::titled("Names") }, &body)
}

fn addresses(house: &House, device: &Device) -> String {
    let Some(host) = named(&device.host) else { return String::new() };
    let Some(keeper) = house.keeper_of(&host) else { return String::new() };
    let zone = keeper.served();
    let Some(node) = zone.node(&host) else { return "none now".to_string() };
    let sets = [RecordType::A, RecordType::AAAA].into_iter().filter_map(|rtype| node.get(rtype));
    let texts: Vec<String> = sets
        .flat_map(|set| {
            set.datas(&zone.origin).map(|data| text::to_text(set.rtype, &data)).collect::<Vec<_>>()
        })
        .collect();
    if texts.is_empty() { "none now".to_string() } else { texts.join(", ") }
}

async fn add(chassis: Chassis, house: Arc<House>, mut request: Request) -> Answer {
    let visitor = chassis.require(&request).await?;
    let form = chassis.form(&mut request, &visitor).await?;
    let (name, host) = (form.text("name").trim().to_string(), form.text("host").trim().to_lowercase());
    if name.is_empty() || name.contains(':') {
        return names(&chassis, &house, &visitor, "A device needs a name without a colon.".to_string());
    }
    let expires_s = form.text("expires_days").parse::<u64>().unwrap_or(0).min(3650) * 86_400;
    let text = |field: &str| Some(form.text(field).trim().to_string()).filter(|text| !text.is_empty());
    let device = Device {
        host: host.clone(),
        expires_s,
        interface: text("interface"),
        behind: text("behind"),
        ..Device::default()
    };
    match house.add_device(&visitor.account().user, &name, device).await {
        Ok(password) => {
            let server =
                request.host().map_or_else(|| format!("signpost.{}", chassis.domain()), str::to_string);
            let body = AddedBody { name, host, password, server };
            chassis.page(Some(&visitor), &Page { nav: NAV, active: "/names", ..Page::titled("Added") }, &body)
        }
        Err(error) => names(&chassis, &house, &visitor, error.to_string()),
    }
}

async fn revoke(chassis: Chassis, house: Arc<House>, mut request: Request) -> Answer {
    let visitor = chassis.require(&request).await?;
    let form = chassis.form(&mut request, &visitor).await?;
    let name = form.text("name").to_string();
    house
        .revoke_device(&visitor.account().user, &name)
        .await
        .map_err(|error| Fault::new(StatusCode::NOT_FOUND, error.to_string()))?;
    Ok(see_other("/names"))
}

async fn zones(chassis: Chassis, house: Arc<House>, request: Request) -> Answer {
    let visitor = chassis.require(&request).await?;
    let (settings, troubles) = (house.settings(), house.troubles());
    let mut rows = Vec::new();
    for keeper in house.keepers() {
        let zone = keeper.served();
        let origin = &keeper.origin;
        let of_zone = zone_settings(&settings, origin);
        let signer = of_zone.signed.then(|| signer_of(&of_zone).ok()).flatten();
        let mut registrar: Vec<String> = zone
            .apex()
            .get(RecordType::NS)
            .into_iter()
            .flat_map(|set| {
                set.datas(origin)
                    .map(|data| format!("NS {}", text::to_text(RecordType::NS, &data)))
                    .collect::<Vec<_>>()
            })
            .collect();
        let keys = signer.iter().flat_map(|signer| &signer.asked_of_parent);
        registrar.extend(keys.map(|key| format!("DS {}", text::to_text(RecordType::DS, &key.ds(origin)))));
        let history = keeper.branch().history(files::directory(origin)).map_err(Fault::internal)?;
        let line = |commit: store::Commit| {
            let first = commit.message.lines().next().unwrap_or_default().to_string();
            (commit.author.name.clone(), first)
        };
        rows.push(ZoneRow {
            origin: origin.to_string(),
            serial: zone.serial(),
            names: zone.len(),
            trouble: troubles
                .iter()
                .find(|(name, _)| name == origin)
                .map(|(_, words)| words.clone())
                .unwrap_or_default(),
            registrar,
            history: history.take(HISTORY_SHOWN).filter_map(|entry| Some(line(entry.ok()?.1))).collect(),
        });
    }
    chassis.page(
        Some(&visitor),
        &Page { nav: NAV, active: "/zones", ..Page::titled("Zones") },
        &ZonesBody { zones: rows },
    )
}
