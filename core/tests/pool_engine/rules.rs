//! Rules of the engine by example, as far as the pool's own tests (`tests/pool`) do not show them.

use std::time::Duration;

use weir_core::pool::engine::{
    Effect, Engine, FailReason, Failure, KEPT_IN_MIND, ProfileId, ROTATION_PATIENCE, SlotId, Tuning, WaiterId, Why,
    Wish,
};

use crate::tuning;

const A: ProfileId = ProfileId(0);
const B: ProfileId = ProfileId(1);

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn effects(engine: &mut Engine) -> Vec<Effect> {
    std::iter::from_fn(|| engine.next_effect()).collect()
}

fn opens(engine: &mut Engine) -> Vec<SlotId> {
    let slot = |effect| match effect {
        Effect::Open { slot, .. } => Some(slot),
        _ => None,
    };
    effects(engine).into_iter().filter_map(slot).collect()
}

/// An engine with this many leased connections of profile A.
fn busy(tuning: Tuning, count: u32) -> (Engine, Vec<SlotId>) {
    let mut engine = Engine::new(tuning, 7);
    let mut slots = Vec::new();
    for _ in 0..count {
        let waiter = engine.enqueue(A, at(0));
        let slot = opens(&mut engine)[0];
        engine.opened(slot, at(0));
        assert_eq!(effects(&mut engine), [Effect::Grant(waiter, slot)]);
        engine.leave(waiter, at(0));
        slots.push(slot);
    }
    (engine, slots)
}

#[test]
fn a_returning_connection_serves_the_first_waiter_and_the_new_one_the_second() {
    let (mut engine, held) = busy(tuning(2), 1);
    let first = engine.enqueue(A, at(1));
    let second = engine.enqueue(A, at(2));
    let opening = opens(&mut engine);
    assert_eq!(opening.len(), 1);
    engine.put_back(held[0], at(3));
    engine.opened(opening[0], at(4));
    assert_eq!(
        effects(&mut engine),
        [Effect::Grant(first, held[0]), Effect::Grant(second, opening[0])]
    );
}

#[test]
#[cfg_attr(feature = "rotation", ignore = "rotation is first in first out")]
fn idle_connections_are_used_last_in_first_out() {
    let (mut engine, held) = busy(tuning(3), 3);
    for slot in &held {
        engine.put_back(*slot, at(1));
    }
    assert_eq!(engine.take_idle(A, Wish::default(), at(2)), Some(held[2]));
    assert_eq!(engine.take_idle(A, Wish::default(), at(2)), Some(held[1]));
    assert_eq!(engine.take_idle(B, Wish::default(), at(2)), None);
}

fn wish(engine: &Engine, last: Option<SlotId>, likeness: u64) -> Wish {
    Wish {
        mark: last.map(|slot| engine.mark(slot)),
        likeness,
    }
}

/// Three idle connections with likeness 1, 2, 3; the first to rest is the first in the list.
fn unlike() -> (Engine, Vec<SlotId>) {
    let (mut engine, held) = busy(tuning(3), 3);
    for (slot, likeness) in held.iter().zip(1..) {
        engine.set_likeness(*slot, likeness);
        engine.put_back(*slot, at(1));
    }
    (engine, held)
}

#[test]
#[cfg_attr(feature = "rotation", ignore = "rotation is about never getting the same one")]
fn a_client_gets_the_connection_that_it_held_last_s7_5() {
    let (mut engine, held) = unlike();
    let own = wish(&engine, Some(held[0]), 3);
    assert_eq!(
        engine.take_idle(A, own, at(2)),
        Some(held[0]),
        "its own rather than one alike"
    );
    engine.put_back(held[0], at(3));
    assert_eq!(
        engine.take_idle(A, own, at(4)),
        Some(held[2]),
        "somebody has had it since"
    );
    assert_eq!(
        engine.take_idle(B, own, at(4)),
        None,
        "a wish opens no door to another profile"
    );
}

#[test]
#[cfg_attr(feature = "rotation", ignore = "rotation is about never getting the same one")]
fn a_client_that_comes_back_late_gets_one_alike_or_the_most_recent_s7_5() {
    let (mut engine, held) = unlike();
    let own = wish(&engine, Some(held[0]), 2);
    let late = at(2) + KEPT_IN_MIND;
    assert_eq!(engine.take_idle(A, own, late), Some(held[1]), "one alike");
    assert_eq!(
        engine.take_idle(A, own, late),
        Some(held[2]),
        "none is alike: the most recent"
    );
    assert_eq!(engine.take_idle(A, own, late), Some(held[0]), "any serves");
    assert_eq!(engine.take_idle(A, own, late), None);
}

