//! The command line: settings of the machine, environment and arguments of the program.
//!
//! It is what `extra=` holds in an xl configuration, or the arguments of a hosted process. Words are separated by white
//! space; double quotes keep white space, and in them a backslash keeps the next character. Up to a word `--`
//! - `name=value` whose name is in [`NAMES`] (maybe followed by `.eth1` for a card other than the first) is a setting;
//! - `NAME=value` whose name is in capitals, digits and underscores goes to the program's environment;
//! - anything else, and everything after `--`, is an argument of the program.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The settings the kernel knows.
///
/// | name | value | without it |
/// |---|---|---|
/// | `ip` | `dhcp`, `off`, or addresses `A.B.C.D/LENGTH` with commas | `dhcp` |
/// | `gateway` | IPv4 address | from DHCP |
/// | `ip6` | `auto`, `off`, or addresses with `/LENGTH` and commas | `auto` (router advertisements) |
/// | `gateway6` | IPv6 address | from router advertisements |
/// | `nameserver` | addresses with commas | from DHCP |
/// | `hostname` | a name | `nymote` |
/// | `stack` | largest stack of a thread in KiB | by the memory's size |
pub const NAMES: [&str; 7] = ["ip", "gateway", "ip6", "gateway6", "nameserver", "hostname", "stack"];

/// Longest command line that is looked at, in bytes; Xen's own limit is 1,024.
pub const COMMAND_LINE_BYTES_MAX: usize = 16 * 1024;

/// A command line, taken apart.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// Settings of the machine, in the order they were given.
    pub settings: Vec<(String, String)>,
    /// The program's environment, `NAME=value`.
    pub environment: Vec<String>,
    /// The program's arguments, without the program's own name.
    pub arguments: Vec<String>,
}

impl CommandLine {
    /// Takes a command line apart. Never fails: what is not a setting or a variable is an argument. Bytes that are not
    /// UTF-8 become replacement characters, NUL ends the line.
    pub fn parse(line: &[u8]) -> Self {
        let line = &line[..line.len().min(COMMAND_LINE_BYTES_MAX)];
        let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
        let mut parsed = CommandLine::default();
        let mut only_arguments = false;
        for word in words(&String::from_utf8_lossy(line)) {
            match word.split_once('=') {
                _ if only_arguments => parsed.arguments.push(word),
                None if word == "--" => only_arguments = true,
                Some((name, value)) if is_setting(name) => {
                    parsed.settings.push((name.to_string(), value.to_string()));
                }
                Some((name, _)) if is_variable(name) => parsed.environment.push(word),
                _ => parsed.arguments.push(word),
            }
        }
        parsed
    }

    /// The last value given for a setting.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn is_setting(name: &str) -> bool {
    let (name, card) = name.split_once('.').unwrap_or((name, "eth0"));
    NAMES.contains(&name) && card.strip_prefix("eth").is_some_and(|number| number.parse::<u8>().is_ok())
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(characters.next()),
            space if space.is_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn settings_environment_and_arguments_are_told_apart() {
        let line = CommandLine::parse(
            b"ip=10.0.0.2/24 ip.eth1=off RUST_LOG=debug serve --zone=x  TEXT=\"two \\\"words\\\"\" -- ip=no -- A=b\0junk",
        );
        assert_eq!(line.setting("ip"), Some("10.0.0.2/24"));
        assert_eq!(line.setting("ip.eth1"), Some("off"));
        assert_eq!(line.environment, vec!["RUST_LOG=debug", "TEXT=two \"words\""]);
        assert_eq!(line.arguments, vec!["serve", "--zone=x", "ip=no", "--", "A=b"]);
    }

    #[test]
    fn the_last_setting_wins_and_odd_lines_do_no_harm() {
        assert_eq!(CommandLine::parse(b"ip=a ip=b").setting("ip"), Some("b"));
        assert_eq!(CommandLine::parse(b"").arguments, Vec::<String>::new());
        assert_eq!(CommandLine::parse(b"\"open \\").arguments, vec!["open "]);
        assert_eq!(
            CommandLine::parse(b"\"\" \xff =x ip.eth999=y").arguments,
            vec!["", "\u{fffd}", "=x", "ip.eth999=y"]
        );
    }
}
