//! The course of one lease, counted: transactions, statements, their times and bytes, what the time went into, and why a
//! client keeps what it holds.
//!
//! Cheap on purpose: time is the caller's, who reads the clock once in a poll, counters are added to when a transaction or a
//! statement ends, nothing is allocated. What few transactions spend time on (a login, a reset with a round trip of
//! its own, a client that does not read) is kept in a box of its own, and only it costs more. Whatever ends a lease, a pin
//! ends with it.

use std::{sync::Arc, time::Duration};

use crate::{
    backend::{PinNews, SessionState, TransactionDetection, Work},
    clock::Instant,
    front::{Card, Pinned, Standing},
    observe::{self, RareTimes, TransactionReport},
    pool::{Activity, Pin},
};

/// See the module.
pub(super) struct Course {
    card: Arc<Card>,
    stage: Stage,
    transaction_since: Instant,
    query_since: Instant,
    rest_since: Instant,
    /// What the connection had done when it was counted last.
    counted: Work,
    from_clients: u64,
    from_servers: u64,
    /// Of this transaction, so far.
    query_time: Duration,
    server: u64,
    delay: Delay,
    /// For the connection, unless it had to be opened; until it is counted.
    waited: Duration,
    rare: Option<Box<Rare>>,
    pin: Option<Pin>,
}

/// Why the server is not at work although it is the turn of the server's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delay {
    /// It is.
    None,
    /// The client's request is held back until the connection has been made the client's own.
    Resetting,
    /// The client does not read what the server has sent.
    Reading,
}

/// What few transactions need.
struct Rare {
    times: RareTimes,
    /// When the present [`Delay`] began.
    since: Instant,
}

/// How a lease came about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wait {
    /// How long the client has waited; `None` when it did not have to.
    pub(super) waited: Option<Duration>,
    /// How long the connection took to open, if nobody has used it yet.
    pub(super) connect_time: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    AtRest,
    /// The server is at work.
    Busy,
    /// In a transaction, and the client is thinking.
    InTransaction,
}

impl Course {
    /// A lease begins. `sent`: bytes that the client has sent for it already.
    pub(super) fn begin(
        session: &impl TransactionDetection,
        server: u64,
        card: Arc<Card>,
        sent: usize,
        wait: Wait,
        now: Instant,
    ) -> Self {
        let waited = wait.waited.unwrap_or_default();
        // Who waited for a connection to be opened did so for as long as it took, or came later.
        let connecting = wait.connect_time.map(|time| time.min(waited));
        let connecting = connecting.filter(|time| !time.is_zero());
        let rare = connecting.map(|connecting| {
            let times = RareTimes {
                connecting,
                ..RareTimes::default()
            };
            Box::new(Rare { times, since: now })
        });
        card.hold(Some(server));
        card.stand(Standing::Active, now);
        Course {
            card,
            stage: Stage::Busy,
            transaction_since: now,
            query_since: now,
            rest_since: now,
            counted: session.work(),
            from_clients: sent as u64,
            from_servers: 0,
            query_time: Duration::ZERO,
            server,
            delay: Delay::None,
            waited: waited - connecting.unwrap_or_default(),
            rare,
            pin: None,
        }
    }

    pub(super) fn client_sent(&mut self, count: usize) {
        self.from_clients += count as u64;
    }

    pub(super) fn server_sent(&mut self, count: usize) {
        self.from_servers += count as u64;
    }

    /// Takes note of where the connection stands: of its `state`.
    pub(super) fn observe(
        &mut self,
        state: SessionState,
        session: &impl TransactionDetection,
        activity: &Activity,
        now: Instant,
    ) {
        let stage = match state {
            SessionState::Idle | SessionState::Pinned(_) | SessionState::Broken(_) => Stage::AtRest,
            SessionState::Busy => Stage::Busy,
            SessionState::InTransaction { .. } => Stage::InTransaction,
        };
        self.enter(stage, session, activity, now);
    }

    /// Nothing more comes of the lease, wherever it stands: what has begun ends now.
    pub(super) fn cut(&mut self, session: &impl TransactionDetection, activity: &Activity, now: Instant) {
        self.enter(Stage::AtRest, session, activity, now);
        self.count(session, activity);
    }

    /// Takes note of what keeps the server from the client's work, or that nothing does.
    #[inline]
    pub(super) fn delayed(&mut self, delay: Delay, now: Instant) {
        if delay != self.delay && self.stage == Stage::Busy {
            self.delay_over(now);
            self.delay = delay;
            let begun = || {
                Box::new(Rare {
                    times: RareTimes::default(),
                    since: now,
                })
            };
            self.rare.get_or_insert_with(begun).since = now;
        }
    }

