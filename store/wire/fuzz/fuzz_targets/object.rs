//! Objects from a stranger: checked and read without a panic; a tree that passes has unique, sorted names.
#![no_main]

use git_wire::Kind;
use git_wire::object::{check, commit_links, tag_link, tree_entries};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::Commit, Kind::Tag, Kind::Tree] {
        let sound = check(kind, bytes).is_ok();
        match kind {
            Kind::Commit if sound => drop(commit_links(bytes).expect("a checked commit has links")),
            Kind::Tag if sound => drop(tag_link(bytes).expect("a checked tag has a link")),
            Kind::Tree if sound => {
                let names: Vec<_> = tree_entries(bytes).map(|entry| entry.expect("checked").name).collect();
                let unique: std::collections::HashSet<_> = names.iter().collect();
                assert_eq!(unique.len(), names.len());
            }
            _ => {}
        }
    }
});
