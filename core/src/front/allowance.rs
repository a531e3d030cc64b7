//! How many server connections the clients of one user may hold at a time, over all sources (`users[].max_connections`).
//!
//! Invariants: whoever wants a server connection takes a share first and keeps it as long as the connection, so nobody
//! who waits for a share keeps a connection from others; shares go to whoever came first (I3). Who waits for a source
//! that is paused stands aside, so that the user's clients of other sources are served meanwhile, and has its place in
//! the order of arrival again afterwards.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    clock,
    refusal::{Limit, Refusal},
};

/// The shares of one user.
#[derive(Debug)]
pub struct Allowance {
    most: u32,
    set_in: String,
    line: Mutex<Line>,
}

/// The right to hold one server connection.
#[derive(Debug)]
pub struct Share(Arc<Allowance>);

/// A client's place in the order of arrival, for as long as it wants a server connection.
#[derive(Debug)]
pub struct Place {
    allowance: Arc<Allowance>,
    source: Arc<str>,
    number: u64,
}

/// Who waits, by order of arrival. Nobody is at two places; who is at none has a share, or has not asked for one yet.
#[derive(Debug)]
struct Line {
    free: u32,
    arrivals: u64,
    waiting: BTreeMap<u64, Option<Waker>>,
    /// By source, which is paused.
    aside: HashMap<Arc<str>, BTreeMap<u64, Option<Waker>>>,
    /// It is their turn; the share is theirs.
    called: BTreeSet<u64>,
}

impl Allowance {
    /// `most` shares, none of them taken; `set_in` is where the number stands, for error texts.
    pub fn new(most: u32, set_in: String) -> Self {
        Allowance {
            most,
            set_in,
            line: Mutex::new(Line {
                free: most,
                arrivals: 0,
                waiting: BTreeMap::new(),
                aside: HashMap::new(),
                called: BTreeSet::new(),
            }),
        }
    }

    /// How many shares there are.
    pub fn most(&self) -> u32 {
        self.most
    }

    /// A share, if one is free. That is only so while nobody waits for it, so nobody is overtaken.
    pub fn try_take(self: &Arc<Self>) -> Option<Share> {
        let mut line = self.line.lock();
        line.free = line.free.checked_sub(1)?;
        Some(Share(self.clone()))
    }

    /// A place for a client of `source`, behind everybody who has come before.
    pub fn line_up(self: &Arc<Self>, source: &Arc<str>) -> Place {
        let mut line = self.line.lock();
        line.arrivals += 1;
        Place {
            allowance: self.clone(),
            source: source.clone(),
            number: line.arrivals,
        }
    }

