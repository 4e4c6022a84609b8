//! The smallest form: one static zone over UDP and TCP, no store, one thread. It is what a new machine boots first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use hickory_proto::serialize::txt::Parser;
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

/// What the guest needs to know; each argument overrides the environment variable named beside it.
struct Arguments {
    /// `--listen`, `SIGNPOST_LISTEN`: address and port; port 0 takes a free one.
    listen: SocketAddr,
    /// `--origin`, `SIGNPOST_ORIGIN`: the zone's name.
    origin: String,
    /// `--zone`, `SIGNPOST_ZONE`: the zone's text, its lines separated by newlines or by `|`.
    zone: String,
}

const ZONE_UNASKED: &str = "@ 300 IN SOA ns1 hostmaster 1 3600 900 1209600 300|@ 300 IN NS ns1|\
    ns1 300 IN A 192.0.2.1|@ 300 IN A 192.0.2.1|www 300 IN A 192.0.2.80";

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
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<(), String> {
    let origin = Name::from_ascii(&arguments.origin)
        .map_err(|error| format!("--origin {}: {error}", arguments.origin))?;
    let text = format!("{}\n", arguments.zone.replace('|', "\n"));
    let (origin, records) = Parser::new(text, None, Some(origin))
        .parse()
        .map_err(|error| format!("the zone's text does not parse: {error}"))?;
    let zone: InMemoryZoneHandler =
        InMemoryZoneHandler::new(origin.clone(), records, ZoneType::Primary, AxfrPolicy::Deny)?;
    let mut catalog = Catalog::new();
    catalog.upsert(origin.clone().into(), vec![Arc::new(zone)]);

    let cannot = |error: std::io::Error| format!("cannot listen on {}: {error}", arguments.listen);
    let tcp = TcpListener::bind(arguments.listen).await.map_err(cannot)?;
    let bound = tcp.local_addr().map_err(cannot)?;
    let udp = UdpSocket::bind(bound).await.map_err(cannot)?;
    let mut server = Server::new(catalog);
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(10), 4096);
    println!("signpost-dns: ready on {bound}, zone {origin}");
    server.block_until_done().await.map_err(|error| format!("the server ended: {error}"))
}

fn read_arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let or = |name: &str, unasked: &str| std::env::var(name).unwrap_or_else(|_| unasked.to_string());
    let mut listen = or("SIGNPOST_LISTEN", "0.0.0.0:53");
    let mut origin = or("SIGNPOST_ORIGIN", "example.test.");
    let mut zone = or("SIGNPOST_ZONE", ZONE_UNASKED);
    while let Some(word) = words.next() {
        let slot = match word.as_str() {
            "--listen" => &mut listen,
            "--origin" => &mut origin,
            "--zone" => &mut zone,
            other => return Err(format!("unknown argument {other}; known: --listen, --origin, --zone")),
        };
        *slot = words.next().ok_or_else(|| format!("{word} needs a value"))?;
    }
    let listen = listen.parse().map_err(|error| format!("--listen {listen}: {error}"))?;
    Ok(Arguments { listen, origin, zone })
}
