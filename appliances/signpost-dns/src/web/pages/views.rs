//! Views and their networks.

use askama::Template;
use chassis::http::{Answer, Request};
use chassis::web::Visitor;

use super::Desk;
use crate::record::text;

struct ViewRow {
    name: String,
    networks: String,
    records: Vec<String>,
}

#[derive(Template)]
#[template(path = "views.html")]
struct ViewsBody {
    csrf: String,
    views: Vec<ViewRow>,
    problem: String,
}

/// Records of a view that its row shows.
const RECORDS_SHOWN: usize = 20;

/// All views.
pub async fn list(desk: Desk, request: Request) -> Answer {
    let visitor = desk.chassis.require(&request).await?;
    show(&desk, &visitor, String::new())
}

fn show(desk: &Desk, visitor: &Visitor, problem: String) -> Answer {
    let settings = desk.house.settings();
    let row = |(view, networks): (&String, &Vec<String>)| {
        let keepers = desk.house.keepers();
        let sets = keepers.iter().filter_map(|keeper| desk.house.view_sets(view, &keeper.origin).ok());
        let line = |set: &crate::update::SetChange| {
            let values: Vec<String> = set.datas.iter().map(|data| text::to_text(set.rtype, data)).collect();
            format!("{} {} {}", set.name, set.rtype, values.join(", "))
        };
        let records = sets.flat_map(|sets| sets.iter().map(line).collect::<Vec<_>>()).take(RECORDS_SHOWN);
        ViewRow { name: view.clone(), networks: networks.join(", "), records: records.collect() }
    };
    let body = ViewsBody { csrf: visitor.csrf(), views: settings.views.iter().map(row).collect(), problem };
    desk.show(visitor, "/views", "Views", &body)
}

/// Makes, changes or removes a view.
pub async fn set(desk: Desk, mut request: Request) -> Answer {
    let visitor = desk.chassis.require(&request).await?;
    let form = desk.chassis.form(&mut request, &visitor).await?;
    let networks = form.text("networks").split([',', ' ']).filter(|one| !one.is_empty()).map(str::to_string);
    let done =
        desk.house.set_view(&visitor.account().user, form.text("view").trim(), networks.collect()).await;
    show(&desk, &visitor, done.err().map(|error| error.to_string()).unwrap_or_default())
}
