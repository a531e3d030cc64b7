//! Random conversations: any split of both streams gives what the whole gives, and a client behind the gateway is told
//! what it would be told alone, however many share a connection.

use weir_core::backend::{SessionState, TransactionDetection};

use crate::{
    gateway::Gateway,
    messages::{
        Calls, attention, batch_in, begin, commit, commit_and_begin, find_last_begin, find_last_handle, rollback,
        rollback_and_begin, told,
    },
    model::{Kind, Model},
};

/// xorshift: small, seeded.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What a client does next, by its number.
#[derive(Clone, Copy, Debug)]
struct Action(u64, u64);

/// A client as its driver sees it.
#[derive(Default)]
struct Driver {
    transaction: u64,
    handle: Option<i32>,
}

impl Driver {
    fn request(&self, action: Action) -> Vec<u8> {
        let Action(kind, number) = action;
        let at = self.transaction;
        let in_transaction = at != 0;
        match kind {
            0 => batch_in(at, &format!("PRINT {number}")),
            1 => batch_in(at, "SELECT show"),
            2 => batch_in(at, &format!("SET ROWCOUNT {}", number % 3)),
            3 => batch_in(
                at,
                &format!("SET NOCOUNT {}", if number % 2 == 0 { "ON" } else { "OFF" }),
            ),
            4 if !in_transaction => {
                let level = if number % 2 == 0 { "SNAPSHOT" } else { "READ COMMITTED" };
                batch_in(at, &format!("SET TRANSACTION ISOLATION LEVEL {level}"))
            }
            5 if !in_transaction => begin(0),
            6 if in_transaction => commit(at),
            7 if in_transaction => commit_and_begin(at),
            8 if in_transaction => rollback(at),
            9 if in_transaction => rollback_and_begin(at),
            10 => batch_in(at, &format!("INSERT {number}")),
            11 => batch_in(at, "RAISERROR"),
            12 => batch_in(at, &format!("USE [{}]", if number % 2 == 0 { "app" } else { "other" })),
            13 => Calls::within(at)
                .prepare_and_execute(None, "VALUE", number as i32)
                .done(),
            14 => match self.handle {
                Some(handle) => Calls::within(at).execute(handle, number as i32).done(),
                None => Calls::within(at).prepare("VALUE").done(),
            },
            15 => match self.handle {
                Some(handle) => Calls::within(at)
                    .execute(handle, 1)
                    .then()
                    .execute(handle, number as i32)
                    .done(),
                None => Calls::within(at).sql("PRINT call").done(),
            },
            16 => batch_in(at, "SELECT long 20"),
            17 if !in_transaction => attention(),
            18 => batch_in(at, &format!("CREATE TABLE #t{}", number % 2)),
            19 if in_transaction => batch_in(at, "SHUTDOWN"),
            _ => batch_in(at, "SELECT @@TRANCOUNT"),
        }
    }

    fn learn(&mut self, answer: &[u8]) {
        if let Some(transaction) = find_last_begin(answer) {
            self.transaction = transaction;
        }
        if let Some(handle) = find_last_handle(answer) {
            self.handle = Some(handle);
        }
    }
}

/// Runs what several clients do, one request at a time, in turns; gives what each was told.
fn run(
    kind: Kind,
    clients: usize,
    connections: u32,
    actions: &[Vec<Action>],
    chunk: usize,
    packet_size: u16,
) -> Vec<String> {
    run_with(kind, clients, connections, actions, chunk, packet_size, |_, _| {})
}

/// The same; `between` does what it likes with a client that was just answered.
fn run_with(
    kind: Kind,
    clients: usize,
    connections: u32,
    actions: &[Vec<Action>],
    chunk: usize,
    packet_size: u16,
    mut between: impl FnMut(&mut Gateway, usize),
) -> Vec<String> {
    let models = (1..=connections).map(|name| {
        let mut model = Model::new(kind, name);
        model.packet_size = packet_size;
        model
    });
    let mut gateway = Gateway::new(models);
    gateway.chunk = chunk;
    gateway.in_turn = true;
    let mut drivers: Vec<(usize, Driver, String)> = (0..clients)
        .map(|_| (gateway.client(), Driver::default(), String::new()))
        .collect();
    let mut waiting: Vec<Option<()>> = vec![None; clients];
    let longest = actions.iter().map(Vec::len).max().unwrap_or(0);
    for step in 0..longest {
        for index in 0..clients {
            let Some(action) = actions[index].get(step) else {
                continue;
            };
            let (client, driver, log) = &mut drivers[index];
            // Who waits for a connection asks no more.
            if waiting[index].is_some() {
                continue;
            }
            gateway.send(*client, &driver.request(*action));
            let answer = gateway.receive(*client);
            if answer.is_empty() {
                waiting[index] = Some(());
                continue;
            }
            driver.learn(&answer);
            log.push_str(&told(&answer).replace("(v)", "(n)"));
            log.push('\n');
            between(&mut gateway, *client);
        }
    }
    for connection in &gateway.connections {
        let state = connection.session.state();
        assert!(!matches!(state, SessionState::Broken(_)), "{state:?}");
        if connection.holder.is_none() {
            assert_eq!(state, SessionState::Idle);
        }
    }
    drivers.into_iter().map(|(_, _, log)| log).collect()
}

