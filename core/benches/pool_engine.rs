//! What the pool's engine costs with so many clients waiting: `pool_engine WHAT WAITING TIMES` does something TIMES times.
//!
//! Prints nothing and measures nothing: `bench/run --instructions` runs it under valgrind and counts. Without arguments, as
//! `cargo test` and `cargo bench` call it, it does each of them once.

use std::time::Duration;

use weir_core::pool::engine::{Effect, Engine, Moment, ProfileId, SlotId, Tuning, WaiterId, Wish};

const CONNECTIONS: u32 = 20;
const PROFILE: ProfileId = ProfileId(0);

/// What is done again and again. Each leaves the pool as it found it.
#[derive(Clone, Copy)]
enum Task {
    /// A connection comes back and goes to the first waiter, whose place a new one takes at the end.
    HandOver,
    /// A connection comes back, nobody waits, and it is leased again.
    Lease,
    /// Somebody in the queue gives up, and somebody else comes.
    GiveUp,
    /// The limit is doubled, connections are opened, and it is lowered again.
    Resize,
}

impl Task {
    const ALL: [(&str, Task); 4] = [
        ("hand-over", Task::HandOver),
        ("lease", Task::Lease),
        ("give-up", Task::GiveUp),
        ("resize", Task::Resize),
    ];

    fn named(name: &str) -> Option<Task> {
        let found = Task::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, task)| *task)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).and_then(|word| word.parse().ok());
    match (
        arguments.first().and_then(|name| Task::named(name)),
        number(1),
        number(2),
    ) {
        (Some(task), Some(waiting), Some(times)) => run(task, waiting, times),
        _ => Task::ALL.iter().for_each(|(_, task)| run(*task, 100, 1)),
    }
}

fn run(task: Task, waiting: u32, times: u32) {
    // Of `lease` nobody may be waiting, or the connection would be somebody's: so many have waited, and gave up.
    let stays = !matches!(task, Task::Lease);
    let mut pool = Crowd::new(waiting, stays);
    for _ in 0..times {
        pool.now += Duration::from_micros(10);
        match task {
            Task::HandOver => pool.hand_over(),
            Task::Lease => pool.lease(),
            Task::GiveUp => pool.give_up(),
            Task::Resize => pool.resize(),
        }
    }
}

/// A full pool, and a queue in front of it.
struct Crowd {
    engine: Engine,
    now: Moment,
    leased: Vec<SlotId>,
    /// For [`Task::GiveUp`] only, which serves nobody.
    waiters: Vec<WaiterId>,
    /// Which of them gives up next.
    next: usize,
}

impl Crowd {
    fn new(waiting: u32, stays: bool) -> Self {
        let mut crowd = Crowd {
            engine: Engine::new(tuning(CONNECTIONS), 1),
            now: Moment::ZERO,
            leased: Vec::new(),
            waiters: Vec::new(),
            next: 0,
        };
        for _ in 0..CONNECTIONS {
            crowd.engine.enqueue(PROFILE, crowd.now);
            crowd.settle();
        }
        for _ in 0..waiting {
            let waiter = crowd.engine.enqueue(PROFILE, crowd.now);
            crowd.waiters.push(waiter);
        }
        if !stays {
            let waiters = crowd.waiters.drain(..);
            waiters.for_each(|waiter| crowd.engine.leave(waiter, crowd.now));
        }
        crowd
    }

    fn hand_over(&mut self) {
        let slot = self.leased.remove(0);
        self.engine.put_back(slot, self.now);
        self.settle();
        self.engine.enqueue(PROFILE, self.now);
        self.settle();
    }

    fn lease(&mut self) {
        let slot = self.leased.remove(0);
        self.engine.put_back(slot, self.now);
        self.settle();
        self.leased
            .extend(self.engine.take_idle(PROFILE, Wish::default(), self.now));
        self.settle();
    }

    fn give_up(&mut self) {
        self.next = (self.next + 7) % self.waiters.len();
        self.engine.leave(self.waiters[self.next], self.now);
        self.waiters[self.next] = self.engine.enqueue(PROFILE, self.now);
        self.settle();
    }

    fn resize(&mut self) {
        self.engine.retune(tuning(2 * CONNECTIONS), self.now);
        self.settle();
        self.engine.retune(tuning(CONNECTIONS), self.now);
        for _ in 0..CONNECTIONS {
            let slot = self.leased.remove(0);
            self.engine.put_back(slot, self.now);
            // Waiters whose places the doubled pool served come again.
            self.engine.enqueue(PROFILE, self.now);
        }
        self.settle();
    }

    /// Does what the engine asks for, as if every connection opened and closed at once.
    fn settle(&mut self) {
        while let Some(effect) = self.engine.next_effect() {
            match effect {
                Effect::Open { slot, .. } => self.engine.opened(slot, self.now),
                Effect::Close(slot, _) => self.engine.closed(slot, self.now),
                Effect::Grant(waiter, slot) => {
                    self.engine.leave(waiter, self.now);
                    self.leased.push(slot);
                }
                Effect::Fail(waiter, _) => self.engine.leave(waiter, self.now),
            }
        }
    }
}

fn tuning(max_connections: u32) -> Tuning {
    Tuning {
        max_connections,
        overflow_connections: 0,
        min_connections: 0,
        idle_timeout: Some(Duration::from_secs(600)),
        connection_lifetime: Some(Duration::from_secs(3600)),
        retries: 1,
        simultaneous_opens: 4,
        overflow_patience: Duration::from_secs(3),
    }
}