    /// Takes note of whether the client lets the server wait.
    #[inline]
    pub(super) fn reading(&mut self, is_full: bool, now: Instant) {
        match (is_full, self.delay) {
            (true, Delay::None) => self.delayed(Delay::Reading, now),
            (false, Delay::Reading) => self.delayed(Delay::None, now),
            _ => {}
        }
    }

    fn delay_over(&mut self, now: Instant) {
        let delay = std::mem::replace(&mut self.delay, Delay::None);
        if let Some(rare) = &mut self.rare {
            let lasted = now.duration_since(rare.since);
            match delay {
                Delay::None => {}
                Delay::Resetting => rare.times.resetting += lasted,
                Delay::Reading => rare.times.reading += lasted,
            }
        }
    }

    fn enter(&mut self, stage: Stage, session: &impl TransactionDetection, activity: &Activity, now: Instant) {
        if stage == self.stage {
            return;
        }
        match self.stage {
            Stage::AtRest => {
                self.transaction_since = now;
                self.card.stand(Standing::Active, now);
            }
            Stage::Busy => {
                self.delay_over(now);
                let time = now.duration_since(self.query_since);
                self.query_time += time;
                activity.latency().query.record(time);
            }
            Stage::InTransaction => {}
        }
        match stage {
            Stage::AtRest => {
                self.rest_since = now;
                let time = now.duration_since(self.transaction_since);
                activity.latency().transaction.record(time);
                self.report(session.work(), activity, time);
                self.card.stand(Standing::Holding, now);
                self.count(session, activity);
            }
            Stage::Busy => {
                self.query_since = now;
                self.card.turn(Standing::Active);
            }
            Stage::InTransaction => self.card.turn(Standing::InTransaction),
        }
        self.stage = stage;
    }

    /// Tells those who want to know about single transactions, if there are any.
    #[inline]
    fn report(&self, work: Work, activity: &Activity, time: Duration) {
        let times = self.rare_times();
        let wanted = observe::is_wanted(time + times.waiting + times.connecting);
        if wanted.is_any()
            && let Some(identity) = self.card.identity()
        {
            wanted.tell(TransactionReport {
                identity: identity.clone(),
                role: activity.role(),
                server: self.server,
                began: self.transaction_since,
                ended: self.rest_since,
                split: times.split(time, self.query_time),
                work: self.done(work),
                from_client: self.from_clients,
                from_server: self.from_servers,
            });
        }
    }

    fn done(&self, work: Work) -> Work {
        Work {
            transactions: work.transactions.wrapping_sub(self.counted.transactions),
            queries: work.queries.wrapping_sub(self.counted.queries),
        }
    }

    /// Adds what has happened to the pool's counters.
    fn count(&mut self, session: &impl TransactionDetection, activity: &Activity) {
        let work = session.work();
        let done = self.done(work);
        self.counted = work;
        self.query_time = Duration::ZERO;
        let sent = (
            std::mem::take(&mut self.from_clients),
            std::mem::take(&mut self.from_servers),
        );
        activity.count(done, sent.0, sent.1);
        if self.rare.is_some() || !self.waited.is_zero() {
            activity.latency().add(self.rare_times());
            (self.rare, self.waited) = (None, Duration::ZERO);
        }
    }

    #[inline]
    fn rare_times(&self) -> RareTimes {
        RareTimes {
            waiting: self.waited,
            ..self.rare.as_ref().map_or_else(RareTimes::default, |rare| rare.times)
        }
    }

    /// Takes note of why the client keeps the connection, if that has changed.
    pub(super) fn note_pin(
        &mut self,
        state: SessionState,
        activity: &Arc<Activity>,
        cause: impl FnOnce() -> Option<Box<str>>,
    ) -> Option<PinNews> {
        let reason = match state {
            SessionState::Pinned(reason) => Some(reason),
            SessionState::Idle => None,
            SessionState::InTransaction { .. } | SessionState::Busy | SessionState::Broken(_) => return None,
        };
        let before = self.pin.as_ref().map(Pin::reason);
        if reason == before {
            return None;
        }
        self.pin = reason.map(|reason| activity.pin(reason));
        self.card.pin(self.pin.as_ref().map(|pin| Pinned {
            reason: pin.reason(),
            since: pin.since(),
            statement: cause(),
        }));
        match (reason, before) {
            (Some(reason), _) => Some(PinNews::Begun(reason)),
            (None, Some(reason)) => Some(PinNews::Over(reason)),
            (None, None) => None,
        }
    }
}

impl Course {
    /// The connection, which is at rest, goes back: the client is idle since it came to rest.
    pub(super) fn over(&self) {
        self.card.stand(Standing::Idle, self.rest_since);
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        self.card.hold(None);
        self.card.stand_down();
        if self.pin.take().is_some() {
            self.card.pin(None);
        }
    }
}
