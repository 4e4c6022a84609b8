//! Percent-encoding (RFC 3986 section 2.1) and forms (`application/x-www-form-urlencoded`).

/// The fields of a form or of a query, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `name=value&…`. Octets that are no UTF-8 become replacement characters.
    pub fn parse(text: &[u8]) -> Form {
        let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        Form(
            pairs
                .map(|pair| {
                    let mut halves = pair.splitn(2, |byte| *byte == b'=');
                    let name = halves.next().unwrap_or_default();
                    (plus_decoded(name), plus_decoded(halves.next().unwrap_or_default()))
                })
                .collect(),
        )
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// The first value of that name without white space around it; empty when it is missing.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default().trim()
    }

    /// Every value of that name (check boxes).
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// All fields.
    pub fn fields(&self) -> &[(String, String)] {
        &self.0
    }
}

fn plus_decoded(text: &[u8]) -> String {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    String::from_utf8_lossy(&decode(&spaced)).into_owned()
}

/// Undoes percent-encoding. A `%` without two hex digits stays as it is.
pub fn decode(text: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if let (b'%', [high, low, after @ ..]) = (byte, rest)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            decoded.push(high << 4 | low);
            rest = after;
        } else {
            decoded.push(byte);
        }
    }
    decoded
}

/// Percent-encodes one path segment or query value: all but RFC 3986's unreserved characters.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_keep_order_and_repeats() {
        let form = Form::parse(b"day=1&day=2&name=Caf%C3%A9+Noir&empty=&flag");
        assert_eq!(form.all("day").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form.get("name"), Some("Café Noir"));
        assert_eq!(form.get("flag"), Some(""));
        assert_eq!(form.get("none"), None);
    }

    #[test]
    fn broken_percents_stay() {
        assert_eq!(decode(b"100%"), b"100%");
        assert_eq!(decode(b"%zz%4"), b"%zz%4");
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(text in ".{0,60}") {
            prop_assert_eq!(decode(encode(&text).as_bytes()), text.as_bytes());
        }
    }
}
