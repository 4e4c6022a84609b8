//! Answers by gzip (RFC 9110 section 8.4.1.3) where it pays: text of some size that is whole in memory.
//!
//! Streams pass as they are (Git's packs are compressed already), and so does what has a strong entity tag: it names
//! these bytes (RFC 9110 section 8.8.1), and WebDAV's clients send it back. A page's secrets are masked anew each time
//! (`Visitor::csrf`), so that lengths of compressed pages tell nothing about them.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};

use super::{Body, Response};
use crate::aside::aside;
use crate::memory;

/// Whether the client takes gzip.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let takes = |coding: &str| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let named = ["gzip", "x-gzip", "*"].iter().any(|one| name.eq_ignore_ascii_case(one));
        named && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>() == Ok(0.0)))
    };
    let values = headers.get_all(header::ACCEPT_ENCODING);
    values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(takes)
}

/// Compresses an answer if that pays; `accepted`: the client takes gzip.
pub(crate) async fn compressed(mut response: Response, accepted: bool) -> Response {
    if !pays(&response) {
        return response;
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(bytes) = response.body().whole().filter(|_| accepted && memory::has(WORK_BYTES)).cloned() else {
        return response;
    };
    // A large one must not hold up what else this thread serves.
    let packed = if bytes.len() > INLINE_BYTES_MAX {
        aside(move || gzip(&bytes, Compression::new(LEVEL))).await
    } else {
        Some(gzip(&bytes, Compression::new(LEVEL)))
    };
    if let Some(packed) = packed {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(packed);
    }
    response
}

/// The bytes as one gzip member.
pub(crate) fn gzip(bytes: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), level);
    // Neither can fail: a Vec takes everything.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

fn pays(response: &Response) -> bool {
    let headers = response.headers();
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let long = response.body().whole().is_some_and(|bytes| bytes.len() >= BYTES_MIN);
    let strong = text(header::ETAG).starts_with('"');
    long && response.status().is_success()
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && !strong
        && is_text(text(header::CONTENT_TYPE))
}

fn is_text(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.starts_with("text/")
        || ["json", "xml", "javascript"].iter().any(|end| kind.ends_with(end))
            && kind.starts_with("application/")
        || kind == "image/svg+xml"
}

/// What deflating takes while it works (380 kB), and as much for the others.
const WORK_BYTES: usize = 768 << 10;
/// Below this a packet carries it anyway.
const BYTES_MIN: usize = 1024;
/// Compressed where it stands: about a millisecond.
const INLINE_BYTES_MAX: usize = 128 * 1024;
/// zlib's scale. Pages and multi-status bodies are a fifth of their size with 3; 6 takes twice the time for a tenth less.
const LEVEL: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{StatusCode, reply};
    use std::io::Read;

    fn accepting(value: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        accepts_gzip(&headers)
    }

    #[test]
    fn rfc9110_12_5_3_accept_encoding() {
        assert!(
            accepting("gzip") && accepting("br, GZIP;q=0.5") && accepting("*") && accepting("deflate,x-gzip")
        );
        assert!(
            !accepting("br") && !accepting("gzip;q=0") && !accepting("gzip; q=0.0") && !accepting("identity")
        );
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn long_text_is_packed_and_says_so() {
        let text = "<response>x</response>".repeat(20_000);
        for length in [2_000, text.len()] {
            let kind = "application/xml; charset=utf-8";
            let made = || reply(StatusCode::MULTI_STATUS, kind, text[..length].to_owned());
            let packed = compressed(made(), true).await;
            assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
            assert_eq!(packed.headers()[header::VARY], "accept-encoding");
            let mut back = String::new();
            let bytes = packed.body().whole().unwrap();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut back).unwrap();
            assert!(back == text[..length] && bytes.len() < length / 10);
            let plain = compressed(made(), false).await;
            assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
            assert_eq!(plain.headers()[header::VARY], "accept-encoding");
        }
    }

    #[tokio::test]
    async fn what_has_a_strong_tag_or_is_no_text_stays() {
        let long = || "x".repeat(5000);
        let mut tagged = reply(StatusCode::OK, "text/vcard", long());
        tagged.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"abc\""));
        let others =
            [reply(StatusCode::OK, "image/png", long()), reply(StatusCode::OK, "text/plain", "short")];
        for response in others.into_iter().chain([tagged]) {
            assert!(!compressed(response, true).await.headers().contains_key(header::CONTENT_ENCODING));
        }
    }
}
