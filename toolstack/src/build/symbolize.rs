//! `nymote symbolize`: addresses of a machine's crash line or backtrace, as functions and lines.

use std::io::BufRead;
use std::path::PathBuf;
use std::process::Command;

use crate::trouble::Trouble;

/// Reads text with addresses (a console's backtrace) and names each address: nymote symbolize IMAGE.debug < console.log
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The debug file that `nymote build` left beside the image
    debug: PathBuf,
    /// Addresses such as 0x41c0b9; standard input is read without any
    addresses: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Trouble> {
    if !args.debug.exists() {
        return Err(Trouble::new(format!("there is no {}", args.debug.display()))
            .advise("it is made by `nymote build`, beside the image"));
    }
    if !args.addresses.is_empty() {
        return args.addresses.iter().try_for_each(|address| name(&args.debug, address));
    }
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Trouble::new(format!("cannot read standard input: {error}")))?;
        println!("{line}");
        addresses(&line).try_for_each(|address| name(&args.debug, address))?;
    }
    Ok(())
}

/// The addresses in a line: words that begin with 0x and go on in hexadecimal.
pub(super) fn addresses(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| {
        word.strip_prefix("0x").is_some_and(|digits| {
            (4..=16).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
    })
}

fn name(debug: &PathBuf, address: &str) -> Result<(), Trouble> {
    let said = Command::new("addr2line")
        .args(["--functions", "--demangle", "--inlines", "--pretty-print", "--exe"])
        .arg(debug)
        .arg(address)
        .output()
        .map_err(|error| {
            Trouble::new(format!("cannot run addr2line: {error}")).advise("apt install binutils")
        })?;
    for line in String::from_utf8_lossy(&said.stdout).lines().filter(|line| !line.starts_with("??")) {
        println!("    {address}: {}", line.trim());
    }
    Ok(())
}
