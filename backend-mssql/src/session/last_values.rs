//! What the last statement came to, `@@IDENTITY`, `@@ROWCOUNT` and their like: whose it is, and who asks (TDS 6.6).
//!
//! It is one session's own and can be planted in no other. Whoever asks where somebody else's stands gets what a new session
//! tells, never that. A client that is to be told its own has to keep the server connection on which it wrote. Most
//! applications never ask in a request of its own (`INSERT ...; SELECT SCOPE_IDENTITY()` is one); to them that would cost a
//! connection for each client that writes. So it is learned which users do.
//!
//! Invariants: what was learned stays for the life of the process; the number of users is bounded
//! ([`limits::MAX_ASKING_USERS`]), beyond it they are taken for one. Must not know texts, nor what is done about it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use parking_lot::Mutex;
use weir_core::settings::SessionFunctions;

use super::{follow::Outcome, own::Own};
use crate::limits;

/// Values that tell of a statement, or of none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values(u8);

impl Values {
    pub(crate) const NONE: Values = Values(0);
    /// `@@ROWCOUNT`, `ROWCOUNT_BIG()`, `@@ERROR`: any statement sets them.
    pub(crate) const OUTCOME: Values = Values(1);
    /// `@@IDENTITY`, `SCOPE_IDENTITY()`: what inserts sets them.
    pub(crate) const IDENTITY: Values = Values(2);
    pub(crate) const ALL: Values = Values(3);

    pub(crate) fn with(self, other: Values) -> Values {
        Values(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Values) -> Values {
        Values(self.0 & !other.0)
    }

    pub(crate) fn and(self, other: Values) -> Values {
        Values(self.0 & other.0)
    }

    pub(crate) fn has(self, other: Values) -> bool {
        self.and(other) != Values::NONE
    }

    pub(crate) fn is_none(self) -> bool {
        self == Values::NONE
    }

    /// As another process reads them.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// The other way round.
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        (bits & !Values::ALL.0 == 0).then_some(Values(bits))
    }
}

/// What all users of an endpoint are known to ask for.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    by_user: Mutex<HashMap<Arc<str>, Arc<AtomicU8>>>,
    /// Of users beyond the bound.
    others: Arc<AtomicU8>,
}

/// What one user is known to ask for.
#[derive(Clone, Debug)]
pub struct Asker {
    policy: SessionFunctions,
    known: Arc<AtomicU8>,
}

impl Askers {
    /// What is, and will be, known of a user.
    pub(crate) fn find(&self, user: &str, policy: SessionFunctions) -> Asker {
        let mut by_user = self.by_user.lock();
        let known = match by_user.get(user) {
            Some(known) => known.clone(),
            None if by_user.len() >= limits::MAX_ASKING_USERS => self.others.clone(),
            None => by_user.entry(user.into()).or_default().clone(),
        };
        Asker { policy, known }
    }
}

impl Asker {
    /// What has to be true for this user's clients, also in a request of its own.
    pub(crate) fn relies_on(&self) -> Values {
        match self.policy {
            SessionFunctions::Learn => self.known(),
            SessionFunctions::Pin => Values::ALL,
            SessionFunctions::Forget => Values::NONE,
        }
    }

    /// What the user has asked for.
    pub(crate) fn known(&self) -> Values {
        Values(self.known.load(Ordering::Relaxed))
    }

    /// The user has asked for what an earlier request came to.
    pub(crate) fn asks_for(&self, values: Values) {
        if !values.is_none() {
            self.known.fetch_or(values.0, Ordering::Relaxed);
        }
    }

    /// Whether a client that has asked may go on without what it asked for.
    pub(crate) fn asks_once(&self) -> bool {
        self.policy != SessionFunctions::Pin
    }
}

/// Whose what stands on a server connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Author {
    /// What a new session tells.
    #[default]
    Nobody,
    /// A request of the gateway's own.
    Gateway,
    Client {
        /// Never given out twice.
        client: u64,
        /// Which of its requests.
        request: u32,
    },
    /// One of several clients: the last of them may, or may not, have changed what another one left.
    Several,
}

