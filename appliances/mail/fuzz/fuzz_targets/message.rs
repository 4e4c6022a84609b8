//! A stranger's message: its tree lies inside it, its ENVELOPE and BODYSTRUCTURE are balanced, and every text that can be
//! found in it is let through by its signature.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail::mailbox::texts::{Needle, Signature};
use mail::message::{self, Entity};

fn inside(entity: &Entity, len: usize) {
    assert!(entity.header.start <= entity.header.end && entity.header.end <= entity.body.end);
    assert!(entity.body.start <= entity.body.end && entity.body.end <= len);
    entity.children.iter().for_each(|child| inside(child, len));
}

/// Parentheses outside of strings and literals.
fn is_balanced(written: &[u8]) -> bool {
    let (mut depth, mut at) = (0i64, 0);
    while at < written.len() {
        match written[at] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'"' => at += written[at + 1..].iter().position(|b| *b == b'"').expect("a string ends") + 1,
            b'{' => {
                let close = at + written[at..].iter().position(|b| *b == b'}').expect("a length ends");
                let len: usize = std::str::from_utf8(&written[at + 1..close]).unwrap().parse().unwrap();
                at = close + 2 + len;
            }
            _ => {}
        }
        if depth < 0 {
            return false;
        }
        at += 1;
    }
    depth == 0
}

fuzz_target!(|raw: &[u8]| {
    let tree = message::parse(raw);
    inside(&tree, raw.len());
    for extended in [false, true] {
        let mut written = Vec::new();
        message::write_structure(&mut written, raw, &tree, extended);
        assert!(is_balanced(&written));
    }
    let mut envelope = Vec::new();
    message::write_envelope(&mut envelope, &raw[..message::header_end(raw)]);
    assert!(is_balanced(&envelope));
    message::thread(raw);
    let signature = Signature::of(raw);
    let mut texts = message::lower_texts(raw);
    message::each_search_text(raw, |text| texts.push(text.to_lowercase()));
    for text in texts {
        let start = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
        let some: String = text[start..].chars().take(12).collect();
        if let Some(needle) = Needle::of(&some) {
            assert!(signature.has(&needle.places(signature.width)));
        }
    }
});
