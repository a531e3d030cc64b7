//! SESSIONSTATE: the server says what is alive in its session, and whether a new connection could have it too (TDS 6.3).
//!
//! Invariants: values are opaque, only compared; once the server says that it does not tell any more, or tells more than
//! is kept, nothing is concluded from what it told. A session without a table was never promised anything.

use std::collections::BTreeMap;

use crate::{
    limits,
    wire::session_state::{SessionState, states as each_state},
};

/// What a server has told of one session.
#[derive(Clone, Debug)]
pub(crate) struct SessionStates {
    initial: BTreeMap<u8, Box<[u8]>>,
    now: BTreeMap<u8, State>,
    bytes: usize,
    watch: Watch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    value: Box<[u8]>,
    recovery: Recovery,
}

/// Whether a state could be brought to another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    Possible,
    Impossible,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    On,
    /// The server has stopped, or told too much.
    Off,
}

/// What the server's word comes to at the end of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It does not tell.
    Nothing,
    /// As after login.
    Untouched,
    /// Changed, and nothing of it is tied to this connection.
    Recoverable,
    Unrecoverable,
}

/// The sequence number that ends it.
const SWITCHED_OFF: u32 = u32::MAX;

impl SessionStates {
    /// With the states that came with the acknowledgement of the feature: a list of id, length, value.
    pub(crate) fn new(initial: &[u8]) -> Self {
        let mut states = SessionStates {
            initial: each_state(initial).map(|(id, value)| (id, value.into())).collect(),
            now: BTreeMap::new(),
            bytes: 0,
            watch: Watch::On,
        };
        states.bytes = states.initial_bytes();
        if states.bytes > limits::MAX_STATE_BYTES {
            states.switch_off();
        }
        states
    }

    /// The server has sent a token.
    pub(crate) fn told(&mut self, state: &SessionState<'_>) {
        if state.sequence == SWITCHED_OFF {
            self.switch_off();
        }
        let recovery = match state.recoverable {
            true => Recovery::Possible,
            false => Recovery::Impossible,
        };
        for (id, value) in state.entries() {
            if self.watch == Watch::On {
                self.keep(id, value, recovery);
            }
        }
    }

    fn initial_bytes(&self) -> usize {
        self.initial.values().map(|value| value.len()).sum()
    }

    fn keep(&mut self, id: u8, value: &[u8], recovery: Recovery) {
        let state = State {
            value: value.into(),
            recovery,
        };
        self.bytes += value.len();
        if let Some(before) = self.now.insert(id, state) {
            self.bytes -= before.value.len();
        }
        if self.bytes > limits::MAX_STATE_BYTES || self.now.len() > limits::MAX_STATES {
            self.switch_off();
        }
    }

    /// The reset was acknowledged: both sides are where they began.
    pub(crate) fn reset(&mut self) {
        self.now.clear();
        self.bytes = self.initial_bytes();
    }

    pub(crate) fn word(&self) -> Word {
        if self.watch == Watch::Off {
            return Word::Nothing;
        }
        if self.now.values().any(|state| state.recovery == Recovery::Impossible) {
            return Word::Unrecoverable;
        }
        let same = |(id, state): (&u8, &State)| self.initial.get(id) == Some(&state.value);
        match self.now.iter().all(same) {
            true => Word::Untouched,
            false => Word::Recoverable,
        }
    }

    fn switch_off(&mut self) {
        self.watch = Watch::Off;
        self.now.clear();
        self.initial.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(sequence: u32, recoverable: bool, states: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xe4];
        bytes.extend_from_slice(&(states.len() as u32 + 5).to_le_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.push(recoverable.into());
        bytes.extend_from_slice(states);
        bytes
    }

    fn tell(states: &mut SessionStates, sequence: u32, recoverable: bool, list: &[u8]) {
        states.told(&SessionState::parse(&token(sequence, recoverable, list)).unwrap());
    }

    #[test]
    fn a_session_is_untouched_when_all_is_as_it_began() {
        let mut states = SessionStates::new(&[1, 2, 0xaa, 0xbb, 2, 0]);
        assert_eq!(states.word(), Word::Untouched);
        tell(&mut states, 1, true, &[1, 1, 0xcc]);
        assert_eq!(states.word(), Word::Recoverable);
        tell(&mut states, 2, true, &[1, 2, 0xaa, 0xbb]);
        assert_eq!(states.word(), Word::Untouched);
        tell(&mut states, 3, false, &[9, 1, 1]);
        assert_eq!(states.word(), Word::Unrecoverable);
        states.reset();
        assert_eq!(states.word(), Word::Untouched);
    }

    #[test]
    fn nothing_is_concluded_when_the_server_stops_or_tells_too_much() {
        let mut states = SessionStates::new(&[]);
        tell(&mut states, u32::MAX, true, &[]);
        assert_eq!(states.word(), Word::Nothing);
        let mut states = SessionStates::new(&[]);
        let mut long = vec![1, 0xff];
        long.extend_from_slice(&70_000_u32.to_le_bytes());
        long.resize(long.len() + 70_000, 0);
        tell(&mut states, 1, true, &long);
        assert_eq!(states.word(), Word::Nothing);
        tell(&mut states, 2, false, &[1, 0]);
        assert_eq!(states.word(), Word::Nothing);
    }
}