/// The same for all that a server connection tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Authors {
    pub(crate) outcome: Author,
    pub(crate) identity: Author,
}

impl Authors {
    /// A request of the gateway's own has been answered, with an error or without.
    pub(crate) fn of_the_gateway(&mut self, own: Own, outcome: Outcome) {
        match own {
            // A SET or USE comes last in these: it leaves what a login leaves.
            Own::Settings | Own::Reset => self.outcome = Author::Nobody,
            Own::Forget if outcome == Outcome::Success => *self = Authors::default(),
            Own::Count | Own::Rollback | Own::Prepare | Own::Release | Own::Forget => self.outcome = Author::Gateway,
            // No statement of Transact-SQL, on most servers.
            Own::Begin => {}
        }
    }
}

/// What a request has done to what may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its client may want to know of these.
    pub(crate) wanted: Values,
    /// It may have changed these.
    pub(crate) perhaps: Values,
    /// It has changed these: nothing of what stood there before is left.
    pub(crate) surely: Values,
}

/// What a client did last, counted in its requests; 0: nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastRequests {
    any: u32,
    /// The last one that wrote.
    wrote: u32,
    /// The last one that may have inserted.
    inserted: u32,
}

impl LastRequests {
    /// As another process reads them.
    pub(crate) fn numbers(&self) -> [u32; 3] {
        [self.any, self.wrote, self.inserted]
    }

    /// The other way round.
    pub(crate) fn from_numbers([any, wrote, inserted]: [u32; 3]) -> Self {
        LastRequests { any, wrote, inserted }
    }

    /// A request of the client's has been carried out. Where it is not certain that it changed what somebody else had left,
    /// that may stand there still.
    pub(crate) fn count(&mut self, written: Written, client: u64, authors: &mut Authors) {
        let stays_strange = self.strange(Values::ALL, client, authors).without(written.surely);
        self.any = self.any.wrapping_add(1).max(1);
        if written.wanted.has(Values::OUTCOME) {
            self.wrote = self.any;
        }
        if written.wanted.has(Values::IDENTITY) {
            self.inserted = self.any;
        }
        let author = |value, request| match stays_strange.has(value) {
            true => Author::Several,
            false => Author::Client { client, request },
        };
        authors.outcome = author(Values::OUTCOME, self.any);
        if written.perhaps.has(Values::IDENTITY) {
            authors.identity = author(Values::IDENTITY, self.inserted);
        }
    }

    /// Which of these are neither the client's latest nor as in a new session.
    pub(crate) fn strange(&self, values: Values, client: u64, authors: &Authors) -> Values {
        let is_strange = |author, latest| match author {
            Author::Nobody => false,
            Author::Gateway | Author::Several => true,
            Author::Client { client: whose, request } => whose != client || request != latest,
        };
        let mut strange = Values::NONE;
        if is_strange(authors.outcome, self.any) {
            strange = strange.with(Values::OUTCOME);
        }
        if is_strange(authors.identity, self.inserted) {
            strange = strange.with(Values::IDENTITY);
        }
        strange.and(values)
    }

