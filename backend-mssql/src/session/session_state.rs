//! SESSIONSTATE: the server says what is alive in its session, and whether a new connection could have it too (TDS 6.3).
//!
//! Invariants: values are opaque, only compared; once the server says that it does not tell any more, or tells more than
//! is kept, nothing is concluded from what it told. A session without a table was never promised anything.

use std::collections::BTreeMap;

use crate::limits;

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
            initial: BTreeMap::new(),
            now: BTreeMap::new(),
            bytes: 0,
            watch: Watch::On,
        };
        let read = for_each_state(initial, |id, value| {
            states.bytes += value.len();
            states.initial.insert(id, value.into());
        });
        if read.is_none() || states.bytes > limits::MAX_STATE_BYTES {
            states.switch_off();
        }
        states
    }

    /// The body of a token: sequence number, status, states. `None` if it cannot be read.
    pub(crate) fn told(&mut self, body: &[u8]) -> Option<()> {
        let (sequence, rest) = body.split_first_chunk::<4>()?;
        let (status, states) = rest.split_first()?;
        if u32::from_le_bytes(*sequence) == SWITCHED_OFF {
            self.switch_off();
        }
        let recovery = match status & 1 {
            1 => Recovery::Possible,
            _ => Recovery::Impossible,
        };
        for_each_state(states, |id, value| {
            if self.watch == Watch::On {
                self.keep(id, value, recovery);
            }
        })
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
        self.bytes = self.initial.values().map(|value| value.len()).sum();
        self.now.clear();
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

/// `{id u8, length u8 (255: then u32), value}`; `None` if it is cut.
fn for_each_state(mut bytes: &[u8], mut see: impl FnMut(u8, &[u8])) -> Option<()> {
    while let Some((id, rest)) = bytes.split_first() {
        let (short, rest) = rest.split_first()?;
        let (length, rest) = match short {
            u8::MAX => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                (usize::try_from(u32::from_le_bytes(*length)).ok()?, rest)
            }
            short => (usize::from(*short), rest),
        };
        let (value, rest) = rest.split_at_checked(length)?;
        see(*id, value);
        bytes = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(sequence: u32, recoverable: bool, states: &[u8]) -> Vec<u8> {
        let mut body = sequence.to_le_bytes().to_vec();
        body.push(recoverable.into());
        body.extend_from_slice(states);
        body
    }

    #[test]
    fn a_session_is_untouched_when_all_is_as_it_began() {
        let mut states = SessionStates::new(&[1, 2, 0xaa, 0xbb, 2, 0]);
        assert_eq!(states.word(), Word::Untouched);
        states.told(&token(1, true, &[1, 1, 0xcc])).unwrap();
        assert_eq!(states.word(), Word::Recoverable);
        states.told(&token(2, true, &[1, 2, 0xaa, 0xbb])).unwrap();
        assert_eq!(states.word(), Word::Untouched);
        states.told(&token(3, false, &[9, 1, 1])).unwrap();
        assert_eq!(states.word(), Word::Unrecoverable);
        states.reset();
        assert_eq!(states.word(), Word::Untouched);
    }

    #[test]
    fn nothing_is_concluded_when_the_server_stops_or_tells_too_much() {
        let mut states = SessionStates::new(&[]);
        states.told(&token(u32::MAX, true, &[])).unwrap();
        assert_eq!(states.word(), Word::Nothing);
        let mut states = SessionStates::new(&[]);
        let mut long = vec![1, 0xff];
        long.extend_from_slice(&70_000_u32.to_le_bytes());
        long.resize(long.len() + 70_000, 0);
        states.told(&token(1, true, &long)).unwrap();
        assert_eq!(states.word(), Word::Nothing);
        states.told(&token(2, false, &[1, 0])).unwrap();
        assert_eq!(states.word(), Word::Nothing);
    }

    #[test]
    fn what_is_cut_is_refused() {
        let mut states = SessionStates::new(&[]);
        assert_eq!(states.told(&[0, 0, 0]), None);
        assert_eq!(states.told(&token(1, true, &[1, 5, 0])), None);
        assert_eq!(SessionStates::new(&[1, 5, 0]).word(), Word::Nothing);
    }
}
