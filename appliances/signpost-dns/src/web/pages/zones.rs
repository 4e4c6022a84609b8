//! Zones: what stands at the registrar, and what happened.

use askama::Template;
use chassis::clock;
use chassis::http::{Answer, Fault, Request, see_other};
use chassis::web::{Activity, Visitor};

use super::names::server_of;
use super::{Desk, HISTORY_SHOWN, line_of};
use crate::house::{House, signer_of, zone_settings};
use crate::keeper::{Cause, Keeper, files};
use crate::record::{RecordType, text};
use crate::settings::named;

struct ZoneRow {
    origin: String,
    serial: u32,
    names: usize,
    signed: String,
    trouble: String,
    registrar: Vec<String>,
    checked: String,
    wrong: Vec<String>,
    history: String,
}

#[derive(Template)]
#[template(path = "zones.html")]
struct ZonesBody {
    csrf: String,
    server: String,
    zones: Vec<ZoneRow>,
    problem: String,
}

/// All zones.
pub async fn list(desk: Desk, request: Request) -> Answer {
    let visitor = desk.chassis.require(&request).await?;
    show(&desk, &request, &visitor, String::new())
}

fn show(desk: &Desk, request: &Request, visitor: &Visitor, problem: String) -> Answer {
    let rows: Result<Vec<ZoneRow>, Fault> =
        desk.house.keepers().iter().map(|keeper| row(&desk.house, keeper, visitor)).collect();
    let body = ZonesBody { csrf: visitor.csrf(), server: server_of(desk, request), zones: rows?, problem };
    desk.show(visitor, "/zones", "Zones", &body)
}

fn row(house: &House, keeper: &Keeper, visitor: &Visitor) -> Result<ZoneRow, Fault> {
    let (zone, origin) = (keeper.served(), &keeper.origin);
    let settings = zone_settings(&house.settings(), origin);
    let signer = settings.signed.then(|| signer_of(&settings).ok()).flatten();
    let servers = zone.apex().get(RecordType::NS).into_iter().flat_map(|set| set.datas(origin));
    let mut registrar: Vec<String> =
        servers.map(|data| format!("NS {}", text::to_text(RecordType::NS, &data))).collect();
    let keys = signer.iter().filter(|_| settings.leaving == 0).flat_map(|signer| &signer.asked_of_parent);
    registrar.extend(keys.map(|key| format!("DS {}", text::to_text(RecordType::DS, &key.ds(origin)))));
    let seen = house.parent_seen(origin);
    let entries = keeper.branch().history(files::directory(origin)).map_err(Fault::internal)?;
    let lines: Vec<Activity> = entries
        .take(HISTORY_SHOWN)
        .filter_map(|entry| {
            let (id, commit) = entry.ok()?;
            Some(line_of(&commit, origin, format!("/zones/undo?zone={origin}&commit={id}")))
        })
        .collect();
    let trouble = house.troubles().into_iter().find(|(name, _)| name == origin).map(|(_, words)| words);
    Ok(ZoneRow {
        origin: origin.to_string(),
        serial: zone.serial(),
        names: zone.len(),
        signed: match (settings.signed, settings.leaving, settings.nsec3) {
            (false, ..) => "no".to_string(),
            (true, 0, false) => "yes, with NSEC".to_string(),
            (true, 0, true) => "yes, with NSEC3".to_string(),
            _ => "until the parent's DS is gone".to_string(),
        },
        trouble: trouble.unwrap_or_default(),
        registrar,
        checked: seen
            .as_ref()
            .map_or_else(String::new, |seen| clock::in_words(seen.at * 1000, clock::now_ms())),
        wrong: seen.map(|seen| house.problems_of(origin, &seen)).unwrap_or_default(),
        history: Activity::list(&lines, visitor),
    })
}

/// Looks at what the parent says now.
pub async fn check(desk: Desk, mut request: Request) -> Answer {
    let visitor = desk.chassis.require(&request).await?;
    let form = desk.chassis.form(&mut request, &visitor).await?;
    let keeper = named(form.text("zone")).and_then(|origin| desk.house.keeper(&origin));
    let keeper = keeper.ok_or_else(Fault::not_found)?;
    desk.house.look_at_parent(&keeper.origin).await;
    Ok(see_other(&format!("/zones#{}", keeper.origin)))
}

/// Takes one change back.
pub async fn undo(desk: Desk, mut request: Request) -> Answer {
    let visitor = desk.chassis.require(&request).await?;
    desk.chassis.form(&mut request, &visitor).await?;
    let asked = request.query_form();
    let keeper = named(asked.text("zone")).and_then(|origin| desk.house.keeper(&origin));
    let keeper = keeper.ok_or_else(Fault::not_found)?;
    let commit = asked.text("commit").parse().map_err(|_| Fault::not_found())?;
    let short: String = asked.text("commit").chars().take(12).collect();
    let cause = Cause::new(&visitor.account().user, format!("undid {short}"));
    match keeper.undo(commit, &cause).await {
        Ok(changed) if changed.sets > 0 => {
            desk.house.tell_secondaries(&keeper.origin);
            Ok(see_other(&format!("/zones#{}", keeper.origin)))
        }
        Ok(_) => show(
            &desk,
            &request,
            &visitor,
            "Nothing was left to undo: that change is undone already.".to_string(),
        ),
        Err(error) => show(&desk, &request, &visitor, error.to_string()),
    }
}
