//! `CARDDAV:address-data`: a whole card, some of its properties, or the card in another version (RFC 6352 section 10.4).

use std::borrow::Cow;

use super::convert::{Version, convert, version_of};
use crate::calendar::data::text_of;
use crate::reading::{Component, read};
use crate::text_match::BadFilter;
use crate::xml::CARDDAV;
use crate::xml::read::Element;

/// What of a card is wanted.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AddressWanted {
    version: Option<Version>,
    /// Name and whether the value is left out; all when absent.
    properties: Option<Vec<(String, bool)>>,
}

impl AddressWanted {
    /// Reads a `CARDDAV:address-data` element of a request. Without a version the card comes as it was put.
    pub fn of(element: &Element) -> Result<AddressWanted, BadFilter> {
        let content_type = element.attribute("content-type").unwrap_or("text/vcard");
        if !content_type.eq_ignore_ascii_case("text/vcard") {
            return Err(BadFilter::Unsupported(format!("address-data as {content_type}")));
        }
        let version = match element.attribute("version") {
            None => None,
            Some("3.0") => Some(Version::V3),
            Some("4.0") => Some(Version::V4),
            Some(other) => return Err(BadFilter::Unsupported(format!("address-data of version {other:?}"))),
        };
        let listed: Vec<(String, bool)> = element
            .all(CARDDAV, "prop")
            .filter_map(|p| {
                Some((p.attribute("name")?.to_ascii_uppercase(), p.attribute("novalue") == Some("yes")))
            })
            .collect();
        let all = element.child(CARDDAV, "allprop").is_some() || listed.is_empty();
        Ok(AddressWanted { version, properties: (!all).then_some(listed) })
    }

    /// What an Accept header of a GET asks for: another version than the one that was put. `None` when the card may come
    /// as it is.
    pub fn of_accept(accept: &str) -> Option<AddressWanted> {
        let accept = accept.to_ascii_lowercase().replace([' ', '"'], "");
        let wanted = accept.split(',').next()?;
        let version = match wanted.strip_prefix("text/vcard;version=")?.split(';').next()? {
            "3.0" => Version::V3,
            "4.0" => Version::V4,
            _ => return None,
        };
        Some(AddressWanted { version: Some(version), properties: None })
    }

    /// Whether the card must be read to give what is wanted.
    pub fn is_whole(&self) -> bool {
        *self == AddressWanted::default()
    }

    /// The card as it is wanted.
    pub fn render<'a>(&self, bytes: &'a [u8], card: &Component) -> Cow<'a, str> {
        let converted = self.version.and_then(|version| convert(card, version));
        let Some(wanted) = &self.properties else {
            return converted.map_or_else(|| text_of(bytes), Cow::Owned);
        };
        let read_again =
            converted.as_ref().and_then(|text| read(text.as_bytes()).ok()).map(|mut all| all.remove(0));
        let (source, card) = match (&converted, &read_again) {
            (Some(text), Some(card)) => (text.as_bytes(), card),
            _ => (bytes, card),
        };
        let mut out = format!("BEGIN:VCARD\r\nVERSION:{}\r\n", version_of(card));
        for property in card.properties.iter().filter(|p| p.name != "VERSION") {
            let full = property
                .group
                .as_ref()
                .map(|group| format!("{}.{}", group.to_ascii_uppercase(), property.name));
            let choice =
                wanted.iter().find(|(name, _)| *name == property.name || Some(name) == full.as_ref());
            match choice {
                None => {}
                Some((_, true)) => out.push_str(&format!("{}:\r\n", property.name)),
                Some((_, false)) => out.push_str(&text_of(&source[property.range.clone()])),
            }
        }
        out.push_str("END:VCARD\r\n");
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::read::read as read_xml;

    const CARD: &str = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:A\r\nN:A;;;;\r\nitem1.EMAIL;type=pref:a@x\r\nNOTE:n\r\nEND:VCARD\r\n";

    fn rendered(attributes: &str, inside: &str) -> String {
        let xml = format!(
            "<address-data xmlns='urn:ietf:params:xml:ns:carddav' {attributes}>{inside}</address-data>"
        );
        let wanted = AddressWanted::of(&read_xml(xml.as_bytes()).unwrap()).unwrap();
        let card = read(CARD.as_bytes()).unwrap().remove(0);
        wanted.render(CARD.as_bytes(), &card).into_owned()
    }

    #[test]
    fn rfc6352_10_4_parts_and_versions() {
        assert_eq!(rendered("", ""), CARD);
        assert_eq!(rendered("version='3.0'", "<allprop/>"), CARD);
        assert_eq!(
            rendered("", "<prop name='fn'/><prop name='EMAIL'/><prop name='NOTE' novalue='yes'/>"),
            "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:A\r\nitem1.EMAIL;type=pref:a@x\r\nNOTE:\r\nEND:VCARD\r\n"
        );
        let four = rendered("version='4.0'", "<prop name='item1.email'/>");
        assert_eq!(four, "BEGIN:VCARD\r\nVERSION:4.0\r\nitem1.EMAIL;PREF=1:a@x\r\nEND:VCARD\r\n");
    }
}
