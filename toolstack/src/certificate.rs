//! `nymote certificate`: a certificate that strangers trust, for all appliances.

use std::path::PathBuf;

use serde_json::json;

use crate::account::on_all;
use crate::household::Household;
use crate::place::Place;
use crate::trouble::Trouble;

/// Gives all appliances a real certificate; it is served at once, for the names that it holds.
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
}

/// Runs it.
pub fn run(args: Args) -> Result<(), Trouble> {
    let household = Household::open(&args.place.dir())?;
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| Trouble::io("read", path, error));
    let (certificate, key) = (read(&args.certificate)?, read(&args.key)?);
    on_all(&household, "certificate.set", &json!({"certificate": certificate, "key": key}))?;
    println!("all four serve it");
    Ok(())
}
