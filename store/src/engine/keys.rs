//! The engine's key space, one letter a use.

use git_wire::ObjectId;

/// Objects: `o`, id. Value: [`super::ObjectEntry`].
pub fn object(id: &ObjectId) -> Vec<u8> {
    let mut key = Vec::with_capacity(21);
    key.push(b'o');
    key.extend_from_slice(&id.0);
    key
}

/// Refs: `r`, full name. Value: id, number of its last move.
pub fn reference(name: &str) -> Vec<u8> {
    [b"r", name.as_bytes()].concat()
}

/// Moves of refs: `m`, full name, NUL, number. Value: old id, new id, seconds.
pub fn ref_move(name: &str, number: u64) -> Vec<u8> {
    [b"m", name.as_bytes(), b"\0", &number.to_be_bytes()].concat()
}

/// Derived tables: `i`, name, NUL, the caller's key.
pub fn index(table: &str, key: &[u8]) -> Vec<u8> {
    [b"i", table.as_bytes(), b"\0", key].concat()
}

/// Which commit a derived table stands at: `a`, name. Value: id.
pub fn index_state(table: &str) -> Vec<u8> {
    [b"a", table.as_bytes()].concat()
}

/// What a forgotten commit became: `f`, old id. Value: new id.
pub fn forgotten(id: &ObjectId) -> Vec<u8> {
    [&b"f"[..], &id.0].concat()
}

/// Pushes that are not published: `p`, number.
pub fn quarantine(number: u64) -> Vec<u8> {
    [&b"p"[..], &number.to_be_bytes()].concat()
}

/// What a branch's head reaches: `b`, id, chunk. Value: 65,536 bits, deflated.
pub fn reach(head: &ObjectId, chunk: u64) -> Vec<u8> {
    [&b"b"[..], &head.0, &chunk.to_be_bytes()].concat()
}

/// What all keys of [`reach`] for one head start with.
pub fn reach_of(head: &ObjectId) -> Vec<u8> {
    [&b"b"[..], &head.0].concat()
}

/// Objects that a collection is about to delete, all with numbers below that of the setting `doomed`: `d`, chunk. Value:
/// 65,536 bits, deflated; set for those that stay.
pub fn spared(chunk: u64) -> Vec<u8> {
    [&b"d"[..], &chunk.to_be_bytes()].concat()
}

/// Settings of the store itself: `s`, name.
pub fn setting(name: &str) -> Vec<u8> {
    [b"s", name.as_bytes()].concat()
}

/// The key right after every key that starts with `prefix`.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; 64]
}
