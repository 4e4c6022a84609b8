//! Request bodies: namespace-aware, no document type, no entity but the five of XML, bounded in octets, depth, elements and
//! attributes. An entity bomb is refused at its first octets.

use quick_xml::XmlVersion;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::Name;
use crate::limits::{XML_ATTRIBUTES_MAX, XML_BODY_BYTES_MAX, XML_DEPTH_MAX, XML_ELEMENTS_MAX};

/// An element with what is in it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Element {
    /// Namespace; empty for none.
    pub ns: String,
    /// Local name.
    pub local: String,
    /// Attributes that are no namespace declarations: name with namespace, value.
    pub attributes: Vec<(Name, String)>,
    /// The elements inside, in order.
    pub children: Vec<Element>,
    /// All text directly inside, put together.
    pub text: String,
    /// Before which octet of its parent's text it stands.
    pub at: usize,
}

/// Why a request body is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadXml {
    /// It is not well-formed, or not UTF-8.
    #[error("the XML is not well-formed: {0}")]
    Malformed(String),
    /// It has a document type or an entity of its own; neither is ever read.
    #[error("document types and entities are refused")]
    Dtd,
    /// A bound of `limits` is passed.
    #[error("the XML is larger, deeper or has more elements than is served")]
    TooLarge,
}

/// Reads a whole document; gives its root.
pub fn read(body: &[u8]) -> Result<Element, BadXml> {
    if body.len() > XML_BODY_BYTES_MAX {
        return Err(BadXml::TooLarge);
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = std::str::from_utf8(body).map_err(|_| BadXml::Malformed("it is not UTF-8".into()))?;
    if !text.chars().all(is_xml_char) {
        return Err(BadXml::Malformed("it has a character that XML forbids".into()));
    }
    let mut reader = NsReader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut elements = 0;
    loop {
        let (ns, event) = reader.read_resolved_event().map_err(malformed)?;
        let ns = match (ns, &event) {
            (ResolveResult::Bound(ns), _) => namespace(ns.as_ref())?,
            (ResolveResult::Unknown(prefix), Event::Start(_) | Event::Empty(_)) => {
                return Err(BadXml::Malformed(format!("the prefix {prefix:?} is bound to nothing")));
            }
            _ => String::new(),
        };
        match event {
            Event::Start(start) => {
                elements += 1;
                if elements > XML_ELEMENTS_MAX || open.len() >= XML_DEPTH_MAX {
                    return Err(BadXml::TooLarge);
                }
                if root.is_some() {
                    return Err(BadXml::Malformed("there is more than one root".into()));
                }
                open.push(element(ns, &start, &reader)?);
            }
            Event::Empty(start) => {
                elements += 1;
                if elements > XML_ELEMENTS_MAX {
                    return Err(BadXml::TooLarge);
                }
                let done = element(ns, &start, &reader)?;
                close(done, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let done = open.pop().ok_or_else(|| BadXml::Malformed("an end without a start".into()))?;
                close(done, &mut open, &mut root)?;
            }
            Event::Text(text) => add_text(&mut open, &text.xml10_content())?,
            Event::CData(text) => add_text(&mut open, &text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let c = match reference.resolve_char_ref().map_err(malformed)? {
                    Some(c) if is_xml_char(c) => c,
                    Some(_) => return Err(BadXml::Malformed("a forbidden character reference".into())),
                    None => match &*reference.into_inner() {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "apos" => '\'',
                        "quot" => '"',
                        _ => return Err(BadXml::Dtd),
                    },
                };
                add_text(&mut open, c.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) => return Err(BadXml::Dtd),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() {
        return Err(BadXml::Malformed("it ends inside an element".into()));
    }
    root.ok_or_else(|| BadXml::Malformed("there is no element".into()))
}

impl Element {
    /// Whether it is called so.
    pub fn is(&self, ns: &str, local: &str) -> bool {
        self.ns == ns && self.local == local
    }

    /// Its name.
    pub fn name(&self) -> Name {
        Name { ns: self.ns.clone(), local: self.local.clone() }
    }

    /// The first element inside of that name.
    pub fn child(&self, ns: &str, local: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.is(ns, local))
    }

    /// All elements inside of that name.
    pub fn all<'a>(&'a self, ns: &'a str, local: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.is(ns, local))
    }

    /// An attribute without namespace.
    pub fn attribute(&self, local: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(name, _)| name.ns.is_empty() && name.local == local)
            .map(|(_, v)| v.as_str())
    }

    /// An attribute with a namespace.
    pub fn attribute_ns(&self, ns: &str, local: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name.ns == ns && name.local == local).map(|(_, v)| v.as_str())
    }
}

/// Whether XML 1.0 allows the character (section 2.2).
pub fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn malformed(error: impl std::fmt::Display) -> BadXml {
    BadXml::Malformed(error.to_string())
}

/// A namespace name is an attribute's value: references in it are undone.
fn namespace(raw: &str) -> Result<String, BadXml> {
    unescape(raw).map(|ns| ns.into_owned()).map_err(|_| BadXml::Dtd)
}

fn element(ns: String, start: &BytesStart<'_>, reader: &NsReader<&[u8]>) -> Result<Element, BadXml> {
    let local = start.local_name().as_ref().to_string();
    let mut out = Element { ns, local, ..Element::default() };
    for (count, attribute) in start.attributes().enumerate() {
        if count >= XML_ATTRIBUTES_MAX {
            return Err(BadXml::TooLarge);
        }
        let attribute = attribute.map_err(malformed)?;
        let key = attribute.key.as_ref();
        if key == "xmlns" || key.starts_with("xmlns:") {
            continue;
        }
        let value =
            attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| BadXml::Dtd)?.into_owned();
        let (ns, local) = reader.resolver().resolve_attribute(attribute.key);
        let ns = match ns {
            ResolveResult::Bound(ns) => namespace(ns.as_ref())?,
            _ => String::new(),
        };
        out.attributes.push((Name { ns, local: local.as_ref().to_string() }, value));
    }
    Ok(out)
}

