//! A pack from a stranger: refused or taken, bounded either way. By its first byte nearly everything is too large for
//! memory, so that blobs and deltas pass in pieces.
#![no_main]

use git_wire::memory::MemoryRepository;
use git_wire::pack::receive;
use git_wire::{Kind, Limits, Repository};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let small = if first & 1 == 0 { 1 << 20 } else { 16 };
    let limits = Limits {
        memory_bytes_max: small,
        delta_bytes_max: small,
        object_bytes_max: 1 << 20,
        total_bytes_max: 8 << 20,
        ..Limits::default()
    };
    let repository = MemoryRepository::new();
    repository.add(Kind::Blob, b"a base for thin packs").expect("no attack");
    let mut quarantine = repository.quarantine().expect("memory");
    let _ = receive(bytes, &mut *quarantine, &limits, &[], &mut |_, _| Ok(()));
});
