//! SASLprep (RFC 4013): passwords that look the same are the same, whatever keyboard they were typed on.
//!
//! Only the appliance that speaks SCRAM carries Unicode's tables (feature `saslprep`). Without them a password stays as
//! it was typed, which for ASCII, and for nearly all text that keyboards make, is the same.

use std::borrow::Cow;

/// The password as SCRAM takes it. What RFC 4013 prohibits (control characters, unassigned code points of Unicode 3.2)
/// is taken as it is: a server that refuses them locks out who has one already.
pub(super) fn prepared(password: &str) -> Cow<'_, str> {
    if password.is_ascii() {
        return Cow::Borrowed(password);
    }
    let mapped: String = password.chars().filter(|c| !is_nothing(*c)).map(space).collect();
    Cow::Owned(composed(mapped))
}

#[cfg(feature = "saslprep")]
fn composed(text: String) -> String {
    icu_normalizer::ComposingNormalizerBorrowed::new_nfkc().normalize(&text).into_owned()
}

#[cfg(not(feature = "saslprep"))]
fn composed(text: String) -> String {
    text
}

/// Non-ASCII spaces are a space (RFC 3454 table C.1.2).
fn space(c: char) -> char {
    match c {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200b}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        other => other,
    }
}

/// Commonly mapped to nothing (RFC 3454 table B.1).
fn is_nothing(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{1806}' | '\u{180b}'..='\u{180d}' | '\u{200c}' | '\u{200d}' | '\u{2060}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4013_3_examples() {
        assert_eq!(prepared("I\u{ad}X"), "IX");
        assert_eq!(prepared("user"), "user");
        assert_eq!(prepared("USER"), "USER");
        assert_eq!(prepared("a\u{a0}b"), "a b");
    }

    #[test]
    #[cfg(feature = "saslprep")]
    fn rfc4013_3_compatibility_forms_are_composed() {
        assert_eq!(prepared("\u{aa}"), "a");
        assert_eq!(prepared("\u{2168}"), "IX");
        assert_eq!(prepared("Zoe\u{308}"), "Zo\u{eb}");
    }
}
