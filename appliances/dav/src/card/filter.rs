//! `CARDDAV:filter`: read from XML, asked of a card (RFC 6352 section 10.5).

use crate::reading::{Component, Property};
use crate::text_match::{BadFilter, Collation, TextMatch};
use crate::xml::CARDDAV;
use crate::xml::read::Element;

/// A filter over a card's properties.
#[derive(Clone, PartialEq, Debug)]
pub struct CardFilter {
    all_of: bool,
    properties: Vec<PropFilter>,
}

#[derive(Clone, PartialEq, Debug)]
struct PropFilter {
    group: Option<String>,
    name: String,
    all_of: bool,
    not_defined: bool,
    texts: Vec<TextMatch>,
    parameters: Vec<ParamFilter>,
}

#[derive(Clone, PartialEq, Debug)]
struct ParamFilter {
    name: String,
    not_defined: bool,
    text: Option<TextMatch>,
}

impl CardFilter {
    /// Reads a `CARDDAV:filter` element. An empty one matches every card.
    pub fn of(filter: &Element) -> Result<CardFilter, BadFilter> {
        let properties = filter.all(CARDDAV, "prop-filter").map(prop_filter).collect::<Result<_, _>>()?;
        Ok(CardFilter { all_of: all_of(filter)?, properties })
    }

    /// Whether a card matches.
    pub fn matches(&self, card: &Component) -> bool {
        let mut results = self.properties.iter().map(|filter| filter.matches(card));
        self.properties.is_empty() || if self.all_of { results.all(|r| r) } else { results.any(|r| r) }
    }
}

impl PropFilter {
    fn matches(&self, card: &Component) -> bool {
        let wanted = |property: &&Property| {
            property.name == self.name
                && self.group.as_ref().is_none_or(|group| {
                    property.group.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(group))
                })
        };
        let mut of_name = card.properties.iter().filter(wanted);
        if self.not_defined {
            return of_name.next().is_none();
        }
        if self.texts.is_empty() && self.parameters.is_empty() {
            return of_name.next().is_some();
        }
        of_name.any(|property| {
            let text = property.text();
            let texts = self.texts.iter().map(|t| t.matches(&text));
            let mut results = texts.chain(self.parameters.iter().map(|p| p.matches(property)));
            if self.all_of { results.all(|r| r) } else { results.any(|r| r) }
        })
    }
}

impl ParamFilter {
    fn matches(&self, property: &Property) -> bool {
        let mut values = property
            .parameters
            .iter()
            .filter(|parameter| parameter.name == self.name)
            .flat_map(|parameter| parameter.values.iter());
        if self.not_defined {
            return values.next().is_none();
        }
        values.any(|value| self.text.as_ref().is_none_or(|text| text.matches(value)))
    }
}

fn prop_filter(element: &Element) -> Result<PropFilter, BadFilter> {
    let name = name_of(element)?;
    let (group, name) = match name.split_once('.') {
        Some((group, name)) => (Some(group.to_string()), name.to_ascii_uppercase()),
        None => (None, name.to_ascii_uppercase()),
    };
    let text = |text| TextMatch::of(text, Collation::UnicodeCasemap);
    let parameters = element.all(CARDDAV, "param-filter").map(|parameter| {
        Ok(ParamFilter {
            name: name_of(parameter)?.to_ascii_uppercase(),
            not_defined: parameter.child(CARDDAV, "is-not-defined").is_some(),
            text: parameter.child(CARDDAV, "text-match").map(text).transpose()?,
        })
    });
    Ok(PropFilter {
        group,
        name,
        all_of: all_of(element)?,
        not_defined: element.child(CARDDAV, "is-not-defined").is_some(),
        texts: element.all(CARDDAV, "text-match").map(text).collect::<Result<_, _>>()?,
        parameters: parameters.collect::<Result<_, BadFilter>>()?,
    })
}

fn all_of(element: &Element) -> Result<bool, BadFilter> {
    match element.attribute("test") {
        None | Some("anyof") => Ok(false),
        Some("allof") => Ok(true),
        Some(other) => Err(BadFilter::Invalid(format!("test={other:?}"))),
    }
}

fn name_of(element: &Element) -> Result<&str, BadFilter> {
    let name = element.attribute("name").map(str::trim).filter(|name| !name.is_empty());
    name.ok_or_else(|| BadFilter::Invalid(format!("a {} has no name", element.local)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::read::read;

    const CARD: &str = "BEGIN:VCARD\nVERSION:3.0\nFN:Siobhán O’Hara\nNICKNAME:Shiv\nitem1.EMAIL;type=INTERNET;type=HOME:siobhan@example.org\nEMAIL;TYPE=WORK:w@example.com\nEND:VCARD\n";

    fn asks(test: &str, inside: &str) -> bool {
        let xml = format!("<filter xmlns='urn:ietf:params:xml:ns:carddav' {test}>{inside}</filter>");
        let card = crate::reading::read(CARD.as_bytes()).unwrap().remove(0);
        CardFilter::of(&read(xml.as_bytes()).unwrap()).unwrap().matches(&card)
    }

    fn property(name: &str, test: &str, inside: &str) -> String {
        format!("<prop-filter name='{name}' {test}>{inside}</prop-filter>")
    }

    #[test]
    fn rfc6352_10_5_filters() {
        let text = |kind: &str, text: &str| format!("<text-match match-type='{kind}'>{text}</text-match>");
        assert!(asks("", ""));
        assert!(asks("", &property("FN", "", &text("contains", "SIOBHÁN"))));
        assert!(asks("", &property("email", "", &text("ends-with", ".com"))));
        assert!(!asks("", &property("item1.email", "", &text("ends-with", ".com"))));
        assert!(asks("", &property("item1.email", "", &text("ends-with", ".org"))));
        assert!(
            asks("", &property("TEL", "", "<is-not-defined/>"))
                && !asks("", &property("FN", "", "<is-not-defined/>"))
        );
        let two = property("TEL", "", "") + &property("FN", "", "");
        assert!(asks("", &two) && !asks("test='allof'", &two));
        let both = text("starts-with", "s") + &text("ends-with", "com");
        assert!(
            asks("", &property("EMAIL", "test='anyof'", &both))
                && !asks("", &property("EMAIL", "test='allof'", &both))
        );
        let home =
            "<param-filter name='type'><text-match match-type='equals'>home</text-match></param-filter>";
        assert!(asks("", &property("EMAIL", "", home)) && !asks("", &property("FN", "", home)));
        assert!(asks("", &property("FN", "", "<param-filter name='TYPE'><is-not-defined/></param-filter>")));
        assert!(!asks("", &property("NICKNAME", "", "<text-match negate-condition='yes'>shiv</text-match>")));
    }
}
