//! What the host asks of us: `xl shutdown` and `xl reboot`, by a word in xenstore's `control/shutdown`.

use super::log;
use super::xenstore::{self, Answer, Ask};
use crate::global::Global;
use crate::platform::Shutdown;

const NODE: &str = "control/shutdown";
/// What the watch on it is called.
pub const TOKEN: &str = "control";

static REQUEST: Global<Option<Shutdown>> = Global::new(None);

/// What is asked at boot: to hear of requests.
pub const START: Ask<'static> = Ask::Watch(NODE, TOKEN);

/// Looks at the answer to [`START`], and says which requests we understand.
pub fn started(answer: &Answer) {
    if answer.is_err() {
        log(format_args!("xenstore lets nobody watch {NODE}: `xl shutdown` will not be heard"));
    }
    // What is refused is named; nothing else follows from it.
    let _ = xenstore::post(&[("control/feature-poweroff", "1"), ("control/feature-reboot", "1")]);
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
    let _ = xenstore::post(&[(NODE, "")]);
    if request.is_some() {
        REQUEST.with(|last| *last = request);
    }
}

/// The last request, once.
pub fn request() -> Option<Shutdown> {
    REQUEST.with(Option::take)
}
