//! Text from outside: the command line, a card's settings, a name server's answer.
#![no_main]

use kernel::net::configure::CardSettings;
use kernel::net::query::{self, Kind};
use kernel::settings::CommandLine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let line = CommandLine::parse(bytes);
    let _ = CardSettings::read(0, |name| line.setting(name).map(String::from));
    let question = query::question(7, "a.example", Kind::Aaaa, false).unwrap();
    let _ = query::reply(&question, bytes);
    let mut answer = question.clone();
    answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 9]);
    answer.extend_from_slice(bytes);
    let _ = query::reply(&question, &answer);
});
