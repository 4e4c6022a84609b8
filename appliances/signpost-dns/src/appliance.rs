//! The life of the appliance on the chassis: sockets, errands, the branch it follows, its pages.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use chassis::control::CommandError;
use chassis::{Chassis, Failure, Identity, Service};
use tokio::runtime::Handle;

use crate::engine::Engine;
use crate::errand::Errands;
use crate::house::{House, commands};
use crate::limits::RRL_ROWS;
use crate::serve::{self, Manner};

/// Who this appliance is.
pub static IDENTITY: Identity = Identity {
    name: "signpost",
    title: "Signpost",
    about: "Names for your household's machines, wherever they are.",
    version: env!("CARGO_PKG_VERSION"),
    services: &[Service::known("dns", 53), Service::known("dot", 853), Service::web(8445, 446)],
    store: |options| options,
    labels: &["signpost", "ns1"],
};

/// Errands of datagrams under way; more are dropped. A stream has its own bound.
const DATAGRAM_ERRANDS: usize = 1024;

/// The life of the appliance: opens the zones, listens, says that it is ready, ends when it is told to.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn run(chassis: Chassis) -> Result<(), Failure> {
    let errands = Errands::new(Handle::current(), DATAGRAM_ERRANDS);
    let identity = chassis.config::<crate::settings::Settings>().get()?.identity;
    let nsid = if identity.is_empty() { "signpost" } else { &identity };
    let engine = Arc::new(Engine::new(chassis::accounts::random(), nsid.as_bytes(), Some(errands)));
    let house = House::open(&chassis, engine.clone())?;
    house.begin(&chassis).await?;
    for keeper in house.keepers() {
        keeper.count_up_after_start().await?;
    }
    house.do_errands();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let manner = Manner { threads, limiter_rows: RRL_ROWS };
    listen(&chassis, &engine, manner).await?;
    let given = house.clone();
    commands::register(&chassis, Arc::new(move || Ok(given.clone())));
    chassis.http(crate::web::routes(&chassis, &house)).await?;
    tokio::spawn(house.clone().follow());
    tokio::spawn(house.clone().tick());
    let mut settings = chassis.config::<crate::settings::Settings>().watch();
    let watching = house.clone();
    tokio::spawn(async move {
        while settings.changed().await.is_ok() {
            watching.reread_settings();
        }
    });
    chassis.ready();
    chassis.stopping().await;
    house.save_requests()?;
    Ok(())
}

async fn listen(chassis: &Chassis, engine: &Arc<Engine>, manner: Manner) -> Result<(), Failure> {
    let mut plain = chassis.listen("dns").await?;
    let port = chassis.endpoint("dns").map_or(53, |address| address.port());
    for address in &chassis.options().bind {
        serve::datagrams(engine, SocketAddr::new(*address, port), manner).await?;
    }
    let own = engine.clone();
    tokio::spawn(async move {
        while let Some(connection) = plain.accept().await {
            let engine = own.clone();
            tokio::spawn(async move {
                let _ = connection.stream.set_nodelay(true);
                let _ = serve::stream::converse(&engine, connection.stream, connection.peer.ip()).await;
                drop(connection.place);
            });
        }
    });
    let mut private = chassis.listen("dot").await?;
    let (engine, acceptor) = (engine.clone(), chassis.tls().dns()?);
    tokio::spawn(async move {
        while let Some(connection) = private.accept().await {
            let (engine, acceptor) = (engine.clone(), acceptor.clone());
            tokio::spawn(async move {
                let shake =
                    tokio::time::timeout(crate::limits::TCP_MESSAGE, acceptor.accept(connection.stream));
                if let Ok(Ok(stream)) = shake.await {
                    let _ = serve::stream::converse(&engine, stream, connection.peer.ip()).await;
                }
                drop(connection.place);
            });
        }
    });
    Ok(())
}

/// Adds the control commands to an appliance that does not run: the store is opened when the first is called.
pub fn register_offline(chassis: &Chassis) {
    let (own, opened) = (chassis.clone(), OnceLock::new());
    let give = move || -> Result<Arc<House>, CommandError> {
        if let Some(house) = opened.get() {
            return Ok(Arc::clone(house));
        }
        let engine = Arc::new(Engine::new([0; 16], b"", None));
        let house = House::open(&own, engine).map_err(CommandError::from_error)?;
        Ok(Arc::clone(opened.get_or_init(|| house)))
    };
    commands::register(chassis, Arc::new(give));
}
