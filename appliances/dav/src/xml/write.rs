//! Answers: XML written as it is made, with five prefixes declared at the root (D, C, R, S, A).

use super::read::Element;
use super::{APPLE, CALDAV, CALENDAR_SERVER, CARDDAV, DAV, Name};

/// The declarations that every root element carries.
pub const NAMESPACES: &str = concat!(
    " xmlns:D=\"DAV:\"",
    " xmlns:C=\"urn:ietf:params:xml:ns:caldav\"",
    " xmlns:R=\"urn:ietf:params:xml:ns:carddav\"",
    " xmlns:S=\"http://calendarserver.org/ns/\"",
    " xmlns:A=\"http://apple.com/ns/ical/\"",
);

/// The first line of every document.
pub const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";

/// XML being written.
#[derive(Debug, Default)]
pub struct Writer {
    /// What is written so far.
    pub out: String,
}

impl Writer {
    /// A document with this root element, open.
    pub fn document(root: &str) -> Writer {
        Writer { out: format!("{PROLOG}<{root}{NAMESPACES}>") }
    }

    /// Text that is XML already.
    pub fn raw(&mut self, xml: &str) -> &mut Writer {
        self.out.push_str(xml);
        self
    }

    /// Text, escaped. Characters that XML forbids become U+FFFD.
    pub fn text(&mut self, text: &str) -> &mut Writer {
        escape_into(text, &mut self.out);
        self
    }

    /// `<name>text</name>`.
    pub fn leaf(&mut self, name: &str, text: &str) -> &mut Writer {
        self.raw("<").raw(name).raw(">").text(text).raw("</").raw(name).raw(">")
    }

    /// `<D:href>…</D:href>`; the path is percent-encoded already.
    pub fn href(&mut self, path: &str) -> &mut Writer {
        self.leaf("D:href", path)
    }

    /// An opening tag for any name, and what closes it.
    pub fn open(&mut self, name: &Name) -> String {
        let (open, close) = match prefix_of(&name.ns) {
            Some(prefix) => (format!("<{prefix}:{}>", name.local), format!("</{prefix}:{}>", name.local)),
            None if name.ns.is_empty() => {
                (format!("<{} xmlns=\"\">", name.local), format!("</{}>", name.local))
            }
            None => {
                let mut ns = String::new();
                escape_into(&name.ns, &mut ns);
                (format!("<x:{} xmlns:x=\"{ns}\">", name.local), format!("</x:{}>", name.local))
            }
        };
        self.out.push_str(&open);
        close
    }

    /// An empty element of any name.
    pub fn empty(&mut self, name: &Name) -> &mut Writer {
        let close = self.open(name);
        self.out.pop();
        self.out.push_str("/>");
        drop(close);
        self
    }
}

/// The prefix that the root declares for a namespace.
pub fn prefix_of(ns: &str) -> Option<&'static str> {
    match ns {
        DAV => Some("D"),
        CALDAV => Some("C"),
        CARDDAV => Some("R"),
        CALENDAR_SERVER => Some("S"),
        APPLE => Some("A"),
        _ => None,
    }
}

/// An element as XML that stands by itself (every element declares its namespace): a dead property as it is kept.
pub fn standalone(element: &Element) -> String {
    let mut out = String::new();
    write_element(element, &mut out);
    out
}

fn write_element(element: &Element, out: &mut String) {
    let attribute = |out: &mut String, name: &str, value: &str| {
        out.push_str(&format!(" {name}=\""));
        escape_into(value, out);
        out.push('"');
    };
    out.push('<');
    out.push_str(&element.local);
    attribute(out, "xmlns", &element.ns);
    for (at, (name, value)) in element.attributes.iter().enumerate() {
        if name.ns.is_empty() {
            attribute(out, &name.local, value);
        } else if name.ns == "http://www.w3.org/XML/1998/namespace" {
            attribute(out, &format!("xml:{}", name.local), value);
        } else {
            attribute(out, &format!("xmlns:a{at}"), &name.ns);
            attribute(out, &format!("a{at}:{}", name.local), value);
        }
    }
    out.push('>');
    let mut written = 0;
    for child in &element.children {
        escape_into(element.text.get(written..child.at).unwrap_or_default(), out);
        written = written.max(child.at);
        write_element(child, out);
    }
    escape_into(element.text.get(written..).unwrap_or_default(), out);
    out.push_str(&format!("</{}>", element.local));
}

/// Escapes text for content and attribute values. A carriage return would be read back as a line feed, so that it is
/// written as a reference.
pub fn escape_into(text: &str, out: &mut String) {
    let mut begin = 0;
    for (at, byte) in text.bytes().enumerate() {
        let replacement = match byte {
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'&' => "&amp;",
            b'"' => "&quot;",
            b'\r' => "&#13;",
            0..=8 | 11 | 12 | 14..=31 => "\u{fffd}",
            _ => continue,
        };
        out.push_str(&text[begin..at]);
        out.push_str(replacement);
        begin = at + 1;
    }
    out.push_str(&text[begin..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::read::read;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::document("D:multistatus");
        writer.leaf("D:href", "a&b<\u{1}\r\n\"é");
        for name in [Name::dav("x"), Name::new("urn:\"&", "y"), Name::new("", "z")] {
            let close = writer.open(&name);
            writer.text("t").raw(&close);
            writer.empty(&name);
        }
        writer.raw("</D:multistatus>");
        let root = read(writer.out.as_bytes()).unwrap();
        assert_eq!(root.children[0].text, "a&b<\u{fffd}\r\n\"é");
        let names: Vec<String> = root.children[1..].iter().map(|e| e.name().to_string()).collect();
        assert_eq!(names, ["{DAV:}x", "{DAV:}x", "{urn:\"&}y", "{urn:\"&}y", "{}z", "{}z"]);
    }

    #[test]
    fn a_dead_property_stands_by_itself() {
        let root =
            read("<p:a xmlns:p='urn:p' xmlns:q='urn:q' q:n='1' m='2' xml:lang='en'>t<q:b>in</q:b>é &amp; <c/>end</p:a>".as_bytes())
                .unwrap();
        let text = standalone(&root);
        assert_eq!(read(text.as_bytes()).unwrap(), root);
        assert!(text.contains(">in</b>é &amp; <c xmlns=\"\"></c>end</a>"), "{text}");
    }
}
