//! Files that pages load: embedded, packed once, kept by browsers for an hour.

use std::sync::{Arc, OnceLock};

use flate2::Compression;

use crate::http::{HeaderValue, Response, Router, StatusCode, accepts_gzip, gzip, header, reply};

/// A file built into the appliance.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Its name under `/assets/`.
    pub name: &'static str,
    /// Its media type.
    pub kind: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

impl Asset {
    /// A route for each of them.
    pub fn routes(assets: &'static [Asset]) -> Router {
        assets.iter().fold(Router::new(), |router, asset| {
            let pattern: &'static str = Box::leak(format!("/assets/{}", asset.name).into_boxed_str());
            let packed = Arc::new(OnceLock::new());
            router.get(pattern, move |request| {
                let gzip = accepts_gzip(&request.headers);
                std::future::ready(Ok(send(asset, gzip.then_some(&packed))))
            })
        })
    }
}

/// The file, or its best gzip form, which is made when it is first asked for.
fn send(asset: &'static Asset, packed: Option<&Arc<OnceLock<bytes::Bytes>>>) -> Response {
    let mut response = match packed {
        Some(packed) if asset.kind.starts_with("text/") || asset.kind.contains("svg") => {
            let bytes = packed.get_or_init(|| gzip(asset.bytes, Compression::best())).clone();
            let mut response = reply(StatusCode::OK, asset.kind, bytes);
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        _ => reply(StatusCode::OK, asset.kind, asset.bytes),
    };
    let keep = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(header::CACHE_CONTROL, keep);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}

pub(super) fn routes() -> Router {
    Asset::routes(OWN)
}

const OWN: &[Asset] = &[
    Asset {
        name: "nymote.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../../assets/nymote.css"),
    },
    Asset { name: "mark.svg", kind: "image/svg+xml", bytes: include_bytes!("../../assets/mark.svg") },
];
