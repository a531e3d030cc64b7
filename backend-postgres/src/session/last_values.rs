//! `currval` and `lastval`: who asks for them.
//!
//! What they say is one session's own and can be planted in no other: a client that is to be told the truth keeps the
//! server connection on which it drew from a sequence. Most applications never ask (they say RETURNING), and most that do
//! ask in the very transaction that drew; to them that would cost a connection for each client and gain nothing. So it is
//! learned who asks for what an earlier transaction drew: from a text that names one of the two where nothing was drawn
//! yet, from a definition outside of functions that does (a column's default), and from the server's own error for want
//! of a draw. Code in functions nearly always asks for what it has just drawn itself; the error is left to tell.
//!
//! Invariants: what was learned stays for the life of the process; the number of users is bounded
//! ([`limits::MAX_ASKING_USERS`]), beyond it they are taken for one. Must not know what is done about it.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use weir_core::settings::SequenceFunctions;

use crate::limits;

/// What a source knows about it.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    by_user: Mutex<HashMap<Arc<str>, Arc<OnceLock<Seen>>>>,
    /// For users beyond the bound.
    others: Arc<OnceLock<Seen>>,
    shared: Arc<Shared>,
}

/// What counts for all users.
#[derive(Debug, Default)]
struct Shared {
    /// Somebody has defined something that asks, whoever uses it.
    definition: OnceLock<Seen>,
    /// The server refused to be asked what `lastval` says.
    no_proof: OnceLock<Seen>,
}

/// It was seen.
#[derive(Debug)]
struct Seen;

/// What is known of one user.
#[derive(Clone, Debug)]
pub struct Asker {
    policy: SequenceFunctions,
    own: Arc<OnceLock<Seen>>,
    shared: Arc<Shared>,
}

impl Askers {
    /// What is, and will be, known of a user.
    pub(crate) fn find(&self, user: &str, policy: SequenceFunctions) -> Asker {
        let mut by_user = self.by_user.lock();
        let own = match by_user.get(user) {
            Some(own) => own.clone(),
            None if by_user.len() >= limits::MAX_ASKING_USERS => self.others.clone(),
            None => by_user.entry(user.into()).or_default().clone(),
        };
        Asker {
            policy,
            own,
            shared: self.shared.clone(),
        }
    }
}

impl Asker {
    /// Whether what they say has to be true for this user's clients.
    pub(crate) fn relies_on_them(&self) -> bool {
        match self.policy {
            SequenceFunctions::Learn => self.has_asked(),
            SequenceFunctions::Pin => true,
            SequenceFunctions::Forget => false,
        }
    }

    /// Whether the user has asked for what an earlier transaction drew, or something was defined that does.
    pub(crate) fn has_asked(&self) -> bool {
        self.own.get().is_some() || self.shared.definition.get().is_some()
    }

    /// The user has asked for what an earlier transaction drew.
    pub(crate) fn asks(&self) {
        self.own.get_or_init(|| Seen);
    }

    /// Something was defined that asks, whoever uses it.
    pub(crate) fn defines_what_asks(&self) {
        self.shared.definition.get_or_init(|| Seen);
    }

    /// The server refused to be asked whether anything was drawn.
    pub(crate) fn cannot_be_proved(&self) {
        self.shared.no_proof.get_or_init(|| Seen);
    }

    /// Whether the server may be asked whether anything was drawn.
    pub(crate) fn is_provable(&self) -> bool {
        self.shared.no_proof.get().is_none()
    }
}

/// Whose they are on a server connection. A client that draws on another connection has drawn there last: what the one
/// before says would not be the truth any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drawer {
    /// Never given out twice.
    pub(crate) client: u64,
    /// Counts the connections that it drew on.
    pub(crate) place: u32,
}

/// Whether a text asks for what was drawn before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// It does not.
    #[default]
    Nothing,
    /// It names `currval` or `lastval` outside of string constants, with no statement ahead of it that may draw.
    LastValues,
}

impl Names {
    /// Of a name.
    pub(super) fn of_name(name: &[u8]) -> Names {
        match FUNCTIONS.iter().any(|function| function.eq_ignore_ascii_case(name)) {
            true => Names::LastValues,
            false => Names::Nothing,
        }
    }
}

const FUNCTIONS: [&[u8]; 2] = [b"currval", b"lastval"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_user_asks_is_not_anothers_but_definitions_are_everybodys() {
        let askers = Askers::default();
        let [one, two] = ["one", "two"].map(|user| askers.find(user, SequenceFunctions::Learn));
        assert!(!one.relies_on_them());
        one.asks();
        assert!(one.relies_on_them() && askers.find("one", SequenceFunctions::Learn).relies_on_them());
        assert!(!two.relies_on_them());
        two.defines_what_asks();
        assert!(askers.find("three", SequenceFunctions::Learn).relies_on_them());
        assert!(!askers.find("three", SequenceFunctions::Forget).relies_on_them());
        assert!(Askers::default().find("x", SequenceFunctions::Pin).relies_on_them());
    }

    #[test]
    fn users_beyond_the_bound_are_taken_for_one() {
        let askers = Askers::default();
        let all: Vec<_> = (0..limits::MAX_ASKING_USERS + 2)
            .map(|n| askers.find(&n.to_string(), SequenceFunctions::Learn))
            .collect();
        all[limits::MAX_ASKING_USERS].asks();
        assert!(all[limits::MAX_ASKING_USERS + 1].relies_on_them() && !all[0].relies_on_them());
        assert_eq!(askers.by_user.lock().len(), limits::MAX_ASKING_USERS);
    }

    #[test]
    fn names() {
        assert_eq!(Names::of_name(b"CurrVal"), Names::LastValues);
        assert_eq!(Names::of_name(b"currvals"), Names::Nothing);
    }
}
