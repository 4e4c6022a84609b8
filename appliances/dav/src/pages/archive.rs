//! Everything of an account as one tar file: each object as it was put, in a folder a collection.

use chassis::aside::on_thread;
use chassis::http::{Answer, Body, HeaderValue, Request, StatusCode, header, reply};

use super::broken;
use crate::household::properties::Kind;
use crate::household::view::View;
use crate::http::Site;
use crate::server::stream::Members;

/// Octets of a tar file come in blocks of this size (POSIX ustar).
const BLOCK: usize = 512;

/// `GET /everything.tar`
pub async fn everything(site: Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let account = visitor.account().user.clone();
    let view = site.household().view(&account).map_err(broken)?;
    let (sender, body) = Body::stream(None);
    let runtime = tokio::runtime::Handle::current();
    // The client takes the pieces at its own pace; one is made at a time.
    on_thread(move || {
        for piece in pieces(&view) {
            match piece.map(|piece| sender.send_blocking(piece)) {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(error) => return runtime.block_on(sender.fail(std::io::Error::other(error))),
            }
        }
    })?;
    let mut response = reply(StatusCode::OK, "application/x-tar", body);
    let name = format!("attachment; filename=\"nymote-{}.tar\"", crate::path::encode(&account));
    if let Ok(name) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// The file in pieces, one an object; a piece that is an error ends it.
fn pieces(view: &View) -> impl Iterator<Item = store::Result<Vec<u8>>> {
    let collections = view.collections.values().filter(|c| c.properties.kind != Kind::Plain);
    let objects = collections.flat_map(move |collection| {
        Members::of(collection.clone()).map(move |(name, member)| {
            let bytes = view.read(collection, &name, &member)?;
            let stored = crate::household::names::stored(&name).unwrap_or_default();
            let path = format!("{}/{stored}", collection.path);
            Ok(entry(&path, &bytes, member.summary.put_at))
        })
    });
    objects.chain(std::iter::once(Ok(vec![0; 2 * BLOCK])))
}

/// Header, content, padding. A path above 100 octets is split at a slash into the prefix field.
fn entry(path: &str, bytes: &[u8], modified: i64) -> Vec<u8> {
    let (prefix, name) = match path.len() {
        0..=100 => ("", path),
        _ => path.rsplit_once('/').unwrap_or(("", path)),
    };
    let mut head = [0u8; BLOCK];
    let mut put = |at: usize, length: usize, text: &str| {
        let cut = &text.as_bytes()[..text.len().min(length)];
        head[at..at + cut.len()].copy_from_slice(cut);
    };
    put(0, 100, name);
    put(100, 8, "0000644\0");
    put(108, 8, "0000000\0");
    put(116, 8, "0000000\0");
    put(124, 12, &format!("{:011o}\0", bytes.len()));
    put(136, 12, &format!("{:011o}\0", modified.clamp(0, 0o77_777_777_777)));
    put(148, 8, "        ");
    put(156, 1, "0");
    put(257, 8, "ustar\x0000");
    put(345, 155, prefix);
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut out = head.to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}
