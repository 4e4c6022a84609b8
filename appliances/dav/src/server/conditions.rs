//! Conditional requests (RFC 9110 section 13, RFC 4918 section 10.4), Depth, Prefer (RFC 8144).

use crate::calendar::civil::{Civil, Day};
use crate::path::Place;
use crate::server::Request;
use crate::server::fault::Fault;

/// Depth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// `0`
    Zero,
    /// `1`
    One,
    /// `infinity`
    Infinity,
}

impl Depth {
    /// Reads the field; `default` when it is absent.
    pub fn of(request: &Request, default: Depth) -> Result<Depth, Fault> {
        match request.get("depth").map(str::trim) {
            None => Ok(default),
            Some("0") => Ok(Depth::Zero),
            Some("1") => Ok(Depth::One),
            Some(text) if text.eq_ignore_ascii_case("infinity") => Ok(Depth::Infinity),
            Some(other) => Err(Fault::new(400, format!("Depth: {other:?}"))),
        }
    }
}

/// Whether `Prefer: return=minimal` was said.
pub fn prefers_minimal(request: &Request) -> bool {
    prefers(request, "return=minimal")
        || request.get("brief").is_some_and(|b| b.trim().eq_ignore_ascii_case("t"))
}

/// Whether `Prefer: depth-noroot` was said: a listing leaves the collection itself out.
pub fn prefers_no_root(request: &Request) -> bool {
    prefers(request, "depth-noroot")
}

/// Whether `Prefer: return=representation` was said.
pub fn prefers_representation(request: &Request) -> bool {
    prefers(request, "return=representation")
}

fn prefers(request: &Request, wanted: &str) -> bool {
    request.all("prefer").any(|value| {
        value.split([',', ';']).any(|one| one.replace(['"', ' '], "").eq_ignore_ascii_case(wanted))
    })
}

/// An ETag list of If-Match or If-None-Match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tags {
    /// `*`
    Any,
    /// The tags without quotes; weak ones are marked.
    List(Vec<(bool, String)>),
}

impl Tags {
    fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Option<Tags> {
        let mut list = Vec::new();
        let mut seen = false;
        for value in values {
            seen = true;
            for one in value.split(',').map(str::trim).filter(|one| !one.is_empty()) {
                if one == "*" {
                    return Some(Tags::Any);
                }
                let (weak, tag) = match one.strip_prefix("W/") {
                    Some(tag) => (true, tag),
                    None => (false, one),
                };
                list.push((weak, tag.trim_matches('"').to_string()));
            }
        }
        seen.then_some(Tags::List(list))
    }

    fn has(&self, etag: Option<&str>, weakly: bool) -> bool {
        match (self, etag) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::List(list), Some(etag)) => list.iter().any(|(weak, tag)| (weakly || !weak) && tag == etag),
        }
    }
}

/// The request's conditions against what stands there now (its ETag without quotes).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conditions {
    /// If-Match
    pub matches: Option<Tags>,
    /// If-None-Match
    pub none_match: Option<Tags>,
    /// If-Modified-Since and If-Unmodified-Since, seconds since 1970; what is no date is ignored (RFC 9110 section 13.1.3).
    since: (Option<i64>, Option<i64>),
    lists: Lists,
}

/// The If field (RFC 4918 section 10.4).
#[derive(Clone, PartialEq, Eq, Debug)]
enum Lists {
    Absent,
    Unreadable,
    AnyOf(Vec<List>),
}

/// One list of the If field: all of it must hold for the resource that it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
struct List {
    /// The resource, when it is not the request's own.
    about: Option<Place>,
    /// The ETag of that resource.
    other_etag: Option<String>,
    /// Whether it is negated, and the ETag or the state token that is asked for.
    terms: Vec<(bool, Term)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Term {
    Etag(String),
    Token,
}

impl Conditions {
    /// Reads them.
    pub fn of(request: &Request) -> Conditions {
        Conditions {
            matches: Tags::parse(request.all("if-match")),
            none_match: Tags::parse(request.all("if-none-match")),
            since: (
                request.get("if-modified-since").and_then(date_of),
                request.get("if-unmodified-since").and_then(date_of),
            ),
            lists: match request.get("if") {
                None => Lists::Absent,
                Some(field) => lists(field, &request.target).map_or(Lists::Unreadable, Lists::AnyOf),
            },
        }
    }