fn close(mut done: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), BadXml> {
    match open.last_mut() {
        Some(parent) => {
            done.at = parent.text.len();
            parent.children.push(done);
        }
        None if root.is_none() => *root = Some(done),
        None => return Err(BadXml::Malformed("there is more than one root".into())),
    }
    Ok(())
}

fn add_text(open: &mut [Element], text: &str) -> Result<(), BadXml> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(BadXml::Malformed("text outside of the root".into())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::DAV;

    #[test]
    fn names_text_and_attributes() {
        let root = read(
            b"\xef\xbb\xbf<?xml version=\"1.0\"?><!-- c --><a:propfind xmlns:a='DAV:' xml:lang=\"de\" x=\"&lt;\">\n <a:prop><b xmlns='urn:x'>t&#x41;&amp;<![CDATA[<]]></b><c/></a:prop></a:propfind>\n",
        )
        .unwrap();
        assert!(root.is(DAV, "propfind"));
        assert_eq!(root.attribute("x"), Some("<"));
        assert_eq!(root.attribute_ns("http://www.w3.org/XML/1998/namespace", "lang"), Some("de"));
        let prop = root.child(DAV, "prop").unwrap();
        assert_eq!(prop.children[0].text, "tA&<");
        assert_eq!(prop.children[0].name().to_string(), "{urn:x}b");
        assert_eq!(prop.children[1].ns, "");
    }

    #[test]
    fn bombs_are_refused_at_once() {
        let lol = "<!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol2 \"&lol;&lol;\">]><lolz>&lol2;</lolz>";
        assert_eq!(read(lol.as_bytes()), Err(BadXml::Dtd));
        assert_eq!(read(b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'><x/>"), Err(BadXml::Dtd));
        assert_eq!(read(b"<x>&lol;</x>"), Err(BadXml::Dtd));
        assert_eq!(read(b"<x a='&lol;'/>"), Err(BadXml::Dtd));
        assert_eq!(read("<x>".repeat(100_000).as_bytes()), Err(BadXml::TooLarge));
        assert_eq!(read(format!("<x>{}</x>", "<y/>".repeat(100_000)).as_bytes()), Err(BadXml::TooLarge));
        assert_eq!(read(&vec![b' '; XML_BODY_BYTES_MAX + 1]), Err(BadXml::TooLarge));
    }

    #[test]
    fn what_is_not_well_formed() {
        for bad in [
            "",
            "x",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a:b/>",
            "<a x=1/>",
            "<a x='1' x='2'/>",
            "<a>\u{1}</a>",
            "<a>&#0;</a>",
            "</a>",
            "<a/>x",
        ] {
            assert!(matches!(read(bad.as_bytes()), Err(BadXml::Malformed(_))), "{bad}");
        }
        assert!(matches!(read(b"<a>\xff</a>"), Err(BadXml::Malformed(_))));
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[<>/a:='\"&;#x!\\[\\]CDATA? \n-]{0,80}") {
            let _ = read(text.as_bytes());
        }
    }
}
