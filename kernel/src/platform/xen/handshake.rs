//! How a device's two ends find each other: states in xenstore, the same for cards and disks, as pure code.

/// States of either end (`io/xenbus.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// It has no state node, or one that means nothing.
    Unknown = 0,
    /// It exists.
    Initialising = 1,
    /// The backend waits for our details.
    InitWait = 2,
    /// Our details are there.
    Initialised = 3,
    /// It works.
    Connected = 4,
    /// It is about to go.
    Closing = 5,
    /// It is gone, or may come back.
    Closed = 6,
}

impl State {
    /// The state of that number.
    pub fn from_number(number: u64) -> Self {
        let known = [
            Self::Initialising,
            Self::InitWait,
            Self::Initialised,
            Self::Connected,
            Self::Closing,
            Self::Closed,
        ];
        known.into_iter().find(|state| *state as u64 == number).unwrap_or(State::Unknown)
    }
}

/// Where our end stands with the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The backend is not ready for us.
    Waiting,
    /// Our details are out; the backend has not connected yet.
    Offered,
    /// Connected.
    Connected,
    /// The backend broke the protocol or cannot be used: never again.
    Off,
}

/// What our end does when the backend's state changes. Pure, so that every sequence of states can be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// Make rings and tell the backend about them.
    Offer,
    /// The backend connected: take note of what it offers.
    Connect,
    /// The backend left: forget the rings; say that we are closed, too.
    Leave,
    /// The backend is closed: forget the rings; say that we would start again.
    StartAgain,
    /// The backend started anew without telling: forget the rings and offer new ones.
    OfferAgain,
}

/// The next step of an end in `phase` when the backend is in `state`.
pub fn step(phase: Phase, state: State) -> Step {
    match (phase, state) {
        (Phase::Off, _) => Step::Stay,
        (Phase::Waiting, State::InitWait) => Step::Offer,
        (Phase::Waiting, State::Closed) => Step::StartAgain,
        (Phase::Waiting, _) => Step::Stay,
        (Phase::Offered, State::Connected) => Step::Connect,
        (Phase::Connected, State::InitWait) => Step::OfferAgain,
        (Phase::Connected | Phase::Offered, State::Closing) => Step::Leave,
        (Phase::Connected | Phase::Offered, State::Closed) => Step::StartAgain,
        (Phase::Connected, State::Initialising | State::Unknown) => Step::StartAgain,
        (Phase::Connected | Phase::Offered, _) => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 7] = [
        State::Unknown,
        State::Initialising,
        State::InitWait,
        State::Initialised,
        State::Connected,
        State::Closing,
        State::Closed,
    ];

    fn follow(phase: Phase, state: State) -> Phase {
        match step(phase, state) {
            Step::Stay => phase,
            Step::Offer | Step::OfferAgain => Phase::Offered,
            Step::Connect => Phase::Connected,
            Step::Leave | Step::StartAgain => Phase::Waiting,
        }
    }

    #[test]
    fn a_backend_that_restarts_is_connected_again() {
        let life = [
            State::InitWait,
            State::Connected,
            State::Closing,
            State::Closed,
            State::InitWait,
            State::Connected,
        ];
        assert_eq!(life.into_iter().fold(Phase::Waiting, follow), Phase::Connected);
        // Watches may miss states in between.
        let hasty = [State::InitWait, State::Connected, State::InitWait, State::Connected];
        assert_eq!(hasty.into_iter().fold(Phase::Waiting, follow), Phase::Connected);
    }

    #[test]
    fn from_any_history_an_orderly_backend_gets_through() {
        for first in STATES {
            for second in STATES {
                for third in STATES {
                    let phase = [first, second, third].into_iter().fold(Phase::Waiting, follow);
                    let end =
                        [State::Closed, State::InitWait, State::Connected].into_iter().fold(phase, follow);
                    assert_eq!(end, Phase::Connected, "after {first:?} {second:?} {third:?}");
                }
            }
        }
    }

    #[test]
    fn a_device_that_is_off_stays_off() {
        assert!(STATES.into_iter().all(|state| step(Phase::Off, state) == Step::Stay));
    }
}
