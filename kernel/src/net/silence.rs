//! How long the other side of a connection may be silent.

use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;

use super::tcp::Connection;

/// How long an answer to our SYN, or to what we sent, may be missing.
const SILENCE: Duration = Duration::from_secs(120);

impl Connection {
    /// Has smoltcp count the other side's silence where an answer is owed, and nowhere else: it would end whoever has been idle
    /// for so long (RFC 9293 3.8.3 knows no such end). A half-open connection keeps the time that it has.
    pub fn mind_silence(&mut self) {
        let socket = self.socket();
        let is_owed = match socket.state() {
            State::SynReceived => return,
            State::Established | State::CloseWait | State::FinWait2 => {
                socket.send_queue() > 0 || socket.keep_alive().is_some()
            }
            _ => true,
        };
        socket.set_timeout(is_owed.then_some(SILENCE));
    }
}
