//! `nymote symbolize`: addresses of a machine's crash line or backtrace, as functions and lines.

use std::io::BufRead;
use std::path::{Path, PathBuf};
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
        return args.addresses.iter().try_for_each(|address| name(&args.debug, address, true));
    }
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Trouble::new(format!("cannot read standard input: {error}")))?;
        println!("{line}");
        addresses(&line).try_for_each(|address| name(&args.debug, address, false))?;
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

/// Names one address. One that was asked for by itself is answered in any case; in a console's text other numbers stand too.
fn name(debug: &Path, address: &str, is_asked_for: bool) -> Result<(), Trouble> {
    let said = Command::new("addr2line")
        .args(["--functions", "--demangle", "--inlines", "--pretty-print", "--exe"])
        .arg(debug)
        .arg(address)
        .output()
        .map_err(|error| {
            Trouble::new(format!("cannot run addr2line: {error}")).advise("apt install binutils")
        })?;
    if !said.status.success() {
        return Err(Trouble::new(format!("{} is no program with names", debug.display()))
            .advise("name the file IMAGE.debug that `nymote build` left beside the image"));
    }
    let text = String::from_utf8_lossy(&said.stdout);
    let known: Vec<&str> = text.lines().filter(|line| !line.starts_with("??")).collect();
    if known.is_empty() && is_asked_for {
        println!("    {address}: no code of this image");
    }
    known.into_iter().for_each(|line| println!("    {address}: {}", line.trim()));
    Ok(())
}