#[test]
#[cfg_attr(feature = "rotation", ignore = "rotation is about never getting the same one")]
fn of_connections_alike_the_most_recent_is_used() {
    let (mut engine, held) = busy(tuning(3), 3);
    for (slot, likeness) in held.iter().zip([5, 5, 6]) {
        engine.set_likeness(*slot, likeness);
        engine.put_back(*slot, at(1));
    }
    let alike = wish(&engine, None, 5);
    assert_eq!(engine.take_idle(A, alike, at(2)), Some(held[1]));
    assert_eq!(engine.take_idle(A, alike, at(2)), Some(held[0]));
    engine.put_back(held[1], at(3));
    engine.set_likeness(held[0], 7);
    engine.put_back(held[0], at(3));
    assert_eq!(
        engine.take_idle(A, alike, at(4)),
        Some(held[1]),
        "what was set on it last counts"
    );
}

#[test]
fn a_mark_on_a_connection_that_is_no_more_means_nothing() {
    let (mut engine, held) = unlike();
    let own = wish(&engine, Some(held[0]), 0);
    assert!(engine.take_idle(A, wish(&engine, None, 1), at(2)).is_some());
    for slot in &held {
        if let Some(slot) = [*slot].into_iter().find(|slot| engine.idle().any(|idle| idle == *slot)) {
            engine.discard(slot);
            engine.closed(slot, at(2));
        }
    }
    assert_eq!(engine.take_idle(A, own, at(3)), None);
}

