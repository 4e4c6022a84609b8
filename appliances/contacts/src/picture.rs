//! Photos: shown from inside of the card, set from a file. Links to elsewhere are not followed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chassis::http::{Answer, Fault, HeaderValue, Request, StatusCode, header, reply};
use content_lines::{Document, Limits, Property};
use dav::http::Site;
use dav::pages::html::Html;
use dav::pages::object::Object;
use dav::path::encode;
use dav::reading::{Component, read};

use crate::people::Entry;

/// A picture that a page takes; phones make them smaller before they sync.
pub const PHOTO_BYTES_MAX: usize = 1 << 20;

/// A photo, or the first letter.
pub fn face(one: &Entry, class: &str, html: &mut Html) {
    if picture(&one.card).is_some() {
        html.raw(&format!(
            "<img class=\"face {class}\" alt=\"\" loading=\"lazy\" src=\"/photo/{}/{}\">",
            encode(&one.book),
            encode(&one.name)
        ));
    } else {
        let letter: String = one.person.name.chars().take(1).flat_map(char::to_uppercase).collect();
        html.raw(&format!("<em class=\"face {class}\" aria-hidden=\"true\">")).text(&letter).raw("</em>");
    }
}

/// The picture inside of a card: its media type and bytes.
fn picture(card: &Component) -> Option<(&'static str, Vec<u8>)> {
    let photo = card.property("PHOTO")?;
    let data = match photo.value.strip_prefix("data:") {
        Some(uri) => uri.split_once(";base64,")?.1,
        None if photo.parameter("ENCODING").is_some() => photo.value.as_str(),
        None => return None,
    };
    let data: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(data).ok()?;
    Some((kind_of(&bytes)?, bytes))
}

fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

pub async fn photo(site: Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let names = [request.matched("book").to_string(), request.matched("name").to_string()];
    let object = Object::open(&site, &visitor, names)?;
    let card =
        read(&object.bytes).ok().and_then(|all| all.into_iter().next()).ok_or_else(Fault::not_found)?;
    let (kind, bytes) = picture(&card).ok_or_else(Fault::not_found)?;
    let mut response = reply(StatusCode::OK, kind, bytes);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=60"));
    Ok(response)
}

/// The card with another photo, as its version writes one; no bytes take it away.
pub fn with_photo(card: &[u8], photo: &[u8]) -> Result<Vec<u8>, Fault> {
    let bad = |error: content_lines::PropertyError| Fault::bad_request(error.to_string());
    let mut document =
        Document::parse(card, &Limits::default()).map_err(|e| Fault::bad_request(e.to_string()))?;
    let vcard = document.find_component("VCARD").ok_or_else(|| Fault::bad_request("This is no card."))?;
    document.remove_properties(vcard, "PHOTO").map_err(bad)?;
    if !photo.is_empty() {
        let kind =
            kind_of(photo).ok_or_else(|| Fault::bad_request("This is no JPEG, PNG, GIF or WebP picture."))?;
        let is_four =
            document.property(vcard, "VERSION").and_then(|line| line.value_str().map(|v| v.trim() == "4.0"));
        let data = STANDARD.encode(photo);
        let property = match is_four {
            Some(true) => Property::raw("PHOTO", format!("data:{kind};base64,{data}").into_bytes()),
            _ => Property::raw("PHOTO", data.into_bytes())
                .parameter("ENCODING", ["b"])
                .parameter("TYPE", [kind["image/".len()..].to_uppercase().as_str()]),
        };
        document.add_property(vcard, &property).map_err(bad)?;
    }
    Ok(document.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_come_back() {
        let png = [&[0x89, b'P', b'N', b'G'][..], &[7; 200]].concat();
        for version in ["3.0", "4.0"] {
            let card = format!("BEGIN:VCARD\r\nVERSION:{version}\r\nFN:A\r\nEND:VCARD\r\n");
            let with = with_photo(card.as_bytes(), &png).unwrap();
            let read_back = read(&with).unwrap().remove(0);
            assert_eq!(picture(&read_back), Some(("image/png", png.clone())), "{version}");
            assert_eq!(with_photo(&with, b"").unwrap(), card.as_bytes());
        }
        assert!(with_photo(b"BEGIN:VCARD\r\nEND:VCARD\r\n", b"<svg>").is_err());
    }
}