    /// What there is to be asked for: a request before wrote, or inserted.
    pub(crate) fn left(&self) -> Values {
        let mut left = Values::NONE;
        if self.wrote != 0 && self.wrote == self.any {
            left = left.with(Values::OUTCOME);
        }
        if self.inserted != 0 {
            left = left.with(Values::IDENTITY);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_learned_one_by_one_and_policies_differ() {
        let askers = Askers::default();
        let [one, two] = ["one", "two"].map(|user| askers.find(user, SessionFunctions::Learn));
        one.asks_for(Values::IDENTITY);
        assert_eq!(one.relies_on(), Values::IDENTITY);
        assert_eq!(
            askers.find("one", SessionFunctions::Learn).relies_on(),
            Values::IDENTITY
        );
        assert_eq!(two.relies_on(), Values::NONE);
        assert_eq!(askers.find("one", SessionFunctions::Forget).relies_on(), Values::NONE);
        assert_eq!(askers.find("two", SessionFunctions::Pin).relies_on(), Values::ALL);
    }

    #[test]
    fn more_users_than_are_kept_are_taken_for_one() {
        let askers = Askers::default();
        for n in 0..limits::MAX_ASKING_USERS {
            askers.find(&n.to_string(), SessionFunctions::Learn);
        }
        askers
            .find("further", SessionFunctions::Learn)
            .asks_for(Values::OUTCOME);
        assert_eq!(
            askers.find("another", SessionFunctions::Learn).relies_on(),
            Values::OUTCOME
        );
        assert_eq!(askers.find("0", SessionFunctions::Learn).relies_on(), Values::NONE);
    }

    /// It surely sets these, and is asked for them.
    fn sets(values: Values) -> Written {
        Written {
            wanted: values,
            perhaps: values,
            surely: values.with(Values::OUTCOME),
        }
    }

    #[test]
    fn only_the_latest_of_ones_own_is_not_strange() {
        let [mut here, mut there] = [Authors::default(); 2];
        let mut mine = LastRequests::default();
        assert_eq!(mine.strange(Values::ALL, 1, &here), Values::NONE);
        mine.count(sets(Values::ALL), 1, &mut here);
        assert_eq!(mine.strange(Values::ALL, 1, &here), Values::NONE);
        assert_eq!(
            LastRequests::default().strange(Values::ALL, 2, &here),
            Values::ALL,
            "another client's"
        );
        mine.count(sets(Values::NONE), 1, &mut there);
        assert_eq!(
            mine.strange(Values::ALL, 1, &here),
            Values::OUTCOME,
            "a read elsewhere leaves the identity"
        );
        mine.count(sets(Values::ALL), 1, &mut there);
        assert_eq!(mine.strange(Values::ALL, 1, &here), Values::ALL);
        here.outcome = Author::Gateway;
        assert_eq!(mine.strange(Values::OUTCOME, 1, &here), Values::OUTCOME);
    }

    #[test]
    fn what_was_strange_stays_strange_to_everybody_unless_it_is_certain_that_it_is_gone() {
        let [mut one, mut two] = [LastRequests::default(); 2];
        let perhaps = Written {
            wanted: Values::IDENTITY,
            perhaps: Values::ALL,
            surely: Values::OUTCOME,
        };
        let mut here = Authors::default();
        one.count(sets(Values::ALL), 1, &mut here);
        two.count(perhaps, 2, &mut here);
        for (client, last) in [(1, &one), (2, &two)] {
            assert_eq!(
                last.strange(Values::IDENTITY, client, &here),
                Values::IDENTITY,
                "{client}"
            );
        }
        two.count(sets(Values::ALL), 2, &mut here);
        assert_eq!(two.strange(Values::ALL, 2, &here), Values::NONE);
        // Both that may stand there are its own.
        two.count(perhaps, 2, &mut here);
        assert_eq!(two.strange(Values::ALL, 2, &here), Values::NONE);
        // Whoever begins with a new session's is told a new session's or its own.
        let mut there = Authors::default();
        one.count(perhaps, 1, &mut there);
        assert_eq!(one.strange(Values::ALL, 1, &there), Values::NONE);
    }

    #[test]
    fn triggers_change_what_another_client_left() {
        let [mut one, mut two] = [LastRequests::default(); 2];
        let mut here = Authors::default();
        one.count(sets(Values::ALL), 1, &mut here);
        let update = Written {
            wanted: Values::OUTCOME,
            perhaps: Values::ALL,
            surely: Values::OUTCOME,
        };
        two.count(update, 2, &mut here);
        assert_eq!(one.strange(Values::IDENTITY, 1, &here), Values::IDENTITY);
        assert_eq!(two.strange(Values::ALL, 2, &here), Values::IDENTITY);
    }

    #[test]
    fn what_could_not_be_forgotten_is_not_forgotten() {
        let mut mine = LastRequests::default();
        let mut here = Authors::default();
        mine.count(sets(Values::ALL), 1, &mut here);
        here.of_the_gateway(Own::Forget, Outcome::Error);
        assert_eq!(mine.strange(Values::ALL, 2, &here), Values::ALL);
        here.of_the_gateway(Own::Forget, Outcome::Success);
        assert_eq!(mine.strange(Values::ALL, 2, &here), Values::NONE);
    }
}
