//! Properties to be written.

use crate::text;

/// A property to be written. Nothing of it is checked until it is put into a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Property {
    group: Option<String>,
    name: String,
    parameters: Vec<(String, Vec<String>)>,
    value: Vec<u8>,
}

/// A property that cannot be written so that it would be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// Names consist of letters, digits and hyphens (RFC 5545 3.1, RFC 6350 3.3).
    #[error("{0:?} cannot be a name: letters, digits and hyphens are allowed")]
    Name(String),
    /// The value contains a line end; texts are escaped first ([`text::escape`]).
    #[error("the value of {0} contains a line end; escape it first")]
    LineEnd(String),
    /// The line would be read back with another value: a quote in its parameters is never closed, or a quoted-printable
    /// value ends in `=`.
    #[error("line {0} would not be read back as it is written: an open quote, or a `=` at its end")]
    Unreadable(usize),
    /// The line is no property.
    #[error("line {0} is no property")]
    NotAProperty(usize),
    /// BEGIN and END are not edited as properties; components are added and removed whole.
    #[error("BEGIN and END are edited by adding and removing components")]
    Structure,
    /// There is no such line or component.
    #[error("the document has no {0}")]
    Absent(&'static str),
    /// What was to be inserted does not hold whole components.
    #[error("what is inserted must be whole components, and nothing else")]
    NotComponents,
    /// The document would exceed its limits.
    #[error(transparent)]
    TooLarge(#[from] crate::TooLarge),
}

impl Property {
    /// A property whose value is written as it is: a date, a URI, or a text that is escaped already.
    pub fn raw(name: &str, value: impl Into<Vec<u8>>) -> Property {
        Property { name: name.to_owned(), value: value.into(), ..Property::default() }
    }

    /// A property whose value is a text; it will be escaped.
    pub fn text(name: &str, text: &str) -> Property {
        Property::raw(name, text::escape(text))
    }

    /// In this group.
    pub fn group(mut self, group: &str) -> Property {
        self.group = Some(group.to_owned());
        self
    }

    /// With this parameter. Values are plain; quotes and RFC 6868 are put where they are needed.
    pub fn parameter<V: Into<String>>(mut self, name: &str, values: impl IntoIterator<Item = V>) -> Property {
        self.parameters.push((name.to_owned(), values.into_iter().map(Into::into).collect()));
        self
    }

    /// The logical line.
    pub(crate) fn unfolded(&self) -> Result<Vec<u8>, PropertyError> {
        let mut line = Vec::new();
        if let Some(group) = &self.group {
            line.extend_from_slice(check_name(group)?.as_bytes());
            line.push(b'.');
        }
        if self.name.eq_ignore_ascii_case("BEGIN") || self.name.eq_ignore_ascii_case("END") {
            return Err(PropertyError::Structure);
        }
        line.extend_from_slice(check_name(&self.name)?.as_bytes());
        for (name, values) in &self.parameters {
            line.push(b';');
            line.extend_from_slice(&parameter(name, values)?);
        }
        line.push(b':');
        line.extend_from_slice(check_value(&self.name, &self.value)?);
        Ok(line)
    }
}

/// `NAME=value,value`.
pub(crate) fn parameter<V: AsRef<str>>(name: &str, values: &[V]) -> Result<Vec<u8>, PropertyError> {
    let values: Vec<String> = values.iter().map(|value| text::parameter_encode(value.as_ref())).collect();
    Ok(format!("{}={}", check_name(name)?, values.join(",")).into_bytes())
}

pub(crate) fn check_value<'a>(name: &str, value: &'a [u8]) -> Result<&'a [u8], PropertyError> {
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err(PropertyError::LineEnd(name.to_owned()));
    }
    Ok(value)
}

fn check_name(name: &str) -> Result<&str, PropertyError> {
    let fine = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if fine { Ok(name) } else { Err(PropertyError::Name(name.to_owned())) }
}
