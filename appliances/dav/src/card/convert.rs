//! vCard 2.1, 3.0 and 4.0 into 3.0 or 4.0, when a client asks for another version than was put. What is kept is never
//! changed; a property that the other version does not know goes along unchanged, so that nothing is lost on the way.

use crate::calendar::data::fold_into;
use crate::reading::{Component, Parameter, Property, escape, split};

/// A version that is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// RFC 2426
    V3,
    /// RFC 6350
    V4,
}

/// The version that a card says it is of; 3.0 when it says none.
pub fn version_of(card: &Component) -> &str {
    card.value("VERSION").unwrap_or("3.0")
}

/// The card in another version. `None` when it is of that version already.
pub fn convert(card: &Component, to: Version) -> Option<String> {
    let from = version_of(card);
    let number = match to {
        Version::V3 => "3.0",
        Version::V4 => "4.0",
    };
    if from == number {
        return None;
    }
    let mut properties: Vec<Property> = Vec::with_capacity(card.properties.len() + 1);
    for property in card.properties.iter().filter(|p| p.name != "VERSION") {
        let mut property = property.clone();
        if from.starts_with('2') {
            from_v2(&mut property);
        }
        match to {
            Version::V4 => to_v4(&mut property),
            Version::V3 if from == "4.0" => to_v3(&mut property),
            Version::V3 => {}
        }
        properties.push(property);
    }
    complete(&mut properties, to);
    let mut out = format!("BEGIN:VCARD\r\nVERSION:{number}\r\n");
    for property in &properties {
        fold_into(&line_of(property), &mut out);
    }
    out.push_str("END:VCARD\r\n");
    Some(out)
}

/// A property as a logical line; parameters quoted where they must be.
pub fn line_of(property: &Property) -> String {
    let mut line = String::new();
    if let Some(group) = &property.group {
        line.push_str(group);
        line.push('.');
    }
    line.push_str(&property.name);
    for parameter in &property.parameters {
        let values: Vec<String> = parameter.values.iter().map(|value| quoted(value)).collect();
        line.push_str(&format!(";{}={}", parameter.name, values.join(",")));
    }
    line.push(':');
    line.push_str(&property.value);
    line
}

fn quoted(value: &str) -> String {
    let value = value.replace('^', "^^").replace('\n', "^n").replace('"', "^'");
    if value.contains([',', ';', ':']) { format!("\"{value}\"") } else { value }
}

