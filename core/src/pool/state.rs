//! What the pool's lock guards: the engine, the connections that nobody holds, and the answers for those who wait.
//!
//! Nothing here waits, does input or output (beyond one look at an idle socket), spawns or logs: what has to be done is
//! collected in [`After`] and done when the lock is free.

use std::{sync::Arc, task::Waker, time::Duration};

use super::{
    connection::{Connection, Gone},
    engine::{Effect, Engine, FailReason, Failure, Mark, Moment, ProfileId, SlotId, Stage, WaiterId, Wish},
    journal::{Journal, Line},
    profiles::Profiles,
    stats::Counters,
    succession::Removal,
};
use crate::{
    backend::{Backend, TransactionDetection},
    refusal::{OpenError, Refusal, Retry},
};

pub(super) struct State<B: Backend> {
    pub(super) engine: Engine,
    pub(super) profiles: Profiles<B::Profile>,
    pub(super) counters: Counters,
    pub(super) keeper: Keeper,
    /// The latest time that was told.
    now: Moment,
    source: Arc<str>,
    /// By slot: idle connections, and for a moment those on their way to a waiter or to their end.
    connections: Vec<Option<Box<Connection<B>>>>,
    /// By slot: what is known of the connection that was stored there last.
    known: Vec<Known>,
    /// By waiter.
    desks: Vec<Desk<B>>,
    /// What the last attempt to reach the host ended with.
    host_error: Option<OpenError>,
    journal: Journal,
    departures: u64,
    /// Connections left at the same server in pools that this one follows, by pool; those that have none are not here.
    pub(super) forerunners: Vec<(u32, u32)>,
}

/// What a view shows of a connection, wherever it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub(super) id: u64,
    pub(super) process: Option<u32>,
}

/// What is known of a waiter, and where its answer is put down for it.
struct Desk<B: Backend> {
    profile: ProfileId,
    since: Moment,
    patience: Patience,
    waker: Option<Waker>,
    answer: Option<Answer<B>>,
}

/// How long a waiter is willing to wait. Pauses do not count.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// `None` is for ever.
    limit: Option<Duration>,
    /// How much of it was used up when it came here from another pool.
    spent: Duration,
    /// When it came here, on the clock that stands still while the pool is paused.
    since: Moment,
}

/// What one pool tells another of somebody who waits.
pub(super) struct Visitor {
    /// Since when it waits, on the receiver's clock.
    pub(super) since: Moment,
    limit: Option<Duration>,
    spent: Duration,
    waker: Option<Waker>,
}

/// How waiting ended.
pub(super) enum Answer<B: Backend> {
    Granted(SlotId, Box<Connection<B>>),
    Failed(Box<Refusal>),
    /// It waits elsewhere.
    Moved(Removal<B>),
}

/// The task that watches idle connections and time.
pub(super) enum Keeper {
    Absent,
    /// Started; it has not looked yet.
    Starting,
    Watching {
        waker: Waker,
        until: Option<Moment>,
    },
    /// It ended because the pool is closed and empty.
    Ended,
}

/// What to do once the lock is free.
pub(super) struct After<B: Backend> {
    pub(super) woken: Option<Waker>,
    /// What most changes do not entail.
    errands: Option<Box<Errands<B>>>,
}

/// More to do than to wake somebody.
pub(super) struct Errands<B: Backend> {
    pub(super) more_woken: Vec<Waker>,
    pub(super) opens: Vec<(SlotId, B::Profile)>,
    pub(super) closes: Vec<(SlotId, Box<Connection<B>>)>,
    pub(super) starts_keeper: bool,
    pub(super) is_drained: bool,
    /// A connection is no more.
    pub(super) is_departure: bool,
    pub(super) lines: Vec<Line>,
}

impl<B: Backend> After<B> {
    pub(super) fn nothing() -> Self {
        After {
            woken: None,
            errands: None,
        }
    }

    /// More to do than to wake somebody, if there is more.
    pub(super) fn take_errands(&mut self) -> Option<Box<Errands<B>>> {
        self.errands.take()
    }

    fn errands(&mut self) -> &mut Errands<B> {
        self.errands.get_or_insert_with(|| {
            Box::new(Errands {
                more_woken: Vec::new(),
                opens: Vec::new(),
                closes: Vec::new(),
                starts_keeper: false,
                is_drained: false,
                is_departure: false,
                lines: Vec::new(),
            })
        })
    }