    /// Reads them, and looks up the ETags of the other resources that the If field is about.
    pub fn with(request: &Request, etag_of: impl Fn(&Place) -> Option<String>) -> Conditions {
        let mut conditions = Conditions::of(request);
        if let Lists::AnyOf(lists) = &mut conditions.lists {
            for list in lists {
                list.other_etag = list.about.as_ref().and_then(&etag_of);
            }
        }
        conditions
    }

    /// For a method that changes something.
    pub fn for_change(&self, etag: Option<&str>) -> Result<(), Fault> {
        if self.matches.as_ref().is_some_and(|tags| !tags.has(etag, false)) {
            return Err(Fault::new(412, "it is not what If-Match says; read it again"));
        }
        if self.none_match.as_ref().is_some_and(|tags| tags.has(etag, true)) {
            return Err(Fault::new(412, "there is something that If-None-Match excludes"));
        }
        match &self.lists {
            Lists::Absent => Ok(()),
            Lists::Unreadable => Err(Fault::new(400, "the If field cannot be read")),
            Lists::AnyOf(lists) if lists.iter().any(|list| list.holds(etag)) => Ok(()),
            Lists::AnyOf(_) => Err(Fault::new(412, "no list of the If field is met")),
        }
    }

    /// If-Unmodified-Since, which If-Match makes void (RFC 9110 section 13.1.4); `modified_s` is when it was put.
    pub fn unmodified(&self, modified_s: i64) -> Result<(), Fault> {
        match self.since.1.filter(|_| self.matches.is_none()) {
            Some(since) if modified_s > since => {
                Err(Fault::new(412, "it was changed after If-Unmodified-Since; read it again"))
            }
            _ => Ok(()),
        }
    }

    /// For GET and HEAD of what was put at `modified_s`: `true` is 304. If-None-Match makes If-Modified-Since void.
    pub fn not_modified(&self, etag: &str, modified_s: i64) -> Result<bool, Fault> {
        if self.matches.as_ref().is_some_and(|tags| !tags.has(Some(etag), false)) {
            return Err(Fault::new(412, "it is not what If-Match says"));
        }
        self.unmodified(modified_s)?;
        Ok(match (&self.none_match, self.since.0) {
            (Some(tags), _) => tags.has(Some(etag), true),
            (None, Some(since)) => modified_s <= since,
            (None, None) => false,
        })
    }

