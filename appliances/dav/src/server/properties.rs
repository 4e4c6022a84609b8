//! Live properties: what each resource says of itself.

use super::Service;
use super::subject::{Access, At, Subject};
use crate::household::properties::Kind;
use crate::household::summary::ObjectKind;
use crate::household::view::Member;
use crate::limits::{ACCOUNT_BYTES_MAX, ATTENDEES_MAX, INSTANCES_MAX, OBJECT_BYTES_MAX};
use crate::path::principal_href;
use crate::text_match::COLLATIONS;
use crate::xml::write::Writer;
use crate::xml::{APPLE, CALDAV, CALENDAR_SERVER, CARDDAV, DAV, Name};

/// Properties that `allprop` gives, besides dead ones (RFC 4918 section 9.1).
pub const ALLPROP: [&str; 8] = [
    "resourcetype",
    "displayname",
    "getetag",
    "getcontenttype",
    "getcontentlength",
    "getlastmodified",
    "creationdate",
    "supportedlock",
];

/// Every live property that some resource has: for `propname`, and for what PROPPATCH may not touch.
pub const LIVE: &[(&str, &[&str])] = &[
    (
        DAV,
        &[
            "resourcetype",
            "displayname",
            "getetag",
            "getcontenttype",
            "getcontentlength",
            "getlastmodified",
            "creationdate",
            "supportedlock",
            "lockdiscovery",
            "current-user-principal",
            "current-user-privilege-set",
            "owner",
            "principal-URL",
            "principal-collection-set",
            "supported-report-set",
            "supported-privilege-set",
            "acl",
            "acl-restrictions",
            "inherited-acl-set",
            "quota-available-bytes",
            "quota-used-bytes",
            "sync-token",
            "add-member",
            "group-member-set",
            "group-membership",
            "alternate-URI-set",
            "group",
            "resource-id",
        ],
    ),
    (
        CALDAV,
        &[
            "calendar-home-set",
            "calendar-user-address-set",
            "calendar-user-type",
            "calendar-description",
            "calendar-timezone",
            "calendar-timezone-id",
            "supported-calendar-component-set",
            "supported-calendar-data",
            "supported-collation-set",
            "max-resource-size",
            "max-instances",
            "max-attendees-per-instance",
            "min-date-time",
            "max-date-time",
            "schedule-calendar-transp",
            "timezone-service-set",
        ],
    ),
    (
        CARDDAV,
        &[
            "addressbook-home-set",
            "addressbook-description",
            "supported-address-data",
            "supported-collation-set",
            "max-resource-size",
            "principal-address",
        ],
    ),
    (CALENDAR_SERVER, &["getctag", "email-address-set", "source", "shared-url"]),
    (APPLE, &["calendar-color", "calendar-order"]),
];

/// Live properties that PROPPATCH may set on a collection.
pub const SETTABLE: &[(&str, &str)] = &[
    (DAV, "displayname"),
    (CALDAV, "calendar-description"),
    (CALDAV, "calendar-timezone"),
    (CALDAV, "calendar-timezone-id"),
    (CALDAV, "schedule-calendar-transp"),
    (CARDDAV, "addressbook-description"),
    (APPLE, "calendar-color"),
    (APPLE, "calendar-order"),
];

impl Service {
    /// Writes a live property; `false` when the resource does not have it.
    pub fn live(&self, caller: &str, subject: &Subject, ns: &str, local: &str, out: &mut Writer) -> bool {
        if common(caller, subject, ns, local, out) {
            return true;
        }
        match subject {
            Subject::Root | Subject::Accounts | Subject::Principals => {
                if (ns, local) == (DAV, "resourcetype") {
                    out.raw("<D:resourcetype><D:collection/></D:resourcetype>");
                    return true;
                }
                // Clients that were given the root, or forgot to follow current-user-principal, find the way.
                self.home(caller, ns, local, out)
            }
            Subject::Principal(account) => self.principal(account, ns, local, out),
            Subject::Collection(at) => self.collection(caller, at, ns, local, out),
            Subject::Member(at, name, member) => of_member(at, name, member, ns, local, out),
        }
    }

    fn home(&self, account: &str, ns: &str, local: &str, out: &mut Writer) -> bool {
        let name = match (ns, local) {
            (CALDAV, "calendar-home-set") => "C:calendar-home-set",
            (CARDDAV, "addressbook-home-set") => "R:addressbook-home-set",
            _ => return false,
        };
        let home = crate::path::href(account, &[], true);
        out.raw("<").raw(name).raw(">").href(&home).raw("</").raw(name).raw(">");
        true
    }

