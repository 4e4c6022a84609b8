//! Devices and their names.

use askama::Template;
use chassis::clock;
use chassis::http::{Answer, Fault, Request, StatusCode, see_other};
use chassis::web::{Activity, Visitor};

use super::{Desk, HISTORY_SHOWN, line_of};
use crate::house::House;
use crate::house::devices::Told;
use crate::keeper::Cause;
use crate::name::Name;
use crate::record::{RecordType, text};
use crate::settings::{Device, named};

struct DeviceRow {
    name: String,
    /// The name as it stands in a link.
    link: String,
    host: String,
    addresses: String,
    seen: String,
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

#[derive(Template)]
#[template(path = "device.html")]
struct DeviceBody {
    csrf: String,
    name: String,
    host: String,
    addresses: String,
    at_home: Vec<(String, String)>,
    seen: String,
    added: String,
    silence: String,
    behind: String,
    views: Vec<String>,
    history: String,
    problem: String,
}

/// All devices.
pub async fn list(desk: Desk, request: Request) -> Answer {
    let visitor = desk.chassis.require(&request).await?;
    show(&desk, &visitor, String::new())
}

fn show(desk: &Desk, visitor: &Visitor, problem: String) -> Answer {
    let house = &desk.house;
    let settings = house.settings();
    let row = |(name, device): (&String, &Device)| DeviceRow {
        name: name.clone(),
        link: in_link(name),
        host: device.host.clone(),
        addresses: addresses(house, device),
        seen: seen(house, name, device),
    };
    let bare = |origin: &Name| origin.to_string().trim_end_matches('.').to_string();
    let body = NamesBody {
        csrf: visitor.csrf(),
        rows: settings.devices.iter().map(row).collect(),
        zones: house.keepers().iter().map(|keeper| bare(&keeper.origin)).collect(),
        problem,
    };
    desk.show(visitor, "/names", "Names", &body)
}

/// A text as part of a query (RFC 3986 section 2.1).
fn in_link(text: &str) -> String {
    let octet = |octet: u8| match octet.is_ascii_alphanumeric() {
        true => char::from(octet).to_string(),
        false => format!("%{octet:02X}"),
    };
    text.bytes().map(octet).collect()
}

/// How and since when a device is reachable.
fn seen(house: &House, name: &str, device: &Device) -> String {
    match house.last_heard(name, device) {
        0 => "not heard of yet".to_string(),
        at => format!("{} by {}", clock::in_words(at * 1000, clock::now_ms()), device.how),
    }
}

fn addresses(house: &House, device: &Device) -> String {
    let none = || "no address now".to_string();
    let Some(host) = named(&device.host) else { return none() };
    let Some(keeper) = house.keeper_of(&host) else { return "its zone is gone".to_string() };
    let zone = keeper.served();
    let Some(node) = zone.node(&host) else { return none() };
    let sets = [RecordType::A, RecordType::AAAA].into_iter().filter_map(|rtype| node.get(rtype));
    let texts: Vec<String> = sets
        .flat_map(|set| {
            set.datas(&zone.origin).map(|data| text::to_text(set.rtype, &data)).collect::<Vec<_>>()
        })
        .collect();
    if texts.is_empty() { none() } else { texts.join(", ") }
}

/// Adds a device.
pub async fn add(desk: Desk, mut request: Request) -> Answer {
    let visitor = desk.chassis.require(&request).await?;
    let form = desk.chassis.form(&mut request, &visitor).await?;
    let (name, host) = (form.text("name").trim().to_string(), form.text("host").trim().to_lowercase());
    if name.is_empty() || name.contains(':') {
        return show(&desk, &visitor, "A device needs a name without a colon.".to_string());
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
    match desk.house.add_device(&visitor.account().user, &name, device).await {
        Ok(password) => {
            let server = server_of(&desk, &request);
            desk.show(&visitor, "/names", "Added", &AddedBody { name, host, password, server })
        }
        Err(error) => show(&desk, &visitor, error.to_string()),
    }
}

/// The host by which this page was reached.
pub fn server_of(desk: &Desk, request: &Request) -> String {
    request.host().map_or_else(|| format!("signpost.{}", desk.chassis.domain()), str::to_string)
}

/// One device.
pub async fn one(desk: Desk, request: Request) -> Answer {
    let visitor = desk.chassis.require(&request).await?;
    let name = request.query_form().text("name").to_string();
    show_one(&desk, &visitor, &name, String::new())
}

fn show_one(desk: &Desk, visitor: &Visitor, name: &str, problem: String) -> Answer {
    let house = &desk.house;
    let settings = house.settings();
    let device = settings.devices.get(name).ok_or_else(Fault::not_found)?;
    let host = named(&device.host).ok_or_else(Fault::not_found)?;
    let at_home = settings.views.keys().filter_map(|view| Some((view.clone(), in_view(house, view, &host)?)));
    let body = DeviceBody {
        csrf: visitor.csrf(),
        name: name.to_string(),
        host: device.host.clone(),
        addresses: addresses(house, device),
        at_home: at_home.collect(),
        seen: seen(house, name, device),
        added: clock::in_words(device.added * 1000, clock::now_ms()),
        silence: match device.expires_s {
            0 => "its addresses stay".to_string(),
            seconds if seconds >= 86_400 => format!("its addresses go after {} days", seconds / 86_400),
            seconds => format!("its addresses go after {} minutes", seconds.div_ceil(60)),
        },
        behind: device.behind.clone().unwrap_or_default(),
        views: settings.views.keys().cloned().collect(),
        history: history(house, &host, visitor)?,
        problem,
    };
    desk.show(visitor, "/names", name, &body)
}

fn in_view(house: &House, view: &str, host: &Name) -> Option<String> {
    let keeper = house.keeper_of(host)?;
    let sets = house.view_sets(view, &keeper.origin).ok()?;
    let of_host = sets.iter().filter(|set| set.name == *host);
    let texts: Vec<String> =
        of_host.flat_map(|set| set.datas.iter().map(|data| text::to_text(set.rtype, data))).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn history(house: &House, host: &Name, visitor: &Visitor) -> Result<String, Fault> {
    let Some(keeper) = house.keeper_of(host) else { return Ok(String::new()) };
    let entries = keeper.branch().history(keeper.path_of(host)).map_err(Fault::internal)?;
    let lines: Vec<Activity> = entries
        .take(HISTORY_SHOWN)
        .filter_map(|entry| Some(line_of(&entry.ok()?.1, &keeper.origin, String::new())))
        .collect();
    Ok(Activity::list(&lines, visitor))
}

/// Sets a device's addresses within a view.
pub async fn set_home(desk: Desk, mut request: Request) -> Answer {
    let visitor = desk.chassis.require(&request).await?;
    let form = desk.chassis.form(&mut request, &visitor).await?;
    let (name, view) = (form.text("name").to_string(), form.text("view").to_string());
    let device = desk.house.settings().devices.get(&name).cloned().ok_or_else(Fault::not_found)?;
    let told = Told::from_words(form.text("addresses").split([',', ' ']), None);
    let cause = Cause::new(&visitor.account().user, format!("device {name} at home"));
    let problem = match told {
        // What is not given goes: the public address shows again.
        Ok(told) => {
            let done =
                desk.house.set_addresses_in(&cause, &view, &device, Told { offline: true, ..told }).await;
            done.err().map(|error| error.to_string())
        }
        Err(error) => Some(error),
    };
    show_one(&desk, &visitor, &name, problem.unwrap_or_default())
}

/// Takes a device away.
pub async fn revoke(desk: Desk, mut request: Request) -> Answer {
    let visitor = desk.chassis.require(&request).await?;
    let form = desk.chassis.form(&mut request, &visitor).await?;
    let done = desk.house.revoke_device(&visitor.account().user, form.text("name")).await;
    done.map_err(|error| Fault::new(StatusCode::NOT_FOUND, error.to_string()))?;
    Ok(see_other("/names"))
}
