//! Requests and answers as clients exchange them, over a store in memory.

use super::*;
use crate::xml::read::{Element, read};

pub(super) struct World {
    pub service: Service,
    runtime: tokio::runtime::Runtime,
}

const EVENT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20240101T000000Z\r\nDTSTART:20240501T100000Z\r\nDTEND:20240501T110000Z\r\nSUMMARY:Dentist\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
const CARD: &str = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:c1\r\nFN:Ada L\r\nN:L;Ada;;;\r\nEND:VCARD\r\n";

impl World {
    pub fn new() -> World {
        World::over(store::Store::create(store::MemoryDevice::new(), store::Options::new()).unwrap())
    }

    pub fn over(store: store::Store) -> World {
        let household = Household::new(store, || vec!["anna".into(), "bob".into()]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        World { service: Service { household, domain: "example.org".into() }, runtime }
    }

    fn ask_as(
        &self,
        account: &str,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let caller = Caller { account: account.into(), device: "phone".into(), program: "test".into() };
        let request = Request::new(method, target, fields, body.to_string());
        self.runtime.block_on(self.service.answer(&caller, &request))
    }

    pub fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Response {
        self.ask_as("anna", method, target, fields, body)
    }

    pub fn put(&self, target: &str, body: &str) -> u16 {
        self.ask("PUT", target, &[], body).status
    }

    fn etag(&self, target: &str) -> String {
        let response = self.ask("GET", target, &[], "");
        response.fields.iter().find(|(name, _)| *name == "etag").unwrap().1.clone()
    }

    pub fn text(&self, target: &str) -> String {
        String::from_utf8(self.ask("GET", target, &[], "").into_bytes().to_vec()).unwrap()
    }

    /// The responses of a multistatus: href and the rest of the element.
    fn multi(
        &self,
        method: &str,
        target: &str,
        depth: &str,
        body: &str,
    ) -> (Vec<(String, Element)>, Element) {
        let response = self.ask(method, target, &[("depth", depth)], body);
        let status = response.status;
        let bytes = response.into_bytes();
        assert_eq!(status, 207, "{}", String::from_utf8_lossy(&bytes));
        let root = read(&bytes).unwrap();
        let responses = root.all("DAV:", "response");
        let list = responses.map(|r| (r.child("DAV:", "href").unwrap().text.clone(), r.clone())).collect();
        (list, root)
    }

    fn condition(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let response = self.ask(method, target, &[], body);
        let status = response.status;
        let bytes = response.into_bytes();
        let condition = read(&bytes).ok().and_then(|root| Some(root.children.first()?.local.clone()));
        (status, condition.unwrap_or_default())
    }

    pub fn sync(&self, target: &str, token: &str, limit: Option<usize>) -> (Vec<(String, bool)>, String) {
        let limit = limit.map(|n| format!("<limit><nresults>{n}</nresults></limit>")).unwrap_or_default();
        let body = format!(
            "<sync-collection xmlns='DAV:'><sync-token>{token}</sync-token><sync-level>1</sync-level>{limit}<prop><getetag/></prop></sync-collection>"
        );
        let (list, root) = self.multi("REPORT", target, "0", &body);
        let changes = list.into_iter().filter(|(href, _)| href != target);
        let changes = changes.map(|(href, r)| (href, r.child("DAV:", "status").is_none())).collect();
        (changes, root.child("DAV:", "sync-token").unwrap().text.clone())
    }
}

#[test]
fn rfc6764_discovery_from_the_root() {
    let world = World::new();
    let find = "<propfind xmlns='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav' xmlns:R='urn:ietf:params:xml:ns:carddav'><prop><current-user-principal/><C:calendar-home-set/><R:addressbook-home-set/></prop></propfind>";
    let bytes = world.ask("PROPFIND", "/", &[("depth", "0")], find).into_bytes();
    assert!(String::from_utf8_lossy(&bytes).contains("<D:href>/principals/anna/</D:href>"));
    let bytes = world.ask("PROPFIND", "/principals/anna/", &[("depth", "0")], find).into_bytes();
    assert_eq!(String::from_utf8_lossy(&bytes).matches("<D:href>/dav/anna/</D:href>").count(), 2);
    let (list, _) = world.multi(
        "PROPFIND",
        "/dav/anna/",
        "1",
        "<propfind xmlns='DAV:'><prop><resourcetype/></prop></propfind>",
    );
    let hrefs: Vec<&str> = list.iter().map(|(href, _)| href.as_str()).collect();
    assert_eq!(hrefs, ["/dav/anna/", "/dav/anna/calendar/", "/dav/anna/contacts/"]);
    let moved = world.ask("GET", "/.well-known/caldav", &[], "");
    assert_eq!((moved.status, moved.fields[0].1.as_str()), (301, "/dav/"));
    assert_eq!(world.ask("PROPFIND", "/dav/anna/", &[], "").status, 403);
}

#[test]
fn what_is_put_comes_back_byte_for_byte() {
    let world = World::new();
    assert_eq!(world.put("/dav/anna/calendar/a.ics", EVENT), 201);
    assert_eq!(world.put("/dav/anna/calendar/a.ics", EVENT), 204);
    assert_eq!(world.text("/dav/anna/calendar/a.ics"), EVENT);
    assert_eq!(world.put("/dav/anna/contacts/a.vcf", CARD), 201);
    assert_eq!(world.text("/dav/anna/contacts/a.vcf"), CARD);
    assert_eq!(
        world
            .ask(
                "GET",
                "/dav/anna/calendar/a.ics",
                &[("if-none-match", &world.etag("/dav/anna/calendar/a.ics"))],
                ""
            )
            .status,
        304
    );
    assert_eq!(world.ask("DELETE", "/dav/anna/calendar/a.ics", &[], "").status, 204);
    assert_eq!(world.ask("GET", "/dav/anna/calendar/a.ics", &[], "").status, 404);
}

#[test]
fn preconditions_have_their_elements() {
    let world = World::new();
    world.put("/dav/anna/calendar/a.ics", EVENT);
    assert_eq!(world.condition("PUT", "/dav/anna/calendar/b.ics", EVENT), (409, "no-uid-conflict".into()));
    assert_eq!(
        world.condition("PUT", "/dav/anna/calendar/a.ics", &EVENT.replace("UID:1", "UID:2")),
        (409, "no-uid-conflict".into())
    );
    assert_eq!(
        world.condition("PUT", "/dav/anna/calendar/b.ics", "nonsense"),
        (403, "valid-calendar-data".into())
    );
    assert_eq!(world.condition("PUT", "/dav/anna/calendar/b.ics", CARD), (403, "valid-calendar-data".into()));
    assert_eq!(world.condition("PUT", "/dav/anna/contacts/b.vcf", EVENT), (403, "valid-address-data".into()));
    let bomb = EVENT.replace("SUMMARY", "RRULE:FREQ=SECONDLY\r\nSUMMARY").replace("UID:1", "UID:9");
    assert_eq!(world.condition("PUT", "/dav/anna/calendar/b.ics", &bomb), (403, "max-instances".into()));
    assert_eq!(
        world.condition("MKCALENDAR", "/dav/anna/calendar/", ""),
        (403, "resource-must-be-null".into())
    );
    assert_eq!(
        world.condition("MKCALENDAR", "/dav/anna/calendar/inner/", ""),
        (403, "calendar-collection-location-ok".into())
    );
    assert_eq!(world.ask("PUT", "/dav/anna/nowhere/b.ics", &[], EVENT).status, 409);
    assert_eq!(world.ask("PUT", "/dav/anna/calendar/b.ics", &[("if-match", "\"0\"")], EVENT).status, 412);
    assert_eq!(world.ask("PUT", "/dav/anna/calendar/a.ics", &[("if-none-match", "*")], EVENT).status, 412);
    assert_eq!(world.ask("DELETE", "/dav/anna/calendar/a.ics#x", &[], "").status, 400);
    assert_eq!(world.ask("PROPFIND", "/dav/anna/", &[("depth", "1")], "<!DOCTYPE a><a/>").status, 403);
}

#[test]
fn everyone_elses_collections_are_closed_until_shared() {
    let world = World::new();
    world.ask_as("bob", "OPTIONS", "/", &[], "");
    assert_eq!(world.put("/dav/anna/calendar/a.ics", EVENT), 201);
    for (method, target) in [
        ("GET", "/dav/anna/calendar/a.ics"),
        ("PROPFIND", "/dav/anna/"),
        ("PUT", "/dav/anna/calendar/b.ics"),
        ("DELETE", "/dav/anna/calendar/"),
        ("GET", "/dav/nobody/"),
    ] {
        assert_eq!(
            world.ask_as("bob", method, target, &[("depth", "0")], "").status,
            403,
            "{method} {target}"
        );
    }
    let caller = Caller { account: "anna".into(), device: "".into(), program: "".into() };
    let share = world.service.household.change("anna", &caller, |view, change| {
        let mut properties = view.collections["calendar"].properties.as_ref().clone();
        properties.shares.insert("bob".into(), crate::household::properties::Share::Read);
        change.put("calendar/.collection", properties.write())?;
        Ok::<_, store::Error>(((), "shared".into()))
    });
    world.runtime.block_on(share).unwrap();
    for target in ["/dav/anna/calendar/a.ics", "/dav/bob/anna~calendar/a.ics"] {
        assert_eq!(world.ask_as("bob", "GET", target, &[], "").status, 200);
        assert_eq!(world.ask_as("bob", "PUT", target, &[], EVENT).status, 403);
        assert_eq!(world.ask_as("bob", "DELETE", target, &[], "").status, 403);
    }
    let bytes = world.ask_as("bob", "PROPFIND", "/dav/bob/", &[("depth", "1")], "").into_bytes();
    assert!(String::from_utf8_lossy(&bytes).contains("/dav/bob/anna~calendar/"));
}

#[test]
fn rfc6578_every_change_exactly_once() {
    let world = World::new();
    let home = "/dav/anna/calendar/";
    let event = |n: usize, text: &str| EVENT.replace("UID:1", &format!("UID:{n}")).replace("Dentist", text);
    let (_, empty) = world.sync(home, "", None);
    (0..10).for_each(|n| assert_eq!(world.put(&format!("{home}{n}.ics"), &event(n, "a")), 201));
    let (all, token) = world.sync(home, &empty, None);
    assert_eq!(all.len(), 10);
    assert_eq!(world.sync(home, &token, None), (vec![], token.clone()));
    world.put(&format!("{home}3.ics"), &event(3, "b"));
    world.ask("DELETE", &format!("{home}4.ics"), &[], "");
    world.put(&format!("{home}10.ics"), &event(10, "a"));
    world.ask("DELETE", &format!("{home}10.ics"), &[], "");
    let (changes, after) = world.sync(home, &token, None);
    let mut changes = changes;
    changes.sort();
    assert_eq!(changes, [(format!("{home}3.ics"), true), (format!("{home}4.ics"), false)]);
    // In pieces, with changes in between: nothing lost, nothing twice.
    let (mut seen, mut at) = (Vec::new(), empty);
    for round in 0..20 {
        let (some, next) = world.sync(home, &at, Some(2));
        if round == 1 {
            world.put(&format!("{home}0.ics"), &event(0, "later"));
        }
        assert!(some.len() <= 2);
        seen.extend(some.into_iter().map(|(href, _)| href));
        at = next;
    }
    seen.sort();
    let zero = format!("{home}0.ics");
    assert_eq!(seen.iter().filter(|href| **href == zero).count(), 2);
    assert_eq!(seen.len(), 10);
    assert_eq!(world.sync(home, &at, None).0, []);
    assert_ne!(after, token);
    for bad in ["urn:nymote:sync:zz", "data:,1", &format!("urn:nymote:sync:{}", "0".repeat(40))] {
        let body = format!(
            "<sync-collection xmlns='DAV:'><sync-token>{bad}</sync-token><sync-level>1</sync-level><prop/></sync-collection>"
        );
        assert_eq!(world.condition("REPORT", home, &body), (403, "valid-sync-token".into()), "{bad}");
    }
}

#[test]
fn two_offline_devices_both_win_or_are_both_kept() {
    let world = World::new();
    let path = "/dav/anna/calendar/a.ics";
    world.put(path, EVENT);
    let tag = world.etag(path);
    let change =
        |from: &str, to: &str| world.ask("PUT", path, &[("if-match", &tag)], &EVENT.replace(from, to)).status;
    assert_eq!(change("SUMMARY:Dentist", "SUMMARY:Doctor"), 204);
    assert_eq!(change("END:VEVENT", "LOCATION:Main St\r\nEND:VEVENT"), 204);
    let merged = world.text(path);
    assert!(merged.contains("SUMMARY:Doctor\r\n") && merged.contains("LOCATION:Main St\r\n"), "{merged}");
    assert_eq!(change("SUMMARY:Dentist", "SUMMARY:Optician"), 412);
    assert_eq!(world.text(path), merged);
    let kept = world.service.household.store().branch(refused_branch("anna")).unwrap().snapshot().unwrap();
    let kept: Vec<String> =
        kept.walk("").unwrap().map(|entry| entry.unwrap().path.to_str().into_owned()).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let (changes, _) = world.sync("/dav/anna/calendar/", "", None);
    assert_eq!(changes.len(), 1);
}

#[test]
fn queries_multigets_and_busy_times() {
    let world = World::new();
    let home = "/dav/anna/calendar/";
    for n in 0..30 {
        let body =
            EVENT.replace("UID:1", &format!("UID:{n}")).replace("202405", &format!("2024{:02}", n % 12 + 1));
        let body =
            if n % 5 == 0 { body.replace("SUMMARY", "RRULE:FREQ=WEEKLY;COUNT=60\r\nSUMMARY") } else { body };
        assert_eq!(world.put(&format!("{home}{n}.ics"), &body), 201);
    }
    let query = |inside: &str, data: &str| {
        format!(
            "<C:calendar-query xmlns='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><prop><getetag/>{data}</prop><C:filter><C:comp-filter name='VCALENDAR'>{inside}</C:comp-filter></C:filter></C:calendar-query>"
        )
    };
    let month = "<C:comp-filter name='VEVENT'><C:time-range start='20240601T000000Z' end='20240701T000000Z'/></C:comp-filter>";
    let expected = (0..30).filter(|n| n % 12 + 1 == 6 || (n % 5 == 0 && n % 12 < 6)).count();
    let (list, _) = world.multi("REPORT", home, "1", &query(month, ""));
    assert_eq!(list.len(), expected);
    let expand =
        "<C:calendar-data><C:expand start='20240601T000000Z' end='20240701T000000Z'/></C:calendar-data>";
    let (list, _) = world.multi("REPORT", home, "1", &query(month, expand));
    assert_eq!(list.len(), expected);
    let get = format!(
        "<C:calendar-multiget xmlns='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><prop><getetag/><C:calendar-data/></prop><href>{home}1.ics</href><href>{home}none.ics</href><href>/dav/bob/calendar/x.ics</href></C:calendar-multiget>"
    );
    let (list, _) = world.multi("REPORT", home, "1", &get);
    let found: Vec<bool> = list.iter().map(|(_, r)| r.child("DAV:", "propstat").is_some()).collect();
    assert_eq!(found, [true, false, false]);
    let data = list[0].1.children[1]
        .child("DAV:", "prop")
        .unwrap()
        .child("urn:ietf:params:xml:ns:caldav", "calendar-data")
        .unwrap();
    assert_eq!(data.text, world.text(&format!("{home}1.ics")));
    let busy = "<C:free-busy-query xmlns:C='urn:ietf:params:xml:ns:caldav'><C:time-range start='20240601T000000Z' end='20240602T000000Z'/></C:free-busy-query>";
    let text = world.ask("REPORT", home, &[], busy).into_bytes();
    assert!(
        String::from_utf8_lossy(&text).contains("FREEBUSY;FBTYPE=BUSY:20240601T100000Z/20240601T110000Z")
    );
    let bad = "<C:comp-filter name='VEVENT'><C:prop-filter name='SUMMARY'><C:text-match collation='x'>a</C:text-match></C:prop-filter></C:comp-filter>";
    assert_eq!(world.condition("REPORT", home, &query(bad, "")), (403, "supported-collation".into()));
}

#[test]
fn rfc3253_3_6_a_query_without_a_depth_is_of_the_resource_itself() {
    let world = World::new();
    assert_eq!(world.put("/dav/anna/calendar/1.ics", EVENT), 201);
    assert_eq!(world.put("/dav/anna/contacts/1.vcf", CARD), 201);
    let events = "<C:calendar-query xmlns='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><prop><getetag/></prop><C:filter><C:comp-filter name='VCALENDAR'/></C:filter></C:calendar-query>";
    let cards = "<R:addressbook-query xmlns='DAV:' xmlns:R='urn:ietf:params:xml:ns:carddav'><prop><getetag/></prop><R:filter/></R:addressbook-query>";
    for (home, name, query) in
        [("/dav/anna/calendar/", "1.ics", events), ("/dav/anna/contacts/", "1.vcf", cards)]
    {
        let found = |target: &str, depth: &[(&str, &str)]| {
            let text = world.ask("REPORT", target, depth, query).into_bytes();
            String::from_utf8_lossy(&text).matches("getetag>").count() / 2
        };
        let member = format!("{home}{name}");
        assert_eq!((found(home, &[]), found(home, &[("depth", "0")])), (0, 0), "{home}");
        assert_eq!((found(home, &[("depth", "1")]), found(home, &[("depth", "infinity")])), (1, 1), "{home}");
        assert_eq!((found("/dav/anna/", &[("depth", "1")]), found(&member, &[])), (1, 1), "{home}");
    }
}

#[test]
fn rfc4918_10_1_options_of_the_server_as_a_whole() {
    let response = options();
    let field =
        |name: &str| response.fields.iter().find(|(one, _)| *one == name).map(|(_, value)| &value[..]);
    assert_eq!((response.status, field("allow"), field("dav")), (200, Some(ALLOW), Some(CLASSES)));
}

#[test]
fn collections_are_made_changed_copied_and_moved() {
    let world = World::new();
    let make = "<mkcol xmlns='DAV:' xmlns:R='urn:ietf:params:xml:ns:carddav'><set><prop><resourcetype><collection/><R:addressbook/></resourcetype><displayname>B &amp; C</displayname></prop></set></mkcol>";
    assert_eq!(world.ask("MKCOL", "/dav/anna/book/", &[], make).status, 201);
    assert_eq!(world.ask("MKCOL", "/dav/anna/book/", &[], make).status, 405);
    assert_eq!(world.ask("MKCOL", "/dav/anna/a/b/", &[], "").status, 409);
    assert_eq!(world.ask("MKCOL", "/dav/anna/files", &[("content-type", "text/plain")], "x").status, 415);
    assert_eq!(world.ask("MKCOL", "/dav/anna/files", &[], "").status, 201);
    assert_eq!(world.put("/dav/anna/files/.%20a%25.txt", "text"), 201);
    assert_eq!(world.text("/dav/anna/files/.%20a%25.txt"), "text");
    let patch = "<propertyupdate xmlns='DAV:'><set><prop><displayname>Neu</displayname><x:y xmlns:x='urn:x'>v<x:z/></x:y></prop></set></propertyupdate>";
    assert_eq!(world.ask("PROPPATCH", "/dav/anna/book/", &[], patch).status, 207);
    let bytes = world.ask("PROPFIND", "/dav/anna/book/", &[("depth", "0")], "").into_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(
        text.contains("Neu") && text.contains("<y xmlns=\"urn:x\">v<z xmlns=\"urn:x\"></z></y>"),
        "{text}"
    );
    world.put("/dav/anna/book/1.vcf", CARD);
    let to = |path: &str| [("destination".to_string(), format!("https://h{path}"))];
    let send = |method: &str, from: &str, path: &str, more: &[(&str, &str)]| {
        let to = to(path);
        let mut fields: Vec<(&str, &str)> = to.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        fields.extend(more);
        world.ask(method, from, &fields, "").status
    };
    assert_eq!(send("COPY", "/dav/anna/book/1.vcf", "/dav/anna/book/2.vcf", &[]), 409);
    assert_eq!(send("MOVE", "/dav/anna/book/1.vcf", "/dav/anna/book/2.vcf", &[]), 201);
    assert_eq!(send("COPY", "/dav/anna/book/2.vcf", "/dav/anna/contacts/2.vcf", &[]), 201);
    assert_eq!(send("COPY", "/dav/anna/book/2.vcf", "/dav/anna/contacts/2.vcf", &[("overwrite", "F")]), 412);
    assert_eq!(send("COPY", "/dav/anna/book/2.vcf", "/dav/anna/contacts/2.vcf", &[]), 204);
    assert_eq!(send("COPY", "/dav/anna/files/", "/dav/anna/files2/", &[]), 201);
    assert_eq!(world.text("/dav/anna/files2/.%20a%25.txt"), "text");
    assert_eq!(send("MOVE", "/dav/anna/book/", "/dav/anna/files2/book/", &[]), 201);
    assert_eq!(world.text("/dav/anna/files2/book/2.vcf"), CARD);
    assert_eq!(world.ask("DELETE", "/dav/anna/files2/", &[], "").status, 204);
    assert_eq!(world.ask("GET", "/dav/anna/files2/book/2.vcf", &[], "").status, 404);
    let added = world.ask("POST", "/dav/anna/contacts/?add-member", &[], &CARD.replace("c1", "c7"));
    assert_eq!((added.status, added.fields[0].1.as_str()), (201, "/dav/anna/contacts/c7.vcf"));
}

#[test]
fn rfc8144_preferences() {
    let world = World::new();
    world.put("/dav/anna/calendar/a.ics", EVENT);
    let field = |response: &Response, name: &str| {
        response
            .fields
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    let ask = "<propfind xmlns='DAV:' xmlns:x='urn:x'><prop><getetag/><x:none/></prop></propfind>";
    let full = world.ask("PROPFIND", "/dav/anna/calendar/", &[("depth", "1")], ask).into_bytes();
    assert!(String::from_utf8_lossy(&full).contains("404 Not Found"));
    let fields = [("depth", "1"), ("prefer", "return=minimal, depth-noroot")];
    let minimal = world.ask("PROPFIND", "/dav/anna/calendar/", &fields, ask);
    assert_eq!(field(&minimal, "preference-applied"), "return=minimal, depth-noroot");
    let text = String::from_utf8(minimal.into_bytes().to_vec()).unwrap();
    assert!(!text.contains("404") && !text.contains("<D:href>/dav/anna/calendar/</D:href>"), "{text}");
    let query = "<C:calendar-query xmlns='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav' xmlns:x='urn:x'><prop><getetag/><x:none/></prop><C:filter><C:comp-filter name='VCALENDAR'/></C:filter></C:calendar-query>";
    let report =
        world.ask("REPORT", "/dav/anna/calendar/", &[("depth", "1"), ("prefer", "return=minimal")], query);
    assert_eq!(field(&report, "preference-applied"), "return=minimal");
    assert!(!String::from_utf8_lossy(&report.into_bytes()).contains("404"));
    let patch = "<propertyupdate xmlns='DAV:'><set><prop><displayname>Own</displayname></prop></set></propertyupdate>";
    let patched = world.ask("PROPPATCH", "/dav/anna/calendar/", &[("prefer", "return=minimal")], patch);
    assert_eq!((patched.status, field(&patched, "preference-applied").as_str()), (204, "return=minimal"));
    let fields =
        [("if-match", "\"0000000000000000000000000000000000000000\""), ("prefer", "return=representation")];
    let refused = world.ask("PUT", "/dav/anna/calendar/a.ics", &fields, &EVENT.replace("Dentist", "Other"));
    assert_eq!((refused.status, field(&refused, "etag")), (412, world.etag("/dav/anna/calendar/a.ics")));
    assert_eq!(field(&refused, "content-location"), "/dav/anna/calendar/a.ics");
    assert_eq!(refused.into_bytes(), EVENT);
}

#[test]
fn media_types_of_bodies() {
    let world = World::new();
    let put = |target: &str, kind: &str, body: &str| {
        let response = world.ask("PUT", target, &[("content-type", kind)], body);
        let status = response.status;
        let bytes = response.into_bytes();
        let condition = read(&bytes).ok().and_then(|root| Some(root.children.first()?.local.clone()));
        (status, condition.unwrap_or_default())
    };
    let (event, card) = ("/dav/anna/calendar/a.ics", "/dav/anna/contacts/a.vcf");
    assert_eq!(put(event, "text/calendar; charset=utf-8", EVENT).0, 201);
    assert_eq!(put(event, "application/octet-stream", EVENT).0, 204);
    assert_eq!(put(event, "text/calendar", "nonsense"), (403, "valid-calendar-data".into()));
    assert_eq!(put(event, "text/plain", "nonsense"), (403, "supported-calendar-data".into()));
    assert_eq!(put(event, "application/calendar+json", EVENT), (403, "supported-calendar-data".into()));
    assert_eq!(put(event, "text/vcard", CARD), (403, "supported-calendar-data".into()));
    assert_eq!(put(card, "text/vcard", CARD).0, 201);
    assert_eq!(put(card, "image/png", CARD), (403, "supported-address-data".into()));
    // A body that is no XML is malformed, whatever it says of itself; a new collection's may be of an unknown type.
    for kind in ["application/xml", "text/plain"] {
        let fields = [("depth", "0"), ("content-type", kind)];
        assert_eq!(world.ask("PROPFIND", "/dav/anna/", &fields, "<a").status, 400, "{kind}");
    }
    assert_eq!(world.ask("MKCOL", "/dav/anna/x/", &[("content-type", "text/plain")], "x").status, 415);
    let fields = [("depth", "0"), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(
        world.ask("PROPFIND", "/dav/anna/", &fields, "<propfind xmlns='DAV:'><allprop/></propfind>").status,
        207
    );
}

#[test]
fn rfc7809_zones_by_reference() {
    let world = World::new();
    let zoned = EVENT
        .replace("DTSTART:20240501T100000Z", "DTSTART;TZID=Europe/Berlin:20240501T100000")
        .replace("DTEND:20240501T110000Z", "DTEND;TZID=Europe/Berlin:20240501T110000");
    world.put("/dav/anna/calendar/a.ics", &zoned);
    assert_eq!(world.text("/dav/anna/calendar/a.ics"), zoned);
    let with = world.ask("GET", "/dav/anna/calendar/a.ics", &[("caldav-timezones", "T")], "");
    assert!(with.fields.iter().all(|(name, _)| *name != "etag"), "not the bytes that the ETag names");
    let with = String::from_utf8(with.into_bytes().to_vec()).unwrap();
    assert!(with.contains("BEGIN:VTIMEZONE") && with.contains("TZID:Europe/Berlin"), "{with}");
    world.put("/dav/anna/calendar/a.ics", &with);
    let without = world.ask("GET", "/dav/anna/calendar/a.ics", &[("caldav-timezones", "F")], "").into_bytes();
    assert_eq!(without, zoned);
    let query = "<C:calendar-query xmlns='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><prop><C:calendar-data/></prop><C:filter><C:comp-filter name='VCALENDAR'/></C:filter></C:calendar-query>";
    let report = world
        .ask("REPORT", "/dav/anna/calendar/", &[("depth", "1"), ("caldav-timezones", "F")], query)
        .into_bytes();
    assert!(!String::from_utf8_lossy(&report).contains("VTIMEZONE"));
    assert_eq!(
        world.ask("GET", "/dav/anna/calendar/a.ics", &[("caldav-timezones", "perhaps")], "").status,
        400
    );
    assert!(
        world
            .ask("OPTIONS", "/dav/anna/", &[], "")
            .fields
            .iter()
            .any(|(_, v)| v.contains("calendar-no-timezone"))
    );
}

#[test]
fn purged_objects_are_in_no_commit() {
    let world = World::new();
    world.put("/dav/anna/calendar/a.ics", EVENT);
    world.put("/dav/anna/calendar/b.ics", &EVENT.replace("UID:1", "UID:2").replace("Dentist", "Concert"));
    let (_, token) = world.sync("/dav/anna/calendar/", "", None);
    let caller = Caller { account: "anna".into(), device: "page".into(), program: "test".into() };
    let household = &world.service.household;
    world.runtime.block_on(household.purge(&caller, "calendar", "a.ics")).unwrap();
    assert_eq!(world.ask("GET", "/dav/anna/calendar/a.ics", &[], "").status, 404);
    assert_eq!(world.ask("GET", "/dav/anna/calendar/b.ics", &[], "").status, 200);
    for found in household.branch("anna").unwrap().history("").unwrap() {
        let (id, commit) = found.unwrap();
        let all = household.store().snapshot_at(id).unwrap().walk("").unwrap();
        assert!(all.map(Result::unwrap).all(|entry| entry.name() != "a.ics"));
        assert!(!commit.message.contains("Dentist"), "{}", commit.message);
    }
    let body = format!(
        "<sync-collection xmlns='DAV:'><sync-token>{token}</sync-token><sync-level>1</sync-level><prop/></sync-collection>"
    );
    assert_eq!(world.condition("REPORT", "/dav/anna/calendar/", &body), (403, "valid-sync-token".into()));
    // What another account has under the same name stays.
    world.ask_as("bob", "PUT", "/dav/bob/calendar/b.ics", &[], EVENT);
    world.runtime.block_on(household.purge(&caller, "calendar", "b.ics")).unwrap();
    assert_eq!(world.ask("GET", "/dav/anna/calendar/b.ics", &[], "").status, 404);
    assert_eq!(world.ask_as("bob", "GET", "/dav/bob/calendar/b.ics", &[], "").status, 200);
}
