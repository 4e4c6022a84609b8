//! `nymote certificate`: a certificate that strangers trust, for all appliances.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chassis::tls::Tls;
use serde_json::json;

use crate::dns::{dane, publish};
use crate::household::Household;
use crate::place::{Place, block_on, reach, status};
use crate::suite::SUITE;
use crate::trouble::Trouble;

/// Gives all appliances a real certificate; it is served at once, for the names that it holds.
///
/// In a signed zone the world knows mail's key by its TLSA record: there mail serves a new key ten minutes later, when
/// nobody remembers the record without it. A renewal with the same key (certbot --reuse-key) does not wait.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  nymote certificate fullchain.pem privkey.pem     after each renewal too; nothing is restarted"
)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// The chain in PEM: the certificate first, then those that signed it
    certificate: PathBuf,
    /// Its private key in PEM
    key: PathBuf,
    /// Mail serves it at once, too, although senders that check TLSA records may hold back their mail for some minutes
    #[arg(long)]
    now: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), Trouble> {
    let household = Household::open(&args.place.dir())?;
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| Trouble::io("read", path, error));
    let (certificate, key) = (read(&args.certificate)?, read(&args.key)?);
    let shown = Tls::check(&certificate, &key).map_err(|error| Trouble::new(error.to_string()))?;
    block_on(async {
        let published = publish::published(&household)?;
        let waits = !args.now && dane::must_wait(&household, &shown, &published).await?;
        let set = json!({"certificate": certificate, "key": key});
        for member in SUITE.iter().filter(|member| !waits || member.identity.name != "mail") {
            reach(&household.dir, member).await?.ask("certificate.set", set.clone()).await?;
        }
        match waits {
            true => dane::Coming { certificate, key, known_since_s: None }.write(&household)?,
            false => dane::Coming::forget(&household)?,
        }
        if let Some(status) = status(&household.dir).await? {
            let endpoints: BTreeMap<String, String> =
                serde_json::from_value(status["endpoints"].clone()).unwrap_or_default();
            publish::round(&household, &endpoints).await?;
        }
        match waits {
            true => println!(
                "contacts, calendar and signpost serve it; mail does {} minutes after its zone knows the key, \
                 while `nymote up` runs",
                dane::WAIT_S / 60
            ),
            false => println!("all four serve it"),
        }
        Ok(())
    })
}
