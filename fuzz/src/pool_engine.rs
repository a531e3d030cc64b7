//! The pool's engine against an independent account of what it should have done (I1 to I4): each byte, or two, is
//! something that happens to the pool.

#[path = "../../core/tests/pool_engine/world.rs"]
#[allow(dead_code)]
mod world;

use std::time::Duration;

use weir_core::pool::engine::{Failure, ProfileId, Tuning};
use world::{Op, PATIENCE, World};

/// Steps of one input; longer ones find nothing new and cost time.
const LONGEST: usize = 400;

/// The first two bytes choose the settings, the others what happens.
pub fn run(data: &[u8]) {
    let Some((head, events)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut world = World::new(tuning(*head), head[0].into());
    for pair in events.chunks(2).take(LONGEST) {
        let (kind, choice) = (pair[0], usize::from(pair.get(1).copied().unwrap_or_default()));
        if let Some(op) = op(kind, choice, &world) {
            world.step(op);
        }
    }
    world.wind_up();
}

fn tuning([first, second]: [u8; 2]) -> Tuning {
    let chosen = |bits: u8, count: u32| u32::from(bits) % count;
    Tuning {
        max_connections: 1 + chosen(first & 15, 6),
        overflow_connections: chosen(first >> 4, 3),
        min_connections: chosen(second & 3, 4),
        idle_timeout: (second & 4 != 0).then_some(Duration::from_secs(1)),
        connection_lifetime: (second & 8 != 0).then_some(Duration::from_secs(3)),
        retries: chosen(second >> 4 & 3, 3),
        simultaneous_opens: 1 + chosen(second >> 6, 4),
        overflow_patience: PATIENCE,
    }
}

/// `None` when there is nobody to whom it could happen.
fn op(kind: u8, choice: usize, world: &World) -> Option<Op> {
    let among = |count: usize| choice.checked_rem(count);
    let op = match kind % 13 {
        0 | 1 => Op::Arrive(ProfileId((choice % 3) as u32)),
        2 => Op::GiveUp(among(world.waiting())?),
        3 => {
            among(world.answered())?;
            Op::Collect(choice.is_multiple_of(5))
        }
        4 => Op::Finish(among(world.leased.len())?),
        5 => Op::Maintain(among(world.leased.len())?),
        6 => Op::MaintenanceDone(among(world.maintenance.len())?),
        7 => Op::Discard(among(world.leased.len())?),
        8 => Op::Opened(among(world.opening.len())?),
        9 => {
            let failure = [Failure::Refused, Failure::Full, Failure::Transient][usize::from(kind / 13) % 3];
            Op::OpenFailed(among(world.opening.len())?, failure)
        }
        10 => Op::Closed(among(world.closing.len())?),
        11 => Op::Advance(Duration::from_millis([1, 60, 250, 600, 2000][choice % 5])),
        _ if kind >= 247 => Op::Drain,
        _ => Op::Retune {
            max: 1 + (choice % 6) as u32,
            overflow: world.tuning.overflow_connections,
            min: world.tuning.min_connections,
        },
    };
    Some(op)
}
