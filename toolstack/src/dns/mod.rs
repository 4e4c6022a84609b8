//! The DNS records that a household needs: printed, and kept in its own zone.

pub mod dane;
pub mod publish;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::household::Household;
use crate::trouble::Trouble;
use crate::up::reachable;

/// Prints every DNS record that the household needs, as lines of a zone file.
///
/// While it is up, the household keeps them in its own zone at signpost by itself, and leaves alone what somebody else wrote
/// there; this is for a zone that is kept elsewhere.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write those that its own zone has nothing for, also where they were taken away
    #[arg(long)]
    publish: bool,
    #[command(flatten)]
    place: crate::place::Place,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), Trouble> {
    let household = Household::open(&args.place.dir())?;
    crate::place::block_on(async {
        let status = crate::place::status(&household.dir).await?;
        let endpoints: BTreeMap<String, String> = status
            .and_then(|status| serde_json::from_value(status["endpoints"].clone()).ok())
            .unwrap_or_default();
        if args.publish {
            let written = publish::anew(&household, &endpoints).await?;
            println!("{written} sets of records are in the zone; what was there before was left alone");
            return Ok(());
        }
        let known = public_addresses(&household);
        let shown = if known.is_empty() { vec!["A <your public address>".to_owned()] } else { known };
        for line in essential(&household, &shown).into_iter().chain(services(&household, &shown, &endpoints))
        {
            println!("{line}");
        }
        match (keys(&household).await, dane::records(&household).await) {
            (Ok(keys), Ok(certificates)) => {
                keys.iter().chain(&certificates).for_each(|line| println!("{line}"))
            }
            _ => println!("{}", keys_without_mail(&household)?),
        }
        Ok(())
    })
}

/// What is known of mail's keys while it is stopped.
fn keys_without_mail(household: &Household) -> Result<String, Trouble> {
    let last = publish::last_keys(household)?;
    Ok(match last.trim_end() {
        "" => {
            "; The keys of DKIM and of the certificate are the mail appliance's: they stand here once `nymote up` has run.".to_owned()
        }
        last => format!("; Mail is stopped; its keys as they were published last:\n{last}"),
    })
}

/// The records that publish the keys of DKIM, as the mail appliance has them.
async fn keys(household: &Household) -> Result<Vec<String>, Trouble> {
    let client = chassis::control::Client::connect(&household.of("mail")).await;
    let client = client.map_err(|error| Trouble::new(error.to_string()))?;
    let records = client.ask("mail.dns", serde_json::json!({})).await?;
    let line = |record: &serde_json::Value| {
        let name = record["name"].as_str().filter(|name| name.contains("._domainkey."))?;
        Some(format!("{name}. TXT {}", record["data"].as_str()?))
    };
    Ok(records.as_array().into_iter().flatten().filter_map(line).collect())
}

/// The addresses that the household listens on, as the types and data of records.
fn addresses(household: &Household) -> Vec<String> {
    let reached = household.settings.bind.iter().map(|bound| reachable(SocketAddr::new(*bound, 0)).ip());
    let mut all: Vec<String> = reached
        .map(|address| match address {
            IpAddr::V4(address) => format!("A {address}"),
            IpAddr::V6(address) => format!("AAAA {address}"),
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Those that somebody else can reach.
pub fn public_addresses(household: &Household) -> Vec<String> {
    let local = |record: &String| record.starts_with("A 127.") || record == "AAAA ::1";
    addresses(household).into_iter().filter(|record| !local(record)).collect()
}

/// The addresses of the domain and its mail host, and what mail needs.
pub fn essential(household: &Household, addresses: &[String]) -> Vec<String> {
    let domain = &household.settings.domain;
    let mut lines = Vec::new();
    for record in addresses {
        lines.extend([format!("{domain}. {record}"), format!("mail.{domain}. {record}")]);
    }
    lines.extend([
        format!("{domain}. MX 10 mail.{domain}."),
        format!("{domain}. TXT \"v=spf1 mx -all\""),
        format!("_dmarc.{domain}. TXT \"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}\""),
    ]);
    lines
}

/// The records by which clients find the services (RFC 6186, RFC 8314, RFC 6764). What an SRV record names has addresses
/// of its own: it must not be an alias (RFC 2782).
fn services(
    household: &Household,
    addresses: &[String],
    endpoints: &BTreeMap<String, String>,
) -> Vec<String> {
    let domain = &household.settings.domain;
    let port = |name: &str, unasked: u16| {
        let at = endpoints.get(name).and_then(|at| at.rsplit(':').next()?.parse().ok());
        at.unwrap_or(unasked)
    };
    let hosts = ["contacts", "calendar", "signpost"].iter();
    let mut lines: Vec<String> = hosts
        .flat_map(|host| addresses.iter().map(move |record| format!("{host}.{domain}. {record}")))
        .collect();
    let aliases = ["imap", "smtp", "autoconfig", "autodiscover"].iter();
    lines.extend(aliases.map(|label| format!("{label}.{domain}. CNAME mail.{domain}.")));
    let found = [
        ("_submissions", "mail", 0, port("submissions", 465)),
        ("_submission", "mail", 10, port("submission", 587)),
        ("_imaps", "mail", 0, port("imaps", 993)),
        ("_imap", "mail", 10, port("imap", 143)),
        ("_carddavs", "contacts", 0, port("contacts", 443)),
        ("_caldavs", "calendar", 0, port("calendar", 443)),
    ];
    lines.extend(found.map(|(service, host, priority, port)| {
        format!("{service}._tcp.{domain}. SRV {priority} 1 {port} {host}.{domain}.")
    }));
    lines
}
