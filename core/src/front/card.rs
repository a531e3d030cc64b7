//! What others can see of a client: who it is, what it is doing, what it holds, and why it keeps it.
//!
//! Written by the client's own task, without waiting for anybody: relaxed atomics, and for pins, which are rare, a lock
//! that only a viewer shares. Read by views; nothing depends on it. A viewer may see two of the values a moment apart.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::Identity;
use crate::{
    backend::PinReason,
    clock::{self, Instant},
};

/// One client's.
#[derive(Debug, Default)]
pub(crate) struct Card {
    introduction: OnceLock<Introduction>,
    standing: AtomicU8,
    /// Microseconds from its login to the beginning of what it is doing.
    since: AtomicU64,
    /// What it holds; 0 = nothing.
    server: AtomicU64,
    pin: Mutex<Option<Pinned>>,
}

#[derive(Debug)]
struct Introduction {
    identity: Identity,
    at: Instant,
}

/// What a client is doing, as far as server connections go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds none, and wants none.
    Idle,
    /// It waits for one.
    Waiting,
    /// A request or transaction of it is under way.
    Active,
    /// It is in a transaction, and its server connection waits for it.
    InTransaction,
    /// It is between transactions, and holds one.
    Holding,
}

/// Why a client keeps its server connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The reason.
    pub reason: PinReason,
    /// Since when.
    pub since: Instant,
    /// The statement that caused it, where it is known: bounded, without the constants in it. For the admin interface
    /// only, not for logs.
    pub statement: Option<Box<str>>,
}

/// A client at one moment.
#[derive(Clone, Debug)]
pub struct ClientView {
    /// Its number in the directory.
    pub id: u32,
    /// Who it is.
    pub identity: Identity,
    /// When it logged in.
    pub connected: Instant,
    /// What it is doing.
    pub standing: Standing,
    /// Since when.
    pub since: Instant,
    /// The server connection that it holds: see [`crate::pool::Lease::number`].
    pub server: Option<u64>,
    /// Why it keeps it, if it does.
    pub pin: Option<Pinned>,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 5] = [
        Standing::Idle,
        Standing::Waiting,
        Standing::Active,
        Standing::InTransaction,
        Standing::Holding,
    ];

    /// As shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Idle => "idle",
            Standing::Waiting => "waiting",
            Standing::Active => "active",
            Standing::InTransaction => "idle in transaction",
            Standing::Holding => "pinned",
        }
    }

    fn code(self) -> u8 {
        match self {
            Standing::Idle => 0,
            Standing::Waiting => 1,
            Standing::Active => 2,
            Standing::Holding => 3,
            Standing::InTransaction => 4,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            1 => Standing::Waiting,
            2 => Standing::Active,
            3 => Standing::Holding,
            4 => Standing::InTransaction,
            _ => Standing::Idle,
        }
    }
}

impl Card {
    /// The client has logged in.
    pub(crate) fn introduce(&self, identity: Identity) {
        let at = clock::now();
        // A second introduction would be of the same client.
        let _ = self.introduction.set(Introduction { identity, at });
    }

    /// Who it is, once it has logged in.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.introduction.get().map(|introduction| &introduction.identity)
    }

    /// What it does from `now` on.
    pub(crate) fn stand(&self, standing: Standing, now: Instant) {
        if let Some(introduction) = self.introduction.get() {
            let since = now.duration_since(introduction.at);
            self.since
                .store(u64::try_from(since.as_micros()).unwrap_or(u64::MAX), Relaxed);
        }
        self.standing.store(standing.code(), Relaxed);
    }

    /// Whether it or its server connection is at work in a transaction that began before.
    pub(crate) fn turn(&self, standing: Standing) {
        self.standing.store(standing.code(), Relaxed);
    }

    /// It does nothing any more, whenever that began.
    pub(crate) fn stand_down(&self) {
        self.standing.store(Standing::Idle.code(), Relaxed);
    }

    /// The server connection that it holds from now on.
    pub(crate) fn hold(&self, server: Option<u64>) {
        self.server.store(server.unwrap_or(0), Relaxed);
    }

    pub(crate) fn pin(&self, pin: Option<Pinned>) {
        *self.pin.lock() = pin;
    }

    /// Whether its client has logged in to this source.
    pub(super) fn is_of(&self, source: &str) -> bool {
        let introduction = self.introduction.get();
        introduction.is_some_and(|introduction| &*introduction.identity.source == source)
    }

    /// What a viewer sees; nothing before the login is through.
    pub(super) fn view(&self, id: u32) -> Option<ClientView> {
        let introduction = self.introduction.get()?;
        let since = Duration::from_micros(self.since.load(Relaxed));
        let server = self.server.load(Relaxed);
        Some(ClientView {
            id,
            identity: introduction.identity.clone(),
            connected: introduction.at,
            standing: Standing::of(self.standing.load(Relaxed)),
            since: introduction.at.checked_add(since).unwrap_or(introduction.at),
            server: (server != 0).then_some(server),
            pin: self.pin.lock().clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_survives_its_code() {
        for standing in [
            Standing::Idle,
            Standing::Waiting,
            Standing::Active,
            Standing::InTransaction,
            Standing::Holding,
        ] {
            assert_eq!(Standing::of(standing.code()), standing);
        }
    }

    #[test]
    fn who_has_not_logged_in_is_not_seen() {
        assert!(Card::default().view(7).is_none());
    }
}