    fn wake(&mut self, waker: Waker) {
        match self.woken {
            None => self.woken = Some(waker),
            Some(_) => self.errands().more_woken.push(waker),
        }
    }
}

impl<B: Backend> State<B> {
    pub(super) fn new(source: Arc<str>, engine: Engine) -> Self {
        State {
            engine,
            profiles: Profiles::new(),
            counters: Counters::default(),
            keeper: Keeper::Absent,
            now: Moment::ZERO,
            source,
            connections: Vec::new(),
            known: Vec::new(),
            desks: Vec::new(),
            host_error: None,
            journal: Journal::default(),
            departures: 0,
            forerunners: Vec::new(),
        }
    }

    /// Which connection has this place; `None` while it is being opened.
    pub(super) fn known(&self, slot: SlotId) -> Option<Known> {
        match self.engine.stage(slot) {
            Stage::Vacant | Stage::Opening => None,
            Stage::Idle { .. } | Stage::Leased | Stage::Maintenance | Stage::Closing => {
                self.known.get(slot.0 as usize).copied()
            }
        }
    }

    /// The time to go by when somebody says that it is `now`. The engine's never goes back, and two workers that read the
    /// clock may come here in the other order.
    pub(super) fn pass_time(&mut self, now: Moment) -> Moment {
        self.now = self.now.max(now);
        self.now
    }

    /// The number of a profile, if it has one; `mark` is a lease that somebody of this profile, as a rule, had before:
    /// comparing is cheaper than hashing.
    pub(super) fn find(&self, profile: &B::Profile, mark: Option<Mark>) -> Option<ProfileId> {
        let usual = mark.and_then(|mark| self.engine.profile_at(mark));
        let usual = usual.filter(|id| self.profiles.profile(*id) == Some(profile));
        usual.or_else(|| self.profiles.find(profile))
    }

    pub(super) fn intern(&mut self, profile: &B::Profile) -> ProfileId {
        if let Some(id) = self.profiles.find(profile) {
            return id;
        }
        if self.profiles.is_crowded() {
            let engine = &self.engine;
            for id in self.profiles.sweep(|id| engine.is_in_use(id)) {
                self.engine.forget(id);
            }
        }
        self.profiles.add(profile.clone())
    }

    /// An idle connection that is well, as far as one look at its socket tells. The look costs no system call when
    /// nothing has arrived; what has arrived is judged, and `waker` is told when more arrives.
    pub(super) fn check_out(
        &mut self,
        profile: ProfileId,
        wish: Wish,
        waker: &Waker,
        now: Moment,
        after: &mut After<B>,
    ) -> Option<(SlotId, Box<Connection<B>>)> {
        while let Some(slot) = self.engine.take_idle(profile, wish, now) {
            let mut connection = self.take(slot);
            match connection.look(waker) {
                Ok(()) => return Some((slot, connection)),
                Err(gone) => {
                    self.engine.discard(slot);
                    self.bury(slot, connection, gone, now, after);
                }
            }
        }
        None
    }

    /// A connection as good as new: to the first waiter or to rest. One that rests is watched by the keeper from now on.
    pub(super) fn check_in(&mut self, slot: SlotId, connection: Box<Connection<B>>, now: Moment, after: &mut After<B>) {
        self.engine.set_likeness(slot, connection.session.likeness());
        self.store(slot, connection);
        self.engine.put_back(slot, now);
        self.carry_out(after);
        self.watch(slot, now, after);
    }

    pub(super) fn opened(&mut self, slot: SlotId, connection: Box<Connection<B>>, now: Moment, after: &mut After<B>) {
        self.counters.opened += 1;
        self.host_error = None;
        let profile = self.engine.profile_of(slot);
        self.profiles.set_error(profile, None);
        self.journal.opened(connection.id(), &mut after.errands().lines);
        self.engine.set_likeness(slot, connection.session.likeness());
        self.store(slot, connection);
        self.engine.opened(slot, now);
        self.carry_out(after);
        self.watch(slot, now, after);
    }