    fn principal(&self, account: &str, ns: &str, local: &str, out: &mut Writer) -> bool {
        let address = || format!("{account}@{}", self.domain);
        match (ns, local) {
            (DAV, "resourcetype") => out.raw("<D:resourcetype><D:principal/></D:resourcetype>"),
            (DAV, "displayname") => out.leaf("D:displayname", account),
            (DAV, "principal-URL") => {
                out.raw("<D:principal-URL>").href(&principal_href(account)).raw("</D:principal-URL>")
            }
            (DAV, "alternate-URI-set") => out.raw("<D:alternate-URI-set/>"),
            (DAV, "group-member-set") => out.raw("<D:group-member-set/>"),
            (DAV, "group-membership") => out.raw("<D:group-membership/>"),
            (CALDAV, "calendar-user-address-set") => out
                .raw("<C:calendar-user-address-set>")
                .href(&format!("mailto:{}", address()))
                .href(&principal_href(account))
                .raw("</C:calendar-user-address-set>"),
            (CALDAV, "calendar-user-type") => out.leaf("C:calendar-user-type", "INDIVIDUAL"),
            (CALENDAR_SERVER, "email-address-set") => out
                .raw("<S:email-address-set>")
                .leaf("S:email-address", &address())
                .raw("</S:email-address-set>"),
            _ => return self.home(account, ns, local, out),
        };
        true
    }

    fn collection(&self, caller: &str, at: &At, ns: &str, local: &str, out: &mut Writer) -> bool {
        let (collection, properties) = (&at.collection, &at.collection.properties);
        let optional = |value: &Option<String>, name: &str, out: &mut Writer| match value {
            Some(value) => {
                out.leaf(name, value);
                true
            }
            None => false,
        };
        match (ns, local, properties.kind) {
            (DAV, "resourcetype", kind) => {
                out.raw("<D:resourcetype><D:collection/>");
                match kind {
                    Kind::Calendar => out.raw("<C:calendar/>"),
                    Kind::AddressBook => out.raw("<R:addressbook/>"),
                    Kind::Plain => out,
                };
                if at.owner != caller && kind != Kind::Plain {
                    out.raw("<S:shared/>");
                }
                out.raw("</D:resourcetype>");
            }
            (DAV, "displayname", _) => {
                let name = collection.display_name();
                let name = if at.owner == caller { name } else { format!("{name} ({})", at.owner) };
                out.leaf("D:displayname", if name.is_empty() { caller } else { &name });
            }
            (DAV, "getetag", _) => match &collection.tree {
                Some(tree) => {
                    out.leaf("D:getetag", &format!("\"{tree}\""));
                }
                None => return false,
            },
            (DAV, "quota-used-bytes", _) => {
                let used: u64 = at.view.collections.values().map(|c| c.bytes()).sum();
                out.leaf("D:quota-used-bytes", &used.to_string());
            }
            (DAV, "quota-available-bytes", _) => {
                let used: u64 = at.view.collections.values().map(|c| c.bytes()).sum();
                out.leaf("D:quota-available-bytes", &ACCOUNT_BYTES_MAX.saturating_sub(used).to_string());
            }
            (DAV, "sync-token", _) => {
                out.leaf("D:sync-token", &super::sync::token(collection.since.or(at.view.snapshot.commit())));
            }
            (CALENDAR_SERVER, "getctag", Kind::Calendar | Kind::AddressBook) => {
                let tree = collection.tree.map(|tree| tree.to_string()).unwrap_or_else(|| "empty".into());
                out.leaf("S:getctag", &tree);
            }
            (DAV, "add-member", Kind::Calendar | Kind::AddressBook) => {
                out.raw("<D:add-member>").href(&format!("{}?add-member", at.href())).raw("</D:add-member>");
            }
            (DAV, "supported-report-set", kind) => supported_reports(kind, out),
            (CALDAV, "calendar-description", Kind::Calendar) => {
                return optional(&properties.description, "C:calendar-description", out);
            }
            (CALDAV, "calendar-timezone", Kind::Calendar) => {
                return optional(&properties.timezone, "C:calendar-timezone", out);
            }
            (CALDAV, "calendar-timezone-id", Kind::Calendar) => {
                return optional(&properties.timezone_id, "C:calendar-timezone-id", out);
            }
            (CALDAV, "supported-calendar-component-set", Kind::Calendar) => {
                out.raw("<C:supported-calendar-component-set>");
                for component in properties.component_set() {
                    out.raw("<C:comp name=\"").text(component).raw("\"/>");
                }
                out.raw("</C:supported-calendar-component-set>");
            }
            (CALDAV, "supported-calendar-data", Kind::Calendar) => {
                out.raw("<C:supported-calendar-data><C:calendar-data content-type=\"text/calendar\" version=\"2.0\"/></C:supported-calendar-data>");
            }
            (CALDAV, "max-resource-size", Kind::Calendar) => {
                out.leaf("C:max-resource-size", &OBJECT_BYTES_MAX.to_string());
            }
            (CALDAV, "max-instances", Kind::Calendar) => {
                out.leaf("C:max-instances", &INSTANCES_MAX.to_string());
            }
            (CALDAV, "max-attendees-per-instance", Kind::Calendar) => {
                out.leaf("C:max-attendees-per-instance", &ATTENDEES_MAX.to_string());
            }
            (CALDAV, "min-date-time", Kind::Calendar) => {
                out.leaf("C:min-date-time", "00010101T000000Z");
            }
            (CALDAV, "max-date-time", Kind::Calendar) => {
                out.leaf("C:max-date-time", "99991231T235959Z");
            }
            (CALDAV, "schedule-calendar-transp", Kind::Calendar) => {
                let kind = if properties.transparent { "<C:transparent/>" } else { "<C:opaque/>" };
                out.raw("<C:schedule-calendar-transp>").raw(kind).raw("</C:schedule-calendar-transp>");
            }
            (CALDAV, "supported-collation-set", Kind::Calendar) => collations("C", out),
            (CARDDAV, "supported-collation-set", Kind::AddressBook) => collations("R", out),
            (CARDDAV, "addressbook-description", Kind::AddressBook) => {
                return optional(&properties.description, "R:addressbook-description", out);
            }
            (CARDDAV, "supported-address-data", Kind::AddressBook) => {
                out.raw("<R:supported-address-data><R:address-data-type content-type=\"text/vcard\" version=\"3.0\"/><R:address-data-type content-type=\"text/vcard\" version=\"4.0\"/></R:supported-address-data>");
            }
            (CARDDAV, "max-resource-size", Kind::AddressBook) => {
                out.leaf("R:max-resource-size", &OBJECT_BYTES_MAX.to_string());
            }
            (APPLE, "calendar-color", Kind::Calendar) => {
                return optional(&properties.color, "A:calendar-color", out);
            }
            (APPLE, "calendar-order", Kind::Calendar) => match properties.order {
                Some(order) => {
                    out.leaf("A:calendar-order", &order.to_string());
                }
                None => return false,
            },
            _ => return self.home(caller, ns, local, out) && at.names.is_empty(),
        }
        true
    }
}

