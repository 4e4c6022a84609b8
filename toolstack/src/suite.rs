//! The four appliances, as `nymote` carries them (decision 0001).

use std::process::ExitCode;

use chassis::Identity;
use chassis::command::Part;

/// An appliance of the suite.
pub struct Member {
    /// Who it is.
    pub identity: &'static Identity,
    /// Runs it with these command-line words, until it is told to stop.
    pub run: fn(Vec<String>) -> ExitCode,
    /// Its part of the command line, if it has one.
    pub part: Option<Part>,
}

/// All of them, in the order in which people think of them.
pub static SUITE: [Member; 4] = [
    Member {
        identity: &mail::IDENTITY,
        run: |words| chassis::run_with(&mail::IDENTITY, words, mail::run),
        part: Some(mail::command::PART),
    },
    Member {
        identity: &contacts::IDENTITY,
        run: |words| chassis::run_with(&contacts::IDENTITY, words, contacts::run),
        part: Some(contacts::PART),
    },
    Member {
        identity: &calendar::IDENTITY,
        run: |words| chassis::run_with(&calendar::IDENTITY, words, calendar::run),
        part: Some(calendar::PART),
    },
    Member {
        identity: &signpost_dns::IDENTITY,
        run: |words| chassis::run_with(&signpost_dns::IDENTITY, words, signpost_dns::run),
        part: Some(signpost_dns::command::PART),
    },
];

/// The member of that name.
pub fn member(name: &str) -> Option<&'static Member> {
    SUITE.iter().find(|member| member.identity.name == name)
}

/// `nymote appliance NAME …`: this process becomes that appliance. Not for typing; `nymote up` starts itself so.
pub fn become_appliance(mut words: impl Iterator<Item = String>) -> ExitCode {
    let name = words.next().unwrap_or_default();
    match member(&name) {
        Some(member) => (member.run)(words.collect()),
        None => {
            let known: Vec<&str> = SUITE.iter().map(|member| member.identity.name).collect();
            eprintln!("nymote appliance: there is no appliance {name:?}; there are {}", known.join(", "));
            ExitCode::from(2)
        }
    }
}
