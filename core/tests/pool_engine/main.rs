//! The pool's engine: gate P1 (random sequences and an exhaustive search against an independent account), and each rule
//! by example.

mod rules;
mod world;

use std::{
    collections::HashSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use weir_core::pool::engine::{Failure, Portion, ProfileId, Tuning};
use world::{Op, PATIENCE, World};

/// Random sequences of one run; `POOL_SEQUENCES` sets another number.
const SEQUENCES: u64 = 100_000;
const LONGEST: u64 = 200;

pub(crate) fn tuning(max: u32) -> Tuning {
    Tuning {
        max_connections: max,
        overflow_connections: 0,
        min_connections: 0,
        idle_timeout: Some(Duration::from_secs(180)),
        connection_lifetime: None,
        retries: 1,
        simultaneous_opens: 4,
        overflow_patience: PATIENCE,
    }
}

struct Random(u64);

impl Random {
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn among(&mut self, count: usize) -> usize {
        self.below(count as u64) as usize
    }
}

#[test]
fn p1_random_sequences_keep_the_invariants() {
    let sequences = std::env::var("POOL_SEQUENCES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(SEQUENCES);
    let threads = std::thread::available_parallelism().map_or(2, |count| count.get() as u64);
    let wishes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let wishes = &wishes;
            scope.spawn(move || {
                for seed in (thread..sequences).step_by(threads as usize) {
                    wishes.fetch_add(random_sequence(seed).into(), Ordering::Relaxed);
                }
            });
        }
    });
    let wishes = wishes.into_inner();
    assert!(
        cfg!(feature = "rotation") || wishes >= sequences / 10,
        "{wishes} wishes came true: too few to prove anything"
    );
}

/// Says how many wishes came true.
fn random_sequence(seed: u64) -> u32 {
    let mut random = Random(seed);
    let mut world = World::new(random_tuning(&mut random), seed);
    let profiles = 1 + random.below(3);
    // Two thirds without failures: only then can the account say exactly what must be begun.
    let failures = random.below(3) == 0;
    // Half of them leave connections idle: only then is there a choice.
    let is_calm = random.below(2) == 0;
    // Most sequences are short, so that many different ones fit into the time; some are as long as the gate asks for.
    let length = random
        .below(LONGEST)
        .min(random.below(LONGEST))
        .min(random.below(LONGEST))
        + 1;
    let mut history = Vec::new();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..length {
            let op = random_op(&mut random, &world, profiles, failures, is_calm);
            history.push(op);
            world.step(op);
        }
        world.wind_up();
    }));
    if let Err(panic) = outcome {
        eprintln!("sequence {seed}, {:?}: {history:?}", world.tuning);
        std::panic::resume_unwind(panic);
    }
    world.wishes_granted
}

fn random_tuning(random: &mut Random) -> Tuning {
    Tuning {
        overflow_connections: [0, 0, 1, 2][random.among(4)],
        min_connections: [0, 0, 1, 3][random.among(4)],
        idle_timeout: [None, Some(Duration::from_secs(1))][random.among(2)],
        connection_lifetime: [None, Some(Duration::from_secs(3))][random.among(2)],
        retries: random.below(3) as u32,
        simultaneous_opens: 1 + random.below(4) as u32,
        ..tuning(1 + random.below(6) as u32)
    }
}

