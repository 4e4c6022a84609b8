//! Conditional requests (RFC 9110 section 13, RFC 4918 section 10.4), Depth, Prefer (RFC 8144).

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
    lists: Option<String>,
}

impl Conditions {
    /// Reads them.
    pub fn of(request: &Request) -> Conditions {
        Conditions {
            matches: Tags::parse(request.all("if-match")),
            none_match: Tags::parse(request.all("if-none-match")),
            lists: request.get("if").map(str::to_string),
        }
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
            Some(lists) if !any_list(lists, etag)? => Err(Fault::new(412, "no list of the If field is met")),
            _ => Ok(()),
        }
    }

    /// For GET and HEAD: `true` is 304.
    pub fn not_modified(&self, etag: &str) -> Result<bool, Fault> {
        if self.matches.as_ref().is_some_and(|tags| !tags.has(Some(etag), false)) {
            return Err(Fault::new(412, "it is not what If-Match says"));
        }
        Ok(self.none_match.as_ref().is_some_and(|tags| tags.has(Some(etag), true)))
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

/// RFC 4918 section 10.4: `(["etag"] Not <token>) (…)`, with or without a resource before each list. There are no
/// locks, so that no state token holds.
fn any_list(field: &str, etag: Option<&str>) -> Result<bool, Fault> {
    let bad = || Fault::new(400, "the If field cannot be read");
    let mut rest = field.trim();
    let mut any = false;
    while !rest.is_empty() {
        if let Some(tagged) = rest.strip_prefix('<') {
            let end = tagged.find('>').ok_or_else(bad)?;
            rest = tagged[end + 1..].trim_start();
            continue;
        }
        let inside = rest.strip_prefix('(').ok_or_else(bad)?;
        let (mut holds, mut at) = (true, inside.trim_start());
        loop {
            if let Some(after) = at.strip_prefix(')') {
                rest = after.trim_start();
                break;
            }
            let not = at.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
            if not {
                at = at[3..].trim_start();
            }
            let (open, close) =
                (at.chars().next().ok_or_else(bad)?, if at.starts_with('<') { '>' } else { ']' });
            let end = at.find(close).ok_or_else(bad)?;
            let value = at[1..end].trim();
            let met = match open {
                '[' => etag.is_some_and(|etag| value.trim_start_matches("W/").trim_matches('"') == etag),
                '<' => false,
                _ => return Err(bad()),
            };
            holds &= met != not;
            at = at[end + 1..].trim_start();
        }
        any |= holds;
    }
    Ok(any)
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
    fn rfc4918_10_4_if() {
        let met = |field: &str, etag| any_list(field, etag).map_err(|fault| fault.status);
        assert_eq!(met("([\"a\"])", Some("a")), Ok(true));
        assert_eq!(met("<http://x/y> ([\"b\"]) (Not <DAV:no-lock> [\"a\"])", Some("a")), Ok(true));
        assert_eq!(met("(<urn:uuid:1>)", Some("a")), Ok(false));
        assert_eq!(met("(nonsense)", Some("a")), Err(400));
        assert_eq!(met("([\"a\"", Some("a")), Err(400));
    }
}
