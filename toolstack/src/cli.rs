//! The words of the command line, and where each leads.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::place::Place;
use crate::suite::SUITE;
use crate::trouble::Trouble;
use crate::{
    account, backup, build, certificate, deploy, device, dns, doctor, host, logs, manifest, place, status,
    store, up,
};

/// Mail, contacts, calendar and names for a household: one program, everything in Git's own format.
#[derive(Debug, Parser)]
#[command(name = "nymote", version, after_help = TOUR, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const TOUR: &str = "Begin here:
  nymote up                       start everything on this machine; the screen says what to do next
  nymote device add anna phone    a password for a phone of its own
  nymote status                   what runs, and where
  nymote help up                  every command explains itself";

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Status(status::StatusArgs),
    Stop(status::StopArgs),
    Logs(logs::Args),
    Account(account::Args),
    Device(device::Args),
    Dns(dns::Args),
    Build(build::Args),
    Symbolize(build::symbolize::Args),
    Certificate(certificate::Args),
    Store(store::StoreArguments),
    Init(manifest::InitArgs),
    Describe(manifest::DescribeArgs),
    Deploy(deploy::Args),
    Host(host::Args),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Doctor(doctor::Args),
    Completions(Completions),
    Man(Man),
}

/// Prints the completions of a shell: nymote completions bash > ~/.local/share/bash-completion/completions/nymote
#[derive(Debug, clap::Args)]
struct Completions {
    /// bash, zsh, fish, elvish or powershell
    shell: clap_complete::Shell,
}

/// Writes the man pages, one a command, into a directory.
#[derive(Debug, clap::Args)]
struct Man {
    /// Made if it is not there
    directory: std::path::PathBuf,
}

/// Runs what was typed.
pub fn run() -> ExitCode {
    let matches = command().get_matches();
    let done = match matches.subcommand() {
        Some((name, of_part)) if SUITE.iter().any(|member| member.identity.name == name) => {
            part(name, of_part)
        }
        _ => match Cli::from_arg_matches(&matches) {
            Ok(cli) => dispatch(cli.command),
            Err(error) => error.exit(),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("nymote: {trouble}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<(), Trouble> {
    match command {
        Command::Up(args) => up::run(args),
        Command::Status(args) => status::run(args),
        Command::Stop(args) => status::stop(args),
        Command::Logs(args) => logs::run(args),
        Command::Account(args) => account::run(args),
        Command::Device(args) => device::run(args),
        Command::Dns(args) => dns::run(args),
        Command::Build(args) => build::run(args),
        Command::Symbolize(args) => build::symbolize::run(args),
        Command::Certificate(args) => certificate::run(args),
        Command::Store(args) => std::process::exit(store::run(args)),
        Command::Init(args) => manifest::init(args),
        Command::Describe(args) => manifest::describe(args),
        Command::Deploy(args) => deploy::run(args),
        Command::Host(args) => host::run(args),
        Command::Backup(args) => backup::backup(args),
        Command::Restore(args) => backup::restore(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions(args) => completions(args),
        Command::Man(args) => man(args),
    }
}

/// All words: ours, and those of the appliances that have some.
fn command() -> clap::Command {
    SUITE
        .iter()
        .filter_map(|member| Some((member, member.part.as_ref()?)))
        .fold(Cli::command(), |all, (member, part)| {
            all.subcommand(Place::augment((part.command)().name(member.identity.name)))
        })
}

/// `nymote mail …` and its like.
fn part(name: &str, matches: &clap::ArgMatches) -> Result<(), Trouble> {
    let Some((member, part)) =
        crate::suite::member(name).and_then(|member| Some((member, member.part.as_ref()?)))
    else {
        return Err(Trouble::new(format!("{name} has no commands")));
    };
    let place = Place::from_arg_matches(matches).map_err(|error| Trouble::new(error.to_string()))?;
    place::block_on(async {
        let reach = place::reach(&place.dir(), member).await?;
        (part.run)(matches.clone(), reach).await.map_err(Trouble::from)
    })
}

fn completions(args: Completions) -> Result<(), Trouble> {
    clap_complete::generate(args.shell, &mut command(), "nymote", &mut std::io::stdout());
    Ok(())
}

fn man(args: Man) -> Result<(), Trouble> {
    std::fs::create_dir_all(&args.directory).map_err(|error| Trouble::io("make", &args.directory, error))?;
    let made = clap_mangen::generate_to(command(), &args.directory);
    made.map_err(|error| Trouble::io("write", &args.directory, error))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_words_are_consistent() {
        super::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_is_for() {
        for command in super::command().get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(
                !about.is_empty() && !about.contains("household is meant"),
                "{}: {about}",
                command.get_name()
            );
        }
    }
}