/// What 3.0 and 4.0 require and the card may lack: FN, and in 3.0 N.
fn complete(properties: &mut Vec<Property>, to: Version) {
    let value = |properties: &[Property], name: &str| {
        properties.iter().find(|p| p.name == name).map(|p| p.value.clone()).filter(|v| !v.trim().is_empty())
    };
    let plain = |name: &str, value: String| Property { name: name.into(), value, ..Property::default() };
    if value(properties, "FN").is_none() {
        let from_name = value(properties, "N").map(|name| {
            let parts = split(&name, ';');
            [1, 0]
                .iter()
                .filter_map(|at| parts.get(*at))
                .filter(|p| !p.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join(" ")
        });
        let name = from_name.filter(|n| !n.is_empty());
        let name = name.or_else(|| value(properties, "ORG")).or_else(|| value(properties, "EMAIL"));
        properties.retain(|p| p.name != "FN");
        properties.insert(0, plain("FN", name.unwrap_or_else(|| "?".into())));
    }
    if to == Version::V3 && !properties.iter().any(|p| p.name == "N") {
        let name = value(properties, "FN").unwrap_or_default();
        properties.insert(0, plain("N", format!("{};;;;", name.replace(';', "\\;").replace("\\\\;", "\\;"))));
    }
}

/// 2.1: quoted-printable and charsets undone, separators kept, everything else escaped.
fn from_v2(property: &mut Property) {
    let encoding = property.parameter("ENCODING").unwrap_or_default().to_ascii_uppercase();
    let charset = property.parameter("CHARSET").unwrap_or("UTF-8").to_ascii_uppercase();
    property
        .parameters
        .retain(|p| p.name != "CHARSET" && !(p.name == "ENCODING" && encoding == "QUOTED-PRINTABLE"));
    if encoding == "QUOTED-PRINTABLE" {
        let bytes = quoted_printable(&property.value);
        let text = match charset.as_str() {
            "ISO-8859-1" | "LATIN1" | "WINDOWS-1252" => bytes.iter().map(|b| char::from(*b)).collect(),
            _ => String::from_utf8_lossy(&bytes).into_owned(),
        };
        let structured = matches!(property.name.as_str(), "N" | "ADR" | "ORG");
        property.value = match structured {
            true => split(&text, ';')
                .iter()
                .map(|part| escape(&part.replace("\\;", ";")))
                .collect::<Vec<_>>()
                .join(";"),
            false => escape(&text),
        };
    }
    if encoding == "BASE64" {
        property.value.retain(|c| !c.is_ascii_whitespace());
        set(property, "ENCODING", "b");
    }
}

fn quoted_printable(value: &str) -> Vec<u8> {
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'=', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn to_v4(property: &mut Property) {
    let preferred = take_type(property, "pref");
    if preferred && property.parameter("PREF").is_none() {
        set(property, "PREF", "1");
    }
    match property.name.as_str() {
        "EMAIL" => {
            take_type(property, "internet");
        }
        "PHOTO" | "LOGO" | "SOUND" | "KEY" => binary_to_data(property),
        "BDAY" | "ANNIVERSARY" | "DEATHDATE" => date_to_v4(property),
        "REV" => property.value = property.value.replace(['-', ':'], ""),
        "GEO" if !property.value.starts_with("geo:") => {
            property.value = format!("geo:{}", property.value.replacen(';', ",", 1));
        }
        "X-ADDRESSBOOKSERVER-KIND" => property.name = "KIND".into(),
        "X-ADDRESSBOOKSERVER-MEMBER" => property.name = "MEMBER".into(),
        "X-ANNIVERSARY" => {
            property.name = "ANNIVERSARY".into();
            date_to_v4(property);
        }
        "X-GENDER" => property.name = "GENDER".into(),
        "LABEL" => property.name = "X-LABEL".into(),
        "SORT-STRING" | "AGENT" | "MAILER" | "CLASS" => property.name = format!("X-{}", property.name),
        "UID" if !property.value.contains(':') => set(property, "VALUE", "text"),
        _ => {}
    }
}

fn to_v3(property: &mut Property) {
    // 4.0 may quote a list of types as one (RFC 6350 section 5.6); to 3.0 that would be one odd type.
    for parameter in property.parameters.iter_mut().filter(|p| p.name == "TYPE") {
        parameter.values =
            parameter.values.iter().flat_map(|value| value.split(',')).map(str::to_string).collect();
    }
    if property.parameter("PREF").is_some_and(|pref| pref == "1") {
        property.parameters.push(Parameter { name: "TYPE".into(), values: vec!["pref".into()] });
    }
    property.parameters.retain(|p| p.name != "PREF");
    let is_uri = property.parameter("VALUE").is_some_and(|value| value.eq_ignore_ascii_case("uri"));
    match property.name.as_str() {
        "TEL" if is_uri || property.value.starts_with("tel:") => {
            if let Some(number) = property.value.strip_prefix("tel:") {
                property.value = number
                    .split_once(";ext=")
                    .map_or(number.to_string(), |(n, ext)| format!("{n} ext. {ext}"));
                property.parameters.retain(|p| p.name != "VALUE");
            }
        }
        "PHOTO" | "LOGO" | "SOUND" | "KEY" => data_to_binary(property),
        "BDAY" => date_to_v3(property),
        "ANNIVERSARY" => {
            property.name = "X-ANNIVERSARY".into();
            date_to_v3(property);
        }
        "GEO" => {
            if let Some(place) = property.value.strip_prefix("geo:") {
                let place: Vec<&str> = place.split([',', ';']).take(2).collect();
                property.value = place.join(";");
            }
        }
        "KIND" if property.value.trim().eq_ignore_ascii_case("group") => {
            property.name = "X-ADDRESSBOOKSERVER-KIND".into()
        }
        "KIND" => property.name = "X-KIND".into(),
        "MEMBER" => property.name = "X-ADDRESSBOOKSERVER-MEMBER".into(),
        "GENDER" => property.name = "X-GENDER".into(),
        "X-LABEL" => property.name = "LABEL".into(),
        "X-SORT-STRING" | "X-AGENT" | "X-MAILER" | "X-CLASS" => {
            property.name = property.name.trim_start_matches("X-").into();
        }
        "UID" => property.parameters.retain(|p| p.name != "VALUE"),
        "N" | "ORG" => property.parameters.retain(|p| p.name != "SORT-AS"),
        _ => {}
    }
}

/// `ENCODING=b` of 3.0 as the `data:` URI of 4.0.
fn binary_to_data(property: &mut Property) {
    let encoded = property
        .parameter("ENCODING")
        .is_some_and(|e| matches!(e.to_ascii_lowercase().as_str(), "b" | "base64"));
    if !encoded {
        return;
    }
    let kind = property.types().first().cloned().unwrap_or_default();
    let media = match (property.name.as_str(), kind.as_str()) {
        (_, kind) if kind.contains('/') => kind.to_string(),
        ("PHOTO" | "LOGO", "") => "image/jpeg".into(),
        ("PHOTO" | "LOGO", kind) => format!("image/{kind}"),
        ("SOUND", "") => "audio/basic".into(),
        ("SOUND", kind) => format!("audio/{kind}"),
        ("KEY", "pgp") => "application/pgp-keys".into(),
        ("KEY", "x509") => "application/pkix-cert".into(),
        _ => "application/octet-stream".into(),
    };
    property.parameters.retain(|p| !matches!(p.name.as_str(), "ENCODING" | "TYPE" | "VALUE"));
    property.value = format!("data:{media};base64,{}", property.value.trim());
}

/// The `data:` URI of 4.0 as `ENCODING=b` of 3.0.
fn data_to_binary(property: &mut Property) {
    let Some((media, data)) = property.value.strip_prefix("data:").and_then(|v| v.split_once(";base64,"))
    else {
        if property.value.contains("://") && property.parameter("VALUE").is_none() {
            set(property, "VALUE", "uri");
        }
        return;
    };
    let kind = media.split('/').nth(1).unwrap_or(media).to_ascii_uppercase();
    let data = data.to_string();
    property.parameters.retain(|p| !matches!(p.name.as_str(), "VALUE" | "MEDIATYPE"));
    set(property, "ENCODING", "b");
    if !kind.is_empty() && property.parameter("TYPE").is_none() {
        set(property, "TYPE", &kind);
    }
    property.value = data;
}

/// `1970-01-02` as `19700102`; Apple's year 1604 as no year.
fn date_to_v4(property: &mut Property) {
    let is_text = property.parameter("VALUE").is_some_and(|value| value.eq_ignore_ascii_case("text"));
    if is_text {
        return;
    }
    let omitted = property.parameter("X-APPLE-OMIT-YEAR").map(str::to_string);
    property.parameters.retain(|p| p.name != "X-APPLE-OMIT-YEAR" && p.name != "VALUE");
    let value = property.value.trim().to_string();
    let (date, time) = value.split_once('T').map_or((value.as_str(), None), |(d, t)| (d, Some(t)));
    let mut basic = match date.strip_prefix("--") {
        Some(rest) => format!("--{}", rest.replace('-', "")),
        None => date.replace('-', ""),
    };
    if let Some(year) = omitted
        && let Some(rest) = basic.strip_prefix(&year)
    {
        basic = format!("--{rest}");
    }
    property.value = match time {
        Some(time) => format!("{basic}T{}", time.replace(':', "")),
        None => basic,
    };
}

/// `19700102` as `1970-01-02`; a date without a year in Apple's way.
fn date_to_v3(property: &mut Property) {
    let is_text = property.parameter("VALUE").is_some_and(|value| value.eq_ignore_ascii_case("text"));
    let value = property.value.trim().to_string();
    if is_text || !value.is_ascii() {
        return;
    }
    property.parameters.retain(|p| p.name != "VALUE");
    let (date, time) = value.split_once('T').map_or((value.as_str(), ""), |(d, t)| (d, t));
    let digits = date.replace('-', "");
    if date.starts_with("--") && digits.len() == 4 {
        set(property, "X-APPLE-OMIT-YEAR", "1604");
        property.value = format!("1604-{}-{}", &digits[..2], &digits[2..]);
    } else if digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()) {
        let time = if time.is_empty() { String::new() } else { format!("T{time}") };
        property.value = format!("{}-{}-{}{time}", &digits[..4], &digits[4..6], &digits[6..]);
    }
}

fn set(property: &mut Property, name: &str, value: &str) {
    property.parameters.retain(|p| p.name != name);
    property.parameters.push(Parameter { name: name.into(), values: vec![value.into()] });
}

/// Takes one TYPE value out; says whether it was there.
fn take_type(property: &mut Property, kind: &str) -> bool {
    let mut found = false;
    for parameter in property.parameters.iter_mut().filter(|p| p.name == "TYPE") {
        parameter.values.retain(|value| {
            let is = value.eq_ignore_ascii_case(kind);
            found |= is;
            !is
        });
    }
    property.parameters.retain(|p| !p.values.is_empty());
    found
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