/// What every resource says.
fn common(caller: &str, subject: &Subject, ns: &str, local: &str, out: &mut Writer) -> bool {
    if ns != DAV {
        return false;
    }
    match local {
        "supportedlock" => out.raw("<D:supportedlock/>"),
        "lockdiscovery" => out.raw("<D:lockdiscovery/>"),
        "current-user-principal" => out
            .raw("<D:current-user-principal>")
            .href(&principal_href(caller))
            .raw("</D:current-user-principal>"),
        "principal-collection-set" => {
            out.raw("<D:principal-collection-set>").href("/principals/").raw("</D:principal-collection-set>")
        }
        "owner" => {
            let owner = match subject {
                Subject::Collection(at) | Subject::Member(at, _, _) => &at.owner,
                Subject::Principal(account) => account,
                _ => caller,
            };
            out.raw("<D:owner>").href(&principal_href(owner)).raw("</D:owner>")
        }
        "current-user-privilege-set" => {
            out.raw("<D:current-user-privilege-set>");
            for privilege in privileges(subject) {
                out.raw("<D:privilege><").raw(privilege).raw("/></D:privilege>");
            }
            out.raw("</D:current-user-privilege-set>")
        }
        "supported-report-set" if !matches!(subject, Subject::Collection(_)) => {
            supported_reports_of_principals(out);
            out
        }
        "acl" => {
            out.raw("<D:acl><D:ace><D:principal>")
                .href(&principal_href(caller))
                .raw("</D:principal><D:grant>");
            for privilege in privileges(subject) {
                out.raw("<D:privilege><").raw(privilege).raw("/></D:privilege>");
            }
            out.raw("</D:grant><D:protected/></D:ace></D:acl>")
        }
        "acl-restrictions" => {
            out.raw("<D:acl-restrictions><D:grant-only/><D:no-invert/></D:acl-restrictions>")
        }
        "inherited-acl-set" => out.raw("<D:inherited-acl-set/>"),
        "supported-privilege-set" => {
            out.raw("<D:supported-privilege-set><D:supported-privilege><D:privilege><D:all/></D:privilege><D:abstract/><D:description xml:lang=\"en\">Everything</D:description>");
            for privilege in OWNER.iter().filter(|p| **p != "D:all") {
                out.raw("<D:supported-privilege><D:privilege><")
                    .raw(privilege)
                    .raw("/></D:privilege><D:description xml:lang=\"en\">");
                out.raw(&privilege[2..]).raw("</D:description></D:supported-privilege>");
            }
            out.raw("</D:supported-privilege></D:supported-privilege-set>")
        }
        _ => return false,
    };
    true
}

