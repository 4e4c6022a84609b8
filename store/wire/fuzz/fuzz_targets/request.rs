//! Requests of every service: answered or refused, never a panic, nothing published by rubbish.
#![no_main]

use git_wire::memory::MemoryRepository;
use git_wire::serve::{receive_pack, upload_pack_v0, upload_pack_v2};
use git_wire::{Kind, Limits, Repository};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { memory_bytes_max: 1 << 20, delta_bytes_max: 1 << 20, total_bytes_max: 8 << 20, ..Limits::default() };
    let repository = MemoryRepository::new();
    let tree = repository.add(Kind::Tree, b"").expect("no attack");
    let text = format!("tree {tree}\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nm\n");
    repository.set_ref("refs/heads/main", repository.add(Kind::Commit, text.as_bytes()).expect("no attack"));
    let view = repository.view().expect("memory");
    let _ = upload_pack_v2(&*view, &mut &bytes[..], &mut Vec::new(), &limits);
    let _ = upload_pack_v0(&*view, &mut &bytes[..], &mut Vec::new(), &limits);
    let _ = receive_pack(&repository, "fuzz", &mut &bytes[..], &mut Vec::new(), &limits, &mut |_| Ok(()));
});