    /// The one ETag that If-Match names.
    pub fn only_match(&self) -> Option<&str> {
        match &self.matches {
            Some(Tags::List(list)) => match list.as_slice() {
                [(false, tag)] => Some(tag),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A date of HTTP in any of its three forms (RFC 9110 section 5.6.7), seconds since 1970.
fn date_of(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let words: Vec<String> =
        text.split([' ', ',', '-']).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
    let [_, day, month, year, clock] = match &words[..] {
        [name, day, month, year, clock, zone] if zone == "gmt" => [name, day, month, year, clock],
        [name, month, day, clock, year] => [name, day, month, year, clock],
        _ => return None,
    };
    let month = MONTHS.iter().position(|one| *one == month.as_str())? as u32 + 1;
    let year = match (year.len(), year.parse::<i32>().ok()?) {
        (2, short) => short + if short < 70 { 2000 } else { 1900 },
        (_, year) => year,
    };
    let mut parts = clock.split(':').map(|part| part.parse::<i64>().ok().filter(|n| (0..=60).contains(n)));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let day = Day::new(year, month, day.parse().ok()?)?;
    Some(Civil::new(day, hour * 3600 + minute * 60 + second).0)
}

impl List {
    /// There are no locks, so that no state token holds.
    fn holds(&self, own_etag: Option<&str>) -> bool {
        let etag = if self.about.is_some() { self.other_etag.as_deref() } else { own_etag };
        self.terms.iter().all(|(not, term)| match term {
            Term::Etag(wanted) => (etag == Some(wanted)) != *not,
            Term::Token => *not,
        })
    }
}

/// RFC 4918 section 10.4: `(["etag"] Not <token>) (…)`, with or without a resource before the lists about it.
fn lists(field: &str, target: &str) -> Option<Vec<List>> {
    let own = Place::parse(target).ok();
    let (mut rest, mut about, mut out) = (field.trim(), None, Vec::new());
    while !rest.is_empty() {
        if let Some(tagged) = rest.strip_prefix('<') {
            let (resource, after) = tagged.split_once('>')?;
            let place = Place::parse(resource).ok()?;
            about = Some(place).filter(|place| !own.as_ref().is_some_and(|own| place.is_same(own)));
            rest = after.trim_start();
        }
        let mut at = rest.strip_prefix('(')?.trim_start();
        let mut terms = Vec::new();
        loop {
            if let Some(after) = at.strip_prefix(')') {
                rest = after.trim_start();
                break;
            }
            let not = at.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
            if not {
                at = at[3..].trim_start();
            }
            let (term, after) = match (at.strip_prefix('['), at.strip_prefix('<')) {
                (Some(inside), _) => {
                    let (tag, after) = inside.split_once(']')?;
                    (Term::Etag(tag.trim().trim_start_matches("W/").trim_matches('"').to_string()), after)
                }
                (_, Some(inside)) => (Term::Token, inside.split_once('>')?.1),
                _ => return None,
            };
            terms.push((not, term));
            at = after.trim_start();
        }
        if terms.is_empty() {
            return None;
        }
        out.push(List { about: about.clone(), other_etag: None, terms });
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request {
        Request::new("PUT", "/", fields, "")
    }

    #[test]
    fn rfc9110_13_conditions() {
        let status = |fields: &[(&str, &str)], etag: Option<&str>| {
            Conditions::of(&request(fields)).for_change(etag).map_err(|fault| fault.status)
        };
        assert_eq!(status(&[], None), Ok(()));
        assert_eq!(status(&[("If-Match", "\"a\", \"b\"")], Some("b")), Ok(()));
        assert_eq!(status(&[("If-Match", "W/\"b\"")], Some("b")), Err(412));
        assert_eq!(status(&[("If-Match", "*")], None), Err(412));
        assert_eq!(status(&[("If-None-Match", "*")], None), Ok(()));
        assert_eq!(status(&[("If-None-Match", "*")], Some("a")), Err(412));
    }

    #[test]
    fn rfc9110_13_1_dates() {
        let at = 784_111_777;
        for same in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(date_of(same), Some(at), "{same}");
            let asked = |name: &str, more: &[(&str, &str)]| {
                Conditions::of(&request(&[&[(name, same)], more].concat()))
            };
            assert!(asked("If-Modified-Since", &[]).not_modified("a", at).unwrap());
            assert!(!asked("If-Modified-Since", &[]).not_modified("a", at + 1).unwrap());
            let tag = [("If-None-Match", "\"b\"")];
            assert!(!asked("If-Modified-Since", &tag).not_modified("a", at).unwrap());
            assert!(asked("If-Unmodified-Since", &[]).unmodified(at).is_ok());
            assert!(asked("If-Unmodified-Since", &[]).unmodified(at + 1).is_err());
            assert!(asked("If-Unmodified-Since", &[("If-Match", "\"a\"")]).unmodified(at + 1).is_ok());
        }
        for bad in
            ["", "yesterday", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49 GMT", "1994-11-06"]
        {
            assert_eq!(date_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn rfc4918_10_4_if() {
        let met = |field: &str, etag| {
            let request = Request::new("PUT", "/dav/a/x", &[("If", field)], "");
            let other =
                |place: &Place| (*place == Place::parse("/dav/a/y").unwrap()).then(|| "y".to_string());
            Conditions::with(&request, other).for_change(etag).map_err(|fault| fault.status)
        };
        assert_eq!(met("([\"a\"])", Some("a")), Ok(()));
        assert_eq!(met("([\"b\"]) (Not <DAV:no-lock> [\"a\"])", Some("a")), Ok(()));
        assert_eq!(met("<http://h/dav/a/x> ([\"a\"])", Some("a")), Ok(()));
        assert_eq!(met("(<urn:uuid:1>)", Some("a")), Err(412));
        // A list that names another resource is about that one.
        assert_eq!(met("</dav/a/y> ([\"a\"])", Some("a")), Err(412));
        assert_eq!(met("</dav/a/y> ([\"y\"])", Some("a")), Ok(()));
        assert_eq!(met("</dav/a/z> (Not [\"y\"])", Some("a")), Ok(()));
        for bad in ["(nonsense)", "([\"a\"", "", "<http://h/dav/a/x>", "()"] {
            assert_eq!(met(bad, Some("a")), Err(400), "{bad}");
        }
    }
}
