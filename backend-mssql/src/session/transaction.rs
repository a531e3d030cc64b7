//! Whether a transaction is open on a server connection (TDS 4.3, 4.3a).
//!
//! Two ways to know, chosen by a self-test at login: `EnvChange` servers tell each outermost begin and end; others have to
//! be asked. Invariants: the state follows what the server answered; with `Probe`, nothing but an answer of zero to
//! `SELECT @@TRANCOUNT` makes a transaction end.

use super::Tracker;

/// The transaction of one server connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transaction {
    tracker: Tracker,
    /// As the server named it last; 0: none, or one that it does not name.
    descriptor: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    None,
    Open,
    /// The server has to be asked; what it was before.
    Unknown(Before),
}

/// What was known before it became uncertain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    None,
    Open,
}

/// A change of the environment that concerns transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// ENVCHANGE 8 or 11.
    Began(u64),
    /// ENVCHANGE 9, 10, 12 or 17.
    Ended,
    /// ENVCHANGE 18 for a reset that takes the transaction with it.
    Reset,
}

impl Transaction {
    pub(crate) fn new(tracker: Tracker) -> Self {
        Transaction {
            tracker,
            descriptor: 0,
            state: State::None,
        }
    }

    pub(crate) fn tracker(&self) -> Tracker {
        self.tracker
    }

    /// What requests inside of it carry.
    pub(crate) fn descriptor(&self) -> u64 {
        self.descriptor
    }

    pub(crate) fn told(&mut self, told: Told) {
        match told {
            Told::Began(descriptor) => self.descriptor = descriptor,
            Told::Ended | Told::Reset => self.descriptor = 0,
        }
        match (self.tracker, told) {
            (Tracker::EnvChange, Told::Began(_)) => self.state = State::Open,
            (Tracker::EnvChange, Told::Ended | Told::Reset) => self.state = State::None,
            // Nothing can begin by a reset.
            (Tracker::Probe, Told::Reset) if self.state == State::None => {}
            (Tracker::Probe, _) => self.doubt(),
        }
    }

    /// A response is over whose request, or an error in it, may have changed something that this server does not tell.
    pub(crate) fn doubt(&mut self) {
        if self.tracker == Tracker::Probe {
            self.state = match self.state {
                State::None => State::Unknown(Before::None),
                State::Open => State::Unknown(Before::Open),
                unknown @ State::Unknown(_) => unknown,
            };
        }
    }

    /// The server has said how deep it is in transactions.
    pub(crate) fn counted(&mut self, count: i32) {
        if count > 0 {
            self.state = State::Open;
        } else {
            self.state = State::None;
            self.descriptor = 0;
        }
    }

    /// Whether the server has to be asked before anything else.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.state, State::Unknown(_))
    }

    /// Whether one is open, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Unknown(Before::Open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_tells_is_believed() {
        let mut transaction = Transaction::new(Tracker::EnvChange);
        transaction.told(Told::Began(7));
        assert!(transaction.is_open() && transaction.descriptor() == 7);
        transaction.doubt();
        assert!(!transaction.is_unknown());
        transaction.told(Told::Ended);
        assert!(!transaction.is_open() && transaction.descriptor() == 0);
        transaction.told(Told::Began(8));
        transaction.told(Told::Reset);
        assert!(!transaction.is_open());
    }

    #[test]
    fn a_server_that_has_to_be_asked_is_asked() {
        let mut transaction = Transaction::new(Tracker::Probe);
        transaction.told(Told::Began(7));
        assert!(transaction.is_unknown());
        transaction.counted(1);
        assert!(transaction.is_open() && transaction.descriptor() == 7);
        // An inner commit is told like an outer one.
        transaction.told(Told::Ended);
        assert!(transaction.is_unknown() && transaction.is_open());
        transaction.counted(1);
        assert!(transaction.is_open());
        transaction.doubt();
        transaction.counted(0);
        assert!(!transaction.is_open() && !transaction.is_unknown());
    }
}
