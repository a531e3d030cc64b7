//! What is remembered of logins that a database refused, by profile.
//!
//! Invariant: only a profile that has been let in before is given time for a password that is being changed; what never
//! worked is told at once. Must not know who waits.

use std::time::Duration;

use super::{
    Moment, ProfileId,
    trouble::{LONGEST_PAUSE_REFUSED, Trouble},
};

/// How long clients wait for a password that was right and is not any more: it is being changed, in the database and in
/// the file that holds it, and one of the two comes first. Longer than Kubernetes needs for a mounted secret is no use:
/// clients have a `pool_timeout` (15 s).
pub const ROTATION_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default)]
pub(super) struct Refused(Vec<Record>);

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    was_let_in: bool,
    trouble: Option<Trouble>,
    /// Since when its password has been wrong; `None` when it is not that, or has been for too long.
    wrong_password_since: Option<Moment>,
}

impl Refused {
    /// Of this profile, since it was last let in.
    pub(super) fn trouble(&self, profile: ProfileId) -> Option<Trouble> {
        self.0.get(profile.0 as usize)?.trouble
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|record| record.trouble.is_none())
    }

    pub(super) fn let_in(&mut self, profile: ProfileId) {
        *self.record(profile) = Record {
            was_let_in: true,
            ..Record::default()
        };
    }

    /// It was let in where the one that has it now comes from.
    pub(super) fn trust(&mut self, profile: ProfileId) {
        self.record(profile).was_let_in = true;
    }

    /// Whether it was ever let in.
    pub(super) fn was_let_in(&self, profile: ProfileId) -> bool {
        self.0.get(profile.0 as usize).is_some_and(|record| record.was_let_in)
    }

    /// Failures that belong to one event count once.
    pub(super) fn note(&mut self, profile: ProfileId, is_password: bool, now: Moment, jitter: u64) {
        let record = self.record(profile);
        if record.trouble.is_none_or(|trouble| now >= trouble.next()) {
            record.trouble = Some(Trouble::noted(record.trouble, now, LONGEST_PAUSE_REFUSED, jitter));
        }
        record.wrong_password_since = match is_password && record.was_let_in {
            true => Some(record.wrong_password_since.unwrap_or(now)),
            false => None,
        };
    }

    /// Whether its password may be about to become right again.
    pub(super) fn may_be_rotated(&self, profile: ProfileId, now: Moment) -> bool {
        let record = self.0.get(profile.0 as usize);
        let since = record.and_then(|record| record.wrong_password_since);
        since.is_some_and(|since| now < since.saturating_add(ROTATION_PATIENCE))
    }

    /// Whether its password was right once, and is not any more.
    pub(super) fn is_password(&self, profile: ProfileId) -> bool {
        let record = self.0.get(profile.0 as usize);
        record.is_some_and(|record| record.wrong_password_since.is_some())
    }

    /// The number is about to get another meaning.
    pub(super) fn forget(&mut self, profile: ProfileId) {
        if let Some(record) = self.0.get_mut(profile.0 as usize) {
            *record = Record::default();
        }
    }

    /// Everybody may ask anew.
    pub(super) fn forgive(&mut self) {
        for record in &mut self.0 {
            *record = Record {
                was_let_in: record.was_let_in,
                ..Record::default()
            };
        }
    }

    fn record(&mut self, profile: ProfileId) -> &mut Record {
        let index = profile.0 as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, Record::default());
        }
        &mut self.0[index]
    }
}