fn random_op(random: &mut Random, world: &World, profiles: u64, failures: bool, is_calm: bool) -> Op {
    loop {
        let roll = random.below(100);
        match roll {
            0..27 if is_calm && world.total() > 2 && !world.has_idle() => {}
            0..3 => {
                let before = Duration::from_millis([0, 60, 300, 3000][random.among(4)]);
                return Op::ArriveLate(ProfileId(random.below(profiles) as u32), before);
            }
            3..10 => return Op::Arrive(ProfileId(random.below(profiles) as u32)),
            10..27 => {
                let memory = (random.below(3) > 0).then(|| random.among(4));
                return Op::ArriveWith(ProfileId(random.below(profiles) as u32), memory, random.below(4));
            }
            27..30 if !world.leased.is_empty() => return Op::Set(random.among(world.leased.len()), random.below(4)),
            30..34 if world.waiting() > 0 => return Op::GiveUp(random.among(world.waiting())),
            34..45 if world.answered() > 0 => return Op::Collect(random.below(5) == 0),
            45..62 if !world.leased.is_empty() => return Op::Finish(random.among(world.leased.len())),
            62..66 if !world.leased.is_empty() => return Op::Maintain(random.among(world.leased.len())),
            66..70 if !world.maintenance.is_empty() => {
                return Op::MaintenanceDone(random.among(world.maintenance.len()));
            }
            70..73 if !world.leased.is_empty() => return Op::Discard(random.among(world.leased.len())),
            73..83 if !world.opening.is_empty() => {
                let place = random.among(world.opening.len());
                let failure = [
                    Failure::Refused,
                    Failure::WrongPassword,
                    Failure::Full,
                    Failure::Transient,
                ][random.among(4)];
                return match failures && random.below(3) == 0 {
                    true => Op::OpenFailed(place, failure),
                    false => Op::Opened(place),
                };
            }
            83..91 if !world.closing.is_empty() => return Op::Closed(random.among(world.closing.len())),
            91 if random.below(4) == 0 => return Op::Forerunners(random.below(4) as u32),
            91 if random.below(2) == 0 => {
                return Op::Apportion(Portion {
                    elsewhere: random.below(4) as u32,
                    most: [None, None, Some(0), Some(2)][random.among(4)],
                });
            }
            91..93 => {
                return Op::Retune {
                    max: 1 + random.below(6) as u32,
                    overflow: world.tuning.overflow_connections,
                    min: world.tuning.min_connections,
                };
            }
            93 if random.below(2) == 0 => return [Op::Pause, Op::Resume, Op::Resume, Op::Reconnect][random.among(4)],
            93..99 => return Op::Advance(Duration::from_millis([1, 60, 250, 600, 2000][random.among(5)])),
            99 if random.below(20) == 0 => return [Op::Drain, Op::Cede][random.among(2)],
            _ => {}
        }
    }
}

#[test]
fn p1_every_state_within_ten_steps_keeps_the_invariants() {
    for max in 1..=3 {
        search(max, 10, possible);
    }
}

#[test]
fn p1_every_state_within_eight_steps_with_pauses_and_reconnects_keeps_the_invariants() {
    for max in 1..=2 {
        search(max, 8, |world| {
            let mut ops = possible(world);
            ops.push(if world.is_paused() { Op::Resume } else { Op::Pause });
            ops.extend([Op::Reconnect, Op::Drain]);
            ops
        });
    }
}

/// Does everything that can happen, step by step, and looks at each state once.
fn search(max: u32, steps: u32, possible: impl Fn(&World) -> Vec<Op>) {
    let mut states = vec![World::new(tuning(max), 1)];
    let mut seen = HashSet::new();
    for _ in 0..steps {
        let mut next = Vec::new();
        for world in states {
            for op in possible(&world) {
                let mut changed = world.clone();
                changed.step(op);
                if seen.insert(changed.fingerprint()) {
                    next.push(changed);
                }
            }
        }
        states = next;
    }
    assert!(seen.len() > 500, "the search went nowhere: {} states", seen.len());
    states.into_iter().for_each(|mut world| world.wind_up());
}

/// Everything that can happen next, with at most three waiters of two profiles.
fn possible(world: &World) -> Vec<Op> {
    let mut ops = vec![Op::Advance(Duration::from_millis(300))];
    if world.waiting() < 3 {
        ops.extend([Op::Arrive(ProfileId(0)), Op::Arrive(ProfileId(1))]);
    }
    if world.answered() > 0 {
        ops.extend([Op::Collect(false), Op::Collect(true)]);
    }
    ops.extend((0..world.waiting()).map(Op::GiveUp));
    for place in 0..world.leased.len() {
        ops.extend([Op::Finish(place), Op::Maintain(place), Op::Discard(place)]);
    }
    ops.extend((0..world.maintenance.len()).map(Op::MaintenanceDone));
    for place in 0..world.opening.len() {
        ops.extend([
            Op::Opened(place),
            Op::OpenFailed(place, Failure::Refused),
            Op::OpenFailed(place, Failure::WrongPassword),
            Op::OpenFailed(place, Failure::Transient),
            Op::OpenFailed(place, Failure::Full),
        ]);
    }
    ops.extend((0..world.closing.len()).map(Op::Closed));
    ops
}
