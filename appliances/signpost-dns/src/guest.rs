//! The smallest form: one static zone over UDP and TCP, no store, one thread. It is what a new machine boots first.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::engine::{Engine, Served, Views};
use crate::limits::RRL_ANSWERS_A_SECOND;
use crate::name::Name;
use crate::rrl::Limits;
use crate::serve::{self, Manner};
use crate::zone::Zone;
use crate::zonefile;

/// What the guest needs to know; each argument overrides the environment variable named beside it.
struct Arguments {
    /// `--listen`, `SIGNPOST_LISTEN`: address and port; port 0 takes a free one.
    listen: SocketAddr,
    /// `--origin`, `SIGNPOST_ORIGIN`: the zone's name.
    origin: String,
    /// `--zone`, `SIGNPOST_ZONE`: the zone's text, its lines separated by newlines or by `|`; `--zone-file` reads it from a
    /// file.
    zone: String,
    /// `--answers-a-second`, `SIGNPOST_ANSWERS_A_SECOND`: how many a network may have over UDP; 0 for any number.
    answers_a_second: u32,
}

const ZONE_UNASKED: &str = "@ 300 IN SOA ns1 hostmaster 1 3600 900 1209600 300|@ 300 IN NS ns1|\
    ns1 300 IN A 192.0.2.1|@ 300 IN A 192.0.2.1|www 300 IN A 192.0.2.80";
/// Rows of the rate limiter in a machine of 8 MB.
const RRL_ROWS_SMALL: usize = 1024;

/// Serves a static zone until the program is killed.
///
/// # Errors
/// A sentence that names the argument, the zone's line or the address at fault.
pub fn serve_static(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let arguments = read_arguments(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime does not start: {error}"))?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let origin = Name::from_text(&arguments.origin, Some(&Name::root()))?;
    let text = if arguments.zone.contains('\n') { arguments.zone } else { arguments.zone.replace('|', "\n") };
    let records =
        zonefile::parse(&text, &origin, None).map_err(|error| format!("the zone's text, {error}"))?;
    let zone = Zone::build(&origin, records).map_err(|error| error.to_string())?;
    let mut served = Served::default();
    served.put(&origin, Arc::new(Views::plain(Arc::new(zone))));
    let mut secret = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut secret)
        .map_err(|_| "the system has no randomness".to_string())?;
    let engine = Arc::new(Engine::new(secret, b"signpost", None));
    engine.served.publish(served);

    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    engine.limit(Limits { answers_a_second: arguments.answers_a_second, loopback: false });
    let manner = Manner { threads, limiter_rows: RRL_ROWS_SMALL };
    let bound = serve::listen(&engine, arguments.listen, manner)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    println!("signpost-dns: ready on {bound}, zone {origin}");
    std::future::pending().await
}

fn read_arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let or = |name: &str, unasked: &str| std::env::var(name).unwrap_or_else(|_| unasked.to_string());
    let mut listen = or("SIGNPOST_LISTEN", "0.0.0.0:53");
    let mut origin = or("SIGNPOST_ORIGIN", "example.test.");
    let mut zone = or("SIGNPOST_ZONE", ZONE_UNASKED);
    let mut file = String::new();
    let mut answers = or("SIGNPOST_ANSWERS_A_SECOND", &RRL_ANSWERS_A_SECOND.to_string());
    while let Some(word) = words.next() {
        let slot = match word.as_str() {
            "--listen" => &mut listen,
            "--origin" => &mut origin,
            "--zone" => &mut zone,
            "--zone-file" => &mut file,
            "--answers-a-second" => &mut answers,
            other => {
                return Err(format!(
                    "unknown argument {other}; known: --listen, --origin, --zone, --zone-file, --answers-a-second"
                ));
            }
        };
        *slot = words.next().ok_or_else(|| format!("{word} needs a value"))?;
    }
    if !file.is_empty() {
        zone = std::fs::read_to_string(&file).map_err(|error| format!("--zone-file {file}: {error}"))?;
    }
    let listen = listen.parse().map_err(|error| format!("--listen {listen}: {error}"))?;
    let answers_a_second =
        answers.parse().map_err(|error| format!("--answers-a-second {answers}: {error}"))?;
    Ok(Arguments { listen, origin, zone, answers_a_second })
}