const OWNER: [&str; 10] = [
    "D:all",
    "D:read",
    "D:write",
    "D:write-properties",
    "D:write-content",
    "D:bind",
    "D:unbind",
    "D:read-acl",
    "D:read-current-user-privilege-set",
    "C:read-free-busy",
];
const WRITER: [&str; 7] = [
    "D:read",
    "D:write",
    "D:write-content",
    "D:bind",
    "D:unbind",
    "D:read-current-user-privilege-set",
    "C:read-free-busy",
];
const READER: [&str; 3] = ["D:read", "D:read-current-user-privilege-set", "C:read-free-busy"];

fn privileges(subject: &Subject) -> &'static [&'static str] {
    match subject {
        Subject::Collection(at) | Subject::Member(at, _, _) => match at.access {
            Access::Own => &OWNER,
            Access::Write => &WRITER,
            Access::Read => &READER,
        },
        _ => &READER,
    }
}

fn of_member(at: &At, name: &str, member: &Member, ns: &str, local: &str, out: &mut Writer) -> bool {
    if ns != DAV {
        return false;
    }
    match local {
        "resourcetype" => out.raw("<D:resourcetype/>"),
        "getetag" => out.raw("<D:getetag>\"").raw(&member.id.to_string()).raw("\"</D:getetag>"),
        "getcontenttype" => out.leaf("D:getcontenttype", &content_type(name, member)),
        "getcontentlength" => out.leaf("D:getcontentlength", &member.summary.size.to_string()),
        "getlastmodified" => out.leaf("D:getlastmodified", &http_date(member.summary.put_at)),
        "creationdate" => out.leaf("D:creationdate", &iso_date(member.summary.put_at)),
        "displayname" if at.collection.is_sharded() && !member.summary.title.is_empty() => {
            out.leaf("D:displayname", &member.summary.title)
        }
        "displayname" => out.leaf("D:displayname", name),
        _ => return false,
    };
    true
}

/// The media type of a member: by what is in it, for files by the name's end.
pub fn content_type(name: &str, member: &Member) -> String {
    match member.summary.kind {
        ObjectKind::Card | ObjectKind::Group => "text/vcard; charset=utf-8".into(),
        ObjectKind::File => {
            let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
            match end.as_str() {
                "txt" | "md" | "log" => "text/plain; charset=utf-8",
                "html" | "htm" => "text/html; charset=utf-8",
                "ics" => "text/calendar; charset=utf-8",
                "vcf" => "text/vcard; charset=utf-8",
                "json" => "application/json",
                "xml" => "application/xml",
                "pdf" => "application/pdf",
                "png" => "image/png",
                "jpg" | "jpeg" => "image/jpeg",
                "gif" => "image/gif",
                "svg" => "image/svg+xml",
                _ => "application/octet-stream",
            }
            .into()
        }
        kind => format!("text/calendar; charset=utf-8; component={}", kind.component().to_ascii_lowercase()),
    }
}

/// Seconds since 1970 as HTTP writes them.
pub fn http_date(seconds: i64) -> String {
    chassis::clock::http_date(seconds.max(0) as u64 * 1000)
}

fn iso_date(seconds: i64) -> String {
    let civil = crate::calendar::civil::Civil(seconds);
    let (hour, minute, second) = civil.hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", civil.day().iso())
}

fn collations(prefix: &str, out: &mut Writer) {
    out.raw(&format!("<{prefix}:supported-collation-set>"));
    for collation in COLLATIONS {
        out.leaf(&format!("{prefix}:supported-collation"), collation);
    }
    out.raw(&format!("</{prefix}:supported-collation-set>"));
}

fn supported_reports(kind: Kind, out: &mut Writer) {
    let special: &[&str] = match kind {
        Kind::Plain => &[],
        Kind::Calendar => &["C:calendar-query", "C:calendar-multiget", "C:free-busy-query"],
        Kind::AddressBook => &["R:addressbook-query", "R:addressbook-multiget"],
    };
    let general = [
        "D:sync-collection",
        "D:expand-property",
        "D:principal-property-search",
        "D:principal-search-property-set",
    ];
    reports(special.iter().chain(&general), out);
}

fn supported_reports_of_principals(out: &mut Writer) {
    reports(
        ["D:expand-property", "D:principal-property-search", "D:principal-search-property-set"].iter(),
        out,
    );
}

fn reports<'a>(names: impl Iterator<Item = &'a &'a str>, out: &mut Writer) {
    out.raw("<D:supported-report-set>");
    for name in names {
        out.raw("<D:supported-report><D:report><").raw(name).raw("/></D:report></D:supported-report>");
    }
    out.raw("</D:supported-report-set>");
}

/// Whether a name is one of ours: it cannot be a dead property.
pub fn is_live(name: &Name) -> bool {
    LIVE.iter().any(|(ns, locals)| *ns == name.ns && locals.contains(&name.local.as_str()))
}
