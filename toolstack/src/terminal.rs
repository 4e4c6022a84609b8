//! What a terminal shows besides plain lines.

use qrcodegen::{QrCode, QrCodeEcc};

/// A QR code of half blocks, two modules a character. With colours it is black on white whatever the terminal's are;
/// without, it assumes light letters on a dark ground (most scanners read both).
pub fn qr(text: &str, colours: bool) -> String {
    let Ok(code) = QrCode::encode_text(text, QrCodeEcc::Low) else { return String::new() };
    let (start, end) = if colours { ("\x1b[38;5;231;48;5;16m", "\x1b[0m") } else { ("", "") };
    let light = |x: i32, y: i32| !code.get_module(x, y);
    let mut lines = String::new();
    for y in (-QUIET..code.size() + QUIET).step_by(2) {
        lines.push_str(start);
        for x in -QUIET..code.size() + QUIET {
            lines.push(match (light(x, y), light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        lines.push_str(end);
        lines.push('\n');
    }
    lines
}

/// Modules of light around the code; four by the standard, two are enough for cameras.
const QUIET: i32 = 2;

#[cfg(test)]
mod tests {
    #[test]
    fn a_code_is_square() {
        let code = super::qr("https://127.0.0.1:10443/devices", false);
        let width = code.lines().next().unwrap().chars().count();
        assert!(code.lines().all(|line| line.chars().count() == width));
        assert_eq!(code.lines().count(), width.div_ceil(2));
    }
}