    pub(super) fn open_failed(&mut self, slot: SlotId, error: OpenError, now: Moment, after: &mut After<B>) {
        self.counters.open_errors += 1;
        let told = error.clone();
        let failure = match &error {
            OpenError::Rejected(rejection) if rejection.retry == Retry::WhenLessFull => Failure::Full,
            OpenError::Rejected(rejection) if rejection.retry == Retry::WithNewPassword => Failure::WrongPassword,
            // The file that holds it may be half written.
            OpenError::Misconfigured(_) => Failure::WrongPassword,
            error if error.is_transient() => Failure::Transient,
            _ => Failure::Refused,
        };
        match failure {
            Failure::Refused | Failure::WrongPassword => {
                let profile = self.engine.profile_of(slot);
                self.profiles.set_error(profile, Some(error));
                // Somebody is at home.
                self.host_error = None;
            }
            Failure::Full | Failure::Transient => self.host_error = Some(error),
        }
        self.engine.open_failed(slot, failure, now);
        self.journal
            .open_failed(&told, self.engine.waiting(), now, &mut after.errands().lines);
    }

    /// Closes a connection that somebody holds.
    pub(super) fn discard(
        &mut self,
        slot: SlotId,
        connection: Box<Connection<B>>,
        reason: &'static str,
        after: &mut After<B>,
    ) {
        self.engine.discard(slot);
        self.dismiss(slot, connection, reason, after);
    }

    /// Looks at every idle connection, and leaves `waker` to be told when something arrives on it.
    pub(super) fn watch_all(&mut self, waker: &Waker, now: Moment, after: &mut After<B>) {
        let idle: Vec<SlotId> = self.engine.idle().collect();
        for slot in idle {
            self.look_at(slot, waker, now, after);
        }
    }

    /// Somebody who waits since `since`, here or elsewhere, and is not willing to wait for more than `limit` from now on.
    pub(super) fn enqueue(
        &mut self,
        profile: ProfileId,
        waker: &Waker,
        since: Moment,
        limit: Option<Duration>,
        (now, after): (Moment, &mut After<B>),
    ) -> WaiterId {
        let visitor = Visitor {
            since,
            limit,
            spent: Duration::ZERO,
            waker: Some(waker.clone()),
        };
        self.seat(profile, visitor, now, after)
    }

    /// The same for somebody who comes from another pool.
    pub(super) fn seat(&mut self, profile: ProfileId, visitor: Visitor, now: Moment, after: &mut After<B>) -> WaiterId {
        let Visitor {
            since,
            limit,
            spent,
            waker,
        } = visitor;
        let waiter = self.engine.enqueue_since(profile, since, now);
        let desk = Desk {
            profile,
            since,
            patience: Patience {
                limit,
                spent,
                since: self.engine.patience_clock(now),
            },
            waker,
            answer: None,
        };
        match self.desks.get_mut(waiter.0 as usize) {
            Some(used) => *used = desk,
            None => self.desks.push(desk),
        }
        self.carry_out(after);
        self.counters.waits += 1;
        waiter
    }

    /// The waiter's answer, if it is there, and how long it has waited; then the waiter has left. Nothing follows from
    /// that: it is out of the queue since it was answered.
    pub(super) fn collect(&mut self, waiter: WaiterId, now: Moment) -> Option<(Answer<B>, Duration)> {
        let desk = &mut self.desks[waiter.0 as usize];
        let answer = desk.answer.take()?;
        let waited = now.saturating_sub(desk.since);
        self.engine.leave(waiter, now);
        Some((answer, waited))
    }

    /// How much of its patience the waiter has left; `None` if that has no end, or the pool is paused.
    pub(super) fn patience_left(&self, waiter: WaiterId, now: Moment) -> Option<Duration> {
        let Patience { limit, .. } = self.desks[waiter.0 as usize].patience;
        let limit = limit.filter(|_| !self.engine.is_paused())?;
        Some(limit.saturating_sub(self.patience_spent(waiter, now)))
    }

    fn patience_spent(&self, waiter: WaiterId, now: Moment) -> Duration {
        let Patience { spent, since, .. } = self.desks[waiter.0 as usize].patience;
        spent.saturating_add(self.engine.patience_clock(now).saturating_sub(since))
    }

    pub(super) fn is_answered(&self, waiter: WaiterId) -> bool {
        self.desks[waiter.0 as usize].answer.is_some()
    }

    /// What a waiter waits for that has come to the end of its patience, and how long it has waited.
    pub(super) fn out_of_patience(&self, waiter: WaiterId, now: Moment) -> (ProfileId, Duration) {
        let desk = &self.desks[waiter.0 as usize];
        let limit = desk.patience.limit.unwrap_or_default();
        (desk.profile, now.saturating_sub(desk.since).max(limit))
    }

