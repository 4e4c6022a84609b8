use super::report::crate_of;
use super::symbolize::addresses;

#[test]
fn names_are_told_by_crate() {
    assert_eq!(crate_of("tokio::runtime::Runtime::block_on"), "tokio");
    assert_eq!(crate_of("<hickory_proto::rr::Name as core::fmt::Display>::fmt"), "hickory_proto");
    assert_eq!(crate_of("core::ptr::drop_in_place<std::io::Error>"), "core");
    assert_eq!(crate_of("memcpy"), "C and assembly");
}

#[test]
fn addresses_are_found_in_a_crash_line() {
    let line = "page fault at address 0x10, instruction 0x41c0b9, stack 0x7f00aa00 (0xzz, 12)";
    assert_eq!(addresses(line).collect::<Vec<_>>(), ["0x41c0b9", "0x7f00aa00"]);
}
