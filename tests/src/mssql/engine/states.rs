//! SESSIONSTATE: what of a session could be recovered on another connection, and what could not.

use std::collections::BTreeMap;

use super::session::Session;
use crate::mssql::{shared::LockOwner, wire::tokens};

/// What SESSIONSTATE has announced.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) sequence: u32,
    pub(super) settings: Vec<(u8, Vec<u8>)>,
    pub(super) unrecoverable: BTreeMap<u8, Vec<u8>>,
}

impl Session {
    /// SESSIONSTATE, when something changed since it was last announced.
    pub(super) fn announce_states(&mut self) {
        let now = self.settings.states(&self.database);
        let mut blocking: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        let mut count = |id: u8, amount: usize| {
            if amount > 0 {
                blocking.insert(id, vec![amount.min(255) as u8]);
            }
        };
        count(32, self.temporary.len());
        count(33, self.cursors.len());
        count(34, self.transaction.count as usize);
        count(35, self.shared.application_locks.held_by(self.spid, LockOwner::Session));
        count(36, self.impersonations.len());
        count(37, self.session_context.len());
        let Some(states) = &mut self.states else { return };
        let changed: Vec<(u8, Vec<u8>)> = now
            .iter()
            .filter(|state| !states.settings.contains(state))
            .cloned()
            .collect();
        let appeared: Vec<(u8, Vec<u8>)> = blocking
            .iter()
            .filter(|(id, value)| states.unrecoverable.get(id) != Some(value))
            .map(|(id, value)| (*id, value.clone()))
            .collect();
        let gone: Vec<(u8, Vec<u8>)> = states
            .unrecoverable
            .keys()
            .filter(|id| !blocking.contains_key(id))
            .map(|id| (*id, vec![0]))
            .collect();
        let mut recoverable = changed;
        recoverable.extend(gone);
        for (recoverable, list) in [(true, recoverable), (false, appeared)] {
            if !list.is_empty() {
                states.sequence += 1;
                let sequence = states.sequence;
                self.output
                    .before_last_done(|out| tokens::session_state(out, sequence, recoverable, &list));
            }
        }
        states.settings = now;
        states.unrecoverable = blocking;
    }
}
