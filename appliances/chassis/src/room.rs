//! Says in the log when the disk has become full, and when it has room again.

use std::time::Duration;

use store::Store;

use crate::stop::Stop;

/// Between looks: a machine with nothing to do is not kept awake.
const LOOK_TIME: Duration = Duration::from_secs(60);

/// Watches until the machine stops.
pub(crate) async fn watch(store: Store, stop: Stop) {
    let mut known = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_TIME) => {}
            _ = stop.asked() => return,
        }
        let full = store.is_full();
        match (known, full) {
            (false, true) => tracing::error!(
                "the disk is full: what is new is refused; give it a larger disk, or purge what is not needed"
            ),
            (true, false) => tracing::info!("the disk has room again"),
            _ => {}
        }
        known = full;
    }
}
