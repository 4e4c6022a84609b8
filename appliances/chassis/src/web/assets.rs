//! Files that pages load: embedded, named by their content so that browsers keep them.

use crate::http::{Answer, Fault, HeaderValue, Router, StatusCode, header, reply};

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
        let found = move |name: &str| assets.iter().find(|asset| asset.name == name);
        assets.iter().fold(Router::new(), |router, asset| {
            let pattern: &'static str = Box::leak(format!("/assets/{}", asset.name).into_boxed_str());
            router.get(pattern, move |_| {
                std::future::ready(found(asset.name).ok_or(Fault::not_found()).and_then(send))
            })
        })
    }
}

fn send(asset: &'static Asset) -> Answer {
    let mut response = reply(StatusCode::OK, asset.kind, asset.bytes);
    let keep = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(header::CACHE_CONTROL, keep);
    Ok(response)
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
