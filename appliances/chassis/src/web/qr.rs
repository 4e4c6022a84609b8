//! QR codes as SVG, black on white in both colour schemes: cameras want it so.

use std::fmt::Write as _;

use qrcodegen::{QrCode, QrCodeEcc};

/// A QR code of this text; `None` when it is too long for one (about 2 kB).
pub fn svg(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let size = code.size();
    let edge = size + 2 * QUIET;
    let mut path = String::new();
    for y in 0..size {
        for x in (0..size).filter(|x| code.get_module(*x, y)) {
            let _ = write!(path, "M{},{}h1v1h-1z", x + QUIET, y + QUIET);
        }
    }
    Some(format!(
        "<svg class=\"qr\" viewBox=\"0 0 {edge} {edge}\" role=\"img\" aria-label=\"QR code\" \
         xmlns=\"http://www.w3.org/2000/svg\"><rect width=\"{edge}\" height=\"{edge}\" fill=\"#fff\"/>\
         <path d=\"{path}\" fill=\"#000\" shape-rendering=\"crispEdges\"/></svg>"
    ))
}

/// The quiet zone of ISO/IEC 18004: four modules.
const QUIET: i32 = 4;
