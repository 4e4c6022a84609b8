//! The one screen that `nymote up` shows: where things are, who may enter, what to do next.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use super::supervisor::Supervisor;
use crate::household::Household;
use crate::terminal::qr;

/// Prints it.
pub fn print(
    household: &Household,
    supervisor: &Supervisor,
    accounts: &[(String, String)],
    password: Option<&(String, String)>,
    took: Duration,
) {
    let colours = std::io::stdout().is_terminal();
    let text = compose(household, &supervisor.endpoints(), accounts, password, took, colours);
    // Nobody looks when standard output is closed.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn compose(
    household: &Household,
    endpoints: &std::collections::BTreeMap<String, String>,
    accounts: &[(String, String)],
    password: Option<&(String, String)>,
    took: Duration,
    colours: bool,
) -> String {
    let (bold, dim, plain) = if colours { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let domain = &household.settings.domain;
    let mut text = format!(
        "\n{bold}nymote is up{plain} at {domain}  {dim}{} in {} ms{plain}\n\n",
        if household.new { "made" } else { "continued" },
        took.as_millis()
    );
    for (name, title, protocols) in ROWS {
        let Some(url) = endpoints.get(*name) else { continue };
        let ports: Vec<String> = protocols
            .iter()
            .filter_map(|name| Some(format!("{name} {}", endpoints.get(*name)?.rsplit(':').next()?)))
            .collect();
        let _ = writeln!(text, "  {bold}{title:<10}{plain}{url:<32}{dim}{}{plain}", ports.join("  "));
    }
    text.push('\n');
    for (user, address) in accounts {
        let secret = match password {
            Some((owner, password)) if owner == user => {
                format!("   password {bold}{password}{plain}  {dim}shown this once{plain}")
            }
            _ => String::new(),
        };
        let _ = writeln!(text, "  {:<10}{bold}{user}{plain}  {address}{secret}", "Account");
    }
    let _ = writeln!(
        text,
        "  {:<10}{}  {dim}import it where a browser or phone warns{plain}",
        "Trust",
        household.ca_path().display()
    );
    let _ = writeln!(text, "  {:<10}{}", "Data", household.dir.display());
    if let Some(url) = endpoints.get("mail") {
        let phone = format!("{url}/devices");
        let _ = writeln!(text, "\n  {bold}A phone{plain}   {phone}\n");
        for line in qr(&phone, colours).lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    if household.settings.domain != chassis::run::DEFAULT_DOMAIN {
        let _ = writeln!(
            text,
            "\n  {bold}DNS{plain}       records to set at your registrar; `nymote dns` prints all of them"
        );
        let known = crate::dns::public_addresses(household);
        let addresses = if known.is_empty() { vec!["A <your public address>".to_owned()] } else { known };
        for line in crate::dns::essential(household, &addresses) {
            let _ = writeln!(text, "            {dim}{line}{plain}");
        }
    }
    let missing = missing(household);
    if !missing.is_empty() {
        let _ = writeln!(text, "\n  {bold}Missing for the public internet{plain}");
        for line in missing {
            let _ = writeln!(text, "            {line}");
        }
    }
    let _ = writeln!(
        text,
        "\n  {dim}Ctrl-C stops it.  In another terminal: nymote status, logs, account, device, doctor{plain}\n"
    );
    text
}

/// What stands between this household and the internet.
fn missing(household: &Household) -> Vec<String> {
    let settings = &household.settings;
    let mut lines = Vec::new();
    if settings.domain == chassis::run::DEFAULT_DOMAIN {
        lines.push("a domain of your own: --domain example.org, in a new --dir".to_owned());
    }
    if settings.bind.iter().all(IpAddr::is_loopback) {
        lines.push("an address that others reach: --bind 0.0.0.0, or that of your network card".to_owned());
    }
    if settings.base_port.is_some() {
        lines.push("the real ports: --public (or forward them from your router)".to_owned());
    }
    lines.push("a certificate that strangers trust: until then they see the local authority's".to_owned());
    lines
}

const ROWS: &[(&str, &str, &[&str])] = &[
    ("mail", "Mail", &["imaps", "imap", "submissions", "submission", "smtp"]),
    ("contacts", "Contacts", &[]),
    ("calendar", "Calendar", &[]),
    ("signpost", "Signpost", &["dns"]),
];
