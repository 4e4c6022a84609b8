//! `nymote init`: a `nymote.toml` to begin with.

use std::fmt::Write as _;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::{MANIFEST, Manifest, SIZES};
use crate::household::check_domain;
use crate::trouble::Trouble;

/// Writes a nymote.toml to begin with: four machines on one network.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The household's domain
    #[arg(long, default_value = chassis::run::DEFAULT_DOMAIN)]
    domain: String,
    /// The bridge of the host that the machines are put on
    #[arg(long, default_value = "xenbr0")]
    bridge: String,
    /// The first machine's address; the others follow
    #[arg(long, default_value = "192.168.1.11")]
    address: Ipv4Addr,
    /// The first account
    #[arg(long, default_value = "owner")]
    user: String,
    /// Where to write it
    #[arg(default_value = MANIFEST)]
    file: PathBuf,
}

/// Runs it. Never overwrites.
pub fn init(args: InitArgs) -> Result<(), Trouble> {
    check_domain(&args.domain)?;
    let text = text(&args);
    if let Err(faults) = Manifest::read(&text) {
        let words: Vec<String> = faults.into_iter().map(|fault| fault.what).collect();
        return Err(Trouble::new(words.join("; ")));
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&args.file);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Trouble::new(format!("{} is there already", args.file.display()))
                .advise("edit it, or name another file")
        }
        _ => Trouble::io("write", &args.file, error),
    })?;
    file.write_all(text.as_bytes()).map_err(|error| Trouble::io("write", &args.file, error))?;
    println!(
        "{} written; `nymote describe` shows what it says, `nymote deploy` ships it",
        args.file.display()
    );
    Ok(())
}

fn text(args: &InitArgs) -> String {
    let [a, b, c, d] = args.address.octets();
    let mut text = format!(
        "# What runs where. `nymote describe` draws it, `nymote deploy` ships it; both say the line of a mistake.\n\
         domain = \"{}\"\n\n[[account]]\nuser = \"{}\"\nadmin = true\n\n\
         [network.home]\nbridge = \"{}\"\nprefix = \"{a}.{b}.{c}.0/24\"\ngateway = \"{a}.{b}.{c}.{}\"\n",
        args.domain,
        args.user,
        args.bridge,
        if d == 1 { 254 } else { 1 }
    );
    for (place, size) in SIZES.iter().enumerate() {
        let address = Ipv4Addr::new(a, b, c, d.wrapping_add(place as u8));
        let _ = write!(
            text,
            "\n[service.{}]\nmemory = \"{}\"\ndisk = \"{}\"\nnetwork = \"home\"\naddress = \"{address}\"\n",
            size.name, size.memory, size.disk
        );
    }
    text
}
