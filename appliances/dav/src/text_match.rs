//! `text-match` of calendar and address book filters, and its collations (RFC 4790, RFC 5051).

use icu_normalizer::DecomposingNormalizerBorrowed;

use crate::xml::read::Element;

/// A text-match.
#[derive(Clone, PartialEq, Debug)]
pub struct TextMatch {
    collation: Collation,
    negate: bool,
    kind: MatchType,
    /// The text that is sought, case mapped.
    sought: String,
}

/// How characters are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Collation {
    /// `i;octet`
    Octet,
    /// `i;ascii-casemap`
    AsciiCasemap,
    /// `i;unicode-casemap`
    UnicodeCasemap,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum MatchType {
    Equals,
    Contains,
    StartsWith,
    EndsWith,
}

/// Why a filter cannot be answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadFilter {
    /// It is not as the RFC says: the precondition `valid-filter`.
    #[error("the filter is not valid: {0}")]
    Invalid(String),
    /// The precondition `supported-filter`.
    #[error("this filter is not served: {0}")]
    Unsupported(String),
    /// The precondition `supported-collation`.
    #[error("the collation {0:?} is not served")]
    Collation(String),
}

/// The collations that are served, as they are advertised.
pub const COLLATIONS: [&str; 3] = ["i;ascii-casemap", "i;octet", "i;unicode-casemap"];

impl TextMatch {
    /// Reads a `text-match` element; `default` is the collation of its RFC.
    pub fn of(element: &Element, default: Collation) -> Result<TextMatch, BadFilter> {
        let collation = match element.attribute("collation") {
            None => default,
            Some("default") => default,
            Some("i;octet") => Collation::Octet,
            Some("i;ascii-casemap") => Collation::AsciiCasemap,
            Some("i;unicode-casemap") => Collation::UnicodeCasemap,
            Some(other) => return Err(BadFilter::Collation(other.chars().take(80).collect())),
        };
        let negate = match element.attribute("negate-condition") {
            None | Some("no") => false,
            Some("yes") => true,
            Some(other) => return Err(BadFilter::Invalid(format!("negate-condition={other:?}"))),
        };
        let kind = match element.attribute("match-type") {
            None | Some("contains") => MatchType::Contains,
            Some("equals") => MatchType::Equals,
            Some("starts-with") => MatchType::StartsWith,
            Some("ends-with") => MatchType::EndsWith,
            Some(other) => return Err(BadFilter::Invalid(format!("match-type={other:?}"))),
        };
        Ok(TextMatch { collation, negate, kind, sought: collation.map(&element.text) })
    }

    /// Whether the text matches, negation included.
    pub fn matches(&self, text: &str) -> bool {
        let text = self.collation.map(text);
        let found = match self.kind {
            MatchType::Equals => text == self.sought,
            MatchType::Contains => text.contains(&self.sought),
            MatchType::StartsWith => text.starts_with(&self.sought),
            MatchType::EndsWith => text.ends_with(&self.sought),
        };
        found != self.negate
    }
}

impl Collation {
    /// The text with case folded away as the collation says.
    pub fn map(self, text: &str) -> String {
        match self {
            Collation::Octet => text.to_string(),
            Collation::AsciiCasemap => text.to_ascii_uppercase(),
            // RFC 5051 maps to title case and decomposes, compatibility forms included. Upper then lower case folds the
            // same letters together, and a few more (ß and ss, ς and σ).
            Collation::UnicodeCasemap => {
                let folded = text.to_uppercase().to_lowercase();
                match folded.is_ascii() {
                    true => folded,
                    false => DecomposingNormalizerBorrowed::new_nfkd().normalize(&folded).into_owned(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::read::read;

    fn matches(xml: &str, text: &str) -> bool {
        TextMatch::of(&read(xml.as_bytes()).unwrap(), Collation::AsciiCasemap).unwrap().matches(text)
    }

    #[test]
    fn collations_and_kinds() {
        assert!(matches("<t>caf</t>", "a CAFÉ"));
        assert!(!matches("<t>café</t>", "a CAFÉ"));
        assert!(matches("<t collation='i;unicode-casemap'>café STRASSE</t>", "CAFÉ straße"));
        assert!(matches("<t collation='i;unicode-casemap'>cafe\u{301}</t>", "CAFÉ"), "RFC 5051: decomposed");
        assert!(
            matches("<t collation='i;unicode-casemap'>find</t>", "ﬁnder ＦＩＮＤ"),
            "compatibility forms"
        );
        assert!(matches("<t collation='i;unicode-casemap'>한</t>", "\u{1112}\u{1161}\u{11ab}글"), "Hangul");
        assert!(!matches("<t collation='i;octet'>caf</t>", "CAF"));
        assert!(!matches("<t negate-condition='yes'>a</t>", "bab"));
        assert!(matches("<t match-type='starts-with'>b</t>", "Bab"));
        assert!(!matches("<t match-type='equals'>b</t>", "Bab"));
        assert!(matches("<t match-type='ends-with'>AB</t>", "Bab"));
    }

    #[test]
    fn unknown_collation_has_its_own_error() {
        let element = read(b"<t collation='i;klingon'>x</t>").unwrap();
        assert_eq!(TextMatch::of(&element, Collation::Octet), Err(BadFilter::Collation("i;klingon".into())));
    }
}