    /// Another task waits for the answer now.
    pub(super) fn set_waker(&mut self, waiter: WaiterId, waker: &Waker) {
        let desk = &mut self.desks[waiter.0 as usize];
        if !desk.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            desk.waker = Some(waker.clone());
        }
    }

    /// The waiter does not wait any more, after so long. What was granted to it meanwhile, untouched, goes to the next. If
    /// it waits elsewhere, it is to give up there.
    pub(super) fn give_up(
        &mut self,
        waiter: WaiterId,
        now: Moment,
        after: &mut After<B>,
    ) -> Result<Duration, Removal<B>> {
        let desk = &mut self.desks[waiter.0 as usize];
        desk.waker = None;
        let answer = desk.answer.take();
        let waited = now.saturating_sub(desk.since);
        self.engine.leave(waiter, now);
        match answer {
            Some(Answer::Moved(removal)) => return Err(removal),
            Some(Answer::Granted(slot, connection)) => self.check_in(slot, connection, now, after),
            Some(Answer::Failed(_)) | None => {}
        }
        Ok(waited)
    }

    /// A waiter waits elsewhere from now on: what for, and what is to be known of it there. It is woken, so that it looks
    /// after its patience there: here a pause may have kept it from that.
    pub(super) fn vacate(&mut self, waiter: WaiterId, now: Moment, after: &mut After<B>) -> (B::Profile, Visitor) {
        let spent = self.patience_spent(waiter, now);
        let desk = &mut self.desks[waiter.0 as usize];
        let profile = self.profiles.profile(desk.profile);
        let profile = profile.expect("a profile that somebody waits for is in use, so it is known");
        let visitor = Visitor {
            since: desk.since,
            limit: desk.patience.limit,
            spent,
            waker: desk.waker.take(),
        };
        if let Some(waker) = visitor.waker.clone() {
            after.wake(waker);
        }
        (profile.clone(), visitor)
    }

    /// Where it waits now.
    pub(super) fn forward(&mut self, waiter: WaiterId, removal: Removal<B>) {
        self.desks[waiter.0 as usize].answer = Some(Answer::Moved(removal));
    }

    /// What the last attempt to open a connection said, if that is why a client of this profile still waits.
    pub(super) fn trouble_of(&self, profile: ProfileId) -> Option<OpenError> {
        match self.engine.live_of(profile) {
            0 => self.said_of(profile).cloned(),
            _ => None,
        }
    }

    /// Why those who wait get no connection, if it is not only that others have them.
    pub(super) fn wait_reason(&self) -> Option<&OpenError> {
        let (_, profile) = self.engine.waiters().next()?;
        self.said_of(profile)
    }

    fn said_of(&self, profile: ProfileId) -> Option<&OpenError> {
        match self.engine.trouble_of(profile)? {
            FailReason::Refused => self.profiles.error(profile),
            FailReason::Unreachable => self.host_error.as_ref(),
            FailReason::Draining => None,
        }
    }

    /// Serves again. Everybody who waits is woken: the clock of their patience runs on.
    pub(super) fn resume(&mut self, now: Moment, after: &mut After<B>) {
        self.engine.resume(now);
        let waiters: Vec<WaiterId> = self.engine.waiters().map(|(waiter, _)| waiter).collect();
        for waiter in waiters {
            if let Some(waker) = self.desks[waiter.0 as usize].waker.clone() {
                after.wake(waker);
            }
        }
    }

    /// What the last attempt to reach the host ended with, or what the database says to some profile.
    pub(super) fn last_error(&self) -> Option<&OpenError> {
        self.host_error.as_ref().or_else(|| self.profiles.any_error())
    }

    /// Does what the engine decided, as far as that can be done under the lock.
    pub(super) fn carry_out(&mut self, after: &mut After<B>) {
        while let Some(effect) = self.engine.next_effect() {
            match effect {
                Effect::Open { slot, profile } => {
                    let profile = self.profiles.profile(profile);
                    let profile = profile.expect("a profile that a connection is opened for is in use, so it is known");
                    after.errands().opens.push((slot, profile.clone()));
                }
                Effect::Close(slot, why) => {
                    let connection = self.take(slot);
                    self.dismiss(slot, connection, why.as_str(), after);
                }
                Effect::Grant(waiter, slot) => {
                    let connection = self.take(slot);
                    self.answer(waiter, Answer::Granted(slot, connection), after);
                }
                Effect::Fail(waiter, reason) => {
                    let refusal = self.refusal(self.desks[waiter.0 as usize].profile, reason);
                    self.answer(waiter, Answer::Failed(Box::new(refusal)), after);
                }
            }
        }
    }

    /// Sees to it that the keeper exists and looks at the clock in time.
    pub(super) fn mind_keeper(&mut self, now: Moment, after: &mut After<B>) {
        let due = self.engine.wake_at(now);
        match &mut self.keeper {
            Keeper::Absent if due.is_some() || self.engine.tally().total() > 0 => {
                after.errands().starts_keeper = true;
                self.keeper = Keeper::Starting;
            }
            Keeper::Watching { waker, until } => {
                if let Some(due) = due
                    && until.is_none_or(|until| due < until)
                {
                    *until = Some(due);
                    after.wake(waker.clone());
                }
            }
            Keeper::Absent | Keeper::Starting | Keeper::Ended => {}
        }
        if self.is_drained() {
            after.errands().is_drained = true;
        }
        let departures = self.engine.departures();
        if departures != std::mem::replace(&mut self.departures, departures) {
            after.errands().is_departure = true;
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.engine.is_draining() && self.engine.tally().total() == 0 && self.engine.waiting() == 0
    }

    fn answer(&mut self, waiter: WaiterId, answer: Answer<B>, after: &mut After<B>) {
        let desk = &mut self.desks[waiter.0 as usize];
        desk.answer = Some(answer);
        if let Some(waker) = desk.waker.take() {
            after.wake(waker);
        }
    }

    fn refusal(&self, profile: ProfileId, reason: FailReason) -> Refusal {
        let error = match reason {
            FailReason::Draining => return Refusal::ShuttingDown,
            FailReason::Refused => self.profiles.error(profile),
            FailReason::Unreachable => self.host_error.as_ref(),
        };
        Refusal::Open {
            source: self.source.clone(),
            error: error
                .cloned()
                .unwrap_or_else(|| OpenError::Unreachable("no reason is known".into())),
        }
    }

    /// If the connection came to rest, the keeper is to be told when something arrives on it.
    fn watch(&mut self, slot: SlotId, now: Moment, after: &mut After<B>) {
        if let Keeper::Watching { waker, .. } = &self.keeper {
            let waker = waker.clone();
            self.look_at(slot, &waker, now, after);
        }
    }

    fn look_at(&mut self, slot: SlotId, waker: &Waker, now: Moment, after: &mut After<B>) {
        let Some(connection) = &mut self.connections[slot.0 as usize] else {
            return;
        };
        if let Err(gone) = connection.look(waker) {
            let connection = self.take(slot);
            self.engine.discard(slot);
            self.bury(slot, connection, gone, now, after);
        }
    }

    fn bury(&mut self, slot: SlotId, connection: Box<Connection<B>>, gone: Gone, now: Moment, after: &mut After<B>) {
        self.counters.closed += 1;
        self.journal
            .lost(connection.id(), gone.reason(), now, &mut after.errands().lines);
        match gone {
            // The other side has closed: nothing to wait for.
            Gone::Ended(_) => {
                drop(connection);
                self.engine.closed(slot, now);
            }
            Gone::Unusable(_) => after.errands().closes.push((slot, connection)),
        }
    }

    fn dismiss(&mut self, slot: SlotId, connection: Box<Connection<B>>, reason: &'static str, after: &mut After<B>) {
        self.counters.closed += 1;
        after.errands().lines.push(Line::Closed {
            connection: connection.id(),
            reason,
        });
        after.errands().closes.push((slot, connection));
    }

    fn store(&mut self, slot: SlotId, connection: Box<Connection<B>>) {
        let index = slot.0 as usize;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        if self.known.len() <= index {
            self.known.resize(index + 1, Known::default());
        }
        if self.known[index].id != connection.id() {
            self.known[index] = Known {
                id: connection.id(),
                process: connection.cancel_key.as_ref().and_then(B::process),
            };
        }
        self.connections[index] = Some(connection);
    }

    fn take(&mut self, slot: SlotId) -> Box<Connection<B>> {
        let connection = self.connections.get_mut(slot.0 as usize).and_then(Option::take);
        let mut connection = connection.expect("a connection that is at rest in the engine is stored here");
        connection.leased_as(self.engine.mark(slot));
        connection
    }
}
