//! One pool takes the place of another: the source has another address, password or certificate from now on.
//!
//! Invariants: everybody who waits in the old pool waits in the new one in the same moment, in order of arrival (I3);
//! what is left of the old one, if it is at the same server, counts against the new one's limit until it is closed (I1).
//! Two pools' locks are held together here only, and only while their source is exchanged, which is one at a time.

use std::sync::Arc;

use super::{
    Pool,
    engine::{Moment, WaiterId},
    state::{After, State},
};
use crate::{backend::Backend, clock, settings::PoolSettings};

/// What the pool is to another one whose clients it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// It was made to take its place, and its limit is the one that the other had, where they are at the same server.
    Replaces,
    /// It has served beside it, with a limit of its own.
    TakesIn,
}

/// Who serves in a pool's place.
pub(super) struct Heir<B: Backend> {
    pool: Arc<Pool<B>>,
    /// Whether what is left here counts against its limit.
    is_burdened: bool,
}

/// Where somebody waits now who waited in another pool before.
pub(super) struct Removal<B: Backend> {
    pub(super) pool: Arc<Pool<B>>,
    pub(super) waiter: WaiterId,
}

impl<B: Backend> Pool<B> {
    /// An empty pool of the same source that may follow this one: see [`Pool::cede_to`].
    pub fn another(&self, role: &'static str, backend: Arc<B>, settings: PoolSettings) -> Arc<Self> {
        Pool::beginning(self.began, self.name.clone(), role, backend, settings)
    }

    /// `heir` serves in this pool's place from now on. Who waits here waits there, as if it had come there. Idle
    /// connections are closed now, leased ones when they come back. Once in a pool's life; further calls do nothing.
    pub fn cede_to(&self, heir: &Arc<Pool<B>>, succession: Succession) {
        self.remember_runtime();
        if let Some(runtime) = self.runtime.get() {
            let _ = heir.runtime.set(runtime.clone());
        }
        let is_burdened = succession == Succession::Replaces && self.backend.is_at_same_server(&heir.backend);
        let pool = heir.clone();
        if std::ptr::eq(self, Arc::as_ptr(heir)) || self.heir.set(Heir { pool, is_burdened }).is_err() {
            return;
        }
        let now = clock::now();
        let (mut after, mut heirs) = (After::nothing(), After::nothing());
        self.change(now, &mut after, |state, now, after| {
            heir.change(self.began + now, &mut heirs, |theirs, then, heirs| {
                if is_burdened {
                    // Before anybody asks for a connection there.
                    theirs.add_forerunner(self.number, state.burden(), then);
                }
                for profile in state.trusted() {
                    let profile = theirs.intern(&profile);
                    theirs.engine.trust(profile);
                }
                for ceded in state.engine.cede(now) {
                    let (profile, mut visitor) = state.vacate(ceded.waiter, now, after);
                    visitor.since = heir.moment(self.began + ceded.since);
                    let profile = theirs.intern(&profile);
                    let waiter = theirs.seat(profile, visitor, then, heirs);
                    let pool = heir.clone();
                    state.forward(ceded.waiter, Removal { pool, waiter });
                }
            });
        });
        heir.follow_up(heirs);
        self.follow_up(after);
        self.changed.notify_waiters();
    }

    /// Who serves in its place, if somebody does.
    pub(crate) fn successor(&self) -> Option<&Arc<Pool<B>>> {
        self.heir.get().map(|heir| &heir.pool)
    }

    /// Resolves when another pool serves in its place.
    pub(crate) async fn until_succeeded(&self) -> &Arc<Pool<B>> {
        loop {
            // Made before looking: what happens in between is not missed.
            let changed = self.changed.notified();
            if let Some(heir) = self.successor() {
                return heir;
            }
            changed.await;
        }
    }

    /// Tells what is left here to the pool whose limit it counts against.
    pub(super) fn tell_heir(&self) {
        let Some(heir) = self.heir.get().filter(|heir| heir.is_burdened) else {
            return;
        };
        let burden = self.state.lock().burden();
        heir.pool
            .apply(|theirs, then, _| theirs.lower_forerunner(self.number, burden, then));
        heir.pool.tell_heir();
    }
}

impl<B: Backend> State<B> {
    /// What counts against the limit of the pool that follows, if that is at the same server.
    fn burden(&self) -> u32 {
        let before: u32 = self.forerunners.iter().map(|(_, connections)| connections).sum();
        self.engine.tally().total().saturating_add(before)
    }

    /// What the database has let in.
    fn trusted(&self) -> Vec<B::Profile> {
        let known = self.profiles.iter();
        let trusted = known.filter(|(id, _)| self.engine.was_let_in(*id));
        trusted.map(|(_, profile)| profile.clone()).collect()
    }

    fn add_forerunner(&mut self, pool: u32, connections: u32, now: Moment) {
        self.forerunners.push((pool, connections));
        self.count_forerunners(now);
    }

    /// What is left never rises, so the lowest number that was told holds, in whichever order they come.
    fn lower_forerunner(&mut self, pool: u32, connections: u32, now: Moment) {
        let mut known = self.forerunners.iter_mut();
        if let Some((_, before)) = known.find(|(number, _)| *number == pool) {
            *before = connections.min(*before);
            self.count_forerunners(now);
        }
    }

    fn count_forerunners(&mut self, now: Moment) {
        self.forerunners.retain(|(_, connections)| *connections > 0);
        let left = self.forerunners.iter().map(|(_, connections)| connections).sum();
        self.engine.set_forerunners(left, now);
    }
}