fn actions(random: &mut Random, count: usize, ties: bool) -> Vec<Action> {
    (0..count)
        .map(|_| {
            loop {
                let action = Action(random.below(21), random.below(1_000));
                // What ties a client to its connection keeps others waiting for ever.
                if ties || action.0 != 18 {
                    break action;
                }
            }
        })
        .collect()
}

#[test]
fn any_split_gives_the_same() {
    for seed in 1..=24 {
        let mut random = Random(seed * 0x9e37_79b9);
        let kind = if seed % 2 == 0 { Kind::SqlServer } else { Kind::Probe };
        let actions = vec![actions(&mut random, 25, true), actions(&mut random, 25, true)];
        let whole = run(kind, 2, 2, &actions, usize::MAX, 512);
        for chunk in [1, 3, 17, 500] {
            assert_eq!(
                run(kind, 2, 2, &actions, chunk, 512),
                whole,
                "seed {seed}, pieces of {chunk}"
            );
        }
        assert_eq!(
            run(kind, 2, 2, &actions, usize::MAX, 4096),
            whole,
            "seed {seed}, packets of 4096"
        );
    }
}

/// Each client is told what it is told when it is alone with one connection. Transactions' numbers differ, and are
/// replaced by words; while somebody is in a transaction, the others wait, so each has a connection to fall back on.
#[test]
fn each_client_believes_to_be_alone() {
    for seed in 1..=100 {
        let mut random = Random(seed * 0x51_7cc1);
        let kind = if seed % 2 == 0 { Kind::SqlServer } else { Kind::Probe };
        let clients = 3;
        let all: Vec<Vec<Action>> = (0..clients).map(|_| actions(&mut random, 30, true)).collect();
        let together = run(kind, clients, 4, &all, usize::MAX, 512);
        for (index, own) in all.iter().enumerate() {
            let alone = run(kind, 1, 1, std::slice::from_ref(own), usize::MAX, 512);
            assert_eq!(
                words(&together[index]),
                words(&alone[0]),
                "seed {seed}, client {index}: {own:?}"
            );
        }
    }
}

/// Whoever is handed over whenever it is at rest is told what everybody else is told.
#[test]
fn nobody_notices_that_another_process_goes_on() {
    let (mut moved, mut in_transaction) = (0, 0);
    for seed in 1..=100 {
        let mut random = Random(seed * 0x2f_6e2b);
        let kind = if seed % 2 == 0 { Kind::SqlServer } else { Kind::Probe };
        let clients = 3;
        let all: Vec<Vec<Action>> = (0..clients).map(|_| actions(&mut random, 30, true)).collect();
        let here = run(kind, clients, 4, &all, usize::MAX, 512);
        let mut often = Random(seed);
        let elsewhere = run_with(kind, clients, 4, &all, usize::MAX, 512, |gateway, client| {
            if often.below(3) > 0 && gateway.hand_over(client) {
                moved += 1;
                let packed = gateway.clients[client].conversation.packed().unwrap();
                in_transaction += usize::from(packed.transaction.is_some());
            }
        });
        for (index, own) in all.iter().enumerate() {
            assert_eq!(
                words(&elsewhere[index]),
                words(&here[index]),
                "seed {seed}, client {index}: {own:?}"
            );
        }
    }
    assert!(moved > 1_000 && in_transaction > 100, "{moved} {in_transaction}");
}

/// Without the numbers of transactions, which are the server's.
fn words(log: &str) -> String {
    let mut words = String::new();
    for word in log.split(' ') {
        let is_number = ["Begin(", "Commit(", "Rollback("]
            .iter()
            .any(|start| word.contains(start));
        match word.split_once('(') {
            Some((name, _)) if is_number => words.push_str(name),
            _ => words.push_str(word),
        }
        words.push(' ');
    }
    words
}
