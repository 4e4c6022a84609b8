//! A pack from a stranger: refused or taken, bounded either way.
#![no_main]

use git_wire::memory::MemoryRepository;
use git_wire::pack::receive;
use git_wire::{Kind, Limits, Repository};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { memory_bytes_max: 1 << 20, delta_bytes_max: 1 << 20, total_bytes_max: 8 << 20, ..Limits::default() };
    let repository = MemoryRepository::new();
    repository.add(Kind::Blob, b"a base for thin packs").expect("no attack");
    let mut quarantine = repository.quarantine().expect("memory");
    let _ = receive(bytes, &mut *quarantine, &limits, &[], &mut |_, _| Ok(()));
});
