//! The DNS records that a household needs, in zone-file form.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::household::Household;
use crate::trouble::Trouble;

/// Prints every DNS record that the household needs, as lines of a zone file.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: crate::place::Place,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), Trouble> {
    let household = Household::open(&args.place.dir())?;
    let status = crate::place::block_on(crate::place::status(&household.dir))?;
    let endpoints: BTreeMap<String, String> = status
        .and_then(|status| serde_json::from_value(status["endpoints"].clone()).ok())
        .unwrap_or_default();
    for line in essential(&household, &endpoints).into_iter().chain(services(&household, &endpoints)) {
        println!("{line}");
    }
    for line in keys(&household) {
        println!("{line}");
    }
    Ok(())
}

/// The records that publish the keys of DKIM, as the mail appliance has them; a hint where it does not run.
fn keys(household: &Household) -> Vec<String> {
    let asked = crate::place::block_on(async {
        let client = chassis::control::Client::connect(&household.of("mail")).await;
        Ok(client
            .map_err(|error| Trouble::new(error.to_string()))?
            .ask("mail.dns", serde_json::json!({}))
            .await?)
    });
    let line = |record: &serde_json::Value| {
        let name = record["name"].as_str().filter(|name| name.contains("._domainkey."))?;
        Some(format!("{name}. TXT {}", record["data"].as_str()?))
    };
    let records = asked.unwrap_or_default();
    let lines: Vec<String> = records.as_array().into_iter().flatten().filter_map(line).collect();
    if lines.is_empty() {
        return vec![
            "; The DKIM keys are the mail appliance's: `nymote up` makes them, then they stand here."
                .to_owned(),
        ];
    }
    lines
}

/// The addresses and what mail needs.
pub fn essential(household: &Household, endpoints: &BTreeMap<String, String>) -> Vec<String> {
    let domain = &household.settings.domain;
    let address =
        endpoints.get("smtp").or_else(|| endpoints.get("dns")).and_then(|at| at.parse::<SocketAddr>().ok());
    let record = match address.map(|at| at.ip()) {
        Some(IpAddr::V6(address)) => format!("AAAA {address}"),
        Some(IpAddr::V4(address)) if !address.is_loopback() => format!("A {address}"),
        _ => "A <your public address>".to_owned(),
    };
    vec![
        format!("{domain}. {record}"),
        format!("mail.{domain}. {record}"),
        format!("{domain}. MX 10 mail.{domain}."),
        format!("{domain}. TXT \"v=spf1 mx -all\""),
        format!("_dmarc.{domain}. TXT \"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}\""),
    ]
}

/// The records by which clients find the services (RFC 6186, RFC 8314, RFC 6764).
fn services(household: &Household, endpoints: &BTreeMap<String, String>) -> Vec<String> {
    let domain = &household.settings.domain;
    let port = |name: &str, unasked: u16| {
        let at = endpoints.get(name).and_then(|at| at.rsplit(':').next()?.parse().ok());
        at.unwrap_or(unasked)
    };
    let mut lines: Vec<String> =
        ["contacts", "calendar", "signpost", "imap", "smtp", "autoconfig", "autodiscover"]
            .iter()
            .map(|label| format!("{label}.{domain}. CNAME mail.{domain}."))
            .collect();
    let found = [
        ("_submissions", "mail", port("submissions", 465)),
        ("_submission", "mail", port("submission", 587)),
        ("_imaps", "mail", port("imaps", 993)),
        ("_imap", "mail", port("imap", 143)),
        ("_carddavs", "contacts", port("contacts", 443)),
        ("_caldavs", "calendar", port("calendar", 443)),
    ];
    lines
        .extend(found.map(|(service, host, port)| {
            format!("{service}._tcp.{domain}. SRV 0 1 {port} {host}.{domain}.")
        }));
    lines
}