#[test]
#[cfg_attr(feature = "rotation", ignore = "rotation is about never getting the same one")]
fn a_thousand_connections_alike_or_not_are_found_in_no_time() {
    let (mut engine, held) = busy(tuning(1_000), 1_000);
    for (slot, likeness) in held.iter().zip(0..) {
        engine.set_likeness(*slot, likeness % 7);
        engine.put_back(*slot, at(1));
    }
    let began = std::time::SystemTime::now();
    for round in 0..200_000 {
        let likeness = round % 9;
        let slot = engine.take_idle(A, wish(&engine, None, likeness), at(2)).expect("idle");
        engine.set_likeness(slot, likeness % 7);
        engine.put_back(slot, at(2));
    }
    assert!(
        began.elapsed().is_ok_and(|took| took.as_secs() < 30),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn room_for_another_profile_is_made_by_the_least_recently_used() {
    let (mut engine, held) = busy(tuning(2), 2);
    engine.put_back(held[1], at(1));
    engine.put_back(held[0], at(2));
    engine.enqueue(B, at(3));
    assert_eq!(effects(&mut engine), [Effect::Close(held[1], Why::MakeRoom)]);
    engine.closed(held[1], at(4));
    assert_eq!(opens(&mut engine).len(), 1);
}

#[test]
fn a_head_of_another_profile_is_passed_over_for_a_quarter_of_a_second_only() {
    let (mut engine, held) = busy(tuning(1), 1);
    let head = engine.enqueue(B, at(0));
    let second = engine.enqueue(A, at(0));
    engine.put_back(held[0], at(249));
    assert_eq!(effects(&mut engine), [Effect::Grant(second, held[0])]);
    engine.leave(second, at(249));
    engine.enqueue(A, at(249));
    engine.put_back(held[0], at(250));
    assert_eq!(effects(&mut engine), [Effect::Close(held[0], Why::MakeRoom)]);
    engine.closed(held[0], at(251));
    let opening = opens(&mut engine);
    engine.opened(opening[0], at(252));
    assert_eq!(effects(&mut engine), [Effect::Grant(head, opening[0])]);
}

#[test]
fn attempts_that_fail_by_the_same_cause_are_one_event() {
    let mut engine = Engine::new(tuning(10), 7);
    for _ in 0..10 {
        engine.enqueue(A, at(0));
    }
    let opening = opens(&mut engine);
    assert_eq!(opening.len(), 4);
    for slot in opening {
        engine.open_failed(slot, Failure::Transient, at(5));
    }
    // One retry is left: nobody has been told, nothing is opened before the pause is over.
    assert_eq!(effects(&mut engine), []);
    assert!(engine.is_up(at(5)));
    let next = engine.wake_at(at(5)).expect("a retry");
    assert!((at(80)..=at(130)).contains(&next), "{next:?}");
    engine.tick(next);
    let probe = opens(&mut engine);
    assert_eq!(probe.len(), 1);
    engine.open_failed(probe[0], Failure::Transient, next + at(5));
    let failed = effects(&mut engine);
    let unreachable = |effect: &Effect| matches!(effect, Effect::Fail(_, FailReason::Unreachable));
    assert!(failed.len() == 10 && failed.iter().all(unreachable), "{failed:?}");
    assert!(!engine.is_up(next + at(5)));
}

#[test]
fn pauses_grow_to_a_second_and_a_success_ends_them() {
    let mut engine = Engine::new(tuning(10), 7);
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let waiter = engine.enqueue(A, now);
        if let Some(next) = engine.wake_at(now) {
            pauses.push((next - now).as_millis());
            now = next;
            engine.tick(now);
        }
        let slot = opens(&mut engine)[0];
        engine.open_failed(slot, Failure::Transient, now);
        effects(&mut engine);
        engine.leave(waiter, now);
    }
    assert!(pauses.is_sorted_by(|a, b| a / 2 <= *b), "{pauses:?}");
    assert!(
        pauses.last().is_some_and(|last| (750..=1250).contains(last)),
        "{pauses:?}"
    );
    now += at(2_000);
    let waiter = engine.enqueue(A, now);
    let slot = opens(&mut engine)[0];
    engine.opened(slot, now);
    assert_eq!(effects(&mut engine), [Effect::Grant(waiter, slot)]);
    assert!(engine.is_up(now));
    engine.enqueue(A, now);
    engine.enqueue(A, now);
    assert_eq!(opens(&mut engine).len(), 2);
}

#[test]
fn waiters_with_a_live_connection_outlast_an_unreachable_host() {
    let (mut engine, held) = busy(
        Tuning {
            retries: 0,
            ..tuning(2)
        },
        1,
    );
    let patient = engine.enqueue(A, at(0));
    let stranger = engine.enqueue(B, at(0));
    let slot = opens(&mut engine)[0];
    engine.open_failed(slot, Failure::Transient, at(1));
    assert_eq!(effects(&mut engine), [Effect::Fail(stranger, FailReason::Unreachable)]);
    engine.put_back(held[0], at(2));
    assert_eq!(effects(&mut engine), [Effect::Grant(patient, held[0])]);
}

#[test]
fn a_full_database_lowers_the_limit_which_grows_back_one_by_one() {
    let (mut engine, _) = busy(tuning(10), 3);
    for _ in 0..20 {
        engine.enqueue(A, at(0));
    }
    for slot in opens(&mut engine) {
        engine.open_failed(slot, Failure::Full, at(1));
    }
    assert_eq!(effects(&mut engine), []);
    assert_eq!(engine.limit(at(1)), 3);
    let mut now = engine.wake_at(at(1)).expect("another try");
    assert_eq!(engine.limit(now), 4);
    engine.tick(now);
    for size in 4..10 {
        let slot = opens(&mut engine);
        assert_eq!(slot.len(), 1, "one at a time");
        now += at(1);
        engine.opened(slot[0], now);
        assert_eq!(engine.tally().live(), size);
    }
    assert_eq!(engine.limit(now), 10);
}

#[test]
fn overflow_does_not_flap() {
    let tuning = Tuning {
        overflow_connections: 1,
        ..tuning(1)
    };
    let (mut engine, held) = busy(tuning, 1);
    let first = engine.enqueue(A, at(0));
    engine.enqueue(A, at(200));
    engine.enqueue(A, at(200));
    assert_eq!(engine.wake_at(at(200)), Some(at(500)));
    engine.tick(at(500));
    let extra = opens(&mut engine)[0];
    engine.opened(extra, at(500));
    assert_eq!(effects(&mut engine), [Effect::Grant(first, extra)]);
    // The head has waited for 300 ms: too short to open one more, long enough to keep this one.
    engine.put_back(extra, at(500));
    assert!(matches!(effects(&mut engine)[..], [Effect::Grant(_, slot)] if slot == extra));
    // 240 ms: the overflow goes.
    engine.leave(WaiterId(0), at(500));
    let (last, _) = engine.waiters().next().expect("one is left");
    engine.leave(last, at(500));
    engine.enqueue(A, at(500));
    engine.put_back(held[0], at(740));
    assert_eq!(effects(&mut engine), [Effect::Close(held[0], Why::Overflow)]);
}

#[test]
fn a_lowered_limit_closes_idle_now_and_busy_ones_on_return_even_if_somebody_waits() {
    let (mut engine, held) = busy(tuning(4), 4);
    engine.put_back(held[0], at(1));
    engine.retune(tuning(2), at(2));
    assert_eq!(effects(&mut engine), [Effect::Close(held[0], Why::Limit)]);
    let waiter = engine.enqueue(A, at(3));
    engine.put_back(held[1], at(4));
    assert_eq!(effects(&mut engine), [Effect::Close(held[1], Why::Limit)]);
    engine.put_back(held[2], at(5));
    assert_eq!(effects(&mut engine), [Effect::Grant(waiter, held[2])]);
}

#[test]
fn a_raised_limit_applies_at_once() {
    let (mut engine, _) = busy(tuning(1), 1);
    for _ in 0..3 {
        engine.enqueue(A, at(1));
    }
    assert_eq!(opens(&mut engine), []);
    engine.retune(tuning(3), at(2));
    assert_eq!(opens(&mut engine).len(), 2);
}

#[test]
fn an_expired_connection_is_neither_kept_nor_handed_out() {
    let tuning = Tuning {
        connection_lifetime: Some(at(1_000)),
        idle_timeout: None,
        ..tuning(2)
    };
    let (mut engine, held) = busy(tuning, 2);
    engine.put_back(held[0], at(10));
    let due = engine.wake_at(at(10)).expect("its end");
    assert!((at(900)..=at(1_100)).contains(&due), "{due:?}");
    assert_eq!(engine.take_idle(A, Wish::default(), at(1_101)), None);
    assert_eq!(effects(&mut engine), [Effect::Close(held[0], Why::Lifetime)]);
    engine.put_back(held[1], at(1_101));
    assert_eq!(effects(&mut engine), [Effect::Close(held[1], Why::Lifetime)]);
}

#[test]
fn a_hand_over_costs_the_same_with_ten_thousand_waiters() {
    let (mut engine, held) = busy(tuning(1), 1);
    let began = std::time::SystemTime::now();
    for _ in 0..10_000 {
        engine.enqueue(A, at(0));
    }
    // Each is served, goes to the back, and one in the middle gives up and comes again: linear work would take minutes.
    for round in 0..200_000u32 {
        engine.put_back(held[0], at(1));
        let Some(Effect::Grant(waiter, _)) = engine.next_effect() else {
            panic!("nobody was served");
        };
        engine.leave(waiter, at(1));
        engine.enqueue(A, at(1));
        let middle = WaiterId((round * 7919) % 10_000);
        engine.leave(middle, at(1));
        engine.enqueue(A, at(1));
    }
    assert_eq!(engine.waiting(), 10_000);
    assert!(
        began.elapsed().is_ok_and(|took| took.as_secs() < 30),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_password_that_never_was_right_is_told_at_once() {
    let mut engine = Engine::new(tuning(2), 7);
    let waiter = engine.enqueue(A, at(0));
    let slot = opens(&mut engine)[0];
    engine.open_failed(slot, Failure::WrongPassword, at(1));
    assert_eq!(effects(&mut engine), [Effect::Fail(waiter, FailReason::Refused)]);
}

#[test]
fn who_waits_while_a_password_is_changed_waits_for_the_connections_that_are_alive() {
    let (mut engine, held) = busy(tuning(2), 1);
    let waiter = engine.enqueue(A, at(1));
    // Longer than any patience: there is somebody to wait for.
    let mut now = at(1);
    let mut slot = opens(&mut engine)[0];
    while now < 2 * ROTATION_PATIENCE {
        engine.open_failed(slot, Failure::WrongPassword, now);
        assert_eq!(effects(&mut engine), []);
        now = engine.wake_at(now).expect("it is tried again");
        engine.tick(now);
        slot = opens(&mut engine)[0];
    }
    engine.put_back(held[0], now);
    assert_eq!(effects(&mut engine), [Effect::Grant(waiter, held[0])]);
}

#[test]
fn a_password_that_is_being_changed_is_waited_for_and_not_for_ever() {
    for becomes_right in [true, false] {
        let (mut engine, held) = busy(tuning(2), 1);
        engine.discard(held[0]);
        engine.closed(held[0], at(1));
        let waiter = engine.enqueue(A, at(2));
        let mut slot = opens(&mut engine)[0];
        let mut now = at(2);
        let told = loop {
            engine.open_failed(slot, Failure::WrongPassword, now);
            let told = effects(&mut engine);
            if !told.is_empty() || (becomes_right && now > ROTATION_PATIENCE / 2) {
                break told;
            }
            let newcomer = engine.enqueue(A, now);
            assert_eq!(effects(&mut engine), [], "nor is a newcomer told");
            engine.leave(newcomer, now);
            now = engine.wake_at(now).expect("it is tried again");
            engine.tick(now);
            slot = opens(&mut engine)[0];
        };
        if becomes_right {
            now = engine.wake_at(now).expect("it is tried again");
            engine.tick(now);
            slot = opens(&mut engine)[0];
            engine.opened(slot, now);
            assert_eq!(effects(&mut engine), [Effect::Grant(waiter, slot)]);
        } else {
            assert_eq!(told, [Effect::Fail(waiter, FailReason::Refused)]);
            assert!(now >= ROTATION_PATIENCE && now < 2 * ROTATION_PATIENCE, "{now:?}");
        }
    }
}

#[test]
fn a_profiles_number_used_again_has_no_past() {
    let mut engine = Engine::new(tuning(2), 7);
    engine.enqueue(A, at(0));
    let slot = opens(&mut engine)[0];
    engine.open_failed(slot, Failure::Refused, at(1));
    assert_eq!(effects(&mut engine), [Effect::Fail(WaiterId(0), FailReason::Refused)]);
    assert_eq!(engine.trouble_of(A), Some(FailReason::Refused));
    engine.forget(A);
    assert_eq!(engine.trouble_of(A), None);
    engine.enqueue(A, at(2));
    assert_eq!(
        opens(&mut engine).len(),
        1,
        "held back by what another profile suffered"
    );
}

#[test]
fn a_pause_closes_what_rests_keeps_what_runs_and_lets_everybody_wait() {
    let (mut engine, held) = busy(tuning(3), 3);
    engine.put_back(held[0], at(1));
    engine.pause(at(2));
    assert_eq!(effects(&mut engine), [Effect::Close(held[0], Why::Paused)]);
    engine.closed(held[0], at(3));
    assert_eq!(engine.take_idle(A, Wish::default(), at(4)), None);
    let first = engine.enqueue(A, at(4));
    let second = engine.enqueue(B, at(5));
    engine.put_back(held[1], at(6));
    assert_eq!(effects(&mut engine), [Effect::Close(held[1], Why::Paused)]);
    assert_eq!(engine.wake_at(at(6)), None, "nothing is due in a pause");
    engine.maintain(held[2]);
    engine.put_back(held[2], at(7));
    assert_eq!(effects(&mut engine), [Effect::Close(held[2], Why::Paused)]);
    engine.closed(held[1], at(8));
    engine.closed(held[2], at(8));
    assert_eq!((engine.tally().total(), engine.waiting()), (0, 2));
    engine.resume(at(1_000));
    let opening = opens(&mut engine);
    assert_eq!(opening.len(), 2, "whoever waited is served after it");
    engine.opened(opening[0], at(1_001));
    engine.opened(opening[1], at(1_001));
    assert_eq!(
        effects(&mut engine),
        [Effect::Grant(first, opening[0]), Effect::Grant(second, opening[1])]
    );
}

#[test]
fn a_pause_is_nobodys_wait() {
    let (mut engine, _) = busy(
        Tuning {
            overflow_connections: 1,
            ..tuning(1)
        },
        1,
    );
    engine.enqueue(A, at(100));
    assert_eq!(engine.patience_clock(at(100)), at(100));
    engine.pause(at(200));
    assert_eq!(engine.patience_clock(at(9_000)), at(200));
    engine.resume(at(10_000));
    assert_eq!(engine.patience_clock(at(10_050)), at(250));
    assert_eq!(engine.limit(at(10_000)), 1, "its patience begins anew");
    assert_eq!(engine.wake_at(at(10_000)), Some(at(10_500)));
    assert_eq!(engine.limit(at(10_500)), 2);
}

#[test]
fn an_attempt_that_ends_in_a_pause_tells_nobody_anything() {
    for failure in [
        Failure::Refused,
        Failure::WrongPassword,
        Failure::Full,
        Failure::Transient,
    ] {
        let mut engine = Engine::new(
            Tuning {
                retries: 0,
                ..tuning(2)
            },
            7,
        );
        engine.enqueue(A, at(0));
        let slot = opens(&mut engine)[0];
        engine.pause(at(1));
        engine.open_failed(slot, failure, at(2));
        assert_eq!(effects(&mut engine), [], "{failure:?}");
        engine.resume(at(3));
        assert_eq!(opens(&mut engine).len(), 1, "{failure:?}: asked anew at once");
    }
}

#[test]
fn what_was_wrong_before_a_pause_is_forgotten_after_it() {
    let mut engine = Engine::new(
        Tuning {
            retries: 0,
            ..tuning(2)
        },
        7,
    );
    for profile in [A, B] {
        let waiter = engine.enqueue(profile, at(0));
        let slot = opens(&mut engine)[0];
        let failure = if profile == A {
            Failure::Refused
        } else {
            Failure::Transient
        };
        engine.open_failed(slot, failure, at(1));
        engine.leave(waiter, at(1));
        effects(&mut engine);
    }
    engine.pause(at(2));
    engine.enqueue(A, at(3));
    engine.enqueue(B, at(3));
    assert_eq!(effects(&mut engine), [], "in a pause nobody hears of it");
    engine.resume(at(4));
    assert!(engine.is_up(at(4)));
    assert_eq!(opens(&mut engine).len(), 2);
}

#[test]
fn a_pool_that_ends_in_a_pause_lets_nobody_wait_for_ever() {
    for drains_first in [false, true] {
        let (mut engine, held) = busy(tuning(1), 1);
        let waiter = engine.enqueue(A, at(1));
        match drains_first {
            true => {
                engine.drain(at(2));
                assert_eq!(effects(&mut engine), [], "who waits is still served");
                engine.pause(at(2));
            }
            false => {
                engine.pause(at(2));
                engine.drain(at(2));
            }
        }
        assert_eq!(effects(&mut engine), [Effect::Fail(waiter, FailReason::Draining)]);
        engine.put_back(held[0], at(3));
        assert!(matches!(effects(&mut engine)[..], [Effect::Close(slot, _)] if slot == held[0]));
    }
}

#[test]
fn a_reconnect_replaces_every_connection_and_serves_on() {
    let (mut engine, held) = busy(tuning(3), 3);
    engine.put_back(held[0], at(1));
    engine.reconnect(at(2));
    assert_eq!(effects(&mut engine), [Effect::Close(held[0], Why::Reconnect)]);
    assert_eq!(engine.outdated(), 3);
    engine.closed(held[0], at(3));
    let waiter = engine.enqueue(A, at(4));
    let fresh = opens(&mut engine)[0];
    engine.put_back(held[1], at(5));
    assert_eq!(
        effects(&mut engine),
        [Effect::Close(held[1], Why::Reconnect)],
        "not to the one who waits"
    );
    engine.opened(fresh, at(6));
    assert_eq!(effects(&mut engine), [Effect::Grant(waiter, fresh)]);
    engine.closed(held[1], at(7));
    engine.discard(held[2]);
    engine.closed(held[2], at(8));
    assert_eq!(engine.outdated(), 0);
    engine.put_back(fresh, at(9));
    assert_eq!(engine.take_idle(A, Wish::default(), at(10)), Some(fresh));
}

#[test]
fn a_connection_being_opened_when_it_is_told_to_reconnect_is_opened_again() {
    let mut engine = Engine::new(tuning(1), 7);
    let waiter = engine.enqueue(A, at(0));
    let old = opens(&mut engine)[0];
    engine.reconnect(at(1));
    assert_eq!(effects(&mut engine), []);
    engine.opened(old, at(2));
    assert_eq!(effects(&mut engine), [Effect::Close(old, Why::Reconnect)]);
    engine.closed(old, at(3));
    let fresh = opens(&mut engine)[0];
    engine.opened(fresh, at(4));
    assert_eq!(effects(&mut engine), [Effect::Grant(waiter, fresh)]);
}
