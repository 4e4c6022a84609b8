//! What the host asks of us: `xl shutdown` and `xl reboot`, by a word in xenstore's `control/shutdown`.

use super::{log, xenstore};
use crate::global::Global;
use crate::platform::Shutdown;

const NODE: &str = "control/shutdown";
/// What the watch on it is called.
pub const TOKEN: &str = "control";

static REQUEST: Global<Option<Shutdown>> = Global::new(None);

/// Says what we understand and watches for requests.
pub fn start() {
    for feature in ["control/feature-poweroff", "control/feature-reboot"] {
        let _ = xenstore::write(feature, "1");
    }
    if xenstore::watch(NODE, TOKEN).is_err() {
        log(format_args!("xenstore lets nobody watch {NODE}: `xl shutdown` will not be heard"));
    }
}

/// The watch fired: reads the request, and says by an empty value that it was taken.
pub fn notice() {
    let Ok(word) = xenstore::read(NODE) else { return };
    let request = match word.as_str() {
        "" => return,
        "poweroff" | "halt" => Some(Shutdown::PowerOff),
        "reboot" => Some(Shutdown::Reboot),
        other => {
            log(format_args!("the host asks for {other:?}, which this machine cannot do"));
            None
        }
    };
    let _ = xenstore::write(NODE, "");
    if request.is_some() {
        REQUEST.with(|last| *last = request);
    }
}

/// The last request, once.
pub fn request() -> Option<Shutdown> {
    REQUEST.with(Option::take)
}
