//! A timer that is set once for many waits.
//!
//! It is set for the earliest moment that may matter and not touched when the wait ends before: when it goes off too
//! early, it is set again for what matters by then. Setting, polling and removing a timer for each of thousands of waits
//! a second, of which none ever comes to its end, costs more than the few wake-ups in vain.
//!
//! Invariants: from [`Alarm::wake_by`] on the task is woken at its moment at the latest; one that has gone off wakes
//! nobody before it is set again. It is to be used by one task: whoever polls on behalf of others calls [`Alarm::listen`].

use std::{
    future::Future,
    pin::{Pin, pin},
    task::Context,
};

use tokio::{task::unconstrained, time::Sleep};

use crate::clock::Instant;

/// See the module.
#[derive(Default)]
pub(crate) enum Alarm {
    /// Costs nothing.
    #[default]
    Off,
    /// Goes off at `at`, or has gone off.
    Set { at: Instant, timer: Pin<Box<Sleep>> },
}

impl Alarm {
    /// Sees to it that the task of `cx` is woken at `end` at the latest, perhaps before.
    #[inline]
    pub(crate) fn wake_by(&mut self, end: Instant, cx: &mut Context<'_>, now: Instant) {
        if !matches!(self, Alarm::Set { at, .. } if now < *at && *at <= end) {
            self.set(end, cx);
        }
    }

    #[cold]
    fn set(&mut self, end: Instant, cx: &mut Context<'_>) {
        match self {
            Alarm::Set { at, timer } => {
                timer.as_mut().reset(end);
                *at = end;
            }
            Alarm::Off => {
                let timer = Box::pin(tokio::time::sleep_until(end));
                *self = Alarm::Set { at: end, timer };
            }
        }
        self.poll(cx);
    }

    /// It is the task of `cx` that is to be woken, if it is still to go off.
    pub(crate) fn listen(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.is_pending(now) {
            self.poll(cx);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        let Alarm::Set { timer, .. } = self else { return };
        // Without tokio's budget: a timer that was not really polled would wake nobody.
        let timer = pin!(unconstrained(timer.as_mut()));
        if timer.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Whether it is still to go off.
    #[inline]
    pub(crate) fn is_pending(&self, now: Instant) -> bool {
        matches!(self, Alarm::Set { at, .. } if now < *at)
    }

    /// Frees one that has gone off.
    #[inline]
    pub(crate) fn tidy(&mut self, now: Instant) {
        if matches!(self, Alarm::Set { at, .. } if *at <= now) {
            *self = Alarm::Off;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll, time::Duration};

    use super::*;
    use crate::clock;

    /// Polls until `end`; how often that was.
    async fn wait(alarm: &mut Alarm, end: Instant) -> u32 {
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            let now = clock::now();
            if now >= end {
                return Poll::Ready(());
            }
            alarm.wake_by(end, cx, now);
            Poll::Pending
        })
        .await;
        polls
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_set_for_an_earlier_moment_goes_off_then_and_is_set_again() {
        let (mut alarm, began) = (Alarm::default(), clock::now());
        poll_fn(|cx| {
            alarm.wake_by(began + Duration::from_secs(5), cx, began);
            Poll::Ready(())
        })
        .await;
        assert!(alarm.is_pending(began));
        assert_eq!(wait(&mut alarm, began + Duration::from_secs(8)).await, 3);
        assert_eq!(began.elapsed(), Duration::from_secs(8));
        alarm.tidy(clock::now());
        assert!(matches!(alarm, Alarm::Off));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_set_for_a_later_moment_is_brought_forward() {
        let (mut alarm, began) = (Alarm::default(), clock::now());
        poll_fn(|cx| {
            alarm.wake_by(began + Duration::from_secs(60), cx, began);
            Poll::Ready(())
        })
        .await;
        assert_eq!(wait(&mut alarm, began + Duration::from_secs(1)).await, 2);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn one_for_a_moment_that_has_passed_wakes_at_once_even_without_any_budget_left() {
        let (mut alarm, end) = (Alarm::default(), clock::now());
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        let mut polls = 0;
        let woken = poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                alarm.wake_by(end, cx, end);
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        tokio::time::timeout(Duration::from_secs(60), woken)
            .await
            .expect("woken");
    }
}