    /// Changes the line, and wakes those whose turn has come.
    fn change(&self, change: impl FnOnce(&mut Line)) {
        let woken = {
            let mut line = self.line.lock();
            change(&mut line);
            line.call_up()
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Place {
    /// A share, when its turn has come; `patience` `None` waits for ever. May be dropped and called again: the place is
    /// kept.
    ///
    /// # Errors
    /// [`Refusal::PoolTimeout`] with the user's limit.
    pub async fn share(&mut self, patience: Option<Duration>) -> Result<Share, Refusal> {
        let began = clock::now();
        self.allowance.change(|line| line.ask(self.number));
        let called = self.called();
        match patience {
            Some(patience) => {
                if tokio::time::timeout(patience, called).await.is_err() {
                    return Err(self.refusal(began.elapsed()));
                }
            }
            None => called.await,
        }
        self.allowance.line.lock().called.remove(&self.number);
        Ok(Share(self.allowance.clone()))
    }

    /// Resolves when its turn has come. Who does not take the share then keeps it from others.
    pub async fn called(&self) {
        poll_fn(|cx| self.poll_called(cx)).await;
    }

    /// Its source is paused: it waits for no share until [`Place::come_back`], and gives up the one that it was called
    /// for. The caller has dropped the one that it had.
    pub fn stand_aside(&mut self) {
        self.allowance.change(|line| {
            line.remove(self.number, &self.source);
            let aside = line.aside.entry(self.source.clone()).or_default();
            aside.insert(self.number, None);
        });
    }

    /// Its source is open: everybody who stood aside with it stands where they stood before, whoever says so first.
    pub fn come_back(&mut self) {
        self.allowance.change(|line| {
            if let Some(aside) = line.aside.remove(&self.source) {
                line.waiting.extend(aside);
            }
        });
    }

    fn poll_called(&self, cx: &Context<'_>) -> Poll<()> {
        let mut line = self.allowance.line.lock();
        if line.called.contains(&self.number) {
            return Poll::Ready(());
        }
        let aside = line.aside.get_mut(&self.source);
        let aside = aside.and_then(|aside| aside.get_mut(&self.number));
        // Outside of `if let`: the other map is looked into only when this one has nothing.
        match aside {
            Some(desk) => *desk = Some(cx.waker().clone()),
            None => {
                if let Some(desk) = line.waiting.get_mut(&self.number) {
                    *desk = Some(cx.waker().clone());
                }
            }
        }
        Poll::Pending
    }

    fn refusal(&self, waited: Duration) -> Refusal {
        let allowance = &self.allowance;
        let line = allowance.line.lock();
        Refusal::PoolTimeout {
            source: self.source.clone(),
            in_use: allowance.most.saturating_sub(line.free),
            limit: Limit {
                name: "users[].max_connections",
                value: allowance.most.to_string(),
                set_in: allowance.set_in.clone(),
            },
            waiting: u32::try_from(line.waiting.len()).unwrap_or(u32::MAX),
            waited,
        }
    }
}

impl Line {
    /// Who is nowhere yet waits.
    fn ask(&mut self, number: u64) {
        if !self.called.contains(&number) {
            self.waiting.entry(number).or_default();
        }
    }

    /// Gives shares that are free to who came first.
    fn call_up(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        while self.free > 0
            && let Some((number, waker)) = self.waiting.pop_first()
        {
            self.free -= 1;
            self.called.insert(number);
            woken.extend(waker);
        }
        woken
    }

    fn remove(&mut self, number: u64, source: &Arc<str>) {
        self.waiting.remove(&number);
        if self.called.remove(&number) {
            self.free += 1;
        }
        if let Some(aside) = self.aside.get_mut(source) {
            aside.remove(&number);
            if aside.is_empty() {
                self.aside.remove(source);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.allowance.change(|line| line.remove(self.number, &self.source));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.change(|line| line.free += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shares_are_bounded_given_back_and_refused_in_words() {
        let allowance = Arc::new(Allowance::new(1, "gateway.yaml:3:5".to_owned()));
        let source: Arc<str> = "ledger".into();
        let held = allowance.try_take().expect("a share");
        assert!(allowance.try_take().is_none());
        let mut place = allowance.line_up(&source);
        let refusal = place
            .share(Some(Duration::from_secs(2)))
            .await
            .expect_err("none is free");
        drop(place);
        let Refusal::PoolTimeout {
            in_use,
            limit,
            waiting,
            waited,
            ..
        } = refusal
        else {
            panic!("{refusal:?}")
        };
        assert_eq!((in_use, waiting, limit.value.as_str()), (1, 1, "1"));
        assert_eq!(limit.set_in, "gateway.yaml:3:5");
        assert!(waited >= Duration::from_secs(2), "{waited:?}");
        let next = tokio::spawn({
            let (allowance, source) = (allowance.clone(), source.clone());
            async move { allowance.line_up(&source).share(None).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(held);
        // Its turn has come, although it has not run yet: nobody overtakes.
        assert!(allowance.try_take().is_none());
        assert!(next.await.expect("no panic"));
        assert!(allowance.try_take().is_some());
    }

    /// Whether its turn has come.
    fn is_called(place: &Place) -> bool {
        place.poll_called(&Context::from_waker(Waker::noop())).is_ready()
    }

    fn waiting(allowance: &Arc<Allowance>, source: &Arc<str>) -> Place {
        let place = allowance.line_up(source);
        allowance.change(|line| line.ask(place.number));
        place
    }

    #[test]
    fn who_stood_aside_has_its_place_again() {
        let allowance = Arc::new(Allowance::new(1, "gateway.yaml:3:5".to_owned()));
        let (paused, open): (Arc<str>, Arc<str>) = ("ledger".into(), "events".into());
        let held = allowance.try_take().expect("a share");
        let mut first = waiting(&allowance, &paused);
        let mut second = waiting(&allowance, &paused);
        let third = waiting(&allowance, &open);
        first.stand_aside();
        // It was called in the moment of the pause, and gives the share up.
        drop(held);
        assert!(is_called(&second));
        second.stand_aside();
        assert!(is_called(&third));
        let mut fourth = waiting(&allowance, &paused);
        fourth.stand_aside();
        // Whoever comes back first brings everybody back.
        fourth.come_back();
        drop(third);
        assert!(is_called(&first) && !is_called(&second) && !is_called(&fourth));
        drop(first);
        assert!(is_called(&second));
        drop(second);
        assert!(is_called(&fourth));
        drop(fourth);
        let line = allowance.line.lock();
        assert!(line.free == 1 && line.waiting.is_empty() && line.aside.is_empty() && line.called.is_empty());
    }

    #[test]
    fn a_share_that_nobody_in_line_may_have_is_for_newcomers() {
        let allowance = Arc::new(Allowance::new(1, "gateway.yaml:3:5".to_owned()));
        let mut aside = waiting(&allowance, &"ledger".into());
        aside.stand_aside();
        let share = allowance.try_take().expect("nobody else wants it");
        aside.come_back();
        assert!(!is_called(&aside));
        drop(share);
        assert!(is_called(&aside) && allowance.try_take().is_none());
    }
}
